//! What a listing of a calendar's events is known by: nothing of it is written when it does not stand any more.

use uuid::Uuid;

/// A listing of one calendar's events, by a sync that holds its user's lock.
///
/// Every statement that writes some of it looks, with the lock's row held, whether the lock is still this sync's and the
/// calendar's sync token still the one that the listing began with. So a process that was frozen for longer than its lock
/// writes nothing when it continues.
#[derive(Debug, Clone, Copy)]
pub struct Listing<'a> {
    /// Whose calendar.
    pub user_id: Uuid,
    /// Names the sync ([`Admitted::run`](crate::sync::Admitted)).
    pub run: Uuid,
    /// Google's id of the calendar.
    pub calendar_id: &'a str,
    /// The sync token that was stored when the listing began, also that of a listing which does not use it.
    pub begun_with: Option<&'a str>,
}
