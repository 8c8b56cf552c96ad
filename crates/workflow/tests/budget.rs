//! Expressions that would never end, or would fill the memory, end with a budget error: soon, within a bound of heap, and
//! on a thread with a small stack. The heap is counted by this binary's allocator.
#![expect(unsafe_code, reason = "counting what is allocated takes an allocator of our own")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use workflow::expression::{Expression, ExpressionError, Meter, Variables};

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged; only numbers are kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller's promises are those of `GlobalAlloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are those of `GlobalAlloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One measurement at a time: the allocator counts for the whole process.
static ALONE: Mutex<()> = Mutex::new(());

const MAX_BYTES: usize = 64 << 20;
const MAX_TIME: Duration = Duration::from_millis(if cfg!(debug_assertions) { 3_000 } else { 100 });
/// Small on purpose: evaluation must not nest natively.
const STACK_BYTES: usize = 512 << 10;

/// What this thread has had of a processor: a busy machine must not fail the test. Zero where Linux does not say.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split_whitespace().next().and_then(|number| number.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}

/// The result, and the highest number of bytes above those at the start.
fn measured(source: &str, input: &Value) -> (Result<Value, ExpressionError>, usize, Duration, u64) {
    let expression = Expression::compile(source).unwrap_or_else(|error| panic!("{source}: {error}"));
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    std::thread::scope(|scope| {
        let run = || {
            let before = NOW.load(Ordering::Relaxed);
            PEAK.store(before, Ordering::Relaxed);
            let mut meter = Meter::default();
            let start = processor_time();
            let result = expression.evaluate(input, &Variables::new(), &mut meter);
            (
                result,
                PEAK.load(Ordering::Relaxed) - before,
                processor_time().saturating_sub(start),
                meter.steps_spent(),
            )
        };
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, run);
        thread.expect("a thread").join().expect("no panic")
    })
}

fn within(source: &str, bytes: usize, time: Duration, steps: u64) {
    eprintln!(
        "{:>8.2} ms {:>6.1} MiB {steps:>8} steps  {source}",
        time.as_secs_f64() * 1e3,
        bytes as f64 / f64::from(1 << 20)
    );
    assert!(bytes < MAX_BYTES, "{source} took {bytes} bytes");
    assert!(time < MAX_TIME, "{source} took {time:?}");
}

/// Must end with a budget error.
fn exhausts(source: &str, input: &Value) {
    let (result, bytes, time, steps) = measured(source, input);
    let error = result.map(|value| value.to_string().len()).expect_err(source);
    assert!(matches!(error, ExpressionError::Budget { .. }), "{source}: {error}");
    within(source, bytes, time, steps);
}

/// May end as it likes, within the limits.
fn bounded(source: &str, input: &Value) {
    let (result, bytes, time, steps) = measured(source, input);
    if let Ok(value) = result {
        assert!(value.to_string().len() < MAX_BYTES);
    }
    within(source, bytes, time, steps);
}

#[test]
fn endless_expressions_end() {
    for source in [
        "def f: f; f",
        "def f: f | f; f",
        "def f: f, f; f",
        "def f: 1 + f; f",
        "def f: [f]; f",
        "def f: {a: f}; f",
        "def f: -f; f",
        "def f: f as $x | $x; f",
        "def f: if f then 1 else 2 end; f",
        "def f: (f | .) // 1; f",
        "def f: try f catch f; f",
        "def f(g): f(g + 1); f(0)",
        "def f(g): f(g | .); f(.)",
        "def f(g): f(g, g); f(1)",
        "def f(g): g | f(g | f(g)); f(.)",
        "def f($x): f($x + 1); f(0)",
        "def f: def g: f; g; f",
        "def f: label $x | f; f",
        "def f: first(f); f",
        "def f: limit(1; f); f",
        "def f: .a |= f; f",
        "def f: reduce f as $x (0; 1); f",
        "def f: foreach f as $x (0; 1); f",
        "def f: .[f]; f",
        "def f: tojson | f; f",
        "def f: error(f); f",
        "repeat(.) | empty",
        "last(repeat(1))",
        "last(range(1e12))",
        "[range(1e12)] | length",
        "[range(0; 1; 0)]",
        "last(range(0; 1; 0))",
        "reduce range(1e10) as $x (0; . + $x)",
        "last(foreach range(1e10) as $x (0; . + $x))",
        "until(false; .)",
        "until(false; . + 1)",
        "last(while(true; .))",
        "[limit(1e9; repeat(1))]",
        "last(limit(1e9; repeat(1)))",
        "last(recurse(.))",
        "last(recurse(. + 1))",
        "isempty(range(1e12) | select(false))",
        "any(range(1e12); false)",
        "[range(1e6)] | combinations(9)",
        "[range(300)] | [combinations(2)] | length | until(false; .)",
        "first(range(1e12) | select(. < 0))",
        "label $x | range(1e12) | if . < 0 then break $x else empty end",
        "[.[]?, repeat(1)] | length",
    ] {
        if Expression::compile(source).is_ok() {
            exhausts(source, &json!(null));
        }
    }
}

#[test]
fn nothing_catches_exhaustion() {
    for source in [
        "try last(repeat(1)) catch \"caught\"",
        "last(repeat(1))?",
        "last(repeat(1)) // \"other\"",
        "first(last(repeat(1)), 1)",
        "limit(1; last(repeat(1)))",
        "label $x | last(repeat(1)) | break $x",
        "[.[]?, (try (def f: f; f) catch 1)]",
        "isvalid(last(repeat(1)))",
        "repeat(try error(\"x\") catch .) | empty",
        "def f: try error(1) catch f; f",
        "def f: (error(1))? // f; f",
        "def f: (f?), (f?); f",
        "range(1e12) | error(1)?",
        "last(range(1e12) | (error(1)?))",
        "reduce (try repeat(1) catch 1) as $x (0; . + 1)",
        "isempty(repeat(1) | error(1)?)",
        "any(repeat(1); error(\"x\")?)",
    ] {
        exhausts(source, &json!(null));
    }
}

#[test]
fn what_would_be_huge_is_not_built() {
    for source in [
        "\"x\" * 1e9",
        "\"x\" * 1e18",
        "\"x\" * infinite",
        "[range(1e5)] | [.[] as $x | .[] as $y | $x * $y]",
        "reduce range(1e6) as $i (\"x\"; . + .)",
        "reduce range(1e6) as $i ([1]; . + .)",
        "reduce range(1e6) as $i (1; [., .])",
        "reduce range(1e6) as $i (1; {a: ., b: .})",
        "reduce range(1e6) as $i (1; [.])",
        "reduce range(1e6) as $i ({}; {a: .})",
        "reduce range(60) as $i (1; [., .]) | tojson",
        "reduce range(60) as $i (1; [., .]) | [..] | length",
        "reduce range(60) as $i (1; [., .]) | flatten",
        "reduce range(60) as $i (1; [., .]) | . == .",
        "reduce range(1e6) as $i (\"a\"; @base64)",
        "reduce range(1e6) as $i (\"a\"; @uri + @html + @sh)",
        "reduce range(1e6) as $i (\"\\\"\"; tojson)",
        "reduce range(1e6) as $i (\"a\"; [., .] | tojson)",
        "reduce range(1e6) as $i (\"a\"; \"\\(.)\\(.)\")",
        "reduce range(1e6) as $i (\"a\"; [., .] | join(\",\"))",
        "reduce range(1e6) as $i (\"a\"; gsub(\"a\"; \"aa\"))",
        "reduce range(1e6) as $i (null; setpath([$i]; 1))",
        "setpath([1e9]; 1)",
        "setpath([1e15]; 1)",
        ".[1e9] = 1",
        "[range(1e6)] | sort",
        "[range(1e6)] | group_by(.)",
        "[range(1e5)] | map(tostring) | join(\"\") | explode | implode | . * 100",
        "def f: [., .] | f; 1 | f",
        "def f: {a: .} | f; 1 | f",
        "[range(1e5)] | . - .",
        "[range(1e4)] | contains(.)",
        "[range(1e5)] | indices([range(1e4)])",
        "[limit(1e6; repeat([range(100)]))]",
        "[range(1e6) | [.]] | transpose",
        "reduce range(1e6) as $i ([]; [.[]?, $i])",
        "reduce range(1e6) as $i ({}; .[$i | tostring] = $i)",
        "[range(1e6) | tostring] | unique",
        "reduce range(1e4) as $i (\"[\"; . + \"[\") | fromjson",
        "[range(1e6)] | to_entries",
        "[range(1e4)] | map([range(1e4)])",
        "def f: path(f); f",
        "[paths(range(1e9))]",
        "[range(1e6)] | del(.[range(1e6)])",
        "[range(1e6)] | .[range(1e6)] |= empty",
    ] {
        bounded(source, &json!(null));
    }
    for source in [
        "\"x\" * 1e9",
        "reduce range(1e6) as $i (1; [., .])",
        "reduce range(1e6) as $i (1; [.])",
        "setpath([1e9]; 1)",
    ] {
        exhausts(source, &json!(null));
    }
}

#[test]
fn patterns_are_bounded() {
    let text = json!("a".repeat(100_000));
    for source in [
        "test(\"(a+)+$b\")",
        "test(\"(a|aa)+$b\")",
        "test(\"(.*)(.*)(.*)(.*)(.*)[^a]\")",
        "test(\"(a?){50}a{50}b\")",
        "test(\"(a{0,200}){0,200}b\")",
        "test(\"((a{0,99}){0,99}){0,99}\")",
        "test(\"\\\\w{1,500}\\\\w{1,500}b\")",
        "[match(\"a*?b|a\"; \"g\")] | length",
        "[match(\".*[^a]|a\"; \"g\")] | length",
        "gsub(\"a\"; \"b\")",
        "gsub(\"\"; \"b\")",
        "[scan(\".\")] | length",
        "[splits(\"a\")] | length",
        "last(range(1e9) | tostring | test(\"x\\(.)\"))",
        "last(range(1e9) as $i | test(\"a{\\($i)}{\\($i)}\")?)",
        "[match(\"(((((a)))))\"; \"g\")] | length",
    ] {
        bounded(source, &text);
    }
}

#[test]
fn large_inputs_are_bounded() {
    let items: Vec<Value> =
        (0..50_000).map(|i| json!({"id": i, "name": format!("n{i}"), "tags": ["a", "b"]})).collect();
    let input = json!({"items": items});
    for source in [
        "..",
        "[..] | length",
        "[.. | ..] | length",
        "tojson | fromjson",
        ".items | map(.id) | add",
        ".items | sort_by(.name)",
        ".items | group_by(.tags)",
        ".items | [.[] | [., .]]",
        ".items | to_entries",
        ".items == .items",
        "[.items[] | tojson] | join(\",\")",
        ". as $x | [range(1e6) | $x]",
        "walk(.)",
        "[paths]",
        ".items[].id |= . + 1",
        "del(.items[].name)",
        ".items | length",
        "[leaf_paths]",
        "[tostream]",
        "@json",
        ".items | unique | length",
        ".items | flatten",
        ".items | contains([{id: 1}])",
        ".items | index({id: 1})",
    ] {
        bounded(source, &input);
    }
}

#[test]
fn texts_that_nest_do_not_overflow_the_compiler() {
    for (open, middle, close) in [
        ("(", "1", ")"),
        ("[", "1", "]"),
        ("{a:", "1", "}"),
        ("-", "1", ""),
        ("try ", "1", ""),
        ("if ", "1", " then 1 else 1 end"),
        ("def f: ", "1", "; f"),
        ("reduce ", ".", " as $x (0; 1)"),
        ("label $x | ", "1", ""),
        ("1 as $x | ", "1", ""),
        ("1 | ", "1", ""),
        ("1, ", "1", ""),
        ("1 + ", "1", ""),
        ("1 // ", "1", ""),
        ("1 and ", "1", ""),
        ("1 = ", "1", ""),
        (".a", "", ""),
        ("", ".", "?"),
        ("", ".", "[0]"),
        ("", ".", "[]"),
        ("\"\\(", "1", ")\""),
        (". as [", "$x", "] | 1"),
        ("f(", "1", ")"),
        ("..|", ".", ""),
    ] {
        for depth in [50, 700, 3_990, 20_000] {
            let source = format!("{}{middle}{}", open.repeat(depth), close.repeat(depth));
            if let Ok(expression) = Expression::compile(&source) {
                let _ = expression.evaluate(&json!(null), &Variables::new(), &mut Meter::default());
            }
        }
    }
}

#[test]
fn a_turn_has_a_budget_too() {
    let expression = Expression::compile("[range(1000)] | length").expect("valid");
    let mut meter = Meter::new(50_000);
    let mut evaluations = 0;
    let error = loop {
        match expression.evaluate(&json!(null), &Variables::new(), &mut meter) {
            Ok(value) => assert_eq!(value, json!(1000)),
            Err(error) => break error,
        }
        evaluations += 1;
    };
    assert!(matches!(error, ExpressionError::Budget { resource: "steps", .. }), "{error}");
    assert!((5..30).contains(&evaluations), "{evaluations}");
    assert_eq!((meter.steps_left(), meter.steps_spent()), (0, 50_000));
}

#[test]
fn the_cost_is_the_same_every_time() {
    let input = json!({"a": [3, 1, 2], "b": "x".repeat(1000)});
    for source in [
        ".a | sort | map(. * 2)",
        ".b | gsub(\"x\"; \"yy\") | length",
        "[..] | length",
        "[limit(5; repeat(.a | {a: .}))]",
    ] {
        let expression = Expression::compile(source).expect("valid");
        let cost = || {
            let mut meter = Meter::default();
            expression.evaluate(&input, &Variables::new(), &mut meter).expect("a value");
            meter.steps_spent()
        };
        assert_eq!(cost(), cost(), "{source}");
    }
}

#[test]
fn ordinary_work_is_far_from_the_limits() {
    let items: Vec<Value> =
        (0..1000).map(|i| json!({"id": i, "price": i % 17, "name": format!("item {i}")})).collect();
    let input = json!({"items": items});
    for source in [
        ".items | map(select(.price > 3) | {id, total: (.price * 2)})",
        ".items | group_by(.price) | map({price: .[0].price, count: length})",
        "[.items[].name] | join(\", \")",
        "reduce .items[] as $i ({}; .[$i.name] = $i.price)",
        ".items |= map(.price += 1)",
        "reduce .items[] as $i ([]; . + [$i.id])",
        "[.items[].name | sub(\"item (?<n>\\\\d+)\"; \"n\\(.n)\")] | length",
    ] {
        let (result, bytes, time, steps) = measured(source, &input);
        result.unwrap_or_else(|error| panic!("{source}: {error}"));
        within(source, bytes, time, steps);
    }
}
