//! AWS Lambda for tests: an emulator of its API made from AWS's documentation, and the Runtime Interface Emulator that is
//! AWS's own. Neither is AWS Lambda: what differs is in docs/lambda.md.

mod answer;
mod control;
mod emulator;
mod environment;
mod invoke;
mod rie;

pub use control::Function;
pub use emulator::{Emulator, Settings};
pub use rie::{Rie, VARIABLE, install};
