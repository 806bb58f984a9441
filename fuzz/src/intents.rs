//! F20: what stands in questions and answers, for all intents. SECURITY 3.2 rows 42, 50 and 67.
//!
//! - What is read is written again as it was, part by part, but for what reading itself bounds: how often a device shall send, and a stranger's words.
//! - What is read keeps the bounds that memory and datagrams depend on.
//!
//! The first byte says which list of parts it is; then come the parts, each with its length in two bytes before it.

use jis::{Answer, AnswerOutcome, Query, RelayOpen};
use tibet_registry::{MAX_EVENTS, MAX_PAGE};

use super::Verdict;
use super::honest::{key, name};
use super::overlay::intents::{
    Failure, FoundNames, OverlayRequest, PING, PingRequest, PongAnswer, PongZone, ProofAnswer, PunchAnswer,
    RegisterAnswer, RelayAnswer, ResolveAnswer,
};
use super::script::Script;

/// The intents by the input's first byte; the last is none. After them come [`ANSWERS`].
pub const INTENTS: [&str; 11] = [
    "overlay.register",
    "overlay.resolve",
    "overlay.find",
    "overlay.challenge",
    "overlay.ping",
    "overlay.connect",
    "overlay.punch",
    "overlay.relay",
    "overlay.rotate",
    "overlay.revoke",
    "overlay.format-disk",
];

type Parts = Vec<Vec<u8>>;
/// A list's name and its check.
type List = (&'static str, fn(&Parts) -> Verdict);

/// The other lists: answers, and a ping with its answer.
pub const ANSWERS: [List; 10] = [
    ("registered", registered),
    ("resolved", resolved),
    ("found", found),
    ("proved", |parts| again(ProofAnswer::read(parts).ok().map(|answer| answer.values()), parts)),
    ("ponged", |parts| again(PongAnswer::read(parts).ok().map(|answer| answer.values()), parts)),
    ("punched", |parts| again(PunchAnswer::read(parts).ok().map(|answer| answer.values()), parts)),
    ("relayed", relayed),
    ("failed", failed),
    ("ping", ping),
    ("pong", pong),
];

/// Checks one list of parts.
pub fn check(input: &[u8]) -> Verdict {
    let Some((which, rest)) = input.split_first() else { return Verdict::Refused };
    let mut script = Script::new(rest);
    let mut parts = Vec::new();
    while let Some(length) = script.take().map(u16::from_be_bytes) {
        parts.push(script.up_to(length.into()).to_vec());
    }
    let which = usize::from(*which) % (INTENTS.len() + ANSWERS.len());
    match INTENTS.get(which) {
        Some(intent) => request(intent, &parts),
        None => ANSWERS[which - INTENTS.len()].1(&parts),
    }
}

/// Accepted where something was read; then it is written as it came.
fn again(written: Option<Parts>, parts: &Parts) -> Verdict {
    let Some(written) = written else { return Verdict::Refused };
    assert_eq!(&written, parts);
    Verdict::Accepted
}

fn request(intent: &str, parts: &Parts) -> Verdict {
    let Ok(request) = OverlayRequest::read(intent, parts) else { return Verdict::Refused };
    assert_eq!(request.intent(), intent);
    let speaks = matches!(intent, "overlay.register" | "overlay.rotate" | "overlay.revoke");
    assert_eq!(request.claimant().is_some(), speaks);
    if let OverlayRequest::Register(register) = &request {
        assert!(register.events.len() <= MAX_EVENTS);
    }
    again(Some(request.arguments()), parts)
}

fn registered(parts: &Parts) -> Verdict {
    let Ok(answer) = RegisterAnswer::read(parts) else { return Verdict::Refused };
    let seconds = answer.keepalive_every.as_secs();
    assert!((5..=120).contains(&seconds));
    let asked = u64::from_be_bytes(*parts[8].first_chunk().expect("was read"));
    assert_eq!(seconds, asked.clamp(5, 120));
    let written = answer.values();
    assert_eq!(written[..8], parts[..8]);
    assert_eq!((written.len(), parts.len()), (9, 9));
    Verdict::Accepted
}

fn resolved(parts: &Parts) -> Verdict {
    let Ok(answer) = ResolveAnswer::read(parts) else { return Verdict::Refused };
    assert!((0.0..=1.0).contains(&answer.trust) && answer.events.len() <= MAX_EVENTS);
    let _ = answer.zone();
    again(Some(answer.values()), parts)
}

fn found(parts: &Parts) -> Verdict {
    let Ok(page) = FoundNames::read(parts) else { return Verdict::Refused };
    assert!(page.names.len() <= MAX_PAGE);
    again(Some(page.values()), parts)
}

fn relayed(parts: &Parts) -> Verdict {
    let Ok(answer) = RelayAnswer::read(parts) else { return Verdict::Refused };
    assert!((1..=RelayOpen::MAX_LIFETIME.as_secs()).contains(&answer.lifetime.as_secs()));
    again(Some(answer.values()), parts)
}

/// A failure is read from anything; what is left of it says the same when it is read again.
fn failed(parts: &Parts) -> Verdict {
    let failure = Failure::read(parts);
    assert!(failure.detail.chars().count() <= 400 && !failure.detail.contains(char::is_control));
    assert!(failure.retry_after.is_none_or(|after| after.as_secs() <= 3600));
    assert_eq!(Failure::read(&failure.values()), failure);
    Verdict::Accepted
}

fn ping(parts: &Parts) -> Verdict {
    let query = Query {
        id: [1; 8],
        cookie: [0; 16],
        source: name("jis:home:sensor"),
        key: key(0).public_key(),
        generation: 0,
        responder: key(1).public_key(),
        method: PING.parse().expect("a method"),
        arguments: parts.clone(),
    };
    let Ok(ping) = PingRequest::read(&query) else { return Verdict::Refused };
    assert!(ping.purpose.len() <= PingRequest::MAX_PURPOSE && !ping.purpose.contains(char::is_control));
    assert_eq!(ping.query(query.id, query.source.clone(), query.key, 0, query.responder), query);
    Verdict::Accepted
}

/// The first part is the outcome, the others are the values.
fn pong(parts: &Parts) -> Verdict {
    let (outcome, values) = match parts.split_first() {
        Some((first, rest)) => (first.first().copied().unwrap_or(0), rest.to_vec()),
        None => (0, Vec::new()),
    };
    let outcome = match outcome % 3 {
        0 => AnswerOutcome::Yes,
        1 => AnswerOutcome::No,
        _ => AnswerOutcome::Pending,
    };
    let answer = Answer { request: [7; 32], key: key(1).public_key(), outcome, values };
    let Ok(zone) = PongZone::read(&answer) else { return Verdict::Refused };
    assert_eq!(PongZone::of(zone.zone()), Some(zone));
    assert_eq!(zone.answer(answer.request, answer.key), answer);
    Verdict::Accepted
}
