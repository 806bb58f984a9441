//! The maker of tokens.

use std::sync::Arc;

use jis::{PublicKey, SecretKey};

use crate::draft::{Draft, Parent};
use crate::hash::HmacKey;
use crate::time::{self, Micros};
use crate::token::{CONTENT_LINK, Token};

/// The end of a log: how many tokens it holds and which is the last. Whoever keeps a head elsewhere can tell later that
/// tokens are gone from the end, which the log itself cannot show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Number of tokens, the last one included.
    pub count: u64,
    /// Id of the last token.
    pub token_id: String,
    /// Content hash of the last token.
    pub content_hash: String,
}

/// How a token names its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Linking {
    /// By id, and by `sha256:` + content hash as the last item of ERAAN: the parent cannot be exchanged afterwards.
    #[default]
    Content,
    /// By id only, as the Python package does.
    IdOnly,
}

/// Makes tokens: each gets an id, a time, a parent, a hash and, with a signer, a signature. Reads no clock, keeps nothing.
///
/// The head moves with every token made. If a token could not be kept, put the old head back with [`Minter::restore_head`],
/// or the next token names a parent nobody has.
#[derive(Debug, Clone)]
pub struct Minter {
    actor: String,
    // The public key is kept beside the secret because deriving it costs as much as signing.
    signer: Option<(Arc<SecretKey>, PublicKey)>,
    hmac: Option<HmacKey>,
    linking: Linking,
    naive_timestamps: bool,
    head: Option<Head>,
}

impl Minter {
    /// A minter that signs nothing and links by content. `actor` is who acts when a draft does not say.
    #[must_use]
    pub fn new(actor: impl Into<String>) -> Self {
        Self {
            actor: actor.into(),
            signer: None,
            hmac: None,
            linking: Linking::default(),
            naive_timestamps: false,
            head: None,
        }
    }

    /// Signs every token from now on.
    #[must_use]
    pub fn signer(mut self, key: Arc<SecretKey>) -> Self {
        let public = key.public_key();
        self.signer = Some((key, public));
        self
    }

    /// Makes content hashes HMACs from now on.
    #[must_use]
    pub fn hmac(mut self, key: HmacKey) -> Self {
        self.hmac = Some(key);
        self
    }

    /// Chooses how parents are named.
    #[must_use]
    pub fn linking(mut self, linking: Linking) -> Self {
        self.linking = linking;
        self
    }

    /// Leaves the offset out of timestamps, as Python does; for reproducing its tokens byte by byte.
    #[doc(hidden)]
    #[must_use]
    pub fn naive_timestamps(mut self) -> Self {
        self.naive_timestamps = true;
        self
    }

    /// Makes the token of an event that happened at `now`. `random` keeps the ids of two nodes apart that record something in
    /// the same microsecond; a store refuses an id it has.
    pub fn mint(&mut self, draft: Draft, now: Micros, random: [u8; 4]) -> Token {
        let parent = self.resolve(draft.parent);
        let mut eraan = draft.eraan;
        if let Some((_, hash)) = &parent
            && self.linking == Linking::Content
            && !hash.is_empty()
        {
            eraan.push(format!("{CONTENT_LINK}{hash}"));
        }
        let mut token = Token {
            token_id: time::token_id(now, random),
            action: draft.action,
            timestamp: if self.naive_timestamps { time::naive_text(now) } else { time::text(now) },
            actor: draft.actor.filter(|actor| !actor.is_empty()).unwrap_or_else(|| self.actor.clone()),
            erin: draft.erin,
            eraan,
            eromheen: draft.eromheen,
            erachter: draft.erachter,
            parent_id: parent.map(|(id, _)| id),
            state: draft.state,
            content_hash: String::new(),
            signature: String::new(),
        };
        token.seal(self.hmac.as_ref(), self.signer.as_ref().map(|(secret, public)| (&**secret, public)));
        self.head = Some(Head {
            count: self.head.as_ref().map_or(0, |head| head.count).saturating_add(1),
            token_id: token.token_id.clone(),
            content_hash: token.content_hash.clone(),
        });
        token
    }

    /// Sets the head: to that of a store when continuing its log, or to an earlier one when a token made since was not kept.
    pub fn restore_head(&mut self, head: Option<Head>) {
        self.head = head;
    }

    /// The last token made and how many there are; `None` before the first.
    #[must_use]
    pub fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// Who acts when a draft does not say.
    #[must_use]
    pub fn actor(&self) -> &str {
        &self.actor
    }

    /// The key tokens are signed with.
    #[must_use]
    pub fn public_key(&self) -> Option<&PublicKey> {
        self.signer.as_ref().map(|(_, public)| public)
    }

    /// The key content hashes are made with.
    #[must_use]
    pub fn hmac_key(&self) -> Option<&HmacKey> {
        self.hmac.as_ref()
    }

    fn resolve(&self, parent: Parent) -> Option<(String, String)> {
        match parent {
            Parent::Root => None,
            Parent::Auto => self.head.as_ref().map(|head| (head.token_id.clone(), head.content_hash.clone())),
            Parent::Of { token_id, content_hash } => Some((token_id, content_hash)),
        }
    }
}
