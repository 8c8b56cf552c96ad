//! The layers of the configuration, and what each setting came to.

use std::cell::RefCell;
use std::env;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Serialize;

use super::keys::{KEYS, nearest};
use crate::failure::Failure;

/// The file that is read where `--config` and `SAGEWAI_CONFIG` name none: this below the user's configuration folder.
const USER_FILE: &str = "sagewai/config.toml";

/// A setting as it came to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Row {
    /// Its name.
    pub(crate) key: String,
    /// Its value.
    pub(crate) value: String,
    /// Where it comes from: `default`, `flag`, a file, or an environment variable.
    pub(crate) source: String,
    /// What it is.
    pub(crate) about: &'static str,
}

/// File and environment; flags and defaults come with each [`Layers::pick`].
pub(crate) struct Layers {
    file: Option<(PathBuf, toml::Table)>,
    rows: RefCell<Vec<Row>>,
}

impl Layers {
    /// Reads the file, if there is one.
    ///
    /// # Errors
    /// A file that was named is not there; it is not TOML; it has a key that is no setting.
    pub(crate) fn read(named: Option<&Path>) -> Result<Layers, Failure> {
        let named = named.map(Path::to_owned).or_else(|| env::var_os("SAGEWAI_CONFIG").map(PathBuf::from));
        let (path, must_exist) = match named {
            Some(path) => (Some(path), true),
            None => (user_folder("XDG_CONFIG_HOME", ".config").map(|folder| folder.join(USER_FILE)), false),
        };
        let file = match path {
            Some(path) => read_file(&path, must_exist)?.map(|table| (path, table)),
            None => None,
        };
        Ok(Layers { file, rows: RefCell::default() })
    }

    /// The value of a setting: from the flag, the environment, the file, or the default, in this order.
    pub(crate) fn pick<T>(
        &self,
        name: &str,
        flag: Option<T>,
        default: impl FnOnce() -> T,
    ) -> Result<T, Failure>
    where
        T: FromStr + Display,
        T::Err: Display,
    {
        let key = KEYS.iter().find(|key| key.name == name).expect("every setting is in the list of keys");
        let (value, source) = match flag {
            Some(value) => (value, "flag".to_owned()),
            None => match self.text(name, &key.variable()) {
                Some((text, source)) => (parse(name, &text, &source)?, source),
                None => (default(), "default".to_owned()),
            },
        };
        self.rows.borrow_mut().push(Row {
            key: name.to_owned(),
            value: value.to_string(),
            source,
            about: key.help,
        });
        Ok(value)
    }

    /// What was picked so far.
    pub(crate) fn rows(&self) -> Vec<Row> {
        self.rows.borrow().clone()
    }

    fn text(&self, name: &str, variable: &str) -> Option<(String, String)> {
        if let Ok(text) = env::var(variable) {
            return Some((text, variable.to_owned()));
        }
        let (path, table) = self.file.as_ref()?;
        let (part, setting) = name.split_once('.').expect("a key has a part and a name");
        let value = table.get(part)?.get(setting)?;
        Some((as_text(value), path.display().to_string()))
    }
}

fn parse<T>(name: &str, text: &str, source: &str) -> Result<T, Failure>
where
    T: FromStr,
    T::Err: Display,
{
    text.parse().map_err(|error: T::Err| {
        let mut failure = Failure::usage(format!("{name} from {source} is wrong"));
        failure.causes.push(error.to_string());
        failure.hint("sagewai config show lists every setting with its value")
    })
}

/// A value as the one text form that file and environment share.
fn as_text(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(items) => items.iter().map(as_text).collect::<Vec<_>>().join(","),
        toml::Value::Table(pairs) => {
            pairs.iter().map(|(key, value)| format!("{key}={}", as_text(value))).collect::<Vec<_>>().join(",")
        }
        toml::Value::Integer(number) => number.to_string(),
        toml::Value::Float(number) => number.to_string(),
        toml::Value::Boolean(truth) => truth.to_string(),
        toml::Value::Datetime(time) => time.to_string(),
    }
}

fn read_file(path: &Path, must_exist: bool) -> Result<Option<toml::Table>, Failure> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_exist => return Ok(None),
        Err(error) => {
            return Err(Failure {
                exit: crate::exit::Exit::Usage,
                ..Failure::file("read the configuration", path, &error)
            });
        }
    };
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let place =
            error.span().map_or_else(String::new, |span| format!(" line {}", line_of(&text, span.start)));
        let mut failure = Failure::usage(format!("{}{place} is not TOML", path.display()));
        failure.causes.push(error.message().to_owned());
        failure.hint("strings need quotes; a part is a heading such as [server]")
    })?;
    check(path, &text, &table)?;
    Ok(Some(table))
}

/// Refuses what is no setting: a mistyped key would otherwise change nothing, in silence.
fn check(path: &Path, text: &str, table: &toml::Table) -> Result<(), Failure> {
    for (part, value) in table {
        let settings = match value {
            toml::Value::Table(settings) => settings.keys().map(|name| format!("{part}.{name}")).collect(),
            _ => vec![part.clone()],
        };
        for name in settings {
            if KEYS.iter().any(|key| key.name == name) {
                continue;
            }
            let last = name.rsplit('.').next().unwrap_or(&name);
            let line =
                text.lines().position(|line| line.trim_start().trim_start_matches('"').starts_with(last));
            let place = line.map_or_else(String::new, |line| format!(" line {}", line + 1));
            let failure = Failure::usage(format!("{}{place}: `{name}` is no setting", path.display()));
            return Err(match nearest(&name) {
                Some(near) => failure.hint(format!("did you mean `{near}`?")),
                None => failure.hint("sagewai config show lists every setting"),
            });
        }
    }
    Ok(())
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// A folder of the XDG base directory specification: the variable, or the folder below HOME.
pub(super) fn user_folder(variable: &str, below_home: &str) -> Option<PathBuf> {
    let absolute = |path: PathBuf| path.is_absolute().then_some(path);
    let named = env::var_os(variable).map(PathBuf::from).and_then(absolute);
    named.or_else(|| {
        env::var_os("HOME").map(PathBuf::from).and_then(absolute).map(|home| home.join(below_home))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(text: &str) -> Result<Layers, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        std::fs::write(&path, text).unwrap();
        Layers::read(Some(&path))
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let layers = layers("[worker]\nslots = 3\nlabels = { gpu = 1, zone = \"a\" }\n").unwrap();
        assert_eq!(layers.pick("worker.slots", Some(9_u32), || 1).unwrap(), 9);
        assert_eq!(layers.pick("worker.slots", None, || 1_u32).unwrap(), 3);
        assert_eq!(layers.pick("worker.name", None, || "w".to_owned()).unwrap(), "w");
        let labels = layers.pick("worker.labels", None, super::super::values::Pairs::default).unwrap();
        assert_eq!(labels.to_string(), "gpu=1,zone=a");
        let sources: Vec<bool> = layers.rows().iter().map(|row| row.source.ends_with("c.toml")).collect();
        assert_eq!(sources, [false, true, false, true]);
    }

    #[test]
    fn a_mistyped_key_is_refused_with_its_line_and_a_suggestion() {
        let failure = layers("[server]\nlisten = \"a\"\nlesae = 3\n").err().unwrap();
        assert!(failure.message.contains("line 3: `server.lesae` is no setting"), "{}", failure.message);
        assert_eq!(failure.hint.as_deref(), Some("did you mean `server.lease`?"));
        assert!(layers("verbose = true\n").is_err());
        assert!(layers("[server\n").err().unwrap().message.contains("line 1"));
    }

    #[test]
    fn a_wrong_value_names_where_it_comes_from() {
        let layers = layers("[worker]\nslots = \"many\"\n").unwrap();
        let failure = layers.pick("worker.slots", None, || 1_u32).unwrap_err();
        assert!(failure.message.contains("worker.slots from") && failure.message.contains("c.toml"));
    }
}
