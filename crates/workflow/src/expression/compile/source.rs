//! From text to jaq's grammar: how much is read, on what stack, and what is said of text that is none.

use std::collections::HashMap;
use std::sync::OnceLock;

use jaq_core::load::{Lexer, Parser};

use super::Compiler;
use crate::expression::CompileError;
use crate::expression::code::{Code, DefId, Definition, Id, PRELUDE};

/// Bytes of an expression's text.
const MAX_SOURCE_BYTES: usize = 64 << 10;
/// Characters and words of an expression that can nest its grammar.
const MAX_NESTING_TOKENS: usize = 4_000;
/// Stack of the thread that parses: jaq's parser nests with the text, at most [`MAX_NESTING_TOKENS`] deep.
const PARSE_STACK_BYTES: usize = 256 << 20;

/// jq's definitions that are written in jq.
const PRELUDE_SOURCE: &str = include_str!("../prelude.jq");

/// The prelude, compiled once.
pub(in crate::expression) struct Prelude {
    pub(in crate::expression) code: Code,
    pub(super) names: HashMap<(String, usize), DefId>,
}

pub(in crate::expression) fn prelude() -> &'static Prelude {
    static COMPILED: OnceLock<Prelude> = OnceLock::new();
    COMPILED.get_or_init(|| on_deep_stack(compile_prelude).expect("a thread can be started"))
}

/// jq text, without `${ }`.
pub(in crate::expression) fn compile(source: &str) -> Result<Code, CompileError> {
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

pub(super) fn wrong(message: String) -> CompileError {
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
