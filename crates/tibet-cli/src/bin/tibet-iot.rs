//! The command `tibet-iot`.

use std::process::ExitCode;

fn main() -> ExitCode {
    tibet_cli::iot::main()
}
