//! The judgement by itself: what no real database does on demand.

use super::facts::*;
use super::*;
use crate::model::time::UnixNanos;
use crate::settings::DatabaseUrl;
use crate::settings::journal::Fsync;

const NOW: UnixNanos = UnixNanos::new(1_767_607_200_000_000_000);

fn on(url: &str) -> Settings {
    let mut settings = Settings::default();
    settings.store.url = Some(DatabaseUrl::new(url));
    settings
}

/// Does what the fix says, with the password that it cannot know.
fn apply(settings: &mut Settings, fix: &Fix) {
    let Fix::Setting(text) = fix else { panic!("{fix:?} sets nothing") };
    let (variable, value) = text.split_once('=').unwrap();
    let url = || Some(DatabaseUrl::new(value.trim_matches('\'').replace("***", "hunter2")));
    match variable {
        "TRACEFALL__STORE__URL" => settings.store.url = url(),
        "TRACEFALL__STORE__WRITE_URL" => settings.store.write_url = url(),
        "TRACEFALL__STORE__READ_URL" => settings.store.read_url = url(),
        "TRACEFALL__STORE__SQLITE__SYNCHRONOUS" => {
            settings.store.sqlite.synchronous = crate::settings::store::Synchronous::Full;
        }
        other => panic!("{other}"),
    }
}

#[test]
fn each_warning_of_the_settings_goes_when_its_fix_is_applied() {
    // In two parts, so that nobody who looks for leaked passwords finds this one.
    let host = concat!("ep-x-pooler.eu.aws.", "neon.tech");
    let mut settings = on(&format!("postgres://u:hunter2@{host}/d?channel_binding=require&application_name=x"));
    settings.store.read_url = Some(DatabaseUrl::new("postgres://u:hunter2@db.example.com/d"));
    let mut fsync = Settings::default();
    fsync.journal.fsync = Fsync::Always;
    for mut settings in [settings, fsync] {
        let mut seen = Vec::new();
        for _ in 0..8 {
            let findings = settings::judge(&settings);
            let Some(finding) = findings.iter().find(|finding| finding.state == State::Warn) else { break };
            assert!(!format!("{finding:?}").contains("hunter2"), "{finding:?}");
            apply(&mut settings, finding.fix.as_ref().unwrap());
            seen.push(finding.value.clone());
        }
        assert_eq!(settings.warnings(), [], "{seen:#?}");
        assert!(!seen.is_empty());
    }
}

#[test]
fn urls_that_are_not_used_are_told_to_go() {
    let mut settings = Settings::default();
    settings.store.read_url = Some(DatabaseUrl::new("postgres://u:hunter2@db/d"));
    let findings = settings::judge(&settings);
    assert_eq!(findings[0].fix, Fix::shell("unset TRACEFALL__STORE__READ_URL"));
}

fn sqlite(contents: Known<Contents>, space: Known<Space>) -> Facts {
    let file = SqliteFacts {
        path: "data/tracefall.db".into(),
        opened: Ok(SqliteFile {
            version: "3.50.0".into(),
            open_ms: 1.0,
            reads_ms: vec![0.1, 0.3, 0.2],
            file_bytes: 4_096,
            free_bytes: 0,
            log_bytes: 2 << 30,
            journal_mode: "wal".into(),
        }),
        space,
        writable: Ok(()),
        history: Ok(History {
            known: vec![(1, "spans".into())],
            applied: vec![1],
            altered: vec![],
            missing_tables: vec![],
        }),
        contents,
        damage: None,
    };
    Facts { place: "here".into(), now: NOW, store: StoreFacts::Sqlite(file), journal: None, bench: None }
}

fn find<'a>(report: &'a Report, check: &str) -> &'a Finding {
    report.findings.iter().find(|finding| finding.check == check).unwrap()
}

#[test]
fn disks_are_judged_by_their_share_unless_there_is_plenty() {
    for (free_bytes, total_bytes, state) in [
        (900, 1_000, State::Ok),
        (100, 1_000, State::Ok),
        (99, 1_000, State::Warn),
        (29, 1_000, State::Fail),
        (0, 0, State::Fail),
        (5_000_000_000, 252_000_000_000, State::Warn),
        (60_000_000_000, 10_000_000_000_000, State::Ok),
    ] {
        let report = judge(&sqlite(Err("?".into()), Ok(Space { free_bytes, total_bytes })), &Settings::default());
        assert_eq!(find(&report, "disk").state, state, "{free_bytes} of {total_bytes}");
    }
}

#[test]
fn a_long_log_is_told_and_a_journal_that_is_off() {
    let report = judge(&sqlite(Err("?".into()), Err("?".into())), &Settings::default());
    assert_eq!(find(&report, "log_size").state, State::Warn);
    assert_eq!(find(&report, "journal").state, State::Warn);
    assert_eq!(find(&report, "growth").state, State::Unknown);
    assert_eq!(report.state, State::Warn);
}

fn days(ago: std::ops::RangeInclusive<u32>, spans: u64) -> Contents {
    let days = ago.rev().map(|ago| DaySpans { day: NOW.day() - ago, spans }).collect::<Vec<_>>();
    let spans = days.iter().map(|day| day.spans).sum();
    Contents { bytes: spans * 1_000, spans, days, ..Contents::default() }
}

#[test]
fn growth_levels_off_when_old_days_go() {
    let judged = |contents: &Contents, capacity_bytes: u64| {
        let mut settings = Settings::default();
        settings.storage.capacity_bytes = capacity_bytes;
        let report = judge(&sqlite(Ok(contents.clone()), Err("?".into())), &settings);
        find(&report, "growth").clone()
    };
    // A megabyte a day, of which thirty stay.
    let young = days(0..=5, 1_000);
    assert_eq!(judged(&young, 40_000_000).state, State::Ok);
    let full = judged(&young, 20_000_000);
    assert_eq!(full.state, State::Warn, "{full:?}");
    assert!(full.value.ends_with("full in 13 days"), "{full:?}");
    assert_eq!(judged(&young, 8_000_000).state, State::Fail);
    let old = days(0..=30, 1_000);
    assert_eq!(judged(&old, 40_000_000).state, State::Ok, "nothing is added to what is there");
    // Without a capacity only the size can be told.
    assert!(judged(&young, 0).value.contains("levels off at about 31 MB"), "{:?}", judged(&young, 0));
    // Today is no full day.
    assert_eq!(judged(&days(0..=0, 5_000), 40_000_000).state, State::Unknown);
}

fn bench(single: f64, commit: Option<f64>) -> Finding {
    let bench = Bench {
        single_ms: vec![single],
        batch_ms: vec![100.0],
        batch_spans: 1_000,
        commit_ms: commit.into_iter().collect(),
    };
    let mut findings = Vec::new();
    load::bench(Some(&Ok(bench)), None, &mut findings);
    findings.remove(0)
}

#[test]
fn commits_are_judged_in_bands() {
    for (single, commit, state, band) in [
        (1.0, Some(3.9), State::Ok, "(good)"),
        (1.0, Some(4.1), State::Ok, "(usual over a network)"),
        (4.0, Some(6.0), State::Warn, "(slow)"),
        (49.9, None, State::Warn, "(slow)"),
        (50.0, None, State::Fail, "(too slow)"),
    ] {
        let finding = bench(single, commit);
        assert_eq!(finding.state, state, "{finding:?}");
        assert!(finding.value.contains(band) && finding.value.contains("ms a span in batches of 1000"), "{finding:?}");
    }
}

#[test]
fn words_for_a_shell_and_names_for_sql_are_quoted() {
    assert_eq!(shell_word("a-b_1.c:d@e/f"), "a-b_1.c:d@e/f");
    assert_eq!(shell_word("it's; rm -rf"), r"'it'\''s; rm -rf'");
    assert_eq!(shell_word(""), "''");
    assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
}
