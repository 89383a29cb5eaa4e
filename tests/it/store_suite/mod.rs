//! What a store promises, one function a promise, written for any store and run against each.
//!
//! A store joins by a [`Home`] and a line with `run!`. What only one dialect promises has a file of its own.

mod erasure;
mod jobs;
mod letters;
mod maintenance;
mod pooler;
mod postgres;
pub mod records;
mod rollups;
pub mod searching;
mod sequences;
mod spans;
pub mod sqlite;

use async_trait::async_trait;
use tracefall::store::Store;

/// A database of a test's own.
#[async_trait]
pub trait Home: Send + Sync {
    /// Opens the database as it is: empty at first, and after a close as it was left.
    async fn open(&self) -> Store;

    /// Opens it, its schema up to date and the days around [`records::NOW`] prepared.
    async fn ready(&self) -> Store {
        let store = self.open().await;
        store.maintenance.migrate_up().await.unwrap();
        store.maintenance.prepare_days(records::NOW).await.unwrap();
        store
    }
}

/// Makes a test of each promise, of a home that may be missing on this machine.
macro_rules! run {
    ($home:expr) => {
        $crate::store_suite::tests! {
            $home;
            store:
                spans::every_field_of_a_span_is_read_back,
                spans::an_outline_leaves_out_what_is_heavy,
                spans::any_time_is_kept_to_the_nanosecond,
                spans::ids_of_both_widths_are_kept,
                spans::a_batch_written_again_changes_nothing,
                spans::a_completion_completes_its_start,
                spans::a_start_that_comes_after_its_completion_fills_it,
                spans::a_completion_without_a_start_waits_for_it,
                spans::a_completion_without_a_start_finds_the_ended_span,
                spans::starts_told_twice_differently_are_one_span,
                spans::starts_on_both_sides_of_midnight_are_one_span,
                spans::pairs_of_one_batch_and_of_many_batches_read_alike,
                spans::tenants_do_not_see_each_other,
                spans::no_more_rows_are_read_than_the_limit_and_one,
                spans::a_trace_over_many_days_is_read_whole,
                spans::a_batch_is_stored_whole_or_not_at_all_to_a_reader,
                spans::batches_of_any_size_are_stored,
                searching::a_trace_is_listed_from_its_first_span_on,
                searching::a_trace_began_with_its_earliest_start_whenever_it_was_heard_of,
                searching::an_open_trace_that_is_silent_reads_as_abandoned,
                searching::a_trace_is_abandoned_by_its_spans_and_not_by_an_old_rollup,
                searching::every_filter_holds_alone_and_with_others,
                searching::services_are_those_of_the_newest_traces,
                searching::a_trace_that_is_not_settled_may_be_of_any_service,
                searching::pages_hold_every_trace_once,
                searching::an_execution_has_all_its_traces_newest_first,
                rollups::a_rollup_is_read_back,
                rollups::a_trace_written_to_since_stays_unsettled,
                rollups::an_older_rollup_does_not_replace_a_newer_one,
                rollups::many_traces_are_read_to_settle_at_once,
                rollups::an_unknown_trace_has_nothing_to_settle,
                jobs::a_checkpoint_is_what_was_noted_last,
                jobs::a_checkpoint_is_swapped_only_for_what_was_read,
                erasure::a_deleted_trace_leaves_nothing_and_its_neighbours_stay,
                erasure::what_was_heard_of_before_a_deletion_is_not_stored_after_it,
                erasure::of_a_span_told_before_and_after_a_deletion_only_the_later_word_is_stored,
                erasure::a_dead_letter_of_before_a_deletion_is_not_kept,
                erasure::a_rollup_does_not_bring_a_deleted_trace_back,
                erasure::the_traces_of_somebody_are_found_wherever_they_are,
                letters::dead_letters_are_read_by_page_filtered_and_removed,
                maintenance::dead_letters_are_counted;
            home:
                sequences::random_sequences_with_a_restart_end_as_one_span_each,
                maintenance::migrations_go_up_and_down_and_up,
                maintenance::a_store_without_a_schema_refuses_and_lives,
                maintenance::what_was_written_is_there_after_a_restart,
        }
    };
}

/// Those given a ready store, and those that open it themselves.
macro_rules! tests {
    ($home:expr; store: $($of_store:ident::$promise:ident),+; home: $($of_home:ident::$restart:ident),+ $(,)?) => {
        $(#[tokio::test]
        async fn $promise() {
            let Some(home) = $home else { return };
            super::$of_store::$promise(&$crate::store_suite::Home::ready(&home).await).await;
        })+
        $(#[tokio::test]
        async fn $restart() {
            let Some(home) = $home else { return };
            super::$of_home::$restart(&home).await;
        })+
    };
}
pub(crate) use tests;

mod on_sqlite {
    run!(Some(super::sqlite::File::new()));
}

mod on_postgres {
    run!(crate::support::postgres::Database::new());
}

mod behind_a_pooler {
    run!(super::pooler::Behind::new());
}

mod on_the_reference {
    run!(Some(crate::support::reference::Reference::default()));
}
