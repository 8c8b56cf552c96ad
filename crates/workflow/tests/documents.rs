//! Documents: what is said about each mistake, and where; the settings of `metadata.execution`; what cannot be run yet.

use std::time::Duration;

use protocol::step::{Mode, NetworkRule, Resources};
use workflow::{Call, Diagnostics, DurationValue, Process, TaskKind, Uri, Workflow};

const HEAD: &str = "document: { dsl: '1.0.3', namespace: test, name: sample, version: '1.0.0' }\n";

/// A document with these tasks.
fn with_tasks(tasks: &str) -> String {
    format!("{HEAD}do:\n{tasks}")
}

fn parse(text: &str) -> Workflow {
    Workflow::parse(text).unwrap_or_else(|diagnostics| panic!("{text}\n{diagnostics}"))
}

/// Every line is a diagnostic that the document must give, in order: `line:column code pointer message`.
fn check(text: &str, expect: &[&str]) {
    let (_, diagnostics) = Workflow::parse_with_warnings(text);
    assert_eq!(shown(&diagnostics), expect, "\n{text}\n{diagnostics}");
}

fn shown(diagnostics: &Diagnostics) -> Vec<String> {
    let show = |d: &workflow::Diagnostic| {
        let help = d.help.as_ref().map(|help| format!("; {help}")).unwrap_or_default();
        format!("{}:{} {} {} {}{help}", d.line, d.column, d.code, d.pointer, d.message)
    };
    diagnostics.iter().map(show).collect()
}

#[test]
fn all_mistakes_are_told_at_once_with_their_places() {
    let text = "\
document: { dsl: '1.0.3', namespace: test, name: sample, verison: '1.0.0' }
do:
  - first:
      cal: http
  - second:
      run: { shell: { comand: ls } }
      thn: end
  - third:
      wait: { second: 5 }
    fourth:
      set: { a: 1 }
";
    check(
        text,
        &[
            "1:1 missing-key /document `document` needs the key `version`",
            "1:58 unknown-key /document/verison `document` has no key `verison`; did you mean `version`?",
            "3:5 task-kind /do/0/first the task `first` does not say what it does; did you mean `call` instead of `cal`?",
            "6:14 missing-key /do/1/second/run/shell `shell` needs the key `command`",
            "6:23 unknown-key /do/1/second/run/shell/comand `shell` has no key `comand`; did you mean `command`?",
            "7:7 unknown-key /do/1/second/thn `second` has no key `thn`; did you mean `then`?",
            "10:5 conflicting-keys /do/2/fourth entry 3 of `do` has one name; `fourth` is one too many; start a new entry with `- `, or indent the key below the name",
        ],
    );
}

#[test]
fn values_of_the_wrong_kind() {
    check(
        &with_tasks(
            "  - a: { if: true, set: { x: 1 } }\n  - b: { call: http, with: { method: get, endpoint: example.com } }\n",
        ),
        &[
            "3:10 wrong-type /do/0/a/if `if` must be a text, not a boolean; put it in quotes",
            "4:43 uri /do/1/b/with/endpoint `endpoint` must be a URI such as https://host/path, or an expression in ${ } on one line; add the scheme",
        ],
    );
    check(
        &with_tasks("  - a: { wait: soon }\n"),
        &[
            "3:10 duration /do/0/a/wait `soon` is no duration; write {seconds: 5}, PT5S, or an expression in ${ } on one line",
        ],
    );
    check(
        &with_tasks("  - a: { run: { shell: { command: ls }, return: std } }\n"),
        &[
            "3:41 unknown-word /do/0/a/run/return `return` cannot be `std`; it can be `stdout`, `stderr`, `code`, `all` or `none`",
        ],
    );
    check(
        "document: 1.0\ndo: 5\n",
        &[
            "1:1 wrong-type /document `document` must be a mapping, not a number",
            "2:1 wrong-type /do `do` must be a list, not a number",
        ],
    );
    check(
        &format!("{HEAD}do: []\nevaluate: {{ language: python, mode: loos }}\n"),
        &[
            "3:13 not-supported-yet /evaluate/language expressions in another language than jq; write language: jq",
            "3:31 unknown-word /evaluate/mode `mode` cannot be `loos`; did you mean `loose`?",
        ],
    );
    check("a: 1\na: 2\n", &["2:1 duplicate-key  the key `a` stands twice in this mapping"]);
}

#[test]
fn expressions_are_checked_in_their_place() {
    check(
        &with_tasks("  - a: { set: { x: '${ .a | }' } }\n"),
        &["3:17 expression /do/0/a/set/x this is no jq expression: expected term, found its end"],
    );
    check(
        &with_tasks("  - a: { if: '${ $contxt.x }', set: { x: 1 } }\n"),
        &["3:10 unknown-variable /do/0/a/if there is no variable $contxt here; did you mean $context?"],
    );
    check(
        &with_tasks("  - a: { set: { x: '${ $secrets.token }' } }\n"),
        &[
            "3:17 secret-in-expression /do/0/a/set/x `$secrets` cannot be read here: expressions are evaluated in the control plane, which holds no secret; let the step itself have it: name the identity in use.secrets and say `use: NAME` in the authentication of a call, or give the task metadata.execution { mode: identity, identity: NAME } and read it from the step's environment",
        ],
    );
    check(
        &with_tasks("  - a: { set: { x: 'hello ${ .name }' } }\n"),
        &[
            "3:17 partial-expression /do/0/a/set/x `x` contains `${` but is not an expression as a whole, so it is taken as it is; write the whole text as one expression: ${ \"... \\(.name) ...\" }",
        ],
    );
    parse(&with_tasks(
        "  - a:\n      for: { each: pet, in: .pets, at: n }\n      do: [ { b: { set: { x: '${ $pet.id + $n }' } } } ]\n      while: '${ $n < 3 }'\n",
    ));
    check(
        &with_tasks("  - a: { set: { x: '${ $item }' } }\n"),
        &[
            "3:17 unknown-variable /do/0/a/set/x there is no variable $item here; there are $context, $input, $task, $workflow, $runtime, $authorization",
        ],
    );
}

#[test]
fn names_resolve() {
    let text = "\
document: { dsl: '1.0.3', namespace: test, name: sample, version: '1.0.0' }
use:
  functions:
    greet: { set: { x: 1 } }
    loop: { do: [ { again: { call: loop } } ] }
  retries: { patient: { delay: { seconds: 1 } } }
do:
  - a: { call: great, then: c }
  - b: { raise: { error: nothing }, timeout: short, then: aa }
  - c: { switch: [ { one: { when: .x, then: d } } ] }
  - t: { try: [ { u: { set: { x: 1 } } } ], catch: { retry: patiently } }
";
    check(
        text,
        &[
            "5:5 cyclic-function /use/functions/loop the function `loop` calls itself",
            "8:10 unknown-reference /do/0/a/call there is no function `great`; did you mean `greet`?",
            "9:19 unknown-reference /do/1/b/raise/error there is no `nothing` in use.errors; add it under use.errors",
            "9:37 unknown-reference /do/1/b/timeout there is no `short` in use.timeouts; add it under use.timeouts",
            "9:53 unknown-target /do/1/b/then this list has no task `aa`; `then` goes to a task of the same list, or is continue, exit or end",
            "10:39 unknown-target /do/2/c/switch/0/one/then this list has no task `d`; `then` goes to a task of the same list, or is continue, exit or end",
            "11:54 unknown-reference /do/3/t/catch/retry there is no `patiently` in use.retries; did you mean `patient`?",
        ],
    );
}

#[test]
fn execution_is_typed_and_strict() {
    let text = format!(
        "{}do:\n{}",
        "document:\n  { dsl: '1.0.3', namespace: test, name: sample, version: '1.0.0', metadata: { execution: { identity: acme/base, image: debian, network: ['a.b:1'] } } }\n",
        "  - bare: { call: http, with: { method: get, endpoint: https://a.b } }
  - boxed: { run: { shell: { command: ls } } }
  - own:
      run: { script: { language: python, code: x } }
      metadata:
        execution:
          mode: 2
          identity: acme-prod/reporting
          network: ['DB.acme.internal:5432', '*.example.com:443', '[::1]:80']
          resources: { cpu: 0.5, memory: 256Mi, disk: 1000000, processes: 64 }
          requires: { gpu: 'yes' }
          artifacts: [report.md, 'out/**']
  - agent: { call: cli-agent, with: { agent: mine, prompt: '${ .goal }', files: { notes/a.md: hi }, args: [-v] } }
  - flow: { set: { x: 1 } }
"
    );
    let workflow = parse(&text);
    let settings = |name: &str| {
        let at = workflow.do_.position(name).expect(name);
        workflow.execution(&workflow.do_[at].task)
    };
    let (bare, boxed, own, agent) = (settings("bare"), settings("boxed"), settings("own"), settings("agent"));
    assert_eq!((bare.mode, bare.identity), (Some(Mode::Bare), None));
    assert_eq!(
        (boxed.mode, boxed.identity, boxed.image),
        (Some(Mode::Sandboxed), None, Some("debian".to_owned()))
    );
    assert_eq!((own.mode, own.identity.as_deref()), (Some(Mode::Identity), Some("acme-prod/reporting")));
    let rule = |host: &str, subdomains, port| NetworkRule { host: host.to_owned(), subdomains, port };
    assert_eq!(
        own.network,
        [rule("db.acme.internal", false, 5432), rule("example.com", true, 443), rule("::1", false, 80)]
    );
    let resources = Resources {
        cpu_millis: Some(500),
        memory_bytes: Some(256 << 20),
        disk_bytes: Some(1_000_000),
        processes: Some(64),
    };
    assert_eq!((own.resources, own.image.as_deref()), (resources, Some("debian")));
    assert_eq!(own.artifacts, ["report.md", "out/**"]);
    assert_eq!((agent.mode, agent.identity.as_deref()), (Some(Mode::Full), Some("acme/base")));
    assert_eq!(boxed.network, [rule("a.b", false, 1)]);
    assert_eq!(settings("flow").mode, None);
}

#[test]
fn execution_that_cannot_be() {
    let task = |execution: &str| {
        with_tasks(&format!(
            "  - a:\n      run: {{ shell: {{ command: ls }} }}\n      metadata: {{ execution: {{ {execution} }} }}\n"
        ))
    };
    let place = "5:19";
    let pointer = "/do/0/a/metadata/execution";
    check(
        &task("identity: acme"),
        &[&format!(
            "{place} identity-mode {pointer} an identity needs mode 2 (identity) or more, and this task runs in mode sandboxed; add mode: identity, or remove the identity"
        )],
    );
    check(
        &task("mode: identity"),
        &[&format!(
            "{place} identity-mode {pointer} mode 2 (identity) needs an identity; add identity: NAME, such as acme-prod/reporting"
        )],
    );
    check(
        &task("mode: sandbox"),
        &[&format!("5:32 unknown-word {pointer}/mode `mode` cannot be `sandbox`; did you mean `sandboxed`?")],
    );
    check(
        &task("mode: 7"),
        &[&format!(
            "5:32 unknown-word {pointer}/mode there is no mode 7; it is 0 bare, 1 sandboxed, 2 identity, 3 full or 3b full-jit"
        )],
    );
    check(
        &task("netwrok: []"),
        &[&format!(
            "5:32 unknown-key {pointer}/netwrok `execution` has no key `netwrok`; did you mean `network`?"
        )],
    );
    check(
        &task("network: ['example.com', 'a:0']"),
        &[
            &format!(
                "5:42 network {pointer}/network/0 `example.com` is no destination; write host:port or *.host:port, such as db.acme.internal:5432"
            ),
            &format!(
                "5:57 network {pointer}/network/1 `a:0` is no destination; write host:port or *.host:port, such as db.acme.internal:5432"
            ),
        ],
    );
    check(
        &task("resources: { memory: lots }"),
        &[&format!(
            "5:45 resources {pointer}/resources/memory `memory` is no amount of bytes; write bytes as a number, or 256Mi, 2Gi, 500M"
        )],
    );
    check(
        &task("artifacts: [../x]"),
        &[&format!(
            "5:44 path {pointer}/artifacts/0 `../x` must be a path below /workspace; such as report.md, out/*.csv or out/**"
        )],
    );
    parse(&task("mode: 3b, identity: acme"));
    parse(&task("mode: bare"));
}

#[test]
fn what_cannot_be_run_yet_is_named_with_its_place() {
    let text = "\
document: { dsl: '1.0.3', namespace: test, name: sample, version: '1.0.0' }
schedule: { every: { hours: 1 } }
use:
  secrets: [acme/petstore]
  authentications: { pets: { oauth2: { use: acme/petstore } }, more: { oidc: { grant: refresh_token } } }
do:
  - a: { emit: { event: { with: { source: 'https://a.b', type: x } } } }
  - b: { listen: { to: { any: [] } } }
  - c: { call: mcp, with: { method: tools/list, transport: { http: { endpoint: 'https://a.b' } } } }
  - d: { call: llm, with: { model: x } }
  - e: { call: 'log:1.0.0@default' }
  - f: { call: http, with: { method: get, endpoint: { uri: 'https://a.b', authentication: { use: acme/petstore } } } }
  - g: { run: { await: false, shell: { command: ls } } }
  - h: { run: { script: { language: ruby, code: x } } }
  - i: { set: { x: 1 }, input: { schema: { resource: { endpoint: 'https://a.b' } } } }
  - j: { call: noop, with: { x: 1 } }
";
    let diagnostics = parse(text).check_executable(text).expect_err("not executable");
    let found: Vec<String> =
        diagnostics.iter().map(|d| format!("{}:{} {} {}", d.line, d.column, d.pointer, d.message)).collect();
    assert_eq!(
        found,
        [
            "2:1 /schedule schedules: not supported yet",
            "5:80 /use/authentications/more/oidc/grant the grant `refresh_token`: not supported yet",
            "7:10 /do/0/a/emit emit: not supported yet",
            "8:10 /do/1/b/listen listen: not supported yet",
            "9:10 /do/2/c/call call: mcp: not supported yet",
            "10:10 /do/3/d/call call: llm: not supported yet",
            "11:10 /do/4/e/call functions from outside of the document: not supported yet",
            "13:17 /do/6/g/run/await run without waiting for its end: not supported yet",
            "14:27 /do/7/h/run/script/language scripts in `ruby`: not supported yet",
            "15:44 /do/8/i/input/schema/resource external schemas: not supported yet",
        ]
    );
}

#[test]
fn a_schema_is_checked_where_it_stands() {
    check(
        &with_tasks(
            "\
  - a:
      set: { x: 1 }
      input:
        schema:
          document:
            type: objectt
            requierd: [x]
            properties: { n: { minimum: one, $ref: '#/$defs/none' }, p: { pattern: '(' } }
            unevaluatedProperties: false
      output: { schema: { document: { type: [string, nul], items: [{}] } } }
",
        ),
        &[
            "8:13 schema /do/0/a/input/schema/document/type JSON Schema has no type `objectt`; did you mean `object`?",
            "9:13 schema /do/0/a/input/schema/document/requierd `requierd` is no keyword of JSON Schema, so nothing is checked by it; did you mean `required`?",
            "10:32 schema /do/0/a/input/schema/document/properties/n/minimum `minimum` must be a number, not a text",
            "10:46 schema /do/0/a/input/schema/document/properties/n/$ref `$ref: #/$defs/none` leads nowhere: the schema has no /$defs/none",
            "10:75 schema /do/0/a/input/schema/document/properties/p/pattern `(` is no pattern: found open group without closing ')'; look-around and back-references are not supported: matching must end in time",
            "11:13 schema /do/0/a/input/schema/document/unevaluatedProperties `unevaluatedProperties` cannot be checked; it is not supported yet; say it with properties, items and allOf",
            "12:54 schema /do/0/a/output/schema/document/type/1 JSON Schema has no type `nul`; did you mean `null`?",
            "12:60 schema /do/0/a/output/schema/document/items a schema must be a mapping, true or false",
        ],
    );
}

#[test]
fn what_cannot_be_read_moves_no_other_place() {
    check(
        &with_tasks(
            "  - a:
      switch:
        - one: { when: 1, then: end }
        - two: { when: '$nothing', then: nowhere }
  - b: { run: { shell: { command: ls, arguments: [1, '${ $nothing }'] } } }
  - c: { raise: { error: { type: 'https://a.b', status: 500, detail: '${ $nothing }' } } }
",
        ),
        &[
            "5:18 wrong-type /do/0/a/switch/0/one/when `when` must be a text, not a number; put it in quotes",
            "6:18 unknown-variable /do/0/a/switch/1/two/when there is no variable $nothing here; there are $context, $input, $task, $workflow, $runtime, $authorization",
            "6:36 unknown-target /do/0/a/switch/1/two/then this list has no task `nowhere`; `then` goes to a task of the same list, or is continue, exit or end",
            "7:51 wrong-type /do/1/b/run/shell/arguments/0 entry 1 of `arguments` must be a text, not a number; put it in quotes",
            "7:54 unknown-variable /do/1/b/run/shell/arguments/1 there is no variable $nothing here; there are $context, $input, $task, $workflow, $runtime, $authorization",
            "8:62 unknown-variable /do/2/c/raise/error/detail there is no variable $nothing here; there are $context, $input, $task, $workflow, $runtime, $authorization",
        ],
    );
}

/// A call whose endpoint has this authentication, in a document that knows the identity `acme/pets`.
fn with_authentication(authentication: &str, execution: &str) -> String {
    format!(
        "{HEAD}use: {{ secrets: [acme/pets], authentications: {{ pets: {{ basic: {{ use: acme/pets }} }} }} }}\ndo:\n  - a:\n      \
         call: http\n      with: {{ method: get, endpoint: {{ uri: 'https://a.b', authentication: {{ {authentication} }} }} }}\n      \
         metadata: {{ execution: {{ {execution} }} }}\n"
    )
}

#[test]
fn a_call_with_the_credential_of_an_identity_runs_in_mode_2() {
    for authentication in ["use: acme/pets", "use: pets", "bearer: { use: acme/pets }"] {
        let text = with_authentication(authentication, "network: ['c.d:1']");
        let workflow = parse(&text);
        assert!(workflow.check_executable(&text).is_ok());
        let settings = workflow.execution(&workflow.do_[0].task);
        assert_eq!((settings.mode, settings.identity.as_deref()), (Some(Mode::Identity), Some("acme/pets")));
    }
    let plain = parse(&with_authentication("basic: { username: '${ .a }', password: '${ .b }' }", "mode: 1"));
    let settings = plain.execution(&plain.do_[0].task);
    assert_eq!((settings.mode, settings.identity), (Some(Mode::Sandboxed), None));

    let pointer = "/do/0/a/metadata/execution";
    check(
        &with_authentication("use: pets", "mode: bare, identity: other"),
        &[
            &format!(
                "7:19 identity-mode {pointer} a call with the credential of `acme/pets` runs in mode 2 (identity), not bare; remove the mode"
            ),
            &format!(
                "7:19 identity-mode {pointer} the identity of this call is `acme/pets`, by its authentication; remove the identity"
            ),
        ],
    );
    check(
        &with_authentication("use: pets", "").replace("https://a.b", "http://a.b"),
        &[
            "6:40 clear-credential /do/0/a/with/endpoint/uri a credential of an identity is sent by https only; write https://, or use the service in a `run` task of mode 2",
        ],
    );
    check(
        &with_authentication("digest: { use: acme/pet }", ""),
        &[
            "6:88 unknown-reference /do/0/a/with/endpoint/authentication/digest/use there is no `acme/pet` in use.secrets; did you mean `acme/pets`?",
        ],
    );
}

#[test]
fn a_mode_is_refused_where_it_would_mean_nothing() {
    check(
        &with_tasks(
            "  - a: { set: { x: 1 }, metadata: { execution: { mode: 1 } } }
  - b: { call: noop, metadata: { execution: { mode: sandboxed } } }
",
        ),
        &[
            "3:37 no-execution /do/0/a/metadata/execution this task runs on no worker, so `execution` means nothing to it; write it on the tasks within, or in document.metadata for all",
            "4:34 noop-mode /do/1/b/metadata/execution `call: noop` runs in mode 0 (bare), not sandboxed; remove the mode",
        ],
    );
}

#[test]
fn a_literal_credential_is_a_warning() {
    let text = with_tasks(
        "  - a: { call: http, with: { method: get, endpoint: { uri: 'https://a.b', authentication: { basic: { username: me, password: hunter2 } } } } }\n",
    );
    let (workflow, diagnostics) = Workflow::parse_with_warnings(&text);
    let workflow = workflow.expect("a warning does not refuse");
    assert_eq!(diagnostics.iter().map(|d| d.code).collect::<Vec<_>>(), ["literal-credential"]);
    assert!(!diagnostics.has_errors());
    assert!(workflow.check_executable(&text).is_ok());
    let TaskKind::Call(Call::Http(http)) = &workflow.do_[0].task.kind else { panic!("a call") };
    assert!(!format!("{:?}", http.endpoint).contains("hunter2"), "a credential must not show");
}

#[test]
fn json_and_yaml_give_the_same() {
    let yaml = with_tasks("  - a: { wait: PT1M30.5S }\n");
    let workflow = parse(&yaml);
    let json = serde_json::to_string_pretty(&*workflow.definition).expect("JSON").replace("  ", "\t");
    assert_eq!(parse(&json).definition, workflow.definition);
    let TaskKind::Wait(DurationValue::Literal(wait)) = parse(&json).do_[0].task.kind.clone() else {
        panic!("a wait")
    };
    assert_eq!(wait, Duration::from_millis(90_500));
}

#[test]
fn every_task_knows_its_pointer() {
    let text = "\
document: { dsl: '1.0.3', namespace: test, name: sample, version: '1.0.0' }
use: { functions: { f: { do: [ { inner: { set: { x: 1 } } } ] } } }
do:
  - a/b: { do: [ { c: { set: { x: 1 } } } ] }
  - f: { fork: { branches: [ { x: { set: { x: 1 } } } ] } }
  - l: { for: { in: . }, do: [ { y: { set: { x: 1 } } } ] }
  - t: { try: [ { u: { set: { x: 1 } } } ], catch: { do: [ { v: { set: { x: 1 } } } ] } }
";
    let workflow = parse(text);
    let mut pointers = Vec::new();
    workflow.each_task(&mut |task| pointers.push(task.pointer.to_string()));
    assert_eq!(
        pointers,
        [
            "/do/0/a~1b",
            "/do/0/a~1b/do/0/c",
            "/do/1/f",
            "/do/1/f/fork/branches/0/x",
            "/do/2/l",
            "/do/2/l/do/0/y",
            "/do/3/t",
            "/do/3/t/try/0/u",
            "/do/3/t/catch/do/0/v",
            "/use/functions/f",
            "/use/functions/f/do/0/inner",
        ]
    );
    assert!(pointers.iter().all(|pointer| workflow.task(pointer).is_some()));
    assert!(pointers.iter().all(|pointer| workflow.definition.pointer(pointer).is_some()));
}

#[test]
fn the_loose_mode_tries_every_text() {
    use serde_json::json;
    use workflow::expression::{Meter, Variables};
    let text = format!(
        "{HEAD}evaluate: {{ mode: loose }}\ndo: [ {{ a: {{ set: {{ x: .a, y: hello world, z: '.a.b', w: '${{ .a }}' }} }} }} ]\n"
    );
    let workflow = parse(&text);
    let TaskKind::Set(template) = &workflow.do_[0].task.kind else { panic!("a set") };
    let value = template.evaluate(&json!({"a": 1}), &Variables::new(), &mut Meter::default());
    assert_eq!(value, Ok(json!({"x": 1, "y": "hello world", "z": ".a.b", "w": 1})));
}

#[test]
fn uris_and_processes_are_parsed() {
    let workflow = parse(&with_tasks(
        "  - a: { call: http, with: { method: get, endpoint: 'https://a.b/{id}/x' } }\n  - b: { run: { workflow: { namespace: n, name: w, version: latest } } }\n",
    ));
    let TaskKind::Call(Call::Http(http)) = &workflow.do_[0].task.kind else { panic!("a call") };
    assert!(matches!(http.endpoint.uri, Uri::Template(_)));
    let TaskKind::Run(run) = &workflow.do_[1].task.kind else { panic!("a run") };
    assert!(matches!(run.process, Process::Workflow(_)) && run.await_);
}

#[test]
fn what_cannot_be_read_shifts_no_place_and_is_not_called_missing_too() {
    let text = "\
document: { dsl: '1.0.3', namespace: test, name: sample, version: '1.0.0' }
use:
  errors: { broken: { type: broken, status: 400 } }
  functions: { hello: { runn: { shell: { command: ls } } } }
do:
  - first: { sett: { a: 1 } }
  - second: { set: { a: 1 }, then: first }
  - third: { raise: { error: nope } }
  - fourth: { raise: { error: broken } }
  - fifth: { call: hello }
";
    check(
        text,
        &[
            "3:23 uri /use/errors/broken/type `type` must be a URI such as https://host/path, or an expression in ${ } on one line; add the scheme",
            "4:16 task-kind /use/functions/hello the task `hello` does not say what it does; did you mean `run` instead of `runn`?",
            "6:5 task-kind /do/0/first the task `first` does not say what it does; did you mean `set` instead of `sett`?",
            "8:23 unknown-reference /do/2/third/raise/error there is no `nope` in use.errors; add it under use.errors",
        ],
    );
}

#[test]
fn an_expression_may_read_only_what_is_there_at_its_place() {
    let text = "\
document: { dsl: '1.0.3', namespace: test, name: sample, version: '1.0.0' }
output: { as: '${ $input }' }
do:
  - first: { set: { a: '${ $output }' }, export: { as: '${ $output }' } }
";
    check(
        text,
        &[
            "2:11 unknown-variable /output/as there is no variable $input here; there are $context, $workflow, $runtime, $authorization",
            "4:21 unknown-variable /do/0/first/set/a there is no variable $output here; there are $context, $input, $task, $workflow, $runtime, $authorization",
        ],
    );
}
