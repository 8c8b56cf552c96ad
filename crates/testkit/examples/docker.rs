//! Starts a Docker daemon with the tests' images in a folder, says its address, and keeps it until standard input ends.

use std::io::Read;

fn main() -> std::io::Result<()> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "/tmp/sagewai-docker".to_owned());
    let folder = std::path::PathBuf::from(folder);
    let daemon = testkit::dockerd::Dockerd::start(&folder)?;
    testkit::images::make(&daemon.host(), &folder.join("images"))?;
    println!("SAGEWAI_TEST_DOCKER={}", daemon.host());
    std::io::stdin().read_to_end(&mut Vec::new()).map(drop)
}
