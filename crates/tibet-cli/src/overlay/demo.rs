//! `tibet-overlay demo`: the whole story, on real keys and a real database.
//!
//! Every step calls what users call and looks at what comes back. A step that does not end as it should makes the demo fail.

#[doc(hidden)]
pub mod lab;
mod mesh;

use std::fs;
use std::path::Path;
use std::time::Instant;

use clap::Args;
use jis::{Endpoint, IdentityStatus, Name};
use serde_json::json;
use tibet_core::{LogCheck, TokenLines, verify_log};
use tibet_overlay::{
    AuditFormat, DeviceFiles, DeviceOptions, IdentityOverlay, LocalDevice, OverlayError, Presence, StateDir,
    system,
};
use tibet_registry::{Refusal, Source, SqliteStore};

use super::Context;
use crate::error::CliError;
use crate::identities::short;
use crate::output::{Exit, Outcome, bold, in_zone_colour, shown};
use crate::story::Steps;

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Show the mesh instead: two homes behind NATs, on machines that are made for it and removed again (root, Linux)
    #[arg(long)]
    mesh: bool,
}

/// The public address that three homes share behind their provider's NAT.
const SHARED: &str = "203.0.113.1";
const SENSOR: &str = "jis:sensor-temp-01";

/// Name, endpoint, behind NAT, capabilities.
const DEVICES: [(&str, &str, bool, &[&str]); 4] = [
    (SENSOR, "203.0.113.1:44321", true, &["mqtt", "temperature.read"]),
    ("jis:sensor-temp-02", "203.0.113.1:44322", true, &["mqtt", "temperature.read"]),
    ("jis:camera-front", "203.0.113.1:44323", true, &["rtsp"]),
    ("jis:gateway-01", "198.51.100.7:7150", false, &["mqtt", "modbus"]),
];

pub(super) fn run(context: &Context, args: &DemoArgs) -> Result<Outcome, CliError> {
    if args.mesh {
        return mesh::run();
    }
    let temporary = tempfile::tempdir().map_err(|error| unavailable("no temporary directory", &error))?;
    let kept = context.settings.state_dir_given.then(|| context.settings.state.clone());
    let state = kept.clone().unwrap_or_else(|| StateDir::new(temporary.path().join("state")));
    if state.has_registry() || !state.identities().unwrap_or_default().is_empty() {
        let message = format!("{} is in use; the demo begins with nothing", state.root().display());
        return Err(CliError::new(Exit::Usage, message)
            .hint("--state-dir with an empty directory, or none for a temporary one"));
    }
    let begun = Instant::now();
    let mut story = Story {
        overlay: IdentityOverlay::open(state.clone())?,
        state,
        scratch: temporary.path().to_owned(),
        network: context.settings.network.clone(),
        steps: Steps::default(),
    };
    story.tell()?;
    let elapsed = begun.elapsed();
    let mut outcome = story.outcome()?;
    outcome = outcome.line("").line(format_args!("All of it took {} ms.", elapsed.as_millis()));
    Ok(match kept {
        Some(state) => outcome
            .line(format_args!("Look around: tibet-overlay --state-dir {} status", shown(state.root()))),
        None => {
            outcome.line("Nothing is left behind; with --state-dir DIR the demo keeps it to look around.")
        }
    })
}

struct Story {
    overlay: IdentityOverlay<SqliteStore>,
    state: StateDir,
    scratch: std::path::PathBuf,
    network: String,
    steps: Steps,
}

impl Story {
    fn tell(&mut self) -> Result<(), CliError> {
        self.register_four_devices()?;
        self.all_prove_themselves()?;
        self.refuse_the_impostor()?;
        self.follow_a_moving_device()?;
        let thief = self.steal_the_key()?;
        self.rotate_the_key()?;
        self.refuse_the_stolen_key(thief)?;
        self.search()?;
        self.verify_the_log()?;
        self.find_the_altered_byte()
    }

    fn step(&mut self, title: &'static str, holds: bool, details: Vec<String>) {
        self.steps.add(title, holds, details);
    }

    fn register_four_devices(&mut self) -> Result<(), CliError> {
        let mut details = Vec::new();
        for (name, endpoint, behind_nat, capabilities) in DEVICES {
            let mut options =
                capabilities.iter().fold(DeviceOptions::at(endpoint), |options, c| options.capability(*c));
            if behind_nat {
                options = options.behind_nat();
            }
            let registered = self.overlay.register(name, options)?;
            details.push(format!("{name:<20} {endpoint:<20} fingerprint {}", short(&registered.fingerprint)));
        }
        let sharing = DEVICES.iter().filter(|device| device.1.starts_with(SHARED)).count();
        details.push(format!(
            "{sharing} of them share the address {SHARED}: it cannot tell them apart, their keys can"
        ));
        let registered = self.overlay.status()?.total_devices;
        self.step("Four devices register, each with a key of its own", registered == 4, details);
        Ok(())
    }

    fn all_prove_themselves(&mut self) -> Result<(), CliError> {
        let mut details = Vec::new();
        let mut holds = true;
        for (name, ..) in DEVICES {
            let proof = self.overlay.verify(name)?;
            holds &= proof.verified;
            details.push(format!("{name:<20} verified: {}  trust: {}", proof.verified, proof.trust_score));
        }
        self.step("Each answers a fresh challenge with its key", holds, details);
        Ok(())
    }

    fn refuse_the_impostor(&mut self) -> Result<(), CliError> {
        let name: Name = SENSOR.parse().expect("a constant name");
        let now = system::now();
        let mut impostor = LocalDevice::create(name.clone(), now)?;
        impostor.publish(DeviceOptions::at("192.0.2.66:6666").parse().map_err(OverlayError::from)?, now)?;
        let claim = impostor.registration(None, now)?;
        let claim = self.overlay.registry_mut().register(claim, Source::Local, now);
        let challenge = self.overlay.challenge(&name)?;
        let forged = self.overlay.check_answer(&challenge, impostor.answer(&challenge, system::now())?)?;
        // A bad answer must not use the question up: the device itself can still answer it.
        let honest = self.overlay.device(&name)?.answer(&challenge, system::now())?;
        let honest = self.overlay.check_answer(&challenge, honest)?;
        let refused = matches!(claim, Err(Refusal::NameTaken(_)));
        let details = vec![
            format!(
                "claims {SENSOR} with another key: {}",
                claim.err().map_or("ACCEPTED".to_owned(), |error| error.to_string())
            ),
            format!("answers its challenge: {}", forged.reason.unwrap_or_else(|| "ACCEPTED".to_owned())),
            format!("the device answers the same challenge: verified: {}", honest.verified),
        ];
        self.step(
            "An impostor tries to be the sensor",
            refused && !forged.verified && honest.verified,
            details,
        );
        Ok(())
    }

    fn follow_a_moving_device(&mut self) -> Result<(), CliError> {
        let before = self.overlay.resolve(SENSOR)?;
        self.overlay.update_endpoint(SENSOR, "198.51.100.9:51820")?;
        let after = self.overlay.resolve(SENSOR)?;
        let fingerprint = |route: &tibet_overlay::OverlayRoute| {
            route.record.as_ref().map(|record| record.claims().fingerprint)
        };
        let holds = after.endpoint == "198.51.100.9:51820" && fingerprint(&before) == fingerprint(&after);
        let details = vec![
            format!("{SENSOR} was at {}, is found at {}", before.endpoint, after.endpoint),
            "same name, same key, same fingerprint; the record is signed by the device, so nobody else can move it".to_owned(),
        ];
        self.step("The sensor's address changes, and it is still found", holds, details);
        Ok(())
    }

    /// A copy of the device's files without the next key, which is offline.
    fn steal_the_key(&mut self) -> Result<LocalDevice, CliError> {
        let name: Name = SENSOR.parse().expect("a constant name");
        let loot = self.scratch.join("stolen");
        let from = self.state.identity(&name, None);
        let copied = fs::create_dir(&loot).and_then(|()| {
            for file in ["identity.pem", "transport.pem", "device.json"] {
                fs::copy(from.directory().join(file), loot.join(file))?;
            }
            Ok(())
        });
        copied.map_err(|error| unavailable("cannot copy the device's files", &error))?;
        Ok(DeviceFiles::new(loot, None).open()?)
    }

    fn rotate_the_key(&mut self) -> Result<(), CliError> {
        let name: Name = SENSOR.parse().expect("a constant name");
        let before = self.identity(&name)?;
        self.overlay.rotate(&name, None)?;
        let after = self.identity(&name)?;
        let address = |identity: &jis::Identity| identity.fingerprint.overlay_address(&self.network);
        let same = before.fingerprint == after.fingerprint && address(&before) == address(&after);
        let details = vec![
            format!("key         {} → {}", ends(&before.key.to_multibase()), ends(&after.key.to_multibase())),
            format!("generation  {} → {}", before.generation, after.generation),
            format!("fingerprint {} (same)", short(&after.fingerprint)),
            format!("address     {} (same)", address(&after)),
        ];
        let proven = self.overlay.verify(SENSOR)?.verified;
        self.step(
            "The sensor rotates to its next key and stays who it is",
            same && before.key != after.key && proven,
            details,
        );
        Ok(())
    }

    fn refuse_the_stolen_key(&mut self, mut thief: LocalDevice) -> Result<(), CliError> {
        let name: Name = SENSOR.parse().expect("a constant name");
        let challenge = self.overlay.challenge(&name)?;
        let answer = self.overlay.check_answer(&challenge, thief.answer(&challenge, system::now())?)?;
        let elsewhere: Endpoint = "192.0.2.66:6666".parse().expect("a constant endpoint");
        let presence = Presence { endpoints: vec![elsewhere], ..thief.presence() };
        let record = thief.publish(presence, system::now())?;
        let moved = self.overlay.registry_mut().update(record, system::now());
        let still = self.overlay.resolve(SENSOR)?.endpoint;
        let holds = !answer.verified && moved.is_err() && still == "198.51.100.9:51820";
        let details = vec![
            format!("answers a challenge: {}", answer.reason.unwrap_or_else(|| "ACCEPTED".to_owned())),
            format!(
                "redirects the sensor: {}",
                moved.err().map_or("ACCEPTED".to_owned(), |error| error.to_string())
            ),
            format!("{SENSOR} is still at {still}"),
        ];
        self.step("The stolen old key opens nothing", holds, details);
        Ok(())
    }

    fn search(&mut self) -> Result<(), CliError> {
        let found = self.overlay.find_by_capability("mqtt")?;
        let names: Vec<&str> = found.iter().map(Name::as_str).collect();
        let holds = names == [SENSOR, "jis:sensor-temp-02", "jis:gateway-01"];
        self.step("Devices are found by what they offer", holds, vec![format!("mqtt: {}", names.join(", "))]);
        Ok(())
    }

    fn verify_the_log(&mut self) -> Result<(), CliError> {
        self.overlay.registry_mut().flush(system::now())?;
        let audit = self.overlay.registry().audit(None)?;
        let details = vec![
            format!(
                "{} tokens, each signed and linked to the one before; {} identities agree with them",
                audit.log.tokens, audit.identities
            ),
            format!("signed by {}", ends(&self.overlay.registry().log_key().to_multibase())),
        ];
        self.step("The audit trail verifies", audit.is_clean(), details);
        Ok(())
    }

    fn find_the_altered_byte(&mut self) -> Result<(), CliError> {
        let path = self.scratch.join("audit.jsonl");
        let failed = |error: &std::io::Error| unavailable("cannot write the copy of the log", error);
        let mut copy = Vec::new();
        self.overlay.export_audit(AuditFormat::JsonLines, &mut copy)?;
        let (index, token_id) = alter_one_byte(&mut copy).unwrap_or_default();
        fs::write(&path, &copy).map_err(|error| failed(&error))?;
        let named = self.check_log_file(&path)?;
        let holds = named.first().is_some_and(|(at, id, _)| *at == index && *id == token_id);
        let mut details = vec![format!("one byte of token {index} of a copy was changed")];
        details
            .extend(named.into_iter().map(|(index, id, problem)| format!("token {index} {id}: {problem}")));
        self.step("A changed byte is found, and the token is named", holds, details);
        Ok(())
    }

    fn check_log_file(&self, path: &Path) -> Result<Vec<(u64, String, String)>, CliError> {
        let tokens = TokenLines::open(path).map_err(|error| CliError::new(Exit::Unavailable, error))?;
        let key = *self.overlay.registry().log_key();
        let check = LogCheck { signer: Some(&key), require_content_links: true, ..LogCheck::default() };
        let report = verify_log(tokens, &check);
        Ok(report
            .findings
            .into_iter()
            .map(|found| (found.index, found.token_id, found.problem.to_string()))
            .collect())
    }

    fn identity(&self, name: &Name) -> Result<jis::Identity, CliError> {
        Ok(self.overlay.identity_of(name)?.ok_or_else(|| Refusal::Unknown(name.clone()))?)
    }

    fn outcome(self) -> Result<Outcome, CliError> {
        let nodes = self.overlay.connected_nodes()?;
        let (mut rows, mut devices) = (Vec::new(), Vec::new());
        for node in &nodes {
            let identity = self.identity(&node.did)?;
            let endpoint = node.endpoint.map(|endpoint| endpoint.to_string()).unwrap_or_default();
            let address = identity.fingerprint.overlay_address(&self.network).to_string();
            devices.push(json!({
                "name": node.did.as_str(),
                "fingerprint": identity.fingerprint.to_string(),
                "overlay_address": address,
                "endpoint": endpoint,
                "generation": identity.generation,
                "active": node.status == IdentityStatus::Active,
                "trust_score": node.standing.score,
                "zone": node.standing.zone.as_str(),
            }));
            let zone = in_zone_colour(node.standing.zone, node.standing.zone);
            rows.push(vec![
                node.did.to_string(),
                endpoint,
                identity.generation.to_string(),
                zone,
                format!("{:.3}", node.standing.score),
                address,
            ]);
        }
        let data = json!({ "holds": self.steps.hold(), "steps": self.steps.to_json(), "devices": devices });
        let mut outcome = Outcome::new("tibet.overlay.demo", data)
            .line(bold("Identity belongs to the device, not to the network."));
        outcome = self.steps.tell(outcome);
        let outcome =
            outcome.line("").table(&["NAME", "ENDPOINT", "KEY", "ZONE", "TRUST", "OVERLAY ADDRESS"], rows);
        Ok(self.steps.conclude(outcome))
    }
}

/// Changes one letter of the words of the token in the middle, and tells which token that is.
fn alter_one_byte(log: &mut [u8]) -> Option<(u64, String)> {
    let index = log.split(|&byte| byte == b'\n').count() / 2;
    let line = log.split_mut(|&byte| byte == b'\n').nth(index)?;
    let text = std::str::from_utf8(line).ok()?;
    let id: String = text[text.find("tibet_")?..].chars().take_while(|c| *c != '"').collect();
    let at = text.find("Overlay ")?;
    line[at] = b'0';
    Some((index as u64, id))
}

/// A key's first and last characters: enough to tell two apart.
fn ends(key: &str) -> String {
    match (key.get(..10), key.get(key.len().saturating_sub(6)..)) {
        (Some(head), Some(tail)) => format!("{head}…{tail}"),
        _ => key.to_owned(),
    }
}

fn unavailable(what: &str, error: &std::io::Error) -> CliError {
    CliError::new(Exit::Unavailable, format!("{what}: {error}"))
}
