//! The threads that check signatures: who asks, and whether to answer at all.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use jis::{Answer, AnswerOutcome, IdentityStatus, KeyEvent, PublicKey, Query, Signed};
use tibet_registry::{Route, Zone};

use super::frames::Work;
use super::queue::{WorkQueue, WorkSource, queue};
use super::requests;
use super::shared::{Asker, Shared};
use crate::intents::{Failure, FailureCode, Malformed, OverlayRequest};
use crate::system;

/// Starts `threads` workers. They end when what they are sent through is dropped.
pub(super) fn spawn(
    shared: &Arc<Shared>,
    threads: usize,
) -> std::io::Result<(WorkQueue, Vec<JoinHandle<()>>)> {
    let (queue, source) = queue();
    let mut workers = Vec::new();
    for number in 0..threads.max(1) {
        let (shared, source) = (Arc::clone(shared), source.clone());
        let name = format!("overlay-{number}");
        workers.push(std::thread::Builder::new().name(name).spawn(move || run(&shared, &source))?);
    }
    Ok((queue, workers))
}

fn run(shared: &Arc<Shared>, source: &WorkSource) {
    while let Some(work) = source.next() {
        // A question that made a part of the node panic must not end the node (SECURITY R29).
        let _ = catch_unwind(AssertUnwindSafe(|| match work {
            Work::Query(from, shown, bytes) => take_query(shared, from, shown, &bytes),
            Work::Answer(from, id, bytes) => take_answer(shared, from, id, &bytes),
            Work::Back(number) => super::presence::back(shared, number),
        }));
    }
}

fn take_query(shared: &Arc<Shared>, from: SocketAddr, shown: Duration, bytes: &[u8]) {
    let Ok(query) = Signed::<Query>::decode(bytes) else {
        shared.charge_bad(from);
        return shared.counters.malformed.add();
    };
    shared.counters.queries.add();
    let claims = query.claims();
    if claims.responder != shared.public_key {
        return shared.counters.queries_misdirected.add();
    }
    let request = OverlayRequest::read(claims.method.as_str(), &claims.arguments);
    let key = match sender(shared, claims, &request) {
        Sender::Known(key) => key,
        Sender::Unknown => return shared.counters.queries_unknown_sender.add(),
        Sender::Rood => return shared.counters.queries_rood.add(),
    };
    if query.verify(&key).is_err() {
        shared.charge_bad(from);
        return shared.counters.queries_bad_signature.add();
    }
    let asker = Asker::of(&query, from, shown);
    match request {
        Ok(request) => requests::handle(shared, &query, request, asker),
        Err(malformed @ Malformed(_)) => {
            shared.fail(&asker, &Failure::new(FailureCode::Malformed, malformed.to_string()));
        }
    }
}

/// Who asks, as far as that can be known before the signature is looked at.
enum Sender {
    /// Somebody with this key, if the signature says so.
    Known(PublicKey),
    /// Nobody of whom a key is known.
    Unknown,
    /// Somebody who gets no answer.
    Rood,
}

/// The key that the sender's name is bound to: by the registry, by spelling it, or by what the request itself proves (SECURITY R5).
fn sender(shared: &Shared, query: &Query, request: &Result<OverlayRequest, Malformed>) -> Sender {
    let request = request.as_ref().ok();
    let claimed = request
        .and_then(OverlayRequest::claimant)
        .is_some_and(|(name, key)| *name == query.source && *key == query.key);
    let Some(route) = shared.directory().route(query.source.as_str()) else {
        let known = query.source.certified_key().map_or(claimed, |key| key == query.key);
        return if known { Sender::Known(query.key) } else { Sender::Unknown };
    };
    // Who asks again whether its revocation was taken, because the answer got lost, is told again.
    if let Some(OverlayRequest::Revoke(revocation)) = request
        && claimed
        && requests::is_held(&route, &KeyEvent::Revocation((**revocation).clone()))
    {
        return Sender::Known(query.key);
    }
    // Who may still say something: a key that was revoked cannot, but the next key can take its place.
    if route.status == IdentityStatus::NameRevoked || is_rood(&route) {
        return Sender::Rood;
    }
    if *route.key_bytes() == *query.key.as_bytes() {
        let active = route.status == IdentityStatus::Active;
        return if active { Sender::Known(query.key) } else { Sender::Rood };
    }
    if claimed { Sender::Known(query.key) } else { Sender::Unknown }
}

/// Whether an identity is in ROOD for certain. What it has earned others may lift; what the operator has set, nobody.
fn is_rood(route: &Route) -> bool {
    if let Some(set) = route.explicit_trust {
        return Zone::of(set) == Zone::Rood;
    }
    let active = route.status == IdentityStatus::Active;
    active && route.vouches == 0 && route.own_standing(system::now()).zone == Zone::Rood
}

fn take_answer(shared: &Shared, from: SocketAddr, id: [u8; 8], bytes: &[u8]) {
    let Ok(answer) = Signed::<Answer>::decode(bytes) else {
        shared.charge_bad(from);
        return shared.counters.malformed.add();
    };
    // The signature is checked on a copy: the socket's task wants this lock for every answer.
    let asked = shared.forwards().query(&id);
    let answers = asked.is_some_and(|query| Answer::check(&answer, &query).is_ok());
    let forward = answers.then(|| shared.forwards().take(&id)).flatten();
    let Some(forward) = forward else {
        shared.charge_bad(from);
        return shared.counters.answers_unasked.add();
    };
    shared.counters.forwarded_answered.add();
    let elapsed = shared.mono().saturating_sub(forward.asked_at);
    let Answer { outcome, values, .. } = answer.claims();
    if *outcome != AnswerOutcome::Yes {
        let failure = Failure::read(values);
        let detail = format!("the device refuses: {}", failure.detail);
        return shared.fail(&forward.asker, &Failure::new(FailureCode::Refused, detail));
    }
    match requests::passed_back(&forward, values, elapsed) {
        Ok(values) => shared.answer(&forward.asker, AnswerOutcome::Yes, values),
        Err(malformed) => {
            let detail = format!("the device answers what is no answer: {malformed}");
            shared.fail(&forward.asker, &Failure::new(FailureCode::NoAnswer, detail));
        }
    }
}
