//! Where the database is, and whether the way there needs TLS.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use postgres::config::{Host, SslMode};
use postgres::{Client, Config, NoTls};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::errors;
use crate::store::StoreError;

/// How long one attempt to connect may take, unless the URL says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the other side may leave what was sent unacknowledged, and how often a silent one is asked whether it is there.
const USER_TIMEOUT: Duration = Duration::from_secs(20);
const KEEPALIVE: Duration = Duration::from_secs(15);

/// A database to connect to.
pub(super) struct Target {
    config: Config,
    /// None where nothing leaves this machine and nobody asked for it.
    tls: Option<MakeRustlsConnect>,
}

impl Target {
    /// Reads `postgresql://user:password@host/database?option=value` or `host=… user=…`. Of `sslmode` there are `disable`, for this
    /// machine only, and what is done anyway: TLS whose certificate was checked, name included (SECURITY R71). `sslrootcert` names a
    /// file of certificates to check it against, instead of the system's.
    pub(super) fn parse(text: &str) -> Result<Self, StoreError> {
        let (text, options) = take_options(text);
        let refused = |what: &str| StoreError::Foreign(format!("the address of the database: {what}"));
        // The library's words name options and never repeat values: a URL holds a password.
        let mut config: Config = text.parse().map_err(|error| refused(&errors::words(&error)))?;
        let wanted = match options.mode.as_deref() {
            None | Some("prefer" | "allow") => None,
            Some("disable") => Some(false),
            Some("require" | "verify-ca" | "verify-full") => Some(true),
            Some(_) => return Err(refused("sslmode is disable, require, verify-ca or verify-full")),
        };
        let local = is_local(&config);
        if wanted == Some(false) && !local {
            return Err(refused("sslmode=disable is for this machine only; a database elsewhere needs TLS"));
        }
        let secure = wanted.unwrap_or(!local);
        config.ssl_mode(if secure { SslMode::Require } else { SslMode::Disable });
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(USER_TIMEOUT);
        }
        config.keepalives_idle(KEEPALIVE).keepalives_interval(KEEPALIVE);
        if config.get_application_name().is_none() {
            config.application_name("tibet-registry");
        }
        let tls = secure.then(|| connector(options.roots)).transpose()?;
        Ok(Self { config, tls })
    }

    pub(super) fn connect(&self) -> Result<Client, postgres::Error> {
        match &self.tls {
            Some(tls) => self.config.connect(tls.clone()),
            None => self.config.connect(NoTls),
        }
    }
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the password.
        let hosts = self.config.get_hosts();
        f.debug_struct("Target").field("hosts", &hosts).field("tls", &self.tls.is_some()).finish()
    }
}

/// Options that the client library does not know, or knows less well.
#[derive(Default)]
struct Options {
    mode: Option<String>,
    roots: Option<PathBuf>,
}

impl Options {
    fn take(&mut self, option: &str) -> bool {
        match option.split_once('=') {
            Some(("sslmode", mode)) => self.mode = Some(mode.to_owned()),
            Some(("sslrootcert", path)) => self.roots = Some(unescape(path).into()),
            _ => return false,
        }
        true
    }
}

fn take_options(text: &str) -> (String, Options) {
    let mut options = Options::default();
    let text = if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        let (address, query) = text.split_once('?').unwrap_or((text, ""));
        let rest: Vec<&str> = query.split('&').filter(|option| !options.take(option)).collect();
        if rest.is_empty() { address.to_owned() } else { format!("{address}?{}", rest.join("&")) }
    } else {
        let rest: Vec<&str> = text.split_whitespace().filter(|option| !options.take(option)).collect();
        rest.join(" ")
    };
    (text, options)
}

/// `%2F` and the like, in a path.
fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match (first, tail) {
            (b'%', [high, low, ..]) => std::str::from_utf8(&[*high, *low])
                .ok()
                .and_then(|digits| u8::from_str_radix(digits, 16).ok()),
            _ => None,
        };
        out.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Whether all ways to the database stay on this machine. An address counts before the name it belongs to.
fn is_local(config: &Config) -> bool {
    let (hosts, addresses) = (config.get_hosts(), config.get_hostaddrs());
    if !addresses.is_empty() {
        return addresses.iter().all(|address| address.to_canonical().is_loopback());
    }
    let local = |host: &Host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            let address = name.parse::<std::net::IpAddr>();
            name == "localhost" || address.is_ok_and(|address| address.to_canonical().is_loopback())
        }
    };
    hosts.iter().all(local)
}

/// Checks certificates as libpq's `verify-full` does: the chain up to a known root, the time, and the name.
fn connector(file: Option<PathBuf>) -> Result<MakeRustlsConnect, StoreError> {
    let mut roots = RootCertStore::empty();
    let unreadable = |path: &PathBuf, why: &dyn std::fmt::Display| {
        StoreError::Failed(format!("certificates in {}: {why}", path.display()))
    };
    if let Some(path) = &file {
        for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unreadable(path, &error))? {
            let certificate = certificate.map_err(|error| unreadable(path, &error))?;
            roots.add(certificate).map_err(|error| unreadable(path, &error))?;
        }
        if roots.is_empty() {
            return Err(unreadable(path, &"there are none"));
        }
    } else {
        // Some of a system's certificates may be unreadable; the one that is needed decides.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| StoreError::Failed(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(text: &str) -> SslMode {
        Target::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).config.get_ssl_mode()
    }

    /// Rule R71: what leaves this machine is encrypted and checked, whatever the address says.
    #[test]
    fn only_this_machine_is_reached_without_tls() {
        for local in [
            "postgresql://u@localhost/db",
            "postgresql://u@127.0.0.1:5433/db?sslmode=disable",
            "postgresql://u@[::1]/db?sslmode=prefer",
            "postgresql:///db?host=/run/postgresql&user=u",
            "host=/run/postgresql user=u sslmode=disable",
            "host=db.example hostaddr=127.0.0.1 user=u",
        ] {
            assert_eq!(mode(local), SslMode::Disable, "{local}");
        }
        for remote in [
            "postgresql://u@db.example/db",
            "postgresql://u@192.0.2.7/db?sslmode=prefer",
            "postgresql://u@localhost,db.example/db",
            "host=localhost hostaddr=192.0.2.7 user=u",
            "host=db.example user=u sslmode=verify-full",
            "postgresql://u@localhost/db?sslmode=verify-full",
        ] {
            assert_eq!(mode(remote), SslMode::Require, "{remote}");
        }
        for refused in [
            "postgresql://u@db.example/db?sslmode=disable",
            "host=localhost hostaddr=192.0.2.7 user=u sslmode=disable",
            "postgresql://u@localhost,db.example/db?sslmode=disable",
            "postgresql://u@localhost/db?sslmode=maybe",
        ] {
            assert!(matches!(Target::parse(refused), Err(StoreError::Foreign(_))), "{refused}");
        }
    }

    #[test]
    fn an_address_that_is_none_is_refused_without_repeating_its_password() {
        for bad in ["postgresql://u:hunter2@localhost/db?nonsense=hunter2", "u:hunter2", "host=a hunter2"] {
            let error = Target::parse(bad).expect_err(bad).to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
        let target = Target::parse("postgresql://u:hunter2@localhost/db").expect("fine");
        assert!(!format!("{target:?}").contains("hunter2"));
    }

    #[test]
    fn certificates_come_from_the_file_that_is_named() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("root certificates.pem");
        let url = |path: &std::path::Path| {
            let path = path.display().to_string().replace('/', "%2F").replace(' ', "%20");
            format!("postgresql://u@db.example/db?sslrootcert={path}&sslmode=verify-full&connect_timeout=9")
        };
        assert!(matches!(Target::parse(&url(&path)), Err(StoreError::Failed(_))), "no such file");
        std::fs::write(&path, "nothing").expect("written");
        assert!(matches!(Target::parse(&url(&path)), Err(StoreError::Failed(_))), "no certificates in it");
        assert_eq!(unescape("%2Fa%20b%2"), "/a b%2");
        let (text, _) = take_options(&url(&path));
        assert_eq!(text, "postgresql://u@db.example/db?connect_timeout=9");
    }
}
