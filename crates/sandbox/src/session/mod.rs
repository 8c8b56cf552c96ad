//! One step over one channel: the worker's side of the frame protocol, the same for every sandbox backend.

mod collect;
mod credit;
mod events;
mod open;
mod run;
mod tunnel;
mod wire;

pub use collect::{ArtifactSink, Collect, Collected, Skipped};
pub use open::{PutFile, Session};
pub use run::{Control, Exit, ExitStatus, Stdin, StepEvent};
