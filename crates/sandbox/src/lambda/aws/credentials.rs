//! Credentials by AWS's standard chain: environment, shared files, web identity, container, instance metadata.
//!
//! Left out, as they need a browser or another program: single sign-on and `credential_process`; `aws configure
//! export-credentials` turns those into the environment's.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use zeroize::Zeroizing;

use super::client::{Plain, PlainRequest};
use super::error::AwsError;

/// The service of instance metadata.
const METADATA: &str = "http://169.254.169.254";
/// The service of container credentials, for a path in the environment.
const CONTAINER: &str = "http://169.254.170.2";
/// Hosts that a container's full URI may name without TLS, beside loopback.
const CONTAINER_HOSTS: [&str; 3] = ["169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"];
/// Life of a token of the instance metadata service, seconds.
const METADATA_TOKEN_SECONDS: &str = "300";
/// Credentials are fetched anew so long before they expire.
const RENEW_BEFORE: Duration = Duration::from_secs(300);
/// The longest that a service of the machine may take: where there is none, nothing answers.
const LOCAL_LIMIT: Duration = Duration::from_secs(2);

/// Keys of one principal. They have no `Debug`; the secret is wiped when dropped.
#[derive(Clone)]
pub(super) struct Credentials {
    pub(super) id: String,
    pub(super) secret: Zeroizing<String>,
    pub(super) session: Option<String>,
    pub(super) expires: Option<SystemTime>,
}

impl Credentials {
    /// Whether they are to be used at `now`.
    pub(super) fn are_fresh(&self, now: SystemTime) -> bool {
        self.expires.is_none_or(|expires| now + RENEW_BEFORE < expires)
    }
}

/// What the chain looks at; taken from the process once, so that it can be tried without one.
#[derive(Clone, Default)]
pub(super) struct Surroundings {
    pub(super) variables: std::collections::BTreeMap<String, String>,
    pub(super) home: Option<PathBuf>,
}

impl Surroundings {
    /// The process's own.
    pub(super) fn of_process() -> Self {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with("AWS_"))
            .collect();
        Self { variables, home: std::env::var_os("HOME").map(PathBuf::from) }
    }

    /// With this file of credentials as the one source.
    pub(super) fn with_only(mut self, file: &std::path::Path) -> Self {
        let kept = ["AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_CONFIG_FILE"];
        self.variables.retain(|name, _| kept.contains(&name.as_str()));
        let file = file.to_string_lossy().into_owned();
        self.variables.insert("AWS_SHARED_CREDENTIALS_FILE".to_owned(), file);
        self.variables.insert("AWS_EC2_METADATA_DISABLED".to_owned(), "true".to_owned());
        self
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The region, from the environment or the profile.
    pub(super) fn region(&self) -> Option<String> {
        ["AWS_REGION", "AWS_DEFAULT_REGION"]
            .iter()
            .find_map(|name| self.variable(name).map(str::to_owned))
            .or_else(|| self.profile_value("region"))
    }

    fn profile(&self) -> &str {
        self.variable("AWS_PROFILE").unwrap_or("default")
    }

    /// A key of the profile, in the file of credentials or that of configuration.
    fn profile_value(&self, key: &str) -> Option<String> {
        let profile = self.profile();
        let long = format!("profile {profile}");
        let files = [("AWS_SHARED_CREDENTIALS_FILE", "credentials"), ("AWS_CONFIG_FILE", "config")];
        files.iter().find_map(|(variable, name)| {
            let path = match self.variable(variable) {
                Some(path) => PathBuf::from(path),
                None => self.home.as_ref()?.join(".aws").join(name),
            };
            let text = Zeroizing::new(std::fs::read_to_string(path).ok()?);
            value_in(&text, &[profile, &long], key)
        })
    }
}

/// The value of `key` in one of `sections` of an INI file.
fn value_in(text: &str, sections: &[&str], key: &str) -> Option<String> {
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            inside = sections.contains(&section.trim());
        } else if inside
            && let Some((name, value)) = line.split_once('=')
            && name.trim() == key
        {
            return Some(value.trim().to_owned());
        }
    }
    None
}

/// Asks each source in order.
pub(super) async fn find(from: &Surroundings, http: &Plain, sts: &str) -> Result<Credentials, AwsError> {
    if let Some(found) = of_environment(from).or_else(|| of_profile(from)) {
        return Ok(found);
    }
    if let (Some(file), Some(role)) =
        (from.variable("AWS_WEB_IDENTITY_TOKEN_FILE"), from.variable("AWS_ROLE_ARN"))
    {
        return of_web_identity(from, http, sts, file, role).await;
    }
    if let Some(url) = container_url(from)? {
        return of_container(from, http, &url).await;
    }
    if from.variable("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Err(none("the instance metadata service is disabled"));
    }
    of_instance(from, http)
        .await
        .map_err(|error| none(&format!("the instance metadata service says: {error}")))
}

fn none(last: &str) -> AwsError {
    AwsError::NoCredentials(format!(
        "AWS_ACCESS_KEY_ID is not set, the shared files have no such profile, there is no web identity or container, and \
         {last}"
    ))
}

fn of_environment(from: &Surroundings) -> Option<Credentials> {
    Some(Credentials {
        id: from.variable("AWS_ACCESS_KEY_ID")?.to_owned(),
        secret: Zeroizing::new(from.variable("AWS_SECRET_ACCESS_KEY")?.to_owned()),
        session: from.variable("AWS_SESSION_TOKEN").map(str::to_owned),
        expires: None,
    })
}

fn of_profile(from: &Surroundings) -> Option<Credentials> {
    Some(Credentials {
        id: from.profile_value("aws_access_key_id")?,
        secret: Zeroizing::new(from.profile_value("aws_secret_access_key")?),
        session: from.profile_value("aws_session_token"),
        expires: None,
    })
}

/// A role by a token of another issuer, as a Kubernetes service account has it.
async fn of_web_identity(
    from: &Surroundings,
    http: &Plain,
    sts: &str,
    file: &str,
    role: &str,
) -> Result<Credentials, AwsError> {
    let token = std::fs::read_to_string(file).map_err(|error| {
        AwsError::Credentials(format!("the web identity token {file} cannot be read: {error}"))
    })?;
    let session = from.variable("AWS_ROLE_SESSION_NAME").unwrap_or("sagewai-worker");
    let form = [
        ("Action", "AssumeRoleWithWebIdentity"),
        ("Version", "2011-06-15"),
        ("RoleArn", role),
        ("RoleSessionName", session),
        ("WebIdentityToken", token.trim()),
    ];
    let pairs: Vec<(String, String)> =
        form.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let body = super::sigv4::query_string(&pairs);
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let request = PlainRequest { method: "POST", url: sts, headers: &headers, body: body.into_bytes() };
    let (status, body) = http.send(request, super::client::ANSWER_LIMIT).await?;
    let text = Zeroizing::new(String::from_utf8_lossy(&body).into_owned());
    let field = |name: &str| between(&text, name);
    if status != 200 {
        let code = field("Code").unwrap_or_else(|| "error".to_owned());
        let message = field("Message").unwrap_or_default();
        return Err(AwsError::Credentials(format!("the role {role} was refused: {code}: {message}")));
    }
    let missing = || AwsError::Malformed("the credentials of AssumeRoleWithWebIdentity".to_owned());
    Ok(Credentials {
        id: field("AccessKeyId").ok_or_else(missing)?,
        secret: Zeroizing::new(field("SecretAccessKey").ok_or_else(missing)?),
        session: field("SessionToken"),
        expires: Some(expiry(&field("Expiration").ok_or_else(missing)?)),
    })
}

/// The text of an XML element without attributes, which STS's are; its values hold no entities.
fn between(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    Some(rest.split_once("</")?.0.trim().to_owned())
}

/// Where a container's credentials are, if it has any.
fn container_url(from: &Surroundings) -> Result<Option<String>, AwsError> {
    if let Some(path) = from.variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") {
        return Ok(Some(format!("{CONTAINER}{path}")));
    }
    let Some(url) = from.variable("AWS_CONTAINER_CREDENTIALS_FULL_URI") else { return Ok(None) };
    let host = url.strip_prefix("http://").and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let bare = host
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
        .map_or(host, |(h, _)| h);
    let loopback = bare == "localhost"
        || bare == "[::1]"
        || bare.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback());
    if url.starts_with("https://") || loopback || CONTAINER_HOSTS.contains(&bare) {
        return Ok(Some(url.to_owned()));
    }
    Err(AwsError::Credentials(format!(
        "AWS_CONTAINER_CREDENTIALS_FULL_URI names {host}, which is neither https nor of this machine"
    )))
}

/// What containers and instances answer.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Served {
    access_key_id: String,
    secret_access_key: Zeroizing<String>,
    token: Option<String>,
    expiration: Option<String>,
}

fn served(body: &[u8]) -> Result<Credentials, AwsError> {
    let served: Served =
        serde_json::from_slice(body).map_err(|error| AwsError::Malformed(error.to_string()))?;
    Ok(Credentials {
        id: served.access_key_id,
        secret: served.secret_access_key,
        session: served.token,
        expires: served.expiration.as_deref().map(expiry),
    })
}

async fn of_container(from: &Surroundings, http: &Plain, url: &str) -> Result<Credentials, AwsError> {
    let token = match from.variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
        Some(file) => Some(std::fs::read_to_string(file).map_err(|error| {
            AwsError::Credentials(format!("the container's token {file} cannot be read: {error}"))
        })?),
        None => from.variable("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(str::to_owned),
    };
    let token = token.map(|token| token.trim().to_owned());
    let headers: Vec<(&str, &str)> = token.iter().map(|token| ("authorization", token.as_str())).collect();
    let request = PlainRequest { method: "GET", url, headers: &headers, body: Vec::new() };
    match http.send(request, LOCAL_LIMIT).await? {
        (200, body) => served(&body),
        (status, _) => {
            Err(AwsError::Credentials(format!("the container's credentials are refused (status {status})")))
        }
    }
}

/// Version 2 of the instance metadata service: a token first, then role and keys.
async fn of_instance(from: &Surroundings, http: &Plain) -> Result<Credentials, AwsError> {
    let base = from.variable("AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap_or(METADATA).trim_end_matches('/');
    let get = async |path: &str, method: &str, headers: &[(&str, &str)]| {
        let url = format!("{base}/latest/{path}");
        let request = PlainRequest { method, url: &url, headers, body: Vec::new() };
        match http.send(request, LOCAL_LIMIT).await? {
            (200, body) => Ok(body),
            (status, _) => Err(AwsError::Credentials(format!("{path}: status {status}"))),
        }
    };
    let token =
        get("api/token", "PUT", &[("x-aws-ec2-metadata-token-ttl-seconds", METADATA_TOKEN_SECONDS)]).await?;
    let token = String::from_utf8_lossy(&token).into_owned();
    let with_token = [("x-aws-ec2-metadata-token", token.as_str())];
    let role = get("meta-data/iam/security-credentials/", "GET", &with_token).await?;
    let role = String::from_utf8_lossy(&role);
    let role = role.lines().next().unwrap_or_default().trim();
    served(&get(&format!("meta-data/iam/security-credentials/{role}"), "GET", &with_token).await?)
}

/// A time such as `2026-01-31T23:59:59Z`; what cannot be read has passed, so that it is asked for again.
fn expiry(text: &str) -> SystemTime {
    seconds(text)
        .map_or(SystemTime::UNIX_EPOCH, |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

fn seconds(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let days = super::client::days_since_epoch(year, month, day)?;
    Some(days * 86_400 + number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surroundings(variables: &[(&str, &str)]) -> Surroundings {
        let variables =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Surroundings { variables, home: None }
    }

    #[test]
    fn the_environment_comes_before_the_profile() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("credentials");
        std::fs::write(
            &file,
            "[default]\naws_access_key_id = A\n\n[other]\nregion=eu-west-1\naws_access_key_id=B\naws_secret_access_key = s=b\n",
        )
        .unwrap();
        let path = file.to_str().unwrap();
        let other = surroundings(&[("AWS_SHARED_CREDENTIALS_FILE", path), ("AWS_PROFILE", "other")]);
        assert_eq!(other.region().as_deref(), Some("eu-west-1"));
        let found = of_profile(&other).unwrap();
        assert_eq!((found.id.as_str(), found.secret.as_str()), ("B", "s=b"));
        assert!(
            of_profile(&surroundings(&[("AWS_SHARED_CREDENTIALS_FILE", path)])).is_none(),
            "half of a pair"
        );
        let both = surroundings(&[
            ("AWS_ACCESS_KEY_ID", "E"),
            ("AWS_SECRET_ACCESS_KEY", "s"),
            ("AWS_SESSION_TOKEN", ""),
        ]);
        assert_eq!(of_environment(&both).unwrap().session, None, "an empty variable is none");
    }

    #[test]
    fn a_container_may_not_send_its_token_anywhere() {
        let url = |url: &str| container_url(&surroundings(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)]));
        for good in
            ["https://x.example/a", "http://127.0.0.1:80/a", "http://169.254.170.23/v1", "http://[::1]:1/a"]
        {
            assert!(url(good).is_ok_and(|found| found.is_some()), "{good}");
        }
        for bad in
            ["http://example.com/a", "http://10.0.0.1/a", "http://127.evil.example.:x/a", "ftp://127.0.0.1/"]
        {
            assert!(url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_are_read() {
        assert_eq!(seconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(seconds("2024-02-29T12:34:56Z"), Some(1_709_210_096));
        assert_eq!(seconds("2026-11-23T16:00:00.000Z"), Some(1_795_449_600));
        assert_eq!(seconds("soon"), None);
    }
}
