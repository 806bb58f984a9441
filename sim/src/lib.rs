//! A simulated network for the mesh: NATs, bad links, roaming, restarts and attackers, all from one seed. See `README.md`.

pub mod attack;
pub mod host;
pub mod net;
pub mod random;
pub mod scenario;
pub mod services;
pub mod totals;
pub mod watch;
pub mod world;
