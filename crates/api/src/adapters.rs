//! The wiring: which databases and storages this build knows. The one place that sees both their crates and the engine.

use coffre_databases as databases;
use coffre_engine::context::Adapters;
use coffre_model::Result;
use coffre_model::database::{Checker, DatabaseKind, DumpFormat};
use coffre_model::storage::StorageKind;

/// Everything that is built in.
pub struct BuiltIn;

impl Adapters for BuiltIn {
    fn database(&self, scheme: &str) -> Result<&'static dyn DatabaseKind> {
        databases::find(scheme)
    }

    fn database_named(&self, name: &str) -> Result<&'static dyn DatabaseKind> {
        databases::named(name)
    }

    fn databases(&self) -> &'static [&'static dyn DatabaseKind] {
        databases::kinds()
    }

    fn recognise(&self, head: &[u8]) -> Result<DumpFormat> {
        databases::format_of(head)
    }

    fn foreign_checker(&self, kind: &'static dyn DatabaseKind, format: DumpFormat) -> Box<dyn Checker> {
        databases::foreign_checker(kind, format)
    }

    fn storage(&self, scheme: &str) -> Result<&'static dyn StorageKind> {
        coffre_storages::find(scheme)
    }
}
