//! The journal, read.

use coffre_model::Result;
use coffre_model::journal::Entry;

use crate::Coffre;

impl Coffre {
    /// The newest lines, newest first; older than line `before` where given.
    pub fn journal(&self, limit: u32, before: Option<i64>) -> Result<Vec<Entry>> {
        self.engine.catalogue.journal(limit, before)
    }
}
