//! The identities of the state directory, and names as users write them.

use jis::{Fingerprint, Name};
use tibet_overlay::{LocalDevice, OverlayError};
use zeroize::Zeroizing;

use crate::error::CliError;
use crate::output::Exit;
use crate::settings::Settings;

impl Settings {
    pub(crate) fn passphrase(&self) -> Result<Option<Zeroizing<String>>, CliError> {
        let Some(path) = &self.passphrase_file else { return Ok(None) };
        let text = tibet_overlay::secret_file::read(path)?;
        match text.lines().next() {
            Some(line) if !line.is_empty() => Ok(Some(Zeroizing::new(line.to_owned()))),
            _ => Err(CliError::new(
                Exit::Configuration,
                format!("{}: its first line, the passphrase, is empty", path.display()),
            )),
        }
    }

    pub(crate) fn identities(&self) -> Result<Vec<Name>, CliError> {
        let read = self.state.identities();
        read.map_err(|error| {
            CliError::new(Exit::Permission, format!("{}: {error}", self.state.root().display()))
        })
    }

    pub(crate) fn open_device(&self, name: &Name) -> Result<LocalDevice, CliError> {
        Ok(self.state.identity(name, self.passphrase()?).open()?)
    }
}

pub(crate) fn parse_name(text: &str) -> Result<Name, CliError> {
    Name::from_input(text).map_err(|error| OverlayError::from(error).into())
}

/// A fingerprint as people compare it: the first 16 hex digits in groups of four. Programs get all 64.
pub(crate) fn short(fingerprint: &Fingerprint) -> String {
    let hex = fingerprint.to_string();
    (0..16).step_by(4).filter_map(|at| hex.get(at..at + 4)).collect::<Vec<_>>().join(" ")
}
