//! A sealed identity: it opens in its own guest alone, reaches the step alone, and comes back masked.

use protocol::frame::FailureKind;

use super::run;
use crate::SandboxError;
use crate::suite::{Case, Need, Subject, Why, done, ends_soon, ensure, marked, parent_of, sealed_to};

/// The name of the secret.
const NAME: &str = "CANARY_TOKEN";
/// Its value: long enough to be masked in all encodings, with characters that each of them changes.
const VALUE: &str = "s3cr&t/value+of=the \"canary\" 8c1f";
/// Long enough for the processes of this machine to be looked at while the step holds its secret.
const HOLD_SECONDS: &str = "600";

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a-secret-reaches-the-step-and-comes-back-masked",
        defence: "",
        needs: &[],
        run: |s| Box::pin(masked(s)),
    },
    Case {
        name: "an-identity-sealed-to-another-guest-is-refused",
        defence: "",
        needs: &[],
        run: |s| Box::pin(of_another(s)),
    },
    Case {
        name: "an-identity-of-another-broker-is-refused",
        defence: "",
        needs: &[],
        run: |s| Box::pin(of_another_broker(s)),
    },
    Case {
        name: "a-secret-is-in-no-other-process",
        defence: "",
        needs: &[Need::Local, Need::Interactive],
        run: |s| Box::pin(in_no_other(s)),
    },
];

async fn masked(subject: &Subject) -> Result<(), Why> {
    let mut session = subject.open().await?;
    let mut step = subject.probe(["spell", NAME]);
    step.identity = Some(sealed_to(session.guest_public_key(), &[(NAME, VALUE)])?);
    let ran = run(&mut session, step).await;
    let said = ran.text() + &String::from_utf8_lossy(&ran.stderr);
    // The step says the sum of the bytes, so that it must have had the value.
    let sum: u32 = VALUE.bytes().map(u32::from).sum();
    ensure(said.contains(&format!("sum {sum}")), || format!("the step did not get the value: {ran:?}"))?;
    let raw = said.contains(VALUE) || said.contains("s3cr") || said.contains("8c1f");
    ensure(!raw && !said.contains(NAME), || format!("it came back as it is: {said}"))?;
    for form in ["plain", "hex", "base64"] {
        ensure(said.contains(&format!("{form} [REDACTED:1]")), || format!("{form} is not masked: {said}"))?;
    }
    ensure(said.contains("name [KEY:1]"), || format!("the name is not masked: {said}"))?;
    done(session).await
}

async fn refused(
    subject: &Subject,
    spoil: impl AsyncFnOnce(&mut super::Step) -> Result<(), Why>,
) -> Result<(), Why> {
    let mut session = subject.open().await?;
    let mut step = subject.probe(["env"]);
    step.identity = Some(sealed_to(session.guest_public_key(), &[(NAME, VALUE)])?);
    spoil(&mut step).await?;
    let ran = run(&mut session, step).await;
    let told = matches!(&ran.exit, Err(SandboxError::Refused { kind: FailureKind::Sealed, .. }));
    ensure(told && ran.stdout.is_empty(), || format!("{ran:?}"))?;
    done(session).await
}

async fn of_another(subject: &Subject) -> Result<(), Why> {
    refused(subject, async |step| {
        let other = subject.open().await?;
        step.identity = Some(sealed_to(other.guest_public_key(), &[(NAME, VALUE)])?);
        done(other).await
    })
    .await
}

async fn of_another_broker(subject: &Subject) -> Result<(), Why> {
    refused(subject, async |step| {
        let other = sealed_to(&[9; 32], &[(NAME, VALUE)])?;
        if let Some(identity) = &mut step.identity {
            identity.broker_key = other.broker_key;
        }
        Ok(())
    })
    .await
}

/// Neither the guest nor any process of this machine but the step's own has it in its environment or command line.
async fn in_no_other(subject: &Subject) -> Result<(), Why> {
    let mut session = subject.open().await?;
    let mark = format!("sagewai-secret-{}", std::process::id());
    let mut step = subject.probe(["sleep", HOLD_SECONDS, &mark]);
    step.identity = Some(sealed_to(session.guest_public_key(), &[(NAME, VALUE)])?);
    let (start, stdin, control) = step.into_parts();
    let (events, mut said) = tokio::sync::mpsc::channel(4);
    tokio::select! {
        exit = session.run(start, stdin, events, control) => Err(format!("{exit:?}"))?,
        started = said.recv() => drop(started),
    }
    let own = marked(&mark);
    let holders = holders_of(VALUE);
    let guest = own.first().copied().and_then(parent_of);
    done(session).await?;
    ends_soon(&mark).await?;
    ensure(!own.is_empty() && guest.is_some(), || "the step cannot be found on this machine".to_owned())?;
    let others: Vec<_> = holders.iter().filter(|pid| !own.contains(pid)).collect();
    ensure(others.is_empty(), || format!("{others:?} have the value; the guest is {guest:?}"))
}

/// Processes that have `value` in their environment or command line, as far as this user may look.
fn holders_of(value: &str) -> Vec<u32> {
    let holds = |pid: &u32| {
        ["environ", "cmdline"].iter().any(|file| {
            std::fs::read(format!("/proc/{pid}/{file}"))
                .is_ok_and(|bytes| bytes.windows(value.len()).any(|window| window == value.as_bytes()))
        })
    };
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(holds).collect()
}
