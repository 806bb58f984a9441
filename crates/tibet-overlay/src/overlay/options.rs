//! How a device is described when it is registered.

use std::time::Duration;

use jis::{Capability, Endpoint, EndpointError, Record, TextError};

use crate::device::Presence;

/// What to tell of a device. Texts are read when the device is registered, so that the calls can be chained.
#[derive(Debug, Clone, Default)]
pub struct DeviceOptions {
    endpoints: Vec<String>,
    behind_nat: bool,
    capabilities: Vec<String>,
    ttl: Option<Duration>,
}

/// An option that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// An endpoint.
    #[error("endpoint {text:?}: {source}")]
    Endpoint {
        /// As given.
        text: String,
        /// What is wrong with it.
        source: EndpointError,
    },
    /// A capability.
    #[error("capability {text:?}: {source}")]
    Capability {
        /// As given.
        text: String,
        /// What is wrong with it.
        source: TextError,
    },
    /// A ttl.
    #[error("a record holds for 1 second to {} hours", Record::MAX_TTL.as_secs() / 3600)]
    Ttl,
}

impl DeviceOptions {
    /// A device that tells of no address, for example one that only ever asks others.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A device that can be reached at `address:port`.
    #[must_use]
    pub fn at(endpoint: impl Into<String>) -> Self {
        Self::new().endpoint(endpoint)
    }

    /// Adds an endpoint, `address:port`, after the ones given before.
    #[must_use]
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoints.push(endpoint.into());
        self
    }

    /// Says that the device sits behind a NAT.
    #[must_use]
    pub fn behind_nat(mut self) -> Self {
        self.behind_nat = true;
        self
    }

    /// Adds something the device offers.
    #[must_use]
    pub fn capability(mut self, capability: impl Into<String>) -> Self {
        self.capabilities.push(capability.into());
        self
    }

    /// Sets how long the record holds: whole seconds, at most 24 hours, which is also the default.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Reads the texts.
    ///
    /// # Errors
    /// [`OptionsError`] naming the first that cannot be read.
    pub fn parse(self) -> Result<Presence, OptionsError> {
        let ttl = self.ttl.unwrap_or(Record::MAX_TTL);
        if ttl.as_secs() == 0 || ttl > Record::MAX_TTL {
            return Err(OptionsError::Ttl);
        }
        Ok(Presence {
            endpoints: self.endpoints.iter().map(|text| parse_endpoint(text)).collect::<Result<_, _>>()?,
            behind_nat: self.behind_nat,
            capabilities: self
                .capabilities
                .iter()
                .map(|text| parse_capability(text))
                .collect::<Result<_, _>>()?,
            ttl: Duration::from_secs(ttl.as_secs()),
            ..Presence::default()
        })
    }
}

pub(super) fn parse_endpoint(text: &str) -> Result<Endpoint, OptionsError> {
    text.parse().map_err(|source| OptionsError::Endpoint { text: text.to_owned(), source })
}

pub(super) fn parse_capability(text: &str) -> Result<Capability, OptionsError> {
    text.parse().map_err(|source| OptionsError::Capability { text: text.to_owned(), source })
}
