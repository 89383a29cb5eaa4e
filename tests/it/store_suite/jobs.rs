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

pub async fn a_checkpoint_is_swapped_only_for_what_was_read(store: &Store) {
    let checkpoints = &store.checkpoints;
    let swap = |before: Option<&'static str>, reached: &'static str| async move {
        checkpoints.swap_checkpoint("shared", before, reached).await.unwrap()
    };
    let noted = || async { checkpoints.checkpoint("shared").await.unwrap() };
    assert!(swap(None, "1").await);
    assert!(!swap(None, "2").await && !swap(Some("0"), "2").await);
    assert_eq!(noted().await.as_deref(), Some("1"));
    assert!(swap(Some("1"), "2").await);
    assert_eq!(noted().await.as_deref(), Some("2"));
    // Of those that try at once with the same word, one is right.
    let tries = ["a", "b", "c", "d"].map(|reached| swap(Some("2"), reached));
    let right = futures_util::future::join_all(tries).await.into_iter().filter(|swapped| *swapped).count();
    assert_eq!(right, 1);
}
