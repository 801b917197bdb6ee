//! When a user has time: free slots, in the user's time zone.
