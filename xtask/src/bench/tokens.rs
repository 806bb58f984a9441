//! Provenance tokens: made, signed, kept, and checked.

use std::hint::black_box;
use std::sync::Arc;

use ed25519_dalek::VerifyingKey;
use sha2::{Digest as _, Sha256};
use tibet_core::{Draft, Micros, Minter, SqliteStore, Token, TokenStore as _, object, sqlite};

use super::Bench;
use super::devices::log_key;
use super::limits::{RawDatabase, SignedBytes, Signer, TOKEN_PRAGMAS};
use super::measure::{Row, Title, cost};
use crate::Outcome;

pub(crate) fn rows(bench: &Bench) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    for group in [1, 64, 1024] {
        rows.push(create(bench, group)?);
    }
    rows.push(verify(bench)?);
    rows.push(read_and_verify(bench)?);
    Ok(rows)
}

/// A microsecond of its own for each token.
fn moment(number: usize) -> Outcome<Micros> {
    Ok(Micros::from_micros(1_780_272_000_000_000 + number as u64).ok_or("too late a time")?)
}

/// An event of the size that events have.
fn draft() -> Draft {
    Draft::new("ping.intent")
        .actor("jis:bench:device-000001")
        .erin(object! { "intent" => "temperature.read", "purpose" => "hourly reading", "payload" => object! { "celsius" => 21.5, "battery" => 87 } })
        .eraan(["jis:bench:device-000001", "jis:bench:hub"])
        .eromheen(object! { "routing_mode" => "direct", "hop_count" => 0, "zone" => "GROEN" })
        .erachter("Hourly reading of the greenhouse")
}

fn minter() -> Outcome<Minter> {
    Ok(Minter::new("jis:bench:hub").signer(Arc::new(log_key()?)))
}

/// Tokens made before the clock runs.
fn some(count: usize) -> Outcome<Vec<Token>> {
    let mut minter = minter()?;
    (0..count).map(|number| Ok(minter.mint(draft(), moment(number)?, [0; 4]))).collect()
}

fn create(bench: &Bench, group: usize) -> Outcome<Row> {
    let count = if group == 1 { bench.scale.synced } else { bench.scale.operations };
    let raw = RawDatabase::open(&bench.file()?, TOKEN_PRAGMAS)?;
    let signer = Signer::new(&log_key()?.to_seed())?;
    let line = some(2)?.pop().ok_or("no token")?.to_json_line();
    let mut store = SqliteStore::open(bench.file()?)?;
    let mut minter = minter()?;
    let grouped = if group == 1 { "one by one".to_owned() } else { format!("groups of {group}") };
    Title::new(format!("token created, signed and durable, {grouped}"), "1 sign + 1 row of the same length")
        .peer("token_create_file")
        .measure(
            bench.scale.rounds,
            |round| {
                let ids: Vec<_> =
                    (0..count).map(|n| format!("tibet_20260601{:012}_00000000", round * count + n)).collect();
                cost(count, || {
                    raw.in_groups(&ids, group, |raw, id| {
                        signer.sign(&[0; 90]);
                        raw.add_token(id, &line)
                    })
                })
            },
            |round| {
                cost(count, || {
                    for from in (0..count).step_by(group) {
                        if group == 1 {
                            store.append(&minter.mint(draft(), moment(round * count + from)?, [0; 4]))?;
                            continue;
                        }
                        store.connection().prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
                        for n in from..(from + group).min(count) {
                            let token = minter.mint(draft(), moment(round * count + n)?, [0; 4]);
                            sqlite::append(store.connection(), &token)?;
                        }
                        store.connection().prepare_cached("COMMIT")?.execute([])?;
                    }
                    Ok(())
                })
            },
        )
}

/// What the limit of a verification hashes and verifies.
struct Raw {
    input: String,
    signed: SignedBytes,
}

fn raw(tokens: &[Token]) -> Outcome<Vec<Raw>> {
    let key = log_key()?.public_key();
    let of = |token: &Token| {
        let message = token.signature_message(&key).ok_or("no hash")?;
        let signature = jis::hex::decode_array(&token.signature).ok_or("no signature")?;
        let signed = SignedBytes { message, signature, key: *key.as_bytes() };
        Ok(Raw { input: token.hash_input(), signed })
    };
    tokens.iter().map(of).collect()
}

fn verify_raw(raw: &[Raw], key: &VerifyingKey) -> Outcome<()> {
    raw.iter().try_for_each(|raw| {
        black_box(Sha256::digest(&raw.input));
        raw.signed.verify(key)
    })
}

fn check(token: &Token, key: &jis::PublicKey) -> Outcome<()> {
    token.verify_signature(key)?;
    if token.verify_hash(None) { Ok(()) } else { Err("a token does not verify".into()) }
}

fn verify(bench: &Bench) -> Outcome<Row> {
    let count = bench.scale.operations;
    let (tokens, key) = (some(count)?, log_key()?.public_key());
    let raw = raw(&tokens)?;
    let raw_key = VerifyingKey::from_bytes(key.as_bytes())?;
    Title::new("token verified", "SHA-256 + 1 strict verify").peer("token_verify").measure(
        bench.scale.rounds,
        |_| cost(count, || verify_raw(&raw, &raw_key)),
        |_| cost(count, || tokens.iter().try_for_each(|token| check(token, &key))),
    )
}

fn read_and_verify(bench: &Bench) -> Outcome<Row> {
    let count = bench.scale.operations;
    let (tokens, key) = (some(count)?, log_key()?.public_key());
    let raw = raw(&tokens)?;
    let raw_key = VerifyingKey::from_bytes(key.as_bytes())?;
    let lines: Vec<_> = tokens.iter().map(Token::to_json_line).collect();
    Title::new("token read from its line and verified", "SHA-256 + 1 strict verify")
        .peer("token_verify_file")
        .measure(
            bench.scale.rounds,
            |_| cost(count, || verify_raw(&raw, &raw_key)),
            |_| cost(count, || lines.iter().try_for_each(|line| check(&Token::from_json_line(line)?, &key))),
        )
}
