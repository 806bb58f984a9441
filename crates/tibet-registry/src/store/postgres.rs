//! A store in a PostgreSQL database, for a registry that several nodes share.
//!
//! Tables, checksums and rules are those of the SQLite store. Writers of all processes take turns at one advisory lock, held to the end
//! of the transaction, so tokens chain and the unique constraints inside decide who was first (SECURITY R34, R71).

mod errors;
mod link;
mod schema;
mod target;
mod tokens;

use std::cell::{RefCell, RefMut};
use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use jis::{Capability, Name, UnixTime};
use postgres::Row;
use postgres::types::{FromSql, ToSql};
use tibet_core::{Head, Query, Token};

use super::columns::{
    RequestRow, below, millis, presence, signed, stored_key, stored_name, stored_state, time, unsigned,
    with_checksum, without_checksum,
};
use super::{
    Evidence, KeyUse, MAX_EVIDENCE, NameRequest, Presence, Store, StoreError, StoredEntry, StoredVouch,
};
use link::Link;
use target::Target;

/// Rows asked for at a time.
const PAGE: i64 = 512;

/// A registry's memory in a PostgreSQL database that other nodes may share; all of them need the same log key.
///
/// Calls wait for the server, and run a small executor inside: not to be used, nor dropped, on a thread that runs an asynchronous one. When the
/// connection breaks, the open transaction fails with [`StoreError::Unavailable`] and later calls connect again by themselves, at most
/// once a second; between attempts they fail at once. Sessions keep settings and prepared statements: a connection pooler in between has
/// to pool sessions, not transactions.
#[derive(Debug)]
pub struct PostgresStore {
    link: RefCell<Link>,
}

impl PostgresStore {
    /// Connects to a database and makes it a registry's, if it is nobody's: `postgresql://user:password@host/database`.
    ///
    /// A database on this machine (a Unix socket, a loopback address) is spoken to directly, any other over TLS with the certificate
    /// checked as libpq's `sslmode=verify-full` does, against the system's certificates or those of `sslrootcert=FILE`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Foreign`] for an address or tables that are not for us, or what the server reports.
    pub fn connect(address: &str) -> Result<Self, StoreError> {
        Ok(Self { link: RefCell::new(Link::open(Target::parse(address)?)?) })
    }

    /// The connection. Taken for one question at a time: never while a caller's closure runs.
    fn link(&self) -> RefMut<'_, Link> {
        self.link.borrow_mut()
    }

    fn rows(&self, sql: &'static str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, StoreError> {
        self.link().rows(sql, values)
    }

    fn first(&self, sql: &'static str, values: &[&(dyn ToSql + Sync)]) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(sql, values)?.into_iter().next())
    }

    /// For statements that end in `RETURNING 1`: whether they changed anything. `ON CONFLICT DO NOTHING` is how a row may be there already:
    /// an error would end the transaction.
    fn changed(&self, sql: &'static str, values: &[&(dyn ToSql + Sync)]) -> Result<bool, StoreError> {
        Ok(!self.rows(sql, values)?.is_empty())
    }
}

/// A value of a row. One of another type was put there by somebody else.
fn column<'a, T: FromSql<'a>>(row: &'a Row, index: usize) -> Result<T, StoreError> {
    row.try_get(index).map_err(|error| StoreError::Damaged(errors::words(&error)))
}

fn entry_of(name: &Name, row: &Row, index: usize) -> Result<std::sync::Arc<[u8]>, StoreError> {
    Ok(without_checksum(name, column(row, index)?)?.into())
}

fn request_of(row: &Row) -> Result<NameRequest, StoreError> {
    let row = RequestRow {
        name: column(row, 0)?,
        fingerprint: column(row, 1)?,
        key: column(row, 2)?,
        source: column(row, 3)?,
        since: column(row, 4)?,
        state: column(row, 5)?,
        decided_at: column(row, 6)?,
    };
    row.read()
}

impl Store for PostgresStore {
    fn begin(&mut self) -> Result<(), StoreError> {
        self.link().begin()
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.link().commit()
    }

    fn rollback(&mut self) {
        self.link().rollback();
    }

    fn entry(&self, name: &Name) -> Result<Option<StoredEntry>, StoreError> {
        let sql = "SELECT id, entry FROM registry_identities WHERE name = $1";
        let Some(row) = self.first(sql, &[&name.as_str()])? else { return Ok(None) };
        Ok(Some(StoredEntry { id: unsigned(column(&row, 0)?), bytes: entry_of(name, &row, 1)? }))
    }

    fn for_each_entry(&self, visit: &mut dyn FnMut(u64, &Name, &[u8])) -> Result<(), StoreError> {
        let sql = "SELECT id, name, entry FROM registry_identities WHERE id > $1 ORDER BY id LIMIT $2";
        let mut after = 0i64;
        loop {
            let rows = self.rows(sql, &[&after, &PAGE])?;
            for row in &rows {
                after = column(row, 0)?;
                let name = stored_name(column(row, 1)?)?;
                visit(unsigned(after), &name, without_checksum(&name, column(row, 2)?)?);
            }
            if rows.is_empty() {
                return Ok(());
            }
        }
    }

    fn count(&self) -> Result<u64, StoreError> {
        // Numbers are given in order and entries never removed, so the last number is the count.
        let row = self.first("SELECT coalesce(max(id), 0) FROM registry_identities", &[])?;
        Ok(unsigned(row.map_or(Ok(0), |row| column(&row, 0))?))
    }

    fn name_of_key(&self, usage: KeyUse, key: &[u8; 32]) -> Result<Option<Name>, StoreError> {
        let sql = "SELECT i.name FROM registry_keys k JOIN registry_identities i ON i.id = k.identity WHERE k.key = $1";
        let row = self.first(sql, &[&&stored_key(usage, key)[..]])?;
        row.map(|row| stored_name(column(&row, 0)?)).transpose()
    }

    fn has_names_below(&self, name: &Name) -> Result<bool, StoreError> {
        let (first, end) = below(name);
        let sql = "SELECT 1 FROM registry_identities WHERE name > $1 AND name < $2 LIMIT 1";
        Ok(self.first(sql, &[&first, &end])?.is_some())
    }

    fn with_capability(
        &self,
        capability: &Capability,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Name)>, StoreError> {
        let sql = "SELECT i.id, i.name FROM registry_capabilities c JOIN registry_identities i ON i.id = c.identity
                   WHERE c.capability = (SELECT id FROM registry_capability_names WHERE name = $1) AND c.identity > $2
                   ORDER BY c.identity LIMIT $3";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.rows(sql, &[&capability.as_str(), &signed(after), &limit])?;
        rows.iter().map(|row| Ok((unsigned(column(row, 0)?), stored_name(column(row, 1)?)?))).collect()
    }

    fn claim(&mut self, name: &Name, entry: &[u8]) -> Result<Option<u64>, StoreError> {
        // Counted from 1 without gaps, which a sequence would leave; the lock makes that safe.
        let sql = "INSERT INTO registry_identities (id, name, entry)
                   VALUES ((SELECT coalesce(max(id), 0) + 1 FROM registry_identities), $1, $2)
                   ON CONFLICT (name) DO NOTHING RETURNING id";
        let row = self.first(sql, &[&name.as_str(), &with_checksum(name, entry)])?;
        row.map(|row| Ok(unsigned(column(&row, 0)?))).transpose()
    }

    fn replace(&mut self, id: u64, name: &Name, entry: &[u8]) -> Result<(), StoreError> {
        let sql = "UPDATE registry_identities SET entry = $2 WHERE id = $1 AND name = $3 RETURNING 1";
        let replaced = self.changed(sql, &[&signed(id), &with_checksum(name, entry), &name.as_str()])?;
        if replaced { Ok(()) } else { Err(StoreError::Damaged(format!("{name} is not where it was"))) }
    }

    fn bind_key(&mut self, usage: KeyUse, key: &[u8; 32], id: u64) -> Result<bool, StoreError> {
        let key = stored_key(usage, key);
        let sql = "INSERT INTO registry_keys (key, identity) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING RETURNING 1";
        if self.changed(sql, &[&&key[..], &signed(id)])? {
            return Ok(true);
        }
        let owner = self.first("SELECT identity FROM registry_keys WHERE key = $1", &[&&key[..]])?;
        Ok(owner.map(|row| column::<i64>(&row, 0)).transpose()? == Some(signed(id)))
    }

    fn set_capabilities(
        &mut self,
        id: u64,
        old: &BTreeSet<Capability>,
        new: &BTreeSet<Capability>,
    ) -> Result<(), StoreError> {
        for capability in old.difference(new) {
            let sql = "DELETE FROM registry_capabilities WHERE identity = $1
                       AND capability = (SELECT id FROM registry_capability_names WHERE name = $2)";
            self.rows(sql, &[&signed(id), &capability.as_str()])?;
        }
        for capability in new.difference(old) {
            let add = "INSERT INTO registry_capabilities (capability, identity)
                       SELECT id, $2 FROM registry_capability_names WHERE name = $1 RETURNING 1";
            if !self.changed(add, &[&capability.as_str(), &signed(id)])? {
                let name = "INSERT INTO registry_capability_names (name) VALUES ($1)";
                self.rows(name, &[&capability.as_str()])?;
                self.rows(add, &[&capability.as_str(), &signed(id)])?;
            }
        }
        Ok(())
    }

    fn spend(&mut self, token: &[u8; 32]) -> Result<bool, StoreError> {
        let sql = "INSERT INTO registry_spent (token) VALUES ($1) ON CONFLICT (token) DO NOTHING RETURNING 1";
        self.changed(sql, &[&&token[..]])
    }

    fn remove_vouch(&mut self, id: &[u8; 16]) -> Result<(), StoreError> {
        self.rows("DELETE FROM registry_vouches WHERE id = $1", &[&&id[..]])?;
        Ok(())
    }

    fn add_vouch(&mut self, vouch: &StoredVouch, now: UnixTime) -> Result<bool, StoreError> {
        let StoredVouch {
            id,
            subject,
            voucher,
            voucher_name,
            factor_permille,
            voucher_generation,
            expires_at,
        } = vouch;
        let forget = "DELETE FROM registry_vouches WHERE subject = $1 AND expires_at < $2";
        self.rows(forget, &[&signed(*subject), &millis(now)])?;
        let sql = "INSERT INTO registry_vouches
                   (id, subject, voucher, voucher_name, factor_permille, voucher_generation, expires_at)
                   VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO NOTHING RETURNING 1";
        let values: [&(dyn ToSql + Sync); 7] = [
            &&id[..],
            &signed(*subject),
            &signed(*voucher),
            &voucher_name.as_str(),
            &signed(*factor_permille),
            &signed(*voucher_generation),
            &millis(*expires_at),
        ];
        self.changed(sql, &values)
    }

    fn vouches_for(&self, subject: u64, now: UnixTime) -> Result<Vec<StoredVouch>, StoreError> {
        let sql = "SELECT id, voucher, voucher_name, factor_permille, voucher_generation, expires_at
                   FROM registry_vouches WHERE subject = $1 AND expires_at >= $2 ORDER BY id";
        let rows = self.rows(sql, &[&signed(subject), &millis(now)])?;
        let build = |row: &Row| {
            let id: &[u8] = column(row, 0)?;
            Ok(StoredVouch {
                id: id.try_into().map_err(|_| StoreError::Damaged("a vouch has no id".into()))?,
                subject,
                voucher: unsigned(column(row, 1)?),
                voucher_name: stored_name(column(row, 2)?)?,
                factor_permille: unsigned(column(row, 3)?),
                voucher_generation: unsigned(column(row, 4)?),
                expires_at: time(column(row, 5)?),
            })
        };
        rows.iter().map(build).collect()
    }

    fn vouches_by(&self, voucher: u64, now: UnixTime) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) FROM registry_vouches WHERE voucher = $1 AND expires_at >= $2";
        let row = self.first(sql, &[&signed(voucher), &millis(now)])?;
        Ok(unsigned(row.map_or(Ok(0), |row| column(&row, 0))?))
    }

    fn add_evidence(
        &mut self,
        id: u64,
        first: &[u8],
        second: &[u8],
        now: UnixTime,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO registry_evidence (identity, first, second, kept_at)
                   SELECT $1::bigint, $2::bytea, $3::bytea, $4::bigint
                   WHERE (SELECT count(*) FROM registry_evidence WHERE identity = $1) < $5::bigint
                   AND NOT EXISTS (SELECT 1 FROM registry_evidence WHERE identity = $1 AND first = $2 AND second = $3)";
        self.rows(sql, &[&signed(id), &first, &second, &millis(now), &(MAX_EVIDENCE as i64)])?;
        Ok(())
    }

    fn evidence(&self, id: u64) -> Result<Vec<Evidence>, StoreError> {
        let sql = "SELECT first, second FROM registry_evidence WHERE identity = $1 ORDER BY id";
        let rows = self.rows(sql, &[&signed(id)])?;
        rows.iter().map(|row| Ok(Evidence { first: column(row, 0)?, second: column(row, 1)? })).collect()
    }

    fn set_presence(&mut self, identity: u64, presence: &Presence) -> Result<(), StoreError> {
        let sql = "INSERT INTO registry_presence (identity, node, online, since) VALUES ($1, $2, $3, $4)
                   ON CONFLICT (identity)
                   DO UPDATE SET node = excluded.node, online = excluded.online, since = excluded.since";
        let Presence { node, online, since } = presence;
        self.rows(sql, &[&signed(identity), &node.as_str(), online, &millis(*since)])?;
        Ok(())
    }

    fn presence(&self, identity: u64) -> Result<Option<Presence>, StoreError> {
        let sql = "SELECT node, online, since FROM registry_presence WHERE identity = $1";
        let row = self.first(sql, &[&signed(identity)])?;
        row.map(|row| presence(column(&row, 0)?, column(&row, 1)?, column(&row, 2)?)).transpose()
    }

    fn for_each_presence(&self, visit: &mut dyn FnMut(u64, Presence)) -> Result<(), StoreError> {
        let sql = "SELECT identity, node, online, since FROM registry_presence WHERE identity > $1
                   ORDER BY identity LIMIT $2";
        let mut after = 0i64;
        loop {
            let rows = self.rows(sql, &[&after, &PAGE])?;
            for row in &rows {
                after = column(row, 0)?;
                visit(unsigned(after), presence(column(row, 1)?, column(row, 2)?, column(row, 3)?)?);
            }
            if rows.is_empty() {
                return Ok(());
            }
        }
    }

    fn put_request(&mut self, request: &NameRequest) -> Result<(), StoreError> {
        let sql = "INSERT INTO registry_requests
                   (name, fingerprint, key, source, network, since, state, decided_at)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (name) DO UPDATE
                   SET fingerprint = excluded.fingerprint, key = excluded.key, source = excluded.source,
                   network = excluded.network, since = excluded.since, state = excluded.state,
                   decided_at = excluded.decided_at";
        let NameRequest { name, fingerprint, key, source, since, state, .. } = request;
        let (state, decided_at) = stored_state(*state);
        let values: [&(dyn ToSql + Sync); 8] = [
            &name.as_str(),
            &&fingerprint.as_bytes()[..],
            &&key.as_bytes()[..],
            &source.to_string(),
            &&request.network().octets()[..],
            &millis(*since),
            &state,
            &decided_at,
        ];
        self.rows(sql, &values)?;
        Ok(())
    }

    fn request(&self, name: &Name) -> Result<Option<NameRequest>, StoreError> {
        let sql = "SELECT name, fingerprint, key, source, since, state, decided_at FROM registry_requests
                   WHERE name = $1";
        self.first(sql, &[&name.as_str()])?.as_ref().map(request_of).transpose()
    }

    fn requests(&self, after: Option<&Name>, limit: usize) -> Result<Vec<NameRequest>, StoreError> {
        let sql = "SELECT name, fingerprint, key, source, since, state, decided_at FROM registry_requests
                   WHERE name > $1 ORDER BY name LIMIT $2";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        // No name is as small as none.
        self.rows(sql, &[&after.map_or("", Name::as_str), &limit])?.iter().map(request_of).collect()
    }

    fn count_requests(&self, network: Ipv6Addr) -> Result<(u64, u64), StoreError> {
        let sql =
            "SELECT count(*), count(*) FILTER (WHERE state = 0 AND network = $1) FROM registry_requests";
        let Some(row) = self.first(sql, &[&&network.octets()[..]])? else { return Ok((0, 0)) };
        Ok((unsigned(column(&row, 0)?), unsigned(column(&row, 1)?)))
    }

    fn remove_request(&mut self, name: &Name) -> Result<bool, StoreError> {
        self.changed("DELETE FROM registry_requests WHERE name = $1 RETURNING 1", &[&name.as_str()])
    }

    fn forget_denied(&mut self, before: UnixTime) -> Result<(), StoreError> {
        let sql = "DELETE FROM registry_requests WHERE state = 2 AND decided_at < $1";
        self.rows(sql, &[&millis(before)])?;
        Ok(())
    }

    fn append_token(&mut self, token: &Token) -> Result<(), StoreError> {
        tokens::append(&mut self.link(), token)
    }

    fn head(&self) -> Result<Option<Head>, StoreError> {
        tokens::head(&mut self.link())
    }

    fn find_tokens(&self, query: &Query) -> Result<Vec<Token>, StoreError> {
        tokens::find(&mut self.link(), query)
    }

    fn for_each_token(&self, from: u64, visit: &mut dyn FnMut(u64, Token)) -> Result<(), StoreError> {
        self.tokens_from(from, u64::MAX, visit)
    }

    fn tokens_from(
        &self,
        from: u64,
        limit: u64,
        visit: &mut dyn FnMut(u64, Token),
    ) -> Result<(), StoreError> {
        let (mut next, mut left) = (from, limit);
        while left > 0 {
            let rows = tokens::page(&mut self.link(), next, signed(left).min(PAGE))?;
            for row in &rows {
                let (index, token) = tokens::read(row)?;
                next = index.saturating_add(1);
                visit(index, token);
            }
            left = left.saturating_sub(rows.len() as u64);
            if rows.is_empty() {
                break;
            }
        }
        Ok(())
    }

    fn unchanging(&self, read: &mut dyn FnMut() -> Result<(), StoreError>) -> Result<(), StoreError> {
        if self.link().in_transaction() {
            return read();
        }
        self.link().begin_snapshot()?;
        let out = read();
        self.link().rollback();
        out
    }

    fn setting(&self, key: &str) -> Result<Option<String>, StoreError> {
        let row = self.first("SELECT value FROM registry_settings WHERE key = $1", &[&key])?;
        row.map(|row| column(&row, 0)).transpose()
    }

    fn set_setting(&mut self, key: &str, value: &str) -> Result<(), StoreError> {
        let sql = "INSERT INTO registry_settings (key, value) VALUES ($1, $2)
                   ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        self.link().set(key);
        self.rows(sql, &[&key, &value])?;
        Ok(())
    }
}
