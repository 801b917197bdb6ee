//! Connections that a handler can cut: TCP with a flag that turns the next write into a reset.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// The flag of one connection.
#[derive(Debug, Clone, Default)]
pub struct ConnectionKiller(Arc<AtomicBool>);

impl ConnectionKiller {
    /// The peer gets a reset instead of whatever would be written next.
    pub fn kill(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A connection whose next write can be turned into a reset.
#[derive(Debug)]
pub struct Line {
    stream: TcpStream,
    killer: ConnectionKiller,
}

impl Line {
    /// Closing without lingering makes the kernel send a reset.
    fn check(&self) -> io::Result<()> {
        if self.killer.0.load(Ordering::Acquire) {
            self.stream.set_zero_linger()?;
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A listener whose connections can be cut; handlers find their [`ConnectionKiller`] in axum's `ConnectInfo`.
#[derive(Debug)]
pub struct Lines(pub TcpListener);

impl Listener for Lines {
    type Io = Line;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Line, SocketAddr) {
        let (stream, peer) = Listener::accept(&mut self.0).await;
        (Line { stream, killer: ConnectionKiller::default() }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl Connected<IncomingStream<'_, Lines>> for ConnectionKiller {
    fn connect_info(stream: IncomingStream<'_, Lines>) -> Self {
        stream.io().killer.clone()
    }
}
