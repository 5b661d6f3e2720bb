//! What a storage must do. One file per storage in `crates/storages`; the conformance suite in `crates/testkit` asks each of them
//! the same questions.

use std::io::{Read, Write};

use chrono::{DateTime, Utc};

use crate::cancel::Cancel;
use crate::destination::Destination;
use crate::error::Result;
use crate::field::Field;
use crate::secret::Secret;

/// What is known of one stored object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The key, relative to the destination's root, with `/` between its parts.
    pub key: String,
    /// Its size.
    pub bytes: u64,
    /// When it was last written.
    pub modified_at: Option<DateTime<Utc>>,
}

/// Room at a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct Space {
    /// Free for us, in bytes.
    pub free: u64,
    /// All of it, in bytes.
    pub total: u64,
}

/// What a storage gets to work with.
#[derive(Clone)]
pub struct StorageAccess {
    /// The destination's secret, if it has one.
    pub secret: Option<Secret>,
    /// No bytes for so long ends an operation as `STALLED`.
    pub stall: std::time::Duration,
    /// Raised when the work is cancelled.
    pub cancel: Cancel,
}

/// A kind of storage: one line of registration.
pub trait StorageKind: Send + Sync {
    /// `local`, `s3`, …: the name used in text keys.
    fn name(&self) -> &'static str;
    /// The schemes of its addresses.
    fn schemes(&self) -> &'static [&'static str];
    /// Its settings form.
    fn fields(&self) -> Vec<Field>;
    /// Checks an address without connecting. Called when a destination is added.
    fn validate(&self, destination: &Destination) -> Result<()>;
    /// Makes the storage ready for use. May touch the network; must not write.
    fn open(&self, destination: &Destination, access: StorageAccess) -> Result<Box<dyn Storage>>;
}

/// A place for objects. Keys are made by `naming`, never from user text.
pub trait Storage: Send + Sync {
    /// Makes the root of the storage where it does not exist (a folder, 0700). Idempotent. Called only for a destination that was
    /// never identified before: an identified one whose root is gone is an unmounted disk, and nothing may be made in its place.
    /// Every other call answers `DEST_UNREACHABLE` while the root is absent.
    fn create_root(&self) -> Result<()>;
    /// Begins to write an object under a private, unfinished name. Nothing is visible under `key` before `commit`. A key that
    /// exists already is refused (`REFUSED`): an artifact is never overwritten.
    fn begin(&self, key: &str) -> Result<Box<dyn Upload>>;
    /// Reads an object from its beginning. `NOT_FOUND` if it is not there. Reads what lies there now, not what a cache remembers,
    /// as far as the storage lets us.
    fn open(&self, key: &str) -> Result<Box<dyn Read + Send>>;
    /// Looks at one object.
    fn stat(&self, key: &str) -> Result<Option<Stored>>;
    /// Every finished object whose key begins with `prefix` followed by nothing or `/…`; unfinished ones are left out. Sorted by key.
    fn list(&self, prefix: &str) -> Result<Vec<Stored>>;
    /// Removes an object. Idempotent: `false` if it was not there. Removes the folders that this leaves empty, but not the root.
    fn remove(&self, key: &str) -> Result<bool>;
    /// Removes what an interrupted `begin(key)` left. Idempotent: `false` if there was nothing. Only called under the lease of the
    /// run that owned it.
    fn remove_partial(&self, key: &str) -> Result<bool>;
    /// Writes a small object in place of what is there, atomically. Only for the identity file.
    fn replace(&self, key: &str, content: &[u8]) -> Result<()>;
    /// Room left, where the storage can tell.
    fn space(&self) -> Result<Option<Space>>;
    /// A sentence-ready description of the place: a folder, a bucket.
    fn place(&self) -> String;
}

/// An object being written. Dropping it without `commit` removes what was written.
pub trait Upload: Write + Send {
    /// Makes everything durable, checks its length against what was written, and gives it its final name, so that after a crash it
    /// is there whole or not at all. Returns the length.
    ///
    /// # Errors
    /// `DEST_FULL`, `DEST_UNREACHABLE`, `UPLOAD_INCOMPLETE`.
    fn commit(self: Box<Self>) -> Result<u64>;
}
