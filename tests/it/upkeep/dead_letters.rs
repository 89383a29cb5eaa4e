//! `tracefall dead-letters`: a cause that was repaired lets what it refused be stored.

use serde_json::{Value, json};

use super::{Site, span};
use crate::support::json as answer;

/// Posts spans and waits for their commit; answers with the number of dead letters among them.
async fn post(site: &Site, spans: Value) -> u64 {
    let (status, told) = answer(site.server.post("/v1/spans?wait=stored", spans.to_string())).await;
    assert_eq!(status, 200, "{told}");
    told["dead_letters"].as_u64().unwrap_or(0)
}

fn with_job(trace: u32, id: u32, job: &str) -> Value {
    let mut span = span(trace, id, "work");
    span["job_id"] = json!(job);
    span
}

/// A rule that somebody added to our table, and what takes it away again.
const RULES: [(&str, [&str; 2], [&str; 2]); 2] = [
    (
        "a check",
        [
            "CREATE TRIGGER rule BEFORE INSERT ON spans_default WHEN NEW.job_id = 'b' \
             BEGIN SELECT RAISE(ABORT, 'no such job'); END",
            "ALTER TABLE tracefall.spans ADD CONSTRAINT rule CHECK (job_id <> 'b') NOT VALID",
        ],
        ["DROP TRIGGER rule", "ALTER TABLE tracefall.spans DROP CONSTRAINT rule"],
    ),
    (
        "a unique index",
        [
            "CREATE UNIQUE INDEX rule ON spans_default (status) WHERE job_id = 'x'",
            "CREATE UNIQUE INDEX rule ON tracefall.spans (job_id, started_at) WHERE job_id = 'x'",
        ],
        ["DROP INDEX rule", "DROP INDEX tracefall.rule"],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_span_refused_by_a_rule_of_somebody_elses_is_stored_once_the_rule_is_gone() {
    for site in Site::each("letters").await {
        assert_eq!(post(&site, json!([with_job(1, 1, "first")])).await, 0);
        for (index, (name, made, gone)) in RULES.into_iter().enumerate() {
            let trace = 10 + index as u32;
            site.sql(made[0], made[1]);
            let (job, refused) = [("b", 2), ("x", 1)][index];
            let mut spans = vec![with_job(trace, 2, job), with_job(trace, 3, job)];
            // The third is nobody's trouble, nor is the service held up.
            spans.push(with_job(trace, 4, &format!("c{index}")));
            assert_eq!(post(&site, json!(spans)).await, refused, "{name}");
            let ready = site.server.read("/readyz").await;
            assert_eq!((&ready["status"], &ready["store"]), (&json!("ready"), &json!("ok")), "{name}: {ready}");

            let listed = site.answer(&["dead-letters", "list", "--json"]).await;
            let listed = listed.as_array().unwrap();
            assert_eq!(listed.len() as u64, refused, "{name}: {listed:#?}");
            assert_eq!((&listed[0]["service"], &listed[0]["operation"]), (&json!("runner"), &json!("work")));
            assert!(listed[0]["bytes"].as_u64().unwrap() > 100);
            if site.database.is_some() {
                let code = if index == 0 { "23514" } else { "23505" };
                assert!(listed[0]["reason"].as_str().unwrap().starts_with(code), "{listed:#?}");
                assert_eq!(site.answer(&["dead-letters", "list", "--json", "--reason", "42P01"]).await, json!([]));
            }
            let id = listed[0]["id"].to_string();
            let shown = site.answer(&["dead-letters", "show", &id, "--json"]).await;
            assert_eq!(shown["span"]["job_id"], job);
            assert_eq!(
                site.answer(&["dead-letters", "list", "--json", "--since", "2100-01-01T00:00:00Z"]).await,
                json!([])
            );

            // The rule still stands.
            let again = site.answer(&["dead-letters", "retry", "--all", "--json"]).await;
            assert_eq!((&again["stored"], &again["failed"]), (&json!(0), &json!(refused)), "{name}: {again}");
            assert_eq!(again["failures"][0]["trace_id"], format!("{trace:032x}"));

            site.sql(gone[0], gone[1]);
            let done = site.answer(&["dead-letters", "retry", "--all", "--json"]).await;
            assert_eq!((&done["stored"], &done["failed"]), (&json!(refused), &json!(0)), "{name}: {done}");
            assert_eq!(site.answer(&["dead-letters", "list", "--json"]).await, json!([]));
            let read = site.server.read(&format!("/v1/traces/{trace:032x}")).await;
            assert_eq!(read["spans"].as_array().unwrap().len(), 3, "{name}: {read:#}");
            let listed = |list: &Value| {
                list["traces"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|one| one["trace_id"] == format!("{trace:032x}") && one["span_count"] == 3)
            };
            site.server.read_until("/v1/traces", listed).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_tried_again_is_merged_with_what_came_since_and_a_second_copy_of_it_changes_nothing() {
    for site in Site::each("letters_merge").await {
        post(&site, json!([with_job(1, 1, "first")])).await;
        let (_, made, gone) = RULES[0];
        site.sql(made[0], made[1]);
        assert_eq!(post(&site, json!([with_job(2, 2, "b")])).await, 1);
        // As a run leaves it that ended between the commit and the letter's removal.
        let copy = "INSERT INTO @dead_letters (refused_at, tenant, trace_id, span_id, reason, body) \
                    SELECT refused_at, tenant, trace_id, span_id, reason, body FROM @dead_letters";
        site.sql(gone[0], gone[1]);
        site.sql(&copy.replace('@', ""), &copy.replace('@', "tracefall."));
        // Its sender says more of it meanwhile.
        let more = json!([{"trace_id": format!("{:032x}", 2), "span_id": "2", "region": "us-east", "status": "completed",
                           "completed_at": "2026-01-05T10:00:01Z", "revision": 7}]);
        assert_eq!(post(&site, more).await, 0);
        let done = site.answer(&["dead-letters", "retry", "--all", "--json"]).await;
        assert_eq!(done["stored"], 2, "{done}");
        assert_eq!(site.count("SELECT count(*) FROM @spans WHERE job_id = 'b' AND region = 'us-east'"), 1);
        let read = site.server.read(&format!("/v1/traces/{:032x}", 2)).await;
        assert_eq!(read["spans"].as_array().unwrap().len(), 1, "{read:#}");
        assert_eq!((&read["spans"][0]["job_id"], &read["spans"][0]["region"]), (&json!("b"), &json!("us-east")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_kept_before_a_rule_are_shown_and_stored_without_secrets() {
    let secret = format!("{}-{}", "sk", "0123456789abcdefABCDEF0123456789");
    for site in Site::each("letters_secret").await {
        post(&site, json!([with_job(1, 1, "first")])).await;
        let (_, made, gone) = RULES[0];
        site.sql(made[0], made[1]);
        assert_eq!(post(&site, json!([with_job(2, 2, "b")])).await, 1);
        // As it was kept before there were rules.
        let before = format!(
            "UPDATE @dead_letters SET body = replace(body, '\"work\"', '\"work {secret}\"'), reason = 'Key {secret}'"
        );
        site.sql(&before.replace('@', ""), &before.replace('@', "tracefall."));
        for command in [&["dead-letters", "list"][..], &["dead-letters", "list", "--json"]] {
            let (ok, told) = site.command(command).await;
            assert!(ok && told.contains("work [redacted]") && told.contains("Key [redacted]"), "{told}");
            assert!(!told.contains(&secret), "{told}");
        }
        site.sql(gone[0], gone[1]);
        assert_eq!(site.answer(&["dead-letters", "retry", "--all", "--json"]).await["stored"], 1);
        let read = site.server.read(&format!("/v1/traces/{:032x}", 2)).await;
        assert_eq!(read["spans"][0]["operation"], "work [redacted]");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_thrown_away_only_when_that_is_said_twice() {
    for site in Site::each("letters_purge").await {
        post(&site, json!([with_job(1, 1, "first")])).await;
        let (_, made, _) = RULES[0];
        site.sql(made[0], made[1]);
        assert_eq!(post(&site, json!([with_job(2, 2, "b"), with_job(2, 3, "b"), with_job(2, 4, "b")])).await, 3);
        let purge = |more: &'static [&'static str]| [&["dead-letters", "purge", "--json"], more].concat();

        let (ok, told) = site.command(&["dead-letters", "purge"]).await;
        assert!(!ok && told.contains("--all"), "{told}");
        let (ok, told) = site.command(&["dead-letters", "show", "987654"]).await;
        assert!(!ok && told.contains("987654"), "{told}");
        let dry = site.answer(&purge(&["--all"])).await;
        assert_eq!(dry, json!({"dead_letters": 3, "dry_run": true}));
        let young = site.answer(&purge(&["--older-than-days", "1", "--yes"])).await;
        assert_eq!(young, json!({"dead_letters": 0, "dry_run": false}));
        let id = site.answer(&["dead-letters", "list", "--json"]).await[2]["id"].to_string();
        let one = site.answer(&["dead-letters", "purge", &id, "--yes", "--json"]).await;
        assert_eq!(one["dead_letters"], 1);
        let (ok, told) = site.command(&["dead-letters", "list"]).await;
        assert!(ok && told.matches("runner: work").count() == 2, "{told}");
        assert_eq!(site.answer(&purge(&["--all", "--yes"])).await["dead_letters"], 2);
        assert_eq!(site.count("SELECT count(*) FROM @dead_letters"), 0);
    }
}
