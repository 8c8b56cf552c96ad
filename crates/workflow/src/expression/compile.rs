//! Text to code. The grammar is jaq's; names are resolved here, and what is not deterministic is refused.

mod names;
mod source;

use std::collections::HashMap;
use std::sync::Arc;

use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Pattern, Term};
use jaq_core::path::{Opt, Part};

use super::CompileError;
use super::code::{Code, DefId, Id, Op};
use super::native;
use super::value::Val;
use source::wrong;
pub(super) use source::{Prelude, compile, prelude};

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
