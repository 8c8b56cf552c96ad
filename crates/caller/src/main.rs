//! The program that sends one request from inside a sandbox.
//!
//! Standard input is a [`protocol::step::HttpCall`] as JSON; the environment holds the identity's keys; the one argument
//! is a file of root certificates (PEM). Standard output is a [`protocol::step::HttpOutcome`] as one line of JSON, then the
//! body. It ends with 0 whatever the outcome: how a call fails is said in the outcome.

mod program {
    pub(crate) mod connection;
    pub(crate) mod mask;
    pub(crate) mod resolver;
    pub(crate) mod tls;
    pub(crate) mod wire;
}

use std::io::{Read, Write};

use caller::{Answer, Exchange, credentials, place};
use program::mask::Mask;
use program::{connection, tls};
use protocol::step::{HttpAuthentication, HttpCall, HttpOutcome, StepError, error_type};

/// Names of the environment that are the sandbox's own, and no keys of an identity.
const NOT_KEYS: [&str; 5] = ["PATH", "HOME", "LANG", "PWD", "SAGEWAI"];

fn main() {
    let mut mask = Mask::default();
    let (outcome, body) = match run(&mut mask) {
        Ok(answer) => (
            HttpOutcome::Answered(
                answer.status,
                answer.method,
                mask.text(&answer.uri),
                fields(&mask, answer.sent),
                fields(&mask, answer.headers),
            ),
            mask.bytes(&answer.body),
        ),
        Err(error) => {
            (HttpOutcome::Failed(error.kind, error.status, error.title, mask.text(&error.detail)), Vec::new())
        }
    };
    let mut out = std::io::stdout().lock();
    let line = serde_json::to_vec(&outcome).expect("an outcome is JSON");
    // Nobody is left to tell if the channel is gone.
    let _ = out.write_all(&line).and_then(|()| out.write_all(b"\n")).and_then(|()| out.write_all(&body));
    let _ = out.flush();
}

fn run(mask: &mut Mask) -> Result<Answer, StepError> {
    let call = call()?;
    let trust = tls::Trust::new(std::env::args_os().nth(1));
    let of_identity = matches!(call.authentication, Some(HttpAuthentication::Identity { .. }));
    let credentials = match &call.authentication {
        Some(HttpAuthentication::Identity { as_ }) => Some(credentials(*as_, &keys())?),
        literal => literal.clone(),
    };
    if let Some(credentials) = &credentials {
        mask.add_credentials(credentials);
    }
    let mut exchange = Exchange::new(&call, credentials, random()?)?;
    loop {
        exchange.derived().iter().for_each(|derived| mask.add(derived));
        let request = exchange.request();
        if of_identity && exchange.shows_credentials() && request.uri.scheme_str() != Some("https") {
            return Err(in_the_clear(&place(&request.uri)));
        }
        let reply = connection::send(exchange.request(), &trust)?;
        if let Some(answer) = exchange.receive(&reply)? {
            return Ok(answer);
        }
    }
}

fn call() -> Result<HttpCall, StepError> {
    let mut text = Vec::new();
    let read = std::io::stdin().lock().read_to_end(&mut text);
    read.map_err(|error| error.to_string())
        .and_then(|_| serde_json::from_slice(&text).map_err(|error| error.to_string()))
        .map_err(|error| runtime(format!("the request did not arrive in the sandbox: {error}")))
}

fn keys() -> Vec<(String, String)> {
    let variables = std::env::vars_os().filter_map(|(name, value)| {
        let (name, value) = (name.into_string().ok()?, value.into_string().ok()?);
        // A value from a file often ends in a line break, which no header may hold.
        Some((name, value.trim_end_matches(['\r', '\n']).to_owned()))
    });
    variables.filter(|(name, _)| !NOT_KEYS.contains(&name.as_str())).collect()
}

fn random() -> Result<[u8; 16], StepError> {
    let mut bytes = [0; 16];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes)
        .map_err(|_| runtime("the sandbox has no source of randomness"))?;
    Ok(bytes)
}

/// Without TLS the worker, which relays the connection, would see what only this sandbox may.
fn in_the_clear(place: &str) -> StepError {
    StepError {
        kind: error_type::AUTHENTICATION.to_owned(),
        status: 403,
        title: "The call could not be authenticated".to_owned(),
        detail: format!(
            "{place} is not reached by https, and a credential of an identity is sent no other way"
        ),
    }
}

fn runtime(detail: impl Into<String>) -> StepError {
    StepError {
        kind: error_type::RUNTIME.to_owned(),
        status: 500,
        title: "The step failed".to_owned(),
        detail: detail.into(),
    }
}

fn fields(mask: &Mask, fields: Vec<(String, String)>) -> Vec<(String, String)> {
    fields.into_iter().map(|(name, value)| (name, mask.text(&value))).collect()
}
