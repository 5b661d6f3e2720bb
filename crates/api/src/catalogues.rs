//! The catalogue itself: set aside when it is damaged, rebuilt from what lies at destinations.

use std::path::PathBuf;

use coffre_engine::catalogue::Catalogue;
pub use coffre_engine::catalogue::copies::CatalogueCopy;
use coffre_engine::context::Subject;
use coffre_engine::home::Home;
use coffre_engine::rebuild::{Rebuilt, rebuild};
use coffre_model::destination::Destination;
use coffre_model::{Cancel, Code, Error, Result};

use crate::Coffre;
use crate::open::{Opening, now_in_milliseconds};

/// Moves a damaged catalogue out of the way; answers where it lies now, or nothing where there was nothing wrong with it (or no
/// catalogue at all).
///
/// # Errors
/// `CATALOGUE_NEWER`: a newer one is never touched.
pub fn set_aside_if_damaged(opening: &Opening) -> Result<Option<PathBuf>> {
    let home = Home::open(&opening.home)?;
    match Catalogue::open(&home) {
        Ok(catalogue) => catalogue.close().map(|()| None),
        Err(error) if error.code() == Code::CatalogueCorrupt => Catalogue::set_aside(&home, now_in_milliseconds()),
        Err(error) => Err(error),
    }
}

/// The copies of a home's catalogue, newest first.
///
/// # Errors
/// Those of the disk.
pub fn copies(opening: &Opening) -> Result<Vec<CatalogueCopy>> {
    Catalogue::kept_copies(&Home::open(&opening.home)?)
}

/// What was brought back.
pub struct BroughtBack {
    /// The copy.
    pub copy: PathBuf,
    /// Where the damaged catalogue lies now, if there was one.
    pub aside: Option<PathBuf>,
}

/// Puts a copy of the catalogue (the newest sound one, or `from`) in the place of one that is damaged or gone. Retention of every plan
/// stands still until a person says that it is right: what was pinned since the copy is not known.
///
/// # Errors
/// `REFUSED` where nothing is wrong with the catalogue, `NOT_FOUND` without a copy.
pub fn bring_back(opening: &Opening, from: Option<PathBuf>) -> Result<BroughtBack> {
    let home = Home::open(&opening.home)?;
    match Catalogue::open(&home) {
        Ok(catalogue) => {
            catalogue.close()?;
            let path = home.catalogue().display().to_string();
            return Err(Error::new(Code::Refused, "catalogue_sound").with("path", path));
        }
        Err(error) if error.code() == Code::CatalogueCorrupt => {}
        Err(error) => return Err(error),
    }
    let tried = match from {
        Some(from) => vec![from],
        None => Catalogue::kept_copies(&home)?.into_iter().map(|copy| copy.path).collect(),
    };
    if tried.is_empty() {
        return Err(Error::new(Code::NotFound, "catalogue_no_copy").with("path", home.root().display().to_string()));
    }
    let aside = Catalogue::set_aside(&home, now_in_milliseconds())?;
    let mut first = None;
    for copy in tried {
        match Catalogue::bring_back(&home, &copy).and_then(|()| Catalogue::open(&home)) {
            Ok(catalogue) => {
                catalogue.mark_brought_back()?;
                catalogue.close()?;
                return Ok(BroughtBack { copy, aside });
            }
            // An older one may be sound.
            Err(error) if error.code() == Code::CatalogueCorrupt => drop(first.get_or_insert(error)),
            Err(error) => return Err(error),
        }
    }
    Err(first.unwrap_or_else(|| Error::internal("bring back a catalogue", "nothing was tried")))
}

impl Coffre {
    /// Takes in every backup whose manifest lies at `from`: a destination's name, or an address (then it is added as a destination).
    pub fn rebuild(&self, from: &str, cancel: &Cancel) -> Result<(Destination, Rebuilt)> {
        let destination = match from.contains("://") {
            true => self.destination_at(from)?,
            false => self.destination(from)?,
        };
        let rebuilt = rebuild(&self.engine, &destination, cancel);
        let subject = Subject {
            kind: "destination",
            id: Some(&destination.id),
            name: &destination.name,
        };
        self.engine.record("catalogue.rebuild", subject, rebuilt.as_ref().err())?;
        Ok((destination, rebuilt?))
    }

    /// The destination with this address; added under a free name where there is none.
    fn destination_at(&self, address: &str) -> Result<Destination> {
        let canonical = coffre_model::address::Address::parse(address)?.to_string();
        let known = self.destinations()?;
        if let Some(found) = known.iter().find(|d| d.address == canonical) {
            return Ok(found.clone());
        }
        let own = self.default_address()?;
        let base = if canonical == own {
            crate::destinations::DEFAULT_DESTINATION
        } else {
            "recovered"
        };
        let free = |name: &String| !known.iter().any(|d| d.name == *name);
        let name = std::iter::once(base.to_owned())
            .chain((2..).map(|n| format!("{base}-{n}")))
            .find(free);
        self.add_destination(&canonical, &name.unwrap_or_else(|| base.to_owned()), None)
    }
}
