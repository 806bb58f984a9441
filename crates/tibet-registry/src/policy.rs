//! Who may have which name.
//!
//! In this order: a grant by a name above, an enrolment token by the operator, first come (SECURITY R32), and where none of these
//! decides, the operator's own word, if the policy asks for it.

use std::time::Duration;

use jis::{EnrolmentToken, Identity, IdentityStatus, Name, NameGrant, PublicKey, Signed, UnixTime};

use crate::quota::NAMES_PER_HOUR;
use crate::refusal::PermissionError;

/// What the operator of a registry decides.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Whether a free name goes to whoever claims it first.
    pub first_come: FirstCome,
    /// New names by first come for each network and hour; [`NAMES_PER_HOUR`](crate::NAMES_PER_HOUR) unless set otherwise.
    pub names_per_hour: u32,
    /// The keys whose enrolment tokens are taken.
    pub issuers: Vec<PublicKey>,
    /// Whether a claim from the network that the rules do not give a name is kept for a human to decide on.
    pub approval: bool,
}

/// Whether names go by first come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstCome {
    /// Free names without names above or below go to the first claim, within the quota.
    Open,
    /// New names need a grant or a token.
    Closed,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            first_come: FirstCome::Open,
            names_per_hour: NAMES_PER_HOUR,
            issuers: Vec::new(),
            approval: false,
        }
    }
}

/// Permissions may be dated a little ahead of our clock, as records may.
const MAX_CLOCK_LEAD: Duration = Duration::from_secs(300);

fn is_within(issued_at: UnixTime, expires_at: UnixTime, now: UnixTime) -> bool {
    issued_at <= now.saturating_add(MAX_CLOCK_LEAD) && now <= expires_at
}

/// Whether `grant` lets `claimant` have its name. `parent` is the identity bound to the granting name.
pub(crate) fn check_grant(
    grant: &Signed<NameGrant>,
    parent: Option<&Identity>,
    claimant: &Identity,
    origin: &Name,
    now: UnixTime,
) -> Result<(), PermissionError> {
    let claimed = grant.claims();
    // A revoked parent, or a grant by a key the parent has since rotated away, permits nothing.
    let parent = parent
        .filter(|parent| parent.status == IdentityStatus::Active)
        .filter(|parent| parent.name == claimed.parent && parent.generation == claimed.parent_generation)
        .filter(|parent| parent.key == claimed.parent_key)
        .ok_or(PermissionError::Signer)?;
    check_scope(claimed.pattern.matches(&claimant.name), claimed.subject, &claimed.origin, claimant, origin)?;
    if !is_within(claimed.issued_at, claimed.expires_at, now) {
        return Err(PermissionError::Time);
    }
    grant.verify(&parent.key)?;
    Ok(())
}

/// Whether `token` lets `claimant` have its name. That it is used once only is decided where it is written down.
pub(crate) fn check_token(
    token: &Signed<EnrolmentToken>,
    issuers: &[PublicKey],
    claimant: &Identity,
    origin: &Name,
    now: UnixTime,
) -> Result<(), PermissionError> {
    let claimed = token.claims();
    let issuer = issuers.iter().find(|issuer| **issuer == claimed.issuer).ok_or(PermissionError::Signer)?;
    check_scope(claimed.pattern.matches(&claimant.name), claimed.subject, &claimed.origin, claimant, origin)?;
    if !is_within(claimed.issued_at, claimed.expires_at, now) {
        return Err(PermissionError::Time);
    }
    token.verify(issuer)?;
    Ok(())
}

fn check_scope(
    names: bool,
    subject: Option<PublicKey>,
    for_origin: &Name,
    claimant: &Identity,
    origin: &Name,
) -> Result<(), PermissionError> {
    if !names {
        return Err(PermissionError::Pattern);
    }
    if subject.is_some_and(|key| key != claimant.key) {
        return Err(PermissionError::Subject);
    }
    if for_origin == origin { Ok(()) } else { Err(PermissionError::Origin) }
}
