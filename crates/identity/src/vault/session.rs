//! The broker's own login at Vault: kept until two thirds of its life, made anew then and when it is refused.

use std::path::Path;
use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::backend::BackendError;
use crate::external::config;
use crate::external::config::VaultAuth;
use crate::external::credential::{private_text, projected_text};
use crate::external::http::{Answer, Call, Http};
use crate::external::json::SecretJson;
use crate::external::open::OpenError;
use crate::percent::segment;
use crate::reference::Scheme;

/// Where Kubernetes puts a pod's token.
const SERVICE_ACCOUNT_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

pub(super) struct Session {
    http: Http,
    namespace: Option<String>,
    auth: VaultAuth,
    login: Mutex<Option<Login>>,
}

struct Login {
    token: Zeroizing<String>,
    fresh_until: Option<Instant>,
}

impl Session {
    pub(super) fn open(config: &config::Vault) -> Result<Self, OpenError> {
        let http = Http::open(Scheme::Vault, &config.address, config.ca_file.as_deref())?;
        Ok(Session {
            http,
            namespace: config.namespace.clone(),
            auth: config.auth.clone(),
            login: Mutex::new(None),
        })
    }

    /// `GET` with the broker's token, tried again.
    pub(super) async fn get(&self, path: &str) -> Result<Option<SecretJson>, BackendError> {
        self.request(Method::GET, path, None).await
    }

    /// `POST` with the broker's token, once.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Option<SecretJson>, BackendError> {
        self.request(Method::POST, path, Some(body)).await
    }

    /// `GET` with a token of its own, once: what it makes may not be made twice.
    pub(super) async fn get_with(&self, path: &str, token: &str) -> Result<Option<SecretJson>, BackendError> {
        let answer = self.http.once(&self.call(Method::GET, path, token, None)).await?;
        self.understand(path, answer)
    }

    /// `None` is "not found". A login that is refused is made anew once, since it may have been revoked.
    async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Option<SecretJson>, BackendError> {
        for try_again in [true, false] {
            let token = self.token().await?;
            let call = self.call(method.clone(), path, &token, body);
            let answer = match method {
                Method::GET => self.http.repeatable(&call).await?,
                _ => self.http.once(&call).await?,
            };
            if answer.status == StatusCode::FORBIDDEN && try_again && self.forget(&token).await {
                continue;
            }
            return self.understand(path, answer);
        }
        unreachable!("the second try returns")
    }

    fn call<'a>(&self, method: Method, path: &'a str, token: &str, body: Option<&Value>) -> Call<'a> {
        let body = body.map(|body| Zeroizing::new(body.to_string().into_bytes()));
        let call = match body {
            None => Call { method, ..Call::get(path) },
            Some(body) => Call { method, ..Call::post(path, body) },
        };
        self.common(call).header("x-vault-token", token)
    }

    fn common<'a>(&self, call: Call<'a>) -> Call<'a> {
        let call = call.header("x-vault-request", "true");
        match &self.namespace {
            None => call,
            Some(namespace) => call.header("x-vault-namespace", namespace),
        }
    }

    fn understand(&self, path: &str, answer: Answer) -> Result<Option<SecretJson>, BackendError> {
        let what = || path.trim_start_matches("/v1/").split('?').next().unwrap_or_default().to_owned();
        match answer.status.as_u16() {
            200 => {
                let parsed = SecretJson::parse(&answer.body);
                parsed
                    .map(Some)
                    .map_err(|why| BackendError::Corrupt(format!("the answer to {}: {why}", what())))
            }
            204 => Ok(Some(SecretJson::default())),
            404 => Ok(None),
            403 => Err(BackendError::Denied {
                store: Scheme::Vault,
                what: what(),
                remedy: "give the broker's role a policy with read on that path, or look whether its login was revoked",
            }),
            503 => Err(BackendError::Failed {
                store: Scheme::Vault,
                detail: format!("{} is sealed or not ready", self.http.base()),
            }),
            _ => Err(self.http.failed(answer.status)),
        }
    }

    async fn token(&self) -> Result<Zeroizing<String>, BackendError> {
        let mut login = self.login.lock().await;
        if let Some(found) = login.as_ref()
            && found.fresh_until.is_none_or(|until| Instant::now() < until)
        {
            return Ok(found.token.clone());
        }
        let made = self.log_in().await?;
        let token = made.token.clone();
        *login = Some(made);
        Ok(token)
    }

    /// Forgets a refused login; false where another would be the same.
    async fn forget(&self, token: &str) -> bool {
        let mut login = self.login.lock().await;
        if login.as_ref().is_some_and(|login| *login.token == token) {
            *login = None;
        }
        match &self.auth {
            VaultAuth::Token { token_file } => {
                private_text(Scheme::Vault, token_file).is_ok_and(|now| *now != *token)
            }
            _ => true,
        }
    }

    async fn log_in(&self) -> Result<Login, BackendError> {
        let (mount, body) = match &self.auth {
            VaultAuth::Token { token_file } => {
                let token = private_text(Scheme::Vault, token_file)?;
                // It is replaced by whoever writes the file: looked at again from time to time, and when it is refused.
                let fresh_until = Some(Instant::now() + Duration::from_secs(60));
                return Ok(Login { token, fresh_until });
            }
            VaultAuth::Approle { role_id, secret_id_file, mount } => {
                let secret_id = private_text(Scheme::Vault, secret_id_file)?;
                let body = json!({ "role_id": role_id, "secret_id": secret_id.as_str() });
                (mount.as_deref().unwrap_or("approle"), SecretJson::from(body))
            }
            VaultAuth::Jwt { role, jwt_file, mount } => {
                let jwt = projected_text(Scheme::Vault, jwt_file)?;
                let body = json!({ "role": role, "jwt": jwt.as_str() });
                (mount.as_deref().unwrap_or("jwt"), SecretJson::from(body))
            }
            VaultAuth::Kubernetes { role, jwt_file, mount } => {
                let path = jwt_file.as_deref().unwrap_or(Path::new(SERVICE_ACCOUNT_TOKEN));
                let jwt = projected_text(Scheme::Vault, path)?;
                let body = json!({ "role": role, "jwt": jwt.as_str() });
                (mount.as_deref().unwrap_or("kubernetes"), SecretJson::from(body))
            }
        };
        self.log_in_at(mount, &body).await
    }

    async fn log_in_at(&self, mount: &str, body: &SecretJson) -> Result<Login, BackendError> {
        let path = format!("/v1/auth/{}/login", path_of(mount));
        let body = Zeroizing::new(body.value().to_string().into_bytes());
        let answer = self.http.once(&self.common(Call::post(&path, body))).await?;
        if matches!(answer.status.as_u16(), 400 | 401 | 403) {
            return Err(BackendError::Denied {
                store: Scheme::Vault,
                what: format!("a login at auth/{mount}"),
                remedy: "check role and credential of vault.auth in backends.toml; a secret id may have been used up",
            });
        }
        let answer = self.understand(&path, answer)?.unwrap_or_default();
        let auth = &answer.value()["auth"];
        let (Some(token), Some(seconds)) = (auth["client_token"].as_str(), auth["lease_duration"].as_u64())
        else {
            return Err(BackendError::Corrupt(format!("the answer to a login at auth/{mount} has no token")));
        };
        let fresh = Duration::from_secs(seconds) * 2 / 3;
        let fresh_until = (seconds > 0).then(|| Instant::now() + fresh);
        Ok(Login { token: Zeroizing::new(token.to_owned()), fresh_until })
    }
}

/// A path, each segment percent-encoded.
pub(super) fn path_of(path: &str) -> String {
    path.split('/').map(segment).collect::<Vec<_>>().join("/")
}
