//! What every sandbox backend must do, as cases over the trait. The fake passes first.

mod cases;
mod step;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

pub use cases::cases;
pub use step::{Ran, Step, run};

use crate::Backend;

/// The longest a case may take.
const CASE_LIMIT: Duration = Duration::from_secs(60);

/// One case: what must hold, and how it is tried.
pub struct Case {
    /// What must hold, in a few words joined by `-`.
    pub name: &'static str,
    /// Tries it; an error says what did not hold.
    pub run: for<'a> fn(&'a dyn Backend) -> Trying<'a>,
}

/// A case on its way.
pub type Trying<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>>;

/// Tries all cases, one after the other, and says which did not hold.
pub async fn check(backend: &dyn Backend) -> Result<usize, String> {
    let mut failures = Vec::new();
    for case in cases() {
        match tokio::time::timeout(CASE_LIMIT, (case.run)(backend)).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => failures.push(format!("{}: {why}", case.name)),
            Err(_) => failures.push(format!("{}: no end after {CASE_LIMIT:?}", case.name)),
        }
    }
    if failures.is_empty() { Ok(cases().len()) } else { Err(failures.join("\n")) }
}
