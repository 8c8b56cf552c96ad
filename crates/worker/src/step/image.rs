//! The image of a step: brought to the sandbox backend first, then asked how its process starts.

use protocol::step::{ProcessRun, StepError, Work};
use sandbox::pool::Pool;
use sandbox::{Image, ImageConfig};

use super::process::{Process, WORKSPACE};
use super::sandboxed::sandbox_error;
use super::{Attempted, Undone};
use crate::error::{configuration, timeout};

/// Brings the image that the step names, if any, and shows its digest in the step's log. `None` also where the sandbox
/// backend leaves images to somebody else.
pub(super) async fn bring(attempted: &Attempted<'_>, pool: &Pool) -> Result<Option<Image>, Undone> {
    let Some(name) = attempted.spec.image() else { return Ok(None) };
    let tell = |text: String| attempted.log.note(&text);
    let image = tokio::select! {
        pulled = pool.backend().pull(name, &tell) => pulled.map_err(|error| sandbox_error(attempted, error))?,
        () = attempted.cancel.cancelled() => return Err(Undone::Stopped),
        () = tokio::time::sleep(attempted.time_limit) => {
            return Err(timeout("the image was not here within the step's time").into());
        }
    };
    if let Some(image) = &image {
        attempted.log.note(&format!("image {}", image.pinned));
        if let Some(user) = &image.config.user {
            let note = format!("the image's user `{user}` does not count: a step has its sandbox's own user");
            attempted.log.note(&note);
        }
    }
    Ok(image)
}

/// Makes of a step's process one of its image; returns the folder that it starts in.
pub(super) fn apply(image: &ImageConfig, work: &Work, process: &mut Process) -> Result<String, StepError> {
    let mut environment = image.environment.clone();
    // Only the sandbox's own home can be written.
    environment.remove("HOME");
    environment.append(&mut process.environment);
    process.environment = environment;
    let Work::Container { process: run, .. } = work else { return Ok(WORKSPACE.to_owned()) };
    if let Some(argv) = command_line(image, run)? {
        process.argv = argv;
    }
    Ok(image.directory.clone().unwrap_or_else(|| WORKSPACE.to_owned()))
}

/// `None` for a command line that needs the image's shell.
fn command_line(image: &ImageConfig, run: &ProcessRun) -> Result<Option<Vec<String>>, StepError> {
    if run.command.is_empty() {
        let argv = image.command_line(&run.arguments);
        return argv.map(Some).ok_or_else(|| {
            configuration("the image names no program (no `Entrypoint`, no `Cmd`); give `command` or `arguments` in `run.container`")
        });
    }
    let is_one_path = run.command.contains('/')
        && run.command.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+@".contains(&byte));
    Ok(is_one_path.then(|| std::iter::once(&run.command).chain(&run.arguments).cloned().collect()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn started(
        image: &ImageConfig,
        command: &str,
        arguments: &[&str],
    ) -> Result<(Vec<String>, String), StepError> {
        let run = ProcessRun {
            command: command.to_owned(),
            arguments: strings(arguments),
            environment: BTreeMap::from([("B".to_owned(), "step".to_owned())]),
            ..ProcessRun::default()
        };
        let work = Work::Container { image: "x".to_owned(), process: run };
        let mut process = super::super::process::prepare(&work, &[])?;
        let directory = apply(image, &work, &mut process)?;
        assert_eq!(process.environment.get("B").map(String::as_str), Some("step"));
        assert!(!process.environment.contains_key("HOME"));
        Ok((process.argv, directory))
    }

    #[test]
    fn a_container_starts_as_its_image_says() {
        let environment = [("A", "image"), ("B", "image"), ("HOME", "/root")];
        let image = ImageConfig {
            environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            directory: Some("/srv".to_owned()),
            entrypoint: strings(&["/app"]),
            command: strings(&["serve"]),
            user: None,
        };
        let argv = |command, arguments| started(&image, command, arguments).expect("it starts").0;
        assert_eq!(argv("", &[]), ["/app", "serve"]);
        assert_eq!(argv("", &["check"]), ["/app", "check"]);
        assert_eq!(argv("/bin/tool", &["a b"]), ["/bin/tool", "a b"]);
        assert_eq!(argv("echo $1", &["x"]), ["/bin/sh", "-c", "echo $1", "sh", "x"]);
        assert_eq!(started(&image, "", &[]).expect("it starts").1, "/srv");
        let error = started(&ImageConfig::default(), "", &[]).expect_err("no program").detail;
        assert!(error.contains("names no program"), "{error}");
    }

    #[test]
    fn a_script_in_an_image_stays_a_script() {
        let image = ImageConfig {
            directory: Some("/srv".to_owned()),
            entrypoint: strings(&["/app"]),
            ..ImageConfig::default()
        };
        let work =
            Work::Script { language: "python".into(), code: "1".into(), process: ProcessRun::default() };
        let mut process = super::super::process::prepare(&work, &[]).expect("it starts");
        assert_eq!(apply(&image, &work, &mut process).expect("it starts"), WORKSPACE);
        assert_eq!(process.argv[0], "python3");
    }
}
