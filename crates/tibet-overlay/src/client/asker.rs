//! Who asks.

use std::sync::{Arc, Mutex, PoisonError};

use tibet_ping::NodeIdentity;

/// The identity that signs questions. All clones are one: a device that changes its key does so everywhere at once.
#[derive(Debug, Clone)]
pub struct Asker(Arc<Mutex<Arc<NodeIdentity>>>);

impl Asker {
    /// Asks as `identity`.
    #[must_use]
    pub fn new(identity: NodeIdentity) -> Self {
        Self(Arc::new(Mutex::new(Arc::new(identity))))
    }

    /// Who asks now.
    #[must_use]
    pub fn identity(&self) -> Arc<NodeIdentity> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks as `identity` from now on.
    pub fn replace(&self, identity: NodeIdentity) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(identity);
    }
}
