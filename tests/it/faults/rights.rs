//! Roles that may do little.

use tracefall::settings::store::StoreSettings;
use tracefall::store;

use super::*;

/// A scene whose service has another store as yet, with the schema made by its owner and the grants for a writer that owns
/// nothing; the writer's role.
async fn with_a_writer(test: &str) -> Option<(Scene, String)> {
    let mut scene = Scene::begin(test, Way::Open, |settings| settings.store.url = None).await?;
    let url = scene.database.url_of(&scene.role);
    let owner = StoreSettings { url: Some(DatabaseUrl::new(url)), ..StoreSettings::default() };
    let store = store::open(&owner).await.unwrap();
    store.maintenance.migrate_up().await.unwrap();
    store.maintenance.close().await;
    let (writer, reader) = (scene.database.role("w"), scene.database.role("d"));
    let grants = store::grants(&owner, &writer, &reader).unwrap();
    scene.database.sql(&format!("SET ROLE {}; {grants}", scene.role));
    Some((scene, writer))
}

impl Scene {
    async fn serve_as(&mut self, writer: &str, admin: Option<&str>) {
        let url = |role: &str| Some(DatabaseUrl::new(through(&self.proxy, role, self.database.name())));
        let (url, admin_url) = (url(writer), admin.and_then(url));
        self.server = TestServer::with(|settings| {
            (settings.store.url, settings.store.admin_url) = (url, admin_url);
            quick(settings);
        })
        .await;
    }

    fn rows_of_default(&self) -> String {
        self.database.sql("SELECT count(*) FROM tracefall.spans_default").trim().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_owns_nothing_fills_the_default_partition_and_says_so() {
    let Some((mut scene, writer)) = with_a_writer("rights_writer").await else { return };
    scene.serve_as(&writer, None).await;
    scene.post().await;
    scene.all_there().await;
    scene.is_ready().await;
    assert_eq!(scene.rows_of_default(), SPANS.to_string());
    let ready = scene.readyz().await;
    let note = ready["notes"][0].as_str().unwrap();
    assert!(note.contains("spans_default") && note.contains("store.admin_url"), "{note}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrators_url_makes_the_partitions_of_a_writer_that_owns_nothing() {
    let Some((mut scene, writer)) = with_a_writer("rights_admin").await else { return };
    let owner = scene.role.clone();
    scene.serve_as(&writer, Some(&owner)).await;
    scene.post().await;
    scene.all_there().await;
    scene.is_ready().await;
    assert_eq!(scene.rows_of_default(), "0");
    assert!(scene.readyz().await.get("notes").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_taken_away_is_named_and_works_again_when_it_is_given_back() {
    let Some((mut scene, writer)) = with_a_writer("rights_taken").await else { return };
    scene.serve_as(&writer, None).await;
    scene.post().await;
    scene.all_there().await;
    scene.database.sql(&format!("REVOKE INSERT ON tracefall.spans FROM {writer}"));
    let reason = scene.comes_to("rights").await;
    assert!(reason.contains("permission denied for table spans"), "{reason}");
    assert!(reason.contains("tracefall migrate grants"), "{reason}");
    scene.server.read("/v1/traces").await;
    scene.database.sql(&format!("GRANT INSERT ON tracefall.spans TO {writer}"));
    scene.all_there().await;
    scene.is_ready().await;
}
