//! What was said to a model, a tool or a workflow, and what it answered: the span's own `inputs` and `outputs`, or what its
//! sender put into attributes by one of the common conventions. Read from there, so that no prompt is stored twice.
//!
//! Sources: <https://opentelemetry.io/docs/specs/semconv/registry/attributes/gen-ai/>,
//! <https://github.com/Arize-ai/openinference/blob/main/spec/semantic_conventions.md>,
//! <https://github.com/traceloop/openllmetry>, <https://langfuse.com/integrations/native/opentelemetry>,
//! <https://ai-sdk.dev/docs/ai-sdk-core/telemetry>.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

use super::attributes::Attributes;
use super::span::Span;

/// Attributes that hold all of what went in, the most precise first. `.*` stands for numbered messages below it.
const INPUTS: [&str; 12] = [
    "gen_ai.input.messages",
    "langfuse.observation.input",
    "ai.prompt.messages",
    "ai.prompt",
    "gen_ai.tool.call.arguments",
    "ai.toolCall.args",
    "llm.input_messages.*",
    "gen_ai.prompt.*",
    "gen_ai.prompt",
    "input.value",
    "traceloop.entity.input",
    "langfuse.trace.input",
];

/// The same of what came out.
const OUTPUTS: [&str; 13] = [
    "gen_ai.output.messages",
    "langfuse.observation.output",
    "ai.response.text",
    "ai.response.object",
    "ai.response.toolCalls",
    "gen_ai.tool.call.result",
    "ai.toolCall.result",
    "llm.output_messages.*",
    "gen_ai.completion.*",
    "gen_ai.completion",
    "output.value",
    "traceloop.entity.output",
    "langfuse.trace.output",
];

/// Numbered messages that are put together at most.
const MESSAGES: usize = 1_000;

/// What went into the span, as JSON text. One pass over its attributes, unless it is the span's own.
pub fn inputs(span: &Span) -> Option<Cow<'_, str>> {
    span.inputs().map(Cow::Borrowed).or_else(|| first(&span.attributes, &INPUTS))
}

/// What came out of it, likewise.
pub fn outputs(span: &Span) -> Option<Cow<'_, str>> {
    span.outputs().map(Cow::Borrowed).or_else(|| first(&span.attributes, &OUTPUTS))
}

/// What inputs ask, in words: a text itself, of a conversation what the user said last. None if there are no such words.
pub fn question(inputs: &str) -> Option<String> {
    match serde_json::from_str(inputs).ok()? {
        Value::String(text) => Some(text),
        Value::Array(messages) => {
            let said = |message: &&Value| message["role"] == "user" && words(message).is_some();
            messages.iter().rev().find(said).and_then(words)
        }
        Value::Object(object) => question(&object.get("messages")?.to_string()),
        _ => None,
    }
}

/// Of a message: its content, or its parts that are text.
fn words(message: &Value) -> Option<String> {
    let text = |part: &Value| ["text", "content"].iter().find_map(|name| part[*name].as_str()).map(str::to_owned);
    let parts = message["content"].as_array().or_else(|| message["parts"].as_array());
    let joined = || parts.map(|parts| parts.iter().filter_map(text).collect::<Vec<_>>().join("\n"));
    text(message).or_else(joined).filter(|words| !words.is_empty())
}

fn first<'a>(attributes: &'a Attributes, names: &[&str]) -> Option<Cow<'a, str>> {
    // Most spans are not of models: a look at the text costs less than reading it.
    if !["gen_ai.", "llm.", "ai.", "put.value", "entity.", "langfuse."]
        .iter()
        .any(|part| attributes.as_json().contains(part))
    {
        return None;
    }
    let entries = attributes.entries();
    names.iter().find_map(|name| match name.strip_suffix('*') {
        Some(prefix) => messages(&entries, prefix).map(Cow::Owned),
        None => entries.iter().find(|(key, raw)| key == name && !is_empty(raw)).map(|(_, raw)| unwrapped(raw)),
    })
}

fn is_empty(raw: &str) -> bool {
    matches!(raw, "null" | "\"\"")
}

/// Attributes hold structures as text, since OpenTelemetry's had no others: what the text holds, if that is a structure.
fn unwrapped(raw: &str) -> Cow<'_, str> {
    if let Ok(text) = serde_json::from_str::<String>(raw)
        && text.trim_start().starts_with(['{', '['])
        && serde_json::from_str::<&RawValue>(&text).is_ok()
    {
        return Cow::Owned(text);
    }
    Cow::Borrowed(raw)
}

/// `prefix0.role`, `prefix0.message.content`, … as a list of objects, in the order of their numbers. Names below `message.`
/// stand in the object itself.
fn messages(entries: &[(Cow<'_, str>, &str)], prefix: &str) -> Option<String> {
    let mut messages: BTreeMap<u32, serde_json::Map<String, Value>> = BTreeMap::new();
    for (key, raw) in entries {
        let Some((number, name)) = key.strip_prefix(prefix).and_then(|rest| rest.split_once('.')) else { continue };
        let Ok(number) = number.parse() else { continue };
        if messages.len() >= MESSAGES && !messages.contains_key(&number) {
            continue;
        }
        let value = serde_json::from_str(raw).unwrap_or_else(|_| Value::from(*raw));
        let name = name.strip_prefix("message.").unwrap_or(name);
        messages.entry(number).or_default().insert(name.to_owned(), value);
    }
    let list: Vec<Value> = messages.into_values().map(Value::Object).collect();
    (!list.is_empty()).then(|| Value::Array(list).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sketch;
    use crate::model::span::Field;

    fn span(attributes: &str) -> Span {
        let mut span = sketch::trace("chat[0..1]").unwrap().spans.remove(0);
        span.attributes = Attributes::from_json(attributes).unwrap();
        span
    }

    #[test]
    fn every_convention_is_read_and_structures_in_texts_are_structures() {
        for (attributes, went_in, came_out) in [
            (
                r#"{"gen_ai.input.messages":"[{\"role\":\"user\"}]","gen_ai.output.messages":"[]"}"#,
                Some(r#"[{"role":"user"}]"#),
                Some("[]"),
            ),
            (
                r#"{"input.value":"What is it?","output.value":"{not json"}"#,
                Some("\"What is it?\""),
                Some("\"{not json\""),
            ),
            (
                r#"{"llm.input_messages.1.message.content":"b","llm.input_messages.0.message.role":"user","llm.input_messages.0.message.content":"a","input.value":"{}"}"#,
                Some(r#"[{"content":"a","role":"user"},{"content":"b"}]"#),
                None,
            ),
            (
                r#"{"gen_ai.prompt.0.content":"a","gen_ai.completion.0.content":"b","gen_ai.completion.0.role":"assistant"}"#,
                Some(r#"[{"content":"a"}]"#),
                Some(r#"[{"content":"b","role":"assistant"}]"#),
            ),
            (r#"{"ai.prompt":"{\"prompt\":1}","ai.response.text":"yes"}"#, Some(r#"{"prompt":1}"#), Some("\"yes\"")),
            (r#"{"gen_ai.tool.call.arguments":{"a":1},"gen_ai.tool.call.result":3}"#, Some(r#"{"a":1}"#), Some("3")),
            (r#"{"traceloop.entity.input":"","http.route":"/"}"#, None, None),
            (r#"{"gen_ai.prompt.x.content":"a","gen_ai.prompt.0":"b"}"#, None, None),
        ] {
            let span = span(attributes);
            assert_eq!(inputs(&span).as_deref(), went_in, "{attributes}");
            assert_eq!(outputs(&span).as_deref(), came_out, "{attributes}");
        }
    }

    #[test]
    fn a_question_is_what_the_user_said_last() {
        for (inputs, asked) in [
            ("\"Why?\"", Some("Why?")),
            (
                r#"[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"}]"#,
                Some("c"),
            ),
            (
                r#"[{"role":"user","parts":[{"type":"text","content":"a"},{"type":"blob"},{"type":"text","content":"b"}]}]"#,
                Some("a\nb"),
            ),
            (r#"{"messages":[{"role":"user","content":[{"type":"text","text":"d"}]}],"model":"m"}"#, Some("d")),
            (r#"{"messages":"none"}"#, Some("none")),
            (r#"[{"role":"system","content":"a"}]"#, None),
            (r#"{"question":"e"}"#, None),
            ("17", None),
            ("not json", None),
        ] {
            assert_eq!(question(inputs).as_deref(), asked, "{inputs}");
        }
    }

    #[test]
    fn the_spans_own_come_first() {
        let mut span = span(r#"{"input.value":"theirs","output.value":"theirs"}"#);
        span.fields.set_text(Field::Inputs, "\"ours\"");
        assert_eq!(inputs(&span).as_deref(), Some("\"ours\""));
        assert_eq!(outputs(&span).as_deref(), Some("\"theirs\""));
    }
}
