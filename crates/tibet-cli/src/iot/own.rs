//! Who a node is, and what it keeps between runs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jis::{Identity, Inception, Name, NextKeyCommitment, SecretKey, Signed};
use tibet_iot::{IotNode, KnownKey, NodeState, StateError, system};
use tibet_overlay::{DeviceError, DeviceFiles};
use tibet_ping::{Binding, NodeIdentity};
use zeroize::Zeroizing;

use super::stream::note;
use super::{Context, input};
use crate::error::CliError;
use crate::output::{Exit, shown};

/// A node's identity and its directory.
pub(super) struct Own {
    pub(super) identity: NodeIdentity,
    /// What it keeps, locked for as long as it runs; `None` for who only asks.
    pub(super) state: Option<NodeState>,
    /// Where it keeps that.
    directory: PathBuf,
    /// The keys it has noted.
    pub(super) known: BTreeMap<Name, KnownKey>,
}

/// What became of a key that was learnt.
pub(super) enum Noted {
    Yes,
    /// It was good for this run alone, and why.
    No(&'static str),
}

/// Who asks or searches.
pub(super) enum Momentary {
    /// The identity that was chosen, or the first that is free.
    As(Box<Own>),
    /// None was chosen, and none is here.
    Nobody,
    /// None was chosen, and nodes run with all there are.
    AllBusy,
}

impl Context {
    /// The identity of a node that runs for long, and its directory, which must be free.
    pub(super) fn own_for_long(&self, given: Option<&str>) -> Result<Own, CliError> {
        let name = match given.or(self.settings.identity.as_deref()) {
            Some(given) => self.made_if_missing("--did", given)?,
            None => self.only_name("--did")?,
        };
        let state = self.node_state(&name)?;
        if state.cut_off().is_some() {
            note(self.as_json, "a key that was being noted when the machine stopped was not kept");
        }
        let identity = self.settings.open_device(&name)?.node_identity()?;
        let (directory, known) = (state.directory().to_owned(), state.known_keys().clone());
        Ok(Own { identity, state: Some(state), directory, known })
    }

    /// The identity for a moment: a node that runs with it is not disturbed.
    pub(super) fn own_for_a_moment(&self, given: Option<&str>) -> Result<Momentary, CliError> {
        if let Some(given) = given.or(self.settings.identity.as_deref()) {
            let name = self.made_if_missing("--my-did", given)?;
            return Ok(Momentary::As(Box::new(self.open_beside(&name)?)));
        }
        let names = self.settings.identities()?;
        if names.is_empty() {
            return Ok(Momentary::Nobody);
        }
        let free = |name: &&Name| {
            let opened = NodeState::open(self.settings.state.node(name));
            !matches!(opened, Err(StateError::InUse { .. }))
        };
        // Whoever did not choose is not given a name that a running node has: that node would neither find nor answer itself.
        let Some(name) = names.iter().find(free) else { return Ok(Momentary::AllBusy) };
        if names.len() > 1 {
            note(self.as_json, format_args!("as {name} (--my-did chooses another)"));
        }
        Ok(Momentary::As(Box::new(self.open_beside(name)?)))
    }

    /// Reads what a node keeps, and holds nothing: a listener may run with it, or start meanwhile.
    fn open_beside(&self, name: &Name) -> Result<Own, CliError> {
        let directory = self.settings.state.node(name);
        let identity = self.settings.open_device(name)?.node_identity()?;
        let known = NodeState::read_known_keys(&directory)?;
        Ok(Own { identity, state: None, directory, known })
    }

    /// The directory of a node, which must be free.
    pub(super) fn node_state(&self, name: &Name) -> Result<NodeState, CliError> {
        NodeState::open(self.settings.state.node(name)).map_err(|error| match error {
            StateError::InUse { .. } => {
                CliError::new(Exit::Temporary, format!("another node runs as {name} on this machine"))
                    .hint("stop that one first, or --did with another name")
            }
            other => other.into(),
        })
    }

    /// The name of an identity that is there: the one given, or the only one.
    pub(super) fn existing_name(&self, option: &str, given: Option<&str>) -> Result<Name, CliError> {
        if let Some(given) = given.or(self.settings.identity.as_deref()) {
            let name = input::name(option, given)?;
            if self.settings.state.identity(&name, None).exist() {
                return Ok(name);
            }
            let message = format!("there is no identity {name} in {}", self.settings.state.root().display());
            return Err(CliError::new(Exit::No, message).hint("tibet-overlay info lists those there are"));
        }
        self.only_name(option)
    }

    fn only_name(&self, option: &str) -> Result<Name, CliError> {
        match &self.settings.identities()?[..] {
            [only] => Ok(only.clone()),
            [] => Err(self.nobody(option)),
            several => Err(CliError::new(Exit::Usage, "there are several identities here").hint(format!(
                "{option} {}",
                several.iter().map(Name::as_str).collect::<Vec<_>>().join(" or ")
            ))),
        }
    }

    pub(super) fn nobody(&self, option: &str) -> CliError {
        let message = format!("there is no identity in {}", self.settings.state.root().display());
        CliError::new(Exit::No, message).hint(format!("{option} jis:home:hub makes one"))
    }

    pub(super) fn all_busy(&self, option: &str) -> CliError {
        let root = self.settings.state.root().display();
        let message = format!("a node runs with each identity in {root}");
        CliError::new(Exit::Temporary, message).hint(format!("{option} NAME makes one"))
    }

    fn made_if_missing(&self, option: &str, given: &str) -> Result<Name, CliError> {
        let name = input::name(option, given)?;
        let files = self.settings.state.identity(&name, self.settings.passphrase()?);
        if !files.exist() {
            let device = files.create(name.clone(), system::now())?;
            let next = device.files().map(DeviceFiles::next_key).unwrap_or_default();
            note(
                self.as_json,
                format_args!("made the identity {name} with a new key, {}", device.identity().key),
            );
            note(
                self.as_json,
                format_args!("move {} to a safe place offline: it is the next key", shown(&next)),
            );
        }
        Ok(name)
    }
}

impl Own {
    /// The identity, for a node.
    pub(super) fn identity_copy(&self) -> Result<NodeIdentity, CliError> {
        let NodeIdentity { name, key, generation, fingerprint } = &self.identity;
        let key = SecretKey::from_seed(key.to_seed()).map_err(DeviceError::from)?;
        Ok(NodeIdentity { name: name.clone(), key, generation: *generation, fingerprint: *fingerprint })
    }

    /// Tells a node the keys that were noted, where it does not read them itself.
    pub(super) fn tell_known(&self, node: &IotNode) -> Result<(), CliError> {
        for known in self.known.values() {
            node.bind_key(known.binding.clone())?;
        }
        Ok(())
    }

    /// Notes a key that was learnt by who only asks. The directory is held for that moment.
    pub(super) fn remember(&self, binding: &Binding) -> Result<Noted, CliError> {
        let noted =
            NodeState::open(&self.directory).and_then(|mut state| state.remember(binding, system::now()));
        match noted {
            Ok(()) => Ok(Noted::Yes),
            Err(StateError::InUse { .. }) => Ok(Noted::No("another node runs in this name")),
            Err(StateError::Full { .. }) => Ok(Noted::No("there is no room")),
            // Another program of this name was first. Which is right, the next run will see.
            Err(StateError::OtherKey { .. }) => Ok(Noted::No("another one was remembered meanwhile")),
            Err(error) => Err(error.into()),
        }
    }
}

/// An identity for this run alone, named by its own key.
pub(super) fn passing_identity() -> Result<NodeIdentity, CliError> {
    let new_key =
        || -> Result<SecretKey, DeviceError> { Ok(SecretKey::from_seed(Zeroizing::new(system::random()?))?) };
    let (key, next) = (new_key()?, new_key()?);
    let name = Name::of_key(&key.public_key());
    let inception = Inception {
        name: name.clone(),
        key: key.public_key(),
        next: NextKeyCommitment::to(&next.public_key()),
        created_at: system::now(),
    };
    let inception = Signed::seal(inception, &key).map_err(DeviceError::from)?;
    let Identity { fingerprint, generation, .. } = Identity::incept(&inception).map_err(DeviceError::from)?;
    Ok(NodeIdentity { name, key, generation, fingerprint })
}
