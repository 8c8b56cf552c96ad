//! The guest under AWS's own Runtime Interface Emulator, and our emulator under a client that we did not write.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use protocol::lambda::{Answer, LAMBDA_VERSION};
use testkit::lambda::{Emulator, Rie, VARIABLE};

use crate::harness::Lambda;

/// Where the emulator takes invocations.
const PATH: &str = "/2015-03-31/functions/function/invocations";

fn rie() -> Option<(Rie, tempfile::TempDir)> {
    let Some(program) = std::env::var_os(VARIABLE).map(PathBuf::from) else {
        eprintln!("skipped: {VARIABLE} names no Runtime Interface Emulator");
        return None;
    };
    if let Err(why) = Emulator::is_possible() {
        eprintln!("skipped: {why}");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let bootstrap = folder.path().join("guest");
    std::fs::write(&bootstrap, sandbox::guest_binary()).unwrap();
    Some((Rie::start(&program, &bootstrap, folder.path()).unwrap(), folder))
}

fn invoke(rie: &Rie, payload: &str) -> (u16, String) {
    testkit::http::ask(rie.address(), "POST", PATH, &[], payload).unwrap()
}

#[test]
fn under_awss_own_emulator_the_guest_answers_probes_and_refuses_what_is_not_its_workers() {
    let Some((rie, _folder)) = rie() else { return };
    let (_, body) = invoke(&rie, &format!(r#"{{"probe":{{"version":{LAMBDA_VERSION}}}}}"#));
    let answer: Answer = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
    assert_eq!(answer.version, LAMBDA_VERSION);
    assert!(!answer.layers.is_empty());
    let (_, body) = invoke(&rie, r#"{"key1":"value1"}"#);
    assert!(body.contains("Sagewai.Request"), "{body}");
    let (_, body) = invoke(&rie, r#"{"probe":{"version":99}}"#);
    assert!(body.contains("deploy it again"), "{body}");
}

/// A whole step: the emulator's one function is invoked by hand, as it has no API of functions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_awss_own_emulator_the_guest_serves_one_step_and_no_second() {
    use sandbox::lambda::{AwsSettings, LambdaBackend, LambdaConfig};
    use sandbox::suite::{Step, run};
    use sandbox::{Backend, Session, Template};
    let Some((rie, folder)) = rie() else { return };
    let address = rie.address();
    // What AWS's emulator lacks: the description of its function.
    let description = r#"{"FunctionName":"function","MemorySize":3008,"Timeout":300,"EphemeralStorage":{"Size":2048},"State":"Active","LastUpdateStatus":"Successful"}"#;
    let front = testkit::http::Server::start(move |request| {
        if request.method == "GET" {
            return (200, description.to_owned());
        }
        let body = String::from_utf8_lossy(&request.body).into_owned();
        testkit::http::ask(address, "POST", PATH, &[], &body).unwrap_or((502, String::new()))
    })
    .unwrap();
    let backend = LambdaBackend::start(LambdaConfig {
        aws: AwsSettings {
            region: Some("us-east-1".to_owned()),
            endpoint: Some(format!("http://{}", front.address())),
            credentials_file: Some(crate::harness::credentials(folder.path())),
        },
        function: "function".to_owned(),
        qualifier: None,
        listen: ([127, 0, 0, 1], 0).into(),
        ..LambdaConfig::default()
    })
    .unwrap();
    let mut session = Session::open(backend.create(&Template::default()).await.unwrap(), &[]).await.unwrap();
    let mut step = Step::shell("echo in $PWD; cat");
    step.directory = "/tmp/workspace".to_owned();
    let ran = run(&mut session, step.with_stdin("and out")).await;
    assert_eq!(ran.text(), "in /tmp/workspace\nand out");
    session.discard().await.unwrap();
    // It says `Sagewai.Reused` in the body alone: AWS's emulator has no header for it.
    let (_, body) = invoke(
        &rie,
        r#"{"step":{"version":1,"connect":[],"call":"","token":"","key":"","tenant":null,"open_network":false}}"#,
    );
    assert!(body.contains("Sagewai.Reused"), "{body}");
}

/// The SDK for Python is the client that says whether our emulator answers as AWS does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn awss_own_client_understands_our_emulator() {
    let Some(moto) = std::env::var_os(testkit::moto::VARIABLE).map(PathBuf::from) else {
        return eprintln!("skipped: {} names no environment with boto3", testkit::moto::VARIABLE);
    };
    let python = moto.parent().unwrap_or(Path::new("/")).join("python");
    let Some(lambda) = Lambda::deployed(|_| {}).await else { return };
    lambda.emulator.reserve("sagewai-sandbox", 1);
    let url = lambda.emulator.url();
    let script = include_str!("client.py");
    let checked = tokio::task::spawn_blocking(move || {
        Command::new(python).args(["-c", script, &url]).env("AWS_EC2_METADATA_DISABLED", "true").output()
    });
    let output = tokio::time::timeout(Duration::from_secs(60), checked).await.unwrap().unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}
