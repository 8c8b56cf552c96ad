//! CLI agents: an operator installs a manifest (data, not code) per agent; a document names the agent.
//!
//! A manifest is a TOML file in the worker's folder of agents. It stays on the worker: it names environment keys, which
//! the control plane may not know.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use protocol::step::NetworkRule;
use serde::Deserialize;
use serde_json::Value;

/// Bytes of all files that a manifest brings along.
pub const MAX_FILES_BYTES: u64 = 16 * 1024 * 1024;
/// Manifests that one worker loads.
pub const MAX_MANIFESTS: usize = 256;

/// Describes a CLI agent: how to start it, what it needs, how to read what it says.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AgentManifest {
    /// The name that documents use.
    pub name: String,
    /// Program and arguments. `{prompt}` stands for the prompt; a prompt that stands nowhere goes to standard input.
    pub command: Vec<String>,
    /// Plain environment.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Names of the keys that the step's identity must give.
    #[serde(default)]
    pub needs: Vec<String>,
    /// Destinations the agent needs, as `host:port` or `*.host:port`.
    #[serde(default, deserialize_with = "rules")]
    pub network: Vec<NetworkRule>,
    /// Files laid out before the start.
    #[serde(default)]
    pub files: Vec<AgentFile>,
    /// How its standard output is read.
    #[serde(default)]
    pub output: AgentOutput,
    /// Milliseconds after which the agent is stopped, if the document says nothing.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

/// A file that a manifest brings into the sandbox.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AgentFile {
    /// Path below /workspace; below `.home/` it is the agent's HOME.
    pub to: String,
    /// The text itself.
    #[serde(default)]
    pub text: Option<String>,
    /// A file beside the manifest, read when the worker starts.
    #[serde(default)]
    pub from: Option<PathBuf>,
    /// Whether it is a program.
    #[serde(default)]
    pub executable: bool,
    /// The content, read by [`load`].
    #[serde(skip)]
    pub content: Vec<u8>,
}

/// How an agent's standard output becomes the step's output.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AgentOutput {
    /// `text`, `json` or `json-lines`.
    #[serde(default)]
    pub format: OutputFormat,
    /// With `json-lines`: the last line that has these members is the answer; absent means the last line.
    #[serde(default)]
    pub select: BTreeMap<String, Value>,
    /// JSON pointer into the answer: the step's output. Absent means the whole answer.
    #[serde(default)]
    pub result: Option<String>,
    /// JSON pointer into the answer: the step failed if it is there and neither `false` nor `null`.
    #[serde(default)]
    pub failed: Option<String>,
}

/// The form of an agent's standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutputFormat {
    /// As it is.
    #[default]
    Text,
    /// One JSON document.
    Json,
    /// A JSON document per line.
    JsonLines,
}

/// A manifest cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct ManifestError {
    /// The manifest.
    pub path: PathBuf,
    /// What is wrong and where.
    pub problem: String,
}

/// Loads every `*.toml` of a folder, in the order of their names.
///
/// # Errors
/// The first manifest that is unreadable, malformed, or takes a name that another has.
pub fn load(folder: &Path) -> Result<Vec<AgentManifest>, ManifestError> {
    let at = |path: &Path, problem: String| ManifestError { path: path.to_owned(), problem };
    let entries = std::fs::read_dir(folder)
        .map_err(|e| at(folder, format!("cannot list the folder of agents: {e}")))?;
    let mut paths: Vec<_> = entries
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    paths.sort();
    if paths.len() > MAX_MANIFESTS {
        return Err(at(folder, format!("more than {MAX_MANIFESTS} manifests")));
    }
    let mut manifests: Vec<AgentManifest> = Vec::new();
    for path in paths {
        let manifest = read(&path).map_err(|problem| at(&path, problem))?;
        if manifests.iter().any(|other| other.name == manifest.name) {
            return Err(at(&path, format!("another manifest has the name {:?} already", manifest.name)));
        }
        manifests.push(manifest);
    }
    Ok(manifests)
}

fn read(path: &Path) -> Result<AgentManifest, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("cannot read the manifest: {e}"))?;
    let mut manifest: AgentManifest = toml::from_str(&text).map_err(|e| e.to_string())?;
    if manifest.command.is_empty() {
        return Err("`command` is empty: name the program and its arguments".to_owned());
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut total = 0;
    for file in &mut manifest.files {
        file.content = match (&file.text, &file.from) {
            (Some(text), None) => text.clone().into_bytes(),
            (None, Some(from)) => std::fs::read(folder.join(from)).map_err(|e| {
                format!("cannot read the file {:?} that goes to {:?}: {e}", from.display(), file.to)
            })?,
            _ => return Err(format!("the file {:?} needs either `text` or `from`", file.to)),
        };
        total += file.content.len() as u64;
    }
    if total > MAX_FILES_BYTES {
        return Err(format!("its files have {total} bytes together; {MAX_FILES_BYTES} are allowed"));
    }
    Ok(manifest)
}

fn rules<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<NetworkRule>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| rule(text).map_err(serde::de::Error::custom)).collect()
}

fn rule(text: &str) -> Result<NetworkRule, String> {
    let wrong = || format!("{text:?} is not `host:port` or `*.host:port`");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
    let (host, subdomains) = match host.strip_prefix("*.") {
        Some(below) => (below, true),
        None => (host, false),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if host.is_empty() || !host.chars().all(plain) {
        return Err(wrong());
    }
    Ok(NetworkRule { host: host.to_ascii_lowercase(), subdomains, port })
}

impl AgentManifest {
    /// The command line for a prompt, and whether the prompt goes to standard input instead.
    pub(crate) fn command_line(&self, prompt: &str, further: &[String]) -> (Vec<String>, bool) {
        let mut named = false;
        let mut argv: Vec<String> = self
            .command
            .iter()
            .map(|word| {
                named |= word.contains("{prompt}");
                word.replace("{prompt}", prompt)
            })
            .collect();
        argv.extend_from_slice(further);
        (argv, !named)
    }

    /// Reads the agent's answer from its standard output. The exit code alone proves nothing: agents exit 0 with
    /// nothing done.
    ///
    /// # Errors
    /// What is wrong with the output, or the agent's own words when it says that it failed.
    pub(crate) fn answer(&self, stdout: &[u8]) -> Result<Value, String> {
        let text = String::from_utf8_lossy(stdout);
        let answer = match self.output.format {
            OutputFormat::Text => Value::String(text.trim_end().to_owned()),
            OutputFormat::Json => {
                serde_json::from_str(&text).map_err(|e| format!("the agent's output is not JSON: {e}"))?
            }
            OutputFormat::JsonLines => self.selected_line(&text)?,
        };
        if let Some(pointer) = &self.output.failed
            && let Some(mark) = answer.pointer(pointer)
            && !matches!(mark, Value::Null | Value::Bool(false))
        {
            let words = self.output.result.as_ref().and_then(|result| answer.pointer(result)).unwrap_or(mark);
            return Err(format!("the agent says that it failed: {words}"));
        }
        match &self.output.result {
            None => Ok(answer),
            Some(pointer) => answer.pointer(pointer).cloned().ok_or_else(|| {
                format!("the agent's answer has nothing at {pointer:?}, where its manifest looks")
            }),
        }
    }

    fn selected_line(&self, text: &str) -> Result<Value, String> {
        text.lines()
            .rev()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .find(|line| self.output.select.iter().all(|(key, value)| line.get(key) == Some(value)))
            .ok_or_else(|| "the agent ended without its closing line of output".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(manifest: &str) -> Result<AgentManifest, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.toml"), manifest).unwrap();
        std::fs::write(folder.path().join("agent.py"), "print()").unwrap();
        load(folder.path()).map(|mut all| all.remove(0)).map_err(|e| e.problem)
    }

    #[test]
    fn a_manifest_brings_command_needs_network_and_files() {
        let manifest = check(
            r#"
            name = "scribe"
            command = ["python3", ".agent/agent.py", "-p", "{prompt}"]
            needs = ["SCRIBE_TOKEN"]
            network = ["api.example.com:443", "*.example.org:8443"]
            files = [{ to = ".agent/agent.py", from = "agent.py" }]
            output = { format = "json-lines", select = { type = "result" }, result = "/text", failed = "/is_error" }
            "#,
        )
        .unwrap();
        assert_eq!(manifest.files[0].content, b"print()");
        assert!(manifest.network[1].subdomains);
        let (argv, to_stdin) = manifest.command_line("do it", &["--fast".to_owned()]);
        assert_eq!(argv, ["python3", ".agent/agent.py", "-p", "do it", "--fast"]);
        assert!(!to_stdin);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (manifest, expected) in [
            ("name = 'x'\ncommand = []", "`command` is empty"),
            ("name = 'x'\ncommand = ['a']\nnetwork = ['nowhere']", "is not `host:port`"),
            ("name = 'x'\ncommand = ['a']\nsurprise = 1", "unknown field `surprise`"),
            ("name = 'x'\ncommand = ['a']\nfiles = [{ to = 'f' }]", "either `text` or `from`"),
            ("name = 'x'\ncommand = ['a']\nfiles = [{ to = 'f', from = 'gone' }]", "cannot read the file"),
        ] {
            let problem = check(manifest).unwrap_err();
            assert!(problem.contains(expected), "{problem:?} does not say {expected:?}");
        }
    }

    fn answer(output: &str, stdout: &str) -> Result<Value, String> {
        check(&format!("name = 'x'\ncommand = ['x']\noutput = {output}")).unwrap().answer(stdout.as_bytes())
    }

    #[test]
    fn the_answer_is_read_from_events_not_from_the_exit_code() {
        let lines =
            "{ format = 'json-lines', select = { type = 'result' }, result = '/text', failed = '/is_error' }";
        let good =
            "{\"type\":\"start\"}\nnoise\n{\"type\":\"result\",\"text\":\"done\",\"is_error\":false}\n";
        assert_eq!(answer(lines, good).unwrap(), Value::from("done"));
        let bad = "{\"type\":\"result\",\"text\":\"no permission\",\"is_error\":true}\n";
        assert!(answer(lines, bad).unwrap_err().contains("no permission"));
        assert!(answer(lines, "{\"type\":\"start\"}\n").unwrap_err().contains("closing line"));
        assert!(answer("{ format = 'json' }", "nope").unwrap_err().contains("not JSON"));
        assert_eq!(answer("{ format = 'text' }", "words\n").unwrap(), Value::from("words"));
    }
}
