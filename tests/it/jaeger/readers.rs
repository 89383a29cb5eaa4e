//! The requests of each reader, as they come over the wire, one after the other.

use serde_json::Value;

use super::*;

/// Paths with a member that the reader takes what it shows from, which must not be empty.
async fn all_answered(server: &TestServer, requests: &[(&str, &str)]) {
    for (path, shown) in requests {
        let answer = server.read(path).await;
        let shown = answer.pointer(shown).unwrap_or_else(|| panic!("{path}: {answer:#}"));
        assert!(shown.as_array().is_none_or(|list| !list.is_empty()), "{path}: {answer:#}");
        assert_ne!(shown, &Value::Null, "{path}");
    }
}

#[tokio::test]
async fn jaegers_ui_of_three_generations_gets_what_it_asks_for() {
    on_each_store(async |server| {
        three_traces(server).await;
        let trace = format!("/api/traces/{SHOP}");
        let dependencies = "/api/dependencies?endTs=1767657600000&lookback=604800000";
        let search = "/api/traces?end=1767657600000000&limit=20&lookback=custom&maxDuration&minDuration&operation=charge\
                      &service=payments&start=1767571200000000&tags=%7B%22error%22%3A%22true%22%7D";
        let summaries = "/api/v3/trace-summaries?query.serviceName=payments&query.operationName=charge\
                         &query.startTimeMin=2026-01-05T00%3A00%3A00.000Z&query.startTimeMax=2026-01-05T23%3A59%3A59.000Z\
                         &query.searchDepth=20&query.attributes=%7B%22error%22%3A%22true%22%7D";
        all_answered(
            server,
            &[
                // Up to 2.14.
                ("/api/services", "/data"),
                ("/api/services/shop%2F%C3%A9clair%20app/operations", "/data"),
                (search, "/data/0/spans"),
                (&trace, "/data/0/processes/p1"),
                (dependencies, "/data"),
                // 2.15 to 2.18: lists of version 3, traces as before.
                ("/api/v3/services", "/services"),
                ("/api/v3/operations?service=shop%2F%C3%A9clair+app", "/operations"),
                // From 2.19.
                (summaries, "/summaries/0/services"),
            ],
        )
        .await;
    })
    .await;
}

#[tokio::test]
async fn grafanas_data_source_gets_what_it_asks_for_on_both_of_its_ways() {
    on_each_store(async |server| {
        three_traces(server).await;
        let trace = format!("/api/traces/{SHOP}?start=1767571200000000&end=1767657600000000");
        let v3_trace = format!("/api/v3/traces/{SHOP}?start_time=2026-01-05T00:00:00Z&end_time=2026-01-06T00:00:00Z");
        let v3_search = "/api/v3/traces?query.service_name=payments&query.operation_name=charge&query.num_traces=20\
                         &query.start_time_min=2026-01-05T01:00:00+01:00&query.start_time_max=2026-01-06T01:00:00+01:00\
                         &query.duration_min=1ms&query.duration_max=1h&query.attributes=%7B%22error%22:%22true%22%7D";
        all_answered(
            server,
            &[
                ("/api/services", "/data"),
                ("/api/services/shop/%C3%A9clair%20app/operations", "/data"),
                (
                    "/api/traces?service=payments&operation=charge&tags=%7B%22error%22%3A%22true%22%7D&minDuration=1ms\
                     &maxDuration=1h&limit=20&start=1767571200000000&end=1767657600000000",
                    "/data/0/spans/0/tags",
                ),
                (&trace, "/data/0/spans"),
                ("/api/dependencies?endTs=1767657600000&lookback=86400000", "/data/0/parent"),
                ("/api/v3/services", "/services"),
                ("/api/v3/operations?service=payments", "/operations/0/spanKind"),
                (v3_search, "/result/resourceSpans/0/scopeSpans/0/spans"),
                (&v3_trace, "/result/resourceSpans"),
            ],
        )
        .await;
        // Its Go types: numbers are 64-bit integers, lists are lists, and each span's process is there.
        for trace in server.read(&format!("/api/traces?service=modal&{DAY}")).await["data"].as_array().unwrap() {
            for span in trace["spans"].as_array().unwrap() {
                assert!(span["startTime"].is_i64() && span["duration"].is_i64(), "{span}");
                assert!(["references", "tags", "logs"].iter().all(|list| span[list].is_array()), "{span}");
                assert!(trace["processes"][span["processID"].as_str().unwrap()]["serviceName"].is_string(), "{span}");
            }
        }
    })
    .await;
}
