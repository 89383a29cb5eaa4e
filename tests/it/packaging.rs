//! What the image and the platform are told, held to what the program does: Dockerfile, .dockerignore, fly.toml and
//! fly.sqlite.toml. No Docker is needed; `scripts/test --long` also runs the Dockerfile's commands without it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Parser;
use config::{Config, File, FileFormat};
use reqwest::StatusCode;
use serde_json::Value;
use tracefall::cli::Arguments;
use tracefall::settings::server::ServerSettings;
use tracefall::settings::{Settings, Sources};

use crate::support::TestServer;

const FLY: [&str; 2] = ["fly.toml", "fly.sqlite.toml"];
const A_KEY: (&str, &str) = ("TRACEFALL__ACCESS__ADMIN_KEY", "tf_0123456789abcdef0123456789abcdef");

fn repository(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn read(file: &str) -> String {
    std::fs::read_to_string(repository(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn fly(file: &str) -> Value {
    let source = File::from_str(&read(file), FileFormat::Toml);
    Config::builder().add_source(source).build().unwrap().try_deserialize().unwrap()
}

/// A stage of the Dockerfile: what it starts from, and its instructions as (keyword, rest).
struct Stage {
    from: String,
    instructions: Vec<(String, String)>,
}

impl Stage {
    fn all(&self, keyword: &str) -> Vec<&str> {
        self.instructions.iter().filter(|(found, _)| found == keyword).map(|(_, rest)| rest.as_str()).collect()
    }

    fn one(&self, keyword: &str) -> &str {
        let all = self.all(keyword);
        assert_eq!(all.len(), 1, "{keyword} in {}", self.from);
        all[0]
    }

    /// The environment that ENV sets; no value has a space.
    fn environment(&self) -> BTreeMap<String, String> {
        let words = self.all("ENV").into_iter().flat_map(str::split_whitespace);
        words.map(|word| word.split_once('=').unwrap()).map(|(name, value)| (name.into(), value.into())).collect()
    }
}

fn stages() -> Vec<Stage> {
    let mut stages: Vec<Stage> = Vec::new();
    let text = read("Dockerfile").replace("\\\n", " ");
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (keyword, rest) = line.split_once(' ').unwrap();
        match keyword {
            "FROM" => stages.push(Stage { from: rest.trim().to_owned(), instructions: Vec::new() }),
            _ => stages.last_mut().unwrap().instructions.push((keyword.to_owned(), rest.trim().to_owned())),
        }
    }
    stages
}

fn image() -> Stage {
    stages().pop().unwrap()
}

/// The words of an instruction's exec form, `["a", "b"]`.
fn exec_form(text: &str) -> Vec<String> {
    serde_json::from_str(text).unwrap_or_else(|_| panic!("{text} needs a shell"))
}

/// The settings of the service in the image, with further variables.
fn settings(further: &[(&str, &str)]) -> Result<Settings, String> {
    let mut environment = image().environment();
    environment.extend(further.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())));
    Settings::load(&Sources { environment, ..Sources::default() }).map_err(|error| error.to_string())
}

#[test]
fn the_image_listens_for_others_and_keeps_its_data_on_its_volume() {
    let (image, settings) = (image(), settings(&[A_KEY]).unwrap());
    assert_eq!(settings.server.bind_host(), "::", "IPv6 too: Fly's private network has nothing else");
    assert_eq!(settings.server.port, ServerSettings::default().port);
    assert_eq!(image.one("EXPOSE"), settings.server.port.to_string());
    let data_dir = settings.store.data_dir.to_str().unwrap();
    assert_eq!([image.one("VOLUME"), image.one("WORKDIR")], [data_dir, data_dir]);
    let owned = format!("--chown=nonroot:nonroot /build/image{data_dir} {data_dir}");
    assert!(image.all("COPY").iter().any(|copy| copy.ends_with(&owned)), "the user can write to a new volume");
}

#[test]
fn the_image_does_not_start_without_a_key() {
    let refused = self::settings(&[]).unwrap_err();
    assert!(refused.contains("no key is configured"), "{refused}");
}

#[test]
fn the_image_runs_the_binary_alone_and_not_as_root() {
    let image = image();
    assert!(image.from.starts_with("gcr.io/distroless/static-"), "{}", image.from);
    assert_eq!(image.one("USER"), "nonroot");
    assert!(image.all("RUN").is_empty() && image.all("ENTRYPOINT").is_empty());
    let health = image.one("HEALTHCHECK").split_once("CMD ").unwrap().1;
    for command in [exec_form(image.one("CMD")), exec_form(health)] {
        Arguments::try_parse_from(&command).unwrap_or_else(|error| panic!("{command:?}: {error}"));
    }
    let binary = "/usr/local/bin/tracefall";
    assert!(image.all("COPY").iter().any(|copy| copy.ends_with(binary)), "where a shell-less exec finds it");
}

#[test]
fn every_stage_is_made_of_one_that_is_there_and_the_compiler_is_new_enough() {
    let stages = stages();
    let mut known: Vec<&str> = Vec::new();
    for stage in &stages {
        let (from, name) = stage.from.split_once(" AS ").unwrap_or((&stage.from, "image"));
        assert!(from.contains(':') || known.contains(&from), "{from}");
        for copy in stage.all("COPY") {
            if let Some(source) = copy.strip_prefix("--from=") {
                assert!(known.contains(&source.split(' ').next().unwrap()), "{copy}");
            }
        }
        known.push(name);
    }
    let wanted = read("Cargo.toml");
    let wanted = wanted.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap().trim_matches('"');
    assert!(stages[0].from.starts_with(&format!("rust:{wanted}-")), "{} for Rust {wanted}", stages[0].from);
}

#[test]
fn what_the_image_is_built_from_is_sent_to_the_builder_and_nothing_else() {
    let ignored = read(".dockerignore");
    let mut rules = ignored.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    assert_eq!(rules.next(), Some("*"), "what is new stays out");
    let mut sent: Vec<&str> = rules.map(|rule| rule.strip_prefix('!').unwrap()).collect();
    let stages = stages();
    let copies = stages.iter().flat_map(|stage| stage.all("COPY")).filter(|copy| !copy.starts_with("--from="));
    let mut copied = Vec::new();
    for copy in copies {
        let words: Vec<&str> = copy.split_whitespace().collect();
        copied.extend_from_slice(&words[..words.len() - 1]);
    }
    for path in &copied {
        assert!(repository(path).exists(), "{path}");
    }
    sent.sort_unstable();
    copied.sort_unstable();
    assert_eq!(sent, copied);
}

#[tokio::test(flavor = "multi_thread")]
async fn fly_sends_requests_and_checks_to_where_the_image_answers() {
    let server = TestServer::start().await;
    for file in FLY {
        let fly = fly(file);
        let environment: BTreeMap<String, String> = serde_json::from_value(fly["env"].clone()).unwrap();
        for name in environment.keys() {
            let secret = ["KEY", "URL", "PASSWORD", "TOKEN"].iter().any(|word| name.contains(word));
            assert!(!secret, "{file}: {name} belongs to `fly secrets set`");
        }
        let mut further: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (&**name, &**value)).collect();
        further.push(A_KEY);
        let settings = settings(&further).unwrap();
        assert_eq!(fly["http_service"]["internal_port"], settings.server.port, "{file}");
        assert_eq!(fly["http_service"]["force_https"], true);
        let hard_limit = fly["http_service"]["concurrency"]["hard_limit"].as_u64().unwrap();
        assert!(hard_limit as usize <= settings.server.max_connections, "{file}");
        let checks = fly["http_service"]["checks"].as_array().unwrap();
        assert!(!checks.is_empty());
        for check in checks {
            let answer = server.get(check["path"].as_str().unwrap()).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK, "{file}: {check}");
        }
    }
}

#[test]
fn fly_waits_for_a_stop_as_long_as_one_may_take() {
    let shutdown = ServerSettings::default().shutdown_timeout_secs;
    let image = image();
    for file in FLY {
        let fly = fly(file);
        // And some seconds for the journal's last fsync on a busy disk, and for connections that close slowly.
        assert!(fly["kill_timeout"].as_u64().unwrap() >= shutdown + 10, "{file}");
        assert_eq!([fly["kill_signal"].as_str().unwrap(), image.one("STOPSIGNAL")], ["SIGTERM", "SIGTERM"]);
    }
}

#[test]
fn a_machine_on_fly_keeps_its_data_and_stays_up() {
    for file in FLY {
        let fly = fly(file);
        let mounts = fly["mounts"].as_array().unwrap();
        assert_eq!(mounts.len(), 1);
        assert_eq!(mounts[0]["destination"], image().one("VOLUME"), "{file}");
        let http = &fly["http_service"];
        assert_eq!((&http["auto_stop_machines"], &http["min_machines_running"]), (&"off".into(), &1.into()), "{file}");
        // A volume cannot be attached to the new machine that these would make.
        assert_eq!(fly["deploy"]["strategy"], "rolling");
        assert!(repository(fly["build"]["dockerfile"].as_str().unwrap()).exists());
    }
}

#[test]
fn the_schema_is_brought_up_to_date_where_the_store_can_be_reached() {
    let command = fly("fly.toml")["deploy"]["release_command"].as_str().unwrap().to_owned();
    Arguments::try_parse_from(command.split(' ')).unwrap_or_else(|error| panic!("{command}: {error}"));
    // It runs without the volume, so it would do so to a file that is thrown away.
    assert!(fly("fly.sqlite.toml")["deploy"].get("release_command").is_none());
}

#[test]
fn the_dockerfile_builds_and_its_image_runs() {
    if std::env::var_os("TRACEFALL_TEST_LONG").is_none() {
        return;
    }
    let archives = tempfile::tempdir().unwrap();
    let check =
        Command::new(repository("scripts/package")).arg("--check").arg(archives.path()).stdin(Stdio::null()).output();
    let check = check.unwrap();
    let told = String::from_utf8_lossy(&check.stdout).into_owned() + &String::from_utf8_lossy(&check.stderr);
    assert!(check.status.success(), "{told}");
    let mut names: Vec<String> = std::fs::read_dir(archives.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let [archive, sum] = &names[..] else { panic!("{names:?}") };
    assert_eq!(*sum, format!("{archive}.sha256"));
    let list = Command::new("tar").arg("-tzf").arg(archives.path().join(archive)).output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    for file in ["tracefall", "LICENSE", "README.md", "CHANGELOG.md", "config.example.toml"] {
        assert!(list.lines().any(|line| line.ends_with(&format!("/{file}"))), "{list}");
    }
}
