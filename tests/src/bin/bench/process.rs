//! A program under measurement.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use local_cloud::ports;

/// Longest time that a start may take before the bench gives up.
const DEADLINE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_micros(200);

/// A running program; it is killed when this is dropped.
pub(crate) struct Running {
    child: Child,
    program: PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        // A child that has ended needs no killing.
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

impl Running {
    /// Starts a program with an empty environment to which `configure` adds; its log is discarded.
    pub(crate) fn start(program: &Path, configure: impl FnOnce(&mut Command)) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        configure(command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()));
        let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self { child, program: program.to_owned() })
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it responds to `path` with 200, or, without a path, accepts a connection.
    pub(crate) fn until_ready(&mut self, address: SocketAddr, path: Option<&str>) -> anyhow::Result<()> {
        let deadline = Instant::now() + DEADLINE;
        while !is_ready(address, path) {
            if let Some(status) = self.child.try_wait()? {
                let mut text = String::new();
                if let Some(mut stderr) = self.child.stderr.take() {
                    stderr.read_to_string(&mut text)?;
                }
                bail!("{} ended with {status}:\n{text}", self.program.display());
            }
            ensure!(Instant::now() < deadline, "{} is not ready after {DEADLINE:?}", self.program.display());
            std::thread::sleep(POLL);
        }
        Ok(())
    }
}

fn is_ready(address: SocketAddr, path: Option<&str>) -> bool {
    let request = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(address)?;
        let Some(path) = path else { return Ok(true) };
        stream.set_read_timeout(Some(DEADLINE))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut response = String::new();
        stream.read_to_string(&mut response)?;
        Ok(response.starts_with("HTTP/1.1 200"))
    };
    request().unwrap_or(false)
}

/// An address on which nothing listens.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()?)))
}
