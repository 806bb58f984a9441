//! The README shows what the documentation's example runs.

/// The code of the first ```` ```rust ```` block, or of the first block of a doc comment, without hidden lines.
fn visible(code: impl Iterator<Item = String>) -> Vec<String> {
    let visible =
        code.filter(|line| !line.trim_start().starts_with("# ")).map(|line| line.trim_end().to_owned());
    let lines: Vec<String> = visible.collect();
    lines.join("\n").trim().lines().map(str::to_owned).collect()
}

#[test]
fn the_readme_and_the_tested_example_are_the_same() {
    let readme = include_str!("../../../README.md");
    let readme =
        readme.lines().skip_while(|line| *line != "```rust").skip(1).take_while(|line| *line != "```");
    let source = include_str!("../src/overlay.rs");
    let example = source
        .lines()
        .skip_while(|line| *line != "/// ```")
        .skip(1)
        .take_while(|line| *line != "/// ```")
        .map(|line| line.trim_start_matches("///").strip_prefix(' ').unwrap_or_default().to_owned());
    let (readme, example) = (visible(readme.map(str::to_owned)), visible(example));
    assert!(readme.len() > 10, "the README has the quick start");
    assert_eq!(readme, example);
}
