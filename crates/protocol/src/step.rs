//! A step: everything a worker needs to run one attempt, with every expression already evaluated.
//!
//! The planner writes a [`StepSpec`], the store keeps it, the worker reads it. It names an identity by reference and
//! holds no key name and no value.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Where a step runs (design §1). The mode belongs to the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// 0: in the worker process, with none of the customer's secrets.
    Bare,
    /// 1: in a sandbox, no secrets.
    Sandboxed,
    /// 2: in a sandbox, with a Sealed Identity in the step's environment.
    Identity,
    /// 3: a CLI agent in a sandbox, with a Sealed Identity.
    Full,
    /// 3b: as 3, and the step may ask for a further credential while it runs.
    FullJit,
}

impl Mode {
    /// The mode's number as people say it: `0`, `1`, `2`, `3`, `3b`.
    pub fn number(self) -> &'static str {
        match self {
            Mode::Bare => "0",
            Mode::Sandboxed => "1",
            Mode::Identity => "2",
            Mode::Full => "3",
            Mode::FullJit => "3b",
        }
    }

    /// The mode's name as documents write it.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Bare => "bare",
            Mode::Sandboxed => "sandboxed",
            Mode::Identity => "identity",
            Mode::Full => "full",
            Mode::FullJit => "full-jit",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A destination that a step may reach: `host:port` or `*.host:port` (any name below `host`, not `host` itself).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NetworkRule {
    /// Lower-case ASCII host name without trailing dot, or an IP address literal.
    pub host: String,
    /// Whether any subdomain of `host` is meant rather than `host`.
    pub subdomains: bool,
    /// TCP port, 1 to 65535.
    pub port: u16,
}

/// Limits of one step. Absent means the worker's default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// Thousandths of a CPU core.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cpu_millis: Option<u32>,
    /// Bytes of memory.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub memory_bytes: Option<u64>,
    /// Bytes the step may write in its sandbox.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub disk_bytes: Option<u64>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub processes: Option<u32>,
}

/// What a worker is asked to run. Everything in it is plain data: no expression is left to evaluate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepSpec {
    /// JSON pointer of the task in its document, such as `/do/1/query`.
    pub task: String,
    /// The work.
    pub work: Work,
    /// Where it runs.
    pub mode: Mode,
    /// Opaque reference of the Sealed Identity, such as `acme-prod/reporting`; only with mode 2 and up.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub identity: Option<String>,
    /// OCI image reference of the sandbox; absent means the sandbox backend's default root.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub image: Option<String>,
    /// Destinations the step may reach. Empty means none. In mode 0 it does not apply.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub network: Vec<NetworkRule>,
    /// Limits.
    #[serde(skip_serializing_if = "is_default", default)]
    pub resources: Resources,
    /// Labels that the worker must carry.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub requires: BTreeMap<String, String>,
    /// The sandbox backend asked for by name; absent means any.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub backend: Option<String>,
    /// Paths below /workspace, with `*` and `**`, that come back as artifacts.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub artifacts: Vec<String>,
    /// Milliseconds after which the worker ends the step; absent means the worker's own limit.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub timeout_ms: Option<u64>,
}

impl StepSpec {
    /// The OCI image of the step's sandbox, wherever the document names it.
    pub fn image(&self) -> Option<&str> {
        match &self.work {
            Work::Container { image, .. } => Some(image),
            _ => self.image.as_deref(),
        }
    }
}

/// A step that asks for more time than this is a long one: not every sandbox backend takes it.
pub const LONG_STEP_MS: u64 = 15 * 60 * 1000;

/// What a step needs of a sandbox backend: the server matches workers by it, and the worker chooses by it, so that the
/// sandbox backend named in a grant is the one that is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxNeeds<'a> {
    /// Its mode, 1 or more.
    pub mode: Mode,
    /// The sandbox backend asked for by name.
    pub backend: Option<&'a str>,
    /// Whether it names an image.
    pub image: bool,
    /// Whether it asks for more than [`LONG_STEP_MS`].
    pub long: bool,
    /// Whether it lists destinations.
    pub network: bool,
}

impl<'a> SandboxNeeds<'a> {
    /// What `spec` needs; `None` in mode 0, which has no sandbox.
    pub fn of(spec: &'a StepSpec) -> Option<Self> {
        (spec.mode != Mode::Bare).then(|| SandboxNeeds {
            mode: spec.mode,
            backend: spec.backend.as_deref(),
            image: spec.image().is_some(),
            long: spec.timeout_ms.is_some_and(|ms| ms > LONG_STEP_MS),
            network: !spec.network.is_empty(),
        })
    }
}

fn is_default(resources: &Resources) -> bool {
    *resources == Resources::default()
}

/// The kinds of work a worker knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Work {
    /// Answers with its argument: measures a fleet, tests a workflow.
    Noop {
        /// The answer.
        value: Value,
    },
    /// An HTTP request (DSL `call: http`).
    Http(HttpCall),
    /// A shell command (DSL `run: shell`).
    Shell(ProcessRun),
    /// A script in a language (DSL `run: script`).
    Script {
        /// `python` or `js` (DSL 1.0.3 §script), lower-case.
        language: String,
        /// The source text.
        code: String,
        /// Arguments, environment, input, return.
        #[serde(flatten)]
        process: ProcessRun,
    },
    /// A container (DSL `run: container`).
    Container {
        /// The image.
        image: String,
        /// Arguments, environment, input, return; an empty command means the image's own.
        #[serde(flatten)]
        process: ProcessRun,
    },
    /// A CLI agent, described by a manifest that the worker's operator installed.
    CliAgent {
        /// The manifest's name.
        agent: String,
        /// What the agent is asked to do.
        prompt: String,
        /// Files put in /workspace before the start: path below /workspace → text.
        #[serde(default)]
        files: BTreeMap<String, String>,
        /// Further arguments of the agent's command.
        #[serde(default)]
        arguments: Vec<String>,
    },
}

/// An HTTP request, ready to be sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HttpCall {
    /// Method, upper-case.
    pub method: String,
    /// Absolute URI, `http` or `https`, query included.
    pub uri: String,
    /// Header fields.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// Body: a string is sent as it is, an object as a form if the content type says so, anything else as JSON.
    #[serde(default)]
    pub body: Option<Value>,
    /// What becomes the task's output.
    #[serde(default)]
    pub output: HttpOutput,
    /// Whether redirects are followed and status 3xx accepted (DSL `redirect`).
    #[serde(default)]
    pub redirect: bool,
    /// Credentials that the document states literally or by expression (DSL `authentication`).
    #[serde(default)]
    pub authentication: Option<HttpAuthentication>,
}

/// DSL `call: http` `with.output`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HttpOutput {
    /// The body, parsed if it is JSON.
    #[default]
    Content,
    /// The body, base64.
    Raw,
    /// Status, headers and content.
    Response,
}

/// Credentials of an HTTP request. `Debug` shows the scheme alone.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "scheme", rename_all = "kebab-case")]
pub enum HttpAuthentication {
    /// RFC 7617.
    Basic {
        /// User name.
        username: String,
        /// Password.
        password: String,
    },
    /// RFC 6750.
    Bearer {
        /// Token.
        token: String,
    },
    /// RFC 7616.
    Digest {
        /// User name.
        username: String,
        /// Password.
        password: String,
    },
    /// RFC 6749: a token of the authority's token endpoint.
    #[serde(rename = "oauth2")]
    OAuth2(OAuth2),
    /// OpenID Connect: likewise, with the endpoint found by discovery.
    Oidc(OAuth2),
    /// The step's identity holds them; they are applied inside the sandbox. Only with mode 2.
    Identity {
        /// The scheme that the document names; absent means the one that the identity's keys fit.
        #[serde(rename = "as", skip_serializing_if = "Option::is_none", default)]
        as_: Option<HttpScheme>,
    },
}

impl fmt::Debug for HttpAuthentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HttpAuthentication::Basic { .. } => "Basic(..)",
            HttpAuthentication::Bearer { .. } => "Bearer(..)",
            HttpAuthentication::Digest { .. } => "Digest(..)",
            HttpAuthentication::OAuth2(_) => "OAuth2(..)",
            HttpAuthentication::Oidc(_) => "Oidc(..)",
            HttpAuthentication::Identity { .. } => "Identity",
        })
    }
}

/// A scheme of HTTP authentication, as documents name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HttpScheme {
    /// RFC 7617.
    Basic,
    /// RFC 6750.
    Bearer,
    /// RFC 7616.
    Digest,
    /// RFC 6749.
    OAuth2,
    /// OpenID Connect.
    Oidc,
}

/// How a token is asked for (DSL `oauth2`, `oidc`). It may hold credentials, so it has no `Debug`.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OAuth2 {
    /// Base URI of the authority.
    pub authority: String,
    /// Grant: `client_credentials` or `password`.
    pub grant: String,
    /// The client's id.
    pub client_id: String,
    /// The client's secret.
    pub client_secret: String,
    /// How the client shows itself: `client_secret_basic`, `client_secret_post` or `none`; empty means post.
    pub client_authentication: String,
    /// Whether the token is asked for in JSON rather than as a form.
    pub json: bool,
    /// Path or URI of the token endpoint; empty means the scheme's own.
    pub token_endpoint: String,
    /// Issuers that are accepted; empty means the authority.
    pub issuers: Vec<String>,
    /// Scopes that are asked for.
    pub scopes: Vec<String>,
    /// Audiences that are asked for.
    pub audiences: Vec<String>,
    /// User name, for the grant `password`.
    pub username: String,
    /// Password, for the grant `password`.
    pub password: String,
}

/// What the program that sends a request inside a sandbox prints first, as one line of JSON. The body follows an
/// `Answered`. Fields are written without their names: an identity's key of the same name would be masked on the way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum HttpOutcome {
    /// Status; method and URI of the last request; its header fields; those of the answer.
    #[serde(rename = "ok")]
    Answered(u16, String, String, Vec<(String, String)>, Vec<(String, String)>),
    /// Type, status, title and detail of the step's error.
    #[serde(rename = "no")]
    Failed(String, u16, String, String),
}

/// How a process is started and what of it is returned.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessRun {
    /// Shell command line or container command; for a script, unused and empty.
    #[serde(default)]
    pub command: String,
    /// Arguments, in order.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// Plain environment of the process.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// What the process reads on standard input.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stdin: Option<String>,
    /// What becomes the task's output.
    #[serde(default, rename = "return")]
    pub returns: ProcessReturn,
}

/// DSL `run.return`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProcessReturn {
    /// Standard output: JSON if it parses as an object or array, else text.
    #[default]
    Stdout,
    /// Standard error, likewise.
    Stderr,
    /// The exit code.
    Code,
    /// `{code, stdout, stderr}`.
    All,
    /// `null`.
    None,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum StepOutcome {
    /// The task's raw output.
    Completed {
        /// JSON of any shape.
        output: Value,
        /// Files that came back.
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        artifacts: Vec<Artifact>,
    },
    /// The step failed; `try` may catch it.
    Failed {
        /// Problem details.
        error: StepError,
    },
    /// The step ended because it was told to.
    Cancelled,
}

/// An error of a step, in the shape of DSL errors (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepError {
    /// URI of the error's type, such as `https://serverlessworkflow.io/spec/1.0.0/errors/communication`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Status code, as HTTP has them.
    pub status: u16,
    /// A short sentence on the kind of error.
    pub title: String,
    /// What happened here and what to do.
    #[serde(default)]
    pub detail: String,
}

/// The DSL's standard error types.
pub mod error_type {
    /// The task's configuration is wrong.
    pub const CONFIGURATION: &str = "https://serverlessworkflow.io/spec/1.0.0/errors/configuration";
    /// Input or output does not match its schema.
    pub const VALIDATION: &str = "https://serverlessworkflow.io/spec/1.0.0/errors/validation";
    /// An expression failed.
    pub const EXPRESSION: &str = "https://serverlessworkflow.io/spec/1.0.0/errors/expression";
    /// The step may not authenticate, or its identity was refused.
    pub const AUTHENTICATION: &str = "https://serverlessworkflow.io/spec/1.0.0/errors/authentication";
    /// A policy forbids it.
    pub const AUTHORIZATION: &str = "https://serverlessworkflow.io/spec/1.0.0/errors/authorization";
    /// A limit of time was passed.
    pub const TIMEOUT: &str = "https://serverlessworkflow.io/spec/1.0.0/errors/timeout";
    /// The other side of a call failed.
    pub const COMMUNICATION: &str = "https://serverlessworkflow.io/spec/1.0.0/errors/communication";
    /// The run's process failed or could not be started.
    pub const RUNTIME: &str = "https://serverlessworkflow.io/spec/1.0.0/errors/runtime";
}

/// A file that a step gave back; its bytes are in the blob store under `sha256`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Path below /workspace.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Lower-case hex SHA-256 of the content.
    pub sha256: String,
}
