//! How much a batch says to a user who reacts to nothing.

use catchup::db::batches::Digests;
use catchup::suggestions::MAX_PER_BATCH;
use uuid::Uuid;

/// Batches without a reaction after which a user gets one suggestion.
const REDUCED_AFTER: i64 = 3;
/// And after which a user is asked.
const QUESTION_AFTER: i64 = 6;

/// What the next batch is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DigestLevel {
    /// So many of the best suggestions.
    Digest { max: usize },
    /// The question whether suggestions are still useful, after this row of `suggestions`.
    Question(Uuid),
    /// Nothing, until the user acts.
    Silent,
}

impl DigestLevel {
    pub(crate) fn of(digests: &Digests) -> Self {
        match digests.last_suggestion_id {
            Some(_) if digests.is_asked => Self::Silent,
            Some(last) if digests.ignored >= QUESTION_AFTER => Self::Question(last),
            Some(_) if digests.ignored >= REDUCED_AFTER => Self::Digest { max: 1 },
            Some(_) | None => Self::Digest { max: MAX_PER_BATCH },
        }
    }
}
