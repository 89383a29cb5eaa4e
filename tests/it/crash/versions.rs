//! A rolling upgrade: what an earlier version left in its journal, the whole service stores.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::{Site, until_stored};

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_version_1_left_is_stored() {
    for site in [Some(Site::sqlite()), Site::postgres("upgrade")].into_iter().flatten() {
        fs::create_dir_all(site.journal()).unwrap();
        for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/journal/v1")).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), site.journal().join(entry.file_name())).unwrap();
        }
        // Its spans are of January 2026, which the ages of retention would let go at once.
        let server = site.start_with(|command| {
            for days in ["COMPLETED", "FAILED", "ROLLUP"] {
                command.env(format!("TRACEFALL__RETENTION__{days}_DAYS"), "3600");
            }
        });
        let ready = until_stored(&server).await;
        assert_eq!(
            (&ready["journal"]["replay_records"], &ready["journal"]["replayed_records"]),
            (&7.into(), &7.into())
        );
        assert_eq!(ready["journal"]["lost_records"], 0);
        let ids = "SELECT ID, tenant FROM PLACE.spans UNION ALL SELECT ID, tenant FROM PLACE.open_spans";
        let rows = site.ask(ids);
        let stored: BTreeSet<(&str, &str)> = rows.iter().map(|row| (&row[0][32..], row[1].as_str())).collect();
        assert_eq!(rows.len(), stored.len(), "each once");
        let spans = [
            ("7f3c0a1b2c3d4e5f60718293a4b5c6d7", "acme"),
            ("0000000000000002", "default"),
            ("0000000000000003", "default"),
            ("0000000000000004", "default"),
        ];
        assert_eq!(stored, BTreeSet::from(spans));
        assert_eq!(site.ask("SELECT count(*) FROM PLACE.dead_letters"), [["0"]]);
    }
}
