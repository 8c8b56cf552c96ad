//! Tokens of OAuth 2 (RFC 6749) and OpenID Connect (Discovery 1.0).

use http::{HeaderMap, Uri};
use protocol::step::{OAuth2, StepError};
use serde_json::Value;

use super::basic;
use crate::failure::{authentication, configuration};
use crate::request::{Reply, Request, encode, http_uri, place};

/// The DSL's default path of the token endpoint.
const TOKEN_PATH: &str = "/oauth2/token";
const DISCOVERY_PATH: &str = "/.well-known/openid-configuration";
/// Bytes of an authority's refusal that are quoted.
const QUOTED_BYTES: usize = 512;

/// Where the token of `oauth2` is asked for.
pub(crate) fn token_endpoint(settings: &OAuth2) -> Result<Uri, StepError> {
    let path = match settings.token_endpoint.as_str() {
        "" => TOKEN_PATH,
        whole if whole.contains("://") => return http_uri(whole),
        path => path,
    };
    below_authority(settings, path)
}

/// Where OpenID Connect says how it is reached.
pub(crate) fn discovery_uri(settings: &OAuth2) -> Result<Uri, StepError> {
    below_authority(settings, DISCOVERY_PATH)
}

fn below_authority(settings: &OAuth2, path: &str) -> Result<Uri, StepError> {
    if settings.authority.is_empty() {
        return Err(configuration("the authentication has no `authority`: the address that gives tokens"));
    }
    http_uri(&format!("{}/{}", settings.authority.trim_end_matches('/'), path.trim_start_matches('/')))
}

/// The token endpoint that the discovery names, if it is of an issuer that is accepted.
pub(crate) fn discovered(settings: &OAuth2, asked: &Uri, reply: &Reply) -> Result<Uri, StepError> {
    let found = object(asked, reply)?;
    let text = |key: &str| found[key].as_str().unwrap_or_default();
    let issuer = text("issuer");
    let bare = |uri: &str| uri.trim_end_matches('/').to_owned();
    let accepted = match settings.issuers.as_slice() {
        [] => bare(issuer) == bare(&settings.authority),
        issuers => issuers.iter().any(|accepted| bare(accepted) == bare(issuer)),
    };
    if !accepted {
        return Err(authentication(format!(
            "{} is of the issuer {issuer:?}, which is not accepted; `issuers` lists those that are",
            place(asked)
        )));
    }
    http_uri(text("token_endpoint"))
        .map_err(|_| authentication(format!("{} names no `token_endpoint`", place(asked))))
}

/// The request for a token, and what of it stands for the client's secret.
pub(crate) fn token_request(
    settings: &OAuth2,
    endpoint: Uri,
) -> Result<(Request, Option<String>), StepError> {
    let (scopes, audiences) = (settings.scopes.join(" "), settings.audiences.join(" "));
    let mut fields = vec![("grant_type", settings.grant.as_str())];
    match settings.grant.as_str() {
        "client_credentials" => {}
        "password" if settings.username.is_empty() => {
            return Err(configuration("the grant `password` needs a username and a password"));
        }
        "password" => fields
            .extend([("username", settings.username.as_str()), ("password", settings.password.as_str())]),
        other => {
            return Err(configuration(format!(
                "the grant `{other}` is not supported; `client_credentials` and `password` are"
            )));
        }
    }
    fields.extend([("scope", scopes.as_str()), ("audience", audiences.as_str())]);
    let mut header = None;
    match settings.client_authentication.as_str() {
        "client_secret_basic" => {
            let part = |text: &str| {
                let mut out = String::new();
                encode(text, &mut out);
                out
            };
            header = Some(basic(&part(&settings.client_id), &part(&settings.client_secret)));
        }
        "" | "client_secret_post" => {
            fields.extend([
                ("client_id", settings.client_id.as_str()),
                ("client_secret", settings.client_secret.as_str()),
            ]);
        }
        "none" => fields.push(("client_id", &settings.client_id)),
        other => {
            return Err(configuration(format!(
                "the client authentication `{other}` is not supported; client_secret_post, client_secret_basic and \
                 none are"
            )));
        }
    }
    fields.retain(|(_, value)| !value.is_empty());
    let mut request = Request::for_token(endpoint, &fields, settings.json);
    if let Some(header) = &header {
        request.authorize(&format!("Basic {header}"))?;
    }
    Ok((request, header))
}

/// The token of an authority's reply.
pub(crate) fn token(asked: &Uri, reply: &Reply) -> Result<String, StepError> {
    let found = object(asked, reply)?;
    match found["access_token"].as_str() {
        Some(token) if !token.is_empty() => Ok(token.to_owned()),
        _ => Err(authentication(format!("{} answered without an `access_token`", place(asked)))),
    }
}

fn object(asked: &Uri, reply: &Reply) -> Result<Value, StepError> {
    if !reply.status.is_success() {
        let quoted = String::from_utf8_lossy(&reply.body[..reply.body.len().min(QUOTED_BYTES)]);
        let said = match quoted.trim() {
            "" => redirection(&reply.headers),
            said => format!(": {said}"),
        };
        return Err(authentication(format!("{} answered {}{said}", place(asked), reply.status)));
    }
    serde_json::from_slice(&reply.body)
        .map_err(|_| authentication(format!("{} did not answer in JSON", place(asked))))
}

/// A secret is sent where the document says, not where the authority would like it.
fn redirection(headers: &HeaderMap) -> String {
    match headers.get(http::header::LOCATION).and_then(|to| to.to_str().ok()) {
        Some(to) => format!(", to {to:?}; name that address itself as the authority"),
        None => String::new(),
    }
}
