//! What a replacement of a PostgreSQL database remembers between two processes.

use coffre_model::replace::Replacement;
use coffre_model::{Error, Result};
use serde::{Deserialize, Serialize};

/// Kept in [`Replacement::facts`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Facts {
    /// The server's system identifier, where it tells.
    pub(super) system: Option<String>,
    /// The number of the database that was live at the plan.
    pub(super) live: Option<u32>,
    /// The number of what was made beside it.
    pub(super) scratch: Option<u32>,
    /// The `application_name` of the sessions of whoever planned: what a killed process left at work is ended by it.
    pub(super) application: String,
    /// The swap has happened.
    #[serde(default)]
    pub(super) swapped: bool,
    /// The one transaction of `Within`.
    #[serde(default)]
    pub(super) transaction: Option<String>,
}

impl Facts {
    /// Reads them.
    pub(super) fn of(plan: &Replacement) -> Result<Facts> {
        let map = plan.facts.clone().into_iter().collect();
        serde_json::from_value(serde_json::Value::Object(map)).map_err(|e| Error::internal("read a replacement", e))
    }

    /// Writes them.
    pub(super) fn write(&self, plan: &mut Replacement) -> Result<()> {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::Object(map)) => {
                plan.facts = map.into_iter().collect();
                Ok(())
            }
            other => Err(Error::internal("write a replacement", format!("{other:?}"))),
        }
    }
}
