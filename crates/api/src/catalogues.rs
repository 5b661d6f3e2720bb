//! The catalogue itself: set aside when it is damaged, rebuilt from what lies at destinations.

use std::path::PathBuf;

use coffre_engine::catalogue::Catalogue;
use coffre_engine::context::Subject;
use coffre_engine::home::Home;
use coffre_engine::rebuild::{Rebuilt, rebuild};
use coffre_model::destination::Destination;
use coffre_model::{Cancel, Code, Result};

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
