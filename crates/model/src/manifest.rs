//! The manifest: the JSON description stored beside every artifact. It alone is enough to restore with stock tools.

use serde::{Deserialize, Serialize};

use crate::backup::Backup;
use crate::database::{DumpFormat, TableCount};
use crate::error::Error;

/// The format number of manifests written by this version.
pub const SCHEMA: u32 = 1;

/// What a dump holds and what it does not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct Scope {
    /// What is in it: words of `scope.<word>` in the catalogues of words.
    pub included: Vec<String>,
    /// What is not: `roles`, `tablespaces`, `other_databases`, … and tables left out by choice.
    pub not_included: Vec<String>,
    /// Tables left out by choice, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "typescript", ts(optional, as = "Option<Vec<String>>"))]
    pub excluded_tables: Vec<String>,
}

/// One part of an artifact. A plain backup has one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct Part {
    /// `database`, or the name of an attachment.
    pub name: String,
    /// What its plain bytes are.
    pub format: DumpFormat,
    /// Size of its plain bytes.
    pub raw_bytes: u64,
    /// SHA-256 of its plain bytes, in hexadecimal.
    pub raw_sha256: String,
}

/// The manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct Manifest {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The Coffre that wrote it.
    pub coffre_version: String,
    /// Everything that the contract shows of a backup.
    #[serde(flatten)]
    pub backup: Backup,
    /// The file name of the artifact that it describes.
    pub artifact: String,
    /// Kind of database: `postgres`, `sqlite`, …
    pub database: String,
    /// What the plain bytes are.
    pub format: DumpFormat,
    /// What is in it, and what is not.
    pub scope: Scope,
    /// Exact rows per table, taken in the dump's own snapshot.
    pub table_counts: Vec<TableCount>,
    /// The parts.
    pub parts: Vec<Part>,
    /// Remarks of the tool or the adapter, for a person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "typescript", ts(optional, as = "Option<Vec<Error>>"))]
    pub remarks: Vec<Error>,
    /// `age1…` of the key that opens it, if it is a pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "typescript", ts(optional = nullable))]
    pub recipient: Option<String>,
    /// The stock commands that restore this very backup, in order.
    pub recovery: Vec<String>,
}
