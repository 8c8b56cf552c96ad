//! Patterns of artifacts: `*` stands for any text within a name, `**` as a whole name for any number of folders.

/// Whether `path` (names joined by `/`) is meant by `pattern`. A leading `/workspace/` or `./` of the pattern is
/// overlooked.
pub(super) fn matches(pattern: &str, path: &str) -> bool {
    let pattern = pattern.strip_prefix("/workspace/").or(pattern.strip_prefix("./")).unwrap_or(pattern);
    let patterns: Vec<&str> = pattern.split('/').collect();
    let names: Vec<&str> = path.split('/').collect();
    match_list(&patterns, &names, |pattern| *pattern == "**", |pattern, name| match_name(pattern, name))
}

fn match_name(pattern: &str, name: &str) -> bool {
    match_list(pattern.as_bytes(), name.as_bytes(), |byte| *byte == b'*', |wanted, found| wanted == found)
}

/// The classic match with one kind of wildcard: on a mismatch, only the last wildcard takes one more. Time is at most
/// the product of both lengths.
fn match_list<P, T>(
    pattern: &[P],
    text: &[T],
    is_wildcard: impl Fn(&P) -> bool,
    matches: impl Fn(&P, &T) -> bool,
) -> bool {
    let (mut at, mut place) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while place < text.len() {
        match pattern.get(at) {
            Some(wanted) if is_wildcard(wanted) => {
                retry = Some((at, place));
                at += 1;
            }
            Some(wanted) if matches(wanted, &text[place]) => {
                at += 1;
                place += 1;
            }
            _ => {
                let Some((wildcard, taken)) = retry else { return false };
                retry = Some((wildcard, taken + 1));
                at = wildcard + 1;
                place = taken + 1;
            }
        }
    }
    pattern[at..].iter().all(is_wildcard)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn names_and_folders() {
        for (pattern, path, expected) in [
            ("report.md", "report.md", true),
            ("report.md", "a/report.md", false),
            ("/workspace/report.md", "report.md", true),
            ("./out/*", "out/x", true),
            ("*.md", "report.md", true),
            ("*.md", "a/report.md", false),
            ("a/*", "a/b", true),
            ("a/*", "a/b/c", false),
            ("a/**", "a/b/c", true),
            ("a/**", "a", true),
            ("**", "x/y/z", true),
            ("**/*.md", "report.md", true),
            ("**/*.md", "a/b/report.md", true),
            ("**/b/**/d", "a/b/c/d", true),
            ("**/b/**/d", "a/c/d", false),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_exponential_time() {
        assert!(!matches(&format!("{}b", "*a".repeat(200)), &"a".repeat(5000)));
        assert!(!matches(&format!("{}x", "**/".repeat(200)), &["a"; 500].join("/")));
    }
}
