//! The device that the daemon speaks for, and its files.

use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use jis::{Challenge, Identity, Proof, RecordStatus, RecordVersion, Signed};
use tibet_ping::NodeIdentity;
use tibet_registry::{Permission, Registration};
use tokio::sync::watch;

use crate::client::Asker;
use crate::device::{DeviceError, LocalDevice, Presence};
use crate::system;

/// A device in memory with its files behind it. Other programs may change those, so they are looked at again before anything is believed.
///
/// Calls may wait for the disk; they are for threads that may.
#[derive(Debug, Clone)]
pub(super) struct HeldDevice(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    held: Mutex<Held>,
    asker: Asker,
    /// Counts how often the device got another key, or its identity another status.
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
struct Held {
    device: LocalDevice,
    /// Its file as it was before we read it last. What we write ourselves makes it another, so it is read once more then: a change by another
    /// program just before or after ours is seen too.
    read: Option<Stamp>,
}

/// When the file was changed, which file it is, how long it is. Every change puts another file in its place.
type Stamp = (SystemTime, u64, u64);

/// What the daemon says to nodes about the device.
#[derive(Debug, Clone)]
pub(super) struct Current {
    pub(super) registration: Registration,
    pub(super) version: RecordVersion,
}

impl HeldDevice {
    /// Holds the device. `asker` asks and answers as whoever it is.
    pub(super) fn new(device: LocalDevice, asker: Asker) -> Self {
        // It may have been changed since it was read, so it is read again at the first look.
        let held = Mutex::new(Held { device, read: None });
        Self(Arc::new(Shared { held, asker, changes: watch::channel(0).0 }))
    }

    /// A registration that tells of `presence`, with a new record where the last tells of another or is growing old.
    pub(super) fn current(
        &self,
        presence: &Presence,
        permission: Option<Permission>,
    ) -> Result<Current, DeviceError> {
        let mut held = self.held();
        let now = system::now();
        match held.device.publish_if_due(presence.clone(), now) {
            // Another program was first.
            Err(DeviceError::ChangedMeanwhile { .. }) => {
                self.0.reopen(&mut held)?;
                held.device.publish_if_due(presence.clone(), now)?;
            }
            other => other?,
        }
        // Where nothing was due, nobody has looked yet whether it may still sign.
        held.device.node_identity()?;
        let registration = held.device.registration(permission, now)?;
        let version = registration.record.claims().version;
        Ok(Current { registration, version })
    }

    /// Reads the files again if they are not those that were read.
    pub(super) fn reload(&self) -> Result<(), DeviceError> {
        let mut held = self.held();
        if held.read == stamp(&held.device) { Ok(()) } else { self.0.reopen(&mut held) }
    }

    /// Changes whenever the device has got another key, or its identity another status, whoever noticed.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Whether a new record is due, whatever it says.
    pub(super) fn is_record_due(&self) -> bool {
        self.held().device.is_record_due(system::now())
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
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Reads the files. The only place where the device can become another than it was, so here it is noticed.
    fn reopen(&self, held: &mut Held) -> Result<(), DeviceError> {
        let Some(files) = held.device.files().cloned() else { return Ok(()) };
        // Before reading: what is changed while we read is read again.
        let read = stamp(&held.device);
        let device = files.open()?;
        let (before, after) = (held.device.identity().clone(), device.identity());
        if after.name != before.name {
            let path = device.files().map(|files| files.directory().to_owned()).unwrap_or_default();
            let reason = format!("it now holds {}, not {}", after.name, before.name);
            return Err(DeviceError::State { path, reason });
        }
        let changed = after.key != before.key || after.status != before.status;
        *held = Held { device, read };
        if changed {
            // Before any record under the new key leaves. Whoever is revoked is nobody to ask as.
            if let Ok(identity) = held.device.node_identity() {
                self.asker.replace(identity);
            }
            self.changes.send_modify(|count| *count += 1);
        }
        Ok(())
    }
}

fn stamp(device: &LocalDevice) -> Option<Stamp> {
    let file = std::fs::metadata(device.files()?.state_file()).ok()?;
    Some((file.modified().ok()?, file.ino(), file.len()))
}

/// The presence of a device that says goodbye.
pub(super) fn away(presence: Presence) -> Presence {
    Presence { status: RecordStatus::Away, ..presence }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceFiles;

    fn files(directory: &tempfile::TempDir) -> DeviceFiles {
        DeviceFiles::new(directory.path().join("device"), None)
    }

    fn held(directory: &tempfile::TempDir) -> (LocalDevice, Asker) {
        let name = "jis:sensor".parse().expect("a name");
        let device = files(directory).create(name, system::now()).expect("keys");
        let asker = Asker::new(device.node_identity().expect("active"));
        (device, asker)
    }

    fn rotate(directory: &tempfile::TempDir) -> jis::PublicKey {
        let mut device = files(directory).open().expect("opened");
        device.rotate(None, system::now()).expect("rotated");
        device.identity().key
    }

    #[test]
    fn a_key_change_is_noticed_whatever_looked_first() {
        type Look = fn(&HeldDevice) -> Result<(), DeviceError>;
        let looks: [(&str, Look); 2] = [
            ("the files", HeldDevice::reload),
            ("a record that another program was first to follow", |held| {
                held.current(&away(Presence::default()), None).map(|_| ())
            }),
        ];
        for (what, look) in looks {
            let directory = tempfile::tempdir().expect("a directory");
            let (device, asker) = held(&directory);
            let held = HeldDevice::new(device, asker.clone());
            let mut changes = held.changes();
            held.current(&Presence::default(), None).expect("published");
            held.reload().expect("read");
            assert!(!changes.has_changed().expect("held"), "{what}: nothing has changed yet");
            let key = rotate(&directory);
            look(&held).expect(what);
            assert!(changes.has_changed().expect("held"), "{what}");
            assert_eq!((held.identity().key, asker.identity().key.public_key()), (key, key), "{what}");
            changes.mark_unchanged();
            held.reload().expect("read");
            assert!(!changes.has_changed().expect("held"), "{what}: told once");
        }
    }

    #[test]
    fn a_key_change_between_opening_and_holding_or_after_our_own_write_is_noticed() {
        let directory = tempfile::tempdir().expect("a directory");
        let (device, asker) = held(&directory);
        let key = rotate(&directory);
        let held = HeldDevice::new(device, asker.clone());
        held.reload().expect("read");
        assert_eq!(asker.identity().key.public_key(), key);
        // We write, and another program right after us, in the same tick of the file system's clock.
        held.current(&away(Presence::default()), None).expect("published");
        let written = std::fs::metadata(files(&directory).state_file()).and_then(|file| file.modified());
        let key = rotate(&directory);
        let file = std::fs::File::options().write(true).open(files(&directory).state_file()).expect("opened");
        file.set_modified(written.expect("a time")).expect("set");
        held.reload().expect("read");
        assert_eq!(asker.identity().key.public_key(), key);
    }
}
