//! `call`: an HTTP request, a CLI agent or a no-op as a step; a function of the document as a task of its own.

use std::collections::BTreeMap;

use protocol::step::{HttpAuthentication, HttpCall as HttpStep, OAuth2, StepError, Work as StepWork};
use serde_json::Value;
use workflow::expression::Template;
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
    let Some(policy) = turn.workflow.authentication(reference) else {
        // Not a policy but a secret itself: its keys say which scheme.
        return Ok(HttpAuthentication::Identity { as_: None });
    };
    if policy.secret().is_some() {
        return Ok(HttpAuthentication::Identity { as_: Some(policy.http_scheme()) });
    }
    Ok(match policy {
        Authentication::Basic(Credentials::Literal(pair)) => HttpAuthentication::Basic {
            username: turn.text(id, &pair.username)?,
            password: turn.text(id, &pair.password)?,
        },
        Authentication::Digest(Credentials::Literal(pair)) => HttpAuthentication::Digest {
            username: turn.text(id, &pair.username)?,
            password: turn.text(id, &pair.password)?,
        },
        Authentication::Bearer(Credentials::Literal(token)) => {
            HttpAuthentication::Bearer { token: turn.text(id, token)? }
        }
        Authentication::OAuth2(Credentials::Literal(settings)) => {
            HttpAuthentication::OAuth2(oauth2(turn, id, settings)?)
        }
        Authentication::Oidc(Credentials::Literal(settings)) => {
            HttpAuthentication::Oidc(oauth2(turn, id, settings)?)
        }
        Authentication::Basic(Credentials::Secret(_))
        | Authentication::Digest(Credentials::Secret(_))
        | Authentication::Bearer(Credentials::Secret(_))
        | Authentication::OAuth2(Credentials::Secret(_))
        | Authentication::Oidc(Credentials::Secret(_)) => unreachable!("a secret is an identity's"),
    })
}

/// The literal settings of OAuth 2 and OpenID Connect, evaluated.
fn oauth2(turn: &mut Turn<'_>, id: FrameId, settings: &Template) -> Result<OAuth2, StepError> {
    let input = turn.state.frame(id).input.clone();
    let settings = turn.value(id, settings, &input, Sees::DEFINITION)?;
    let text = |pointer: &str| {
        let value = settings.pointer(pointer);
        value.and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let texts = |pointer: &str| {
        let items = settings.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
        items.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    Ok(OAuth2 {
        authority: uri::expand(&text("/authority"), &input).map_err(error::unexpected)?,
        grant: text("/grant"),
        client_id: text("/client/id"),
        client_secret: text("/client/secret"),
        client_authentication: text("/client/authentication"),
        json: text("/request/encoding") == "application/json",
        token_endpoint: text("/endpoints/token"),
        issuers: texts("/issuers"),
        scopes: texts("/scopes"),
        audiences: texts("/audiences"),
        username: text("/username"),
        password: text("/password"),
    })
}
