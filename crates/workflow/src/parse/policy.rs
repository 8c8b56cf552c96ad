//! Reads policies: retries, timeouts, errors, authentication.

use super::reader::{At, Fields, Reader};
use super::syntax::Content;
use crate::expression::Template;
use crate::model::{
    Authentication, Backoff, Credentials, ErrorDefinition, Reference, RetryPolicy, Timeout, UserPassword,
};

const RETRY_KEYS: &[&str] = &["when", "exceptWhen", "delay", "backoff", "limit", "jitter"];
const SCHEMES: &[&str] = &["basic", "bearer", "digest", "oauth2", "oidc"];
const OAUTH_KEYS: &[&str] = &[
    "authority",
    "grant",
    "client",
    "request",
    "issuers",
    "scopes",
    "audiences",
    "username",
    "password",
    "subject",
    "actor",
    "use",
];
const GRANTS: &[&str] = &[
    "authorization_code",
    "client_credentials",
    "password",
    "refresh_token",
    "urn:ietf:params:oauth:grant-type:token-exchange",
];
const CLIENT_AUTHENTICATIONS: &[&str] =
    &["client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt", "none"];
const ENCODINGS: &[&str] = &["application/x-www-form-urlencoded", "application/json"];

impl Reader {
    fn named_or<T>(&self, at: &At<'_>, read: impl FnOnce(&At<'_>) -> Option<T>) -> Option<Reference<T>> {
        match &at.node.content {
            Content::Text(name) => Some(Reference::Named(name.clone())),
            _ => read(at).map(Reference::Inline),
        }
    }

    pub(super) fn timeout_reference(&self, at: &At<'_>) -> Option<Reference<Timeout>> {
        self.named_or(at, |at| self.timeout(at))
    }

    pub(super) fn timeout(&self, at: &At<'_>) -> Option<Timeout> {
        let fields = self.fields(at, &["after"])?;
        let after = fields.require("after").and_then(|at| self.duration(&at))?;
        Some(Timeout { after })
    }

    pub(super) fn retry_reference(&self, at: &At<'_>) -> Option<Reference<RetryPolicy>> {
        self.named_or(at, |at| self.retry_policy(at))
    }

    pub(super) fn retry_policy(&self, at: &At<'_>) -> Option<RetryPolicy> {
        let fields = self.fields(at, RETRY_KEYS)?;
        let mut policy = RetryPolicy {
            when: fields.get("when").and_then(|at| self.expression(&at)),
            except_when: fields.get("exceptWhen").and_then(|at| self.expression(&at)),
            delay: fields.get("delay").and_then(|at| self.duration(&at)),
            backoff: fields.get("backoff").and_then(|at| self.backoff(&at)).unwrap_or_default(),
            ..RetryPolicy::default()
        };
        if let Some(at) = fields.get("limit") {
            self.retry_limit(&at, &mut policy);
        }
        if let Some(at) = fields.get("jitter")
            && let Some(fields) = self.fields(&at, &["from", "to"])
        {
            let bound = |key| fields.require(key).and_then(|at| self.duration(&at));
            let (from, to) = (bound("from"), bound("to"));
            policy.jitter = from.zip(to);
        }
        Some(policy)
    }

    fn retry_limit(&self, at: &At<'_>, policy: &mut RetryPolicy) {
        let Some(fields) = self.fields(at, &["attempt", "duration"]) else { return };
        policy.limit_duration = fields.get("duration").and_then(|at| self.duration(&at));
        if let Some(at) = fields.get("attempt")
            && let Some(fields) = self.fields(&at, &["count", "duration"])
        {
            policy.limit_attempts =
                fields.get("count").and_then(|at| self.integer_in(&at, 0, i64::from(u32::MAX)));
            policy.limit_attempt_duration = fields.get("duration").and_then(|at| self.duration(&at));
        }
    }

    fn backoff(&self, at: &At<'_>) -> Option<Backoff> {
        const KEYS: &[&str] = &["constant", "exponential", "linear"];
        let fields = self.fields(at, KEYS)?;
        let (kind, settings) = fields.one_of(&["constant", "exponential", "linear"])?;
        if let Some(settings) = self.any_fields(&settings) {
            settings.only(&[]);
        }
        Some(match kind {
            "exponential" => Backoff::Exponential,
            "linear" => Backoff::Linear,
            _ => Backoff::Constant,
        })
    }

    pub(super) fn error_definition(&self, at: &At<'_>) -> Option<ErrorDefinition> {
        let fields = self.fields(at, &["type", "status", "instance", "title", "detail"])?;
        let type_ = fields.require("type").and_then(|at| self.uri_or_expression(&at));
        let status = fields.require("status").and_then(|at| self.integer(&at));
        let text = |key| fields.get(key).and_then(|at| self.string_template(&at));
        let instance = fields.get("instance").and_then(|at| {
            let text = self.text(&at)?;
            if !text.is_empty() && !text.starts_with('/') && !self.is_expression(text) {
                self.error(
                    &at,
                    "json-pointer",
                    "`instance` must be a JSON pointer such as /do/0/name, or an expression",
                );
            }
            self.string_template(&at)
        });
        let (title, detail) = (text("title"), text("detail"));
        Some(ErrorDefinition { type_: type_?, status: status?, title, detail, instance })
    }

    /// A URI (template), or an expression in `${ }` on one line.
    pub(super) fn uri_or_expression(&self, at: &At<'_>) -> Option<Template> {
        let text = self.text(at)?;
        if !self.is_expression(text) {
            self.uri_template(at, text)?;
        }
        self.template(at)
    }

    pub(super) fn authentication_reference(&self, at: &At<'_>) -> Option<Reference<Authentication>> {
        let fields = self.any_fields(at)?;
        if fields.has("use") {
            fields.only(&["use"]);
            return self.secret_name(&fields).map(Reference::Named);
        }
        self.authentication(at).map(Reference::Inline)
    }

    fn secret_name(&self, fields: &Fields<'_>) -> Option<String> {
        let at = fields.get("use")?;
        let name = self.string(&at)?;
        if name.is_empty() {
            self.error(&at, "missing-key", "`use` must not be empty");
        }
        Some(name)
    }

    pub(super) fn authentication(&self, at: &At<'_>) -> Option<Authentication> {
        let fields = self.fields(at, SCHEMES)?;
        let (scheme, at) = fields.one_of(&["basic", "bearer", "digest", "oauth2", "oidc"])?;
        Some(match scheme {
            "basic" => Authentication::Basic(
                self.credentials(&at, &["username", "password"], |f| self.user_password(f))?,
            ),
            "digest" => Authentication::Digest(
                self.credentials(&at, &["username", "password"], |f| self.user_password(f))?,
            ),
            "bearer" => Authentication::Bearer(self.credentials(&at, &["token"], |fields| {
                fields.require("token").and_then(|at| self.string_template(&at))
            })?),
            "oauth2" => {
                Authentication::OAuth2(self.credentials(&at, &["endpoints"], |_| self.template(&at))?)
            }
            _ => Authentication::Oidc(self.credentials(&at, &[], |_| self.template(&at))?),
        })
    }

    /// `use`, or the scheme's own settings. `keys` without `username`, `token` or such are OAuth's further keys.
    fn credentials<T>(
        &self,
        at: &At<'_>,
        keys: &[&str],
        read: impl FnOnce(&Fields<'_>) -> Option<T>,
    ) -> Option<Credentials<T>> {
        let fields = self.any_fields(at)?;
        if fields.has("use") {
            fields.only(&["use"]);
            return self.secret_name(&fields).map(Credentials::Secret);
        }
        match matches!(at.key(), "oauth2" | "oidc") {
            true => self.oauth(&fields, keys),
            false => fields.only(&[keys, &["use"]].concat()),
        }
        read(&fields).map(Credentials::Literal)
    }

    fn user_password(&self, fields: &Fields<'_>) -> Option<UserPassword> {
        let text = |key| fields.require(key).and_then(|at| self.string_template(&at));
        let (username, password) = (text("username"), text("password"));
        Some(UserPassword { username: username?, password: password? })
    }

    /// Checks the settings of OAuth 2 and OpenID Connect, which are kept as they are.
    fn oauth(&self, fields: &Fields<'_>, further: &[&str]) {
        fields.only(&[OAUTH_KEYS, further].concat());
        let texts = |fields: &Fields<'_>, keys: &[&str]| {
            for at in keys.iter().filter_map(|key| fields.get(key)) {
                self.text(&at);
            }
        };
        texts(fields, &["username", "password"]);
        if let Some(at) = fields.get("authority")
            && let Some(text) = self.text(&at)
        {
            self.uri_template(&at, text);
        }
        let word = |fields: &Fields<'_>, key: &str, words: &[&str]| {
            if let Some(at) = fields.get(key) {
                self.word(&at, &words.iter().map(|word| (*word, ())).collect::<Vec<_>>());
            }
        };
        word(fields, "grant", GRANTS);
        for at in ["issuers", "scopes", "audiences"].iter().filter_map(|key| fields.get(key)) {
            for item in self.items(&at) {
                self.text(&item);
            }
        }
        if let Some(at) = fields.get("client")
            && let Some(fields) = self.fields(&at, &["id", "secret", "assertion", "authentication"])
        {
            texts(&fields, &["id", "secret", "assertion"]);
            word(&fields, "authentication", CLIENT_AUTHENTICATIONS);
        }
        if let Some(at) = fields.get("request")
            && let Some(fields) = self.fields(&at, &["encoding"])
        {
            word(&fields, "encoding", ENCODINGS);
        }
        if let Some(at) = fields.get("endpoints")
            && let Some(fields) = self.fields(&at, &["token", "revocation", "introspection"])
        {
            texts(&fields, &["token", "revocation", "introspection"]);
        }
        for at in ["subject", "actor"].iter().filter_map(|key| fields.get(key)) {
            if let Some(fields) = self.fields(&at, &["token", "type"]) {
                for at in ["token", "type"].iter().filter_map(|key| fields.require(key)) {
                    self.text(&at);
                }
            }
        }
    }
}
