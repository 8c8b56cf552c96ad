//! The sandbox backend over AWS Lambda, on emulators: ours of the API with execution environments, moto's of the control plane,
//! and AWS's own of the runtime. None of them is AWS Lambda.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod control_plane;
mod environments;
mod harness;
mod runtime;
mod sandboxes;
