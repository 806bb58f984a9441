//! Why a node's directory cannot be used.

use std::io;
use std::path::{Path, PathBuf};

use jis::Name;

/// Why a node's state is not read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// Another node runs with this directory.
    #[error(
        "{directory} is in use by another node; stop it first, or give this one an identity and a directory of its own"
    )]
    InUse {
        /// The directory.
        directory: PathBuf,
    },
    /// Others could read or change it.
    #[error(
        "{path} can be read or changed by others (mode {mode:03o}); make it yours alone: chmod go= {path}"
    )]
    Permissions {
        /// The file or directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Another user owns it.
    #[error("{path} belongs to another user")]
    Owner {
        /// The file or directory.
        path: PathBuf,
    },
    /// A symbolic link, a directory, a pipe or a device where a file should be, or anything but a directory where that should be.
    #[error(
        "{path} is not what it should be: a regular file, or a directory (symbolic links are not followed)"
    )]
    WrongKind {
        /// What is there.
        path: PathBuf,
    },
    /// Longer than any file of this kind.
    #[error("{path} is longer than {most} bytes")]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The most it may have.
        most: u64,
    },
    /// A line of the known keys is damaged. Nothing is guessed: a key that was lost would be replaced by whoever speaks first.
    #[error(
        "{path}, line {line}: {reason}; mend the line, or remove it to accept the next key its name comes with"
    )]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The file is of another version or no file of known keys.
    #[error(
        "{path} does not begin with \"{expected}\"; restore it, or move it away to begin with no known keys"
    )]
    Header {
        /// The file.
        path: PathBuf,
        /// The first line it should have.
        expected: &'static str,
    },
    /// The replay bound is no time.
    #[error(
        "{path} is damaged; wait until a minute after this node last ran, then remove the file: without it, packets from that minute could be accepted twice"
    )]
    Bound {
        /// The file.
        path: PathBuf,
    },
    /// A name is known by another key or generation.
    #[error("{name} is known by another key")]
    OtherKey {
        /// The name.
        name: Name,
    },
    /// No room for another name.
    #[error("{path} has room for {most} names only")]
    Full {
        /// The file.
        path: PathBuf,
        /// How many names it may have.
        most: usize,
    },
    /// A write failed before, and what is on disk is not known.
    #[error("{path} could not be written before; it is left alone until the node starts anew")]
    Failed {
        /// The file.
        path: PathBuf,
    },
    /// The system said no.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

impl StateError {
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}
