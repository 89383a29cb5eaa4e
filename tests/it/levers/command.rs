//! `tracefall ingest` against a real server.

use serde_json::Value;

use crate::support::binary::{Server, run, tracefall};

/// Runs a command against the server: whether it succeeded, and what it said.
fn tell(server: &Server, arguments: &str) -> (bool, String) {
    let mut command = tracefall();
    command.args(arguments.split_whitespace()).env("TRACEFALL_URL", server.url(""));
    let output = run(&mut command);
    let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    (output.status.success(), said)
}

fn done(server: &Server, arguments: &str) -> String {
    let (success, said) = tell(server, arguments);
    assert!(success, "{arguments}: {said}");
    said
}

#[test]
fn levers_are_shown_and_pulled_from_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), |_| {});
    assert_eq!(done(&server, "ingest"), "ingest is on\nno rules\n");
    let off = done(&server, "ingest off --for 1h --note incident-7");
    assert!(off.starts_with("ingest is off: it is switched off here until ") && off.contains("(incident-7)"), "{off}");
    assert!(done(&server, "ingest on").starts_with("ingest is on\n"));

    done(&server, "ingest rule add --name polls --service router --operation poll* --off");
    done(&server, "ingest rule add --service modal --keep 0.1 --for 2h");
    done(&server, "ingest rule add --name pay --operation pay* --min-ms 20 --first");
    let view: Value = serde_json::from_str(&done(&server, "ingest --json")).unwrap();
    let names: Vec<&str> = view["rules"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["pay", "polls", "rule-1"]);
    assert_eq!((&view["rules"][2]["fraction"], view["rules"][2]["until"].is_string()), (&Value::from(0.1), true));
    let drawn = done(&server, "ingest");
    assert!(drawn.contains("rule 2  polls  service=router operation=poll*: off  (since "), "{drawn}");
    let removed = done(&server, "ingest rule remove polls --note enough");
    assert!(removed.contains("rule polls: service=router operation=poll*: off -> removed (enough)"), "{removed}");
    assert!(done(&server, "ingest rule clear").contains("no rules"));
}

#[test]
fn a_wrong_command_says_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), |_| {});
    for (arguments, says) in [
        ("ingest rule remove polls", "there is no rule \"polls\""),
        ("ingest rule add --service s --keep 1.5", "rules[0].fraction is 1.5; accepted is a number from 0 to 1"),
        ("ingest rule add --service s", "--off|--keep"),
        ("ingest rule add --service a*b --off", "not at its end"),
        ("ingest rule add --off --keep 0.1", "cannot be used with"),
        ("ingest off --for 1w", "accepted are 90s"),
        ("ingest off --server http://127.0.0.1:9", "cannot reach"),
    ] {
        let (success, said) = tell(&server, arguments);
        assert!(!success && said.contains(says), "{arguments}: {said}");
    }
    assert_eq!(done(&server, "ingest"), "ingest is on\nno rules\n");
}
