//! Files that hold secrets (SECURITY R25).
//!
//! Such a file belongs to us, is readable by nobody else, and is never half there: it is written under another name, synced, and then
//! given its name.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use zeroize::Zeroizing;

/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// How the name of a file ends that is still being written.
const TEMPORARY: &str = ".tmp";

/// Why a file is not read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretFileError {
    /// Others could read or change it.
    #[error(
        "{path} can be read or changed by others (mode {mode:03o}); make it yours alone: chmod 600 {path}"
    )]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Another user owns it.
    #[error("{path} belongs to another user")]
    Owner {
        /// The file.
        path: PathBuf,
    },
    /// A symbolic link, a directory, a pipe or a device.
    #[error("{path} is not a regular file (symbolic links are not followed)")]
    NotRegular {
        /// The file.
        path: PathBuf,
    },
    /// Longer than any file of this kind.
    #[error("{path} is too long for what it should hold")]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// It exists and would be overwritten.
    #[error("{path} exists already")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The system said no.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

impl SecretFileError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    /// Whether the file is simply not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Reads a secret file, after making sure it is one.
///
/// # Errors
/// [`SecretFileError`].
pub fn read(path: &Path) -> Result<Zeroizing<String>, SecretFileError> {
    // Opened first and looked at afterwards, through the same descriptor: nobody can exchange the file in between. NONBLOCK, so that
    // a pipe does not make us wait.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(descriptor) => File::from(descriptor),
        Err(rustix::io::Errno::LOOP) => return Err(SecretFileError::NotRegular { path: path.to_owned() }),
        Err(error) => return Err(SecretFileError::io(path)(error.into())),
    };
    let status = rustix::fs::fstat(&file).map_err(|error| SecretFileError::io(path)(error.into()))?;
    if rustix::fs::FileType::from_raw_mode(status.st_mode) != rustix::fs::FileType::RegularFile {
        return Err(SecretFileError::NotRegular { path: path.to_owned() });
    }
    if status.st_uid != rustix::process::geteuid().as_raw() {
        return Err(SecretFileError::Owner { path: path.to_owned() });
    }
    let mode = status.st_mode & 0o777;
    if mode & 0o077 != 0 {
        return Err(SecretFileError::Permissions { path: path.to_owned(), mode });
    }
    let length = u64::try_from(status.st_size).unwrap_or(u64::MAX);
    if length > MAX_FILE {
        return Err(SecretFileError::TooLong { path: path.to_owned() });
    }
    // Room for all of it from the start: a string that grows leaves copies of the secret behind.
    let mut text = Zeroizing::new(String::with_capacity(usize::try_from(length).unwrap_or(0) + 1));
    (&file).take(MAX_FILE).read_to_string(&mut text).map_err(SecretFileError::io(path))?;
    Ok(text)
}

/// Writes a secret file that is not there yet.
///
/// # Errors
/// [`SecretFileError::Exists`] and others; the file is then whole or not there.
pub fn create(path: &Path, contents: &str) -> Result<(), SecretFileError> {
    let temporary = write_temporary(path, contents)?;
    // A link, unlike a rename, does not replace what is there.
    let linked = fs::hard_link(&temporary, path);
    fs::remove_file(&temporary).map_err(SecretFileError::io(&temporary))?;
    linked.map_err(|source| {
        let path = path.to_owned();
        let exists = source.kind() == io::ErrorKind::AlreadyExists;
        if exists { SecretFileError::Exists { path } } else { SecretFileError::Io { path, source } }
    })?;
    sync_directory_of(path)
}

/// Reads a secret file, or writes what `make` makes on first use. Its directory is made too, and locked meanwhile: two programs that begin at once
/// do not make two secrets.
///
/// # Errors
/// [`SecretFileError`], and those of `make`; then nothing was made.
pub(crate) fn read_or_create<E: From<SecretFileError>>(
    path: &Path,
    make: impl FnOnce() -> Result<Zeroizing<String>, E>,
) -> Result<Zeroizing<String>, E> {
    let directory = directory_of(path);
    create_directory(directory)?;
    let _lock = lock_directory(directory)?;
    match read(path) {
        Err(error) if error.is_not_found() => {
            let secret = make()?;
            create(path, &secret)?;
            Ok(secret)
        }
        other => Ok(other?),
    }
}

/// Writes a secret file, replacing what is there in one step.
///
/// # Errors
/// [`SecretFileError`]; the old file is then still there.
pub fn replace(path: &Path, contents: &str) -> Result<(), SecretFileError> {
    let temporary = write_temporary(path, contents)?;
    fs::rename(&temporary, path).map_err(SecretFileError::io(path))?;
    sync_directory_of(path)
}

/// Makes a directory for us alone, and those above it.
///
/// # Errors
/// [`SecretFileError`].
pub fn create_directory(path: &Path) -> Result<(), SecretFileError> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(SecretFileError::io(path))
}

/// Waits until no other program holds this directory's lock, and holds it until the file returned is dropped.
pub(crate) fn lock_directory(path: &Path) -> Result<File, SecretFileError> {
    // DIRECTORY: a pipe in its place would make us wait.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(path, flags, Mode::empty())
        .map(File::from)
        .map_err(|error| SecretFileError::io(path)(error.into()))?;
    directory.lock().map_err(SecretFileError::io(path))?;
    Ok(directory)
}

/// Whether the file is one that is being written, or was when its writer crashed.
pub(crate) fn is_temporary(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().ends_with(TEMPORARY.as_bytes()))
}

fn write_temporary(path: &Path, contents: &str) -> Result<PathBuf, SecretFileError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}{TEMPORARY}", std::process::id()));
    let temporary = path.with_file_name(name);
    // Left over from a crash of a process with our number; nobody else writes here.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(SecretFileError::io(&temporary)(error));
        }
        _ => {}
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let descriptor = rustix::fs::open(&temporary, flags, Mode::RUSR | Mode::WUSR)
        .map_err(|error| SecretFileError::io(&temporary)(error.into()))?;
    let mut file = File::from(descriptor);
    let written = file.write_all(contents.as_bytes()).and_then(|()| file.sync_all());
    written.map_err(SecretFileError::io(&temporary))?;
    Ok(temporary)
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The new name itself must survive a crash too.
fn sync_directory_of(path: &Path) -> Result<(), SecretFileError> {
    let directory = directory_of(path);
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(SecretFileError::io(directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_programs_that_begin_at_once_one_makes_the_secret_and_all_have_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("new").join("secret");
        let read = |text: String| read_or_create(&path, || Ok::<_, SecretFileError>(Zeroizing::new(text)));
        let held: Vec<String> = std::thread::scope(|scope| {
            let begun: Vec<_> =
                (0..8).map(|number| scope.spawn(move || read(number.to_string()).expect("read"))).collect();
            begun.into_iter().map(|thread| thread.join().expect("read").to_string()).collect()
        });
        assert!(held.iter().all(|secret| *secret == held[0]), "{held:?}");
        assert_eq!(*read("another".into()).expect("read"), held[0]);
    }

    #[test]
    fn what_cannot_be_made_leaves_nothing_behind() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("secret");
        let failed = || SecretFileError::TooLong { path: path.clone() };
        assert!(read_or_create(&path, || Err(failed())).is_err());
        assert!(std::fs::read_dir(directory.path()).expect("read").next().is_none());
    }
}
