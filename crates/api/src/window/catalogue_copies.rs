//! The copies of the catalogue in the window: which there are, and bringing one back where the catalogue is damaged. Works also where no
//! catalogue can be opened: then nothing else does.

use std::time::Duration;

use chrono::{DateTime, Utc};
use coffre_model::{Code, Error, Result};
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use super::commands::Nothing;
use super::events::Noun;
use super::{Window, tags};
use crate::catalogues::{bring_back, copies};

/// A copy of the catalogue.
#[derive(Debug, Serialize, TS)]
pub struct KeptCopy {
    /// The file.
    pub path: String,
    /// When it was made.
    pub at: DateTime<Utc>,
    /// Its size.
    pub bytes: u64,
}

/// The copies, and whether one is needed.
#[derive(Debug, Serialize, TS)]
pub struct KeptCopies {
    /// Newest first.
    pub copies: Vec<KeptCopy>,
    /// The catalogue is damaged: a copy may take its place. A sound one is never replaced.
    pub damaged: bool,
}

/// Which copy is to come back.
#[derive(Debug, Deserialize, TS)]
pub struct RestoreCatalogue {
    /// Its file, one of those that were listed.
    pub path: String,
}

/// A copy that is the catalogue now.
#[derive(Debug, Serialize, TS)]
pub struct CatalogueRestored {
    /// The copy; it stays.
    pub copy: String,
    /// Where what was replaced lies now, if there was anything.
    pub aside: Option<String>,
}

impl Window {
    pub(super) fn list_catalogue_copies(&self, _: Nothing) -> Result<KeptCopies> {
        let damaged = match self.coffre() {
            Ok(_) => self.lock_looks().catalogue.as_ref().is_some_and(|(_, error)| error.is_some()),
            Err(error) => error.code() == Code::CatalogueCorrupt,
        };
        let copies = copies(&self.0.opening)?.into_iter().map(|copy| KeptCopy {
            path: copy.path.display().to_string(),
            at: copy.at,
            bytes: copy.bytes,
        });
        Ok(KeptCopies {
            copies: copies.collect(),
            damaged,
        })
    }

    /// Puts a copy in the place of a damaged catalogue, which is kept beside it.
    pub(super) fn restore_catalogue(&self, given: RestoreCatalogue) -> Result<CatalogueRestored> {
        // Only what was listed: a window names no file of its own.
        let known = copies(&self.0.opening)?;
        let Some(copy) = known.into_iter().find(|copy| copy.path.display().to_string() == given.path) else {
            return Err(Error::new(Code::NotFound, "catalogue_copy_gone").with("path", given.path));
        };
        let damage = match self.coffre() {
            Ok(coffre) => coffre.engine.catalogue.check().err(),
            Err(error) => Some(error),
        };
        match damage {
            None => {
                let path = self.0.opening.home.join("catalogue.db").display().to_string();
                return Err(Error::new(Code::Refused, "catalogue_sound").with("path", path));
            }
            Some(error) if error.code() != Code::CatalogueCorrupt => return Err(error),
            Some(_) if !self.works().is_empty() => return Err(Error::new(Code::Busy, "catalogue_in_use_here")),
            Some(error) => self.shut(error),
        }
        let back = bring_back(&self.0.opening, Some(copy.path));
        self.lock_looks().catalogue = None;
        // At once, also where the copy was no good: whoever reads next must be told of what is there now.
        let opened = self.open_again(Duration::ZERO);
        self.changed(tags(&Noun::ALL));
        let back = back?;
        opened?;
        Ok(CatalogueRestored {
            copy: back.copy.display().to_string(),
            aside: back.aside.map(|aside| aside.display().to_string()),
        })
    }
}
