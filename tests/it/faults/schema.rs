//! Our tables, taken away under the running service.

use tracefall::settings::store::StoreSettings;
use tracefall::store;

use super::*;

/// What `tracefall migrate up` does in another process.
async fn migrate_up(scene: &Scene) {
    let url = scene.database.url_of(&scene.role);
    let settings = StoreSettings { url: Some(DatabaseUrl::new(url)), ..StoreSettings::default() };
    let store = store::open(&settings).await.unwrap();
    store.maintenance.migrate_up().await.unwrap();
    store.maintenance.close().await;
}

impl Scene {
    fn drop_schema(&mut self) {
        // By itself the statement takes the tables in an order of its own, and may end in a deadlock with a transaction of
        // the service, as which PostgreSQL picks either.
        let lock = "LOCK TABLE tracefall.traces IN ACCESS EXCLUSIVE MODE";
        self.database.sql(&format!("BEGIN; {lock}; DROP SCHEMA tracefall CASCADE; COMMIT"));
        // Gone by the hand of who dropped it.
        self.accepted.clear();
    }

    /// Rows in a partition of their own day, with their resource.
    async fn are_in_order(&self) {
        assert_eq!(self.database.sql("SELECT count(*) FROM tracefall.spans_default").trim(), "0");
        let lost = "SELECT count(*) FROM tracefall.spans s WHERE resource_id IS NULL \
                    OR NOT EXISTS (SELECT 1 FROM tracefall.resources r WHERE r.id = s.resource_id)";
        assert_eq!(self.database.sql(lost).trim(), "0", "rows without their resource");
        let trace = self.accepted.first().unwrap();
        let read = self.server.read(&format!("/v1/traces/{trace}")).await;
        assert_eq!(read["spans"].as_array().unwrap().len(), SPANS);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_are_dropped_are_named_and_come_back_with_migrate_up() {
    let Some(mut scene) = Scene::well("schema_dropped").await else { return };
    scene.drop_schema();
    let reason = scene.comes_to("schema").await;
    assert!(reason.contains("tracefall") && reason.contains("does not exist"), "{reason}");
    assert!(reason.ends_with("run `tracefall migrate up`"), "{reason}");
    scene.reads_are_refused().await;
    scene.post().await;
    assert_eq!(scene.database.sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'tracefall'").trim(), "0");
    migrate_up(&scene).await;
    scene.all_there().await;
    scene.is_ready().await;
    scene.are_in_order().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_were_made_anew_unnoticed_get_whole_rows() {
    let Some(mut scene) = Scene::well("schema_anew").await else { return };
    scene.drop_schema();
    migrate_up(&scene).await;
    scene.post().await;
    scene.all_there().await;
    scene.is_ready().await;
    scene.are_in_order().await;
    scene.database.sql("TRUNCATE tracefall.resources, tracefall.spans");
    scene.accepted.clear();
    scene.post().await;
    scene.all_there().await;
    scene.are_in_order().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_finds_out_that_the_tables_are_back() {
    let Some(mut scene) = Scene::well("schema_asked").await else { return };
    scene.drop_schema();
    let response = scene.server.get("/v1/traces").send().await.unwrap();
    let problem = problem(response, 503).await;
    assert!(problem["detail"].as_str().unwrap().contains("tracefall migrate up"), "{problem}");
    migrate_up(&scene).await;
    let deadline = Instant::now() + HEALED;
    while scene.server.get("/v1/traces").send().await.unwrap().status() != StatusCode::OK {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    scene.is_ready().await;
}
