//! `sagewai identity policy`: who may use an identity.

use std::path::Path;

use clap::Args;
use identity::admin::Client;
use identity::policy::{Policy, Rule};

use super::{failed, parse};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Table};

/// Arguments of `sagewai identity policy`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sagewai identity policy acme-prod\n  sagewai identity policy acme-prod --allow-namespace acme\n  \
    sagewai identity policy acme-prod --set policy.json\n\n\
    policy.json, where every list of a rule must match and * stands for anything:\n  \
    { \"allow\": [ { \"namespaces\": [\"acme\"], \"workflows\": [\"weekly-*\"], \"modes\": [\"2\"], \"sandboxes\": [\"namespace\"],\n    \
    \"images\": [\"*\"], \"workers\": [\"*\"], \"views\": [\"reporting\"] } ] }"
)]
pub(crate) struct Arguments {
    /// Name of the identity.
    name: String,
    /// Allow all workflows of a namespace, and nothing else; may be repeated.
    #[arg(long = "allow-namespace", value_name = "NAMESPACE", conflicts_with = "set")]
    namespaces: Vec<String>,
    /// Replace the policy with the one in this file, JSON; `-` for standard input.
    #[arg(long, value_name = "FILE")]
    set: Option<String>,
    /// Allow nobody.
    #[arg(long, conflicts_with_all = ["set", "namespaces"])]
    deny_all: bool,
}

pub(super) async fn run(client: &Client, arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    let name = parse("identity", &arguments.name)?;
    let wanted = match (&arguments.set, arguments.namespaces.as_slice(), arguments.deny_all) {
        (Some(file), _, _) => Some(read(file)?),
        (None, [], false) => None,
        (None, namespaces, _) => Some(Policy {
            allow: namespaces.iter().flat_map(|namespace| Policy::for_namespace(namespace).allow).collect(),
        }),
    };
    if let Some(policy) = &wanted {
        client.set_policy(&name, policy).await.map_err(failed)?;
    }
    let detail = client.identity(&name).await.map_err(failed)?;
    output.answer(&detail.policy, || text(&detail.policy, output));
    Ok(())
}

fn read(file: &str) -> Result<Policy, Failure> {
    let text = if file == "-" {
        std::io::read_to_string(std::io::stdin().lock())
            .map_err(|error| Failure::file("read", Path::new("standard input"), &error))?
    } else {
        std::fs::read_to_string(file).map_err(|error| Failure::file("read", Path::new(file), &error))?
    };
    let wrong = |error: &dyn std::error::Error| {
        Failure::new(Exit::Invalid, format!("{file} is no policy"))
            .because(error)
            .hint("sagewai identity policy --help has an example")
    };
    let policy: Policy = serde_json::from_str(&text).map_err(|error| wrong(&error))?;
    policy.check().map_err(|error| wrong(&error))?;
    Ok(policy)
}

/// A policy, a row per rule.
pub(super) fn text(policy: &Policy, output: &Output) -> String {
    if policy.allow.is_empty() {
        return "policy: nobody may use it\n".to_owned();
    }
    let mut table =
        Table::new(&["NAMESPACES", "WORKFLOWS", "MODES", "SANDBOXES", "IMAGES", "WORKERS", "VIEWS"]);
    for rule in &policy.allow {
        let Rule { namespaces, workflows, modes, sandboxes, images, workers, views } = rule;
        table.plain(
            [namespaces, workflows, modes, sandboxes, images, workers, views].map(|list| list.join(",")),
        );
    }
    table.render(output.paint)
}
