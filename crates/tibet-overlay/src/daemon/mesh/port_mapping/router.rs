//! What is said to the router: PCP (RFC 6887), and where it does not speak that, NAT-PMP (RFC 6886).
//!
//! What answers is the router, or whoever is on the local network and says so. An answer is a few bytes of fixed length, waited for no longer than [`PATIENCE`], and
//! says an address that strangers could reach, or nothing.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crab_nat::pcp::{BaseMapRequest, DropMappingRange, Failure as Pcp};
use crab_nat::{InternetProtocol, PortMappingOptions, PortMappingType, TimeoutConfig, natpmp, pcp};
use jis::Endpoint;

use crate::netcheck::is_inside;
use crate::system;

/// How long the router is asked to keep a mapping, and the longest that it is believed to: RFC 6886, section 3.3.
pub(super) const LIFETIME: Duration = Duration::from_secs(7200);
/// What is kept for less is no use: it would be asked for again and again, and each time be another.
const SHORTEST: Duration = Duration::from_secs(60);
/// A question is asked four times, in 2.75 s: a router is one hop away.
const PATIENCE: TimeoutConfig = TimeoutConfig {
    initial_timeout: Duration::from_millis(250),
    max_retries: 3,
    max_retry_timeout: Some(Duration::from_secs(1)),
};

/// Which router, and what of ours it is to send to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Way {
    /// The router.
    pub(super) gateway: Ipv4Addr,
    /// Our own address as the router has it.
    pub(super) address: Ipv4Addr,
    /// The UDP port of our own socket: nothing else is ever mapped.
    pub(super) port: NonZeroU16,
}

/// How a router was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Pcp,
    NatPmp,
}

impl Protocol {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Pcp => "PCP",
            Self::NatPmp => "NAT-PMP",
        }
    }
}

/// What a router has promised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) way: Way,
    pub(super) protocol: Protocol,
    /// Where strangers find us.
    pub(super) external: Endpoint,
    pub(super) lifetime: Duration,
}

/// Why there is no mapping.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Reason {
    #[error("no node has said yet where it sees this device")]
    NotSeen,
    #[error("no node sees this device behind a NAT")]
    NoNat,
    #[error("this machine has no IPv4 router")]
    NoRouter,
    #[error("the socket is bound to {0}, where the router does not send")]
    Elsewhere(SocketAddr),
    #[error("the router speaks neither PCP nor NAT-PMP")]
    Silent,
    #[error("the router's answer makes no sense")]
    Garbled,
    #[error("the router refuses: {0}")]
    Refused(&'static str),
    #[error(
        "the router's own address outside is {0}, which is no public one: there is another NAT beyond it"
    )]
    DoubleNat(IpAddr),
    #[error("the router says that its address outside is {0}, which nobody could reach")]
    Useless(IpAddr),
    #[error("the router names port {0}, which belongs to another service")]
    Port(u16),
    #[error("the router would keep it for {} s only", .0.as_secs())]
    Short(Duration),
}

/// Speaks with routers.
#[derive(Debug)]
pub(super) struct Router {
    /// Shows a router that speaks PCP that a mapping is ours.
    nonce: pcp::Nonce,
    /// What a router may have mapped, whether we heard of it or not.
    perhaps: Mutex<Option<(Way, Protocol)>>,
}

struct Answer {
    protocol: Protocol,
    external: SocketAddr,
    lifetime: Duration,
}

impl Router {
    pub(super) fn new() -> Self {
        // Without randomness nothing of the daemon works: no consent is made then that could name a candidate.
        let random: [u8; 12] = system::random().unwrap_or_default();
        let mut nonce = pcp::Nonce::default();
        for (number, bytes) in nonce.iter_mut().zip(random.as_chunks().0) {
            *number = u32::from_be_bytes(*bytes);
        }
        Self { nonce, perhaps: Mutex::default() }
    }

    /// Asks for a mapping, or for `held` to be kept on.
    ///
    /// # Errors
    /// The router says nothing, no, or nonsense.
    pub(super) async fn map(&self, way: Way, held: Option<&Mapping>) -> Result<Mapping, Reason> {
        let held = held.filter(|held| held.way == way);
        let asked = self.ask(way, held).await;
        let judged = match asked {
            Ok(answer) => match judge(&answer) {
                Ok(external) => {
                    let Answer { protocol, lifetime, .. } = answer;
                    return Ok(Mapping { way, protocol, external, lifetime: lifetime.min(LIFETIME) });
                }
                Err(reason) => {
                    self.unmap().await;
                    reason
                }
            },
            Err(reason) => reason,
        };
        if held.is_none() {
            self.forget();
        }
        Err(judged)
    }

    /// Has the router forget what it may have mapped.
    pub(super) async fn unmap(&self) {
        let Some((way, protocol)) = self.forget() else { return };
        let (gateway, udp, internal_port) = (way.gateway.into(), InternetProtocol::Udp, way.port);
        let unmapped = match protocol {
            Protocol::Pcp => {
                let ours = DropMappingRange::Single { protocol: udp, internal_port };
                let client = way.address.into();
                pcp::try_drop_mapping(gateway, client, self.nonce, ours, Some(PATIENCE)).await.is_ok()
            }
            Protocol::NatPmp => {
                natpmp::try_drop_mapping(gateway, udp, Some(internal_port), Some(PATIENCE)).await.is_ok()
            }
        };
        tracing::debug!(unmapped, "the router was told that the port is not needed any more");
    }

    async fn ask(&self, way: Way, held: Option<&Mapping>) -> Result<Answer, Reason> {
        let port = held.map_or(way.port.get(), |held| held.external.address().port());
        let options = PortMappingOptions {
            external_port: NonZeroU16::new(port),
            lifetime_seconds: u32::try_from(LIFETIME.as_secs()).ok(),
            timeout_config: Some(PATIENCE),
        };
        if held.is_none_or(|held| held.protocol == Protocol::Pcp) {
            self.note(way, Protocol::Pcp);
            match self.ask_by_pcp(way, options).await {
                // What does not speak it may speak the older one.
                Err(Reason::Silent | Reason::Garbled) => {}
                other => return other,
            }
        }
        self.ask_by_nat_pmp(way, options).await
    }

    async fn ask_by_pcp(&self, way: Way, options: PortMappingOptions) -> Result<Answer, Reason> {
        let request =
            BaseMapRequest::new(way.gateway.into(), way.address.into(), InternetProtocol::Udp, way.port);
        let mapped =
            pcp::port_mapping(request, Some(self.nonce), None, options).await.map_err(said_by_pcp)?;
        let PortMappingType::Pcp { external_ip, .. } = mapped.mapping_type() else {
            return Err(Reason::Garbled);
        };
        Ok(Answer {
            protocol: Protocol::Pcp,
            external: SocketAddr::new(external_ip, mapped.external_port().get()),
            lifetime: Duration::from_secs(mapped.lifetime().into()),
        })
    }

    async fn ask_by_nat_pmp(&self, way: Way, options: PortMappingOptions) -> Result<Answer, Reason> {
        let gateway = way.gateway.into();
        // First, so that nothing is mapped in vain.
        let address =
            natpmp::external_address(gateway, options.timeout_config).await.map_err(said_by_nat_pmp)?;
        is_public(address.into())?;
        self.note(way, Protocol::NatPmp);
        let mapped = natpmp::port_mapping(gateway, InternetProtocol::Udp, way.port, options);
        let mapped = mapped.await.map_err(said_by_nat_pmp)?;
        Ok(Answer {
            protocol: Protocol::NatPmp,
            external: SocketAddr::new(address.into(), mapped.external_port().get()),
            lifetime: Duration::from_secs(mapped.lifetime().into()),
        })
    }

    fn note(&self, way: Way, protocol: Protocol) {
        *self.perhaps.lock().unwrap_or_else(PoisonError::into_inner) = Some((way, protocol));
    }

    fn forget(&self) -> Option<(Way, Protocol)> {
        self.perhaps.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Whether an answer is of any use (SECURITY R12, R48).
fn judge(answer: &Answer) -> Result<Endpoint, Reason> {
    is_public(answer.external.ip())?;
    if answer.lifetime < SHORTEST {
        return Err(Reason::Short(answer.lifetime));
    }
    Endpoint::new(answer.external).map_err(|_| Reason::Port(answer.external.port()))
}

fn is_public(address: IpAddr) -> Result<(), Reason> {
    // An IPv6 address is none that was asked for.
    let IpAddr::V4(ip) = address else { return Err(Reason::Useless(address)) };
    let [first, second, third, _] = ip.octets();
    if first == 0 || first >= 224 || ip.is_loopback() || ip.is_link_local() {
        return Err(Reason::Useless(address));
    }
    // 192.0.0.0/24 is what homes and carriers have between them (RFC 6890).
    if is_inside(&address) || (first, second, third) == (192, 0, 0) {
        return Err(Reason::DoubleNat(address));
    }
    Ok(())
}

fn said_by_pcp(failure: Pcp) -> Reason {
    match failure {
        Pcp::Socket(_) | Pcp::Timeout => Reason::Silent,
        Pcp::UnsupportedVersion(_) | Pcp::UnsupportedOpcode => Reason::Silent,
        Pcp::NotAuthorized(_) => Reason::Refused("not authorised"),
        Pcp::NetworkFailure(_) => Reason::Refused("its own network has failed"),
        Pcp::NoResources(_) => Reason::Refused("it has no room"),
        Pcp::UserExceededQuota(_) => Reason::Refused("too many ports are mapped for this machine"),
        Pcp::CannotProvideExternal(_) => Reason::Refused("it has no such port"),
        Pcp::AddressMismatch => Reason::Refused("there is another NAT between it and this machine"),
        Pcp::UnsupportedProtocol => Reason::Refused("it maps no UDP"),
        Pcp::Nonce
        | Pcp::InvalidResponse(_)
        | Pcp::MalformedRequest
        | Pcp::MalformedOption
        | Pcp::UnsupportedOption
        | Pcp::ExcessiveRemotePeers => Reason::Garbled,
    }
}

fn said_by_nat_pmp(failure: natpmp::Failure) -> Reason {
    use natpmp::Failure;
    match failure {
        Failure::Socket(_) | Failure::Timeout => Reason::Silent,
        Failure::UnsupportedVersion(_) | Failure::UnsupportedOpcode => Reason::Silent,
        Failure::NotAuthorized => Reason::Refused("not authorised"),
        Failure::NetworkFailure => Reason::Refused("its own network has failed"),
        Failure::OutOfResources => Reason::Refused("it has no room"),
        Failure::InvalidResponse(_) => Reason::Garbled,
    }
}
