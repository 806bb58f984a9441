//! Rules for beacons.

use crate::beacon::Beacon;
use crate::glob::Glob;

/// Rules there can be. The operator adds them; each is tried for each beacon.
pub const MAX_BEACON_RULES: usize = 256;

/// Which devices the operator wants vouched for as soon as they are seen. The default is for all.
///
/// Python has a regular expression for the source; here it is a [`Glob`], so that no name can make matching slow (SECURITY 3.2 row 76).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BeaconRule {
    /// What people call it.
    pub name: Option<String>,
    /// The device type, exactly.
    pub device_type: Option<String>,
    /// Capabilities it must have, all of them.
    pub required_capabilities: Vec<String>,
    /// The name.
    pub source_pattern: Option<Glob>,
    /// The pod it is put into.
    pub pod_id: Option<String>,
}

impl BeaconRule {
    /// Whether the beacon's device is meant.
    #[must_use]
    pub fn matches(&self, beacon: &Beacon) -> bool {
        let offers = |wanted: &String| beacon.capabilities.iter().any(|c| c.as_str() == wanted);
        self.device_type.as_ref().is_none_or(|wanted| wanted == beacon.device_type.as_str())
            && self.required_capabilities.iter().all(offers)
            && self.source_pattern.as_ref().is_none_or(|glob| glob.matches(beacon.name.as_str()))
    }
}
