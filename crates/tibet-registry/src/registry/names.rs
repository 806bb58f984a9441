//! Claiming a name.

use std::collections::BTreeSet;

use jis::{Identity, IdentityStatus, KeyEvent, Name, PublicKey, Signed, TransportCertificate, UnixTime};
use sha2::{Digest as _, Sha256};
use tibet_core::object;

use super::{Registered, Registry, Source};
use crate::entry::Entry;
use crate::policy::{FirstCome, check_grant, check_token};
use crate::refusal::{PermissionError, Refusal};
use crate::registration::{CheckedRegistration, Permission, Registration, check_record};
use crate::store::{KeyUse, Store, StoreError};
use crate::tally::Counted;
use crate::trust::History;
use crate::update::CheckedUpdate;

/// How a claim was permitted, for the token.
enum Basis {
    FirstCome,
    Grant { parent: Name },
    Token { digest: [u8; 32] },
    Approval,
}

impl<S: Store> Registry<S> {
    /// Takes a claim of a name, or a newer record of the identity that has it.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn register(
        &mut self,
        registration: Registration,
        source: Source,
        now: UnixTime,
    ) -> Result<Registered, Refusal> {
        let checked = registration.check()?;
        self.register_checked(checked, source, now)
    }

    /// Like [`Registry::register`], for a registration whose signatures were checked elsewhere.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn register_checked(
        &mut self,
        registration: CheckedRegistration,
        source: Source,
        now: UnixTime,
    ) -> Result<Registered, Refusal> {
        self.check_clock(now)?;
        self.transact(|registry| match registry.entry(&registration.identity.name)? {
            None => registry.claim(registration, source, now),
            Some((id, held)) if held.identity.fingerprint == registration.identity.fingerprint => {
                registry.continue_registration(id, held, registration, now)
            }
            Some((_, held)) => {
                // Anybody can knock; only how often is written down.
                registry.count(Counted::Refused, "name taken", now)?;
                Err(Refusal::NameTaken(held.identity.name))
            }
        })
    }

    fn claim(
        &mut self,
        registration: CheckedRegistration,
        source: Source,
        now: UnixTime,
    ) -> Result<Registered, Refusal> {
        let CheckedRegistration { identity, events, record, transport, permission } = registration;
        record.claims().check_time(now)?;
        self.check_new_sequence(0, record.claims().version.seq)?;
        check_certificate_time(transport.as_ref(), now)?;
        if identity.status != IdentityStatus::Active {
            return Err(Refusal::Revoked { name: identity.name, status: identity.status });
        }
        for key in keys_of(&events) {
            self.check_identity_key(key)?;
        }
        self.check_transport_key(record.claims())?;
        let basis = self.permit(&identity, permission, source, now)?;
        let mut entry = Entry {
            identity,
            events,
            record,
            registered_at: now,
            history: History::default(),
            explicit_trust: None,
            disputed: false,
            vouches: 0,
            last_token: String::new(),
        };
        let name = entry.identity.name.clone();
        if let Basis::Token { digest } = &basis
            && !self.store.spend(digest)?
        {
            return Err(PermissionError::Used.into());
        }
        let basis_text = match &basis {
            Basis::FirstCome => "first come".to_owned(),
            Basis::Grant { parent } => format!("grant by {parent}"),
            Basis::Token { .. } => "enrolment token".to_owned(),
            Basis::Approval => "approval".to_owned(),
        };
        let details = object! {
            "generation" => i64::try_from(entry.identity.generation).unwrap_or(i64::MAX),
            "key" => entry.identity.key.to_multibase(),
            "basis" => basis_text,
            "record" => describe(&entry),
        };
        self.record("register", &mut entry, details, now)?;
        // Which of two claims came first is decided here, by the store's unique index. The name was free when we looked, so the loser
        // learns it from a failed transaction, takes back all it wrote, and is told the name is taken when it tries again.
        let Some(id) = self.store.claim(&name, &entry.encode())? else {
            return Err(StoreError::Busy.into());
        };
        if self.policy.approval {
            // Used now, or overtaken by another way to the name.
            self.store.remove_request(&name)?;
        }
        for key in keys_of(&entry.events) {
            self.store.bind_key(KeyUse::Identity, key.as_bytes(), id)?;
        }
        self.bind_transport_key(id, &entry)?;
        self.store.set_capabilities(id, &BTreeSet::new(), &entry.record.claims().capabilities)?;
        if let (Basis::FirstCome, Source::Network(source)) = (&basis, source) {
            self.quota.count(source, now);
        }
        self.registered(id, &entry, true, now)
    }

    /// Name policy: grant, token, first come, a human's word, in this order (SECURITY R32).
    fn permit(
        &mut self,
        claimant: &Identity,
        permission: Option<Permission>,
        source: Source,
        now: UnixTime,
    ) -> Result<Basis, Refusal> {
        match permission {
            Some(Permission::Grant(grant)) => {
                let parent = grant.claims().parent.clone();
                let held = self.entry(&parent)?.map(|(_, entry)| entry.identity);
                check_grant(&grant, held.as_ref(), claimant, &self.origin, now)?;
                Ok(Basis::Grant { parent })
            }
            Some(Permission::Token(token)) => {
                check_token(&token, &self.policy.issuers, claimant, &self.origin, now)?;
                Ok(Basis::Token { digest: Sha256::digest(token.message()).into() })
            }
            None => match (self.permit_first_come(&claimant.name, source, now), source) {
                (
                    Err(Refusal::PermissionNeeded { .. } | Refusal::ClosedToFirstCome),
                    Source::Network(source),
                ) if self.policy.approval => {
                    self.ask_human(claimant, source, now)?;
                    Ok(Basis::Approval)
                }
                (decided, _) => decided,
            },
        }
    }

    fn permit_first_come(&mut self, name: &Name, source: Source, now: UnixTime) -> Result<Basis, Refusal> {
        if self.policy.first_come == FirstCome::Closed {
            return Err(Refusal::ClosedToFirstCome);
        }
        for above in std::iter::successors(name.parent(), Name::parent) {
            if self.store.entry(&above)?.is_some() {
                return Err(Refusal::PermissionNeeded { name: name.clone(), holder: above });
            }
        }
        // Whoever holds a name may revoke the names below it, so a name above existing ones is not for the first stranger either.
        if self.store.has_names_below(name)? {
            return Err(Refusal::PermissionNeeded { name: name.clone(), holder: name.clone() });
        }
        if let Source::Network(source) = source {
            self.quota
                .check(source, self.policy.names_per_hour, now)
                .map_err(|retry_after| Refusal::Quota { retry_after })?;
        }
        Ok(Basis::FirstCome)
    }

    /// An owner registers again: the same, a newer record, or key events this registry has missed.
    fn continue_registration(
        &mut self,
        id: u64,
        mut held: Entry,
        registration: CheckedRegistration,
        now: UnixTime,
    ) -> Result<Registered, Refusal> {
        let CheckedRegistration { identity, events, record, transport, .. } = registration;
        check_certificate_time(transport.as_ref(), now)?;
        let mut ahead = held.identity.clone();
        let mut missed = Vec::new();
        for event in events.iter().skip(1) {
            let outdated = matches!(event, KeyEvent::Revocation(revocation)
                if revocation.claims().generation < ahead.generation);
            if outdated || held.events.iter().any(|known| known.hash() == event.hash()) {
                continue;
            }
            match ahead.apply(event, &[]) {
                Ok(next) => ahead = next,
                // A contradiction is kept as evidence there.
                Err(_) if missed.is_empty() => {
                    return self
                        .apply_event(id, &mut held, event, now)
                        .and(Err(Refusal::Inconsistent("the key events do not follow those held")));
                }
                Err(error) => return Err(error.into()),
            }
            missed.push(event);
        }
        // The events and the record belong together: both are looked at before either is written. A revocation needs no record.
        if !missed.is_empty() && ahead.status == IdentityStatus::Active {
            self.check_event_count(&held, missed.len())?;
            check_record(&record, &ahead)?;
            record.claims().check_time(now)?;
            self.check_new_sequence(0, record.claims().version.seq)?;
            self.check_transport_key(record.claims())?;
        }
        for event in &missed {
            if let KeyEvent::Rotation(rotation) = event {
                self.check_identity_key(&rotation.rotation.claims().key)?;
            }
        }
        for event in missed {
            self.apply_event(id, &mut held, event, now)?;
        }
        self.take_record(id, held, CheckedUpdate::verified(record, identity), now)
    }
}

/// Every key of a history: the first one and those it was rotated to.
fn keys_of(events: &[KeyEvent]) -> impl Iterator<Item = &PublicKey> {
    events.iter().filter_map(|event| match event {
        KeyEvent::Inception(inception) => Some(&inception.claims().key),
        KeyEvent::Rotation(rotation) => Some(&rotation.rotation.claims().key),
        KeyEvent::Revocation(_) => None,
    })
}

fn check_certificate_time(
    certificate: Option<&Signed<TransportCertificate>>,
    now: UnixTime,
) -> Result<(), Refusal> {
    let valid = certificate.is_none_or(|certificate| certificate.claims().is_valid_at(now));
    if valid { Ok(()) } else { Err(Refusal::CertificateTime) }
}

/// What a token says of a record: enough to recognise it, and where the device was.
pub(super) fn describe(entry: &Entry) -> tibet_core::json::Object {
    let record = entry.record.claims();
    let endpoints: Vec<String> = record.endpoints.iter().map(ToString::to_string).collect();
    let capabilities: Vec<String> = record.capabilities.iter().map(ToString::to_string).collect();
    object! {
        "seq" => i64::try_from(record.version.seq).unwrap_or(i64::MAX),
        "hash" => jis::hex::encode(&jis::message_hash(entry.record.message())),
        "endpoints" => endpoints,
        "behind_nat" => record.behind_nat,
        "capabilities" => capabilities,
    }
}
