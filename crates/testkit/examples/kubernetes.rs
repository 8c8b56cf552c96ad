//! Starts the tests' Kubernetes in the folder that is named, prints what its tests need and runs until its input ends.
//!
//! `cargo run -p testkit --example kubernetes -- /tmp/cluster`, and in another terminal
//! `SAGEWAI_TEST_KUBECONFIG=/tmp/cluster/kubeconfig cargo nextest run -p sandbox kubernetes`.

use std::io::Read;
use std::path::PathBuf;

use testkit::kubernetes::{Cluster, prepare};

fn main() -> std::io::Result<()> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from);
    let folder = folder.ok_or_else(|| std::io::Error::other("name a folder for the cluster"))?;
    let binaries = prepare(&|what| eprintln!("=> {what}"))?;
    let cluster = Cluster::start(&binaries, &folder)?;
    testkit::images::make(&cluster.docker_host(), &folder.join("images"))?;
    for (name, pid) in cluster.processes() {
        eprintln!("{name}: process {pid}");
    }
    println!("SAGEWAI_TEST_KUBECONFIG={}", cluster.kubeconfig().display());
    std::io::stdin().read_to_end(&mut Vec::new()).map(drop)
}
