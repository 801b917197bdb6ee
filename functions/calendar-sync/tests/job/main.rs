//! Whole syncs over real servers and the stand-in for Google.

mod faults;
mod fixture;
mod interleavings;
mod meetings;
mod syncs;
mod waiting;
