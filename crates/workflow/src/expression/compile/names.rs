//! What a name means: definitions, variables, functions; and which functions are refused.

use jaq_core::load::parse::{Def, Term};

use super::source::wrong;
use super::{Compiled, Compiler, Scope};
use crate::expression::CompileError;
use crate::expression::code::{DefId, Definition, Hops, Id, Op, PRELUDE};
use crate::expression::native;
use crate::expression::value::Val;

/// Functions of jq that read the outside world or the clock.
const REFUSED: &[&str] = &[
    "input",
    "inputs",
    "input_filename",
    "input_line_number",
    "env",
    "debug",
    "stderr",
    "now",
    "localtime",
    "strflocaltime",
    "halt",
    "halt_error",
    "get_search_list",
    "modulemeta",
    "repl",
];

impl Compiler {
    pub(super) fn definitions(&mut self, definitions: &[Def<&str>], body: &Term<&str>) -> Compiled {
        let (length, depth) = (self.scope.len(), self.depth);
        for definition in definitions {
            let id =
                u32::try_from(self.code.definitions.len()).expect("bounded by the text's length") | self.bit;
            self.code.definitions.push(Definition { body: Id(0) });
            self.scope.push(Scope::Definition {
                name: definition.name.to_owned(),
                arity: definition.args.len(),
                id,
                depth: self.depth,
            });
            let body = self.body(definition)?;
            self.code.definitions[(id & !PRELUDE) as usize] = Definition { body };
        }
        let body = self.term(body);
        self.scope.truncate(length);
        self.depth = depth;
        body
    }

    /// The body of a definition. A parameter `$x` is a closure `x` whose outputs are bound to `$x`.
    pub(super) fn body(&mut self, definition: &Def<&str>) -> Compiled {
        let closures = definition
            .args
            .iter()
            .map(|name| Scope::Closure(name.trim_start_matches('$').to_owned()))
            .collect();
        let variables: Vec<&str> =
            definition.args.iter().filter(|name| name.starts_with('$')).copied().collect();
        self.within(closures, |c| c.bind_parameters(&variables, &definition.body))
    }

    pub(super) fn bind_parameters(&mut self, names: &[&str], body: &Term<&str>) -> Compiled {
        let Some((name, rest)) = names.split_first() else { return self.term(body) };
        let closure = name.trim_start_matches('$');
        let hops = self
            .find(|entry| matches!(entry, Scope::Closure(name) if name == closure))
            .expect("just put in scope");
        let source = self.add(Op::Closure(hops));
        let inner =
            self.within(vec![Scope::Variable((*name).to_owned())], |c| c.bind_parameters(rest, body))?;
        Ok(self.add(Op::Bind(source, inner)))
    }

    /// How far up the nearest binding is that fits.
    pub(super) fn find(&self, fits: impl Fn(&Scope) -> bool) -> Option<Hops> {
        let bindings = self.scope.iter().rev().filter(|entry| !matches!(entry, Scope::Definition { .. }));
        bindings.enumerate().find(|(_, entry)| fits(entry)).map(|(hops, _)| u32::try_from(hops).expect("few"))
    }

    pub(super) fn variable(&mut self, name: &str) -> Compiled {
        if let Some(hops) = self.find(|entry| matches!(entry, Scope::Variable(variable) if variable == name))
        {
            return Ok(self.add(Op::Variable(hops)));
        }
        let name = name.trim_start_matches('$');
        match name {
            "secrets" => {
                return Err(CompileError {
                    message: "`$secrets` cannot be read here: expressions are evaluated in the control plane, which holds no \
                              secret"
                        .to_owned(),
                    help: Some(
                        "let the step itself have it: name the identity in use.secrets and say `use: NAME` in the \
                         authentication of a call, or give the task metadata.execution { mode: identity, identity: NAME } \
                         and read it from the step's environment"
                            .to_owned(),
                    ),
                });
            }
            "ENV" | "__loc__" | "__prog_args" | "__prog_name" => {
                return Err(wrong(format!(
                    "`${name}` cannot be read here: an expression sees only the run's data"
                )));
            }
            _ => {}
        }
        let known = self.code.externals.iter().position(|external| external == name);
        let number = known.unwrap_or_else(|| {
            self.code.externals.push(name.to_owned());
            self.code.externals.len() - 1
        });
        Ok(self.add(Op::External(u32::try_from(number).expect("few"))))
    }

    pub(super) fn call(&mut self, name: &str, arguments: &[Term<&str>]) -> Compiled {
        let closure = |entry: &Scope| matches!(entry, Scope::Closure(closure) if closure == name);
        for (place, entry) in self.scope.iter().enumerate().rev() {
            match entry {
                Scope::Definition { name: defined, arity, id, depth }
                    if defined == name && *arity == arguments.len() =>
                {
                    let (definition, hops) = (*id, self.depth - depth);
                    return self.call_definition(definition, hops, arguments);
                }
                entry if closure(entry) && arguments.is_empty() => {
                    let above = self.scope[place + 1..]
                        .iter()
                        .filter(|e| !matches!(e, Scope::Definition { .. }))
                        .count();
                    return Ok(self.add(Op::Closure(u32::try_from(above).expect("few"))));
                }
                _ => {}
            }
        }
        if let Some(operation) = self.special(name, arguments)? {
            return Ok(self.add(operation));
        }
        let key = (name.to_owned(), arguments.len());
        let names = self.prelude.map_or(&self.globals, |prelude| &prelude.names);
        if let Some(definition) = names.get(&key).copied() {
            return self.call_definition(definition, self.depth, arguments);
        }
        if let Some(native) = native::find(name, arguments.len()) {
            let arguments =
                arguments.iter().map(|argument| self.term(argument)).collect::<Result<Box<[_]>, _>>()?;
            return Ok(self.add(Op::Native { native, arguments }));
        }
        Err(self.unknown(name, arguments.len()))
    }

    pub(super) fn call_definition(
        &mut self,
        definition: DefId,
        hops: Hops,
        arguments: &[Term<&str>],
    ) -> Compiled {
        let arguments =
            arguments.iter().map(|argument| self.term(argument)).collect::<Result<Box<[_]>, _>>()?;
        Ok(self.add(Op::Call { definition, hops, arguments }))
    }

    /// Functions that the machine itself knows.
    pub(super) fn special(
        &mut self,
        name: &str,
        arguments: &[Term<&str>],
    ) -> Result<Option<Op>, CompileError> {
        Ok(Some(match (name, arguments) {
            ("true", []) => Op::Constant(Val::Bool(true)),
            ("false", []) => Op::Constant(Val::Bool(false)),
            ("null", []) => Op::Constant(Val::Null),
            ("empty", []) => Op::Empty,
            ("error", []) => Op::Error(self.add(Op::Identity)),
            ("error", [message]) => Op::Error(self.term(message)?),
            ("path", [path]) => Op::Path(self.term(path)?),
            ("getpath", [path]) => Op::GetPath(self.term(path)?),
            ("range", [to]) => {
                let (from, by) = (self.add(Op::Constant(Val::Int(0))), self.add(Op::Constant(Val::Int(1))));
                Op::Range { from, to: self.term(to)?, by }
            }
            ("range", [from, to]) => {
                let by = self.add(Op::Constant(Val::Int(1)));
                Op::Range { from: self.term(from)?, to: self.term(to)?, by }
            }
            ("range", [from, to, by]) => {
                Op::Range { from: self.term(from)?, to: self.term(to)?, by: self.term(by)? }
            }
            ("limit", [count, of]) => Op::Limit(self.term(count)?, self.term(of)?),
            ("first", [of]) => Op::Limit(self.add(Op::Constant(Val::Int(1))), self.term(of)?),
            ("skip", [count, of]) => Op::Skip(self.term(count)?, self.term(of)?),
            _ => return Ok(None),
        }))
    }

    pub(super) fn unknown(&self, name: &str, arity: usize) -> CompileError {
        if REFUSED.contains(&name) {
            return CompileError {
                message: format!(
                    "`{name}` cannot be used here: an expression must give the same result whenever it is evaluated"
                ),
                help: Some("take such values from $workflow, $task, $runtime, or from a step".to_owned()),
            };
        }
        let names = self.prelude.map_or(&self.globals, |prelude| &prelude.names);
        let mut arities: Vec<usize> =
            names.keys().filter(|(known, _)| known == name).map(|(_, arity)| *arity).collect();
        arities.extend((0..4).filter(|arity| native::find(name, *arity).is_some()));
        arities.sort_unstable();
        arities.dedup();
        match arities.first() {
            Some(known) => wrong(format!("the function `{name}` takes {known} arguments, not {arity}")),
            None => CompileError {
                message: format!("there is no function `{name}`"),
                help: Some(format!("if it is a text, quote it: \"{name}\"; if a field, write .{name}")),
            },
        }
    }
}
