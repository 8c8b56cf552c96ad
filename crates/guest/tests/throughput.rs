//! Measurements, not tests: output through a guest and the start of a step, with and without secrets.
//! `cargo test -p guest --profile guest --test throughput -- --ignored --nocapture`.

mod harness;

use std::time::Instant;

use harness::{Guest, probe};
use protocol::broker::SealedBinding;
use protocol::frame::{FromGuest, STREAM_WINDOW_BYTES, StartStep, Stream, ToGuest};
use protocol::id::{AttemptId, RunId, StepId};
use seal::payload::{Entry, Kind};
use seal::{Payload, SigningKey};

const MEGABYTES: usize = 1000;
const SECRETS: usize = 20;

/// The step with a sealed identity of so many secrets; none is none.
fn with_secrets(guest: &Guest, secrets: usize, step: StartStep) -> StartStep {
    if secrets == 0 {
        return step;
    }
    let attempt = AttemptId { run: RunId(uuid::Uuid::nil()), step: StepId(1), attempt: 1 };
    let mut payload = Payload::new();
    for n in 0..secrets {
        let value = format!("secret-{n}-value/with+some='quoted \"text").into_bytes();
        let entry = Entry::environment(Kind::Secret, &format!("SECRET_{n}"), value.into()).expect("it fits");
        payload.push(entry).expect("it fits");
    }
    let broker = SigningKey::from_seed(&[1; 32]);
    let binding = SealedBinding { grant: "g".into(), attempt, expires: i64::MAX };
    let sealed = seal::sealed::seal(&payload, &guest.public_key, &binding, &broker).expect("a guest's key");
    StartStep {
        sealed: Some(serde_json::to_string(&sealed).expect("it serialises")),
        broker_key: Some(broker.public_key().to_bytes()),
        attempt: Some(attempt),
        ..step
    }
}

#[test]
#[ignore = "a measurement"]
fn start_of_a_step() {
    const ROUNDS: usize = 200;
    let counts = [0, 1, SECRETS];
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        for (times, secrets) in times.iter_mut().zip(counts) {
            let mut guest = Guest::plain();
            let step = with_secrets(&guest, secrets, harness::step(&["/bin/true"]));
            let asked = Instant::now();
            guest.start(step);
            times.push(asked.elapsed().as_secs_f64() * 1e3);
        }
    }
    for (mut times, secrets) in times.into_iter().zip(counts) {
        times.sort_by(f64::total_cmp);
        println!(
            "{secrets} secrets: started in {:.2} ms, p99 {:.2} ms",
            times[ROUNDS / 2],
            times[ROUNDS * 99 / 100]
        );
    }
}

#[test]
#[ignore = "a measurement"]
fn output_through_a_guest() {
    for secrets in [0, SECRETS, 0, SECRETS] {
        let mut guest = Guest::plain();
        let step = with_secrets(&guest, secrets, probe(&["flood", &MEGABYTES.to_string()]));
        let asked = Instant::now();
        guest.start(step);
        let start = Instant::now();
        let mut bytes = 0;
        let mut owed = 0;
        loop {
            match guest.next().expect("it goes on") {
                FromGuest::Output { data, .. } => {
                    bytes += data.len();
                    owed += data.len() as u32;
                    if owed > STREAM_WINDOW_BYTES / 2 {
                        guest.send(&ToGuest::OutputCredit { stream: Stream::Stdout, bytes: owed });
                        owed = 0;
                    }
                }
                FromGuest::Exited { .. } => break,
                _ => {}
            }
        }
        println!(
            "{secrets} secrets: started in {:.2} ms, {:.0} MB/s",
            (start - asked).as_secs_f64() * 1e3,
            bytes as f64 / 1e6 / start.elapsed().as_secs_f64()
        );
    }
}
