//! A way to a server on which answers get lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use url::Url;

/// Passes requests on and answers back, except the first answers: their connections break instead.
pub(crate) struct Lossy {
    pub(crate) url: Url,
    serving: JoinHandle<()>,
}

impl Lossy {
    pub(crate) async fn start(server: &Url, answers_to_lose: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let server = format!("127.0.0.1:{}", server.port().unwrap());
        let left = Arc::new(AtomicUsize::new(answers_to_lose));
        let serving = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let (server, left) = (TcpStream::connect(&server).await.unwrap(), Arc::clone(&left));
                tokio::spawn(async move {
                    let (mut client, mut server) = (BufReader::new(client), BufReader::new(server));
                    while let Some(request) = message(&mut client).await {
                        server.write_all(&request).await.unwrap();
                        let answer = message(&mut server).await.unwrap();
                        let less = |left: usize| left.checked_sub(1);
                        if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok() {
                            return;
                        }
                        client.write_all(&answer).await.unwrap();
                    }
                });
            }
        });
        Self { url, serving }
    }
}

impl Drop for Lossy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// One HTTP message whose length is announced.
async fn message(stream: &mut (impl AsyncBufRead + Unpin)) -> Option<Vec<u8>> {
    let mut head = String::new();
    let mut length = 0;
    loop {
        let from = head.len();
        if stream.read_line(&mut head).await.ok()? == 0 {
            return None;
        }
        let line = head[from..].to_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some([head.into_bytes(), body].concat())
}
