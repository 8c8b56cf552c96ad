//! Builds the guest and the caller, static programs of another profile and target features than this crate, to embed
//! them; with the feature `suites` also the probe, the program with which the suites try sandboxes.
//!
//! Cargo cannot yet depend on a binary with its own profile, so a nested cargo builds it, in a target folder of its own
//! (the outer cargo holds the lock of the outer one) that all profiles of the outer build share.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Bytes of the guest at most: it is copied into every sandbox.
const MAX_GUEST_BYTES: u64 = 2_000_000;

/// Bytes of the caller at most: it is sent into the sandbox of each step that needs it.
const MAX_CALLER_BYTES: u64 = 3_000_000;

/// Names a guest that was built before, such as for another architecture; it is embedded as it is.
const PREBUILT: &str = "SAGEWAI_GUEST";
/// Likewise a caller.
const PREBUILT_CALLER: &str = "SAGEWAI_CALLER";

/// What the outer cargo sets for its own crates; in the nested build it would be wrong, or deadlock.
const UNWANTED: [&str; 12] = [
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_TARGET_DIR",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_BUILD_TARGET",
    "CARGO_MAKEFLAGS",
    "MAKEFLAGS",
    "CLIPPY_ARGS",
    "TARGET",
    "HOST",
];

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let crates = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this crate is in a folder of crates")
        .to_path_buf();
    for source in ["guest", "caller", "seal", "protocol"] {
        println!("cargo::rerun-if-changed={}", crates.join(source).join("src").display());
        println!("cargo::rerun-if-changed={}", crates.join(source).join("Cargo.toml").display());
    }
    println!("cargo::rerun-if-changed=build.rs");
    let target = guest_target();
    println!("cargo::rerun-if-env-changed={PREBUILT}");
    let target_dir = nested_target_dir(&out);
    println!("cargo::rerun-if-env-changed={PREBUILT_CALLER}");
    let embed = |program: &str, prebuilt: &str, most: u64| {
        let built = env::var_os(prebuilt).map(PathBuf::from);
        let built = built.unwrap_or_else(|| build(program, program, &crates, &target_dir, &target));
        let size = fs::metadata(&built).unwrap_or_else(|error| panic!("{}: {error}", built.display())).len();
        assert!(size <= most, "the {program} has {size} bytes; {most} are the limit");
        fs::copy(&built, out.join(program)).unwrap_or_else(|error| panic!("{}: {error}", built.display()));
    };
    embed("guest", PREBUILT, MAX_GUEST_BYTES);
    embed("caller", PREBUILT_CALLER, MAX_CALLER_BYTES);
    if env::var_os("CARGO_FEATURE_SUITES").is_some() {
        let probe = build("guest", "probe", &crates, &target_dir, &target);
        fs::copy(&probe, out.join("probe")).expect("failed to copy the probe");
    }
}

/// The guest runs where the outer program runs its sandboxes: the same architecture, with the libc that links statically
/// without a further toolchain.
fn guest_target() -> String {
    let architecture = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets CARGO_CFG_TARGET_ARCH");
    format!("{architecture}-unknown-linux-gnu")
}

/// Beside the outer profiles' folders, so that `dev`, `release` and clippy share one build of the guest.
fn nested_target_dir(out: &Path) -> PathBuf {
    // OUT_DIR is TARGET/PROFILE/build/CRATE-HASH/out.
    out.ancestors().nth(4).unwrap_or(out).join("guest")
}

fn build(package: &str, program: &str, crates: &Path, target_dir: &Path, target: &str) -> PathBuf {
    let cargo = env::var_os("CARGO").expect("cargo sets CARGO");
    let mut command = Command::new(cargo);
    for name in UNWANTED {
        command.env_remove(name);
    }
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_FEATURE_")
            || text.starts_with("CARGO_CFG_")
            || text.starts_with("CARGO_PROFILE_")
        {
            command.env_remove(&name);
        }
    }
    let status = command
        .args([
            "build",
            "--quiet",
            "--package",
            package,
            "--bin",
            program,
            "--profile",
            "guest",
            "--target",
            target,
        ])
        .arg("--manifest-path")
        .arg(crates.join(package).join("Cargo.toml"))
        .arg("--target-dir")
        .arg(target_dir)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .status()
        .expect("failed to start the nested cargo");
    assert!(status.success(), "failed to build the {program} for {target}: {status}");
    // The profile is named as the guest is.
    target_dir.join(target).join("guest").join(program)
}
