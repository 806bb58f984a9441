//! The identity overlay.
//!
//! Identity belongs to the device, not to the network: a device is registered, verified, resolved and found by its name and key,
//! wherever it is. [`IdentityOverlay`] is the whole of it in a few calls; its example is the place to start.
//!
//! | to … | see |
//! |---|---|
//! | use it | [`IdentityOverlay`], [`DeviceOptions`] |
//! | hold a device's keys | [`LocalDevice`], [`DeviceFiles`] |
//! | find devices through nodes, and remember them | [`OverlayClient`], [`NameMemory`] |
//! | keep it on disk | [`StateDir`], [`secret_file`] |
//! | put the registry on the network | [`server`], [`http`] |
//! | ask one such node | [`NodeClient`] |
//! | keep a device registered with them | [`daemon`] |
//! | see what the network in between does | [`netcheck`] |
//!
//! This crate is the shell round the pure crates below: it reads the clock, draws randomness, touches files and moves datagrams.

pub mod daemon;
pub mod http;
pub mod intents;
pub mod netcheck;
pub mod secret_file;
pub mod server;
pub use tibet_iot::system;

mod claim_report;
pub use claim_report::ClaimReport;
mod client;
pub use client::{
    Asked, Asker, Connected, FoundName, IncomingQuestion, MAX_FOUND, MakeNode, NodeAddress, NodeAddressError,
    NodeClient, NodePath, NodePins, OverlayClient, Pong, QueryError, ReachError, RelayOpened, ResolveError,
    Route, RouteNote, RouteOrigin, Session, Socket, Verification, Wire,
};
mod device;
pub use device::{DeviceError, DeviceFiles, LocalDevice, Presence};
mod name_memory;
pub use name_memory::{KnownName, LearnError, MAX_REMEMBERED, NameMemory};
mod overlay;
pub use overlay::{
    AuditFormat, DeviceOptions, ExportError, IdentityOverlay, IdentityProof, NodeSummary, OptionsError,
    OverlayError, OverlayRoute, OverlayStatus,
};
mod remote;
pub use remote::{
    Attempt, FindReport, FoundDevice, PingReport, RemoteError, RemoteErrorKind, RemoteOverlay, ResolveReport,
    VerifyReport,
};
mod state_dir;
pub use state_dir::{NoStoreLocation, OpenError, StateDir, StoreLocation};
