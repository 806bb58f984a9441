//! Reading token files line by line.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::Span;
use crate::json::{self, JsonErrorKind};
use crate::store::StoreError;
use crate::token::{MAX_TOKEN_LINE, Token, TokenError};

/// Longest line that is read, white space and line feed included.
const MAX_LINE: usize = MAX_TOKEN_LINE + 1024;

/// The tokens of a file one by one, good lines and bad: for looking at a log that [`FileStore`](super::FileStore) refuses to
/// open. Changes nothing and takes no lock. Every line that is not blank has an index, readable or not.
#[derive(Debug)]
pub struct TokenLines {
    path: PathBuf,
    reader: LineReader,
    index: u64,
    stopped: bool,
}

impl TokenLines {
    /// Opens the file at `path` for reading.
    ///
    /// # Errors
    /// [`StoreError::File`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let path = path.into();
        let reader = File::open(&path).and_then(|file| LineReader::new(file, 0, 0));
        let reader = reader.map_err(|error| StoreError::file(&path, &error))?;
        Ok(Self { path, reader, index: 0, stopped: false })
    }

    fn numbered(&mut self, token: Token) -> (u64, Token) {
        self.index += 1;
        (self.index - 1, token)
    }
}

/// Gives [`StoreError::Line`] for a bad line and goes on behind it; a half-written last line is a bad one here. Any
/// other error is the last item.
impl Iterator for TokenLines {
    type Item = Result<(u64, Token), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.stopped {
            match self.reader.next(&self.path) {
                Ok(Some(Line { token: Some((token, _)), .. })) => return Some(Ok(self.numbered(token))),
                Ok(Some(Line { token: None, .. })) => {}
                Ok(None) => {
                    self.stopped = true;
                    if let Tail::Torn { bytes } = self.reader.tail() {
                        let reason = format!("half-written: {bytes} bytes without a line feed");
                        return Some(Err(self.reader.bad_line(&self.path, None, reason)));
                    }
                }
                Err(error) => {
                    self.stopped = !matches!(error, StoreError::Line { .. });
                    self.index += 1;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

/// One whole line.
pub(super) struct Line {
    /// Its number, from 1.
    pub(super) number: u64,
    /// Where the next line starts.
    pub(super) end: u64,
    /// The token and where its text stands; `None` for a blank line.
    pub(super) token: Option<(Token, Span)>,
}

/// How a file ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// With a line feed, or it is empty.
    Clean,
    /// With a whole token and no line feed.
    NoLineFeed,
    /// With the beginning of a token, or with what a file system leaves when it had reserved room but written nothing.
    Torn {
        /// Length of the rest that is no line.
        bytes: u64,
    },
}

/// Reads lines with a bounded buffer and keeps count of where it is.
#[derive(Debug)]
pub(super) struct LineReader {
    input: BufReader<File>,
    at: u64,
    number: u64,
    tail: Tail,
}

impl LineReader {
    /// Reads from byte `at` on, which is where line `number` + 1 starts.
    pub(super) fn new(mut file: File, at: u64, number: u64) -> io::Result<Self> {
        file.seek(SeekFrom::Start(at))?;
        Ok(Self { input: BufReader::new(file), at, number, tail: Tail::Clean })
    }

    /// The next line; `None` at the end of the file, and at a torn rest, which [`LineReader::tail`] tells apart.
    pub(super) fn next(&mut self, path: &Path) -> Result<Option<Line>, StoreError> {
        let mut bytes = Vec::new();
        let read = (&mut self.input).take(MAX_LINE as u64).read_until(b'\n', &mut bytes);
        read.map_err(|error| StoreError::file(path, &error))?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let start = self.at;
        self.at += bytes.len() as u64;
        self.number += 1;
        let whole = bytes.last() == Some(&b'\n');
        if !whole && bytes.len() == MAX_LINE {
            self.skip_line(path)?;
            return Err(self.bad_line(path, None, TokenError::TooLong.to_string()));
        }

        let text = bytes.trim_ascii();
        if text.is_empty() && whole {
            return Ok(Some(Line { number: self.number, end: self.at, token: None }));
        }
        if !whole && is_torn(text) {
            self.tail = Tail::Torn { bytes: bytes.len() as u64 };
            return Ok(None);
        }
        let token = parse(text).map_err(|reason| self.bad_line(path, readable_id(text), reason))?;
        if !whole {
            self.tail = Tail::NoLineFeed;
        }
        let blanks = (bytes.len() - bytes.trim_ascii_start().len()) as u64;
        let span = Span { start: start + blanks, length: text.len() };
        Ok(Some(Line { number: self.number, end: self.at, token: Some((token, span)) }))
    }

    /// How the file ends, known once [`LineReader::next`] has given `None`.
    pub(super) fn tail(&self) -> Tail {
        self.tail
    }

    /// The error for the line read last.
    pub(super) fn bad_line(&self, path: &Path, token_id: Option<String>, reason: String) -> StoreError {
        StoreError::Line { path: path.to_owned(), line: self.number, token_id, reason }
    }

    /// Steps over the rest of a line that is too long, without keeping it.
    fn skip_line(&mut self, path: &Path) -> Result<(), StoreError> {
        self.at += self.input.skip_until(b'\n').map_err(|error| StoreError::file(path, &error))? as u64;
        Ok(())
    }
}

fn parse(text: &[u8]) -> Result<Token, String> {
    let line = str::from_utf8(text).map_err(|_| "not UTF-8".to_owned())?;
    Token::from_json_line(line).map_err(|error| error.to_string())
}

/// Whether a last line without line feed is one whose writer did not get further: text that ends inside a value, zeros
/// where the text should have come, or nothing but white space. Anything else that is no token was not left by a writer.
fn is_torn(text: &[u8]) -> bool {
    let zeros = text.iter().rev().take_while(|&&byte| byte == 0).count();
    if zeros > 0 || text.is_empty() {
        return true;
    }
    let error = json::parse_bytes(text).err();
    error.is_some_and(|error| error.kind == JsonErrorKind::UnexpectedEnd)
}

/// The id in a line that is no valid token, for naming it: lines start with it.
fn readable_id(text: &[u8]) -> Option<String> {
    let rest = text.strip_prefix(br#"{"token_id": ""#)?;
    let end = rest.iter().take(200).position(|&byte| byte == b'"')?;
    Some(String::from_utf8_lossy(&rest[..end]).into_owned())
}
