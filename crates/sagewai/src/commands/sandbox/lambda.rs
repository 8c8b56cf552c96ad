//! `sagewai sandbox lambda`: the function whose invocations are sandboxes.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use sandbox::lambda::deploy::{self, Change, DeployError, Deployed, Deployment, Finding};
use sandbox::lambda::{AwsError, AwsSettings, LambdaApi};
use serde_json::json;

use crate::cli::Globals;
use crate::config::{LambdaSettings, Layers};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::files;
use crate::output::{Output, Tone, safe_line};
use crate::process::small_runtime;

/// Arguments of `sagewai sandbox lambda`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the function, or make it what it should be; doing it twice changes nothing
    #[command(
        after_help = "Examples:\n  sagewai sandbox lambda deploy --role arn:aws:iam::123456789012:role/sagewai-sandbox\n  \
        sagewai sandbox lambda deploy --role ARN --subnets subnet-1,subnet-2 --security-groups sg-1 --memory 3538\n  \
        sagewai sandbox lambda deploy --role ARN --image 123456789012.dkr.ecr.eu-central-1.amazonaws.com/steps:1\n\n\
        The role needs no permissions but logs (AWSLambdaBasicExecutionRole) and, in a VPC, its interfaces\n\
        (AWSLambdaVPCAccessExecutionRole). Credentials are found as AWS's own tools find them."
    )]
    Deploy(DeployArguments),
    /// Remove the function with all its versions
    #[command(
        after_help = "Examples:\n  sagewai sandbox lambda remove\n  sagewai sandbox lambda remove --function old-sandbox"
    )]
    Remove {
        #[command(flatten)]
        place: Place,
    },
    /// Look at the function as this machine's worker would use it; nothing is run
    #[command(
        after_help = "Examples:\n  sagewai sandbox lambda check\n  sagewai sandbox lambda check --output json\n\n\
        Exit code 1 if anything is not as it should be."
    )]
    Check {
        #[command(flatten)]
        place: Place,
    },
    /// Write the zip of the function, or the program alone for an image
    #[command(after_help = "Examples:\n  sagewai sandbox lambda package --zip function.zip\n  \
        sagewai sandbox lambda package --program bootstrap    for a Dockerfile: COPY bootstrap /bootstrap, ENTRYPOINT [\"/bootstrap\"]")]
    Package {
        /// Write the zip here.
        #[arg(long, value_name = "FILE", required_unless_present = "program")]
        zip: Option<PathBuf>,
        /// Write the program here, executable.
        #[arg(long, value_name = "FILE")]
        program: Option<PathBuf>,
    },
}

/// Which function, and where.
#[derive(Debug, Args)]
struct Place {
    /// Name of the function [configuration: lambda.function].
    #[arg(long, value_name = "NAME")]
    function: Option<String>,
    /// Region [configuration: lambda.region, else as AWS's own tools].
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// URL of the API, as of a VPC endpoint [configuration: lambda.endpoint].
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
}

#[derive(Debug, Args)]
struct DeployArguments {
    #[command(flatten)]
    place: Place,
    /// Alias that workers invoke [configuration: lambda.qualifier].
    #[arg(long, value_name = "NAME")]
    alias: Option<String>,
    /// ARN of the role that the function runs as; needed to make it.
    #[arg(long, value_name = "ARN")]
    role: Option<String>,
    /// Memory, MiB, 128 to 10240; 1769 is one processor.
    #[arg(long, value_name = "MIB", default_value_t = Deployment::default().memory_mib)]
    memory: u32,
    /// Size of /tmp, MiB, 512 to 10240.
    #[arg(long, value_name = "MIB", default_value_t = Deployment::default().ephemeral_mib)]
    disk: u32,
    /// The longest a step may take, seconds, at most 900.
    #[arg(long, value_name = "SECONDS", default_value_t = Deployment::default().timeout_seconds)]
    timeout: u32,
    /// Subnets of its VPC, separated by commas; without them it is in AWS's own network.
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    subnets: Vec<String>,
    /// Security groups in its VPC, separated by commas.
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    security_groups: Vec<String>,
    /// An image that starts the guest, in the place of the zip.
    #[arg(long, value_name = "URI")]
    image: Option<String>,
    /// Without AWS's tenant isolation: an environment that AWS hands out again is then refused by the guest.
    #[arg(long)]
    shared_environments: bool,
}

pub(super) fn run(arguments: Arguments, globals: &Globals, output: &Output) -> Result<Exit, Failure> {
    let settings = LambdaSettings::resolve(&Layers::read(globals.config.as_deref())?)?;
    small_runtime()?.block_on(async {
        match arguments.command {
            Command::Deploy(arguments) => deploy_function(arguments, &settings, output).await,
            Command::Remove { place } => remove(&place, &settings, output).await,
            Command::Check { place } => check(&place, &settings, output).await,
            Command::Package { zip, program } => package(zip, program, output),
        }
    })
}

async fn deploy_function(
    arguments: DeployArguments,
    settings: &LambdaSettings,
    output: &Output,
) -> Result<Exit, Failure> {
    let (api, function) = at(&arguments.place, settings)?;
    let alias = arguments.alias.or_else(|| settings.qualifier.clone()).unwrap_or(Deployment::default().alias);
    let wanted = Deployment {
        function,
        alias,
        role: arguments.role,
        memory_mib: arguments.memory,
        ephemeral_mib: arguments.disk,
        timeout_seconds: arguments.timeout,
        subnets: arguments.subnets,
        security_groups: arguments.security_groups,
        image: arguments.image,
        tenants: !arguments.shared_environments,
    };
    let deployed = deploy::deploy(&api, &wanted).await.map_err(|error| match &error {
        DeployError::Value(text) => Failure::usage(text.clone()).hint("sagewai sandbox lambda deploy --help"),
        DeployError::Fixed { .. } => Failure::failed("the function was not deployed")
            .because(&error)
            .hint(format!("sagewai sandbox lambda remove --function {}", wanted.function)),
        DeployError::Aws(aws) => asking("the function was not deployed", aws),
    })?;
    output.answer(&deployed, || deployed_text(&deployed));
    if deployed.change != Change::Unchanged {
        output.remark(
            "workers use it with: sagewai worker --sandbox lambda (see docs/lambda.md for where they listen)",
        );
    }
    Ok(Exit::Ok)
}

fn deployed_text(deployed: &Deployed) -> String {
    let did = match deployed.change {
        Change::Created => "created",
        Change::Updated => "updated",
        Change::Unchanged => "unchanged",
    };
    format!("{did}  {}  alias {}\n", safe_line(&deployed.arn), safe_line(&deployed.alias))
}

async fn remove(place: &Place, settings: &LambdaSettings, output: &Output) -> Result<Exit, Failure> {
    let (api, function) = at(place, settings)?;
    let removed = deploy::remove(&api, &function)
        .await
        .map_err(|error| asking("the function was not removed", &error))?;
    let text = if removed { "removed" } else { "there was none" };
    output.answer(&json!({ "function": function, "removed": removed }), || format!("{function}: {text}\n"));
    Ok(Exit::Ok)
}

async fn check(place: &Place, settings: &LambdaSettings, output: &Output) -> Result<Exit, Failure> {
    let (api, function) = at(place, settings)?;
    let findings = deploy::check(&api, &function, settings.qualifier.as_deref())
        .await
        .map_err(|error| asking("the function was not checked", &error))?;
    output.answer(&findings, || findings.iter().map(|finding| line(finding, output)).collect());
    let all_is_well = findings.iter().all(|finding| finding.ok);
    Ok(if all_is_well { Exit::Ok } else { Exit::Faulted })
}

fn line(finding: &Finding, output: &Output) -> String {
    let (mark, tone) = if finding.ok { ("ok", Tone::Good) } else { ("!!", Tone::Bad) };
    let remedy = finding.remedy.as_ref().map(|remedy| format!("; {remedy}")).unwrap_or_default();
    format!("{} {:<17} {}{remedy}\n", output.paint.tone(tone, mark), finding.name, safe_line(&finding.found))
}

fn package(zip: Option<PathBuf>, program: Option<PathBuf>, output: &Output) -> Result<Exit, Failure> {
    let contents = [(zip, deploy::package(), 0o644), (program, sandbox::guest_binary().to_vec(), 0o755)];
    for (path, content, mode) in contents {
        let Some(path) = path else { continue };
        files::replace(&path, &content, mode)?;
        output.remark(&format!("wrote {} ({} bytes)", path.display(), content.len()));
    }
    Ok(Exit::Ok)
}

/// The API and the function's name, from flags and configuration.
fn at(place: &Place, settings: &LambdaSettings) -> Result<(LambdaApi, String), Failure> {
    let aws = AwsSettings {
        region: place.region.clone().or_else(|| settings.region.clone()),
        endpoint: place.endpoint.clone().or_else(|| settings.endpoint.clone()),
        credentials_file: settings.credentials.clone(),
    };
    let api = LambdaApi::new(&aws).map_err(|error| asking("AWS Lambda cannot be asked", &error))?;
    Ok((api, place.function.clone().unwrap_or_else(|| settings.function.clone())))
}

fn asking(what: &str, error: &AwsError) -> Failure {
    let hint = match error {
        AwsError::NoRegion => "name it with --region",
        AwsError::NoCredentials(_) | AwsError::Credentials(_) => {
            "`aws sts get-caller-identity` shows what AWS's own tools find"
        }
        AwsError::Refused { code, .. } if code == "AccessDeniedException" => {
            "docs/lambda.md lists the permissions"
        }
        _ => "--endpoint and --region say where AWS Lambda is looked for",
    };
    Failure::failed(what).because(error).hint(hint)
}
