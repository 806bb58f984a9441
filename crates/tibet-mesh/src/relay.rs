//! The relay: for two devices between which nothing goes directly, a node passes on what it cannot read.
//!
//! | frame | from | bytes | says |
//! |---|---|---|---|
//! | send | device | 56 and the message | pass this on to that address |
//! | delivery | relay | 56 and the message | that address sent this |
//! | call | device | 48 | are you there, and may I be found here? |
//! | alive | relay | 48 | yes; show this, and you may |
//!
//! A session is between one device and one relay. Both have its keys from the [request](jis::RelayOpen) that opened it and from the relay's answer, so nobody else makes
//! a frame of it, and no frame counts twice (SECURITY R53). What is passed on is sealed from one device to the other: the relay's keys protect the way, not the words.
//! Wire format: `docs/spec/relay.md`.
//!
//! | file | has |
//! |---|---|
//! | `server.rs` | [`RelayServer`]: the relay |
//! | `client.rs` | [`RelayClient`]: a device's end of a session |
//! | `keys.rs`, `frames.rs` | what both ends make frames with, and the frames |
//! | `window.rs` | which frames came before |
//! | `quota.rs` | what an identity may send |
//! | `turn.rs` | what is sent when a batch was taken in |
//! | `index.rs` | finding a session among many |
//! | `secret.rs` | what the relay alone can compute |
//! | `counts.rs` | what has become of the frames |

mod client;
pub use client::{Delivered, RelayClient};
mod counts;
pub use counts::{RelayCounts, RelayDrop};
mod frames;
pub use frames::{MAX_RELAYED, RELAY_OVERHEAD};
mod index;
mod keys;
pub use keys::RelayKeys;
mod quota;
pub use quota::{RelayConfig, RelayUsage};
mod secret;
mod server;
pub use server::{RelayOpening, RelayRefusal, RelayServer};
mod turn;
mod window;
