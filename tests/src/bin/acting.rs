//! A function whose tasks say what is to happen to them.

use std::process::ExitCode;

use shared::runtime;
use tests::acting::Acting;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    runtime::run::<Acting>().await
}
