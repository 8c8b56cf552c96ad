//! What the guest is told on its command line, by whoever makes the sandbox.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::workspace::WORKSPACE;

/// What is said to who calls it wrongly.
pub(crate) const USAGE: &str = "usage: guest [--workspace DIR] [--knock] [--closed ADDRESS:PORT,...], with a worker at its \
                                standard input and output\n       guest --install FILE\n       guest --lambda, or as bootstrap, in an AWS Lambda function";

/// Addresses that are tried at most.
const MOST_ADDRESSES: usize = 32;

/// What the program is there for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    /// Serve one step.
    Serve(Options),
    /// Copy itself to where another container finds it.
    Install(PathBuf),
    /// Be the runtime of an AWS Lambda function.
    Lambda,
}

/// How to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// The step's folder; another than /workspace for sandbox backends that cannot mount there.
    pub(crate) workspace: PathBuf,
    /// Whether nobody listens yet: the first frame waits for a knock.
    pub(crate) knock: bool,
    /// Addresses that must be out of reach, or the guest refuses to serve.
    pub(crate) closed: Option<Vec<SocketAddr>>,
}

/// Reads the arguments after the program's name.
pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Job> {
    let mut options = Options { workspace: PathBuf::from(WORKSPACE), knock: false, closed: None };
    let mut first = true;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--install" if first => {
                let target = arguments.next()?;
                return arguments.next().is_none().then(|| Job::Install(target.into()));
            }
            "--lambda" if first => return arguments.next().is_none().then_some(Job::Lambda),
            "--workspace" => options.workspace = arguments.next()?.into(),
            "--knock" => options.knock = true,
            "--closed" => options.closed = Some(addresses(&arguments.next()?)?),
            _ => return None,
        }
        first = false;
    }
    Some(Job::Serve(options))
}

fn addresses(list: &str) -> Option<Vec<SocketAddr>> {
    let parsed = list.split(',').filter(|word| !word.is_empty()).map(address);
    parsed.collect::<Option<Vec<_>>>().filter(|addresses| addresses.len() <= MOST_ADDRESSES)
}

/// An address with its port; one of IPv6 may lack its brackets, since a cluster's own variables have none.
fn address(text: &str) -> Option<SocketAddr> {
    let plain = || {
        let (address, port) = text.rsplit_once(':')?;
        Some(SocketAddr::new(address.parse().ok()?, port.parse().ok()?))
    };
    text.parse().ok().or_else(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Option<Job> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_stand_for_themselves() {
        let plain = Options { workspace: "/workspace".into(), knock: false, closed: None };
        assert_eq!(read(""), Some(Job::Serve(plain)));
        let all = Options {
            workspace: "/tmp/w".into(),
            knock: true,
            closed: Some(vec!["10.0.0.1:443".parse().unwrap(), "[fd00::1]:53".parse().unwrap()]),
        };
        for line in [
            "--knock --workspace /tmp/w --closed 10.0.0.1:443,[fd00::1]:53",
            "--closed 10.0.0.1:443,fd00::1:53 --workspace /tmp/w --knock",
        ] {
            assert_eq!(read(line).as_ref(), Some(&Job::Serve(all.clone())));
        }
        assert_eq!(read("--install /guest/guest"), Some(Job::Install("/guest/guest".into())));
        assert_eq!(read("--lambda"), Some(Job::Lambda));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for line in [
            "--nock",
            "--workspace",
            "--closed localhost:80",
            "--closed 10.0.0.1",
            "--install",
            "--install a b",
            "--lambda --knock",
        ] {
            assert_eq!(read(line), None, "{line}");
        }
        let many = vec!["10.0.0.1:1"; MOST_ADDRESSES + 1].join(",");
        assert_eq!(read(&format!("--closed {many}")), None);
    }
}
