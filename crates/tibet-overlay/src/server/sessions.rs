//! Which devices are there, and where they were last heard.

use std::net::SocketAddr;
use std::time::Duration;

use tibet_ping::{address_bytes, address_from};

use crate::intents::PresenceState;

/// Identities looked at in one round of [`Sessions::sweep`]: a million take half a minute of rounds, each below a millisecond.
const SWEEP: usize = 40_000;
/// Times an identity may come back to where it was before within [`TUG_WINDOW`], before two devices are taken to share its key (SECURITY R41).
const MAX_TUGS: u8 = 3;
const TUG_WINDOW: u32 = 60;

/// 48 bytes an identity. Times are in seconds of the node's monotonic time, from 1 on; 0 is never.
#[derive(Debug, Clone, Copy, Default)]
struct Session {
    address: [u8; 18],
    /// Where it was before, to notice two devices pulling at one identity.
    before: [u8; 18],
    heard: u32,
    tugs_since: u32,
    tugs: u8,
    gone: bool,
}

/// What a sign of life has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// Nothing.
    Again,
    /// It had not been heard since the node began, or was gone.
    Back,
    /// It is elsewhere now.
    Moved,
    /// It is elsewhere now, as so often within a minute: two devices have its key.
    Torn,
}

/// Where a device was last heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The address.
    pub address: SocketAddr,
    /// When, in the node's monotonic time.
    pub at: Duration,
    /// Whether it is there.
    pub state: PresenceState,
}

/// The devices that were heard, by the number of their identity.
#[derive(Debug)]
pub(super) struct Sessions {
    sessions: Vec<Session>,
    gone_after: u32,
    online: usize,
    swept_to: usize,
}

impl Sessions {
    pub(super) fn new(gone_after: Duration) -> Self {
        Self {
            sessions: Vec::new(),
            gone_after: u32::try_from(gone_after.as_secs()).unwrap_or(u32::MAX),
            online: 0,
            swept_to: 0,
        }
    }

    /// A device has registered from `address`.
    pub(super) fn register(&mut self, number: u32, address: SocketAddr, now: Duration) -> Heard {
        let (here, now) = (address_bytes(address), seconds(now));
        let session = self.session(number);
        let was_there = session.heard > 0 && !session.gone;
        let known = session.heard > 0;
        (session.heard, session.gone) = (now, false);
        let heard = if !known {
            session.address = here;
            Heard::Back
        } else if session.address == here {
            if was_there { Heard::Again } else { Heard::Back }
        } else {
            if now.saturating_sub(session.tugs_since) > TUG_WINDOW {
                (session.tugs, session.tugs_since) = (0, now);
            }
            session.tugs = session.tugs.saturating_add(u8::from(session.before == here));
            (session.before, session.address) = (session.address, here);
            if session.tugs > MAX_TUGS { Heard::Torn } else { Heard::Moved }
        };
        self.online += usize::from(!was_there);
        heard
    }

    /// A keepalive from `address`, whose token says that it was given to the device there. `None` when the device has been elsewhere since.
    pub(super) fn keep(&mut self, number: u32, address: SocketAddr, now: Duration) -> Option<Heard> {
        let session = self.session(number);
        if session.heard == 0 {
            // After a restart of the node the token alone is known; it says all there is to know.
            return Some(self.register(number, address, now));
        }
        if session.address != address_bytes(address) {
            return None;
        }
        session.heard = seconds(now);
        let back = std::mem::replace(&mut session.gone, false);
        self.online += usize::from(back);
        Some(if back { Heard::Back } else { Heard::Again })
    }

    /// The device has said goodbye, or may not speak any more. Whether it was there.
    pub(super) fn end(&mut self, number: u32) -> bool {
        let session = self.session(number);
        let was_there = session.heard > 0 && !std::mem::replace(&mut session.gone, true);
        self.online -= usize::from(was_there);
        was_there
    }

    /// Where a device was last heard.
    pub(super) fn seen(&self, number: u32) -> Option<Seen> {
        let session = self.sessions.get(number as usize).filter(|session| session.heard > 0)?;
        let state = if session.gone { PresenceState::Gone } else { PresenceState::Online };
        let at = Duration::from_secs((session.heard - 1).into());
        Some(Seen { address: address_from(session.address), at, state })
    }

    /// Devices that are there.
    pub(super) fn online(&self) -> usize {
        self.online
    }

    /// Looks at the next part of the table and gives those that have not been heard for too long; they are gone now. To be called once a
    /// second.
    pub(super) fn sweep(&mut self, now: Duration) -> Vec<u32> {
        let now = seconds(now);
        let end = (self.swept_to + SWEEP).min(self.sessions.len());
        let mut gone = Vec::new();
        for number in self.swept_to..end {
            let session = &mut self.sessions[number];
            if session.heard > 0 && !session.gone && now.saturating_sub(session.heard) >= self.gone_after {
                session.gone = true;
                gone.extend(u32::try_from(number));
            }
        }
        self.swept_to = if end == self.sessions.len() { 0 } else { end };
        self.online -= gone.len();
        gone
    }

    fn session(&mut self, number: u32) -> &mut Session {
        let at = number as usize;
        if self.sessions.len() <= at {
            self.sessions.resize(at + 1, Session::default());
        }
        &mut self.sessions[at]
    }
}

/// Seconds, from 1 on.
fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs().saturating_add(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GONE: Duration = Duration::from_secs(120);

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([203, 0, 113, 1], port))
    }

    #[test]
    fn a_device_is_there_until_it_was_silent_for_two_minutes_and_back_with_its_next_word() {
        let mut sessions = Sessions::new(GONE);
        let start = Duration::from_secs(1000);
        assert_eq!(sessions.register(7, at(1), start), Heard::Back);
        assert_eq!(sessions.keep(7, at(1), start + GONE / 2), Some(Heard::Again));
        assert!(sessions.sweep(start + GONE).is_empty());
        assert_eq!(sessions.sweep(start + GONE / 2 + GONE), [7]);
        assert!(sessions.sweep(start + 2 * GONE).is_empty(), "told once");
        assert_eq!(sessions.seen(7).map(|seen| seen.state), Some(PresenceState::Gone));
        assert_eq!(sessions.online(), 0);
        assert_eq!(sessions.keep(7, at(1), start + 3 * GONE), Some(Heard::Back));
        assert_eq!(sessions.online(), 1);
        assert!(sessions.end(7) && !sessions.end(7));
        assert_eq!(sessions.online(), 0);
    }

    /// SECURITY R24: only a registration moves a device.
    #[test]
    fn a_keepalive_from_elsewhere_moves_nothing() {
        let mut sessions = Sessions::new(GONE);
        let start = Duration::from_secs(1000);
        sessions.register(7, at(1), start);
        assert_eq!(sessions.register(7, at(2), start), Heard::Moved);
        assert_eq!(sessions.keep(7, at(1), start), None);
        assert_eq!(sessions.seen(7).map(|seen| seen.address), Some(at(2)));
    }

    /// SECURITY R41: the same key from two paths in turn.
    #[test]
    fn two_devices_that_pull_at_one_identity_are_noticed() {
        let mut sessions = Sessions::new(GONE);
        let mut now = Duration::from_secs(1000);
        sessions.register(7, at(1), now);
        let mut heard = Vec::new();
        for turn in 0..6 {
            now += Duration::from_secs(5);
            heard.push(sessions.register(7, at(if turn % 2 == 0 { 2 } else { 1 }), now));
        }
        assert_eq!(heard.iter().filter(|heard| **heard == Heard::Torn).count(), 2, "{heard:?}");
        // A device that goes from network to network and back within an hour is none of these.
        for turn in 0..12 {
            now += Duration::from_secs(300);
            assert_ne!(sessions.register(8, at(3 + turn % 2), now), Heard::Torn);
        }
    }

    #[test]
    fn a_sweep_is_a_part_of_the_table_and_all_of_it_is_swept_in_the_end() {
        let mut sessions = Sessions::new(GONE);
        for number in 0..100_000 {
            sessions.register(number, at(1), Duration::ZERO);
        }
        let late = GONE * 2;
        let rounds: Vec<usize> = (0..4).map(|_| sessions.sweep(late).len()).collect();
        assert_eq!(rounds, [SWEEP, SWEEP, 20_000, 0]);
        assert_eq!(sessions.online(), 0);
    }
}
