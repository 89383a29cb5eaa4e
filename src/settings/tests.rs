//! Settings as a user meets them: files, variables and flags in, values or complaints out.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::access::KeySettings;
use super::store::StoreLocation;
use super::*;
use crate::model::tenant::Scope;

/// Loads from a file's text, variables and flags.
fn load_all(file: &str, environment: &[(&str, &str)], overrides: Overrides) -> Result<Settings, SettingsError> {
    let directory = tempfile::tempdir().unwrap();
    if !file.is_empty() {
        std::fs::write(directory.path().join(DEFAULT_FILE), file).unwrap();
    }
    let environment = environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    Settings::load(&Sources { file: None, directory: directory.path().to_owned(), environment, overrides })
}

fn load(file: &str, environment: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    load_all(file, environment, Overrides::default())
}

/// The complaint, without the place where the test keeps its file.
fn complaint(file: &str, environment: &[(&str, &str)]) -> String {
    let text = load(file, environment).expect_err("these settings are wrong").to_string();
    let cut = |line: &str| match (line.find("(from /"), line.find(DEFAULT_FILE)) {
        (Some(from), Some(file)) => format!("{}(from {}", &line[..from], &line[file..]),
        _ => line.to_owned(),
    };
    text.lines().map(cut).collect::<Vec<_>>().join("\n")
}

#[test]
fn nothing_at_all_is_the_defaults() {
    assert_eq!(load("", &[]).unwrap(), Settings::default());
    assert_eq!(Settings::default().validate().map_err(|error| error.to_string()), Ok(()));
}

#[test]
fn a_later_place_outweighs_an_earlier_one() {
    let file = "[server]\nport = 1\nhost = 'localhost'\nrequest_timeout_secs = 60";
    let variable = ("TRACEFALL__SERVER__PORT", "3");
    let flag = Overrides { port: Some(4), ..Overrides::default() };
    assert_eq!(load(file, &[]).unwrap().server.port, 1);
    assert_eq!(load(file, &[("PORT", "2")]).unwrap().server.port, 2);
    assert_eq!(load(file, &[("PORT", "2"), variable]).unwrap().server.port, 3);
    let settings = load_all(file, &[("PORT", "2"), variable], flag).unwrap();
    assert_eq!(settings.server.port, 4);
    assert_eq!((settings.server.host.as_str(), settings.server.request_timeout_secs), ("localhost", 60));
    assert_eq!(settings.server.shutdown_timeout_secs, 10, "what no place says keeps its default");
}

#[test]
fn variables_reach_every_kind_of_setting() {
    let settings = load(
        "",
        &[
            ("TRACEFALL__INGEST__LIMITS__MAX_SPANS", "7"),
            ("TRACEFALL__SERVER__CORS_ORIGINS", "https://a.example, https://b.example"),
            ("TRACEFALL__STORE__SQLITE__SYNCHRONOUS", "full"),
            ("TRACEFALL__JOURNAL__FSYNC", "always"),
            ("TRACEFALL__JOURNAL__DIR", "/mnt/journal"),
            ("TRACEFALL__ACCESS__OPEN", "yes"),
            ("TRACEFALL__ACCESS__INGEST_KEY", "0123456789012345"),
            ("DATABASE_URL", "sqlite:/tmp/spans.db"),
            ("RUST_LOG", "debug"),
            ("ENABLE_DB_TRACING", "OFF"),
            ("HOME", "/root"),
            ("TRACEFALL_KEY", "for the client"),
        ],
    )
    .unwrap();
    assert_eq!(settings.ingest.limits.max_spans, 7);
    assert_eq!(settings.server.cors_origins, ["https://a.example", "https://b.example"]);
    assert_eq!(settings.store.sqlite.synchronous, store::Synchronous::Full);
    assert_eq!(settings.store.location(), Ok(StoreLocation::Sqlite("/tmp/spans.db".into())));
    assert_eq!((settings.journal.fsync, settings.journal.dir), (journal::Fsync::Always, Some("/mnt/journal".into())));
    assert_eq!(settings.telemetry.filter, "debug");
    assert!(settings.access.open && !settings.ingest.enabled);
    let key = settings.access.ingest_key.unwrap();
    assert_eq!(key.expose(), "0123456789012345", "a key of digits keeps its zeros");
}

#[test]
fn every_flag_sets_its_setting() {
    let text = |text: &str| Some(text.to_owned());
    let overrides = Overrides {
        host: text("::1"),
        port: Some(0),
        data_dir: text("/data"),
        store_url: text("spans.db"),
        log_filter: text("warn"),
    };
    let settings = load_all("", &[], overrides).unwrap();
    assert_eq!((settings.server.host.as_str(), settings.server.port), ("::1", 0));
    assert_eq!(settings.store.data_dir, PathBuf::from("/data"));
    assert_eq!(settings.store.location(), Ok(StoreLocation::Sqlite("spans.db".into())));
    assert_eq!(settings.telemetry.filter, "warn");
}

#[test]
fn the_kill_switch_takes_every_usual_word() {
    for (word, on) in [
        ("true", true),
        ("1", true),
        ("on", true),
        ("Yes", true),
        ("FALSE", false),
        ("0", false),
        ("off", false),
        ("no", false),
        ("", true),
    ] {
        assert_eq!(load("", &[("ENABLE_DB_TRACING", word)]).unwrap().ingest.enabled, on, "{word:?}");
    }
    assert_eq!(
        complaint("", &[("ENABLE_DB_TRACING", "maybe")]),
        "ingest.enabled (from the environment variable ENABLE_DB_TRACING) is \"maybe\"; accepted is true or false"
    );
}

#[test]
fn an_empty_variable_is_unset_but_an_empty_key_is_a_mistake() {
    let empty = [
        ("PORT", ""),
        ("DATABASE_URL", ""),
        ("TRACEFALL__SERVER__HOST", ""),
        ("TRACEFALL_CONFIG", ""),
        ("TRACEFALL__ACCESS__OPEN", ""),
    ];
    assert_eq!(load("", &empty).unwrap(), Settings::default());
    let text = complaint("", &[("TRACEFALL__ACCESS__ADMIN_KEY", "")]);
    assert!(
        text.starts_with(
            "access.admin_key (from the environment variable TRACEFALL__ACCESS__ADMIN_KEY) has a key of 0"
        ),
        "{text}"
    );
}

#[test]
fn unknown_names_are_told_all_at_once_with_what_was_meant() {
    assert_eq!(
        complaint(
            "colour = 1\n[server]\nprot = 1\n[sever]\nhost = 'x'\n[nothing]",
            &[("TRACEFALL__PIPELINE__LINGER", "1"), ("TRACEFALL__", "x")]
        ),
        " (from the environment variable TRACEFALL__) is no setting; config.example.toml lists them all\n\
         colour (from tracefall.toml) is no setting; config.example.toml lists them all\n\
         nothing (from tracefall.toml) is no setting; config.example.toml lists them all\n\
         pipeline.linger (from the environment variable TRACEFALL__PIPELINE__LINGER) is no setting; did you mean pipeline.linger_ms?\n\
         server.prot (from tracefall.toml) is no setting; did you mean server.port?\n\
         sever.host (from tracefall.toml) is no setting; did you mean server.host?"
    );
}

#[test]
fn a_value_of_the_wrong_kind_says_what_is_accepted() {
    for (file, says) in [
        (
            "[server]\nport = '4318'",
            "server.port (from tracefall.toml) is \"4318\"; accepted is a whole number, 0 or more",
        ),
        ("[server]\nport = -1", "server.port (from tracefall.toml) is -1; accepted is a whole number, 0 or more"),
        (
            "[server]\nport = 70000",
            "server.port (from tracefall.toml) is wrong: invalid value: integer `70000`, accepted is 0 to 65535",
        ),
        (
            "[pipeline]\nlinger_ms = 1.5",
            "pipeline.linger_ms (from tracefall.toml) is 1.5; accepted is a whole number, 0 or more",
        ),
        ("[ingest]\nenabled = 1", "ingest.enabled (from tracefall.toml) is 1; accepted is true or false"),
        ("[ingest]\nenabled = 'no'", "ingest.enabled (from tracefall.toml) is \"no\"; accepted is true or false"),
        ("[server.port]\nx = 1", "server.port (from tracefall.toml) is a table; accepted is a whole number, 0 or more"),
        ("server = 1", "server (from tracefall.toml) is a section; accepted is [server] with its settings below"),
        (
            "[server]\ncors_origins = 'x'",
            "server.cors_origins (from tracefall.toml) is \"x\"; accepted is a list of texts",
        ),
        ("'server.port' = 1", "\"server.port\" (from tracefall.toml) is no setting; a name holds no dot"),
    ] {
        assert_eq!(complaint(file, &[]), says, "{file}");
    }
    let format = complaint("[telemetry]\nformat = 'xml'", &[]);
    assert_eq!(
        format,
        "telemetry.format (from tracefall.toml) is wrong: unknown variant `xml`, expected one of `auto`, `json`, `pretty`"
    );
}

#[test]
fn impossible_values_name_their_key_and_what_is_accepted() {
    for (file, says) in [
        (
            "[server]\nrequest_timeout_secs = 0",
            "server.request_timeout_secs (from tracefall.toml) is 0; accepted are 1 to 3600",
        ),
        (
            "[server]\nhost = 'http://x'",
            "server.host (from tracefall.toml) is \"http://x\"; accepted is an address or a host name",
        ),
        ("[server]\ncors_origins = ['*']", "server.cors_origins (from tracefall.toml) holds \"*\""),
        ("[server]\nin_flight_bytes = 1000", "at least ingest.limits.max_inflated_bytes, 67108864"),
        (
            "[server]\nrequest_timeout_secs = 5",
            "pipeline.wait_stored_max_secs is 10; accepted is less than server.request_timeout_secs, 5",
        ),
        (
            "[ingest.limits]\nmax_spans = 0",
            "ingest.limits.max_spans (from tracefall.toml) is 0; accepted are 1 to 1000000",
        ),
        (
            "[pipeline]\nretry_base_ms = 20_000",
            "pipeline.retry_max_ms is 5000; accepted is at least pipeline.retry_base_ms, 20000",
        ),
        ("[pipeline]\nsettle_quiet_ms = 9_000", "accepted is at least pipeline.settle_quiet_ms, 9000"),
        (
            "[journal]\nmax_bytes = 1_000_000",
            "journal.max_bytes (from tracefall.toml) is 1000000; accepted are 0 (8 GiB or half of the free disk) and at \
             least four times journal.segment_bytes, 134217728",
        ),
        ("[journal]\nfsync_interval_ms = 0", "journal.fsync_interval_ms (from tracefall.toml) is 0; accepted are 1 to"),
        ("[journal]\ndir = ''", "journal.dir (from tracefall.toml) is empty"),
        ("[store]\ndata_dir = ''", "store.data_dir (from tracefall.toml) is empty"),
        ("[store]\nurl = 'mysql://x'", "store.url (from tracefall.toml) is mysql://x; accepted is postgres://"),
        (
            "[store]\nadmin_url = 'spans.db'",
            "store.admin_url (from tracefall.toml) is spans.db; accepted is postgres://",
        ),
        ("[store]\nschema = 'Spans'", "store.schema (from tracefall.toml) is \"Spans\"; accepted are lower-case"),
        (
            "[store.postgres]\nwriter_connections = 0",
            "store.postgres.writer_connections (from tracefall.toml) is 0; accepted are 1 to 64",
        ),
        (
            "[store.sqlite]\nreader_connections = 0",
            "store.sqlite.reader_connections (from tracefall.toml) is 0; accepted are 1 to 64",
        ),
        ("[telemetry]\nfilter = 'a=b=c'", "telemetry.filter (from tracefall.toml) is \"a=b=c\""),
    ] {
        let text = complaint(file, &[]);
        assert!(text.contains(says), "{file}\n{text}");
    }
}

/// Every setting that names a database, each with the same password.
fn databases() -> Vec<(&'static str, &'static str)> {
    [
        "TRACEFALL__STORE__URL",
        "TRACEFALL__STORE__WRITE_URL",
        "TRACEFALL__STORE__READ_URL",
        "TRACEFALL__STORE__ADMIN_URL",
    ]
    .map(|name| (name, "postgres://me:hunter2@db.example/spans"))
    .into()
}

#[test]
fn databases_are_shown_without_their_passwords() {
    let settings = load("", &databases()).unwrap();
    let warnings = settings.warnings().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let location = format!("{:?}", settings.store.location());
    for text in [format!("{settings:?}"), settings.redacted_toml(), location] {
        assert!(!text.contains("hunter2") && text.matches("me:***@db.example").count() >= 3, "{text}");
    }
    assert!(!warnings.contains("hunter2") && warnings.contains("store.read_url has no sslmode"), "{warnings}");
}

#[test]
fn a_wrong_database_is_refused_without_telling_its_password() {
    for (name, url) in databases() {
        let key = name.trim_start_matches("TRACEFALL__").to_lowercase().replace("__", ".");
        let text = complaint("", &[(name, &format!("{url}?sslmode=yes&password=hunter2"))]);
        let says = format!("{key} (from the environment variable {name}) has sslmode=yes; accepted are disable");
        assert!(text.starts_with(&says) && !text.contains("hunter2"), "{text}");
        let file = format!("[store]\n{} = ['{url}']", key.trim_start_matches("store."));
        let text = complaint(&file, &[]);
        assert!(text.contains("accepted is a text") && !text.contains("hunter2"), "{text}");
    }
}

#[test]
fn what_no_database_uses_is_warned_of() {
    let warned = |file: &str| load(file, &[]).unwrap().warnings().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        warned("[store]\nread_url = 'postgres://me@replica.example/app'"),
        ["store.read_url is not used: store.url names no PostgreSQL database"]
    );
    assert!(warned("").is_empty());
    assert!(warned("[store]\nurl = 'postgres://me@localhost/app'").is_empty());
}

#[test]
fn a_journal_that_promises_more_than_the_store_keeps_is_warned_of() {
    let warned = |file: &str| load(file, &[]).unwrap().warnings().iter().map(ToString::to_string).collect::<Vec<_>>();
    let always = "[journal]\nfsync = 'always'\n";
    let [warning] = &warned(always)[..] else { panic!("one warning") };
    assert!(warning.starts_with("journal.fsync is \"always\", but store.sqlite.synchronous"), "{warning}");
    for well in
        ["enabled = false", "[store.sqlite]\nsynchronous = 'full'", "[store]\nurl = 'postgres://me@localhost/app'"]
    {
        assert_eq!(warned(&format!("{always}{well}")), [""; 0], "{well}");
    }
}

#[test]
fn a_redaction_rule_that_cannot_be_used_is_named() {
    let file = |rules: &str| format!("[redaction]\n{rules}");
    let settings = load(&file("defaults = false\nkeys = ['*_iban']\npatterns = ['a(b+)']"), &[]).unwrap();
    assert!(!settings.redaction.defaults);
    assert_eq!(settings.redaction.patterns, ["a(b+)"]);
    for (rules, told) in [
        (
            "patterns = ['a', 'tick(et']",
            "redaction.patterns[1] (from tracefall.toml) is \"tick(et\", which is no regular expression: unclosed group",
        ),
        (
            "patterns = ['x*']",
            "redaction.patterns[0] (from tracefall.toml) is \"x*\", which matches nothing at all as well",
        ),
        ("patterns = ['(?=a)']", "look-around"),
        ("keys = ['ssn', '*']", "redaction.keys[1] (from tracefall.toml) is \"*\"; accepted are names"),
        ("keys = ['']", "redaction.keys[0]"),
    ] {
        let complaint = complaint(&file(rules), &[]);
        assert!(complaint.contains(told), "{complaint}");
    }
}

#[test]
fn beyond_loopback_it_does_not_start_without_a_key_or_an_open_door() {
    let text = complaint("[server]\nhost = '0.0.0.0'", &[]);
    for way_out in ["tracefall keys generate", "listen on 127.0.0.1", "access.open = true"] {
        assert!(text.contains(way_out), "{text}");
    }
    let key = ("TRACEFALL__ACCESS__INGEST_KEY", "0123456789abcdef");
    for (file, environment) in [
        ("[server]\nhost = '0.0.0.0'\n[access]\nopen = true", &[][..]),
        ("[server]\nhost = '0.0.0.0'", &[key]),
        ("[server]\nhost = 'localhost'", &[]),
        ("[server]\nhost = '::1'", &[]),
    ] {
        assert!(load(file, environment).is_ok(), "{file}");
    }
}

#[test]
fn keys_are_read_in_every_form() {
    let hash = "0F".repeat(32);
    let file = format!(
        "[[access.keys]]\nname = 'runner'\nkey = '0123456789abcdef'\nscopes = ['ingest']\n\
         [[access.keys]]\nname = 'ci'\nkey_sha256 = '{hash}'\nscopes = ['read', 'admin']"
    );
    let settings = load(&file, &[("TRACEFALL__ACCESS__READ_KEY", "aaaaaaaaaaaaaaaa, bbbbbbbbbbbbbbbb")]).unwrap();
    let key = |name: &str, key: Option<&str>, hash: Option<&str>, scopes: &[Scope]| KeySettings {
        name: name.into(),
        key: key.map(Secret::new),
        key_sha256: hash.map(Secret::new),
        scopes: scopes.to_vec(),
    };
    assert_eq!(
        settings.access.all_keys(),
        [
            key("runner", Some("0123456789abcdef"), None, &[Scope::Ingest]),
            key("ci", None, Some(&hash), &[Scope::Read, Scope::Admin]),
            key("read_key", Some("aaaaaaaaaaaaaaaa"), None, &[Scope::Read]),
            key("read_key", Some("bbbbbbbbbbbbbbbb"), None, &[Scope::Read]),
        ]
    );
}

#[test]
fn a_bad_key_is_refused_without_telling_it() {
    let secret = "sesame";
    let table = |members: &str| format!("[[access.keys]]\nname = 'x'\n{members}");
    for (file, says) in [
        (
            table("key = 'sesame'\nscopes = ['ingest']"),
            "access.keys[0].key (from tracefall.toml) has a key of 6 characters; accepted are 16",
        ),
        (table("key = 'sesame sesame sesame'\nscopes = ['ingest']"), "holds a space"),
        (table("key_sha256 = 'sesame'\nscopes = ['ingest']"), "is not 64 hex digits"),
        (table("key = 'sesame'\nkey_sha256 = 'sesame'\nscopes = ['ingest']"), "has both"),
        (table("scopes = ['ingest']"), "has no key"),
        (table("key = 'sesame-sesame-sesame'\nscopes = []"), "access.keys[0].scopes (from tracefall.toml) is empty"),
        (table("key = 'sesame-sesame-sesame'\nscopes = 'sesame'"), "is of the wrong type"),
        (table("key = ['sesame']\nscopes = []"), "is of the wrong type"),
        (
            table("key = 'sesame-sesame-sesame'\nscope = []"),
            "access.keys[0].scope (from tracefall.toml) is wrong: unknown field `scope`",
        ),
        (table("key = 'sesame-sesame-sesame'"), "missing field `scopes`"),
        (
            "[access]\nkeys = ['sesame-sesame-sesame']".into(),
            "access.keys (from tracefall.toml) is a list with other things in it",
        ),
        ("[access]\nread_key = ['sesame']".into(), "access.read_key"),
        ("[access]\nread_key = 'sesame'".into(), "has a key of 6"),
        ("[access]\nread_key = 'sesame-sesame-sesame,'".into(), "has a key of 0"),
        ("[access]\nread_key = 'sesame-sesame-sesame\nopen = true".into(), "is not TOML"),
    ] {
        let text = complaint(&file, &[]);
        assert!(text.contains(says), "{file}\n{text}");
        assert!(!text.contains(secret), "{file}\n{text}");
    }
    let text = complaint("", &[("TRACEFALL__ACCESS__KEYS", "sesame")]);
    assert!(text.contains("TRACEFALL__ACCESS__INGEST_KEY") && !text.contains(secret), "{text}");
}

#[test]
fn forward_targets_come_from_the_file_and_from_the_environment() {
    let file = "[[forward]]\nname = 'honey-comb'\nurl = 'https://api.honeycomb.io'\n\
                headers = { x-honeycomb-team = 'env:HONEYCOMB_KEY' }\ntimeout_secs = 5";
    let settings = load(
        file,
        &[
            ("HONEYCOMB_KEY", "hunter2"),
            ("TRACEFALL__FORWARD__HONEY_COMB__COMPRESSION", "none"),
            ("TRACEFALL__FORWARD__HONEY_COMB__HEADERS__X_DATASET", "hunter3"),
            ("TRACEFALL__FORWARD__TEMPO__URL", "http://tempo:4318"),
            ("TRACEFALL__FORWARD__TEMPO__HEADERS__AUTHORIZATION", "Bearer hunter4"),
            ("TRACEFALL__FORWARD__TEMPO__MAX_DISK_BYTES", "100000000"),
        ],
    )
    .unwrap();
    let [honeycomb, tempo] = &settings.forward[..] else { panic!("{:?}", settings.forward) };
    assert_eq!((honeycomb.timeout_secs, honeycomb.compression), (5, forward::Compression::None));
    let value = |target: &ForwardSettings, name: &str| target.headers[name].expose().unwrap();
    assert_eq!(value(honeycomb, "x-honeycomb-team"), "hunter2");
    assert_eq!(value(honeycomb, "x-dataset"), "hunter3");
    assert_eq!((tempo.name.as_str(), tempo.max_disk_bytes), ("tempo", 100_000_000));
    assert_eq!(
        (tempo.url.expose(), value(tempo, "authorization")),
        ("http://tempo:4318/v1/traces".into(), "Bearer hunter4".into())
    );
    assert!(settings.warnings().is_empty(), "{:?}", settings.warnings());
    for text in [format!("{settings:?}"), settings.redacted_toml()] {
        assert!(!text.contains("hunter") && text.contains("env:HONEYCOMB_KEY"), "{text}");
    }
    let toml = settings.redacted_toml();
    let again = [
        ("HONEYCOMB_KEY", "hunter2"),
        ("TRACEFALL__FORWARD__HONEY_COMB__HEADERS__X_DATASET", "hunter3"),
        ("TRACEFALL__FORWARD__TEMPO__HEADERS__AUTHORIZATION", "Bearer hunter4"),
    ];
    assert_eq!(load(&toml, &again).unwrap(), settings, "{toml}");
}

#[test]
fn a_forward_target_that_cannot_work_is_named_and_its_secrets_are_not() {
    let target = |members: &str| format!("[[forward]]\nname = 'a'\nurl = 'http://h'\n{members}");
    for (file, says) in [
        (target("colour = 1"), "forward[0].colour (from tracefall.toml) is wrong: unknown field `colour`"),
        (target("headers = { x-key = 'env:NOWHERE' }"), "environment variable NOWHERE, which is not set"),
        (target("headers = { x-key = ['hunter2'] }"), "is of the wrong type"),
        (target("headers = { Host = 'hunter2' }"), "has Host, which is set by itself"),
        (target("headers = { x-key = 'hunter2ü' }"), "no header may have"),
        (target("timeout_secs = 0"), "forward[0].timeout_secs (from tracefall.toml) is 0; accepted are 1 to 300"),
        (target("max_disk_bytes = 5"), "at least twice journal.segment_bytes, 67108864"),
        (target("compression = 'zip'"), "unknown variant `zip`, expected `gzip` or `none`"),
        (target("[journal]\nenabled = false"), "forward (from tracefall.toml) needs the journal"),
        (target("[[forward]]\nname = 'a'\nurl = 'http://h'"), "forward[1].name"),
        ("[[forward]]\nname = 'A b'\nurl = 'http://h'".into(), "forward[0].name (from tracefall.toml) is \"A b\""),
        (
            "[[forward]]\nname = 'a'\nurl = 'https://me:hunter2@h'".into(),
            "forward[0].url (from tracefall.toml) holds a user",
        ),
        ("[[forward]]\nname = 'a'\nurl = 'hunter2'".into(), "begins with neither http:// nor https://"),
        ("[[forward]]\nname = 'a'".into(), "missing field `url`"),
        ("[forward]\nurl = 'hunter2'".into(), "forward (from tracefall.toml) is a table; accepted is a list of tables"),
        ("forward = 'hunter2'".into(), "accepted is a list of tables"),
    ] {
        let text = complaint(&file, &[]);
        assert!(text.contains(says), "{file}\n{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
    for (name, says) in [
        ("TRACEFALL__FORWARD", "TRACEFALL__FORWARD__NAME__URL"),
        (
            "TRACEFALL__FORWARD__A__COLOUR",
            "forward.a.colour (from the environment variable TRACEFALL__FORWARD__A__COLOUR)",
        ),
        ("TRACEFALL__FORWARD__A__TIMEOUT_SECS", "accepted is a whole number"),
    ] {
        let text = complaint("", &[(name, "hunter2")]);
        assert!(text.contains(says) && !text.contains("hunter2"), "{text}");
    }
    let warnings = load(&target("headers = { x-api-key = 'hunter2', x-dataset = 'spans' }"), &[]).unwrap().warnings();
    let [warning] = &warnings[..] else { panic!("{warnings:?}") };
    assert!(warning.to_string().starts_with("forward[0].headers has the value of x-api-key written out"), "{warning}");
}

#[test]
fn a_named_file_must_exist_and_the_default_one_need_not() {
    let directory = tempfile::tempdir().unwrap();
    let sources = |file: Option<&str>, variable: Option<&str>| Sources {
        file: file.map(PathBuf::from),
        directory: directory.path().to_owned(),
        environment: variable.map(|path| ("TRACEFALL_CONFIG".to_owned(), path.to_owned())).into_iter().collect(),
        overrides: Overrides::default(),
    };
    std::fs::write(directory.path().join("flag.toml"), "[server]\nport = 1").unwrap();
    std::fs::write(directory.path().join("variable.toml"), "[server]\nport = 2").unwrap();
    let port = |sources: &Sources| Settings::load(sources).map(|settings| settings.server.port);

    assert_eq!(port(&sources(None, None)).unwrap(), 4318);
    assert_eq!(port(&sources(None, Some("variable.toml"))).unwrap(), 2);
    assert_eq!(port(&sources(Some("flag.toml"), Some("variable.toml"))).unwrap(), 1);
    for missing in [sources(Some("missing.toml"), None), sources(None, Some("missing.toml"))] {
        let text = port(&missing).unwrap_err().to_string();
        assert!(text.starts_with("cannot read the configuration file") && text.contains("missing.toml"), "{text}");
    }
    std::fs::create_dir(directory.path().join(DEFAULT_FILE)).unwrap();
    assert!(matches!(port(&sources(None, None)), Err(SettingsError::Unreadable { .. })));
}

#[test]
fn what_is_not_toml_says_where() {
    let text = complaint("[server]\nport = ", &[]);
    assert!(text.contains("is not TOML") && text.contains("line 2"), "{text}");
}

#[test]
fn secrets_print_as_stars_and_the_rest_can_be_read_back() {
    let file = "[store]\nurl = './spans.db'\n[access]\nopen = true\nadmin_key = 'sesame-sesame-sesame'\n\
                [[access.keys]]\nname = 'ci \"x\"'\nkey = 'sesame-sesame-sesame'\nscopes = ['read']";
    let mut settings = load(file, &[]).unwrap();
    let (debug, toml) = (format!("{settings:?}"), settings.redacted_toml());
    for text in [&debug, &toml] {
        assert!(!text.contains("sesame") && text.contains("***"), "{text}");
    }
    settings.access.keys.clear();
    settings.access.admin_key = None;
    assert_eq!(load(&settings.redacted_toml(), &[]).unwrap(), settings);
    let defaults = Settings::default().redacted_toml();
    assert!(defaults.contains("[store]\n# admin_url is not set\ndata_dir = \"./tracefall-data\"\n"), "{defaults}");
}

#[test]
fn every_setting_is_listed_by_its_full_name() {
    let keys = Settings::keys();
    for key in ["server.port", "ingest.limits.max_spans", "store.url", "store.sqlite.cache_bytes", "access.keys"] {
        assert!(keys.iter().any(|known| known == key), "{key}");
    }
    let sections: BTreeMap<&str, usize> =
        keys.iter().filter_map(|key| key.split('.').next()).fold(BTreeMap::new(), |mut sections, section| {
            *sections.entry(section).or_default() += 1;
            sections
        });
    assert_eq!(
        sections.keys().copied().collect::<Vec<_>>(),
        [
            "access",
            "forward",
            "ingest",
            "journal",
            "pipeline",
            "redaction",
            "retention",
            "server",
            "storage",
            "store",
            "telemetry"
        ]
    );
}
