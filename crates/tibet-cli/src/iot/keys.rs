//! `tibet-iot keys …`

use clap::Subcommand;
use serde_json::{Value, json};
use tibet_iot::{KnownKey, NodeState};

use super::{Context, input};
use crate::error::CliError;
use crate::output::{Exit, Outcome};

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// List the names that were heard, and the keys they were first seen with
    #[command(after_help = "Example:\n  tibet-iot keys list --did jis:home:hub")]
    List {
        /// Whose list [default: the only identity there is]
        #[arg(long, visible_alias = "my-did", value_name = "NAME", env = "TIBET_IDENTITY")]
        did: Option<String>,
    },
    /// Forget the key of a name: the next one it comes with is remembered instead
    #[command(
        after_help = "Do this only if you know that the device was set up anew: else whoever pretends to be it is believed.

Example:
  tibet-iot keys forget jis:home:sensor --did jis:home:hub"
    )]
    Forget {
        /// Whose key
        name: String,
        /// In whose list [default: the only identity there is]
        #[arg(long, visible_alias = "my-did", value_name = "NAME", env = "TIBET_IDENTITY")]
        did: Option<String>,
    },
}

pub(super) fn run(context: &Context, command: KeysCommand) -> Result<Outcome, CliError> {
    match command {
        KeysCommand::List { did } => list(context, did.as_deref()),
        KeysCommand::Forget { name, did } => forget(context, &name, did.as_deref()),
    }
}

fn list(context: &Context, did: Option<&str>) -> Result<Outcome, CliError> {
    let own = context.existing_name("--did", did)?;
    let known = NodeState::read_known_keys(context.settings.state.node(&own))?;
    let key = |known: &KnownKey| -> Value {
        json!({
            "name": known.binding.name.as_str(),
            "key": known.binding.key.to_multibase(),
            "generation": known.binding.generation,
            "first_seen": known.first_seen.to_string(),
        })
    };
    let data = json!({ "own_name": own.as_str(), "keys": known.values().map(key).collect::<Vec<_>>() });
    let outcome = Outcome::new("tibet.iot.keys.list", data);
    if known.is_empty() {
        return Ok(outcome.line(format_args!("{own} has not heard of anybody yet")));
    }
    let row = |known: &KnownKey| {
        let binding = &known.binding;
        vec![
            binding.name.to_string(),
            binding.key.to_multibase(),
            binding.generation.to_string(),
            known.first_seen.to_string(),
        ]
    };
    Ok(outcome.table(&["NAME", "KEY", "GENERATION", "FIRST SEEN"], known.values().map(row).collect()))
}

fn forget(context: &Context, name: &str, did: Option<&str>) -> Result<Outcome, CliError> {
    let name = input::name("NAME", name)?;
    let own = context.existing_name("--did", did)?;
    let forgotten = context.node_state(&own)?.forget(&name)?;
    let data = json!({ "own_name": own.as_str(), "name": name.as_str(), "forgotten": forgotten });
    let outcome = Outcome::new("tibet.iot.keys.forget", data);
    Ok(if forgotten {
        outcome.line(format_args!("{own} will remember the next key {name} comes with"))
    } else {
        outcome.line(format_args!("{own} knew no key of {name}")).exit(Exit::No)
    })
}
