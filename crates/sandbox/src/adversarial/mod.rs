//! Attacks on a sandbox from inside, as a program that is kept. Each is refused by every sandbox backend that isolates.
//!
//! docs/security/attacks.md lists each with the defence that it tries; removing the defence makes the attack leak.

mod exhaustion;
mod leftovers;
mod network;
mod programs;

use std::time::Duration;

pub use crate::suite::Verdict;
use crate::suite::{Case, Report, Subject};

/// The longest an attack may take.
const ATTACK_LIMIT: Duration = Duration::from_secs(120);

/// All attacks.
pub fn attacks() -> impl Iterator<Item = &'static Case> {
    [programs::ATTACKS, network::ATTACKS, leftovers::ATTACKS, exhaustion::ATTACKS].into_iter().flatten()
}

/// Tries all attacks. Those that only look and ask share one sandbox; those that use up or end have one each, and one
/// after the other, since they disturb.
pub async fn check(subject: &Subject) -> Report {
    let mut verdicts = programs::try_together(subject).await;
    for attack in attacks().filter(|attack| !programs::ATTACKS.iter().any(|of| of.name == attack.name)) {
        verdicts.push((attack.name, subject.attempt(attack, ATTACK_LIMIT).await));
    }
    Report { verdicts }
}

/// Tries the attack of that name.
pub async fn try_attack(subject: &Subject, name: &str) -> Result<Verdict, String> {
    let attack = attacks().find(|attack| attack.name == name).ok_or_else(|| format!("no attack `{name}`"))?;
    Ok(subject.attempt(attack, ATTACK_LIMIT).await)
}
