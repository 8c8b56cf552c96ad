//! Test, bench and dist: one command each. They install what they need and say what they could not do.

mod bench;
mod cluster;
mod components;
mod dist;
mod shell;
mod test;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own chores.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Everything that has to hold: format, lints, licences, arrows, all tests. What CI runs.
    Test(test::Options),
    /// Measures a release build beside its peers; never fails on a time.
    Bench(bench::Options),
    /// A release build, packed with its licence and checksums into target/dist.
    Dist,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().chore {
        Chore::Test(options) => test::run(&options),
        Chore::Bench(options) => bench::run(&options),
        Chore::Dist => dist::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
