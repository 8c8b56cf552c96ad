//! What the conformance and the adversarial suite share: the sandbox backend that is tried, a program that needs nothing
//! of an image, what a case needs, and the report.

mod identity;
mod outside;
mod processes;
mod report;
mod step;
mod subject;

pub use report::{Report, Verdict};
pub use step::{Identity, Ran, Step, run};
pub use subject::{Case, Need, Subject, Trying, Why};

pub(crate) use identity::sealed_to;
pub(crate) use outside::{GREETING, Greeter, NAME, Outside, rule};
pub(crate) use processes::{ends_soon, marked, parent_of};
pub(crate) use subject::{done, ensure, told};
