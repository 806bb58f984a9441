//! `tibet-overlay verify`

use clap::Args;
use jis::{Challenge, Name, Proof, Signed};
use serde_json::json;
use tibet_overlay::server::AnyRegistry;
use tibet_overlay::{DeviceError, LocalDevice, VerifyReport, system};
use tibet_registry::Refusal;

use super::Context;
use super::remote::As;
use crate::error::CliError;
use crate::identities::{parse_name, short};
use crate::output::{Exit, Outcome, mark, plain, score, zone_word};

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// Who shall prove itself
    name: String,
}

pub(super) fn run(context: &Context, args: &VerifyArgs) -> Result<Outcome, CliError> {
    let name = parse_name(&args.name)?;
    let asked = context.remotely(As::Anybody, |way| {
        let name = name.clone();
        async move { way.verify(&name).await }
    })?;
    match asked {
        Some(report) => Ok(outcome(&report)),
        None => Ok(outcome(&on_this_machine(context, &name)?)),
    }
}

/// The registry here asks, and the device answers if its keys are here; told in the words in which nodes tell it.
fn on_this_machine(context: &Context, name: &Name) -> Result<VerifyReport, CliError> {
    let mut registry = context.registry_instead_of_nodes()?;
    let here = context.settings.state.identity(name, None).exist();
    let device = here.then(|| context.settings.open_device(name)).transpose()?;
    let proof = match challenge(&registry, name) {
        Ok(challenge) => answer(device.as_ref(), &challenge).and_then(|proof| {
            let accepted = registry.accept_proof(&challenge, &proof, system::now());
            accepted.map(|accepted| (proof, accepted.standing)).map_err(NotProven::from)
        }),
        Err(unproven) => Err(unproven),
    };
    let known = registry.peek(name, system::now())?;
    let (reason, proof, standing) = match proof {
        Ok((proof, standing)) => (None, Some(jis::hex::encode(&proof.encode())), standing),
        Err(NotProven::Says(reason)) => (Some(reason), None, registry.standing(name, system::now())?),
        Err(NotProven::Failed(error)) => return Err(error),
    };
    let route = known.as_ref().map(|known| &known.route);
    Ok(VerifyReport {
        name: name.to_string(),
        verified: proof.is_some(),
        asked: true,
        reason,
        trust_score: Some(standing.score),
        zone: Some(standing.zone.as_str().to_owned()),
        fingerprint: route.map(|route| route.fingerprint.to_string()),
        public_key: route.and_then(|route| route.key().ok()).map(|key| key.to_multibase()),
        generation: route.map(|route| route.version.generation),
        bound_since: route.map(|route| route.registered_at.to_string()),
        path: "this machine".to_owned(),
        proof,
        ..VerifyReport::default()
    })
}

/// Why there is no proof.
enum NotProven {
    /// That is the answer.
    Says(String),
    /// Nothing can be said.
    Failed(CliError),
}

impl From<Refusal> for NotProven {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Store(_) | Refusal::Busy(_) | Refusal::ClockUnset(_) => Self::Failed(refusal.into()),
            other => Self::Says(other.to_string()),
        }
    }
}

fn challenge(registry: &AnyRegistry, name: &Name) -> Result<Challenge, NotProven> {
    let (verifier, key) = (registry.origin(), *registry.log_key());
    let random = system::random().map_err(|error| NotProven::Failed(DeviceError::from(error).into()))?;
    Ok(registry.challenge(name, verifier, key, random, system::now())?)
}

fn answer(device: Option<&LocalDevice>, challenge: &Challenge) -> Result<Signed<Proof>, NotProven> {
    let Some(device) = device else {
        let reason = "its keys are not on this machine, so it cannot be asked here; --node ADDR asks it through an overlay node";
        return Err(NotProven::Says(reason.to_owned()));
    };
    device.answer(challenge, system::now()).map_err(|error| match error {
        DeviceError::Answer(error) => NotProven::Says(error.to_string()),
        other => NotProven::Failed(other.into()),
    })
}

fn outcome(report: &VerifyReport) -> Outcome {
    let (verdict, exit) = match (report.verified, report.asked) {
        (true, _) => ("is who it says it is", Exit::Yes),
        (false, true) => ("did not prove who it is", Exit::No),
        (false, false) => ("could not be asked", Exit::Unavailable),
    };
    let mut outcome = Outcome::new("tibet.overlay.verify", json!(report))
        .line(mark(report.verified, format_args!("{} {verdict}", report.name)));
    if let Some(reason) = &report.reason {
        outcome = outcome.line(format_args!("  {}", plain(reason)));
    }
    let mut pairs = Vec::new();
    if let Some(round_trip) = report.rtt_ms {
        let device = report.device.as_deref().unwrap_or("?");
        let inner = report.device_rtt_ms.unwrap_or_default();
        pairs.push(("path", plain(&format!("{} to {device}", report.path))));
        pairs.push(("time", format!("{round_trip:.1} ms, of which node to device {inner:.1} ms")));
    }
    if let (Some(trust), Some(zone)) = (report.trust_score, &report.zone) {
        let says = if report.node.is_some() { ", says the node" } else { "" };
        pairs.push(("trust", format!("{} {}{says}", score(trust), zone_word(zone))));
    }
    let fingerprint = report.fingerprint.as_deref().and_then(|fingerprint| fingerprint.parse().ok());
    pairs.push(("fingerprint", fingerprint.map_or("unknown".to_owned(), |fingerprint| short(&fingerprint))));
    pairs.push(("bound since", report.bound_since.clone().unwrap_or_else(|| "not known".to_owned())));
    let outcome = outcome.pairs(&pairs).exit(exit);
    report.notes.iter().fold(outcome, |outcome, note| outcome.line(format_args!("  note: {}", plain(note))))
}
