//! Destinations in use: opened, and proved to be the very place that they were (an unmounted disk leaves an empty folder behind).

use coffre_model::destination::{Destination, IDENTITY_FILE, Identity};
use coffre_model::storage::Storage;
use coffre_model::{Cancel, Code, Error, Id, Result};

use crate::context::Engine;
use crate::stream::{put_small, read_small};

/// A destination, opened.
pub struct Place {
    /// The catalogue's row.
    pub destination: Destination,
    /// What lies behind it.
    pub storage: Box<dyn Storage>,
}

/// Opens a destination for reading: nothing is created, but the identity must be right where it is known.
///
/// # Errors
/// `DEST_IDENTITY`, `DEST_UNREACHABLE`, `DEST_AUTH`.
pub fn open(engine: &Engine, destination: &Destination, cancel: &Cancel) -> Result<Place> {
    let kind = engine.adapters.storage(&destination.parsed()?.scheme)?;
    let storage = kind.open(destination, engine.storage_access(destination, cancel)?)?;
    let place = Place {
        destination: destination.clone(),
        storage,
    };
    if let Some(expected) = destination.identity {
        place.demand(&expected)?;
    }
    Ok(place)
}

/// Opens a destination for writing. On its very first use the root is made and the identity written; or, where the folder already
/// has one (backups of another home, or of a lost catalogue), that one is taken on.
///
/// # Errors
/// `DEST_IDENTITY` where the identity is missing or another; then nothing is written.
pub fn open_to_write(engine: &Engine, destination: &Destination, cancel: &Cancel) -> Result<Place> {
    let mut place = open(engine, destination, cancel)?;
    if destination.identity.is_none() {
        place.storage.create_root()?;
        let identity = match place.identity()? {
            Some(found) => found.id,
            None => {
                let identity = Identity {
                    schema: 1,
                    id: destination.id,
                    created_at: (engine.now)(),
                };
                let text = serde_json::to_vec_pretty(&identity).map_err(|e| Error::internal("write an identity", e))?;
                // A dead process may have left an unfinished one. Two living ones may write at once: an object is never overwritten,
                // so one of them is refused, and what lies there is the truth for both.
                place.storage.remove_partial(IDENTITY_FILE)?;
                let written = put_small(place.storage.as_ref(), IDENTITY_FILE, &text);
                let found = match written {
                    Ok(()) => place.identity()?,
                    Err(_) => place.identity_soon(cancel)?,
                };
                match (found, written) {
                    (Some(found), _) => found.id,
                    (None, Err(error)) => return Err(error),
                    (None, Ok(())) => return Err(place.wrong("destination_identity_missing")),
                }
            }
        };
        place.destination.identity = Some(identity);
        engine.catalogue.set_identity(&destination.id, &identity)?;
    }
    Ok(place)
}

impl Place {
    /// Writes down the identity that lies there, for a place that this catalogue uses for the first time without writing to it.
    ///
    /// # Errors
    /// `DEST_IDENTITY` where there is none: then there is nothing of ours either.
    pub fn take_on_identity(&self, engine: &Engine) -> Result<()> {
        if self.destination.identity.is_none() {
            let found = self.identity()?.ok_or_else(|| self.wrong("destination_no_backups"))?;
            engine.catalogue.set_identity(&self.destination.id, &found.id)?;
        }
        Ok(())
    }

    fn identity(&self) -> Result<Option<Identity>> {
        let Some(bytes) = read_small(self.storage.as_ref(), IDENTITY_FILE)? else {
            return Ok(None);
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|e| self.wrong("destination_identity_unreadable").with("cause", e.to_string()))
    }

    /// The identity, where another home is about to write it: it may have taken our unfinished one for a dead process's.
    fn identity_soon(&self, cancel: &Cancel) -> Result<Option<Identity>> {
        for _ in 0..20 {
            if let Some(found) = self.identity()? {
                return Ok(Some(found));
            }
            cancel.check()?;
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        self.identity()
    }

    fn demand(&self, expected: &Id) -> Result<()> {
        let found = match self.identity() {
            Ok(found) => found,
            // The folder itself is gone: an unmounted disk, most of the time. Nothing may be created in its place.
            Err(error) if error.code() == Code::DestUnreachable => None,
            Err(error) => return Err(error),
        };
        match found {
            Some(found) if found.id == *expected => Ok(()),
            Some(_) => Err(self.wrong("destination_identity_other")),
            None => Err(self.wrong("destination_identity_missing")),
        }
    }

    fn wrong(&self, text: &'static str) -> Error {
        Error::new(Code::DestIdentity, text)
            .with("destination", self.destination.name.as_str())
            .with("place", self.storage.place())
    }
}
