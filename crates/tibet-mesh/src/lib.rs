//! Paths and tunnels between devices, as pure machines: no socket, no clock, no randomness of their own.
//!
//! | to … | see |
//! |---|---|
//! | take part in the mesh | [`Mesh`], which joins the rest |
//! | tell the mesh's datagrams from others | [`Wire`] |
//! | know whose an overlay address is | [`Routes`] |
//! | look at what travels in a tunnel | [`InnerPacket`] |
//! | let somebody answer and not begin | [`Mesh::set_answers_only`] |
//! | ask whether a path works | [`ProbeKeys`] |
//! | have tunnels | [`Tunnels`] |
//! | pass on what cannot go directly | [`RelayServer`]; on the devices' side [`RelayClient`] |
//! | find the paths to a peer, and take the best | [`Paths`], [`choose`] |

mod budget;
pub use budget::{PROBES_PER_ADDRESS, PROBES_PER_PEER, ProbeBudget};
mod choice;
pub use choice::{Health, Measured, Path, RelayId, choose};
mod flows;
mod inner;
pub use inner::{InnerPacket, InnerReject};
mod mesh;
pub use mesh::{Mesh, MeshCounts, MeshEvent, MeshTransmit, PeerError, PeerStatus, Undeliverable};
mod paths;
pub use paths::{MAX_CANDIDATES, Paths, ProbeTransmit};
mod probe;
pub use probe::{
    ANSWER_LENGTH, CONFIRM_LENGTH, Checked, PROBE_LENGTH, ProbeId, ProbeKeys, Role, Session, session_of,
};
mod relay;
pub use relay::{
    Delivered, MAX_RELAYED, RELAY_OVERHEAD, RelayClient, RelayConfig, RelayCounts, RelayDrop, RelayKeys,
    RelayOpening, RelayRefusal, RelayServer, RelayUsage,
};
mod routes;
pub use routes::{MAX_PEERS, RouteError, Routes};
#[cfg(test)]
mod sample;
mod tunnels;
pub use tunnels::{
    COOKIES_AT_ONCE, COOKIES_PER_SECOND, HANDSHAKES_AT_ONCE, HANDSHAKES_PER_SECOND, Opened, Refusal,
    TunnelDestination, TunnelStats, TunnelTransmit, Tunnels,
};
mod ways;
pub use ways::{MAX_RELAYS, Standing};
mod wire;
pub use wire::{
    PROBE, PROBE_ANSWER, PROBE_CONFIRM, RELAY_ALIVE, RELAY_CALL, RELAY_DELIVERY, RELAY_SEND, Wire,
};
