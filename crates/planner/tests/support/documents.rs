//! Random workflow documents of every kind of task that the planner runs.

use serde_json::{Map, Value, json};

use super::random::Random;

/// A document; small, deep or wide as the seed has it.
pub(crate) fn document(random: &mut Random) -> Value {
    let tasks = list(random, 0, 4);
    let mut document = json!({
        "document": { "dsl": "1.0.3", "namespace": "test", "name": "random", "version": "1.0.0" },
        "use": {
            "functions": { "twice": { "do": list(random, 3, 2) } },
            "errors": { "oops": { "type": "https://example.com/oops", "status": 418, "title": "Oops" } },
            "retries": { "thrice": { "delay": { "seconds": 1 }, "limit": { "attempt": { "count": 3 } } } },
            "timeouts": { "minute": { "after": { "minutes": 1 } } }
        },
        "do": tasks,
    });
    if random.once_in(8) {
        document["timeout"] = json!({ "after": { "minutes": 5 } });
    }
    document
}

fn list(random: &mut Random, depth: usize, most: usize) -> Value {
    let names: Vec<String> = (0..1 + random.below(most)).map(|index| format!("t{index}")).collect();
    let entry = |(index, name): (usize, &String)| {
        let mut task = task(random, depth);
        if random.once_in(6) {
            // Only forward, so that the run ends.
            let later = names.get(index + 1..).unwrap_or_default();
            let then = match random.below(6) {
                0 => "end",
                1 | 2 => "exit",
                _ => later.get(random.below(later.len())).map_or("continue", String::as_str),
            };
            task["then"] = json!(then);
        }
        if random.once_in(10) {
            task["if"] = json!("${ (.seed // 0) % 2 == 0 }");
        }
        if random.once_in(10) {
            task["export"] = json!({ "as": "${ {was: $output} }" });
        }
        if random.once_in(12) {
            task["output"] = json!({ "as": "${ {out: (. | tostring | length), input: ($input | type)} }" });
        }
        if random.once_in(8) {
            task["timeout"] =
                if random.once_in(2) { json!("minute") } else { json!({ "after": { "seconds": 30 } }) };
        }
        json!({ name: task })
    };
    Value::Array(names.iter().enumerate().map(entry).collect())
}

fn task(random: &mut Random, depth: usize) -> Value {
    let simple = depth >= 3 || random.once_in(2);
    match random.below(if simple { 9 } else { 14 }) {
        0..=2 => json!({ "call": "noop", "with": { "n": random.below(100) } }),
        3 if random.once_in(2) => json!({ "set": { "x": "${ .x + 1 }", "run": "${ $workflow.id }" } }),
        3 => json!({ "switch": [
            { "one": { "when": "${ .x == 1 }", "then": "exit" } },
            { "other": { "then": "continue" } },
        ] }),
        4 => json!({ "wait": { "seconds": random.below(40) } }),
        5 => json!({ "run": { "shell": { "command": "true" }, "await": !random.once_in(4) } }),
        6 => json!({ "run": {
            "workflow": { "namespace": "test", "name": "child", "version": "1.0.0" },
            "await": !random.once_in(4),
        } }),
        7 if depth < 3 => json!({ "call": "twice", "with": {} }),
        7 | 8 => json!({ "raise": { "error": "oops" } }),
        9 => json!({ "do": list(random, depth + 1, 3) }),
        10 => json!({
            "for": { "in": "${ [1, 2, 3] }", "each": "item" },
            "do": list(random, depth + 1, 2),
        }),
        11 => json!({ "fork": {
            "compete": random.once_in(3),
            "branches": list_of_branches(random, depth),
        } }),
        _ => json!({ "try": list(random, depth + 1, 3), "catch": catch(random, depth) }),
    }
}

fn list_of_branches(random: &mut Random, depth: usize) -> Value {
    let branches = 1 + random.below(3);
    (0..branches).map(|index| json!({ format!("b{index}"): task(random, depth + 1) })).collect()
}

fn catch(random: &mut Random, depth: usize) -> Value {
    let mut catch = Map::new();
    if random.once_in(3) {
        catch.insert("errors".to_owned(), json!({ "with": { "status": 418 } }));
    }
    match random.below(4) {
        0 => drop(catch.insert("retry".to_owned(), json!("thrice"))),
        1 => drop(catch.insert(
            "retry".to_owned(),
            json!({
                "delay": { "milliseconds": 500 },
                "backoff": { "exponential": {} },
                "jitter": { "from": { "milliseconds": 1 }, "to": { "milliseconds": 100 } },
                "limit": { "attempt": { "count": 4, "duration": { "seconds": 20 } }, "duration": { "minutes": 2 } }
            }),
        )),
        _ => {}
    }
    if random.once_in(2) {
        catch.insert("do".to_owned(), list(random, depth + 1, 1));
    }
    Value::Object(catch)
}
