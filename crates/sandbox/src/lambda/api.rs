//! The calls of AWS Lambda's API that sandboxes need (version 2015-03-31), with their answers as types.

use std::time::Duration;

use base64ct::{Base64, Encoding};
use serde_json::{Value, json};

use super::aws::{Aws, AwsError, Request, Response, Settings};

/// Version of most of the API, the first part of a path.
const VERSION: &str = "2015-03-31";
/// Beyond the function's time limit, how long its answer may take: a cold start, and the way back.
const ANSWER_SLACK: Duration = Duration::from_secs(60);
/// How long a change of a function may take.
const SETTLE_LIMIT: Duration = Duration::from_secs(180);
/// Pause between two looks at a function that is changing.
const SETTLE_PAUSE: Duration = Duration::from_millis(500);

/// AWS Lambda in one region.
pub struct LambdaApi {
    aws: Aws,
}

/// A function, alias or version, as AWS describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Function {
    /// Name, without account and region.
    pub name: String,
    /// Its full name at AWS, with the version.
    pub arn: String,
    /// Version, a number or `$LATEST`.
    pub version: String,
    /// Memory, MiB.
    pub memory_mib: u32,
    /// Size of /tmp, MiB.
    pub ephemeral_mib: u32,
    /// The longest an invocation may take, seconds.
    pub timeout_seconds: u32,
    /// SHA-256 of the zip, base64; of the image's digest for an image.
    pub code_sha256: String,
    /// `Zip` or `Image`.
    pub package: String,
    /// `x86_64` or `arm64`.
    pub architecture: String,
    /// Such as `provided.al2023`; empty for an image.
    pub runtime: String,
    /// Role that it runs as.
    pub role: String,
    /// Its environment variables.
    pub environment: std::collections::BTreeMap<String, String>,
    /// Subnets of its VPC.
    pub subnets: Vec<String>,
    /// Security groups of its VPC.
    pub security_groups: Vec<String>,
    /// Whether AWS keeps an execution environment to one tenant.
    pub tenants: bool,
    /// Whether it can be invoked and no change is under way.
    pub ready: bool,
    /// Why it is as it is, if AWS says.
    pub reason: String,
}

/// What a synchronous invocation came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invoked {
    /// What the function returned, or its error.
    pub payload: Vec<u8>,
    /// `Handled` or `Unhandled`, if the function failed.
    pub function_error: Option<String>,
    /// The last 4 KiB of its log.
    pub log_tail: String,
}

impl LambdaApi {
    /// The API with the credentials of this process's surroundings. It asks nobody yet.
    ///
    /// # Errors
    /// There is no region, or the endpoint is none.
    pub fn new(settings: &Settings) -> Result<Self, AwsError> {
        Ok(Self { aws: Aws::new("lambda", settings)? })
    }

    /// Looks at a function, an alias or a version of it; `None` where there is none.
    pub async fn function(&self, name: &str, qualifier: Option<&str>) -> Result<Option<Function>, AwsError> {
        let mut request = Request::new("GET", [VERSION, "functions", name, "configuration"]);
        if let Some(qualifier) = qualifier {
            request = request.query("Qualifier", qualifier);
        }
        match self.aws.call(&request).await {
            Ok(answer) => Ok(Some(function(&answer.json()?))),
            Err(error) if error.is("ResourceNotFoundException") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Waits until no change of a function is under way.
    pub async fn settled(&self, name: &str) -> Result<Function, AwsError> {
        let waited = tokio::time::timeout(SETTLE_LIMIT, async {
            loop {
                match self.function(name, None).await? {
                    Some(function) if function.ready => return Ok(function),
                    Some(_) => tokio::time::sleep(SETTLE_PAUSE).await,
                    None => return Err(AwsError::Malformed(format!("the function `{name}` is gone"))),
                }
            }
        });
        waited.await.map_err(|_| {
            AwsError::Unreachable(format!("the function `{name}` was still changing after {SETTLE_LIMIT:?}"))
        })?
    }

    /// Makes a function.
    pub async fn create(&self, body: &Value) -> Result<Function, AwsError> {
        self.described(Request::new("POST", [VERSION, "functions"]).json(body)).await
    }

    /// Replaces a function's code.
    pub async fn update_code(&self, name: &str, body: &Value) -> Result<Function, AwsError> {
        self.described(Request::new("PUT", [VERSION, "functions", name, "code"]).json(body)).await
    }

    /// Changes a function's configuration.
    pub async fn update_configuration(&self, name: &str, body: &Value) -> Result<Function, AwsError> {
        self.described(Request::new("PUT", [VERSION, "functions", name, "configuration"]).json(body)).await
    }

    /// Makes a version of what the function is now; the same one where nothing has changed since the last.
    pub async fn publish(&self, name: &str) -> Result<Function, AwsError> {
        self.described(Request::new("POST", [VERSION, "functions", name, "versions"]).json(&json!({}))).await
    }

    async fn described(&self, request: Request) -> Result<Function, AwsError> {
        Ok(function(&self.aws.call(&request).await?.json()?))
    }

    /// The version that an alias names; `None` where there is no such alias.
    pub async fn alias(&self, name: &str, alias: &str) -> Result<Option<String>, AwsError> {
        match self.aws.call(&Request::new("GET", [VERSION, "functions", name, "aliases", alias])).await {
            Ok(answer) => Ok(Some(text(&answer.json()?, "FunctionVersion"))),
            Err(error) if error.is("ResourceNotFoundException") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes an alias, or lets it name another version.
    pub async fn point_alias(
        &self,
        name: &str,
        alias: &str,
        version: &str,
        exists: bool,
    ) -> Result<(), AwsError> {
        let request = if exists {
            Request::new("PUT", [VERSION, "functions", name, "aliases", alias])
                .json(&json!({ "FunctionVersion": version }))
        } else {
            Request::new("POST", [VERSION, "functions", name, "aliases"])
                .json(&json!({ "Name": alias, "FunctionVersion": version }))
        };
        self.aws.call(&request).await.map(drop)
    }

    /// Removes a function with all its versions; `false` where there was none.
    pub async fn delete(&self, name: &str) -> Result<bool, AwsError> {
        match self.aws.call(&Request::new("DELETE", [VERSION, "functions", name])).await {
            Ok(_) => Ok(true),
            Err(error) if error.is("ResourceNotFoundException") => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Asks whether an invocation would be permitted, without making one.
    pub async fn dry_run(
        &self,
        name: &str,
        qualifier: Option<&str>,
        tenant: Option<&str>,
    ) -> Result<(), AwsError> {
        let request = invocation(name, qualifier, tenant, "DryRun", b"{}");
        match self.aws.call(&request).await?.status {
            204 => Ok(()),
            status => Err(AwsError::Malformed(format!("a dry run was answered with status {status}"))),
        }
    }

    /// Invokes and waits for the answer, at most as long as the function may take and a little more. It is made once: only
    /// the caller knows whether it may be made again.
    pub async fn invoke(
        &self,
        name: &str,
        qualifier: Option<&str>,
        tenant: Option<&str>,
        payload: &[u8],
        timeout: Duration,
    ) -> Result<Invoked, AwsError> {
        let mut request = invocation(name, qualifier, tenant, "RequestResponse", payload);
        request = request.header("x-amz-log-type", "Tail");
        request.limit = timeout + ANSWER_SLACK;
        request.retried = false;
        let answer = self.aws.call(&request).await?;
        Ok(invoked(&answer))
    }
}

fn invocation(
    name: &str,
    qualifier: Option<&str>,
    tenant: Option<&str>,
    kind: &str,
    payload: &[u8],
) -> Request {
    let mut request = Request::new("POST", [VERSION, "functions", name, "invocations"])
        .header("content-type", "application/json")
        .header("x-amz-invocation-type", kind);
    if let Some(qualifier) = qualifier {
        request = request.query("Qualifier", qualifier);
    }
    if let Some(tenant) = tenant {
        request = request.header("x-amz-tenant-id", tenant);
    }
    request.body = payload.to_vec();
    request
}

fn invoked(answer: &Response) -> Invoked {
    let log =
        answer.header("x-amz-log-result").and_then(|text| Base64::decode_vec(text).ok()).unwrap_or_default();
    Invoked {
        payload: answer.body.to_vec(),
        function_error: answer.header("x-amz-function-error").map(str::to_owned),
        log_tail: String::from_utf8_lossy(&log).into_owned(),
    }
}

fn function(described: &Value) -> Function {
    let number =
        |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok()).unwrap_or_default();
    let list = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
    };
    let state = text(described, "State");
    let updating = text(described, "LastUpdateStatus");
    let vpc = &described["VpcConfig"];
    Function {
        name: text(described, "FunctionName"),
        arn: text(described, "FunctionArn"),
        version: text(described, "Version"),
        memory_mib: number(&described["MemorySize"]),
        ephemeral_mib: number(&described["EphemeralStorage"]["Size"]).max(super::limits::MIN_EPHEMERAL_MIB),
        timeout_seconds: number(&described["Timeout"]),
        code_sha256: text(described, "CodeSha256"),
        package: text(described, "PackageType"),
        architecture: described["Architectures"][0].as_str().unwrap_or("x86_64").to_owned(),
        runtime: text(described, "Runtime"),
        role: text(described, "Role"),
        environment: described["Environment"]["Variables"]
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect(),
        subnets: list(&vpc["SubnetIds"]),
        security_groups: list(&vpc["SecurityGroupIds"]),
        tenants: described["TenancyConfig"]["TenantIsolationMode"] == "PER_TENANT",
        // A function that has rested is `Inactive` and wakes by being invoked.
        ready: matches!(state.as_str(), "Active" | "Inactive" | "")
            && matches!(updating.as_str(), "Successful" | ""),
        reason: [text(described, "StateReason"), text(described, "LastUpdateStatusReason")]
            .join(" ")
            .trim()
            .to_owned(),
    }
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}
