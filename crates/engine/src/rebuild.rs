//! Rebuilding the catalogue from the manifests that lie at destinations. Nothing there is changed; nothing becomes green without being
//! read: what is found is `stored` until it is verified.

use coffre_model::destination::Destination;
use coffre_model::manifest::{Manifest, SCHEMA};
use coffre_model::naming::MANIFEST_SUFFIX;
use coffre_model::{Cancel, Code, Error, Result};
use serde::Serialize;

use crate::catalogue::Adopted;
use crate::context::Engine;
use crate::place;
use crate::stream::read_small;

/// What was found at a destination.
#[derive(Debug, Default, Serialize)]
pub struct Rebuilt {
    /// Backups that were not known.
    pub backups: u64,
    /// Further copies of backups that were known.
    pub copies: u64,
    /// Manifests whose backup and copy were known.
    pub known: u64,
    /// Manifests that could not be used, and why.
    pub unusable: Vec<Error>,
}

/// Takes every manifest at a destination into the catalogue.
///
/// # Errors
/// What the destination says; the catalogue's own. One manifest that cannot be read stops nothing, and is told.
pub fn rebuild(engine: &Engine, destination: &Destination, cancel: &Cancel) -> Result<Rebuilt> {
    let place = place::open(engine, destination, cancel)?;
    place.take_on_identity(engine)?;
    let mut rebuilt = Rebuilt::default();
    for object in place.storage.list("")? {
        cancel.check()?;
        let Some(artifact) = object.key.strip_suffix(MANIFEST_SUFFIX) else {
            continue;
        };
        let adopted = read_small(place.storage.as_ref(), &object.key)
            .and_then(|bytes| manifest(&object.key, bytes.unwrap_or_default()))
            .and_then(|(manifest, text)| {
                let there = place.storage.stat(artifact)?;
                let expected = manifest.backup.stored_bytes;
                match there {
                    Some(there) if Some(there.bytes) == expected => {}
                    // A manifest alone is a record of something gone; the next verification would say the same.
                    _ => {
                        return Err(Error::new(Code::VerifyMismatch, "copy_missing")
                            .with("key", artifact)
                            .with("place", place.storage.place()));
                    }
                }
                engine.catalogue.adopt(&manifest, &text, &destination.id, artifact, None)
            });
        match adopted {
            Ok(Adopted::New) => rebuilt.backups += 1,
            Ok(Adopted::Copy) => rebuilt.copies += 1,
            Ok(Adopted::Known) => rebuilt.known += 1,
            Err(error) if matches!(error.code(), Code::Internal | Code::CatalogueCorrupt | Code::DestUnreachable) => {
                return Err(error);
            }
            Err(error) => rebuilt.unusable.push(error.or_with("key", object.key.as_str())),
        }
    }
    Ok(rebuilt)
}

fn manifest(key: &str, bytes: Vec<u8>) -> Result<(Manifest, String)> {
    let unreadable = |cause: String| {
        Error::new(Code::VerifyMismatch, "manifest_unreadable")
            .with("key", key)
            .with("cause", cause)
    };
    let text = String::from_utf8(bytes).map_err(|e| unreadable(e.to_string()))?;
    let manifest: Manifest = serde_json::from_str(&text).map_err(|e| unreadable(e.to_string()))?;
    match manifest.schema {
        SCHEMA => Ok((manifest, text)),
        newer => Err(Error::new(Code::Refused, "manifest_newer")
            .with("key", key)
            .with("schema", newer)),
    }
}
