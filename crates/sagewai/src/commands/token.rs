//! `sagewai token`: the tokens of the API.

use clap::{Args, Subcommand, ValueEnum};
use control::api::model::{CreateToken, CreatedToken, Page, Role, Token};
use http::Method;

use super::client;
use crate::cli::Globals;
use crate::client::encoded;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Table};
use crate::process::small_runtime;

/// Arguments of `sagewai token`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a token; it is shown once, the server keeps a hash
    #[command(
        after_help = "Examples:\n  sagewai token create ci --role operator --namespace acme > ci.token\n  \
        sagewai --token-file ci.token run workflow.yaml"
    )]
    Create {
        /// What it is for.
        name: String,
        /// What it may do.
        #[arg(long, value_enum, default_value_t = RoleName::Operator)]
        role: RoleName,
        /// Namespaces it may see, may be repeated; all if absent.
        #[arg(long = "namespace", value_name = "NAMESPACE")]
        namespaces: Vec<String>,
    },
    /// List the tokens, without their texts
    #[command(after_help = "Examples:\n  sagewai token list")]
    List,
    /// Revoke a token, at once and for good
    #[command(after_help = "Examples:\n  sagewai token revoke 5f0c8e1d2b3a4c5d")]
    Revoke {
        /// Its id.
        id: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RoleName {
    /// Read.
    Viewer,
    /// Also submit and control runs, publish workflows.
    Operator,
    /// Also tokens and workers.
    Admin,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Viewer => Role::Viewer,
            RoleName::Operator => Role::Operator,
            RoleName::Admin => Role::Admin,
        }
    }
}

pub(super) fn run(arguments: Arguments, globals: &Globals, output: &Output) -> Result<Exit, Failure> {
    let client = client(globals)?;
    small_runtime()?.block_on(async {
        match arguments.command {
            Command::Create { name, role, namespaces } => {
                let request = CreateToken { name, role: role.into(), namespaces };
                let made: CreatedToken = client.post("/api/v1/tokens", &request).await?;
                output.answer(&made, || format!("{}\n", made.secret));
                output.remark(&format!("id {}; the token is not shown again", made.token.id));
            }
            Command::List => {
                let page: Page<Token> = client.get("/api/v1/tokens").await?;
                output.answer(&page.items, || tokens_text(&page.items, output));
            }
            Command::Revoke { id } => {
                client.act(Method::DELETE, &format!("/api/v1/tokens/{}", encoded(&id))).await?;
                output.remark(&format!("token {id} is revoked"));
            }
        }
        Ok(Exit::Ok)
    })
}

fn tokens_text(tokens: &[Token], output: &Output) -> String {
    let mut table = Table::new(&["ID", "NAME", "ROLE", "NAMESPACES", "CREATED"]);
    for token in tokens {
        let namespaces =
            if token.namespaces.is_empty() { "all".to_owned() } else { token.namespaces.join(",") };
        table.plain([
            token.id.clone(),
            token.name.clone(),
            token.role.name().to_owned(),
            namespaces,
            token.created.to_string(),
        ]);
    }
    table.render(output.paint)
}
