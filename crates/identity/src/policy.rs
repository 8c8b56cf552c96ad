//! Policy: what may ask for an identity. It bounds what any server can ask, also one whose key was stolen. Deny by default:
//! an empty policy allows nothing, and every list of a rule must match.

use protocol::broker::GrantClaims;
use serde::{Deserialize, Serialize};

use crate::reference::Reference;

/// Most rules of a policy.
pub const MAX_RULES: usize = 64;
/// Most patterns of one list.
pub const MAX_PATTERNS: usize = 64;
/// Longest pattern, bytes.
pub const MAX_PATTERN_BYTES: usize = 256;
/// What a pattern of `images` is matched against when the step names no image. Parentheses cannot occur in an image's name.
pub const DEFAULT_IMAGE: &str = "(default)";
/// What a pattern of `views` is matched against when the reference names no view, so all keys are asked for.
pub const ALL_KEYS: &str = "(all)";
/// The dimension that a policy without a rule refuses.
pub const NOTHING_ALLOWED: &str = "everything";

/// What may ask for an identity: whatever one of the rules allows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The rules; none allows nothing.
    pub allow: Vec<Rule>,
}

/// One permission. In patterns `*` stands for any characters, `?` for one; an empty list matches nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// Namespaces of workflows.
    pub namespaces: Vec<String>,
    /// Names of workflows.
    pub workflows: Vec<String>,
    /// Modes of steps: `2`, `3`, `3b`.
    pub modes: Vec<String>,
    /// Sandbox backends, such as `namespace`.
    pub sandboxes: Vec<String>,
    /// Images; [`DEFAULT_IMAGE`] for a step without one.
    pub images: Vec<String>,
    /// Names of workers.
    pub workers: Vec<String>,
    /// Views; [`ALL_KEYS`] for the whole identity.
    pub views: Vec<String>,
}

/// The answer of [`Policy::decide`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Allowed by the rule at this index.
    Allowed {
        /// Index into [`Policy::allow`].
        rule: usize,
    },
    /// Refused; the dimension that the nearest rule refused. It names nothing of the identity's content.
    Denied {
        /// Such as `namespace`, or [`NOTHING_ALLOWED`] when there is no rule.
        dimension: &'static str,
    },
}

/// Why a policy was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Too many rules or patterns.
    #[error("a policy has at most 64 rules with at most 64 patterns in a list")]
    TooMany,
    /// A pattern is empty or too long.
    #[error("`{0}` is not a pattern: use 1 to 256 characters, `*` for any characters, `?` for one")]
    Pattern(String),
}

impl Policy {
    /// Allows what any trusted server asks for: for development.
    pub fn any() -> Self {
        Policy { allow: vec![Rule::any()] }
    }

    /// Allows the workflows of one namespace (a pattern), all else open.
    pub fn for_namespace(namespace: &str) -> Self {
        Policy { allow: vec![Rule { namespaces: vec![namespace.into()], ..Rule::any() }] }
    }

    /// Checks the limits.
    pub fn check(&self) -> Result<(), PolicyError> {
        if self.allow.len() > MAX_RULES {
            return Err(PolicyError::TooMany);
        }
        for (_, patterns) in self.allow.iter().flat_map(Rule::lists) {
            if patterns.len() > MAX_PATTERNS {
                return Err(PolicyError::TooMany);
            }
            if let Some(bad) = patterns.iter().find(|p| p.is_empty() || p.len() > MAX_PATTERN_BYTES) {
                return Err(PolicyError::Pattern(bad.chars().take(MAX_PATTERN_BYTES).collect()));
            }
        }
        Ok(())
    }

    /// Whether the step that `claims` speak of may receive `reference`.
    pub fn decide(&self, claims: &GrantClaims, reference: &Reference) -> Decision {
        let asked = [
            claims.namespace.as_str(),
            &claims.workflow,
            &claims.mode,
            &claims.sandbox,
            claims.image.as_deref().unwrap_or(DEFAULT_IMAGE),
            &claims.worker,
            reference.view.as_ref().map_or(ALL_KEYS, |view| view.as_str()),
        ];
        let mut nearest = (0, NOTHING_ALLOWED);
        for (index, rule) in self.allow.iter().enumerate() {
            let refused =
                rule.lists().into_iter().zip(asked).enumerate().find(|(_, ((_, patterns), asked))| {
                    !patterns.iter().any(|pattern| matches(pattern, asked))
                });
            match refused {
                None => return Decision::Allowed { rule: index },
                Some((depth, ((dimension, _), _))) if depth >= nearest.0 => nearest = (depth, dimension),
                Some(_) => {}
            }
        }
        Decision::Denied { dimension: nearest.1 }
    }
}

impl Rule {
    /// Matches everything.
    pub fn any() -> Self {
        let any = || vec!["*".to_owned()];
        Rule {
            namespaces: any(),
            workflows: any(),
            modes: any(),
            sandboxes: any(),
            images: any(),
            workers: any(),
            views: any(),
        }
    }

    fn lists(&self) -> [(&'static str, &Vec<String>); 7] {
        [
            ("namespace", &self.namespaces),
            ("workflow", &self.workflows),
            ("mode", &self.modes),
            ("sandbox backend", &self.sandboxes),
            ("image", &self.images),
            ("worker", &self.workers),
            ("view", &self.views),
        ]
    }
}

/// Whether `text` matches `pattern`: `*` any characters, `?` one byte. Linear in memory; it goes back to the last `*` only, so
/// its time is at most the product of both lengths.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((star_p, star_t)) => {
                    (p, t) = (star_p + 1, star_t + 1);
                    star = Some((star_p, star_t + 1));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use protocol::id::{AttemptId, RunId, StepId};

    use super::*;

    fn claims() -> GrantClaims {
        GrantClaims {
            iss: "s".into(),
            aud: "sagewai-broker".into(),
            jti: "j".into(),
            iat: 0,
            exp: 1,
            attempt: AttemptId { run: RunId(uuid::Uuid::from_u128(1)), step: StepId(1), attempt: 1 },
            namespace: "acme".into(),
            workflow: "report".into(),
            version: "1".into(),
            identity: "acme-prod".into(),
            mode: "2".into(),
            worker: "w1".into(),
            sandbox: "namespace".into(),
            image: None,
        }
    }

    fn decide(policy: &Policy, change: impl FnOnce(&mut GrantClaims)) -> Decision {
        let mut claims = claims();
        change(&mut claims);
        policy.decide(&claims, &Reference::parse(&claims.identity, |_| true).unwrap())
    }

    #[test]
    fn nothing_is_allowed_by_default() {
        assert_eq!(decide(&Policy::default(), |_| {}), Decision::Denied { dimension: NOTHING_ALLOWED });
        let empty_rule = Policy { allow: vec![Rule::default()] };
        assert_eq!(decide(&empty_rule, |_| {}), Decision::Denied { dimension: "namespace" });
    }

    #[test]
    fn each_dimension_must_match() {
        let rule = Rule {
            namespaces: vec!["acme".into()],
            workflows: vec!["rep*".into()],
            modes: vec!["2".into()],
            sandboxes: vec!["namespace".into()],
            images: vec![DEFAULT_IMAGE.into()],
            workers: vec!["w?".into()],
            views: vec![ALL_KEYS.into()],
        };
        let policy = Policy { allow: vec![rule] };
        assert_eq!(decide(&policy, |_| {}), Decision::Allowed { rule: 0 });
        type Change = fn(&mut GrantClaims);
        let refused: [(Change, &str); 7] = [
            (|c| c.namespace = "acme2".into(), "namespace"),
            (|c| c.workflow = "other".into(), "workflow"),
            (|c| c.mode = "3".into(), "mode"),
            (|c| c.sandbox = "docker".into(), "sandbox backend"),
            (|c| c.image = Some("default".into()), "image"),
            (|c| c.worker = "w10".into(), "worker"),
            (|c| c.identity = "acme-prod/reporting".into(), "view"),
        ];
        for (change, dimension) in refused {
            assert_eq!(decide(&policy, change), Decision::Denied { dimension });
        }
    }

    #[test]
    fn one_rule_of_several_suffices_and_the_nearest_explains() {
        let mut policy = Policy::for_namespace("other");
        policy.allow.push(Rule { modes: vec!["3".into()], ..Rule::any() });
        assert_eq!(decide(&policy, |c| c.mode = "3".into()), Decision::Allowed { rule: 1 });
        assert_eq!(decide(&policy, |_| {}), Decision::Denied { dimension: "mode" });
    }

    #[test]
    fn globs_match_whole_texts() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*", "a/b:c", true),
            ("ghcr.io/acme/*", "ghcr.io/acme/x@sha256:0", true),
            ("ghcr.io/acme/*", "evil/ghcr.io/acme/x", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-c-d", false),
            ("acme", "acme2", false),
            ("??", "a", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
        assert!(!matches(&"*a".repeat(100), &"a".repeat(99)));
    }

    #[test]
    fn limits_are_checked() {
        assert_eq!(Policy { allow: vec![Rule::any(); 65] }.check(), Err(PolicyError::TooMany));
        assert!(matches!(Policy::for_namespace("").check(), Err(PolicyError::Pattern(_))));
        assert_eq!(Policy::any().check(), Ok(()));
    }
}
