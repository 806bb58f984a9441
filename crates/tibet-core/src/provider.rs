//! Making tokens and keeping them.

use std::fmt;
use std::str::FromStr;

use crate::draft::{Draft, Parent};
use crate::facts::{PingFacts, ResponseFacts};
use crate::json::{Object, Value, write_pretty};
use crate::minter::Minter;
use crate::object;
use crate::query::Query;
use crate::state::State;
use crate::store::{StoreError, TokenStore};
use crate::time::Micros;
use crate::token::Token;

type OnCreate = Box<dyn FnMut(&Token) + Send>;

/// A minter and the store it fills. Tokens form one chain unless a draft says otherwise.
pub struct Provider<S> {
    minter: Minter,
    store: S,
    auto_chain: bool,
    /// The token the next one follows. Differs from the minter's head after [`Provider::set_last`].
    last: Parent,
    on_create: Option<OnCreate>,
}

/// The forms of [`Provider::export`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// One JSON list, indented by two blanks.
    Json,
    /// One token per line, no line feed after the last.
    JsonLines,
}

/// A name that is no export format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no export format: {0:?} (there are json and jsonl)")]
pub struct UnknownFormat(pub String);

impl FromStr for ExportFormat {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        match name {
            "json" => Ok(Self::Json),
            "jsonl" => Ok(Self::JsonLines),
            _ => Err(UnknownFormat(name.to_owned())),
        }
    }
}

impl<S: TokenStore> Provider<S> {
    /// Continues the log in `store`: the first token follows its last one.
    ///
    /// # Errors
    /// What the store reports when asked for its head.
    pub fn new(mut minter: Minter, store: S) -> Result<Self, StoreError> {
        let head = store.head()?;
        let last = head.as_ref().map_or(Parent::Root, |head| Parent::Of {
            token_id: head.token_id.clone(),
            content_hash: head.content_hash.clone(),
        });
        minter.restore_head(head);
        Ok(Self { minter, store, auto_chain: true, last, on_create: None })
    }

    /// Makes [`Parent::Auto`] mean a root instead of the last token.
    #[must_use]
    pub fn without_auto_chain(mut self) -> Self {
        self.auto_chain = false;
        self
    }

    /// Calls `callback` with every token after it was kept.
    #[must_use]
    pub fn on_create(mut self, callback: impl FnMut(&Token) + Send + 'static) -> Self {
        self.on_create = Some(Box::new(callback));
        self
    }

    /// Makes a token of an event at `now` and keeps it. `random` are four bytes of the caller's generator.
    ///
    /// # Errors
    /// What the store reports. No token was made then.
    pub fn create(&mut self, mut draft: Draft, now: Micros, random: [u8; 4]) -> Result<Token, StoreError> {
        if draft.parent == Parent::Auto {
            draft.parent = if self.auto_chain { self.last.clone() } else { Parent::Root };
        }
        let head = self.minter.head().cloned();
        let token = self.minter.mint(draft, now, random);
        if let Err(error) = self.store.append(&token) {
            self.minter.restore_head(head);
            return Err(error);
        }
        self.last = Parent::of(&token);
        if let Some(callback) = &mut self.on_create {
            callback(&token);
        }
        Ok(token)
    }

    /// Records that the matter of an earlier token is in another state now. The earlier token stays as it is; `None` when there
    /// is none with this id. `reason` is replaced by a default when empty.
    ///
    /// # Errors
    /// What the store reports.
    pub fn update_state(
        &mut self,
        token_id: &str,
        new: State,
        reason: &str,
        now: Micros,
        random: [u8; 4],
    ) -> Result<Option<Token>, StoreError> {
        let Some(earlier) = self.store.get(token_id)? else { return Ok(None) };
        let old = earlier.state;
        let draft = Draft::new("state_change")
            .parent(Parent::of(&earlier))
            .erin(
                object! { "token_id" => token_id, "old_state" => old.as_str(), "new_state" => new.as_str() },
            )
            .eraan([token_id])
            .erachter(or_else(reason, || format!("State change: {old} -> {new}")));
        self.create(draft, now, random).map(Some)
    }

    /// Records a ping, and the answer to it if there is one.
    ///
    /// # Errors
    /// What the store reports.
    pub fn from_packet(
        &mut self,
        ping: &PingFacts<'_>,
        response: Option<&ResponseFacts<'_>>,
        now: Micros,
        random: [u8; 4],
    ) -> Result<Token, StoreError> {
        self.create(ping_draft(ping, response), now, random)
    }

    /// Records a sign of life.
    ///
    /// # Errors
    /// What the store reports.
    pub fn record_heartbeat(
        &mut self,
        did: &str,
        status: Option<&str>,
        now: Micros,
        random: [u8; 4],
    ) -> Result<Token, StoreError> {
        self.create(heartbeat_draft(did, status), now, random)
    }

    /// Sets the token the next one follows.
    pub(crate) fn set_last(&mut self, last: Parent) {
        self.last = last;
    }

    /// The token the next one follows.
    pub(crate) fn last(&self) -> &Parent {
        &self.last
    }

    /// The last tokens that match, oldest first.
    ///
    /// # Errors
    /// What the store reports.
    pub fn find(&self, query: &Query) -> Result<Vec<Token>, StoreError> {
        self.store.find(query)
    }

    /// All tokens as JSON objects. Holds the whole log in memory.
    ///
    /// # Errors
    /// What the store reports.
    pub fn export_objects(&self) -> Result<Vec<Object>, StoreError> {
        let mut objects = Vec::new();
        self.store.for_each(0, &mut |_, token| objects.push(token.to_object()))?;
        Ok(objects)
    }

    /// All tokens as text. Holds the whole log in memory.
    ///
    /// # Errors
    /// What the store reports.
    pub fn export(&self, format: ExportFormat) -> Result<String, StoreError> {
        match format {
            ExportFormat::Json => Ok(write_pretty(&Value::from(self.export_objects()?))),
            ExportFormat::JsonLines => {
                let mut lines = Vec::new();
                self.store.for_each(0, &mut |_, token| lines.push(token.to_json_line()))?;
                Ok(lines.join("\n"))
            }
        }
    }

    /// For every token in order, whether its content hash matches under this provider's key. Links and signatures are
    /// the business of [`verify_store`](crate::verify_store).
    ///
    /// # Errors
    /// What the store reports.
    pub fn verify_all(&self) -> Result<Vec<(String, bool)>, StoreError> {
        let mut verdicts = Vec::new();
        self.store.for_each(0, &mut |_, token| {
            let valid = token.verify_hash(self.minter.hmac_key());
            verdicts.push((token.token_id, valid));
        })?;
        Ok(verdicts)
    }

    /// The maker of the tokens.
    #[must_use]
    pub fn minter(&self) -> &Minter {
        &self.minter
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &S {
        &self.store
    }

    /// The store, for what it does besides keeping tokens. Tokens that are appended past the provider break its chain.
    pub fn store_mut(&mut self) -> &mut S {
        &mut self.store
    }

    /// The store, the provider being done with.
    #[must_use]
    pub fn into_store(self) -> S {
        self.store
    }
}

/// The callback cannot be shown.
impl<S: fmt::Debug> fmt::Debug for Provider<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider")
            .field("minter", &self.minter)
            .field("store", &self.store)
            .field("auto_chain", &self.auto_chain)
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}

pub(crate) fn ping_draft(ping: &PingFacts<'_>, response: Option<&ResponseFacts<'_>>) -> Draft {
    let mut erin = object! { "intent" => ping.intent, "purpose" => ping.purpose };
    if let Some(payload) = ping.payload.filter(|payload| **payload != Value::Null) {
        erin.insert("payload", payload.clone());
    }
    let mut eromheen = object! { "routing_mode" => ping.routing_mode, "hop_count" => ping.hop_count };
    if let Some(pod_id) = ping.pod_id.filter(|pod_id| !pod_id.is_empty()) {
        eromheen.insert("pod_id", pod_id);
    }
    if let Some(proof) = ping.proof {
        eromheen.insert("proof", proof);
    }
    if let Some(response) = response {
        eromheen.insert("decision", response.decision);
        eromheen.insert("trust_score", response.trust_score);
        eromheen.insert("zone", response.airlock_zone);
    }
    let intent = or_else(ping.purpose, || format!("Ping from {} to {}", ping.source_did, ping.target_did));
    Draft::new(format!("ping.{}", ping.ping_type))
        .actor(ping.source_did)
        .erin(erin)
        .eraan([ping.source_did, ping.target_did])
        .eromheen(eromheen)
        .erachter(intent)
}

pub(crate) fn heartbeat_draft(did: &str, status: Option<&str>) -> Draft {
    let mut erin = object! { "source" => did };
    if let Some(status) = status.filter(|status| !status.is_empty()) {
        erin.insert("status", status);
    }
    Draft::new("heartbeat").actor(did).erin(erin).eraan([did]).erachter(format!("Heartbeat from {did}"))
}

/// `text`, or the default when it is empty.
pub(crate) fn or_else(text: &str, default: impl FnOnce() -> String) -> String {
    if text.is_empty() { default() } else { text.to_owned() }
}
