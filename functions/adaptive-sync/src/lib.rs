//! The adaptive-sync function.
