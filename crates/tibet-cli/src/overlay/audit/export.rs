//! `tibet-overlay audit export`

use std::fs::File;
use std::io::{BufWriter, ErrorKind};
use std::path::Path;

use serde_json::json;
use tibet_overlay::{AuditFormat, ExportError, IdentityOverlay};

use super::{Context, head_text};
use crate::error::CliError;
use crate::output::{Exit, Outcome, shown};

pub(super) fn run(
    context: &Context,
    format: AuditFormat,
    output: Option<&Path>,
) -> Result<Outcome, CliError> {
    let mut overlay = IdentityOverlay::over(context.existing_registry()?);
    let Some(path) = output else {
        // The log itself is the output; there is nothing to add to it.
        return match overlay.export_audit(format, &mut BufWriter::new(std::io::stdout().lock())) {
            Err(ExportError::Write(error)) if error.kind() == ErrorKind::BrokenPipe => {
                Ok(Outcome::text_only(String::new()))
            }
            exported => exported.map(|_| Outcome::text_only(String::new())).map_err(CliError::from),
        };
    };
    let count = write_whole(path, |file| Ok(overlay.export_audit(format, file)?))?;
    let registry = overlay.registry();
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
