//! F9: the texts of the conformance vectors, rows 59, 60 and 62.

use jis::{Challenge, Inception, NextKeyCommitment, Signed};
use tibet_fuzz::honest::{NOON, at, challenge, key, name, proof};

use crate::{cases, put, slug, text, vectors};

const TARGET: &str = "f09_challenge";

pub(crate) fn write() {
    let file = vectors("ztip/challenge_v7.json");
    for case in cases(&file, "cases") {
        let challenge = crate::map(case, "challenge");
        let issued_at = challenge.get("issued_at").and_then(|value| value.as_integer()).expect("a time");
        let asked = format!(
            "jis-challenge:v1:{}:{}:{issued_at}",
            text(challenge, "agent_id"),
            text(challenge, "nonce")
        );
        put(TARGET, &slug(text(case, "name")), &[&[0], asked.as_bytes()].concat());
    }
    let nonce_128 = "n".repeat(128);
    for (name, asked) in [
        ("text_of_seconds-accepted", "jis-challenge:v1:jis:home:hub:n0nce:1767323045"),
        ("text_of_milliseconds-accepted", "jis-challenge:v1:jis:home:hub:n0nce:1767323045000"),
        ("text_nonce_of_128-accepted", &format!("jis-challenge:v1:a:{nonce_128}:1767323045")),
        ("text_nonce_of_129-refused", &format!("jis-challenge:v1:a:{nonce_128}n:1767323045")),
        ("row_59_no_nonce-refused", "jis-challenge:v1:a::1767323045"),
        ("row_59_nonce_of_10_kib-refused", &format!("jis-challenge:v1:a:{}:1767323045", "n".repeat(10_240))),
        ("row_59_nonce_with_a_blank-refused", "jis-challenge:v1:a:n n:1767323045"),
        ("row_59_time_below_zero-refused", "jis-challenge:v1:a:n:-1767323045"),
        ("row_59_time_in_words-refused", "jis-challenge:v1:a:n:yesterday..."),
        ("row_59_time_with_a_zero-refused", "jis-challenge:v1:a:n:01767323045"),
        ("row_59_time_of_14_digits-refused", "jis-challenge:v1:a:n:17673230450000"),
        ("row_59_other_version-refused", "jis-challenge:v2:a:n:1767323045"),
        ("row_59_no_agent-refused", "jis-challenge:v1:n:1767323045"),
        ("row_59_agent_not_ascii-refused", "jis-challenge:v1:jis:é:n:1767323045"),
    ] {
        put(TARGET, name, &[&[0], asked.as_bytes()].concat());
    }
    let parts = |agent_id: &str, nonce: &str| {
        let signature = [0x33; 64];
        [&[1][..], &1_767_323_045_u64.to_be_bytes(), &signature, agent_id.as_bytes(), b"\n", nonce.as_bytes()]
            .concat()
    };
    put(TARGET, "parts-accepted", &parts("jis:home:hub", "n0nce"));
    put(TARGET, "row_59_colon_in_the_nonce-refused", &parts("jis:home:hub", "n:0"));

    let (hub, asked) = challenge();
    let honest = proof().encode();
    put(TARGET, "proof-accepted", &[&[2], &honest[..]].concat());
    put(TARGET, "changes_none-accepted", &[3]);
    put(TARGET, "changes_last_byte-refused", &[3, 128, 1]);
    put(TARGET, "changes_cut_signature-refused", &[3, 255, 64]);
    put(TARGET, "proof_with_trailing_byte-refused", &[&[2], &honest[..], &[0]].concat());
    put(TARGET, "proof_without_signature-refused", &[&[2], &honest[..honest.len() - 64]].concat());
    // To another verifier, and for another question; by the hub, whose signature is genuine here and counts for that question only. They
    // are made as changes to the bytes, since nothing else is ever signed with the hub's key.
    let other = Challenge { verifier: name("jis:gats"), ..asked.clone() };
    let claims = jis::Proof { challenge: other, ..proof().claims().clone() };
    let forged = [&jis::SignedObject::message(&claims)[..], proof().signature().as_bytes()].concat();
    put(TARGET, "row_60_another_verifier-refused", &[&[2], &forged[..]].concat());
    let late = Challenge { expires_at: at(31), ..asked };
    let claims = jis::Proof { challenge: late, ..proof().claims().clone() };
    let forged = [&jis::SignedObject::message(&claims)[..], proof().signature().as_bytes()].concat();
    put(TARGET, "row_61_too_long_a_life-refused", &[&[2], &forged[..]].concat());
    let inception = Inception {
        name: hub.name,
        key: key(1).public_key(),
        next: NextKeyCommitment::to(&key(3).public_key()),
        created_at: NOON,
    };
    let inception = Signed::seal(inception, &key(1)).expect("readable").encode();
    put(TARGET, "row_34_a_name_claim-refused", &[&[2], &inception[..]].concat());
}
