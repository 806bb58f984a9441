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

/// Changes of an identity that reach the disk: so many at once, and one in so many seconds from then on (SECURITY R64).
const CHANGES: u32 = 16;
const CHANGE_EVERY: u32 = 10;

/// 72 bytes an identity. Times are in seconds of the node's monotonic time, from 1 on; 0 is never.
#[derive(Debug, Clone, Copy, Default)]
struct Session {
    address: [u8; 18],
    /// Where it was before, to notice two devices pulling at one identity.
    before: [u8; 18],
    /// The beginning of the key it registered with. Whoever makes another key with the same has both.
    key: [u8; 8],
    /// When it came to its address from another one, in milliseconds.
    moved: u64,
    heard: u32,
    tugs_since: u32,
    /// When it may change [`CHANGES`] times at once again.
    changes_full: u32,
    tugs: u8,
    state: State,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// Never heard, or heard of late.
    #[default]
    There,
    /// Silent for too long.
    Gone,
    /// It has said goodbye, or its key has ended: only a registration brings it back.
    Ended,
}

impl Session {
    fn is_there(&self) -> bool {
        self.heard > 0 && self.state == State::There
    }
}

/// Who registers, from where, and since when that is known to be its address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Comer<'a> {
    pub(super) number: u32,
    pub(super) key: &'a [u8; 32],
    pub(super) address: SocketAddr,
    /// When the cookie was issued that it shows.
    pub(super) shown: Duration,
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
    /// Nothing: the question was meant for before it moved to where it is (SECURITY R24).
    Stale,
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
    /// Whose key has ended while they were there, until the next sweep tells of them.
    lapsed: Vec<u32>,
}

impl Sessions {
    pub(super) fn new(gone_after: Duration) -> Self {
        Self {
            sessions: Vec::new(),
            gone_after: u32::try_from(gone_after.as_secs()).unwrap_or(u32::MAX),
            online: 0,
            swept_to: 0,
            lapsed: Vec::new(),
        }
    }

    /// A device has registered.
    pub(super) fn register(&mut self, comer: Comer<'_>, now: Duration) -> Heard {
        let (here, key) = (address_bytes(comer.address), beginning(comer.key));
        let session = self.session(comer.number);
        let was_there = session.is_there();
        if session.key != key {
            // Of another key's session nothing counts any more.
            *session = Session { key, changes_full: session.changes_full, ..Session::default() };
        }
        let known = session.heard > 0;
        let moves = known && session.address != here;
        if moves && millis(comer.shown) < session.moved {
            return Heard::Stale;
        }
        let at = seconds(now);
        (session.heard, session.state) = (at, State::There);
        let heard = if moves {
            if at.saturating_sub(session.tugs_since) > TUG_WINDOW {
                (session.tugs, session.tugs_since) = (0, at);
            }
            session.tugs = session.tugs.saturating_add(u8::from(session.before == here));
            session.before = session.address;
            session.moved = millis(now);
            if session.tugs > MAX_TUGS { Heard::Torn } else { Heard::Moved }
        } else if known && was_there {
            Heard::Again
        } else {
            Heard::Back
        };
        session.address = here;
        self.online += usize::from(!was_there);
        heard
    }

    /// A keepalive from `address`, whose token says that it was given to the device there with this key. `None` when the device has been
    /// elsewhere since, or has ended. `away` says whether its record is a goodbye; it is asked after a restart only.
    pub(super) fn keep(
        &mut self,
        comer: Comer<'_>,
        now: Duration,
        away: impl FnOnce() -> bool,
    ) -> Option<Heard> {
        let session = self.session(comer.number);
        if session.heard == 0 {
            // After a restart of the node the token alone is known; it says all there is to know.
            return (!away()).then(|| self.register(comer, now));
        }
        let same = session.address == address_bytes(comer.address) && session.key == beginning(comer.key);
        if !same || session.state == State::Ended {
            return None;
        }
        session.heard = seconds(now);
        let back = std::mem::replace(&mut session.state, State::There) == State::Gone;
        self.online += usize::from(back);
        Some(if back { Heard::Back } else { Heard::Again })
    }

    /// The device has said goodbye, or may not speak any more. Whether it was there.
    pub(super) fn end(&mut self, number: u32) -> bool {
        let session = self.session(number);
        let was_there = session.is_there();
        session.state = State::Ended;
        self.online -= usize::from(was_there);
        was_there
    }

    /// An identity has this key now, or none that counts: a session of another key has ended.
    pub(super) fn set_key(&mut self, number: u32, key: Option<&[u8; 32]>) {
        let known = self.sessions.get(number as usize).filter(|session| session.heard > 0);
        let ends = known.is_some_and(|session| key.is_none_or(|key| session.key != beginning(key)));
        if ends && self.end(number) {
            self.lapsed.push(number);
        }
    }

    /// Likewise for all identities.
    pub(super) fn set_keys(&mut self, key_of: impl Fn(u32) -> Option<[u8; 32]>) {
        for number in 0..u32::try_from(self.sessions.len()).unwrap_or(u32::MAX) {
            if self.sessions[number as usize].heard > 0 {
                self.set_key(number, key_of(number).as_ref());
            }
        }
    }

    /// Takes one change that reaches the disk off what an identity may make.
    ///
    /// # Errors
    /// How long until it may make another.
    pub(super) fn take_change(&mut self, number: u32, now: Duration) -> Result<(), Duration> {
        let now = seconds(now);
        let session = self.session(number);
        let after = session.changes_full.max(now).saturating_add(CHANGE_EVERY);
        let over = after.saturating_sub(now.saturating_add(CHANGES * CHANGE_EVERY));
        if over > 0 {
            return Err(Duration::from_secs(over.into()));
        }
        session.changes_full = after;
        Ok(())
    }

    /// Whether this is where a device is.
    pub(super) fn is_at(&self, number: u32, address: SocketAddr) -> bool {
        let session = self.sessions.get(number as usize);
        session.is_some_and(|session| session.is_there() && session.address == address_bytes(address))
    }

    /// Where a device was last heard.
    pub(super) fn seen(&self, number: u32) -> Option<Seen> {
        let session = self.sessions.get(number as usize).filter(|session| session.heard > 0)?;
        let state = if session.is_there() { PresenceState::Online } else { PresenceState::Gone };
        let at = Duration::from_secs((session.heard - 1).into());
        Some(Seen { address: address_from(session.address), at, state })
    }

    /// Devices that are there.
    pub(super) fn online(&self) -> usize {
        self.online
    }

    /// Looks at the next part of the table and gives those that have not been heard for too long; they are gone now. With them all whose key
    /// has ended. To be called once a second.
    pub(super) fn sweep(&mut self, now: Duration) -> Vec<u32> {
        let now = seconds(now);
        let end = (self.swept_to + SWEEP).min(self.sessions.len());
        let mut gone = Vec::new();
        for number in self.swept_to..end {
            let session = &mut self.sessions[number];
            if session.is_there() && now.saturating_sub(session.heard) >= self.gone_after {
                session.state = State::Gone;
                gone.extend(u32::try_from(number));
            }
        }
        self.swept_to = if end == self.sessions.len() { 0 } else { end };
        self.online -= gone.len();
        // Who has registered with the next key meanwhile is there.
        let lapsed = std::mem::take(&mut self.lapsed);
        gone.extend(lapsed.into_iter().filter(|number| !self.sessions[*number as usize].is_there()));
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

fn beginning(key: &[u8; 32]) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = *key;
    [a, b, c, d, e, f, g, h]
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
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

    const KEY: [u8; 32] = [1; 32];

    /// Who registers with a cookie of this moment.
    fn comer(number: u32, port: u16, shown: Duration) -> Comer<'static> {
        Comer { number, key: &KEY, address: at(port), shown }
    }

    fn register(sessions: &mut Sessions, number: u32, port: u16, now: Duration) -> Heard {
        sessions.register(comer(number, port, now), now)
    }

    fn keep(sessions: &mut Sessions, number: u32, port: u16, now: Duration) -> Option<Heard> {
        sessions.keep(comer(number, port, now), now, || false)
    }

    #[test]
    fn a_device_is_there_until_it_was_silent_for_two_minutes_and_back_with_its_next_word() {
        let mut sessions = Sessions::new(GONE);
        let start = Duration::from_secs(1000);
        assert_eq!(register(&mut sessions, 7, 1, start), Heard::Back);
        assert_eq!(keep(&mut sessions, 7, 1, start + GONE / 2), Some(Heard::Again));
        assert!(sessions.sweep(start + GONE).is_empty());
        assert_eq!(sessions.sweep(start + GONE / 2 + GONE), [7]);
        assert!(sessions.sweep(start + 2 * GONE).is_empty(), "told once");
        assert_eq!(sessions.seen(7).map(|seen| seen.state), Some(PresenceState::Gone));
        assert_eq!(sessions.online(), 0);
        assert_eq!(keep(&mut sessions, 7, 1, start + 3 * GONE), Some(Heard::Back));
        assert_eq!(sessions.online(), 1);
        assert!(sessions.end(7) && !sessions.end(7));
        assert_eq!(sessions.online(), 0);
        // After a goodbye a keepalive says nothing; after a restart, nothing if the record says goodbye.
        assert_eq!(keep(&mut sessions, 7, 1, start + 3 * GONE), None);
        assert_eq!(sessions.online(), 0);
        assert_eq!(register(&mut sessions, 7, 1, start + 3 * GONE), Heard::Back);
        let mut anew = Sessions::new(GONE);
        assert_eq!(anew.keep(comer(7, 1, start), start, || true), None);
        assert_eq!((anew.online(), anew.seen(7)), (0, None));
        assert_eq!(keep(&mut anew, 7, 1, start), Some(Heard::Back));
    }

    /// A session is of one key; with the next key there is another.
    #[test]
    fn the_session_of_a_key_ends_with_the_key() {
        let mut sessions = Sessions::new(GONE);
        let start = Duration::from_secs(1000);
        for number in [7, 8, 9] {
            register(&mut sessions, number, 1, start);
        }
        sessions.set_key(7, Some(&[2; 32]));
        sessions.set_key(8, None);
        sessions.set_key(9, Some(&KEY));
        assert_eq!(sessions.online(), 1);
        assert_eq!(keep(&mut sessions, 7, 1, start), None);
        assert_eq!(keep(&mut sessions, 9, 1, start), Some(Heard::Again));
        let next = Comer { key: &[2; 32], ..comer(7, 2, start) };
        assert_eq!(sessions.register(next, start), Heard::Back);
        assert_eq!(sessions.sweep(start), [8], "7 is there with its next key");
        assert!(sessions.sweep(start).is_empty(), "told once");
        // All of them, after the registry went back.
        sessions.set_keys(|number| (number == 9).then_some(KEY));
        assert_eq!((sessions.online(), sessions.sweep(start)), (1, vec![7]));
    }

    /// SECURITY R24: what was overheard before a device moved does not move it back.
    #[test]
    fn a_cookie_from_before_a_move_moves_nothing_back() {
        let mut sessions = Sessions::new(GONE);
        let at_second = |second| Duration::from_secs(second);
        let old = comer(7, 1, at_second(10));
        assert_eq!(sessions.register(old, at_second(11)), Heard::Back);
        assert_eq!(sessions.register(comer(7, 2, at_second(20)), at_second(21)), Heard::Moved);
        assert_eq!(sessions.register(old, at_second(22)), Heard::Stale);
        assert_eq!(sessions.seen(7).map(|seen| seen.address), Some(at(2)));
        // Nor does its silence, nor its goodbye.
        assert_eq!(sessions.sweep(at_second(22) + GONE), [7]);
        assert_eq!(sessions.register(old, at_second(23) + GONE), Heard::Stale);
        assert!(!sessions.end(7));
        assert_eq!(sessions.register(old, at_second(24) + GONE), Heard::Stale);
        // Back where it was, it greets anew.
        let new = comer(7, 1, at_second(25) + GONE);
        assert_eq!(sessions.register(new, at_second(25) + GONE), Heard::Moved);
    }

    /// SECURITY R64: no device writes without end.
    #[test]
    fn an_identity_changes_so_often_and_no_more() {
        let mut sessions = Sessions::new(GONE);
        let start = Duration::from_secs(1000);
        assert!((0..16).all(|_| sessions.take_change(7, start).is_ok()));
        assert_eq!(sessions.take_change(7, start), Err(Duration::from_secs(10)));
        assert_eq!(sessions.take_change(7, start + Duration::from_secs(4)), Err(Duration::from_secs(6)));
        assert_eq!(sessions.take_change(8, start), Ok(()), "another's are its own");
        assert_eq!(sessions.take_change(7, start + Duration::from_secs(10)), Ok(()));
        assert!(sessions.take_change(7, start + Duration::from_secs(10)).is_err());
        // What is counted outlives the key.
        sessions.register(Comer { key: &[2; 32], ..comer(7, 1, start) }, start);
        assert!(sessions.take_change(7, start + Duration::from_secs(10)).is_err());
    }

    /// SECURITY R24: only a registration moves a device.
    #[test]
    fn a_keepalive_from_elsewhere_moves_nothing() {
        let mut sessions = Sessions::new(GONE);
        let start = Duration::from_secs(1000);
        register(&mut sessions, 7, 1, start);
        assert_eq!(register(&mut sessions, 7, 2, start), Heard::Moved);
        assert_eq!(keep(&mut sessions, 7, 1, start), None);
        assert_eq!(sessions.seen(7).map(|seen| seen.address), Some(at(2)));
    }

    /// SECURITY R41: the same key from two paths in turn.
    #[test]
    fn two_devices_that_pull_at_one_identity_are_noticed() {
        let mut sessions = Sessions::new(GONE);
        let mut now = Duration::from_secs(1000);
        register(&mut sessions, 7, 1, now);
        let mut heard = Vec::new();
        for turn in 0..6 {
            now += Duration::from_secs(5);
            heard.push(register(&mut sessions, 7, if turn % 2 == 0 { 2 } else { 1 }, now));
        }
        assert_eq!(heard.iter().filter(|heard| **heard == Heard::Torn).count(), 2, "{heard:?}");
        // A device that goes from network to network and back within an hour is none of these.
        for turn in 0..12 {
            now += Duration::from_secs(300);
            assert_ne!(register(&mut sessions, 8, 3 + turn % 2, now), Heard::Torn);
        }
    }

    #[test]
    fn a_sweep_is_a_part_of_the_table_and_all_of_it_is_swept_in_the_end() {
        let mut sessions = Sessions::new(GONE);
        for number in 0..100_000 {
            register(&mut sessions, number, 1, Duration::ZERO);
        }
        let late = GONE * 2;
        let rounds: Vec<usize> = (0..4).map(|_| sessions.sweep(late).len()).collect();
        assert_eq!(rounds, [SWEEP, SWEEP, 20_000, 0]);
        assert_eq!(sessions.online(), 0);
    }
}
