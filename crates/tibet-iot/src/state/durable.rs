//! Files that are ours alone, and are whole after a crash.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError, remove_file, rename};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, OFlags, fstat};

use super::error::StateError;

/// Makes a directory for us alone, and those above it; one that is there must be ours alone already.
pub(super) fn create_directory(path: &Path) -> Result<(), StateError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(StateError::io(path))?;
    // DIRECTORY: a pipe in its place would make us wait.
    let directory = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::DIRECTORY.bits().cast_signed())
        .open(path)
        .map_err(StateError::io(path))?;
    check(&directory, path, FileType::Directory)
}

/// Locks a file that is there for nothing else, until the file returned is dropped, however the process ends.
pub(super) fn lock(path: &Path) -> Result<File, StateError> {
    let file = open(OpenOptions::new().read(true).write(true).create(true), path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(StateError::InUse { directory: path.parent().unwrap_or(path).to_owned() })
        }
        Err(TryLockError::Error(source)) => Err(StateError::Io { path: path.to_owned(), source }),
    }
}

/// Opens a file that is ours alone, to be read and appended to; `None` if it is not there.
pub(super) fn open_to_append(path: &Path) -> Result<Option<File>, StateError> {
    absent(open(OpenOptions::new().read(true).append(true), path))
}

/// Reads a file of at most `most` bytes; `None` if it is not there.
pub(super) fn read(path: &Path, most: u64) -> Result<Option<Vec<u8>>, StateError> {
    let Some(mut file) = absent(open(OpenOptions::new().read(true), path))? else { return Ok(None) };
    read_open(&mut file, path, most).map(Some)
}

/// Reads an open file of at most `most` bytes.
pub(super) fn read_open(file: &mut File, path: &Path, most: u64) -> Result<Vec<u8>, StateError> {
    let mut bytes = Vec::new();
    // One more than allowed, to see that it is too long whatever its length was said to be.
    file.take(most + 1).read_to_end(&mut bytes).map_err(StateError::io(path))?;
    if bytes.len() as u64 > most {
        return Err(StateError::TooLong { path: path.to_owned(), most });
    }
    Ok(bytes)
}

/// Writes a file anew: after a crash at any moment the old one or the new one is there, whole.
pub(super) fn replace(path: &Path, contents: &[u8]) -> Result<(), StateError> {
    let temporary = temporary(path);
    // Left by a crash; nobody else writes in a directory that is locked.
    match remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(StateError::io(&temporary)(error));
        }
        _ => {}
    }
    let mut file = open(OpenOptions::new().write(true).create_new(true), &temporary)?;
    let written = file.write_all(contents).and_then(|()| file.sync_all());
    written.map_err(StateError::io(&temporary))?;
    rename(&temporary, path).map_err(StateError::io(path))?;
    // The new name must survive a crash too.
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(StateError::io(directory))
}

fn temporary(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    path.with_file_name(name)
}

fn open(options: &mut OpenOptions, path: &Path) -> Result<File, StateError> {
    // NONBLOCK, so that a pipe does not make us wait. Looked at through the descriptor: nobody can exchange the file in between.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = options.mode(0o600).custom_flags(flags).open(path).map_err(|source| {
        let path = path.to_owned();
        match source.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
            // A link, a directory to be written, a pipe that nobody reads.
            Some(rustix::io::Errno::LOOP | rustix::io::Errno::ISDIR | rustix::io::Errno::NXIO) => {
                StateError::WrongKind { path }
            }
            _ => StateError::Io { path, source },
        }
    })?;
    check(&file, path, FileType::RegularFile)?;
    Ok(file)
}

fn check(file: &File, path: &Path, kind: FileType) -> Result<(), StateError> {
    let status = fstat(file).map_err(|error| StateError::io(path)(error.into()))?;
    let path = path.to_owned();
    if FileType::from_raw_mode(status.st_mode) != kind {
        return Err(StateError::WrongKind { path });
    }
    if status.st_uid != rustix::process::geteuid().as_raw() {
        return Err(StateError::Owner { path });
    }
    let mode = status.st_mode & 0o777;
    if mode & 0o077 != 0 {
        return Err(StateError::Permissions { path, mode });
    }
    Ok(())
}

fn absent(opened: Result<File, StateError>) -> Result<Option<File>, StateError> {
    match opened {
        Ok(file) => Ok(Some(file)),
        Err(StateError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
