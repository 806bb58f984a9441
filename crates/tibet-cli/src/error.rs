//! What went wrong, with what exit code, and what to do next.

use std::fmt::Display;
use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

use serde_json::json;
use tibet_iot::{NodeError, StartError, StateError};
use tibet_overlay::{DeviceError, ExportError, OpenError, OverlayError, secret_file::SecretFileError};
use tibet_ping::{AskError, OperatorError};
use tibet_registry::{Refusal, StoreError};

use crate::output::{Exit, plain};

/// An error as the user sees it.
#[derive(Debug)]
pub(crate) struct CliError {
    exit: Exit,
    message: String,
    hint: Option<String>,
}

impl CliError {
    pub(crate) fn new(exit: Exit, message: impl Display) -> Self {
        Self { exit, message: message.to_string(), hint: None }
    }

    /// Says what to try.
    pub(crate) fn hint(mut self, hint: impl Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// Prints on standard error, as a JSON object where the output is JSON, and gives the exit code.
    pub(crate) fn print(&self, as_json: bool) -> ExitCode {
        let mut err = anstream::stderr();
        let _ = if as_json {
            let error = json!({ "code": self.exit.code(), "message": self.message, "hint": self.hint });
            writeln!(err, "{}", json!({ "schema": "tibet.error", "version": 1, "error": error }))
        } else {
            writeln!(err, "error: {}", plain(&self.message))
        };
        if let (Some(hint), false) = (&self.hint, as_json) {
            let _ = writeln!(err, "  try: {}", plain(hint));
        }
        ExitCode::from(self.exit.code())
    }
}

impl From<OverlayError> for CliError {
    fn from(error: OverlayError) -> Self {
        let message = error.to_string();
        match error {
            OverlayError::Name(_) | OverlayError::Options(_) => Self::new(Exit::Usage, message),
            OverlayError::Refused(refusal) => refusal.into(),
            OverlayError::Device(device) => device.into(),
            OverlayError::Open(open) => open.into(),
            OverlayError::NotHere(name) => Self::new(Exit::No, message)
                .hint(format!("tibet-overlay id new {name}, or --state-dir with its keys")),
            _ => Self::new(Exit::Unavailable, message),
        }
    }
}

impl From<Refusal> for CliError {
    fn from(refusal: Refusal) -> Self {
        match &refusal {
            Refusal::Store(error) => error.clone().into(),
            Refusal::Busy(_) | Refusal::Quota { .. } => Self::new(Exit::Temporary, refusal),
            Refusal::ClockUnset(_) => Self::new(Exit::Unavailable, refusal),
            Refusal::Score => Self::new(Exit::Usage, refusal),
            Refusal::Unknown(_) => {
                Self::new(Exit::No, refusal).hint("tibet-overlay status lists the names this registry knows")
            }
            _ => Self::new(Exit::No, refusal),
        }
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        let exit = match error {
            StoreError::Full | StoreError::Busy => Exit::Temporary,
            StoreError::ReadOnly => Exit::Permission,
            StoreError::Damaged(_) | StoreError::Foreign(_) => Exit::Configuration,
            _ => Exit::Unavailable,
        };
        Self::new(exit, error)
    }
}

impl From<DeviceError> for CliError {
    fn from(error: DeviceError) -> Self {
        let message = error.to_string();
        match error {
            DeviceError::File(file) => file.into(),
            DeviceError::Pem { source: jis::pem::PemError::PassphraseNeeded, .. } => {
                Self::new(Exit::Permission, message).hint("--passphrase-file FILE")
            }
            DeviceError::Pem { source: jis::pem::PemError::WrongPassphrase, .. } => {
                Self::new(Exit::Permission, message)
            }
            DeviceError::Pem { .. } | DeviceError::State { .. } => Self::new(Exit::Configuration, message),
            DeviceError::Event(_)
            | DeviceError::HistoryFull(_)
            | DeviceError::Revoked { .. }
            | DeviceError::Answer(_) => Self::new(Exit::No, message),
            DeviceError::ChangedMeanwhile { .. } => {
                Self::new(Exit::Temporary, message).hint("the same again")
            }
            DeviceError::Unsignable(_) => Self::new(Exit::Usage, message),
            _ => Self::new(Exit::Unavailable, message),
        }
    }
}

impl From<SecretFileError> for CliError {
    fn from(error: SecretFileError) -> Self {
        let message = error.to_string();
        match error {
            SecretFileError::Permissions { .. }
            | SecretFileError::Owner { .. }
            | SecretFileError::NotRegular { .. } => Self::new(Exit::Permission, message),
            SecretFileError::Io { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
                Self::new(Exit::Permission, message)
            }
            SecretFileError::Io { source, .. } if source.kind() == ErrorKind::StorageFull => {
                Self::new(Exit::Temporary, message).hint("free some space")
            }
            SecretFileError::Exists { .. } => {
                Self::new(Exit::Configuration, message).hint("move it away first, if it is no longer needed")
            }
            _ => Self::new(Exit::Configuration, message),
        }
    }
}

impl From<OpenError> for CliError {
    fn from(error: OpenError) -> Self {
        let message = error.to_string();
        match error {
            OpenError::Device(device) => device.into(),
            OpenError::Store { source, .. } => Self { message, ..Self::from(source) },
            _ => Self::new(Exit::Configuration, message),
        }
    }
}

impl From<ExportError> for CliError {
    fn from(error: ExportError) -> Self {
        let message = error.to_string();
        match error {
            ExportError::Overlay(error) => error.into(),
            _ => Self::new(Exit::Unavailable, message),
        }
    }
}

impl From<StateError> for CliError {
    fn from(error: StateError) -> Self {
        let exit = match &error {
            StateError::InUse { .. } => Exit::Temporary,
            StateError::Permissions { .. } | StateError::Owner { .. } | StateError::WrongKind { .. } => {
                Exit::Permission
            }
            StateError::Io { source, .. } if source.kind() == ErrorKind::PermissionDenied => Exit::Permission,
            StateError::Io { source, .. } if source.kind() == ErrorKind::StorageFull => Exit::Temporary,
            StateError::Io { .. } => Exit::Unavailable,
            _ => Exit::Configuration,
        };
        Self::new(exit, error)
    }
}

impl From<tibet_core::StoreError> for CliError {
    fn from(error: tibet_core::StoreError) -> Self {
        let damaged = matches!(error, tibet_core::StoreError::Line { .. });
        Self::new(if damaged { Exit::Configuration } else { Exit::Unavailable }, error)
    }
}

impl From<StartError> for CliError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::State(state) => state.into(),
            StartError::Bind(bind) => match bind.kind() {
                ErrorKind::AddrNotAvailable => {
                    Self::new(Exit::Unavailable, format!("this machine has no such address: {bind}"))
                        .hint("--bind with one of its own addresses, or without --bind for all of them")
                }
                ErrorKind::PermissionDenied => {
                    Self::new(Exit::Permission, bind).hint("--port with a number from 1024 on")
                }
                _ => Self::new(Exit::Unavailable, bind),
            },
            other => Self::new(Exit::Unavailable, other),
        }
    }
}

impl From<NodeError> for CliError {
    fn from(error: NodeError) -> Self {
        match error {
            NodeError::State(state) => state.into(),
            NodeError::Audit(store) => store.into(),
            other => Self::new(Exit::Unavailable, other),
        }
    }
}

impl From<AskError> for CliError {
    fn from(error: AskError) -> Self {
        let exit = match error {
            AskError::Full => Exit::Temporary,
            AskError::NoRandomness => Exit::Unavailable,
            _ => Exit::Usage,
        };
        Self::new(exit, error)
    }
}

impl From<OperatorError> for CliError {
    fn from(error: OperatorError) -> Self {
        let exit = if error == OperatorError::NoRandomness { Exit::Unavailable } else { Exit::Usage };
        Self::new(exit, error)
    }
}
