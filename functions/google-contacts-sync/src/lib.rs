//! The google-contacts-sync function.
