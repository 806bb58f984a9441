//! A value whose own members, if it is a map, are still to be picked from.

use std::borrow::Cow;

use super::{NameFilter, Repeated, Value};

/// What a decoder of known members starts from: texts stay where they were read, so that it copies only what it keeps.
#[derive(Debug, Clone, PartialEq)]
pub enum Outline<'a> {
    /// A map.
    Map(Members<'a>),
    /// Anything else; never [`Value::Object`].
    Other(Value),
}

/// Members in order.
///
/// Names and values are kept apart. In one list, two dozen of them would take more than 1 KiB, which allocators hand out much more slowly.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Members<'a> {
    names: Vec<Cow<'a, str>>,
    values: Vec<MemberValue<'a>>,
}

/// A member's value.
#[derive(Debug, Clone, PartialEq)]
pub enum MemberValue<'a> {
    /// A string; borrowed if nothing in it was escaped.
    Text(Cow<'a, str>),
    /// Anything else; never [`Value::Text`].
    Other(Value),
}

impl<'a> Members<'a> {
    /// No members. `capacity` is a guess; it must not come from a peer.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { names: Vec::with_capacity(capacity), values: Vec::with_capacity(capacity) }
    }

    /// Adds a member whose name `filter`, used for nothing else, has not seen yet. At worst it looks at all members, so the caller bounds
    /// their number.
    ///
    /// # Errors
    /// [`Repeated`]; then nothing was added.
    pub fn push(
        &mut self,
        filter: &mut NameFilter,
        name: Cow<'a, str>,
        value: MemberValue<'a>,
    ) -> Result<(), Repeated> {
        filter.add(&name, || self.names.contains(&name))?;
        self.push_unchecked(name, value);
        Ok(())
    }

    /// Adds a member. The caller sees to it that the names differ.
    #[inline]
    pub(super) fn push_unchecked(&mut self, name: Cow<'a, str>, value: MemberValue<'a>) {
        self.names.push(name);
        self.values.push(value);
    }

    /// The names.
    #[must_use]
    pub fn names(&self) -> &[Cow<'a, str>] {
        &self.names
    }

    /// The values, in the order of the names.
    #[must_use]
    pub fn values(&self) -> &[MemberValue<'a>] {
        &self.values
    }

    /// Takes the value of the member at this place of the order out and leaves null. `None` beyond the last.
    pub fn take(&mut self, at: usize) -> Option<MemberValue<'a>> {
        let value = self.values.get_mut(at)?;
        Some(std::mem::replace(value, MemberValue::Other(Value::Null)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{Object, parse_bytes, parse_outline};

    fn whole(outline: Outline<'_>) -> Value {
        let members = match outline {
            Outline::Map(members) => members,
            Outline::Other(value) => return value,
        };
        let pairs = members.names.into_iter().zip(members.values).map(|(name, value)| match value {
            MemberValue::Text(text) => (name, Value::from(text.into_owned())),
            MemberValue::Other(value) => (name, value),
        });
        Value::Object(pairs.collect::<Object>())
    }

    /// Every text and all that is left of it when a byte is taken away or changed: the same value, or the same error at the same place.
    #[test]
    fn an_outline_is_read_as_strictly_as_a_value() {
        let texts = [
            r#" {"a":"b","c":{"d":[1,-2.5e3,null],"e":{}},"f\u0041":"\ud83d\udca1\n","g":true,"":false} "#,
            r#"{"a":1,"b":"x","a":"y"}"#,
            r#"[{"a":1}]"#,
            "18446744073709551616",
            "{}",
        ];
        for text in texts {
            let same = |bytes: &[u8]| {
                assert_eq!(
                    parse_outline(bytes).map(whole),
                    parse_bytes(bytes),
                    "{:?}",
                    bytes.escape_ascii().to_string()
                );
            };
            same(text.as_bytes());
            for at in 0..text.len() {
                same(&text.as_bytes()[..at]);
                same(&[&text.as_bytes()[..at], &text.as_bytes()[at + 1..]].concat());
                for byte in [b'"', b'{', b'}', b',', b' ', b'9', b'\\', 0x1f, 0xff] {
                    let mut changed = text.as_bytes().to_vec();
                    changed[at] = byte;
                    same(&changed);
                }
            }
        }
    }
}
