//! Whose requests to AWS are: a profile of a shared credentials file where one is named, else the environment's key, else a web
//! identity (a Kubernetes service account with a role).

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::signature::Credentials;
use crate::backend::BackendError;
use crate::external::config;
use crate::external::credential::{private_text, projected_text};
use crate::external::http::{Call, Http};
use crate::external::json::SecretJson;
use crate::external::open::OpenError;
use crate::percent::segment;
use crate::reference::Scheme;

/// How long a web identity's credentials are asked for, seconds.
const SESSION_SECONDS: u64 = 3600;

/// Where credentials come from.
pub(super) enum Source {
    File { path: PathBuf, profile: String },
    Environment,
    WebIdentity(Box<WebIdentity>),
}

pub(super) struct WebIdentity {
    sts: Http,
    role: String,
    token_file: PathBuf,
    session: Mutex<Option<(Credentials, Instant)>>,
}

impl Source {
    pub(super) fn open(config: &config::AwsSm) -> Result<Self, OpenError> {
        if let Some(path) = &config.credentials_file {
            let profile = config.profile.clone().unwrap_or_else(|| "default".to_owned());
            return Ok(Source::File { path: path.clone(), profile });
        }
        match (
            variable("AWS_ACCESS_KEY_ID"),
            variable("AWS_WEB_IDENTITY_TOKEN_FILE"),
            variable("AWS_ROLE_ARN"),
        ) {
            (None, Some(token_file), Some(role)) => {
                let sts = format!("https://sts.{}.amazonaws.com", config.region);
                Ok(Source::WebIdentity(Box::new(WebIdentity {
                    sts: Http::open(Scheme::AwsSm, &sts, None)?,
                    role: role.to_string(),
                    token_file: Path::new(token_file.as_str()).to_owned(),
                    session: Mutex::new(None),
                })))
            }
            _ => Ok(Source::Environment),
        }
    }

    pub(super) async fn credentials(&self) -> Result<Credentials, BackendError> {
        match self {
            Source::File { path, profile } => of_profile(&private_text(Scheme::AwsSm, path)?, profile)
                .ok_or_else(|| missing(format!("{} has no whole profile [{profile}]", path.display()))),
            Source::Environment => {
                let (id, secret) = (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY"));
                let (Some(id), Some(secret)) = (id, secret) else {
                    return Err(missing(
                        "set credentials-file under [aws-sm] of backends.toml, or AWS_ACCESS_KEY_ID and \
                         AWS_SECRET_ACCESS_KEY, or give its pod a role"
                            .to_owned(),
                    ));
                };
                Ok(Credentials { id: id.to_string(), secret, session: variable("AWS_SESSION_TOKEN") })
            }
            Source::WebIdentity(identity) => identity.credentials().await,
        }
    }
}

impl WebIdentity {
    async fn credentials(&self) -> Result<Credentials, BackendError> {
        let mut session = self.session.lock().await;
        if let Some((credentials, fresh_until)) = session.as_ref()
            && Instant::now() < *fresh_until
        {
            return Ok(credentials.clone());
        }
        let token = projected_text(Scheme::AwsSm, &self.token_file)?;
        let form = Zeroizing::new(format!(
            "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleSessionName=sagewai-broker&DurationSeconds={SESSION_SECONDS}\
             &RoleArn={}&WebIdentityToken={}",
            segment(&self.role),
            segment(&token)
        ));
        let mut call = Call::post("/", Zeroizing::new(form.as_bytes().to_vec()));
        call.headers = vec![];
        let call = call
            .header("content-type", "application/x-www-form-urlencoded")
            .header("accept", "application/json");
        let answer = self.sts.repeatable(&call).await?;
        if !answer.status.is_success() {
            return Err(BackendError::Denied {
                store: Scheme::AwsSm,
                what: format!("the role {}", self.role),
                remedy: "let the role trust the broker's service account",
            });
        }
        let strange = || BackendError::Corrupt("the answer of AWS STS has no credentials".to_owned());
        let answer = SecretJson::parse(&answer.body).map_err(|_| strange())?;
        let found = &answer.value()["AssumeRoleWithWebIdentityResponse"]["AssumeRoleWithWebIdentityResult"]["Credentials"];
        let text = |name: &str| found[name].as_str().map(|text| Zeroizing::new(text.to_owned()));
        let credentials = Credentials {
            id: text("AccessKeyId").ok_or_else(strange)?.to_string(),
            secret: text("SecretAccessKey").ok_or_else(strange)?,
            session: Some(text("SessionToken").ok_or_else(strange)?),
        };
        *session = Some((credentials.clone(), Instant::now() + Duration::from_secs(SESSION_SECONDS * 2 / 3)));
        Ok(credentials)
    }
}

fn variable(name: &str) -> Option<Zeroizing<String>> {
    std::env::var(name).ok().filter(|value| !value.is_empty()).map(Zeroizing::new)
}

fn missing(detail: String) -> BackendError {
    BackendError::Credential { store: Scheme::AwsSm, detail }
}

/// A profile of the shared credentials file: sections `[name]` with `key = value`.
fn of_profile(text: &str, profile: &str) -> Option<Credentials> {
    let lines = text.lines().map(str::trim);
    let mut section =
        lines.skip_while(|line| line.trim_matches(['[', ']']).trim() != profile || !line.starts_with('['));
    section.next()?;
    let (mut id, mut secret, mut session) = (None, None, None);
    for line in section.take_while(|line| !line.starts_with('[')) {
        let Some((name, value)) = line.split_once('=') else { continue };
        let value = Zeroizing::new(value.trim().to_owned());
        match name.trim() {
            "aws_access_key_id" => id = Some(value.to_string()),
            "aws_secret_access_key" => secret = Some(value),
            "aws_session_token" => session = Some(value),
            _ => {}
        }
    }
    Some(Credentials { id: id?, secret: secret?, session })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_read_and_no_other() {
        let text = "[default]\naws_access_key_id = A\naws_secret_access_key=S1\n\n[ other ]\naws_access_key_id=B\n\
                    aws_secret_access_key = S2 \naws_session_token=T\n[half]\naws_access_key_id=C\n";
        let found = of_profile(text, "default").unwrap();
        assert_eq!((found.id.as_str(), found.secret.as_str(), found.session.is_none()), ("A", "S1", true));
        let found = of_profile(text, "other").unwrap();
        assert_eq!((found.id.as_str(), found.secret.as_str()), ("B", "S2"));
        assert!(of_profile(text, "half").is_none() && of_profile(text, "absent").is_none());
    }
}
