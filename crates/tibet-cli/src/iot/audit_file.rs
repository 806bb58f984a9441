//! The log of `--audit`.

use std::path::Path;
use std::sync::Arc;

use jis::{Name, PublicKey};
use tibet_core::{FileStore, Fsync, TokenStore as _};
use tibet_iot::Audit;

use super::Context;
use super::stream::note;
use crate::error::CliError;
use crate::output::{Exit, shown};

/// Continues the log of the node `name` in `path`, or begins it. Gives the key it is signed with, too.
pub(super) fn open(context: &Context, name: &Name, path: &Path) -> Result<(Audit, PublicKey), CliError> {
    let key = context.settings.state.node_log_key(name)?;
    let public = key.public_key();
    // The node forces what it writes to disk, once for many.
    let (store, recovered) = FileStore::open(path, Fsync::Never)?;
    if let Some(recovered) = recovered {
        let text = format!("{}: a half-written token of {} bytes was cut off", shown(path), recovered.bytes);
        note(context.as_json, text);
    }
    // Whose log it is, only the key says: the actor of a token is whoever has acted, which for a ping is the peer.
    if let Some(last) = store.len()?.checked_sub(1)
        && let Some(token) = store.at(last)?
        && token.verify_signature(&public).is_err()
    {
        let whose = format!("{} holds a log that the key of {name} did not sign", path.display());
        return Err(CliError::new(Exit::Usage, whose).hint("--audit with a file of its own for each node"));
    }
    Ok((Audit::new(name, Arc::new(key), store)?, public))
}
