//! From the keys of an identity to the credentials of a request.
//!
//! A key plays a part by its name: `TOKEN`, `USERNAME`, … in any case of letters, alone or behind a prefix and `_`, `-` or
//! `.`, as in `PETSTORE_TOKEN`. A name alone comes before one with a prefix.

use protocol::step::{HttpAuthentication, HttpScheme, OAuth2, StepError};

use crate::failure::authentication;

/// The credentials that an identity's keys make. `as_` is the scheme that the document names; without it the key `SCHEME`
/// decides, or else the one scheme that the keys fit.
///
/// # Errors
/// A key is missing, several play the same part, or several schemes fit.
pub fn credentials(
    as_: Option<HttpScheme>,
    keys: &[(String, String)],
) -> Result<HttpAuthentication, StepError> {
    let keys = Keys(keys);
    match as_.map_or_else(|| keys.scheme(), Ok)? {
        HttpScheme::Basic => Ok(HttpAuthentication::Basic {
            username: keys.need("USERNAME")?,
            password: keys.need("PASSWORD")?,
        }),
        HttpScheme::Digest => Ok(HttpAuthentication::Digest {
            username: keys.need("USERNAME")?,
            password: keys.need("PASSWORD")?,
        }),
        HttpScheme::Bearer => Ok(HttpAuthentication::Bearer { token: keys.need("TOKEN")? }),
        HttpScheme::OAuth2 => Ok(HttpAuthentication::OAuth2(keys.oauth2()?)),
        HttpScheme::Oidc => Ok(HttpAuthentication::Oidc(keys.oauth2()?)),
    }
}

struct Keys<'a>(&'a [(String, String)]);

impl Keys<'_> {
    fn find(&self, part: &str) -> Result<Option<String>, StepError> {
        let named = |key: &str| key.to_ascii_uppercase().replace(['-', '.'], "_");
        if let Some((_, value)) = self.0.iter().find(|(key, _)| named(key) == part) {
            return Ok(Some(value.clone()));
        }
        let behind = format!("_{part}");
        let mut found = self.0.iter().filter(|(key, _)| named(key).ends_with(&behind));
        match (found.next(), found.next()) {
            (first, None) => Ok(first.map(|(_, value)| value.clone())),
            (_, Some(_)) => Err(authentication(format!(
                "the identity has several keys that end in `_{part}`: use a view of it with one of them"
            ))),
        }
    }

    fn need(&self, part: &str) -> Result<String, StepError> {
        self.find(part)?.ok_or_else(|| {
            authentication(format!(
                "the identity has no key `{part}` or `…_{part}`: add it with `sagewai identity set`, or use a view that \
                 has it"
            ))
        })
    }

    fn optional(&self, part: &str) -> Result<String, StepError> {
        Ok(self.find(part)?.unwrap_or_default())
    }

    fn list(&self, part: &str) -> Result<Vec<String>, StepError> {
        let text = self.optional(part)?;
        Ok(text.split([' ', ',']).filter(|word| !word.is_empty()).map(str::to_owned).collect())
    }

    fn scheme(&self) -> Result<HttpScheme, StepError> {
        if let Some(name) = self.find("SCHEME")? {
            return match name.to_ascii_lowercase().as_str() {
                "basic" => Ok(HttpScheme::Basic),
                "bearer" => Ok(HttpScheme::Bearer),
                "digest" => Ok(HttpScheme::Digest),
                "oauth2" => Ok(HttpScheme::OAuth2),
                "oidc" => Ok(HttpScheme::Oidc),
                _ => Err(authentication(
                    "the identity's key SCHEME names no scheme: it can be basic, bearer, digest, oauth2 or oidc",
                )),
            };
        }
        let has = |part: &str| self.find(part).map(|found| found.is_some());
        // The client of an authority may come with a user name and a password: they are for its grant then.
        let client = has("CLIENT_ID")?;
        let fitting: Vec<HttpScheme> = [
            (HttpScheme::OAuth2, client),
            (HttpScheme::Bearer, has("TOKEN")?),
            (HttpScheme::Basic, !client && has("USERNAME")? && has("PASSWORD")?),
        ]
        .into_iter()
        .filter_map(|(scheme, fits)| fits.then_some(scheme))
        .collect();
        match fitting.as_slice() {
            [one] => Ok(*one),
            [] => Err(authentication(
                "the identity has no keys for a request: TOKEN; USERNAME and PASSWORD; or CLIENT_ID, CLIENT_SECRET and \
                 AUTHORITY",
            )),
            _ => Err(authentication(
                "the identity's keys fit several schemes: name one in the document, such as `bearer: { use: … }`, or in \
                 the key SCHEME",
            )),
        }
    }

    fn oauth2(&self) -> Result<OAuth2, StepError> {
        let grant = self.optional("GRANT")?;
        Ok(OAuth2 {
            authority: self.need("AUTHORITY")?,
            grant: if grant.is_empty() { "client_credentials".to_owned() } else { grant },
            client_id: self.need("CLIENT_ID")?,
            client_secret: self.optional("CLIENT_SECRET")?,
            client_authentication: self.optional("CLIENT_AUTHENTICATION")?,
            json: false,
            token_endpoint: self.optional("TOKEN_ENDPOINT")?,
            issuers: self.list("ISSUERS")?,
            scopes: self.list("SCOPES")?,
            audiences: self.list("AUDIENCES")?,
            username: self.optional("USERNAME")?,
            password: self.optional("PASSWORD")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(as_: Option<HttpScheme>, keys: &[(&str, &str)]) -> Result<HttpAuthentication, String> {
        let keys: Vec<_> = keys.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        credentials(as_, &keys).map_err(|error| error.detail)
    }

    #[test]
    fn a_key_plays_its_part_in_any_case_and_behind_a_prefix() {
        let token = |token: &str| Ok(HttpAuthentication::Bearer { token: token.into() });
        assert_eq!(of(None, &[("PETSTORE_TOKEN", "t"), ("PATH", "/bin")]), token("t"));
        assert_eq!(of(None, &[("token", "t")]), token("t"));
        assert_eq!(of(None, &[("api-token", "t")]), token("t"));
        assert_eq!(of(None, &[("OTHER_TOKEN", "o"), ("TOKEN", "t")]), token("t"));
        assert!(of(None, &[("NOTOKEN", "t")]).unwrap_err().contains("no keys for a request"));
        assert!(of(None, &[("A_TOKEN", "a"), ("B_TOKEN", "b")]).unwrap_err().contains("a view"));
    }

    #[test]
    fn the_scheme_is_the_documents_or_the_one_that_fits() {
        let pair = [("DB_USERNAME", "u"), ("DB_PASSWORD", "p")];
        let basic = HttpAuthentication::Basic { username: "u".into(), password: "p".into() };
        let digest = HttpAuthentication::Digest { username: "u".into(), password: "p".into() };
        assert_eq!(of(None, &pair), Ok(basic));
        assert_eq!(of(Some(HttpScheme::Digest), &pair), Ok(digest.clone()));
        assert_eq!(of(None, &[&pair[..], &[("SCHEME", "Digest")]].concat()), Ok(digest));
        assert!(of(Some(HttpScheme::Bearer), &pair).unwrap_err().contains("`TOKEN`"));
        assert!(of(None, &[&pair[..], &[("TOKEN", "t")]].concat()).unwrap_err().contains("several schemes"));
    }

    #[test]
    fn a_client_of_an_authority() {
        let keys =
            [("CLIENT_ID", "me"), ("CLIENT_SECRET", "s"), ("AUTHORITY", "https://a"), ("SCOPES", "x, y")];
        let Ok(HttpAuthentication::OAuth2(settings)) = of(None, &keys) else { panic!("OAuth 2 fits") };
        assert_eq!((settings.grant.as_str(), settings.scopes.len()), ("client_credentials", 2));
        assert!(of(Some(HttpScheme::Oidc), &keys[..2]).unwrap_err().contains("AUTHORITY"));
    }
}
