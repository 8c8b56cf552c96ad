//! `sagewai dev`: everything on this machine, until Ctrl-C.

use std::ffi::OsString;

use clap::Args;
use serde_json::json;

use crate::cli::Globals;
use crate::config::{Dev, DevFlags, Layers, default_data_folder};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::process::{asked_to_stop, small_runtime};
use crate::stack::{Stack, StackOptions};

/// Arguments of `sagewai dev`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sagewai dev\n  sagewai dev --data ./sagewai-data --listen 127.0.0.1:0\n  \
    sagewai dev --agents ./agents --allow-private 127.0.0.1:5432\n\n\
    In another terminal `sagewai run FILE` then needs no flags: server and token are noted in the data folder."
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    flags: DevFlags,
    #[command(flatten)]
    worker: WorkerPass,
}

/// Flags that are passed on to the worker.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct WorkerPass {
    /// Allow `run` tasks in mode 0: they may do all that this user may.
    #[arg(long)]
    pub(super) allow_bare: bool,
    /// Folder of the manifests of CLI agents.
    #[arg(long, value_name = "FOLDER")]
    pub(super) agents: Option<OsString>,
    /// Private destinations that steps may name: host:port or network, separated by commas.
    #[arg(long, value_name = "LIST")]
    pub(super) allow_private: Option<OsString>,
    /// Sandbox backends, best first, separated by commas: namespace, docker, kubernetes, lambda.
    #[arg(long, value_name = "NAMES")]
    pub(super) sandbox: Option<OsString>,
    /// Host folders that sandboxes see read-only beside the system's, separated by commas.
    #[arg(long, value_name = "FOLDERS")]
    pub(super) sandbox_path: Option<OsString>,
    /// Isolation layers that must hold, separated by commas; `sagewai doctor` lists them.
    #[arg(long, value_name = "LAYERS")]
    pub(super) layers: Option<OsString>,
    /// Labels that steps may require: key=value,key=value.
    #[arg(long, value_name = "LABELS")]
    pub(super) labels: Option<OsString>,
    /// Steps at once.
    #[arg(long, value_name = "COUNT")]
    pub(super) slots: Option<OsString>,
}

impl WorkerPass {
    pub(super) fn flags(&self) -> Vec<OsString> {
        let mut flags: Vec<OsString> = Vec::new();
        if self.allow_bare {
            flags.push("--allow-bare".into());
        }
        let pairs = [
            ("--agents", &self.agents),
            ("--allow-private", &self.allow_private),
            ("--sandbox", &self.sandbox),
            ("--sandbox-path", &self.sandbox_path),
            ("--layers", &self.layers),
            ("--labels", &self.labels),
            ("--slots", &self.slots),
        ];
        for (name, value) in pairs {
            if let Some(value) = value {
                flags.extend([name.into(), value.clone()]);
            }
        }
        flags
    }
}

pub(super) fn run(arguments: &Arguments, globals: &Globals, output: &Output) -> Result<Exit, Failure> {
    let layers = Layers::read(globals.config.as_deref())?;
    let settings = Dev::resolve(&layers, &arguments.flags)?;
    let options = StackOptions {
        data: settings.data,
        listen: settings.listen,
        broker_listen: settings.broker_listen,
        log: settings.log,
        config: globals.config.clone(),
        worker_flags: arguments.worker.flags(),
    };
    // The children ask to be told when the thread that started them ends: with this runtime that is the main thread.
    small_runtime()?.block_on(async {
        let mut stack = tokio::select! {
            stack = Stack::start(&options) => stack?,
            stopped = asked_to_stop() => { stopped?; return Ok(Exit::Interrupted) }
        };
        greet(&stack, &options, output);
        let ended = tokio::select! {
            stopped = asked_to_stop() => stopped,
            failed = stack.watch() => failed,
        };
        output.remark("\nstopping: the worker finishes what it runs; Ctrl-C again stops at once");
        let at_once = tokio::select! {
            () = stack.stop() => false,
            _ = asked_to_stop() => true,
        };
        if at_once {
            stack.kill().await;
        }
        ended.map(|()| Exit::Ok)
    })
}

fn greet(stack: &Stack, options: &StackOptions, output: &Output) {
    let token = stack.new_token.as_ref().map(|token| token.as_str());
    let facts = json!({
        "server": stack.url, "token": token, "token_file": stack.token_file, "data": options.data,
    });
    output.item(&facts, || {
        let mut text = format!("Sagewai is ready\n\n  server  {}\n", stack.url);
        if let Some(token) = token {
            text.push_str(&format!("  token   {token}   (shown once)\n"));
        }
        text.push_str(&format!("  data    {}\n\nIn another terminal:\n\n", options.data.display()));
        let flags = if options.data == default_data_folder() {
            String::new()
        } else {
            format!(" --server {} --token-file {}", stack.url, stack.token_file.display())
        };
        text.push_str(&format!(
            "  sagewai run FILE --follow{flags}\n\nCtrl-C stops server, broker and worker.\n"
        ));
        text
    });
}
