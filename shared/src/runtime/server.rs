//! Accepts connections, with limits of time, and stops in good order.

use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulConnection, GracefulShutdown};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};

use super::shutdown::Shutdown;

/// How long a caller may be silent between requests or within a request's head. Longer than Google's front end keeps an
/// idle connection, so that it is the one who closes it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(620);
/// How long accepting rests after it failed: no file descriptors left, usually.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Size of a request's head: Cloud Tasks sends less than 80 KB, <https://cloud.google.com/tasks/docs/quotas>, and so does
/// everybody else who is welcome.
const MAX_HEAD_BYTES: usize = 96 * 1024;
/// What answers get to be sent once the work behind them has ended.
const LAST_ANSWERS: Duration = Duration::from_millis(250);

/// Serves until `shutdown` is signalled and the answers under way are sent, or its grace period has ended.
pub(super) async fn serve(listener: TcpListener, router: Router, shutdown: &Shutdown) {
    serve_until(shutdown.signalled(), listener, router, shutdown).await;
}

pub(super) async fn serve_until(
    signalled: impl Future<Output = ()>,
    listener: TcpListener,
    router: Router,
    shutdown: &Shutdown,
) {
    let connections = GracefulShutdown::new();
    let mut signalled = pin!(signalled);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut signalled => break,
        };
        match accepted {
            Ok((stream, _)) => {
                tokio::spawn(connections.watch(connection(stream, router.clone())));
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "connection not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let mut answered = pin!(connections.shutdown());
    let all_answered = tokio::select! {
        () = &mut answered => true,
        () = shutdown.over() => false,
    };
    shutdown.finish().await;
    if !all_answered {
        // The answers of interrupted jobs. Who sends half a request and stays silent is not waited for.
        let _silent = tokio::time::timeout(LAST_ANSWERS, answered).await;
    }
}

fn connection(stream: TcpStream, router: Router) -> impl GracefulConnection<Error = hyper::Error> {
    // Answers are small; waiting for more to send would only cost time.
    let _best_effort = stream.set_nodelay(true);
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::io::{Read as _, Write as _};

    use axum::body::Body;
    use axum::http::Request;
    use axum::response::Response;
    use axum::routing::any_service;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::runtime::Builder;
    use tower::service_fn;

    use super::*;
    use crate::clock::Clock;
    use crate::config::Config;
    use crate::tasks::Tasks;

    fn shutdown() -> Shutdown {
        let mut config = Config::from_pairs([
            ("CLOUD_RUN_URL", "https://functions.example.test"),
            ("CLOUD_TASKS_URL", "http://127.0.0.1:1"),
            ("GCP_PROJECT_ID", "project"),
            ("GCP_REGION", "region"),
            ("SERVICE_ACCOUNT_EMAIL", "tasks@example.test"),
        ]);
        Shutdown::new(Tasks::from_config(&mut config, Clock::system()).unwrap())
    }

    #[tokio::test]
    async fn an_idle_process_stops_immediately() {
        let (shutdown, listener) = (shutdown(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        serve_until(async { shutdown.begin() }, listener, Router::new(), &shutdown).await;
        assert!(!shutdown.has_ended());
    }

    #[tokio::test]
    async fn a_head_that_is_larger_than_any_caller_needs_is_refused_unread() {
        let (shutdown, listener) = (shutdown(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let address = listener.local_addr().unwrap();
        let ask = async {
            let mut caller = TcpStream::connect(address).await.unwrap();
            let head = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n", "x".repeat(MAX_HEAD_BYTES));
            // What is too much may be refused before it is sent.
            let _sent = caller.write_all(head.as_bytes()).await;
            let mut answer = Vec::new();
            let _cut_off = caller.read_to_end(&mut answer).await;
            shutdown.begin();
            answer
        };
        let (answer, ()) = tokio::join!(
            ask,
            serve_until(shutdown.begun().cancelled_owned(), listener, Router::new(), &shutdown)
        );
        assert!(answer.starts_with(b"HTTP/1.1 431 "), "{}", String::from_utf8_lossy(&answer));
    }

    #[test]
    fn the_answer_of_an_interrupted_job_leaves_before_the_process_ends() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let shutdown = shutdown();
        // A runtime of its own is the process: what is not sent when `serve` returns is never sent.
        let process = std::thread::spawn(move || {
            Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let (running, stop) = (shutdown.running(), shutdown.clone());
                let job = service_fn(move |_: Request<Body>| {
                    stop.interrupt();
                    let over = stop.clone();
                    let work = running.spawn(async move { over.over().await });
                    async move {
                        work.await.unwrap();
                        // The thread that writes the answer may be slower than the one that ends the process.
                        for _ in 0..10 {
                            tokio::task::yield_now().await;
                        }
                        Ok::<_, Infallible>(Response::new(Body::from("sent on")))
                    }
                });
                let router = Router::new().route("/", any_service(job));
                let stopped = async { shutdown.over().await };
                serve_until(stopped, TcpListener::from_std(listener).unwrap(), router, &shutdown).await;
            });
        });
        let mut caller = std::net::TcpStream::connect(address).unwrap();
        caller.write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n").unwrap();
        let mut answer = String::new();
        caller.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("sent on"), "{answer:?}");
        process.join().unwrap();
    }
}
