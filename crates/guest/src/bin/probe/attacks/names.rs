//! Names that look like a listed one, put to the resolver byte by byte.

use super::told;
use crate::attempt::leaked;
use crate::tunnels::{Reply, ask};

/// `PROBE_LISTED` is a listed name without wildcard, such as `greeter.example`.
pub(super) fn look_alikes(_: i32) {
    let listed = told("PROBE_LISTED");
    let Some((first, rest)) = listed.split_once('.') else { return };
    let with = |before: &str, after: &str| format!("{before}{first}{after}");
    let long = "a".repeat(63);
    let mut strange: Vec<Vec<String>> = [
        with("evil-", ""),
        with("", "\0"),
        with("", "\0.evil"),
        with("", "%00"),
        with("", "\r\n"),
        with("user@", ""),
        with("", " "),
        with("", "\u{200b}"),
        with("", "."),
        with("*.", ""),
    ]
    .into_iter()
    .map(|label| vec![label, rest.to_owned()])
    .collect();
    strange.extend([
        // The dot within a label is not the dot between labels.
        vec![format!("{first}.{rest}")],
        vec![format!("{first}\u{3002}{rest}")],
        vec![first.to_owned(), rest.to_owned(), "evil".to_owned()],
        vec!["evil".to_owned(), first.to_owned(), rest.to_owned()],
        vec![rest.to_owned()],
        vec![first.to_owned()],
        vec![long.clone(), long.clone(), long.clone(), long, first.to_owned(), rest.to_owned()],
    ]);
    for labels in &strange {
        if let Reply::Address(address) = ask(labels) {
            leaked(&format!("{labels:?} is {address}"));
        }
    }
    // The name itself, in capitals too, must be there: otherwise all of the above proves nothing.
    for labels in [[first.to_owned(), rest.to_owned()], [first.to_uppercase(), rest.to_uppercase()]] {
        if !matches!(ask(&labels), Reply::Address(_)) {
            leaked(&format!("nothing, but the listed name {labels:?} is not found"));
        }
    }
}
