//! The committed gRPC code is what `proto/worker.proto` says.

use std::path::Path;

#[test]
fn worker_api_matches_its_proto_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let descriptors = protox::compile(["worker.proto"], [root.join("proto")]).unwrap();
    let out = tempfile::tempdir().unwrap();
    tonic_prost_build::configure().out_dir(out.path()).compile_fds(descriptors).unwrap();
    let fresh = std::fs::read_to_string(out.path().join("sagewai.worker.v1.rs")).unwrap();
    let committed = root.join("src/worker_api/generated.rs");
    if std::env::var_os("SAGEWAI_BLESS").is_some() {
        std::fs::write(&committed, &fresh).unwrap();
    }
    assert!(
        std::fs::read_to_string(&committed).unwrap_or_default() == fresh,
        "src/worker_api/generated.rs is not what proto/worker.proto says: run this test with SAGEWAI_BLESS=1"
    );
}
