//! Targets that are away, slow, wrong or choosy; and this service, killed.

use std::collections::BTreeSet;

use super::*;

const SENT: &str = "tracefall_forward_spans_sent_total{target=\"other\"}";
const FAILURES: &str = "tracefall_forward_failures_total{target=\"other\"}";

fn dropped(reason: &str) -> String {
    format!("tracefall_forward_spans_dropped_total{{target=\"other\",reason=\"{reason}\"}}")
}

/// A service with one target.
fn with(folder: &tempfile::TempDir, address: SocketAddr) -> Server {
    Server::start(folder.path(), |command| target(command, "OTHER", &format!("http://{address}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_not_there_gets_everything_when_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let address = free_address();
    let mut server = with(&folder, address);
    let mut traces = BTreeSet::new();
    for number in 1..=5 {
        traces.insert(post(&server, number).await);
    }
    let ready = until(&server, |ready| ready["forward"][0]["state"] == "failing").await;
    assert_eq!(ready["status"], "ready", "for a minute it is nobody's business");
    assert!(ready["forward"][0]["reason"].as_str().unwrap().contains("refused"), "{ready:#}");
    // And over a restart.
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    let server = with(&folder, address);
    let fake = Fake::start_at(address).await;
    fake.until_taken(&traces).await;
    let ready = until_forwarded(&server).await;
    assert_eq!(ready["forward"][0]["state"], "ok");
    assert_eq!(fake.taken().1, 10, "once each");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_busy_is_asked_again_when_it_said() {
    let fake = Fake::start().await;
    let later = |status| Answer { status, retry_after: Some(1), body: Vec::new() };
    fake.will_answer([later(503), later(429), Answer::status(504), Answer::status(500)]);
    let folder = tempfile::tempdir().unwrap();
    let server = with(&folder, fake.address);
    let trace = post(&server, 1).await;
    until_forwarded(&server).await;
    assert_eq!(fake.taken(), (BTreeSet::from([trace]), 2));
    assert_eq!((metric(&server, SENT).await, metric(&server, FAILURES).await), (2.0, 4.0));
    assert_eq!(fake.got().len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_target_refuses_is_dropped_for_it_and_counted() {
    let fake = Fake::start().await;
    fake.will_answer([Answer::status(400)]);
    let folder = tempfile::tempdir().unwrap();
    let server = with(&folder, fake.address);
    let refused = post(&server, 1).await;
    let ready = until(&server, |ready| ready["forward"][0]["state"] == "refusing").await;
    assert_eq!((&ready["status"], &ready["forward"][0]["reason"]), (&json!("degraded"), &json!("400 Bad Request")));
    let trace = post(&server, 2).await;
    let ready = until(&server, |ready| ready["forward"][0]["state"] == "ok").await;
    assert_eq!(ready["status"], "ready");
    until_forwarded(&server).await;
    assert_eq!((metric(&server, &dropped("refused")).await, metric(&server, SENT).await), (2.0, 2.0));
    assert_eq!(fake.taken().0, BTreeSet::from([trace]));
    assert_eq!(json(client().get(server.url(&format!("/v1/traces/{refused}")))).await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_for_a_target_is_sent_in_halves() {
    let fake = Fake::start().await;
    fake.will_answer([Answer::status(413), Answer::status(413), Answer::status(200)]);
    let folder = tempfile::tempdir().unwrap();
    let server = with(&folder, fake.address);
    post(&server, 1).await;
    until_forwarded(&server).await;
    let sizes: Vec<usize> = fake.got().iter().map(|got| got.spans().count()).collect();
    assert_eq!(sizes, [2, 1, 1]);
    assert_eq!((metric(&server, &dropped("refused")).await, metric(&server, SENT).await), (1.0, 1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_target_takes_in_part_is_not_sent_again() {
    let fake = Fake::start().await;
    // partial_success { rejected_spans: 1, error_message: "no" }
    let body = vec![0x0a, 6, 0x08, 1, 0x12, 2, b'n', b'o'];
    fake.will_answer([Answer { status: 200, retry_after: None, body }]);
    let folder = tempfile::tempdir().unwrap();
    let server = with(&folder, fake.address);
    post(&server, 1).await;
    until_forwarded(&server).await;
    assert_eq!(metric(&server, "tracefall_forward_spans_rejected_total{target=\"other\"}").await, 1.0);
    assert_eq!((metric(&server, SENT).await, fake.got().len()), (1.0, 1));
}

/// It accepts connections and says nothing: neither ingest nor the end of the service waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_never_answers_holds_up_nobody() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut server = with(&folder, address);
    let mut traces = BTreeSet::new();
    for number in 1..=5 {
        traces.insert(post(&server, number).await);
    }
    let ready = until(&server, |ready| ready["forward"][0]["state"] == "failing").await;
    assert_eq!(ready["forward"][0]["reason"], "no answer in time");
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    drop(silent);
    let fake = Fake::start().await;
    let _server = with(&folder, fake.address);
    fake.until_taken(&traces).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_killed_while_it_forwards_loses_nothing() {
    let fake = Fake::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut traces = BTreeSet::new();
    for round in 0..5u64 {
        let server = with(&folder, fake.address);
        for number in 1..=40 {
            traces.insert(post(&server, round * 100 + number).await);
        }
        // In the middle: some were sent, some were not.
        let sent = fake.got().len();
        fake.until("nothing was sent", |fake| fake.got().len() > sent).await;
        server.kill();
    }
    let server = with(&folder, fake.address);
    fake.until_taken(&traces).await;
    until_forwarded(&server).await;
    assert_eq!(fake.taken().0, traces);
}

/// Incompressible, so that little makes many files.
fn noise(seed: u64, bytes: usize) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let letter = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'a' + (state % 26) as u8)
    };
    (0..bytes).map(letter).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_its_share_of_the_disk_the_oldest_are_let_go_and_counted() {
    const POSTED: u64 = 120;
    let folder = tempfile::tempdir().unwrap();
    let address = free_address();
    let server = Server::start(folder.path(), |command| {
        target(command, "OTHER", &format!("http://{address}"));
        // The journal's own budget is far below what is posted, and never spent.
        command
            .env("TRACEFALL__JOURNAL__MAX_BYTES", (8 << 20).to_string())
            .env("TRACEFALL__JOURNAL__COMPRESS_AFTER_SEGMENTS", "0");
    });
    let mut traces = BTreeSet::new();
    for number in 1..=POSTED {
        traces.insert(post_with(&server, number, &noise(number, 60_000)).await);
        // The store keeps up.
        until(&server, |ready| ready["journal"]["unstored_records"].as_u64().unwrap() < 10).await;
    }
    let ready = until(&server, |ready| ready["journal"]["unstored_records"] == 0).await;
    assert_eq!((&ready["status"], &ready["journal"]["state"]), (&json!("ready"), &json!("ok")), "{ready:#}");
    let deadline = Instant::now() + PATIENCE;
    // 14 MiB were posted; the share is 2 MiB, beside the file that is being written.
    while metric(&server, "tracefall_journal_kept_bytes").await > f64::from(2 << 20) {
        assert!(Instant::now() < deadline, "{}", metric(&server, "tracefall_journal_kept_bytes").await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let fake = Fake::start_at(address).await;
    until_forwarded(&server).await;
    let (lost, (arrived, spans)) = (metric(&server, &dropped("no_room")).await as usize, fake.taken());
    assert!(lost > 0 && arrived.contains(traces.last().unwrap()), "{lost}");
    assert_eq!(spans + lost, 2 * POSTED as usize, "each span arrived or was counted");
    let answer = client().get(server.url(&format!("/v1/traces/{}", traces.first().unwrap()))).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "the store has all of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_target_is_nothing_to_its_neighbour() {
    let fake = Fake::start().await;
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), |command| {
        target(command, "DEAD", &format!("http://{}", free_address()));
        target(command, "OTHER", &fake.url());
    });
    let mut traces = BTreeSet::new();
    for number in 1..=20 {
        traces.insert(post(&server, number).await);
    }
    fake.until_taken(&traces).await;
    let ready = until(&server, |ready| ready["forward"][1]["waiting_records"] == 0).await;
    assert_eq!((&ready["forward"][0]["name"], &ready["forward"][0]["state"]), (&json!("dead"), &json!("failing")));
    assert_eq!((&ready["forward"][1]["state"], &ready["forward"][0]["waiting_records"]), (&json!("ok"), &json!(20)));
}
