//! `migrate up --compat-views`: our views under their names in `public`, never over what is there.

use crate::support::binary::{run, tracefall};
use crate::support::psql::{Database, psql, refused};

const PLATFORM: &str = include_str!("../../fixtures/neighbours/ctrlplane.sql");

fn tracefall_at(url: &str, arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = run(tracefall().current_dir(folder.path()).args(arguments).env("DATABASE_URL", url));
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

const UP: [&str; 3] = ["migrate", "up", "--compat-views"];
const DOWN: [&str; 3] = ["migrate", "down", "--delete-all-spans"];

/// What is said of each view, in order.
fn outcomes(answer: &str) -> Vec<(&str, &str)> {
    let views = answer.lines().filter_map(|line| line.strip_prefix("view "));
    views.map(|line| line.split_once(' ').map(|(name, outcome)| (name, outcome.trim())).unwrap()).collect()
}

#[test]
fn names_that_are_free_are_published_and_others_left_alone() {
    let Some(database) = Database::new("published") else { return };
    database.sql(PLATFORM);
    database.sql("CREATE TYPE public.trace_spans_health AS ENUM ('good', 'bad')");
    let before = database.dump(&[]);
    let taken = "skipped: something else has this name";
    let expected = |free: &'static str| {
        [
            ("trace_spans", free),
            ("trace_waterfall", free),
            ("trace_spans_health", taken),
            ("deployment_trace_span", taken),
        ]
    };
    assert_eq!(outcomes(&tracefall_at(&database.url(), &UP)), expected("made"));
    assert_eq!(outcomes(&tracefall_at(&database.url(), &UP)), expected("already ours"));
    assert_eq!(outcomes(&tracefall_at(&database.url(), &["migrate", "up"])), []);
    assert_eq!(database.sql("SELECT count(*) FROM public.trace_waterfall").trim(), "0");
    tracefall_at(&database.url(), &DOWN);
    assert_eq!(database.dump(&[]), before);

    // One that took a name of ours in between is not ours, nor one that another installation made.
    tracefall_at(&database.url(), &UP);
    database.sql("DROP VIEW public.trace_spans; CREATE VIEW public.trace_spans AS SELECT 1 AS one");
    database.sql("COMMENT ON VIEW public.trace_waterfall IS 'tracefall: elsewhere.trace_waterfall'");
    let both = outcomes(&tracefall_at(&database.url(), &UP)).iter().all(|(_, outcome)| *outcome == taken);
    assert!(both);
    database.sql("COMMENT ON VIEW public.trace_waterfall IS 'tracefall: tracefall.trace_waterfall'");
    tracefall_at(&database.url(), &DOWN);
    assert_eq!(database.sql("SELECT * FROM public.trace_spans").trim(), "1");
}

#[test]
fn those_who_wait_for_a_lock_are_not_waited_behind() {
    let Some(database) = Database::new("published_locked") else { return };
    tracefall_at(&database.url(), &UP);
    let url = database.url();
    let (ready, is_ready) = std::sync::mpsc::channel();
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    let other = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            use sqlx::{Connection, Executor};
            let mut connection = sqlx::postgres::PgConnection::connect(&url).await.unwrap();
            connection.execute("BEGIN; LOCK TABLE public.trace_spans IN ACCESS SHARE MODE").await.unwrap();
            ready.send(()).unwrap();
            is_done.recv().unwrap();
        });
    });
    is_ready.recv().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let output = run(tracefall().current_dir(folder.path()).args(DOWN).env("DATABASE_URL", database.url()));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains("lock timeout"), "{error}");
    assert_eq!(database.sql("SELECT count(*) FROM public.trace_spans").trim(), "0", "nothing is half removed");
    done.send(()).unwrap();
    other.join().unwrap();
    tracefall_at(&database.url(), &DOWN);
}

/// Views for a reader who owns nothing, whichever comes first: the grants or the views.
#[test]
fn a_reader_reads_the_published_views() {
    for grants_first in [true, false] {
        let Some(mut database) = Database::new("published_roles") else { return };
        let [writer, reader] = ["writer", "reader"].map(|kind| database.role(kind));
        tracefall_at(&database.url(), &["migrate", "up"]);
        let grant = || {
            let grants = ["migrate", "grants", "--writer", &writer, "--reader", &reader];
            database.sql(&tracefall_at(&database.url(), &grants));
        };
        // A careful administrator lets nobody call functions by default.
        database.sql("REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA tracefall FROM PUBLIC");
        if grants_first {
            grant();
        }
        tracefall_at(&database.url(), &UP);
        if !grants_first {
            grant();
        }
        let as_reader = database.url_of(&reader);
        for view in ["trace_spans", "trace_waterfall", "trace_spans_health", "deployment_trace_span"] {
            for schema in ["tracefall", "public"] {
                psql(&as_reader, &format!("SELECT * FROM {schema}.{view}"));
            }
        }
        let reason = refused(&as_reader, "DROP VIEW public.trace_spans");
        assert!(reason.contains("must be owner"), "{reason}");
    }
}

#[test]
fn a_sqlite_file_has_the_names_already() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(tracefall().current_dir(folder.path()).args(UP));
    assert!(output.status.success());
    let answer = String::from_utf8(output.stdout).unwrap();
    let said = outcomes(&answer);
    assert!(said.len() == 4 && said.iter().all(|(_, outcome)| outcome.starts_with("already there")), "{answer}");
}
