//! Ports of 127.0.0.1 for servers that are started here, in this process and in others.

use std::fs::{self, File, TryLockError};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::Mutex;

use anyhow::{Context as _, bail};
use rustix::process::getuid;

/// Ports that no system hands out by itself: one that is free is not taken by an outgoing connection in the next moment.
const PORTS: Range<u16> = 12_000..32_000;
const MAX_DRAWN: u32 = 100;

/// Of the ports that this process was given: locked as long as it lives.
static LOCKS: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A port that is free at this moment, and that no other process of this user is given here before this one ends: a server that is
/// started there finds it free, also when it is started again.
pub fn free() -> anyhow::Result<u16> {
    let folder = std::env::temp_dir().join(format!("local-cloud-ports-{}", getuid().as_raw()));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let count = u64::from(PORTS.end - PORTS.start);
    for _ in 0..MAX_DRAWN {
        let drawn = u64::from_be_bytes(uuid::Uuid::new_v4().as_bytes()[..8].try_into()?) % count;
        let port = PORTS.start + u16::try_from(drawn)?;
        let lock = File::create(folder.join(port.to_string())).context("cannot take a port")?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => continue,
            Err(TryLockError::Error(error)) => return Err(error).context("cannot take a port"),
        }
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            LOCKS.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(lock);
            return Ok(port);
        }
    }
    bail!("cannot listen on 127.0.0.1")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_port_that_was_given_is_not_given_again_though_nothing_listens_there() {
        let ports: BTreeSet<u16> = (0..1000).map(|_| free().unwrap()).collect();
        assert_eq!(ports.len(), 1000);
    }
}
