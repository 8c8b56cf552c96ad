//! Masks credentials in what comes back. The guest masks the values that it was given; it cannot know what was made of
//! them here, such as a token or the text of `Basic`.

use protocol::step::HttpAuthentication;

const MASKED: &[u8] = b"[REDACTED]";
/// Shorter ones are left to the guest: here they would take ordinary text with them.
const MIN_BYTES: usize = 6;

/// What may not show.
#[derive(Default)]
pub(crate) struct Mask {
    /// Longest first, so that none is left of one within another.
    hidden: Vec<Vec<u8>>,
}

impl Mask {
    /// Hides a text.
    pub(crate) fn add(&mut self, text: &str) {
        let text = text.as_bytes();
        if text.len() >= MIN_BYTES && !self.hidden.iter().any(|known| known == text) {
            self.hidden.push(text.to_vec());
            self.hidden.sort_by_key(|known| std::cmp::Reverse(known.len()));
        }
    }

    /// Hides the secret parts of credentials. The guest does so too, but an answer may be turned into base64 behind it.
    pub(crate) fn add_credentials(&mut self, credentials: &HttpAuthentication) {
        match credentials {
            HttpAuthentication::Basic { password, .. } | HttpAuthentication::Digest { password, .. } => {
                self.add(password);
            }
            HttpAuthentication::Bearer { token } => self.add(token),
            HttpAuthentication::OAuth2(settings) | HttpAuthentication::Oidc(settings) => {
                self.add(&settings.client_secret);
                self.add(&settings.password);
            }
            HttpAuthentication::Identity { .. } => {}
        }
    }

    /// A body without what is hidden.
    pub(crate) fn bytes(&self, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len());
        let mut rest = text;
        while !rest.is_empty() {
            match self.hidden.iter().find(|hidden| rest.starts_with(hidden)) {
                Some(hidden) => {
                    out.extend_from_slice(MASKED);
                    rest = &rest[hidden.len()..];
                }
                None => {
                    out.push(rest[0]);
                    rest = &rest[1..];
                }
            }
        }
        out
    }

    /// A text without what is hidden.
    pub(crate) fn text(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.bytes(text.as_bytes())).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_of_overlapping_texts_is_masked() {
        let mut mask = Mask::default();
        for text in ["secret", "secret-longer", "secret", "short"] {
            mask.add(text);
        }
        assert_eq!(mask.text("a secret-longer b secret short"), "a [REDACTED] b [REDACTED] short");
    }
}
