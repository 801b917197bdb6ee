//! Whole syncs over real servers and the stand-in for Google.

mod faults;
mod fixture;
mod interleavings;
mod syncs;
mod waiting;
