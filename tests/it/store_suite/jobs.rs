//! Promises of remembering how far long jobs have come.

use tracefall::store::Store;

pub async fn a_checkpoint_is_what_was_noted_last(store: &Store) {
    let checkpoints = &store.checkpoints;
    let noted = |name: &'static str| async move { checkpoints.checkpoint(name).await.unwrap() };
    assert_eq!(noted("import a").await, None);
    for reached in ["1", "", "{\"after\":[\"ü'\\\"\"]}"] {
        checkpoints.set_checkpoint("import a", reached).await.unwrap();
        assert_eq!(noted("import a").await.as_deref(), Some(reached));
    }
    checkpoints.set_checkpoint("import b", "2").await.unwrap();
    assert_eq!(noted("import b").await.as_deref(), Some("2"));
    assert!(noted("import a").await.unwrap().starts_with('{'), "each job has its own");
}
