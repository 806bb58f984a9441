//! The two clocks of the caller.

use std::time::Duration;

use jis::UnixTime;

/// The time, as the caller's clocks show it at one moment. No machine here reads a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Wall-clock time: for what is signed and for expiry. May be set forward and back.
    pub wall: UnixTime,
    /// Time since some fixed moment, such as the start of the program: for timers. Never runs backwards; where it seems to, it is taken
    /// to stand still. It should go on while the machine is suspended.
    pub mono: Duration,
}
