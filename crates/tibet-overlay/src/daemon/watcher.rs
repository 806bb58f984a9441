//! What changes on this machine while the daemon runs.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};

use super::shared::{Core, blocking};
use crate::device::DeviceError;

/// How often it is looked: an address that changed is noticed within this.
const EVERY: Duration = Duration::from_secs(1);

/// Who wants the files read now, and hears what came of it.
type Reload = oneshot::Sender<Result<(), DeviceError>>;

/// Looks, every second: at the addresses that datagrams leave from, at the device's files, at the age of its record. Sends nothing itself.
pub(super) async fn run(core: Arc<Core>, mut reloads: mpsc::Receiver<Reload>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let wanted = tokio::select! {
            _ = ticks.tick() => None,
            Some(wanted) = reloads.recv() => Some(wanted),
        };
        let reloaded = reload(&core).await;
        if let Some(wanted) = wanted {
            // Whoever asked may have gone.
            let _ = wanted.send(reloaded);
        }
        if core.has_moved() {
            tracing::info!("the address of this machine has changed");
            core.tell_moved();
        }
        if core.is_due() {
            // What goes wrong is in the status, and comes again.
            let _ = core.current().await;
        }
    }
}

/// Reads the device's files again if they have changed, and goes on under the new key if there is one.
async fn reload(core: &Arc<Core>) -> Result<(), DeviceError> {
    let device = core.device.clone();
    let identity = match blocking(move || device.reload()).await {
        Ok(None) => return Ok(()),
        Ok(Some(identity)) => identity,
        Err(error) => {
            core.note_problem(Some(error.to_string()));
            return Err(error);
        }
    };
    tracing::info!(generation = identity.generation, "the device has another key");
    core.asker.replace(identity);
    let copy = core.device.node_identity()?;
    if let Err(error) = core.remote.socket().replace(copy).await {
        core.note_problem(Some(error.to_string()));
    }
    // The nodes are told with a record under the new key.
    core.current().await.map(|_| ())
}
