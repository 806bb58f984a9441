//! What changes on this machine while the daemon runs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jis::UnixTime;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};

use super::DaemonEnd;
use super::shared::{Core, blocking};
use crate::device::DeviceError;
use crate::system;

/// How often it is looked: an address that changed is noticed within this.
const EVERY: Duration = Duration::from_secs(1);

/// What the two clocks may differ by between two looks: more than the wall clock is ever put right by unnoticed, less than any time that a node or
/// a NAT forgets after.
const LEAP: Duration = Duration::from_secs(30);

/// How long a relay that the record names may be away before the record names it no more: peers go on sending there until then.
const LOST: Duration = Duration::from_secs(30);

/// Who wants the files read now, and hears what came of it.
type Reload = oneshot::Sender<Result<(), DeviceError>>;

/// Looks, every second: at the addresses that datagrams leave from, at the device's files, at the age of its record and of what nodes said, at the
/// relays that it names, at the clocks. Sends nothing itself.
pub(super) async fn run(core: Arc<Core>, mut reloads: mpsc::Receiver<Reload>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut changes = core.device.changes();
    let mut followed = *changes.borrow();
    let mut clocks = Clocks::now();
    let mut relays = Relays::default();
    loop {
        let wanted = tokio::select! {
            _ = ticks.tick() => None,
            _ = changes.changed() => None,
            Some(wanted) = reloads.recv() => Some(wanted),
        };
        let mut reloaded = reload(&core).await;
        let count = *changes.borrow_and_update();
        if count != followed {
            followed = count;
            reloaded = reloaded.and(follow(&core).await);
        }
        if let Some(wanted) = wanted {
            // Whoever asked may have gone.
            let _ = wanted.send(reloaded);
        }
        if clocks.leapt(Clocks::now()) {
            tracing::info!("this machine has slept, or its clock was set");
            core.wake();
        } else if core.has_moved() {
            tracing::info!("the address of this machine has changed");
            core.tell_moved();
        }
        let lost = relays.are_lost(core.names_lost_relay(), Instant::now());
        if core.forget_unheard() | core.is_due() | lost {
            // What goes wrong is in the status, and comes again.
            let _ = core.current().await;
        }
    }
}

/// Reads the device's files again if they have changed.
async fn reload(core: &Core) -> Result<(), DeviceError> {
    let device = core.device.clone();
    let reloaded = blocking(move || device.reload()).await;
    if let Err(error) = &reloaded {
        core.note_problem(Some(error.to_string()));
    }
    reloaded
}

/// Goes on under the key that the device has got, or ends where that is revoked.
async fn follow(core: &Core) -> Result<(), DeviceError> {
    let identity = match core.device.node_identity() {
        Ok(identity) => identity,
        Err(error) => {
            core.note_problem(Some(error.to_string()));
            if let DeviceError::Revoked { name, status } = &error {
                core.end(DaemonEnd::Revoked { name: name.clone(), status: *status }).await;
            }
            return Err(error);
        }
    };
    tracing::info!(generation = identity.generation, "the device has another key");
    if let Err(error) = core.remote.socket().replace(identity).await {
        core.note_problem(Some(error.to_string()));
    }
    if let Some(mesh) = core.mesh() {
        core.join_pings(mesh).await;
    }
    // The nodes are told with a record under the new key.
    core.current().await.map(|_| ())
}

/// Since when the record has named a relay that is away.
#[derive(Debug, Default)]
struct Relays {
    away: Option<Instant>,
}

impl Relays {
    /// Whether one has been away for [`LOST`].
    fn are_lost(&mut self, away: bool, now: Instant) -> bool {
        let since = away.then(|| *self.away.get_or_insert(now));
        self.away = since;
        since.is_some_and(|since| now.saturating_duration_since(since) >= LOST)
    }
}

/// The two clocks at one moment: the one that is set, and goes on while the machine sleeps, and the one that neither is nor does.
#[derive(Debug, Clone, Copy)]
struct Clocks {
    wall: UnixTime,
    running: Instant,
}

impl Clocks {
    fn now() -> Self {
        Self { wall: system::now(), running: Instant::now() }
    }

    /// Whether the wall clock has gone on, or back, by more than [`LEAP`] beyond what has passed since the last look.
    fn leapt(&mut self, now: Self) -> bool {
        let expected = self.wall.saturating_add(now.running.saturating_duration_since(self.running));
        let off = now.wall.saturating_since(expected).max(expected.saturating_since(now.wall));
        *self = now;
        off > LEAP
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_is_lost_when_it_was_away_for_half_a_minute_at_a_stretch() {
        let (mut relays, start) = (Relays::default(), Instant::now());
        let mut look = |second: u64, away: bool| relays.are_lost(away, start + Duration::from_secs(second));
        assert!((0..30).all(|second| !look(second, true)) && look(30, true) && look(31, true));
        assert!(!look(32, false), "the record has named it no more");
        assert!(!look(33, true) && !look(50, false) && !look(51, true) && !look(80, true) && look(81, true));
    }

    #[test]
    fn sleep_is_told_from_a_slow_look_and_from_a_clock_that_is_kept_in_step() {
        let start = Clocks::now();
        let after = |wall: i64, running: u64| Clocks {
            wall: UnixTime::from_millis(start.wall.as_millis().saturating_add_signed(wall * 1000))
                .expect("in range"),
            running: start.running + Duration::from_secs(running),
        };
        for (wall, running, leapt) in [
            (1, 1, false),
            (300, 300, false),
            (31, 1, false),
            (32, 1, true),
            (8 * 3600, 1, true),
            (-40, 1, true),
        ] {
            let mut clocks = start;
            assert_eq!(clocks.leapt(after(wall, running)), leapt, "{wall} s on the wall in {running} s");
            assert!(!clocks.leapt(after(wall + 1, running + 1)), "told once");
        }
    }
}
