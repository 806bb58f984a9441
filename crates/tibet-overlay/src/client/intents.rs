//! The intents that a device or its owner asks of one node.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use jis::{
    Capability, Challenge, ChallengePurpose, Name, PublicKey, Punch, Query, RelayOpen, Revocation, Signed,
    TransportKey,
};

use super::{NodeClient, QueryError, Session};
use crate::intents::{
    FoundNames, Malformed, OverlayRequest, PingRequest, PongAnswer, PongZone, ProofAnswer, PunchAnswer,
    RegisterAnswer, RegisterRequest, RelayAnswer, ResolveAnswer,
};
use crate::system::{self, random};

/// Names listed at most, however many a node has.
pub const MAX_FOUND: usize = 100_000;

/// A device's answer, as it came through a node. What is judged of it already, whoever gives it says.
#[derive(Debug, Clone)]
pub struct Asked<T> {
    /// What the device answered.
    pub answer: T,
    /// Where the node asked it.
    pub device: Option<SocketAddr>,
    /// From us to the device and back.
    pub round_trip: Duration,
    /// From the node to the device and back, by the node's word.
    pub device_round_trip: Duration,
}

/// A relay that a node has opened for us.
#[derive(Debug, Clone, Copy)]
pub struct RelayOpened {
    /// Names the session in its frames.
    pub session: [u8; 8],
    /// The node's key for this session.
    pub exchange: TransportKey,
    /// How long the session lasts, at most [`RelayOpen::MAX_LIFETIME`].
    pub lifetime: Duration,
    /// How much we may send in a second, by the node's word.
    pub bytes_per_second: u64,
    /// In which conversation it was opened: frames go to its address, and come from there.
    pub with: Session,
}

impl NodeClient {
    /// Registers a device.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn register(&self, request: RegisterRequest) -> Result<RegisterAnswer, QueryError> {
        self.register_with_session(request).await.map(|(answer, _)| answer)
    }

    /// The same, with the session in which it was answered: the keepalive token holds there.
    pub(crate) async fn register_with_session(
        &self,
        request: RegisterRequest,
    ) -> Result<(RegisterAnswer, Session), QueryError> {
        let request = OverlayRequest::Register(Box::new(request));
        let (values, session) = self.query_with_session(&request).await?;
        let answer = RegisterAnswer::read(&values).map_err(|reason| self.malformed(reason))?;
        Ok((answer, session))
    }

    /// Tells of the end of a key or a name.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn revoke(&self, revocation: Signed<Revocation>) -> Result<(), QueryError> {
        self.query(&OverlayRequest::Revoke(Box::new(revocation))).await.map(|_| ())
    }

    /// What the node knows of a device besides its record: whether it is there, since when its name is bound, how far the node trusts it.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn describe(&self, name: &Name) -> Result<ResolveAnswer, QueryError> {
        let request = OverlayRequest::Resolve { name: name.clone(), events_from: None };
        let answer = ResolveAnswer::read(&self.query(&request).await?);
        let answer = answer.map_err(|reason| self.malformed(reason))?;
        if answer.record.claims().name != *name {
            return Err(self.malformed(Malformed("record")));
        }
        Ok(answer)
    }

    /// The names that offer a capability, at most `limit` and [`MAX_FOUND`].
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn find(&self, capability: &Capability, limit: usize) -> Result<Vec<Name>, QueryError> {
        let limit = limit.min(MAX_FOUND);
        let (mut names, mut after) = (Vec::new(), 0);
        while names.len() < limit {
            let request = OverlayRequest::Find { capability: capability.clone(), after };
            let page = FoundNames::read(&self.query(&request).await?);
            let page = page.map_err(|reason| self.malformed(reason))?;
            // An honest page that has a next has names: else it could send us round for ever.
            if page.names.is_empty() && page.next.is_some() {
                return Err(self.malformed(Malformed("names")));
            }
            names.extend(page.names);
            match page.next {
                None => break,
                // Else it could send us round for ever.
                Some(next) if next > after => after = next,
                Some(_) => return Err(self.malformed(Malformed("next"))),
            }
        }
        names.truncate(limit);
        Ok(names)
    }

    /// Has a device prove itself to us: a challenge of ours, in our name (SECURITY R9), and what the device answered to it. Whether the proof
    /// convinces is for [`Challenge::check`].
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn challenge(
        &self,
        prover: &Name,
    ) -> Result<(Challenge, Asked<Signed<jis::Proof>>), QueryError> {
        let identity = self.asker().identity();
        let issued_at = system::now();
        let challenge = Challenge {
            purpose: ChallengePurpose::Verify,
            prover: prover.clone(),
            verifier: identity.name.clone(),
            verifier_key: identity.key.public_key(),
            verifier_nonce: random()?,
            issued_at,
            expires_at: issued_at.saturating_add(Challenge::MAX_LIFETIME),
            channel_binding: [0; 32],
        };
        let started = Instant::now();
        let values = self.query(&OverlayRequest::Challenge(Box::new(challenge.clone()))).await?;
        let round_trip = started.elapsed();
        let answer = ProofAnswer::read(&values).map_err(|reason| self.malformed(reason))?;
        let ProofAnswer { proof, asked, elapsed } = answer;
        Ok((challenge, Asked { answer: proof, device: asked, round_trip, device_round_trip: elapsed }))
    }

    /// Pings a device with this key through the node.
    ///
    /// # Errors
    /// [`QueryError`]; [`QueryError::Malformed`] also for an answer that the device did not sign.
    pub async fn ping(
        &self,
        name: &Name,
        key: &PublicKey,
        intent: &Capability,
        purpose: &str,
    ) -> Result<Asked<PongZone>, QueryError> {
        let identity = self.asker().identity();
        let request =
            PingRequest { issued_at: system::now(), intent: intent.clone(), purpose: purpose.to_owned() };
        let (source, own_key) = (identity.name.clone(), identity.key.public_key());
        let ping: Query = request.query(random()?, source, own_key, identity.generation, *key);
        let ping = Signed::seal(ping, &identity.key).map_err(QueryError::Unsignable)?;
        let request = OverlayRequest::Ping { name: name.clone(), ping: Box::new(ping.clone()) };
        let started = Instant::now();
        let values = self.query(&request).await?;
        let round_trip = started.elapsed();
        let pong = PongAnswer::read(&values).map_err(|reason| self.malformed(reason))?;
        let forged = |_| self.malformed(Malformed("pong"));
        jis::Answer::check(&pong.pong, &ping).map_err(forged)?;
        let answer = PongZone::read(pong.pong.claims()).map_err(|reason| self.malformed(reason))?;
        Ok(Asked { answer, device: pong.asked, round_trip, device_round_trip: pong.elapsed })
    }

    /// Tells a device through the node that we want a direct path to it, and gives its consent. `first` is ours, in our name and under our key; it
    /// says whom it goes to.
    ///
    /// The consent that comes back answers `first`, counts now, and is signed by the key that `first` was given to; whether that is the
    /// device's key, the caller knows.
    ///
    /// # Errors
    /// [`QueryError`]; [`QueryError::Malformed`] also for what is no answer to `first` by that key.
    pub async fn connect(&self, first: &Signed<Punch>) -> Result<Asked<Signed<Punch>>, QueryError> {
        let name = first.claims().to.clone();
        let request = OverlayRequest::Connect { name, punch: Box::new(first.clone()) };
        let started = Instant::now();
        let values = self.query(&request).await?;
        let round_trip = started.elapsed();
        let PunchAnswer { punch, asked, elapsed } =
            PunchAnswer::read(&values).map_err(|reason| self.malformed(reason))?;
        let claims = punch.claims();
        let answers = claims.answers(first.claims()) && claims.is_valid_at(system::now());
        if !answers || punch.verify(&first.claims().to_key).is_err() {
            return Err(self.malformed(Malformed("punch")));
        }
        Ok(Asked { answer: punch, device: asked, round_trip, device_round_trip: elapsed })
    }

    /// Has the node relay for us. The request names the node's key, as [`NodeClient::hello`] gives it. Asked again with the same request, an honest node gives the
    /// same session.
    ///
    /// # Errors
    /// [`QueryError`]; [`QueryError::Refused`] with [`Refused`](crate::intents::FailureCode::Refused) by a node that does not relay.
    pub async fn open_relay(&self, request: &Signed<RelayOpen>) -> Result<RelayOpened, QueryError> {
        let request = OverlayRequest::Relay(Box::new(request.clone()));
        let (values, with) = self.query_with_session(&request).await?;
        let answer = RelayAnswer::read(&values).map_err(|reason| self.malformed(reason))?;
        let RelayAnswer { session, exchange, lifetime, bytes_per_second } = answer;
        Ok(RelayOpened { session, exchange, lifetime, bytes_per_second, with })
    }
}
