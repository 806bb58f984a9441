//! Intents that the application answers.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tibet_core::json::Object;
use tibet_ping::{Packet, PingSeen};

/// What a handler is asked: a ping that was let in.
#[derive(Debug, Clone)]
pub struct IntentRequest {
    /// The ping, with who sent it and how far that is proven and trusted.
    pub ping: PingSeen,
}

impl IntentRequest {
    /// The packet.
    #[must_use]
    pub fn packet(&self) -> &Packet {
        &self.ping.packet
    }
}

/// What a handler answers.
#[derive(Debug, Clone, Default)]
pub struct IntentAnswer {
    /// What comes with the answer.
    pub payload: Object,
    /// What is offered; `None` for what the node offers anyway.
    pub capabilities: Option<Vec<String>>,
}

impl From<Object> for IntentAnswer {
    fn from(payload: Object) -> Self {
        Self { payload, capabilities: None }
    }
}

pub(super) type Handler =
    Arc<dyn Fn(IntentRequest) -> Pin<Box<dyn Future<Output = IntentAnswer> + Send>> + Send + Sync>;
