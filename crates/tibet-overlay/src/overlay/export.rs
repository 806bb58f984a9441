//! The audit log as text, for other programs.

use std::io::{self, Write};

use tibet_core::Token;
use tibet_registry::{Store, StoreError};

use super::{IdentityOverlay, OverlayError};
use crate::system;

/// A form of the exported log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditFormat {
    /// One token per line: what Python's `tibet_core.FileStore` loads.
    JsonLines,
    /// One JSON array.
    Json,
}

/// Why an export stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The log could not be read.
    #[error(transparent)]
    Overlay(#[from] OverlayError),
    /// The export could not be written.
    #[error("cannot write the export: {0}")]
    Write(#[from] io::Error),
}

impl<S: Store> IdentityOverlay<S> {
    /// Writes the whole audit log, token by token, and returns how many there were. Counts of look-ups that are still being gathered are
    /// written to the log first.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn export_audit(&mut self, format: AuditFormat, out: &mut dyn Write) -> Result<u64, ExportError> {
        self.registry.flush(system::now()).map_err(OverlayError::from)?;
        let mut written = 0;
        let mut failed = None;
        let read = self.registry.store().for_each_token(0, &mut |_, token| {
            if failed.is_none() {
                failed = write_token(format, &token, written, out).err();
                written += 1;
            }
        });
        if let Some(error) = failed {
            return Err(error.into());
        }
        read.map_err(|error: StoreError| OverlayError::from(error))?;
        if format == AuditFormat::Json {
            out.write_all(if written == 0 { b"[]\n" } else { b"\n]\n" })?;
        }
        out.flush()?;
        Ok(written)
    }
}

fn write_token(format: AuditFormat, token: &Token, before: u64, out: &mut dyn Write) -> io::Result<()> {
    match (format, before) {
        (AuditFormat::JsonLines, _) => writeln!(out, "{}", token.to_json_line()),
        (AuditFormat::Json, 0) => write!(out, "[\n{}", token.to_json_line()),
        (AuditFormat::Json, _) => write!(out, ",\n{}", token.to_json_line()),
    }
}
