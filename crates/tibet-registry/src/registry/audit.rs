//! Checking a registry against its own log.

use std::collections::HashMap;

use jis::{Identity, IdentityStatus, Name};
use tibet_core::json::{Object, Value};
use tibet_core::{Head, LogCheck, LogReport, LogVerifier, Token};

use super::Registry;
use crate::entry::Entry;
use crate::store::{Store, StoreError};
use crate::trust::History;

/// What a check found.
#[derive(Debug, Clone)]
pub struct Audit {
    /// The log by itself: hashes, signatures, links, order.
    pub log: LogReport,
    /// Identities whose stored state is not what the devices signed and the log tells. The first hundred.
    pub problems: Vec<AuditProblem>,
    /// Identities looked at.
    pub identities: u64,
    /// What is wrong with the store's indexes: an entry that its name no longer leads to is there and yet never found.
    pub indexes: Option<String>,
}

/// An identity whose stored state cannot be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditProblem {
    /// The name.
    pub name: Name,
    /// What does not fit.
    pub what: &'static str,
}

impl Audit {
    /// Whether nothing was found.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.log.ok() && self.problems.is_empty() && self.indexes.is_none()
    }
}

/// Most problems listed.
const MAX_PROBLEMS: usize = 100;

/// What the log says about an identity.
#[derive(Debug, Default, Clone, PartialEq)]
struct Told {
    fingerprint: String,
    generation: i64,
    status: Option<IdentityStatus>,
    last_token: String,
    /// Hash of the record held, in hex.
    record: String,
    verify_pass: u64,
    verify_fail: u64,
    anomalies: u64,
    vouches: u32,
    explicit_trust: Option<f64>,
    disputed: bool,
}

impl<S: Store> Registry<S> {
    /// Verifies the whole log under the registry's key, replays every identity's key events, verifies every record, and compares each
    /// identity with what the log says of it: an entry changed behind the log's back is named, and so is one the log does not
    /// know. `expected` is a head noted earlier, against which a cut log is noticed.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn audit(&self, expected: Option<&Head>) -> Result<Audit, StoreError> {
        let check = LogCheck {
            signer: Some(&self.log_key),
            expected_head: expected,
            require_content_links: true,
            ..LogCheck::default()
        };
        let mut log = LogVerifier::new(check);
        let mut told: HashMap<Name, Told> = HashMap::new();
        let mut problems = Vec::new();
        let mut identities = 0;
        let indexes = match self.store.check_indexes() {
            Err(StoreError::Damaged(what)) => Some(what),
            other => other.map(|()| None)?,
        };
        // Log and entries of one moment: another process may be writing.
        self.store.unchanging(&mut || {
            let mut next = 0;
            // A row that is no token any more is a finding, not the end of the check.
            while let Err(error) = self.store.for_each_token(next, &mut |index, token| {
                note(&mut told, &token);
                log.push(index, &token);
            }) {
                let StoreError::Unreadable { index, reason } = error else { return Err(error) };
                log.push_unreadable(&reason);
                next = index.saturating_add(1);
            }
            self.store.for_each_entry(&mut |_, name, bytes| {
                identities += 1;
                if let Some(what) = contradiction(name, bytes, told.remove(name).as_ref())
                    && problems.len() < MAX_PROBLEMS
                {
                    problems.push(AuditProblem { name: name.clone(), what });
                }
            })
        })?;
        // What is left was registered according to the log and is not there.
        problems.extend(
            told.into_keys().map(|name| AuditProblem { name, what: "the log registers it, but it is gone" }),
        );
        problems.truncate(MAX_PROBLEMS);
        Ok(Audit { log: log.finish(), problems, identities, indexes })
    }
}

/// Follows one token.
fn note(told: &mut HashMap<Name, Told>, token: &Token) {
    // Whether a device is there is no part of its entry.
    if token.action == "presence" {
        return;
    }
    let Value::Object(erin) = &token.erin else { return };
    let text = |key| text_of(erin, key);
    let Some(name) = text("did").and_then(|did| did.parse::<Name>().ok()) else { return };
    let told = told.entry(name).or_default();
    told.last_token.clone_from(&token.token_id);
    if let Some(fingerprint) = text("fingerprint") {
        fingerprint.clone_into(&mut told.fingerprint);
    }
    let Some(Value::Object(details)) = erin.get("details") else { return };
    if let Some(Value::Integer(generation)) = details.get("generation")
        && matches!(token.action.as_str(), "register" | "rotate" | "revoke")
    {
        told.generation = *generation;
        told.status = Some(match (token.action.as_str(), text_of(details, "ends")) {
            ("revoke", Some("name")) => IdentityStatus::NameRevoked,
            ("revoke", _) => IdentityStatus::KeyRevoked,
            _ => IdentityStatus::Active,
        });
    }
    match token.action.as_str() {
        "register" => {
            if let Some(Value::Object(record)) = details.get("record") {
                told.take_record(record);
            }
        }
        "endpoint_change" | "record_change" => told.take_record(details),
        "verify" => told.verify_pass += u64::from(details.get("counted") == Some(&Value::Bool(true))),
        "failed_verify" => told.verify_fail += 1,
        "anomaly" => told.anomalies += 1,
        "vouch" => told.vouches = told.vouches.saturating_add(1),
        "equivocation" => told.disputed = true,
        "trust_change" => {
            told.explicit_trust = match details.get("explicit") {
                Some(Value::Float(score)) => Some(*score),
                _ => None,
            };
            told.disputed &= told.explicit_trust.is_none();
        }
        _ => {}
    }
}

fn text_of<'a>(object: &'a Object, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str)
}

impl Told {
    fn take_record(&mut self, described: &Object) {
        if let Some(hash) = text_of(described, "hash") {
            hash.clone_into(&mut self.record);
        }
    }
}

fn contradiction(name: &Name, bytes: &[u8], told: Option<&Told>) -> Option<&'static str> {
    let Ok(entry) = Entry::decode(name, bytes) else { return Some("its entry cannot be read") };
    let Some(told) = told else { return Some("the log does not know it") };
    // Some of the record stands in the entry a second time, for speed.
    if entry.encode() != bytes {
        return Some("its entry contradicts itself");
    }
    let identity = &entry.identity;
    // A revocation by a name above needs that name's identity of the time; that the log tells of it is checked below.
    let own_events: Vec<_> =
        entry.events.iter().filter(|event| !matches!(event, jis::KeyEvent::Revocation(_))).cloned().collect();
    match Identity::replay(&own_events, &[]) {
        Err(_) => return Some("its key events do not verify"),
        Ok(replayed) => {
            let same =
                (replayed.fingerprint, replayed.generation, replayed.key, replayed.next, replayed.last_event)
                    == (
                        identity.fingerprint,
                        identity.generation,
                        identity.key,
                        identity.next,
                        identity.last_event,
                    );
            if !same {
                return Some("its key is not the one its key events lead to");
            }
        }
    }
    // Who lost the key after a rotation elsewhere may be revoked before a record under the new key came.
    let record_is_current = entry.record.claims().version.generation == identity.generation;
    if (record_is_current || identity.status == IdentityStatus::Active)
        && identity.check_record(&entry.record).is_err()
    {
        return Some("its record is not signed by its key");
    }
    if told.fingerprint != identity.fingerprint.to_string() {
        return Some("the log tells of another identity under this name");
    }
    if u64::try_from(told.generation) != Ok(identity.generation) {
        return Some("the log tells of another generation");
    }
    if told.status != Some(identity.status) {
        return Some("the log disagrees on whether it is revoked");
    }
    if told.record != jis::hex::encode(&jis::message_hash(entry.record.message())) {
        return Some("its record is not the one the log tells of");
    }
    let History { interactions, verify_pass, verify_fail, anomalies, last_success } = entry.history;
    let counted = (told.verify_pass, told.verify_fail, told.anomalies);
    if counted != (verify_pass, verify_fail, anomalies)
        || interactions != verify_pass.saturating_add(verify_fail)
        || last_success.is_some() != (verify_pass > 0)
    {
        return Some("its history is not the one the log tells of");
    }
    if told.explicit_trust != entry.explicit_trust || told.disputed != entry.disputed {
        return Some("its trust is not what the log says the operator set");
    }
    if told.vouches != entry.vouches {
        return Some("the log tells of another number of vouches");
    }
    (told.last_token != entry.last_token).then_some("its last token is not the log's last word on it")
}
