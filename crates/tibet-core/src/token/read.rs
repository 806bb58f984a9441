//! Reading tokens.

use super::{MAX_TOKEN_LINE, Token, TokenError};
use crate::hash::is_lower_hex;
use crate::json::{self, Object, Value};

impl Token {
    /// Reads a token from JSON in any spelling and member order.
    ///
    /// Members with a default may be absent, except the content hash: the Python package computes an absent one anew, which
    /// makes an altered token verify (`docs/spec/token.md`, differences).
    ///
    /// # Errors
    /// [`TokenError`], naming what is wrong.
    pub fn from_json(text: &str) -> Result<Self, TokenError> {
        if text.len() > MAX_TOKEN_LINE {
            return Err(TokenError::TooLong);
        }
        match json::parse(text)? {
            Value::Object(object) => Self::from_object(object),
            Value::Null
            | Value::Bool(_)
            | Value::Integer(_)
            | Value::BigInteger(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::Array(_) => Err(TokenError::NotAnObject),
        }
    }

    /// Reads a line of a store: the one spelling [`Token::to_json_line`] writes, as Python's file store does too. So no byte
    /// of a line can change without being noticed, not even one that leaves the token the same.
    ///
    /// # Errors
    /// As [`Token::from_json`]; [`TokenError::Spelling`] for another spelling of a token.
    pub fn from_json_line(line: &str) -> Result<Self, TokenError> {
        let token = Self::from_json(line)?;
        if token.to_json_line() == line { Ok(token) } else { Err(TokenError::Spelling) }
    }

    fn from_object(object: Object) -> Result<Self, TokenError> {
        let mut members = Members::default();
        for (name, value) in object {
            members.put(name, value)?;
        }
        members.into_token()
    }
}

/// The hash must be there and in its one form. A signature may be any text, as in Python; it is judged when verified.
pub(super) fn check_hash_form(content_hash: &str) -> Result<(), TokenError> {
    if is_lower_hex(content_hash, 64) {
        Ok(())
    } else {
        Err(malformed("content_hash", "64 lower-case hex digits"))
    }
}

/// Members read so far. The JSON reader has made sure that none comes twice.
#[derive(Default)]
struct Members {
    token_id: Option<String>,
    action: Option<String>,
    timestamp: Option<String>,
    actor: Option<String>,
    erin: Value,
    eraan: Vec<String>,
    eromheen: Object,
    erachter: String,
    parent_id: Option<String>,
    state: Option<String>,
    content_hash: Option<String>,
    signature: String,
}

impl Members {
    fn put(&mut self, name: String, value: Value) -> Result<(), TokenError> {
        match name.as_str() {
            "token_id" => self.token_id = Some(text("token_id", value)?),
            "action" => self.action = Some(text("action", value)?),
            "timestamp" => self.timestamp = Some(text("timestamp", value)?),
            "actor" => self.actor = Some(text("actor", value)?),
            "erin" => self.erin = value,
            "eraan" => self.eraan = texts("eraan", value)?,
            "eromheen" => self.eromheen = map("eromheen", value)?,
            "erachter" => self.erachter = text("erachter", value)?,
            "parent_id" => self.parent_id = text_or_null("parent_id", value)?,
            "state" => self.state = Some(text("state", value)?),
            "content_hash" => self.content_hash = Some(text("content_hash", value)?),
            "signature" => self.signature = text("signature", value)?,
            _ => return Err(TokenError::UnknownMember(name)),
        }
        Ok(())
    }

    fn into_token(self) -> Result<Token, TokenError> {
        let content_hash = required("content_hash", self.content_hash)?;
        check_hash_form(&content_hash)?;
        Ok(Token {
            token_id: required("token_id", self.token_id)?,
            action: required("action", self.action)?,
            timestamp: required("timestamp", self.timestamp)?,
            actor: required("actor", self.actor)?,
            erin: self.erin,
            eraan: self.eraan,
            eromheen: self.eromheen,
            erachter: self.erachter,
            parent_id: self.parent_id,
            state: self.state.map(|word| word.parse()).transpose()?.unwrap_or_default(),
            content_hash,
            signature: self.signature,
        })
    }
}

fn required(member: &'static str, value: Option<String>) -> Result<String, TokenError> {
    value.ok_or(TokenError::MissingMember(member))
}

fn text(member: &'static str, value: Value) -> Result<String, TokenError> {
    if let Value::Text(text) = value { Ok(text) } else { Err(malformed(member, "a string")) }
}

fn text_or_null(member: &'static str, value: Value) -> Result<Option<String>, TokenError> {
    if value == Value::Null {
        return Ok(None);
    }
    text(member, value).map(Some).map_err(|_| malformed(member, "a string or null"))
}

fn texts(member: &'static str, value: Value) -> Result<Vec<String>, TokenError> {
    let error = malformed(member, "a list of strings");
    let Value::Array(items) = value else { return Err(error) };
    items.into_iter().map(|item| text(member, item)).collect::<Result<_, _>>().map_err(|_| error)
}

fn map(member: &'static str, value: Value) -> Result<Object, TokenError> {
    if let Value::Object(object) = value { Ok(object) } else { Err(malformed(member, "an object")) }
}

fn malformed(member: &'static str, expected: &'static str) -> TokenError {
    TokenError::Malformed { member, expected }
}
