//! `TraceService/Export`, asked by tonic, on the port of gRPC and on that of HTTP.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use tonic::Code;
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;
use tracefall::settings::Secret;

use super::{operations, request};
use crate::support::TestServer;

async fn client(address: std::net::SocketAddr) -> TraceServiceClient<Channel> {
    TraceServiceClient::connect(format!("http://{address}")).await.unwrap()
}

#[tokio::test]
async fn spans_are_taken_on_either_port_compressed_or_not() {
    let server = TestServer::start().await;
    let mut plain = client(server.grpc_address()).await;
    let answer = plain.export(request(&["a"])).await.unwrap().into_inner();
    assert_eq!(answer.partial_success, None);
    let mut compressed = client(server.address()).await.send_compressed(CompressionEncoding::Gzip);
    compressed.export(request(&["a", "b"])).await.unwrap();
    assert_eq!(operations(&server, 2).await, ["a", "b"]);
    let answer = plain.export(request(&["a", "", ""])).await.unwrap().into_inner();
    assert_eq!(answer.partial_success.unwrap().rejected_spans, 2);
    assert!(plain.export(ExportTraceServiceRequest::default()).await.is_ok());
    server.stop().await;
}

#[tokio::test]
async fn refusals_have_the_codes_that_clients_act_on() {
    let key = "ingest-".repeat(4);
    let server = TestServer::with(|settings| {
        settings.access.ingest_key = Some(Secret::new(key.clone()));
        settings.ingest.limits.max_otlp_wire_bytes = 4_096;
        settings.ingest.limits.max_spans = 3;
    })
    .await;
    let mut client = client(server.grpc_address()).await;
    let authorized = |names: &[&str]| {
        let mut message = tonic::Request::new(request(names));
        message.metadata_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
        message
    };
    assert_eq!(client.export(request(&["a"])).await.unwrap_err().code(), Code::Unauthenticated);
    client.export(authorized(&["a"])).await.unwrap();
    let many = client.export(authorized(&["a", "b", "c", "d"])).await.unwrap_err();
    assert_eq!(many.code(), Code::ResourceExhausted);
    assert!(many.message().contains("max_spans"), "{many}");
    let long = client.export(authorized(&[&"x".repeat(5_000)])).await.unwrap_err();
    assert_eq!(long.code(), Code::ResourceExhausted);
    assert!(long.message().contains("max_otlp_wire_bytes"), "{long}");
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_served_is_unimplemented_and_junk_is_invalid() {
    let server = TestServer::start().await;
    let http2 = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let ask = async |path: &str, body: Vec<u8>| {
        let request = http2.post(format!("http://{}{path}", server.grpc_address())).body(body);
        let answer = request.header("content-type", "application/grpc+proto").send().await.unwrap();
        assert_eq!(answer.status(), 200, "gRPC's own status tells");
        let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        (header("grpc-status").unwrap_or_default(), header("grpc-message").unwrap_or_default())
    };
    let (status, message) = ask("/opentelemetry.proto.collector.logs.v1.LogsService/Export", vec![0; 5]).await;
    assert_eq!(status, "12", "{message}");
    let export = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    for body in [
        vec![],
        vec![0; 4],
        vec![0, 0, 0, 0, 9, 1],
        vec![2, 0, 0, 0, 0],
        vec![1, 0, 0, 0, 0],
        b"\0\0\0\0\x02{}".to_vec(),
    ] {
        let (status, message) = ask(export, body.clone()).await;
        assert_eq!(status, "3", "{body:?}: {message}");
    }
    let request = http2.post(format!("http://{}{export}", server.grpc_address())).body(vec![0; 5]);
    let answer = request.header("content-type", "application/grpc").header("grpc-encoding", "br").send().await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "12", "its compression is not understood");
    assert!(answer.headers()["grpc-accept-encoding"].to_str().unwrap().contains("gzip"));
    let request = http2.post(format!("http://{}{export}", server.grpc_address())).body(vec![0; 5]);
    let answer = request.header("content-type", "application/grpc+json").send().await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "12");
    assert_eq!(ask(export, vec![0; 5]).await.0, "", "an empty message is a success, told in the trailers");
    server.stop().await;
}
