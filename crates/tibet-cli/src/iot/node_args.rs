//! The options that all nodes have.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use jis::{Name, PublicKey};
use tibet_iot::{DiscoveryConfig, IotNode, PORT};
use tibet_ping::{Binding, Encoding, NodeConfig};

use super::input;
use crate::error::CliError;

/// Options of `listen`, `send` and `discover`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct NodeArgs {
    /// How far NAME is trusted, 0 to 1 (repeatable): from 0.7 on its pings are accepted, from 0.3 on they wait for you, below that
    /// they get silence
    #[arg(long, value_name = "NAME=SCORE")]
    trust: Vec<String>,

    /// The key of NAME, z6Mk… or 64 hex digits (repeatable) [default: the one it is first seen with]
    #[arg(long, value_name = "NAME=KEY")]
    key: Vec<String>,

    /// Let NAME speak without a signature, as devices with the Python packages do (repeatable): anybody can then speak in that name
    #[arg(long, value_name = "NAME")]
    allow_unsigned: Vec<String>,

    /// The address of this machine to use [default: all, IPv4 and IPv6]
    #[arg(long, value_name = "ADDR")]
    bind: Option<String>,

    /// Write packets as msgpack instead of JSON; answers are written as the question was
    #[arg(long)]
    msgpack: bool,

    /// Append a signed token to FILE for everything that happens; tibet-overlay audit verify FILE checks it
    #[arg(long, value_name = "FILE")]
    pub(super) audit: Option<PathBuf>,
}

/// Where nodes look for each other.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct DiscoveryArgs {
    /// The UDP port of announcements
    #[arg(long, value_name = "PORT", default_value_t = PORT)]
    discovery_port: u16,

    /// Announce and hear announcements only on this network interface (repeatable) [default: all]
    #[arg(long, value_name = "NAME")]
    interface: Vec<String>,
}

impl DiscoveryArgs {
    pub(super) fn config(&self) -> DiscoveryConfig {
        let only = (!self.interface.is_empty()).then(|| self.interface.clone());
        DiscoveryConfig { port: self.discovery_port, only, ..DiscoveryConfig::default() }
    }
}

/// [`NodeArgs`], understood.
pub(super) struct Setup {
    trust: Vec<(Name, f64)>,
    keys: Vec<(Name, PublicKey)>,
    unsigned: Vec<Name>,
    bind: IpAddr,
    encoding: Encoding,
}

impl NodeArgs {
    /// To be called before anything is made: wrong input leaves nothing behind.
    pub(super) fn read(&self) -> Result<Setup, CliError> {
        let unsigned = self.allow_unsigned.iter().map(|text| input::name("--allow-unsigned", text));
        Ok(Setup {
            trust: self.trust.iter().map(|text| input::trust(text)).collect::<Result<_, _>>()?,
            keys: self.key.iter().map(|text| input::key(text)).collect::<Result<_, _>>()?,
            unsigned: unsigned.collect::<Result<_, _>>()?,
            bind: input::bind(self.bind.as_deref())?,
            encoding: if self.msgpack { Encoding::Msgpack } else { Encoding::Json },
        })
    }
}

impl Setup {
    pub(super) fn bind(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.bind, port)
    }

    /// What the options say of the protocol.
    pub(super) fn config(&self) -> NodeConfig {
        NodeConfig { encoding: self.encoding, ..NodeConfig::default() }
    }

    /// Tells a node whom to trust and by which key.
    pub(super) fn apply(&self, node: &IotNode) -> Result<(), CliError> {
        for (name, key) in &self.keys {
            node.bind_key(Binding { name: name.clone(), key: *key, generation: 0 })?;
        }
        for name in &self.unsigned {
            node.allow_unsigned(name.clone())?;
        }
        for (name, score) in &self.trust {
            node.set_trust(name.clone(), *score, "--trust")?;
        }
        Ok(())
    }
}
