//! What can go wrong with a store, in the classes that callers decide by.

/// An error of a store. The class says what to do; the text says what was being done, for the log.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store is away, busy, full or starting: the same call may succeed later.
    #[error("{doing}: the store is unavailable: {source}")]
    Unavailable { doing: &'static str, source: Box<dyn std::error::Error + Send + Sync> },
    /// Two writers met: the same call, repeated at once, succeeds.
    #[error("{doing}: another writer was in the way: {source}")]
    Conflict { doing: &'static str, source: Box<dyn std::error::Error + Send + Sync> },
    /// The store refuses this very data. Repeating the call changes nothing; smaller batches find the culprit.
    #[error("{doing}: the store refuses the data: {source}")]
    Refused { doing: &'static str, source: Box<dyn std::error::Error + Send + Sync> },
    /// A stored value is not what was written.
    #[error("{doing}: column {column} holds what it cannot: {reason}")]
    Corrupt { doing: &'static str, column: String, reason: String },
    /// Anything else: a bug, a missing table, a wrong setting.
    #[error("{doing}: {source}")]
    Other { doing: &'static str, source: Box<dyn std::error::Error + Send + Sync> },
}

impl StoreError {
    /// Whether repeating the same call unchanged may succeed.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Conflict { .. })
    }
}
