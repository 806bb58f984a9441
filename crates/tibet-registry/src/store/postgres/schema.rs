//! The tables in PostgreSQL, and how they came to be what they are.

use postgres::Client;

use super::errors::meaning;
use super::link::LOCK;
use crate::store::StoreError;

/// One step for each version: the first makes the tables of version 1, each other one those of its version from the one before.
///
/// As in SQLite, but for the types' names, and actions and actors as text: PostgreSQL keeps repeated values of an index once. Names compare byte by byte, whatever the database's collation: those below one are a range.
const STEPS: &[&str] = &["
CREATE TABLE registry_schema (version INTEGER NOT NULL);
INSERT INTO registry_schema VALUES (0);
CREATE TABLE registry_settings (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE registry_identities (id BIGINT PRIMARY KEY, name TEXT COLLATE \"C\" NOT NULL UNIQUE, entry BYTEA NOT NULL);
CREATE TABLE registry_keys (key BYTEA PRIMARY KEY, identity BIGINT NOT NULL);
CREATE TABLE registry_capability_names (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name TEXT COLLATE \"C\" NOT NULL UNIQUE
);
CREATE TABLE registry_capabilities (
    capability BIGINT NOT NULL, identity BIGINT NOT NULL, PRIMARY KEY (capability, identity)
);
CREATE TABLE registry_spent (token BYTEA PRIMARY KEY);
CREATE TABLE registry_vouches (
    id BYTEA PRIMARY KEY, subject BIGINT NOT NULL, voucher BIGINT NOT NULL, voucher_name TEXT COLLATE \"C\" NOT NULL,
    factor_permille BIGINT NOT NULL, voucher_generation BIGINT NOT NULL, expires_at BIGINT NOT NULL
);
CREATE INDEX registry_vouches_subject ON registry_vouches (subject);
CREATE INDEX registry_vouches_voucher ON registry_vouches (voucher);
CREATE TABLE registry_evidence (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, identity BIGINT NOT NULL,
    first BYTEA NOT NULL, second BYTEA NOT NULL, kept_at BIGINT NOT NULL
);
CREATE INDEX registry_evidence_identity ON registry_evidence (identity);
CREATE TABLE tibet_tokens (
    idx BIGINT PRIMARY KEY CHECK (idx >= 0), token_id TEXT COLLATE \"C\" NOT NULL UNIQUE,
    action TEXT COLLATE \"C\" NOT NULL, actor TEXT COLLATE \"C\" NOT NULL, parent_id TEXT COLLATE \"C\", line TEXT NOT NULL
);
CREATE INDEX tibet_tokens_action ON tibet_tokens (action);
CREATE INDEX tibet_tokens_actor ON tibet_tokens (actor);
", "
CREATE TABLE registry_presence (
    identity BIGINT PRIMARY KEY, node TEXT COLLATE \"C\" NOT NULL, online BOOLEAN NOT NULL, since BIGINT NOT NULL
);
CREATE TABLE registry_requests (
    name TEXT COLLATE \"C\" PRIMARY KEY, fingerprint BYTEA NOT NULL, key BYTEA NOT NULL, source TEXT NOT NULL,
    network BYTEA NOT NULL, since BIGINT NOT NULL, state BIGINT NOT NULL, decided_at BIGINT NOT NULL
);
"];

/// Every table and index after the last step, in order, without the sequences that PostgreSQL makes by itself.
const RELATIONS: &[&str] = &[
    "i registry_capabilities_pkey",
    "i registry_capability_names_name_key",
    "i registry_capability_names_pkey",
    "i registry_evidence_identity",
    "i registry_evidence_pkey",
    "i registry_identities_name_key",
    "i registry_identities_pkey",
    "i registry_keys_pkey",
    "i registry_presence_pkey",
    "i registry_requests_pkey",
    "i registry_settings_pkey",
    "i registry_spent_pkey",
    "i registry_vouches_pkey",
    "i registry_vouches_subject",
    "i registry_vouches_voucher",
    "i tibet_tokens_action",
    "i tibet_tokens_actor",
    "i tibet_tokens_pkey",
    "i tibet_tokens_token_id_key",
    "r registry_capabilities",
    "r registry_capability_names",
    "r registry_evidence",
    "r registry_identities",
    "r registry_keys",
    "r registry_presence",
    "r registry_requests",
    "r registry_schema",
    "r registry_settings",
    "r registry_spent",
    "r registry_vouches",
    "r tibet_tokens",
];

/// Ours in the schema where new tables would go, with a mark for anything that acts by itself: a trigger, a rule, a policy.
const LIST: &str = r#"
SELECT relkind::text || ' ' || relname::text
    || CASE WHEN relrowsecurity OR EXISTS (SELECT FROM pg_trigger WHERE tgrelid = c.oid)
        OR EXISTS (SELECT FROM pg_rewrite WHERE ev_class = c.oid) THEN ' acts by itself' ELSE '' END
FROM pg_class c WHERE relnamespace = current_schema()::regnamespace AND relkind <> 'S'
AND (relname LIKE 'registry\_%' OR relname LIKE 'tibet\_%') ORDER BY relkind, relname"#;

/// Makes the tables, or brings them to the version of this program, and makes sure that they are what they should be.
pub(super) fn prepare(client: &mut Client) -> Result<(), StoreError> {
    let known = i32::try_from(STEPS.len()).unwrap_or(i32::MAX);
    let mut held = version(client)?;
    if held < known {
        // Two programs may be doing this at once: under the lock, the second finds it done.
        client
            .batch_execute(&format!("BEGIN; SELECT pg_advisory_xact_lock({LOCK})"))
            .map_err(|e| meaning(&e))?;
        let brought = bring_up(client);
        let end = if brought.is_ok() { "COMMIT" } else { "ROLLBACK" };
        let ended = client.batch_execute(end).map_err(|error| meaning(&error));
        brought?;
        ended?;
        held = version(client)?;
    }
    if held != known {
        return Err(StoreError::Foreign(format!(
            "its tables have version {held}, this program knows {known}"
        )));
    }
    let found = relations(client)?;
    if found != RELATIONS {
        let odd = found.iter().find(|name| !RELATIONS.contains(&name.as_str())).cloned();
        let missing = RELATIONS.iter().find(|name| !found.iter().any(|found| found == *name));
        let what = odd.or(missing.map(|name| format!("no {name}"))).unwrap_or_default();
        return Err(StoreError::Foreign(format!("its tables are not those of its version: {what}")));
    }
    Ok(())
}

fn relations(client: &mut Client) -> Result<Vec<String>, StoreError> {
    let rows = client.query(LIST, &[]).map_err(|error| meaning(&error))?;
    rows.iter().map(|row| row.try_get(0).map_err(|error| meaning(&error))).collect()
}

/// 0 where there are no tables.
fn version(client: &mut Client) -> Result<i32, StoreError> {
    let there = "SELECT to_regclass('registry_schema') IS NOT NULL";
    if !client.query_one(there, &[]).and_then(|row| row.try_get(0)).map_err(|error| meaning(&error))? {
        return Ok(0);
    }
    let row = client.query_one("SELECT version FROM registry_schema", &[]);
    row.and_then(|row| row.try_get(0)).map_err(|error| meaning(&error))
}

fn bring_up(client: &mut Client) -> Result<(), StoreError> {
    let held = version(client)?;
    if held == 0
        && let Some(other) = relations(client)?.first()
    {
        return Err(StoreError::Foreign(format!("there is a {other} of another program")));
    }
    let done = usize::try_from(held).unwrap_or(usize::MAX);
    for (step, number) in STEPS.iter().zip(1i32..).skip(done) {
        client.batch_execute(step).map_err(|error| meaning(&error))?;
        let set = "UPDATE registry_schema SET version = $1";
        client.execute(set, &[&number]).map_err(|error| meaning(&error))?;
    }
    Ok(())
}
