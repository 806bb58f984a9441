//! Who comes and goes.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tibet_registry::{PresenceChange, Route};

use super::glance::RecordGlance;
use super::sessions::{Comer, Heard};
use super::shared::Shared;
use crate::intents::PresenceState;
use crate::system;
use jis::{IdentityStatus, Name, RecordStatus, UnixTime};

/// Changes that wait to be written down.
const MAX_CHANGES: usize = 65_536;
/// Changes that are written down in one second: all devices of a network may come or go at once, and registrations wait meanwhile.
const MAX_WRITTEN: usize = 1000;

/// A device has registered. What that changed, [`Heard::Again`] for a goodbye; `None` if its key is the identity's no more.
pub(super) fn registered(
    shared: &Arc<Shared>,
    name: &Name,
    status: RecordStatus,
    comer: Comer<'_>,
) -> Option<Heard> {
    // Held until it is done: the writer ends sessions after it has changed the directory, and misses none that began before.
    let directory = shared.directory();
    if directory.key_of(comer.number)? != *comer.key {
        return None;
    }
    if status == RecordStatus::Away {
        let was_there = shared.sessions().end(comer.number);
        drop(directory);
        if was_there {
            shared.counters.disappeared.add();
            note(shared, name.clone(), false);
        }
        return Some(Heard::Again);
    }
    let heard = shared.sessions().register(comer, shared.mono());
    drop(directory);
    match heard {
        Heard::Back => {
            shared.counters.appeared.add();
            note(shared, name.clone(), true);
        }
        Heard::Torn => torn(shared, name.clone(), comer.address),
        Heard::Again | Heard::Moved | Heard::Stale => {}
    }
    Some(heard)
}

/// A keepalive has come of a device that had not been heard of, or was gone.
pub(super) fn back(shared: &Arc<Shared>, number: u32) {
    let route = shared.directory().route_of(number);
    let name = route.filter(|route| route.status == IdentityStatus::Active).and_then(|route| name_of(&route));
    match name {
        Some(name) => {
            shared.counters.appeared.add();
            note(shared, name, true);
        }
        // It may not speak any more; its token is of no use to it.
        None => {
            shared.sessions().end(number);
        }
    }
}

/// Looks for devices that have fallen silent. To be called once a second.
pub(super) fn sweep(shared: &Arc<Shared>) {
    let gone = shared.sessions().sweep(shared.mono());
    if gone.is_empty() {
        return;
    }
    // All devices of a network can fall silent at once: the writer waits for no more than the look-ups.
    let directory = shared.directory();
    let routes: Vec<Route> = gone.into_iter().filter_map(|number| directory.route_of(number)).collect();
    drop(directory);
    for name in routes.iter().filter_map(name_of) {
        shared.counters.disappeared.add();
        note(shared, name, false);
    }
}

/// Whether a device is there: here, by what this node hears, or at another node of the same registry, by the word of that one.
pub(super) fn of(shared: &Shared, number: u32) -> PresenceState {
    let elsewhere = shared.directory().elsewhere(number);
    match shared.sessions().seen(number).map(|seen| seen.state) {
        Some(PresenceState::Online) => PresenceState::Online,
        _ if elsewhere == Some(PresenceState::Online) => PresenceState::Online,
        here => here.or(elsewhere).unwrap_or(PresenceState::Unknown),
    }
}

/// The name an entry belongs to, as its record has it, which was verified when it was taken.
pub(super) fn name_of(route: &Route) -> Option<Name> {
    RecordGlance::of(route.record_bytes())?.name.parse().ok()
}

/// Keeps a change until it is written down with the others of its second.
fn note(shared: &Shared, name: Name, online: bool) {
    let mut changes = shared.presence_changes();
    // When the registry has too much to do for so long, some are not written: presence is known again with the device's next coming or going.
    if changes.len() < MAX_CHANGES {
        let (node, at) = (shared.name.clone(), system::now());
        changes.push_back(PresenceChange { name, node, online, at });
    }
}

/// Has the oldest changes written down, [`MAX_WRITTEN`] of them; the others wait for the next second. To be called once a second.
pub(super) fn flush(shared: &Arc<Shared>) {
    if shared.presence_changes().is_empty() {
        return;
    }
    let node = Arc::clone(shared);
    // They are taken in the writer: while it has too much to do, they wait.
    let _ = shared.registry.submit(
        move |registry, _| {
            let changes = oldest(&mut node.presence_changes());
            (registry.note_presence(&changes), Vec::new())
        },
        |result| {
            if let Ok(Err(error)) = result {
                tracing::warn!(%error, "presence could not be written");
            }
        },
    );
}

/// Takes those out that are written next.
fn oldest<T>(changes: &mut VecDeque<T>) -> Vec<T> {
    let some = changes.len().min(MAX_WRITTEN);
    changes.drain(..some).collect()
}

/// Two devices have one key (SECURITY R41).
fn torn(shared: &Shared, name: Name, from: SocketAddr) {
    shared.counters.torn.add();
    tracing::warn!(%name, %from, "two devices share the key of this identity");
    let _ = shared.registry.submit(
        move |registry, now| {
            let noted = registry.note_clone(&name, "its key speaks from two addresses in turn", now);
            (noted, vec![name])
        },
        |_| {},
    );
}

/// A time of the node as wall-clock time.
pub(super) fn wall_time(shared: &Shared, at: Duration) -> UnixTime {
    let ago = shared.mono().saturating_sub(at);
    let millis = system::now().as_millis().saturating_sub(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX));
    UnixTime::from_millis(millis).unwrap_or(UnixTime::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_is_written_down_a_thousand_at_a_time_in_its_order() {
        let mut changes: VecDeque<usize> = (0..2500).collect();
        let rounds: Vec<Vec<usize>> = (0..4).map(|_| oldest(&mut changes)).collect();
        assert_eq!(rounds.iter().map(Vec::len).collect::<Vec<_>>(), [1000, 1000, 500, 0]);
        assert_eq!(rounds.concat(), (0..2500).collect::<Vec<_>>());
    }
}
