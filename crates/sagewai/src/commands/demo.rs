//! `sagewai demo`: a stack in a folder of its own, one run through it, and nothing left afterwards.

mod assets;
mod proof;
mod service;

use std::path::{Path, PathBuf};

use clap::Args;
use control::api::model::{RunSummary, SubmitRun};
use control::api::tokens;
use identity::admin::Client as BrokerClient;
use identity::builtin::Expect;
use identity::policy::Policy;
use tokio::net::TcpListener;
use zeroize::Zeroizing;

use crate::cli::Globals;
use crate::config::{Layers, List, SandboxSettings};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::files;
use crate::output::{Output, Tone};
use crate::process::{asked_to_stop, small_runtime};
use crate::sandboxes::{Absent, Early, Kind};
use crate::stack::{Stack, StackOptions};

/// The identity, its view and its key, as `examples/first-run.yaml` names them.
const IDENTITY: (&str, &str, &str) = ("demo", "reporting", "REPORTING_TOKEN");
/// The artifact that the run leaves.
const ARTIFACT: &str = "report.md";

/// Arguments of `sagewai demo`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sagewai demo\n  sagewai demo --sandbox docker\n  sagewai demo --keep ./demo-data     leaves the data, to look around"
)]
pub(crate) struct Arguments {
    /// Sandbox backend of the run: namespace, docker, kubernetes or lambda.
    #[arg(long, value_name = "NAME", default_value = "namespace")]
    sandbox: Kind,
    /// Folder to use and to leave; absent means a temporary one.
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, globals: &Globals, output: &Output) -> Result<Exit, Failure> {
    let data = match &arguments.keep {
        Some(folder) => folder.clone(),
        None => std::env::temp_dir().join(format!("sagewai-demo-{}", std::process::id())),
    };
    files::private_folder(&data)?;
    let data = std::path::absolute(&data).unwrap_or(data);
    let ended = small_runtime()?.block_on(demo(arguments.sandbox, &data, globals, output));
    if arguments.keep.is_none() {
        let _ = std::fs::remove_dir_all(&data);
    }
    ended
}

async fn demo(kind: Kind, data: &Path, globals: &Globals, output: &Output) -> Result<Exit, Failure> {
    let sandboxes = sandboxes_for(kind);
    usable(kind, globals).await?;
    let listener = service_listener().await?;
    let address = listener.local_addr().map_err(|error| no_service(&error))?.to_string();
    let agents = assets::lay_out_agents(data)?;
    let options = StackOptions {
        data: data.to_owned(),
        listen: "127.0.0.1:0".to_owned(),
        broker_listen: "127.0.0.1:0".to_owned(),
        log: "warn".to_owned(),
        config: globals.config.clone(),
        worker_flags: vec![
            "--agents".into(),
            agents.into(),
            "--allow-private".into(),
            (&address).into(),
            "--sandbox".into(),
            sandboxes.into(),
            "--warm".into(),
            warm(kind).into(),
        ],
    };
    let token = Zeroizing::new(tokens::new_secret("demo"));
    let serving = tokio::spawn(service::serve(listener, token.clone()));
    let mut stack = tokio::select! {
        stack = Stack::start(&options) => stack?,
        stopped = asked_to_stop() => { stopped?; return Ok(Exit::Interrupted) }
    };
    let ended = tokio::select! {
        ended = show(&stack, data, &address, &token, output) => ended,
        stopped = asked_to_stop() => stopped.map(|()| Exit::Interrupted),
    };
    stack.stop().await;
    serving.abort();
    ended
}

/// A small cluster has room for few pods, and each takes seconds to come: none is made ahead of four steps.
fn warm(kind: Kind) -> &'static str {
    match kind {
        Kind::Kubernetes => "0",
        Kind::Namespace | Kind::Docker | Kind::Lambda => "8",
    }
}

/// The demo's worker has the one that is asked for. Lambda takes no CLI agent: that step goes to a namespace sandbox.
fn sandboxes_for(kind: Kind) -> String {
    match kind {
        Kind::Lambda => format!("{kind},{}", Kind::Namespace),
        Kind::Namespace | Kind::Docker | Kind::Kubernetes => kind.to_string(),
    }
}

/// Asks a sandbox backend that depends on a daemon, since the run would wait for one that does not answer.
async fn usable(kind: Kind, globals: &Globals) -> Result<(), Failure> {
    if kind == Kind::Namespace {
        return Ok(());
    }
    let settings = SandboxSettings::resolve(&Layers::read(globals.config.as_deref())?)?;
    let made = Early::prepare(&[kind], &List::default(), &settings).make(kind, &settings, "demo");
    let checked = match made {
        Ok(backend) => backend.check().await.map_err(Absent::from),
        Err(absent) => Err(absent),
    };
    checked.map_err(|Absent { reason, remedy }| {
        Failure::failed(format!("no sandbox backend `{kind}`: {reason}")).hint(remedy)
    })
}

/// What the demo shows, on a running stack.
async fn show(
    stack: &Stack,
    data: &Path,
    service: &str,
    token: &Zeroizing<String>,
    output: &Output,
) -> Result<Exit, Failure> {
    let heading = |text: &str| output.remark(&format!("\n{}", output.paint.tone(Tone::Note, text)));
    heading("A secret is set at the broker, the one process that holds it");
    keep_secret(stack, token).await?;
    output.remark(&format!("  identity {}/{}, key {}", IDENTITY.0, IDENTITY.1, IDENTITY.2));

    heading("One run, four modes (examples/first-run.yaml)");
    let client = stack.client()?;
    let request = SubmitRun { document: Some(assets::document(service)), ..SubmitRun::default() };
    let summary: RunSummary = client.post("/api/v1/runs", &request).await?;
    let exit = super::run::follow(&client, &summary.id, output).await?;
    if exit != Exit::Ok {
        return Ok(exit);
    }
    heading("The artifact that the CLI agent wrote in its sandbox");
    let report = proof::artifact(&client, &summary.id, ARTIFACT).await?;
    output.answer(&serde_json::json!({ "artifact": ARTIFACT, "text": report }), || indented(&report));

    heading("What became of the secret");
    let proof = proof::of_secret(&client, &summary.id, data, token).await?;
    output.answer(&proof, || indented(&proof.text()));
    if proof.holds() {
        return Ok(Exit::Ok);
    }
    Err(Failure::failed("the secret was seen where it may not be").hint("this is a defect: please report it"))
}

async fn keep_secret(stack: &Stack, token: &Zeroizing<String>) -> Result<(), Failure> {
    let broker = BrokerClient::in_folder(&stack.broker_folder);
    let (name, view, key) = IDENTITY;
    let name = name.parse().expect("a name of ours is a name");
    let view = view.parse().expect("a view of ours is a view");
    let key = key.parse().expect("a key of ours is a key");
    let value = Zeroizing::new(token.as_bytes().to_vec());
    let kept = async {
        broker.create(&name, &Policy::for_namespace("demo")).await?;
        broker.set(&name, &key, true, Expect::Any, &value).await?;
        broker.set_view(&name, &view, &[key]).await
    };
    kept.await.map_err(|error| {
        Failure::failed("the broker did not take the demo's secret")
            .because(&error)
            .hint("sagewai doctor checks this machine")
    })
}

/// The port that the example names, or any other if it is taken.
async fn service_listener() -> Result<TcpListener, Failure> {
    match TcpListener::bind(assets::SERVICE).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind("127.0.0.1:0").await.map_err(|error| no_service(&error)),
    }
}

fn no_service(error: &std::io::Error) -> Failure {
    Failure::failed("failed to start the demo's service on 127.0.0.1")
        .because(error)
        .hint("check the limits: ulimit -n")
}

fn indented(text: &str) -> String {
    text.lines().map(|line| if line.is_empty() { "\n".to_owned() } else { format!("  {line}\n") }).collect()
}
