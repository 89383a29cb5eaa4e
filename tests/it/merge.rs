//! Start now, complete later, in any order, as often as one likes: through the whole service, across a restart.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::TestServer;
use crate::support::postgres::Database;

/// A small generator with a fixed seed: the same sequences in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

const SEQUENCES: u64 = 2_000;
const SPANS_PER_TRACE: u64 = 5;
const MIDNIGHT: u64 = 1_767_657_600_000_000_000;

#[tokio::test]
async fn two_thousand_random_sequences_end_as_one_correct_span_each() {
    check(TestServer::start().await).await;
}

/// On PostgreSQL two writers work at a time.
#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_random_sequences_end_as_one_correct_span_each_on_postgres() {
    let Some(database) = Database::new() else { return };
    database.empty().await;
    check(TestServer::with(|settings| settings.store.url = database.settings().url).await).await;
}

async fn check(mut server: TestServer) {
    let mut random = Random(42);
    let mut halves: [Vec<Value>; 2] = [Vec::new(), Vec::new()];
    let mut expected: BTreeMap<String, BTreeMap<String, (u64, u64, &str)>> = BTreeMap::new();
    for sequence in 0..SEQUENCES {
        let trace_id = format!("{:032x}", 0xabc0 + sequence / SPANS_PER_TRACE);
        let span_id = format!("{:016x}", 1 + sequence);
        // A third start around midnight, so that jitter moves them over the border of a day.
        let started = MIDNIGHT - 3_600_000_000_000 * random.below(3) + random.below(2_000);
        let ended = started + 1_000_000_000 + random.below(1_000_000_000);
        let status = ["completed", "failed"][random.below(2) as usize];
        let key = json!({"trace_id": trace_id, "span_id": span_id});
        let record = |members: Value| {
            let mut record = key.clone();
            record.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
            record
        };
        let mut earliest = started;
        let mut records = vec![
            record(json!({"start_time_unix_nano": started, "operation": "work", "status": "started"})),
            record(json!({"end_time_unix_nano": ended, "status": status})),
        ];
        // A retry of the start by a sender that rounds its clock, or that says everything again at the end.
        if random.below(2) == 0 {
            let jittered = started - random.below(1_500);
            earliest = earliest.min(jittered);
            records.push(record(json!({"start_time_unix_nano": jittered, "operation": "work", "status": "running"})));
        }
        if random.below(2) == 0 {
            records.push(record(json!({"start_time_unix_nano": started, "end_time_unix_nano": ended,
                "operation": "work", "status": status})));
        }
        for _ in 0..random.below(3) {
            let again = records[random.below(records.len() as u64) as usize].clone();
            records.push(again);
        }
        for index in (1..records.len()).rev() {
            records.swap(index, random.below(index as u64 + 1) as usize);
        }
        for record in records {
            halves[random.below(2) as usize].push(record);
        }
        expected.entry(trace_id).or_default().insert(span_id, (earliest, ended, status));
    }

    for half in halves {
        let mut rest = &half[..];
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(rest.len().min(1 + random.below(400) as usize));
            server.store(&json!(chunk)).await;
            rest = after;
        }
        server = server.restart().await;
    }
    for (trace_id, spans) in expected {
        let trace = server.read(&format!("/v1/traces/{trace_id}")).await;
        let found = trace["spans"].as_array().unwrap();
        assert_eq!(found.len(), spans.len(), "{trace_id} has twins or gaps");
        for span in found {
            let (started, ended, status) = spans[span["span_id"].as_str().unwrap()];
            let at = |name: &str| {
                tracefall::model::time::UnixNanos::parse_rfc3339(span[name].as_str().unwrap()).unwrap().as_u64()
            };
            assert_eq!((at("started_at"), at("completed_at")), (started, ended), "{span}");
            assert_eq!((span["status"].as_str().unwrap(), &span["operation"]), (status, &json!("work")), "{span}");
        }
    }
}
