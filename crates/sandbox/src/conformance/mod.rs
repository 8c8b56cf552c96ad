//! What every sandbox backend must do, as cases over the trait. The fake passes first.
//!
//! The cases bring their own program, so that any image will do, one without a shell or a C library too.

mod ends;
mod files;
mod identity;
mod network;
mod running;
mod sandboxes;
mod streams;

use std::time::Duration;

use futures_util::StreamExt;

use crate::suite::{Case, Report, Subject};
pub use crate::suite::{Ran, Step, run};

/// The longest a case may take.
const CASE_LIMIT: Duration = Duration::from_secs(60);

/// All cases.
pub fn cases() -> impl Iterator<Item = &'static Case> {
    [
        running::CASES,
        streams::CASES,
        ends::CASES,
        files::CASES,
        identity::CASES,
        network::CASES,
        sandboxes::CASES,
    ]
    .into_iter()
    .flatten()
}

/// Tries all cases, some at once.
pub async fn check(subject: &Subject) -> Report {
    let attempts = cases().map(async |case| (case.name, subject.attempt(case, CASE_LIMIT).await));
    Report { verdicts: futures_util::stream::iter(attempts).buffered(subject.at_once.max(1)).collect().await }
}

/// Tries the case of that name.
pub async fn check_one(subject: &Subject, name: &str) -> Report {
    let mut report = Report::default();
    for case in cases().filter(|case| case.name == name) {
        report.verdicts.push((case.name, subject.attempt(case, CASE_LIMIT).await));
    }
    report
}
