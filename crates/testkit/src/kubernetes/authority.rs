//! Who is who in a test cluster: keys and certificates by openssl, tokens, and a kubeconfig for each part.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::NODE;
use super::process::run;

/// Days that certificates hold.
const DAYS: &str = "30";
/// Curve of all keys.
const CURVE: &str = "ec_paramgen_curve:prime256v1";

/// Files of the cluster's authority.
pub(super) struct Authority {
    pub(super) folder: PathBuf,
    tokens: Vec<Identity>,
}

/// A client of the API.
struct Identity {
    /// Names its kubeconfig.
    file: &'static str,
    user: String,
    groups: &'static str,
    token: String,
}

/// Makes keys, certificates and tokens below `folder`.
pub(super) fn create(folder: &Path) -> io::Result<Authority> {
    let own = folder.join("authority");
    fs::create_dir_all(&own)?;
    let authority = Authority { folder: own, tokens: identities()? };
    authority.certificates()?;
    let line = |who: &Identity| format!("{},{},{},\"{}\"\n", who.token, who.user, who.user, who.groups);
    fs::write(authority.file("tokens.csv"), authority.tokens.iter().map(line).collect::<String>())?;
    Ok(authority)
}

fn identities() -> io::Result<Vec<Identity>> {
    let identity = |file, user: String, groups| {
        Ok::<_, io::Error>(Identity { file, user, groups, token: random_word()? })
    };
    Ok(vec![
        identity(super::KUBECONFIG, "admin".to_owned(), "system:masters")?,
        identity("kubelet.kubeconfig", format!("system:node:{NODE}"), "system:nodes")?,
        identity("scheduler.kubeconfig", "system:kube-scheduler".to_owned(), "")?,
        identity("controllers.kubeconfig", "system:kube-controller-manager".to_owned(), "system:masters")?,
    ])
}

fn random_word() -> io::Result<String> {
    let mut bytes = [0; 16];
    io::Read::read_exact(&mut fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

impl Authority {
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Path of a file as an argument.
    pub(super) fn path(&self, name: &str) -> String {
        self.file(name).display().to_string()
    }

    /// The administrator's token.
    pub(super) fn token(&self) -> &str {
        &self.tokens[0].token
    }

    fn certificates(&self) -> io::Result<()> {
        let openssl =
            |arguments: &[&str]| run(Command::new("openssl").args(arguments).current_dir(&self.folder));
        openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            CURVE,
            "-nodes",
            "-days",
            DAYS,
            "-subj",
            "/CN=test-authority",
            "-keyout",
            "ca.key",
            "-out",
            "ca.crt",
        ])?;
        let names = "subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth\n";
        let client = "extendedKeyUsage=clientAuth\n";
        for (name, subject, extensions) in [
            ("server", "/CN=kube-apiserver", names),
            ("kubelet-client", "/O=system:masters/CN=kube-apiserver-kubelet-client", client),
        ] {
            let (key, request) = (format!("{name}.key"), format!("{name}.csr"));
            let (certificate, extension) = (format!("{name}.crt"), format!("{name}.ext"));
            fs::write(self.file(&extension), extensions)?;
            openssl(&[
                "req", "-newkey", "ec", "-pkeyopt", CURVE, "-nodes", "-subj", subject, "-keyout", &key,
                "-out", &request,
            ])?;
            openssl(&[
                "x509",
                "-req",
                "-in",
                &request,
                "-CA",
                "ca.crt",
                "-CAkey",
                "ca.key",
                "-CAcreateserial",
                "-days",
                DAYS,
                "-extfile",
                &extension,
                "-out",
                &certificate,
            ])?;
        }
        openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "accounts.key"])
    }

    /// Writes the kubeconfig of each part into `folder`.
    pub(super) fn write_kubeconfigs(&self, folder: &Path, port: u16) -> io::Result<()> {
        for who in &self.tokens {
            fs::write(folder.join(who.file), kubeconfig(port, &self.path("ca.crt"), &who.token))?;
        }
        Ok(())
    }
}

fn kubeconfig(port: u16, authority: &str, token: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
         clusters:\n- name: test\n  cluster:\n    server: https://127.0.0.1:{port}\n    certificate-authority: {authority}\n\
         users:\n- name: test\n  user:\n    token: {token}\n\
         contexts:\n- name: test\n  context:\n    cluster: test\n    user: test\n"
    )
}
