//! How a registry's events become tokens.
//!
//! | layer | content |
//! |---|---|
//! | ERIN | the action, whom it is about (`did`, `fingerprint`), and details |
//! | ERAAN | the name, the last token about the same identity, `sha256:` of the token before |
//! | EROMHEEN | the registry: its name and log key |
//! | ERACHTER | why, in words |

use jis::{Name, UnixTime};
use tibet_core::json::{Object, Value};
use tibet_core::{Draft, Token, object};

use super::{Registry, token_time};
use crate::entry::Entry;
use crate::refusal::Refusal;
use crate::store::{Store, StoreError};
use crate::tally::{Counted, Sum};

impl<S: Store> Registry<S> {
    /// Writes the token of an event about an identity, and chains it to that identity's last one. The caller stores the entry
    /// afterwards.
    pub(super) fn record(
        &mut self,
        action: &str,
        entry: &mut Entry,
        details: Object,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        let name = &entry.identity.name;
        let erin = object! {
            "action" => action,
            "did" => name.as_str(),
            "fingerprint" => entry.identity.fingerprint.to_string(),
            "details" => details,
        };
        let mut eraan = vec![name.as_str().to_owned()];
        if !entry.last_token.is_empty() {
            eraan.push(entry.last_token.clone());
        }
        let why = format!("Overlay {} for {name}", action.replace('_', " "));
        entry.last_token = self.append(action, erin, eraan, why, now)?.token_id;
        Ok(())
    }

    /// Writes sums of counted events; what could not be written is counted on.
    pub(super) fn write_sums(&mut self, sums: Vec<Sum>, now: UnixTime) -> Result<(), Refusal> {
        let written = self.transact(|registry| {
            for sum in &sums {
                let subjects: Object =
                    sum.subjects.iter().map(|(name, count)| (name.to_string(), number(*count))).collect();
                let details = object! {
                    "count" => number(sum.total()),
                    "since" => sum.since.to_string(),
                    "subjects" => subjects,
                    "others" => number(sum.others),
                };
                registry.append_counted(sum.what, "several", details, now)?;
            }
            Ok(())
        });
        if written.is_err() {
            for sum in sums {
                self.tally.restore(sum, now);
            }
        }
        written
    }

    /// Counts an event that changes nothing, and writes what is due.
    pub(super) fn count(&mut self, what: Counted, subject: &str, now: UnixTime) -> Result<(), Refusal> {
        let due = self.tally.take_due(now);
        if !due.is_empty() {
            self.write_sums(due, now)?;
        }
        if self.tally.count(what, subject, now) {
            self.transact(|registry| {
                let details = object! { "count" => 1, "since" => now.to_string() };
                registry.append_counted(what, subject, details, now)?;
                Ok(())
            })?;
        }
        Ok(())
    }

    fn append_counted(
        &mut self,
        what: Counted,
        subject: &str,
        details: Object,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        let action = what.action();
        let erin = object! { "action" => action, "subject" => subject, "details" => details };
        let eraan = if subject.parse::<Name>().is_ok() { vec![subject.to_owned()] } else { Vec::new() };
        let why = format!("Overlay {} of {subject}", action.replace('_', " "));
        self.append(action, erin, eraan, why, now)?;
        Ok(())
    }

    pub(super) fn append(
        &mut self,
        action: &str,
        erin: Object,
        eraan: Vec<String>,
        erachter: String,
        now: UnixTime,
    ) -> Result<Token, StoreError> {
        let eromheen = object! { "node" => self.origin.as_str(), "node_key" => self.log_key_text.as_str() };
        let draft = Draft::new(action).erin(erin).eraan(eraan).eromheen(eromheen).erachter(erachter);
        let head = self.minter.head();
        let count = head.map_or(0, |head| head.count);
        // The id's random part: any value that differs from log to log does, and the last hash is one.
        let random =
            head.and_then(|head| jis::hex::decode_array(head.content_hash.get(..8)?)).unwrap_or([0; 4]);
        let token = self.minter.mint(draft, token_time(now, count), random);
        self.store.append_token(&token)?;
        Ok(token)
    }
}

/// A count as JSON has it.
pub(super) fn number(count: u64) -> Value {
    i64::try_from(count).unwrap_or(i64::MAX).into()
}
