//! `sagewai sandbox kubernetes`: the guest's image, which pods get their guest from.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use sandbox::kubernetes::guest_image;

use crate::exit::Exit;
use crate::failure::Failure;

/// Arguments of `sagewai sandbox kubernetes`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Write the guest's image as an archive for docker load, podman load, ctr images import or skopeo copy
    #[command(
        name = "guest-image",
        after_help = "Examples:\n  sagewai sandbox kubernetes guest-image guest.tar --name registry.example.com/sagewai-guest:1\n  \
                      docker load --input guest.tar && docker push registry.example.com/sagewai-guest:1\n  \
                      skopeo copy docker-archive:guest.tar docker://registry.example.com/sagewai-guest:1"
    )]
    GuestImage {
        /// File to write.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// What the image is called; set kubernetes.guest-image to it.
        #[arg(long, value_name = "NAME", default_value = concat!("sagewai-guest:", env!("CARGO_PKG_VERSION")))]
        name: String,
    },
}

pub(super) fn run(arguments: Arguments) -> Result<Exit, Failure> {
    let What::GuestImage { file, name } = arguments.what;
    std::fs::write(&file, guest_image(&name)).map_err(|error| Failure::file("write", &file, &error))?;
    eprintln!("wrote {} with the image {name}", file.display());
    Ok(Exit::Ok)
}
