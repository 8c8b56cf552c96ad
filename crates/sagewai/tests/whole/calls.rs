//! `call: http` with the credential of an identity: applied inside the sandbox, and seen nowhere else.

use std::sync::{Condvar, Mutex};

use serde_json::json;

use crate::fleet::Fleet;
use crate::processes::{below, children};
use crate::sagewai::{document, wait_for};
use crate::scan::{contains, files, memory};
use crate::service::{Asked, Said, Service};

/// Put together at run time, so that this program's own image does not hold it.
fn canary() -> String {
    ["canary", "71c0aa94", "token", "e2"].join("-")
}

/// Held back answers go on when the test says so.
static HELD: (Mutex<bool>, Condvar) = (Mutex::new(true), Condvar::new());

fn release() {
    *HELD.0.lock().unwrap() = false;
    HELD.1.notify_all();
}

fn answer(asked: &Asked) -> Said {
    if asked.line == "GET /held" {
        let held = HELD.0.lock().unwrap();
        drop(HELD.1.wait_while(held, |held| *held).unwrap());
    }
    let said = json!({ "shown": asked.header("authorization"), "line": asked.line, "body": asked.body });
    (
        "200 OK",
        format!("x-shown: {}\r\ncontent-type: application/json\r\n", asked.header("authorization")),
        said.to_string(),
    )
}

/// A fleet whose worker trusts the service and may reach it.
fn fleet(service: &Service) -> (Fleet, tempfile::NamedTempFile) {
    let roots = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(roots.path(), &service.roots).unwrap();
    let private = format!("localhost:{}", service.address.port());
    let trust = roots.path().display().to_string();
    (Fleet::start_with(&["--allow-private", &private], &[("SSL_CERT_FILE", &trust)]), roots)
}

/// Tasks in a document that knows the identities `petstore` and `account`.
fn with_secrets(name: &str, tasks: &str) -> String {
    document(name, tasks).replacen("\ndo:", "\nuse: { secrets: [petstore, account] }\ndo:", 1)
}

fn submit(fleet: &Fleet, document: &str) -> String {
    let output = fleet.cli.call_with(&["run", "-"], document.as_bytes());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    said["id"].as_str().unwrap().to_owned()
}

fn get(service: &Service, path: &str, authentication: &str, more: &str) -> String {
    let uri = service.url(path);
    format!(
        "- get:\n    call: http\n    with: {{ method: get, endpoint: {{ uri: '{uri}', authentication: {{ {authentication} }} }}{more} }}\n"
    )
}

#[test]
fn the_worker_never_holds_the_credential_of_a_call() {
    let service = Service::start(answer);
    let (fleet, _roots) = fleet(&service);
    let value = canary();
    fleet.cli.keep_secret("petstore", "PETSTORE_TOKEN", value.as_bytes());
    let run =
        submit(&fleet, &with_secrets("held", &get(&service, "/held", "use: petstore", ", output: response")));
    let asked = wait_for("the request", || service.asked().pop());
    assert_eq!(asked.header("authorization"), format!("Bearer {value}"));

    let worker = fleet.worker.pid();
    let spawners = children(worker);
    let sandboxed: Vec<u32> = spawners.iter().flat_map(|pid| below(*pid)).collect();
    let in_step = sandboxed.iter().filter(|pid| !memory(**pid, value.as_bytes()).found.is_empty()).count();
    assert!(in_step > 0, "the scan finds the value where it is: in the step's own processes");
    release();
    let ended = fleet.cli.ended(&run);
    assert_eq!(ended["summary"]["state"], "completed", "{ended:#}");
    assert_eq!(ended["steps"][0]["mode"], "identity");
    let output = &ended["output"];
    assert_eq!(output["statusCode"], 200, "{output:#}");
    for echoed in [&output["content"]["shown"], &output["headers"]["x-shown"]] {
        assert!(echoed.as_str().unwrap().starts_with("Bearer [REDACTED"), "{output:#}");
    }

    let mut outside = vec![fleet.server.pid(), worker];
    outside.extend(&spawners);
    for pid in &outside {
        assert_eq!(memory(*pid, value.as_bytes()).found, [""; 0], "the value is in process {pid}");
    }
    assert_eq!(files(fleet.path(), value.as_bytes()).found, [""; 0]);
    assert!(!contains(&fleet.wire.bytes(), value.as_bytes()), "the value went over the wire");
}

#[test]
fn a_pair_of_name_and_password_comes_back_in_no_form() {
    let service = Service::start(answer);
    let (fleet, _roots) = fleet(&service);
    fleet.cli.keep_secret("account", "USERNAME", b"anna");
    fleet.cli.keep_secret("account", "PASSWORD", b"correct-horse-battery");
    let tasks = get(&service, "/", "basic: { use: account }", "");
    let run = fleet.cli.ended(&submit(&fleet, &with_secrets("basic", &tasks)));
    assert_eq!(service.asked()[0].header("authorization"), "Basic YW5uYTpjb3JyZWN0LWhvcnNlLWJhdHRlcnk=");
    assert_eq!(run["output"]["shown"], "Basic [REDACTED]", "{run:#}");
    // In mode 1 there is no identity; the request goes out from a sandbox all the same.
    let uri = service.url("/form");
    let tasks = format!(
        "- post:\n    call: http\n    with:\n      method: post\n      endpoint: '{uri}'\n      headers: {{ content-type: application/x-www-form-urlencoded }}\n      \
         body: {{ a: b c }}\n    metadata: {{ execution: {{ mode: 1 }} }}\n"
    );
    let run = fleet.cli.run("sandboxed", &tasks);
    assert_eq!(run["steps"][0]["mode"], "sandboxed");
    assert_eq!(run["output"], json!({ "shown": "", "line": "POST /form", "body": "a=b+c" }), "{run:#}");
}

#[test]
fn a_call_that_cannot_be_sent_says_why() {
    let service = Service::start(answer);
    let (fleet, _roots) = fleet(&service);
    fleet.cli.keep_secret("petstore", "UNRELATED", b"some-value-of-it");
    let detail = |document: &str| {
        let run = fleet.cli.ended(&submit(&fleet, document));
        run["error"]["detail"].as_str().unwrap_or_default().to_owned() + &format!("{run:#}")
    };
    let missing = detail(&with_secrets("missing", &get(&service, "/", "use: petstore", "")));
    assert!(missing.contains("no keys for a request"), "{missing}");
    let private = with_secrets(
        "private",
        "- get:\n    call: http\n    with: { method: get, endpoint: 'https://127.0.0.1:9/' }\n    metadata: { execution: { mode: sandboxed } }\n",
    );
    let private = detail(&private);
    assert!(private.contains("--allow-private 127.0.0.1:9"), "{private}");
}
