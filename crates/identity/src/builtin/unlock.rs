//! Unlocking the builtin file: its data key is wrapped by age (X25519) to an operator's and a recovery key at least. The
//! operator's key is an age identity in a private file, in a systemd credential, or in a file that a passphrase protects
//! (age scrypt, as `age -p` writes it). It is never taken from the value of an environment variable.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::str::FromStr;

use age::secrecy::{ExposeSecret, SecretString};
use age::x25519;
use base64ct::{Base64, Encoding};
use zeroize::{Zeroize, Zeroizing};

use super::crypto::DATA_KEY_BYTES;
use crate::disk::{self, DiskError};

/// Fewest recipients of a data key: the operator and the recovery key.
pub const MIN_RECIPIENTS: usize = 2;
/// Longest key file, bytes.
const MAX_KEY_FILE_BYTES: u64 = 16 * 1024;
/// Hardest scrypt work factor that is accepted, log2; about a minute.
const MAX_WORK_FACTOR: u8 = 22;

/// Where the operator's key is.
pub enum Unlock {
    /// An age identity in a private file; asks for the passphrase if the file has one.
    KeyFile {
        /// The file, mode 0600.
        path: PathBuf,
        /// Asks a person; `None` where nobody can be asked.
        passphrase: Option<PassphrasePrompt>,
    },
    /// An age identity in the systemd credential of this name (`LoadCredential=`, `LoadCredentialEncrypted=`).
    Credential {
        /// Name of the credential.
        name: String,
    },
}

/// Asks a person for a passphrase.
pub type PassphrasePrompt = Box<dyn Fn() -> std::io::Result<Zeroizing<String>> + Send + Sync>;

/// Why a key could not be had, or did not unwrap.
#[derive(Debug, thiserror::Error)]
pub enum UnlockError {
    /// The key file cannot be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Not an age identity.
    #[error("{0} holds no age identity: expected a line that begins with AGE-SECRET-KEY-1")]
    NotIdentity(String),
    /// A passphrase is needed and nobody can be asked.
    #[error("{0} is protected by a passphrase: start the broker at a terminal, or use a systemd credential")]
    NeedsPassphrase(String),
    /// The passphrase is wrong.
    #[error("the passphrase does not open {0}")]
    Passphrase(String),
    /// The prompt failed.
    #[error("the passphrase could not be asked for")]
    Prompt(#[source] std::io::Error),
    /// There is no credentials folder.
    #[error("systemd passed no credentials: add LoadCredentialEncrypted={0} to the unit")]
    NoCredentials(String),
    /// The data key is not wrapped to this key.
    #[error(
        "the key does not open this identity file: it is of another broker, or was replaced by the recovery key"
    )]
    WrongKey,
    /// Too few recipients.
    #[error("a data key needs at least two recipients, such as the operator's and the recovery key")]
    Recipients,
    /// Not an age recipient.
    #[error("`{0}` is not an age recipient: expected text that begins with age1")]
    NotRecipient(String),
    /// Wrapping failed.
    #[error("the data key could not be wrapped")]
    Wrap,
}

/// A new age identity: its secret text for a key file, and its public recipient.
pub fn generate_identity() -> (Zeroizing<String>, String) {
    let identity = x25519::Identity::generate();
    let secret = Zeroizing::new(identity.to_string().expose_secret().to_owned());
    (secret, identity.to_public().to_string())
}

/// The content of a key file for an age identity, protected by a passphrase.
pub fn protect(secret: &str, passphrase: Zeroizing<String>) -> Result<Vec<u8>, UnlockError> {
    let recipient = age::scrypt::Recipient::new(secret_string(&passphrase));
    age::encrypt(&recipient, secret.as_bytes()).map_err(|_| UnlockError::Wrap)
}

/// The operator's key, unlocked.
pub struct OperatorKey(x25519::Identity);

impl OperatorKey {
    /// Its recipient, to wrap a data key to it.
    pub fn recipient(&self) -> String {
        self.0.to_public().to_string()
    }
}

impl Unlock {
    /// Reads and, where it must be, decrypts the operator's key.
    pub fn operator_key(&self) -> Result<OperatorKey, UnlockError> {
        match self {
            Unlock::KeyFile { path, passphrase } => {
                let bytes = disk::read(path, MAX_KEY_FILE_BYTES)?;
                key_of_bytes(&bytes, &path.display().to_string(), passphrase.as_ref())
            }
            Unlock::Credential { name } => {
                // The variable names a folder that systemd made for this unit; the secret is in the file.
                credential(std::env::var_os("CREDENTIALS_DIRECTORY"), name)
            }
        }
    }
}

fn credential(folder: Option<OsString>, name: &str) -> Result<OperatorKey, UnlockError> {
    let folder = folder.ok_or_else(|| UnlockError::NoCredentials(name.into()))?;
    let path = PathBuf::from(folder).join(name);
    let bytes = Zeroizing::new(std::fs::read(&path).map_err(DiskError::io("read", &path))?);
    key_of_bytes(&bytes, &path.display().to_string(), None)
}

fn key_of_bytes(
    bytes: &[u8],
    place: &str,
    passphrase: Option<&PassphrasePrompt>,
) -> Result<OperatorKey, UnlockError> {
    if !bytes.starts_with(b"age-encryption.org/") && !bytes.starts_with(b"-----BEGIN AGE") {
        return identity_in(bytes, place);
    }
    let ask = passphrase.ok_or_else(|| UnlockError::NeedsPassphrase(place.into()))?;
    let passphrase = ask().map_err(UnlockError::Prompt)?;
    let mut identity = age::scrypt::Identity::new(secret_string(&passphrase));
    identity.set_max_work_factor(MAX_WORK_FACTOR);
    let plain = age::decrypt(&identity, bytes).map(Zeroizing::new);
    identity_in(&plain.map_err(|_| UnlockError::Passphrase(place.into()))?, place)
}

fn identity_in(bytes: &[u8], place: &str) -> Result<OperatorKey, UnlockError> {
    let text = std::str::from_utf8(bytes).map_err(|_| UnlockError::NotIdentity(place.into()))?;
    let line = text.lines().map(str::trim).find(|line| line.starts_with("AGE-SECRET-KEY-1"));
    let identity = line.and_then(|line| x25519::Identity::from_str(line).ok());
    identity.map(OperatorKey).ok_or_else(|| UnlockError::NotIdentity(place.into()))
}

/// Wraps a data key to recipients (`age1…`): an age file in base64.
pub(crate) fn wrap(data_key: &[u8; DATA_KEY_BYTES], recipients: &[String]) -> Result<String, UnlockError> {
    let parse = |text: &String| {
        x25519::Recipient::from_str(text).map_err(|_| UnlockError::NotRecipient(text.clone()))
    };
    let mut parsed = recipients.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    parsed.dedup_by_key(|recipient| recipient.to_string());
    if parsed.len() < MIN_RECIPIENTS {
        return Err(UnlockError::Recipients);
    }
    let encryptor =
        age::Encryptor::with_recipients(parsed.iter().map(|recipient| recipient as &dyn age::Recipient))
            .map_err(|_| UnlockError::Wrap)?;
    let mut wrapped = Vec::new();
    let mut writer = encryptor.wrap_output(&mut wrapped).map_err(|_| UnlockError::Wrap)?;
    writer.write_all(data_key).and_then(|()| writer.finish().map(drop)).map_err(|_| UnlockError::Wrap)?;
    Ok(Base64::encode_string(&wrapped))
}

/// Unwraps a data key with the operator's or the recovery key.
pub(crate) fn unwrap(
    wrapped: &str,
    key: &OperatorKey,
) -> Result<Zeroizing<[u8; DATA_KEY_BYTES]>, UnlockError> {
    let wrapped = Base64::decode_vec(wrapped).map_err(|_| UnlockError::WrongKey)?;
    let decryptor = age::Decryptor::new_buffered(wrapped.as_slice()).map_err(|_| UnlockError::WrongKey)?;
    let identities = std::iter::once(&key.0 as &dyn age::Identity);
    let mut reader = decryptor.decrypt(identities).map_err(|_| UnlockError::WrongKey)?;
    let mut data_key = Zeroizing::new([0; DATA_KEY_BYTES]);
    reader.read_exact(data_key.as_mut()).map_err(|_| UnlockError::WrongKey)?;
    match reader.read(&mut [0]) {
        Ok(0) => Ok(data_key),
        _ => Err(UnlockError::WrongKey),
    }
}

fn secret_string(text: &str) -> SecretString {
    let mut copy = text.to_owned();
    let secret = SecretString::from(copy.as_str());
    copy.zeroize();
    secret
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn key(secret: &str) -> OperatorKey {
        identity_in(secret.as_bytes(), "test").ok().unwrap()
    }

    #[test]
    fn both_recipients_unwrap_and_no_third() {
        let (operator, operator_public) = generate_identity();
        let (recovery, recovery_public) = generate_identity();
        let wrapped = wrap(&[9; 32], &[operator_public, recovery_public]).unwrap();
        for secret in [operator, recovery] {
            assert_eq!(unwrap(&wrapped, &key(&secret)).unwrap()[..], [9; 32]);
        }
        assert!(matches!(unwrap(&wrapped, &key(&generate_identity().0)), Err(UnlockError::WrongKey)));
    }

    #[test]
    fn one_recipient_is_not_enough() {
        let (_, public) = generate_identity();
        assert!(matches!(wrap(&[9; 32], std::slice::from_ref(&public)), Err(UnlockError::Recipients)));
        assert!(matches!(wrap(&[9; 32], &[public.clone(), public]), Err(UnlockError::Recipients)));
    }

    #[test]
    fn a_passphrase_opens_a_protected_key_file_and_a_wrong_one_does_not() {
        let (secret, public) = generate_identity();
        let mut recipient = age::scrypt::Recipient::new(SecretString::from("correct horse"));
        recipient.set_work_factor(2);
        let protected = age::encrypt(&recipient, secret.as_bytes()).unwrap();
        let prompt =
            |text: &'static str| -> PassphrasePrompt { Box::new(move || Ok(Zeroizing::new(text.into()))) };
        let opened = key_of_bytes(&protected, "f", Some(&prompt("correct horse"))).ok().unwrap();
        assert_eq!(opened.recipient(), public);
        let wrong = key_of_bytes(&protected, "f", Some(&prompt("battery staple")));
        assert!(matches!(wrong, Err(UnlockError::Passphrase(_))));
        assert!(matches!(key_of_bytes(&protected, "f", None), Err(UnlockError::NeedsPassphrase(_))));
    }

    #[test]
    fn a_key_file_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("operator.key");
        std::fs::write(&path, generate_identity().0.as_bytes()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let unlock = Unlock::KeyFile { path, passphrase: None };
        assert!(matches!(unlock.operator_key(), Err(UnlockError::Disk(DiskError::Permissions { .. }))));
    }

    #[test]
    fn a_systemd_credential_holds_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let (secret, public) = generate_identity();
        std::fs::write(folder.path().join("sagewai"), format!("# a comment\n{}\n", secret.as_str())).unwrap();
        let passed = || Some(folder.path().as_os_str().to_owned());
        assert_eq!(credential(passed(), "sagewai").ok().unwrap().recipient(), public);
        assert!(matches!(credential(passed(), "other"), Err(UnlockError::Disk(_))));
        assert!(matches!(credential(None, "sagewai"), Err(UnlockError::NoCredentials(_))));
    }

    /// The wrapped key is an ordinary age file: `age` opens ours and we open its.
    #[test]
    fn interoperates_with_the_age_command() {
        if Command::new("age").arg("--version").output().is_err() {
            eprintln!("skipped: the command `age` is not installed");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let key_file = folder.path().join("key");
        let (secret, public) = generate_identity();
        let (_, other) = generate_identity();
        std::fs::write(&key_file, secret.as_bytes()).unwrap();
        let wrapped = wrap(&[b'k'; 32], &[public.clone(), other.clone()]).unwrap();
        let key_path = key_file.to_str().unwrap();
        assert_eq!(age(&["-d", "-i", key_path], &Base64::decode_vec(&wrapped).unwrap()), [b'k'; 32]);
        let theirs = age(&["-r", &public, "-r", &other], &[b'k'; 32]);
        assert_eq!(unwrap(&Base64::encode_string(&theirs), &key(&secret)).unwrap()[..], [b'k'; 32]);
    }

    fn age(arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let mut command = Command::new("age");
        let mut child =
            command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("age starts");
        child.stdin.take().expect("piped").write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        output.stdout
    }
}
