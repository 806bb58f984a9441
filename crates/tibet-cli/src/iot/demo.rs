//! `tibet-iot demo`: the whole story, with real nodes on the loopback interface.
//!
//! Every step sends real datagrams and looks at what comes back, or that nothing does. A step that does not end as it should makes the demo
//! fail.

mod cast;
use cast::{Eavesdropper, actor, identity, wait_until};

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jis::{Name, PublicKey, SecretKey};
use serde_json::json;
use tibet_core::{FileStore, Fsync, LogCheck, TokenLines, object, verify_log};
use tibet_iot::{Audit, IntentAnswer, IotNode, Outcome as Came, system};
use tibet_overlay::DeviceError;
use tibet_ping::{
    Answered, Ask, Binding, Decision, Encoding, Event, Fresh, Glob, Packet, Proof, RoutingMode,
};
use zeroize::Zeroizing;

use super::stream::payload_text;
use crate::error::CliError;
use crate::output::{Exit, Outcome, bold, zone_word};
use crate::process::runtime;
use crate::story::Steps;

const HUB: &str = "jis:home:hub";
const SENSOR: &str = "jis:home:sensor";
const SHED: &str = "jis:garden:shed";

pub(super) fn run() -> Result<Outcome, CliError> {
    let scratch = tempfile::tempdir().map_err(|error| unavailable("no temporary directory", error))?;
    let begun = Instant::now();
    let steps = runtime(1)?.block_on(async {
        let mut story = Story::begin(scratch.path()).await?;
        story.tell().await?;
        Ok::<_, CliError>(story.steps)
    })?;
    let data = json!({ "holds": steps.hold(), "steps": steps.to_json() });
    let outcome = Outcome::new("tibet.iot.demo", data)
        .line(bold("Devices ask each other over UDP, and answer by trust."));
    let outcome = steps.conclude(steps.tell(outcome));
    Ok(outcome.line("").line(format_args!(
        "All of it took {} ms, on 127.0.0.1. Nothing is left behind.",
        begun.elapsed().as_millis()
    )))
}

struct Story {
    steps: Steps,
    /// Trusts the sensor, and keeps a log.
    hub: IotNode,
    log: PathBuf,
    log_key: PublicKey,
    sensor: IotNode,
    eavesdropper: Eavesdropper,
}

impl Story {
    async fn begin(scratch: &Path) -> Result<Self, CliError> {
        let log = scratch.join("hub.jsonl");
        let seed = Zeroizing::new(system::random().map_err(DeviceError::from)?);
        let key = SecretKey::from_seed(seed).map_err(DeviceError::from)?;
        let log_key = key.public_key();
        let (store, _) = FileStore::open(&log, Fsync::Never)?;
        let audit = Audit::new(&name(HUB), Arc::new(key), store)?;
        let hub = actor(identity(HUB)?, Some(audit)).await?;
        hub.set_trust(name(SENSOR), 0.95, "our own sensor")?;
        hub.on_intent(Glob::Exact("temperature.report".to_owned()), |request| {
            let celsius = request.packet().payload.get("celsius").cloned().unwrap_or_default();
            std::future::ready(IntentAnswer::from(object! { "noted" => celsius }))
        });
        let sensor = actor(identity(SENSOR)?, None).await?;
        let steps = Steps::default();
        let eavesdropper = Eavesdropper::new(address(&hub)?).await?;
        Ok(Self { steps, hub, log, log_key, sensor, eavesdropper })
    }

    async fn tell(&mut self) -> Result<(), CliError> {
        self.answer_the_sensor().await?;
        self.ignore_a_stranger().await?;
        self.ignore_an_impostor().await?;
        self.drop_a_replay().await?;
        self.drop_what_is_not_signed().await?;
        self.cross_the_mesh().await?;
        self.approve_what_waits().await?;
        self.hub.stop().await?;
        self.verify_the_log()?;
        self.find_the_altered_byte()
    }

    async fn answer_the_sensor(&mut self) -> Result<(), CliError> {
        let mut details = Vec::new();
        let mut holds = true;
        for expected in [Proof::FirstContact, Proof::Verified] {
            let Some(answer) = self.sensor.send_ping(report(address(&self.hub)?)).await? else {
                holds = false;
                details.push("no answer".to_owned());
                break;
            };
            let response = &answer.response;
            holds &= answer.proof == expected
                && response.decision == Decision::Accept
                && response.airlock_zone == "GROEN"
                && response.payload.get("noted").and_then(tibet_core::json::Value::as_float) == Some(21.5);
            details.push(told(&answer));
        }
        details
            .push("both are signed by the hub's key, which was remembered at the first contact".to_owned());
        self.steps.add("A trusted sensor reports, and is answered", holds, details);
        Ok(())
    }

    async fn ignore_a_stranger(&mut self) -> Result<(), CliError> {
        let stranger = actor(identity("jis:somebody:else")?, None).await?;
        let packet = self.eavesdropper.overhear(&stranger, name(HUB)).await?;
        let (counted, bytes) = self.pass_on(&packet, "rood").await?;
        let details = vec![
            format!("jis:somebody:else sends a signed ping of {} bytes", packet.len()),
            format!("{bytes} bytes come back; counted as not trusted: {counted}"),
        ];
        self.steps.add("Somebody unknown gets silence", counted == 1 && bytes == 0, details);
        Ok(())
    }

    async fn ignore_an_impostor(&mut self) -> Result<(), CliError> {
        let mut events = self.hub.events();
        let impostor = actor(identity(SENSOR)?, None).await?;
        let packet = self.eavesdropper.overhear(&impostor, name(HUB)).await?;
        let (counted, bytes) = self.pass_on(&packet, "wrong_key").await?;
        let warned = loop {
            match tokio::time::timeout(Duration::ZERO, events.next()).await {
                Ok(Some(event)) if matches!(&*event, Event::ChangedKey { name, .. } if name.as_str() == SENSOR) =>
                {
                    break true;
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break false,
            }
        };
        let details = vec![
            format!("speaks as {SENSOR}, signed by a key of its own"),
            format!(
                "{bytes} bytes come back; counted as signed by another key: {counted}; the hub's owner is warned: {warned}"
            ),
        ];
        self.steps.add("An impostor gets silence", counted == 1 && bytes == 0 && warned, details);
        Ok(())
    }

    async fn drop_a_replay(&mut self) -> Result<(), CliError> {
        let packet = self.eavesdropper.overhear(&self.sensor, name(HUB)).await?;
        let answer = self.eavesdropper.exchange(&packet, Duration::from_secs(2)).await?;
        let (counted, bytes) = self.pass_on(&packet, "replayed").await?;
        let details = vec![
            format!("a ping of the sensor is caught on its way and passed on: {answer} bytes of answer"),
            format!("the same ping once more: {bytes} bytes; counted as seen before: {counted}"),
        ];
        self.steps.add("A packet counts once", answer > 0 && counted == 1 && bytes == 0, details);
        Ok(())
    }

    async fn drop_what_is_not_signed(&mut self) -> Result<(), CliError> {
        let id = system::random().map_err(DeviceError::from)?;
        let nonce = system::random().map_err(DeviceError::from)?;
        let fresh = Fresh { id, nonce, now: system::now() };
        let packet = Packet::intent(&name(SENSOR), &name(HUB), "door.open", "", fresh);
        let packet = packet.encode(Encoding::Json).map_err(|error| unavailable("no packet", error))?;
        let (counted, bytes) = self.pass_on(&packet, "downgrade").await?;
        let details = vec![
            format!("anybody can write {SENSOR} on a packet, and \"door.open\""),
            format!("{bytes} bytes come back; counted as unsigned under a name that signs: {counted}"),
        ];
        self.steps.add("A name that signs is never heard unsigned", counted == 1 && bytes == 0, details);
        Ok(())
    }

    async fn cross_the_mesh(&mut self) -> Result<(), CliError> {
        let shed_identity = identity(SHED)?;
        let shed_key = shed_identity.key.public_key();
        let shed = actor(shed_identity, None).await?;
        shed.set_trust(name(SENSOR), 0.8, "neighbour")?;
        let mut seen = shed.events();
        let mut relays = Vec::new();
        for relay in ["jis:home:attic", "jis:street:lamp", "jis:garden:gate"] {
            let relay = actor(identity(relay)?, None).await?;
            relay.set_trust(name(SENSOR), 0.5, "may pass")?;
            relays.push(relay);
        }
        for (from, to) in relays.iter().zip(relays.iter().skip(1).chain([&shed])) {
            from.add_peer(to.name(), address(to)?)?;
        }
        self.sensor.bind_key(Binding { name: name(SHED), key: shed_key, generation: 0 })?;
        let first = relays.first().ok_or_else(|| unavailable("no relay", ""))?;
        let ask = Ask {
            routing: RoutingMode::Mesh,
            timeout: Duration::from_secs(2),
            ..Ask::new(name(SHED), Some(address(first)?), "temperature.read")
        };
        let answer = self.sensor.send_ping(ask).await?;
        let mut hops = None;
        while let Ok(Some(event)) = tokio::time::timeout(Duration::ZERO, seen.next()).await {
            if let Event::Ping(ping) = &*event {
                hops = Some(ping.packet.hop_count);
            }
        }
        let way: Vec<String> = relays.iter().map(|relay| relay.name().to_string()).collect();
        let holds = hops == Some(3)
            && answer.as_ref().is_some_and(|answer| {
                answer.proof == Proof::Verified && answer.response.decision == Decision::Accept
            });
        let details = vec![
            format!("{SENSOR} → {} → {SHED}: {} hops", way.join(" → "), hops.unwrap_or_default()),
            answer.map_or_else(|| "no answer".to_owned(), |answer| told(&answer)),
            "no relay can change what it carries: question and answer are signed from end to end".to_owned(),
        ];
        self.steps.add("Three hops of mesh bring an answer back", holds, details);
        Ok(())
    }

    async fn approve_what_waits(&mut self) -> Result<(), CliError> {
        const VISITOR: &str = "jis:visitor:phone";
        self.hub.set_trust(name(VISITOR), 0.5, "a guest")?;
        let visitor = actor(identity(VISITOR)?, None).await?;
        let ask = Ask {
            timeout: Duration::from_secs(2),
            decision_timeout: Duration::from_secs(2),
            ..Ask::new(name(HUB), Some(address(&self.hub)?), "door.open")
        };
        let mut question = visitor.ask(ask)?;
        let mut decisions = Vec::new();
        let mut details = Vec::new();
        while let Came::Answer(answer) = question.next().await {
            decisions.push(answer.response.decision);
            details.push(format!("{VISITOR} asks for door.open: {}", told(&answer)));
            if answer.last {
                break;
            }
            let waiting = self.hub.pending();
            details.push(format!("{} ping waits; its owner approves", waiting.len()));
            for (source, id, ..) in waiting {
                let _ = self.hub.approve(&source, &id);
            }
        }
        let holds = decisions == [Decision::Pending, Decision::Accept];
        self.steps.add("A half-trusted ping waits for a human, and is approved", holds, details);
        Ok(())
    }

    fn verify_the_log(&mut self) -> Result<(), CliError> {
        let named = self.check_log(&self.log)?;
        let tokens =
            fs::read_to_string(&self.log).map_err(|error| unavailable("cannot read the log", error))?;
        let count = tokens.lines().count();
        let details = vec![
            format!("{count} tokens, each signed and linked to the one before"),
            format!("{} findings", named.len()),
        ];
        self.steps.add("The hub's audit log verifies", named.is_empty() && count >= 6, details);
        Ok(())
    }

    fn find_the_altered_byte(&mut self) -> Result<(), CliError> {
        let failed = |error: std::io::Error| unavailable("cannot write a copy of the log", error);
        let text = fs::read_to_string(&self.log).map_err(failed)?;
        let altered = text.lines().count() / 2;
        let lines = text.lines().enumerate().map(|(at, line)| {
            // An intent that was never asked.
            if at == altered {
                line.replacen("\"erachter\": \"", "\"erachter\": \"x", 1)
            } else {
                line.to_owned()
            }
        });
        let copy = self.log.with_extension("copy");
        fs::write(&copy, lines.map(|line| line + "\n").collect::<String>()).map_err(failed)?;
        let named = self.check_log(&copy)?;
        let holds = named.first().is_some_and(|(index, _)| *index == altered as u64);
        let mut details = vec![format!("one byte was put into token {altered} of a copy")];
        details.extend(named.into_iter().map(|(index, problem)| format!("token {index}: {problem}")));
        self.steps.add("A changed byte is found, and the token is named", holds, details);
        Ok(())
    }

    fn check_log(&self, path: &Path) -> Result<Vec<(u64, String)>, CliError> {
        let tokens = TokenLines::open(path).map_err(|error| CliError::new(Exit::Unavailable, error))?;
        let check =
            LogCheck { signer: Some(&self.log_key), require_content_links: true, ..LogCheck::default() };
        let findings = verify_log(tokens, &check).findings;
        Ok(findings.into_iter().map(|found| (found.index, found.problem.to_string())).collect())
    }

    /// Sends a packet to the hub from an address of our own. How often it was dropped for `reason`, and how many bytes came back.
    async fn pass_on(&self, packet: &[u8], reason: &str) -> Result<(u64, usize), CliError> {
        let count = || self.hub.stats().0.dropped.get(reason).copied().unwrap_or(0);
        let before = count();
        self.eavesdropper.send(packet).await?;
        wait_until(|| count() > before).await;
        let bytes = self.eavesdropper.exchange(&[], Duration::from_millis(300)).await?;
        Ok((count() - before, bytes))
    }
}

fn report(to: std::net::SocketAddr) -> Ask {
    Ask {
        payload: object! { "celsius" => 21.5 },
        purpose: "Every minute".to_owned(),
        timeout: Duration::from_secs(2),
        ..Ask::new(name(HUB), Some(to), "temperature.report")
    }
}

fn told(answer: &Answered) -> String {
    let response = &answer.response;
    let mut text = format!(
        "{} — trust: {} — RTT: {:.3}ms — {}",
        zone_word(&response.airlock_zone),
        response.trust_score,
        answer.round_trip.as_secs_f64() * 1000.0,
        response.decision.as_str(),
    );
    if !response.payload.is_empty() {
        text.push_str(&format!(" {}", payload_text(&response.payload)));
    }
    text
}

fn name(text: &str) -> Name {
    text.parse().expect("a constant name")
}

fn address(node: &IotNode) -> Result<std::net::SocketAddr, CliError> {
    node.local_addr().ok_or_else(|| unavailable("a node has stopped", ""))
}

fn unavailable(what: &str, error: impl std::fmt::Display) -> CliError {
    CliError::new(Exit::Unavailable, format!("{what}: {error}"))
}
