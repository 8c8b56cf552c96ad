//! Values of identities: set, rotate, remove.

use std::path::PathBuf;

use clap::Args;
use identity::admin::Client;
use identity::builtin::Expect;
use identity::policy::Policy;
use identity::reference::{IdentityName, KeyName};

use super::{failed, parse};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::secret_input;

/// Which value, and where it comes from.
#[derive(Debug, Args)]
pub(super) struct KeyArguments {
    /// Name of the identity.
    name: String,
    /// Name of the key: the environment variable that the step gets.
    key: String,
    /// Read the value from standard input, as it is.
    #[arg(long, conflicts_with = "file")]
    stdin: bool,
    /// Read the value from a file, as it is.
    #[arg(long)]
    file: Option<PathBuf>,
}

/// Sets a value; makes the identity if it is new.
pub(super) async fn set(
    client: &Client,
    arguments: &KeyArguments,
    secret: bool,
    expect: Expect,
    allow_namespace: Option<&str>,
    output: &Output,
) -> Result<(), Failure> {
    let name: IdentityName = parse("identity", &arguments.name)?;
    let key: KeyName = parse("key", &arguments.key)?;
    let known = client
        .identities()
        .await
        .map_err(failed)?
        .into_iter()
        .any(|identity| identity.name == (&name).into());
    let value = secret_input::value(key.as_str(), arguments.stdin, arguments.file.as_deref())?;
    if !known {
        let policy = allow_namespace.map_or_else(Policy::default, Policy::for_namespace);
        client.create(&name, &policy).await.map_err(failed)?;
        if allow_namespace.is_none() {
            output.remark(&format!(
                "nobody may use {name} yet: sagewai identity policy {name} --allow-namespace NAMESPACE"
            ));
        }
    } else if allow_namespace.is_some() {
        output.remark(&format!("{name} is there, and its policy stays: sagewai identity policy {name}"));
    }
    let answer = client.set(&name, &key, secret, expect, &value).await.map_err(failed)?;
    output.answer(&answer, || format!("{name} {key} version {}\n", answer.version));
    for advice in &answer.advice {
        output.remark(&format!("warning: the value of {key} {}", advice.sentence()));
    }
    Ok(())
}

/// A rotation keeps what the key is: a secret, or a plain setting.
pub(super) async fn rotate(
    client: &Client,
    arguments: &KeyArguments,
    output: &Output,
) -> Result<(), Failure> {
    let detail = client.identity(&parse("identity", &arguments.name)?).await.map_err(failed)?;
    let known = detail.description.keys.iter().find(|known| known.name.as_str() == arguments.key);
    let Some(known) = known else {
        return Err(Failure::new(Exit::NotFound, format!("{} has no key {}", arguments.name, arguments.key))
            .hint(format!("sagewai identity show {} lists the keys", arguments.name)));
    };
    set(client, arguments, known.secret, Expect::Existing, None, output).await
}

/// Removes an identity, or one key or view of it.
pub(super) async fn remove(
    client: &Client,
    name: &str,
    key: Option<String>,
    view: Option<String>,
    output: &Output,
) -> Result<(), Failure> {
    let of_builtin = || parse::<IdentityName>("identity of the builtin file", name);
    let what = match (key, view) {
        (Some(key), _) => {
            client.remove_key(&of_builtin()?, &parse("key", &key)?).await.map_err(failed)?;
            format!("{name} {key}")
        }
        (None, Some(view)) => {
            client.remove_view(&of_builtin()?, &parse("view", &view)?).await.map_err(failed)?;
            format!("{name}/{view}")
        }
        (None, None) => {
            client.remove(&parse("identity", name)?).await.map_err(failed)?;
            name.to_string()
        }
    };
    output.remark(&format!("{what} is removed"));
    Ok(())
}
