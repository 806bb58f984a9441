//! The quick start and every call around it, in memory and on a state directory.

use jis::{IdentityStatus, Remark, RevocationScope};
use tibet_core::{LogCheck, TokenLines, verify_log};
use tibet_overlay::{
    AuditFormat, DeviceOptions, ExportError, IdentityOverlay, LocalDevice, OptionsError, OverlayError,
    StateDir, StoreLocation, system,
};
use tibet_registry::{Policy, Refusal, Store, Zone};

fn sensor(port: u16) -> DeviceOptions {
    DeviceOptions::at(format!("203.0.113.1:{port}")).behind_nat().capability("mqtt")
}

fn names(found: &[jis::Name]) -> Vec<&str> {
    found.iter().map(jis::Name::as_str).collect()
}

/// Everything a user does with two devices in one life, the same on every store.
fn story<S: Store>(overlay: &mut IdentityOverlay<S>) {
    let first = overlay.register("sensor-01", sensor(44321)).expect("registered");
    assert!(first.changed);
    assert_eq!((first.standing.score, first.standing.zone), (0.5, Zone::Geel));
    overlay.register("jis:sensor-02", sensor(44322)).expect("registered");

    let proof = overlay.verify("jis:sensor-01").expect("asked");
    assert!(proof.verified);
    assert_eq!(proof.trust_score.to_string(), "0.5");
    assert_eq!(proof.fingerprint, Some(first.fingerprint));
    assert_eq!(proof.reason, None);
    let signed = proof.proof.expect("the answer itself");
    let key = overlay.identity_of(&proof.did).expect("read").expect("registered").key;
    assert!(signed.verify(&key).is_ok(), "anybody with the key can check the answer again");

    let route = overlay.resolve("did:jis:sensor-01").expect("looked up");
    assert!(route.resolved && !route.stale);
    assert_eq!(route.endpoint, "203.0.113.1:44321");
    assert!(route.trust_score > 0.5, "the passed verification counts by now: {}", route.trust_score);
    assert!(route.record.expect("signed record").verify(&key).is_ok());

    assert_eq!(
        names(&overlay.find_by_capability("mqtt").expect("searched")),
        ["jis:sensor-01", "jis:sensor-02"]
    );
    assert!(overlay.find_by_capability("rtsp").expect("searched").is_empty());

    let fingerprint = first.fingerprint;
    let moved = overlay.update_endpoint("sensor-01", "[2001:db8::9]:51820").expect("moved");
    assert_eq!((moved.fingerprint, moved.version.seq, moved.changed), (fingerprint, 1, true));
    let route = overlay.resolve("sensor-01").expect("looked up");
    assert_eq!(route.endpoint, "[2001:db8::9]:51820");
    let record = route.record.expect("record");
    assert!(record.claims().behind_nat, "what was not said again stays");
    assert!(record.claims().capabilities.iter().any(|capability| capability.as_str() == "mqtt"));

    let before = overlay.get_fira("sensor-01").expect("read");
    assert_eq!((before.history.verify_pass, before.history.verify_fail, before.history.anomalies), (1, 0, 0));
    let odd = overlay.record_anomaly("sensor-01", "reading of 900 °C").expect("recorded");
    let failed = overlay.record_failed_verify("sensor-01", "wrong tag read by hand").expect("recorded");
    assert!(failed.score < odd.score && odd.score < before.score);
    let after = overlay.get_fira("sensor-01").expect("read");
    assert_eq!((after.history.verify_pass, after.history.verify_fail, after.history.anomalies), (1, 1, 1));
    assert!(after.integrity < before.integrity && after.anomaly != before.anomaly);

    let status = overlay.status().expect("counted");
    assert_eq!((status.total_devices, status.behind_nat_percent, status.revoked), (2, 100, 0));
    assert_eq!(status.groen + status.geel + status.rood, 2);
    assert_eq!(status.capabilities.iter().map(|c| c.as_str()).collect::<Vec<_>>(), ["mqtt"]);
    let nodes = overlay.connected_nodes().expect("listed");
    assert_eq!(
        nodes.iter().map(|node| node.did.as_str()).collect::<Vec<_>>(),
        ["jis:sensor-01", "jis:sensor-02"]
    );
    assert!(nodes.iter().all(|node| node.behind_nat && !node.stale && node.status == IdentityStatus::Active));
    let mean = nodes.iter().map(|node| node.standing.score).sum::<f64>() / 2.0;
    assert!((status.average_trust - mean).abs() < 1e-6, "scores fade a little from call to call");

    let tokens = exported(overlay, AuditFormat::JsonLines);
    assert_eq!(overlay.status().expect("counted").tokens, tokens.lines().count() as u64);
}

fn exported<S: Store>(overlay: &mut IdentityOverlay<S>, format: AuditFormat) -> String {
    let mut out = Vec::new();
    overlay.export_audit(format, &mut out).expect("exported");
    String::from_utf8(out).expect("UTF-8")
}

#[test]
fn in_memory() {
    story(&mut IdentityOverlay::new().expect("overlay"));
}

#[test]
fn over_a_registry_wherever_its_store_is_with_the_devices_that_are_adopted() {
    let dir = tempfile::tempdir().expect("dir");
    let state = StateDir::new(dir.path().join("state"));
    let elsewhere = StoreLocation::Sqlite(dir.path().join("elsewhere.db"));
    let open = || state.open_for_serving(&elsewhere, Policy::default()).expect("opened");
    story(&mut IdentityOverlay::over(open()));
    let mut overlay = IdentityOverlay::over(open());
    assert_eq!(overlay.status().expect("counted").total_devices, 2);
    assert!(!overlay.verify("sensor-01").expect("an answer").asked, "its keys were in memory");
    let name: jis::Name = "jis:sensor-09".parse().expect("name");
    overlay.adopt(LocalDevice::create(name.clone(), system::now()).expect("keys"));
    overlay.register("sensor-09", sensor(9)).expect("registered with the keys it has");
    assert!(overlay.verify("sensor-09").expect("asked").verified);

    // What a device has done without this registry's hearing of it; told twice, it is news once.
    let device = overlay.device(&name).expect("here");
    let (rotation, record) = device.rotate(None, system::now()).expect("rotated");
    assert!(overlay.take_rotation(rotation, record).expect("told"));
    let device = overlay.device(&name).expect("here");
    let revocation = device.revoke(RevocationScope::Key, None, jis::Remark::default(), system::now());
    let revocation = revocation.expect("revoked");
    for _ in 0..2 {
        assert!(overlay.take_revocation(revocation.clone()).expect("told"));
    }
    assert_eq!(overlay.status().expect("counted").revoked, 1);
    // Another identity of the same name is not its.
    let mut other = LocalDevice::create(name, system::now()).expect("keys");
    let (rotation, record) = other.rotate(None, system::now()).expect("rotated");
    assert!(!overlay.take_rotation(rotation, record).expect("asked"));
    assert!(overlay.registry().audit(None).expect("audited").is_clean());
}

#[test]
fn on_a_state_directory_and_after_opening_it_again() {
    let dir = tempfile::tempdir().expect("dir");
    let open = || IdentityOverlay::open(StateDir::new(dir.path().join("state"))).expect("opened");
    story(&mut open());
    let mut again = open();
    let status = again.status().expect("counted");
    assert_eq!(status.total_devices, 2);
    assert_eq!(again.resolve("sensor-01").expect("looked up").endpoint, "[2001:db8::9]:51820");
    assert!(again.verify("sensor-01").expect("asked").verified, "the keys are found again");
    let fira = again.get_fira("sensor-01").expect("read").history;
    assert_eq!((fira.verify_fail, fira.anomalies), (1, 1), "what counts against a device is not forgotten");
    let registered = again.register("sensor-01", sensor(44321)).expect("registered again");
    assert_eq!(registered.version.seq, 2, "no number is used twice");
    assert!(again.registry().audit(None).expect("audited").is_clean());
}

#[test]
fn both_exports_hold_the_same_tokens_and_verify() {
    let mut overlay = IdentityOverlay::new().expect("overlay");
    assert_eq!(exported(&mut overlay, AuditFormat::Json), "[]\n");
    assert_eq!(exported(&mut overlay, AuditFormat::JsonLines), "");
    overlay.register("sensor-01", sensor(44321)).expect("registered");
    overlay.resolve("sensor-01").expect("looked up");
    let lines = exported(&mut overlay, AuditFormat::JsonLines);
    let array: Vec<serde_json::Value> =
        serde_json::from_str(&exported(&mut overlay, AuditFormat::Json)).expect("a JSON array");
    let parsed: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("a JSON object")).collect();
    assert_eq!(parsed, array);
    assert_eq!(parsed.len(), 2, "the look-up is in the log once it is exported");

    let file = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(file.path(), &lines).expect("written");
    let signer = *overlay.registry().log_key();
    let check = LogCheck { signer: Some(&signer), require_content_links: true, ..LogCheck::default() };
    let report = verify_log(TokenLines::open(file.path()).expect("opened"), &check);
    assert!(report.ok(), "{:?}", report.findings);
    assert_eq!(report.head, overlay.registry().head().expect("read"));
}

#[test]
fn an_export_that_cannot_be_written_says_so() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut overlay = IdentityOverlay::new().expect("overlay");
    overlay.register("sensor-01", sensor(1)).expect("registered");
    let error = overlay.export_audit(AuditFormat::JsonLines, &mut Full).expect_err("a full disk");
    assert!(
        matches!(error, ExportError::Write(ref error) if error.kind() == std::io::ErrorKind::StorageFull)
    );
}

#[test]
fn unknown_names_are_answers_and_nonsense_is_an_error() {
    let mut overlay = IdentityOverlay::new().expect("overlay");
    let route = overlay.resolve("jis:nobody").expect("an answer");
    assert!(!route.resolved && route.endpoint.is_empty() && route.record.is_none());
    assert_eq!(route.trust_score, 0.0);
    assert!(route.reason.expect("a reason").contains("not registered"));
    let proof = overlay.verify("jis:nobody").expect("an answer");
    assert!(!proof.verified && proof.proof.is_none());

    assert!(matches!(overlay.resolve("jis:UPPER case"), Err(OverlayError::Name(_))));
    assert!(matches!(
        overlay.register("sensor", DeviceOptions::at("203.0.113.1")),
        Err(OverlayError::Options(OptionsError::Endpoint { .. }))
    ));
    assert!(matches!(overlay.find_by_capability("no such thing"), Err(OverlayError::Options(_))));
    assert!(matches!(overlay.update_endpoint("nobody", "203.0.113.1:1"), Err(OverlayError::NotHere(_))));
    assert!(matches!(overlay.get_fira("nobody"), Err(OverlayError::Refused(Refusal::Unknown(_)))));
    assert!(matches!(overlay.record_anomaly("nobody", ""), Err(OverlayError::Refused(Refusal::Unknown(_)))));
    assert!(matches!(
        overlay.record_failed_verify("nobody", ""),
        Err(OverlayError::Refused(Refusal::Unknown(_)))
    ));
    assert_eq!(overlay.status().expect("counted").total_devices, 0, "nothing of it left a trace");
    assert_eq!(overlay.status().expect("counted").average_trust, 0.0);
}

#[test]
fn a_device_that_is_asked_elsewhere_cannot_be_asked_here() {
    let dir = tempfile::tempdir().expect("dir");
    let state = StateDir::new(dir.path());
    let mut overlay = IdentityOverlay::open(state.clone()).expect("opened");
    overlay.register("sensor-01", sensor(1)).expect("registered");
    drop(overlay);
    std::fs::remove_dir_all(state.root().join("identities")).expect("removed");
    let mut overlay = IdentityOverlay::open(state).expect("opened");
    let proof = overlay.verify("sensor-01").expect("an answer");
    assert_eq!((proof.verified, proof.asked), (false, false), "nothing is known either way");
    assert!(proof.reason.expect("a reason").contains("keys are not on this machine"));
    let error = overlay.register("sensor-01", sensor(2)).expect_err("no new keys for a name that is taken");
    assert!(matches!(error, OverlayError::Refused(Refusal::NameTaken(_))));
}

#[test]
fn a_revoked_key_is_followed_by_the_next_and_a_revoked_name_by_nothing() {
    let dir = tempfile::tempdir().expect("dir");
    let mut overlay = IdentityOverlay::open(StateDir::new(dir.path())).expect("opened");
    let registered = overlay.register("sensor-01", sensor(1)).expect("registered");
    let name: jis::Name = "jis:sensor-01".parse().expect("name");
    let reason = |text: &str| text.parse::<Remark>().expect("remark");

    assert!(overlay.revoke(&name, RevocationScope::Key, None, reason("stolen")).expect("revoked"));
    assert!(!overlay.verify("sensor-01").expect("asked").verified);
    assert!(!overlay.resolve("sensor-01").expect("looked up").resolved);
    assert!(overlay.find_by_capability("mqtt").expect("searched").is_empty());
    assert_eq!(overlay.status().expect("counted").revoked, 1);
    assert!(overlay.update_endpoint("sensor-01", "203.0.113.1:2").is_err(), "a revoked key moves nothing");

    assert!(overlay.rotate(&name, None).expect("rotated"));
    assert!(overlay.verify("sensor-01").expect("asked").verified);
    assert_eq!(overlay.find_by_capability("mqtt").expect("searched"), std::slice::from_ref(&name));
    let identity = overlay.identity_of(&name).expect("read").expect("known");
    assert_eq!((identity.fingerprint, identity.generation), (registered.fingerprint, 1));

    assert!(overlay.revoke(&name, RevocationScope::Name, None, reason("scrapped")).expect("revoked"));
    assert!(overlay.rotate(&name, None).is_err());
    let identity = overlay.identity_of(&name).expect("read").expect("known");
    assert_eq!(identity.status, IdentityStatus::NameRevoked);
    assert!(overlay.register("sensor-01", sensor(3)).is_err(), "the name has ended for ever");
    assert!(overlay.registry().audit(None).expect("audited").is_clean());
}

#[test]
fn a_rotation_the_registry_did_not_hear_of_is_told_by_registering_again() {
    let dir = tempfile::tempdir().expect("dir");
    let state = StateDir::new(dir.path());
    let mut overlay = IdentityOverlay::open(state.clone()).expect("opened");
    overlay.register("sensor-01", sensor(1)).expect("registered");
    let name: jis::Name = "jis:sensor-01".parse().expect("name");
    // The program stops between the device's rotation and the registry's.
    state
        .identity(&name, None)
        .open()
        .expect("device")
        .rotate(None, tibet_overlay::system::now())
        .expect("rotated");
    drop(overlay);
    let mut overlay = IdentityOverlay::open(state).expect("opened");
    assert!(!overlay.verify("sensor-01").expect("asked").verified, "the registry still expects the old key");
    let registered = overlay.register("sensor-01", sensor(1)).expect("registered again");
    assert_eq!(registered.version.generation, 1);
    assert!(overlay.verify("sensor-01").expect("asked").verified);
    assert!(overlay.registry().audit(None).expect("audited").is_clean());
}

#[test]
fn a_registry_that_missed_a_revocation_hears_of_it_when_it_is_said_again() {
    let mut overlay = IdentityOverlay::new().expect("overlay");
    overlay.register("sensor", DeviceOptions::at("203.0.113.1:1")).expect("registered");
    let name: jis::Name = "jis:sensor".parse().expect("name");
    let revoke = |device: &mut tibet_overlay::LocalDevice| {
        device.revoke(jis::RevocationScope::Key, None, jis::Remark::default(), tibet_overlay::system::now())
    };
    // The device revokes itself while the registry is out of reach.
    revoke(overlay.device(&name).expect("here")).expect("revoked");
    assert!(overlay.resolve("jis:sensor").expect("read").resolved, "the registry does not know");
    for _ in 0..2 {
        let told = overlay.revoke(&name, jis::RevocationScope::Key, None, jis::Remark::default());
        assert!(told.expect("told"), "and saying it once more is no error");
        assert!(!overlay.resolve("jis:sensor").expect("read").resolved);
    }
}
