//! What `tibet-iot send` says of the answers, and of what became of the question where none came.

use std::time::Duration;

use jis::Name;
use serde_json::{Value, json};
use tibet_ping::{Answered, Decision, Ignored, Proof};

use super::Plan;
use crate::iot::listen::{changed_key, proof_word};
use crate::iot::own::{Noted, Own};
use crate::iot::stream::{Closed, Stream, note, payload_json, payload_text};
use crate::output::{plain, score, zone_word};

/// What was said, and what is to be summed up.
pub(super) struct Report<'a> {
    plan: &'a Plan,
    /// Who asks.
    name: Name,
    as_json: bool,
    stream: Stream,
    warned: bool,
    /// Whether the last key that was learnt is kept for the next run.
    remembered: bool,
    /// What was last said to stand behind an answer.
    explained: Option<Proof>,
    tally: Tally,
}

/// What came of the pings.
#[derive(Debug, Default)]
struct Tally {
    sent: u32,
    answered: u32,
    accepted: u32,
    shortest: Duration,
    longest: Duration,
    sum: Duration,
}

impl<'a> Report<'a> {
    pub(super) fn new(plan: &'a Plan, name: Name, as_json: bool) -> Self {
        Self {
            plan,
            name,
            as_json,
            stream: Stream::new("tibet.iot.send", as_json),
            warned: false,
            remembered: false,
            explained: None,
            tally: Tally::default(),
        }
    }

    /// Counts a ping that goes out.
    pub(super) fn asks(&mut self) {
        self.tally.sent += 1;
    }

    /// Whether every ping was accepted.
    pub(super) fn all_accepted(&self) -> bool {
        self.tally.accepted == self.plan.count
    }

    /// Warns, once, of an answer under this name that was signed by another key than the one known.
    pub(super) fn changed_key(&mut self, name: &Name, from: &str) {
        if !std::mem::replace(&mut self.warned, true) {
            self.note(changed_key(name, from, &self.forget(name)));
        }
    }

    /// Notes whether the key of this name is remembered.
    pub(super) fn learnt(&mut self, name: &Name, noted: &Noted) {
        self.remembered = matches!(noted, Noted::Yes);
        if let Noted::No(why) = noted {
            self.note(format_args!("the key of {name} is not remembered: {why}"));
        }
    }

    fn note(&self, text: impl std::fmt::Display) {
        note(self.as_json, text);
    }

    fn forget(&self, name: &Name) -> String {
        format!("tibet-iot keys forget {name} --did {}", self.name)
    }

    pub(super) fn answer(&mut self, answered: &Answered) -> Result<(), Closed> {
        let Answered { response, round_trip, proof, .. } = answered;
        if answered.last {
            self.tally.count(response.decision, *round_trip);
        }
        let rtt = round_trip.as_secs_f64() * 1000.0;
        let key = response.claim.map(|claim| claim.public_key.to_multibase());
        let data = json!({
            "decision": response.decision.as_str(),
            "airlock_zone": response.airlock_zone,
            "trust_score": response.trust_score,
            "rtt_ms": (rtt * 1000.0).round() / 1000.0,
            "verified": proof.is_verified(),
            "proof": proof_word(*proof),
            "responder_did": response.responder_did,
            "responder_key": key,
            "from": answered.from.to_string(),
            "payload": payload_json(&response.payload),
            "capabilities": response.capabilities,
            "intent": answered.packet.intent,
            "packet_id": answered.packet.packet_id,
            "applied_rule": response.applied_rule,
            "last": answered.last,
        });
        let zone = zone_word(&response.airlock_zone);
        let mut text = format!("{zone} — trust: {} — RTT: {rtt:.3}ms", trust_text(response.trust_score));
        if response.decision != Decision::Accept {
            text.push_str(&format!(" — {}", response.decision.as_str()));
        }
        if !response.payload.is_empty() {
            text.push('\n');
            text.push_str(&payload_text(&response.payload));
        }
        self.stream.print("answer", data, Some(text))?;
        if !self.as_json {
            self.explain(answered, key.as_deref().unwrap_or_default());
        }
        Ok(())
    }

    fn explain(&mut self, answered: &Answered, key: &str) {
        // Of many answers, what is the same of all is said once.
        if self.explained.replace(answered.proof) != Some(answered.proof) {
            match answered.proof {
                Proof::Verified => self.note(format_args!("verified: signed by {key}")),
                Proof::FirstContact if self.remembered => {
                    self.note(format_args!("first contact: key {key} remembered"));
                }
                Proof::FirstContact => self.note(format_args!("first contact: key {key}, not remembered")),
                Proof::Sealed => self.note("verified: it came through the tunnel to that device"),
                Proof::Unsigned | Proof::Unproven => {
                    self.note("unauthenticated: nobody has signed this answer");
                }
            }
        }
        match answered.response.decision {
            Decision::Pending if answered.last => {
                self.note("it waits there for a human; --wait 600 waits for the decision");
            }
            Decision::Pending => self.note("it waits there for a human, and we wait too"),
            Decision::Reject => self.note("it was refused"),
            Decision::Accept => {}
        }
    }

    pub(super) fn undecided(&self) -> Result<(), Closed> {
        let waited = seconds(self.plan.ask.decision_timeout);
        if !self.as_json {
            self.note(format_args!("no decision came within {waited} s"));
        }
        let data = json!({ "target": self.plan.ask.target.as_str(), "to": self.plan.to.to_string() });
        self.stream.print("undecided", data, None)
    }

    /// Tells that no answer has come, and what may be the reason.
    pub(super) fn no_answer(&mut self, ignored: &Ignored, own: &Own) -> Result<(), Closed> {
        let target = self.plan.ask.target.clone();
        if ignored.wrong_key > 0 {
            self.changed_key(&target, &self.plan.to.to_string());
        }
        let reasons = self.reasons(ignored, own);
        let data = json!({
            "target": target.as_str(),
            "to": self.plan.to.to_string(),
            "waited_ms": u64::try_from(self.plan.ask.timeout.as_millis()).unwrap_or(u64::MAX),
            "reasons": reasons,
            "ignored": {
                "unsigned": ignored.unsigned,
                "wrong_key": ignored.wrong_key,
                "false_answers": ignored.false_answers,
            },
        });
        if !self.as_json {
            let waited = seconds(self.plan.ask.timeout);
            let to = self.plan.to;
            self.note(format_args!(
                "no answer from {target} at {to} within {waited} s. What may be the reason:"
            ));
            reasons.iter().for_each(|reason| self.note(format_args!("  - {reason}")));
        }
        self.stream.print("no_answer", data, None)
    }

    /// Why no answer may have come; what is known for certain first.
    fn reasons(&self, ignored: &Ignored, own: &Own) -> Vec<String> {
        let (target, to, name) = (&self.plan.ask.target, self.plan.to, &own.identity.name);
        let mut reasons = Vec::new();
        if ignored.wrong_key > 0 {
            let text = "an answer came, but was signed by another key than the one known; if the device was set up anew";
            reasons.push(format!("{text}: {}", self.forget(target)));
        }
        if ignored.unsigned > 0 {
            reasons.push(format!(
                "an unsigned answer came: --allow-unsigned {target} believes it, and anybody else"
            ));
        }
        if ignored.false_answers > 0 {
            reasons.push(format!("an answer came that {target} did not give to this question"));
        }
        let relay = if self.plan.is_mesh() { ", or no relay knows the way" } else { "" };
        reasons.push(format!("nobody listens at {to}, or a firewall or NAT is between{relay}"));
        reasons.push(format!("it does not trust us; on that side: tibet-iot listen --trust {name}=0.9"));
        reasons.push(match own.known.get(target) {
            Some(known) => format!(
                "it does not have the key {} that it was first seen with on {}; if it was set up anew: {}",
                known.binding.key,
                known.first_seen,
                self.forget(target)
            ),
            None => format!(
                "another device is there, not {target}; or it knows {name} by another key than {}",
                own.identity.key.public_key()
            ),
        });
        reasons
    }

    pub(super) fn sum_up(&self) -> Result<(), Closed> {
        let Tally { sent, answered, accepted, shortest, longest, .. } = self.tally;
        let millis = |time: Duration| (time.as_secs_f64() * 1_000_000.0).round() / 1000.0;
        let average = self.tally.sum.checked_div(answered).map(millis);
        let times = average.map(|average| (millis(shortest), average, millis(longest)));
        let rtt = times.map(|(min, avg, max)| json!({ "min": min, "avg": avg, "max": max }));
        let data = json!({ "sent": sent, "answered": answered, "accepted": accepted, "rtt_ms": rtt });
        let mut text = format!("{sent} sent, {answered} answered, {accepted} accepted");
        if let Some((min, avg, max)) = times {
            text.push_str(&format!(" — RTT min/avg/max: {min:.3}/{avg:.3}/{max:.3}ms"));
        }
        self.stream.print("summary", data, Some(text))
    }
}

impl Tally {
    fn count(&mut self, decision: Decision, round_trip: Duration) {
        self.shortest = if self.answered == 0 { round_trip } else { self.shortest.min(round_trip) };
        self.longest = self.longest.max(round_trip);
        self.sum = self.sum.saturating_add(round_trip);
        self.answered += 1;
        self.accepted += u32::from(decision == Decision::Accept);
    }
}

/// A score as the other side says it, which may be any number.
fn trust_text(trust: f64) -> String {
    if (-1000.0..=1000.0).contains(&trust) { score(trust) } else { plain(&format!("{trust:e}")) }
}

fn seconds(time: Duration) -> Value {
    let seconds = time.as_secs_f64();
    if time.subsec_nanos() == 0 { json!(time.as_secs()) } else { json!(seconds) }
}
