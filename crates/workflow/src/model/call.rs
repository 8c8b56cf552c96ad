//! `call`: one variant per protocol, and functions.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Authentication, DurationValue, Endpoint, ExternalResource, Reference, SubscriptionIterator};
use crate::expression::{Expression, Template};
use protocol::step::HttpOutput;

/// What is called.
#[derive(Clone, Debug)]
pub enum Call {
    /// `call: http`
    Http(HttpCall),
    /// `call: cli-agent`, ours: a CLI agent in a sandbox.
    CliAgent(CliAgentCall),
    /// `call: noop`, ours: a worker answers with `with`, evaluated. It measures a fleet.
    Noop(Template),
    /// A function of `use.functions`, of a catalog, or one that does not exist.
    Function(FunctionCall),
    /// `call: openapi`
    OpenApi(OpenApiCall),
    /// `call: grpc`
    Grpc(GrpcCall),
    /// `call: asyncapi`
    AsyncApi(AsyncApiCall),
    /// `call: a2a`
    A2a(A2aCall),
    /// `call: mcp`
    Mcp(McpCall),
}

impl Call {
    /// The value of `call`.
    pub fn name(&self) -> &str {
        match self {
            Call::Http(_) => "http",
            Call::CliAgent(_) => "cli-agent",
            Call::Noop(_) => "noop",
            Call::Function(call) => &call.function,
            Call::OpenApi(_) => "openapi",
            Call::Grpc(_) => "grpc",
            Call::AsyncApi(_) => "asyncapi",
            Call::A2a(_) => "a2a",
            Call::Mcp(_) => "mcp",
        }
    }
}

/// `call: http`.
#[derive(Clone, Debug)]
pub struct HttpCall {
    /// Method, as written: text or an expression.
    pub method: Template,
    /// Where to; the authentication is the endpoint's.
    pub endpoint: Endpoint,
    /// An object of strings, or an expression that gives one; `{}` when absent.
    pub headers: Template,
    /// Likewise; added to the URI's own query.
    pub query: Template,
    /// The body.
    pub body: Option<Template>,
    /// What becomes the output.
    pub output: HttpOutput,
    /// Whether redirects are followed and status 3xx is no error.
    pub redirect: bool,
}

/// `call: cli-agent`.
#[derive(Clone, Debug)]
pub struct CliAgentCall {
    /// Name of the agent's manifest.
    pub agent: String,
    /// What it is asked to do; gives a string.
    pub prompt: Template,
    /// Files put in /workspace before the start: path below it → text.
    pub files: BTreeMap<String, Template>,
    /// Further arguments of its command; each gives a string.
    pub args: Vec<Template>,
}

/// A call of a function by name.
#[derive(Clone, Debug)]
pub struct FunctionCall {
    /// Name, or `name:version@catalog`.
    pub function: String,
    /// `with`: an object, evaluated; the function's input. `{}` when absent.
    pub with: Template,
}

impl FunctionCall {
    /// Whether it is not the document's own: `name:version@catalog`, or a URI.
    pub fn is_external(&self) -> bool {
        self.function.contains('@') || self.function.contains("://")
    }
}

/// `call: openapi`.
#[derive(Clone, Debug)]
pub struct OpenApiCall {
    /// The API's description.
    pub document: ExternalResource,
    /// Which operation.
    pub operation_id: String,
    /// Its parameters, an object.
    pub parameters: Template,
    /// Credentials.
    pub authentication: Option<Reference<Authentication>>,
    /// What becomes the output.
    pub output: HttpOutput,
    /// Whether status 3xx is no error.
    pub redirect: bool,
}

/// `call: grpc`.
#[derive(Clone, Debug)]
pub struct GrpcCall {
    /// The service's description.
    pub proto: ExternalResource,
    /// Name of the service.
    pub service: String,
    /// Host.
    pub host: String,
    /// TCP port.
    pub port: Option<u16>,
    /// Credentials.
    pub authentication: Option<Reference<Authentication>>,
    /// Method.
    pub method: String,
    /// Arguments, an object.
    pub arguments: Template,
}

/// `call: asyncapi`: publishes `message` or takes `subscription`.
#[derive(Clone, Debug)]
pub struct AsyncApiCall {
    /// The API's description.
    pub document: ExternalResource,
    /// Channel (AsyncAPI 2).
    pub channel: Option<String>,
    /// Operation (AsyncAPI 3).
    pub operation: Option<String>,
    /// Name of the server.
    pub server: Option<String>,
    /// Variables of the server, an object.
    pub server_variables: Template,
    /// Protocol that selects the server.
    pub protocol: Option<String>,
    /// What to publish: payload and headers.
    pub message: Option<Template>,
    /// What to consume.
    pub subscription: Option<AsyncApiSubscription>,
    /// Credentials.
    pub authentication: Option<Reference<Authentication>>,
}

/// `subscription` of `call: asyncapi`.
#[derive(Clone, Debug)]
pub struct AsyncApiSubscription {
    /// Which messages.
    pub filter: Option<Expression>,
    /// How long at most.
    pub for_: Option<DurationValue>,
    /// When it has enough.
    pub consume: Consume,
    /// What is done with each.
    pub foreach: Option<SubscriptionIterator>,
}

/// When a subscription has enough.
#[derive(Clone, Debug)]
pub enum Consume {
    /// After so many messages.
    Amount(Template),
    /// When no longer true; asked after each.
    While(Expression),
    /// When true; asked before each.
    Until(Expression),
}

/// `call: a2a`.
#[derive(Clone, Debug)]
pub struct A2aCall {
    /// The agent's card.
    pub agent_card: Option<ExternalResource>,
    /// Its server.
    pub server: Option<Endpoint>,
    /// Method of the A2A protocol.
    pub method: String,
    /// Parameters: an object or an expression.
    pub parameters: Option<Template>,
}

/// `call: mcp`.
#[derive(Clone, Debug)]
pub struct McpCall {
    /// Version of the protocol.
    pub protocol_version: Option<String>,
    /// Method of the MCP protocol.
    pub method: String,
    /// Parameters: an object or an expression.
    pub parameters: Option<Template>,
    /// How long a request may take.
    pub timeout: Option<DurationValue>,
    /// How the server is reached.
    pub transport: McpTransport,
    /// Options of the transport.
    pub options: Map<String, Value>,
    /// Name and version of the client.
    pub client: Option<(String, String)>,
}

/// How an MCP server is reached.
#[derive(Clone, Debug)]
pub enum McpTransport {
    /// Over HTTP.
    Http {
        /// Where to.
        endpoint: Endpoint,
        /// Header fields, an object of strings.
        headers: Template,
    },
    /// As a process.
    Stdio {
        /// Its command.
        command: Template,
        /// Its arguments.
        arguments: Vec<Template>,
        /// Its environment, an object of strings.
        environment: Template,
    },
}
