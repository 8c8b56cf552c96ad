//! ENV and INI as SOPS writes them: metadata are flat names such as `age__list_0__map_enc`, with `\n` for newlines.

use super::decrypt::SopsError;
use super::document::{MAX_DEPTH, MAX_NODES, Node};

const PREFIX: &str = "sops_";

/// `NAME=value` lines.
pub(super) fn parse_env(text: &str) -> Result<Vec<(String, Node)>, SopsError> {
    let (mut tree, mut metadata) = (Vec::new(), Node::Map(vec![]));
    for (number, line) in lines(text)? {
        if line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once('=').ok_or_else(|| malformed(number, "no `NAME=value`"))?;
        let value = value.replace("\\n", "\n");
        match name.strip_prefix(PREFIX) {
            Some(name) => {
                put(&mut metadata, name, value).ok_or_else(|| malformed(number, "strange metadata"))?
            }
            None if tree.iter().any(|(known, _)| known == name) => {
                return Err(malformed(number, "a name that is there twice"));
            }
            None => tree.push((name.to_owned(), Node::Text(value))),
        }
    }
    tree.push(("sops".to_owned(), metadata));
    Ok(tree)
}

/// `[section]` and `name = value` lines.
pub(super) fn parse_ini(text: &str) -> Result<Vec<(String, Node)>, SopsError> {
    let mut tree: Vec<(String, Node)> = Vec::new();
    let (mut metadata, mut section) = (Node::Map(vec![]), "DEFAULT".to_owned());
    for (number, line) in lines(text)? {
        let line = line.trim();
        if line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name.to_owned();
            continue;
        }
        let (name, value) = line.split_once('=').ok_or_else(|| malformed(number, "no `name = value`"))?;
        let (name, value) = (name.trim(), unquoted(value.trim()));
        if section == "sops" {
            let value = value.replace("\\n", "\n");
            put(&mut metadata, name, value).ok_or_else(|| malformed(number, "strange metadata"))?;
            continue;
        }
        if !tree.iter().any(|(known, _)| *known == section) {
            tree.push((section.clone(), Node::Map(vec![])));
        }
        if let Some((_, Node::Map(members))) = tree.iter_mut().find(|(known, _)| *known == section) {
            if members.iter().any(|(known, _)| known == name) {
                return Err(malformed(number, "a name that is there twice"));
            }
            members.push((name.to_owned(), Node::Text(value.to_owned())));
        }
    }
    tree.push(("sops".to_owned(), metadata));
    Ok(tree)
}

fn lines(text: &str) -> Result<impl Iterator<Item = (usize, &str)>, SopsError> {
    if text.lines().count() > MAX_NODES {
        return Err(SopsError::Malformed("it has more lines than a file of secrets".into()));
    }
    Ok(text.lines().enumerate().map(|(at, line)| (at + 1, line)).filter(|(_, line)| !line.trim().is_empty()))
}

fn unquoted(value: &str) -> &str {
    let inner = |quote| value.strip_prefix(quote).and_then(|value| value.strip_suffix(quote));
    if value.len() < 2 { value } else { inner('"').or_else(|| inner('`')).unwrap_or(value) }
}

fn malformed(line: usize, why: &str) -> SopsError {
    SopsError::Malformed(format!("line {line}: {why}"))
}

/// Puts a value where its flat name says: `a__list_0__map_b` is `a[0].b`. `None` where the name is no such.
fn put(node: &mut Node, name: &str, value: String) -> Option<()> {
    let mut at = node;
    for (depth, step) in name.split("__").enumerate() {
        if depth > MAX_DEPTH {
            return None;
        }
        at = match step.strip_prefix("list_") {
            Some(index) if depth > 0 => item(at, index.parse().ok()?)?,
            _ => member(at, if depth == 0 { step } else { step.strip_prefix("map_")? })?,
        };
    }
    *at = Node::Text(value);
    Some(())
}

fn member<'a>(node: &'a mut Node, name: &str) -> Option<&'a mut Node> {
    if matches!(node, Node::Null) {
        *node = Node::Map(vec![]);
    }
    let Node::Map(members) = node else { return None };
    let at = members.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
        members.push((name.to_owned(), Node::Null));
        members.len() - 1
    });
    Some(&mut members[at].1)
}

fn item(node: &mut Node, index: usize) -> Option<&mut Node> {
    if matches!(node, Node::Null) {
        *node = Node::List(vec![]);
    }
    let Node::List(items) = node else { return None };
    if index > 256 {
        return None;
    }
    while items.len() <= index {
        items.push(Node::Null);
    }
    items.get_mut(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flat_names_become_a_tree() {
        let mut node = Node::Map(vec![]);
        for (name, value) in [("age__list_1__map_enc", "b"), ("age__list_0__map_enc", "a"), ("mac", "m")] {
            put(&mut node, name, value.into()).unwrap();
        }
        assert_eq!(node.get("mac").unwrap().text(), Some("m"));
        let Some(Node::List(items)) = node.get("age") else { panic!("{node:?}") };
        assert_eq!(items[1].get("enc").unwrap().text(), Some("b"));
        for bad in ["mac__map_x", "age__map_x", "age__list_x", "age__list_99999__map_enc", "a__b"] {
            assert!(put(&mut node, bad, String::new()).is_none(), "{bad}");
        }
    }
}
