//! The programs of databases' makers that were found, with their versions.

use std::sync::PoisonError;

use coffre_model::backup::Tool;
use coffre_model::source::{Source, SourceOptions};
use coffre_model::{Cancel, Error, Id, Result};
use serde::Serialize;
use ts_rs::TS;

use super::commands::Nothing;
use super::events::Noun;
use super::{Window, tags};
use crate::Coffre;

/// A program that was found.
#[derive(Clone, Debug, Serialize, TS)]
pub struct ToolFound {
    /// Name, path, and the version that it printed.
    pub tool: Tool,
    /// The kind of database that it belongs to.
    pub adapter: String,
    /// Whether it can be used.
    pub usable: bool,
    /// Why not.
    pub error: Option<Error>,
    /// Names of the sources whose last backup it made.
    pub sources: Vec<String>,
}

/// Executes every program that is found.
fn find(coffre: &Coffre) -> Result<Vec<ToolFound>> {
    let runtime = coffre.engine.home.runtime_dir(&Id::new())?;
    // No source: only the folders of the settings and the usual places.
    let nobody = Source {
        id: Id::new(),
        name: String::new(),
        address: String::new(),
        options: SourceOptions::default(),
        has_secret: false,
        created_at: super::now(),
    };
    let access = coffre
        .engine
        .access(&nobody, None, runtime.path().to_owned(), &Cancel::new())?;
    let mut found = Vec::new();
    for kind in coffre_databases::kinds() {
        for program in kind.programs(&access)? {
            found.push(ToolFound {
                tool: program.tool,
                adapter: kind.name().to_owned(),
                usable: program.error.is_none(),
                error: program.error,
                sources: Vec::new(),
            });
        }
    }
    Ok(found)
}

impl Window {
    pub(super) fn list_tools(&self, _: Nothing) -> Result<Vec<ToolFound>> {
        let coffre = self.coffre()?;
        let known = self.0.tools.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut tools = match known {
            Some(known) => known,
            None => {
                let found = find(&coffre)?;
                *self.0.tools.lock().unwrap_or_else(PoisonError::into_inner) = Some(found.clone());
                found
            }
        };
        for source in coffre.sources()? {
            let last = coffre.engine.catalogue.latest(&source.id, true)?;
            let Some(path) = last.and_then(|backup| backup.tool?.path) else {
                continue;
            };
            for tool in tools
                .iter_mut()
                .filter(|tool| tool.tool.path.as_deref() == Some(path.as_str()))
            {
                tool.sources.push(source.name.clone());
            }
        }
        Ok(tools)
    }

    /// Looks for them again.
    pub(super) fn rescan_tools(&self, _: Nothing) -> Result<Vec<ToolFound>> {
        self.forget_tools();
        let found = self.list_tools(Nothing {})?;
        self.changed(tags(&[Noun::Tools, Noun::Sources]));
        Ok(found)
    }

    pub(super) fn forget_tools(&self) {
        *self.0.tools.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
