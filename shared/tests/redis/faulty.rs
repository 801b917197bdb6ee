//! An HTTP server that replies as it is told.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use url::Url;

/// What becomes of one request.
#[derive(Clone)]
pub(crate) enum Reply {
    Answer(u16, Vec<u8>),
    /// It is read, and the connection closed.
    Lost,
    /// It is read, and never answered.
    Silence,
}

impl Reply {
    pub(crate) fn ok(body: &str) -> Self {
        Self::Answer(200, body.into())
    }
}

/// Deals out replies in their order; the last one for ever.
pub(crate) struct Faulty {
    pub(crate) url: Url,
    replies: Arc<Mutex<VecDeque<Reply>>>,
    requests: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Faulty {
    pub(crate) async fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let replies: Arc<Mutex<VecDeque<Reply>>> = Arc::new(Mutex::new(replies.into_iter().collect()));
        let requests = Arc::new(AtomicUsize::new(0));
        let (dealt, counted) = (Arc::clone(&replies), Arc::clone(&requests));
        let serving = tokio::spawn(async move {
            let mut silent = Vec::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let mut stream = read_request(stream).await;
                counted.fetch_add(1, Ordering::SeqCst);
                let reply = {
                    let mut replies = dealt.lock().unwrap();
                    if replies.len() > 1 { replies.pop_front().unwrap() } else { replies[0].clone() }
                };
                match reply {
                    Reply::Answer(status, body) => {
                        let head = format!(
                            "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                            body.len()
                        );
                        // A client that has read enough hangs up.
                        let _ = stream.write_all(&[head.into_bytes(), body].concat()).await;
                    }
                    Reply::Lost => {}
                    Reply::Silence => silent.push(stream),
                }
            }
        });
        Self { url, replies, requests, serving }
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    pub(crate) fn henceforth(&self, reply: Reply) {
        *self.replies.lock().unwrap() = [reply].into();
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn read_request(stream: TcpStream) -> BufReader<TcpStream> {
    let mut stream = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    stream.read_exact(&mut vec![0; length]).await.unwrap();
    stream
}
