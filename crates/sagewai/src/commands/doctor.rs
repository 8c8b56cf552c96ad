//! `sagewai doctor`: what this machine can do, with the remedy for what it cannot.

use std::path::Path;
use std::sync::Arc;

use clap::Args;
use control::api::model::{Page, Version, Worker as WorkerRow};
use identity::admin;
use protocol::frame::LayerReport;
use sandbox::Backend;
use serde::Serialize;

use crate::cli::Globals;
use crate::client::Client;
use crate::config::{
    self, Broker, BrokerFlags, Layers, List, SandboxSettings, default_data_folder, default_sandboxes,
};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Table, Tone, bytes};
use crate::process::small_runtime;
use crate::sandboxes::{self, Absent, Early, Kind};

/// Free space below which doctor warns, bytes.
const LOW_DISK_BYTES: u64 = 1 << 30;

/// Arguments of `sagewai doctor`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  sagewai doctor\n  sagewai doctor --output json\n\n\
    Exit code 1 if a check failed; what is absent but not needed is a warning.")]
pub(crate) struct Arguments {}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    Good,
    Warning,
    Failed,
}

/// One finding.
#[derive(Clone, Debug, Serialize)]
struct Check {
    area: &'static str,
    name: String,
    verdict: Verdict,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl Check {
    fn new(area: &'static str, name: impl Into<String>, verdict: Verdict, detail: impl Into<String>) -> Self {
        Check { area, name: name.into(), verdict, detail: detail.into(), remedy: None }
    }

    fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

pub(super) fn run(_arguments: &Arguments, globals: &Globals, output: &Output) -> Result<Exit, Failure> {
    let layers = Layers::read(globals.config.as_deref())?;
    let client = config::Client::resolve(&layers, globals)?;
    let broker = Broker::resolve(&layers, &BrokerFlags::default())?;
    let wanted = sandboxes::kinds(&layers.pick("worker.sandboxes", None, default_sandboxes)?)?;
    let settings = SandboxSettings::resolve(&layers)?;
    // Before the runtime: the spawner is forked from one thread.
    let mut early = Early::prepare(&Kind::ALL, &List::default(), &settings);
    let mut checks = vec![kernel()];
    small_runtime()?.block_on(async {
        for kind in Kind::ALL {
            let made = early.make(kind, &settings.without_pulling(), "doctor");
            checks.extend(sandbox_checks(kind, made, wanted.contains(&kind)).await);
        }
        checks.push(disk(&default_data_folder()));
        checks.extend(server_checks(&client).await);
        checks.push(broker_check(&broker).await);
    });
    output.answer(&checks, || text(&checks, output));
    let failed = checks.iter().any(|check| check.verdict == Verdict::Failed);
    Ok(if failed { Exit::Faulted } else { Exit::Ok })
}

fn kernel() -> Check {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let check = |verdict| Check::new("machine", "kernel", verdict, format!("Linux {release}"));
    if version >= (5, 12) {
        check(Verdict::Good)
    } else {
        check(Verdict::Failed).remedy("use Linux 5.12 or newer")
    }
}

/// A sandbox backend: whether it can be used, then its layers. One that the worker is not configured to use may be absent.
async fn sandbox_checks(kind: Kind, made: Result<Arc<dyn Backend>, Absent>, wanted: bool) -> Vec<Check> {
    let refused = |Absent { reason, remedy }: Absent| {
        let check = match wanted {
            true => Check::new("sandbox", kind.name(), Verdict::Failed, reason),
            false => {
                Check::new("sandbox", kind.name(), Verdict::Good, format!("not in use, and absent: {reason}"))
            }
        };
        vec![if wanted { check.remedy(remedy) } else { check }]
    };
    let backend = match made {
        Ok(backend) => backend,
        Err(absent) => return refused(absent),
    };
    if let Err(error) = backend.check().await {
        return refused(error.into());
    }
    let use_of = if wanted { "can be used" } else { "can be used: name it in --sandbox" };
    let usable = Check::new("sandbox", kind.name(), Verdict::Good, use_of);
    match backend.layers().await {
        Ok(reports) => {
            std::iter::once(usable).chain(reports.iter().map(|report| layer(kind, report))).collect()
        }
        Err(error) => {
            let Absent { reason, remedy } = error.into();
            vec![usable, Check::new("sandbox", kind.name(), Verdict::Warning, reason).remedy(remedy)]
        }
    }
}

fn layer(kind: Kind, report: &LayerReport) -> Check {
    let name = serde_json::to_value(report.layer).ok().and_then(|name| name.as_str().map(str::to_owned));
    let name = name.unwrap_or_else(|| format!("{:?}", report.layer));
    if report.enforced {
        return Check::new(kind.name(), name, Verdict::Good, "enforced");
    }
    Check::new(kind.name(), name, Verdict::Warning, "absent").remedy(report.note.clone())
}

fn disk(folder: &Path) -> Check {
    let existing = folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    match rustix::fs::statvfs(existing) {
        Ok(disk) => {
            let free = disk.f_bavail * disk.f_frsize;
            let detail = format!("{} free for {}", bytes(free), folder.display());
            if free >= LOW_DISK_BYTES {
                Check::new("machine", "disk", Verdict::Good, detail)
            } else {
                Check::new("machine", "disk", Verdict::Warning, detail)
                    .remedy("free some space, or choose another folder with --data")
            }
        }
        Err(error) => {
            Check::new("machine", "disk", Verdict::Failed, error.to_string()).remedy("check the data folder")
        }
    }
}

async fn server_checks(settings: &config::Client) -> Vec<Check> {
    let name = "server";
    let absent = |failure: Failure| {
        let check = Check::new("fleet", name, Verdict::Warning, failure.message);
        match failure.hint {
            Some(hint) => check.remedy(hint),
            None => check,
        }
    };
    let client = match Client::new(settings) {
        Ok(client) => client,
        Err(failure) => return vec![absent(failure)],
    };
    let version: Version = match client.get("/api/v1/version").await {
        Ok(version) => version,
        Err(failure) => return vec![absent(failure)],
    };
    let same = version.version == env!("CARGO_PKG_VERSION");
    let detail = format!(
        "{} version {}, token `{}` ({})",
        client.base(),
        version.version,
        version.token,
        version.role.name()
    );
    let mut checks = vec![match same {
        true => Check::new("fleet", name, Verdict::Good, detail),
        false => Check::new("fleet", name, Verdict::Warning, detail)
            .remedy(concat!("this program has version ", env!("CARGO_PKG_VERSION"))),
    }];
    let workers: Result<Page<WorkerRow>, Failure> = client.get("/api/v1/workers").await;
    checks.push(match workers {
        Ok(page) => match page.items.iter().filter(|worker| worker.connected && !worker.draining).count() {
            0 => Check::new(
                "fleet",
                "workers",
                Verdict::Warning,
                "none takes steps: runs are planned and wait",
            )
            .remedy("start one: sagewai worker --help"),
            count => Check::new("fleet", "workers", Verdict::Good, format!("{count} take steps")),
        },
        Err(failure) => Check::new("fleet", "workers", Verdict::Warning, failure.message),
    });
    checks
}

async fn broker_check(settings: &Broker) -> Check {
    match admin::Client::in_folder(&settings.data).status().await {
        Ok(status) => {
            Check::new("fleet", "broker", Verdict::Good, format!("public key {}", status.broker_key))
        }
        Err(error) => Check::new("fleet", "broker", Verdict::Warning, error.to_string()).remedy(
            "start one: sagewai dev, or sagewai broker --help; without a broker no step has an identity",
        ),
    }
}

fn text(checks: &[Check], output: &Output) -> String {
    let mut table = Table::new(&["AREA", "CHECK", "STATE", "DETAIL"]);
    for check in checks {
        let (word, tone) = match check.verdict {
            Verdict::Good => ("ok", Tone::Good),
            Verdict::Warning => ("warning", Tone::Warn),
            Verdict::Failed => ("failed", Tone::Bad),
        };
        table.row([
            (check.area.to_owned(), None),
            (check.name.clone(), None),
            (word.to_owned(), Some(tone)),
            (check.detail.clone(), None),
        ]);
    }
    let mut text = table.render(output.paint);
    for check in checks {
        if let Some(remedy) = check.remedy.as_deref().filter(|remedy| !remedy.is_empty()) {
            text.push_str(&format!("\n{}: {remedy}\n", check.name));
        }
    }
    text
}
