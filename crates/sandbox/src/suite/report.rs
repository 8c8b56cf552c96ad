//! What came of the cases of a suite.

/// What came of one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds; an attack was refused.
    Held,
    /// It does not hold; an attack worked, in these ways.
    Broken(String),
    /// It was not tried, for this reason.
    Skipped(String),
}

/// The verdicts on all cases, in the suite's order.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Name of the case and what came of it.
    pub verdicts: Vec<(&'static str, Verdict)>,
}

impl Report {
    /// Cases that were skipped, with the reason.
    pub fn skipped(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.verdicts.iter().filter_map(|(name, verdict)| match verdict {
            Verdict::Skipped(why) => Some((*name, why.as_str())),
            _ => None,
        })
    }

    /// Cases that do not hold, with the ways.
    pub fn broken(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.verdicts.iter().filter_map(|(name, verdict)| match verdict {
            Verdict::Broken(how) => Some((*name, how.as_str())),
            _ => None,
        })
    }

    /// For a test: says on standard error what was skipped, and panics where a case does not hold.
    pub fn expect_held(&self) {
        for (name, why) in self.skipped() {
            eprintln!("skipped: {name}: {why}");
        }
        let broken: Vec<String> = self.broken().map(|(name, how)| format!("{name}: {how}")).collect();
        assert!(
            broken.is_empty(),
            "{} of {} do not hold:\n{}",
            broken.len(),
            self.verdicts.len(),
            broken.join("\n")
        );
    }
}
