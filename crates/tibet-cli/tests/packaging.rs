//! The example configuration is one that the program reads.

mod common;

use common::Home;

#[test]
fn the_example_configuration_is_read() {
    let home = Home::new();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/overlay.toml");
    let example = std::fs::read_to_string(path).expect("packaging/overlay.toml");
    // Also what is commented out, as somebody would use it.
    let all =
        example.replace("# store = \"sqlite", "store = \"sqlite").replace("# approval_hook", "approval_hook");
    for text in [&example, &all] {
        let file = home.write("overlay.toml", text);
        home.ok(&format!("--config {file} info"));
    }
    let wrong = home.write("wrong.toml", example.replace("policy = \"open\"", "policy = \"anybody\""));
    let ran = home.run(&format!("--config {wrong} info"));
    assert_eq!(ran.code, Some(78), "{ran:?}");
    assert!(ran.err.contains("anybody"), "{}", ran.err);
}
