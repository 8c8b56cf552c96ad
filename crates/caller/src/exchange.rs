//! A call from its first request to its last reply: token, challenge, redirects.

use http::StatusCode;
use http::header::{AUTHORIZATION, LOCATION};
use protocol::step::{HttpAuthentication, HttpCall, OAuth2, StepError};

use crate::answer::Answer;
use crate::authentication::{basic, digest, oauth2};
use crate::failure::{communication, configuration};
use crate::request::{Reply, Request, origin, place};

/// Redirects that are followed.
const MAX_REDIRECTS: usize = 10;

/// A call in progress. It does no I/O: whoever holds it sends [`Exchange::request`] and hands in the reply.
pub struct Exchange {
    call: Request,
    follows: bool,
    credentials: Option<HttpAuthentication>,
    /// The origin that the credentials are for.
    origin: (String, String, u16),
    stage: Stage,
    redirects: usize,
    cnonce: String,
    derived: Vec<String>,
}

enum Stage {
    /// Looks for the authority's token endpoint.
    Discovery(Request),
    /// Asks for a token.
    Token(Request),
    /// The call itself, or what it was redirected to; whether a challenge was answered at this URI.
    Call { challenged: bool },
}

impl Exchange {
    /// A call with resolved credentials: none, literal ones of the document, or those of [`crate::credentials`].
    /// `random` makes a digest's answers unforeseeable.
    ///
    /// # Errors
    /// The request is malformed, or the credentials are incomplete.
    pub fn new(
        call: &HttpCall,
        credentials: Option<HttpAuthentication>,
        random: [u8; 16],
    ) -> Result<Self, StepError> {
        let mut request = Request::of(call)?;
        let mut derived = Vec::new();
        let stage = match &credentials {
            None => Stage::Call { challenged: false },
            Some(HttpAuthentication::Basic { username, password }) => {
                let token = basic(username, password);
                request.authorize(&format!("Basic {token}"))?;
                derived.push(token);
                Stage::Call { challenged: false }
            }
            Some(HttpAuthentication::Bearer { token }) => {
                request.authorize(&format!("Bearer {token}"))?;
                Stage::Call { challenged: false }
            }
            Some(HttpAuthentication::Digest { .. }) => Stage::Call { challenged: false },
            Some(HttpAuthentication::OAuth2(settings)) => {
                let endpoint = oauth2::token_endpoint(settings)?;
                Stage::Token(token_request(settings, endpoint, &mut derived)?)
            }
            Some(HttpAuthentication::Oidc(settings)) => {
                Stage::Discovery(Request::get(oauth2::discovery_uri(settings)?))
            }
            Some(HttpAuthentication::Identity { .. }) => {
                return Err(configuration(
                    "credentials of an identity are applied inside a sandbox, in mode 2",
                ));
            }
        };
        Ok(Exchange {
            origin: origin(&request.uri),
            call: request,
            follows: call.redirect,
            credentials,
            stage,
            redirects: 0,
            cnonce: random.iter().map(|byte| format!("{byte:02x}")).collect(),
            derived,
        })
    }

    /// What is to be sent now.
    pub fn request(&self) -> &Request {
        match &self.stage {
            Stage::Discovery(request) | Stage::Token(request) => request,
            Stage::Call { .. } => &self.call,
        }
    }

    /// Whether [`Exchange::request`] shows credentials or asks for a token with them.
    pub fn shows_credentials(&self) -> bool {
        matches!(self.stage, Stage::Token(_))
            || self.request().headers.get(AUTHORIZATION).is_some_and(|value| value.is_sensitive())
    }

    /// What was made of the credentials and stands for them: may show in no output.
    pub fn derived(&self) -> &[String] {
        &self.derived
    }

    /// Takes the reply to [`Exchange::request`]. `None`: there is more to send.
    ///
    /// # Errors
    /// The authority gave no token, or a redirect leads nowhere. A call that was answered with an error status is
    /// answered: [`crate::output`] says what that means.
    pub fn receive(&mut self, reply: &Reply) -> Result<Option<Answer>, StepError> {
        match &self.stage {
            Stage::Discovery(request) => {
                let Some(HttpAuthentication::Oidc(settings)) = &self.credentials else {
                    unreachable!("only OpenID Connect discovers")
                };
                let endpoint = oauth2::discovered(settings, &request.uri, reply)?;
                self.stage = Stage::Token(token_request(settings, endpoint, &mut self.derived)?);
                Ok(None)
            }
            Stage::Token(request) => {
                let token = oauth2::token(&request.uri, reply)?;
                self.call.authorize(&format!("Bearer {token}"))?;
                self.derived.push(token);
                self.stage = Stage::Call { challenged: false };
                Ok(None)
            }
            Stage::Call { challenged } => {
                if !challenged && self.answer_challenge(reply)? {
                    self.stage = Stage::Call { challenged: true };
                    return Ok(None);
                }
                if self.follows && reply.status.is_redirection() && reply.headers.contains_key(LOCATION) {
                    self.redirect(reply)?;
                    return Ok(None);
                }
                Ok(Some(Answer::new(&self.call, reply)))
            }
        }
    }

    /// Adds what a digest's challenge asks for, if there is one and the credentials are for its origin.
    fn answer_challenge(&mut self, reply: &Reply) -> Result<bool, StepError> {
        let Some(HttpAuthentication::Digest { username, password }) = &self.credentials else {
            return Ok(false);
        };
        if reply.status != StatusCode::UNAUTHORIZED || origin(&self.call.uri) != self.origin {
            return Ok(false);
        }
        let Some(challenge) = digest::challenge(&reply.headers)? else { return Ok(false) };
        let answer = challenge.answer(username, password, &self.call, &self.cnonce);
        self.call.authorize(&answer.header)?;
        self.derived.push(answer.response);
        Ok(true)
    }

    fn redirect(&mut self, reply: &Reply) -> Result<(), StepError> {
        self.redirects += 1;
        if self.redirects > MAX_REDIRECTS {
            let place = place(&self.call.uri);
            return Err(communication(508, format!("{place} redirected more than {MAX_REDIRECTS} times")));
        }
        self.call.follow(reply)?;
        self.stage = Stage::Call { challenged: false };
        Ok(())
    }
}

fn token_request(
    settings: &OAuth2,
    endpoint: http::Uri,
    derived: &mut Vec<String>,
) -> Result<Request, StepError> {
    let (request, of_the_client) = oauth2::token_request(settings, endpoint)?;
    derived.extend(of_the_client);
    Ok(request)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    fn call(uri: &str) -> HttpCall {
        HttpCall {
            method: "GET".into(),
            uri: uri.into(),
            headers: Vec::new(),
            body: None,
            output: Default::default(),
            redirect: true,
            authentication: None,
        }
    }

    fn reply(status: u16, headers: &[(&'static str, &str)], body: &str) -> Reply {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        Reply {
            status: StatusCode::from_u16(status).unwrap(),
            headers: map,
            body: Bytes::copy_from_slice(body.as_bytes()),
        }
    }

    fn authorization(exchange: &Exchange) -> Option<&str> {
        exchange.request().headers.get("authorization").and_then(|value| value.to_str().ok())
    }

    fn settings() -> OAuth2 {
        OAuth2 {
            authority: "http://authority/realm".into(),
            grant: "client_credentials".into(),
            client_id: "me".into(),
            client_secret: "s p".into(),
            scopes: vec!["a".into(), "b".into()],
            ..OAuth2::default()
        }
    }

    #[test]
    fn a_token_is_asked_for_first_and_then_shown() {
        let credentials = HttpAuthentication::OAuth2(settings());
        let mut exchange = Exchange::new(&call("http://api/x"), Some(credentials), [0; 16]).unwrap();
        assert_eq!(exchange.request().uri, "http://authority/realm/oauth2/token");
        assert_eq!(
            exchange.request().body,
            "grant_type=client_credentials&scope=a+b&client_id=me&client_secret=s+p"
        );
        assert!(exchange.receive(&reply(200, &[], r#"{"access_token":"t0k"}"#)).unwrap().is_none());
        assert_eq!(
            (exchange.request().uri.to_string().as_str(), authorization(&exchange)),
            ("http://api/x", Some("Bearer t0k"))
        );
        assert!(exchange.derived().contains(&"t0k".to_owned()));
        let answer = exchange.receive(&reply(200, &[], "{}")).unwrap().unwrap();
        assert!(answer.sent.is_empty(), "credentials do not show: {:?}", answer.sent);
    }

    #[test]
    fn the_client_may_show_itself_in_the_header_and_ask_in_json() {
        let settings =
            OAuth2 { client_authentication: "client_secret_basic".into(), json: true, ..settings() };
        let exchange =
            Exchange::new(&call("http://api/"), Some(HttpAuthentication::OAuth2(settings)), [0; 16]).unwrap();
        // RFC 6749 §2.3.1: both parts are form-encoded first.
        assert_eq!(authorization(&exchange), Some("Basic bWU6cytw"));
        assert_eq!(exchange.request().body, r#"{"grant_type":"client_credentials","scope":"a b"}"#);
    }

    #[test]
    fn an_authority_that_refuses_is_quoted() {
        let credentials = HttpAuthentication::OAuth2(settings());
        let mut exchange = Exchange::new(&call("http://api/"), Some(credentials), [0; 16]).unwrap();
        let error = exchange.receive(&reply(401, &[], r#"{"error":"invalid_client"}"#)).unwrap_err();
        assert_eq!(error.status, 401);
        assert!(
            error.detail.contains("http://authority/realm/oauth2/token")
                && error.detail.contains("invalid_client")
        );
    }

    #[test]
    fn openid_connect_discovers_and_holds_the_authority_to_its_name() {
        let begin = |issuers: Vec<String>| {
            let settings = OAuth2 { issuers, ..settings() };
            Exchange::new(&call("http://api/"), Some(HttpAuthentication::Oidc(settings)), [0; 16]).unwrap()
        };
        let found = r#"{"issuer":"http://authority/realm","token_endpoint":"http://authority/t"}"#;
        let mut exchange = begin(Vec::new());
        assert_eq!(exchange.request().uri, "http://authority/realm/.well-known/openid-configuration");
        assert!(exchange.receive(&reply(200, &[], found)).unwrap().is_none());
        assert_eq!(exchange.request().uri, "http://authority/t");
        let error = begin(vec!["http://other".into()]).receive(&reply(200, &[], found)).unwrap_err();
        assert!(error.detail.contains("issuer"), "{}", error.detail);
    }

    #[test]
    fn a_challenge_is_answered_once() {
        let credentials = HttpAuthentication::Digest { username: "u".into(), password: "p".into() };
        let mut exchange = Exchange::new(&call("http://api/x?y"), Some(credentials), [0; 16]).unwrap();
        assert_eq!(authorization(&exchange), None);
        let challenge = [("www-authenticate", r#"Digest realm="r", nonce="n", qop="auth""#)];
        assert!(exchange.receive(&reply(401, &challenge, "")).unwrap().is_none());
        assert!(authorization(&exchange).unwrap().contains(r#"uri="/x?y""#));
        let answer = exchange.receive(&reply(401, &challenge, "no")).unwrap().unwrap();
        assert_eq!(answer.status, 401);
    }

    #[test]
    fn credentials_do_not_follow_to_another_origin() {
        let token = HttpAuthentication::Bearer { token: "t".into() };
        let digest = HttpAuthentication::Digest { username: "u".into(), password: "p".into() };
        let away = [("location", "http://evil/")];
        for credentials in [token, digest] {
            let mut exchange = Exchange::new(&call("http://api/"), Some(credentials), [0; 16]).unwrap();
            assert!(exchange.receive(&reply(307, &away, "")).unwrap().is_none());
            assert_eq!(
                (exchange.request().uri.to_string().as_str(), authorization(&exchange)),
                ("http://evil/", None)
            );
            let challenge = [("www-authenticate", r#"Digest realm="r", nonce="n""#)];
            assert!(
                exchange.receive(&reply(401, &challenge, "")).unwrap().is_some(),
                "no answer to a stranger"
            );
        }
    }

    #[test]
    fn redirects_have_an_end() {
        let mut exchange = Exchange::new(&call("http://api/"), None, [0; 16]).unwrap();
        for _ in 0..MAX_REDIRECTS {
            assert!(exchange.receive(&reply(302, &[("location", "/")], "")).unwrap().is_none());
        }
        assert_eq!(exchange.receive(&reply(302, &[("location", "/")], "")).unwrap_err().status, 508);
    }
}
