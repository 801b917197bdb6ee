//! A server that a test can make unavailable.

use std::net::SocketAddr;

use local_cloud::Background;
use tokio::io::{AsyncReadExt, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// A way to a server. Switched off, it ends all connections, and each new one after its first words.
pub struct Switch {
    server: Background,
    is_on: watch::Sender<bool>,
}

impl Switch {
    /// A way to the server at `target`, switched on.
    #[must_use]
    pub fn start(target: SocketAddr) -> Self {
        let (is_on, state) = watch::channel(true);
        let server = Background::start("switch", move |listener| async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(forward(stream, target, state.clone()));
            }
            Ok::<_, std::io::Error>(())
        });
        Self { server: server.expect("loopback is available"), is_on }
    }

    /// Where it begins.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Switches it on or off.
    pub fn turn(&self, is_on: bool) {
        self.is_on.send_replace(is_on);
    }
}

async fn forward(mut caller: TcpStream, target: SocketAddr, mut state: watch::Receiver<bool>) {
    if !*state.borrow() {
        // What is not read would end the connection as a reset, which some clients take for a chance to try again.
        let _first_words = caller.read(&mut [0; 1024]).await;
        return;
    }
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    tokio::select! {
        _ended = copy_bidirectional(&mut caller, &mut server) => {}
        _off = state.wait_for(|is_on| !is_on) => {}
    }
}
