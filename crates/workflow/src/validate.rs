//! Rules beyond the shape: references resolve, targets exist.

use crate::diagnostic::Diagnostic;
use crate::model::Workflow;
use crate::parse::syntax::Node;

pub(crate) fn references(_workflow: &Workflow, _root: &Node) -> Vec<Diagnostic> {
    Vec::new()
}
