//! How a process that `dev` started says that it answers: one line of JSON on standard output.

use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::output::write;

/// Flags of processes that another sagewai process starts.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ChildFlags {
    /// End when this process, the parent, ends.
    #[arg(long, hide = true, value_name = "PID")]
    pub(crate) parent: Option<u32>,
    /// Say that it answers in JSON.
    #[arg(long, hide = true)]
    pub(crate) ready_line: bool,
}

/// What a process says when it answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ready {
    /// Where it listens.
    pub(crate) listen: String,
    /// Its public key: of grants at the server, of sealed messages at the broker.
    pub(crate) key: String,
    /// The broker's admin socket.
    pub(crate) socket: Option<PathBuf>,
}

/// Says it, to the parent or to people.
pub(crate) fn say(to_parent: bool, ready: &Ready, text: impl FnOnce() -> String) {
    if to_parent {
        write(&format!("{}\n", serde_json::to_string(ready).expect("plain data")));
    } else {
        write(&text());
    }
}
