//! A case, what it needs, and the sandbox backend that it is tried on.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::step::Step;
use crate::session::PutFile;
use crate::{Backend, Capabilities, SandboxError, SandboxLimits, Session, Template, probe_binary};

/// Where the probe is put, below the step's folder; `.sagewai` is never collected.
const PROBE: &str = ".sagewai/probe";

/// A sandbox backend under test.
#[derive(Clone)]
pub struct Subject {
    /// The sandbox backend.
    pub backend: Arc<dyn Backend>,
    /// What its sandboxes are made from. Any image will do: the cases bring the one program that they need.
    pub template: Template,
    /// How many cases may be tried at once, where they do not disturb each other.
    pub at_once: usize,
}

/// One case of a suite.
pub struct Case {
    /// What must hold, or the attack, in a few words joined by `-`.
    pub name: &'static str,
    /// What should hold an attack off; empty where the case is none.
    pub defence: &'static str,
    /// What the sandbox backend must be able to do; otherwise the case is skipped.
    pub needs: &'static [Need],
    /// Tries it.
    pub run: for<'a> fn(&'a Subject) -> Trying<'a>,
}

/// A case on its way.
pub type Trying<'a> = Pin<Box<dyn Future<Output = Result<(), Why>> + Send + 'a>>;

/// Why a case did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It was tried and did not hold, in these ways.
    Broken(String),
    /// It could not be tried here, for this reason.
    Skipped(String),
}

impl From<String> for Why {
    fn from(why: String) -> Self {
        Why::Broken(why)
    }
}

/// What a case needs of a sandbox backend, by its [`Capabilities`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Limits of the sandbox as a whole.
    Limits,
    /// A disk limit of the sandbox as a whole.
    DiskLimit,
    /// A limit of the number of files.
    FileLimit,
    /// Quotas of the kernel of its own.
    OwnQuotas,
    /// A way to listed destinations.
    Tunnel,
    /// No network but the tunnel.
    TunnelOnly,
    /// A terminal.
    Terminal,
    /// A conversation with the running step.
    Interactive,
    /// Nothing in /proc of the machine below.
    HidesHost,
    /// Processes that can be seen from here.
    Local,
    /// So many bytes into the step.
    Input(u64),
    /// So many bytes out of the step.
    Output(u64),
}

impl Need {
    /// Why `able` does not meet it, if it does not.
    pub fn unmet(self, able: &Capabilities) -> Option<String> {
        let below = |limit: Option<u64>, bytes: u64| limit.is_some_and(|limit| limit < bytes);
        let (lacking, what) = match self {
            Need::Limits => (!able.limits, "limits of a sandbox as a whole".to_owned()),
            Need::FileLimit => (!able.file_limit, "a limit of the number of files".to_owned()),
            Need::DiskLimit => (!able.disk_limit, "a disk limit of a sandbox as a whole".to_owned()),
            Need::OwnQuotas => (!able.own_quotas, "quotas of the kernel for each sandbox".to_owned()),
            Need::Tunnel => (!able.tunnel, "a way to listed destinations".to_owned()),
            Need::TunnelOnly => (!able.tunnel_only, "a network that is the tunnel alone".to_owned()),
            Need::Terminal => (!able.terminal, "terminals".to_owned()),
            Need::Interactive => (!able.interactive, "a conversation with the running step".to_owned()),
            Need::HidesHost => {
                (!able.hides_host, "a /proc that tells nothing of the machine below".to_owned())
            }
            Need::Local => (!able.local, "processes on this machine".to_owned()),
            Need::Input(bytes) => {
                (below(able.largest_input_bytes, bytes), format!("inputs of {bytes} bytes"))
            }
            Need::Output(bytes) => {
                (below(able.largest_output_bytes, bytes), format!("outputs of {bytes} bytes"))
            }
        };
        lacking.then(|| format!("this sandbox backend has no {what} here, and says so"))
    }
}

impl Subject {
    /// A sandbox backend with its own default root.
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        Self { backend, template: Template::default(), at_once: 4 }
    }

    /// A sandbox backend with an image.
    pub fn with_image(backend: Arc<dyn Backend>, image: impl Into<String>) -> Self {
        let template = Template { image: Some(image.into()), ..Template::default() };
        Self { template, ..Self::new(backend) }
    }

    /// A sandbox that is ready and has the probe.
    pub async fn open(&self) -> Result<Session, String> {
        self.open_limited(self.template.limits).await
    }

    /// As [`Subject::open`], with limits of its own.
    pub async fn open_limited(&self, limits: SandboxLimits) -> Result<Session, String> {
        let template = Template { limits, ..self.template.clone() };
        let sandbox = self.backend.create(&template).await.map_err(told)?;
        let mut session = Session::open(sandbox, &[]).await.map_err(told)?;
        let probe = PutFile {
            path: PROBE.to_owned(),
            mode: 0o755,
            content: bytes::Bytes::from_static(probe_binary()),
        };
        session.put_file(probe).await.map_err(told)?;
        Ok(session)
    }

    /// A step that is the probe with these words.
    pub fn probe<S: Into<String>>(&self, words: impl IntoIterator<Item = S>) -> Step {
        let program = format!("./{PROBE}");
        self.step(std::iter::once(program).chain(words.into_iter().map(Into::into)))
    }

    /// A step of a program of the image's.
    pub fn step<S: Into<String>>(&self, argv: impl IntoIterator<Item = S>) -> Step {
        let able = self.backend.capabilities();
        let mut step = Step::new(argv);
        step.environment.insert("HOME".to_owned(), able.home);
        step.environment.insert("PATH".to_owned(), able.path);
        step.directory = able.workspace;
        step
    }

    /// Tries one case within `limit`.
    pub(crate) async fn attempt(&self, case: &Case, limit: Duration) -> super::Verdict {
        use super::Verdict;
        let able = self.backend.capabilities();
        if let Some(why) = case.needs.iter().find_map(|need| need.unmet(&able)) {
            return Verdict::Skipped(why);
        }
        match tokio::time::timeout(limit, (case.run)(self)).await {
            Ok(Ok(())) => Verdict::Held,
            Ok(Err(Why::Broken(how))) => Verdict::Broken(how),
            Ok(Err(Why::Skipped(why))) => Verdict::Skipped(why),
            Err(_) => Verdict::Broken(format!("no end after {limit:?}")),
        }
    }
}

pub(crate) fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), Why> {
    if holds { Ok(()) } else { Err(Why::Broken(what())) }
}

pub(crate) fn told(error: SandboxError) -> String {
    format!("{error:?}")
}

pub(crate) async fn done(session: Session) -> Result<(), Why> {
    Ok(session.discard().await.map_err(told)?)
}
