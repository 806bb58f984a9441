//! What the device answers its nodes.
//!
//! A node may pass two things on: a challenge, which the device answers with a proof for the verifier it names, and a ping, which it answers as it thinks
//! of the asker. Nothing else is answered, and nobody but the nodes it is registered with is heard, each within bounds of its own (`answers/gate.rs`).

mod gate;
use gate::Gate;

use std::sync::Arc;

use jis::{Answer, AnswerOutcome, Challenge, IdentityStatus, Name, PublicKey, Query, Signed, message_hash};
use tibet_ping::{Compact, TrustSource};
use tibet_registry::Zone;
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant};

use super::shared::{Core, blocking};
use crate::client::IncomingQuestion;
use crate::intents::{
    Failure, FailureCode, OverlayRequest, PING, PingRequest, PongAnswer, PongZone, ProofAnswer, PunchAnswer,
};
use crate::name_memory::KnownName;
use crate::system;

/// What an identity stands at that nobody said anything about but that has shown its registered key.
const REGISTERED: f64 = 0.5;

pub(super) async fn run(core: Arc<Core>, mut questions: mpsc::Receiver<IncomingQuestion>) {
    let mut gate = Gate::default();
    while let Some(IncomingQuestion { from, query }) = questions.recv().await {
        let Some(node) = core.registered_node(from) else { continue };
        // What finds no room is asked again by the node.
        let Some((query, room)) = gate.admit(&node, &core.device.identity().key, &query, Instant::now())
        else {
            continue;
        };
        let core = Arc::clone(&core);
        tokio::spawn(async move {
            let _room = room;
            if let Some(datagram) = answer(&core, &query).await {
                core.remote.socket().wire().send(from, datagram);
            }
        });
    }
}

/// The answer to a node's question; `None` for silence.
async fn answer(core: &Core, query: &Signed<Query>) -> Option<Vec<u8>> {
    let claims = query.claims();
    let identity = core.device.identity();
    let started = Instant::now();
    let request = OverlayRequest::read(claims.method.as_str(), &claims.arguments).ok()?;
    let result = match request {
        OverlayRequest::Challenge(challenge) if is_distrusted(core, &challenge.verifier).await => {
            return None;
        }
        OverlayRequest::Challenge(challenge) => prove(core, *challenge, started).await,
        OverlayRequest::Ping { name, ping } if name == identity.name => {
            Ok(pong(core, &identity.key, &ping, started).await?)
        }
        OverlayRequest::Punch(punch) => {
            let consent = core.answer_consent(core.mesh()?, &punch).await?;
            consent.map(|punch| PunchAnswer { punch, asked: None, elapsed: started.elapsed() }.values())
        }
        _ => return None,
    };
    let (outcome, values) = match result {
        Ok(values) => (AnswerOutcome::Yes, values),
        Err(failure) => (AnswerOutcome::No, failure.values()),
    };
    let answer = Answer { request: message_hash(query.message()), key: identity.key, outcome, values };
    let answer = core.sign(answer)?;
    Some(Compact::Answer { id: claims.id, answer: &answer.encode() }.write())
}

async fn prove(core: &Core, challenge: Challenge, started: Instant) -> Result<Vec<Vec<u8>>, Failure> {
    let device = core.device.clone();
    match blocking(move || device.answer(&challenge)).await {
        Ok(proof) => Ok(ProofAnswer { proof, asked: None, elapsed: started.elapsed() }.values()),
        Err(error) => Err(Failure::new(FailureCode::Refused, error.to_string())),
    }
}

/// Whether somebody said of this name that it is in ROOD: it gets silence (SECURITY R20). Nobody else can use a proof for it, so the name in the challenge
/// is enough to know. Of whom nothing is known may verify: that is what a name is for.
async fn is_distrusted(core: &Core, name: &Name) -> bool {
    let asked = name.clone();
    let trust = core.remote.socket().with(move |node| node.trust_in(&asked)).await;
    trust.is_some_and(|trust| trust.source != TrustSource::Unknown && Zone::of(trust.score) == Zone::Rood)
}

/// The device's own answer to the asker's own question; `None` for silence (SECURITY R20).
async fn pong(core: &Core, key: &PublicKey, ping: &Signed<Query>, started: Instant) -> Option<Vec<Vec<u8>>> {
    let claims = ping.claims();
    if claims.responder != *key || claims.method.as_str() != PING {
        return None;
    }
    let request = PingRequest::read(claims).ok()?;
    let now = system::now();
    let age = now.saturating_since(request.issued_at);
    let ahead = request.issued_at.saturating_since(now);
    if age > Duration::from_secs(PingRequest::MAX_AGE_S) || ahead > Challenge::MAX_CLOCK_SKEW {
        return None;
    }
    ping.verify(&claims.key).ok()?;
    let trust = trust_in(core, &claims.source, &claims.key).await?;
    let zone = PongZone::of(Zone::of(trust))?;
    let pong = core.sign(zone.answer(message_hash(ping.message()), *key))?;
    Some(PongAnswer { pong, asked: None, elapsed: started.elapsed() }.values())
}

/// How far whoever signs with this key as this name is trusted; `None` if the name is not theirs as far as we know (SECURITY R5).
pub(super) async fn trust_in(core: &Core, name: &Name, key: &PublicKey) -> Option<f64> {
    let asked = name.clone();
    let known = core.remote.socket().with(move |node| (node.key_of(&asked), node.trust_in(&asked))).await;
    let (bound, trust) = known?;
    let explicit = (trust.source != TrustSource::Unknown).then_some(trust.score);
    let is_bound = bound == Some(*key);
    if is_bound && explicit.is_some() {
        return explicit;
    }
    // A key that we know the name by gives way only to one that its key events lead to from there, whatever a node says.
    let continues = |known: &KnownName| bound.is_none_or(|bound| known.has_had(&bound));
    let registered = registered_as(core, name, key).await.is_some_and(|known| continues(&known));
    if !is_bound && !registered {
        return None;
    }
    explicit.or_else(|| registered.then_some(REGISTERED)).or(Some(0.0))
}

/// What is known of a name, if this is the key of the identity that is registered under it: by its key events, which are verified here.
async fn registered_as(core: &Core, name: &Name, key: &PublicKey) -> Option<KnownName> {
    let client = core.remote.client();
    let holds = |route: crate::Route| route.identity.is_some_and(|identity| identity.is_actor(name, key));
    let remembered = client.remembered(name).is_ok_and(|route| route.is_some_and(holds));
    // It may have changed its key since.
    if !remembered && !client.resolve(name, || None).await.is_ok_and(holds) {
        return None;
    }
    client.known(name).ok().flatten().filter(|known| known.identity.is_actor(name, key))
}

impl Core {
    /// `None` where the key is no longer the device's, or revoked.
    fn sign(&self, answer: Answer) -> Option<Signed<Answer>> {
        if self.device.identity().status != IdentityStatus::Active {
            return None;
        }
        let identity = self.asker.identity();
        (identity.key.public_key() == answer.key).then(|| Signed::seal(answer, &identity.key).ok()).flatten()
    }
}
