//! Listed destinations are reached, all else is refused and told.

use super::run;
use crate::egress::DenialReason;
use crate::suite::{Case, GREETING, Greeter, NAME, Need, Outside, Subject, Why, done, ensure, rule};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a-listed-destination-is-reached-by-its-name",
        defence: "",
        needs: &[Need::Tunnel],
        run: |s| Box::pin(reached(s)),
    },
    Case {
        name: "names-are-resolved-over-tcp-too",
        defence: "",
        needs: &[Need::Tunnel],
        run: |s| Box::pin(by_tcp(s)),
    },
    Case {
        name: "many-connections-at-once-each-have-their-own",
        defence: "",
        needs: &[Need::Tunnel],
        run: |s| Box::pin(many(s)),
    },
    Case {
        name: "a-refused-destination-is-told",
        defence: "",
        needs: &[Need::Tunnel],
        run: |s| Box::pin(told_of(s)),
    },
];

async fn reached(subject: &Subject) -> Result<(), Why> {
    let greeter = Greeter::start().await?;
    let mut session = subject.open().await?;
    let step = subject.probe(["fetch", NAME, &greeter.port.to_string(), "ping"]);
    let listed = vec![rule(NAME, greeter.port)];
    let ran = run(&mut session, Outside { listed, operator: &["127.0.0.0/8"] }.of(step)?).await;
    ensure(ran.text() == format!("answer: {GREETING}") && ran.denied.is_empty(), || format!("{ran:?}"))?;
    done(session).await
}

async fn by_tcp(subject: &Subject) -> Result<(), Why> {
    let mut session = subject.open().await?;
    let listed = vec![rule(NAME, 80)];
    let step = Outside { listed, operator: &[] }.of(subject.probe(["resolve-tcp", NAME]))?;
    let ran = run(&mut session, step).await;
    ensure(ran.text().starts_with("127."), || format!("{ran:?}"))?;
    done(session).await
}

async fn many(subject: &Subject) -> Result<(), Why> {
    let greeter = Greeter::start().await?;
    let mut session = subject.open().await?;
    let step = subject.probe(["fetch-many", NAME, &greeter.port.to_string(), "40"]);
    let listed = vec![rule(NAME, greeter.port)];
    let ran = run(&mut session, Outside { listed, operator: &["127.0.0.0/8"] }.of(step)?).await;
    ensure(ran.text() == "40 answers", || format!("{ran:?}"))?;
    done(session).await
}

async fn told_of(subject: &Subject) -> Result<(), Why> {
    let mut session = subject.open().await?;
    let step = subject.probe(["fetch", "somewhere.example", "80", "ping"]);
    let listed = vec![rule(NAME, 80)];
    let ran = run(&mut session, Outside { listed, operator: &["127.0.0.0/8"] }.of(step)?).await;
    let told = ran
        .denied
        .iter()
        .any(|denial| denial.host == "somewhere.example" && denial.reason == DenialReason::NotListed);
    ensure(told && ran.text() == "no such name", || format!("{ran:?}"))?;
    done(session).await
}
