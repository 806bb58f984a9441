//! The identity overlay: the whole system behind a few calls.

mod answer;
pub use answer::{IdentityProof, OverlayRoute};
mod export;
pub use export::{AuditFormat, ExportError};
mod options;
pub use options::{DeviceOptions, OptionsError};
mod status;
pub use status::{NodeSummary, OverlayStatus};

use std::collections::BTreeMap;

use jis::{
    Capability, Challenge, Fingerprint, Identity, IdentityStatus, Name, NameError, Proof, Record, Remark,
    Revocation, RevocationScope, Signed, SignedRotation,
};
use tibet_registry::{
    Fira, MemoryStore, Opening, Permission, Policy, Refusal, Registered, Registry, Resolution, Source,
    SqliteStore, Standing, Store, StoreError,
};
use zeroize::Zeroizing;

use crate::device::{DeviceError, LocalDevice, Presence};
use crate::state_dir::{OpenError, StateDir};
use crate::system;

/// Devices registered, verified, resolved and found by who they are.
///
/// It is a [`Registry`] together with the devices whose keys are on this machine. In memory ([`IdentityOverlay::new`]) for trying out
/// and for tests, on a state directory ([`IdentityOverlay::open`]), where everything is durable before a call returns, or over a registry that
/// is open already ([`IdentityOverlay::over`]), wherever that is.
///
/// ```
/// use tibet_overlay::{DeviceOptions, IdentityOverlay};
///
/// let mut overlay = IdentityOverlay::new()?;
///
/// // Register devices (same public IP = CGNAT)
/// overlay.register("sensor-01", DeviceOptions::at("203.0.113.1:44321").behind_nat().capability("mqtt"))?;
/// overlay.register("sensor-02", DeviceOptions::at("203.0.113.1:44322").behind_nat().capability("mqtt"))?;
///
/// // Verify identity (crypto-based, not IP-based)
/// let proof = overlay.verify("jis:sensor-01")?;
/// println!("{}", proof.verified); // true
/// println!("{}", proof.trust_score); // 0.5
/// # assert_eq!((proof.verified, proof.trust_score.to_string().as_str()), (true, "0.5"));
///
/// // Resolve endpoint by identity
/// let route = overlay.resolve("jis:sensor-01")?;
/// println!("{}", route.endpoint); // 203.0.113.1:44321
/// println!("{}", route.resolved); // true
/// # assert_eq!((route.endpoint.as_str(), route.resolved), ("203.0.113.1:44321", true));
///
/// // Find by capability
/// let mqtt_devices = overlay.find_by_capability("mqtt")?;
/// # assert_eq!(mqtt_devices.iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["jis:sensor-01", "jis:sensor-02"]);
/// # Ok::<(), tibet_overlay::OverlayError>(())
/// ```
#[derive(Debug)]
pub struct IdentityOverlay<S: Store = MemoryStore> {
    registry: Registry<S>,
    devices: BTreeMap<Name, LocalDevice>,
    state: Option<StateDir>,
}

/// Why a call on the overlay failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OverlayError {
    /// What should be a name is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// An option of a device cannot be read.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The registry refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A device on this machine could not do its part.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The state directory cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The device's keys are not on this machine.
    #[error("the keys of {0} are not on this machine")]
    NotHere(Name),
}

impl From<StoreError> for OverlayError {
    fn from(error: StoreError) -> Self {
        Self::Refused(error.into())
    }
}

impl IdentityOverlay {
    /// An overlay in memory, lost when dropped.
    ///
    /// # Errors
    /// [`OverlayError::Device`] when the system gives no randomness for the log key.
    pub fn new() -> Result<Self, OverlayError> {
        let seed = Zeroizing::new(system::random().map_err(DeviceError::from)?);
        let log_key = jis::SecretKey::from_seed(seed).map_err(DeviceError::from)?;
        let secret = system::random().map_err(DeviceError::from)?;
        let opening = Opening { log_key: log_key.into(), origin: None, policy: Policy::default(), secret };
        Ok(Self::over(Registry::open(MemoryStore::new(), opening)?))
    }
}

impl IdentityOverlay<SqliteStore> {
    /// The overlay on a state directory, made if it is not there.
    ///
    /// # Errors
    /// [`OverlayError::Open`].
    pub fn open(state: StateDir) -> Result<Self, OverlayError> {
        let registry = state.open_registry(Policy::default())?;
        Ok(Self { state: Some(state), ..Self::over(registry) })
    }
}

impl<S: Store> IdentityOverlay<S> {
    /// The overlay over a registry that is open already. Its devices are those that are [adopted](Self::adopt); new ones are made in memory.
    ///
    /// Calls wait for the store. One whose store is a [PostgreSQL database](tibet_registry::PostgresStore) must not be called or dropped
    /// within an async runtime.
    #[must_use]
    pub fn over(registry: Registry<S>) -> Self {
        Self { registry, devices: BTreeMap::new(), state: None }
    }

    /// Registers a device under `device_id`, with new keys the first time, or tells of its new whereabouts.
    ///
    /// # Errors
    /// [`OverlayError`]; [`Refusal::NameTaken`] when the name belongs to another key.
    pub fn register(&mut self, device_id: &str, options: DeviceOptions) -> Result<Registered, OverlayError> {
        let name = Name::from_input(device_id)?;
        let presence = options.parse()?;
        self.device_or_new(&name)?;
        self.register_device(&name, presence, None)
    }

    /// Registers a device whose keys are on this machine, with what permits the claim where first come does not.
    ///
    /// # Errors
    /// [`OverlayError`].
    pub fn register_device(
        &mut self,
        name: &Name,
        presence: Presence,
        permission: Option<Permission>,
    ) -> Result<Registered, OverlayError> {
        let now = system::now();
        let device = self.device(name)?;
        device.publish_if_due(presence, now)?;
        let registration = device.registration(permission, now)?;
        Ok(self.registry.register(registration, Source::Local, now)?)
    }

    /// Rotates a device to its next key, here and in the registry if that knows the device. `next` is the next key, where the owner keeps
    /// it elsewhere. True when the registry was told.
    ///
    /// # Errors
    /// [`OverlayError`]. When the device has rotated but the registry could not be told, registering the device again tells it.
    pub fn rotate(&mut self, name: &Name, next: Option<jis::SecretKey>) -> Result<bool, OverlayError> {
        let now = system::now();
        let (rotation, record) = self.device(name)?.rotate(next, now)?;
        self.take_rotation(rotation, record)
    }

    /// Tells the registry of a rotation that a device has made, if it knows the device. True when it was told.
    ///
    /// # Errors
    /// [`OverlayError::Refused`].
    pub fn take_rotation(
        &mut self,
        rotation: SignedRotation,
        record: Signed<Record>,
    ) -> Result<bool, OverlayError> {
        let claims = rotation.rotation.claims();
        if self.status_of(&claims.name, claims.fingerprint)?.is_none() {
            return Ok(false);
        }
        self.registry.rotate(rotation, record, system::now())?;
        Ok(true)
    }

    /// Revokes a device's key or name, here and in the registry if that knows the device. True when the registry knows. To be called again for
    /// a registry that could not be told.
    ///
    /// # Errors
    /// [`OverlayError`].
    pub fn revoke(
        &mut self,
        name: &Name,
        scope: RevocationScope,
        next: Option<jis::SecretKey>,
        reason: Remark,
    ) -> Result<bool, OverlayError> {
        let now = system::now();
        let revocation = match self.device(name)?.revocation(scope) {
            // Revoked before, perhaps without this registry hearing of it.
            Some(revocation) => revocation,
            None => self.device(name)?.revoke(scope, next, reason, now)?,
        };
        self.take_revocation(revocation)
    }

    /// Tells the registry of a revocation that a device has made, if it knows the device and has not heard of it. True when it knows then.
    ///
    /// # Errors
    /// [`OverlayError::Refused`].
    pub fn take_revocation(&mut self, revocation: Signed<Revocation>) -> Result<bool, OverlayError> {
        let Revocation { name, fingerprint, scope, .. } = revocation.claims();
        match self.status_of(name, *fingerprint)? {
            None => Ok(false),
            Some(status) if status >= revocation_status(*scope) => Ok(true),
            Some(_) => {
                self.registry.revoke(revocation, system::now())?;
                Ok(true)
            }
        }
    }

    /// How the registry has this identity; `None` if it has another under the name, or none.
    fn status_of(
        &self,
        name: &Name,
        fingerprint: Fingerprint,
    ) -> Result<Option<IdentityStatus>, OverlayError> {
        let known = self.registry.peek(name, system::now())?.map(|known| known.route);
        Ok(known.filter(|known| known.fingerprint == fingerprint).map(|known| known.status))
    }

    /// Takes in a device whose keys are on this machine but were made elsewhere in the program.
    pub fn adopt(&mut self, device: LocalDevice) {
        self.devices.insert(device.identity().name.clone(), device);
    }

    /// Asks a device to prove who it is: a fresh challenge, answered with its key, checked against the key bound to the name.
    ///
    /// # Errors
    /// [`OverlayError`] when the question could not be asked; that the answer does not convince is no error but an
    /// [`IdentityProof`] that says so.
    pub fn verify(&mut self, did: &str) -> Result<IdentityProof, OverlayError> {
        let name = Name::from_input(did)?;
        let challenge = match self.challenge(&name) {
            Ok(challenge) => challenge,
            Err(OverlayError::Refused(refusal @ (Refusal::Unknown(_) | Refusal::Revoked { .. }))) => {
                return self.unproven(name, refusal.to_string());
            }
            Err(error) => return Err(error),
        };
        let answer = match self.load_device(&name) {
            Ok(()) => self.device_mut(&name)?.answer(&challenge, system::now()),
            Err(OverlayError::NotHere(_)) => {
                let reason = "its keys are not on this machine, so it cannot be asked here".to_owned();
                return Ok(IdentityProof { asked: false, ..self.unproven(name, reason)? });
            }
            Err(error) => return Err(error),
        };
        match answer {
            Ok(proof) => self.check_answer(&challenge, proof),
            Err(DeviceError::Answer(error)) => self.unproven(name, error.to_string()),
            Err(error) => Err(error.into()),
        }
    }

    /// A challenge for a device that is asked by other means.
    ///
    /// # Errors
    /// [`OverlayError::Refused`].
    pub fn challenge(&self, name: &Name) -> Result<Challenge, OverlayError> {
        let (verifier, key) = (self.registry.origin(), *self.registry.log_key());
        let random = system::random().map_err(DeviceError::from)?;
        Ok(self.registry.challenge(name, verifier, key, random, system::now())?)
    }

    /// Judges an answer to a challenge of this overlay.
    ///
    /// # Errors
    /// [`OverlayError::Refused`] when nothing can be said now, as when the storage fails; that the answer does not convince is no error.
    pub fn check_answer(
        &mut self,
        challenge: &Challenge,
        proof: Signed<Proof>,
    ) -> Result<IdentityProof, OverlayError> {
        match self.registry.accept_proof(challenge, &proof, system::now()) {
            Ok(verification) => Ok(IdentityProof {
                fingerprint: self.identity_of(&verification.name)?.map(|identity| identity.fingerprint),
                did: verification.name,
                verified: true,
                trust_score: verification.standing.score,
                standing: verification.standing,
                proof: Some(proof),
                registered_at: Some(verification.registered_at),
                asked: true,
                reason: None,
            }),
            Err(refusal @ (Refusal::Store(_) | Refusal::Busy(_) | Refusal::ClockUnset(_))) => {
                Err(refusal.into())
            }
            Err(refusal) => self.unproven(challenge.prover.clone(), refusal.to_string()),
        }
    }

    fn unproven(&self, did: Name, reason: String) -> Result<IdentityProof, OverlayError> {
        let known = self.registry.peek(&did, system::now())?;
        let standing = known.as_ref().map_or(Standing::UNKNOWN, |known| known.standing);
        Ok(IdentityProof {
            did,
            verified: false,
            trust_score: standing.score,
            standing,
            fingerprint: known.as_ref().map(|known| known.route.fingerprint),
            proof: None,
            registered_at: known.map(|known| known.route.registered_at),
            asked: true,
            reason: Some(reason),
        })
    }

    /// Looks a device up by name.
    ///
    /// # Errors
    /// [`OverlayError`]; an unknown or revoked name is no error but a route that says so.
    pub fn resolve(&mut self, did: &str) -> Result<OverlayRoute, OverlayError> {
        let name = Name::from_input(did)?;
        let now = system::now();
        match self.registry.resolve(&name, now) {
            Ok(Resolution { route, standing }) => {
                let record = route.record().map_err(StoreError::from)?;
                let endpoints = record.claims().endpoints.clone();
                Ok(OverlayRoute {
                    did: name,
                    resolved: true,
                    endpoint: endpoints.first().map(ToString::to_string).unwrap_or_default(),
                    endpoints,
                    trust_score: standing.score,
                    standing,
                    stale: now > route.expires_at,
                    record: Some(record),
                    reason: None,
                })
            }
            Err(refusal @ (Refusal::Unknown(_) | Refusal::Revoked { .. })) => {
                let standing = self.registry.standing(&name, now)?;
                Ok(OverlayRoute {
                    did: name,
                    resolved: false,
                    endpoint: String::new(),
                    endpoints: Vec::new(),
                    trust_score: standing.score,
                    standing,
                    stale: false,
                    record: None,
                    reason: Some(refusal.to_string()),
                })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The names of all devices that offer a capability, in the order they were registered.
    ///
    /// # Errors
    /// [`OverlayError`].
    pub fn find_by_capability(&mut self, capability: &str) -> Result<Vec<Name>, OverlayError> {
        let capability: Capability = capability
            .parse()
            .map_err(|source| OptionsError::Capability { text: capability.to_owned(), source })?;
        let now = system::now();
        let (mut names, mut after) = (Vec::new(), 0);
        loop {
            let page = self.registry.find(&capability, after, tibet_registry::MAX_PAGE, now)?;
            names.extend(page.names);
            match page.next {
                Some(next) => after = next,
                None => return Ok(names),
            }
        }
    }

    /// Tells of a device's new address. Its name, key and fingerprint stay.
    ///
    /// # Errors
    /// [`OverlayError::NotHere`] when the device's keys are elsewhere: only the device itself can say where it is.
    pub fn update_endpoint(&mut self, did: &str, endpoint: &str) -> Result<Registered, OverlayError> {
        let name = Name::from_input(did)?;
        let endpoint = options::parse_endpoint(endpoint)?;
        let now = system::now();
        self.load_device(&name)?;
        let device = self.device_mut(&name)?;
        let mut presence = device.presence();
        presence.endpoints = vec![endpoint];
        let record = device.publish(presence, now)?;
        Ok(self.registry.update(record, now)?)
    }

    /// Records that something odd about a device was seen.
    ///
    /// # Errors
    /// [`OverlayError::Refused`].
    pub fn record_anomaly(&mut self, did: &str, what: &str) -> Result<Standing, OverlayError> {
        Ok(self.registry.record_anomaly(&Name::from_input(did)?, what, system::now())?)
    }

    /// Records that a device failed a verification, as seen by the caller itself.
    ///
    /// # Errors
    /// [`OverlayError::Refused`].
    pub fn record_failed_verify(&mut self, did: &str, reason: &str) -> Result<Standing, OverlayError> {
        Ok(self.registry.record_failed_verify(&Name::from_input(did)?, reason, system::now())?)
    }

    /// The FIR/A breakdown of a device's trust.
    ///
    /// # Errors
    /// [`OverlayError::Refused`].
    pub fn get_fira(&self, did: &str) -> Result<Fira, OverlayError> {
        Ok(self.registry.fira(&Name::from_input(did)?, system::now())?)
    }

    /// The identity bound to a name, replayed from its key events.
    ///
    /// # Errors
    /// [`OverlayError`]; `None` for a name that is not registered.
    pub fn identity_of(&self, name: &Name) -> Result<Option<Identity>, OverlayError> {
        let Some(known) = self.registry.peek(name, system::now())? else { return Ok(None) };
        let events = known.route.events().map_err(StoreError::from)?;
        let own: Vec<_> =
            events.into_iter().filter(|event| !matches!(event, jis::KeyEvent::Revocation(_))).collect();
        let identity = Identity::replay(&own, &[]).map_err(Refusal::from)?;
        Ok(Some(Identity { status: known.route.status, ..identity }))
    }

    /// The registry below, for what has no call of its own here.
    #[must_use]
    pub fn registry(&self) -> &Registry<S> {
        &self.registry
    }

    /// The registry below, to drive it directly.
    pub fn registry_mut(&mut self) -> &mut Registry<S> {
        &mut self.registry
    }

    /// A device whose keys are on this machine.
    ///
    /// # Errors
    /// [`OverlayError::NotHere`], [`OverlayError::Device`].
    pub fn device(&mut self, name: &Name) -> Result<&mut LocalDevice, OverlayError> {
        self.load_device(name)?;
        self.device_mut(name)
    }

    fn device_mut(&mut self, name: &Name) -> Result<&mut LocalDevice, OverlayError> {
        self.devices.get_mut(name).ok_or_else(|| OverlayError::NotHere(name.clone()))
    }

    fn load_device(&mut self, name: &Name) -> Result<(), OverlayError> {
        if self.devices.contains_key(name) {
            return Ok(());
        }
        let files = self.state.as_ref().map(|state| state.identity(name, None)).filter(|files| files.exist());
        let device = files.ok_or_else(|| OverlayError::NotHere(name.clone()))?.open()?;
        self.adopt(device);
        Ok(())
    }

    fn device_or_new(&mut self, name: &Name) -> Result<(), OverlayError> {
        match self.load_device(name) {
            Err(OverlayError::NotHere(_)) => {}
            other => return other,
        }
        // Before keys are made for a name that is not ours.
        if self.registry.peek(name, system::now())?.is_some() {
            return Err(Refusal::NameTaken(name.clone()).into());
        }
        let now = system::now();
        let device = match &self.state {
            Some(state) => state.identity(name, None).create(name.clone(), now)?,
            None => LocalDevice::create(name.clone(), now)?,
        };
        self.adopt(device);
        Ok(())
    }
}

fn revocation_status(scope: RevocationScope) -> IdentityStatus {
    match scope {
        RevocationScope::Key => IdentityStatus::KeyRevoked,
        RevocationScope::Name => IdentityStatus::NameRevoked,
    }
}
