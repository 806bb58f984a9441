//! `tibet-iot send`

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use jis::Name;
use serde_json::{Value, json};
use tibet_core::Zone;
use tibet_iot::{IotNode, Outcome as Came, TransportConfig};
use tibet_ping::{
    Answered, Ask, DEFAULT_PRIORITY, Decision, Event, Glob, Ignored, NodeConfig, PingType, Proof,
    RoutingMode, Rule, RulePattern,
};
use tokio::time::{Instant, sleep_until, timeout};

use super::listen::{changed_key, proof_word};
use super::node_args::{NodeArgs, Setup};
use super::own::{Momentary, Noted, Own};
use super::stream::{Closed, Stream, note, payload_json, payload_text};
use super::{Context, audit_file, input};
use crate::error::CliError;
use crate::output::{Exit, Outcome, plain, score, zone_word};
use crate::process::runtime;

/// An answer that has not come by now may be longer than the question: then it waits there until we have shown that we are where we seem to be.
const SHOW_OURSELVES_AFTER: Duration = Duration::from_millis(300);

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct SendArgs {
    /// Who is asked, for example jis:home:sensor
    #[arg(value_name = "DID")]
    target: String,

    /// Where it is, for example 192.168.1.42:7150 or [fe80::1]:7150; with --mesh, where the first relay is
    #[arg(value_name = "HOST:PORT")]
    address: String,

    /// What is wanted, for example temperature.read
    intent: String,

    /// Who asks; made if it is not there [default: the only identity there is, or the first that is free]
    #[arg(long, value_name = "NAME", env = "TIBET_IDENTITY")]
    my_did: Option<String>,

    /// Why
    #[arg(long, value_name = "TEXT", default_value = "")]
    purpose: String,

    /// What comes with it, a JSON object
    #[arg(long, value_name = "JSON")]
    payload: Option<String>,

    /// The UDP port of this side; 0 lets the system choose
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,

    /// How long the answer is waited for, in seconds
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, default_value_t = 10.0)]
    timeout: f64,

    /// How long to wait for a human to decide there, in seconds, if the answer is "pending"
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, default_value_t = 0.0)]
    wait: f64,

    /// Send the ping over the mesh: HOST:PORT is the first relay, and the relays know the way
    #[arg(long)]
    mesh: bool,

    /// Send N pings, each when the one before is answered or given up, and sum up. A listener takes 64 in 35 s unless its --rate says more
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,

    #[command(flatten)]
    node: NodeArgs,
}

const EXAMPLES: &str = "\
Exits with 0 if it was accepted (with --count: each of them), with 1 if not or if no answer came.

Examples:
  tibet-iot send jis:home:sensor 192.168.1.42:7150 temperature.read --my-did jis:home:hub
  tibet-iot send jis:home:lamp lamp.lan:7150 light.set --payload '{\"on\": true}' --purpose \"Sunset\"
  tibet-iot send jis:home:door 192.168.1.43:7150 door.open --wait 600
  tibet-iot send jis:home:shed 192.168.1.1:7150 temperature.read --mesh
  tibet-iot send jis:home:sensor 192.168.1.42:7150 temperature.read --count 20 --json";

/// The arguments, understood.
struct Plan {
    setup: Setup,
    ask: Ask,
    to: SocketAddr,
    port: u16,
    count: u32,
}

pub(super) fn run(context: &Context, args: &SendArgs) -> Result<Outcome, CliError> {
    let plan = plan(args)?;
    let done = |exit| Outcome::text_only(String::new()).exit(exit);
    match runtime(1)?.block_on(send(context, args, plan)) {
        Ok(accepted) => Ok(done(if accepted { Exit::Yes } else { Exit::No })),
        Err(Closed::Reader) => Ok(done(Exit::Yes)),
        Err(Closed::Failed(error)) => Err(error),
    }
}

fn plan(args: &SendArgs) -> Result<Plan, CliError> {
    let setup = args.node.read()?;
    let target = input::name("DID", &args.target)?;
    let example = "tibet-iot send jis:home:sensor 192.168.1.42:7150 temperature.read";
    let to = input::address("HOST:PORT", &args.address, example)?;
    let family = |v4| if v4 { "IPv4" } else { "IPv6" };
    let bind = setup.bind(args.port);
    if bind.is_ipv4() != to.is_ipv4() && !bind.ip().is_unspecified() || bind.is_ipv4() && to.is_ipv6() {
        let message = format!("{to} is {}, and --bind {} is not", family(to.is_ipv4()), bind.ip());
        return Err(CliError::new(Exit::Usage, message).hint("--bind with an address of the same kind"));
    }
    let ask = Ask {
        purpose: args.purpose.clone(),
        payload: input::payload(args.payload.as_deref())?,
        routing: if args.mesh { RoutingMode::Mesh } else { RoutingMode::Direct },
        timeout: input::seconds("--timeout", args.timeout)?,
        decision_timeout: input::seconds("--wait", args.wait)?,
        ..Ask::new(target, Some(to), args.intent.clone())
    };
    Ok(Plan { setup, ask, to, port: args.port, count: args.count })
}

async fn send(context: &Context, args: &SendArgs, plan: Plan) -> Result<bool, Closed> {
    let own = match context.own_for_a_moment(args.my_did.as_deref())? {
        Momentary::As(own) => *own,
        Momentary::Nobody => return Err(context.nobody("--my-did").into()),
        Momentary::AllBusy => return Err(context.all_busy("--my-did").into()),
    };
    let name = own.identity.name.clone();
    if name == plan.ask.target {
        let message = format!("{name} does not ask itself");
        let other = CliError::new(Exit::Usage, message).hint("--my-did jis:home:hub, the name of this side");
        return Err(other.into());
    }
    let audit = args.node.audit.as_deref().map(|path| audit_file::open(context, &name, path)).transpose()?;
    let config = TransportConfig {
        bind: plan.setup.bind(plan.port),
        discovery: None,
        node: NodeConfig { heartbeat: None, discovery: None, ..plan.setup.config() },
    };
    let mut asker = Asker::new(context, own, plan, config, audit.map(|(audit, _)| audit))?;
    asker.node.start().await.map_err(|error| super::listen::start_error(error, args.port))?;
    let result = asker.ask_all().await;
    let stopped = asker.node.stop().await;
    asker.learn_what_is_left().await?;
    let accepted = result?;
    stopped.map_err(CliError::from)?;
    Ok(accepted)
}

/// A node that asks one device.
struct Asker<'a> {
    context: &'a Context,
    stream: Stream,
    node: IotNode,
    events: tibet_iot::Events,
    own: Own,
    name: Name,
    plan: Plan,
    /// Whether we have shown that we are where we seem to be, or tried.
    shown: bool,
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

impl<'a> Asker<'a> {
    fn new(
        context: &'a Context,
        own: Own,
        plan: Plan,
        config: TransportConfig,
        audit: Option<tibet_iot::Audit>,
    ) -> Result<Self, CliError> {
        let (name, copy) = (own.identity.name.clone(), own.identity_copy()?);
        // The directory is not given to the node: its replay bound would keep a listener of this name waiting afterwards, and who only
        // asks takes in nothing that could be replayed.
        let node = IotNode::new(copy, config, None, audit)?;
        own.tell_known(&node)?;
        plan.setup.apply(&node)?;
        // Whoever is asked may ask back whether we are here, however little it is trusted otherwise.
        node.add_rule(Rule {
            id: "asked".to_owned(),
            name: "asked".to_owned(),
            pattern: RulePattern {
                source_did: Some(Glob::Exact(plan.ask.target.as_str().to_owned())),
                ping_type: Some(PingType::Heartbeat.as_str().to_owned()),
                ..RulePattern::default()
            },
            zone: Zone::Geel,
            decision: Decision::Accept,
            priority: DEFAULT_PRIORITY,
        })?;
        let stream = Stream::new("tibet.iot.send", context.as_json);
        let events = node.events();
        Ok(Self {
            context,
            stream,
            node,
            events,
            own,
            name,
            plan,
            shown: false,
            warned: false,
            remembered: false,
            explained: None,
            tally: Tally::default(),
        })
    }

    /// Whether all were accepted.
    async fn ask_all(&mut self) -> Result<bool, Closed> {
        for _ in 0..self.plan.count {
            self.ask_once().await?;
        }
        if self.plan.count > 1 {
            self.sum_up()?;
        }
        Ok(self.tally.accepted == self.plan.count)
    }

    async fn ask_once(&mut self) -> Result<(), Closed> {
        let mut question = self.node.ask(self.plan.ask.clone()).map_err(CliError::from)?;
        self.tally.sent += 1;
        let show_ourselves = Instant::now() + SHOW_OURSELVES_AFTER;
        let mut pending = false;
        loop {
            tokio::select! {
                came = question.next() => match came {
                    Came::Answer(answered) => {
                        self.learn_what_is_left().await?;
                        self.tell_answer(&answered)?;
                        if answered.last {
                            return Ok(());
                        }
                        pending = true;
                    }
                    Came::NoAnswer(ignored) => {
                        self.learn_what_is_left().await?;
                        return if pending { self.tell_undecided() } else { self.tell_no_answer(&ignored) };
                    }
                },
                Some(event) = self.events.next() => self.learn(&event)?,
                () = sleep_until(show_ourselves), if !self.shown && !self.is_mesh() => {
                    self.shown = true;
                    // It sends a sign of life there; the question waits on, whatever becomes of that.
                    let _ = self.node.add_peer(self.plan.ask.target.clone(), self.plan.to);
                }
                failed = self.node.failed() => {
                    failed.map_err(CliError::from)?;
                    return Err(CliError::new(Exit::Unavailable, "the node has stopped").into());
                }
            }
        }
    }

    async fn learn_what_is_left(&mut self) -> Result<(), Closed> {
        while let Ok(Some(event)) = timeout(Duration::ZERO, self.events.next()).await {
            self.learn(&event)?;
        }
        Ok(())
    }

    fn learn(&mut self, event: &Event) -> Result<(), Closed> {
        if let Event::ChangedKey { name, from } = event {
            self.warn_of_key(name, &from.to_string());
        }
        let Event::Pinned { binding, .. } = event else { return Ok(()) };
        let noted = self.own.remember(binding)?;
        self.remembered = matches!(noted, Noted::Yes);
        if let Noted::No(why) = noted {
            self.note(format_args!("the key of {} is not remembered: {why}", binding.name));
        }
        Ok(())
    }

    fn is_mesh(&self) -> bool {
        self.plan.ask.routing == RoutingMode::Mesh
    }

    fn note(&self, text: impl std::fmt::Display) {
        note(self.context.as_json, text);
    }

    fn warn_of_key(&mut self, name: &Name, from: &str) {
        if !std::mem::replace(&mut self.warned, true) {
            self.note(changed_key(name, from, &self.forget(name)));
        }
    }

    fn forget(&self, name: &Name) -> String {
        format!("tibet-iot keys forget {name} --did {}", self.name)
    }

    fn tell_answer(&mut self, answered: &Answered) -> Result<(), Closed> {
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
        if !self.context.as_json {
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

    fn tell_undecided(&mut self) -> Result<(), Closed> {
        let waited = seconds(self.plan.ask.decision_timeout);
        if !self.context.as_json {
            self.note(format_args!("no decision came within {waited} s"));
        }
        let data = json!({ "target": self.plan.ask.target.as_str(), "to": self.plan.to.to_string() });
        self.stream.print("undecided", data, None)
    }

    fn tell_no_answer(&mut self, ignored: &Ignored) -> Result<(), Closed> {
        let target = self.plan.ask.target.clone();
        if ignored.wrong_key > 0 {
            self.warn_of_key(&target, &self.plan.to.to_string());
        }
        let reasons = self.reasons(ignored);
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
        if !self.context.as_json {
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
    fn reasons(&self, ignored: &Ignored) -> Vec<String> {
        let (target, to, name) = (&self.plan.ask.target, self.plan.to, &self.name);
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
        let relay = if self.is_mesh() { ", or no relay knows the way" } else { "" };
        reasons.push(format!("nobody listens at {to}, or a firewall or NAT is between{relay}"));
        reasons.push(format!("it does not trust us; on that side: tibet-iot listen --trust {name}=0.9"));
        reasons.push(match self.own.known.get(target) {
            Some(known) => format!(
                "it does not have the key {} that it was first seen with on {}; if it was set up anew: {}",
                known.binding.key,
                known.first_seen,
                self.forget(target)
            ),
            None => format!(
                "another device is there, not {target}; or it knows {name} by another key than {}",
                self.own.identity.key.public_key()
            ),
        });
        reasons
    }

    fn sum_up(&self) -> Result<(), Closed> {
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
