//! What the journal costs: encoding and decoding a span, and appending requests of several sizes from several threads
//! with each policy. `scripts/bench journal` runs it; `JOURNAL_SPANS` changes the spans of a round.

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use tracefall::journal::{Held, Journal, Keepers, Record, codec};
use tracefall::model::limits::Limits;
use tracefall::model::span::Span;
use tracefall::model::tenant::TenantId;
use tracefall::model::time::UnixNanos;
use tracefall::settings::journal::{Fsync, JournalSettings};
use tracefall::wire::{Carried, DecodeContext, Framing, native};

const REQUESTS: [usize; 4] = [1, 10, 100, 1_000];

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let spans = decoded(20_000);
    encoding(&spans);
    let total = std::env::var("JOURNAL_SPANS").ok().and_then(|text| text.parse().ok()).unwrap_or(400_000);
    println!(
        "{:>8}  {:>7}  {:>7}  {:>11}  {:>10}  {:>12}  {:>10}  {:>10}",
        "fsync", "threads", "request", "spans/s", "appends/s", "CPU us/span", "p50 us", "p99 us"
    );
    for (fsync, threads) in [
        (Fsync::Off, 1),
        (Fsync::Interval, 1),
        (Fsync::Interval, 4),
        (Fsync::Interval, 8),
        (Fsync::Always, 1),
        (Fsync::Always, 8),
        (Fsync::Always, 64),
    ] {
        for request in REQUESTS {
            // Who waits for the disk makes fewer.
            let total = if fsync == Fsync::Always { total.min(200 * request * threads) } else { total };
            appending(&spans, fsync, threads, request, total, None);
        }
    }
    println!("at 100 000 spans a second, as a busy service would:");
    for fsync in [Fsync::Off, Fsync::Interval, Fsync::Always] {
        appending(&spans, fsync, 8, 100, 300_000, Some(Duration::from_millis(1)));
    }
}

/// Spans of the shape that the ingest benchmarks send, as the native format decodes them.
fn decoded(count: usize) -> Vec<Span> {
    let body = format!("[{}]", (0..count as u64).map(span).collect::<Vec<_>>().join(","));
    println!("{} bytes of JSON a span", body.len() / count);
    let limits = Limits { max_spans: count, ..Limits::default() };
    let tenant = TenantId::default();
    let context = DecodeContext { tenant: &tenant, received_at: UnixNanos::new(1_767_607_200 << 30), limits: &limits };
    native::decode(body.as_bytes(), Framing::Json, &context, &Carried::default()).unwrap().spans
}

fn span(index: u64) -> String {
    const OPERATIONS: [&str; 5] =
        ["execute_question", "hybrid_router_call", "router.inference_request", "router.modal_call", "modal.inference"];
    let mixed =
        |salt: u64| (index ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(0xbf58_476d);
    let operation = OPERATIONS[index as usize % 5];
    let start = UnixNanos::new(1_767_607_200_000_000_000 + index * 1_000_000 + mixed(1) % 1_000_000);
    let end = start.plus((mixed(2) % 2_000_000_000) as i64);
    let model =
        if index.is_multiple_of(4) { r#","model_id":"llama-3.2-1b","tokens":{"input":812,"output":97}"# } else { "" };
    let pad: String = (0..240 + mixed(3) % 160).map(|at| char::from(b'a' + (mixed(at + 4) >> 40) as u8 % 26)).collect();
    format!(
        r#"{{"trace_id":"{:032x}","span_id":"{:016x}","parent_span_id":"{:016x}","service":"router","operation":"{operation}","kind":"client","started_at":"{start}","completed_at":"{end}","status":"completed","region":"us-east","execution_id":"run-1-{}"{model},"metadata":{{"http.route":"/v1/infer","question_id":"q{}","pad":"{pad}"}}}}"#,
        u128::from(mixed(index / 8 + 500) | 1) << 64 | u128::from(index / 8),
        mixed(5) | 1,
        mixed(6) | 1,
        index / 8,
        mixed(7) % 500,
    )
}

fn encoding(spans: &[Span]) {
    println!("{:>7}  {:>10}  {:>9}  {:>10}  {:>10}", "request", "bytes/span", "encode us", "+ CRC us", "decode us");
    for request in REQUESTS {
        let mut bytes = Vec::new();
        let encode = best(spans, request, |chunk| {
            bytes.clear();
            codec::encode(chunk, &mut bytes);
            black_box(&bytes);
        });
        let mut record = Record::default();
        let with_crc = best(spans, request, |chunk| record.set_spans(black_box(chunk)));
        let payloads: Vec<Vec<u8>> = spans
            .chunks(request)
            .map(|chunk| {
                let mut payload = Vec::new();
                codec::encode(chunk, &mut payload);
                payload
            })
            .collect();
        let total: usize = payloads.iter().map(Vec::len).sum();
        let mut next = payloads.iter().cycle();
        let mut read = Vec::with_capacity(request);
        let mut dropped = Vec::new();
        let decode = best(spans, request, |_| {
            codec::decode(next.next().unwrap(), &mut read).unwrap();
            // What a round made is dropped behind the clock, by and large.
            if read.len() > spans.len() / 2 {
                dropped = std::mem::take(&mut read);
            }
        });
        black_box(&dropped);
        println!("{request:>7}  {:>10}  {encode:>9.3}  {with_crc:>10.3}  {decode:>10.3}", total / spans.len());
    }
}

/// Microseconds a span, the best of 20 rounds over all spans.
fn best(spans: &[Span], request: usize, mut each: impl FnMut(&[Span])) -> f64 {
    let round = |_| {
        let begun = Instant::now();
        spans.chunks(request).for_each(&mut each);
        begun.elapsed().as_secs_f64() * 1e6 / spans.len() as f64
    };
    (0..20).map(round).fold(f64::MAX, f64::min)
}

/// Encodes and appends, as a request does, and says done at once; a request each `every`, or as fast as it goes.
fn appending(spans: &[Span], fsync: Fsync, threads: usize, request: usize, total: usize, every: Option<Duration>) {
    let folder = tempfile::tempdir().unwrap();
    let settings = JournalSettings { fsync, ..JournalSettings::default() };
    let (journal, _) = Journal::open(folder.path(), &settings, UnixNanos::default).unwrap();
    let keepers = Keepers::start(&journal).unwrap();
    let requests = total / request;
    let next = AtomicUsize::new(0);
    let cpu = cpu();
    let begun = Instant::now();
    let mut latencies: Vec<Duration> = std::thread::scope(|scope| {
        let worker = || {
            let mut record = Record::default();
            let mut latencies = Vec::with_capacity(requests / threads + 1);
            let (tell, told) = channel();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= requests {
                    return latencies;
                }
                let from = index * request % (spans.len() - request + 1);
                let due = every.map(|every| begun + every * index as u32);
                std::thread::sleep(due.map_or(Duration::ZERO, |due| due.saturating_duration_since(Instant::now())));
                let begun = Instant::now();
                record.set_spans(&spans[from..from + request]);
                let ticket = journal.append(&mut record, Held::InMemory).unwrap();
                let sequence = ticket.sequence();
                let tell = tell.clone();
                ticket.when_durable(move |outcome| tell.send(outcome).unwrap());
                told.recv().unwrap().unwrap();
                latencies.push(begun.elapsed());
                journal.done(sequence);
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let (wall, cpu) = (begun.elapsed(), self::cpu() - cpu);
    drop(keepers);
    latencies.sort();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
    println!(
        "{:>8}  {threads:>7}  {request:>7}  {:>11.0}  {:>10.0}  {:>12.2}  {:>10.1}  {:>10.1}",
        format!("{fsync:?}").to_lowercase(),
        (requests * request) as f64 / wall.as_secs_f64(),
        requests as f64 / wall.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / (requests * request) as f64,
        at(0.5),
        at(0.99)
    );
}

/// User and system time of this process, in ticks of 10 ms (proc(5), fields 14 and 15).
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}
