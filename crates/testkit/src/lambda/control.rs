//! Functions of the emulator: making, changing and describing them, as far as invoking them needs. The calls of the control
//! plane are tried against moto; this is only what `sagewai sandbox lambda deploy` needs to put a function here.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value, json};

use super::answer::{Answer, from_base64};
use crate::program::output;

/// A function that can be invoked.
#[derive(Clone, Debug, Default)]
pub struct Function {
    /// As AWS describes it.
    pub described: Map<String, Value>,
    /// Folder with its unpacked zip.
    pub code: PathBuf,
    /// Aliases and the versions that they name.
    pub aliases: BTreeMap<String, String>,
    /// Published versions.
    pub versions: u32,
    /// How many invocations may run at once; absent means as many as come.
    pub concurrency: Option<usize>,
}

impl Function {
    /// The longest an invocation may take, seconds.
    pub(super) fn timeout_seconds(&self) -> u64 {
        self.described.get("Timeout").and_then(Value::as_u64).unwrap_or(3)
    }

    /// Memory, MiB.
    pub(super) fn memory_mib(&self) -> u64 {
        self.described.get("MemorySize").and_then(Value::as_u64).unwrap_or(128)
    }

    /// Size of /tmp, MiB.
    pub(super) fn ephemeral_mib(&self) -> u64 {
        self.described.get("EphemeralStorage").and_then(|storage| storage["Size"].as_u64()).unwrap_or(512)
    }

    /// Whether environments are kept to one tenant.
    pub(super) fn tenants(&self) -> bool {
        self.described
            .get("TenancyConfig")
            .is_some_and(|config| config["TenantIsolationMode"] == "PER_TENANT")
    }

    /// The version that a qualifier names; `None` if it names nothing.
    pub(super) fn version(&self, qualifier: Option<&str>) -> Option<String> {
        match qualifier {
            None | Some("$LATEST") => Some("$LATEST".to_owned()),
            Some(name) => match self.aliases.get(name) {
                Some(version) => Some(version.clone()),
                None => name
                    .parse()
                    .ok()
                    .filter(|number| (1..=self.versions).contains(number))
                    .map(|_: u32| name.to_owned()),
            },
        }
    }

    fn describe(&self, version: &str) -> Value {
        let mut described = self.described.clone();
        described.insert("Version".to_owned(), json!(version));
        Value::Object(described)
    }
}

/// A call of the control plane: the method and the parts of the path after the API's version.
pub(super) fn call(
    functions: &mut BTreeMap<String, Function>,
    folder: &Path,
    method: &str,
    path: &[&str],
    qualifier: Option<&str>,
    body: &[u8],
) -> Answer {
    let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let missing = || Answer::error(404, "ResourceNotFoundException", "Function not found");
    if let ("POST", ["functions"]) = (method, path) {
        return create(functions, folder, &body).unwrap_or_else(|error| invalid(&error.to_string()));
    }
    let ["functions", name, rest @ ..] = path else {
        return Answer::error(404, "UnknownOperationException", "no such call");
    };
    if (method, rest) == ("DELETE", &[][..]) {
        return functions.remove(*name).map_or_else(missing, |_| Answer::empty(204));
    }
    let Some(function) = functions.get_mut(*name) else { return missing() };
    match (method, rest) {
        ("GET", ["configuration"]) => match function.version(qualifier) {
            Some(version) => Answer::json(200, &function.describe(&version)),
            None => missing(),
        },
        ("PUT", ["configuration"]) => {
            change(function, &body);
            Answer::json(200, &function.describe("$LATEST"))
        }
        ("PUT", ["code"]) => match unpack(function, folder, &body["ZipFile"]) {
            Ok(()) => Answer::json(200, &function.describe("$LATEST")),
            Err(error) => invalid(&error.to_string()),
        },
        ("POST", ["versions"]) => {
            function.versions += 1;
            Answer::json(201, &function.describe(&function.versions.to_string()))
        }
        ("GET", ["aliases", alias]) => match function.aliases.get(*alias) {
            Some(version) => Answer::json(200, &json!({ "Name": alias, "FunctionVersion": version })),
            None => missing(),
        },
        ("POST", ["aliases"]) => point(function, body["Name"].as_str().unwrap_or_default(), &body, 201),
        ("PUT", ["aliases", alias]) => point(function, alias, &body, 200),
        _ => Answer::error(404, "UnknownOperationException", "no such call"),
    }
}

fn invalid(message: &str) -> Answer {
    Answer::error(400, "InvalidParameterValueException", message)
}

fn point(function: &mut Function, alias: &str, body: &Value, status: u16) -> Answer {
    let version = body["FunctionVersion"].as_str().unwrap_or_default().to_owned();
    function.aliases.insert(alias.to_owned(), version.clone());
    Answer::json(status, &json!({ "Name": alias, "FunctionVersion": version }))
}

fn create(functions: &mut BTreeMap<String, Function>, folder: &Path, body: &Value) -> io::Result<Answer> {
    let name = body["FunctionName"].as_str().unwrap_or_default().to_owned();
    if functions.contains_key(&name) {
        return Ok(Answer::error(409, "ResourceConflictException", "Function already exist"));
    }
    let mut function = Function::default();
    for (key, value) in [
        ("FunctionName", json!(name)),
        ("FunctionArn", json!(format!("arn:aws:lambda:us-east-1:123456789012:function:{name}"))),
        ("Runtime", body["Runtime"].clone()),
        ("Role", body["Role"].clone()),
        ("PackageType", json!("Zip")),
        ("Architectures", body["Architectures"].clone()),
        ("State", json!("Active")),
        ("LastUpdateStatus", json!("Successful")),
    ] {
        function.described.insert(key.to_owned(), value);
    }
    if !body["TenancyConfig"].is_null() {
        function.described.insert("TenancyConfig".to_owned(), body["TenancyConfig"].clone());
    }
    change(&mut function, body);
    unpack(&mut function, folder, &body["Code"]["ZipFile"])?;
    let answer = Answer::json(201, &function.describe("$LATEST"));
    functions.insert(name, function);
    Ok(answer)
}

fn change(function: &mut Function, body: &Value) {
    for key in ["MemorySize", "Timeout", "EphemeralStorage", "Environment", "VpcConfig"] {
        if !body[key].is_null() {
            function.described.insert(key.to_owned(), body[key].clone());
        }
    }
}

/// Unpacks a zip into a folder of its own: what runs keeps the old one.
fn unpack(function: &mut Function, folder: &Path, zip: &Value) -> io::Result<()> {
    let bytes = zip.as_str().and_then(from_base64).ok_or_else(|| io::Error::other("there is no zip"))?;
    let (file, code) = (folder.join("function.zip"), folder.join(format!("code-{}", unique())));
    std::fs::write(&file, bytes)?;
    std::fs::create_dir_all(&code)?;
    // Python's zipfile forgets permissions; they are in the upper half of the attributes.
    let script = "import base64,hashlib,os,sys,zipfile\nz=zipfile.ZipFile(sys.argv[1])\n\
                  [os.chmod(z.extract(i,sys.argv[2]),i.external_attr>>16&0o777) for i in z.infolist()]\n\
                  print(base64.b64encode(hashlib.sha256(open(sys.argv[1],'rb').read()).digest()).decode())";
    let hash = output(Command::new("python3").args(["-c", script]).arg(&file).arg(&code))?;
    function.described.insert("CodeSha256".to_owned(), json!(hash.trim()));
    function.code = code;
    Ok(())
}

/// A number that no other call of this process gives.
pub(super) fn unique() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::SeqCst)
}
