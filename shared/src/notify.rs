//! Messages to people, each at most once.
