//! What the command promises to show, as a user types it.

mod common;

use std::fs;

use common::{Home, network, text};
use rustix::process::Signal;

#[test]
fn the_demo_holds_and_leaves_nothing_behind() {
    let home = Home::new();
    // It takes well under 5 seconds; how long is not asserted, a busy machine is no fault of it.
    let told = home.ok("demo");
    assert!(told.contains("✓ 9 of 9 held"), "{told}");
    assert!(!told.contains('✗'), "{told}");
    assert_eq!(fs::read_dir(home.path(".")).expect("home").count(), 0);
}

#[test]
fn the_demo_as_data_says_the_same() {
    let demo = Home::new().json("demo", 0);
    assert_eq!(demo["holds"], true);
    let steps = demo["steps"].as_array().expect("steps");
    assert_eq!(steps.len(), 9);
    assert!(steps.iter().all(|step| step["holds"] == true), "{demo}");
    let names: Vec<_> =
        demo["devices"].as_array().expect("devices").iter().map(|device| device["name"].as_str()).collect();
    let expected = ["jis:sensor-temp-01", "jis:sensor-temp-02", "jis:camera-front", "jis:gateway-01"];
    assert_eq!(names, expected.map(Some));
    assert_eq!(demo["devices"][0]["endpoint"], "198.51.100.9:51820", "the one that moved");
    assert_eq!(demo["devices"][0]["generation"], 1, "and rotated");
}

#[test]
fn a_demo_that_is_kept_can_be_looked_around_in_and_is_not_overwritten() {
    let home = Home::new();
    let told = home.ok("demo --state-dir kept");
    let hint = told
        .lines()
        .last()
        .expect("a last line")
        .strip_prefix("Look around: tibet-overlay ")
        .expect("a hint");
    assert!(home.ok(hint).contains("jis:camera-front"), "the command it names works");
    assert!(home.ok("--state-dir kept audit verify").contains("intact"));
    let found = home.json("--state-dir kept find mqtt", 0);
    assert_eq!(found["total"], 3);
    assert_eq!(
        home.run("demo --state-dir kept").refusal(),
        (
            Some(2),
            "error: kept is in use; the demo begins with nothing\n  try: --state-dir with an empty directory, or none for a temporary one\n"
        )
    );
}

#[test]
fn an_identity_lives_through_registration_and_rotation() {
    let home = Home::new();
    let made = home.json("--state-dir D id new jis:home:hub", 0);
    let same = |value: &serde_json::Value, what: &str| {
        for member in ["fingerprint", "overlay_address"] {
            assert_eq!(value[member], made[member], "{member} after {what}");
            assert!(value[member].is_string());
        }
    };
    let registered = home.json("--state-dir D register --capability mqtt --endpoint 203.0.113.1:44321", 0);
    same(&registered, "register");
    assert_eq!(registered["changed"], true);
    assert_eq!(home.json("--state-dir D verify jis:home:hub", 0)["verified"], true);
    let before = home.json("--state-dir D resolve jis:home:hub", 0);
    same(&before, "resolve");
    assert_eq!(before["endpoint"], "203.0.113.1:44321");
    let found = home.json("--state-dir D find mqtt", 0);
    assert_eq!(found["devices"][0]["name"], "jis:home:hub");
    let rotated = home.json("--state-dir D id rotate", 0);
    same(&rotated, "id rotate");
    let after = home.json("--state-dir D resolve jis:home:hub", 0);
    same(&after, "resolve after rotation");
    assert_ne!(after["public_key"], made["public_key"], "the key is another");
    assert_eq!(after["public_key"], rotated["public_key"]);
    assert_eq!((before["generation"].as_u64(), after["generation"].as_u64()), (Some(0), Some(1)));
    assert_eq!(after["endpoint"], before["endpoint"]);
    let shown = home.json("--state-dir D id show", 0);
    same(&shown, "id show");
    assert_eq!(shown["public_key"], after["public_key"]);
    assert_eq!(home.json("--state-dir D verify jis:home:hub", 0)["verified"], true);
    // For people, the same fingerprint is in every answer.
    let fingerprint = made["fingerprint"].as_str().expect("text");
    assert!(home.ok("--state-dir D id show").contains(fingerprint));
}

#[test]
fn what_a_node_did_not_do_is_shown_whether_another_did_or_not() {
    let (one, other, sensor, asker) = (Home::new(), Home::new(), Home::new(), Home::new());
    let ((_one, one), (_other, other)) = (network::serve(&one), network::serve(&other));
    let mut up = network::up(&sensor, "jis:home:sensor", &other, "");
    let args = format!("verify jis:home:sensor --node {one},{other}");
    let notes = |told: &str| told.lines().filter(|line| line.starts_with("  note: ")).count();
    let said = asker.ok(&args);
    assert!(said.starts_with("✓ ") && said.contains("is not registered") && notes(&said) == 1, "{said}");
    assert_eq!(asker.json(&args, 0)["notes"].as_array().map(Vec::len), Some(1));

    up.signal(Signal::TERM);
    assert_eq!(up.ended(), Some(0));
    let gone = asker.run(&args);
    assert_eq!((gone.code, notes(&gone.out)), (Some(69), 2), "{gone:?}");
    let told = gone.out.matches("is not registered").count();
    assert_eq!(told, 1, "each is said once: {gone:?}");
    let reason = asker.json(&args, 69)["reason"].clone();
    assert!(reason.as_str().is_some_and(|reason| reason.contains("is not registered")), "{reason}");
}

#[test]
fn a_name_that_is_taken_is_refused() {
    let home = Home::new();
    home.ok("--state-dir A id new jis:home:hub");
    home.ok("--state-dir A register --endpoint 203.0.113.1:1");
    home.ok("--state-dir B id new jis:home:hub");
    let refused = home.run("--state-dir B --registry A register --endpoint 192.0.2.66:6666");
    assert_eq!(
        refused.refusal(),
        (Some(1), "error: jis:home:hub is taken by another key; choose another name, or ask its owner\n")
    );
    assert_eq!(refused.out, "");
    assert_eq!(home.json("--state-dir A resolve jis:home:hub", 0)["endpoint"], "203.0.113.1:1");
    let proof = home.json("--state-dir B --registry A verify jis:home:hub", 1);
    assert_eq!(proof["verified"], false, "with the wrong key nothing is proven");
    assert!(proof["reason"].as_str().expect("reason").contains("key"));
    let nobody = home.json("--state-dir C --registry A verify jis:home:hub", 69);
    assert_eq!(
        (&nobody["verified"], &nobody["asked"]),
        (&false.into(), &false.into()),
        "its keys are not there"
    );
    assert!(nobody["reason"].as_str().expect("reason").contains("--node ADDR"), "{nobody}");
    // A registry of its own is free to know it by that name.
    home.ok("--state-dir B register");
}

#[test]
fn a_stolen_key_that_was_revoked_opens_nothing_and_the_next_key_brings_the_device_back() {
    let home = Home::with_hub();
    let revoked = home.json("id revoke --reason stolen", 0);
    assert_eq!(revoked["status"], "key revoked");
    assert_eq!(home.run("verify jis:home:hub").code, Some(1));
    assert_eq!(home.run("resolve jis:home:hub").code, Some(1));
    assert_eq!(home.run("find mqtt").code, Some(1));
    let refused = home.run("register --endpoint 203.0.113.1:2");
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("rotate"), "it says what to do: {}", refused.err);
    home.ok("id rotate");
    assert_eq!(home.json("verify jis:home:hub", 0)["fingerprint"], revoked["fingerprint"]);
    let unsure = home.run("id revoke --scope name");
    assert_eq!(
        unsure.refusal(),
        (
            Some(2),
            "error: this ends the name for ever: nobody can have it again, you neither\n  try: the same with --yes, or --scope key to end only the current key\n"
        )
    );
    home.ok("id revoke --scope name --yes");
    let ended = home.run("id rotate");
    assert_eq!(ended.refusal(), (Some(1), "error: the key does not fit: the name was revoked for ever\n"));
}

#[test]
fn the_next_key_comes_from_wherever_it_was_kept() {
    let home = Home::with_hub();
    let next = home.state().join("identities/home.hub/next-identity.pem");
    let safe = home.path("safe.pem");
    fs::rename(&next, &safe).expect("moved");
    assert_eq!(home.json("id show", 0)["files"]["next_key_is_offline"], true);
    let refused = home.run("id rotate");
    assert_ne!(refused.code, Some(0));
    assert!(refused.err.contains("--next-key"), "it says what to do: {}", refused.err);
    home.ok(&format!("id rotate --next-key {}", text(&safe)));
    assert_eq!(home.json("verify jis:home:hub", 0)["verified"], true);
    // The spent key is no next key.
    assert_eq!(home.run(&format!("id rotate --next-key {}", text(&safe))).code, Some(1));
}

#[test]
fn trust_is_shown_set_cleared_and_lent() {
    let home = Home::with_hub();
    home.ok("--state-dir S id new jis:sensor");
    let registry = format!("--registry {}", text(&home.state()));
    home.ok(&format!("--state-dir S {registry} register"));
    assert_eq!(home.json("trust jis:sensor", 0)["source"], "fira");
    let set = home.json("trust jis:home:hub 0.9", 0);
    assert_eq!(
        (set["trust_score"].as_f64(), set["zone"].as_str(), set["source"].as_str()),
        (Some(0.9), Some("GROEN"), Some("explicit"))
    );
    let vouched = home.json("vouch jis:sensor --factor 0.7 --days 1", 0);
    assert_eq!(vouched["source"], "vouched");
    assert!((vouched["trust_score"].as_f64().expect("number") - 0.63).abs() < 1e-9, "{vouched}");
    assert_eq!(home.json("trust jis:home:hub --clear", 0)["source"], "fira");
    assert!(
        home.json("trust jis:sensor", 0)["trust_score"].as_f64().expect("number") < 0.63,
        "no more is lent than is there"
    );
}

#[test]
fn status_and_info_tell_what_is_there() {
    let home = Home::new();
    assert_eq!(home.json("info", 0)["registry_exists"], false);
    assert_eq!(fs::read_dir(home.path(".")).expect("home").count(), 0, "looking makes nothing");
    let home = Home::with_hub();
    let info = home.json("info", 0);
    assert_eq!(info["identities"], serde_json::json!(["jis:home:hub"]));
    let status = home.json("status", 0);
    assert_eq!((status["total_devices"].as_u64(), status["zones"]["geel"].as_u64()), (Some(1), Some(1)));
    assert_eq!(status["capabilities"], serde_json::json!(["mqtt"]));
    assert!(home.ok("status").contains("jis:home:hub  203.0.113.1:44321"));
}

#[test]
fn exports_are_what_they_say() {
    let home = Home::with_hub();
    let document: serde_json::Value = serde_json::from_str(&home.ok("id export")).expect("a DID document");
    assert_eq!(document["id"], "did:jis:home:hub");
    let pem = home.ok("id export --format pem");
    assert!(pem.starts_with("-----BEGIN PUBLIC KEY-----\n") && pem.ends_with("-----END PUBLIC KEY-----\n"));
    let bundle: serde_json::Value =
        serde_json::from_str(&home.ok("id export --format bundle")).expect("JSON");
    assert_eq!(bundle["events"].as_array().map(Vec::len), Some(1));
    for (path, what) in [("identity.pem", "the key"), ("next-identity.pem", "the next key")] {
        let file = fs::read_to_string(home.state().join("identities/home.hub").join(path)).expect("read");
        let secret = file.lines().nth(1).expect("a second line");
        for format in ["did", "pem", "bundle"] {
            assert!(!home.ok(&format!("id export --format {format}")).contains(secret), "{what} in {format}");
        }
    }
}
