//! By which names fields are filled, and what becomes of token counts.

use super::*;

fn promoted(attributes: &[(&str, &str)]) -> Vec<(&'static str, String)> {
    let mut fields = FieldSet::default();
    let mut promoter = Promoter::default();
    for (key, raw) in attributes {
        promoter.look(&mut fields, key, raw);
    }
    promoter.end(&mut fields);
    let told = |value: &FieldValue| match value {
        FieldValue::Int(number) => number.to_string(),
        FieldValue::Text(text) => text.to_string(),
    };
    fields.finish().iter().map(|(field, value)| (field.name(), told(value))).collect()
}

fn of(field: &str, attributes: &[(&str, &str)]) -> Option<String> {
    promoted(attributes).into_iter().find(|(name, _)| *name == field).map(|(_, value)| value)
}

#[test]
fn the_better_name_counts_in_any_order() {
    let (old, new) = (("gen_ai.request.model", "\"asked\""), ("gen_ai.response.model", "\"answered\""));
    for attributes in [[old, new], [new, old]] {
        assert_eq!(of("model", &attributes).as_deref(), Some("answered"));
        assert_eq!(of("request_model", &attributes).as_deref(), Some("asked"));
    }
    assert_eq!(of("model", &[new, ("model", "\"own\"")]).as_deref(), Some("own"));
}

#[test]
fn a_request_that_failed_still_names_its_model() {
    let parameters = ("llm.invocation_parameters", r#""{\"model\": \"asked\", \"temperature\": 0.5}""#);
    let model = |attributes: &[_]| [of("model", attributes), of("request_model", attributes)];
    assert_eq!(model(&[parameters]), [Some("asked".into()), Some("asked".into())]);
    let answered = ("llm.model_name", "\"answered\"");
    assert_eq!(model(&[parameters, answered]), [Some("answered".into()), Some("asked".into())]);
    assert_eq!(model(&[("llm.invocation_parameters", "\"[]\"")]), [None, None]);
}

#[test]
fn a_value_of_the_wrong_kind_leaves_the_field_to_others() {
    let attributes = [("gen_ai.usage.input_tokens", "\"many\""), ("llm.token_count.prompt", "12")];
    assert_eq!(of("input_tokens", &attributes).as_deref(), Some("12"));
    assert_eq!(promoted(&[("gen_ai.response.model", "null"), ("user.id", "\"\""), ("region", "{}")]), []);
}

#[test]
fn tokens_that_were_counted_apart_are_added() {
    let anthropic = [("gen_ai.usage.input_tokens", "10"), ("gen_ai.usage.cache_read_input_tokens", "90")];
    assert_eq!(of("input_tokens", &anthropic).as_deref(), Some("100"));
    assert_eq!(of("usage_basis", &anthropic).as_deref(), Some("exclusive_detected"));
    let by_sum = [
        ("llm.token_count.prompt", "50"),
        ("llm.token_count.completion", "5"),
        ("llm.token_count.prompt_details.cache_read", "20"),
        ("llm.token_count.total", "75"),
    ];
    assert_eq!(of("input_tokens", &by_sum).as_deref(), Some("70"));
    let inclusive = [
        ("llm.token_count.prompt", "50"),
        ("llm.token_count.completion", "5"),
        ("llm.token_count.prompt_details.cache_read", "20"),
        ("llm.token_count.total", "55"),
    ];
    assert_eq!(of("input_tokens", &inclusive).as_deref(), Some("50"));
    assert_eq!(of("usage_basis", &inclusive).as_deref(), Some("inclusive"));
    let gemini = [
        ("gen_ai.usage.input_tokens", "7"),
        ("gen_ai.usage.output_tokens", "3"),
        ("gen_ai.usage.reasoning_tokens", "40"),
        ("gen_ai.usage.total_tokens", "50"),
    ];
    assert_eq!(of("output_tokens", &gemini).as_deref(), Some("43"));
}

#[test]
fn money_is_exact_and_langfuse_comes_first() {
    assert_eq!(of("cost_pico", &[("gen_ai.usage.cost", "0.000123456789")]).as_deref(), Some("123456789"));
    let both =
        [("gen_ai.usage.cost", "1"), ("langfuse.observation.cost_details", r#""{\"input\":0.1,\"total\":0.25}""#)];
    assert_eq!(of("cost_pico", &both).as_deref(), Some("250000000000"));
}

#[test]
fn a_provider_has_one_name_whichever_span_of_the_ai_sdk_tells_it() {
    let outer = [("ai.model.provider", "\"openai.chat\"")];
    let inner = [("gen_ai.system", "\"openai.chat\""), outer[0]];
    assert_eq!((of("provider", &outer), of("provider", &inner)), (Some("openai".into()), Some("openai".into())));
    assert_eq!(of("provider", &[("gen_ai.system", "\"aws.bedrock\"")]).as_deref(), Some("aws.bedrock"));
}

#[test]
fn classes_of_spans_go_by_one_word() {
    for (key, told, word) in [
        ("gen_ai.operation.name", "chat", Some("llm")),
        ("openinference.span.kind", "LLM", Some("llm")),
        ("langfuse.observation.type", "generation", Some("llm")),
        ("langfuse.observation.type", "span", None),
        ("traceloop.span.kind", "workflow", Some("workflow")),
        ("ai.operationId", "ai.generateText", Some("chain")),
        ("ai.operationId", "ai.generateText.doGenerate", Some("llm")),
        ("ai.operationId", "ai.toolCall", Some("tool")),
        ("http.request.method", "GET", Some("http")),
    ] {
        assert_eq!(of("span_type", &[(key, &format!("\"{told}\""))]).as_deref(), word, "{key} {told}");
    }
}

#[test]
fn an_outer_span_repeats_what_the_inner_ones_spent() {
    let outer = [("openinference.span.kind", "\"AGENT\""), ("llm.token_count.prompt", "9")];
    assert_eq!(of("cost_role", &outer).as_deref(), Some("aggregate"));
    let inner = [("openinference.span.kind", "\"LLM\""), ("llm.token_count.prompt", "9")];
    assert_eq!(of("cost_role", &inner).as_deref(), Some("own"));
}
