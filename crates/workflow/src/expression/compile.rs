//! Text to code. The grammar is jaq's; names are resolved here, and what is not deterministic is refused.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Def, Pattern, Term};
use jaq_core::load::{Lexer, Parser};
use jaq_core::path::{Opt, Part};

use super::CompileError;
use super::code::{Code, DefId, Definition, Hops, Id, Op, PRELUDE};
use super::native;
use super::value::Val;

/// Bytes of an expression's text.
const MAX_SOURCE_BYTES: usize = 64 << 10;
/// Characters and words of an expression that can nest its grammar.
const MAX_NESTING_TOKENS: usize = 4_000;
/// Stack of the thread that parses: jaq's parser nests with the text, at most [`MAX_NESTING_TOKENS`] deep.
const PARSE_STACK_BYTES: usize = 256 << 20;

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

/// jq's definitions that are written in jq.
const PRELUDE_SOURCE: &str = include_str!("prelude.jq");

/// The prelude, compiled once.
pub(super) struct Prelude {
    pub(super) code: Code,
    names: HashMap<(String, usize), DefId>,
}

pub(super) fn prelude() -> &'static Prelude {
    static COMPILED: OnceLock<Prelude> = OnceLock::new();
    COMPILED.get_or_init(|| on_deep_stack(compile_prelude).expect("a thread can be started"))
}

/// jq text, without `${ }`.
pub(super) fn compile(source: &str) -> Result<Code, CompileError> {
    if source.len() > MAX_SOURCE_BYTES {
        return Err(wrong(format!(
            "the expression has {} bytes; at most {MAX_SOURCE_BYTES} are read",
            source.len()
        )));
    }
    let nesting = |c: char| "([{-|,?".contains(c);
    let words = ["if", "try", "reduce", "foreach", "label", "def", "as", "elif", "catch"];
    let tokens = source.chars().filter(|c| nesting(*c)).count()
        + source
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .filter(|word| words.contains(word))
            .count()
        + source.matches(['+', '*', '/', '%', '=', '<', '>']).count()
        + source.split_whitespace().filter(|word| matches!(*word, "and" | "or")).count();
    if tokens > MAX_NESTING_TOKENS {
        return Err(wrong(format!(
            "the expression is too complex: more than {MAX_NESTING_TOKENS} operators and brackets"
        )));
    }
    prelude();
    on_deep_stack(|| compile_here(source)).unwrap_or_else(|| {
        Err(wrong("the expression could not be compiled: no thread could be started".to_owned()))
    })
}

/// Runs on a thread whose stack fits the deepest text that is let through.
fn on_deep_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(PARSE_STACK_BYTES).spawn_scoped(scope, work);
        thread.ok()?.join().ok()
    })
}

fn compile_here(source: &str) -> Result<Code, CompileError> {
    let tokens = Lexer::new(source).lex().map_err(|errors| {
        let (expect, found) = errors.into_iter().next().expect("a failed lexer says why");
        syntax(source, expect.as_str(), Some(found))
    })?;
    let term = Parser::new(&tokens).parse(|parser| parser.term()).map_err(|errors| {
        let (expect, found) = errors.into_iter().next().expect("a failed parser says why");
        syntax(source, expect.as_str(), found.map(|token| token.0))
    })?;
    let mut compiler = Compiler { prelude: Some(prelude()), ..Compiler::default() };
    let start = compiler.term(&term)?;
    compiler.code.start = start.0;
    Ok(compiler.code)
}

fn syntax(source: &str, expected: &str, found: Option<&str>) -> CompileError {
    let found = found.filter(|found| !found.is_empty());
    let place = found.map(|found| found.as_ptr() as usize - source.as_ptr() as usize);
    let found = match (found, place) {
        (Some(found), Some(at)) => {
            let shown: String = found.chars().take(20).collect();
            format!("`{shown}` at character {}", source[..at.min(source.len())].chars().count() + 1)
        }
        _ => "its end".to_owned(),
    };
    let expected = if expected.is_empty() { "the end" } else { expected };
    wrong(format!("this is no jq expression: expected {expected}, found {found}"))
}

fn wrong(message: String) -> CompileError {
    CompileError { message, help: None }
}

fn compile_prelude() -> Prelude {
    let tokens = Lexer::new(PRELUDE_SOURCE).lex().expect("the prelude is valid");
    let definitions = Parser::new(&tokens).parse(|parser| parser.defs()).expect("the prelude is valid");
    let mut names = HashMap::new();
    for (number, definition) in definitions.iter().enumerate() {
        let number = u32::try_from(number).expect("a short prelude");
        names.insert((definition.name.to_owned(), definition.args.len()), number | PRELUDE);
    }
    let mut compiler = Compiler { bit: PRELUDE, globals: names.clone(), ..Compiler::default() };
    let placeholder = Definition { body: Id(0) };
    compiler.code.definitions.resize(definitions.len(), placeholder);
    for (number, definition) in definitions.iter().enumerate() {
        let body = compiler.body(definition).expect("the prelude is valid");
        compiler.code.definitions[number] = Definition { body };
    }
    Prelude { code: compiler.code, names }
}

/// Something that a name can mean.
#[derive(Clone)]
enum Scope {
    Variable(String),
    Closure(String),
    Label(String),
    /// Takes no place in the chain of bindings.
    Definition {
        name: String,
        arity: usize,
        id: DefId,
        depth: u32,
    },
}

#[derive(Default)]
struct Compiler {
    code: Code,
    scope: Vec<Scope>,
    /// Bindings in scope.
    depth: u32,
    bit: u32,
    prelude: Option<&'static Prelude>,
    globals: HashMap<(String, usize), DefId>,
}

type Compiled = Result<Id, CompileError>;

impl Compiler {
    fn add(&mut self, operation: Op) -> Id {
        let number = u32::try_from(self.code.operations.len()).expect("bounded by the text's length");
        self.code.operations.push(operation);
        Id(number | self.bit)
    }

    fn text(&mut self, text: &str) -> Id {
        self.add(Op::Constant(Val::Str(Arc::from(text))))
    }

    /// Compiles with further names in scope.
    fn within<T>(&mut self, entries: Vec<Scope>, compile: impl FnOnce(&mut Self) -> T) -> T {
        let (length, depth) = (self.scope.len(), self.depth);
        self.depth +=
            u32::try_from(entries.iter().filter(|e| !matches!(e, Scope::Definition { .. })).count())
                .expect("few");
        self.scope.extend(entries);
        let result = compile(self);
        self.scope.truncate(length);
        self.depth = depth;
        result
    }

    fn term(&mut self, term: &Term<&str>) -> Compiled {
        Ok(match term {
            Term::Id => self.add(Op::Identity),
            Term::Recurse => self.call("recurse", &[])?,
            Term::Num(text) => {
                let whole = text.parse::<i64>().ok().map(Val::Int);
                let number = whole.or_else(|| text.parse().ok().map(Val::float));
                let number = number.ok_or_else(|| wrong(format!("`{text}` is no number")))?;
                self.add(Op::Constant(number))
            }
            Term::Str(format, parts) => self.string(*format, parts)?,
            Term::Arr(None) => {
                self.add(Op::Native { native: native::EMPTY_ARRAY, arguments: Box::default() })
            }
            Term::Arr(Some(items)) => {
                let items = self.term(items)?;
                self.add(Op::Collect(items))
            }
            Term::Obj(entries) => {
                let entries = entries.iter().map(|(key, value)| self.entry(key, value.as_ref()));
                let entries = entries.collect::<Result<Box<[_]>, _>>()?;
                self.add(Op::Object(entries))
            }
            Term::Neg(inner) => {
                let inner = self.term(inner)?;
                self.add(Op::Negate(inner))
            }
            Term::BinOp(left, operator, right) => self.binary(left, operator, right)?,
            Term::Label(name, body) => {
                let body = self.within(vec![Scope::Label((*name).to_owned())], |c| c.term(body))?;
                self.add(Op::Label(body))
            }
            Term::Break(name) => {
                let hops = self.find(|entry| matches!(entry, Scope::Label(label) if label == name));
                let hops =
                    hops.ok_or_else(|| wrong(format!("`break {name}` stands outside of `label {name}`")))?;
                self.add(Op::Break(hops))
            }
            Term::Fold(kind, source, pattern, arguments) => self.fold(kind, source, pattern, arguments)?,
            Term::TryCatch(body, handler) => {
                let body = self.term(body)?;
                let handler = handler.as_ref().map(|handler| self.term(handler)).transpose()?;
                self.add(Op::Try(body, handler))
            }
            Term::IfThenElse(cases, otherwise) => {
                let mut otherwise = match otherwise {
                    Some(term) => self.term(term)?,
                    None => self.add(Op::Identity),
                };
                for (condition, then) in cases.iter().rev() {
                    let (condition, then) = (self.term(condition)?, self.term(then)?);
                    otherwise = self.add(Op::If { condition, then, otherwise });
                }
                otherwise
            }
            Term::Def(definitions, body) => self.definitions(definitions, body)?,
            Term::Call(name, arguments) => self.call(name, arguments)?,
            Term::Var(name) => self.variable(name)?,
            Term::Path(base, path) => self.path(base, &path.0)?,
        })
    }

    fn entry(&mut self, key: &Term<&str>, value: Option<&Term<&str>>) -> Result<(Id, Id), CompileError> {
        Ok(match (key, value) {
            (key, Some(value)) => (self.term(key)?, self.term(value)?),
            (Term::Var(name), None) => (self.text(name.trim_start_matches('$')), self.variable(name)?),
            (key, None) => {
                let (base, key) = (self.add(Op::Identity), self.term(key)?);
                (key, self.add(Op::Index { base, key, optional: false }))
            }
        })
    }

    fn string(&mut self, format: Option<&str>, parts: &[StrPart<&str, Term<&str>>]) -> Compiled {
        let mut pieces: Vec<Id> = Vec::new();
        let mut literal = String::new();
        for part in parts {
            match part {
                StrPart::Str(text) => literal.push_str(text),
                StrPart::Char(character) => literal.push(*character),
                StrPart::Term(term) => {
                    if !literal.is_empty() {
                        pieces.push(self.text(&std::mem::take(&mut literal)));
                    }
                    let term = self.term(term)?;
                    let format = self.call(format.unwrap_or("tostring"), &[])?;
                    pieces.push(self.add(Op::Pipe(term, format)));
                }
            }
        }
        if pieces.is_empty() {
            return Ok(self.text(&literal));
        }
        if !literal.is_empty() {
            pieces.push(self.text(&literal));
        }
        Ok(self.add(Op::Native { native: native::CONCATENATE, arguments: pieces.into() }))
    }

    fn binary(&mut self, left: &Term<&str>, operator: &BinaryOp<&str>, right: &Term<&str>) -> Compiled {
        if let BinaryOp::Pipe(Some(pattern)) = operator {
            let source = self.term(left)?;
            let body = self.bound(pattern, |c| c.term(right))?;
            return Ok(self.add(Op::Bind(source, body)));
        }
        let is_update = |o: &BinaryOp<&str>| {
            matches!(o, BinaryOp::Assign | BinaryOp::UpdateMath(_) | BinaryOp::UpdateAlt)
        };
        if is_update(operator) {
            // `a = b`: `b as $new | a |= $new`, and likewise with an operator.
            let source = self.term(right)?;
            let update = self.within(vec![Scope::Variable(String::new())], |c| {
                let target = c.term(left)?;
                let (old, new) = (c.add(Op::Identity), c.add(Op::Variable(0)));
                let value = match operator {
                    BinaryOp::UpdateMath(math) => c.add(Op::Math(*math, old, new)),
                    BinaryOp::UpdateAlt => c.add(Op::Alternative(old, new)),
                    _ => new,
                };
                Ok(c.add(Op::Update(target, value)))
            })?;
            return Ok(self.add(Op::Bind(source, update)));
        }
        let (left, right) = (self.term(left)?, self.term(right)?);
        Ok(self.add(match operator {
            BinaryOp::Comma => Op::Comma(left, right),
            BinaryOp::Alt => Op::Alternative(left, right),
            BinaryOp::Or => Op::Or(left, right),
            BinaryOp::And => Op::And(left, right),
            BinaryOp::Math(math) => Op::Math(*math, left, right),
            BinaryOp::Cmp(compare) => Op::Compare(*compare, left, right),
            BinaryOp::Update => Op::Update(left, right),
            _ => Op::Pipe(left, right),
        }))
    }

    /// Compiles `body` with the variables of a pattern; the matched value is bound already, as the nearest binding.
    fn bound(&mut self, pattern: &Pattern<&str>, body: impl FnOnce(&mut Self) -> Compiled) -> Compiled {
        match pattern {
            Pattern::Var(name) => self.within(vec![Scope::Variable((*name).to_owned())], body),
            _ => self.within(vec![Scope::Variable(String::new())], |c| {
                let mut pending = Vec::new();
                c.parts_of(pattern, c.depth, &mut pending)?;
                c.bind_parts(&pending, 0, body)
            }),
        }
    }

    /// The parts of a pattern: each is a key into the value bound at a depth.
    fn parts_of<'p>(
        &mut self,
        pattern: &'p Pattern<&'p str>,
        depth: u32,
        pending: &mut Vec<(u32, Key<'p>, &'p Pattern<&'p str>)>,
    ) -> Result<(), CompileError> {
        match pattern {
            Pattern::Var(_) => {}
            Pattern::Arr(items) => {
                pending.extend(items.iter().enumerate().map(|(at, item)| (depth, Key::Position(at), item)));
            }
            Pattern::Obj(entries) => {
                pending.extend(entries.iter().map(|(key, item)| (depth, Key::Term(key), item)))
            }
        }
        Ok(())
    }

    fn bind_parts<'p>(
        &mut self,
        pending: &[(u32, Key<'p>, &'p Pattern<&'p str>)],
        at: usize,
        body: impl FnOnce(&mut Self) -> Compiled,
    ) -> Compiled {
        let Some((depth, key, pattern)) = pending.get(at) else { return body(self) };
        let base = self.add(Op::Variable(self.depth - depth));
        let key = match key {
            Key::Position(position) => {
                self.add(Op::Constant(Val::Int(i64::try_from(*position).expect("short"))))
            }
            Key::Term(term) => self.term(term)?,
        };
        let source = self.add(Op::Index { base, key, optional: false });
        let name = match pattern {
            Pattern::Var(name) => (*name).to_owned(),
            Pattern::Arr(_) | Pattern::Obj(_) => String::new(),
        };
        let body: Box<dyn FnOnce(&mut Self) -> Compiled + '_> = Box::new(body);
        let inner = self.within(vec![Scope::Variable(name)], |c| {
            let mut pending = pending.to_vec();
            let depth = c.depth;
            c.parts_of(pattern, depth, &mut pending)?;
            c.bind_parts(&pending, at + 1, body)
        })?;
        Ok(self.add(Op::Bind(source, inner)))
    }

    fn fold(
        &mut self,
        kind: &str,
        source: &Term<&str>,
        pattern: &Pattern<&str>,
        arguments: &[Term<&str>],
    ) -> Compiled {
        let source = self.term(source)?;
        let (start, update, extract) = match (kind, arguments) {
            ("reduce" | "foreach", [start, update]) => (start, update, None),
            ("foreach", [start, update, extract]) => (start, update, Some(extract)),
            _ => return Err(wrong(format!("`{kind}` does not take {} arguments", arguments.len()))),
        };
        let start = self.term(start)?;
        let update = self.bound(pattern, |c| c.term(update))?;
        if kind == "reduce" {
            return Ok(self.add(Op::Reduce { source, start, update }));
        }
        let extract = match extract {
            Some(extract) => self.bound(pattern, |c| c.term(extract))?,
            None => self.add(Op::Identity),
        };
        Ok(self.add(Op::Foreach { source, start, update, extract }))
    }

    fn definitions(&mut self, definitions: &[Def<&str>], body: &Term<&str>) -> Compiled {
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
    fn body(&mut self, definition: &Def<&str>) -> Compiled {
        let closures = definition
            .args
            .iter()
            .map(|name| Scope::Closure(name.trim_start_matches('$').to_owned()))
            .collect();
        let variables: Vec<&str> =
            definition.args.iter().filter(|name| name.starts_with('$')).copied().collect();
        self.within(closures, |c| c.bind_parameters(&variables, &definition.body))
    }

    fn bind_parameters(&mut self, names: &[&str], body: &Term<&str>) -> Compiled {
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
    fn find(&self, fits: impl Fn(&Scope) -> bool) -> Option<Hops> {
        let bindings = self.scope.iter().rev().filter(|entry| !matches!(entry, Scope::Definition { .. }));
        bindings.enumerate().find(|(_, entry)| fits(entry)).map(|(hops, _)| u32::try_from(hops).expect("few"))
    }

    fn variable(&mut self, name: &str) -> Compiled {
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

    fn call(&mut self, name: &str, arguments: &[Term<&str>]) -> Compiled {
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

    fn call_definition(&mut self, definition: DefId, hops: Hops, arguments: &[Term<&str>]) -> Compiled {
        let arguments =
            arguments.iter().map(|argument| self.term(argument)).collect::<Result<Box<[_]>, _>>()?;
        Ok(self.add(Op::Call { definition, hops, arguments }))
    }

    /// Functions that the machine itself knows.
    fn special(&mut self, name: &str, arguments: &[Term<&str>]) -> Result<Option<Op>, CompileError> {
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

    fn unknown(&self, name: &str, arity: usize) -> CompileError {
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

    fn path(&mut self, base: &Term<&str>, parts: &[(Part<Term<&str>>, Opt)]) -> Compiled {
        let mut base = self.term(base)?;
        for (part, optional) in parts {
            let optional = matches!(optional, Opt::Optional);
            let bound = |c: &mut Self, bound: &Option<Term<&str>>| match bound {
                Some(term) => c.term(term),
                None => Ok(c.add(Op::Constant(Val::Null))),
            };
            let operation = match part {
                Part::Index(key) => Op::Index { base, key: self.term(key)?, optional },
                Part::Range(None, None) => Op::Iterate { base, optional },
                Part::Range(from, to) => {
                    Op::Slice { base, from: bound(self, from)?, to: bound(self, to)?, optional }
                }
            };
            base = self.add(operation);
        }
        Ok(base)
    }
}

#[derive(Clone, Copy)]
enum Key<'p> {
    Position(usize),
    Term(&'p Term<&'p str>),
}
