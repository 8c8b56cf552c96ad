//! What a schema refuses, what it cannot check, and that it agrees with a full validator on the rest.

use serde_json::json;

use super::*;

fn verdict(schema: &Value, value: &Value) -> Result<(), StepError> {
    let schema = Schema { format: "json".to_owned(), source: SchemaSource::Inline(schema.clone().into()) };
    check(&schema, value, "input")
}

fn detail(schema: Value, value: Value) -> String {
    verdict(&schema, &value).expect_err("the value should not match").detail
}

#[test]
fn an_error_names_the_place_and_the_rule() {
    let schema = json!({ "properties": { "pets": { "items": { "required": ["name"] } } } });
    assert_eq!(
        detail(schema, json!({ "pets": [{ "name": 1 }, {}] })),
        "the input does not match its schema: `/pets/1` has no `name`, which is required"
    );
    assert_eq!(
        detail(json!({ "type": ["string", "null"] }), json!(1)),
        "the input does not match its schema: the value must be of type string, null"
    );
}

#[test]
fn what_cannot_be_checked_is_refused() {
    for schema in [
        json!({ "unevaluatedProperties": false }),
        json!({ "$ref": "https://example.com/schema.json" }),
        json!({ "$ref": "#/$defs/missing" }),
        json!({ "pattern": "(" }),
        json!(7),
    ] {
        assert!(detail(schema, json!("text")).contains("cannot be used"));
    }
}

#[test]
fn a_schema_that_explodes_runs_out_of_checks() {
    let mut schemas = Map::new();
    for level in 0..24 {
        let next = json!({ "$ref": format!("#/$defs/s{}", level + 1) });
        schemas.insert(format!("s{level}"), json!({ "anyOf": [next, next] }));
    }
    schemas.insert("s24".to_owned(), json!(false));
    assert!(detail(json!({ "$defs": schemas, "$ref": "#/$defs/s0" }), json!(1)).contains("checks"));
    assert!(detail(json!({ "$ref": "#" }), json!(1)).contains("deep"));
    let pairs: Vec<usize> = (0..2_000).collect();
    assert!(detail(json!({ "uniqueItems": true }), json!(pairs)).contains("checks"));
}

#[test]
fn it_agrees_with_a_full_validator() {
    let mut state = 1_u64;
    let mut below = move |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    let mut matching = 0;
    for _ in 0..1_500 {
        let (schema, value) = (random_schema(&mut below, 0), random_value(&mut below, 0));
        let theirs = jsonschema::is_valid(&schema, &value);
        assert_eq!(verdict(&schema, &value).is_ok(), theirs, "schema {schema} value {value}");
        matching += u32::from(theirs);
    }
    assert!((200..1_300).contains(&matching), "{matching} of 1500 match: the test tells little");
}

fn random_value(below: &mut impl FnMut(u64) -> u64, depth: u32) -> Value {
    match below(if depth > 2 { 5 } else { 7 }) {
        0 => Value::Null,
        1 => json!(below(2) == 0),
        2 => json!(below(6)),
        3 => json!(below(12) as f64 / 2.0),
        4 => json!(["", "a", "ab", "abc", "ä"][below(5) as usize]),
        5 => (0..below(4)).map(|_| random_value(below, depth + 1)).collect(),
        _ => (0..below(4))
            .map(|_| (["a", "b", "c"][below(3) as usize].to_owned(), random_value(below, depth + 1)))
            .collect::<Map<_, _>>()
            .into(),
    }
}

fn random_schema(below: &mut impl FnMut(u64) -> u64, depth: u32) -> Value {
    if depth > 2 {
        return json!(below(3) != 0);
    }
    let mut schema = Map::new();
    for _ in 0..1 + below(2) {
        let mut inner = || random_schema(below, depth + 1);
        let schemas = [inner(), inner(), inner()];
        let [first, second, third] = schemas.clone();
        let few = json!(below(4));
        let (keyword, argument) = match below(30) {
            0 => ("type", json!(["object", "array"])),
            1 => ("type", json!(["integer", "string", "object"])),
            2 => ("enum", json!([1, "a", null, [], {}])),
            3 => ("const", json!(1.0)),
            4 => ("minimum", few),
            5 => ("exclusiveMaximum", few),
            6 => ("multipleOf", json!(2)),
            7 => ("minLength", few),
            8 => ("maxLength", few),
            9 => ("pattern", json!("^a")),
            10 => ("minItems", few),
            11 => ("maxItems", few),
            12 => ("prefixItems", json!([first, second])),
            13 => ("items", first),
            14 => ("contains", first),
            15 => ("maxContains", few),
            16 => ("uniqueItems", json!(true)),
            17 => ("required", json!(["a"])),
            18 => ("properties", json!({ "a": first, "b": second })),
            19 => ("patternProperties", json!({ "^[ab]": third })),
            20 => ("additionalProperties", first),
            21 => ("propertyNames", json!({ "maxLength": 1 })),
            22 => ("dependentRequired", json!({ "a": ["b"] })),
            23 => ("dependentSchemas", json!({ "a": first })),
            24 => ("allOf", json!(schemas)),
            25 => ("anyOf", json!(schemas)),
            26 => ("oneOf", json!(schemas)),
            27 => ("not", first),
            28 => ("minProperties", few),
            _ => {
                schema.insert("then".to_owned(), second);
                schema.insert("else".to_owned(), third);
                ("if", first)
            }
        };
        schema.insert(keyword.to_owned(), argument);
    }
    Value::Object(schema)
}
