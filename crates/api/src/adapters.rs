//! The wiring: which databases and storages this build knows. The one place that sees both their crates and the engine.

use std::path::Path;
use std::time::Duration;

use coffre_databases as databases;
use coffre_databases::process;
use coffre_engine::context::{Adapters, Commanded};
use coffre_model::database::{Checker, DatabaseKind, DumpFormat};
use coffre_model::storage::StorageKind;
use coffre_model::{Cancel, Code, Error, Result};

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

    fn run_command(
        &self,
        command: &[String],
        given: &[(String, String)],
        folder: &Path,
        limit: Duration,
        cancel: &Cancel,
    ) -> Result<Commanded> {
        let (name, args) = command
            .split_first()
            .ok_or_else(|| Error::internal("run a command", "it is empty"))?;
        let program =
            process::find(name).ok_or_else(|| Error::new(Code::ToolMissing, "hook_not_found").with("program", name.as_str()))?;
        let invocation = process::Invocation::new(&program, folder).args(args);
        let invocation = given
            .iter()
            .fold(invocation, |invocation, (name, value)| invocation.env(name, value));
        let ran = process::run(&invocation, limit, cancel)?;
        Ok(Commanded {
            success: ran.ended.success() && !ran.timed_out,
            status: ran.ended.status(),
            timed_out: ran.timed_out,
            output: ran.output,
        })
    }
}
