//! The audit log in PostgreSQL. The line of each token is what counts; the other columns only find it.

use postgres::Row;
use tibet_core::{Head, Query, Token};

use super::link::Link;
use super::{PAGE, column};
use crate::store::StoreError;
use crate::store::columns::{signed, unsigned};

pub(super) fn append(link: &mut Link, token: &Token) -> Result<(), StoreError> {
    // What could not be read back is not kept.
    token.check().map_err(|error| StoreError::Failed(format!("token not kept: {error}")))?;
    let line = token.to_json_line();
    if line.len() > tibet_core::MAX_TOKEN_LINE {
        return Err(StoreError::Failed("token not kept: it is too long".into()));
    }
    let sql = "INSERT INTO tibet_tokens (idx, token_id, action, actor, parent_id, line)
               VALUES ((SELECT coalesce(max(idx) + 1, 0) FROM tibet_tokens), $1, $2, $3, $4, $5)
               ON CONFLICT (token_id) DO NOTHING RETURNING idx";
    let values: [&(dyn postgres::types::ToSql + Sync); 5] =
        [&token.token_id, &token.action, &token.actor, &token.parent_id, &line];
    if link.rows(sql, &values)?.is_empty() {
        return Err(StoreError::Failed(format!("there is a token {} already", token.token_id)));
    }
    link.wrote(&token.token_id);
    Ok(())
}

pub(super) fn head(link: &mut Link) -> Result<Option<Head>, StoreError> {
    let sql = "SELECT idx, token_id, line FROM tibet_tokens ORDER BY idx DESC LIMIT 1";
    let Some(row) = link.rows(sql, &[])?.pop() else { return Ok(None) };
    let (index, Token { token_id, content_hash, .. }) = read(&row)?;
    Ok(Some(Head { count: index.saturating_add(1), token_id, content_hash }))
}

/// At most `limit` tokens from an index on, in order.
pub(super) fn page(link: &mut Link, from: u64, limit: i64) -> Result<Vec<Row>, StoreError> {
    let sql = "SELECT idx, token_id, line FROM tibet_tokens WHERE idx >= $1 ORDER BY idx LIMIT $2";
    link.rows(sql, &[&signed(from), &limit])
}

/// The last tokens that match, oldest first: read from the end, page by page.
pub(super) fn find(link: &mut Link, query: &Query) -> Result<Vec<Token>, StoreError> {
    let wanted = |filter: &Option<String>| filter.clone().filter(|text| !text.is_empty());
    let (sql, key) = match (wanted(&query.action), wanted(&query.actor)) {
        (Some(action), _) => (
            "SELECT idx, token_id, line FROM tibet_tokens WHERE idx < $1 AND action = $3
             ORDER BY idx DESC LIMIT $2",
            Some(action),
        ),
        (None, Some(actor)) => (
            "SELECT idx, token_id, line FROM tibet_tokens WHERE idx < $1 AND actor = $3
             ORDER BY idx DESC LIMIT $2",
            Some(actor),
        ),
        (None, None) => {
            ("SELECT idx, token_id, line FROM tibet_tokens WHERE idx < $1 ORDER BY idx DESC LIMIT $2", None)
        }
    };
    let mut before = i64::MAX;
    let mut found = Vec::new();
    while found.len() < query.limit {
        let rows = match &key {
            Some(key) => link.rows(sql, &[&before, &PAGE, key])?,
            None => link.rows(sql, &[&before, &PAGE])?,
        };
        let Some(last) = rows.last() else { break };
        before = column(last, 0)?;
        for row in &rows {
            let (_, token) = read(row)?;
            if found.len() < query.limit && query.matches(&token) {
                found.push(token);
            }
        }
    }
    found.reverse();
    Ok(found)
}

/// Reads `idx, token_id, line` and holds the id against the line: the column must not lead to another token.
pub(super) fn read(row: &Row) -> Result<(u64, Token), StoreError> {
    let index = unsigned(column(row, 0)?);
    let unreadable = |reason: String| StoreError::Unreadable { index, reason };
    let token =
        Token::from_json_line(column::<&str>(row, 2)?).map_err(|error| unreadable(error.to_string()))?;
    if token.token_id != column::<&str>(row, 1)? {
        return Err(unreadable("its id column names another token".to_owned()));
    }
    Ok((index, token))
}
