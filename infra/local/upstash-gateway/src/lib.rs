//! An Upstash-compatible HTTP gateway in front of any Redis.
//!
//! Upstash sells Redis over HTTP. This crate serves the same protocol on top of a Redis, Valkey or Memorystore that one
//! runs oneself, so that programs written for Upstash, its official JavaScript and Python clients and its rate
//! limiters among them, work without a change.
//!
//! # Use
//! As a program: `UPSTASH_REDIS_REST_TOKEN=… REDIS_URL=redis://host:6379/0 upstash-gateway --listen 127.0.0.1:8079`
//! (`--help` lists every option). As a library: [`serve`] with a [`Config`] on a listener of one's own; the
//! [`Billing`] in the configuration counts what Upstash would charge for.
//!
//! The gateway speaks plain HTTP/1.1 to its clients and plain RESP2 to Redis; put TLS and access from outside into the
//! proxy or network in front of it.
//!
//! # The protocol
//! Source: Upstash's REST API page and the code of its official clients.
//! - `POST /` with a JSON array; `/CMD/arg/…` with an optional body as last argument, followed by the query
//!   parameters; `/pipeline`; `/multi-exec` (one `MULTI`/`EXEC`; a discarded transaction is one `{"error"}`, 400);
//!   `/subscribe/<channel>`, `/psubscribe/<pattern>` and `/monitor` as server-sent events. `GET`, `HEAD`, `POST`, `PUT`.
//! - `Authorization: Bearer` or `?_token=`. A second, read-only token allows what Redis flags as reading, except `SCAN`
//!   and what Redis calls dangerous (`KEYS`).
//! - `Upstash-Encoding: base64`, `Upstash-Response-Format: resp2`, `Upstash-Sync-Token`.
//! - Upstash's additions to Redis 7: `SET … IFEQ|IFNE|IFDEQ|IFDNE`, `DELEX`, `DIGEST` (passed through where the server
//!   has them, otherwise emulated by a script, also inside transactions), and the shebang flag `allow-key-locking` in
//!   scripts, which keep the SHA-1 that the client knows.
//!
//! # Not over this protocol
//! Blocking commands (and `BLOCK`), `MULTI`/`EXEC`/`WATCH`, subscribing in the plain forms, connection commands other
//! than `PING` and `ECHO`, and commands that administer the server (`CONFIG`, `ACL`, `SHUTDOWN`, `REPLICAOF`, …). The emulated commands cannot be called from inside a client's own script.
//!
//! # Behaviour under failure
//! Every request to Redis has a timeout. Redis unreachable or still loading is 503, silent 504, lost in the middle 502,
//! always with an `{"error"}` body. Commands are never sent twice: whether to repeat one is the client's decision. A
//! dead connection is replaced by the next request that needs it. Requests over 10 MB are 413. Connections, streams and
//! what may wait in a stream are bounded; the size of a reply is not (Redis' own limits apply).
//!
//! # Faults on purpose
//! A Redis on the same machine is kinder than Upstash. [`Config::unkindness`] (while serving) and flags of the program
//! (from the start) add what Upstash may do; each is off by default and then costs nothing. [`Unkindness`] has the
//! details.
//!
//! | Flag | Fault | On demand |
//! |---|---|---|
//! | `--replica-lag 2s` | Reads are this old, unless their sync token is newer. | |
//! | `--lose-writes 1m` | A failover loses acknowledged writes, up to this old. | `POST /__admin/lose-writes/5s` |
//! | `--evict 0.01` | A command evicts a random key with this probability. | `POST /__admin/evict/<share>[/<pattern>]` |
//! | `--quota 1000` | After so many billed commands all requests get 400. | |
//! | | All keys and cached scripts are lost. | `POST /__admin/flush` |
//!
//! The paths are served with `--admin`, for the token that allows everything, and work without the flag next to them,
//! except that only writes within `--lose-writes` can be undone.

mod admin;
mod auth;
mod backend;
mod billing;
mod command;
mod conditional;
mod config;
mod execute;
mod failure;
mod handle;
mod journal;
mod policy;
mod primary;
mod reply;
mod request;
mod script;
mod server;
mod stream;
mod sync_token;
mod units;
mod unkindness;

pub use backend::{BackendError, ConnectError};
pub use billing::{Bill, Billing};
pub use config::{Config, ConfigProblem, DEFAULT_MAX_REQUEST_BYTES};
pub use server::{ServeError, serve};
pub use units::{InvalidUnit, parse_duration, parse_share};
pub use unkindness::Unkindness;
