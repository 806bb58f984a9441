//! A running overlay node with a registry in memory, whose log is audited when the test is over.
#![allow(dead_code, unreachable_pub, missing_docs)]

use std::sync::Arc;

use jis::{Name, SecretKey, UnixTime};
use tibet_overlay::server::{AnyRegistry, NodeHandle, NodeKeys, OverlayNode, OverlayNodeConfig};
use tibet_overlay::system;
use tibet_registry::{MemoryStore, Opening, Policy, Registry, Route, Standing, Store};
use tokio::runtime::Runtime;
use zeroize::Zeroizing;

use super::device::{copy, name, new_key};
use super::raw::Raw;

pub struct World {
    runtime: Runtime,
    node: Option<OverlayNode>,
    /// The registry's own name.
    pub origin: Name,
    /// Signs enrolment tokens.
    pub issuer: SecretKey,
}

/// First come is open to any number from one network, and tokens of the world's issuer are taken.
pub fn open() -> Policy {
    Policy { names_per_hour: u32::MAX, ..Policy::default() }
}

/// One worker: what is asked first is answered first, so that an answer shows that what was asked before got none.
pub fn one_worker() -> OverlayNodeConfig {
    let bind = "127.0.0.1:0".parse().expect("address");
    OverlayNodeConfig { bind, workers: 1, ..OverlayNodeConfig::default() }
}

/// Runs a test against a node.
pub fn with_world(test: impl FnOnce(&World)) {
    with_config(open(), one_worker(), test);
}

/// Likewise, under a policy of its own.
pub fn with_config(policy: Policy, config: OverlayNodeConfig, test: impl FnOnce(&World)) {
    let mut world = World::start(Box::new(MemoryStore::new()), policy, config);
    test(&world);
    let registry = world.stop();
    let audit = registry.audit(None).expect("audited");
    assert!(audit.is_clean(), "{audit:?}");
}

impl World {
    pub fn start(store: Box<dyn Store + Send>, policy: Policy, config: OverlayNodeConfig) -> Self {
        let issuer = new_key();
        let policy = Policy { issuers: vec![issuer.public_key()], ..policy };
        let secret = system::random().expect("random");
        let opening = Opening { log_key: Arc::new(new_key()), origin: None, policy, secret };
        let registry = Registry::open(store, opening).expect("opened");
        Self::run(
            registry,
            NodeKeys { identity: new_key(), keepalive: Zeroizing::new([7; 32]) },
            issuer,
            config,
        )
    }

    /// A node over a registry that is open.
    pub fn run(registry: AnyRegistry, keys: NodeKeys, issuer: SecretKey, config: OverlayNodeConfig) -> Self {
        let origin = registry.origin().clone();
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build().expect("runtime");
        let node = runtime.block_on(OverlayNode::start(registry, keys, config)).expect("started");
        Self { runtime, node: Some(node), origin, issuer: copy(&issuer) }
    }

    pub fn node(&self) -> &OverlayNode {
        self.node.as_ref().expect("running")
    }

    pub fn handle(&self) -> NodeHandle {
        self.node().handle()
    }

    /// A socket with a cookie.
    pub fn raw(&self) -> Raw {
        Raw::connect(self.node().local_addr())
    }

    /// What the node has in memory of a name.
    pub fn route(&self, text: &str) -> Option<Route> {
        self.handle().directory().route(text)
    }

    /// Uses the registry as the operator of the node would. `text` is the name it touches.
    pub fn with_registry<T: Send + 'static>(
        &self,
        text: &str,
        change: impl FnOnce(&mut AnyRegistry, UnixTime) -> T + Send + 'static,
    ) -> T {
        let names = vec![name(text)];
        let handle = self.handle();
        let changed = handle.registry().call(move |registry, now| (change(registry, now), names));
        self.runtime.block_on(changed).expect("written")
    }

    pub fn standing(&self, text: &str) -> Standing {
        let whose = name(text);
        self.with_registry(text, move |registry, now| registry.standing(&whose, now)).expect("read")
    }

    /// Pairs of contradicting objects that are kept.
    pub fn evidence(&self, text: &str) -> usize {
        let number = self.route(text).expect("registered").id;
        self.with_registry(text, move |registry, _| registry.store().evidence(number)).expect("read").len()
    }

    /// Tokens of one action in the log.
    pub fn tokens(&self, action: &str) -> usize {
        let query = tibet_core::Query { action: Some(action.into()), limit: 100_000, ..Default::default() };
        self.with_registry("jis:none", move |registry, _| registry.tokens(&query)).expect("read").len()
    }

    /// Stops the node and gives its registry back.
    pub fn stop(&mut self) -> AnyRegistry {
        let node = self.node.take().expect("running");
        self.runtime.block_on(node.stop()).expect("stopped").expect("its registry")
    }
}
