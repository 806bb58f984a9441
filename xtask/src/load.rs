//! A fleet of simulated devices against an overlay node: `cargo xtask load`.
//!
//! The devices have real keys, and sign everything that real ones sign; thousands share a socket. The node is the program itself, in a process of its own,
//! so that its memory and processor time are its own; both ends share the machine, and the report says so.

pub(crate) mod fleet;
mod flood;
mod limits;
pub(crate) mod node;
pub(crate) mod phases;
pub(crate) mod socket;

use crate::Outcome;
use fleet::Fleet;
use node::{Node, Program, Quota};

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    instead: Option<Instead>,
    /// How many devices
    #[arg(long, default_value_t = 10_000)]
    devices: u32,
    /// How many UDP sockets they share
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=4096))]
    sockets: u32,
    /// Requests on their way at a time
    #[arg(long, default_value_t = 256)]
    window: usize,
    /// Keepalives a second while look-ups are measured: a million devices send 33 000 at one each 30 s
    #[arg(long, default_value_t = 33_000)]
    keepalives: u32,
    /// How long look-ups are measured, in seconds
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    #[command(flatten)]
    program: Program,
}

#[derive(clap::Subcommand)]
enum Instead {
    /// Has a small fleet use a node that is flooded, and looks what becomes of the fleet
    Flood(flood::Options),
}

/// Runs all phases and prints a line for each.
pub(crate) fn run(options: &Options) -> Outcome<()> {
    if let Some(Instead::Flood(options)) = &options.instead {
        return flood::run(options);
    }
    let mut node = Node::start(&options.program)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut fleet = runtime.block_on(Fleet::connect(node.address, options.devices, options.sockets))?;
    println!("{} devices on {} sockets, node {}", options.devices, options.sockets, node.address);
    let idle = node.memory()?;
    runtime.block_on(phases::register(&mut fleet, &mut node, options.window))?;
    println!(
        "  node: {} MiB resident ({} when empty), {} MiB on disk",
        node.memory()? >> 20,
        idle >> 20,
        node.on_disk()? >> 20
    );
    runtime.block_on(phases::look_up(&mut fleet, &node, options, 0))?;
    runtime.block_on(phases::look_up(&mut fleet, &node, options, options.keepalives))?;
    limits::raw_echo()?;
    runtime.block_on(limits::knot(options.devices))?;
    runtime.block_on(phases::find(&mut fleet, &node))?;
    runtime.block_on(phases::move_some(&mut fleet, &node, options.window))?;
    println!("  node: {} MiB resident", node.memory()? >> 20);
    let took = node.kill_and_restart(Quota::None)?;
    println!("restart after kill -9: {:.2} s until it serves again", took.as_secs_f64());
    runtime.block_on(phases::come_back(&mut fleet, &node, phases::moving(options.devices)))?;
    println!("  node: {} MiB resident", node.memory()? >> 20);
    Ok(())
}
