//! The table.

use std::fs;
use std::process::Command;
use std::thread;

use super::measure::{Cost, Ratio, Row};
use super::peers::Figures;

/// Prints the machine and the table.
pub(crate) fn print(rows: &[Row], peers: &Figures, markdown: bool) {
    println!("{}", machine());
    if let Some(versions) = &peers.versions {
        println!("Python packages: {versions}");
    }
    println!();
    if markdown {
        println!("| what | ours /s | limit /s | ratio [least..greatest] | Python /s | the limit is |");
        println!("|---|--:|--:|--:|--:|---|");
    }
    for row in rows {
        let python = row.peer.and_then(|peer| peers.rate(peer)).map_or_else(|| "–".to_owned(), grouped);
        let (ours, limit) = (grouped(per_second(row.ours)), grouped(per_second(row.limit)));
        let Ratio { median, least, greatest } = row.ratio;
        let ratio = format!("{median:.2} [{least:.2}..{greatest:.2}]");
        if markdown {
            println!("| {} | {ours} | {limit} | {ratio} | {python} | {} |", row.name, row.limit_is);
        } else {
            println!("{:<72} {ours:>11} {limit:>11}  {ratio:<18} {python:>9}  {}", row.name, row.limit_is);
        }
    }
}

fn per_second(cost: Cost) -> f64 {
    1e9 / cost
}

/// Three digits that count, thousands apart.
fn grouped(rate: f64) -> String {
    let unit = 10_f64.powf((rate.log10().floor() - 2.0).max(0.0));
    let digits = format!("{:.0}", (rate / unit).round() * unit);
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// What was measured on, as far as it tells itself.
fn machine() -> String {
    let file = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu = file("/proc/cpuinfo")
        .lines()
        .find_map(|line| Some(line.strip_prefix("model name")?.split_once(": ")?.1.to_owned()))
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let kernel = file("/proc/sys/kernel/osrelease");
    let said = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok();
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
    };
    format!(
        "{cpu}, {cores} cores, {} {}, {}, {}",
        std::env::consts::OS,
        kernel.trim(),
        said("rustc", &["--version"]),
        said("date", &["-u", "+%Y-%m-%dT%H:%MZ"]),
    )
}
