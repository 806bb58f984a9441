//! The one thread that changes the registry: many changes in one transaction, and nothing is answered before it is on the disk.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use jis::{Name, UnixTime};
use tibet_registry::{Registry, Store, StoreError};
use tokio::sync::oneshot;

use super::directory::Directory;
use crate::system;

/// A registry over any store.
pub type AnyRegistry = Registry<Box<dyn Store + Send>>;

/// Changes that wait for the writer. Each is a signed object of some kilobytes at most.
const MAX_WAITING: usize = 8192;
/// Changes in one transaction.
const MAX_GROUP: usize = 1024;
/// How often the log is looked at for what others have written.
const WATCH: Duration = Duration::from_millis(250);

/// What follows once a change is on the disk, or was not made.
type Finish = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
/// A change, given the registry in an open transaction: gives the names it touched. Given an error instead, because no transaction could be
/// opened, it tells whoever waits for it.
type Job =
    Box<dyn FnOnce(Result<(&mut AnyRegistry, UnixTime), StoreError>) -> Option<(Vec<Name>, Finish)> + Send>;

/// Hands changes to the writer.
#[derive(Clone)]
pub struct RegistryHandle {
    jobs: SyncSender<Job>,
    stopping: Arc<AtomicBool>,
}

/// Why a change was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandleError {
    /// Too many wait.
    #[error("the registry has too much to do; try again in a second")]
    Busy,
    /// The store failed: nothing of the change is kept.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The node is stopping, or the change panicked.
    #[error("the registry does not answer")]
    Gone,
}

impl RegistryHandle {
    /// Makes a change. `change` gives its result and the names it touched; `finish` gets the result once it is on the disk, in the writer's
    /// thread.
    ///
    /// # Errors
    /// [`HandleError::Busy`], [`HandleError::Gone`]; then neither is called.
    pub fn submit<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut AnyRegistry, UnixTime) -> (T, Vec<Name>) + Send + 'static,
        finish: impl FnOnce(Result<T, StoreError>) + Send + 'static,
    ) -> Result<(), HandleError> {
        let job: Job = Box::new(move |opened| match opened {
            Ok((registry, now)) => {
                let (out, names) = change(registry, now);
                let finish: Finish = Box::new(move |committed| finish(committed.map(|()| out)));
                Some((names, finish))
            }
            Err(error) => {
                finish(Err(error));
                None
            }
        });
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => HandleError::Busy,
            TrySendError::Disconnected(_) => HandleError::Gone,
        })
    }

    /// Makes a change and waits for it.
    ///
    /// # Errors
    /// [`HandleError`].
    pub async fn call<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut AnyRegistry, UnixTime) -> (T, Vec<Name>) + Send + 'static,
    ) -> Result<T, HandleError> {
        let (sender, receiver) = oneshot::channel();
        self.submit(change, move |result| {
            // Whoever asked may have gone.
            let _ = sender.send(result);
        })?;
        receiver.await.map_err(|_| HandleError::Gone)?.map_err(HandleError::Store)
    }
}

impl RegistryHandle {
    /// Has the writer finish what was handed to it, and end. What is handed to it later is refused.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        // So that it looks.
        let _ = self.submit(|_, _| ((), Vec::new()), |_| {});
    }
}

impl std::fmt::Debug for RegistryHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistryHandle").finish_non_exhaustive()
    }
}

/// A registry that runs in a thread of its own.
pub(super) struct Running {
    pub(super) handle: RegistryHandle,
    /// Gives the registry back when it ends.
    pub(super) thread: JoinHandle<AnyRegistry>,
    /// Says when the directory is filled.
    pub(super) ready: oneshot::Receiver<Result<(), StoreError>>,
}

/// Runs a registry in a thread of its own, which ends when it is told to or the last handle is gone. Everything that asks the store happens there: the
/// client of PostgreSQL may not be used where a runtime runs.
pub(super) fn spawn(
    registry: AnyRegistry,
    directory: Arc<RwLock<Directory>>,
    node: Name,
) -> std::io::Result<Running> {
    let (jobs, waiting) = sync_channel(MAX_WAITING);
    let stopping = Arc::new(AtomicBool::new(false));
    let mut writer = Writer { registry, directory, node, known: 0, waiting, stopping: Arc::clone(&stopping) };
    let (filled, ready) = oneshot::channel();
    let thread = std::thread::Builder::new().name("registry".into()).spawn(move || {
        let loaded = writer.load();
        let go_on = loaded.is_ok();
        // Whoever waits may have gone.
        let _ = filled.send(loaded);
        if go_on { writer.run() } else { writer.registry }
    })?;
    Ok(Running { handle: RegistryHandle { jobs, stopping }, thread, ready })
}

struct Writer {
    registry: AnyRegistry,
    directory: Arc<RwLock<Directory>>,
    /// This node's name.
    node: Name,
    /// Tokens of the log that the directory knows of.
    known: u64,
    waiting: Receiver<Job>,
    stopping: Arc<AtomicBool>,
}

impl Writer {
    fn load(&mut self) -> Result<(), StoreError> {
        // Before the entries are read: what is written meanwhile is read once more.
        self.known = self.registry.head()?.map_or(0, |head| head.count);
        let directory = Directory::load(&self.registry)?;
        *self.directory() = directory;
        self.read_all_presence()?;
        Ok(())
    }

    fn run(mut self) -> AnyRegistry {
        loop {
            match self.waiting.recv_timeout(WATCH) {
                Ok(first) => self.write(first),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.follow();
            if self.stopping.load(Ordering::Acquire) {
                while let Ok(next) = self.waiting.try_recv() {
                    self.write(next);
                }
                break;
            }
        }
        let _ = self.registry.flush(system::now());
        self.registry
    }

    fn directory(&self) -> RwLockWriteGuard<'_, Directory> {
        self.directory.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn head(&self) -> u64 {
        self.registry.head().ok().flatten().map_or(self.known, |head| head.count)
    }

    fn write(&mut self, first: Job) {
        let mut jobs = vec![first];
        jobs.extend(self.waiting.try_iter().take(MAX_GROUP - 1));
        let now = system::now();
        let known = self.known;
        let mut alone = false;
        let mut done: Vec<(Vec<Name>, Finish)> = Vec::with_capacity(jobs.len());
        let registry = &mut self.registry;
        let group = catch_unwind(AssertUnwindSafe(|| {
            registry.group(|registry| {
                // Within the transaction: nobody else writes from here on.
                alone = registry.head().ok().flatten().map_or(0, |head| head.count) == known;
                done.extend(jobs.drain(..).filter_map(|job| job(Ok((registry, now)))));
            })
        }));
        let committed = match group {
            Ok(committed) => committed,
            // Its registry has rolled back and goes on; whoever waits hears that their channel is closed (SECURITY R29).
            Err(_) => return,
        };
        if committed.is_ok() {
            let read = self.read(done.iter().flat_map(|(names, _)| names));
            // What others wrote before is not among it; nor is what could not be read.
            if alone && read.is_ok() {
                self.known = self.head();
            }
        }
        for (_, finish) in done {
            finish(committed.clone());
        }
        // No transaction could be opened: none of them was tried.
        if let Err(error) = committed {
            jobs.into_iter().for_each(|job| drop(job(Err(error.clone()))));
        }
    }

    /// Reads what other processes and nodes have written: the audit log tells of all of it.
    fn follow(&mut self) {
        while self.head() > self.known {
            match self.registry.changes_since(self.known) {
                Ok(changes) => {
                    let read = self.read(changes.names.iter()).and_then(|()| match changes.all_presence {
                        true => self.read_all_presence(),
                        false => self.read_presence(changes.presence.iter()),
                    });
                    // What could not be read is read the next time: a revocation must not be missed.
                    if read.is_err() {
                        break;
                    }
                    self.known = changes.read_to;
                    if !changes.more {
                        break;
                    }
                }
                // Nobody can say what it told: everything is read anew.
                Err(StoreError::Unreadable { index, .. }) => {
                    if self.load().is_err() {
                        break;
                    }
                    self.known = self.known.max(index.saturating_add(1));
                }
                Err(_) => break,
            }
        }
    }

    /// What other nodes have noted of all devices.
    fn read_all_presence(&self) -> Result<(), StoreError> {
        let mut elsewhere = Vec::new();
        self.registry.for_each_presence(&mut |number, presence| {
            if presence.online && presence.node != self.node {
                elsewhere.push(number);
            }
        })?;
        self.directory().replace_elsewhere(elsewhere);
        Ok(())
    }

    /// What other nodes have noted of devices.
    fn read_presence<'a>(&self, names: impl Iterator<Item = &'a Name>) -> Result<(), StoreError> {
        let store = self.registry.store();
        for name in names {
            let Some(entry) = store.entry(name)? else { continue };
            let presence = store.presence(entry.id)?;
            let elsewhere = presence.is_some_and(|seen| seen.online && seen.node != self.node);
            self.directory().set_elsewhere(entry.id, elsewhere);
        }
        Ok(())
    }

    fn read<'a>(&self, names: impl Iterator<Item = &'a Name>) -> Result<(), StoreError> {
        let mut entries = Vec::new();
        for name in names {
            entries.extend(self.registry.store().entry(name)?.map(|entry| (name, entry)));
        }
        let mut directory = self.directory();
        for (name, entry) in entries {
            directory.insert(entry.id, name, entry.bytes);
        }
        Ok(())
    }
}
