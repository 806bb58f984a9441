//! The device that the daemon speaks for, and its files.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use jis::{Challenge, Identity, Proof, RecordStatus, RecordVersion, Signed, UnixTime};
use tibet_ping::NodeIdentity;
use tibet_registry::{Permission, Registration};

use crate::device::{DeviceError, LocalDevice, Presence};
use crate::system;

/// A device in memory with its files behind it. Other programs may change those, so they are looked at again before anything is believed.
///
/// Calls may wait for the disk; they are for threads that may.
#[derive(Debug, Clone)]
pub(super) struct HeldDevice(Arc<Mutex<Held>>);

#[derive(Debug)]
struct Held {
    device: LocalDevice,
    /// When its file was last changed, by us or before we read it.
    stamp: Option<SystemTime>,
}

/// What the daemon says to nodes about the device.
#[derive(Debug, Clone)]
pub(super) struct Current {
    pub(super) registration: Registration,
    pub(super) version: RecordVersion,
    /// When a newer record is due.
    pub(super) renew_at: UnixTime,
}

impl HeldDevice {
    pub(super) fn new(device: LocalDevice) -> Self {
        let stamp = stamp(&device);
        Self(Arc::new(Mutex::new(Held { device, stamp })))
    }

    /// A registration that tells of `presence`, with a new record where the last tells of another or is growing old.
    pub(super) fn current(
        &self,
        presence: &Presence,
        permission: Option<Permission>,
    ) -> Result<Current, DeviceError> {
        let mut held = self.held();
        match held.publish_if_due(presence) {
            // Another program was first.
            Err(DeviceError::ChangedMeanwhile { .. }) => {
                held.reopen()?;
                held.publish_if_due(presence)?;
            }
            other => other?,
        }
        let now = system::now();
        let registration = held.device.registration(permission, now)?;
        held.stamp = stamp(&held.device);
        let record = registration.record.claims();
        let (version, renew_at) = (record.version, renew_at(record.issued_at, record.ttl));
        Ok(Current { registration, version, renew_at })
    }

    /// Reads the files again if another program has changed them. The new identity, if its key is another.
    pub(super) fn reload(&self) -> Result<Option<NodeIdentity>, DeviceError> {
        let mut held = self.held();
        if held.stamp == stamp(&held.device) {
            return Ok(None);
        }
        let before = held.device.identity().clone();
        held.reopen()?;
        if held.device.identity().key == before.key && held.device.identity().status == before.status {
            return Ok(None);
        }
        held.device.node_identity().map(Some)
    }

    /// Answers a challenge to it.
    pub(super) fn answer(&self, challenge: &Challenge) -> Result<Signed<Proof>, DeviceError> {
        self.held().device.answer(challenge, system::now())
    }

    pub(super) fn identity(&self) -> Identity {
        self.held().device.identity().clone()
    }

    pub(super) fn node_identity(&self) -> Result<NodeIdentity, DeviceError> {
        self.held().device.node_identity()
    }

    pub(super) fn presence(&self) -> Presence {
        self.held().device.presence()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn publish_if_due(&mut self, presence: &Presence) -> Result<(), DeviceError> {
        let now = system::now();
        let generation = self.device.identity().generation;
        let due = self.device.record().is_none_or(|record| {
            let record = record.claims();
            let other_key = record.version.generation != generation;
            other_key || record.issued_at > now || now >= renew_at(record.issued_at, record.ttl)
        });
        if due || self.device.presence() != *presence {
            self.device.publish(presence.clone(), now)?;
            self.stamp = stamp(&self.device);
        }
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), DeviceError> {
        let Some(files) = self.device.files().cloned() else { return Ok(()) };
        let name = self.device.identity().name.clone();
        // Before reading: what is changed while we read is read again.
        let stamp = stamp(&self.device);
        let device = files.open()?;
        if device.identity().name != name {
            let path = device.files().map(|files| files.directory().to_owned()).unwrap_or_default();
            let reason = format!("it now holds {}, not {name}", device.identity().name);
            return Err(DeviceError::State { path, reason });
        }
        (self.device, self.stamp) = (device, stamp);
        Ok(())
    }
}

/// Before half of its time: who renews at the last moment is late when a node is away.
fn renew_at(issued_at: UnixTime, ttl: Duration) -> UnixTime {
    issued_at.saturating_add(ttl * 2 / 5)
}

fn stamp(device: &LocalDevice) -> Option<SystemTime> {
    let path: PathBuf = device.files()?.state_file();
    std::fs::metadata(path).and_then(|file| file.modified()).ok()
}

/// The presence of a device that says goodbye.
pub(super) fn away(presence: Presence) -> Presence {
    Presence { status: RecordStatus::Away, ..presence }
}
