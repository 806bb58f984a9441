//! What a check of a log found.

use std::fmt;

use crate::minter::Head;

/// As many findings are kept; more are only counted. One altered byte makes one or two, so a hundred tell the story.
pub const MAX_FINDINGS: usize = 100;

/// Longest id or reason that is kept in a finding, in characters: a hostile log must not fill the report.
const MAX_TEXT: usize = 200;

/// The result of checking a log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogReport {
    /// Number of tokens that were readable.
    pub tokens: u64,
    /// The end of the log as it is, to be kept and held against the log next time.
    pub head: Option<Head>,
    /// The first [`MAX_FINDINGS`], ordered by index.
    pub findings: Vec<Finding>,
    /// How many there were in all.
    pub total_findings: u64,
}

impl LogReport {
    /// Whether nothing was found.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.total_findings == 0
    }

    pub(super) fn add(&mut self, finding: Finding) {
        self.total_findings += 1;
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding);
        }
    }

    pub(super) fn finish(mut self, head: Option<Head>) -> Self {
        // Orphans are known only at the end. The sort is stable: findings of one token stay in the order of the checks.
        self.findings.sort_by_key(|finding| finding.index);
        self.head = head;
        self
    }
}

/// Something wrong with one token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Index of the token, from 0.
    pub index: u64,
    /// Its id as it stands in the log, cut to 200 characters; empty when unreadable.
    pub token_id: String,
    /// What is wrong.
    pub problem: Problem,
}

impl Finding {
    pub(super) fn new(index: u64, token_id: &str, problem: Problem) -> Self {
        Self { index, token_id: shorten(token_id), problem: problem.shortened() }
    }
}

/// `index 3 (tibet_…): content was altered`
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "index {}", self.index)?;
        if !self.token_id.is_empty() {
            write!(f, " ({})", self.token_id)?;
        }
        write!(f, ": {}", self.problem)
    }
}

/// What can be wrong with a token in a log. Ids and reasons are cut to 200 characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// It cannot be read.
    #[error("unreadable: {reason}")]
    Unreadable {
        /// Why.
        reason: String,
    },
    /// The content hash does not match the content, or was made with another HMAC key.
    #[error("content was altered: its hash does not match")]
    Altered,
    /// The signature is not the expected signer's over this content hash.
    #[error("bad signature")]
    BadSignature,
    /// There is no signature, and there should be one.
    #[error("not signed")]
    Unsigned,
    /// The parent stands nowhere in the log.
    #[error("parent {parent_id} is missing")]
    MissingParent {
        /// The parent that is named.
        parent_id: String,
    },
    /// The parent stands in the log with another content hash than when this token was made.
    #[error("parent {parent_id} is not the one this token was made after")]
    ParentChanged {
        /// The parent that is named.
        parent_id: String,
    },
    /// The token carries no content hash of its parent, and it should.
    #[error("no content link to the parent")]
    MissingLink,
    /// The token stands before its parent.
    #[error("stands before its parent {parent_id}")]
    Reordered {
        /// The parent that is named.
        parent_id: String,
    },
    /// An earlier token has the same id.
    #[error("repeats the id of index {first}")]
    DuplicateId {
        /// Index of the earlier token.
        first: u64,
    },
    /// The index is not the one after the last.
    #[error("index {expected} is missing")]
    Gap {
        /// The index that should have come.
        expected: u64,
    },
    /// The log ends before the head that is known. The finding names the head's token.
    #[error("log holds {found} tokens, {expected} are known to exist")]
    Truncated {
        /// Number of tokens up to the known head.
        expected: u64,
        /// Number of tokens in the log.
        found: u64,
    },
    /// Another token stands where the known head should be.
    #[error("the known head {expected} should stand here")]
    HeadMismatch {
        /// Id of the known head.
        expected: String,
    },
}

impl Problem {
    fn shortened(mut self) -> Self {
        match &mut self {
            Self::Unreadable { reason: text }
            | Self::MissingParent { parent_id: text }
            | Self::ParentChanged { parent_id: text }
            | Self::Reordered { parent_id: text }
            | Self::HeadMismatch { expected: text } => *text = shorten(text),
            Self::Altered
            | Self::BadSignature
            | Self::Unsigned
            | Self::MissingLink
            | Self::DuplicateId { .. }
            | Self::Gap { .. }
            | Self::Truncated { .. } => {}
        }
        self
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}
