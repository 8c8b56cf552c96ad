//! Reads tasks: what all kinds share, then the kind.

use super::reader::{At, Fields, Reader};
use crate::model::{Execution, FlowDirective, NamedTask, Task, TaskKind, TaskList};

const COMMON_KEYS: &[&str] = &["if", "input", "output", "export", "timeout", "then", "metadata"];
/// The key that names each kind, and the keys that go with it. `do` comes last: it also goes with `for`.
const KINDS: &[(&str, &[&str])] = &[
    ("call", &["with"]),
    ("emit", &[]),
    ("for", &["do", "while"]),
    ("fork", &[]),
    ("listen", &["foreach"]),
    ("raise", &[]),
    ("run", &[]),
    ("set", &[]),
    ("switch", &[]),
    ("try", &["catch"]),
    ("wait", &[]),
    ("do", &[]),
];

impl Reader {
    pub(super) fn task_list(&self, at: &At<'_>) -> TaskList {
        let mut tasks: Vec<NamedTask> = Vec::new();
        for item in self.items(at) {
            let Some(entry) = self.single(&item) else { continue };
            if tasks.iter().any(|task| task.name == entry.key()) {
                self.warn(
                    &entry,
                    "duplicate-task",
                    format!("this list has another task `{}` before; `then` goes to the first", entry.key()),
                    "give each task of a list a name of its own",
                );
            }
            if let Some(task) = self.task(&entry) {
                tasks.push(NamedTask { name: entry.key().to_owned(), task });
            }
        }
        TaskList(tasks)
    }

    pub(super) fn task(&self, at: &At<'_>) -> Option<Task> {
        let fields = self.any_fields(at)?;
        let Some((kind, extra)) = KINDS.iter().find(|(kind, _)| fields.has(kind)) else {
            self.no_kind(at, &fields);
            return None;
        };
        let known: Vec<&str> = [*kind].iter().chain(*extra).chain(COMMON_KEYS).copied().collect();
        fields.only(&known);
        let kind = self.kind(&fields, kind);
        let metadata = fields.get("metadata");
        let task = Task {
            pointer: at.pointer(),
            if_: fields.get("if").and_then(|at| self.expression(&at)),
            input: fields.get("input").map(|at| self.input(&at)).unwrap_or_default(),
            output: fields.get("output").map(|at| self.output(&at)).unwrap_or_default(),
            export: fields.get("export").map(|at| self.output(&at)).unwrap_or_default(),
            timeout: fields.get("timeout").and_then(|at| self.timeout_reference(&at)),
            then: fields.get("then").and_then(|at| self.flow_directive(&at)).unwrap_or_default(),
            execution: metadata.as_ref().map_or_else(Execution::default, |at| self.execution_of(at)),
            metadata: self.object_or_empty(metadata),
            kind: kind?,
        };
        Some(task)
    }

    fn no_kind(&self, at: &At<'_>, fields: &Fields<'_>) {
        let kinds: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).collect();
        let guess = fields.keys().filter(|key| !COMMON_KEYS.contains(key)).find_map(|key| {
            let near = super::reader::nearest(key, &kinds)?;
            Some(format!("did you mean `{near}` instead of `{key}`?"))
        });
        let help = guess.unwrap_or_else(|| format!("add one of {}", super::reader::list(&kinds, "or")));
        self.error_help(at, "task-kind", format!("the task `{}` does not say what it does", at.key()), help);
    }

    fn kind(&self, fields: &Fields<'_>, kind: &str) -> Option<TaskKind> {
        let at = fields.get(kind)?;
        Some(match kind {
            "call" => TaskKind::Call(self.call(fields, &at)?),
            "do" => TaskKind::Do(self.task_list(&at)),
            "emit" => TaskKind::Emit(self.emit(&at)?),
            "for" => TaskKind::For(self.for_(fields, &at)?),
            "fork" => TaskKind::Fork(self.fork(&at)?),
            "listen" => TaskKind::Listen(self.listen(fields, &at)?),
            "raise" => TaskKind::Raise(self.raise(&at)?),
            "run" => TaskKind::Run(self.run(&at)?),
            "set" => TaskKind::Set(self.set(&at)?),
            "switch" => TaskKind::Switch(self.switch(&at)?),
            "try" => TaskKind::Try(self.try_(fields, &at)?),
            _ => TaskKind::Wait(self.duration(&at)?),
        })
    }

    pub(super) fn flow_directive(&self, at: &At<'_>) -> Option<FlowDirective> {
        Some(match self.text(at)? {
            "continue" => FlowDirective::Continue,
            "exit" => FlowDirective::Exit,
            "end" => FlowDirective::End,
            name => FlowDirective::Task(name.to_owned()),
        })
    }
}
