//! `call`: an HTTP request, a CLI agent or a no-op as a step; a function of the document as a task of its own.

use std::collections::BTreeMap;

use protocol::step::{HttpAuthentication, HttpCall as HttpStep, StepError, Work as StepWork};
use workflow::{
    Authentication, Call, CliAgentCall, Credentials, Endpoint, FunctionCall, HttpCall, Reference, Task, Uri,
};

use super::run::text_map;
use super::step;
use crate::error;
use crate::path::Path;
use crate::scope::{Sees, as_text};
use crate::state::{FrameId, Work};
use crate::turn::{Next, Turn};
use crate::uri;

/// Starts the call.
pub(crate) fn begin<'a>(
    turn: &mut Turn<'a>,
    id: FrameId,
    task: &'a Task,
    call: &'a Call,
) -> Result<Next, StepError> {
    let work = match call {
        Call::Http(call) => StepWork::Http(http(turn, id, task, call)?),
        Call::CliAgent(call) => cli_agent(turn, id, call)?,
        Call::Noop(template) => {
            let input = turn.state.frame(id).input.clone();
            let value = turn.value(id, template, &input, Sees::DEFINITION)?;
            StepWork::Noop { value: (*value).clone() }
        }
        Call::Function(call) => return begin_function(turn, id, call),
        Call::OpenApi(_) | Call::Grpc(_) | Call::AsyncApi(_) | Call::A2a(_) | Call::Mcp(_) => {
            return Err(error::configuration(format!("`call: {}` cannot be run yet", call.name())));
        }
    };
    step::start(turn, id, task, work)
}

/// The function's task runs inside the call; its raw input is `with`, and it sees no variable of the loops around.
fn begin_function(turn: &mut Turn<'_>, id: FrameId, call: &FunctionCall) -> Result<Next, StepError> {
    if turn.workflow.function(&call.function).is_none() {
        return Err(error::configuration(format!("`{}` is no function of `use.functions`", call.function)));
    }
    let input = turn.state.frame(id).input.clone();
    let with = turn.value(id, &call.with, &input, Sees::DEFINITION)?;
    turn.state.frame_mut(id).work = Work::Function;
    turn.open(Some(id), Path::function(&call.function), with, Work::New);
    Ok(Next::Wait)
}

fn cli_agent(turn: &mut Turn<'_>, id: FrameId, call: &CliAgentCall) -> Result<StepWork, StepError> {
    let prompt = turn.text(id, &call.prompt)?;
    let mut files = BTreeMap::new();
    for (path, template) in &call.files {
        files.insert(path.clone(), turn.text(id, template)?);
    }
    let arguments =
        call.args.iter().map(|argument| turn.text(id, argument)).collect::<Result<Vec<_>, _>>()?;
    Ok(StepWork::CliAgent { agent: call.agent.clone(), prompt, files, arguments })
}

fn http<'a>(
    turn: &mut Turn<'a>,
    id: FrameId,
    task: &'a Task,
    call: &'a HttpCall,
) -> Result<HttpStep, StepError> {
    let method = turn.text(id, &call.method)?.to_ascii_uppercase();
    let address = address(turn, id, task, &call.endpoint)?;
    let query = text_map(turn, id, &call.query, "query")?;
    let headers = text_map(turn, id, &call.headers, "headers")?;
    let body = match &call.body {
        Some(template) => {
            let input = turn.state.frame(id).input.clone();
            Some((*turn.value(id, template, &input, Sees::DEFINITION)?).clone())
        }
        None => None,
    };
    Ok(HttpStep {
        method,
        uri: uri::with_query(&address, &query),
        headers: headers.into_iter().collect(),
        body,
        output: call.output,
        redirect: call.redirect,
        authentication: match &call.endpoint.authentication {
            Some(reference) => Some(authentication(turn, id, reference)?),
            None => None,
        },
    })
}

fn address(turn: &mut Turn<'_>, id: FrameId, task: &Task, endpoint: &Endpoint) -> Result<String, StepError> {
    let input = turn.state.frame(id).input.clone();
    let address = match &endpoint.uri {
        Uri::Template(_) => {
            let written = format!("{}/with/endpoint", task.pointer);
            let written = turn.workflow.definition.pointer(&written);
            let text = written.and_then(|endpoint| endpoint.get("uri").unwrap_or(endpoint).as_str());
            uri::expand(text.unwrap_or_default(), &input).map_err(error::unexpected)?
        }
        Uri::Expression(expression) => {
            let value = turn.expression(id, expression, &input, Sees::DEFINITION)?;
            as_text(value.get("uri").unwrap_or(&value))
        }
    };
    if address.starts_with("http://") || address.starts_with("https://") {
        return Ok(address);
    }
    Err(error::unexpected(format!("`endpoint` must be an http or https URI; it is `{address}`")))
}

fn authentication<'a>(
    turn: &mut Turn<'a>,
    id: FrameId,
    reference: &'a Reference<Authentication>,
) -> Result<HttpAuthentication, StepError> {
    let policy = turn.workflow.authentication(reference).ok_or_else(|| {
        error::configuration("`authentication.use` names no entry of `use.authentications`")
    })?;
    match policy {
        Authentication::Basic(Credentials::Literal(pair)) => Ok(HttpAuthentication::Basic {
            username: turn.text(id, &pair.username)?,
            password: turn.text(id, &pair.password)?,
        }),
        Authentication::Bearer(Credentials::Literal(token)) => {
            Ok(HttpAuthentication::Bearer { token: turn.text(id, token)? })
        }
        Authentication::Basic(Credentials::Secret(name))
        | Authentication::Bearer(Credentials::Secret(name)) => Err(error::configuration(format!(
            "a credential of secret `{name}` cannot be applied to an HTTP call yet; \
                 run a command with `mode: identity` instead"
        ))),
        Authentication::Digest(_) | Authentication::OAuth2(_) | Authentication::Oidc(_) => {
            Err(error::configuration(format!("`{}` authentication cannot be used yet", policy.scheme())))
        }
    }
}
