//! Every envelope, whole.

use serde_json::{Value, json};

use super::*;

/// The one trace of a legacy answer, after checking the envelope about it.
async fn legacy(server: &TestServer, id: &str) -> Value {
    let mut answer = server.read(&format!("/api/traces/{id}")).await;
    let trace = answer["data"][0].take();
    assert_eq!(answer, json!({"data": [null], "total": 1, "limit": 0, "offset": 0, "errors": null}));
    trace
}

fn tag<'t>(tags: &'t Value, key: &str) -> Option<&'t Value> {
    tags.as_array().unwrap().iter().find(|tag| tag["key"] == key).map(|tag| &tag["value"])
}

#[tokio::test]
async fn a_trace_of_otlp_is_told_whole_in_legacy_json() {
    on_each_store(async |server| {
        three_traces(server).await;
        let tag = |key: &str, kind: &str, value: Value| json!({"key": key, "type": kind, "value": value});
        let host = || json!([tag("host.name", "string", json!("h1"))]);
        let expected = json!({
            "traceID": SHOP,
            "spans": [
                {"traceID": SHOP, "spanID": "00f067aa0ba902b7", "flags": 1, "operationName": "GET /cart/{id}",
                 "references": [{"refType": "FOLLOWS_FROM", "traceID": "1".repeat(32), "spanID": "2222222222222222"}],
                 "startTime": T0, "duration": 250_000,
                 "tags": [
                    tag("big", "int64", json!("9007199254740993")), tag("blob", "binary", json!("AAEC")),
                    tag("cached", "bool", json!(true)), tag("http.response.status_code", "int64", json!(200)),
                    tag("http.route", "string", json!("/cart/{id}")), tag("list", "string", json!("[\"a\",1]")),
                    tag("map", "string", json!("{\"a\":\"b\"}")), tag("nan", "float64", json!("NaN")),
                    tag("ratio", "float64", json!(0.5)), tag("otel.scope.name", "string", json!("http")),
                    tag("otel.scope.version", "string", json!("1.2")), tag("span.kind", "string", json!("server")),
                    tag("otel.status_code", "string", json!("OK")), tag("w3c.tracestate", "string", json!("a=1")),
                 ],
                 "logs": [{"timestamp": T0 + 100_000, "fields": [
                    tag("event", "string", json!("cache miss")), tag("key", "string", json!("cart:7"))]}],
                 "processID": "p1", "warnings": null},
                {"traceID": SHOP, "spanID": "00f067aa0ba902b8", "operationName": "charge",
                 "references": [{"refType": "CHILD_OF", "traceID": SHOP, "spanID": "00f067aa0ba902b7"}],
                 "startTime": T0 + 50_000, "duration": 100_000,
                 "tags": [
                    tag("span.kind", "string", json!("client")), tag("otel.status_code", "string", json!("ERROR")),
                    tag("error", "bool", json!(true)), tag("otel.status_description", "string", json!("card declined")),
                 ],
                 "logs": [], "processID": "p2", "warnings": null},
            ],
            "processes": {
                "p1": {"serviceName": "shop/éclair app", "tags": host()},
                "p2": {"serviceName": "payments", "tags": host()},
            },
            "warnings": null,
        });
        assert_eq!(legacy(server, SHOP).await, expected);
    })
    .await;
}

#[tokio::test]
async fn halves_of_a_shared_span_have_ids_of_their_own_in_both_forms() {
    on_each_store(async |server| {
        three_traces(server).await;
        let trace = legacy(server, SHARED).await;
        assert_eq!(trace["traceID"], SHARED, "a 64-bit id is printed as one");
        let [client, server_half, child] = &trace["spans"].as_array().unwrap()[..] else { panic!("{trace:#}") };
        assert_eq!((&client["spanID"], &client["references"]), (&json!("00000000000000b2"), &json!([])));
        let id = server_half["spanID"].as_str().unwrap();
        assert!(id.len() == 16 && id != "00000000000000b2", "{id}");
        assert_eq!(tag(&server_half["tags"], "tracefall.span_id").unwrap(), "7a69706b696e2f7300000000000000b2");
        assert_eq!(server_half["references"][0]["spanID"], "00000000000000b2");
        assert_eq!(child["references"], json!([{"refType": "CHILD_OF", "traceID": SHARED, "spanID": id}]));

        let v3 = server.read(&format!("/api/v3/traces/{SHARED}")).await;
        let mut ids = Vec::new();
        for resource in v3["result"]["resourceSpans"].as_array().unwrap() {
            for span in
                resource["scopeSpans"].as_array().unwrap().iter().flat_map(|scope| scope["spans"].as_array().unwrap())
            {
                assert_eq!(span["traceId"], format!("0000000000000000{SHARED}"));
                ids.push((
                    span["spanId"].as_str().unwrap().to_owned(),
                    span["parentSpanId"].as_str().map(str::to_owned),
                ));
            }
        }
        ids.sort();
        let owned = |id: &str| id.to_owned();
        let mut expected = vec![
            (owned("00000000000000b2"), None),
            (owned(id), Some(owned("00000000000000b2"))),
            (owned("00000000000000c3"), Some(owned(id))),
        ];
        expected.sort();
        assert_eq!(ids, expected);
    })
    .await;
}

#[tokio::test]
async fn what_our_own_spans_say_is_in_tags_and_what_is_odd_in_warnings() {
    on_each_store(async |server| {
        three_traces(server).await;
        let trace = legacy(server, RUN).await;
        let [root, open, lost] = &trace["spans"].as_array().unwrap()[..] else { panic!("{trace:#}") };
        assert_eq!((&root["spanID"], &root["duration"]), (&json!("4444555555555555"), &json!(2_000_000)));
        for (span, key, value) in [
            (root, "tracefall.span_id", json!("11111111222233334444555555555555")),
            (root, "execution_id", json!("123")),
            (root, "question_id", json!("q1")),
            (open, "model", json!("llama-3.2-1b")),
            (lost, "error", json!(true)),
            (lost, "otel.status_code", json!("ERROR")),
            (lost, "error_message", json!("CUDA out of memory")),
        ] {
            assert_eq!(tag(&span["tags"], key), Some(&value), "{key} of {span:#}");
        }
        assert_eq!(open["references"][0]["spanID"], root["spanID"]);
        assert_eq!((&open["duration"], &open["startTime"]), (&json!(0), &json!(T0 + 3_601_000_000)));
        assert!(open["warnings"][0].as_str().unwrap().contains("has not ended"), "{open:#}");
        assert_eq!(lost["references"][0]["spanID"], "000000000000dead");
        assert_eq!(lost["warnings"][0], "its parent is not among the spans of the trace");
        assert!(!trace["warnings"].as_array().unwrap().is_empty());
        assert_eq!(trace["processes"].as_object().unwrap().len(), 2);
    })
    .await;
}

#[tokio::test]
async fn services_operations_and_dependencies_are_listed_in_order() {
    on_each_store(async |server| {
        let envelope = |data: Value| {
            let total = data.as_array().unwrap().len();
            json!({"data": data, "total": total, "limit": 0, "offset": 0, "errors": null})
        };
        assert_eq!(server.read("/api/services").await, envelope(json!([])));
        assert_eq!(server.read("/api/v3/services").await, json!({"services": []}));
        assert_eq!(server.read("/api/v3/operations?service=x").await, json!({"operations": []}));
        assert_eq!(server.read("/api/dependencies").await, envelope(json!([])));
        three_traces(server).await;
        let names = json!(["api", "modal", "payments", "runner", "shop/éclair app", "web"]);
        assert_eq!(server.read("/api/services").await, envelope(names.clone()));
        assert_eq!(server.read("/api/v3/services").await, json!({"services": names}));

        assert_eq!(server.read("/api/services/modal/operations").await, envelope(json!(["infer", "lost"])));
        let api = json!([{"name": "get", "spanKind": "internal"}, {"name": "get", "spanKind": "server"}]);
        assert_eq!(server.read("/api/operations?service=api").await, envelope(api.clone()));
        assert_eq!(server.read("/api/operations?service=api&spanKind=server").await, envelope(json!([api[1]])));
        assert_eq!(server.read("/api/services/api/operations").await, envelope(json!(["get"])));
        assert_eq!(server.read("/api/v3/operations?service=api").await, json!({"operations": api}));
        assert_eq!(
            server.read("/api/v3/operations?service=api&span_kind=server").await,
            json!({"operations": [api[1]]})
        );
        assert_eq!(server.read("/api/v3/operations").await["operations"].as_array().unwrap().len(), 8);

        let all = server.read("/api/dependencies?endTs=1767657600000&lookback=86400000").await;
        let call = |parent: &str, child: &str| json!({"parent": parent, "child": child, "callCount": 1});
        let calls = json!([call("runner", "modal"), call("shop/éclair app", "payments"), call("web", "api")]);
        assert_eq!(all, envelope(calls));
        let morning = server.read("/api/dependencies?endTs=1767607201000&lookback=3600000").await;
        assert_eq!(morning["data"].as_array().unwrap().len(), 2);
    })
    .await;
}

#[tokio::test]
async fn summaries_count_spans_errors_and_orphans() {
    on_each_store(async |server| {
        three_traces(server).await;
        let path = format!("/api/v3/trace-summaries?{DAY_V3}&query.searchDepth=20");
        let answer = server.read(&path).await;
        let service =
            |name: &str, spans: u32, errors: u32| json!({"name": name, "spanCount": spans, "errorSpanCount": errors});
        let run = json!({
            "traceId": RUN, "rootServiceName": "runner", "rootOperationName": "execute_question",
            "minStartTimeUnixNano": "1767610800000000000", "maxEndTimeUnixNano": "1767610802000000000",
            "spanCount": 3, "errorSpanCount": 1, "orphanSpanCount": 1,
            "services": [service("modal", 2, 1), service("runner", 1, 0)],
        });
        let shop = json!({
            "traceId": SHOP, "rootServiceName": "shop/éclair app", "rootOperationName": "GET /cart/{id}",
            "minStartTimeUnixNano": "1767607200000000999", "maxEndTimeUnixNano": "1767607200250000999",
            "spanCount": 2, "errorSpanCount": 1, "orphanSpanCount": 0,
            "services": [service("payments", 1, 1), service("shop/éclair app", 1, 0)],
        });
        let shared = json!({
            "traceId": format!("0000000000000000{SHARED}"), "rootServiceName": "web", "rootOperationName": "get",
            "minStartTimeUnixNano": "1767607200000000000", "maxEndTimeUnixNano": "1767607200000900000",
            "spanCount": 3, "errorSpanCount": 0, "orphanSpanCount": 0,
            "services": [service("api", 2, 0), service("web", 1, 0)],
        });
        assert_eq!(answer, json!({"summaries": [run, shop, shared]}));
    })
    .await;
}

#[tokio::test]
async fn version_3_tells_a_trace_as_otlp() {
    on_each_store(async |server| {
        three_traces(server).await;
        let answer = server.read(&format!("/api/v3/traces/{SHOP}")).await;
        let resources = answer["result"]["resourceSpans"].as_array().unwrap();
        let spans: Vec<&Value> = resources.iter().map(|resource| &resource["scopeSpans"][0]["spans"][0]).collect();
        let root = spans.iter().find(|span| span["name"] == "GET /cart/{id}").unwrap();
        assert_eq!((&root["kind"], &root["status"]["code"]), (&json!(2), &json!(1)));
        assert_eq!(root["startTimeUnixNano"], "1767607200000000999");
        let status =
            root["attributes"].as_array().unwrap().iter().find(|pair| pair["key"] == "http.response.status_code");
        assert_eq!(status.unwrap()["value"], json!({"intValue": "200"}));
        let both = server.read(&format!("/api/v3/traces?{DAY_V3}&query.serviceName=payments")).await;
        assert_eq!(both, answer, "a search tells it the same");
    })
    .await;
}
