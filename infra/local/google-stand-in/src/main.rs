//! The stand-in for Google as a process of its own.

fn main() {}
