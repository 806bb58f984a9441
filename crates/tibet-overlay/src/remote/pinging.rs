//! Pinging a device by its name: straight where that gets through, else through a node.

use std::net::SocketAddr;
use std::time::Duration;

use jis::{Capability, Name};
use tibet_ping::{Answered, Ask, Decision};
use tibet_registry::Zone;

use super::reports::{millis, via};
use super::{Attempt, PingReport, RemoteError, RemoteOverlay};
use crate::client::ReachError;
use crate::intents::PongZone;

/// How long a direct answer is waited for: a round trip round the world takes a third of it.
const DIRECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Addresses that are tried straight.
const MAX_DIRECT: usize = 4;

impl RemoteOverlay {
    /// Pings a device: at the endpoints of its record in their order, then where its node sees it, then through the node. The device decides as its
    /// airlock says of whoever asks. That nobody answers is no error but a report that says what was tried.
    ///
    /// # Errors
    /// [`RemoteError`] when it is not known who or where that is.
    pub async fn ping(
        &self,
        name: &Name,
        intent: &Capability,
        purpose: &str,
    ) -> Result<PingReport, RemoteError> {
        let neighbour = self.socket.neighbour(name).await;
        let route = self.client.resolve(name, || neighbour).await.map_err(RemoteError::from)?;
        // The answer must be signed by the key of the name, whoever had the address before.
        let learnt = if route.identity.is_some() { self.learn_key(name).await } else { Ok(()) };
        let mut report = PingReport { name: name.to_string(), ..PingReport::default() };
        let addresses = if learnt.is_ok() {
            let mut addresses: Vec<SocketAddr> = route.endpoints.clone();
            // Where the node sees it may not stand in its record.
            let observed = self.described(name).await.and_then(|described| described.observed);
            addresses.extend(observed.filter(|observed| !addresses.contains(observed)));
            addresses
        } else {
            // What nodes say is about somebody else. Whom we know may still be near.
            neighbour.into_iter().collect()
        };
        for address in addresses.into_iter().take(MAX_DIRECT) {
            if self.ping_at(address, name, intent, purpose, &mut report).await {
                return Ok(report);
            }
        }
        learnt?;
        self.ping_through_node(name, intent, purpose, &mut report).await;
        Ok(report)
    }

    /// Pings a device through the tunnel to it and in no other way; `None` where there is no tunnel. Which path that took, whoever makes tunnels knows.
    pub(crate) async fn ping_sealed(
        &self,
        name: &Name,
        intent: &Capability,
        purpose: &str,
    ) -> Option<PingReport> {
        let ask = Ask {
            purpose: purpose.to_owned(),
            timeout: DIRECT_TIMEOUT,
            ..Ask::new(name.clone(), None, intent.as_str())
        };
        let answer = self.socket.ping_sealed(ask).await.ok()?;
        let mut report = PingReport { name: name.to_string(), ..PingReport::default() };
        let result = match answer {
            Some(answer) => report.take(&answer),
            None => "no answer".to_owned(),
        };
        report.tried.push(Attempt { path: "sealed".to_owned(), result });
        Some(report)
    }

    async fn ping_at(
        &self,
        address: SocketAddr,
        name: &Name,
        intent: &Capability,
        purpose: &str,
        report: &mut PingReport,
    ) -> bool {
        let path = format!("direct to {address}");
        let ask = Ask {
            purpose: purpose.to_owned(),
            timeout: DIRECT_TIMEOUT,
            ..Ask::new(name.clone(), Some(address), intent.as_str())
        };
        let result = match self.socket.ping(ask).await {
            Ok(Some(answer)) => {
                report.path = Some(path.clone());
                report.device = Some(answer.from.to_string());
                report.take(&answer)
            }
            Ok(None) => "no answer".to_owned(),
            Err(error) => error.to_string(),
        };
        report.tried.push(Attempt { path, result });
        report.answered
    }

    async fn ping_through_node(
        &self,
        name: &Name,
        intent: &Capability,
        purpose: &str,
        report: &mut PingReport,
    ) {
        match self.client.ping(name, intent, purpose).await {
            Ok(pong) => {
                let decision = match pong.zone {
                    PongZone::Groen => Decision::Accept,
                    PongZone::Geel => Decision::Pending,
                };
                report.answered = true;
                report.decision = Some(decision.as_str().to_owned());
                report.zone = Some(pong.zone.zone().as_str().to_owned());
                report.path = Some(via(&pong.path));
                report.device = pong.path.device.map(|device| device.to_string());
                report.rtt_ms = Some(millis(pong.path.round_trip));
                report.device_rtt_ms = Some(millis(pong.path.device_round_trip));
                report.tried.push(Attempt { path: via(&pong.path), result: "answered".to_owned() });
                report.node = Some(pong.path.node);
            }
            Err(ReachError::Nodes(errors)) => {
                let attempts = errors.into_iter().zip(self.client.nodes());
                report.tried.extend(attempts.map(|(error, node)| Attempt {
                    path: format!("via node {}", node.address().place()),
                    result: error.failure().map_or_else(|| error.to_string(), ToString::to_string),
                }));
            }
            Err(error) => {
                report.tried.push(Attempt { path: "via node".to_owned(), result: error.to_string() });
            }
        }
    }
}

impl PingReport {
    /// Takes what the device itself has answered; what that is called.
    fn take(&mut self, answer: &Answered) -> String {
        let zone = [Zone::Groen, Zone::Geel, Zone::Rood];
        let zone = zone.into_iter().find(|zone| zone.as_str() == answer.response.airlock_zone);
        self.answered = true;
        self.decision = Some(answer.response.decision.as_str().to_owned());
        self.zone = zone.map(|zone| zone.as_str().to_owned());
        self.trust_score = Some(answer.response.trust_score);
        self.rtt_ms = Some(millis(answer.round_trip));
        "answered".to_owned()
    }

    /// Says what path it took, of one that took a single one.
    pub(crate) fn on_path(mut self, path: String) -> Self {
        for attempt in &mut self.tried {
            attempt.path.clone_from(&path);
        }
        self.path = Some(path);
        self
    }
}
