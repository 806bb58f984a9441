//! How `up` takes part in the mesh.

use std::net::SocketAddr;

use clap::Args;
use tibet_overlay::daemon::{ExposeAt, ForwardTo, MESH_MTU, MeshConfig};

use crate::error::CliError;
use crate::overlay::ports::{exposed, forwarded};

#[derive(Debug, Args)]
#[command(next_help_heading = "Mesh")]
pub(super) struct MeshArgs {
    /// Make a TUN device of this name: any program speaks to NAME.tibet.internal (root or CAP_NET_ADMIN)
    #[arg(long, value_name = "NAME", conflicts_with = "no_mesh")]
    tun: Option<String>,

    /// Without root: connections to LISTEN go to a port of a peer, as LISTEN=NAME:PORT (repeatable)
    #[arg(long, value_name = "LISTEN=NAME:PORT", conflicts_with = "no_mesh")]
    forward: Vec<String>,

    /// Without root: peers in GROEN reach a program of this machine at PORT, or PORT:[ADDR:]LOCAL (repeatable)
    #[arg(long, value_name = "PORT[:LOCAL]", conflicts_with_all = ["no_mesh", "tun"])]
    expose: Vec<String>,

    /// Answer names under tibet.internal by DNS, on a loopback address [default: with --tun 127.0.71.50:53]
    #[arg(long, value_name = "ADDR:PORT", conflicts_with = "no_mesh")]
    dns: Option<SocketAddr>,

    /// Bytes of a packet in a tunnel
    #[arg(long, value_name = "BYTES", default_value_t = MESH_MTU, value_parser = clap::value_parser!(u16).range(1280..=9000))]
    mtu: u16,

    /// Do not ask the router for a port that leads here (PCP, NAT-PMP)
    #[arg(long)]
    no_port_mapping: bool,

    /// Take no part in the mesh
    #[arg(long)]
    no_mesh: bool,
}

/// Where names are answered where there is a TUN device: an address that nobody else uses, at the port that resolvers ask.
const DNS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 71, 50)), 53);

impl MeshArgs {
    pub(super) fn config(&self, network: &str) -> Result<Option<MeshConfig>, CliError> {
        if self.no_mesh {
            return Ok(None);
        }
        let forwards: Vec<ForwardTo> =
            self.forward.iter().map(|text| forwarded(text)).collect::<Result<_, _>>()?;
        let exposes: Vec<ExposeAt> =
            self.expose.iter().map(|text| exposed(text)).collect::<Result<_, _>>()?;
        Ok(Some(MeshConfig {
            network: network.to_owned(),
            tun: self.tun.clone(),
            mtu: self.mtu,
            forwards,
            exposes,
            dns: self.dns.or_else(|| self.tun.as_ref().map(|_| DNS)),
            port_mapping: !self.no_port_mapping,
        }))
    }
}
