//! Which database a source points to, as backups remember it.

use coffre_model::source::Source;
use sha2::{Digest, Sha256};

/// The fingerprint of where a source points ([`Source::database_address`]). A fingerprint, because manifests lie where others can read
/// them, and the name of a server is nobody's business there.
///
/// Backups are told apart by this and not by a time: clocks go back, and a run that began before the address was changed ends after it.
pub fn aim(source: &Source) -> String {
    hex(&Sha256::digest(source.database_address().as_bytes()))
}

/// A fingerprint as text.
pub(crate) fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
