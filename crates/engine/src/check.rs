//! Reading an artifact to its end: hashes, decryption, decompression, structure, and the rows in it against the rows that were counted.
//!
//! The one way to green. Making a backup, `verify`, and the first pass of a restore all go through [`read_and_check`].

use std::collections::BTreeMap;
use std::time::Duration;

use coffre_model::compression::Compression;
use coffre_model::database::{DatabaseKind, DumpFormat, Parsed, TableCount};
use coffre_model::storage::Storage;
use coffre_model::{Cancel, Code, Error, Result};

use crate::pipeline::Decryption;
use crate::pipeline::{Expect, read_back};

/// What an artifact must turn out to be.
pub struct Expected<'a> {
    /// Size as stored.
    pub stored_bytes: Option<u64>,
    /// SHA-256 as stored.
    pub stored_sha256: Option<&'a str>,
    /// Size of the plain dump.
    pub raw_bytes: Option<u64>,
    /// SHA-256 of the plain dump.
    pub raw_sha256: Option<&'a str>,
    /// Rows per table.
    pub counts: Option<&'a [TableCount]>,
    /// How it is compressed.
    pub compression: Compression,
    /// What opens it.
    pub decryption: &'a Decryption,
    /// The database that reads it.
    pub kind: &'static dyn DatabaseKind,
    /// What the plain bytes are.
    pub format: DumpFormat,
}

impl Expected<'_> {
    /// The part that the pipeline looks at.
    pub fn bytes(&self) -> Expect<'_> {
        Expect {
            compression: self.compression,
            decryption: self.decryption,
            stored_bytes: self.stored_bytes,
            stored_sha256: self.stored_sha256,
            raw_bytes: self.raw_bytes,
            raw_sha256: self.raw_sha256,
        }
    }
}

/// Reads the object at `key` to its end and checks everything that is expected of it; answers what was in it. `news` hears the stored bytes read.
///
/// # Errors
/// `NOT_FOUND` where there is nothing; `VERIFY_MISMATCH` or `DECRYPT_FAILED` (exit 3) for what is not what it must be;
/// `DEST_…` and `STALLED` where it could not be read, which says nothing about the copy.
pub fn read_and_check(
    storage: &dyn Storage,
    key: &str,
    expected: &Expected<'_>,
    stall: Duration,
    cancel: &Cancel,
    news: &mut dyn FnMut(u64),
) -> Result<Parsed> {
    let about = storage.stat(key)?.ok_or_else(|| not_found(storage, key))?;
    if let Some(bytes) = expected.stored_bytes
        && bytes != about.bytes
    {
        return Err(size_differs(storage, key, bytes, about.bytes));
    }
    let mut checker = expected.kind.checker(expected.format);
    let checked = read_back(
        storage.open(key)?,
        &expected.bytes(),
        false,
        cancel,
        stall,
        news,
        &mut |bytes| checker.feed(bytes),
    )
    .and_then(|_| checker.finish())
    .map_err(as_mismatch)
    .map_err(|e| e.or_with("key", key).or_with("place", storage.place()))?;
    if let Some(counts) = expected.counts {
        agree(counts, &checked)?;
    }
    Ok(checked)
}

/// Says which place hung, where reading from it came to a standstill.
pub fn with_place(error: Error, place: impl FnOnce() -> String) -> Error {
    match error.text() {
        "read_stalled" => error.or_with("place", place()),
        _ => error,
    }
}

/// A dump that is truncated while it is made is one thing; stored bytes that are truncated are a failed verification.
pub fn as_mismatch(error: Error) -> Error {
    match error.code() {
        Code::DumpTruncated | Code::DumpEmpty => {
            let why = error.text().to_owned();
            let mut found = Error::new(Code::VerifyMismatch, "structure_damaged").with("why", why);
            for (name, value) in error.details() {
                found = found.with(name, value.clone());
            }
            found
        }
        _ => error,
    }
}

/// The object is not there.
pub fn not_found(storage: &dyn Storage, key: &str) -> Error {
    Error::new(Code::NotFound, "copy_missing")
        .with("key", key)
        .with("place", storage.place())
}

/// An object that has another size than was written.
pub fn size_differs(storage: &dyn Storage, key: &str, expected: u64, found: u64) -> Error {
    Error::new(Code::VerifyMismatch, "size_differs")
        .with("key", key)
        .with("place", storage.place())
        .with("expected_bytes", expected)
        .with("found_bytes", found)
}

/// Every table whose rows the format lets a reader count has the rows that were counted in the source.
fn agree(expected: &[TableCount], parsed: &Parsed) -> Result<()> {
    let expected: BTreeMap<&str, u64> = expected.iter().map(|c| (c.table.as_str(), c.rows)).collect();
    for found in &parsed.counts {
        if let Some(rows) = expected.get(found.table.as_str())
            && *rows != found.rows
        {
            return Err(Error::new(Code::VerifyMismatch, "rows_differ")
                .with("table", found.table.as_str())
                .with("expected_rows", *rows)
                .with("found_rows", found.rows));
        }
    }
    Ok(())
}
