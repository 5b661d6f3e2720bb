//! Nouns and pure decisions of Coffre.
//!
//! What lives here: the words of the glossary as types (source, plan, backup, copy, manifest, …), the traits that a
//! database and a storage fulfil, the one error type, and decisions that need nothing but their arguments.
//! What does not: anything that reads a clock, a file, a socket or the environment.

pub mod address;
pub mod backup;
pub mod cancel;
pub mod channel;
pub mod compression;
pub mod database;
pub mod destination;
pub mod drill;
pub mod error;
pub mod field;
pub mod id;
pub mod impact;
pub mod journal;
pub mod key;
pub mod manifest;
pub mod naming;
pub mod notice;
pub mod plan;
pub mod progress;
pub mod protection;
pub mod replace;
pub mod restore;
pub mod retention;
pub mod schedule;
pub mod secret;
pub mod settings;
pub mod slot;
pub mod source;
pub mod storage;
pub mod throw_away;

pub use cancel::Cancel;
pub use error::{Code, Error, Result};
pub use id::{BackupCode, Id};
pub use secret::Secret;
