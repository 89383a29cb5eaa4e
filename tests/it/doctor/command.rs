//! The command as people and scripts have it, and the same of a running service.

use serde_json::Value;

use crate::support::binary::{Server, run, tracefall};
use crate::support::{TestServer, client, json, problem};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_exit_code_is_1_where_a_finding_fails_and_0_where_none_does() {
    let folder = tempfile::tempdir().unwrap();
    let doctor = |arguments: &[&str]| {
        let output = run(tracefall().current_dir(folder.path()).arg("doctor").args(arguments));
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, out, err) = doctor(&[]);
    assert_eq!(code, Some(1), "{out}{err}");
    assert!(out.contains("✗ reachability") && out.contains("run: tracefall migrate up"), "{out}");
    assert!(err.contains("findings that fail: 1; the lines above say what heals them"), "{err}");
    assert!(
        !out.contains('\u{1b}') && !err.contains('\r'),
        "neither colours nor progress but on a terminal: {out}{err}"
    );
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none(), "nothing is made");

    assert!(run(tracefall().current_dir(folder.path()).args(["migrate", "up"])).status.success());
    let (code, out, err) = doctor(&["--bench", "--deep", "--json"]);
    let report: Value = serde_json::from_str(&out).unwrap();
    let failing = report["findings"].as_array().unwrap().iter().filter(|finding| finding["state"] == "fail").count();
    // The machine's disk may be what it likes.
    assert_eq!(code, Some(i32::from(failing > 0)), "{out}{err}");
    let unknown = report["findings"].as_array().unwrap().iter().find(|finding| finding["check"] == "capacity").unwrap();
    assert_eq!((&unknown["state"], &unknown["fix"]["how"]), (&"unknown".into(), &"setting".into()), "{unknown}");
    assert!(doctor(&["--color", "always"]).1.contains("\u{1b}[32m✓"));
}

#[tokio::test]
async fn a_service_that_runs_is_no_trouble() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), |_| {});
    // Its store opens beside.
    while json(client().get(server.url("/v1/traces"))).await.0 != 200 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let output = run(tracefall().current_dir(folder.path()).args(["doctor", "--json"]));
    let report: Value = serde_json::from_str(&text(&output.stdout)).unwrap();
    for finding in report["findings"].as_array().unwrap() {
        let is_disk = finding["check"].as_str().unwrap().ends_with("disk");
        assert!(is_disk || finding["state"] != "fail", "{finding}");
    }
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_answers_the_same_to_its_administrator() {
    let server = TestServer::start().await;
    server
        .store(&serde_json::json!([{"trace_id": "1".repeat(32), "span_id": "1", "service": "s", "operation": "o",
        "started_at": "2026-01-05T10:00:00Z", "duration_ms": 1}]))
        .await;
    let report = server.read("/v1/admin/doctor").await;
    let checks: Vec<&str> =
        report["findings"].as_array().unwrap().iter().map(|finding| finding["check"].as_str().unwrap()).collect();
    assert!(checks.contains(&"reachability") && checks.contains(&"journal"), "{checks:?}");
    assert!(server.draw("/v1/admin/doctor").await.contains("✓ schema"));
    server.stop().await;

    let key = "tf_0123456789abcdef0123456789abcdef";
    let server = TestServer::with(|settings| {
        settings.access.read_key = Some(tracefall::settings::Secret::new(key));
        settings.access.admin_key = Some(tracefall::settings::Secret::new("tf_fedcba9876543210fedcba9876543210"));
    })
    .await;
    let refused = server.get("/v1/admin/doctor").bearer_auth(key).send().await.unwrap();
    problem(refused, 403).await;
    let (status, _) = json(server.get("/v1/admin/doctor").bearer_auth("tf_fedcba9876543210fedcba9876543210")).await;
    assert_eq!(status, 200);
}
