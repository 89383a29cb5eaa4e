//! `tracefall import`: what three systems wrote into tables of their own is in the store afterwards, in either one, whole,
//! once, and however often the import was cut off or repeated; and their tables are as they were.

use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tracefall::model::ids::{SpanId, TraceId};
use tracefall::model::search::TraceQuery;
use tracefall::model::span::{Field, Span, Status};
use tracefall::model::tenant::TenantId;
use tracefall::settings::DatabaseUrl;
use tracefall::settings::store::StoreSettings;
use tracefall::store::{self, Detail};

use crate::support::binary::{run, tracefall};
use crate::support::psql::{Database, psql};

const BEACON: &str = include_str!("../fixtures/neighbours/beacon.sql");
const NODE_AI: &str = include_str!("../fixtures/neighbours/node_ai.sql");
const CTRLPLANE: &str = include_str!("../fixtures/neighbours/ctrlplane.sql");

/// Where spans go: a folder to run in, with the embedded store or the one that a URL names.
struct Target {
    folder: TempDir,
    url: Option<String>,
}

impl Target {
    fn sqlite() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), url: None }.migrated()
    }

    fn postgres(url: &str) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), url: Some(url.to_owned()) }.migrated()
    }

    fn migrated(self) -> Self {
        let output = run(self.command().args(["migrate", "up"]));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        self
    }

    fn command(&self) -> std::process::Command {
        let mut command = tracefall();
        command.current_dir(self.folder.path());
        if let Some(url) = &self.url {
            command.env("DATABASE_URL", url);
        }
        command
    }

    /// Imports out of the database at `from`.
    fn import(&self, from: &str, arguments: &[&str]) -> Told {
        Told::of(run(self.command().env("TRACEFALL_FROM_URL", from).arg("import").args(arguments)))
    }

    fn settings(&self) -> StoreSettings {
        let url = self.url.as_ref().map(DatabaseUrl::new);
        StoreSettings { url, data_dir: self.folder.path().join("tracefall-data"), ..StoreSettings::default() }
    }

    /// Every span of these traces, by trace and id.
    async fn spans(&self, traces: &[&str]) -> Vec<Span> {
        let store = store::open(&self.settings()).await.unwrap();
        let mut spans = Vec::new();
        for trace in traces {
            let id = TraceId::parse(trace).unwrap();
            let rows = store.traces.trace_rows(&TenantId::default(), id, Detail::Full, 100_000).await.unwrap().rows;
            assert!(!rows.is_empty(), "{trace} is not there");
            spans.extend(rows);
        }
        store.maintenance.close().await;
        spans.sort_by_key(|span| (span.trace_id, span.span_id));
        spans
    }

    /// Traces whose roll-ups know this many spans together.
    async fn rolled_up(&self) -> (usize, u64) {
        let store = store::open(&self.settings()).await.unwrap();
        let query = TraceQuery { limit: 1_000, ..TraceQuery::default() };
        let page = store.traces.search_traces(&TenantId::default(), &query).await.unwrap();
        assert_eq!(store.rollups.unsettled(10).await.unwrap(), [], "an import leaves nothing to settle");
        store.maintenance.close().await;
        (page.items.len(), page.items.iter().map(|trace| u64::from(trace.span_count)).sum())
    }
}

struct Told {
    ok: bool,
    out: String,
    err: String,
}

impl Told {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { ok: output.status.success(), out: text(output.stdout), err: text(output.stderr) }
    }

    #[track_caller]
    fn has(self, texts: &[&str]) -> Self {
        assert!(self.ok, "{}{}", self.out, self.err);
        for text in texts {
            assert!(self.out.contains(text), "{text:?} is missing: {}\n{}", self.out, self.err);
        }
        self
    }

    #[track_caller]
    fn fails_with(self, texts: &[&str]) {
        assert!(!self.ok, "{}", self.out);
        for text in texts {
            assert!(self.err.contains(text), "{text:?} is missing: {}", self.err);
        }
    }
}

/// The span of an id among those of its trace.
fn span<'s>(spans: &'s [Span], id: &str) -> &'s Span {
    let id = SpanId::parse(id).unwrap();
    spans.iter().find(|span| span.span_id == id).unwrap()
}

/// Rows beside those of the published schemas: a duplicate in other words, a zero parent, an end before its start, and
/// numbers and texts at their edges.
const MORE: &str = r#"
    INSERT INTO trace_spans (trace_id, span_id, parent_span_id, service, operation, started_at, completed_at, duration_ms,
        status, error_message, error_type, execution_id, metadata, created_at) VALUES
    ('7f3c0a1b-2c3d-4e5f-8071-8293a4b5c6d7', 'a1b2c3d4-0001-4000-8000-000000000004',
     'a1b2c3d4-0001-4000-8000-000000000001', 'modal', 'inference', '2026-01-05 10:00:01+00', '2026-01-05 10:00:00+00',
     NULL, 'timeout', E'Zeile 1\nZeile "2" \\ ü', 'Timeout', 9223372036854775807,
     '{"nested": {"list": [1, 2.50, null]}, "huge": 12345678901234567890, "status": 502}', '2026-01-05 10:00:10+00');
    INSERT INTO spans VALUES
    ('11111111-0000-4000-8000-000000000005', '0b9c5f1e-7a34-4d0e-9c1a-3f2e5d6c7b8a',
     '00000000-0000-0000-0000-000000000000', 'tool', 'Search', 'failed', '2026-01-06 08:30:01', '2026-01-06 08:30:02',
     999, NULL, NULL, '{"total": 7}', 0.000001, '{"query": "x"}', NULL,
     '{"type": "HttpError", "message": "502 from index", "code": 502}', '["a"]');
    INSERT INTO deployment_trace_span (trace_id, span_id, name, start_time, workspace_id, status, attributes, created_at)
    VALUES ('3D1F6C2E9A8B4C7D8E0F1A2B3C4D5E6F', '1a2b3c4d5e6f7084', 'waiting', '2026-01-07 12:00:02.000001+00',
     '7d0e0000-0000-4000-8000-000000000001', NULL, NULL, '2026-01-07 12:00:04+00');
"#;

const TRACES: [&str; 4] = [
    "7f3c0a1b-2c3d-4e5f-8071-8293a4b5c6d7",
    "8a4d1b2c-3d4e-4f60-9182-93a4b5c6d7e8",
    "0b9c5f1e-7a34-4d0e-9c1a-3f2e5d6c7b8a",
    "3d1f6c2e9a8b4c7d8e0f1a2b3c4d5e6f",
];

const TABLES: [(&str, u32); 3] = [("public.trace_spans", 4), ("public.spans", 3), ("public.deployment_trace_span", 3)];

#[tokio::test(flavor = "multi_thread")]
async fn the_rows_of_three_systems_are_spans_of_either_store_and_stay_as_they_were() {
    let Some(database) = Database::new("import") else { return };
    database.sql(&[BEACON, NODE_AI, CTRLPLANE, MORE].concat());
    let theirs = || database.dump(&["--schema=public"]);
    let before = theirs();
    let url = database.url();
    let mut of_stores = Vec::new();
    for target in [Target::postgres(&url), Target::sqlite()] {
        let mut of_runs = Vec::new();
        for _ in 0..2 {
            for (table, rows) in TABLES {
                let told = target.import(&url, &["--from-table", table, "--batch", "2"]);
                let told = told.has(&[table, &format!("rows         {rows}\nspans        {rows}\n")]);
                assert!(!told.out.contains("no spans"), "{}", told.out);
            }
            of_runs.push(target.spans(&TRACES).await);
            assert_eq!(target.rolled_up().await, (4, 10));
        }
        assert_eq!(of_runs[0], of_runs[1], "importing again changes nothing");
        of_stores.extend(of_runs);
    }
    assert_eq!(of_stores[0], of_stores[2], "both stores keep the same");
    assert_eq!(theirs(), before, "what was read is as it was");
    as_they_were_told(&of_stores[0]);
}

fn as_they_were_told(spans: &[Span]) {
    // The benchmark runner's: a failure, what is still open, and edges.
    let root = span(spans, "a1b2c3d4-0001-4000-8000-000000000001");
    assert_eq!((root.status, root.parent_span_id), (Status::Failed, None));
    assert_eq!(root.started_at.unwrap().to_string(), "2026-01-05T10:00:00.123456Z");
    assert_eq!(root.duration_ns(), Some(9_500_000_000));
    assert_eq!(root.created_at.to_string(), "2026-01-05T10:00:10Z");
    for (field, text) in [
        (Field::Service, "runner"),
        (Field::Operation, "execute_question"),
        (Field::ErrorMessage, "question identity_basic failed in us-east"),
        (Field::ExecutionId, "2291"),
        (Field::JobId, "bias-detection-1767607199"),
        (Field::QuestionId, "identity_basic"),
        (Field::Model, "llama-3.2-1b"),
        (Field::Region, "us-east"),
    ] {
        assert_eq!(root.fields.text(field), Some(text));
    }
    assert_eq!(root.attributes.as_json(), r#"{"attempt":1,"id":1,"question_id":"identity_basic"}"#);
    let open = span(spans, "a1b2c3d4-0001-4000-8000-000000000003");
    assert_eq!((open.status, open.end), (Status::Running, None));
    assert_eq!(open.seen_at.to_string(), "2026-01-05T11:00:00Z", "silent since it was written");
    let odd = span(spans, "a1b2c3d4-0001-4000-8000-000000000004");
    assert_eq!((odd.status, odd.duration_ns()), (Status::Failed, Some(-1_000_000_000)));
    assert_eq!(odd.fields.text(Field::ErrorMessage), Some("Zeile 1\nZeile \"2\" \\ ü"));
    assert_eq!(odd.fields.text(Field::ExecutionId), Some("9223372036854775807"));
    let attributes = odd.attributes.as_json();
    assert!(attributes.contains(r#""huge":12345678901234567890"#) && attributes.contains("2.50"), "{attributes}");

    // The workflow builder's: instants without a zone are UTC, money is exact, errors are objects.
    let answer = span(spans, "11111111-0000-4000-8000-000000000004");
    assert_eq!(answer.started_at.unwrap().to_string(), "2026-01-06T08:30:00.190Z");
    assert_eq!(answer.fields.int(Field::CostPico), Some(5_435_000_000));
    assert_eq!(
        (answer.fields.int(Field::InputTokens), answer.fields.int(Field::OutputTokens)),
        (Some(1_842), Some(211))
    );
    assert_eq!(answer.fields.text(Field::Provider), Some("openai"));
    assert!(answer.fields.text(Field::Outputs).unwrap().contains("Settings → Keys"));
    let failed = span(spans, "11111111-0000-4000-8000-000000000005");
    assert_eq!((failed.parent_span_id, failed.status), (None, Status::Failed));
    assert_eq!(failed.fields.text(Field::ErrorType), Some("HttpError"));
    assert_eq!(failed.fields.int(Field::CostPico), Some(1_000_000));
    assert!(failed.attributes.as_json().contains(r#""child_spans":["a"]"#));

    // The deployment platform's.
    let decision = span(spans, "1a2b3c4d5e6f7083");
    assert_eq!(decision.fields.text(Field::NodeType), Some("decision"));
    assert_eq!(decision.fields.text(Field::Result), Some("blocked"));
    assert_eq!((decision.events().len(), decision.fields.int(Field::Sequence)), (1, Some(2)));
    assert_eq!(span(spans, "1a2b3c4d5e6f7084").status, Status::Running);
}

/// A table of `rows` spans in traces of ten.
fn many(rows: u32) -> String {
    format!(
        "INSERT INTO public.trace_spans (trace_id, span_id, service, operation, started_at, completed_at, status,
             execution_id, created_at)
         SELECT md5('trace' || n / 10)::uuid, md5('span' || n)::uuid, 'runner', 'step ' || n,
             timestamptz '2026-01-05 00:00Z' + n * interval '1 s', timestamptz '2026-01-05 00:00:01Z' + n * interval '1 s',
             'completed', n / 10, timestamptz '2026-01-05 00:00:02Z' + n * interval '1 s'
         FROM generate_series(0, {rows} - 1) AS n; ANALYZE public.trace_spans"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_was_killed_goes_on_where_it_was() {
    const ROWS: u32 = 3_000;
    let Some(database) = Database::new("import_killed") else { return };
    database.sql(&format!("{BEACON}; TRUNCATE trace_spans; {}", many(ROWS)));
    let url = database.url();
    let traces: Vec<String> = database
        .sql("SELECT DISTINCT trace_id FROM trace_spans ORDER BY 1 LIMIT 100")
        .lines()
        .map(str::to_owned)
        .collect();
    let traces: Vec<&str> = traces.iter().map(String::as_str).collect();
    let mut of_stores = Vec::new();
    for target in [Target::postgres(&url), Target::sqlite()] {
        let arguments = ["import", "--from-table", "public.trace_spans", "--batch", "25"];
        let mut command = target.command();
        command.env("TRACEFALL_FROM_URL", &url).args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let reached = wait_until_begun(&target, &url).await;
        child.kill().unwrap();
        assert!(!child.wait().unwrap().success(), "it was killed after {reached}, not at its end");
        let told = target.import(&url, &arguments[1..]).has(&["continued    behind ", "spans "]);
        let number = |name: &str| -> u32 {
            let line = told.out.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().find_map(|word| word.parse().ok()).unwrap()
        };
        assert_eq!(number("continued") + number("rows "), ROWS, "{}", told.out);
        assert!(number("continued") > 0);
        of_stores.push(target.spans(&traces).await);
        assert_eq!(of_stores.last().unwrap().len(), 1_000);
        let (count, spans) = target.rolled_up().await;
        assert!(count == 300 && spans == u64::from(ROWS), "{count} traces, {spans} spans");

        // Once at its end it begins anew.
        let told = target.import(&url, &arguments[1..3]).has(&[&format!("rows         {ROWS}\n")]);
        assert!(!told.out.contains("continued"), "{}", told.out);
        assert_eq!(of_stores.last(), Some(&target.spans(&traces).await));
    }
    assert_eq!(of_stores[0], of_stores[1]);
    assert_eq!(database.sql("SELECT count(*) FROM tracefall.trace_spans").trim(), ROWS.to_string());
}

/// Waits until an import of `public.trace_spans` has noted that it has come a part of its way, and gives the note.
async fn wait_until_begun(target: &Target, url: &str) -> String {
    let store = store::open(&target.settings()).await.unwrap();
    let place = url.rsplit_once('@').unwrap().1;
    let name = format!("import {} public.trace_spans", place.split('?').next().unwrap());
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        assert!(Instant::now() < deadline, "the import does not begin");
        let noted = store.checkpoints.checkpoint(&name).await.unwrap();
        if let Some(noted) = noted.filter(|noted| !noted.contains("\"after\":null")) {
            store.maintenance.close().await;
            return noted;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_came_meanwhile_are_found_by_importing_again() {
    let Some(database) = Database::new("import_again") else { return };
    database.sql(NODE_AI);
    let (url, target) = (database.url(), Target::sqlite());
    let import = || target.import(&url, &["--from-table", "spans"]);
    import().has(&["spans        2\n"]);
    let trace = "0b9c5f1e-7a34-4d0e-9c1a-3f2e5d6c7b8a";
    // One that sorts before all others; then its completion.
    let id = "00000000-0000-4000-8000-000000000009";
    database.sql(&format!(
        "INSERT INTO spans (span_id, trace_id, span_type, name, status, started_at)
         VALUES ('{id}', '{trace}', 'tool', 'first', 'running', '2026-01-06 08:30:01')"
    ));
    import().has(&["spans        3\n"]);
    assert_eq!(span(&target.spans(&[trace]).await, id).status, Status::Running);
    database.sql("UPDATE spans SET status = 'completed', completed_at = '2026-01-06 08:30:03' WHERE name = 'first'");
    import().has(&["spans        3\n"]);
    let spans = target.spans(&[trace]).await;
    let first = span(&spans, id);
    assert_eq!((spans.len(), first.status, first.duration_ns()), (3, Status::Completed, Some(2_000_000_000)));
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_names_types_and_keys_are_read() {
    let Some(database) = Database::new("import_odd") else { return };
    database.sql(
        r#"CREATE SCHEMA "Odd ""Schema";
        CREATE DOMAIN public.moment AS timestamp;
        CREATE TYPE public.state AS ENUM ('ok', 'error');
        CREATE TABLE "Odd ""Schema"."Trace's ""Spans""" (
            "key ""part" text, made timestamptz(3), "traceId" bytea, span_id char(40), "parentSpanId" bytea,
            start_time public.moment, "createdAt" timestamp, "duration_ms" double precision, status public.state,
            cost numeric, "dollar$name" text[], gone int, note json,
            PRIMARY KEY ("key ""part", made) INCLUDE (span_id), UNIQUE (gone));
        ALTER TABLE "Odd ""Schema"."Trace's ""Spans""" DROP COLUMN gone;
        INSERT INTO "Odd ""Schema"."Trace's ""Spans""" SELECT 'k' || chr(39) || n % 3,
            timestamptz '2026-01-05 10:00:00.5+02' + n * interval '1 ms',
            '\x7f3c0a1b2c3d4e5f80718293a4b5c6d7', lpad(to_hex(n), 16, '0'), decode(lpad('ff', 16, '0'), 'hex'),
            '2026-01-05 10:00:00', '2026-01-05 10:00:01', 1.5, 'error', 0.1234567890129, ARRAY['a', NULL, '"'],
            E'{"a" :\n 1, "a": 2, "nul": "\\u0000"}'
        FROM generate_series(1, 25) AS n;"#,
    );
    let target = Target::postgres(&database.url());
    let name = r#""Odd ""Schema"."Trace's ""Spans""""#;
    target.import(&database.url(), &["--from-table", name, "--batch", "4"]).has(&["rows         25\nspans        25"]);
    let spans = target.spans(&["7f3c0a1b2c3d4e5f80718293a4b5c6d7"]).await;
    assert_eq!(spans.len(), 25);
    let told = span(&spans, "7");
    assert_eq!(told.parent_span_id, Some(SpanId::parse("ff").unwrap()));
    assert_eq!(told.started_at.unwrap().to_string(), "2026-01-05T10:00:00Z");
    assert_eq!(told.created_at.to_string(), "2026-01-05T10:00:01Z");
    assert_eq!((told.status, told.duration_ns()), (Status::Failed, Some(1_500_000)));
    assert_eq!(told.fields.int(Field::CostPico), Some(123_456_789_013));
    let attributes = told.attributes.as_json();
    for text in [
        r#""dollar$name":["a",null,"\""]"#,
        r#""key \"part":"k'1""#,
        r#""made":"2026-01-05T08:00:00.507+00:00""#,
        r#""note":{"#,
    ] {
        assert!(attributes.contains(text), "{text}: {attributes}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_a_key_is_read_by_the_places_of_its_rows() {
    let Some(database) = Database::new("import_places") else { return };
    database.sql(&format!("{BEACON}; TRUNCATE trace_spans; {}", many(5_000)));
    database.sql(
        "ALTER TABLE trace_spans DROP CONSTRAINT trace_spans_pkey, DROP CONSTRAINT trace_spans_span_id_key;
         DELETE FROM trace_spans WHERE id % 7 = 0;",
    );
    database.sql("VACUUM trace_spans");
    let rows = database.sql("SELECT count(*) FROM trace_spans");
    let (url, target) = (database.url(), Target::sqlite());
    let import = |table: &str| target.import(&url, &["--from-table", table, "--batch", "200"]);
    let told = import("public.trace_spans").has(&[&format!("rows         {0}\nspans        {0}\n", rows.trim())]);
    assert!(told.err.contains("no unique key"), "{}", told.err);
    assert_eq!(target.rolled_up().await.1.to_string(), rows.trim());
    // Never analysed; empty; of parts, whose rows may have the same places.
    database.sql(
        "CREATE TABLE fresh AS SELECT * FROM trace_spans LIMIT 1;
         CREATE TABLE nothing (trace_id text, span_id text);
         CREATE TABLE parts (trace_id text, span_id text) PARTITION BY LIST (trace_id);
         CREATE TABLE keyed (trace_id text, span_id text, PRIMARY KEY (trace_id, span_id)) PARTITION BY LIST (trace_id);
         CREATE TABLE keyed_1 PARTITION OF keyed DEFAULT;
         INSERT INTO keyed SELECT repeat(n::text, 32), n::text FROM generate_series(1, 3) AS n;",
    );
    import("fresh").has(&["rows         1\n"]);
    import("nothing").has(&["rows         0\n"]);
    import("keyed").has(&["rows         3\nspans        3"]);
    import("parts").fails_with(&["is partitioned and has no unique key"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_no_spans_are_told_of_and_cost_no_others() {
    let Some(database) = Database::new("import_bad") else { return };
    database.sql(
        "CREATE TABLE public.t (id serial PRIMARY KEY, trace_id text, span_id text, started_at timestamptz, cost float8);
         INSERT INTO t (trace_id, span_id, started_at, cost) SELECT
            CASE WHEN n % 4 = 0 THEN NULL WHEN n % 4 = 1 THEN 'no hex ' || n ELSE '7f3c0a1b2c3d4e5f80718293a4b5c6d7' END,
            to_hex(n), CASE WHEN n % 20 = 2 THEN 'infinity' ELSE timestamptz '2026-01-05 10:00Z' END,
            CASE WHEN n % 20 = 3 THEN 'NaN' ELSE 1e-5 END
         FROM generate_series(1, 100) AS n;",
    );
    let (url, target) = (database.url(), Target::sqlite());
    let import = |arguments: &[&str]| target.import(&url, &[&["--from-table", "public.t"], arguments].concat());
    let told = import(&["--batch", "7"]).has(&[
        "rows         100\nspans        40\nno spans     60\n",
        "\n  id=1: trace_id ",
        "\n  id=2: started_at ",
        "\n  id=3: cost ",
        "\n  id=4: trace_id is missing",
        "\nall of them, by what is wrong:\n",
        "         25 trace_id is missing",
        "          5 cost ",
    ]);
    assert_eq!(told.out.matches("\n  id=").count(), 20, "{}", told.out);
    assert_eq!(target.spans(&["7f3c0a1b2c3d4e5f80718293a4b5c6d7"]).await.len(), 40);
    let told = import(&["--json"]).has(&[]);
    let summary: serde_json::Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!((&summary["rows"], &summary["refused"]), (&100.into(), &60.into()));
    assert_eq!(summary["refusals"][0]["row"], "id=1");

    database.sql("DELETE FROM t WHERE id % 4 > 0");
    import(&[]).fails_with(&["none of the 25 rows is a span", "id=4: trace_id is missing"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_imported_is_told_with_the_reason_and_no_secret() {
    let Some(mut database) = Database::new("import_refused") else { return };
    database.sql(&[BEACON, NODE_AI].concat());
    database.sql("CREATE SEQUENCE trace_span_ids");
    let stranger = database.role("stranger");
    let (url, as_stranger, target) = (database.url(), database.url_of(&stranger), Target::sqlite());
    let import = |url: &str, table: &str| target.import(url, &["--from-table", table]);
    import(&url, "public.nope").fails_with(&["there is no table public.nope"]);
    import(&url, "nope.trace_spans").fails_with(&["there is no table nope.trace_spans"]);
    import(&url, "public.trace_spans; DROP TABLE trace_spans").fails_with(&["read the table"]);
    import(&url, "").fails_with(&["read the table"]);
    import(&url, "public.trace_waterfall").fails_with(&["is a view"]);
    import(&url, "public.trace_span_ids").fails_with(&["is no table"]);
    import(&url, "public.profiles").fails_with(&["public.profiles has no column with the id of a trace (trace_id"]);
    import(&url, "public.traces").fails_with(&["public.traces has no column with the id of a span (span_id"]);
    import(&as_stranger, "public.trace_spans").fails_with(&[
        &format!("the role {stranger} may not read public.trace_spans"),
        &format!("GRANT SELECT ON public.trace_spans TO {stranger}"),
    ]);
    database.sql(&format!("GRANT SELECT (id, trace_id, span_id) ON trace_spans TO {stranger}"));
    import(&as_stranger, "public.trace_spans").fails_with(&["may not read the columns parent_span_id, service, "]);
    // Policies: of the spans the stranger sees none, since the trace is another's.
    import(&as_stranger, "public.spans").fails_with(&[
        &format!("the role {stranger} sees no row of public.spans: its row level security hides them"),
        "only the rows that its policies show",
    ]);
    database.sql("UPDATE traces SET user_id = NULL");
    let told = import(&as_stranger, "public.spans").has(&["spans        2"]);
    assert!(told.err.contains("row level security holds for the role"), "{}", told.err);

    for url in ["postgres://me:hunter2@127.0.0.1:1/app", "mysql://me:hunter2@127.0.0.1/app"] {
        for told in [
            import(url, "public.trace_spans"),
            target.import("", &["--from-table", "public.trace_spans", "--from-url", url]),
        ] {
            assert!(!told.ok && !told.err.contains("hunter2") && told.err.len() > 20, "{}", told.err);
        }
    }
    import("sqlite:spans.db", "public.trace_spans").fails_with(&["is no PostgreSQL database"]);
    import("", "public.trace_spans").fails_with(&["the store is no PostgreSQL database", "TRACEFALL_FROM_URL"]);
    let mut help = target.command();
    help.env("TRACEFALL_FROM_URL", "postgres://me:hunter2@db/app").args(["import", "--help"]);
    let help = Told::of(run(&mut help)).has(&["TRACEFALL_FROM_URL"]);
    assert!(!help.out.contains("hunter2"), "{}", help.out);
    assert_eq!(database.sql("SELECT count(*) FROM trace_spans").trim(), "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_reads_everything_and_writes_nothing() {
    let Some(database) = Database::new("import_dry") else { return };
    database.sql(BEACON);
    let before = database.dump(&[]);
    let folder = tempfile::tempdir().unwrap();
    // The store, which is the table's own database, has not even a schema yet.
    let import = |arguments: &[&str]| {
        let mut command = tracefall();
        command.current_dir(folder.path()).env("DATABASE_URL", database.url());
        Told::of(run(command.args(["import", "--from-table", "public.trace_spans"]).args(arguments)))
    };
    let told = import(&["--dry-run"]).has(&["nothing was written", "rows         3\nspans        3\n"]);
    for line in ["model_id                 model\n", "id                       an attribute\n"] {
        assert!(told.out.contains(line), "{}", told.out);
    }
    assert_eq!(database.dump(&[]), before);
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none());
    import(&[]).fails_with(&["tracefall migrate up"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_who_writes_to_the_table_waits_for_the_import() {
    let Some(database) = Database::new("import_locks") else { return };
    database.sql(BEACON);
    let (url, target) = (database.url(), Target::sqlite());
    // EXCLUSIVE stands beside ACCESS SHARE, the lock of a SELECT, and no other.
    let mut other = std::process::Command::new("psql")
        .args(["--no-psqlrc", "--quiet", "--tuples-only", &format!("--dbname={url}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut says = other.stdin.take().unwrap();
    std::io::Write::write_all(&mut says, b"BEGIN; LOCK TABLE trace_spans IN EXCLUSIVE MODE; SELECT 'held';\n").unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(other.stdout.take().unwrap()), &mut line).unwrap();
    assert!(line.contains("held"));
    target.import(&url, &["--from-table", "public.trace_spans"]).has(&["spans        3"]);
    drop(says);
    assert!(other.wait().unwrap().success());
    assert_eq!(psql(&url, "SELECT count(*) FROM trace_spans").trim(), "3");
}

/// The `sh` blocks of docs/import.md, one after the other.
#[tokio::test(flavor = "multi_thread")]
async fn the_documents_examples_work() {
    let Some(database) = Database::new("import_document") else { return };
    database.sql(BEACON);
    let blocks: Vec<&str> = include_str!("../../docs/import.md")
        .split("```sh\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(blocks.len() >= 2);
    let folder = tempfile::tempdir().unwrap();
    let binaries = std::path::Path::new(env!("CARGO_BIN_EXE_tracefall")).parent().unwrap();
    let output = std::process::Command::new("bash")
        .args(["-euo", "pipefail", "-c", &blocks.concat()])
        .current_dir(folder.path())
        .env("PATH", format!("{}:{}", binaries.display(), std::env::var("PATH").unwrap()))
        .env("DATABASE_URL", database.url())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Told::of(output).has(&["nothing was written", "into PostgreSQL", "into SQLite file spans.db", "spans        3\n"]);
    assert_eq!(database.sql("SELECT count(*) FROM tracefall.trace_spans").trim(), "3");
}
