//! One file per storage: where backups lie.
//!
//! What lives here: the list of storages, the rule for keys, and each storage behind `coffre_model::storage`. What does not: what is
//! stored (`engine`), what it is called (`model::naming`), and when anything is removed (`engine`).

mod key;
pub mod local;

use coffre_model::error::{Code, Error, Result};
use coffre_model::storage::StorageKind;

/// Every storage. A new one is a file and a line here.
pub fn kinds() -> &'static [&'static dyn StorageKind] {
    &[&local::Local]
}

/// Schemes of the contract whose storages are not there yet.
const LATER: &[&str] = &["s3", "gs", "azblob", "webdav+https", "sftp"];

/// Finds the storage for the scheme of an address.
///
/// # Errors
/// `USAGE` for an unknown scheme, `REFUSED` for one that comes later.
pub fn find(scheme: &str) -> Result<&'static dyn StorageKind> {
    if let Some(kind) = kinds().iter().find(|kind| kind.schemes().contains(&scheme)) {
        return Ok(*kind);
    }
    if LATER.contains(&scheme) {
        return Err(Error::new(Code::Refused, "not_yet").with("what", format!("{scheme}://")));
    }
    let known: Vec<String> = kinds()
        .iter()
        .flat_map(|kind| kind.schemes())
        .map(|scheme| format!("{scheme}://"))
        .collect();
    Err(Error::new(Code::Usage, "destination_scheme")
        .with("given", format!("{scheme}://"))
        .with("known", known.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scheme_finds_its_own_kind() {
        for kind in kinds() {
            for scheme in kind.schemes() {
                assert_eq!(find(scheme).unwrap().name(), kind.name());
            }
        }
        assert_eq!(find("s3").err().unwrap().code(), Code::Refused);
        assert_eq!(find("http").err().unwrap().code(), Code::Usage);
    }
}
