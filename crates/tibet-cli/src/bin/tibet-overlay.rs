//! The command `tibet-overlay`.

use std::process::ExitCode;

fn main() -> ExitCode {
    tibet_cli::overlay::main()
}
