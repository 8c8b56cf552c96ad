//! The daemon itself: absent, killed, started again, remote.

use std::path::Path;

use sandbox::conformance::run;
use sandbox::docker::{DockerBackend, DockerOptions, Host};
use sandbox::suite::Subject;
use sandbox::{Backend, SandboxError, Template};
use testkit::dockerd::Dockerd;
use testkit::images;

use super::harness::{backend, containers, daemon, docker, installed, options, owner};

#[tokio::test]
async fn an_absent_daemon_is_named_with_the_remedy() {
    let backend = DockerBackend::new(options("unix:///nowhere/docker.sock", &owner()));
    let error = backend.check().await.expect_err("nobody listens");
    assert!(matches!(error, SandboxError::Lost { .. }), "{error:?}");
    let said = error.to_string();
    assert!(said.contains("unix:///nowhere/docker.sock") && said.contains("docker.host"), "{said}");
}

/// A daemon of the test's own, which it may kill; absent where the tests have no daemon at all.
fn own_daemon(folder: &Path, arguments: &[String]) -> Option<Dockerd> {
    daemon()?;
    let daemon = Dockerd::start_with(folder, arguments).expect("dockerd starts");
    images::make(&daemon.host(), &folder.join("images")).expect("images are made");
    Some(daemon)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_daemon_takes_its_sandboxes_along_and_comes_back_without_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(mut daemon) = own_daemon(folder.path(), &[]) else { return };
    let (host, owner) = (daemon.host(), owner());
    let backend = DockerBackend::new(options(&host, &owner));
    let subject = Subject::with_image(backend.clone(), images::BUSYBOX);
    let mut session = subject.open().await.expect("a sandbox");
    let step = subject.step(["sleep", "600"]);
    let kill = async {
        super::harness::eventually("the step runs", async || {
            docker(&host, &["top", &containers(&host, &owner)[0]]).contains("sleep 600")
        })
        .await;
        daemon.kill().expect("killed");
        daemon
    };
    let (ran, mut daemon) = tokio::join!(run(&mut session, step), kill);
    assert!(matches!(ran.exit, Err(SandboxError::Ended(_))), "{:?}", ran.exit);
    assert!(matches!(backend.check().await, Err(SandboxError::Lost { .. })), "nobody answers");
    assert!(matches!(session.discard().await, Err(SandboxError::Lost { .. })));

    daemon.start_again().expect("it starts again");
    backend.check().await.expect("it answers again");
    let after = DockerBackend::new(options(&host, &owner));
    after.check().await.expect("it answers");
    assert!(containers(&host, &owner).is_empty(), "something is left");
    after.create(&Template::default()).await.expect("a sandbox again").discard().await.expect("discarded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_is_reached_over_tls_with_certificates_on_both_sides() {
    if daemon().is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let certificates = folder.path().join("certificates");
    make_certificates(&certificates);
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port();
    let place = |name: &str| certificates.join(name).display().to_string();
    let arguments = [
        format!("--host=tcp://127.0.0.1:{port}"),
        "--tlsverify".to_owned(),
        format!("--tlscacert={}", place("ca.pem")),
        format!("--tlscert={}", place("server.pem")),
        format!("--tlskey={}", place("server-key.pem")),
    ];
    let Some(daemon) = own_daemon(&folder.path().join("daemon"), &arguments) else { return };
    let address = format!("tcp://localhost:{port}");
    let host = Host::parse(&address, Some(certificates.clone())).expect("an address");
    let backend = DockerBackend::new(DockerOptions { host, ..options(&daemon.host(), &owner()) });
    backend.check().await.expect("it answers");
    backend.create(&Template::default()).await.expect("a sandbox").discard().await.expect("discarded");

    // Without the certificates there is no way in, and a daemon with another's certificate is none.
    let plain = DockerBackend::new(options(&address, &owner()));
    assert!(plain.check().await.is_err());
    std::fs::copy(certificates.join("other.pem"), certificates.join("ca.pem")).expect("copied");
    let host = Host::parse(&address, Some(certificates)).expect("an address");
    let deceived = DockerBackend::new(DockerOptions { host, ..options(&address, &owner()) });
    let error = deceived.check().await.expect_err("its certificate is another's");
    assert!(error.to_string().contains("certificate"), "{error}");
}

/// An authority, a server's and a client's certificate of it, and another authority; with openssl.
fn make_certificates(folder: &Path) {
    std::fs::create_dir_all(folder).expect("a folder");
    let script = r#"
        set -e
        authority() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$1" \
            -keyout "$1-key.pem" -out "$1.pem"; }
        signed() { openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout "$1-key.pem" \
            -out "$1.csr"; printf '%s\n' "$2" > "$1.ext"
            openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2 -extfile "$1.ext" -out "$1.pem"; }
        authority ca; authority other
        signed server 'subjectAltName=DNS:localhost,IP:127.0.0.1'
        signed cert 'extendedKeyUsage=clientAuth'
        mv cert-key.pem key.pem
    "#;
    let made =
        std::process::Command::new("sh").args(["-c", script]).current_dir(folder).output().expect("sh runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_is_reached_through_ssh() {
    let Some(host) = daemon() else { return };
    if !installed("docker") {
        return eprintln!("skipped: no docker client here");
    }
    // In place of ssh a program that runs the rest of its command line here, as sshd would there.
    let folder = tempfile::tempdir().expect("a folder");
    let ssh = folder.path().join("ssh");
    let script = format!(
        "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done\nshift 2\nexport DOCKER_HOST={host}\nexec \"$@\"\n"
    );
    std::fs::write(&ssh, script).expect("written");
    std::fs::set_permissions(&ssh, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("executable");
    let path = std::env::var("PATH").unwrap_or_default();
    let program = std::env::current_exe().expect("a test knows its program");
    let inner = std::process::Command::new(program)
        .args(["--exact", "daemon::over_ssh", "--ignored", "--nocapture"])
        .env("PATH", format!("{}:{path}", folder.path().display()))
        .output()
        .expect("the test starts again");
    let said = String::from_utf8_lossy(&inner.stdout).into_owned() + &String::from_utf8_lossy(&inner.stderr);
    assert!(inner.status.success() && said.contains("1 passed"), "{said}");
    // The same daemon, seen directly: nothing of it is left.
    drop(backend(&host));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by a_daemon_is_reached_through_ssh, with a program in place of ssh"]
async fn over_ssh() {
    let backend = DockerBackend::new(options("ssh://builder@docker.example:2222", &owner()));
    backend.check().await.expect("it answers");
    let subject = Subject::with_image(backend, images::BUSYBOX);
    let mut session = subject.open().await.expect("a sandbox");
    let ran = run(&mut session, subject.step(["echo", "from afar"])).await;
    assert_eq!(ran.text(), "from afar");
    session.discard().await.expect("discarded");
}
