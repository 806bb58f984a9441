//! Tokens in a text file, one JSON object per line, as the Python package keeps them.

mod lines;
pub use lines::TokenLines;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{StoreError, TokenStore, head_of, line_to_keep};
use crate::minter::Head;
use crate::query::Query;
use crate::token::Token;
use lines::{Line, LineReader, Tail};

/// When a written line is forced to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fsync {
    /// Before [`TokenStore::append`] returns: what it acknowledged survives a power cut.
    #[default]
    EveryAppend,
    /// Whenever the operating system likes, or at [`FileStore::sync`]. A crash of the program alone loses nothing.
    Never,
}

/// Something was cut off the end of a file that had been half written when the writer or its machine stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovered {
    /// How many bytes were cut off.
    pub bytes: u64,
}

/// Keeps tokens in a file of JSON lines (`docs/spec/token.md`, file format), append only.
///
/// Every append holds an exclusive lock on the file and first takes in what other handles have appended, so several
/// writers may share a file. Readers see their own state until [`FileStore::refresh`]. In memory are the id and the position of each
/// token, less than 150 bytes; the tokens stay on disk.
///
/// A write that fails closes the store to further writes: what reached the disk is unknown until it is opened again.
#[derive(Debug)]
pub struct FileStore {
    path: PathBuf,
    file: File,
    fsync: Fsync,
    /// Length of the part of the file that was read or written here.
    end: u64,
    /// Number of lines in that part, blank ones included.
    line_count: u64,
    /// Where each token's line stands.
    spans: Vec<Span>,
    ids: BTreeMap<String, usize>,
    poisoned: bool,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    start: u64,
    length: usize,
}

impl FileStore {
    /// Opens or creates the file at `path`, directories included, and reads it once. A half-written last line is cut off and
    /// reported.
    ///
    /// # Errors
    /// [`StoreError::Line`] for the first line that is no token or repeats an id; [`StoreError::File`].
    pub fn open(path: impl Into<PathBuf>, fsync: Fsync) -> Result<(Self, Option<Recovered>), StoreError> {
        let path = path.into();
        let file = open_or_create(&path).map_err(|error| StoreError::file(&path, &error))?;
        let mut store = Self {
            path,
            file,
            fsync,
            end: 0,
            line_count: 0,
            spans: Vec::new(),
            ids: BTreeMap::new(),
            poisoned: false,
        };
        let recovered = store.refresh()?;
        Ok((store, recovered))
    }

    /// Takes in what other handles have appended, and repairs the end if one of them stopped half-way.
    ///
    /// # Errors
    /// As [`FileStore::open`]; [`StoreError::ChangedElsewhere`] when the file became shorter.
    pub fn refresh(&mut self) -> Result<Option<Recovered>, StoreError> {
        self.locked(Self::catch_up)
    }

    /// Forces everything written to disk.
    ///
    /// # Errors
    /// [`StoreError::File`]; the store takes no further tokens then.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        let synced = self.file.sync_data();
        self.poisoned |= synced.is_err();
        synced.map_err(|error| self.failed(&error))
    }

    /// Runs `work` under the exclusive lock that Python's file store takes too.
    fn locked<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.file.lock().map_err(|error| self.failed(&error))?;
        let result = work(self);
        let unlocked = self.file.unlock();
        let value = result?;
        unlocked.map_err(|error| self.failed(&error))?;
        Ok(value)
    }

    fn catch_up(&mut self) -> Result<Option<Recovered>, StoreError> {
        let length = self.file.metadata().map_err(|error| self.failed(&error))?.len();
        if length < self.end {
            return Err(StoreError::ChangedElsewhere { path: self.path.clone() });
        }
        let handle = self.file.try_clone().map_err(|error| self.failed(&error))?;
        let mut reader = LineReader::new(handle, self.end, self.line_count)
            .map_err(|error| StoreError::file(&self.path, &error))?;
        while let Some(line) = reader.next(&self.path)? {
            self.take_in(line)?;
        }
        match reader.tail() {
            Tail::Clean => Ok(None),
            Tail::NoLineFeed => {
                self.write_all(b"\n")?;
                Ok(None)
            }
            Tail::Torn { bytes } => {
                self.file.set_len(self.end).map_err(|error| self.failed(&error))?;
                self.sync()?;
                Ok(Some(Recovered { bytes }))
            }
        }
    }

    fn take_in(&mut self, line: Line) -> Result<(), StoreError> {
        (self.end, self.line_count) = (line.end, line.number);
        let Some((token, span)) = line.token else { return Ok(()) };
        if self.ids.contains_key(&token.token_id) {
            return Err(StoreError::Line {
                path: self.path.clone(),
                line: line.number,
                token_id: Some(token.token_id),
                reason: "repeats the id of an earlier token".to_owned(),
            });
        }
        self.index(token.token_id, span);
        Ok(())
    }

    fn index(&mut self, token_id: String, span: Span) {
        self.ids.insert(token_id, self.spans.len());
        self.spans.push(span);
    }

    fn write_all(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        // From here until the sync succeeded the disk may hold anything between nothing and all of it.
        self.poisoned = true;
        self.file.write_all(bytes).map_err(|error| self.failed(&error))?;
        if self.fsync == Fsync::EveryAppend {
            self.file.sync_data().map_err(|error| self.failed(&error))?;
        }
        self.poisoned = false;
        self.end += bytes.len() as u64;
        Ok(())
    }

    fn read(&self, index: usize) -> Result<Option<Token>, StoreError> {
        let Some(&Span { start, length }) = self.spans.get(index) else { return Ok(None) };
        let mut bytes = vec![0; length];
        read_exact_at(&self.file, &mut bytes, start).map_err(|error| self.failed(&error))?;
        let token = str::from_utf8(&bytes)
            .map_err(|error| error.to_string())
            .and_then(|line| Token::from_json_line(line).map_err(|error| error.to_string()));
        token.map(Some).map_err(|reason| StoreError::Row { index: index as u64, reason })
    }

    fn failed(&self, error: &io::Error) -> StoreError {
        StoreError::file(&self.path, error)
    }
}

impl TokenStore for FileStore {
    fn append(&mut self, token: &Token) -> Result<u64, StoreError> {
        if self.poisoned {
            return Err(StoreError::Poisoned { path: self.path.clone() });
        }
        let mut line = line_to_keep(token)?;
        line.push('\n');
        self.locked(|store| {
            store.catch_up()?;
            if store.ids.contains_key(&token.token_id) {
                return Err(StoreError::DuplicateId(token.token_id.clone()));
            }
            let (index, start) = (store.spans.len(), store.end);
            store.write_all(line.as_bytes())?;
            store.line_count += 1;
            store.index(token.token_id.clone(), Span { start, length: line.len() - 1 });
            Ok(index as u64)
        })
    }

    fn len(&self) -> Result<u64, StoreError> {
        Ok(self.spans.len() as u64)
    }

    fn at(&self, index: u64) -> Result<Option<Token>, StoreError> {
        usize::try_from(index).map_or(Ok(None), |index| self.read(index))
    }

    fn get(&self, token_id: &str) -> Result<Option<Token>, StoreError> {
        self.ids.get(token_id).map_or(Ok(None), |&index| self.read(index))
    }

    fn head(&self) -> Result<Option<Head>, StoreError> {
        let Some(last) = self.spans.len().checked_sub(1) else { return Ok(None) };
        Ok(head_of(self.spans.len() as u64, self.read(last)?))
    }

    fn find(&self, query: &Query) -> Result<Vec<Token>, StoreError> {
        let mut found = Vec::new();
        for index in (0..self.spans.len()).rev() {
            if found.len() >= query.limit {
                break;
            }
            found.extend(self.read(index)?.filter(|token| query.matches(token)));
        }
        found.reverse();
        Ok(found)
    }

    fn for_each(&self, from: u64, visit: &mut dyn FnMut(u64, Token)) -> Result<(), StoreError> {
        for index in usize::try_from(from).unwrap_or(usize::MAX)..self.spans.len() {
            if let Some(token) = self.read(index)? {
                visit(index as u64, token);
            }
        }
        Ok(())
    }
}

fn open_or_create(path: &Path) -> io::Result<File> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(directory) = directory {
        fs::create_dir_all(directory)?;
    }
    let is_new = !path.exists();
    let file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    if is_new {
        sync_directory(directory.unwrap_or(Path::new(".")))?;
    }
    Ok(file)
}

/// A new file is safe only when its directory entry is. Directories cannot be opened like this on Windows, which does not
/// need it.
#[cfg(unix)]
fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(not(unix))]
fn sync_directory(_directory: &Path) -> io::Result<()> {
    Ok(())
}

/// Reads without moving the file's position, which threads that share the store would fight over.
#[cfg(unix)]
fn read_exact_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, at)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut bytes: &mut [u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let read = std::os::windows::fs::FileExt::seek_read(file, bytes, at)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes = &mut bytes[read..];
        at += read as u64;
    }
    Ok(())
}
