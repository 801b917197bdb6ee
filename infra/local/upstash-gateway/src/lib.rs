//! An Upstash-compatible HTTP gateway in front of any Redis.
