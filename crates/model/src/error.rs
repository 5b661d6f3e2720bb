//! The one error of Coffre: a stable code, a text key, and the facts that the text needs.
//!
//! Words are not made here. A shell renders `errors.<text>.message` and `errors.<text>.hint` of
//! `ui/src/i18n/{en,fr}.json` with the facts filled in; a test asserts that every text used in the source exists in both
//! languages.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The result of everything that can go wrong in Coffre.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! codes {
    ($($variant:ident = $name:literal => $exit:literal, $doc:literal;)*) => {
        /// Stable error codes (`contract.md`, "Output and exit status"). A code exists only if a caller acts on it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
        pub enum Code { $(#[doc = $doc] #[serde(rename = $name)] $variant,)* }
        impl Code {
            /// Every code, in the contract's order.
            pub const ALL: &'static [Code] = &[$(Code::$variant),*];
            /// The upper-case name that callers see.
            pub fn as_str(self) -> &'static str { match self { $(Code::$variant => $name),* } }
            /// The exit status of a command that ends with this code. Cancelled is refined by the signal (130 or 143).
            pub fn exit_status(self) -> u8 { match self { $(Code::$variant => $exit),* } }
        }
    };
}

codes! {
    Usage = "USAGE" => 2, "The command or request itself is wrong.";
    NotFound = "NOT_FOUND" => 1, "The named thing does not exist.";
    Busy = "BUSY" => 5, "The same work is already running.";
    Refused = "REFUSED" => 4, "A safety rule says no.";
    Cancelled = "CANCELLED" => 130, "Somebody stopped the work.";
    Interrupted = "INTERRUPTED" => 1, "The process that did the work ended without finishing it.";
    Internal = "INTERNAL" => 1, "A fault of Coffre or of its own files.";
    ToolMissing = "TOOL_MISSING" => 1, "A needed program is not installed, or cannot be executed.";
    ToolTooOld = "TOOL_TOO_OLD" => 1, "Only programs older than the server were found.";
    ToolWrong = "TOOL_WRONG" => 1, "A program with the right name is something else.";
    Unreachable = "UNREACHABLE" => 1, "The database does not answer.";
    AuthFailed = "AUTH_FAILED" => 1, "The database refuses the user or the password.";
    TlsRefused = "TLS_REFUSED" => 1, "The demanded TLS cannot be had.";
    Privilege = "PRIVILEGE" => 1, "The user may not read (or write) something.";
    LockTimeout = "LOCK_TIMEOUT" => 1, "Another session holds a lock.";
    Stalled = "STALLED" => 1, "No bytes for longer than the stall limit.";
    DumpFailed = "DUMP_FAILED" => 1, "The dump tool or the connection failed.";
    DumpTruncated = "DUMP_TRUNCATED" => 1, "The dump ended before its end marker.";
    DumpEmpty = "DUMP_EMPTY" => 1, "The dump has no bytes.";
    DestUnreachable = "DEST_UNREACHABLE" => 1, "The destination does not answer, or its folder is absent.";
    DestAuth = "DEST_AUTH" => 1, "The destination refuses access.";
    DestFull = "DEST_FULL" => 1, "No space left at the destination.";
    DestIdentity = "DEST_IDENTITY" => 4, "This is not the destination it was (unmounted disk, other bucket).";
    UploadIncomplete = "UPLOAD_INCOMPLETE" => 1, "Fewer bytes arrived than were sent.";
    VerifyMismatch = "VERIFY_MISMATCH" => 3, "A backup is corrupt, truncated, or not what its manifest says.";
    DecryptFailed = "DECRYPT_FAILED" => 3, "The key does not open this backup.";
    ArchiveUnsafe = "ARCHIVE_UNSAFE" => 4, "A dump contains something that would act outside the database.";
    SecretUnavailable = "SECRET_UNAVAILABLE" => 6, "Keychain locked or absent, vault not unlocked, secret not stored.";
    CatalogueCorrupt = "CATALOGUE_CORRUPT" => 1, "Coffre's own catalogue is damaged.";
    CatalogueNewer = "CATALOGUE_NEWER" => 1, "The catalogue was written by a newer Coffre.";
    HomeFull = "HOME_FULL" => 1, "No space left where Coffre keeps its own files.";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Facts of an error, by name; rendered into the text and given as `details` in JSON. Never a secret.
pub type Details = BTreeMap<String, serde_json::Value>;

/// Facts that are errors of their own: what caused it, what was begun and could not be removed, at a destination or at a restore's target; and that not even
/// the catalogue could be told.
pub const ALSO: [&str; 4] = ["because", "left_behind", "target_left", "not_recorded"];

/// What went wrong. Boxed inside so that `Result<T>` stays small.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Error(Box<Inner>);

#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Inner {
    code: Code,
    text: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    details: Details,
}

fn shown(value: serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::String(text) => crate::address::without_password(&text).into(),
        other => other,
    }
}

impl Error {
    /// An error with a stable code and the key of its text (`errors.<text>` in the catalogues of words).
    pub fn new(code: Code, text: &'static str) -> Self {
        Error(Box::new(Inner {
            code,
            text: text.into(),
            details: Details::new(),
        }))
    }

    /// Adds a fact. Values are data: they are shown, never interpreted. Never pass a secret; a password in an address, which a person may have
    /// written where a name belongs, is left out here.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.0.details.insert(name.to_owned(), shown(value.into()));
        self
    }

    /// Adds a fact only where the error does not say it yet (the innermost place knows best).
    #[must_use]
    pub fn or_with(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.0.details.entry(name.to_owned()).or_insert_with(|| shown(value.into()));
        self
    }

    /// Adds what went wrong on top of it, under one of [`ALSO`]. Whoever renders the error says that too.
    #[must_use]
    pub fn with_also(self, name: &str, also: &Error) -> Self {
        self.with(name, serde_json::to_value(also).unwrap_or_default())
    }

    /// What went wrong on top of it, by name.
    pub fn also(&self) -> impl Iterator<Item = (&'static str, Error)> {
        ALSO.iter().filter_map(|name| {
            let value = self.0.details.get(*name)?;
            Some((*name, serde_json::from_value(value.clone()).ok()?))
        })
    }

    /// A fault of Coffre itself or of the machine, with the cause as a fact. `doing` says what was attempted.
    pub fn internal(doing: &str, cause: impl fmt::Display) -> Self {
        Error::new(Code::Internal, "internal")
            .with("doing", doing)
            .with("cause", cause.to_string())
    }

    /// What writing a file below the home ended with: `HOME_FULL` where its disk is full, else a fault with the cause.
    pub fn writing_home(doing: &str, path: &std::path::Path, cause: &std::io::Error) -> Self {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        match cause.kind() {
            StorageFull | QuotaExceeded => Error::new(Code::HomeFull, "home_full").with("cause", cause.to_string()),
            _ => Error::internal(doing, cause),
        }
        .with("path", path.display().to_string())
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The key of the text, below `errors.`.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// The facts.
    pub fn details(&self) -> &Details {
        &self.0.details
    }

    /// One fact as text, if it is there.
    pub fn detail(&self, name: &str) -> Option<String> {
        self.0
            .details
            .get(name)
            .map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned))
    }
}

/// What TypeScript sees of an [`Error`]: `api` has put it into words.
#[cfg(feature = "typescript")]
mod typescript {
    use super::{Code, Error};
    use ts_rs::{Config, TS, TypeVisitor};

    /// An error in words: `text` is the key below `errors.`, for a window that says it in words of its own.
    #[derive(TS)]
    #[ts(rename = "CoffreError")]
    #[allow(dead_code, reason = "only its shape is used")]
    struct InWords {
        code: Code,
        text: String,
        message: String,
        hint: String,
        #[ts(type = "Details")]
        details: (),
    }

    impl TS for Error {
        type WithoutGenerics = Self;
        type OptionInnerType = Self;

        fn docs() -> Option<String> {
            InWords::docs()
        }
        fn decl(config: &Config) -> String {
            InWords::decl(config)
        }
        fn name(config: &Config) -> String {
            InWords::name(config)
        }
        fn inline(config: &Config) -> String {
            InWords::inline(config)
        }
        fn visit_dependencies(visitor: &mut impl TypeVisitor) {
            InWords::visit_dependencies(visitor);
        }
        fn output_path() -> Option<std::path::PathBuf> {
            InWords::output_path()
        }
    }
}

/// For logs and tests: code, key and facts, in English letters only. Users see the rendered text instead.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0.code, self.0.text)?;
        for (name, value) in &self.0.details {
            write!(f, " {name}={value}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}

/// Carries an [`Error`] through `std::io` (the codecs speak `io::Result`), without losing code and facts.
impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        std::io::Error::other(error)
    }
}

/// The way back: the [`Error`] inside an `io::Error`, or what `otherwise` makes of a plain one.
///
/// Some codecs wrap the error of their reader in one of their own, so the whole chain of causes is searched.
pub fn from_io(error: std::io::Error, otherwise: impl FnOnce(std::io::Error) -> Error) -> Error {
    fn find(error: &(dyn std::error::Error + 'static), depth: u8) -> Option<Error> {
        if let Some(ours) = error.downcast_ref::<Error>() {
            return Some(ours.clone());
        }
        if depth == 0 {
            return None;
        }
        if let Some(io) = error.downcast_ref::<std::io::Error>()
            && let Some(inner) = io.get_ref()
            && let Some(ours) = find(inner, depth - 1)
        {
            return Some(ours);
        }
        find(error.source()?, depth - 1)
    }
    find(&error, 8).unwrap_or_else(|| otherwise(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_survives_the_way_through_io() {
        let ours = Error::new(Code::DumpFailed, "dump_failed").with("tool", "pg_dump");
        let wrapped = std::io::Error::other(std::io::Error::from(ours.clone()));
        assert_eq!(from_io(wrapped, |e| Error::internal("read", e)), ours);
        let plain = from_io(std::io::Error::other("x"), |e| Error::internal("read", e));
        assert_eq!(plain.code(), Code::Internal);
    }

    #[test]
    fn a_full_home_is_told_from_other_faults() {
        let told = |kind| Error::writing_home("write", std::path::Path::new("/h/x"), &std::io::Error::from(kind));
        assert_eq!(told(std::io::ErrorKind::StorageFull).code(), Code::HomeFull);
        assert_eq!(told(std::io::ErrorKind::NotFound).code(), Code::Internal);
    }

    #[test]
    fn what_went_wrong_on_top_comes_back() {
        let second = Error::new(Code::Unreachable, "pg_unreachable").with("host", "h");
        let first = Error::new(Code::Cancelled, "cancelled").with_also("target_left", &second);
        assert_eq!(first.also().collect::<Vec<_>>(), [("target_left", second)]);
    }

    #[test]
    fn codes_are_unique_and_upper_case() {
        let mut seen = std::collections::HashSet::new();
        for code in Code::ALL {
            assert!(seen.insert(code.as_str()));
            assert!(code.as_str().chars().all(|c| c.is_ascii_uppercase() || c == '_'));
        }
    }
}
