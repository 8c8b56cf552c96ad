//! What an image says about its process, whatever holds the image: a sandbox backend reads it, the worker makes a command
//! line and an environment of it.

use std::collections::BTreeMap;

/// An image that was brought to a sandbox backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// The image by digest, such as `docker.io/library/busybox@sha256:…`; sandboxes are made from this, so that a tag
    /// that moves changes nothing between this step's look at the image and its sandbox.
    pub pinned: String,
    /// What it says about its process.
    pub config: ImageConfig,
}

/// The part of an image's configuration that concerns its process (OCI image specification, `config`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// `Env`: what the process finds unless the step says otherwise.
    pub environment: BTreeMap<String, String>,
    /// `WorkingDir`, absolute; absent where the image names none.
    pub directory: Option<String>,
    /// `Entrypoint`: program and first arguments.
    pub entrypoint: Vec<String>,
    /// `Cmd`: arguments of the entrypoint, or the whole command line where there is none.
    pub command: Vec<String>,
    /// `User`, as written; absent where it is root. Sandboxes have one user of their own, so this is for a note only.
    pub user: Option<String>,
}

impl ImageConfig {
    /// The image's own command line: its entrypoint with `arguments`, or with its `Cmd` where there are none. `None` if
    /// nothing names a program.
    pub fn command_line(&self, arguments: &[String]) -> Option<Vec<String>> {
        let arguments = if arguments.is_empty() { &self.command } else { arguments };
        let line: Vec<String> = self.entrypoint.iter().chain(arguments).cloned().collect();
        line.first().is_some_and(|program| !program.is_empty()).then_some(line)
    }

    /// Reads `Env`: `NAME=value` entries, the last of a name counts. What is no such entry is left out.
    pub fn read_environment<S: AsRef<str>>(entries: impl IntoIterator<Item = S>) -> BTreeMap<String, String> {
        let entry = |entry: S| {
            let (name, value) = entry.as_ref().split_once('=')?;
            let usable = !name.is_empty() && !entry.as_ref().contains('\0');
            usable.then(|| (name.to_owned(), value.to_owned()))
        };
        entries.into_iter().filter_map(entry).collect()
    }

    /// Reads `WorkingDir`: an absolute folder, and never one of /proc, where a name can stand for an open descriptor.
    pub fn read_directory(text: &str) -> Option<String> {
        let normal = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect::<Vec<_>>();
        let allowed = text.starts_with('/')
            && !text.contains('\0')
            && !normal.contains(&"..")
            && normal.first().is_some_and(|first| *first != "proc");
        allowed.then(|| format!("/{}", normal.join("/")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn arguments_take_the_place_of_cmd_behind_the_entrypoint() {
        let config = |entrypoint: &[&str], command: &[&str]| ImageConfig {
            entrypoint: strings(entrypoint),
            command: strings(command),
            ..ImageConfig::default()
        };
        let line = |config: &ImageConfig, arguments: &[&str]| config.command_line(&strings(arguments));
        let both = config(&["/app", "-v"], &["serve"]);
        assert_eq!(line(&both, &[]), Some(strings(&["/app", "-v", "serve"])));
        assert_eq!(line(&both, &["check"]), Some(strings(&["/app", "-v", "check"])));
        assert_eq!(line(&config(&[], &["sh"]), &[]), Some(strings(&["sh"])));
        assert_eq!(line(&config(&[], &["sh"]), &["ls", "/"]), Some(strings(&["ls", "/"])));
        assert_eq!(line(&config(&[], &[]), &[]), None);
        assert_eq!(line(&config(&[""], &[]), &[]), None);
    }

    #[test]
    fn a_working_directory_is_absolute_and_not_of_proc() {
        let read = ImageConfig::read_directory;
        assert_eq!(read("/app/./x//"), Some("/app/x".to_owned()));
        for none in
            ["", "/", "app", "/proc/self/fd/7", "//proc/1", "/./proc/self/cwd", "/app/../proc/self", "/a\0b"]
        {
            assert_eq!(read(none), None, "{none:?}");
        }
    }

    #[test]
    fn the_last_entry_of_a_name_counts_and_others_are_left_out() {
        let read = ImageConfig::read_environment(["PATH=/bin", "A=1", "A=2=3", "odd", "=x", "B=\0"]);
        let expected = [("A", "2=3"), ("PATH", "/bin")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(read, BTreeMap::from(expected));
    }
}
