//! Faults of a PostgreSQL store, each in a database of its own.

use std::time::Duration;

use tracefall::checkup::{Fix, State};
use tracefall::clock::Clock;
use tracefall::model::time::{DAY_NS, UnixNanos};
use tracefall::query::Thoroughly;
use tracefall::settings::DatabaseUrl;
use tracefall::store;

use super::{Patient, is, setting, statement, worst};
use crate::faults::address;
use crate::store_suite::records::{whole, write};
use crate::support::pgbouncer::{Pgbouncer, Pooled};
use crate::support::proxy::{Proxy, Way};
use crate::support::psql::Database;

/// A database with the schema, owned by a role that may do no more than that.
struct Ward {
    database: Database,
    owner: String,
    patient: Patient,
}

impl Ward {
    /// None without a server for the tests. Nothing is made yet.
    fn empty(test: &str) -> Option<Self> {
        let mut database = Database::new(&format!("doctor_{test}"))?;
        let owner = database.role("o");
        database.sql(&format!("GRANT CREATE ON DATABASE {} TO {owner}", database.name()));
        let mut patient = Patient::new();
        patient.settings.store.url = Some(DatabaseUrl::new(database.url_of(&owner)));
        patient.settings.store.postgres.acquire_timeout_secs = 1;
        Some(Self { database, owner, patient })
    }

    async fn well(test: &str) -> Option<Self> {
        let ward = Self::empty(test)?;
        let store = store::open(&ward.patient.settings.store).await.unwrap();
        store.maintenance.migrate_up().await.unwrap();
        store.maintenance.prepare_days(Clock::system().now()).await.unwrap();
        store.maintenance.close().await;
        Some(ward)
    }

    fn url(&mut self, url: String) {
        self.patient.settings.store.url = Some(DatabaseUrl::new(url));
    }

    /// The owner's URL by another address.
    fn by(&self, proxy: &Proxy) -> String {
        format!("postgres://{0}:{0}@{1}/{2}", self.owner, proxy.address, self.database.name())
    }

    /// A writer that owns nothing, and a reader.
    fn roles(&mut self) -> (String, String) {
        let roles = (self.database.role("w"), self.database.role("d"));
        let owner = self.database.url_of(&self.owner);
        let store = &mut self.patient.settings.store;
        let grants = store::grants(store, &roles.0, &roles.1).unwrap();
        crate::support::psql::psql(&owner, &grants);
        store.url = Some(DatabaseUrl::new(self.database.url_of(&roles.0)));
        store.read_url = Some(DatabaseUrl::new(self.database.url_of(&roles.1)));
        store.admin_url = Some(DatabaseUrl::new(owner));
        roles
    }
}

/// Waits until it does.
async fn listens(proxy: &Proxy) {
    while tokio::net::TcpStream::connect(proxy.address).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_store_that_is_well_has_no_finding_against_it_and_is_left_as_it_is() {
    let Some(mut ward) = Ward::well("well").await else { return };
    ward.roles();
    let before = ward.database.dump(&[]);
    let report = ward.patient.examined_with(Thoroughly { bench: true, deep: true }).await;
    // What these two say is the machine's, which is busy with other tests.
    let is_ours = |check: &str| check != "commit_latency" && !check.ends_with("disk");
    let findings = report.findings.iter().filter(|finding| is_ours(finding.check));
    let unwell: Vec<_> = findings.filter(|finding| matches!(finding.state, State::Warn | State::Fail)).collect();
    assert!(unwell.is_empty(), "{unwell:#?}");
    for check in ["settings", "reachability", "latency", "pool_mode", "grants", "version", "clock", "schema"] {
        assert_eq!(worst(&report, check).state, State::Ok);
    }
    let commits = &worst(&report, "commit_latency").value;
    assert!(commits.contains(" committing; ") && commits.contains("in batches of 1000"), "{commits}");
    assert_eq!(report.findings.iter().filter(|finding| finding.check == "grants").count(), 3);
    assert!(!format!("{report:?}").contains(&format!(":{}@", ward.owner)), "no secrets");
    assert_eq!(ward.database.dump(&[]), before);
}

#[tokio::test]
async fn a_port_that_refuses_and_a_server_that_says_nothing_are_named_and_the_rest_is_unknown() {
    let Some(mut ward) = Ward::well("away").await else { return };
    let proxy = Proxy::start(address(&ward.database), Way::Refused).await;
    ward.url(ward.by(&proxy));
    for (way, cause) in [(Way::Refused, "(unreachable)"), (Way::Swallowed, "(silent)")] {
        proxy.set(way);
        if way != Way::Refused {
            listens(&proxy).await;
        }
        let report = ward.patient.examined().await;
        is(worst(&report, "reachability"), State::Fail, cause);
        assert_eq!(report.state, State::Fail);
        for check in ["latency", "grants", "schema", "connections", "growth", "index_size", "unused_indexes"] {
            assert_eq!(worst(&report, check).state, State::Unknown, "{check}");
        }
        assert_eq!(worst(&report, "journal").state, State::Ok);
        let Some(Fix::Shell(next)) = &worst(&report, "reachability").fix else { panic!("{report:#?}") };
        assert_eq!(next, &format!("pg_isready --host=127.0.0.1 --port={}", proxy.address.port()));
    }
    proxy.set(Way::Open);
    ward.patient.is_well("reachability").await;
}

#[tokio::test]
async fn a_wrong_password_is_set_by_the_statement() {
    let Some(ward) = Ward::well("password").await else { return };
    let asks = "SELECT count(*) FROM pg_hba_file_rules WHERE user_name = '{+tracefall_password}'";
    if ward.database.sql(asks).trim() == "0" {
        eprintln!("skipped: a wrong password; this server asks for none");
        return;
    }
    let owner = &ward.owner;
    ward.database.sql(
        "DO $$ BEGIN CREATE ROLE tracefall_password; EXCEPTION WHEN duplicate_object OR unique_violation THEN END $$",
    );
    ward.database.sql(&format!("GRANT tracefall_password TO {owner}; ALTER ROLE {owner} PASSWORD 'another'"));
    let finding = ward.patient.finding("reachability").await;
    is(&finding, State::Fail, "(login): password authentication failed");
    ward.database.sql(&statement(&finding).replace('…', owner));
    ward.patient.is_well("reachability").await;
}

#[tokio::test]
async fn a_database_that_is_missing_is_made_by_the_statement_and_its_schema_by_the_command() {
    let Some(mut ward) = Ward::empty("missing") else { return };
    let there = ward.database.url();
    let name = format!("{}_other", ward.database.name());
    let url = there.replace(ward.database.name(), &name);
    ward.url(url.clone());
    let finding = ward.patient.finding("reachability").await;
    is(&finding, State::Fail, "(database)");
    ward.database.sql(statement(&finding));
    ward.patient.is_well("reachability").await;

    let finding = ward.patient.finding("schema").await;
    is(&finding, State::Fail, "no migration is applied");
    assert_eq!(ward.patient.finding("grants").await.state, State::Unknown);
    ward.patient.runs(finding.fix.as_ref(), &[("DATABASE_URL", &url)]);
    ward.patient.is_well("schema").await;
    ward.patient.is_well("grants").await;

    let finding = ward.patient.finding("partitions").await;
    is(&finding, State::Warn, "none for");
    ward.patient.runs(finding.fix.as_ref(), &[("DATABASE_URL", &url)]);
    ward.patient.is_well("partitions").await;
    ward.database.sql(&format!("DROP DATABASE {name} WITH (FORCE)"));
}

#[tokio::test]
async fn a_schema_of_another_version_or_with_a_table_gone_is_told() {
    let Some(ward) = Ward::well("versions").await else { return };
    let history = "tracefall.tracefall_migrations";
    ward.database.sql(&format!("UPDATE {history} SET checksum = '\\x00'"));
    is(&ward.patient.finding("schema").await, State::Fail, "migration 0001 was applied and read differently then");
    ward.database.sql(&format!(
        "INSERT INTO {history} (version, description, success, checksum, execution_time) VALUES (99, 'x', true, '', 0)"
    ));
    is(&ward.patient.finding("schema").await, State::Fail, "migration 0099 is of a newer version");
    let Some(ward) = Ward::well("table").await else { return };
    ward.database.sql("DROP TABLE tracefall.pins, tracefall.deletions");
    is(&ward.patient.finding("schema").await, State::Fail, "tables are missing: pins, deletions");
}

#[tokio::test]
async fn rights_that_were_taken_are_given_back_by_the_command() {
    let Some(mut ward) = Ward::well("rights").await else { return };
    let (writer, reader) = ward.roles();
    let owner = ward.database.url_of(&ward.owner);
    ward.patient.is_well("grants").await;
    for (revoked, told) in [
        (format!("REVOKE INSERT ON tracefall.spans FROM {writer}"), "INSERT on spans"),
        (format!("REVOKE DELETE ON tracefall.pins FROM {writer}"), "DELETE on pins"),
        (format!("REVOKE SELECT ON tracefall.traces FROM {reader}"), "SELECT on traces"),
        // Whoever writes asks what was deleted: as it is with tables of a migration by a role that gave no default rights.
        (format!("REVOKE SELECT ON tracefall.deletions FROM {writer}"), "SELECT on deletions"),
        (format!("REVOKE USAGE ON SCHEMA tracefall FROM {reader}"), "USAGE on the schema"),
    ] {
        ward.database.sql(&revoked);
        let finding = ward.patient.finding("grants").await;
        is(&finding, State::Fail, told);
        let url = ward.patient.settings.store.url.as_ref().unwrap().expose().to_owned();
        ward.patient.runs(finding.fix.as_ref(), &[("DATABASE_URL", &url), ("ADMIN_URL", &owner)]);
        ward.patient.is_well("grants").await;
    }
}

#[tokio::test]
async fn a_writer_that_owns_nothing_is_told_the_role_for_the_administration() {
    let Some(mut ward) = Ward::well("admin").await else { return };
    ward.roles();
    ward.patient.settings.store.admin_url = None;
    let finding = ward.patient.finding("grants").await;
    is(&finding, State::Warn, "ownership of spans");
    let url = setting(&finding, "TRACEFALL__STORE__ADMIN_URL").replace('…', &ward.owner);
    assert!(url.contains(&ward.owner), "{url}");
    ward.patient.settings.store.admin_url = Some(DatabaseUrl::new(url));
    ward.patient.is_well("grants").await;
}

#[tokio::test]
async fn a_transaction_pooler_is_found_out_and_the_direct_host_is_better() {
    let Some(mut ward) = Ward::well("pooler").await else { return };
    let direct = ward.database.url_of(&ward.owner);
    for (pool_size, follows_statements) in [(1, false), (4, false), (4, true)] {
        let pooled = Pooled { pool_size, follows_statements };
        let Some(pooler) = Pgbouncer::start(address(&ward.database), &ward.owner, &ward.owner, pooled) else { return };
        ward.url(pooler.url(ward.database.name()));
        ward.patient.settings.store.write_url = None;
        let report = ward.patient.examined().await;
        let finding = worst(&report, "pool_mode");
        is(finding, State::Warn, "transaction: a pooler shares sessions");
        assert!(setting(finding, "TRACEFALL__STORE__WRITE_URL").contains("<the direct host>"));
        for check in ["reachability", "schema", "connections", "index_size", "unused_indexes", "clock"] {
            assert_eq!(worst(&report, check).state, State::Ok, "{check} behind a pooler");
        }
        ward.patient.settings.store.write_url = Some(DatabaseUrl::new(direct.clone()));
        ward.patient.is_well("pool_mode").await;
    }
}

#[tokio::test]
async fn a_slow_way_is_told_by_its_round_trips() {
    let Some(mut ward) = Ward::well("slow").await else { return };
    let proxy = Proxy::start(address(&ward.database), Way::Slow(Duration::from_millis(25))).await;
    listens(&proxy).await;
    ward.url(ward.by(&proxy));
    ward.patient.settings.store.postgres.acquire_timeout_secs = 10;
    let report = ward.patient.examined_with(Thoroughly { bench: true, deep: false }).await;
    is(worst(&report, "latency"), State::Warn, "median");
    assert!(worst(&report, "commit_latency").state > State::Unknown, "each commit takes several trips: {report:#?}");
    assert!(matches!(&worst(&report, "latency").fix, Some(Fix::Words(words)) if words.contains("region")));
    proxy.set(Way::Slow(Duration::from_millis(260)));
    is(&ward.patient.finding("latency").await, State::Fail, "median");
    proxy.set(Way::Open);
    assert!(ward.patient.finding("latency").await.state < State::Fail);
}

#[tokio::test]
async fn a_limit_of_connections_that_is_near_is_raised_by_the_statement() {
    let Some(ward) = Ward::well("connections").await else { return };
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(<sqlx::PgConnection as sqlx::Connection>::connect(&ward.database.url_of(&ward.owner)).await.unwrap());
    }
    // The server takes a moment to let those go that an examination closed.
    let ours = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{}'", ward.owner);
    let only_those_held = || {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while ward.database.sql(&ours).trim() != "5" {
            assert!(std::time::Instant::now() < deadline, "connections stay that nobody holds");
        }
    };
    for (kind, name) in [("DATABASE", ward.database.name().to_owned()), ("ROLE", ward.owner.clone())] {
        only_those_held();
        ward.database.sql(&format!("ALTER {kind} {name} CONNECTION LIMIT 7"));
        // Five are held, and the doctor needs one or two.
        ward.patient.is_well("connections").await;
        only_those_held();
        ward.database.sql(&format!("ALTER {kind} {name} CONNECTION LIMIT 6"));
        let finding = ward.patient.finding("connections").await;
        is(&finding, State::Warn, &format!("5 of 6 in use (83 %), the limit of the {} {name}", kind.to_lowercase()));
        ward.database.sql(statement(&finding));
        ward.patient.is_well("connections").await;
        ward.database.sql(&format!("ALTER {kind} {name} CONNECTION LIMIT 5"));
        is(&ward.patient.finding("reachability").await, State::Fail, "(connections)");
        ward.database.sql(&format!("ALTER {kind} {name} CONNECTION LIMIT -1"));
    }
}

#[tokio::test]
async fn a_database_that_takes_no_writes_is_told_and_opened_by_the_statement() {
    let Some(ward) = Ward::well("read_only").await else { return };
    let name = ward.database.name();
    ward.database.sql(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on"));
    let finding = ward.patient.finding("read_only").await;
    is(&finding, State::Fail, "read-only");
    ward.database.sql(statement(&finding));
    let report = ward.patient.examined().await;
    assert!(report.findings.iter().all(|finding| finding.check != "read_only"), "{report:#?}");
}

#[tokio::test]
async fn an_index_that_nobody_reads_is_dropped_by_the_statement_and_ours_are_left_alone() {
    let Some(ward) = Ward::well("unused").await else { return };
    ward.patient.is_well("unused_indexes").await;
    for made in
        ["CREATE INDEX \"Mine\" ON tracefall.traces (user_id)", "CREATE INDEX mine_too ON tracefall.spans (region)"]
    {
        ward.database.sql(made);
        let finding = ward.patient.finding("unused_indexes").await;
        is(&finding, State::Warn, "never read");
        ward.database.sql(statement(&finding));
        ward.patient.is_well("unused_indexes").await;
    }
    ward.database.sql("CREATE INDEX read ON tracefall.traces (user_id)");
    ward.database.sql(
        "SET enable_seqscan = off; SELECT count(*) FROM tracefall.traces WHERE user_id = 'a'; \
         SELECT pg_stat_force_next_flush()",
    );
    let finding = ward.patient.finding("unused_indexes").await;
    is(&finding, State::Ok, "1 beside ours, all in use");
}

#[tokio::test]
async fn indexes_that_outgrew_their_table_are_made_anew_by_the_statement() {
    let Some(ward) = Ward::well("bloat").await else { return };
    ward.database.sql(
        "INSERT INTO tracefall.traces (trace_id, started_at, created_at, started_ns, has_open, tenant) \
         SELECT gen_random_uuid(), now(), now(), 0, false, 'default' FROM generate_series(1, 30000); \
         DELETE FROM tracefall.traces; VACUUM tracefall.traces",
    );
    let finding = ward.patient.finding("index_size").await;
    is(&finding, State::Warn, "of indexes for");
    assert_eq!(finding.about.as_deref(), Some("traces"));
    ward.database.sql(statement(&finding));
    ward.patient.is_well("index_size").await;
}

#[tokio::test]
async fn a_clock_that_is_off_is_told() {
    let Some(ward) = Ward::well("clock").await else { return };
    let now = Clock::system().now();
    for (ahead_secs, state) in [(0, State::Ok), (20, State::Warn), (3_600, State::Fail), (-3_600, State::Fail)] {
        let clock = Clock::manual(now.plus(ahead_secs * 1_000_000_000));
        // It stands still meanwhile, which is part of the difference.
        let report = ward.patient.examined_at(clock, Thoroughly::default()).await;
        let finding = worst(&report, "clock");
        assert!(finding.state == state || ahead_secs == 0, "{finding:?}");
        let heals = finding.fix == Some(Fix::Shell("timedatectl set-ntp true".into()));
        assert_eq!(heals, finding.state != State::Ok);
    }
    ward.patient.is_well("clock").await;
}

#[tokio::test]
async fn growth_is_taken_from_full_days_and_a_shorter_stay_is_named_that_fits() {
    let Some(mut ward) = Ward::well("growth").await else { return };
    let today = UnixNanos::of_day(Clock::system().now().day());
    is(&ward.patient.finding("growth").await, State::Unknown, "no full day");
    is(&ward.patient.finding("capacity").await, State::Unknown, "no capacity is declared");
    let store = store::open(&ward.patient.settings.store).await.unwrap();
    for day in 1..=3 {
        let at = today.plus(-day * DAY_NS as i64).plus(3_600_000_000_000);
        let spans = (0..3_000).map(|id| {
            let mut span = whole(day as u64 * 10_000 + id / 8, id + 1, at);
            (span.created_at, span.seen_at) = (today, today);
            span
        });
        write(&store, spans.collect::<Vec<_>>()).await;
    }
    store.maintenance.close().await;
    ward.database.sql("ANALYZE");
    let finding = ward.patient.finding("growth").await;
    is(&finding, State::Unknown, "3 000 spans, ");
    assert!(finding.value.contains("over 3 full days"), "{finding:?}");
    // What is declared thereupon is enough.
    let capacity = setting(&finding, "TRACEFALL__STORAGE__CAPACITY_BYTES").parse().unwrap();
    ward.patient.settings.storage.capacity_bytes = capacity;
    is(&ward.patient.finding("growth").await, State::Ok, "never full");
    ward.patient.is_well("capacity").await;
    // Of a tenth more than what is there, the next days have their fill.
    let size: u64 = ward
        .database
        .sql(
            "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class AS c \
        WHERE relnamespace = 'tracefall'::regnamespace AND relkind = 'r'",
        )
        .trim()
        .parse()
        .unwrap();
    ward.patient.settings.storage.capacity_bytes = size * 3;
    let finding = ward.patient.finding("growth").await;
    is(&finding, State::Fail, "full in ");
    let days: u32 = setting(&finding, "TRACEFALL__RETENTION__COMPLETED_DAYS").parse().unwrap();
    assert!((1..30).contains(&days), "{finding:?}");
    ward.patient.settings.retention.completed_days = days;
    is(&ward.patient.finding("growth").await, State::Ok, "never full");
    // Full is full.
    ward.patient.settings.storage.capacity_bytes = size.max(1 << 20);
    let finding = ward.patient.finding("capacity").await;
    is(&finding, State::Fail, "%)");
    let url = ward.database.url_of(&ward.owner);
    ward.patient.runs(finding.fix.as_ref(), &[("DATABASE_URL", &url)]);
}
