//! Telling the system's resolver, when somebody asks for it, that this zone is ours.
//!
//! Only systemd-resolved (246 or newer) can send one zone to one server; `resolvectl` tells it. What is set belongs to the interface and goes with it.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use super::name::ZONE;

const PROGRAM: &str = "resolvectl";

/// Why the system's resolver could not be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SystemDnsError {
    /// There is no systemd-resolved here.
    #[error(
        "no `resolvectl` here, so the system cannot be told: have your resolver ask {0} for tibet.internal"
    )]
    NoResolvectl(SocketAddr),
    /// It was told, and would not.
    #[error("`resolvectl {command}` failed: {reason}")]
    Refused {
        /// What was to be done.
        command: String,
        /// What it said.
        reason: String,
    },
    /// It could not be run.
    #[error("`resolvectl` cannot be run: {0}")]
    Run(io::Error),
}

/// An interface whose names the system's resolver asks our server for.
#[derive(Debug)]
pub struct SystemDns {
    program: OsString,
    interface: String,
    server: SocketAddr,
}

impl SystemDns {
    /// Has the system ask `server` for names under `tibet.internal`, as long as `interface` is there. Waits for `resolvectl`, which needs root or an
    /// administrator's consent: not to be called where waiting is harmful.
    ///
    /// # Errors
    /// [`SystemDnsError`]; nothing is changed then.
    pub fn set(interface: &str, server: SocketAddr) -> Result<Self, SystemDnsError> {
        Self::set_with(PROGRAM.into(), interface, server)
    }

    fn set_with(program: OsString, interface: &str, server: SocketAddr) -> Result<Self, SystemDnsError> {
        let system = Self { program, interface: interface.into(), server };
        // The zone first: a server without one would be asked for everything.
        let zone = format!("~{}", ZONE.join("."));
        system.run(&["domain", interface, &zone])?;
        if let Err(error) = system.run(&["dns", interface, &server.to_string()]) {
            // It is the first failure that says something.
            let _ = system.run(&["revert", interface]);
            return Err(error);
        }
        Ok(system)
    }

    /// Takes it back.
    ///
    /// # Errors
    /// [`SystemDnsError`].
    pub fn unset(self) -> Result<(), SystemDnsError> {
        self.run(&["revert", &self.interface])
    }

    fn run(&self, arguments: &[&str]) -> Result<(), SystemDnsError> {
        let ended = Command::new(&self.program).args(arguments).stdin(Stdio::null()).output();
        let ended = ended.map_err(|error| match error.kind() {
            ErrorKind::NotFound => SystemDnsError::NoResolvectl(self.server),
            _ => SystemDnsError::Run(error),
        })?;
        if ended.status.success() {
            return Ok(());
        }
        let reason = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
        Err(SystemDnsError::Refused { command: arguments.join(" "), reason })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn server() -> SocketAddr {
        "127.0.0.1:7153".parse().expect("address")
    }

    /// A program that notes what it is told and fails at `fails`.
    fn noting(folder: &std::path::Path, fails: &str) -> OsString {
        let program = folder.join("resolvectl");
        let notes = folder.join("notes");
        let script = format!(
            "#!/bin/sh\necho \"$*\" >> {}\nif [ \"$1\" = {fails} ]; then echo 'Access denied' >&2; exit 1; fi\n",
            notes.display()
        );
        fs::write(&program, script).expect("written");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("made runnable");
        program.into()
    }

    #[test]
    fn the_resolver_is_told_of_the_zone_before_the_server_and_both_are_taken_back() {
        let folder = tempfile::tempdir().expect("folder");
        let told = || fs::read_to_string(folder.path().join("notes")).expect("notes");
        let system = SystemDns::set_with(noting(folder.path(), "-"), "tibet0", server()).expect("set");
        assert_eq!(told(), "domain tibet0 ~tibet.internal\ndns tibet0 127.0.0.1:7153\n");
        system.unset().expect("unset");
        assert!(told().ends_with("\nrevert tibet0\n"));
    }

    #[test]
    fn a_refusal_is_told_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().expect("folder");
        let refused =
            SystemDns::set_with(noting(folder.path(), "dns"), "tibet0", server()).expect_err("refused");
        assert_eq!(refused.to_string(), "`resolvectl dns tibet0 127.0.0.1:7153` failed: Access denied");
        assert!(fs::read_to_string(folder.path().join("notes")).expect("notes").ends_with("revert tibet0\n"));
        let missing = SystemDns::set_with(folder.path().join("none").into(), "tibet0", server());
        assert!(matches!(missing, Err(SystemDnsError::NoResolvectl(_))));
    }
}
