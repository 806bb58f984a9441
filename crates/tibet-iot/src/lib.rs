//! The wire: UDP sockets, multicast discovery, and what a node keeps between runs.
//!
//! The protocol is decided in `tibet-ping`, which opens no socket and reads no clock. This crate moves the bytes:
//!
//! | part | does |
//! |---|---|
//! | [`IotNode`] | a node on the network: sockets, time, disk and application round a [`tibet_ping::PingNode`] |
//! | [`SealedInbox`], [`SealedSender`] | between a node and whoever has the tunnels |
//! | [`UdpPort`] | the node's main socket: many datagrams per system call, both ways; no peer's error stops it |
//! | [`Discovery`] | announces on every interface and hears what others announce, as interfaces come and go |
//! | [`Interfaces`] | which addresses this machine has, and which sources are its neighbours (SECURITY R17) |
//! | [`Audit`] | what happens, as tokens |
//! | [`system`] | the clock and the randomness of this machine |
//! | [`NodeState`] | the keys seen before and the bound that outlives a restart, on disk (SECURITY R22, R72) |
//!
//! It runs on Linux: the batching and the control messages are the kernel's own. Sockets need a tokio runtime with I/O and time enabled.

pub mod system;

mod interfaces;
pub use interfaces::{Interface, Interfaces, Prefix};
mod multicast;
pub use multicast::{
    Announced, Change, Discovery, DiscoveryConfig, Family, GROUP_V4, GROUP_V6, Heard, Membership, PORT,
};
mod node;
pub use node::{
    Audit, AuditStore, Events, Frames, IntentAnswer, IntentRequest, IotNode, MAIN_PORT, NodeError, Outbox,
    Outcome, Question, SealedInbox, SealedSender, StartError, TransportConfig,
};
mod state;
pub use state::{KnownKey, NodeState, StateError};
mod udp;
pub use udp::{Outgoing, ReceiveBuffers, SendReport, UdpPort, UdpStats};
