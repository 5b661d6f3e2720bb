//! Starting the threads of the pipeline.

use coffre_model::error::{Error, Result};

/// Starts a thread that nobody joins: it answers through a channel, and a missing answer (the channel closed) says that it panicked.
/// Joining would make a cancel wait for whatever foreign call the thread is in.
///
/// # Errors
/// `INTERNAL` where the system has no thread left.
pub(super) fn start(name: &'static str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map(drop)
        .map_err(|error| Error::internal("start a thread", error))
}

/// The error for a thread that ended without an answer.
pub(super) fn lost(name: &'static str) -> Error {
    Error::internal("run the pipeline", format!("the thread {name} ended without an answer"))
}
