//! AWS Secrets Manager as a store: always the version that is current at that moment.

use std::collections::BTreeSet;

use async_trait::async_trait;
use base64ct::{Base64, Encoding};
use hyper::Uri;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::credentials::Source;
use super::signature::{Request, authorization};
use crate::backend::{BackendError, Capabilities, Lease};
use crate::external::config;
use crate::external::http::{Answer, Call, Http};
use crate::external::json::{SecretJson, scalar};
use crate::external::open::OpenError;
use crate::external::store::{Store, StoredKey, StoredReading, StoredValue};
use crate::reference::{IdentityPath, Scheme};

/// The key of a secret that is no object of JSON.
pub const WHOLE: &str = "value";
/// Secrets of one page of a list; the most that AWS gives.
const PAGE: usize = 100;
/// Most pages of a list.
const MAX_PAGES: usize = 100;
const CONTENT_TYPE: &str = "application/x-amz-json-1.1";

/// AWS Secrets Manager.
pub struct AwsSm {
    http: Http,
    host: String,
    region: String,
    prefix: Option<String>,
    source: Source,
}

impl AwsSm {
    /// Checks the configuration; nothing is asked yet.
    pub fn open(config: &config::AwsSm) -> Result<Self, OpenError> {
        let usual = || format!("https://secretsmanager.{}.amazonaws.com", config.region);
        let endpoint = config.endpoint.clone().unwrap_or_else(usual);
        let http = Http::open(Scheme::AwsSm, &endpoint, config.ca_file.as_deref())?;
        let uri: Uri = endpoint.parse().unwrap_or_default();
        Ok(AwsSm {
            http,
            host: uri.authority().map(ToString::to_string).unwrap_or_default(),
            region: config.region.clone(),
            prefix: config.prefix.clone(),
            source: Source::open(config)?,
        })
    }

    /// Asks; `None` is "not found".
    async fn ask(
        &self,
        operation: &str,
        body: &Value,
        what: &str,
    ) -> Result<Option<SecretJson>, BackendError> {
        let credentials = self.source.credentials().await?;
        let body = Zeroizing::new(body.to_string().into_bytes());
        let target = format!("secretsmanager.{operation}");
        let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let mut headers = vec![("content-type", CONTENT_TYPE), ("x-amz-target", target.as_str())];
        if let Some(session) = &credentials.session {
            headers.push(("x-amz-security-token", session.as_str()));
        }
        let request = Request {
            host: &self.host,
            region: &self.region,
            service: "secretsmanager",
            time: &time,
            headers: &headers,
            body: &body,
        };
        let authorization = authorization(&credentials, &request);
        let mut call = Call::post("/", body.clone());
        call.headers = vec![];
        let mut call = call.header("content-type", CONTENT_TYPE).header("x-amz-target", target.clone());
        call = call.header("x-amz-date", time.clone()).header("authorization", authorization);
        if let Some(session) = &credentials.session {
            call = call.header("x-amz-security-token", session.as_str());
        }
        self.understand(self.http.repeatable(&call).await?, what)
    }

    fn understand(&self, answer: Answer, what: &str) -> Result<Option<SecretJson>, BackendError> {
        let corrupt = |why| BackendError::Corrupt(format!("what aws-sm says of {what}: {why}"));
        if answer.status.is_success() {
            return SecretJson::parse(&answer.body).map(Some).map_err(corrupt);
        }
        let parsed = SecretJson::parse(&answer.body).unwrap_or_default();
        let kind =
            parsed.value()["__type"].as_str().unwrap_or_default().rsplit('#').next().unwrap_or_default();
        let denied =
            |remedy| Err(BackendError::Denied { store: Scheme::AwsSm, what: what.to_owned(), remedy });
        match kind {
            // The second is a secret that is being deleted.
            "ResourceNotFoundException" | "InvalidRequestException" => Ok(None),
            "AccessDeniedException" | "DecryptionFailure" => denied(
                "allow secretsmanager:GetSecretValue (and kms:Decrypt of its key) to the broker's role",
            ),
            "UnrecognizedClientException"
            | "InvalidSignatureException"
            | "InvalidClientTokenId"
            | "ExpiredTokenException"
            | "IncompleteSignatureException" => denied("check the broker's credentials and its clock"),
            "" => Err(self.http.failed(answer.status)),
            kind => Err(BackendError::Failed {
                store: Scheme::AwsSm,
                detail: format!("{what}: {}", kind.chars().take(64).collect::<String>()),
            }),
        }
    }

    async fn secret(&self, path: &IdentityPath) -> Result<StoredReading, BackendError> {
        let body = json!({ "SecretId": path.as_str() });
        let answer = self.ask("GetSecretValue", &body, &format!("the secret {path}")).await?;
        let answer = answer.ok_or_else(|| BackendError::NotFound(format!("`aws-sm:{path}`")))?;
        let answer = answer.value();
        let updated_ms = answer["CreatedDate"].as_f64().map(|seconds| (seconds * 1000.0) as i64);
        let key = |name: &str| StoredKey { name: name.to_owned(), version: 0, updated_ms };
        let whole =
            |value| StoredReading { values: vec![StoredValue { key: key(WHOLE), value }], leased: vec![] };
        let Some(text) = answer["SecretString"].as_str() else {
            let bytes = answer["SecretBinary"].as_str().and_then(|text| Base64::decode_vec(text).ok());
            let none = || BackendError::Corrupt(format!("aws-sm:{path} holds neither text nor bytes"));
            return Ok(whole(Zeroizing::new(bytes.ok_or_else(none)?)));
        };
        let parsed = SecretJson::parse(text.as_bytes()).unwrap_or_default();
        let Value::Object(members) = parsed.value() else {
            return Ok(whole(Zeroizing::new(text.as_bytes().to_vec())));
        };
        let values = members.iter().map(|(name, value)| {
            let nested = || {
                BackendError::Corrupt(format!(
                    "the key `{name}` of aws-sm:{path} is no text but an object or a list"
                ))
            };
            Ok(StoredValue { key: key(name), value: scalar(value).ok_or_else(nested)? })
        });
        Ok(StoredReading { values: values.collect::<Result<_, BackendError>>()?, leased: vec![] })
    }
}

#[async_trait]
impl Store for AwsSm {
    fn scheme(&self) -> Scheme {
        Scheme::AwsSm
    }

    fn capabilities(&self) -> Capabilities {
        // Names are inside the value, and versions are ids without an order.
        Capabilities::default()
    }

    async fn list(&self) -> Result<Vec<IdentityPath>, BackendError> {
        let mut found = Vec::new();
        let mut next = Value::Null;
        for _ in 0..MAX_PAGES {
            let mut body = json!({ "MaxResults": PAGE });
            if let Some(prefix) = &self.prefix {
                body["Filters"] = json!([{ "Key": "name", "Values": [prefix] }]);
            }
            if !next.is_null() {
                body["NextToken"] = next;
            }
            let answer = self.ask("ListSecrets", &body, "the list of secrets").await?.unwrap_or_default();
            let secrets = answer.value()["SecretList"].as_array().into_iter().flatten();
            // A name that no reference can have cannot be asked for either.
            found.extend(secrets.filter_map(|secret| secret["Name"].as_str()?.parse().ok()));
            next = answer.value()["NextToken"].clone();
            if next.is_null() {
                return Ok(found);
            }
        }
        Err(BackendError::TooMuch { what: "what aws-sm lists".into(), limit: "10000 secrets: set a prefix" })
    }

    async fn names(&self, path: &IdentityPath) -> Result<Vec<StoredKey>, BackendError> {
        Ok(self.secret(path).await?.values.into_iter().map(|value| value.key).collect())
    }

    async fn read(
        &self,
        path: &IdentityPath,
        _: Option<&BTreeSet<String>>,
        _: Option<&Lease>,
    ) -> Result<StoredReading, BackendError> {
        self.secret(path).await
    }
}
