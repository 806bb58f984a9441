//! F10: the memory of nonces and the bound across restarts, against a model that forgets nothing. SECURITY R21, R22 and 3.2 rows 63 to 66.
//!
//! An input is a story: clocks go forward, jump and go back, packets come and come again, bounds are written to disk, and the machine stops at
//! any point and begins anew with what is on disk and whatever its clock says. After every step:
//!
//! - No packet was ever accepted twice, over all runs.
//! - What is accepted is within the window by a clock that never runs backwards, has not expired, lies below the bound on disk and above
//!   the one the last run left.
//! - Each refusal has the reason it names, and what the model sees no reason to refuse is accepted.
//! - What is alive is remembered: no more of one sender, and no more altogether, than is allowed; a refusal stores nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use jis::{PublicKey, UnixTime};
use tibet_ping::{Now, ReplayCache, ReplayConfig, ReplayRefusal, RestartBound, Sender, Timestamp, timestamp};

use super::Verdict;
use super::honest::{NOON, key};
use super::script::Script;

/// Steps of a story at most, so that one takes milliseconds.
const MAX_STEPS: usize = 2000;

/// Plays one story. Accepted if a packet was.
pub fn check(input: &[u8]) -> Verdict {
    let mut script = Script::new(input);
    let Some(mut world) = World::begin(&mut script) else { return Verdict::Refused };
    for _ in 0..MAX_STEPS {
        if world.step(&mut script).is_none() {
            break;
        }
    }
    Verdict::of(!world.ever.is_empty())
}

/// What tells one packet from another: sender, nonce, timestamp.
type Id = (u8, u8, String);

/// A packet on the network.
#[derive(Debug, Clone)]
struct Sent {
    id: Id,
    expires_at: Option<UnixTime>,
}

/// What happens outside, and what must not be forgotten.
struct World {
    config: ReplayConfig,
    most: usize,
    wall: UnixTime,
    mono: Duration,
    disk: Option<UnixTime>,
    network: Vec<Sent>,
    ever: BTreeSet<Id>,
    run: Run,
}

/// The machine since it was last started, with the model beside it.
struct Run {
    cache: ReplayCache,
    bound: RestartBound,
    /// Both clocks at the start; the wall clock in milliseconds, and later if it was followed.
    start: (i128, Duration),
    latest: Duration,
    /// What the last run left, and what is on disk for certain in this one.
    left: Option<UnixTime>,
    confirmed: Option<UnixTime>,
    /// Sender, nonce and timestamp of all that was accepted.
    accepted: Vec<(u8, u8, i128)>,
}

impl Run {
    fn begin(config: ReplayConfig, most: usize, left: Option<UnixTime>, start: Now) -> Self {
        Self {
            cache: ReplayCache::with_capacity(config, *b"a seed, a secret", start, most),
            bound: RestartBound::new(left),
            start: (start.wall.as_millis().into(), start.mono),
            latest: start.mono,
            left,
            confirmed: None,
            accepted: Vec::new(),
        }
    }

    /// The model's clock, in microseconds: no year is too late for it.
    fn clock(&self, now: Now) -> i128 {
        let (wall, mono) = self.start;
        let since = now.mono.max(self.latest).saturating_sub(mono).as_millis();
        (wall + since.cast_signed()).min(UnixTime::MAX.as_millis().into()) * 1000
    }
}

impl World {
    fn begin(script: &mut Script<'_>) -> Option<Self> {
        let seconds = Duration::from_secs;
        let config = ReplayConfig {
            window: script.choose(&[seconds(30), seconds(30), seconds(1), Duration::ZERO, Duration::MAX])?,
            skew: script.choose(&[
                seconds(5),
                seconds(5),
                Duration::ZERO,
                Duration::from_millis(1),
                Duration::MAX,
            ])?,
            per_sender: script.choose(&[64, 2, 1, 5])?,
        };
        let most = script.choose(&[1000, 3, 1, 20])?;
        let wall = any_wall(script)?;
        let mono = script.choose(&[seconds(1000), Duration::ZERO, Duration::MAX])?;
        let run = Run::begin(config, most, None, Now { wall, mono });
        let (disk, network, ever) = (None, Vec::new(), BTreeSet::new());
        Some(Self { config, most, wall, mono, disk, network, ever, run })
    }

    fn step(&mut self, script: &mut Script<'_>) -> Option<()> {
        match script.byte()? % 13 {
            // Time goes by, by both clocks: up to a second, a minute, a day.
            0 => self.wait(Duration::from_millis(u64::from(script.byte()?) * 4)),
            1 => self.wait(Duration::from_millis(u64::from(script.byte()?) * 250)),
            2 => self.wait(Duration::from_secs(u64::from(script.byte()?) * 360)),
            // Somebody sets the clock; the other one seems to run back.
            3 => self.wall = any_wall(script)?,
            4 => self.mono = self.mono.saturating_sub(Duration::from_millis(u64::from(script.byte()?) * 100)),
            // A bound is due: the machine may stop before it is written, after, or not at all.
            5 => self.persist(script.byte()?),
            6 => self.restart(script)?,
            // The machine looks at the wall clock.
            7 => self.follow(),
            // A packet comes that came before, or a new one does.
            8 if !self.network.is_empty() => {
                let at = usize::from(script.byte()?) % self.network.len();
                self.receive(at);
            }
            _ => {
                let sent = self.send(script)?;
                self.network.push(sent);
                self.receive(self.network.len() - 1);
            }
        }
        Some(())
    }

    fn now(&self) -> Now {
        Now { wall: self.wall, mono: self.mono }
    }

    fn wait(&mut self, duration: Duration) {
        self.wall = self.wall.saturating_add(duration);
        self.mono = self.mono.saturating_add(duration);
    }

    fn persist(&mut self, how: u8) {
        let now = self.now();
        let clock = self.run.cache.clock(now);
        let Some(bound) = self.run.bound.poll_persist(clock, now) else { return };
        if how & 1 == 0 {
            self.disk = Some(bound);
        }
        if how & 3 == 0 {
            self.run.bound.handle_persisted(bound);
            self.run.confirmed = self.run.confirmed.max(Some(bound));
        }
    }

    /// Forward only.
    fn follow(&mut self) {
        let now = self.now();
        let ahead = i128::from(self.wall.as_millis()) - self.run.clock(now) / 1000;
        self.run.latest = self.run.latest.max(now.mono);
        self.run.start.0 = (self.run.start.0 + ahead.max(0)).min(UnixTime::MAX.as_millis().into());
        assert_eq!(self.run.cache.follow(now), ahead > 0);
    }

    fn restart(&mut self, script: &mut Script<'_>) -> Option<()> {
        match script.byte()? % 3 {
            0 => {}
            1 => self.wall = any_wall(script)?,
            _ => self.mono = Duration::ZERO,
        }
        self.run = Run::begin(self.config, self.most, self.disk, self.now());
        Some(())
    }

    /// A packet dated near what the machine takes for the present, or near what it is.
    fn send(&self, script: &mut Script<'_>) -> Option<Sent> {
        let [who, nonce] = script.take()?;
        let clock = match who & 0x80 {
            0 => self.run.cache.clock(self.now()),
            _ => self.wall,
        };
        let offset = script.signed()? * script.choose(&[1, 10, 1000])?;
        let made = clock.as_millis().saturating_add_signed(offset);
        let made = UnixTime::from_millis(made).unwrap_or(UnixTime::MAX);
        let expires_at = match script.byte()? {
            seconds @ 0..=30 => Some(made.saturating_add(Duration::from_secs(seconds.into()))),
            31 => Some(UnixTime::MAX),
            _ => None,
        };
        let text = match script.byte()? {
            micros @ 1.. => timestamp::write(made).replace("000+00:00", &format!("{micros:03}+00:00")),
            0 => timestamp::write(made),
        };
        Some(Sent { id: (who % 6, nonce, text), expires_at })
    }

    fn receive(&mut self, at: usize) {
        let Sent { id, expires_at } = self.network[at].clone();
        let (who, nonce, text) = &id;
        let keys = keys();
        let sender = match keys.get(usize::from(*who)) {
            Some(key) => Sender::Key(key),
            None => Sender::Unsigned(["jis:a", "jis:b", "jis:c"][usize::from(*who) - keys.len()]),
        };
        let nonce_text = format!("{nonce:032x}");
        let now = self.now();
        assert_eq!(i128::from(self.run.cache.clock(now).as_millis()), self.run.clock(now) / 1000);

        // As a node does: looked at, looked at across restarts, verified, stored.
        let checked = self.run.cache.check(sender, &nonce_text, text, expires_at, now);
        self.checked_holds(&id, expires_at, checked);
        let Ok(time) = checked else { return };
        match self.run.bound.check(time) {
            Ok(()) => assert!(self.run.confirmed.is_some_and(|bound| time <= Timestamp::from(bound))),
            Err(ReplayRefusal::BeforeRestart) => {
                assert!(self.run.left.is_some_and(|bound| time <= Timestamp::from(bound)));
                return;
            }
            Err(ReplayRefusal::BeyondBound) => {
                assert!(self.run.confirmed.is_none_or(|bound| time > Timestamp::from(bound)));
                return;
            }
            Err(other) => panic!("{other:?} is nothing a bound says"),
        }
        let before = self.run.cache.len();
        let inserted = self.run.cache.insert(sender, &nonce_text, text, expires_at, now);
        self.run.latest = self.run.latest.max(now.mono);
        match inserted {
            Ok(same) => {
                assert_eq!(same, time);
                assert!(self.run.cache.len() <= before + 1);
                self.run.accepted.push((*who, *nonce, time.as_micros().into()));
                assert!(self.ever.insert(id.clone()), "accepted twice: {id:?}");
            }
            Err(ReplayRefusal::Full) => assert_eq!(self.run.cache.len(), self.most),
            Err(other) => panic!("{other:?}, though it was to be accepted"),
        }
        self.memory_holds(now);
    }

    /// Each refusal has its reason, and everything else is accepted.
    fn checked_holds(
        &self,
        id: &Id,
        expires_at: Option<UnixTime>,
        checked: Result<Timestamp, ReplayRefusal>,
    ) {
        let (who, nonce, text) = id;
        let clock = self.run.clock(self.now());
        let micros = |duration: Duration| duration.min(Duration::from_secs(3600)).as_micros().cast_signed();
        let made = Timestamp::parse(text).expect("written here");
        let made = i128::from(made.as_micros());
        let mine = |(w, _, _): &&(u8, u8, i128)| w == who;
        let alive =
            |(_, _, t): &&(u8, u8, i128)| clock <= t + micros(self.config.window) + micros(self.config.skew);
        let used = self.run.accepted.iter().filter(mine).filter(|(_, n, _)| n == nonce);
        let of_sender = self.run.accepted.iter().filter(mine);
        match checked {
            Ok(time) => {
                assert_eq!(i128::from(time.as_micros()), made);
                assert!(made >= clock - micros(self.config.window), "too old: {text} at {clock}");
                assert!(made <= clock + micros(self.config.skew), "too new: {text} at {clock}");
                assert!(expires_at.is_none_or(|at| i128::from(at.as_millis()) * 1000 >= clock), "expired");
                assert_eq!(used.filter(alive).count(), 0, "the nonce is in use");
                assert!(of_sender.filter(alive).count() < self.config.per_sender);
            }
            Err(ReplayRefusal::TooOld) => assert!(made < clock - micros(self.config.window)),
            Err(ReplayRefusal::TooNew) => assert!(made > clock + micros(self.config.skew)),
            Err(ReplayRefusal::Expired) => {
                assert!(expires_at.is_some_and(|at| i128::from(at.as_millis()) * 1000 < clock));
            }
            Err(ReplayRefusal::Seen) => assert!(used.count() > 0),
            Err(ReplayRefusal::SenderFull) => assert!(of_sender.count() >= self.config.per_sender),
            Err(other) => panic!("{other:?} is nothing the check says"),
        }
    }

    fn memory_holds(&self, now: Now) {
        let length = self.run.cache.len();
        assert!(length <= self.most && length <= self.run.accepted.len());
        let kept = Duration::from_secs(3600).min(self.config.window)
            + Duration::from_secs(3600).min(self.config.skew);
        let oldest = self.run.clock(now) - kept.as_micros().cast_signed();
        let alive = self.run.accepted.iter().filter(|(_, _, made)| *made >= oldest).count();
        assert!(alive <= length, "{alive} are alive, {length} remembered");
    }
}

/// A time somebody may set a clock to: near noon, at the ends, anywhere.
pub(super) fn any_wall(script: &mut Script<'_>) -> Option<UnixTime> {
    // The last second of the year 9999.
    let last = UnixTime::from_secs(253_402_300_799);
    Some(match script.byte()? % 8 {
        0 => UnixTime::from_millis(0)?,
        1 => UnixTime::MAX,
        2 => last,
        3 => UnixTime::from_millis(u64::from_be_bytes(script.take()?) >> 11)?,
        _ => UnixTime::from_millis(NOON.as_millis().saturating_add_signed(script.signed()? * 100))?,
    })
}

fn keys() -> &'static [PublicKey; 3] {
    static KEYS: std::sync::OnceLock<[PublicKey; 3]> = std::sync::OnceLock::new();
    KEYS.get_or_init(|| [0, 1, 2].map(|n| key(n).public_key()))
}
