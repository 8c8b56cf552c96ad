//! The one JSON Web Signature form that we write and read: compact (RFC 7515), EdDSA with Ed25519 (RFC 8037), an exact `typ`
//! and no header beyond `alg`, `typ`, `kid` (RFC 8725 §3).

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::keys::{PublicKey, SigningKey};

/// Longest token that is looked at, bytes.
pub(crate) const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Why a token was refused before its claims were looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwsError {
    /// Longer than 8 KiB.
    #[error("the token is longer than 8 KiB")]
    TooLong,
    /// Not three parts of base64url, or a part is not the JSON it must be.
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    /// `alg` is not EdDSA, `typ` is another token's, or there is a header that we do not know.
    #[error("the token's header is not accepted")]
    Header,
    /// No trusted key has the token's `kid`.
    #[error("the token is signed by a key that is not trusted")]
    UnknownKey,
    /// The signature is not the key's.
    #[error("the token's signature does not verify")]
    Signature,
}

/// The only header that is accepted; serde refuses further and repeated members.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    typ: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    kid: Option<String>,
}

/// Signs `claims`; `typ` says which kind of token it is.
pub(crate) fn sign<C: Serialize>(key: &SigningKey, typ: &str, kid: Option<&str>, claims: &C) -> String {
    let header = Header { alg: "EdDSA".into(), typ: typ.into(), kid: kid.map(str::to_owned) };
    let header = serde_json::to_string(&header).expect("strings serialise");
    let claims = serde_json::to_string(claims).expect("claims are strings and integers, which serialise");
    sign_parts(key, header.as_bytes(), claims.as_bytes())
}

fn sign_parts(key: &SigningKey, header: &[u8], payload: &[u8]) -> String {
    let mut token = Base64UrlUnpadded::encode_string(header);
    token.push('.');
    token.push_str(&Base64UrlUnpadded::encode_string(payload));
    let signature = key.sign(token.as_bytes());
    token.push('.');
    token.push_str(&Base64UrlUnpadded::encode_string(&signature));
    token
}

/// Verifies a token of kind `typ`. `key_for` finds the key by `kid` and by the claims as they are *claimed*: it may use them
/// to choose a key and for nothing else.
pub(crate) fn verify<C: DeserializeOwned>(
    token: &str,
    typ: &str,
    key_for: impl FnOnce(Option<&str>, &C) -> Option<PublicKey>,
) -> Result<C, JwsError> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(JwsError::TooLong);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(JwsError::Malformed("expected three parts"))?;
    let (header, claims) = signed.split_once('.').ok_or(JwsError::Malformed("expected three parts"))?;
    let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| JwsError::Header)?;
    if header.alg != "EdDSA" || header.typ != typ {
        return Err(JwsError::Header);
    }
    let claims: C = serde_json::from_slice(&decode(claims)?)
        .map_err(|_| JwsError::Malformed("its claims are not the expected ones"))?;
    let signature = decode(signature)?;
    let key = key_for(header.kid.as_deref(), &claims).ok_or(JwsError::UnknownKey)?;
    if key.verifies(signed.as_bytes(), &signature) { Ok(claims) } else { Err(JwsError::Signature) }
}

fn decode(part: &str) -> Result<Vec<u8>, JwsError> {
    Base64UrlUnpadded::decode_vec(part).map_err(|_| JwsError::Malformed("a part is not base64url"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verify_any(token: &str, key: &SigningKey) -> Result<serde_json::Value, JwsError> {
        verify(token, "t+jwt", |_, _: &serde_json::Value| Some(key.public_key()))
    }

    #[test]
    fn signs_the_example_of_rfc_8037() {
        let mut seed = [0; 32];
        Base64UrlUnpadded::decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A", &mut seed).unwrap();
        let token =
            sign_parts(&SigningKey::from_seed(&seed), br#"{"alg":"EdDSA"}"#, b"Example of Ed25519 signing");
        assert_eq!(
            token,
            "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR\
             4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
        );
    }

    #[test]
    fn headers_other_than_ours_are_refused() {
        let key = SigningKey::from_seed(&[7; 32]);
        for header in [
            r#"{"alg":"none","typ":"t+jwt"}"#,
            r#"{"alg":"HS256","typ":"t+jwt"}"#,
            r#"{"alg":"eddsa","typ":"t+jwt"}"#,
            r#"{"alg":"EdDSA","typ":"other+jwt"}"#,
            r#"{"alg":"EdDSA"}"#,
            r#"{"alg":"EdDSA","typ":"t+jwt","crit":["exp"]}"#,
            r#"{"alg":"EdDSA","typ":"t+jwt","jwk":{}}"#,
            r#"{"alg":"EdDSA","alg":"EdDSA","typ":"t+jwt"}"#,
        ] {
            let token = sign_parts(&key, header.as_bytes(), b"{}");
            assert_eq!(verify_any(&token, &key), Err(JwsError::Header), "{header}");
        }
        assert!(verify_any(&sign_parts(&key, br#"{"alg":"EdDSA","typ":"t+jwt"}"#, b"{}"), &key).is_ok());
    }

    #[test]
    fn any_changed_character_is_refused() {
        let key = SigningKey::from_seed(&[7; 32]);
        let token = sign(&key, "t+jwt", Some("k"), &serde_json::json!({ "a": 1 }));
        assert!(verify_any(&token, &key).is_ok());
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(verify_any(&changed, &key).is_err(), "character {at}");
        }
    }

    #[test]
    fn long_and_misshapen_tokens_are_refused() {
        let key = SigningKey::from_seed(&[7; 32]);
        assert_eq!(verify_any(&"a".repeat(MAX_TOKEN_BYTES + 1), &key), Err(JwsError::TooLong));
        let token = sign(&key, "t+jwt", None, &serde_json::json!({}));
        for bad in [
            "",
            ".",
            "..",
            "...",
            &format!("{token}=")[..],
            &format!("{token}.")[..],
            &format!(" {token}")[..],
        ] {
            assert!(verify_any(bad, &key).is_err(), "{bad:?}");
        }
    }
}
