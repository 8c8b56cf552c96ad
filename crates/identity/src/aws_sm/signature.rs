//! Signature Version 4 of a request with a body of JSON, as AWS documents it.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Credentials of AWS. They have no `Debug`.
#[derive(Clone)]
pub struct Credentials {
    /// Access key id; no secret.
    pub id: String,
    /// Secret access key.
    pub secret: Zeroizing<String>,
    /// Session token of credentials that end by themselves.
    pub session: Option<Zeroizing<String>>,
}

/// What is signed beside the credentials.
pub struct Request<'a> {
    /// `host` header.
    pub host: &'a str,
    /// Region.
    pub region: &'a str,
    /// Service, such as `secretsmanager`.
    pub service: &'a str,
    /// Time, `20261123T160000Z`.
    pub time: &'a str,
    /// Headers to sign beside `host` and `x-amz-date`: names in lower case.
    pub headers: &'a [(&'a str, &'a str)],
    /// Body.
    pub body: &'a [u8],
}

/// The `authorization` header of a `POST` to `/`.
pub fn authorization(credentials: &Credentials, request: &Request<'_>) -> String {
    let Request { host, region, service, time, headers, body } = request;
    let mut signed: Vec<(&str, &str)> = headers.to_vec();
    signed.extend([("host", *host), ("x-amz-date", *time)]);
    signed.sort_unstable();
    let names = signed.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let lines: String = signed.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let canonical = format!("POST\n/\n\n{lines}\n{names}\n{}", hex(&Sha256::digest(body)));
    let date = time.get(..8).unwrap_or_default();
    let scope = format!("{date}/{region}/{service}/aws4_request");
    let to_sign =
        format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(&Sha256::digest(canonical.as_bytes())));
    let first = Zeroizing::new(format!("AWS4{}", credentials.secret.as_str()));
    let mut key = Zeroizing::new(first.as_bytes().to_vec());
    for part in [date, region, service, "aws4_request"] {
        key = Zeroizing::new(mac(&key, part.as_bytes()).to_vec());
    }
    let signature = hex(&mac(&key, to_sign.as_bytes()));
    format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
        credentials.id
    )
}

fn mac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut hmac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes any key");
    hmac.update(message);
    hmac.finalize().into_bytes().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `post-vanilla` of AWS's published test suite.
    #[test]
    fn signs_as_the_published_vector() {
        let credentials = Credentials {
            id: "AKIDEXAMPLE".into(),
            secret: Zeroizing::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into()),
            session: None,
        };
        let request = Request {
            host: "example.amazonaws.com",
            region: "us-east-1",
            service: "service",
            time: "20150830T123600Z",
            headers: &[],
            body: b"",
        };
        assert_eq!(
            authorization(&credentials, &request),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date, \
             Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
        );
    }
}
