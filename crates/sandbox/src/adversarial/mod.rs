//! Attacks on a sandbox from inside, as programs that are kept. Each is refused by every sandbox backend that isolates.
//!
//! docs/security/attacks.md lists each with the defence that it tries; removing the defence makes the attack leak.

mod exhaustion;
mod leftovers;
mod network;
mod scripts;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::{Backend, SandboxError, Session, Template};

/// The longest an attack may take.
const ATTACK_LIMIT: Duration = Duration::from_secs(120);

/// One attack.
pub struct Attack {
    /// Names it, in a few words joined by `-`.
    pub name: &'static str,
    /// What should hold it off.
    pub defence: &'static str,
    /// Tries it.
    pub run: for<'a> fn(&'a dyn Backend) -> Trying<'a>,
}

/// An attack on its way; an error means that it could not be tried as it should.
pub type Trying<'a> = Pin<Box<dyn Future<Output = Result<Verdict, String>> + Send + 'a>>;

/// What came of an attack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was held off.
    Refused,
    /// It worked, in these ways.
    Leaked(String),
    /// It could not be tried here, for this reason.
    Skipped(String),
}

/// All attacks.
pub fn attacks() -> impl Iterator<Item = &'static Attack> {
    scripts::ATTACKS.iter().chain(network::ATTACKS).chain(leftovers::ATTACKS).chain(exhaustion::ATTACKS)
}

/// Tries the attack of that name.
pub async fn try_attack(backend: &dyn Backend, name: &str) -> Result<Verdict, String> {
    let attack = attacks().find(|attack| attack.name == name).ok_or_else(|| format!("no attack `{name}`"))?;
    tokio::time::timeout(ATTACK_LIMIT, (attack.run)(backend))
        .await
        .unwrap_or_else(|_| Err(format!("no end after {ATTACK_LIMIT:?}")))
}

async fn open(backend: &dyn Backend, template: &Template) -> Result<Session, String> {
    let sandbox = backend.create(template).await.map_err(told)?;
    Session::open(sandbox, &[]).await.map_err(told)
}

async fn done(session: Session) -> Result<(), String> {
    session.discard().await.map_err(told)
}

fn told(error: SandboxError) -> String {
    format!("{error:?}")
}

fn refused_unless(leaked: bool, how: impl FnOnce() -> String) -> Verdict {
    if leaked { Verdict::Leaked(how()) } else { Verdict::Refused }
}
