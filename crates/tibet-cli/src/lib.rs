//! The command line: arguments in, text or JSON out, an exit code.
//!
//! Each subcommand is a function that calls the library and returns an [`Outcome`](output::Outcome); one renderer prints it for people
//! or, with `--json`, for programs. What a subcommand does is in the library; here is only how it is asked and told.

mod error;
mod identities;
mod input;
pub mod iot;
pub mod output;
pub mod overlay;
mod process;
mod settings;
mod story;
