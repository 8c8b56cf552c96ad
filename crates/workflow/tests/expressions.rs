//! What expressions give: one line per feature of jq.

use serde_json::{Value, json};
use workflow::expression::{Expression, ExpressionError, Meter, Variables};

fn evaluate(source: &str, input: &Value) -> Result<Value, String> {
    let context = json!({"x": {"y": [1, 2, 3]}});
    let variables = Variables::new().with("context", &context);
    let expression = Expression::compile(source).map_err(|error| format!("compile: {error}"))?;
    expression.evaluate(input, &variables, &mut Meter::default()).map_err(|error| match error {
        ExpressionError::Failed { message, .. } => message,
        ExpressionError::Budget { resource, .. } => format!("budget: {resource}"),
    })
}

fn check(source: &str, input: Value, expect: Value) {
    assert_eq!(evaluate(source, &input), Ok(expect), "{source} on {input}");
}

fn fails(source: &str, part: &str) {
    let error = evaluate(source, &Value::Null).expect_err(source);
    assert!(error.contains(part), "{source}: {error}");
}

#[test]
fn paths() {
    check(".", json!({"a": 1}), json!({"a": 1}));
    check(".a.b", json!({"a": {"b": 2}}), json!(2));
    check(".a.b", json!({}), json!(null));
    check(".[1]", json!([1, 2]), json!(2));
    check(".[-1]", json!([1, 2]), json!(2));
    check(".a[0].b", json!({"a": [{"b": 3}]}), json!(3));
    check("$context.x.y[1]", json!(null), json!(2));
    check(".[\"a b\"]", json!({"a b": 1}), json!(1));
    check(".\"a b\"", json!({"a b": 1}), json!(1));
    check("[.[]]", json!({"a": 1, "b": 2}), json!([1, 2]));
    check("[.[] | .a?]", json!([{"a": 1}, 2]), json!([1]));
    check(".[1:3]", json!([0, 1, 2, 3]), json!([1, 2]));
    check(".[-2:]", json!("abcdé"), json!("dé"));
    check("[..]", json!([[1]]), json!([[[1]], [1], 1]));
    check(".a as $x | $x + 1", json!({"a": 1}), json!(2));
    check(". as [$a, {b: $c}] | [$a, $c]", json!([1, {"b": 2}]), json!([1, 2]));
    check(". as {a: $x, b: [$y, $z]} | $x + $y + $z", json!({"a": 1, "b": [2, 3]}), json!(6));
    check(". as {$a} | $a", json!({"a": 1}), json!(1));
    fails("1 | .a", "cannot index number with \"a\"");
    fails("$nothing", "no variable $nothing");
}

#[test]
fn values() {
    check("1 + 2 * 3 - 4 / 2 % 3", json!(null), json!(5));
    check("10 / 4", json!(null), json!(2.5));
    check("\"a\" + \"b\"", json!(null), json!("ab"));
    check("[1] + [2]", json!(null), json!([1, 2]));
    check("{a: 1} + {b: 2, a: 3}", json!(null), json!({"a": 3, "b": 2}));
    check("{a: {b: 1, c: 2}} * {a: {b: 3}}", json!(null), json!({"a": {"b": 3, "c": 2}}));
    check("[1, 2, 2, 3] - [2]", json!(null), json!([1, 3]));
    check("\"a,b\" / \",\"", json!(null), json!(["a", "b"]));
    check("\"ab\" * 3", json!(null), json!("ababab"));
    check("null + 1", json!(null), json!(1));
    check("-(1, 2)", json!(null), json!(-1));
    check(
        "[1 < 2, \"a\" < \"b\", [] < {}, null < false, 1 == 1.0, {a: 1} == {a: 1}]",
        json!(null),
        json!([true, true, true, true, true, true]),
    );
    check("[true and false, true or error, false and error]", json!(null), json!([false, true, false]));
    check(
        "{a: 1, \"b\": 2, (\"c\" + \"d\"): 3, \"e\\(1)\": 4}",
        json!(null),
        json!({"a": 1, "b": 2, "cd": 3, "e1": 4}),
    );
    check("[{a: (1, 2)}]", json!(null), json!([{"a": 1}, {"a": 2}]));
    check("{a, $context}.a", json!({"a": 5}), json!(5));
    check("\"x\\(.a)y\\(.b)\"", json!({"a": 1, "b": [true]}), json!("x1y[true]"));
    check("@base64 \"a\\(.)\"", json!("hi"), json!("aaGk="));
    check("9007199254740993", json!(null), json!(9_007_199_254_740_993_i64));
    check("9223372036854775807 + 1", json!(null), json!(9.223372036854776e18));
    fails("1 / 0", "divisor is zero");
    fails("{} + 1", "cannot be added");
}

#[test]
fn control() {
    check("if . > 1 then \"big\" elif . == 1 then \"one\" else \"small\" end", json!(1), json!("one"));
    check("if false then 1 end", json!(7), json!(7));
    check("[.[] | select(. > 1)]", json!([1, 2, 3]), json!([2, 3]));
    check(".a // \"none\"", json!({}), json!("none"));
    check("[(1, null, 2) // 3]", json!(null), json!([1, 2]));
    check("[(null, false) // (3, 4)]", json!(null), json!([3, 4]));
    fails("(error(\"x\")) // 1", "x");
    check("(error(\"x\"))? // 1", json!(null), json!(1));
    check("try error(\"x\") catch .", json!(null), json!("x"));
    check("try error({a: 1}) catch .a", json!(null), json!(1));
    check(
        "[.[] | try (if . > 1 then error(\"big\") else . end) catch \"caught\"]",
        json!([1, 2]),
        json!([1, "caught"]),
    );
    check("[(1, error(\"x\"), 2)?]", json!(null), json!([1]));
    fails("(try 1 catch 2) | error(\"after\")", "after");
    fails("(1 // 2) | error(\"after\")", "after");
    check(
        "[try ((1, 2) | if . == 2 then error(\"x\") else . end) catch \"c\"]",
        json!(null),
        json!([1, "c"]),
    );
    check("reduce .[] as $x (0; . + $x)", json!([1, 2, 3]), json!(6));
    check("[foreach .[] as $x (0; . + $x)]", json!([1, 2, 3]), json!([1, 3, 6]));
    check("[foreach .[] as [$a, $b] (0; . + $a; [., $b])]", json!([[1, 2], [3, 4]]), json!([[1, 2], [4, 4]]));
    check("[label $out | 1, 2, break $out, 3]", json!(null), json!([1, 2]));
    check("[label $a | (1, 2) | label $b | if . == 2 then break $a else . end]", json!(null), json!([1]));
    check("def f: . + 1; f | f", json!(1), json!(3));
    check("def f(g): g | g; f(. * 2)", json!(3), json!(12));
    check("def f($a; $b): $a + $b + a; f(1; 2)", json!(null), json!(4));
    check("def fac: if . <= 1 then 1 else . * (. - 1 | fac) end; fac", json!(10), json!(3_628_800));
    check("def f(x): def g: x + 1; g; f(.a)", json!({"a": 1}), json!(2));
    check("def f(x): x as $v | def g(y): [$v, y]; g(x + 1); f(.)", json!(1), json!([1, 2]));
    check("[limit(3; range(10))]", json!(null), json!([0, 1, 2]));
    check("[limit(3; repeat(1))]", json!(null), json!([null, 1, 1]));
    check("[first(range(5)), last(range(5)), nth(2; range(5))]", json!(null), json!([0, 4, 2]));
    check("[skip(2; range(4))]", json!(null), json!([2, 3]));
    check("[range(0; 10; 3)], [range(3; 0; -1)]", json!(null), json!([0, 3, 6, 9]));
    check("[range(3; 0; -1)]", json!(null), json!([3, 2, 1]));
    check("until(. > 100; . * 2)", json!(1), json!(128));
    check("[while(. < 10; . * 2)]", json!(1), json!([1, 2, 4, 8]));
    check("[recurse(if . < 3 then . + 1 else empty end)]", json!(0), json!([0, 1, 2, 3]));
    check("empty", json!(1), json!(null));
    check("[isempty(empty), isempty(1), isempty(1, error(\"x\"))]", json!(null), json!([true, false, false]));
    check("[any(. > 2), all(. > 0)]", json!([1, 2, 3]), json!([true, true]));
}

#[test]
fn updates() {
    check(".a = 1", json!({"b": 2}), json!({"b": 2, "a": 1}));
    check(".a.b |= . + 1", json!({"a": {"b": 1}}), json!({"a": {"b": 2}}));
    check(".[] += 1", json!([1, 2]), json!([2, 3]));
    check(".a //= 5", json!({"a": null}), json!({"a": 5}));
    check("(.a, .b) = 9", json!({}), json!({"a": 9, "b": 9}));
    check(".[1:] = [9]", json!([1, 2, 3]), json!([1, 9]));
    check(".[2] = 1", json!(null), json!([null, null, 1]));
    check("del(.a, .b)", json!({"a": 1, "b": 2, "c": 3}), json!({"c": 3}));
    check("del(.[0, 2])", json!([1, 2, 3]), json!([2]));
    check("del(.[] | select(. > 1))", json!([1, 2, 3]), json!([1]));
    check("(.[] | select(. > 1)) |= empty", json!([1, 2, 3]), json!([1]));
    check("map_values(. + 1)", json!({"a": 1}), json!({"a": 2}));
    check("walk(if type == \"number\" then . + 1 else . end)", json!([1, {"a": 2}]), json!([2, {"a": 3}]));
    check("[paths]", json!({"a": [1]}), json!([["a"], ["a", 0]]));
    check("path(.a[0].b)", json!(null), json!(["a", 0, "b"]));
    check("[path(.. | select(type == \"number\"))]", json!([1, [2]]), json!([[0], [1, 0]]));
    check("getpath([\"a\", 0])", json!({"a": [7]}), json!(7));
    check("setpath([\"a\", 0]; 1)", json!(null), json!({"a": [1]}));
    check("delpaths([[\"a\"], [\"b\", 0]])", json!({"a": 1, "b": [1, 2]}), json!({"b": [2]}));
    check("pick(.a.b)", json!({"a": {"b": 1, "c": 2}}), json!({"a": {"b": 1}}));
    check("to_entries", json!({"a": 1}), json!([{"key": "a", "value": 1}]));
    check(
        "from_entries",
        json!([{"key": "a", "value": 1}, {"name": "b", "value": null}]),
        json!({"a": 1, "b": null}),
    );
    check("with_entries(.value += 1)", json!({"a": 1}), json!({"a": 2}));
    check("[tostream]", json!({"a": [1]}), json!([[["a", 0], 1], [["a", 0]], [["a"]]]));
    check("fromstream(tostream)", json!({"a": [1, {"b": 2}]}), json!({"a": [1, {"b": 2}]}));
    fails("path(1)", "not a path");
    fails("(1 + 1) |= 2", "not a path");
}

#[test]
fn collections() {
    check(
        "[length, (.a | length), (null | length), (\"é\" | length), (-5 | length)]",
        json!({"a": [1, 2]}),
        json!([1, 2, 0, 1, 5]),
    );
    check("keys", json!({"b": 1, "a": 2}), json!(["a", "b"]));
    check("[has(\"a\"), has(\"b\")]", json!({"a": 1}), json!([true, false]));
    check("[.[] | has(1)]", json!([[1], [1, 2]]), json!([false, true]));
    check("contains({a: [\"b\"]})", json!({"a": ["abc", 1]}), json!(true));
    check("inside([1, 2])", json!([1]), json!(true));
    check("add", json!([1, 2, 3]), json!(6));
    check("add(.[] | .a)", json!([{"a": 1}, {"a": 2}]), json!(3));
    check(
        "sort",
        json!([3, "a", null, 1, [1], {"a": 1}, true, false]),
        json!([null, false, true, 1, 3, "a", [1], {"a": 1}]),
    );
    check(
        "sort_by(.a, .b)",
        json!([{"a": 2, "b": 1}, {"a": 1, "b": 2}, {"a": 1, "b": 1}]),
        json!([{"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": 2, "b": 1}]),
    );
    check("group_by(.a) | map(length)", json!([{"a": 2}, {"a": 1}, {"a": 2}]), json!([1, 2]));
    check("unique_by(.a)", json!([{"a": 2}, {"a": 1}, {"a": 2, "b": 1}]), json!([{"a": 1}, {"a": 2}]));
    check("[min, max, min_by(-.), max_by(-.)]", json!([2, 1, 3]), json!([1, 3, 3, 1]));
    check("unique", json!([2, 1, 2]), json!([1, 2]));
    check("reverse", json!([1, 2]), json!([2, 1]));
    check("[flatten, flatten(1)]", json!([1, [2, [3]]]), json!([[1, 2, 3], [1, 2, [3]]]));
    check("transpose", json!([[1, 2], [3]]), json!([[1, 3], [2, null]]));
    check("[combinations]", json!([[1, 2], [3]]), json!([[1, 3], [2, 3]]));
    check("[index(\",\"), rindex(\",\"), indices(\",\")]", json!("a,b,c"), json!([1, 3, [1, 3]]));
    check("[indices([1, 2]), indices(1)]", json!([1, 2, 1, 2]), json!([[0, 2], [0, 2]]));
    check("[.[] | IN(2, 3)]", json!([1, 2]), json!([false, true]));
    check("INDEX(.id)", json!([{"id": 1}, {"id": 2}]), json!({"1": {"id": 1}, "2": {"id": 2}}));
    check("[bsearch(2), bsearch(0)]", json!([1, 2, 3]), json!([1, -1]));
    check("[first, last, nth(1)]", json!([1, 2, 3]), json!([1, 3, 2]));
    check(
        "[.[] | type]",
        json!([null, true, 1, "a", [], {}]),
        json!(["null", "boolean", "number", "string", "array", "object"]),
    );
    check("[limit(2; .[])]", json!([1, 2, 3]), json!([1, 2]));
    check("[.[] | numbers, strings]", json!([1, "a", null]), json!([1, "a"]));
}

#[test]
fn texts() {
    check("[ascii_downcase, ascii_upcase]", json!("aB"), json!(["ab", "AB"]));
    check("[split(\", \"), (split(\"\") | length)]", json!("a, b"), json!([["a", "b"], 4]));
    check("join(\"-\")", json!(["a", 1, null, true]), json!("a-1--true"));
    check(
        "[startswith(\"a\"), endswith(\"a\"), ltrimstr(\"a\"), rtrimstr(\"b\")]",
        json!("ab"),
        json!([true, false, "b", "a"]),
    );
    check("[trim, ltrim, rtrim]", json!(" a "), json!(["a", "a ", " a"]));
    check(
        "[tostring, tojson, (tojson | fromjson)]",
        json!({"a": [1.5, null]}),
        json!(["{\"a\":[1.5,null]}", "{\"a\":[1.5,null]}", {"a": [1.5, null]}]),
    );
    check("[.[] | tonumber]", json!(["1", "-2.5", 3]), json!([1, -2.5, 3]));
    check("[explode, (explode | implode)]", json!("aé"), json!([[97, 233], "aé"]));
    check("@csv", json!(["a\"b", 1, null]), json!("\"a\"\"b\",1,"));
    check("@tsv", json!(["a\tb", 1]), json!("a\\tb\t1"));
    check("@html", json!("<a&'\">"), json!("&lt;a&amp;&#39;&quot;&gt;"));
    check("@uri", json!("a b/é"), json!("a%20b%2F%C3%A9"));
    check("@sh", json!(["it's", 1]), json!("'it'\\''s' 1"));
    check("[@base64, (@base64 | @base64d)]", json!("hello"), json!(["aGVsbG8=", "hello"]));
    check("@json", json!([1]), json!("[1]"));
    check("utf8bytelength", json!("é"), json!(2));
    fails("\"x\" | tonumber", "cannot be read as a number");
    fails("\"{\" | fromjson", "is no JSON");
}

#[test]
fn patterns() {
    check("test(\"B\"; \"i\")", json!("abc"), json!(true));
    check(
        "[match(\"a(b)?\"; \"g\") | [.offset, .length, .string, .captures[0].string]]",
        json!("éab a"),
        json!([[1, 2, "ab", "b"], [4, 1, "a", null]]),
    );
    check("capture(\"(?<y>\\\\d{4})-(?<m>\\\\d+)\")", json!("on 2026-11"), json!({"y": "2026", "m": "11"}));
    check("[scan(\"\\\\d+\")]", json!("1 a 22"), json!(["1", "22"]));
    check("[scan(\"(a)(.)\")]", json!("abac"), json!([["a", "b"], ["a", "c"]]));
    check("sub(\"(?<x>b+)\"; \"[\\(.x)]\")", json!("abba b"), json!("a[bb]a b"));
    check("gsub(\"b\"; \"c\")", json!("abba"), json!("acca"));
    check("gsub(\"\"; \"-\")", json!("ab"), json!("-a-b-"));
    check("[splits(\", *\")]", json!("a, b,c"), json!(["a", "b", "c"]));
    check(
        "[\"foo bar\" | match(\"(?<first>\\\\w+) (\\\\w+)\").captures[].name]",
        json!(null),
        json!(["first", null]),
    );
    check("test(\"^a+$\"; \"\")", json!("aaa"), json!(true));
    check("test(\"a.c\"; \"x\")", json!("abc"), json!(true));
    check(
        "[match(\"a|ab\").string, match(\"ab|a\").string, match(\"a+?\").string]",
        json!("aab"),
        json!(["a", "a", "a"]),
    );
    check("test(\"\\\\bfoo\\\\b\")", json!("a foo b"), json!(true));
    fails("\"a\" | test(\"(\")", "is no pattern");
    fails("\"a\" | test(\"a\"; \"q\")", "is no flag");
}

#[test]
fn numbers_and_times() {
    check("[floor, ceil, round, sqrt]", json!(2.25), json!([2, 3, 2, 1.5]));
    check("[pow(2; 10), (100 | log10), (-1 | abs)]", json!(null), json!([1024, 2, 1]));
    check("[nan, infinite] | map(isnan, isinfinite)", json!(null), json!([true, false, false, true]));
    check("nan", json!(null), json!(null));
    check("todate", json!(1_425_599_621), json!("2015-03-05T23:53:41Z"));
    check("fromdate", json!("2015-03-05T23:53:41Z"), json!(1_425_599_621));
    check(
        "[gmtime, (gmtime | mktime)]",
        json!(1_425_599_621),
        json!([[2015, 2, 5, 23, 53, 41, 4, 63], 1_425_599_621]),
    );
    check("strftime(\"%Y/%m/%d\")", json!(1_425_599_621), json!("2015/03/05"));
    check("strptime(\"%Y-%m-%dT%H:%M:%SZ\") | mktime", json!("2015-03-05T23:51:47Z"), json!(1_425_599_507));
}

#[test]
fn what_does_not_compile() {
    for (source, part) in [
        ("", "expected term, found its end"),
        (".a |", "expected term"),
        ("foo", "there is no function `foo`"),
        ("map", "takes 1 arguments, not 0"),
        ("break $x", "outside of `label"),
        ("{a", "closing brace"),
        ("$secrets.x", "`$secrets` cannot be read here"),
        ("$ENV.HOME", "`$ENV` cannot be read here"),
        ("$__loc__", "`$__loc__` cannot be read here"),
        ("now", "`now` cannot be used here"),
        ("env.HOME", "`env` cannot be used here"),
        ("input", "`input` cannot be used here"),
        ("debug", "`debug` cannot be used here"),
        ("input_filename", "cannot be used here"),
        ("localtime", "cannot be used here"),
        ("halt", "cannot be used here"),
    ] {
        let error = Expression::compile(source).expect_err(source);
        assert!(error.message.contains(part), "{source}: {error}");
    }
}

#[test]
fn the_variables_it_reads() {
    let names = |source| {
        Expression::compile(source).expect(source).variables().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(names("$context.a"), ["context"]);
    assert_eq!(names(". as $x | $x + $input + $task.name"), ["input", "task"]);
    assert_eq!(names(".a"), Vec::<String>::new());
}
