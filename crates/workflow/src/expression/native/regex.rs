//! Regular expressions. Patterns are compiled by `regex-automata`; the search is ours, because each of its steps must be
//! charged: the time it takes depends on pattern and text in ways that no bound beforehand would fit.

use std::sync::Arc;

use regex_automata::nfa::thompson::{Compiler, Config, NFA, State};
use regex_automata::util::primitives::StateID;
use regex_automata::util::syntax;

use super::{Native, expect_text, native};
use crate::expression::value::{Map, Val};
use crate::expression::work::{Outcome, Work, raise};

/// Bytes of a pattern's text.
const MAX_PATTERN_BYTES: usize = 4096;
/// Bytes of a compiled pattern.
const MAX_COMPILED_BYTES: usize = 256 << 10;
/// Compiled patterns that one evaluation keeps.
const KEPT_PATTERNS: usize = 8;
/// Steps that compiling costs, beside what the pattern's text costs: measured at its size limit.
const COMPILE_STEPS: u64 = 8_000;

/// Compiled patterns of an evaluation.
pub(in crate::expression) type Regexes = Vec<(String, Arc<NFA>)>;

pub(super) const NATIVES: &[Native] = &[
    native("test", 2, |work, input, arguments| {
        let text = expect_text(&input, "the input of test")?;
        let pattern = Pattern::new(&arguments[0], &arguments[1], work)?;
        Ok(Val::Bool(pattern.search(text, 0, work)?.is_some()))
    }),
    native("matches", 2, |work, input, arguments| {
        let text = expect_text(&input, "the input of match")?;
        let pattern = Pattern::new(&arguments[0], &arguments[1], work)?;
        let mut places = Places { text, byte: 0, character: 0 };
        let mut found = Vec::new();
        for slots in pattern.find(text, work)? {
            work.grow()?;
            let value = pattern.describe(&mut places, &slots, work)?;
            found.push(value);
        }
        work.array(found)
    }),
    native("split", 2, |work, input, arguments| {
        let text = expect_text(&input, "the input of split")?;
        let mut pattern = Pattern::new(&arguments[0], &arguments[1], work)?;
        pattern.global = true;
        let mut parts = Vec::new();
        let mut from = 0;
        for slots in pattern.find(text, work)? {
            let (Some(start), Some(end)) = (slots[0], slots[1]) else { continue };
            work.grow()?;
            parts.push(work.text(&text[from..start])?);
            from = end;
        }
        parts.push(work.text(&text[from..])?);
        work.array(parts)
    }),
];

struct Pattern {
    nfa: Arc<NFA>,
    global: bool,
    skip_empty: bool,
}

/// Byte offsets of a match and its groups: start and end of each.
type Slots = Vec<Option<usize>>;

impl Pattern {
    fn new<'a>(pattern: &Val<'a>, flags: &Val<'a>, work: &mut Work) -> Outcome<'a, Pattern> {
        let text = expect_text(pattern, "a pattern")?;
        let flags = match flags {
            Val::Null => "",
            other => expect_text(other, "the flags of a pattern")?,
        };
        if let Some(unknown) = flags.chars().find(|c| !"gimnpslx".contains(*c)) {
            return raise(format!("`{unknown}` is no flag of a pattern"));
        }
        let has = |flag| flags.contains(flag);
        let syntax = syntax::Config::new()
            .case_insensitive(has('i'))
            .dot_matches_new_line(has('s') || has('p'))
            .multi_line(has('m'))
            .ignore_whitespace(has('x'))
            .nest_limit(64);
        let key = format!("{flags}/{text}");
        let known = work.regexes.iter().find(|(known, _)| *known == key).map(|(_, nfa)| nfa.clone());
        let nfa = match known {
            Some(nfa) => nfa,
            None => compile(text, syntax, key, work)?,
        };
        Ok(Pattern { nfa, global: has('g'), skip_empty: has('n') })
    }

    /// All matches, or the first.
    fn find<'a>(&self, text: &str, work: &mut Work) -> Outcome<'a, Vec<Slots>> {
        let mut found = Vec::new();
        let mut at = 0;
        while at <= text.len() {
            let Some(slots) = self.search(text, at, work)? else { break };
            let (start, end) = (slots[0].unwrap_or(at), slots[1].unwrap_or(at));
            let step = text[end..].chars().next().map_or(1, char::len_utf8);
            at = if end > start { end } else { end + step };
            if !(self.skip_empty && start == end) {
                work.allocate(slots.len() * 16 + 24)?;
                found.push(slots);
            }
            if !self.global {
                break;
            }
        }
        Ok(found)
    }

    /// The leftmost match from a byte on, by simulation of the automaton: every thread's every step is charged.
    fn search<'a>(&self, text: &str, from: usize, work: &mut Work) -> Outcome<'a, Option<Slots>> {
        let states = self.nfa.states().len();
        work.allocate(states * 16)?;
        let mut search = Search {
            nfa: &self.nfa,
            text: text.as_bytes(),
            now: Threads::new(states),
            next: Threads::new(states),
            slot_count: self.nfa.group_info().slot_len(),
            ticks: 0,
        };
        search.run(from, work)
    }

    fn describe<'a>(&self, places: &mut Places<'_>, slots: &Slots, work: &mut Work) -> Outcome<'a, Val<'a>> {
        let groups = self.nfa.group_info();
        let mut captures = Vec::new();
        for (index, pair) in slots.chunks(2).enumerate().skip(1) {
            work.grow()?;
            let span = pair[0].zip(pair[1]);
            let mut value = places.span(span, work)?;
            let name = groups.to_name(regex_automata::PatternID::ZERO, index);
            let name = match name {
                Some(name) => work.text(name)?,
                None => Val::Null,
            };
            value.insert("name".into(), name);
            captures.push(work.object(value)?);
        }
        let mut value = places.span(slots[0].zip(slots[1]), work)?;
        let captures = work.array(captures)?;
        value.insert("captures".into(), captures);
        work.object(value)
    }
}

fn compile<'a>(text: &str, syntax: syntax::Config, key: String, work: &mut Work) -> Outcome<'a, Arc<NFA>> {
    if text.len() > MAX_PATTERN_BYTES {
        return raise(format!("a pattern has at most {MAX_PATTERN_BYTES} bytes"));
    }
    work.spend(COMPILE_STEPS + 8 * text.len() as u64)?;
    work.allocate(2 * MAX_COMPILED_BYTES)?;
    let config = Config::new().nfa_size_limit(Some(MAX_COMPILED_BYTES)).utf8(true);
    let built = Compiler::new().syntax(syntax).configure(config).build(text);
    match built {
        Ok(nfa) => {
            let nfa = Arc::new(nfa);
            if work.regexes.len() >= KEPT_PATTERNS {
                work.regexes.remove(0);
            }
            work.regexes.push((key, nfa.clone()));
            Ok(nfa)
        }
        Err(error) => raise(format!("`{text}` is no pattern: {error}")),
    }
}

/// Counts characters up to a byte; matches come in order, so it only goes forward, except into a match's groups.
struct Places<'t> {
    text: &'t str,
    byte: usize,
    character: usize,
}

impl Places<'_> {
    fn character_at<'a>(&mut self, byte: usize, work: &mut Work) -> Outcome<'a, usize> {
        let distance = self.byte.abs_diff(byte);
        work.spend(distance as u64 / 64)?;
        if byte >= self.byte {
            self.character += self.text[self.byte..byte].chars().count();
        } else {
            self.character -= self.text[byte..self.byte].chars().count();
        }
        self.byte = byte;
        Ok(self.character)
    }

    /// `{offset, length, string}`; a group that took no part has offset -1.
    fn span<'a>(&mut self, span: Option<(usize, usize)>, work: &mut Work) -> Outcome<'a, Map<'a>> {
        let mut value = work.map(4)?;
        let count = |n: usize| Val::Int(i64::try_from(n).unwrap_or(i64::MAX));
        match span {
            Some((start, end)) => {
                let offset = self.character_at(start, work)?;
                let length = self.text[start..end].chars().count();
                work.spend((end - start) as u64 / 64)?;
                value.insert("offset".into(), count(offset));
                value.insert("length".into(), count(length));
                let string = work.text(&self.text[start..end])?;
                value.insert("string".into(), string);
            }
            None => {
                value.insert("offset".into(), Val::Int(-1));
                value.insert("length".into(), Val::Int(0));
                value.insert("string".into(), Val::Null);
            }
        }
        Ok(value)
    }
}

/// Threads of a search by priority, each state at most once.
struct Threads {
    list: Vec<(StateID, Slots)>,
    present: Vec<bool>,
}

impl Threads {
    fn new(states: usize) -> Self {
        Threads { list: Vec::new(), present: vec![false; states] }
    }
}

struct Search<'s> {
    nfa: &'s NFA,
    text: &'s [u8],
    now: Threads,
    next: Threads,
    slot_count: usize,
    ticks: u64,
}

impl Search<'_> {
    fn run<'a>(&mut self, from: usize, work: &mut Work) -> Outcome<'a, Option<Slots>> {
        let mut best: Option<Slots> = None;
        let mut at = from;
        loop {
            if best.is_none() {
                let start = self.nfa.start_anchored();
                let mut threads = std::mem::replace(&mut self.now, Threads::new(0));
                self.follow(&mut threads, start, vec![None; self.slot_count], at);
                self.now = threads;
            }
            self.pay(work)?;
            if self.now.list.is_empty() && best.is_some() {
                return Ok(best);
            }
            let threads = std::mem::take(&mut self.now.list);
            for (state, slots) in threads {
                self.ticks += 1;
                if let State::Match { .. } = self.nfa.state(state) {
                    best = Some(slots);
                    // What comes after has lower priority.
                    break;
                }
                let byte = self.text.get(at).copied();
                if let Some(target) = byte.and_then(|byte| self.step(state, byte)) {
                    let mut next = std::mem::replace(&mut self.next, Threads::new(0));
                    self.follow(&mut next, target, slots, at + 1);
                    self.next = next;
                }
            }
            self.now.present.iter_mut().for_each(|present| *present = false);
            self.ticks += self.now.present.len() as u64 / 64;
            std::mem::swap(&mut self.now, &mut self.next);
            if at >= self.text.len() {
                return Ok(best);
            }
            at += 1;
        }
    }

    /// Charges the steps taken since the last time: a thread's step costs more than a machine's when it copies slots.
    fn pay<'a>(&mut self, work: &mut Work) -> Outcome<'a, ()> {
        let ticks = std::mem::take(&mut self.ticks);
        work.spend(ticks * (2 + self.slot_count as u64 / 8) / 4 + 1)
    }

    fn step(&self, state: StateID, byte: u8) -> Option<StateID> {
        match self.nfa.state(state) {
            State::ByteRange { trans } => trans.matches_byte(byte).then_some(trans.next),
            State::Sparse(transitions) => transitions.matches_byte(byte),
            State::Dense(transitions) => transitions.matches_byte(byte),
            _ => None,
        }
    }

    /// Adds a thread and all that it reaches without reading, in order of priority.
    fn follow(&mut self, threads: &mut Threads, start: StateID, slots: Slots, at: usize) {
        let mut pending = vec![(start, slots)];
        while let Some((state, slots)) = pending.pop() {
            self.ticks += 1;
            if std::mem::replace(&mut threads.present[state.as_usize()], true) {
                continue;
            }
            match self.nfa.state(state) {
                State::Look { look, next } => {
                    if self.nfa.look_matcher().matches(*look, self.text, at) {
                        pending.push((*next, slots));
                    }
                }
                State::Union { alternates } => {
                    for alternate in alternates.iter().rev() {
                        pending.push((*alternate, slots.clone()));
                    }
                }
                State::BinaryUnion { alt1, alt2 } => {
                    pending.push((*alt2, slots.clone()));
                    pending.push((*alt1, slots));
                }
                State::Capture { next, slot, .. } => {
                    let mut slots = slots;
                    slots[slot.as_usize()] = Some(at);
                    pending.push((*next, slots));
                }
                State::Fail => {}
                State::ByteRange { .. } | State::Sparse(_) | State::Dense(_) | State::Match { .. } => {
                    threads.list.push((state, slots));
                }
            }
        }
    }
}
