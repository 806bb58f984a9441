//! Who comes and goes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tibet_registry::{PresenceChange, Route};

use super::sessions::Heard;
use super::shared::Shared;
use crate::system;
use jis::{IdentityStatus, Name, Record, RecordStatus, Signed, UnixTime};

/// Changes that wait to be written down.
const MAX_CHANGES: usize = 65_536;

/// A device has registered.
pub(super) fn registered(
    shared: &Arc<Shared>,
    number: u32,
    name: &Name,
    status: RecordStatus,
    from: SocketAddr,
) {
    if status == RecordStatus::Away {
        if shared.sessions().end(number) {
            shared.counters.disappeared.add();
            note(shared, name.clone(), false);
        }
        return;
    }
    let heard = shared.sessions().register(number, from, shared.mono());
    match heard {
        Heard::Back => {
            shared.counters.appeared.add();
            note(shared, name.clone(), true);
        }
        Heard::Torn => torn(shared, name.clone(), from),
        Heard::Again | Heard::Moved => {}
    }
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

/// The name an entry belongs to, as its record has it, which was verified when it was taken.
pub(super) fn name_of(route: &Route) -> Option<Name> {
    let record = Signed::<Record>::decode(route.record_bytes()).ok()?;
    Some(record.claims().name.clone())
}

/// Keeps a change until it is written down with the others of its second.
fn note(shared: &Shared, name: Name, online: bool) {
    let mut changes = shared.presence_changes();
    // When the registry has too much to do for so long, some are not written: presence is known again with the device's next coming or going.
    if changes.len() < MAX_CHANGES {
        let (node, at) = (shared.name.clone(), system::now());
        changes.push(PresenceChange { name, node, online, at });
    }
}

/// Has the changes of the last second written down. To be called once a second.
pub(super) fn flush(shared: &Shared) {
    let changes = std::mem::take(&mut *shared.presence_changes());
    if changes.is_empty() {
        return;
    }
    let _ = shared.registry.submit(
        move |registry, _| (registry.note_presence(&changes), Vec::new()),
        |result| {
            if let Ok(Err(error)) = result {
                tracing::warn!(%error, "presence could not be written");
            }
        },
    );
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
