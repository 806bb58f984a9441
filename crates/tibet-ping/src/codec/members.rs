//! Taking the members of a body out one by one, each with its type and bounds.

use tibet_core::json::{Object, Value};

use crate::codec::MAX_TEXT;
use crate::reject::Reject;

/// The members of a body. Each is taken once; what is left over at the end are unknown members, which are ignored.
pub(crate) struct Members(Vec<(String, Value)>);

impl Members {
    pub(crate) fn of(body: Object) -> Self {
        Self(body.into_iter().collect())
    }

    /// Takes the member out; `None` when there is none.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.0.iter().position(|(member, _)| member == name)?;
        Some(self.0.swap_remove(at).1)
    }

    /// Whether all the named members are there.
    pub(crate) fn require(&self, names: &[&'static str]) -> Result<(), Reject> {
        for &name in names {
            if !self.0.iter().any(|(member, _)| member == name) {
                return Err(Reject::MissingField(name));
            }
        }
        Ok(())
    }

    /// A short text; empty when it is missing.
    pub(crate) fn text(&mut self, name: &'static str) -> Result<String, Reject> {
        match self.take(name) {
            None => Ok(String::new()),
            Some(value) => short_text(value, name),
        }
    }

    /// A short text, or null, or missing.
    pub(crate) fn optional_text(&mut self, name: &'static str) -> Result<Option<String>, Reject> {
        match self.take(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => short_text(value, name).map(Some),
        }
    }

    /// One of some words.
    pub(crate) fn word<T>(
        &mut self,
        name: &'static str,
        from_word: impl Fn(&str) -> Option<T>,
    ) -> Result<T, Reject> {
        let value = self.take(name);
        value.as_ref().and_then(Value::as_str).and_then(from_word).ok_or(Reject::BadEnum(name))
    }

    /// A map; empty when it is missing.
    pub(crate) fn map(&mut self, name: &'static str) -> Result<Object, Reject> {
        match self.take(name) {
            None => Ok(Object::new()),
            Some(Value::Object(object)) => Ok(object),
            Some(_) => Err(Reject::BadMember(name)),
        }
    }

    /// An integer from 0 to 255.
    pub(crate) fn byte(&mut self, name: &'static str, missing: u8) -> Result<u8, Reject> {
        match self.take(name) {
            None => Ok(missing),
            Some(value) => {
                value.as_integer().and_then(|n| u8::try_from(n).ok()).ok_or(Reject::BadMember(name))
            }
        }
    }

    /// A list of at most `most` short texts; empty when it is missing.
    pub(crate) fn texts(&mut self, name: &'static str, most: usize) -> Result<Vec<String>, Reject> {
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) if items.len() <= most => {
                items.into_iter().map(|item| short_text(item, name)).collect()
            }
            Some(_) => Err(Reject::BadMember(name)),
        }
    }

    /// A float, or null, or missing.
    pub(crate) fn float(&mut self, name: &'static str) -> Result<Option<f64>, Reject> {
        match self.take(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Float(number)) => Ok(Some(number)),
            Some(_) => Err(Reject::BadMember(name)),
        }
    }

    /// An integer from 0 to 2⁵³ − 1, which must be there.
    pub(crate) fn number(&mut self, name: &'static str) -> Result<u64, Reject> {
        let value = self.take(name).ok_or(Reject::MissingField(name))?;
        let number = value.as_integer().and_then(|n| u64::try_from(n).ok());
        number.filter(|n| *n < 1 << 53).ok_or(Reject::BadMember(name))
    }
}

fn short_text(value: Value, name: &'static str) -> Result<String, Reject> {
    match value {
        Value::Text(text) if is_short_text(&text) => Ok(text),
        _ => Err(Reject::BadMember(name)),
    }
}

/// At most [`MAX_TEXT`] bytes and no control characters, which could forge a line of a log (SECURITY R46, R49).
pub(crate) fn is_short_text(text: &str) -> bool {
    text.len() <= MAX_TEXT && !text.contains(char::is_control)
}

/// A text or null, for writing.
pub(crate) fn text_or_null(text: Option<&String>) -> Value {
    text.map_or(Value::Null, |text| Value::Text(text.clone()))
}
