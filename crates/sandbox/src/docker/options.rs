//! What an operator decides about the Docker sandbox backend.

use std::path::PathBuf;
use std::str::FromStr;

/// How sandboxes are made at a daemon.
#[derive(Clone, Debug)]
pub struct DockerOptions {
    /// Where the daemon listens.
    pub host: Host,
    /// Image of a sandbox whose template names none.
    pub image: String,
    /// When images are pulled.
    pub pull: Pull,
    /// Credentials of registries, a file in the form of Docker's config.json; read at each pull, so that it may change.
    pub registries: Option<PathBuf>,
    /// Runtime of the containers as the daemon knows it, such as `runsc`; absent means the daemon's own.
    pub runtime: Option<String>,
    /// Names the worker among those that share the daemon; the same after a restart, so that what a killed worker left
    /// is found.
    pub owner: String,
}

/// Address of a daemon, as Docker's own client writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// `unix:///path`.
    Unix(PathBuf),
    /// `tcp://host:port` or `http://host:port`, without protection: whoever can reach it is root there.
    Tcp(String),
    /// `https://host:port`, or `tcp://host:port` with certificates.
    Tls {
        /// `host:port`.
        authority: String,
        /// Folder with ca.pem, cert.pem and key.pem.
        certificates: PathBuf,
    },
    /// `ssh://[user@]host[:port]`: the program `ssh` runs `docker system dial-stdio` there, as Docker's own client does.
    Ssh {
        /// `user@host` or `host`, as ssh takes it.
        destination: String,
        /// Port, if not ssh's own.
        port: Option<u16>,
    },
}

impl Host {
    /// Reads an address; with `certificates`, `tcp://` means TLS.
    ///
    /// # Errors
    /// A sentence on what is wrong.
    pub fn parse(text: &str, certificates: Option<PathBuf>) -> Result<Host, String> {
        let wrong = || format!("`{text}` is not an address of a daemon, such as {EXAMPLES}");
        let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
        let authority = || {
            let plain = rest.trim_end_matches('/');
            let port = plain.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
            (port.is_some() && !plain.contains('/')).then(|| plain.to_owned()).ok_or_else(wrong)
        };
        match (scheme, certificates) {
            ("unix", _) if rest.starts_with('/') => Ok(Host::Unix(PathBuf::from(rest))),
            ("tcp" | "https", Some(certificates)) => Ok(Host::Tls { authority: authority()?, certificates }),
            ("https", None) => Err(format!(
                "`{text}` needs the folder with ca.pem, cert.pem and key.pem: docker.certificates"
            )),
            ("tcp" | "http", _) => Ok(Host::Tcp(authority()?)),
            ("ssh", _) => ssh(rest).ok_or_else(wrong),
            _ => Err(wrong()),
        }
    }

    /// What people call it.
    pub fn text(&self) -> String {
        match self {
            Host::Unix(path) => format!("unix://{}", path.display()),
            Host::Tcp(authority) => format!("tcp://{authority}"),
            Host::Tls { authority, .. } => format!("https://{authority}"),
            Host::Ssh { destination, port: None } => format!("ssh://{destination}"),
            Host::Ssh { destination, port: Some(port) } => format!("ssh://{destination}:{port}"),
        }
    }
}

const EXAMPLES: &str = "unix:///var/run/docker.sock, tcp://host:2376 or ssh://user@host";

fn ssh(rest: &str) -> Option<Host> {
    let rest = rest.trim_end_matches('/');
    let (destination, port) = match rest.rsplit_once(':') {
        Some((destination, port)) => (destination, Some(port.parse().ok()?)),
        None => (rest, None),
    };
    // What begins with a hyphen would be an option of ssh.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"@._-".contains(&byte);
    let fine = !destination.is_empty() && !destination.starts_with('-') && destination.bytes().all(plain);
    fine.then(|| Host::Ssh { destination: destination.to_owned(), port })
}

/// When images are pulled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pull {
    /// For each step: a tag that has moved is noticed.
    Always,
    /// When the daemon does not have it.
    #[default]
    IfNotPresent,
    /// Never: the daemon must have it.
    Never,
}

impl FromStr for Pull {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "always" => Ok(Pull::Always),
            "if-not-present" => Ok(Pull::IfNotPresent),
            "never" => Ok(Pull::Never),
            other => Err(format!("`{other}` is no pull policy; there are always, if-not-present, never")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_dockers_own_client() {
        let read = |text: &str| Host::parse(text, None);
        assert_eq!(read("unix:///run/docker.sock"), Ok(Host::Unix("/run/docker.sock".into())));
        assert_eq!(read("tcp://10.0.0.5:2375/"), Ok(Host::Tcp("10.0.0.5:2375".to_owned())));
        let tls = Host::Tls { authority: "d:2376".to_owned(), certificates: "/certs".into() };
        assert_eq!(Host::parse("tcp://d:2376", Some("/certs".into())), Ok(tls));
        let ssh = |destination: &str, port| Ok(Host::Ssh { destination: destination.to_owned(), port });
        assert_eq!(read("ssh://root@build.internal"), ssh("root@build.internal", None));
        assert_eq!(read("ssh://build:2222"), ssh("build", Some(2222)));
        for wrong in [
            "",
            "/run/docker.sock",
            "unix://run",
            "tcp://host",
            "https://d:1",
            "ssh://-oProxyCommand=x",
            "ftp://x:1",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
