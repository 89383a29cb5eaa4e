//! What searches find.

use serde_json::{Value, json};

use super::*;

fn ids(answer: &Value) -> Vec<&str> {
    answer["data"].as_array().unwrap().iter().map(|trace| trace["traceID"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_span_must_match_all_filters_and_whole_traces_come_newest_first() {
    on_each_store(async |server| {
        three_traces(server).await;
        let shop = "service=shop/%C3%A9clair%20app";
        for (filter, found) in [
            (shop, &[SHOP][..]),
            ("service=shop%2F%C3%A9clair+app", &[SHOP]),
            ("service=modal", &[RUN]),
            ("service=MODAL", &[]),
            ("service=payments&operation=charge", &[SHOP]),
            ("service=payments&operation=GET%20%2Fcart%2F%7Bid%7D", &[]),
            ("service=payments&operation=&tags=&minDuration=", &[SHOP]),
            ("service=payments&tag=error:true", &[SHOP]),
            ("service=payments&tag=otel.status_code:ERROR&tag=span.kind:client", &[SHOP]),
            ("service=payments&tags=%7B%22host.name%22%3A%22h1%22%2C%22error%22%3A%22true%22%7D", &[SHOP]),
            ("service=payments&tags=%7B%22host.name%22%3A%22h2%22%7D", &[]),
            ("service=modal&tags=%7B%22model%22%3A%22llama-3.2-1b%22%7D", &[RUN]),
            ("service=payments&minDuration=100ms&maxDuration=100ms", &[SHOP]),
            ("service=payments&minDuration=100.001ms", &[]),
            ("service=payments&maxDuration=99ms", &[]),
            ("service=modal&operation=infer&maxDuration=1h", &[]),
            ("service=api", &[SHARED]),
        ] {
            let answer = server.read(&format!("/api/traces?{filter}&{DAY}&lookback=custom")).await;
            assert_eq!(ids(&answer), found, "{filter}");
            assert_eq!((&answer["total"], &answer["errors"]), (&json!(found.len()), &Value::Null), "{filter}");
        }
        for (tags, found) in [
            ("http.response.status_code:200", true),
            ("http.response.status_code:20", false),
            ("big:9007199254740993", true),
            ("cached:true", true),
            ("ratio:0.5", true),
            ("blob:AAEC", true),
            ("otel.scope.name:http", true),
            ("w3c.tracestate:a=1", true),
            ("error:true", false),
            ("nothing:", false),
        ] {
            let answer = server.read(&format!("/api/traces?{shop}&tag={tags}&{DAY}")).await;
            assert_eq!(ids(&answer).len(), usize::from(found), "{tags}");
        }
        let whole = server.read(&format!("/api/traces?service=payments&{DAY}")).await;
        assert_eq!(whole["data"][0], server.read(&format!("/api/traces/{SHOP}")).await["data"][0]);
    })
    .await;
}

#[tokio::test]
async fn version_3_finds_the_same_by_both_spellings_and_for_any_service() {
    on_each_store(async |server| {
        three_traces(server).await;
        let summaries = async |query: &str| -> Vec<String> {
            let answer = server.read(&format!("/api/v3/trace-summaries?{query}")).await;
            let summaries = answer["summaries"].as_array().unwrap();
            summaries.iter().map(|summary| summary["traceId"].as_str().unwrap().to_owned()).collect()
        };
        let shared = format!("0000000000000000{SHARED}");
        assert_eq!(summaries(DAY_V3).await, [RUN, SHOP, &shared]);
        assert_eq!(summaries(&format!("{DAY_V3}&query.searchDepth=2")).await, [RUN, SHOP]);
        assert_eq!(summaries(&format!("{DAY_V3}&query.num_traces=1")).await, [RUN]);
        assert_eq!(summaries(&format!("{DAY_V3}&query.attributes=%7B%22error%22%3A%22true%22%7D")).await, [RUN, SHOP]);
        let snake = "query.service_name=payments&query.operation_name=charge&query.duration_min=100ms\
                     &query.start_time_min=2026-01-05T01:00:00+01:00&query.start_time_max=2026-01-05T23:00:00.5Z";
        assert_eq!(summaries(snake).await, [SHOP]);
        // The beginning belongs to the window, the end does not.
        let window = |from: &str, to: &str| {
            format!("query.startTimeMin={from}&query.startTimeMax={to}&query.serviceName=runner")
        };
        assert_eq!(summaries(&window("2026-01-05T11:00:00Z", "2026-01-05T11:00:00.000000001Z")).await, [RUN]);
        assert_eq!(summaries(&window("2026-01-05T10:00:00Z", "2026-01-05T11:00:00Z")).await, Vec::<String>::new());
        // A trace that began before the window has spans in it.
        let late = window("2026-01-05T11:00:01Z", "2026-01-05T12:00:00Z").replace("runner", "modal");
        assert_eq!(summaries(&late).await, [RUN]);
        let found = server.read(&format!("/api/v3/traces?{snake}")).await;
        assert_eq!(found["result"]["resourceSpans"].as_array().unwrap().len(), 2);
    })
    .await;
}

#[tokio::test]
async fn traces_are_found_by_every_spelling_of_their_ids_and_misses_are_told() {
    on_each_store(async |server| {
        three_traces(server).await;
        for (spelling, id) in [
            (SHOP.to_uppercase(), SHOP),
            (SHARED.to_owned(), SHARED),
            (format!("0000000000000000{SHARED}"), SHARED),
            ("7f3c0a1b-2c3d-4e5f-6071-8293a4b5c6d7".to_owned(), RUN),
            ("S%2FkvNXezTaajzpKdDg5HNg%3D%3D".to_owned(), SHOP),
        ] {
            let answer = server.read(&format!("/api/traces/{spelling}?start=1&end=2")).await;
            assert_eq!(ids(&answer), [id], "{spelling}");
            assert!(server.read(&format!("/api/v3/traces/{spelling}")).await["result"].is_object());
        }
        let answer =
            server.read(&format!("/api/traces?traceID={SHOP}&traceID=abc&traceID={RUN}&service=ignored")).await;
        assert_eq!(ids(&answer), [SHOP, RUN]);
        assert_eq!(answer["errors"], json!([{"code": 404, "msg": "trace not found", "traceID": "0000000000000abc"}]));
    })
    .await;
}

#[tokio::test]
async fn without_a_window_the_last_two_days_are_searched_and_a_span_is_found_before_its_trace_is_settled() {
    on_each_store(async |server| {
        three_traces(server).await;
        let now = tracefall::clock::Clock::system().now();
        let span = |id: &str, days: i64| {
            json!({"trace_id": id.repeat(32), "span_id": "1", "service": "fresh", "operation": "o", "duration_ms": 1,
                "started_at": now.plus(-days * 86_400_000_000_000 - 60_000_000_000)})
        };
        server.store(&json!([span("a", 0), span("b", 1), span("c", 2)])).await;
        let found = server.read("/api/traces?service=fresh").await;
        assert_eq!(ids(&found), ["a".repeat(32), "b".repeat(32)]);
        assert_eq!(ids(&server.read("/api/traces?service=fresh&limit=1").await), ["a".repeat(32)]);
        assert_eq!(server.read("/api/traces?service=nobody").await["data"], json!([]));
    })
    .await;
}

#[tokio::test]
async fn any_name_can_be_asked_for() {
    on_each_store(async |server| {
        let names = [
            "a/b",
            "a/b/operations",
            "grüße 🚀",
            "50%",
            "a+b",
            "\"quoted\" 'and' <b>",
            "...",
            "'; DROP TABLE traces; --",
        ];
        let span = |(index, name): (usize, &&str)| {
            json!({"trace_id": format!("{:032x}", index + 1), "span_id": "1", "service": name, "operation": name,
                "started_at": "2026-01-05T10:00:00Z", "duration_ms": 1})
        };
        server.store(&names.iter().enumerate().map(span).collect()).await;
        for name in names {
            let escaped: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let operations = server.read(&format!("/api/services/{escaped}/operations")).await;
            assert_eq!(operations["data"], json!([name]), "{name}");
            let search = server.read(&format!("/api/traces?service={escaped}&operation={escaped}&{DAY}")).await;
            assert_eq!(search["data"][0]["processes"]["p1"]["serviceName"], name);
        }
        // As Grafana's client joins its path.
        assert_eq!(server.read("/api/services/a/b/operations").await["data"], json!(["a/b"]));
    })
    .await;
}
