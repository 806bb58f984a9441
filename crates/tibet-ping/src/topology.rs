//! Pods and stations: how an operator groups devices. It is bookkeeping only; nothing of it feeds routing, trust or the airlock.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jis::{Capability, Name};

use crate::response::MAX_CAPABILITIES;

/// Pods there can be.
pub const MAX_PODS: usize = 1024;
/// Stations there can be.
pub const MAX_STATIONS: usize = 256;
/// Devices in a pod besides its hub.
pub const MAX_HUBBIES: usize = 1024;

/// Devices round a hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Names the pod.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// The device in the middle.
    pub hub: Name,
    /// The others, in the order they joined.
    pub hubbies: Vec<Name>,
    /// What the pod offers, at most [`MAX_CAPABILITIES`].
    pub capabilities: BTreeSet<Capability>,
    /// The station it belongs to, which may not exist yet.
    pub station_id: Option<String>,
}

impl Pod {
    /// The hub, then the others; each once.
    pub fn members(&self) -> impl Iterator<Item = &Name> {
        std::iter::once(&self.hub).chain(self.hubbies.iter().filter(|name| **name != self.hub))
    }
}

/// Pods under one roof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Station {
    /// Names the station.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Its pods, in the order they came.
    pub pod_ids: Vec<String>,
    /// The device that leads out of it.
    pub uplink: Option<Name>,
}

/// What a device is in its pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The middle of a pod.
    Hub,
    /// In a pod.
    Hubby,
    /// The middle of one pod and in another.
    Hybrid,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Hub => "hub",
            Self::Hubby => "hubby",
            Self::Hybrid => "hybrid",
        })
    }
}

/// Why a group cannot be changed so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopologyError {
    /// No pod has this id.
    #[error("no such pod")]
    UnknownPod,
    /// A pod or station has this id already.
    #[error("this id is taken")]
    Taken,
    /// [`MAX_PODS`], [`MAX_STATIONS`], [`MAX_HUBBIES`], or too many capabilities.
    #[error("no room for more")]
    Full,
}

/// Pods, stations, and which device is what.
#[derive(Debug, Default)]
pub struct Topology {
    pods: BTreeMap<String, Pod>,
    stations: BTreeMap<String, Station>,
    pod_of: BTreeMap<Name, String>,
}

impl Topology {
    /// Nothing grouped yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a station. Pods made before that name it stay outside, as in the Python packages.
    ///
    /// # Errors
    /// [`TopologyError::Taken`], [`TopologyError::Full`].
    pub fn create_station(
        &mut self,
        id: &str,
        name: &str,
        uplink: Option<Name>,
    ) -> Result<(), TopologyError> {
        if self.stations.contains_key(id) {
            return Err(TopologyError::Taken);
        }
        if self.stations.len() >= MAX_STATIONS {
            return Err(TopologyError::Full);
        }
        let station = Station { id: id.to_owned(), name: name.to_owned(), pod_ids: Vec::new(), uplink };
        self.stations.insert(id.to_owned(), station);
        Ok(())
    }

    /// Makes a pod round a hub, and puts it into its station if that exists.
    ///
    /// # Errors
    /// [`TopologyError::Taken`], [`TopologyError::Full`].
    pub fn create_pod(
        &mut self,
        id: &str,
        name: &str,
        hub: Name,
        station_id: Option<&str>,
        capabilities: BTreeSet<Capability>,
    ) -> Result<(), TopologyError> {
        if self.pods.contains_key(id) {
            return Err(TopologyError::Taken);
        }
        if self.pods.len() >= MAX_PODS || capabilities.len() > MAX_CAPABILITIES {
            return Err(TopologyError::Full);
        }
        if let Some(station) = station_id.and_then(|station| self.stations.get_mut(station)) {
            station.pod_ids.push(id.to_owned());
        }
        self.pod_of.insert(hub.clone(), id.to_owned());
        let station_id = station_id.map(str::to_owned);
        let (id, name) = (id.to_owned(), name.to_owned());
        self.pods.insert(id.clone(), Pod { id, name, hub, hubbies: Vec::new(), capabilities, station_id });
        Ok(())
    }

    /// Puts a device into a pod. It leaves the pod it was in, unless it is that pod's hub; Python leaves it in both lists.
    ///
    /// # Errors
    /// [`TopologyError::UnknownPod`], [`TopologyError::Full`].
    pub fn add_hubby(&mut self, pod_id: &str, device: Name) -> Result<(), TopologyError> {
        let pod = self.pods.get(pod_id).ok_or(TopologyError::UnknownPod)?;
        if pod.hubbies.contains(&device) {
            return Ok(());
        }
        if pod.hubbies.len() >= MAX_HUBBIES {
            return Err(TopologyError::Full);
        }
        if let Some(left) = self.pod_of.get(&device).and_then(|id| self.pods.get_mut(id)) {
            left.hubbies.retain(|other| *other != device);
        }
        if let Some(pod) = self.pods.get_mut(pod_id) {
            pod.hubbies.push(device.clone());
        }
        self.pod_of.insert(device, pod_id.to_owned());
        Ok(())
    }

    /// Takes a device out of the pod it is in, unless it is that pod's hub; whether it was there.
    pub fn remove_hubby(&mut self, device: &Name) -> bool {
        let Some(pod) = self.pod_of.get(device).and_then(|id| self.pods.get_mut(id)) else { return false };
        let before = pod.hubbies.len();
        pod.hubbies.retain(|other| other != device);
        let removed = pod.hubbies.len() < before;
        if removed {
            match self.pods.values().find(|pod| pod.hub == *device) {
                Some(own) => self.pod_of.insert(device.clone(), own.id.clone()),
                None => self.pod_of.remove(device),
            };
        }
        removed
    }

    /// The pod with this id.
    #[must_use]
    pub fn pod(&self, id: &str) -> Option<&Pod> {
        self.pods.get(id)
    }

    /// The station with this id.
    #[must_use]
    pub fn station(&self, id: &str) -> Option<&Station> {
        self.stations.get(id)
    }

    /// All pods, by id.
    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.pods.values()
    }

    /// All stations, by id.
    pub fn stations(&self) -> impl Iterator<Item = &Station> {
        self.stations.values()
    }

    /// The pod a device is in: the one it joined last.
    #[must_use]
    pub fn pod_of(&self, device: &Name) -> Option<&Pod> {
        self.pods.get(self.pod_of.get(device)?)
    }

    /// What a device is, from what the pods say. `None` for one in no pod.
    #[must_use]
    pub fn role(&self, device: &Name) -> Option<Role> {
        let hub = self.pods.values().any(|pod| pod.hub == *device);
        let hubby = self.pod_of(device).is_some_and(|pod| pod.hub != *device);
        match (hub, hubby) {
            (true, true) => Some(Role::Hybrid),
            (true, false) => Some(Role::Hub),
            (false, true) => Some(Role::Hubby),
            (false, false) => None,
        }
    }

    /// The devices in pods, by name.
    pub fn devices(&self) -> impl Iterator<Item = &Name> {
        self.pod_of.keys()
    }
}
