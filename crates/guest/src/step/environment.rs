//! The environment block of the step, with its secret values, wiped as soon as the step has it.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};

use protocol::frame::FailureKind;
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::sys::Vector;

/// Where programs are looked up if the step has no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `NAME=value` entries, each ended by a zero byte; wiped when dropped.
#[derive(Default)]
pub(super) struct Environment {
    entries: BTreeMap<String, Zeroizing<Vec<u8>>>,
}

impl Environment {
    /// Sets a variable; the last value counts. Refuses a name or value with a zero byte, and a name that is empty or has
    /// `=` in it: no program could see it. The message has the name and never the value.
    pub(super) fn set(&mut self, name: &str, value: &[u8]) -> Result<(), Failure> {
        let why = match name {
            "" => "its name is empty",
            _ if name.contains(['=', '\0']) => "its name has `=` or a zero byte",
            _ if value.contains(&0) => "its value has a zero byte",
            _ => "",
        };
        if !why.is_empty() {
            let message =
                format!("the step's environment cannot have the variable `{}`: {why}", name.escape_debug());
            return Err(Failure::new(FailureKind::NotFound, message));
        }
        let mut entry = Zeroizing::new(Vec::with_capacity(name.len() + value.len() + 2));
        entry.extend_from_slice(name.as_bytes());
        entry.push(b'=');
        entry.extend_from_slice(value);
        entry.push(0);
        self.entries.insert(name.to_owned(), entry);
        Ok(())
    }

    /// The pointers that execve takes.
    pub(super) fn vector(&self) -> Vector<'_> {
        Vector::new(self.entries.values().filter_map(|entry| CStr::from_bytes_with_nul(entry).ok()))
    }

    fn value(&self, name: &str) -> Option<&[u8]> {
        let entry = self.entries.get(name)?;
        entry.get(name.len() + 1..entry.len() - 1)
    }

    /// Where `program` may be, in the order of the step's PATH; with a slash in it, it is itself the path.
    pub(super) fn candidates(&self, program: &str) -> Vec<CString> {
        let Ok(direct) = CString::new(program) else { return Vec::new() };
        if program.contains('/') || program.is_empty() {
            return vec![direct];
        }
        let path = self.value("PATH").unwrap_or(DEFAULT_PATH.as_bytes());
        path.split(|byte| *byte == b':')
            .map(|folder| if folder.is_empty() { b"." } else { folder })
            .filter_map(|folder| CString::new([folder, b"/", program.as_bytes()].concat()).ok())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(environment: &Environment, program: &str) -> Vec<String> {
        environment.candidates(program).into_iter().map(|path| path.into_string().unwrap()).collect()
    }

    #[test]
    fn programs_are_looked_up_in_the_path_of_the_step() {
        let mut environment = Environment::default();
        assert_eq!(paths(&environment, "ls").len(), 6);
        environment.set("PATH", b"/a:/b").expect("it can be");
        assert_eq!(paths(&environment, "ls"), ["/a/ls", "/b/ls"]);
        assert_eq!(paths(&environment, "./ls"), ["./ls"]);
        assert!(paths(&environment, "l\0s").is_empty());
    }

    #[test]
    fn the_last_value_counts_and_what_no_program_could_see_is_refused_by_name() {
        let mut environment = Environment::default();
        environment.set("A", b"1").expect("it can be");
        environment.set("A", b"2").expect("it can be");
        for (name, value) in [("B=C", &b"x"[..]), ("D", b"hidden\0y"), ("", b"x"), ("E\0", b"x")] {
            let refused = environment.set(name, value).expect_err("no program could see it").message;
            assert!(
                refused.contains(&name.escape_debug().to_string()) && !refused.contains("hidden"),
                "{refused}"
            );
        }
        assert_eq!(environment.value("A"), Some(&b"2"[..]));
        assert_eq!(environment.entries.len(), 1);
    }
}
