//! How ports are written: `LISTEN=NAME:PORT` and `NAME:PORT` to forward, `PORT[:LOCAL]` to expose.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tibet_overlay::daemon::{ExposeAt, ForwardTo};

use crate::error::CliError;
use crate::identities::parse_name;
use crate::output::Exit;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// `LISTEN=NAME:PORT`.
pub(super) fn forwarded(text: &str) -> Result<ForwardTo, CliError> {
    let wrong = || {
        CliError::new(Exit::Usage, format!("--forward: {text:?} is no LISTEN=NAME:PORT"))
            .hint("--forward 1883=jis:home:hub:1883")
    };
    let (listen, to) = text.split_once('=').ok_or_else(wrong)?;
    let (name, port) = target(to)?;
    Ok(ForwardTo { listen: local(listen).ok_or_else(wrong)?, name, port })
}

/// `NAME:PORT`.
pub(super) fn target(text: &str) -> Result<(jis::Name, u16), CliError> {
    let wrong =
        || CliError::new(Exit::Usage, format!("{text:?} is no name with a port")).hint("jis:home:hub:1883");
    let (name, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port: u16 = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
    Ok((parse_name(name)?, port))
}

/// `PORT[:LOCAL]`.
pub(super) fn exposed(text: &str) -> Result<ExposeAt, CliError> {
    let wrong = || {
        CliError::new(Exit::Usage, format!("{text:?} is no PORT[:LOCAL]"))
            .hint("1883, or 80:8080, or 80:192.168.1.5:80")
    };
    let (port, to) = text.split_once(':').map_or((text, None), |(port, to)| (port, Some(to)));
    let port: u16 = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
    let to = to.map_or(Some(SocketAddr::new(LOOPBACK, port)), local).ok_or_else(wrong)?;
    Ok(ExposeAt { port, local: to })
}

/// An address with a port, or a port of this machine.
pub(super) fn local(text: &str) -> Option<SocketAddr> {
    match text.parse() {
        Ok(port) => Some(SocketAddr::new(LOOPBACK, port)),
        Err(_) => text.parse().ok(),
    }
}
