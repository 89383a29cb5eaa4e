//! OpenAI asked through OpenInference and through the Vercel AI SDK, around an endpoint of the test's own: model, provider,
//! tokens, session, user, failure.

use serde_json::{Value, json};

use super::{configured, guarded, installed, node, openai, python, spans};
use crate::recipes::run;

/// What the fake says that an answer took.
fn assert_usage(span: &Value) {
    for (field, value) in [
        ("span_type", json!("llm")),
        ("status", json!("completed")),
        ("provider", json!("openai")),
        ("model", json!("gpt-4o-mini-2024-07-18")),
        ("request_model", json!("gpt-4o-mini")),
        ("input_tokens", json!(812)),
        ("output_tokens", json!(97)),
        ("cache_read_tokens", json!(512)),
        ("reasoning_tokens", json!(40)),
        ("usage_basis", json!("inclusive")),
        ("cost_role", json!("own")),
        ("session_id", json!("session-1")),
        ("user_id", json!("user-1")),
    ] {
        assert_eq!(span[field], value, "{field} of {span:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_by_openinference_tells_model_tokens_session_user_and_failure() {
    let Some(installed) = installed() else { return };
    let (_openai, url) = openai(&installed);
    let server = guarded().await;
    let mut command = python(&installed, &["llm.py"]);
    let (told, _) = run(configured(&mut command, &server, "http/protobuf").env("OPENAI_BASE_URL", url));
    let read = spans(&server, &told["trace_id"], 4).await;
    let (question, asked) = read.split_first().unwrap();
    assert_eq!((&question["operation"], &question["span_type"]), (&json!("question"), &Value::Null));
    assert!(asked.iter().all(|span| span["parent_span_id"] == question["span_id"]));
    for answered in &asked[..2] {
        assert_usage(answered);
        let attributes = &answered["attributes"];
        assert_eq!(attributes["llm.input_messages.1.message.content"], "Hello?");
        assert_eq!(attributes["llm.output_messages.0.message.content"], "Hello there");
        assert_eq!((&attributes["tag.tags"], &attributes["llm.finish_reason"]), (&json!(["a", "b"]), &json!("stop")));
    }
    for (field, value) in [
        ("span_type", "llm"),
        ("status", "failed"),
        ("provider", "openai"),
        ("model", "broken"),
        ("request_model", "broken"),
        ("error_type", "openai.BadRequestError"),
        ("session_id", "session-1"),
    ] {
        assert_eq!(asked[2][field], value, "{field}");
    }
    assert!(asked[2]["error_message"].as_str().unwrap().contains("there is no such model"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ai_sdk_tells_model_tokens_session_and_user_and_counts_once() {
    let Some(installed) = installed() else { return };
    let (_openai, url) = openai(&installed);
    let server = guarded().await;
    let mut command = node(&installed, server.folder.path(), "ai_sdk.mjs");
    let (told, _) = run(configured(&mut command, &server, "http/protobuf").env("OPENAI_BASE_URL", url));
    let read = spans(&server, &told["trace_id"], 5).await;
    let of = |operation: &str| read.iter().find(|span| span["operation"] == operation).unwrap();
    for (outer, inner) in
        [("ai.generateText", "ai.generateText.doGenerate"), ("ai.streamText", "ai.streamText.doStream")]
    {
        let (outer, inner) = (of(outer), of(inner));
        assert_usage(inner);
        assert_eq!(inner["parent_span_id"], outer["span_id"]);
        assert_eq!(inner["attributes"]["ai.response.text"], "Hello there");
        // It repeats what the inner one used.
        assert_eq!((&outer["cost_role"], &outer["provider"]), (&json!("aggregate"), &json!("openai")));
    }
    server.stop().await;
}
