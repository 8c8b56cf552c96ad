//! One container as a sandbox.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bollard::Docker;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::StreamExt;
use protocol::frame::LayerReport;

use super::attach::LastWords;
use super::sweep::remove;
use crate::{Channel, Sandbox, SandboxError, SandboxId};

/// How long the daemon may take to say whether a container ran out of memory.
const EVENTS_LIMIT: Duration = Duration::from_secs(1);

pub(super) struct DockerSandbox {
    pub(super) id: SandboxId,
    pub(super) container: String,
    pub(super) docker: Docker,
    pub(super) host: Arc<str>,
    pub(super) layers: Vec<LayerReport>,
    pub(super) channel: Option<Channel>,
    pub(super) words: LastWords,
    /// Bytes of memory that it may use, for the message when it is out of them.
    pub(super) memory_bytes: u64,
    pub(super) removed: bool,
}

#[async_trait]
impl Sandbox for DockerSandbox {
    fn id(&self) -> &SandboxId {
        &self.id
    }

    fn layers(&self) -> Vec<LayerReport> {
        self.layers.clone()
    }

    fn take_channel(&mut self) -> Option<Channel> {
        self.channel.take()
    }

    async fn obituary(&mut self) -> Option<String> {
        match self.cause_of_death().await {
            Some(cause) => Some(cause),
            None => self.words.text(),
        }
    }

    async fn cause_of_death(&mut self) -> Option<String> {
        if ran_out_of_memory(self.docker.clone(), self.container.clone()).await {
            return Some(format!(
                "it ran out of memory: its limit is {} MiB; ask for more with `resources.memory`",
                self.memory_bytes >> 20
            ));
        }
        None
    }

    async fn discard(mut self: Box<Self>) -> Result<(), SandboxError> {
        self.channel = None;
        self.removed = true;
        remove(&self.docker, &self.container).await.map_err(|trouble| trouble.into_error(&self.host))
    }
}

/// Asks the daemon for its past events: the container itself may be removed already.
async fn ran_out_of_memory(docker: Docker, container: String) -> bool {
    let filters: HashMap<String, Vec<String>> =
        [("container".to_owned(), vec![container]), ("event".to_owned(), vec!["oom".to_owned()])].into();
    // Without an end the daemon waits for more; what has happened it says at once.
    let options = EventsOptionsBuilder::new().since("1").filters(&filters).build();
    let mut events = std::pin::pin!(docker.events(Some(options)));
    let first = tokio::time::timeout(EVENTS_LIMIT, events.next()).await;
    matches!(first, Ok(Some(Ok(_))))
}

impl Drop for DockerSandbox {
    fn drop(&mut self) {
        if self.removed {
            return;
        }
        let (docker, container) = (self.docker.clone(), std::mem::take(&mut self.container));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(trouble) = remove(&docker, &container).await {
                    tracing::warn!(
                        ?trouble,
                        container,
                        "a sandbox could not be removed; the next sweep tries again"
                    );
                }
            });
        }
    }
}
