//! Zipkin's spans: what they mean, what is refused, and who is whose child where two report one span.

use proptest::prelude::*;
use tracefall::analysis::tree::Tree;
use tracefall::model::limits::Limits;
use tracefall::model::span::Span;
use tracefall::model::tenant::TenantId;
use tracefall::model::time::UnixNanos;
use tracefall::model::trace::Trace;
use tracefall::wire::{DecodeContext, DecodeError, zipkin};

fn decode(body: &str) -> Result<Vec<Span>, DecodeError> {
    let tenant = TenantId::default();
    let limits = Limits::default();
    let context =
        DecodeContext { tenant: &tenant, received_at: UnixNanos::new(1_767_607_200_000_000_000), limits: &limits };
    zipkin::decode(body.as_bytes(), &context).map(|decoded| decoded.spans)
}

fn one(members: &str) -> Span {
    decode(&format!(r#"[{{"traceId":"a1","id":"b2"{members}}}]"#)).unwrap().remove(0)
}

fn refusal(body: &str) -> String {
    decode(body).unwrap_err().to_string()
}

#[test]
fn a_span_is_read_whole() {
    let span = one(
        r#","parentId":"c3","name":"get /x","kind":"CLIENT","timestamp":1767607200000001,"duration":1500,"debug":true,
        "localEndpoint":{"serviceName":"shop","ipv4":"10.0.0.1","ipv6":"::1","port":80},
        "remoteEndpoint":{"serviceName":"stock","port":0},"what":{"is":"this"},
        "annotations":[{"timestamp":1767607200000002,"value":"wire.send"}],
        "tags":{"http.method":"GET","otel.scope.name":"lib","otel.scope.version":"1","x":"a\u0000b"}"#,
    );
    assert_eq!(span.trace_id.to_string(), "000000000000000000000000000000a1");
    assert_eq!(
        (span.span_id.to_string(), span.parent_span_id.unwrap().to_string()),
        ("00000000000000b2".into(), "00000000000000c3".into())
    );
    assert_eq!((span.service(), span.operation(), span.kind()), (Some("shop"), Some("get /x"), Some(3)));
    assert_eq!(
        (span.started_at, span.duration_ns()),
        (Some(UnixNanos::new(1_767_607_200_000_001_000)), Some(1_500_000))
    );
    assert_eq!((span.status.name(), span.span_type()), ("completed", Some("http")));
    assert_eq!(span.events()[0].timestamp, Some(UnixNanos::new(1_767_607_200_000_002_000)));
    for (key, raw) in [
        ("network.local.address", "\"10.0.0.1\""),
        ("network.local.port", "80"),
        ("peer.service", "\"stock\""),
        ("zipkin.debug", "true"),
        ("x", "\"a\\ufffdb\""),
    ] {
        assert_eq!(span.attributes.get(key), Some(raw), "{key}");
    }
    assert!(span.attributes.get("network.peer.port").is_none());
    assert!(span.resource.unwrap().content().contains(r#""scope":{"name":"lib","version":"1"}"#));
}

#[test]
fn errors_and_times_as_zipkin_means_them() {
    let ended = r#","timestamp":1,"duration":1"#;
    let of = |tags: &str| one(&format!(r#"{ended},"tags":{{{tags}}}"#));
    let told = |span: &Span| (span.status.name(), span.error_message().map(str::to_owned), span.otel_status());
    assert_eq!(told(&of(r#""error":"502""#)), ("failed", Some("502".into()), None));
    assert_eq!(told(&of(r#""error":"""#)), ("failed", None, None));
    assert_eq!(told(&of(r#""otel.status_code":"ERROR""#)), ("failed", None, Some(2)));
    assert_eq!(told(&of(r#""otel.status_code":"OK""#)), ("completed", None, Some(1)));
    assert_eq!(one(r#","timestamp":5"#).status.name(), "running");
    assert_eq!(one(r#","timestamp":-5,"duration":-1"#).status.name(), "pending");
    assert_eq!(one(r#","timestamp":5,"duration":0"#).duration_ns(), Some(0));
    assert_eq!(one(r#","timestamp":18446744073709551615,"duration":18446744073709551615"#).status.name(), "completed");
    assert_eq!(one("").kind(), Some(1), "what has no kind is local");
}

#[test]
fn what_zipkin_refuses_is_refused_as_a_whole() {
    for (body, what) in [
        ("{}", "not a list of spans"),
        ("[", "not valid JSON"),
        ("5", "not a list"),
        ("[5]", "span 0: is a number"),
        (r#"[{"traceId":"a1","id":"b2"},{"traceId":"a1"}]"#, "span 1: id is missing"),
        (r#"[{"id":"b2"}]"#, "traceId is missing"),
        (r#"[{"traceId":null,"id":"b2"}]"#, "traceId is"),
        (r#"[{"traceId":"A1","id":"b2"}]"#, "lower-case hex digits"),
        (r#"[{"traceId":"a1","id":"0000000000000000"}]"#, "id "),
        (r#"[{"traceId":"0","id":"b2"}]"#, "traceId "),
        (r#"[{"traceId":"a1","id":"123456789012345678"}]"#, "1 to 16 lower-case"),
        (r#"[{"traceId":"a1","id":"b2","kind":"LOCAL"}]"#, "accepted are CLIENT"),
        (r#"[{"traceId":"a1","id":"b2","tags":{"a":null}}]"#, "tags.a is null, not a string"),
        (r#"[{"traceId":"a1","id":"b2","tags":{"a":5}}]"#, "tags.a is a number"),
        (r#"[{"traceId":"a1","id":"b2","annotations":[{"value":"x"}]}]"#, "annotations.timestamp is missing"),
        (r#"[{"traceId":"a1","id":"b2","annotations":[{"timestamp":1}]}]"#, "annotations.value is missing"),
        (r#"[{"traceId":"a1","id":"b2","binaryAnnotations":[]}]"#, "version 1"),
        (r#"[{"traceId":"a1","id":"b2","timestamp":1.5}]"#, "whole microseconds"),
        (r#"[{"traceId":"a1","id":"b2","shared":"yes"}]"#, "not a boolean"),
    ] {
        assert!(refusal(body).contains(what), "{body}: {}", refusal(body));
    }
    for body in [
        "",
        "[]",
        " \n",
        r#"[{"traceId":"a1","id":"b2","parentId":"0000000000000000","name":null,"localEndpoint":{}}]"#,
    ] {
        assert!(decode(body).is_ok(), "{body}");
    }
}

/// The tree of spans as `service(children)`.
fn tree(spans: Vec<Span>) -> String {
    fn draw(tree: &Tree, trace: &Trace, node: usize) -> String {
        let name = match tree.missing_id(node) {
            Some(id) => format!("?{id}"),
            None => trace.spans[node].service().unwrap_or_default().to_owned(),
        };
        let children: Vec<String> = tree.children(node).iter().map(|child| draw(tree, trace, *child)).collect();
        if children.is_empty() { name } else { format!("{name}({})", children.join(" ")) }
    }
    let trace = Trace::new(TenantId::default(), spans[0].trace_id, spans, false);
    let tree = Tree::new(&trace);
    tree.roots().iter().map(|root| draw(&tree, &trace, *root)).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_two_halves_of_a_shared_span_find_each_other() {
    let span = |service: &str, id: &str, rest: &str, at: u64| {
        format!(
            r#"{{"traceId":"a1","id":"{id}","timestamp":{at},"duration":5,"localEndpoint":{{"serviceName":"{service}"}}{rest}}}"#
        )
    };
    let client = span("web", "b2", r#","kind":"CLIENT","parentId":"b1""#, 2);
    let server = span("api", "b2", r#","kind":"SERVER","shared":true,"parentId":"b1""#, 3);
    let root = span("web", "b1", "", 1);
    let work = span("api", "b3", r#","parentId":"b2""#, 4);
    let own = span("web", "b4", r#","parentId":"b2""#, 5);
    let of = |spans: &[&String]| {
        let list: Vec<&str> = spans.iter().map(|span| span.as_str()).collect();
        tree(decode(&format!("[{}]", list.join(","))).unwrap())
    };
    assert_eq!(of(&[&root, &client, &server, &work, &own]), "web(web(api(api) web))");
    assert_eq!(of(&[&own, &work, &server, &client, &root]), "web(web(api(api) web))", "in any order");
    assert_eq!(of(&[&root, &server, &work, &own]), "web(api(api web))", "without a client");
    assert_eq!(of(&[&root, &client, &work]), "web(web(api))", "without a server");
    assert_eq!(of(&[&server, &work]), "?00000000000000b1(api(api))");
}

proptest! {
    #[test]
    fn no_text_panics(text in r#"[\[\]{}:,"a-f0-9\\ ]{0,60}"#, at in any::<proptest::sample::Index>()) {
        let mut body = r#"[{"traceId":"a1","id":"b2","tags":{"a":"b"},"annotations":[{"timestamp":1,"value":"x"}]}]"#.to_owned();
        body.insert_str(at.index(body.len()), &text);
        let _ = decode(&body);
        let _ = decode(&text);
    }
}
