//! Names that a human decides on.

use std::net::IpAddr;
use std::time::Duration;

use jis::{Identity, Name, UnixTime};
use tibet_core::json::Object;
use tibet_core::object;

use super::Registry;
use super::resolve::MAX_PAGE;
use crate::refusal::Refusal;
use crate::store::{NameRequest, RequestState, Store, StoreError};
use crate::tally::Counted;

/// Most requests for names kept, decided or not.
pub const MAX_REQUESTS: u64 = 1024;
/// Most that wait from one network, an IPv4 /24 or an IPv6 /48.
pub const MAX_REQUESTS_WAITING: u64 = 16;
/// How long a denial holds.
pub const DENIAL: Duration = Duration::from_secs(24 * 3600);

impl<S: Store> Registry<S> {
    /// Requests for names, in the order of the names, at most [`MAX_PAGE`] at a time. `after` is the last name of the page before.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn requests(&self, after: Option<&Name>, limit: usize) -> Result<Vec<NameRequest>, StoreError> {
        self.store.requests(after, limit.clamp(1, MAX_PAGE))
    }

    /// Lets the identity that asked for a name have it: its next claim succeeds, whatever the policy says about other claims.
    ///
    /// # Errors
    /// [`Refusal::NoRequest`], [`Refusal::NameTaken`] when somebody has got the name meanwhile, [`Refusal::Store`].
    pub fn approve(&mut self, name: &Name, reason: &str, now: UnixTime) -> Result<NameRequest, Refusal> {
        self.decide(name, RequestState::Approved { at: now }, reason, now)
    }

    /// Refuses the identity that asked for a name, for [`DENIAL`]. Also takes back an approval that was not used yet.
    ///
    /// # Errors
    /// As [`Registry::approve`].
    pub fn deny(&mut self, name: &Name, reason: &str, now: UnixTime) -> Result<NameRequest, Refusal> {
        self.decide(name, RequestState::Denied { at: now }, reason, now)
    }

    fn decide(
        &mut self,
        name: &Name,
        state: RequestState,
        reason: &str,
        now: UnixTime,
    ) -> Result<NameRequest, Refusal> {
        self.check_clock(now)?;
        self.transact(|registry| {
            let mut request =
                registry.store.request(name)?.ok_or_else(|| Refusal::NoRequest(name.clone()))?;
            if registry.store.entry(name)?.is_some() {
                return Err(Refusal::NameTaken(name.clone()));
            }
            // Said twice, it is still decided when it was said first.
            if std::mem::discriminant(&request.state) == std::mem::discriminant(&state) {
                return Ok(request);
            }
            request.state = state;
            registry.store.put_request(&request)?;
            let action = match state {
                RequestState::Approved { .. } => "request_approved",
                RequestState::Denied { .. } => "request_denied",
                RequestState::Waiting => "request",
            };
            let mut details = describe(&request);
            details.insert("reason", reason);
            registry.append_request(action, name, details, now)?;
            Ok(request)
        })
    }

    /// A claim from the network that needs a human's word: nothing if it has it, and otherwise the refusal. The request is kept.
    pub(super) fn ask_human(
        &mut self,
        claimant: &Identity,
        source: IpAddr,
        now: UnixTime,
    ) -> Result<(), Refusal> {
        let name = &claimant.name;
        let held = self.store.request(name)?.filter(|held| match held.state {
            RequestState::Denied { at } => !is_over(at, now),
            RequestState::Waiting | RequestState::Approved { .. } => true,
        });
        if let Some(held) = held {
            let same = held.fingerprint == claimant.fingerprint;
            match held.state {
                RequestState::Approved { .. } if same => return Ok(()),
                RequestState::Denied { .. } if same => {
                    return self.refuse(Refusal::Denied(name.clone()), now);
                }
                RequestState::Waiting if same => {
                    return self.refuse(Refusal::WaitsForApproval(name.clone()), now);
                }
                RequestState::Approved { .. } | RequestState::Waiting => {
                    return self.refuse(Refusal::AskedFor(name.clone()), now);
                }
                // What was denied to one key may be asked by another.
                RequestState::Denied { .. } => {}
            }
        }
        let request = NameRequest {
            name: name.clone(),
            fingerprint: claimant.fingerprint,
            key: claimant.key,
            source,
            since: now,
            state: RequestState::Waiting,
        };
        let (mut all, waiting) = self.store.count_requests(request.network())?;
        if waiting >= MAX_REQUESTS_WAITING {
            return self.refuse(Refusal::Busy("requests for names from this network"), now);
        }
        if all >= MAX_REQUESTS {
            let before = now.as_millis().saturating_sub(DENIAL.as_millis() as u64);
            self.store.forget_denied(UnixTime::from_millis(before).unwrap_or(UnixTime::from_secs(0)))?;
            all = self.store.count_requests(request.network())?.0;
        }
        if all >= MAX_REQUESTS {
            return self.refuse(Refusal::Busy("requests for names"), now);
        }
        self.store.put_request(&request)?;
        self.append_request("request", name, describe(&request), now)?;
        Err(Refusal::WaitsForApproval(name.clone()))
    }

    /// Anybody can ask again; only how often is written down.
    fn refuse(&mut self, refusal: Refusal, now: UnixTime) -> Result<(), Refusal> {
        self.count(Counted::Refused, "approval", now)?;
        Err(refusal)
    }

    fn append_request(
        &mut self,
        action: &str,
        name: &Name,
        details: Object,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        // Not `did`: the name is nobody's yet.
        let erin = object! { "action" => action, "subject" => name.as_str(), "details" => details };
        let why = format!("Overlay {} for {name}", action.replace('_', " "));
        self.append(action, erin, vec![name.as_str().to_owned()], why, now)?;
        Ok(())
    }
}

/// Over, or decided by a clock that has been set back since.
fn is_over(denied_at: UnixTime, now: UnixTime) -> bool {
    now < denied_at || now.saturating_since(denied_at) >= DENIAL
}

fn describe(request: &NameRequest) -> Object {
    object! {
        "fingerprint" => request.fingerprint.to_string(),
        "key" => request.key.to_multibase(),
        "source" => request.source.to_string(),
        "since" => request.since.to_string(),
    }
}
