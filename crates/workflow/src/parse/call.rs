//! Reads `call`.

use std::collections::BTreeMap;

use protocol::step::HttpOutput;

use super::reader::{At, Fields, Reader};
use super::syntax::Content;
use crate::expression::Template;
use crate::model::{
    A2aCall, AsyncApiCall, AsyncApiSubscription, Call, CliAgentCall, Consume, FunctionCall, GrpcCall,
    HttpCall, McpCall, McpTransport, OpenApiCall,
};

const OUTPUTS: &[(&str, HttpOutput)] =
    &[("raw", HttpOutput::Raw), ("content", HttpOutput::Content), ("response", HttpOutput::Response)];
const A2A_METHODS: &[&str] = &[
    "message/send",
    "message/stream",
    "tasks/get",
    "tasks/list",
    "tasks/cancel",
    "tasks/resubscribe",
    "tasks/pushNotificationConfig/set",
    "tasks/pushNotificationConfig/get",
    "tasks/pushNotificationConfig/list",
    "tasks/pushNotificationConfig/delete",
    "agent/getAuthenticatedExtendedCard",
];
const MCP_METHODS: &[&str] = &[
    "tools/list",
    "tools/call",
    "prompts/list",
    "prompts/get",
    "resources/list",
    "resources/read",
    "resources/templates/list",
];
const ASYNCAPI_PROTOCOLS: &[&str] = &[
    "amqp",
    "amqp1",
    "anypointmq",
    "googlepubsub",
    "http",
    "ibmmq",
    "jms",
    "kafka",
    "mercure",
    "mqtt",
    "mqtt5",
    "nats",
    "pulsar",
    "redis",
    "sns",
    "solace",
    "sqs",
    "stomp",
    "ws",
];
const ASYNCAPI_KEYS: &[&str] =
    &["document", "channel", "operation", "server", "protocol", "message", "subscription", "authentication"];

impl Reader {
    pub(super) fn call(&self, task: &Fields<'_>, at: &At<'_>) -> Option<Call> {
        let name = self.text(at)?;
        let with = task.get("with");
        if matches!(name, "http" | "openapi" | "grpc" | "asyncapi" | "a2a" | "mcp" | "cli-agent") {
            let with = task.require("with")?;
            return match name {
                "http" => self.http(&with).map(Call::Http),
                "openapi" => self.openapi(&with).map(Call::OpenApi),
                "grpc" => self.grpc(&with).map(Call::Grpc),
                "asyncapi" => self.asyncapi(&with).map(Call::AsyncApi),
                "a2a" => self.a2a(&with).map(Call::A2a),
                "mcp" => self.mcp(&with).map(Call::Mcp),
                _ => self.cli_agent(&with).map(Call::CliAgent),
            };
        }
        let with = self.object_template(with);
        Some(match name {
            "noop" => Call::Noop(with),
            _ => Call::Function(FunctionCall { function: name.to_owned(), with }),
        })
    }

    fn words(&self, at: &At<'_>, words: &[&str]) -> Option<String> {
        let pairs: Vec<(&str, &str)> = words.iter().map(|word| (*word, *word)).collect();
        self.word(at, &pairs).map(str::to_owned)
    }

    fn http(&self, at: &At<'_>) -> Option<HttpCall> {
        let fields =
            self.fields(at, &["method", "endpoint", "headers", "body", "query", "output", "redirect"])?;
        let method = fields.require("method").and_then(|at| self.string_template(&at));
        let endpoint = fields.require("endpoint").and_then(|at| self.endpoint(&at));
        let call = HttpCall {
            headers: self.strings_or_expression(fields.get("headers")),
            query: self.strings_or_expression(fields.get("query")),
            body: fields.get("body").and_then(|at| self.template(&at)),
            output: fields.get("output").and_then(|at| self.word(&at, OUTPUTS)).unwrap_or_default(),
            redirect: fields.get("redirect").and_then(|at| self.boolean(&at)).unwrap_or(false),
            method: method?,
            endpoint: endpoint?,
        };
        Some(call)
    }

    fn cli_agent(&self, at: &At<'_>) -> Option<CliAgentCall> {
        let fields = self.fields(at, &["agent", "prompt", "files", "args"])?;
        let agent = fields.require("agent").and_then(|at| self.string(&at));
        let prompt = fields.require("prompt").and_then(|at| self.string_template(&at));
        let files = fields.get("files").map(|at| self.by_name(&at, |at| self.workspace_file(at)));
        let args = self.string_templates(fields.get("args"));
        Some(CliAgentCall {
            agent: agent?,
            prompt: prompt?,
            files: files.unwrap_or_else(BTreeMap::new),
            args,
        })
    }

    fn workspace_file(&self, at: &At<'_>) -> Option<Template> {
        let path = at.key();
        if path.is_empty()
            || path.starts_with('/')
            || path.split('/').any(|part| matches!(part, "" | "." | ".."))
        {
            let message = format!("`{path}` must be a path below /workspace, such as notes/plan.md");
            self.error(at, "path", message);
        }
        self.string_template(at)
    }

    fn openapi(&self, at: &At<'_>) -> Option<OpenApiCall> {
        let keys = ["document", "operationId", "parameters", "authentication", "output", "redirect"];
        let fields = self.fields(at, &keys)?;
        let document = fields.require("document").and_then(|at| self.external_resource(&at));
        let operation_id = fields.require("operationId").and_then(|at| self.string(&at));
        let call = OpenApiCall {
            parameters: self.object_template(fields.get("parameters")),
            authentication: fields.get("authentication").and_then(|at| self.authentication_reference(&at)),
            output: fields.get("output").and_then(|at| self.word(&at, OUTPUTS)).unwrap_or_default(),
            redirect: fields.get("redirect").and_then(|at| self.boolean(&at)).unwrap_or(false),
            document: document?,
            operation_id: operation_id?,
        };
        Some(call)
    }

    fn grpc(&self, at: &At<'_>) -> Option<GrpcCall> {
        let fields = self.fields(at, &["proto", "service", "method", "arguments"])?;
        let proto = fields.require("proto").and_then(|at| self.external_resource(&at));
        let method = fields.require("method").and_then(|at| self.string(&at));
        let arguments = self.object_template(fields.get("arguments"));
        let at = fields.require("service")?;
        let service = self.fields(&at, &["name", "host", "port", "authentication"])?;
        let name = service.require("name").and_then(|at| self.string(&at));
        let host = service.require("host").and_then(|at| self.host(&at));
        let port = service.get("port").and_then(|at| self.integer_in(&at, 0, 65_535));
        let authentication = service.get("authentication").and_then(|at| self.authentication_reference(&at));
        Some(GrpcCall {
            proto: proto?,
            service: name?,
            host: host?,
            port,
            authentication,
            method: method?,
            arguments,
        })
    }

    fn host(&self, at: &At<'_>) -> Option<String> {
        let host = self.string(at)?;
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        let inner =
            host.len() <= 63 && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'));
        if !inner || !edge(host.chars().next()) || !edge(host.chars().last()) {
            self.error(
                at,
                "name",
                "`host` must be a host name of at most 63 letters, digits, dots and hyphens",
            );
        }
        Some(host)
    }

    fn asyncapi(&self, at: &At<'_>) -> Option<AsyncApiCall> {
        let fields = self.fields(at, ASYNCAPI_KEYS)?;
        let document = fields.require("document").and_then(|at| self.external_resource(&at));
        let text = |key| fields.get(key).and_then(|at| self.string(&at));
        let target = fields.one_of(&["operation", "channel"]);
        let direction = fields.one_of(&["message", "subscription"]);
        let server = fields.get("server");
        let server = server.as_ref().and_then(|at| self.fields(at, &["name", "variables"]));
        let message = fields.get("message").and_then(|at| {
            let fields = self.fields(&at, &["payload", "headers"])?;
            for at in ["payload", "headers"].iter().filter_map(|key| fields.get(key)) {
                self.any_fields(&at);
            }
            self.template(&at)
        });
        let call = AsyncApiCall {
            channel: text("channel"),
            operation: text("operation"),
            server: server.as_ref().and_then(|fields| fields.require("name")).and_then(|at| self.string(&at)),
            server_variables: self
                .object_template(server.as_ref().and_then(|fields| fields.get("variables"))),
            protocol: fields.get("protocol").and_then(|at| self.words(&at, ASYNCAPI_PROTOCOLS)),
            message,
            subscription: fields.get("subscription").and_then(|at| self.subscription(&at)),
            authentication: fields.get("authentication").and_then(|at| self.authentication_reference(&at)),
            document: document?,
        };
        target.and(direction).map(|_| call)
    }

    fn subscription(&self, at: &At<'_>) -> Option<AsyncApiSubscription> {
        let fields = self.fields(at, &["filter", "consume", "foreach"])?;
        let filter = fields.get("filter").and_then(|at| self.marked_expression(&at));
        let foreach = fields.get("foreach").and_then(|at| self.subscription_iterator(&at));
        let at = fields.require("consume")?;
        let fields = self.fields(&at, &["for", "amount", "while", "until"])?;
        let for_ = fields.get("for").and_then(|at| self.duration(&at));
        let (kind, at) = fields.one_of(&["amount", "while", "until"])?;
        let consume = match kind {
            "amount" => {
                self.integer(&at)?;
                Consume::Amount(self.template(&at)?)
            }
            "while" => Consume::While(self.marked_expression(&at)?),
            _ => Consume::Until(self.marked_expression(&at)?),
        };
        Some(AsyncApiSubscription { filter, for_, consume, foreach })
    }

    /// An expression that must be written `${ }`.
    fn marked_expression(&self, at: &At<'_>) -> Option<crate::expression::Expression> {
        let text = self.text(at)?;
        if !self.is_expression(text) {
            let message = format!("`{}` must be an expression in ${{ }} on one line", at.key());
            self.error(at, "expression", message);
            return None;
        }
        self.expression(at)
    }

    fn a2a(&self, at: &At<'_>) -> Option<A2aCall> {
        let fields = self.fields(at, &["agentCard", "server", "method", "parameters"])?;
        let method = fields.require("method").and_then(|at| self.words(&at, A2A_METHODS));
        let agent_card = fields.get("agentCard").and_then(|at| self.external_resource(&at));
        let server = fields.get("server").and_then(|at| self.endpoint(&at));
        let parameters = fields.get("parameters").and_then(|at| {
            if matches!(&at.node.content, Content::Map(entries) if entries.is_empty()) {
                self.error(&at, "missing-key", "`parameters` needs at least one key");
            }
            self.object_or_expression(&at)
        });
        Some(A2aCall { agent_card, server, method: method?, parameters })
    }

    fn mcp(&self, at: &At<'_>) -> Option<McpCall> {
        let keys = ["protocolVersion", "method", "parameters", "timeout", "transport", "client"];
        let fields = self.fields(at, &keys)?;
        let method = fields.require("method").and_then(|at| self.words(&at, MCP_METHODS));
        let client = fields.get("client").and_then(|at| {
            let fields = self.fields(&at, &["name", "version"])?;
            let text = |key| fields.require(key).and_then(|at| self.string(&at));
            text("name").zip(text("version"))
        });
        let protocol_version = fields.get("protocolVersion").and_then(|at| self.string(&at));
        let parameters = fields.get("parameters").and_then(|at| self.object_or_expression(&at));
        let timeout = fields.get("timeout").and_then(|at| self.duration(&at));
        let at = fields.require("transport")?;
        let transport = self.fields(&at, &["http", "stdio", "options"])?;
        let options = self.object_or_empty(transport.get("options"));
        if let Some(at) = transport.get("options") {
            self.strings_or_expression(Some(at));
        }
        let (kind, at) = transport.one_of(&["http", "stdio"])?;
        let transport = if kind == "http" { self.mcp_http(&at)? } else { self.mcp_stdio(&at)? };
        Some(McpCall { protocol_version, method: method?, parameters, timeout, transport, options, client })
    }

    fn mcp_http(&self, at: &At<'_>) -> Option<McpTransport> {
        let fields = self.fields(at, &["endpoint", "headers"])?;
        let endpoint = fields.require("endpoint").and_then(|at| self.endpoint(&at))?;
        Some(McpTransport::Http { endpoint, headers: self.strings(fields.get("headers")) })
    }

    fn mcp_stdio(&self, at: &At<'_>) -> Option<McpTransport> {
        let fields = self.fields(at, &["command", "arguments", "environment"])?;
        let command = fields.require("command").and_then(|at| self.string_template(&at))?;
        let arguments = self.string_templates(fields.get("arguments"));
        Some(McpTransport::Stdio { command, arguments, environment: self.strings(fields.get("environment")) })
    }

    /// A mapping of texts.
    fn strings(&self, at: Option<At<'_>>) -> Template {
        let mapping = at.filter(|at| self.any_fields(at).is_some());
        self.strings_or_expression(mapping)
    }
}
