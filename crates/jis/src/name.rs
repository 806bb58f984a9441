//! Names of identities and patterns over them.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use crate::key::PublicKey;

/// Longest name, in bytes.
pub const MAX_NAME: usize = 200;
/// Most labels below `jis:`.
pub const MAX_LABELS: usize = 8;
/// Longest label, in bytes.
pub const MAX_LABEL: usize = 63;

/// First label of the self-certifying form; no other name may use it.
const SELF_CERTIFYING: &str = "ed25519";

/// The name of an identity: `jis:` and one to eight labels, for example `jis:home:hub`.
///
/// A label is `[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?`; the whole is ASCII and at most 200 bytes (SECURITY R31). There is one
/// spelling of a name and nothing is folded: what users type goes through [`Name::from_input`], everything else through
/// [`str::parse`].
///
/// The self-certifying form `jis:ed25519:z6Mk…` names a key itself and is the only one with upper-case letters.
///
/// ```
/// use jis::Name;
/// assert!("jis:home:hub".parse::<Name>().is_ok());
/// assert!("jis:Home:hub".parse::<Name>().is_err());
/// assert_eq!(Name::from_input("did:jis:home:hub")?.as_str(), "jis:home:hub");
/// assert_eq!(Name::from_input("sensor-01")?.as_str(), "jis:sensor-01");
/// # Ok::<(), jis::NameError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<str>);

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The text does not begin with `jis:`, or is a DID of another method.
    #[error("a name begins with \"jis:\", for example jis:home:hub")]
    Prefix,
    /// Longer than [`MAX_NAME`] bytes.
    #[error("a name has at most {MAX_NAME} bytes")]
    TooLong,
    /// No label, or more than [`MAX_LABELS`].
    #[error("a name has 1 to {MAX_LABELS} labels after \"jis:\"")]
    Labels,
    /// A label is empty, longer than [`MAX_LABEL`] bytes, or holds other characters than the grammar allows.
    #[error(
        "label {0:?}: use a-z, 0-9, '-' and '_', beginning and ending with a letter or digit, at most {MAX_LABEL} bytes"
    )]
    Label(String),
    /// The text holds upper-case letters; the name meant is given.
    #[error("names are lower-case: write {0}")]
    UpperCase(String),
    /// `jis:ed25519:…` with something that is no Ed25519 key in multibase form.
    #[error("jis:ed25519: must be followed by a key like z6Mk… and nothing else")]
    SelfCertifying,
    /// A DID URL part (`#`, `?`, `/`) or percent-encoding where only a name belongs.
    #[error(
        "{0:?} does not belong in a name; give the DID without fragment, query, path or percent-encoding"
    )]
    DidUrl(char),
}

impl Name {
    /// The self-certifying name of `key`: `jis:ed25519:z6Mk…`.
    #[must_use]
    pub fn of_key(key: &PublicKey) -> Self {
        Self(format!("jis:{SELF_CERTIFYING}:{key}").into())
    }

    /// Reads a name as a user or a foreign program writes it: besides the canonical form `did:jis:home:hub`, `home.aint`, and a
    /// bare `home:hub`. To be called once, at the edge of the program.
    ///
    /// # Errors
    /// [`NameError`]; mixed case is not folded but answered with the lower-case spelling.
    pub fn from_input(text: &str) -> Result<Self, NameError> {
        if text.len() > MAX_NAME + "did:".len() {
            return Err(NameError::TooLong);
        }
        if let Some(c) = text.chars().find(|c| matches!(c, '#' | '?' | '/' | '%')) {
            return Err(NameError::DidUrl(c));
        }
        let rest = match text.strip_prefix("did:") {
            // did:web:hub is somebody else, not jis:web:hub.
            Some(did) => did.strip_prefix("jis:").ok_or(NameError::Prefix)?,
            None => text.strip_prefix("jis:").unwrap_or(text),
        };
        let rest = rest.strip_suffix(".aint").unwrap_or(rest);
        match format!("jis:{rest}").parse() {
            Err(NameError::Label(_)) if text.bytes().any(|b| b.is_ascii_uppercase()) => {
                Err(NameError::UpperCase(Self::from_input(&text.to_ascii_lowercase())?.as_str().into()))
            }
            other => other,
        }
    }

    /// The canonical text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The labels after `jis:`.
    pub fn labels(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0["jis:".len()..].split(':')
    }

    /// The name one level up; none for a name of one label or a self-certifying one.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let (parent, _) = self.0.rsplit_once(':')?;
        (parent.len() > "jis:".len() && self.certified_key().is_none()).then(|| Self(parent.into()))
    }

    /// The key a self-certifying name stands for.
    #[must_use]
    pub fn certified_key(&self) -> Option<PublicKey> {
        let key = self.0.strip_prefix("jis:ed25519:")?;
        key.parse().ok()
    }

    /// The name as a DID: `did:jis:home:hub`.
    #[must_use]
    pub fn to_did(&self) -> String {
        format!("did:{}", self.0)
    }
}

fn check_label(label: &str) -> Result<(), NameError> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = label.as_bytes();
    let fits = bytes.len() <= MAX_LABEL && bytes.iter().all(|&b| inner(b));
    if fits && edge(bytes.first()) && edge(bytes.last()) {
        Ok(())
    } else {
        Err(NameError::Label(label.chars().take(MAX_LABEL + 1).collect()))
    }
}

/// Reads the canonical form only.
impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() > MAX_NAME {
            return Err(NameError::TooLong);
        }
        let rest = text.strip_prefix("jis:").ok_or(NameError::Prefix)?;
        let mut labels = rest.split(':');
        if labels.next() == Some(SELF_CERTIFYING) {
            let key = labels.next().and_then(|label| label.parse::<PublicKey>().ok());
            // The key must stand there in its one spelling: z6Mk….
            return match key.map(|key| Self::of_key(&key)) {
                Some(name) if name.as_str() == text => Ok(name),
                _ => Err(NameError::SelfCertifying),
            };
        }
        if rest.is_empty() || rest.split(':').count() > MAX_LABELS {
            return Err(NameError::Labels);
        }
        rest.split(':').try_for_each(check_label)?;
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Which names a grant or an enrolment token is for.
///
/// `jis:home:hub` is that name alone, `jis:home:*` any name exactly one label longer than `jis:home`, `jis:home:**` any name
/// below it. The wildcard stands for whole labels and only at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamePattern {
    /// One name.
    Exact(Name),
    /// Names one level below.
    Children(Name),
    /// Names any number of levels below.
    Below(Name),
}

impl NamePattern {
    /// Whether `name` is meant.
    #[must_use]
    pub fn matches(&self, name: &Name) -> bool {
        let tail =
            |base: &Name| name.as_str().strip_prefix(base.as_str()).and_then(|rest| rest.strip_prefix(':'));
        match self {
            Self::Exact(exact) => exact == name,
            Self::Children(base) => tail(base).is_some_and(|rest| !rest.contains(':')),
            Self::Below(base) => tail(base).is_some(),
        }
    }

    /// The fixed part: the name itself, or the one the wildcard hangs below.
    #[must_use]
    pub fn base(&self) -> &Name {
        match self {
            Self::Exact(name) | Self::Children(name) | Self::Below(name) => name,
        }
    }
}

impl FromStr for NamePattern {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if let Some(base) = text.strip_suffix(":**") {
            base.parse().map(Self::Below)
        } else if let Some(base) = text.strip_suffix(":*") {
            base.parse().map(Self::Children)
        } else {
            text.parse().map(Self::Exact)
        }
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => write!(f, "{name}"),
            Self::Children(name) => write!(f, "{name}:*"),
            Self::Below(name) => write!(f, "{name}:**"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SECURITY 3.2 row 42, and the spellings of row 22.
    #[test]
    fn row_42_names_outside_the_grammar_are_refused() {
        let long_label = format!("jis:{}", "a".repeat(64));
        let long_name =
            format!("jis:{}", ["a".repeat(60), "b".repeat(60), "c".repeat(60), "d".repeat(17)].join(":"));
        assert_eq!(long_name.len(), MAX_NAME + 4);
        for text in [
            "",
            "jis",
            "jis:",
            "jis::a",
            "jis:a:",
            "jis:a::b",
            ":jis:a",
            "JIS:a",
            "jis:Alice",
            "jis:-a",
            "jis:a-",
            "jis:_a",
            "jis:a.b",
            "jis:a b",
            "jis:a\0",
            "jis:a\n",
            "jis:é",
            "jis:а",
            "jis:a\u{200d}b",
            "jis:\u{202e}a",
            "did:jis:a",
            "a.aint",
            "jis:1:2:3:4:5:6:7:8:9",
            "jis:a%20",
            "jis:a#key-1",
            "jis:ed25519",
            "jis:ed25519:x",
            &long_label,
            &long_name,
        ] {
            assert!(text.parse::<Name>().is_err(), "{text:?} was accepted");
        }
        for text in
            ["jis:a", "jis:home:hub", "jis:1:2:3:4:5:6:7:8", "jis:a_b-c", &format!("jis:{}", "a".repeat(63))]
        {
            assert_eq!(text.parse::<Name>().map(|n| n.as_str().to_owned()), Ok(text.to_owned()));
        }
    }

    /// SECURITY 3.2 row 43: other spellings only at the edge, and always one canonical form.
    #[test]
    fn row_43_foreign_spellings_are_converted_at_the_edge() {
        for text in ["jis:home:hub", "did:jis:home:hub", "home:hub"] {
            assert_eq!(Name::from_input(text).expect(text).as_str(), "jis:home:hub");
        }
        assert_eq!(Name::from_input("home.aint").map(|n| n.to_did()), Ok("did:jis:home".to_owned()));
        assert_eq!(Name::from_input("did:jis:a#key-1"), Err(NameError::DidUrl('#')));
        assert_eq!(Name::from_input("jis:a%2e"), Err(NameError::DidUrl('%')));
        assert_eq!(Name::from_input("jis:Alice"), Err(NameError::UpperCase("jis:alice".into())));
        assert_eq!(Name::from_input("JIS:Alice"), Err(NameError::UpperCase("jis:alice".into())));
        // A DID of another method names somebody else.
        for text in ["did:web:example.com", "did:web:hub", "did:hub", "DID:WEB:hub", "did:key:z6mk"] {
            assert_eq!(Name::from_input(text), Err(NameError::Prefix), "{text}");
        }
    }

    #[test]
    fn a_self_certifying_name_carries_its_key_and_has_one_spelling() {
        let key: PublicKey =
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a".parse().expect("RFC 8032 key");
        let name = Name::of_key(&key);
        assert_eq!(name.as_str(), "jis:ed25519:z6MktwupdmLXVVqTzCw4i46r4uGyosGXRnR3XjN4Zq7oMMsw");
        assert_eq!(name.as_str().parse::<Name>(), Ok(name.clone()));
        assert_eq!(name.certified_key(), Some(key));
        assert_eq!(name.parent(), None);
        let hex_spelling =
            format!("jis:ed25519:f{}", "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        assert_eq!(hex_spelling.parse::<Name>(), Err(NameError::SelfCertifying));
        assert_eq!(format!("{name}:x").parse::<Name>(), Err(NameError::SelfCertifying));
    }

    /// SECURITY 3.2 row 46, as far as the pattern decides it.
    #[test]
    fn row_46_a_pattern_matches_whole_labels_only() {
        let pattern = |text: &str| text.parse::<NamePattern>().expect("pattern");
        let name = |text: &str| text.parse::<Name>().expect("name");
        for (text, matching, other) in [
            ("jis:home:hub", &["jis:home:hub"][..], &["jis:home:hub2", "jis:home", "jis:home:hub:x"][..]),
            ("jis:home:*", &["jis:home:hub"], &["jis:home", "jis:home2", "jis:home2:hub", "jis:home:x:y"]),
            ("jis:home:**", &["jis:home:hub", "jis:home:x:y"], &["jis:home", "jis:homes:x"]),
        ] {
            assert_eq!(pattern(text).to_string(), text);
            assert!(matching.iter().all(|n| pattern(text).matches(&name(n))), "{text}");
            assert!(!other.iter().any(|n| pattern(text).matches(&name(n))), "{text}");
        }
        assert!("jis:*:hub".parse::<NamePattern>().is_err());
        assert!("jis:*".parse::<NamePattern>().is_err());
    }

    #[test]
    fn parents_go_up_label_by_label() {
        let name: Name = "jis:home:kitchen:lamp".parse().expect("name");
        let parent = name.parent().expect("parent");
        assert_eq!(parent.as_str(), "jis:home:kitchen");
        assert_eq!(parent.parent().and_then(|p| p.parent()), None);
    }
}
