//! A device's directory.
//!
//! | file | holds |
//! |---|---|
//! | `identity.pem` | the current identity key |
//! | `next-identity.pem` | the pre-committed next key; belongs offline |
//! | `transport.pem` | the transport key |
//! | `device.json` | key events and the last record: public, but only we may write it |
//!
//! A rotation changes three of them and must be whole. The new key files are written beside the old ones (`….new`), then
//! `device.json` is replaced, which is the moment the rotation happens, then the key files take their places. Whoever opens the directory
//! after a crash sees from `device.json` whether to finish or to forget.
//!
//! Programs take turns: whoever reads or writes here holds the directory's lock meanwhile, else one could forget the keys that another is
//! just moving to. And a program that holds a device writes only over the state it knows: else two would sign different records under
//! one number.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use jis::pem::{self, PemEncryption, PemError};
use jis::{Identity, KeyEvent, Name, Record, SecretKey, Signed, TransportSecret, UnixTime};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{DeviceError, LocalDevice, NextKey, new_key};
use crate::secret_file;
use crate::system::random;

const IDENTITY: &str = "identity.pem";
const NEXT: &str = "next-identity.pem";
const TRANSPORT: &str = "transport.pem";
const STATE: &str = "device.json";
/// Added to the name of a key file that waits for a rotation to happen.
const PENDING: &str = ".new";

/// Where a device's files are, and how its keys are encrypted.
#[derive(Debug, Clone)]
pub struct DeviceFiles {
    directory: PathBuf,
    passphrase: Option<Zeroizing<String>>,
}

/// `device.json`. Events and record as hex of their signed bytes.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredDevice {
    schema: String,
    version: u32,
    name: String,
    events: Vec<String>,
    record: Option<String>,
}

const SCHEMA: &str = "tibet.device";
const VERSION: u32 = 1;

impl StoredDevice {
    pub(super) fn new(name: &Name, events: &[KeyEvent], record: Option<&Signed<Record>>) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            version: VERSION,
            name: name.to_string(),
            events: events.iter().map(|event| jis::hex::encode(&event.encode())).collect(),
            record: record.map(|record| jis::hex::encode(&record.encode())),
        }
    }
}

impl DeviceFiles {
    /// The files in `directory`. `passphrase` encrypts the key files, or is needed to read them.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>, passphrase: Option<Zeroizing<String>>) -> Self {
        Self { directory: directory.into(), passphrase }
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The file of the current identity key.
    #[must_use]
    pub fn identity_key(&self) -> PathBuf {
        self.directory.join(IDENTITY)
    }

    /// The file of the next identity key, which belongs offline.
    #[must_use]
    pub fn next_key(&self) -> PathBuf {
        self.directory.join(NEXT)
    }

    /// The file that changes whenever the device does.
    #[must_use]
    pub fn state_file(&self) -> PathBuf {
        self.directory.join(STATE)
    }

    /// Whether a device lives here.
    #[must_use]
    pub fn exist(&self) -> bool {
        self.directory.join(STATE).exists()
    }

    /// Makes a new device here.
    ///
    /// # Errors
    /// [`DeviceError`]; `device.json` is written last, so what a crash leaves behind is no device. Key files that are there already, from such a
    /// crash or of a device whose `device.json` was lost, are never overwritten.
    pub fn create(self, name: Name, now: UnixTime) -> Result<LocalDevice, DeviceError> {
        secret_file::create_directory(&self.directory)?;
        let lock = self.lock()?;
        if self.exist() {
            return Err(secret_file::SecretFileError::Exists { path: self.directory.join(STATE) }.into());
        }
        // Keys without a device.json may be all that is left of an identity. They are not ours to overwrite.
        for file in [IDENTITY, NEXT] {
            let path = self.directory.join(file);
            if path.symlink_metadata().is_ok() {
                return Err(secret_file::SecretFileError::Exists { path }.into());
            }
        }
        let next = new_key()?;
        let mut device = LocalDevice::incept(name, new_key()?, next.public_key(), now)?;
        self.write_key(IDENTITY, &device.key)?;
        self.write_key(NEXT, &next)?;
        let transport = pem::encode_transport(&device.transport, self.encryption()?);
        secret_file::replace(&self.directory.join(TRANSPORT), &transport)?;
        secret_file::create(&self.directory.join(STATE), &to_text(&device.stored()))?;
        drop(lock);
        device.files = Some(self);
        Ok(device)
    }

    /// Opens the device that lives here.
    ///
    /// # Errors
    /// [`DeviceError`]: a file that others could have read or changed, a damaged one, or keys that are not this device's.
    pub fn open(self) -> Result<LocalDevice, DeviceError> {
        let lock = self.lock()?;
        let stored = self.read_state()?;
        let damaged = |reason: String| self.damaged(reason);
        let bytes = |hex: &String| jis::hex::decode(hex).ok_or_else(|| damaged("not hexadecimal".into()));
        let events = stored.events.iter().map(|event| Ok(KeyEvent::decode(&bytes(event)?)?));
        let events = events.collect::<Result<Vec<_>, DeviceError>>()?;
        let identity = Identity::replay(&events, &[])?;
        if identity.name.as_str() != stored.name {
            return Err(damaged("name and history disagree".into()));
        }
        let record = stored
            .record
            .as_ref()
            .map(|record| Ok::<_, DeviceError>(Signed::<Record>::decode(&bytes(record)?)?));
        let record = record.transpose()?;
        self.finish_rotation(&identity)?;
        let key = self.read_key(&self.identity_key())?;
        if key.public_key() != identity.key {
            return Err(damaged(format!("{IDENTITY} is not the key of {}", identity.name)));
        }
        let transport = self.read_transport()?;
        drop(lock);
        Ok(LocalDevice { identity, events, key, next: NextKey::InFile, transport, record, files: Some(self) })
    }

    fn read_state(&self) -> Result<StoredDevice, DeviceError> {
        let text = secret_file::read(&self.directory.join(STATE))?;
        let stored: StoredDevice =
            serde_json::from_str(&text).map_err(|error| self.damaged(error.to_string()))?;
        if stored.schema == SCHEMA && stored.version == VERSION {
            return Ok(stored);
        }
        let reason = format!("{} version {} is not known to this program", stored.schema, stored.version);
        Err(self.damaged(reason))
    }

    fn damaged(&self, reason: String) -> DeviceError {
        DeviceError::State { path: self.directory.join(STATE), reason }
    }

    /// Waits for other programs to be done here. Until the file returned is dropped they wait for us.
    fn lock(&self) -> Result<File, DeviceError> {
        Ok(secret_file::lock_directory(&self.directory)?)
    }

    pub(super) fn save(&self, before: &StoredDevice, after: &StoredDevice) -> Result<(), DeviceError> {
        let _lock = self.lock()?;
        self.check_unchanged(before)?;
        self.write_state(after)
    }

    fn check_unchanged(&self, known: &StoredDevice) -> Result<(), DeviceError> {
        if self.read_state()? == *known {
            return Ok(());
        }
        Err(DeviceError::ChangedMeanwhile { path: self.directory.join(STATE) })
    }

    fn write_state(&self, stored: &StoredDevice) -> Result<(), DeviceError> {
        Ok(secret_file::replace(&self.directory.join(STATE), &to_text(stored))?)
    }

    /// Reads the next key, where it still is in its file.
    pub(super) fn read_next_key(&self) -> Result<SecretKey, DeviceError> {
        self.read_key(&self.next_key())
    }

    /// Reads an identity key from any file, for a next key that was kept elsewhere.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn read_key(&self, path: &Path) -> Result<SecretKey, DeviceError> {
        let text = secret_file::read(path)?;
        pem::decode_identity(&text, self.passphrase.as_ref().map(|passphrase| passphrase.as_str()))
            .map_err(pem_error(path))
    }

    fn read_transport(&self) -> Result<TransportSecret, DeviceError> {
        let path = self.directory.join(TRANSPORT);
        let text = secret_file::read(&path)?;
        pem::decode_transport(&text, self.passphrase.as_ref().map(|passphrase| passphrase.as_str()))
            .map_err(pem_error(&path))
    }

    pub(super) fn commit_rotation(
        &self,
        before: &StoredDevice,
        after: &StoredDevice,
        key: &SecretKey,
        next: &SecretKey,
    ) -> Result<(), DeviceError> {
        let _lock = self.lock()?;
        self.check_unchanged(before)?;
        self.write_key(&pending(IDENTITY), key)?;
        self.write_key(&pending(NEXT), next)?;
        self.write_state(after)?;
        self.put_in_place()
    }

    /// After a crash in the middle of a rotation: if it happened, the waiting keys take their places, else they go.
    fn finish_rotation(&self, identity: &Identity) -> Result<(), DeviceError> {
        self.remove_temporary_files()?;
        let waiting = self.directory.join(pending(IDENTITY));
        if !waiting.exists() {
            // The first rename may have been made and the second not.
            return if self.directory.join(pending(NEXT)).exists() { self.put_in_place() } else { Ok(()) };
        }
        if self.read_key(&waiting)?.public_key() == identity.key {
            return self.put_in_place();
        }
        for name in [NEXT, IDENTITY] {
            let path = self.directory.join(pending(name));
            fs::remove_file(&path).or_else(ignore_missing).map_err(io_error(&path))?;
        }
        Ok(())
    }

    /// What a writer that crashed left behind may hold a secret.
    fn remove_temporary_files(&self) -> Result<(), DeviceError> {
        for entry in fs::read_dir(&self.directory).map_err(io_error(&self.directory))? {
            let path = entry.map_err(io_error(&self.directory))?.path();
            let ours = [IDENTITY, NEXT, TRANSPORT, STATE].iter().any(|name| {
                path.file_name().is_some_and(|file| file.as_encoded_bytes().starts_with(name.as_bytes()))
            });
            if ours && secret_file::is_temporary(&path) {
                fs::remove_file(&path).map_err(io_error(&path))?;
            }
        }
        Ok(())
    }

    fn put_in_place(&self) -> Result<(), DeviceError> {
        for name in [IDENTITY, NEXT] {
            let (from, to) = (self.directory.join(pending(name)), self.directory.join(name));
            fs::rename(&from, &to).or_else(ignore_missing).map_err(io_error(&to))?;
        }
        Ok(())
    }

    fn write_key(&self, name: &str, key: &SecretKey) -> Result<(), DeviceError> {
        let text = pem::encode_identity(key, self.encryption()?);
        Ok(secret_file::replace(&self.directory.join(name), &text)?)
    }

    fn encryption(&self) -> Result<Option<PemEncryption<'_>>, DeviceError> {
        let Some(passphrase) = &self.passphrase else { return Ok(None) };
        Ok(Some(PemEncryption { passphrase, salt: random()?, iv: random()? }))
    }
}

fn pending(name: &str) -> String {
    format!("{name}{PENDING}")
}

fn to_text(stored: &StoredDevice) -> String {
    serde_json::to_string_pretty(stored).expect("texts and numbers have a JSON form") + "\n"
}

fn ignore_missing(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

fn io_error(path: &Path) -> impl FnOnce(std::io::Error) -> DeviceError {
    let path = path.to_owned();
    move |source| secret_file::SecretFileError::Io { path, source }.into()
}

fn pem_error(path: &Path) -> impl FnOnce(PemError) -> DeviceError {
    let path = path.to_owned();
    move |source| DeviceError::Pem { path, source }
}
