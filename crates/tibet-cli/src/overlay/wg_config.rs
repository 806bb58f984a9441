//! `tibet-overlay wg-config`
//!
//! Two identities have a tunnel as soon as each side knows the other's transport key, whatever program makes it: on the wire it is WireGuard. The peer's key
//! comes from its verified record and from nowhere else (SECURITY R54).

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::net::{IpAddr, SocketAddr};

use base64ct::{Base64, Encoding as _};
use clap::Args;
use jis::{Endpoint, Name, TransportKey};
use serde_json::json;
use tibet_overlay::{LocalDevice, RemoteError, Route, RouteOrigin};
use zeroize::Zeroizing;

use super::Context;
use crate::error::CliError;
use crate::identities::parse_name;
use crate::output::{Exit, Outcome};
use crate::process::runtime;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct WgConfigArgs {
    /// Whom to reach
    name: String,

    /// Where NAME is [default: the first public address of its record]
    #[arg(long, value_name = "ADDR:PORT")]
    endpoint: Option<SocketAddr>,

    /// UDP port to use here [default: any]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    listen_port: Option<u16>,

    /// For `wg setconf` instead of `wg-quick`: without Address and MTU
    #[arg(long)]
    setconf: bool,
}

const EXAMPLES: &str = "\
With it stock WireGuard reaches NAME as this device, in place of tibet-overlay up. It holds this device's secret transport key: keep it as a private key.
Two programs must not use one key at once, so it is refused while tibet-overlay up runs as this device.

The other side must know this device before it speaks: this device is registered (tibet-overlay register --node ADDR), and there it is named, as in
tibet-overlay up --trust THIS=0.95. Stock WireGuard finds no direct path by itself and uses no relay: NAME needs an address that can be reached from here.

Examples:
  (umask 077; tibet-overlay wg-config jis:home:hub --node node.example > hub.conf) && wg-quick up ./hub.conf
  tibet-overlay wg-config jis:home:hub --setconf | wg setconf wg0 /dev/stdin";

/// Bytes of a packet in a tunnel: what every device of the mesh takes.
const MTU: u16 = tibet_overlay::daemon::MESH_MTU;
/// Seconds between packets that keep a NAT's mapping: the other side finds us by it.
const KEEPALIVE: u16 = 25;

/// What is known of the peer, all of it from its record.
struct Peer {
    name: Name,
    key: TransportKey,
    address: IpAddr,
    endpoint: SocketAddr,
    /// Whether the record's time has run out.
    stale: bool,
}

pub(super) fn run(context: &Context, args: &WgConfigArgs) -> Result<Outcome, CliError> {
    let name = parse_name(&args.name)?;
    let device = context.own_device()?;
    let own = device.identity().name.clone();
    if own == name {
        return Err(CliError::new(Exit::Usage, format!("{name} is this device itself")));
    }
    if context.daemon_of(&own).is_some() {
        let message = format!("{own} is up, and two programs must not use one transport key at once");
        return Err(CliError::new(Exit::Temporary, message)
            .hint("end tibet-overlay up first; or leave it running, it reaches the same devices"));
    }
    let route = runtime(1)?.block_on(route(context, &device, &name))?;
    let peer = peer(context, name, &route, args.endpoint)?;
    let config = config(context, args, &device, &peer)?;
    if std::io::stdout().is_terminal() {
        let _ = writeln!(anstream::stderr(), "warning: the PrivateKey that follows is this device's secret");
    }
    let data = json!({
        "name": own.as_str(),
        "overlay_address": context.overlay_address(&device.identity().fingerprint),
        "peer": peer.name.as_str(),
        "peer_overlay_address": peer.address.to_string(),
        "peer_public_key": Base64::encode_string(peer.key.as_bytes()),
        "endpoint": peer.endpoint.to_string(),
        "stale": peer.stale,
        "config": config,
    });
    Ok(Outcome::new("tibet.overlay.wg_config", data).line(config.trim_end()))
}

/// From the nodes if any were given, else what was verified before.
async fn route(context: &Context, device: &LocalDevice, name: &Name) -> Result<Route, CliError> {
    let nodes = &context.settings.nodes;
    let remote = context.nodes_as(device.node_identity()?, nodes).await?;
    let resolved = remote.client().resolve(name, || None).await;
    resolved.map_err(|error| {
        if nodes.is_empty() {
            return CliError::new(Exit::No, format!("the record of {name} is not known here"))
                .hint("--node ADDR asks a node for it");
        }
        RemoteError::from(error).into()
    })
}

fn peer(context: &Context, name: Name, route: &Route, given: Option<SocketAddr>) -> Result<Peer, CliError> {
    let record = route.record.as_ref().map(|record| record.claims());
    let key = record.and_then(|record| record.transport_key);
    let (Some(identity), Some(record), Some(key)) = (&route.identity, record, key) else {
        let message = format!("{name} has no transport key in its record: it does not take part in the mesh");
        return Err(CliError::new(Exit::No, message).hint("there: tibet-overlay up"));
    };
    let endpoint = given.or_else(|| best(&record.endpoints)).ok_or_else(|| {
        CliError::new(Exit::No, format!("the record of {name} says no address")).hint("--endpoint ADDR:PORT")
    })?;
    let address = identity.fingerprint.overlay_address(&context.settings.network).into();
    Ok(Peer { name, key, address, endpoint, stale: route.origin == RouteOrigin::LastKnown })
}

/// The first address that can be reached from anywhere, else the first.
fn best(endpoints: &[Endpoint]) -> Option<SocketAddr> {
    let addresses = || endpoints.iter().map(Endpoint::address);
    addresses().find(|address| is_public(address.ip())).or_else(|| addresses().next())
}

/// Whether an address of a record is one of the whole internet's, and not of a private network (RFC 1918, 4193) or a carrier's (RFC 6598).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => !(ip.is_private() || ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64),
        IpAddr::V6(ip) => !ip.is_unique_local(),
    }
}

fn config(
    context: &Context,
    args: &WgConfigArgs,
    device: &LocalDevice,
    peer: &Peer,
) -> Result<String, CliError> {
    let secret = device.transport()?;
    let private_key = Zeroizing::new(Base64::encode_string(secret.to_bytes().as_slice()));
    let identity = device.identity();
    let mut text = String::new();
    let mut line = |line: std::fmt::Arguments<'_>| {
        // Writing to a text does not fail.
        let _ = writeln!(text, "{line}");
    };
    line(format_args!("# {}", identity.name));
    line(format_args!("[Interface]"));
    line(format_args!("PrivateKey = {}", *private_key));
    if !args.setconf {
        line(format_args!("Address = {}/128", context.overlay_address(&identity.fingerprint)));
        line(format_args!("MTU = {MTU}"));
    }
    if let Some(port) = args.listen_port {
        line(format_args!("ListenPort = {port}"));
    }
    line(format_args!(""));
    line(format_args!("# {}", peer.name));
    if peer.stale {
        line(format_args!("# Its record has run out: this is where it was."));
    }
    line(format_args!("[Peer]"));
    line(format_args!("PublicKey = {}", Base64::encode_string(peer.key.as_bytes())));
    line(format_args!("AllowedIPs = {}/128", peer.address));
    line(format_args!("Endpoint = {}", peer.endpoint));
    line(format_args!("PersistentKeepalive = {KEEPALIVE}"));
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_is_the_first_that_can_be_reached_from_anywhere() {
        let endpoints = |texts: &[&str]| -> Vec<Endpoint> {
            let endpoint =
                |text: &&str| Endpoint::new(text.parse().expect("an address")).expect("an endpoint");
            texts.iter().map(endpoint).collect()
        };
        let local = ["192.168.1.10:7150", "10.0.0.1:1", "100.64.1.2:1", "[fd00::1]:7150"];
        for public in ["203.0.113.5:7150", "[2001:db8::1]:7150", "100.128.0.1:1", "172.32.0.1:1"] {
            let listed = endpoints(&[&local[..], &[public, "198.51.100.1:9"]].concat());
            assert_eq!(best(&listed), public.parse().ok(), "{public}");
        }
        assert_eq!(best(&endpoints(&local)), local[0].parse().ok(), "else the first: it may be near");
        assert_eq!(best(&[]), None);
    }
}
