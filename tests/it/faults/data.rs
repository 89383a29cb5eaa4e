//! Errors that the server raises itself, by their codes: a trigger of the test's on our table raises them.

use super::*;

impl Scene {
    /// From now on every row of this operation is met with this error (`%` is any). A full disk, a deadlock and the like
    /// are simulated so: the server says what it would say.
    fn raise(&self, code: &str, operation: &str) {
        self.database.sql(&format!(
            "CREATE OR REPLACE FUNCTION tracefall.fault() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF NEW.operation LIKE '{operation}' THEN RAISE EXCEPTION 'of row %', NEW.operation USING ERRCODE = '{code}'; \
             END IF; RETURN NEW; END $$; \
             CREATE OR REPLACE TRIGGER fault BEFORE INSERT ON tracefall.spans FOR EACH ROW EXECUTE FUNCTION tracefall.fault()"
        ));
    }

    fn raise_nothing(&self) {
        self.database.sql("DROP TRIGGER fault ON tracefall.spans");
    }

    fn dead_letters(&self) -> Vec<String> {
        let sql = "SELECT body::json ->> 'operation' FROM tracefall.dead_letters ORDER BY id";
        self.database.sql(sql).lines().map(str::to_owned).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_the_server_refuses_as_data_costs_its_neighbours_nothing() {
    let Some(mut scene) = Scene::well("data_refused").await else { return };
    let codes = ["22003", "22021", "23502", "23514", "54000"];
    for (index, code) in codes.into_iter().enumerate() {
        scene.raise(code, "poison");
        let trace = format!("{:032x}", 0x1000 + index);
        let mut spans: Vec<Value> = (1..=SPANS).map(|id| span(&trace, id, "work")).collect();
        spans.insert(2, span(&trace, 99, "poison"));
        let (status, answer) = answer(scene.server.post("/v1/spans?wait=stored", json!(spans).to_string())).await;
        assert!(status.is_success(), "{code}: {answer}");
        scene.accepted.insert(trace);
        scene.all_there().await;
    }
    assert_eq!(scene.dead_letters(), ["poison"; 5]);
    scene.is_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_that_says_nothing_against_the_data_is_waited_out() {
    let Some(mut scene) = Scene::well("data_waited").await else { return };
    for (code, store, cause) in [
        ("53100", "unavailable", "resources"),
        ("53200", "unavailable", "resources"),
        ("58030", "unavailable", "resources"),
        ("40001", "held_up", "unknown"),
        ("40P01", "held_up", "unknown"),
        ("57014", "held_up", "busy"),
        ("55P03", "held_up", "busy"),
        ("XX000", "held_up", "unknown"),
        ("P0001", "held_up", "unknown"),
        ("0A000", "held_up", "unknown"),
    ] {
        scene.raise(code, "%");
        scene.post().await;
        let holds = |ready: &Value| ready["trouble"]["cause"] == cause && ready["store"] == store;
        let ready = scene.server.read_until("/readyz", holds).await;
        assert_eq!(ready["status"], "degraded", "{code}");
        let told = ready["trouble"]["reason"].as_str().unwrap();
        assert!(cause != "unknown" || !told.contains("of row"), "{code}: an unknown error's text may be data: {told}");
        scene.server.read("/v1/traces").await;
        scene.raise_nothing();
        scene.all_there().await;
        scene.is_ready().await;
    }
    assert!(scene.dead_letters().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_roll_up_that_the_server_refuses_costs_other_traces_nothing() {
    let Some(mut scene) = Scene::well("data_rollup").await else { return };
    scene.database.sql(
        "CREATE FUNCTION tracefall.fault() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         RAISE EXCEPTION 'of a roll-up' USING ERRCODE = '22003'; END $$; \
         CREATE TRIGGER fault BEFORE UPDATE OF root_operation ON tracefall.traces FOR EACH ROW \
         WHEN (NEW.root_operation = 'poison') EXECUTE FUNCTION tracefall.fault()",
    );
    let poison = span(&format!("{:032x}", 0x6000), 1, "poison");
    let (status, _) = answer(scene.server.post("/v1/spans", json!([poison]).to_string())).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    for _ in 0..9 {
        scene.post().await;
    }
    let settled = |answer: &Value| {
        let traces = answer["traces"].as_array().unwrap();
        traces.iter().filter(|trace| trace["span_count"] == SPANS).count() == 10
    };
    scene.server.read_until("/v1/traces", settled).await;
    scene.is_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_now_and_then_is_nobodys_trouble() {
    let Some(mut scene) = Scene::well("data_deadlock").await else { return };
    scene.database.sql(
        "CREATE SEQUENCE public.tries; GRANT ALL ON SEQUENCE public.tries TO public; \
         CREATE FUNCTION tracefall.fault() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF nextval('public.tries') % 3 = 0 THEN RAISE EXCEPTION 'met' USING ERRCODE = '40P01'; END IF; RETURN NULL; END $$; \
         CREATE TRIGGER fault BEFORE INSERT ON tracefall.spans FOR EACH STATEMENT EXECUTE FUNCTION tracefall.fault()",
    );
    for _ in 0..40 {
        scene.post().await;
        assert_eq!(scene.readyz().await["status"], "ready");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    scene.all_there().await;
    scene.is_ready().await;
    assert!(scene.dead_letters().is_empty());
    assert!(scene.database.sql("SELECT last_value FROM public.tries").trim().parse::<u32>().unwrap() > 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_default_partition_that_is_gone_is_no_fault_of_the_data() {
    let Some(scene) = Scene::well("data_default").await else { return };
    scene.database.sql("ALTER TABLE tracefall.spans DETACH PARTITION tracefall.spans_default");
    let mut old = span(&format!("{:032x}", 0x2000), 1, "work");
    old["started_at"] = json!("1999-12-31T23:59:59Z");
    let (status, _) = answer(scene.server.post("/v1/spans", json!([old]).to_string())).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let ready = scene.server.read_until("/readyz", |ready| ready["trouble"]["cause"] == "schema").await;
    assert!(ready["trouble"]["reason"].as_str().unwrap().contains("no partition"), "{ready}");
    scene.database.sql("ALTER TABLE tracefall.spans ATTACH PARTITION tracefall.spans_default DEFAULT");
    scene.is_ready().await;
    scene.server.read_until("/readyz", |ready| ready["queued_spans"] == 0).await;
    assert_eq!(scene.stored().len(), SPANS + 1);
    assert!(scene.dead_letters().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn times_outside_of_every_partition_are_kept_in_the_default_one() {
    let Some(scene) = Scene::well("data_times").await else { return };
    let trace = format!("{:032x}", 0x3000);
    let times = [
        json!({"start_time_unix_nano": 1}),
        json!({"started_at": "1970-01-01T00:00:00Z"}),
        json!({"started_at": "2262-04-11T23:47:16.854775807Z"}),
        json!({"start_time_unix_nano": u64::MAX.to_string()}),
    ];
    let spans: Vec<Value> = times
        .iter()
        .zip(1..)
        .map(|(time, id)| {
            let mut span = json!({"trace_id": trace, "span_id": format!("{id:x}"), "operation": "o", "duration_ms": 1});
            span.as_object_mut().unwrap().extend(time.as_object().unwrap().clone());
            span
        })
        .collect();
    scene.server.store(&json!(spans)).await;
    assert_eq!(scene.database.sql("SELECT count(*) FROM tracefall.spans_default").trim(), "4");
    let read = scene.server.read(&format!("/v1/traces/{trace}")).await;
    assert_eq!(read["spans"].as_array().unwrap().len(), 4, "{read:#}");
    scene.server.read(&format!("/v1/traces/{trace}/waterfall")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_longer_than_an_index_takes_is_stored_cut_in_both_stores() {
    let Some(scene) = Scene::well("data_long_id").await else { return };
    let embedded = TestServer::start().await;
    // No text that compresses: the index bounds what is left of it.
    let long: String = (0..700).map(|_| tracefall::clock::random_hex_128()).collect();
    let trace = format!("{:032x}", 0x4000);
    let mut told = span(&trace, 1, "work");
    (told["execution_id"], told["job_id"]) = (json!(long), json!(long));
    for server in [&scene.server, &embedded] {
        server.store(&json!([told])).await;
        let read = server.read(&format!("/v1/traces/{trace}")).await;
        assert_eq!(read["spans"][0]["execution_id"], json!(long[..1_024]), "{read:#}");
    }
    assert!(scene.dead_letters().is_empty());
}
