//! The local cloud: everything a function needs, on loopback.
