//! Nothing is accepted twice.
//!
//! A packet counts if its timestamp is near the present and its sender has not used the nonce before (SECURITY R21). What was seen is
//! remembered for as long as its timestamp could still be accepted, so nothing is forgotten too early; what happens across a restart, when
//! the memory is lost, is the business of [`RestartBound`] (SECURITY R22).

mod bound;
pub use bound::RestartBound;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jis::{PublicKey, UnixTime};
use sha2::{Digest as _, Sha256};

use crate::now::Now;
use crate::timestamp::Timestamp;

/// Nonces remembered per sender: 64 in 35 s are about two pings a second, ten times what a device at rest sends. A sender that needs more
/// opens a session.
pub const MAX_NONCES_PER_SENDER: usize = 64;
/// Nonces remembered altogether. An entry takes about 24 bytes in the set and at most 32 in its bucket, a sender 16 more: a full cache of one
/// sender was measured at 44 MiB, and one of a million senders stays below 64 MiB. Only verified packets get in, so filling it takes as many signatures.
pub const MAX_NONCES: usize = 1_000_000;
/// Expired entries removed per call at most. Each call adds at most one, so the backlog of a quiet time is worked off 64 times as fast as
/// it grew, and no call has to do it all.
const SWEEP: usize = 64;

/// How far a timestamp may be from the present, and how much is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayConfig {
    /// How old a timestamp may be. 30 s unless set otherwise; at most an hour, longer is taken as that.
    pub window: Duration,
    /// How far ahead it may be. 5 s unless set otherwise; at most an hour.
    pub skew: Duration,
    /// Live nonces of one sender. [`MAX_NONCES_PER_SENDER`] unless the operator expects more than two packets a second from one device.
    pub per_sender: usize,
}

impl Default for ReplayConfig {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(30),
            skew: Duration::from_secs(5),
            per_sender: MAX_NONCES_PER_SENDER,
        }
    }
}

/// Whose nonce it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender<'a> {
    /// A signed packet: whoever holds this key.
    Key(&'a PublicKey),
    /// A legacy packet: whoever writes this name, which is nobody in particular.
    Unsigned(&'a str),
}

/// Why a packet is not fresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayRefusal {
    /// No timestamp that can be read.
    #[error("unreadable timestamp")]
    NoTime,
    /// Older than the window.
    #[error("too old")]
    TooOld,
    /// Further ahead than clocks may differ.
    #[error("too far in the future")]
    TooNew,
    /// Its own expiry has passed.
    #[error("expired")]
    Expired,
    /// From before the last restart, when the memory of nonces was lost.
    #[error("from before the last restart")]
    BeforeRestart,
    /// Beyond the bound that was written to disk.
    #[error("beyond the persisted bound")]
    BeyondBound,
    /// The sender has used this nonce.
    #[error("nonce seen before")]
    Seen,
    /// The sender has as many live nonces as [`ReplayConfig::per_sender`] allows.
    #[error("too many packets from this sender")]
    SenderFull,
    /// [`MAX_NONCES`] are live. They are never given up for new ones: that would let a flood make room for a replay.
    #[error("replay memory is full")]
    Full,
}

/// The memory of nonces.
///
/// Order of use (SECURITY R12): [`check`](Self::check) before the signature is verified, which stores nothing; then [`insert`](Self::insert),
/// so that nobody but the sender can use a nonce up (3.2 row 66).
///
/// The clock used is the wall clock at the start plus the monotonic time since: a clock set back does not open the past again.
/// [`ReplayCache::clock`] shows it, [`ReplayCache::follow`] moves it forward.
#[derive(Debug)]
pub struct ReplayCache {
    window: i64,
    skew: i64,
    per_sender: usize,
    seed: [u8; 16],
    start: Now,
    /// Time of the last call, so that the clock stands still rather than run backwards.
    latest: Duration,
    /// Sender's half and nonce's half of a key.
    entries: BTreeSet<u128>,
    /// How many of them each sender has.
    senders: BTreeMap<u64, u32>,
    /// What to forget, by the second (since `start`) after which it may be. Timestamps are accepted over 35 s, so there are some 40 of
    /// them, and as many again that are being swept.
    buckets: BTreeMap<u32, Vec<u128>>,
    max_entries: usize,
    refused_full: u64,
}

impl ReplayCache {
    /// An empty cache. `seed` is random and secret, so that nobody can compute packets whose nonces collide.
    #[must_use]
    pub fn new(config: ReplayConfig, seed: [u8; 16], now: Now) -> Self {
        Self::with_capacity(config, seed, now, MAX_NONCES)
    }

    /// As [`ReplayCache::new`], for at most `max_entries`, which are never more than [`MAX_NONCES`].
    #[must_use]
    pub fn with_capacity(config: ReplayConfig, seed: [u8; 16], now: Now, max_entries: usize) -> Self {
        Self {
            window: micros(config.window),
            skew: micros(config.skew),
            per_sender: config.per_sender,
            seed,
            start: now,
            latest: now.mono,
            entries: BTreeSet::new(),
            senders: BTreeMap::new(),
            buckets: BTreeMap::new(),
            max_entries: max_entries.min(MAX_NONCES),
            refused_full: 0,
        }
    }

    /// Stores nothing and says whether [`insert`](Self::insert) would take the packet.
    ///
    /// `expires_at` is the packet's own, `None` for a legacy packet.
    ///
    /// # Errors
    /// [`ReplayRefusal`].
    pub fn check(
        &self,
        sender: Sender<'_>,
        nonce: &str,
        timestamp: &str,
        expires_at: Option<UnixTime>,
        now: Now,
    ) -> Result<Timestamp, ReplayRefusal> {
        let time = Timestamp::parse(timestamp).ok_or(ReplayRefusal::NoTime)?;
        let clock = clock_micros(self.clock(now));
        let age = clock - time.as_micros();
        if age > self.window {
            return Err(ReplayRefusal::TooOld);
        }
        if age < -self.skew {
            return Err(ReplayRefusal::TooNew);
        }
        if expires_at.is_some_and(|at| clock_micros(at) < clock) {
            return Err(ReplayRefusal::Expired);
        }
        let key = self.key(sender, nonce);
        if self.entries.contains(&key) {
            return Err(ReplayRefusal::Seen);
        }
        if self.senders.get(&senders_half(key)).is_some_and(|live| *live as usize >= self.per_sender) {
            return Err(ReplayRefusal::SenderFull);
        }
        Ok(time)
    }

    /// Accepts a packet once: the same one is refused until its timestamp is too old anyway. To be called when the packet's signature has
    /// been verified.
    ///
    /// # Errors
    /// [`ReplayRefusal`]; then nothing was stored.
    pub fn insert(
        &mut self,
        sender: Sender<'_>,
        nonce: &str,
        timestamp: &str,
        expires_at: Option<UnixTime>,
        now: Now,
    ) -> Result<Timestamp, ReplayRefusal> {
        self.handle_timeout(now);
        let time = self.check(sender, nonce, timestamp, expires_at, now)?;
        if self.entries.len() >= self.max_entries {
            self.refused_full += 1;
            return Err(ReplayRefusal::Full);
        }
        // Kept for the whole second in which the timestamp becomes too old, skew included (SECURITY R21).
        let until = time.as_micros() + self.window + self.skew - clock_micros(self.start.wall);
        let second = u32::try_from(until.max(0) / 1_000_000 + 1).map_err(|_| ReplayRefusal::TooNew)?;
        let key = self.key(sender, nonce);
        self.entries.insert(key);
        *self.senders.entry(senders_half(key)).or_default() += 1;
        self.buckets.entry(second).or_default().push(key);
        Ok(time)
    }

    /// Forgets some of what is past. [`insert`](Self::insert) does so too; but whoever only checks has to call this first, or a sender whose memory
    /// is full is refused until somebody else is accepted.
    pub fn handle_timeout(&mut self, now: Now) {
        self.latest = self.latest.max(now.mono);
        self.sweep();
    }

    /// The clock that timestamps are compared with.
    #[must_use]
    pub fn clock(&self, now: Now) -> UnixTime {
        self.start.wall.saturating_add(now.mono.max(self.latest).saturating_sub(self.start.mono))
    }

    /// Follows a wall clock that was set forward, or that went on while the machine slept: else every packet would seem to come from the
    /// future. What was accepted stays remembered. A wall clock that was set back is not followed: it would open the past again.
    /// Whether it was followed.
    pub fn follow(&mut self, now: Now) -> bool {
        self.latest = self.latest.max(now.mono);
        let ahead = now.wall.saturating_since(self.clock(now));
        self.start.wall = self.start.wall.saturating_add(ahead);
        !ahead.is_zero()
    }

    /// Nonces remembered at present.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many packets were refused because the memory was full.
    #[must_use]
    pub fn refused_full(&self) -> u64 {
        self.refused_full
    }

    /// Forgets some of what is past.
    fn sweep(&mut self) {
        let elapsed = self.latest.saturating_sub(self.start.mono).as_secs();
        for _ in 0..SWEEP {
            let Some(mut bucket) = self.buckets.first_entry() else { return };
            if u64::from(*bucket.key()) >= elapsed {
                return;
            }
            match bucket.get_mut().pop() {
                Some(key) => {
                    self.entries.remove(&key);
                    if let Entry::Occupied(mut live) = self.senders.entry(senders_half(key)) {
                        *live.get_mut() -= 1;
                        if *live.get() == 0 {
                            live.remove();
                        }
                    }
                }
                None => _ = bucket.remove(),
            }
        }
    }

    fn key(&self, sender: Sender<'_>, nonce: &str) -> u128 {
        let sender = match sender {
            Sender::Key(key) => self.half(0, key.as_bytes()),
            Sender::Unsigned(name) => self.half(1, name.as_bytes()),
        };
        u128::from(sender) << 64 | u128::from(self.half(2, nonce.as_bytes()))
    }

    /// 64 bits under a secret seed: two packets of a million collide once in ten million full caches, and then one is refused.
    fn half(&self, kind: u8, bytes: &[u8]) -> u64 {
        let digest =
            Sha256::new().chain_update(self.seed).chain_update([kind]).chain_update(bytes).finalize();
        digest.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }
}

/// A clock's time. Not through [`Timestamp`], whose years end with 9999: a clock beyond them would stand still there, and let that
/// year's last packets in for ever while their nonces are forgotten.
fn clock_micros(time: UnixTime) -> i64 {
    // At most 2⁵³ ms: below 2⁶³ µs by more than all years that can be written.
    i64::try_from(time.as_millis()).map_or(i64::MAX, |millis| millis * 1000)
}

fn senders_half(key: u128) -> u64 {
    (key >> 64) as u64
}

/// At most an hour, so that sums with timestamps cannot overflow.
fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.min(Duration::from_secs(3600)).as_micros()).unwrap_or(0)
}
