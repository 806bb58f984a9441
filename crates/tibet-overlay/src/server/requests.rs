//! What becomes of a question whose asker is known.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jis::{
    AnswerOutcome, IdentityStatus, KeyEvent, Name, Punch, Query, Record, Revocation, Signed, SignedRotation,
};
use tibet_ping::{Compact, MAX_UNFRAGMENTED};
use tibet_registry::{CheckedUpdate, Refusal, Registered, Registration, Route, Source, StoreError};

use super::forwards::Forward;
use super::glance::RecordGlance;
use super::presence;
use super::sessions::{Comer, Heard};
use super::shared::{Asker, Shared};
use crate::intents::{
    CHALLENGE, Failure, FailureCode, FoundNames, Malformed, OverlayRequest, PUNCH, PingRequest, PongAnswer,
    PresenceState, ProofAnswer, PunchAnswer, RegisterAnswer, RegisterRequest, ResolveAnswer,
};
use crate::system;

/// Bytes of the names on a page: the rest of a datagram is for what is around them (SECURITY R15).
const PAGE: usize = 960;
/// Longest ping that is passed on, in bytes: with the longest name, intent and purpose it has 755.
const MAX_PING: usize = 1000;
/// No more names than this fit: each takes ten bytes at least.
const MOST_NAMES: usize = PAGE / 10;

/// Carries out `request`, or has the writer do it, and answers.
pub(super) fn handle(shared: &Arc<Shared>, query: &Signed<Query>, request: OverlayRequest, asker: Asker) {
    if !speaks_for_itself(query.claims(), &request) {
        let detail = "a device registers and rotates itself: the record is another identity's";
        return shared.fail(&asker, &Failure::new(FailureCode::Malformed, detail));
    }
    match request {
        OverlayRequest::Register(request) => register(shared, *request, asker),
        OverlayRequest::Resolve { name, events_from } => resolve(shared, &name, events_from, asker),
        OverlayRequest::Find { capability, after } => find(shared, &capability, after, asker),
        OverlayRequest::Challenge(ref challenge) => {
            // Who asks in another's name would have a proof made that says it was asked by that one.
            let claims = query.claims();
            if (&challenge.verifier, &challenge.verifier_key) != (&claims.source, &claims.key) {
                let detail = "a challenge names whoever asks as its verifier";
                return shared.fail(&asker, &Failure::new(FailureCode::Malformed, detail));
            }
            pass_on(shared, &challenge.prover.clone(), &request, asker);
        }
        OverlayRequest::Ping { ref name, ref ping } => {
            let (claims, inner) = (query.claims(), ping.claims());
            if (&inner.source, &inner.key) != (&claims.source, &claims.key) {
                let detail = "a ping is signed by whoever asks for it to be passed on";
                return shared.fail(&asker, &Failure::new(FailureCode::Malformed, detail));
            }
            // The device checks it as well, but what it does not pass on costs neither it nor what others may ask.
            if ping.verify(&claims.key).is_err() {
                shared.charge_bad(asker.address);
                return shared.counters.queries_bad_signature.add();
            }
            // What is kept and sent on is a ping, and no more than one datagram.
            if PingRequest::read(inner).is_err() || ping.encode().len() > MAX_PING {
                let detail = "this is no ping, or one that is too long";
                return shared.fail(&asker, &Failure::new(FailureCode::Malformed, detail));
            }
            pass_on(shared, &name.clone(), &request, asker);
        }
        OverlayRequest::Connect { name, punch } => connect(shared, query.claims(), &name, punch, asker),
        OverlayRequest::Punch(_) => {
            let detail = "this is what a node asks a device; a device asks overlay.connect";
            shared.fail(&asker, &Failure::new(FailureCode::Malformed, detail));
        }
        OverlayRequest::Relay(request) => super::relay::open(shared, query.claims(), &request, asker),
        OverlayRequest::Rotate { rotation, record } => rotate(shared, *rotation, *record, asker),
        OverlayRequest::Revoke(revocation) => revoke(shared, *revocation, asker),
    }
}

/// Whether a request that says where a device is comes from that device. A record is public and proves nothing of who brings it: whoever sent
/// another's would be taken for it, and hear what is meant for it (SECURITY R24).
fn speaks_for_itself(query: &Query, request: &OverlayRequest) -> bool {
    match request {
        OverlayRequest::Register(request) => {
            let record = request.record.claims();
            (&record.name, &record.key) == (&query.source, &query.key)
        }
        // By the old key or by the new one; which of them speaks is known by now.
        OverlayRequest::Rotate { record, .. } => record.claims().name == query.source,
        OverlayRequest::Resolve { .. }
        | OverlayRequest::Find { .. }
        | OverlayRequest::Challenge(_)
        | OverlayRequest::Ping { .. }
        | OverlayRequest::Connect { .. }
        | OverlayRequest::Punch(_)
        | OverlayRequest::Relay(_)
        // Which key may end what, the revocation itself says, whoever brings it.
        | OverlayRequest::Revoke(_) => true,
    }
}

/// Whether a key event is among those of an identity: it was taken before, and the answer got lost.
pub(super) fn is_held(route: &Route, event: &KeyEvent) -> bool {
    let event = event.encode();
    route.event_bytes().any(|held| held == event)
}

fn register(shared: &Arc<Shared>, request: RegisterRequest, asker: Asker) {
    let RegisterRequest { record, events, transport, permission } = request;
    let name = record.claims().name.clone();
    let held = shared.directory().route(name.as_str());
    // The most frequent case by far: what is held is sent again, from a new address or after a restart. Nothing is to be written.
    if let Some(route) = &held
        && route.status == IdentityStatus::Active
        && route.record_bytes() == record.encode()
        && record.claims().check_time(system::now()).is_ok()
    {
        let registered = registered(route, &name, record.claims());
        return welcome(shared, route.id, &registered, record.claims(), asker);
    }
    if events.is_empty() {
        return update(shared, record, held, asker);
    }
    let source = Source::Network(asker.address.ip());
    let claims = record.claims().clone();
    // Its own next record, and not somebody's who wants its name or has an old key of it. Charged when all of it has verified.
    let own = held.filter(|held| {
        held.fingerprint == claims.fingerprint && held.version.generation <= claims.version.generation
    });
    let number = own.map(|route| route.id);
    match (Registration { events, record, transport, permission }).check() {
        Ok(checked) => change(shared, asker, number, claims, move |registry, now| {
            (registry.register_checked(checked, source, now), vec![name])
        }),
        Err(refusal) => refuse(shared, &asker, &refusal),
    }
}

/// A newer record of an identity that is known here.
fn update(shared: &Arc<Shared>, record: Signed<Record>, held: Option<Route>, asker: Asker) {
    let name = record.claims().name.clone();
    let needed = || {
        let detail = "send the key events along: this node does not know the identity, or not its newest key";
        shared.fail(&asker, &Failure::new(FailureCode::HistoryNeeded, detail));
    };
    let number = held.as_ref().map(|route| route.id);
    let Some(identity) = held.and_then(|route| route.identity(&name).ok()) else { return needed() };
    let claims = record.claims().clone();
    if claims.fingerprint == identity.fingerprint && claims.version.generation > identity.generation {
        return needed();
    }
    match CheckedUpdate::check(record, &identity) {
        Ok(checked) => change(shared, asker, number, claims, move |registry, now| {
            (registry.update_checked(checked, now), vec![name])
        }),
        Err(refusal) => refuse(shared, &asker, &refusal),
    }
}

fn registered(route: &Route, name: &Name, record: &Record) -> Registered {
    Registered {
        name: name.clone(),
        fingerprint: route.fingerprint,
        version: record.version,
        expires_at: record.expires_at(),
        standing: route.own_standing(system::now()),
        changed: false,
    }
}

/// Has the writer make a change that leads to `record` being held, and answers once it is on the disk. `number` is that of the identity, if it is
/// known here; it has signed for the change.
fn change(
    shared: &Arc<Shared>,
    asker: Asker,
    number: Option<u64>,
    record: Record,
    make: impl FnOnce(&mut super::AnyRegistry, jis::UnixTime) -> (Result<Registered, Refusal>, Vec<Name>)
    + Send
    + 'static,
) {
    let number = number.and_then(|number| u32::try_from(number).ok());
    let allowed = number.map_or(Ok(()), |number| shared.sessions().take_change(number, shared.mono()));
    if let Err(wait) = allowed {
        let detail = "this identity has changed too often; ask again later";
        let failure = Failure::new(FailureCode::Busy, detail);
        return shared.fail(&asker, &Failure { retry_after: Some(wait), ..failure });
    }
    let node = Arc::clone(shared);
    let submitted = shared.registry.submit(make, move |result| match result {
        Ok(Ok(registered)) => {
            let number = node.directory().number(registered.name.as_str());
            if let Some(number) = number {
                welcome(&node, number.into(), &registered, &record, asker);
            }
        }
        Ok(Err(refusal)) => refuse(&node, &asker, &refusal),
        Err(error) => storage_failed(&node, &asker, &error),
    });
    if submitted.is_err() {
        busy(shared, &asker);
    }
}

/// The device is registered with `record`: it is there from now on, and gets its token.
fn welcome(shared: &Arc<Shared>, number: u64, registered: &Registered, record: &Record, asker: Asker) {
    let Ok(number) = u32::try_from(number) else { return };
    let counter = if registered.changed {
        &shared.counters.registrations
    } else {
        &shared.counters.registrations_repeated
    };
    counter.add();
    let key = record.key.as_bytes();
    let comer = Comer { number, key, address: asker.address, shown: asker.shown };
    match presence::registered(shared, &registered.name, record.status, comer) {
        // Its key has ended since the question was judged: nobody is there to be answered.
        None => return shared.counters.queries_unknown_sender.add(),
        // It is elsewhere since this was asked, or somebody overheard it; whoever is there greets anew and asks again.
        Some(Heard::Stale) => return shared.stale(&asker),
        Some(Heard::Again | Heard::Back | Heard::Moved | Heard::Torn) => {}
    }
    let registered_at =
        shared.directory().route_of(number).map_or(registered.expires_at, |r| r.registered_at);
    let answer = RegisterAnswer {
        changed: registered.changed,
        version: registered.version,
        fingerprint: registered.fingerprint,
        registered_at,
        expires_at: registered.expires_at,
        observed: asker.address,
        keepalive: shared.tokens.issue(number, key, asker.address, system::now()),
        keepalive_every: shared.keepalive_every,
    };
    shared.answer(&asker, AnswerOutcome::Yes, answer.values());
}

fn rotate(shared: &Arc<Shared>, rotation: SignedRotation, record: Signed<Record>, asker: Asker) {
    let name = record.claims().name.clone();
    let event = KeyEvent::Rotation(rotation.clone());
    // In a statement of its own: held on into what follows, the lock would be taken twice.
    let held = shared.directory().route(name.as_str());
    if let Some(route) = &held
        && route.status == IdentityStatus::Active
        && route.record_bytes() == record.encode()
        && is_held(route, &event)
    {
        let registered = registered(route, &name, record.claims());
        return welcome(shared, route.id, &registered, record.claims(), asker);
    }
    // Whoever merely says that this is the next key takes nothing of what the identity may change.
    let own = held.filter(|held| held.identity(&name).is_ok_and(|held| held.apply(&event, &[]).is_ok()));
    let number = own.map(|route| route.id);
    let claims = record.claims().clone();
    change(shared, asker, number, claims, move |registry, now| {
        (registry.rotate(rotation, record, now), vec![name])
    });
}

fn revoke(shared: &Arc<Shared>, revocation: Signed<Revocation>, asker: Asker) {
    let name = revocation.claims().name.clone();
    let event = KeyEvent::Revocation(revocation.clone());
    if shared.directory().route(name.as_str()).is_some_and(|route| is_held(&route, &event)) {
        return shared.answer(&asker, AnswerOutcome::Yes, Vec::new());
    }
    let node = Arc::clone(shared);
    let submitted = shared.registry.submit(
        move |registry, now| (registry.revoke(revocation, now), vec![name]),
        move |result| match result {
            Ok(Ok(())) => node.answer(&asker, AnswerOutcome::Yes, Vec::new()),
            Ok(Err(refusal)) => refuse(&node, &asker, &refusal),
            Err(error) => storage_failed(&node, &asker, &error),
        },
    );
    if submitted.is_err() {
        busy(shared, &asker);
    }
}

fn resolve(shared: &Shared, name: &Name, events_from: Option<u8>, asker: Asker) {
    let route = shared.directory().route(name.as_str());
    let Some(route) = route.filter(|route| route.status == IdentityStatus::Active) else {
        shared.lookups().unknown();
        shared.counters.lookups_unknown.add();
        return unknown(shared, &asker, name);
    };
    let Ok(number) = u32::try_from(route.id) else { return };
    shared.lookups().resolved(number);
    shared.counters.lookups.add();
    let seen = shared.sessions().seen(number);
    let online = seen.is_some_and(|seen| seen.state == PresenceState::Online);
    // Whoever asks verifies it; it was verified when it was taken.
    let Ok(record) = Signed::<Record>::decode(route.record_bytes()) else {
        return unknown(shared, &asker, name);
    };
    let mut answer = ResolveAnswer {
        record,
        event_count: u8::try_from(route.event_bytes().count()).unwrap_or(u8::MAX),
        events: Vec::new(),
        presence: presence::of(shared, number),
        last_seen: seen.map(|seen| presence::wall_time(shared, seen.at)),
        observed: seen.filter(|_| online).map(|seen| seen.address),
        registered_at: route.registered_at,
        trust: route.own_standing(system::now()).score,
    };
    // As many key events as fit a datagram, with the 150 bytes of an answer's own.
    let mut room = MAX_UNFRAGMENTED
        .saturating_sub(150 + 12 * answer.values().len())
        .saturating_sub(answer.values().iter().map(Vec::len).sum());
    if let (Some(from), Ok(events)) = (events_from, route.events()) {
        for event in events.into_iter().skip(from.into()) {
            let length = event.encode().len() + 4;
            if length > room && !answer.events.is_empty() {
                break;
            }
            room = room.saturating_sub(length);
            answer.events.push(event);
        }
    }
    shared.answer(&asker, AnswerOutcome::Yes, answer.values());
}

/// From memory: whoever searches keeps no registration waiting.
fn find(shared: &Shared, capability: &jis::Capability, after: u64, asker: Asker) {
    shared.lookups().searched();
    let after = u32::try_from(after).unwrap_or(u32::MAX);
    let directory = shared.directory();
    let found: Vec<Route> = directory.offering(capability.as_str(), after).take(MOST_NAMES).collect();
    drop(directory);
    let named = found.iter().filter_map(|route| {
        let record = RecordGlance::of(route.record_bytes())?;
        Some((route.id, record.name.parse().ok()?))
    });
    shared.answer(&asker, AnswerOutcome::Yes, page(named.collect()).values());
}

/// As many names as fit a datagram.
fn page(found: Vec<(u64, Name)>) -> FoundNames {
    let most = found.len() == MOST_NAMES;
    let mut page = FoundNames { names: Vec::new(), next: None };
    let mut room = PAGE;
    let mut last = None;
    for (number, name) in found {
        let Some(left) = room.checked_sub(name.as_str().len() + 4) else {
            page.next = last;
            return page;
        };
        (room, last) = (left, Some(number));
        page.names.push(name);
    }
    page.next = last.filter(|_| most);
    page
}

/// Introduces whoever asks to a device: what it consents to is passed on, once it has shown that it consents itself (SECURITY R58).
fn connect(shared: &Shared, query: &Query, name: &Name, punch: Box<Signed<Punch>>, asker: Asker) {
    let claims = punch.claims();
    let own = (&claims.from, &claims.key, claims.generation) == (&query.source, &query.key, query.generation);
    if !own || claims.to != *name || claims.answers != Punch::FIRST {
        let detail = "what is passed on is the first consent of whoever asks, given to whom it goes to";
        return shared.fail(&asker, &Failure::new(FailureCode::Malformed, detail));
    }
    if !claims.is_valid_at(system::now()) {
        let detail = "the consent is not valid now, by the clock of the node";
        return shared.fail(&asker, &Failure::new(FailureCode::Refused, detail));
    }
    // The device checks it as well, but what it does not pass on costs neither it nor what others may ask.
    if punch.verify(&query.key).is_err() {
        shared.charge_bad(asker.address);
        return shared.counters.queries_bad_signature.add();
    }
    // The device would be silent; whoever asks hears at once that it has to look the key up again.
    let directory = shared.directory();
    let held = directory.number(name.as_str()).and_then(|number| directory.key_of(number));
    drop(directory);
    if held.is_some_and(|held| held != *claims.to_key.as_bytes()) {
        let detail = format!("{name} has another key than the consent is given to");
        return shared.fail(&asker, &Failure::new(FailureCode::Refused, detail));
    }
    pass_on(shared, name, &OverlayRequest::Punch(punch), asker);
}

/// Asks a device what somebody wants to know of it.
fn pass_on(shared: &Shared, name: &Name, request: &OverlayRequest, asker: Asker) {
    let route = shared.directory().route(name.as_str());
    let Some(route) = route.filter(|route| route.status == IdentityStatus::Active) else {
        return unknown(shared, &asker, name);
    };
    if shared.forwards().is_on_its_way(&asker) {
        return;
    }
    if !shared.take_asking(&asker) {
        return busy(shared, &asker);
    }
    let seen = u32::try_from(route.id).ok().and_then(|number| shared.sessions().seen(number));
    let Some(seen) = seen.filter(|seen| seen.state == PresenceState::Online) else {
        let presence = u32::try_from(route.id).map(|number| presence::of(shared, number));
        let detail = match presence {
            Ok(PresenceState::Online) => {
                format!("{name} is at another node of this registry; ask that one")
            }
            _ => format!("{name} is not there; it was last heard too long ago, or said goodbye"),
        };
        return shared.fail(&asker, &Failure::new(FailureCode::Offline, detail));
    };
    let (Ok(id), Ok(responder)) = (system::random(), route.key()) else { return };
    let query = Query {
        id,
        cookie: [0; 16],
        source: shared.name.clone(),
        key: shared.public_key,
        generation: 0,
        responder,
        method: crate::intents::parse_intent(request.intent()),
        arguments: request.arguments(),
    };
    let Ok(query) = Signed::seal(query, &shared.key) else { return };
    let bytes = Compact::Query(&query.encode()).write();
    if shared.forwards().insert(query, seen.address, asker, shared.mono()) {
        shared.counters.forwarded.add();
        shared.send(seen.address, bytes);
    } else {
        busy(shared, &asker);
    }
}

/// What a device has answered, with where and how fast, for whoever asked.
pub(super) fn passed_back(
    forward: &Forward,
    values: &[Vec<u8>],
    elapsed: Duration,
) -> Result<Vec<Vec<u8>>, Malformed> {
    let asked: Option<SocketAddr> = Some(forward.to);
    Ok(match forward.query.claims().method.as_str() {
        CHALLENGE => ProofAnswer { asked, elapsed, ..ProofAnswer::read(values)? }.values(),
        PUNCH => PunchAnswer { asked, elapsed, ..PunchAnswer::read(values)? }.values(),
        _ => PongAnswer { asked, elapsed, ..PongAnswer::read(values)? }.values(),
    })
}

fn unknown(shared: &Shared, asker: &Asker, name: &Name) {
    shared.fail(asker, &Failure::new(FailureCode::Unknown, format!("{name} is not registered here")));
}

pub(super) fn busy(shared: &Shared, asker: &Asker) {
    let retry_after = Some(Duration::from_secs(1));
    let failure = Failure::new(FailureCode::Busy, "the node has too much to do; ask again in a second");
    shared.fail(asker, &Failure { retry_after, ..failure });
}

fn storage_failed(shared: &Shared, asker: &Asker, error: &StoreError) {
    shared.counters.storage_failures.add();
    // What exactly is wrong is for the operator, not for everybody who asks.
    tracing::warn!(%error, "a change could not be written");
    let detail = "nothing can be written at the moment; what is known is still answered";
    let retry_after = Some(Duration::from_secs(10));
    shared.fail(asker, &Failure { retry_after, ..Failure::new(FailureCode::Storage, detail) });
}

fn refuse(shared: &Shared, asker: &Asker, refusal: &Refusal) {
    if let Refusal::Store(error) = refusal {
        return storage_failed(shared, asker, error);
    }
    shared.counters.refusals.add();
    let (code, retry_after) = match refusal {
        Refusal::Quota { retry_after } => {
            (FailureCode::Quota, Some(retry_after.saturating_since(system::now())))
        }
        Refusal::Unknown(_) => (FailureCode::Unknown, None),
        Refusal::WaitsForApproval(_) => (FailureCode::Waiting, Some(Duration::from_secs(30))),
        Refusal::Denied(_) => (FailureCode::Denied, None),
        Refusal::Busy(_) => (FailureCode::Busy, Some(Duration::from_secs(60))),
        _ => (FailureCode::Refused, None),
    };
    shared.fail(asker, &Failure { retry_after, ..Failure::new(code, refusal.to_string()) });
}
