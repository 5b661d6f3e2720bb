//! The way of the data, in both directions, in one pass, without temporary files and in bounded memory.
//!
//! - [`store()`]: dump → compress → encrypt → tap (SHA-256, count) → one or several uploads.
//! - [`read_back()`]: stored bytes → tap → decrypt → decompress → tap → whoever wants the plain bytes (a checker, a load).
//! - [`foreign`]: files made elsewhere, whose layers are recognised by their content.
//!
//! What does not live here: what a dump means (`databases`), where stored bytes lie (`storages`), and what is concluded from the hashes
//! (`backup`, `verify`, `restore`).
//!
//! Each direction is a handful of threads joined by queues that hold a fixed number of pooled pieces (`buffers`). The thread that called
//! is one of them: it alone touches what is not ours to send elsewhere (the dump, the sink, the news), and it never waits for long, so
//! that a cancel is answered at once. Threads that wait inside somebody else's call (a disk that hangs) are left behind; they hold one
//! piece, touch nothing when they wake, and end.

pub mod buffers;
mod decode;
mod digest;
mod encode;
mod fan;
pub mod foreign;
mod gzip;
mod pool;
mod read_back;
mod store;
#[cfg(test)]
mod tests;
mod threads;

pub use decode::Decryption;
pub use encode::Encryption;
pub use read_back::{Expect, ReadBack, read_back};
pub use store::{StoreOptions, Stored, store};
