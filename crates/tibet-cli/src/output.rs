//! What a command has to say, for people and for programs.

use std::fmt::Display;
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use comfy_table::{Table, presets};
use serde_json::{Value, json};
use tibet_registry::Zone;

use crate::error::CliError;

/// Exit codes. 64 and above are those of `sysexits.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Yes, or done.
    Yes,
    /// A definite no: not verified, not found, refused, altered.
    No,
    /// Misuse: the arguments make no sense.
    Usage,
    /// Something this needs does not work.
    Unavailable,
    /// Not now; trying again may help.
    Temporary,
    /// Not permitted, or not safely.
    Permission,
    /// The configuration or a file of ours is wrong.
    Configuration,
}

impl Exit {
    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Yes => 0,
            Self::No => 1,
            Self::Usage => 2,
            Self::Unavailable => 69,
            Self::Temporary => 75,
            Self::Permission => 77,
            Self::Configuration => 78,
        }
    }
}

/// What a subcommand found out or did.
#[derive(Debug)]
pub struct Outcome {
    /// Names the shape of `data`. Members are only ever added to a shape, never changed.
    schema: &'static str,
    /// For programs: a JSON object.
    data: Value,
    /// For people.
    text: String,
    exit: Exit,
}

impl Outcome {
    /// Done, with `data` for programs. `schema` is `tibet.overlay.…`.
    #[must_use]
    pub fn new(schema: &'static str, data: Value) -> Self {
        Self { schema, data, text: String::new(), exit: Exit::Yes }
    }

    /// Done, with nothing to say or only text, which is printed with `--json` too.
    #[must_use]
    pub fn text_only(text: String) -> Self {
        Self { text, ..Self::new("", Value::Null) }
    }

    /// Says it with this exit code.
    #[must_use]
    pub fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// Adds a member for programs.
    #[must_use]
    pub fn with(mut self, member: &str, value: Value) -> Self {
        if let Value::Object(data) = &mut self.data {
            data.insert(member.to_owned(), value);
        }
        self
    }

    /// Adds a line for people.
    #[must_use]
    pub fn line(mut self, line: impl Display) -> Self {
        self.text.push_str(&line.to_string());
        self.text.push('\n');
        self
    }

    /// Adds lines `key  value`, the values in one column.
    #[must_use]
    pub fn pairs(mut self, pairs: &[(&str, String)]) -> Self {
        let width = pairs.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
        for (key, value) in pairs {
            self = self.line(format_args!("  {key:width$}  {value}"));
        }
        self
    }

    /// Adds a table.
    #[must_use]
    pub fn table(self, header: &[&str], rows: Vec<Vec<String>>) -> Self {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(header.to_vec()).add_rows(rows);
        let text = table.to_string();
        text.lines().fold(self, |outcome, line| outcome.line(line.trim_end()))
    }

    /// Prints on standard output and gives the exit code. A closed pipe is no error.
    #[must_use]
    pub fn print(self, as_json: bool) -> ExitCode {
        let has_json = as_json && !self.data.is_null();
        if self.text.is_empty() && !has_json {
            // Standard output is not touched: a thread may hold it that waits for a reader.
            return ExitCode::from(self.exit.code());
        }
        let mut out = anstream::stdout();
        let written =
            if has_json { writeln!(out, "{}", self.to_json()) } else { write!(out, "{}", self.text) };
        match written.and_then(|()| out.flush()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                CliError::new(Exit::Unavailable, format!("cannot write the output: {error}")).print(as_json)
            }
            _ => ExitCode::from(self.exit.code()),
        }
    }

    /// What programs get.
    pub(crate) fn to_json(&self) -> Value {
        let mut object = json!({ "schema": self.schema, "version": 1 });
        if let (Value::Object(object), Value::Object(data)) = (&mut object, &self.data) {
            object.extend(data.clone());
        }
        object
    }
}

/// `text` in the colour of a zone, on terminals.
#[must_use]
pub fn in_zone_colour(zone: Zone, text: impl Display) -> String {
    let colour = match zone {
        Zone::Groen => AnsiColor::Green,
        Zone::Geel => AnsiColor::Yellow,
        Zone::Rood => AnsiColor::Red,
    };
    styled(Style::new().fg_color(Some(colour.into())), text)
}

/// A zone as a device names it, in its colour where it has one.
#[must_use]
pub fn zone_word(word: &str) -> String {
    let zone = [Zone::Groen, Zone::Geel, Zone::Rood].into_iter().find(|zone| zone.as_str() == word);
    zone.map_or_else(|| plain(word), |zone| in_zone_colour(zone, word))
}

/// A trust score with up to four decimals: `0.5`, `0.531`.
#[must_use]
pub fn score(score: f64) -> String {
    let rounded = format!("{score:.4}");
    let short = rounded.trim_end_matches('0');
    if short.ends_with('.') { format!("{short}0") } else { short.to_owned() }
}

/// `text` in bold, on terminals.
#[must_use]
pub fn bold(text: impl Display) -> String {
    styled(Style::new().bold(), text)
}

/// A tick or a cross, coloured on terminals, and `text`.
#[must_use]
pub fn mark(good: bool, text: impl Display) -> String {
    let (zone, sign) = if good { (Zone::Groen, '✓') } else { (Zone::Rood, '✗') };
    format!("{} {text}", in_zone_colour(zone, sign))
}

fn styled(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// A path, safe for a terminal.
#[must_use]
pub fn shown(path: &Path) -> String {
    plain(&path.display().to_string())
}

/// Makes text of unknown origin safe for a terminal: control characters become `\u{…}` (SECURITY R49).
#[must_use]
pub fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { c.escape_unicode().to_string() } else { c.to_string() })
        .collect()
}
