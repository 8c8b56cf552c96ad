//! The login of the broker's machine account: its access token buys a bearer token and the organization's key.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use hyper::Method;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::crypto::Key;
use crate::backend::BackendError;
use crate::external::config;
use crate::external::credential::private_text;
use crate::external::http::{Call, Http};
use crate::external::json::SecretJson;
use crate::external::open::OpenError;
use crate::percent::segment;
use crate::reference::Scheme;

const IDENTITY_URL: &str = "https://identity.bitwarden.com";
const API_URL: &str = "https://api.bitwarden.com";

pub(super) struct Session {
    identity: Http,
    api: Http,
    access_token_file: PathBuf,
    login: Mutex<Option<Arc<Login>>>,
}

/// A login; the organization's key decrypts names and values.
pub(super) struct Login {
    bearer: Zeroizing<String>,
    pub(super) organization: String,
    pub(super) key: Key,
    fresh_until: Instant,
}

impl Session {
    pub(super) fn open(config: &config::Bitwarden) -> Result<Self, OpenError> {
        let open = |url: &Option<String>, usual: &str| {
            Http::open(Scheme::Bitwarden, url.as_deref().unwrap_or(usual), config.ca_file.as_deref())
        };
        Ok(Session {
            identity: open(&config.identity_url, IDENTITY_URL)?,
            api: open(&config.api_url, API_URL)?,
            access_token_file: config.access_token_file.clone(),
            login: Mutex::new(None),
        })
    }

    /// Asks the API; `None` is "not found". A login that is refused is made anew once. `POST`s of this API that are used here
    /// change nothing, so they may be repeated.
    pub(super) async fn ask(
        &self,
        path: impl Fn(&Login) -> String,
        body: Option<&Value>,
    ) -> Result<Option<(Arc<Login>, SecretJson)>, BackendError> {
        for try_again in [true, false] {
            let login = self.login().await?;
            let path = path(&login);
            let call = match body {
                None => Call::get(&path),
                Some(body) => Call::post(&path, Zeroizing::new(body.to_string().into_bytes())),
            };
            debug_assert!(matches!(call.method, Method::GET | Method::POST));
            let call = call.header("authorization", format!("Bearer {}", login.bearer.as_str()));
            let answer = self.api.repeatable(&call).await?;
            return match answer.status.as_u16() {
                200 => {
                    let parsed = SecretJson::parse(&answer.body);
                    let parsed =
                        parsed.map_err(|why| BackendError::Corrupt(format!("what bitwarden answers: {why}")));
                    Ok(Some((login, parsed?)))
                }
                404 => Ok(None),
                401 if try_again => {
                    *self.login.lock().await = None;
                    continue;
                }
                401 | 403 => Err(denied("what it asked for")),
                _ => Err(self.api.failed(answer.status)),
            };
        }
        unreachable!("the second try returns")
    }

    async fn login(&self) -> Result<Arc<Login>, BackendError> {
        let mut login = self.login.lock().await;
        if let Some(found) = login.as_ref().filter(|found| Instant::now() < found.fresh_until) {
            return Ok(found.clone());
        }
        let made = Arc::new(self.log_in().await?);
        *login = Some(made.clone());
        Ok(made)
    }

    async fn log_in(&self) -> Result<Login, BackendError> {
        let text = private_text(Scheme::Bitwarden, &self.access_token_file)?;
        let credential = |detail: &str| BackendError::Credential {
            store: Scheme::Bitwarden,
            detail: format!("{} {detail}", self.access_token_file.display()),
        };
        let token = AccessToken::parse(&text)
            .ok_or_else(|| credential("holds no access token 0.<id>.<secret>:<key>"))?;
        let form = Zeroizing::new(format!(
            "grant_type=client_credentials&scope=api.secrets&client_id={}&client_secret={}",
            segment(token.id),
            segment(token.secret)
        ));
        let mut call = Call::post("/connect/token", Zeroizing::new(form.as_bytes().to_vec()));
        call.headers = vec![];
        let call =
            call.header("content-type", "application/x-www-form-urlencoded").header("device-type", "21");
        let answer = self.identity.repeatable(&call).await?;
        match answer.status.as_u16() {
            200 => {}
            400 | 401 | 403 => return Err(denied("a login of its machine account")),
            _ => return Err(self.identity.failed(answer.status)),
        }
        let strange = || {
            BackendError::Corrupt(
                "bitwarden's answer to a login has no token or no key of this account".into(),
            )
        };
        let answer = SecretJson::parse(&answer.body).map_err(|_| strange())?;
        let answer = answer.value();
        let bearer = answer["access_token"].as_str().ok_or_else(strange)?;
        let payload =
            answer["encrypted_payload"].as_str().and_then(|payload| token.key.decrypt(payload).ok());
        let payload = SecretJson::parse(&payload.ok_or_else(strange)?).map_err(|_| strange())?;
        let key = payload.value()["encryptionKey"].as_str().and_then(|key| Base64::decode_vec(key).ok());
        let key = Zeroizing::new(key.ok_or_else(strange)?);
        let seconds = answer["expires_in"].as_u64().unwrap_or(0);
        Ok(Login {
            bearer: Zeroizing::new(bearer.to_owned()),
            organization: organization(bearer).ok_or_else(strange)?,
            key: Key::of(&key).ok_or_else(strange)?,
            fresh_until: Instant::now() + Duration::from_secs(seconds) * 2 / 3,
        })
    }
}

/// `0.<id>.<client secret>:<16 bytes in base64>`.
struct AccessToken<'a> {
    id: &'a str,
    secret: &'a str,
    key: Key,
}

impl<'a> AccessToken<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (front, key) = text.split_once(':')?;
        let mut parts = front.splitn(3, '.');
        let ("0", id, secret) = (parts.next()?, parts.next()?, parts.next()?) else { return None };
        let key = Zeroizing::new(<[u8; 16]>::try_from(Base64::decode_vec(key).ok()?).ok()?);
        Some(AccessToken { id, secret, key: Key::of_access_token(&key) })
    }
}

/// The claim `organization` of the bearer token. It comes from the identity service over TLS and is used in paths alone.
fn organization(bearer: &str) -> Option<String> {
    let claims = Base64UrlUnpadded::decode_vec(bearer.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    Some(claims["organization"].as_str()?.to_owned())
}

fn denied(what: &str) -> BackendError {
    BackendError::Denied {
        store: Scheme::Bitwarden,
        what: what.to_owned(),
        remedy: "check its access token, and which projects the machine account may read",
    }
}
