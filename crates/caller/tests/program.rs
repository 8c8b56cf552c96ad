//! The program as the worker starts it: a call on standard input, an identity's keys in the environment, HTTPS.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod service;

use std::io::Write;
use std::process::{Command, Stdio};

use protocol::step::{HttpAuthentication, HttpCall, HttpOutcome};
use serde_json::{Value, json};
use service::{Asked, Said, Service};

const IDENTITY: Option<HttpAuthentication> = Some(HttpAuthentication::Identity { as_: None });

fn call(uri: String, authentication: Option<HttpAuthentication>) -> HttpCall {
    HttpCall {
        method: "GET".into(),
        uri,
        headers: Vec::new(),
        body: None,
        output: Default::default(),
        redirect: true,
        authentication,
    }
}

/// The outcome and the body.
fn run(service: &Service, call: &HttpCall, keys: &[(&str, &str)]) -> (HttpOutcome, String) {
    let roots = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(roots.path(), &service.roots).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_caller"))
        .arg(roots.path())
        .env_clear()
        .envs(keys.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&serde_json::to_vec(call).unwrap()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let (line, body) = text.split_once('\n').unwrap();
    (serde_json::from_str(line).unwrap(), body.to_owned())
}

fn answered(outcome: (HttpOutcome, String)) -> (u16, Value) {
    match outcome {
        (HttpOutcome::Answered(status, ..), body) => {
            (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
        }
        (failed, _) => panic!("{failed:?}"),
    }
}

fn failed(outcome: (HttpOutcome, String)) -> String {
    match outcome {
        (HttpOutcome::Failed(.., detail), _) => detail,
        (answered, body) => panic!("{answered:?} {body}"),
    }
}

/// Says what it was shown.
fn echo(asked: &Asked) -> Said {
    let said = json!({ "line": asked.line, "shown": asked.header("authorization"), "body": asked.body });
    ("200 OK", format!("x-shown: {}\r\n", asked.header("authorization")), said.to_string())
}

#[test]
fn each_scheme_is_applied_and_nothing_of_it_comes_back() {
    let service = Service::start(echo);
    for (keys, shown, masked) in [
        (&[("PETS_TOKEN", "t0k3n-value")][..], "Bearer t0k3n-value", "Bearer [REDACTED]"),
        (
            &[("USERNAME", "anna"), ("PASSWORD", "correct horse\n")][..],
            "Basic YW5uYTpjb3JyZWN0IGhvcnNl",
            "Basic [REDACTED]",
        ),
    ] {
        let outcome = run(&service, &call(service.url("/pets"), IDENTITY), keys);
        assert_eq!(service.asked().last().unwrap().header("authorization"), shown);
        assert!(!format!("{outcome:?}").contains(shown.split(' ').nth(1).unwrap()), "{outcome:?}");
        assert_eq!(answered(outcome), (200, json!({ "line": "GET /pets", "shown": masked, "body": "" })));
    }
}

#[test]
fn a_digest_is_answered() {
    let service = Service::start(|asked| match asked.header("authorization") {
        "" => (
            "401 Unauthorized",
            "www-authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\", algorithm=SHA-256\r\n".into(),
            String::new(),
        ),
        _ => echo(asked),
    });
    let keys = [("USERNAME", "anna"), ("PASSWORD", "correct horse"), ("SCHEME", "digest")];
    let (status, said) = answered(run(&service, &call(service.url("/"), IDENTITY), &keys));
    assert_eq!(status, 200);
    let shown = said["shown"].as_str().unwrap();
    assert!(shown.contains("username=\"anna\"") && shown.contains("response=\"[REDACTED]\""), "{shown}");
}

#[test]
fn a_token_is_fetched_from_the_authority() {
    let service = Service::start(|asked| match asked.line.as_str() {
        "GET /.well-known/openid-configuration" => {
            let base = format!("https://{}", asked.header("host"));
            let found = json!({ "issuer": base, "token_endpoint": format!("{base}/token") });
            ("200 OK", String::new(), found.to_string())
        }
        "POST /token" | "POST /oauth2/token" => {
            ("200 OK", String::new(), json!({ "access_token": "given-token" }).to_string())
        }
        _ => echo(asked),
    });
    let authority = service.url("");
    let keys = [
        ("CLIENT_ID", "me"),
        ("CLIENT_SECRET", "my secret"),
        ("AUTHORITY", &authority),
        ("SCOPES", "read write"),
    ];
    for (scheme, path) in [("oauth2", "POST /oauth2/token"), ("oidc", "POST /token")] {
        let keys = [&keys[..], &[("SCHEME", scheme)]].concat();
        let (_, said) = answered(run(&service, &call(service.url("/api"), IDENTITY), &keys));
        assert_eq!(said["shown"], "Bearer [REDACTED]");
        let asked = service.asked();
        assert_eq!(asked.last().unwrap().header("authorization"), "Bearer given-token");
        let token = &asked[asked.len() - 2];
        assert_eq!(token.line, path);
        assert_eq!(
            token.body,
            "grant_type=client_credentials&scope=read+write&client_id=me&client_secret=my+secret"
        );
    }
}

#[test]
fn a_credential_of_an_identity_goes_over_tls_only() {
    let service = Service::start(echo);
    let keys = [("TOKEN", "t0k3n-value")];
    let plain = format!("http://localhost:{}/", service.address.port());
    let detail = failed(run(&service, &call(plain, IDENTITY), &keys));
    assert!(detail.contains("https"), "{detail}");
    assert!(service.asked().is_empty());
}

#[test]
fn a_certificate_of_a_stranger_is_refused() {
    let (service, other) = (Service::start(echo), Service::start(echo));
    let detail = failed(run(&other, &call(service.url("/"), None), &[]));
    assert!(detail.contains("certificate"), "{detail}");
    let by_address = format!("https://127.0.0.1:{}/", service.address.port());
    let detail = failed(run(&service, &call(by_address, None), &[]));
    assert!(detail.contains("certificate"), "{detail}");
    assert!(service.asked().is_empty());
}

#[test]
fn a_missing_key_and_a_refusal_say_what_to_do() {
    let service = Service::start(|_| ("403 Forbidden", String::new(), "no".into()));
    let detail = failed(run(&service, &call(service.url("/"), IDENTITY), &[("UNRELATED", "x")]));
    assert!(detail.contains("TOKEN"), "{detail}");
    assert_eq!(answered(run(&service, &call(service.url("/"), None), &[])), (403, json!("no")));
    let detail = failed(run(&service, &call("http://127.0.0.1:1/".into(), None), &[]));
    assert!(detail.contains("could not be asked"), "{detail}");
}
