//! Push notifications from Google, as an axum router.
