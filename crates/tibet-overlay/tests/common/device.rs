//! A device whose every signed word a test can choose, unlike the library's own.
#![allow(dead_code, unreachable_pub, missing_docs)]

use std::time::Duration;

use jis::{
    EnrolmentToken, Identity, Inception, KeyEvent, Name, NameGrant, NextKeyCommitment, Record, RecordStatus,
    RecordVersion, Revocation, RevocationAuthority, RevocationScope, Rotation, SecretKey, Signed,
    SignedRotation, UnixTime, message_hash,
};
use tibet_overlay::intents::{OverlayRequest, RegisterRequest};
use tibet_overlay::system;
use tibet_registry::Permission;

use super::raw::Asker;

pub fn new_key() -> SecretKey {
    SecretKey::from_seed(system::random().expect("random").into()).expect("key")
}

pub fn copy(key: &SecretKey) -> SecretKey {
    SecretKey::from_seed(key.to_seed()).expect("key")
}

pub fn name(text: &str) -> Name {
    text.parse().expect("name")
}

/// Seconds from now; negative is before.
pub fn at(seconds: i64) -> UnixTime {
    let now = system::now().as_secs();
    UnixTime::from_secs(now.checked_add_signed(seconds).expect("a time"))
}

/// Holds its keys, and signs whatever the test says.
pub struct Device {
    pub identity: Identity,
    pub events: Vec<KeyEvent>,
    pub key: SecretKey,
    pub next: SecretKey,
    pub record: Record,
}

impl Device {
    pub fn new(text: &str) -> Self {
        Self::with_key(text, new_key())
    }

    pub fn with_key(text: &str, key: SecretKey) -> Self {
        let next = new_key();
        let commitment = NextKeyCommitment::to(&next.public_key());
        let inception = Inception {
            name: name(text),
            key: key.public_key(),
            next: commitment,
            created_at: system::now(),
        };
        let inception = Signed::seal(inception, &key).expect("inception");
        let identity = Identity::incept(&inception).expect("identity");
        let record = Record {
            name: identity.name.clone(),
            fingerprint: identity.fingerprint,
            version: RecordVersion { generation: 0, seq: 0 },
            key: identity.key,
            transport_key: None,
            issued_at: system::now(),
            ttl: Record::MAX_TTL,
            endpoints: vec!["203.0.113.1:44321".parse().expect("endpoint")],
            relays: Vec::new(),
            capabilities: ["mqtt".parse().expect("capability")].into(),
            status: RecordStatus::Active,
            previous: [0; 32],
            next: identity.next,
            behind_nat: true,
        };
        Self { identity, events: vec![KeyEvent::Inception(inception)], key, next, record }
    }

    /// The same device once more: its keys were copied.
    pub fn stolen(&self) -> Self {
        Self {
            identity: self.identity.clone(),
            events: self.events.clone(),
            key: copy(&self.key),
            next: copy(&self.next),
            record: self.record.clone(),
        }
    }

    pub fn name(&self) -> &Name {
        &self.identity.name
    }

    pub fn text(&self) -> &str {
        self.identity.name.as_str()
    }

    /// Itself, as who asks.
    pub fn asker(&self) -> Asker {
        let Identity { name, generation, .. } = &self.identity;
        Asker { name: name.clone(), key: copy(&self.key), generation: *generation }
    }

    pub fn signed_record(&self) -> Signed<Record> {
        Signed::seal(self.record.clone(), &self.key).expect("record")
    }

    /// With all key events.
    pub fn registration(&self, permission: Option<Permission>) -> OverlayRequest {
        self.register_with(self.signed_record(), permission)
    }

    pub fn register_with(&self, record: Signed<Record>, permission: Option<Permission>) -> OverlayRequest {
        let events = self.events.clone();
        OverlayRequest::Register(Box::new(RegisterRequest { record, events, transport: None, permission }))
    }

    /// The record alone.
    pub fn update(&self) -> OverlayRequest {
        let record = self.signed_record();
        let events = Vec::new();
        OverlayRequest::Register(Box::new(RegisterRequest {
            record,
            events,
            transport: None,
            permission: None,
        }))
    }

    /// The next record.
    pub fn move_on(&mut self, change: impl FnOnce(&mut Record)) {
        self.record.previous = message_hash(self.signed_record().message());
        self.record.version.seq += 1;
        self.record.issued_at = system::now();
        change(&mut self.record);
    }

    /// A rotation as `change` has it, signed by `signer` and by the current key.
    pub fn rotation(&self, signer: &SecretKey, change: impl FnOnce(&mut Rotation)) -> SignedRotation {
        let mut rotation = Rotation {
            name: self.identity.name.clone(),
            fingerprint: self.identity.fingerprint,
            generation: self.identity.generation + 1,
            key: signer.public_key(),
            next: NextKeyCommitment::to(&new_key().public_key()),
            previous: self.identity.last_event,
            rotated_at: system::now(),
        };
        change(&mut rotation);
        SignedRotation::seal(rotation, signer, Some(&self.key)).expect("rotation")
    }

    /// A record for after `rotation`, signed by `key`.
    pub fn record_after(&self, rotation: &SignedRotation, key: &SecretKey) -> Signed<Record> {
        let claims = rotation.rotation.claims();
        let record = Record {
            key: claims.key,
            next: claims.next,
            version: RecordVersion { generation: claims.generation, seq: 0 },
            issued_at: system::now(),
            ..self.record.clone()
        };
        Signed::seal(record, key).expect("record")
    }

    /// Rotates itself to its next key, and gives what says so.
    pub fn rotate(&mut self) -> OverlayRequest {
        let after = new_key();
        let commitment = NextKeyCommitment::to(&after.public_key());
        let rotation = self.rotation(&self.next, |rotation| rotation.next = commitment);
        let record = self.record_after(&rotation, &self.next);
        let event = KeyEvent::Rotation(rotation.clone());
        self.identity = self.identity.apply(&event, &[]).expect("fits");
        self.events.push(event);
        self.key = std::mem::replace(&mut self.next, after);
        self.record = record.claims().clone();
        OverlayRequest::Rotate { rotation: Box::new(rotation), record: Box::new(record) }
    }

    pub fn revocation(
        &self,
        scope: RevocationScope,
        authority: RevocationAuthority,
        signer: &SecretKey,
    ) -> Signed<Revocation> {
        let revocation = Revocation {
            name: self.identity.name.clone(),
            fingerprint: self.identity.fingerprint,
            generation: self.identity.generation,
            key: self.identity.key,
            scope,
            authority,
            signer: signer.public_key(),
            reason: "lost".parse().expect("reason"),
            revoked_at: system::now(),
        };
        Signed::seal(revocation, signer).expect("revocation")
    }

    /// The current key ends itself.
    pub fn revoke_own_key(&self) -> OverlayRequest {
        let revocation = self.revocation(RevocationScope::Key, RevocationAuthority::CurrentKey, &self.key);
        OverlayRequest::Revoke(Box::new(revocation))
    }

    /// Grants names below its own, for an hour.
    pub fn grant(&self, pattern: &str, origin: &Name, change: impl FnOnce(&mut NameGrant)) -> Permission {
        let mut grant = NameGrant {
            id: system::random().expect("random"),
            parent: self.identity.name.clone(),
            parent_generation: self.identity.generation,
            parent_key: self.identity.key,
            pattern: pattern.parse().expect("pattern"),
            subject: None,
            origin: origin.clone(),
            overrides: false,
            issued_at: at(-10),
            expires_at: at(3600),
        };
        change(&mut grant);
        Permission::Grant(Signed::seal(grant, &self.key).expect("grant"))
    }
}

/// An enrolment token by `issuer`, for an hour.
pub fn token(
    issuer: &SecretKey,
    pattern: &str,
    origin: &Name,
    change: impl FnOnce(&mut EnrolmentToken),
) -> Permission {
    let issued_at = at(-10);
    let mut token = EnrolmentToken {
        id: system::random().expect("random"),
        issuer: issuer.public_key(),
        pattern: pattern.parse().expect("pattern"),
        subject: None,
        origin: origin.clone(),
        issued_at,
        expires_at: issued_at.saturating_add(Duration::from_secs(3600)),
    };
    change(&mut token);
    Permission::Token(Signed::seal(token, issuer).expect("token"))
}
