//! How many identities there are of which kind: counted now and then, off the request's path.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jis::{Capability, IdentityStatus, Record, Signed};
use tibet_registry::{Route, Zone};

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
const TOP_CAPABILITIES: usize = 100;

/// Identities by kind.
#[derive(Debug, Clone, Default)]
pub(super) struct Census {
    pub(super) groen: u64,
    pub(super) geel: u64,
    /// Revoked identities among them.
    pub(super) rood: u64,
    pub(super) revoked: u64,
    pub(super) disputed: u64,
}

/// The most frequent capabilities of identities that may speak, most frequent first.
pub(super) type Capabilities = Vec<(Capability, u64)>;

/// A count, and how long it is good for.
pub(super) struct Kept<T> {
    last: Mutex<Option<(Arc<T>, Instant)>>,
    /// Held by whoever counts.
    counting: tokio::sync::Mutex<()>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self { last: Mutex::default(), counting: tokio::sync::Mutex::default() }
    }
}

impl<T> Kept<T> {
    fn held(&self, only_fresh: bool) -> Option<Arc<T>> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let usable = last.as_ref().filter(|(_, until)| !only_fresh || *until > Instant::now());
        usable.map(|(count, _)| Arc::clone(count))
    }
}

/// A count by kind, of some seconds ago.
pub(super) async fn census(app: &Arc<App>) -> Arc<Census> {
    get(app, |app| &app.census, by_kind).await
}

/// A count by capability, of some seconds ago. It reads every record: of a million identities the first one takes seconds.
pub(super) async fn capabilities(app: &Arc<App>) -> Arc<Capabilities> {
    get(app, |app| &app.capabilities, by_capability).await
}

/// The last count. The first one, and only that, is waited for.
async fn get<T: Default + Send + Sync + 'static>(
    app: &Arc<App>,
    kept: fn(&App) -> &Kept<T>,
    count: fn(&NodeHandle) -> T,
) -> Arc<T> {
    if let Some(fresh) = kept(app).held(true) {
        return fresh;
    }
    // In a task of its own: whoever asked may be gone before it is done.
    let renewal = tokio::spawn(renew(Arc::clone(app), kept, count));
    match kept(app).held(false) {
        Some(stale) => stale,
        None => renewal.await.unwrap_or_default(),
    }
}

async fn renew<T: Default + Send + Sync + 'static>(
    app: Arc<App>,
    kept: fn(&App) -> &Kept<T>,
    count: fn(&NodeHandle) -> T,
) -> Arc<T> {
    let kept = kept(&app);
    let _counting = kept.counting.lock().await;
    if let Some(counted_meanwhile) = kept.held(true) {
        return counted_meanwhile;
    }
    let node = app.node.clone();
    let begun = Instant::now();
    let counted = Arc::new(tokio::task::spawn_blocking(move || count(&node)).await.unwrap_or_default());
    let until = Instant::now() + FRESH.max(begun.elapsed() * SHARE);
    *kept.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((Arc::clone(&counted), until));
    counted
}

/// Visits all identities. The lock on the directory lasts for a page of small copies; what is costly comes after it.
fn for_each(node: &NodeHandle, mut visit: impl FnMut(&Route)) {
    let mut after = 0;
    loop {
        let page: Vec<_> = node.directory().after(after).take(PAGE).collect();
        let Some(last) = page.last() else { break };
        after = u32::try_from(last.id).unwrap_or(u32::MAX);
        page.iter().for_each(&mut visit);
    }
}

fn by_kind(node: &NodeHandle) -> Census {
    let now = system::now();
    let mut census = Census::default();
    for_each(node, |route| {
        let standing = route.own_standing(now);
        match standing.zone {
            Zone::Groen => census.groen += 1,
            Zone::Geel => census.geel += 1,
            Zone::Rood => census.rood += 1,
        }
        census.disputed += u64::from(standing.disputed);
        census.revoked += u64::from(route.status != IdentityStatus::Active);
    });
    census
}

fn by_capability(node: &NodeHandle) -> Capabilities {
    let mut counts: HashMap<Capability, u64> = HashMap::new();
    for_each(node, |route| {
        if route.status != IdentityStatus::Active {
            return;
        }
        let Ok(record) = Signed::<Record>::decode(route.record_bytes()) else { return };
        for capability in &record.claims().capabilities {
            if let Some(count) = counts.get_mut(capability) {
                *count += 1;
            } else if counts.len() < MAX_CAPABILITIES {
                counts.insert(capability.clone(), 1);
            }
        }
    });
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by(|(a, n), (b, m)| (Reverse(n), a).cmp(&(Reverse(m), b)));
    counts.truncate(TOP_CAPABILITIES);
    counts
}
