//! `tibet-overlay audit export`

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::Path;

use serde_json::json;
use tibet_core::Token;
use tibet_overlay::server::AnyRegistry;
use tibet_overlay::system;
use tibet_registry::Store as _;

use super::{Context, Format, head_text};
use crate::error::CliError;
use crate::output::{Exit, Outcome, shown};

pub(super) fn run(context: &Context, format: Format, output: Option<&Path>) -> Result<Outcome, CliError> {
    let mut registry = context.existing_registry()?;
    // Counts of look-ups that are still being gathered belong to it.
    registry.flush(system::now())?;
    let Some(path) = output else {
        // The log itself is the output; there is nothing to add to it.
        let exported = write(&registry, format, &mut BufWriter::new(std::io::stdout().lock()))?;
        return match exported {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(cannot_write(&error)),
            _ => Ok(Outcome::text_only(String::new())),
        };
    };
    let count =
        write_whole(path, |file| write(&registry, format, file)?.map_err(|error| cannot_write(&error)))?;
    let (head, key) = (registry.head()?, registry.log_key().to_multibase());
    let head = head.as_ref().map(head_text);
    let data = json!({ "tokens": count, "file": path.display().to_string(), "head": head, "key": key });
    Ok(Outcome::new("tibet.overlay.audit.export", data)
        .line(format_args!("{count} tokens to {}", shown(path)))
        .pairs(&[("signed by", key), ("head", head.unwrap_or_default())])
        .line("Note the head elsewhere: tibet-overlay audit verify --head notices with it what is cut off later."))
}

/// Writes a file under another name first: what was at `path` stays until the new file is whole.
fn write_whole<T>(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> Result<T, CliError>,
) -> Result<T, CliError> {
    let failed =
        |error: std::io::Error| CliError::new(Exit::Unavailable, format!("{}: {error}", path.display()));
    if path.is_file() && begins_as_database(path) {
        return Err(CliError::new(
            Exit::Usage,
            format!("{} is a database; it would be overwritten", path.display()),
        ));
    }
    if path.symlink_metadata().is_ok_and(|file| !file.is_file()) {
        // A pipe or a device: there is nothing to keep, and nothing to give another name.
        return fill(&mut BufWriter::new(File::create(path).map_err(failed)?));
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let mut file = BufWriter::new(File::create(&temporary).map_err(failed)?);
    let written = fill(&mut file).and_then(|out| {
        file.get_ref().sync_all().and_then(|()| std::fs::rename(&temporary, path)).map_err(failed)?;
        Ok(out)
    });
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

fn begins_as_database(path: &Path) -> bool {
    use std::io::Read as _;
    let mut start = [0; 16];
    File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok()
        && start == *b"SQLite format 3\0"
}

/// Writes the whole log, token by token, and gives how many there are. What goes wrong in reading it is an error of its own.
fn write(registry: &AnyRegistry, format: Format, out: &mut dyn Write) -> Result<io::Result<u64>, CliError> {
    let (mut written, mut failed) = (0, None);
    registry.store().for_each_token(0, &mut |_, token| {
        if failed.is_none() {
            failed = write_token(format, &token, written, out).err();
            written += 1;
        }
    })?;
    if let Some(error) = failed {
        return Ok(Err(error));
    }
    let end: &[u8] = match (format, written) {
        (Format::Jsonl, _) => b"",
        (Format::Json, 0) => b"[]\n",
        (Format::Json, _) => b"\n]\n",
    };
    Ok(out.write_all(end).and_then(|()| out.flush()).map(|()| written))
}

fn write_token(format: Format, token: &Token, before: u64, out: &mut dyn Write) -> io::Result<()> {
    match (format, before) {
        (Format::Jsonl, _) => writeln!(out, "{}", token.to_json_line()),
        (Format::Json, 0) => write!(out, "[\n{}", token.to_json_line()),
        (Format::Json, _) => write!(out, ",\n{}", token.to_json_line()),
    }
}

fn cannot_write(error: &io::Error) -> CliError {
    CliError::new(Exit::Unavailable, format!("cannot write the export: {error}"))
}
