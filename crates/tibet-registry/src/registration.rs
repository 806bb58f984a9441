//! What a device sends to claim a name, and the checks that need nothing but the request itself.

use jis::{EnrolmentToken, Identity, KeyEvent, NameGrant, Record, RecordError, Signed, TransportCertificate};

use crate::refusal::Refusal;

/// Most key events in one registration: ten years of a rotation every three months.
pub const MAX_EVENTS: usize = 41;

/// A claim of a name, as it came.
#[derive(Debug, Clone)]
pub struct Registration {
    /// The identity's whole history, inception first.
    pub events: Vec<KeyEvent>,
    /// Its current record.
    pub record: Signed<Record>,
    /// The certificate of its transport key, if it has one.
    pub transport: Option<Signed<TransportCertificate>>,
    /// What permits the claim, where first come does not.
    pub permission: Option<Permission>,
}

/// What permits a claim.
#[derive(Debug, Clone)]
pub enum Permission {
    /// By a name above.
    Grant(Signed<NameGrant>),
    /// By the operator.
    Token(Signed<EnrolmentToken>),
}

/// A registration whose own parts are consistent and validly signed. What is left are questions to the registry's memory.
///
/// Signatures are most of the work of a registration; they are checked here, without the registry, so that many can be checked
/// at once on as many cores while one writer commits.
#[derive(Debug, Clone)]
pub struct CheckedRegistration {
    pub(crate) identity: Identity,
    pub(crate) events: Vec<KeyEvent>,
    pub(crate) record: Signed<Record>,
    pub(crate) transport: Option<Signed<TransportCertificate>>,
    pub(crate) permission: Option<Permission>,
}

impl Registration {
    /// Replays the history, verifies the record and the certificate.
    ///
    /// # Errors
    /// [`Refusal::Event`], [`Refusal::WrongKey`], [`Refusal::Inconsistent`].
    pub fn check(self) -> Result<CheckedRegistration, Refusal> {
        let Self { events, record, transport, permission } = self;
        if events.len() > MAX_EVENTS {
            return Err(Refusal::Inconsistent("too many key events"));
        }
        let identity = Identity::replay(&events, &[])?;
        check_record(&record, &identity)?;
        if let Some(certificate) = &transport {
            check_certificate(certificate, &identity, record.claims())?;
        }
        Ok(CheckedRegistration { identity, events, record, transport, permission })
    }
}

impl CheckedRegistration {
    /// The identity that registers.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
}

pub(crate) fn check_record(record: &Signed<Record>, identity: &Identity) -> Result<(), Refusal> {
    match identity.check_record(record) {
        Ok(_) => Ok(()),
        Err(RecordError::BadSignature) => Err(Refusal::WrongKey(identity.name.clone())),
        Err(RecordError::OtherIdentity) => Err(Refusal::Inconsistent("the record is another identity's")),
        Err(_) => Err(Refusal::Inconsistent("the record does not match the identity's last key event")),
    }
}

fn check_certificate(
    certificate: &Signed<TransportCertificate>,
    identity: &Identity,
    record: &Record,
) -> Result<(), Refusal> {
    let claimed = certificate.claims();
    let same_identity = claimed.name == identity.name && claimed.generation == identity.generation;
    if !same_identity || record.transport_key != Some(claimed.transport_key) {
        return Err(Refusal::Inconsistent("the certificate is not for the record's transport key"));
    }
    let good = claimed.key == identity.key && certificate.verify(&identity.key).is_ok();
    if good { Ok(()) } else { Err(Refusal::WrongKey(identity.name.clone())) }
}
