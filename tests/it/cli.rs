//! The command line as a person uses it.

use serde_json::json;

use crate::support::TestServer;
use crate::support::binary::{Server, run, tracefall};

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Runs a command beside an asynchronous server without blocking it.
async fn tracefall_with(arguments: &[&str], server: &TestServer) -> (bool, String, String) {
    let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
    let url = server.url("");
    let output = tokio::task::spawn_blocking(move || run(tracefall().args(arguments).env("TRACEFALL_URL", url)));
    let output = output.await.unwrap();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn waterfall_and_traces_draw_without_colour_into_a_pipe() {
    let server = TestServer::start().await;
    let trace = "7f3c0a1b2c3d4e5f60718293a4b5c6d7";
    server
        .store(&json!([
            {"trace_id": trace, "span_id": "1", "service": "runner", "operation": "execute_question",
             "execution_id": "run/1 ä", "started_at": "2026-01-05T10:00:00Z", "duration_ms": 12},
        ]))
        .await;
    for id in ["run/1 ä", trace, "7F3C0A1B-2C3D-4E5F-6071-8293A4B5C6D7"] {
        let (ok, out, err) = tracefall_with(&["waterfall", id, "--width", "80"], &server).await;
        assert!(ok, "{err}");
        assert!(out.contains("execute_question") && out.contains("12 ms"), "{out}");
        assert!(!out.contains('\u{1b}'), "no colour into a pipe");
    }
    let (_, out, _) = tracefall_with(&["waterfall", trace, "--color", "always"], &server).await;
    assert!(out.contains('\u{1b}'));
    let (_, out, _) = tracefall_with(&["waterfall", trace, "--json"], &server).await;
    assert_eq!(serde_json::from_str::<serde_json::Value>(&out).unwrap()["trace_id"], trace);

    server.read_until("/v1/traces", |list| list["traces"][0]["span_count"] == 1).await;
    let (ok, out, err) = tracefall_with(&["traces", "--service", "runner"], &server).await;
    assert!(ok && out.contains("execute_question"), "{out}{err}");

    let (ok, _, err) = tracefall_with(&["waterfall", "nobody"], &server).await;
    assert!(!ok && err.contains("tracefall traces"), "{err}");
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let output = run(tracefall().args(["waterfall", "1", "--server", "http://127.0.0.1:9"]));
    assert!(!output.status.success());
    let error = text(&output.stderr);
    assert!(error.contains("http://127.0.0.1:9") && error.contains("--server"), "{error}");
}

#[test]
fn config_check_shows_settings_without_secrets_and_fails_on_unknown_keys() {
    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str, value: &str| {
        run(tracefall().current_dir(folder.path()).args(["config", "check"]).env(name, value))
    };
    let good = check("TRACEFALL__ACCESS__READ_KEY", "tf_a-secret-that-nobody-sees");
    assert!(good.status.success(), "{}", text(&good.stderr));
    let shown = text(&good.stdout);
    assert!(shown.contains("4318") && !shown.contains("nobody-sees"), "{shown}");
    let warned = check("DATABASE_URL", "postgres://me:hunter2@db.example.com/app");
    let shown = text(&warned.stdout);
    assert!(warned.status.success() && shown.contains("# warning: store.url has no sslmode"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
    let unknown = check("TRACEFALL__SERVER__PROT", "1");
    assert!(!unknown.status.success());
    assert!(text(&unknown.stderr).to_lowercase().contains("prot"), "{}", text(&unknown.stderr));
}

#[test]
fn migrations_go_up_and_down_and_up_again() {
    let folder = tempfile::tempdir().unwrap();
    let migrate = |arguments: &[&str]| {
        let output = run(tracefall().current_dir(folder.path()).arg("migrate").args(arguments));
        (output.status.success(), text(&output.stdout) + &text(&output.stderr))
    };
    assert!(migrate(&["status"]).1.contains("pending"));
    let (ok, up) = migrate(&["up"]);
    assert!(ok && up.contains("applied") && !up.contains("pending"), "{up}");
    assert!(!migrate(&["down"]).0, "removing everything wants to be said in full");
    let (ok, down) = migrate(&["down", "--delete-all-spans"]);
    assert!(ok && down.contains("pending"), "{down}");
    assert!(migrate(&["up"]).1.contains("applied"));
}

#[test]
fn maintain_prepares_a_store_that_is_up_to_date_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let output = run(tracefall().current_dir(folder.path()).args(arguments));
        (output.status.success(), text(&output.stdout) + &text(&output.stderr))
    };
    let (ok, told) = run(&["maintain", "--once"]);
    assert!(!ok && told.contains("tracefall migrate up"), "{told}");
    assert!(run(&["migrate", "up"]).0);
    let (ok, told) = run(&["maintain", "--once"]);
    assert!(ok && told.contains("are prepared") && told.contains("dead letters 0"), "{told}");
    assert!(!run(&["maintain"]).0, "there is no other form");
}

#[test]
fn grants_are_printed_for_postgresql_and_refused_for_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let grants = |url: &str| {
        let arguments = ["migrate", "grants", "--writer", "the \"writer\""];
        let output = run(tracefall().current_dir(folder.path()).args(arguments).env("DATABASE_URL", url));
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    let (ok, sql, error) = grants("postgres://me:hunter2@localhost/app");
    assert!(ok && sql.contains("TO \"the \"\"writer\"\"\", \"tracefall_reader\";"), "{sql}{error}");
    let (ok, sql, error) = grants("sqlite:spans.db");
    assert!(!ok && sql.is_empty() && error.contains("no roles"), "{sql}{error}");
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none(), "no store is opened for it");
}

#[test]
fn generated_keys_are_shown_with_their_hash_only_once() {
    let output = text(&run(tracefall().args(["keys", "generate"])).stdout);
    let key = output.lines().find_map(|line| line.strip_prefix("key for the client:")).unwrap().trim();
    assert!(key.starts_with("tf_") && key.len() >= 35, "{output}");
    assert_eq!(output.matches(key).count(), 1);
    assert!(output.contains("key_sha256 = \""));
}

#[test]
fn a_healthcheck_tells_a_living_service_from_a_dead_one_by_its_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), |_| {});
    let port = server.address.port().to_string();
    let check = |arguments: &[&str]| {
        let mut command = tracefall();
        command.current_dir(folder.path()).arg("healthcheck").args(arguments).env("PORT", &port);
        // As in the image; and a proxy that is not there must not be asked the way.
        command.env("TRACEFALL__SERVER__HOST", "[::]").env("TRACEFALL__ACCESS__ADMIN_KEY", "tf_0123456789abcdef");
        // Nor are certificates needed, which a bare container has not.
        command.env("SSL_CERT_FILE", "/nonexistent").env("SSL_CERT_DIR", "/nonexistent");
        let output = run(command.env("HTTP_PROXY", "http://127.0.0.1:9").env("http_proxy", "http://127.0.0.1:9"));
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    };
    let url = server.url("/");
    assert_eq!(check(&[]), (Some(0), String::new()));
    assert_eq!(check(&["--url", &url]), (Some(0), String::new()));
    let (code, told) = check(&["--url", &server.url("/v1")]);
    assert!(code == Some(1) && told.contains("404"), "{told}");
    server.signal("TERM");
    server.wait();
    let (code, told) = check(&[]);
    assert!(code == Some(1) && told.contains(&format!("cannot reach http://127.0.0.1:{port}")), "{told}");
}

#[test]
fn help_tells_what_there_is() {
    let help = text(&run(tracefall().arg("--help")).stdout);
    let commands =
        ["serve", "waterfall", "traces", "demo", "migrate", "maintain", "import", "config", "keys", "healthcheck"];
    for command in commands {
        assert!(help.contains(command), "{help}");
    }
}
