//! What every stand-in for a vendor needs: a clock that tests own, connections that can be cut, a server that stays on
//! loopback, and the number of times that something is to go wrong.

mod clock;
mod connection;
mod serve;
mod times;

pub use clock::Clock;
pub use connection::{ConnectionKiller, Lines};
pub use serve::{only_loopback, serve};
pub use times::Times;
