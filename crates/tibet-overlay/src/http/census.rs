//! How many identities there are of which kind: counted now and then, off the request's path.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jis::{Capability, IdentityStatus, Record, Signed};
use tibet_registry::Zone;

use super::app::App;
use crate::server::NodeHandle;
use crate::system;

/// How long a count is good for at least.
const FRESH: Duration = Duration::from_secs(5);
/// A count may take so small a part of one core: one that took a second is good for thirty.
const SHARE: u32 = 30;
/// Identities read under one lock on the directory, some tenths of a millisecond.
const PAGE: usize = 500;
/// Capabilities that are counted; a device can name any.
const MAX_CAPABILITIES: usize = 10_000;
/// Capabilities that are told of.
pub(super) const TOP_CAPABILITIES: usize = 100;

/// A count of identities.
#[derive(Debug, Clone, Default)]
pub(super) struct Census {
    pub(super) groen: u64,
    pub(super) geel: u64,
    /// Revoked identities among them.
    pub(super) rood: u64,
    pub(super) revoked: u64,
    pub(super) disputed: u64,
    /// The most frequent, most frequent first.
    pub(super) capabilities: Vec<(Capability, u64)>,
}

/// The last count.
#[derive(Default)]
pub(super) struct Censuses {
    last: Mutex<Option<Held>>,
    /// Held by whoever counts.
    counting: tokio::sync::Mutex<()>,
}

struct Held {
    census: Arc<Census>,
    until: Instant,
}

/// A count of some seconds ago. The first one, and only that, is waited for.
pub(super) async fn census(app: &Arc<App>) -> Arc<Census> {
    let held = |only_fresh: bool| {
        let last = app.censuses.last.lock().unwrap_or_else(PoisonError::into_inner);
        let usable = last.as_ref().filter(|held| !only_fresh || held.until > Instant::now());
        usable.map(|held| Arc::clone(&held.census))
    };
    if let Some(fresh) = held(true) {
        return fresh;
    }
    // In a task of its own: whoever asked may be gone before it is done.
    let renewal = tokio::spawn(renew(Arc::clone(app)));
    match held(false) {
        Some(stale) => stale,
        None => renewal.await.unwrap_or_default(),
    }
}

async fn renew(app: Arc<App>) -> Arc<Census> {
    let _counting = app.censuses.counting.lock().await;
    if let Some(held) = &*app.censuses.last.lock().unwrap_or_else(PoisonError::into_inner)
        && held.until > Instant::now()
    {
        return Arc::clone(&held.census);
    }
    let node = app.node.clone();
    let begun = Instant::now();
    let census = Arc::new(tokio::task::spawn_blocking(move || count(&node)).await.unwrap_or_default());
    let until = Instant::now() + FRESH.max(begun.elapsed() * SHARE);
    let mut last = app.censuses.last.lock().unwrap_or_else(PoisonError::into_inner);
    *last = Some(Held { census: Arc::clone(&census), until });
    census
}

fn count(node: &NodeHandle) -> Census {
    let now = system::now();
    let mut census = Census::default();
    let mut capabilities: HashMap<Capability, u64> = HashMap::new();
    let mut after = 0;
    loop {
        // The lock lasts for a page of small copies; what is costly comes after it.
        let page: Vec<_> = node.directory().after(after).take(PAGE).collect();
        let Some(last) = page.last() else { break };
        after = u32::try_from(last.id).unwrap_or(u32::MAX);
        for route in &page {
            let standing = route.own_standing(now);
            match standing.zone {
                Zone::Groen => census.groen += 1,
                Zone::Geel => census.geel += 1,
                Zone::Rood => census.rood += 1,
            }
            census.disputed += u64::from(standing.disputed);
            if route.status != IdentityStatus::Active {
                census.revoked += 1;
                continue;
            }
            let Ok(record) = Signed::<Record>::decode(route.record_bytes()) else { continue };
            for capability in &record.claims().capabilities {
                if let Some(count) = capabilities.get_mut(capability) {
                    *count += 1;
                } else if capabilities.len() < MAX_CAPABILITIES {
                    capabilities.insert(capability.clone(), 1);
                }
            }
        }
    }
    let mut capabilities: Vec<_> = capabilities.into_iter().collect();
    capabilities.sort_by(|(a, n), (b, m)| (Reverse(n), a).cmp(&(Reverse(m), b)));
    capabilities.truncate(TOP_CAPABILITIES);
    Census { capabilities, ..census }
}
