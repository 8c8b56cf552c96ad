//! `sagewai sandbox`: what sandbox backends need to be set up beforehand.

#[cfg(feature = "kubernetes")]
mod kubernetes;
mod lambda;

use clap::{Args, Subcommand};

use crate::cli::Globals;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

/// Arguments of `sagewai sandbox`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    backend: Backend,
}

#[derive(Debug, Subcommand)]
enum Backend {
    /// Make the image that pods get their guest from
    #[cfg(feature = "kubernetes")]
    Kubernetes(kubernetes::Arguments),
    /// Deploy, check and remove the function of sandboxes in AWS Lambda
    Lambda(lambda::Arguments),
}

pub(super) fn run(arguments: Arguments, globals: &Globals, output: &Output) -> Result<Exit, Failure> {
    match arguments.backend {
        #[cfg(feature = "kubernetes")]
        Backend::Kubernetes(arguments) => kubernetes::run(arguments),
        Backend::Lambda(arguments) => lambda::run(arguments, globals, output),
    }
}
