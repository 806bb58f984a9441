//! Checking a whole log.

mod report;
pub use report::{Finding, LogReport, MAX_FINDINGS, Problem};

use std::collections::BTreeMap;
use std::fmt;

use jis::PublicKey;
use sha2::{Digest, Sha256};

use crate::hash::HmacKey;
use crate::minter::Head;
use crate::store::{StoreError, TokenStore};
use crate::token::{SignatureError, Token};

/// What a log is held against. By default only its inner consistency: hashes, ids, parents, links.
///
/// Without a signer anybody who can write the log can also write a consistent one. Without a head nobody can tell that tokens are
/// missing at its end, or in its middle where no other token names them.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogCheck<'a> {
    /// The key every token must be signed with.
    pub signer: Option<&'a PublicKey>,
    /// The key content hashes were made with.
    pub hmac: Option<&'a HmacKey>,
    /// A head known from elsewhere. The log must contain it; it may have grown since, see [`LogReport::head`].
    pub expected_head: Option<&'a Head>,
    /// Whether every token with a parent must carry the parent's content hash. Logs written by Python do not.
    pub require_content_links: bool,
}

/// Checks a whole log in one pass. An item that is an error takes the next index and becomes [`Problem::Unreadable`].
#[must_use]
pub fn verify_log<E: fmt::Display>(
    tokens: impl IntoIterator<Item = Result<(u64, Token), E>>,
    check: &LogCheck<'_>,
) -> LogReport {
    let mut verifier = LogVerifier::new(*check);
    for item in tokens {
        match item {
            Ok((index, token)) => verifier.push(index, &token),
            Err(error) => verifier.push_unreadable(&error.to_string()),
        }
    }
    verifier.finish()
}

/// Checks all tokens of a store.
///
/// # Errors
/// [`StoreError`] when the store cannot be read to its end: a row that is no token names its index there.
pub fn verify_store<S: TokenStore + ?Sized>(
    store: &S,
    check: &LogCheck<'_>,
) -> Result<LogReport, StoreError> {
    let mut verifier = LogVerifier::new(*check);
    store.for_each(0, &mut |index, token| verifier.push(index, &token))?;
    Ok(verifier.finish())
}

/// The first 16 bytes of the SHA-256 of a token id. Making two ids collide takes 2^64 hashes and gains a false alarm.
type IdKey = [u8; 16];

/// The check itself, for callers that get tokens one by one: [`LogVerifier::push`] all, then [`LogVerifier::finish`].
///
/// Memory: 56 bytes and the overhead of a map, together less than 100 bytes, for every token seen, because any
/// later token may name it as its parent or repeat its id. A million tokens take less than 100 MB. Everything else is bounded by
/// [`MAX_FINDINGS`].
#[derive(Debug)]
pub struct LogVerifier<'a> {
    check: LogCheck<'a>,
    next_index: u64,
    head: Option<Head>,
    seen: BTreeMap<IdKey, Seen>,
    /// Tokens whose parent has not come yet: it stands later, or nowhere. At most [`MAX_FINDINGS`].
    orphans: Vec<Orphan>,
    report: LogReport,
}

#[derive(Debug)]
struct Seen {
    index: u64,
    content_hash: [u8; 32],
}

#[derive(Debug)]
struct Orphan {
    parent: IdKey,
    finding: Finding,
}

impl<'a> LogVerifier<'a> {
    /// A verifier that has seen nothing.
    #[must_use]
    pub fn new(check: LogCheck<'a>) -> Self {
        Self {
            check,
            next_index: 0,
            head: None,
            seen: BTreeMap::new(),
            orphans: Vec::new(),
            report: LogReport::default(),
        }
    }

    /// Checks the next token, which its store keeps at `index`.
    pub fn push(&mut self, index: u64, token: &Token) {
        let mut find = |problem| self.report.add(Finding::new(index, &token.token_id, problem));
        if index != self.next_index {
            find(Problem::Gap { expected: self.next_index });
        }
        if !token.verify_hash(self.check.hmac) {
            find(Problem::Altered);
        }
        match self.check.signer.map(|signer| token.verify_signature(signer)) {
            None | Some(Ok(())) => {}
            Some(Err(SignatureError::Missing)) => find(Problem::Unsigned),
            Some(Err(SignatureError::Bad)) => find(Problem::BadSignature),
        }
        if let Some(expected) = self.check.expected_head
            && index.checked_add(1) == Some(expected.count)
            && (token.token_id != expected.token_id || token.content_hash != expected.content_hash)
        {
            find(Problem::HeadMismatch { expected: expected.token_id.clone() });
        }
        self.check_parent(index, token);
        self.remember(index, token);

        self.report.tokens += 1;
        self.next_index = index.saturating_add(1);
        self.head = Some(Head {
            count: self.next_index,
            token_id: token.token_id.clone(),
            content_hash: token.content_hash.clone(),
        });
    }

    /// Counts something at the next index that is no token any more. Its children will be found without a parent.
    pub fn push_unreadable(&mut self, reason: &str) {
        let problem = Problem::Unreadable { reason: reason.to_owned() };
        self.report.add(Finding::new(self.next_index, "", problem));
        self.next_index = self.next_index.saturating_add(1);
    }

    /// Ends the log and gives the report.
    #[must_use]
    pub fn finish(mut self) -> LogReport {
        for orphan in self.orphans {
            self.report.add(orphan.finding);
        }
        if let Some(expected) = self.check.expected_head
            && self.next_index < expected.count
        {
            let problem = Problem::Truncated { expected: expected.count, found: self.next_index };
            self.report.add(Finding::new(self.next_index, &expected.token_id, problem));
        }
        self.report.finish(self.head)
    }

    fn check_parent(&mut self, index: u64, token: &Token) {
        let Some(parent_id) = token.parent() else { return };
        let find = |problem| Finding::new(index, &token.token_id, problem);
        let parent = id_key(parent_id);
        let Some(seen) = self.seen.get(&parent) else {
            let finding = find(Problem::MissingParent { parent_id: parent_id.to_owned() });
            if self.orphans.len() < MAX_FINDINGS {
                self.orphans.push(Orphan { parent, finding });
            } else {
                self.report.add(finding);
            }
            return;
        };
        match token.content_link() {
            Some(link) if jis::hex::decode_array(link) != Some(seen.content_hash) => {
                self.report.add(find(Problem::ParentChanged { parent_id: parent_id.to_owned() }));
            }
            None if self.check.require_content_links => self.report.add(find(Problem::MissingLink)),
            Some(_) | None => {}
        }
    }

    fn remember(&mut self, index: u64, token: &Token) {
        let key = id_key(&token.token_id);
        if let Some(first) = self.seen.get(&key) {
            let problem = Problem::DuplicateId { first: first.index };
            self.report.add(Finding::new(index, &token.token_id, problem));
            return;
        }
        // A hash that is no hash was reported as altered; zeros stand for it because nothing hashes to them.
        let content_hash = jis::hex::decode_array(&token.content_hash).unwrap_or_default();
        self.seen.insert(key, Seen { index, content_hash });
        for orphan in self.orphans.extract_if(.., |orphan| orphan.parent == key) {
            let Finding { index, token_id, .. } = orphan.finding;
            let problem = Problem::Reordered { parent_id: token.token_id.clone() };
            self.report.add(Finding { index, token_id, problem });
        }
    }
}

fn id_key(token_id: &str) -> IdKey {
    let mut key = IdKey::default();
    key.copy_from_slice(&Sha256::digest(token_id)[..16]);
    key
}
