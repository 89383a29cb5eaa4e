//! Secrets here are put together as the tests run, so that nothing that looks like one stands in the source.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::model::ids::{SpanId, TraceId};
use crate::model::span::{Event, Link};
use crate::model::tenant::TenantId;
use crate::model::time::UnixNanos;

fn redactor(settings: &RedactionSettings) -> Redactor {
    Redactor::new(settings).unwrap().unwrap()
}

fn default() -> Redactor {
    redactor(&RedactionSettings::default())
}

fn own(keys: &[&str], patterns: &[&str]) -> Redactor {
    let texts = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
    redactor(&RedactionSettings { defaults: false, keys: texts(keys), patterns: texts(patterns) })
}

fn span() -> Span {
    let ids = (TraceId::from_bytes([1; 16]).unwrap(), SpanId::parse("1").unwrap());
    let mut span = Span::new(TenantId::default(), ids.0, ids.1, UnixNanos::default());
    span.fields.set_text(Field::Operation, "work");
    span
}

fn with_attributes(attributes: &Value) -> Span {
    let mut span = span();
    span.attributes = Attributes::from_json(&attributes.to_string()).unwrap();
    span
}

fn attributes(span: &Span) -> Value {
    serde_json::from_str(span.attributes.as_json()).unwrap()
}

/// What becomes of these attributes, in a span as a whole: so the sieve is asked too.
fn redacted(redactor: &Redactor, value: &Value) -> Value {
    let mut spans = [with_attributes(value)];
    redactor.spans(&mut spans);
    attributes(&spans[0])
}

fn letters(count: usize) -> String {
    (0..count).map(|n| char::from(b"aB3dE5fG7hJ9kLmN"[n * 7 % 16])).collect()
}

/// Name of the rule, a text that holds a secret, and the secret.
fn corpus() -> Vec<(&'static str, String, String)> {
    let upper: String = letters(64).to_uppercase().chars().filter(|c| c.is_ascii_uppercase()).take(16).collect();
    let jwt = format!("{}{}.{}{}.{}", "ey", "JhbGciOiJIUzI1NiJ9", "ey", "JzdWIiOiIxMjM0NTY3ODkwIn0", letters(43));
    let aws = |first: &str| format!("{first}{}{upper}", "IA");
    let pem = |kind: &str| {
        format!("-----{} {kind}PRIVATE KEY-----\n{}\n-----END {kind}PRIVATE KEY-----", "BEGIN", letters(64))
    };
    let cut_pem = format!("-----{} PRIVATE KEY-----\n{}", "BEGIN", letters(40));
    let key = |prefix: &str, count| format!("{prefix}{}", letters(count));
    let card = |groups: [&str; 4], between: &str| groups.join(between);
    let mut corpus = Vec::new();
    let mut add = |rule, before: &str, secret: String, after: &str| {
        corpus.push((rule, format!("{before}{secret}{after}"), secret));
    };
    add("JWT", "token was ", jwt.clone(), " and expired");
    add("JWT", "", jwt[..60].to_owned(), "");
    add("AWS key", "using ", aws("AK"), ".");
    add("AWS key", "id=", aws("AS"), "");
    add("private key", "", pem("RSA "), "\nthe end");
    add("private key", "key: ", pem(""), "");
    add("private key", "cut ", cut_pem, "");
    for prefix in ["sk-", "sk-proj-", "sk-ant-api03-"] {
        add("sk key", "Incorrect API key provided: ", key(prefix, 40), ". Find yours");
        add("sk key", "", key(prefix, 24), "");
        add("sk key", "line\n", key(prefix, 24), "");
        add("sk key", "{\"k\":\"", key(prefix, 24), "\"}");
    }
    for (prefix, count) in
        [("ghp_", 36), ("github_pat_", 50), ("glpat-", 20), ("xoxb-", 30), ("AIza", 35), ("sk_live_", 24)]
    {
        add("service key", "with ", key(prefix, count), " it failed");
    }
    add("bearer token", "header Authorization: Bearer ", letters(32), "");
    add("bearer token", "BEARER   ", format!("{}==", letters(20)), " sent");
    add("password in a URL", "cannot connect to postgres://app:", letters(12), "@db.example.com:5432/app");
    add("password in a URL", "redis://:", letters(12), "@cache:6379");
    add("assigned secret", "Server=db;User=app;Password=", letters(12), ";Timeout=5");
    add("assigned secret", "GET /v1/models?api_key=", letters(12), "&page=2");
    add("assigned secret", "{\"user\": \"a\", \"client_secret\": \"", letters(12), "\"}");
    add("assigned secret", "{\"Access_Token\":\"", letters(12), "\"}");
    add("card number", "card ", card(["4111", "1111", "1111", "1111"], " "), " was declined");
    add("card number", "card ", card(["5555", "5555", "5555", "4444"], "-"), "");
    add("card number", "", card(["4012", "8888", "8888", "1881"], ""), "");
    add("card number", "amex ", format!("{}{}", "37828", "2246310005"), ".");
    corpus
}

#[test]
fn every_shape_of_a_secret_is_cut_out_wherever_it_stands_and_nothing_else() {
    let redactor = default();
    for (rule, text, secret) in corpus() {
        let clean = text.replace(&secret, MARK);
        let mut told = with_attributes(&json!({"a": {"b": [1, text]}, "z": 1.50}));
        told.fields.set_text(Field::ErrorMessage, text.as_str());
        told.fields.set_text(Field::ErrorStack, text.as_str());
        told.fields.set_text(Field::Inputs, json!({"messages": [{"content": text}]}).to_string());
        told.fields.set_text(Field::Outputs, json!(text).to_string());
        let event = Attributes::from_json(&json!({"exception.message": text}).to_string()).unwrap();
        told.set_events(vec![Event {
            timestamp: None,
            name: text.clone(),
            attributes: event.clone(),
            dropped_attributes: 0,
        }]);
        let (trace_id, span_id) = (told.trace_id, told.span_id);
        let link =
            Link { trace_id, span_id, trace_state: String::new(), attributes: event, flags: 0, dropped_attributes: 0 };
        told.set_links(vec![link]);
        told.resource = Some(Arc::new(Resource::new(json!({"attributes": {"x": text}}).to_string())));
        let mut spans = [told, span()];
        let hits = redactor.spans(&mut spans);
        assert_eq!(hits, [(rule, 9)], "{rule}: {}", clean);
        let [told, other] = &spans;
        assert_eq!(*other, span());
        assert_eq!(attributes(told), json!({"a": {"b": [1, clean]}, "z": 1.50}));
        assert_eq!((told.error_message(), told.error_stack()), (Some(clean.as_str()), Some(clean.as_str())));
        let json_of = |text: Option<&str>| serde_json::from_str::<Value>(text.unwrap()).unwrap();
        assert_eq!(json_of(told.inputs()), json!({"messages": [{"content": clean}]}));
        assert_eq!(json_of(told.outputs()), json!(clean));
        assert_eq!(told.events()[0].name, clean);
        assert!(!format!("{told:?}").contains(&secret), "{rule}");
        assert!(!told.resource.as_ref().unwrap().content().contains(&secret), "{rule}");
        assert_eq!(redactor.spans(&mut spans), [], "{rule}: a second time there is nothing left");
    }
}

#[test]
fn what_only_looks_like_a_secret_stays() {
    let redactor = default();
    let texts = [
        "task-bias-detection-0123456789abcdef",
        "disk-0123456789abcdef0123",
        "sk-short",
        "eyJ is how JSON begins",
        "AKIA is a prefix",
        "asia-east1",
        "https://user@example.com/a:b",
        "mail ann@example.com now",
        "http://localhost:4318/v1/spans",
        "10:30@noon",
        "Bearer of bad news",
        "bearer token missing",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "-----BEGIN PUBLIC KEY-----",
        "password: must have 8 characters",
        "password=",
        "max_tokens=4096 tokens=17",
        "the secret of success",
        "1767607200123456789",
        "4111111111111112",
        "4f1c2d9e8b7a6f5e4d3c2b1a",
        "0123456789012345",
        "1111 1111 1111 1111",
        "order 4111-1111",
        "+49 4012 8888 8888 1881 77",
        "a4111111111111111",
        "4111111111111111.5",
        "550e8400-e29b-41d4-a716-446655440000",
        "192.168.0.1",
        "ghp_short",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ];
    for text in texts {
        let mut told = span();
        told.fields.set_text(Field::ErrorMessage, text);
        assert_eq!(redactor.spans(std::slice::from_mut(&mut told)), [], "{text}");
        assert_eq!(told.error_message(), Some(text));
        assert_eq!(redactor.text(text), None, "{text}");
    }
    let attributes = json!({
        "tokens": 17, "input_tokens": 3, "max_tokens": "4096", "token_count": 5, "gen_ai.usage.output_tokens": 9,
        "token": "Hello", "stop_token": "</s>", "eos_token": "<|endoftext|>", "tokenizer": "cl100k_base", "next_page_token": "abc",
        "has_password": true, "password": null, "secret": false, "api_key": 17, "cookie": "", "author": "ann", "keyboard": "qwerty",
        "cache_key": "user:1", "primary_key": "id", "secretary": "bob", "cookies_enabled": "yes", "authorization_mode": "none",
        "idempotency_key": "5f1c", "password_policy": "strong", "public_key": "ssh-ed25519 AAAA", "pwd": "/srv/app",
    });
    assert_eq!(redacted(&redactor, &attributes), attributes);
}

#[test]
fn names_of_secrets_are_known_in_any_case_and_depth_and_with_any_separator() {
    let redactor = default();
    let secret = letters(20);
    for name in [
        "authorization",
        "Authorization",
        "http.request.header.authorization",
        "proxy-authorization",
        "Cookie",
        "set-cookie",
        "http.response.header.set-cookie",
        "password",
        "PASSWORD",
        "db.password",
        "userPassword",
        "user_password",
        "passwd",
        "client_secret",
        "clientSecret",
        "secret",
        "SECRET_KEY",
        "aws_secret_access_key",
        "api_key",
        "apiKey",
        "X-API-Key",
        "OPENAI_API_KEY",
        "api key",
        "access_token",
        "accessToken",
        "refresh-token",
        "session_token",
        "csrfToken",
        "id_token",
        "private_key",
        "token",
        "auth.token",
        "jwt",
        "passphrase",
        "password_hash",
    ] {
        for (value, kept) in [
            (json!({name: secret}), json!({name: MARK})),
            (json!({"a": [{"b": {name: secret, "c": 1}}]}), json!({"a": [{"b": {name: MARK, "c": 1}}]})),
            (json!({name: [secret, "x"], "d": {}}), json!({name: MARK, "d": {}})),
            (json!({name: {"nested": {"e": secret}}, "f": "g"}), json!({name: MARK, "f": "g"})),
        ] {
            assert_eq!(redacted(&redactor, &value), kept, "{name}");
        }
    }
    let escaped = format!("{{\"pass\\u0077ord\" : \"{secret}\", \"n\": 1}}");
    assert_eq!(redactor.json(&escaped).unwrap(), "{\"pass\\u0077ord\" : \"[redacted]\", \"n\": 1}");
    let mut spans = [with_attributes(&json!({"a": serde_json::from_str::<Value>("1").unwrap()}))];
    spans[0].fields.set_text(Field::Inputs, escaped.as_str());
    assert_eq!(redactor.spans(&mut spans), [("*password", 1)]);
}

#[test]
fn the_operators_own_rules_hold_beside_the_defaults_and_without_them() {
    let redactor = own(&["customer_ssn", "*_iban", "user_id", "x*"], &[r"\bDE\d{20}\b", "ticket-([0-9]+)"]);
    let told =
        json!({"Customer-SSN": 17, "billing.iban": 1, "the_iban": ["a"], "xyz": true, "password": "kept", "n": 5});
    let clean =
        json!({"Customer-SSN": MARK, "billing.iban": MARK, "the_iban": MARK, "xyz": MARK, "password": "kept", "n": 5});
    assert_eq!(redacted(&redactor, &told), clean);
    let account = format!("DE{}", "12345678901234567890");
    let mut told = with_attributes(&json!({"a": format!("to {account}"), "b": "see ticket-4711 and ticket-x\n"}));
    told.fields.set_text(Field::UserId, "ann");
    let mut spans = [told];
    let hits = redactor.spans(&mut spans);
    assert_eq!(hits, [("user_id", 1), ("patterns[0]", 1), ("patterns[1]", 1)]);
    assert_eq!(attributes(&spans[0]), json!({"a": "to [redacted]", "b": "see ticket-[redacted] and ticket-x\n"}));
    assert_eq!(spans[0].user_id(), Some(MARK));
    assert_eq!(redactor.spans(&mut spans), []);
    let none = RedactionSettings { defaults: false, ..RedactionSettings::default() };
    assert!(Redactor::new(&none).unwrap().is_none());
}

fn any_json() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        Just("password".to_owned()),
        Just("token".to_owned()),
        Just("a".to_owned()),
        Just("Api-Key".to_owned()),
        Just("x.secret".to_owned()),
        ".{0,8}"
    ];
    let text = prop_oneof![
        "(?s).{0,24}",
        (0..corpus().len()).prop_map(|index| corpus()[index].1.clone()),
        Just("\\\"quoted\\\" \u{0} \u{1F600} [redacted]".to_owned()),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        text.prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 32, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(word.clone(), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Whether `clean` is `told` but for values that became the mark or lost a part to it.
fn differs_by_marks_only(told: &Value, clean: &Value) -> bool {
    match (told, clean) {
        (_, Value::String(text)) if text == MARK => true,
        (Value::String(_), Value::String(text)) if text.contains(MARK) => true,
        (Value::Array(told), Value::Array(clean)) => {
            told.len() == clean.len() && told.iter().zip(clean).all(|(told, clean)| differs_by_marks_only(told, clean))
        }
        (Value::Object(told), Value::Object(clean)) => {
            told.len() == clean.len()
                && told
                    .iter()
                    .zip(clean)
                    .all(|(told, clean)| told.0 == clean.0 && differs_by_marks_only(told.1, clean.1))
        }
        (told, clean) => told == clean,
    }
}

proptest! {
    #[test]
    fn json_stays_json_and_only_secrets_change(value in any_json(), pretty in any::<bool>()) {
        let redactor = default();
        let text = if pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() };
        let clean = redactor.json(&text);
        let read: Value = serde_json::from_str(clean.as_deref().unwrap_or(&text)).unwrap();
        prop_assert!(differs_by_marks_only(&value, &read), "{value}\n{read}");
        for (_, _, secret) in corpus() {
            prop_assert!(secret.len() < 8 || !read.to_string().contains(&secret), "{read}");
        }
        if let Some(clean) = &clean {
            prop_assert_eq!(redactor.json(clean), None, "once is enough");
        }
    }

    #[test]
    fn the_sieve_lets_nothing_through_that_a_rule_would_take(value in any_json(), text in "(?s).{0,40}") {
        let redactor = default();
        let mut told = with_attributes(&json!({"v": value, "w": text}));
        told.fields.set_text(Field::ErrorMessage, text.as_str());
        let mut looked = told.clone();
        let mut hits = Hits::default();
        redactor.look(&mut looked, &mut hits);
        let mut spans = [told];
        redactor.spans(&mut spans);
        prop_assert_eq!(&spans[0], &looked);
    }
}
