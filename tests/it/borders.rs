//! Room borders: imports go down, never up, and sideways only where it is written here.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Room, and the rooms it may import. In the order of `lib.rs`.
const ROOMS: &[(&str, &[&str])] = &[
    ("clock", &["model"]),
    ("meters", &[]),
    ("model", &[]),
    ("settings", &["model"]),
    ("wire", &["model"]),
    ("redact", &["model", "settings"]),
    ("analysis", &["model"]),
    ("checkup", &["model", "settings", "sizing"]),
    ("sizing", &["settings"]),
    ("render", &["model", "analysis", "checkup", "sizing"]),
    ("demo", &["model"]),
    ("levers", &["model"]),
    ("store", &["model", "settings", "checkup"]),
    ("journal", &["model", "settings", "checkup"]),
    ("pipeline", &["model", "settings", "clock", "meters", "wire", "redact", "analysis", "levers", "store", "journal"]),
    ("query", &["model", "settings", "clock", "wire", "analysis", "levers", "checkup", "store", "journal"]),
    ("access", &["model", "settings", "clock"]),
    (
        "http",
        &[
            "model", "clock", "meters", "wire", "analysis", "checkup", "render", "levers", "pipeline", "query",
            "access", "store", "journal",
        ],
    ),
    (
        "cli",
        &[
            "model", "settings", "clock", "wire", "redact", "analysis", "checkup", "sizing", "render", "demo",
            "levers", "store", "pipeline", "query", "access",
        ],
    ),
    ("telemetry", &["settings", "meters"]),
    (
        "app",
        &[
            "clock",
            "meters",
            "settings",
            "redact",
            "store",
            "journal",
            "pipeline",
            "query",
            "access",
            "http",
            "telemetry",
        ],
    ),
];

/// What the pure rooms must do without.
const PURE: &[&str] = &[
    "clock", "meters", "model", "settings", "wire", "redact", "analysis", "checkup", "sizing", "render", "demo",
    "levers",
];
const IMPURE_CRATES: &[&str] = &["tokio", "sqlx", "axum", "reqwest", "hyper_util"];

#[test]
fn rooms_import_only_what_they_may() {
    let mut wrong = Vec::new();
    for (room, allowed) in ROOMS {
        for (path, text) in sources(room) {
            for imported in imports(&text, "crate::") {
                if imported != *room && !allowed.contains(&imported.as_str()) {
                    wrong.push(format!("{path} imports {imported}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that ARCHITECTURE.md does not know:\n{}", wrong.join("\n"));
}

#[test]
fn faces_take_from_the_store_only_its_error_and_its_maintenance() {
    for (path, text) in sources("http") {
        for line in text.lines().filter(|line| line.contains("crate::store")) {
            assert_eq!(line.trim(), "use crate::store::StoreError;", "{path}");
        }
    }
}

#[test]
fn pure_rooms_need_no_runtime_no_database_and_no_framework() {
    for room in PURE {
        for (path, text) in sources(room) {
            for name in IMPURE_CRATES {
                let used = text.lines().any(|line| {
                    let line = line.trim_start();
                    !line.starts_with("//") && line.contains(&format!("{name}::"))
                });
                assert!(!used, "{path} uses {name}");
            }
        }
    }
}

#[test]
fn only_the_store_says_sql() {
    for (room, _) in ROOMS.iter().filter(|(room, _)| *room != "store") {
        for (path, text) in sources(room) {
            assert!(!text.contains("sqlx::"), "{path} speaks to the database");
        }
    }
}

#[test]
fn every_room_is_in_the_map() {
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let declared: BTreeSet<&str> =
        lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let mapped: BTreeSet<&str> = ROOMS.iter().map(|(room, _)| *room).collect();
    assert_eq!(declared, mapped);
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for room in declared {
        assert!(map.contains(&format!("`{room}")), "ARCHITECTURE.md does not tell of {room}");
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files of a room, tests below `#[cfg(test)]` cut off.
fn sources(room: &str) -> Vec<(String, String)> {
    let single = root().join(format!("src/{room}.rs"));
    let mut files = Vec::new();
    if single.exists() {
        files.push(single);
    } else {
        collect(&root().join("src").join(room), &mut files);
    }
    assert!(!files.is_empty(), "the room {room} is empty");
    files
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("\n#[cfg(test)]").next().unwrap_or_default().to_owned();
            (path.strip_prefix(root()).unwrap().display().to_string(), code)
        })
        .collect()
}

fn collect(folder: &Path, into: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// The first segments behind `prefix` in code lines, grouped imports included.
fn imports(text: &str, prefix: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for rest in line.split(prefix).skip(1) {
            let names = match rest.strip_prefix('{') {
                Some(group) => group.split(',').collect::<Vec<_>>(),
                None => vec![rest],
            };
            for name in names {
                let name: String = name.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if !name.is_empty() {
                    found.insert(name);
                }
            }
        }
    }
    found
}
