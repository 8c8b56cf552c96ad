//! Random expressions: what jaq's own interpreter gives, ours gives too; and whatever it is, it ends, within the budget and
//! without a panic.

use std::panic::catch_unwind;

use jaq_core::load::{Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Vars, data, unwrap_valr};
use serde_json::{Value, json};
use workflow::expression::{Expression, ExpressionError, Meter, Variables};

const SEED: u64 = 0x5eed_0004;
const AGREEMENTS: usize = 600;
const WILD: usize = 2_000;

/// SplitMix64: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % limit as u64).expect("small")
    }

    fn pick(&mut self, items: &[&str]) -> String {
        items[self.below(items.len())].to_owned()
    }
}

fn inputs() -> Vec<Value> {
    vec![
        json!(null),
        json!(3),
        json!("ab,c"),
        json!([3, 1, 2]),
        json!([[1, 2], [3]]),
        json!({"a": 1, "b": [1, {"a": 2}], "c": {"a": {"b": "x"}}}),
        json!([{"a": 1, "b": 2}, {"a": 2, "b": 1}, {"a": 1}]),
        json!(["b", "a", null, true, 1.5]),
    ]
}

/// An expression whose meaning jq's manual settles, so that two implementations must agree. Left out is where jaq differs
/// from jq on purpose: slices of null, updates with no
/// output or several, numbers as keys, and which side of an operator goes first.
fn settled(random: &mut Random, depth: usize) -> String {
    if depth == 0 {
        return random.pick(&[
            ".",
            ".a",
            ".b",
            "(arrays | .[0])",
            "(arrays | .[1])",
            "1",
            "2",
            "\"a\"",
            "null",
            "true",
            "[]",
            "{}",
            ".a?",
            ".[]?",
            "$v",
        ]);
    }
    let sub = |random: &mut Random| settled(random, depth - 1);
    match random.below(34) {
        0 => format!("({} | {})", sub(random), sub(random)),
        1 => format!("({}, {})", sub(random), sub(random)),
        2 => format!("(({}) // {})", sub(random), sub(random)),
        3 => format!("[{}]", sub(random)),
        4 => format!("{{a: [{}], b: [{}]}}", sub(random), sub(random)),
        5 => format!("(try ({}) catch \"e\")", sub(random)),
        6 => format!("(if {} then {} else {} end)", sub(random), sub(random), sub(random)),
        7 => format!("(reduce ({}) as $x (0; [., $x] | tojson))", sub(random)),
        8 => format!("[foreach ({}) as $x (0; [$x, .] | tojson; .)]", sub(random)),
        9 => format!("(({}) as $v | {})", sub(random), sub(random)),
        10 => format!("(({} | arrays) as [$v, $w] | [$v, $w])", sub(random)),
        11 => format!("([{}] == [{}])", sub(random), sub(random)),
        12 => format!("([{}] < [{}])", sub(random), sub(random)),
        13 => format!("(({}) and ({}))", sub(random), sub(random)),
        14 => format!("(({}) or ({}))", sub(random), sub(random)),
        15 => format!("[limit(2; {})]", sub(random)),
        16 => format!("first({})", sub(random)),
        17 => format!("[range(3)] | map({})", sub(random)),
        18 => format!("({})?", sub(random)),
        19 => format!("def f: {}; [f]", sub(random)),
        20 => format!("def f(g): g | g; [f({})]", sub(random)),
        21 => format!("def f($x; g): [$x, g]; f({}; {})", sub(random), sub(random)),
        22 => format!("[label $l | {}, break $l, 1]", sub(random)),
        23 => format!("(({}) | length)", sub(random)),
        24 => format!("(({}) | tojson)", sub(random)),
        25 => format!("(({}) | sort)", sub(random)),
        26 => format!("(({}) | type)", sub(random)),
        27 => format!("(({}) | add)", sub(random)),
        28 => format!("[.[]? | select({})]", sub(random)),
        29 => format!("([..] | length) as $v | {}", sub(random)),
        30 => format!("\"<\\({})>\"", sub(random)),
        31 => format!("(({}) | not)", sub(random)),
        32 => format!(
            "[path({})]",
            random.pick(&[
                ".a",
                ".a.b",
                ".[]?",
                "..",
                "(arrays | .[0])",
                ".b[]?",
                ".a // .b",
                "first(.[]?)",
                "if . then .a? else . end"
            ])
        ),
        _ => format!(
            "(({}) |= first({}))",
            random.pick(&["(objects | .a)", "(arrays | .[0])", ".[]?", "(objects | .b[]?)"]),
            sub(random)
        ),
    }
}

/// The definitions of jaq's library that settled expressions use; others need features that are off.
const NEEDED: &[&str] = &[
    "empty",
    "error",
    "true",
    "false",
    "null",
    "not",
    "select",
    "tostring",
    "range",
    "recurse",
    "map",
    "add",
    "type",
    "isboolean",
];

/// The first output, or that it failed; nothing where jaq has no JSON to give.
fn by_jaq(source: &str, inputs: &[Value]) -> Option<Vec<Option<Result<Value, ()>>>> {
    let needed = jaq_std::defs().filter(|definition| NEEDED.contains(&definition.name));
    let definitions = jaq_core::defs().chain(needed);
    let natives = jaq_core::funs().chain(jaq_std::base_funs()).chain(jaq_json::funs());
    let arena = Arena::default();
    let modules = Loader::new(definitions).load(&arena, File { code: source, path: () }).ok()?;
    let filter = Compiler::default().with_funs(natives).with_global_vars([]).compile(modules).ok()?;
    let run = |input: &Value| {
        let input = jaq_json::read::parse_single(input.to_string().as_bytes()).expect("JSON");
        let context = Ctx::<data::JustLut<jaq_json::Val>>::new(&filter.lut, Vars::new([]));
        let first = filter.id.run((context, input)).map(unwrap_valr).next()?;
        match first {
            Ok(value) => serde_json::from_str(&value.to_string()).ok().map(Ok),
            Err(_) => Some(Err(())),
        }
    };
    Some(inputs.iter().map(run).collect())
}

fn ours(source: &str, input: &Value) -> Option<Result<Value, ExpressionError>> {
    let expression = Expression::compile(source).ok()?;
    Some(expression.evaluate(input, &Variables::new(), &mut Meter::default()))
}

#[test]
fn ours_agrees_with_jaq() {
    let mut random = Random(SEED);
    let inputs = inputs();
    let (mut values, mut errors, mut wrong) = (0, 0, Vec::new());
    for round in 0..AGREEMENTS {
        let inner = settled(&mut random, 1 + round % 4);
        let source = format!("7 as $v | [{inner}]");
        let Some(all_theirs) = by_jaq(&source, &inputs) else { continue };
        for (input, theirs) in inputs.iter().zip(all_theirs) {
            let Some(theirs) = theirs else { continue };
            match (theirs, ours(&source, input).unwrap_or_else(|| panic!("{source}"))) {
                (Ok(theirs), Ok(ours)) if theirs == ours => values += 1,
                (Err(()), Err(ExpressionError::Failed { .. })) => errors += 1,
                (theirs, ours) => {
                    wrong.push(format!("{inner} on {input}\n    jaq  {theirs:?}\n    ours {ours:?}"))
                }
            }
        }
    }
    eprintln!("{values} values and {errors} errors agree");
    assert!(values > 1_500 && errors > 300, "the expressions say little: {values} values, {errors} errors");
    wrong.sort_by_key(String::len);
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong[..wrong.len().min(20)].join("\n"));
}

/// Anything that might be an expression.
fn wild(random: &mut Random, depth: usize) -> String {
    const LEAVES: &[&str] = &[
        ".",
        ".a",
        ".[]",
        "..",
        "1",
        "1e9",
        "-1",
        "\"a\"",
        "[]",
        "{}",
        "null",
        "$v",
        "f",
        "empty",
        "error",
        "nan",
        "infinite",
        "1e1000",
        "\"\\ud83d\"",
        "@base64",
        "@csv",
        "@sh",
        "tojson",
        "fromjson",
        "keys",
        "add",
        "sort",
        "unique",
        "flatten",
        "transpose",
        "explode",
        "implode",
        "to_entries",
        "from_entries",
        "paths",
        "tostream",
        "length",
        "reverse",
        "min",
        "max",
        "todate",
        "gmtime",
        "mktime",
        "ascii_downcase",
        "tonumber",
        "tostring",
        "utf8bytelength",
        "combinations",
        "any",
        "all",
        "last",
        "first",
        "recurse",
    ];
    const ONE: &[&str] = &[
        "map(X)",
        "select(X)",
        "path(X)",
        "del(X)",
        "first(X)",
        "last(X)",
        "[X]",
        "(X)?",
        "-(X)",
        "repeat(X)",
        "recurse(X)",
        "range(X)",
        "isempty(X)",
        "sort_by(X)",
        "group_by(X)",
        "unique_by(X)",
        "min_by(X)",
        "walk(X)",
        "with_entries(X)",
        "getpath(X)",
        "has(X)",
        "contains(X)",
        "inside(X)",
        "split(X)",
        "join(X)",
        "test(X)",
        "[match(X)]",
        "[scan(X)]",
        "ltrimstr(X)",
        "indices(X)",
        "any(X)",
        "error(X)",
        "flatten(X)",
        "label $l | (X)",
        "pick(X)",
        "paths(X)",
        "combinations(X)",
        "strftime(X)",
        "strptime(X)",
        "delpaths(X)",
        "def f: X; f",
        "def f: f | X; f",
        "def f(g): g | X; f(.)",
        "fromstream(X)",
        "add(X)",
        "tojson | X",
        "nth(X)",
        "bsearch(X)",
    ];
    const TWO: &[&str] = &[
        "X | Y",
        "X, Y",
        "X // Y",
        "X + Y",
        "X - Y",
        "X * Y",
        "X / Y",
        "X % Y",
        "X == Y",
        "X < Y",
        "X and Y",
        "X or Y",
        "X = Y",
        "X |= Y",
        "X += Y",
        "X //= Y",
        "X as $v | Y",
        "X as [$v, {a: $w}] | Y",
        "try (X) catch (Y)",
        "limit(X; Y)",
        "skip(X; Y)",
        "until(X; Y)",
        "while(X; Y)",
        "range(X; Y)",
        "setpath(X; Y)",
        "reduce (X) as $v (0; Y)",
        "foreach (X) as $v (0; Y)",
        "{a: X, (Y): 1}",
        ".[X:Y]",
        ".[X] | Y",
        "sub(X; Y)",
        "gsub(X; Y)",
        "nth(X; Y)",
        "if X then Y end",
        "def f(g): X; f(Y)",
        "def f($a): X; f(Y)",
        "recurse(X; Y)",
        "any(X; Y)",
        "split(X; Y)",
        "[splits(X; Y)]",
        "pow(X; Y)",
        "IN(X; Y)",
        "INDEX(X; Y)",
        "limit(3; X) | Y",
    ];
    if depth == 0 {
        return random.pick(LEAVES);
    }
    match random.below(5) {
        0 => random.pick(LEAVES),
        1 | 2 => random.pick(ONE).replace('X', &format!("({})", wild(random, depth - 1))),
        _ => {
            let (x, y) = (wild(random, depth - 1), wild(random, depth - 1));
            random.pick(TWO).replace('X', &format!("({x})")).replace('Y', &format!("({y})"))
        }
    }
}

#[test]
fn random_expressions_end_without_a_panic() {
    let mut random = Random(SEED ^ 0xffff);
    let inputs = inputs();
    let (mut ran, mut exhausted) = (0, 0);
    for round in 0..WILD {
        let source = wild(&mut random, 1 + round % 5);
        let source = format!("7 as $v | def f: 1; {source}");
        let input = &inputs[round % inputs.len()];
        let result =
            catch_unwind(|| ours(&source, input)).unwrap_or_else(|_| panic!("{source} on {input} panicked"));
        ran += usize::from(result.is_some());
        exhausted += usize::from(matches!(result, Some(Err(ExpressionError::Budget { .. }))));
        if let Some(Ok(value)) = result {
            let text = value.to_string();
            assert!(serde_json::from_str::<Value>(&text).is_ok(), "{source} gave what cannot be read back");
        }
    }
    eprintln!("{ran} ran, {exhausted} exhausted their budget");
    assert!(ran > WILD / 2 && exhausted > 20, "the expressions say little: {ran} ran, {exhausted} exhausted");
}
