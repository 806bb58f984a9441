//! Making the interface, step by step, so that each refusal can be told apart.

use std::fs;
use std::io::{self, ErrorKind};
use std::time::Duration;

use tun_rs::{DeviceBuilder, SyncDevice};

use super::{MIN_MTU, TunConfig, TunError};

/// `IFNAMSIZ` without the zero at the end.
const MAX_NAME: usize = 15;
/// `EINVAL`: among others what a kernel says that does not know an offload.
const INVALID: i32 = 22;
/// `EAFNOSUPPORT`: the kernel was built or started without IPv6.
const NO_FAMILY: i32 = 97;
/// `ENODEV` and `ENXIO`: there is a device file, and no driver behind it.
const NO_DRIVER: [i32; 2] = [19, 6];
/// `IFA_F_TENTATIVE`.
const TENTATIVE: u32 = 0x40;
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) fn make(config: &TunConfig) -> Result<SyncDevice, TunError> {
    let name = config.name.as_str();
    check(config)?;
    if exists(name) {
        return Err(TunError::Taken(name.into()));
    }
    let device = create(name, config.offload).map_err(|error| refused(error, name))?;
    // The interface has no use for an address of the link: it would only announce it into the mesh. Where this cannot be said it does no harm.
    let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{name}/addr_gen_mode"), "1");
    device.set_mtu(config.mtu).map_err(|source| TunError::Os { doing: "setting the MTU", source })?;
    device.add_address_v6(config.address, config.prefix_length).map_err(|source| {
        let none = source.kind() == ErrorKind::PermissionDenied || source.raw_os_error() == Some(NO_FAMILY);
        if none { TunError::NoIpv6 } else { TunError::Os { doing: "setting the address", source } }
    })?;
    device.enabled(true).map_err(|source| TunError::Os { doing: "starting the interface", source })?;
    Ok(device)
}

fn check(config: &TunConfig) -> Result<(), TunError> {
    let name = config.name.as_str();
    // '%' begins a number that the kernel would choose.
    let fits = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | ':' | '%');
    if !(1..=MAX_NAME).contains(&name.len()) || matches!(name, "." | "..") || !name.chars().all(fits) {
        return Err(TunError::Name(name.chars().take(MAX_NAME + 1).collect()));
    }
    if config.mtu < MIN_MTU {
        return Err(TunError::Mtu(config.mtu));
    }
    if config.prefix_length > 128 {
        return Err(TunError::Prefix(config.prefix_length));
    }
    Ok(())
}

/// Whether this thread's network has an interface of that name. A persistent TUN device would be joined silently otherwise.
fn exists(name: &str) -> bool {
    let interfaces = fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    interfaces.lines().filter_map(|line| line.split_once(':')).any(|(other, _)| other.trim() == name)
}

/// Waits until the kernel lets programs bind the address, which it does a moment after the interface was started.
///
/// # Errors
/// It does not within a second.
pub(super) async fn usable(config: &TunConfig) -> Result<(), TunError> {
    let began = tokio::time::Instant::now();
    while is_tentative(&config.name) {
        if began.elapsed() > PATIENCE {
            return Err(TunError::Os {
                doing: "waiting for the address",
                source: ErrorKind::TimedOut.into(),
            });
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// Whether an address of the interface is still being looked for elsewhere, which on this kind of interface it is not for long.
fn is_tentative(name: &str) -> bool {
    // Address, index, prefix length, scope, flags, name (proc_net(5)).
    let addresses = fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap_or_default();
    addresses.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).any(|fields| match fields[..] {
        [_, _, _, _, flags, other] => {
            other == name && u32::from_str_radix(flags, 16).is_ok_and(|flags| flags & TENTATIVE != 0)
        }
        _ => false,
    })
}

fn create(name: &str, offload: bool) -> io::Result<SyncDevice> {
    // `tun-rs` asks for TCP first and for UDP besides, and does without the latter where the kernel is older than 6.2.
    match DeviceBuilder::new().name(name).offload(offload).enable(false).build_sync() {
        Err(error) if offload && error.raw_os_error() == Some(INVALID) => create(name, false),
        other => other,
    }
}

fn refused(error: io::Error, name: &str) -> TunError {
    match (error.kind(), error.raw_os_error()) {
        (ErrorKind::PermissionDenied, _) => TunError::NotAllowed(name.into()),
        (ErrorKind::NotFound, _) => TunError::NoDriver,
        (_, Some(code)) if NO_DRIVER.contains(&code) => TunError::NoDriver,
        (ErrorKind::ResourceBusy, _) => TunError::Taken(name.into()),
        _ => TunError::Os { doing: "making the interface", source: error },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_no_interface_is_refused_before_the_kernel_is_asked() {
        let config = |name: &str| TunConfig::new(name, "fd00::1".parse().expect("address"));
        for name in ["", "sixteen-letters-", "a/b", "a b", "tun%d", "a:1", "..", "tün"] {
            assert!(matches!(make(&config(name)), Err(TunError::Name(_))), "{name}");
        }
        assert!(matches!(make(&TunConfig { mtu: 1279, ..config("t") }), Err(TunError::Mtu(1279))));
        assert!(matches!(make(&TunConfig { prefix_length: 129, ..config("t") }), Err(TunError::Prefix(129))));
        assert!(matches!(make(&config("lo")), Err(TunError::Taken(_))));
    }

    #[test]
    fn each_refusal_of_the_kernel_says_what_to_do_next() {
        let said = |code| refused(io::Error::from_raw_os_error(code), "tibet0").to_string();
        assert!(said(1).contains("CAP_NET_ADMIN") && said(13).contains("`forward`"), "{}", said(1));
        assert!(said(2).contains("modprobe tun") && said(19).contains("modprobe tun"), "{}", said(2));
        assert!(said(16).contains("ip link show tibet0"), "{}", said(16));
        assert!(said(12).contains("making the interface"), "{}", said(12));
    }
}
