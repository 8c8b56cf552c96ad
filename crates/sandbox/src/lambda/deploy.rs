//! Makes, changes, removes and looks at the function: what `sagewai sandbox lambda` does. Doing it twice changes nothing.

use std::collections::BTreeMap;

use base64ct::{Base64, Encoding};
use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::api::{Function, LambdaApi};
use super::aws::AwsError;
use super::{limits, zip};

/// The runtime of a function whose program is its own.
const RUNTIME: &str = "provided.al2023";
/// What AWS shows of the function.
const DESCRIPTION: &str = "Sandboxes of Sagewai: each invocation serves one step";
/// Tenant of a dry run: no environment is made.
const DRY_TENANT: &str = "sagewai-check";

/// What the function is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// Its name.
    pub function: String,
    /// Alias that workers invoke; it is moved to the new version once that is there.
    pub alias: String,
    /// ARN of the role that it runs as; needed to make it.
    pub role: Option<String>,
    /// Memory, MiB; processor time comes with it.
    pub memory_mib: u32,
    /// Size of /tmp, MiB.
    pub ephemeral_mib: u32,
    /// The longest a step may take, seconds.
    pub timeout_seconds: u32,
    /// Subnets of its VPC; empty means AWS's own network, with the internet.
    pub subnets: Vec<String>,
    /// Security groups in its VPC.
    pub security_groups: Vec<String>,
    /// An image that starts the guest, in the place of the zip.
    pub image: Option<String>,
    /// Whether AWS keeps each execution environment to one tenant; it cannot be changed later.
    pub tenants: bool,
}

impl Default for Deployment {
    fn default() -> Self {
        Self {
            function: "sagewai-sandbox".to_owned(),
            alias: "live".to_owned(),
            role: None,
            memory_mib: 1769,
            ephemeral_mib: 1024,
            timeout_seconds: limits::MAX_TIMEOUT_SECONDS,
            subnets: Vec::new(),
            security_groups: Vec::new(),
            image: None,
            tenants: true,
        }
    }
}

/// Why nothing was deployed.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// A value is not one that AWS takes.
    #[error("{0}")]
    Value(String),
    /// The function is there, and differs in what cannot be changed.
    #[error(
        "the function `{function}` exists {difference}, which AWS does not let change: remove it first, or use another name"
    )]
    Fixed {
        /// The function.
        function: String,
        /// How it differs.
        difference: &'static str,
    },
    /// AWS refused or cannot be reached.
    #[error(transparent)]
    Aws(#[from] AwsError),
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// The function was made.
    Created,
    /// Code or configuration was changed.
    Updated,
    /// All was as it should be.
    Unchanged,
}

/// The function as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Deployed {
    /// What was done.
    pub change: Change,
    /// Full name of the version.
    pub arn: String,
    /// Version that the alias names.
    pub version: String,
    /// The alias.
    pub alias: String,
    /// SHA-256 of the code, base64.
    pub code_sha256: String,
    /// Whether each step gets an environment of its own from AWS.
    pub tenant_isolation: bool,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What.
    pub name: &'static str,
    /// Whether it is as it should be.
    pub ok: bool,
    /// What was found.
    pub found: String,
    /// What to do, where it is not.
    pub remedy: Option<String>,
}

/// The zip of this program's guest.
pub fn package() -> Vec<u8> {
    zip::of(crate::guest_binary())
}

/// SHA-256 of a zip as AWS shows it.
pub fn code_sha256(zip: &[u8]) -> String {
    Base64::encode_string(&Sha256::digest(zip))
}

/// Makes the function, or makes it what it should be, and points the alias at it.
pub async fn deploy(api: &LambdaApi, wanted: &Deployment) -> Result<Deployed, DeployError> {
    validate(wanted)?;
    let zip = package();
    let (change, function) = match api.function(&wanted.function, None).await? {
        None => (Change::Created, create(api, wanted, &zip).await?),
        Some(existing) => update(api, wanted, &zip, existing).await?,
    };
    let pointed = api.alias(&wanted.function, &wanted.alias).await?;
    let published = match (&change, &pointed) {
        (Change::Unchanged, Some(version)) => api.function(&wanted.function, Some(version)).await?,
        _ => None,
    };
    let version = match published {
        Some(version) if version.code_sha256 == function.code_sha256 => version,
        _ => {
            let version = api.publish(&wanted.function).await?;
            api.point_alias(&wanted.function, &wanted.alias, &version.version, pointed.is_some()).await?;
            version
        }
    };
    Ok(Deployed {
        change,
        arn: version.arn,
        version: version.version,
        alias: wanted.alias.clone(),
        code_sha256: function.code_sha256,
        tenant_isolation: function.tenants,
    })
}

/// Removes the function with its versions and aliases; `false` where there was none.
pub async fn remove(api: &LambdaApi, function: &str) -> Result<bool, AwsError> {
    api.delete(function).await
}

/// Looks at the function as workers would use it; nothing is run.
pub async fn check(
    api: &LambdaApi,
    function: &str,
    qualifier: Option<&str>,
) -> Result<Vec<Finding>, AwsError> {
    let again = || Some("sagewai sandbox lambda deploy".to_owned());
    let Some(found) = api.function(function, qualifier).await? else {
        let name =
            qualifier.map_or_else(|| function.to_owned(), |qualifier| format!("{function}:{qualifier}"));
        return Ok(vec![Finding {
            name: "function",
            ok: false,
            found: format!("there is no {name}"),
            remedy: again(),
        }]);
    };
    let tenant = found.tenants.then_some(DRY_TENANT);
    let permitted = api.dry_run(function, qualifier, tenant).await;
    let mut findings = vec![
        finding("function", true, found.arn.clone(), None),
        finding(
            "state",
            found.ready,
            if found.ready { "ready".to_owned() } else { format!("not ready: {}", found.reason) },
            Some("wait, or look at the function in AWS's console".to_owned()),
        ),
        code(&found, &again),
        finding(
            "time limit",
            found.timeout_seconds >= 60,
            format!("{} s", found.timeout_seconds),
            Some("a step ends with the function: deploy it with --timeout 900".to_owned()),
        ),
        finding(
            "memory",
            found.memory_mib >= 256,
            format!("{} MiB", found.memory_mib),
            Some("deploy it with --memory 1769".to_owned()),
        ),
        finding("disk", true, format!("{} MiB in /tmp", found.ephemeral_mib), None),
        finding(
            "tenant isolation",
            found.tenants,
            if found.tenants {
                "each step gets an environment of its own"
            } else {
                "AWS may hand out an environment twice; the guest then refuses"
            }
            .to_owned(),
            Some("remove the function and deploy it again: this cannot be changed".to_owned()),
        ),
        finding(
            "network",
            true,
            if found.subnets.is_empty() {
                "AWS's own, with the internet; the worker's listener must be reachable from there".to_owned()
            } else {
                format!("{} with {}", found.subnets.join(", "), found.security_groups.join(", "))
            },
            None,
        ),
    ];
    findings.push(match permitted {
        Ok(()) => finding("invocation", true, "permitted (dry run)".to_owned(), None),
        Err(error) => finding(
            "invocation",
            false,
            error.to_string(),
            Some("the worker's role needs lambda:InvokeFunction on it".to_owned()),
        ),
    });
    Ok(findings)
}

fn code(found: &Function, again: &dyn Fn() -> Option<String>) -> Finding {
    if found.package == "Image" {
        let text = "an image; its guest is checked when it is invoked".to_owned();
        return finding("code", true, text, None);
    }
    let own = code_sha256(&package());
    let same = found.code_sha256 == own && found.runtime == RUNTIME;
    let text = match (same, found.runtime == RUNTIME) {
        (true, _) => format!("this program's guest ({RUNTIME}, {})", found.architecture),
        (false, true) => format!("another version's guest: {} and not {own}", found.code_sha256),
        (false, false) => format!("the runtime {} and not {RUNTIME}", found.runtime),
    };
    finding("code", same, text, again())
}

fn finding(name: &'static str, ok: bool, found: String, remedy: Option<String>) -> Finding {
    Finding { name, ok, found, remedy: remedy.filter(|_| !ok) }
}

async fn create(api: &LambdaApi, wanted: &Deployment, zip: &[u8]) -> Result<Function, DeployError> {
    let Some(role) = &wanted.role else {
        return Err(DeployError::Value(format!(
            "there is no function `{}` yet, and to make it AWS needs the ARN of the role that it runs as (--role)",
            wanted.function
        )));
    };
    let mut body = configuration(wanted);
    body.insert("FunctionName".to_owned(), json!(wanted.function));
    body.insert("Role".to_owned(), json!(role));
    body.insert("Description".to_owned(), json!(DESCRIPTION));
    body.insert("Architectures".to_owned(), json!([architecture()]));
    body.insert("Tags".to_owned(), json!({ "sagewai": "sandbox" }));
    match &wanted.image {
        Some(image) => {
            body.insert("PackageType".to_owned(), json!("Image"));
            body.insert("Code".to_owned(), json!({ "ImageUri": image }));
        }
        None => {
            body.insert("PackageType".to_owned(), json!("Zip"));
            body.insert("Runtime".to_owned(), json!(RUNTIME));
            body.insert("Handler".to_owned(), json!("bootstrap"));
            body.insert("Code".to_owned(), json!({ "ZipFile": Base64::encode_string(zip) }));
        }
    }
    if wanted.tenants {
        body.insert("TenancyConfig".to_owned(), json!({ "TenantIsolationMode": "PER_TENANT" }));
    }
    api.create(&Value::Object(body)).await?;
    Ok(api.settled(&wanted.function).await?)
}

async fn update(
    api: &LambdaApi,
    wanted: &Deployment,
    zip: &[u8],
    existing: Function,
) -> Result<(Change, Function), DeployError> {
    let fixed = |difference| DeployError::Fixed { function: wanted.function.clone(), difference };
    match (existing.tenants, wanted.tenants) {
        (true, false) => return Err(fixed("with tenant isolation")),
        (false, true) => return Err(fixed("without tenant isolation")),
        _ => {}
    }
    match (existing.package.as_str(), &wanted.image) {
        ("Image", None) => return Err(fixed("from an image and not from a zip")),
        ("Zip" | "", Some(_)) => return Err(fixed("from a zip and not from an image")),
        _ => {}
    }
    let mut function = if existing.ready { existing } else { api.settled(&wanted.function).await? };
    let mut change = Change::Unchanged;
    if differs(&function, wanted) {
        let mut body = configuration(wanted);
        if let Some(role) = &wanted.role {
            body.insert("Role".to_owned(), json!(role));
        }
        api.update_configuration(&wanted.function, &Value::Object(body)).await?;
        function = api.settled(&wanted.function).await?;
        change = Change::Updated;
    }
    let code = match &wanted.image {
        // What a tag names may have changed; AWS compares digests.
        Some(image) => Some(json!({ "ImageUri": image, "Architectures": [architecture()] })),
        None if function.code_sha256 != code_sha256(zip) => {
            Some(json!({ "ZipFile": Base64::encode_string(zip), "Architectures": [architecture()] }))
        }
        None => None,
    };
    if let Some(code) = code {
        let before = function.code_sha256.clone();
        api.update_code(&wanted.function, &code).await?;
        function = api.settled(&wanted.function).await?;
        if function.code_sha256 != before {
            change = Change::Updated;
        }
    }
    Ok((change, function))
}

fn differs(function: &Function, wanted: &Deployment) -> bool {
    let sorted = |list: &[String]| {
        let mut list = list.to_vec();
        list.sort();
        list
    };
    function.memory_mib != wanted.memory_mib
        || function.ephemeral_mib != wanted.ephemeral_mib
        || function.timeout_seconds != wanted.timeout_seconds
        || wanted.role.as_ref().is_some_and(|role| *role != function.role)
        || sorted(&function.subnets) != sorted(&wanted.subnets)
        || sorted(&function.security_groups) != sorted(&wanted.security_groups)
        || function.environment != BTreeMap::new()
}

/// What can be changed later. No variables: the step would not get them, and the guest needs none.
fn configuration(wanted: &Deployment) -> Map<String, Value> {
    let body = json!({
        "MemorySize": wanted.memory_mib,
        "EphemeralStorage": { "Size": wanted.ephemeral_mib },
        "Timeout": wanted.timeout_seconds,
        "Environment": { "Variables": {} },
        "VpcConfig": { "SubnetIds": wanted.subnets, "SecurityGroupIds": wanted.security_groups },
    });
    let Value::Object(body) = body else { unreachable!("it was written as an object") };
    body
}

/// The architecture of the embedded guest, in AWS's words.
fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" }
}

fn validate(wanted: &Deployment) -> Result<(), DeployError> {
    let plain = |text: &str, most: usize| {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=most).contains(&text.len()) && text.bytes().all(good)
    };
    let refuse = |text: String| Err(DeployError::Value(text));
    if !plain(&wanted.function, 64) {
        return refuse(format!(
            "`{}` is no function's name: 1 to 64 letters, digits, `-` and `_`",
            wanted.function
        ));
    }
    if !plain(&wanted.alias, 128) || wanted.alias.bytes().all(|byte| byte.is_ascii_digit()) {
        return refuse(format!("`{}` is no alias: letters, digits, `-` and `_`, not a number", wanted.alias));
    }
    for (name, value, least, most, unit) in [
        ("memory", wanted.memory_mib, limits::MIN_MEMORY_MIB, limits::MAX_MEMORY_MIB, "MiB"),
        ("disk", wanted.ephemeral_mib, limits::MIN_EPHEMERAL_MIB, limits::MAX_EPHEMERAL_MIB, "MiB"),
        ("timeout", wanted.timeout_seconds, 1, limits::MAX_TIMEOUT_SECONDS, "seconds"),
    ] {
        if !(least..=most).contains(&value) {
            return refuse(format!("--{name} {value} is not possible: AWS takes {least} to {most} {unit}"));
        }
    }
    if wanted.role.as_ref().is_some_and(|role| !role.starts_with("arn:")) {
        return refuse("--role takes the role's ARN, such as arn:aws:iam::123456789012:role/NAME".to_owned());
    }
    if wanted.subnets.is_empty() != wanted.security_groups.is_empty() {
        return refuse("a VPC needs both --subnets and --security-groups".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_values_are_refused_before_aws_is_asked() {
        let refused = |change: fn(&mut Deployment)| {
            let mut wanted = Deployment::default();
            change(&mut wanted);
            validate(&wanted).err().map(|error| error.to_string())
        };
        assert_eq!(refused(|_| {}), None);
        assert!(refused(|wanted| wanted.memory_mib = 127).unwrap().contains("128 to 10240"));
        assert!(refused(|wanted| wanted.timeout_seconds = 901).unwrap().contains("1 to 900"));
        assert!(refused(|wanted| wanted.ephemeral_mib = 0).unwrap().contains("512 to 10240"));
        assert!(refused(|wanted| wanted.alias = "7".to_owned()).is_some());
        assert!(refused(|wanted| wanted.function = "a/b".to_owned()).is_some());
        assert!(refused(|wanted| wanted.role = Some("admin".to_owned())).unwrap().contains("arn:"));
        assert!(refused(|wanted| wanted.subnets = vec!["subnet-1".to_owned()]).is_some());
    }
}
