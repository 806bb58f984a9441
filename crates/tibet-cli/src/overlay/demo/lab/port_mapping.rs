//! A home router that maps ports for those who ask: `miniupnpd`, as many real ones have it.

use std::process::Command;
use std::time::Duration;

use super::rules::OUT;
use super::{Daemon, Lab, LabError};

/// The address outside of a router that maps ports. It has the lab's other one too, but its program takes all that are kept for examples for private ones, behind which
/// nothing can be mapped. Nobody but the machines of the lab ever sends there.
pub const MAPPED: &str = "203.0.114.110";
/// Far longer than the program takes to listen.
const LONG: Duration = Duration::from_secs(10);

/// Where the program puts its rules.
const CHAINS: &str = "table inet miniupnpd {
    chain through { type filter hook forward priority filter; jump miniupnpd
    }
    chain arriving { type nat hook prerouting priority dstnat; jump prerouting_miniupnpd
    }
    chain leaving { type nat hook postrouting priority srcnat; jump postrouting_miniupnpd
    }
    chain miniupnpd { }
    chain prerouting_miniupnpd { }
    chain postrouting_miniupnpd { }
}";

impl Lab {
    /// Has the home router of `a` map ports from now on, by PCP and NAT-PMP.
    ///
    /// # Errors
    ///
    /// There is no such router, or no `miniupnpd`.
    pub fn map_ports(&self) -> Result<Daemon, LabError> {
        let router = "router-a";
        self.shell(
            router,
            &format!(
                "ip addr add {MAPPED}/32 dev {OUT}
                nft insert rule ip lab itself iifname lan udp dport 5351 accept
                nft -f - <<'END'\n{CHAINS}\nEND"
            ),
        )?;
        self.shell("router-b", &format!("ip route add {MAPPED}/32 dev {OUT}"))?;
        let settings = self.state("miniupnpd.conf");
        std::fs::write(
            &settings,
            format!(
                "ext_ifname={OUT}\next_ip={MAPPED}\nlistening_ip=lan\nenable_natpmp=yes\nenable_upnp=no\n\
                upnp_table_name=miniupnpd\nupnp_nat_table_name=miniupnpd\n\
                uuid=00000000-0000-0000-0000-000000000001\nallow 1024-65535 192.168.1.0/24 1024-65535\n"
            ),
        )?;
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.netns(router), "miniupnpd", "-d", "-f"]).arg(settings);
        command.arg("-P").arg(self.state("miniupnpd.pid"));
        let program = Daemon::start(&mut command, self.state("miniupnpd.log"))?;
        let listens = || program.said().contains("Listening for NAT-PMP/PCP").then_some(());
        match self.wait("miniupnpd", LONG, listens) {
            Ok(_) => Ok(program),
            Err(error) => Err(LabError::new(format!("{error}: {}", program.said()))),
        }
    }

    /// What the router of `a` has mapped, as the rules of its kernel have it.
    ///
    /// # Errors
    ///
    /// It maps no ports.
    pub fn mapped_ports(&self) -> Result<Vec<String>, LabError> {
        let rules = self.shell("router-a", "nft list chain inet miniupnpd prerouting_miniupnpd")?;
        Ok(rules.lines().map(str::trim).filter(|rule| rule.contains("dnat")).map(str::to_owned).collect())
    }
}
