//! What users write, in the form that nodes take.
//!
//! Everything wrong is misuse (exit code 2), says what was expected and shows an example.

use std::fmt::Display;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::time::Duration;

use jis::{Name, PublicKey};
use tibet_core::json::{self, Object, Value};

use crate::error::CliError;
use crate::output::Exit;

/// Longest time that can be waited for: a day.
const MOST_SECONDS: f64 = 86_400.0;

fn wrong(option: &str, problem: impl Display, example: &str) -> CliError {
    CliError::new(Exit::Usage, format!("{option}: {problem}")).hint(example)
}

/// A name, as users write it.
pub(super) fn name(option: &str, text: &str) -> Result<Name, CliError> {
    Name::from_input(text).map_err(|error| wrong(option, error, &format!("{option} jis:home:hub")))
}

/// `NAME=SCORE`.
pub(super) fn trust(text: &str) -> Result<(Name, f64), CliError> {
    const EXAMPLE: &str = "--trust jis:home:sensor=0.9";
    let (left, right) = split("--trust", "NAME=SCORE", text, EXAMPLE)?;
    let score = right.parse().ok().filter(|score| (0.0..=1.0).contains(score));
    let score =
        score.ok_or_else(|| wrong("--trust", format!("a score is 0 to 1, not {right:?}"), EXAMPLE))?;
    Ok((named("--trust", left, EXAMPLE)?, score))
}

/// `NAME=KEY`.
pub(super) fn key(text: &str) -> Result<(Name, PublicKey), CliError> {
    const EXAMPLE: &str = "--key jis:home:sensor=z6Mk…, as tibet-overlay id show prints it on that device";
    let (left, right) = split("--key", "NAME=KEY", text, EXAMPLE)?;
    let name = named("--key", left, EXAMPLE)?;
    let key: PublicKey = right.parse().map_err(|error| wrong("--key", error, EXAMPLE))?;
    if name.certified_key().is_some_and(|spelled| spelled != key) {
        return Err(wrong("--key", format!("{name} spells another key"), EXAMPLE));
    }
    Ok((name, key))
}

/// `NAME=HOST:PORT`.
pub(super) fn peer(text: &str) -> Result<(Name, SocketAddr), CliError> {
    const EXAMPLE: &str = "--peer jis:home:relay=192.168.1.1:7150";
    let (left, right) = split("--peer", "NAME=HOST:PORT", text, EXAMPLE)?;
    Ok((named("--peer", left, EXAMPLE)?, address("--peer", right, EXAMPLE)?))
}

fn split<'a>(option: &str, form: &str, text: &'a str, example: &str) -> Result<(&'a str, &'a str), CliError> {
    // No name holds the sign; a host could not either.
    text.split_once('=').ok_or_else(|| wrong(option, format!("expected {form}, not {text:?}"), example))
}

fn named(option: &str, text: &str, example: &str) -> Result<Name, CliError> {
    Name::from_input(text).map_err(|error| wrong(option, error, example))
}

/// `HOST:PORT`: an address, an IPv6 address in brackets, or a name to be resolved, for which an IPv4 address is taken if it has one.
pub(super) fn address(option: &str, text: &str, example: &str) -> Result<SocketAddr, CliError> {
    let form = || format!("expected HOST:PORT, not {text:?}");
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once("]:").ok_or_else(|| wrong(option, form(), example))?,
        None => text.rsplit_once(':').ok_or_else(|| wrong(option, form(), example))?,
    };
    if !text.starts_with('[') && host.contains(':') {
        return Err(wrong(option, format!("an IPv6 address stands in brackets: [{host}]:{port}"), example));
    }
    let port = port.parse().ok().filter(|port: &u16| *port != 0);
    let port = port.ok_or_else(|| wrong(option, format!("a port is 1 to 65535: {text:?}"), example))?;
    if host.is_empty() {
        return Err(wrong(option, form(), example));
    }
    let unresolved = |reason: &dyn Display| {
        CliError::new(Exit::Unavailable, format!("{option}: {host} has no address: {reason}"))
            .hint("its IP address instead of its name")
    };
    let found: Vec<SocketAddr> =
        (host, port).to_socket_addrs().map_err(|error| unresolved(&error))?.collect();
    let best = found.iter().find(|address| address.is_ipv4()).or(found.first());
    best.copied().ok_or_else(|| unresolved(&"none was found"))
}

/// The address a socket is bound to.
pub(super) fn bind(text: Option<&str>) -> Result<IpAddr, CliError> {
    let Some(text) = text else { return Ok(Ipv6Addr::UNSPECIFIED.into()) };
    let example = "--bind 127.0.0.1, or --bind :: for all addresses; --port is an option of its own";
    text.parse().map_err(|_| {
        wrong("--bind", format!("expected an IP address of this machine, not {text:?}"), example)
    })
}

/// A JSON object.
pub(super) fn payload(text: Option<&str>) -> Result<Object, CliError> {
    const EXAMPLE: &str = r#"--payload '{"unit": "celsius"}'"#;
    let Some(text) = text else { return Ok(Object::new()) };
    match json::parse(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(wrong("--payload", "expected a JSON object in braces", EXAMPLE)),
        Err(error) => Err(wrong("--payload", format!("not JSON: {error}"), EXAMPLE)),
    }
}

/// A number of seconds, with a fraction if need be.
pub(super) fn seconds(option: &str, seconds: f64) -> Result<Duration, CliError> {
    if seconds.is_finite() && (0.0..=MOST_SECONDS).contains(&seconds) {
        return Ok(Duration::from_secs_f64(seconds));
    }
    Err(wrong(option, format!("expected seconds, 0 to {MOST_SECONDS}"), &format!("{option} 10")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_every_form() {
        let read = |text: &str| address("HOST:PORT", text, "").map(|address| address.to_string());
        assert_eq!(read("192.0.2.1:7150").expect("IPv4"), "192.0.2.1:7150");
        assert_eq!(read("[2001:db8::1]:7150").expect("IPv6"), "[2001:db8::1]:7150");
        // Whatever the order of the hosts file.
        assert_eq!(read("localhost:9").expect("a name"), "127.0.0.1:9");
        for text in [
            "",
            "192.0.2.1",
            ":7150",
            "[]:7150",
            "192.0.2.1:",
            "192.0.2.1:0",
            "192.0.2.1:65536",
            "::1:7150",
            "[::1]",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn scores_outside_zero_to_one_are_no_scores() {
        assert_eq!(trust("jis:a=0").expect("least").1, 0.0);
        assert_eq!(trust("home:hub=1.0").expect("most").0.as_str(), "jis:home:hub");
        for text in
            ["jis:a", "jis:a=", "jis:a=1.01", "jis:a=-0.1", "jis:a=NaN", "jis:a=inf", "=0.5", "jis:A=0.5"]
        {
            assert!(trust(text).is_err(), "{text}");
        }
    }
}
