//! The calendar-sync function.
