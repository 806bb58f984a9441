//! `tibet-overlay ip`

use std::net::Ipv6Addr;

use clap::Args;
use jis::{Fingerprint, Name};
use serde_json::json;
use tibet_overlay::ResolveReport;
use tibet_overlay::daemon::AddressReport;

use super::Context;
use super::remote::{As, Way};
use super::resolve;
use crate::error::CliError;
use crate::identities::parse_name;
use crate::output::{Exit, Outcome, plain};
use crate::process::runtime;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct IpArgs {
    /// Whose overlay address [default: this device's own]
    name: Option<String>,
}

const EXAMPLES: &str = "\
An overlay address follows from the identity and the name of the network alone: it stays the same wherever the device is. Programs use it, or the name in
DNS, while tibet-overlay up --tun runs.

Examples:
  tibet-overlay ip
  tibet-overlay ip jis:home:hub
  ssh \"$(tibet-overlay ip jis:home:hub)\"";

pub(super) fn run(context: &Context, args: &IpArgs) -> Result<Outcome, CliError> {
    let report = match &args.name {
        Some(name) => address_of(context, &parse_name(name)?)?,
        None => own_address(context)?,
    };
    Ok(Outcome::new("tibet.overlay.ip", json!(report)).line(plain(&report.overlay_address)))
}

/// Whoever asks the daemon wants the address that packets reach through it; it is noted there whose that is.
fn address_of(context: &Context, name: &Name) -> Result<AddressReport, CliError> {
    let asked = context.remotely(As::Anybody, |way| {
        let name = name.clone();
        async move {
            match way {
                Way::Daemon(control) => Ok(Asked::Address(control.address(&name).await?)),
                way @ Way::Nodes(_) => Ok(Asked::Route(Box::new(way.resolve(&name).await?))),
            }
        }
    })?;
    let route = match asked {
        Some(Asked::Address(report)) => return Ok(report),
        Some(Asked::Route(route)) => *route,
        None => resolve::from_registry(context, name)?,
    };
    from_route(context, name, &route)
}

enum Asked {
    Address(AddressReport),
    Route(Box<ResolveReport>),
}

fn from_route(context: &Context, name: &Name, route: &ResolveReport) -> Result<AddressReport, CliError> {
    let fingerprint = route.fingerprint.as_deref().and_then(|fingerprint| fingerprint.parse().ok());
    match fingerprint {
        Some(fingerprint) if route.resolved => Ok(in_network(context, name, &fingerprint)),
        _ => {
            let reason =
                route.reason.clone().unwrap_or_else(|| format!("the identity of {name} is not known"));
            Err(CliError::new(Exit::No, reason))
        }
    }
}

fn own_address(context: &Context) -> Result<AddressReport, CliError> {
    // It may run in another network than this call's settings name.
    if let Some(daemon) = context.daemon()? {
        let status = runtime(1)?.block_on(daemon.status())?;
        let address = status.mesh.and_then(|mesh| mesh.address.parse::<Ipv6Addr>().ok());
        if let Some(address) = address {
            return Ok(AddressReport::new(&parse_name(&status.name)?, address));
        }
    }
    let device = context.own_device()?;
    let identity = device.identity();
    Ok(in_network(context, &identity.name, &identity.fingerprint))
}

fn in_network(context: &Context, name: &Name, fingerprint: &Fingerprint) -> AddressReport {
    AddressReport::new(name, fingerprint.overlay_address(&context.settings.network))
}
