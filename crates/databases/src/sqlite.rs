//! SQLite, natively: no program of anybody's is started.
//!
//! A dump is the database file itself, page by page, out of one read transaction (`dump`, `reading`); the same transaction then counts
//! the rows and checks the pages (`facts`). A stored dump is checked without SQLite (`checker`, `tree`, `schema`). A restore writes a
//! new file (`target`), or replaces the content of the live one (`replace`). A throw-away database is such a file in a private folder (`throw_away`),
//! out of which one table can be taken (`taking`).

mod checker;
mod dump;
mod errors;
mod facts;
mod header;
mod reading;
mod replace;
mod schema;
mod shapes;
mod taking;
mod target;
#[cfg(test)]
mod tests;
mod throw_away;
mod tree;
mod vfs;

use std::path::{Path, PathBuf};

use coffre_model::backup::Tool;
use coffre_model::database::{
    Access, Capability, Checker, Database, DatabaseKind, Dump, DumpFormat, Load, Probe, TableCount, TargetLook,
};
use coffre_model::field::{Field, FieldKind, FieldPart};
use coffre_model::replace::Replace;
use coffre_model::source::{Source, SourceOptions};
use coffre_model::throw_away::{Need, ThrowAway};
use coffre_model::{Code, Error, Result};

use checker::FileChecker;
use dump::{PageDump, Patience};
use errors::about;
use facts::Depth;
use reading::{Manner, PATH_MAX, Reading};
use target::Target;
use throw_away::FileThrowAway;

/// Whether SQLite is being compiled with the table of pages that dumps are read from. The flag is set by `.cargo/config.toml`, which
/// Cargo reads from the folder that it is called in.
const COMPILED_WITH_PAGE_TABLE: bool = match option_env!("LIBSQLITE3_FLAGS") {
    Some(flags) => contains(flags.as_bytes(), b"SQLITE_ENABLE_DBPAGE_VTAB"),
    None => false,
};
const _: () = assert!(
    COMPILED_WITH_PAGE_TABLE,
    "LIBSQLITE3_FLAGS lacks -DSQLITE_ENABLE_DBPAGE_VTAB: build from inside the repository, so that .cargo/config.toml is read"
);

const fn contains(text: &[u8], part: &[u8]) -> bool {
    let mut at = 0;
    while at + part.len() <= text.len() {
        let mut same = 0;
        while same < part.len() && text[at + same] == part[same] {
            same += 1;
        }
        if same == part.len() {
            return true;
        }
        at += 1;
    }
    false
}

/// SQLite as a kind of database.
pub struct Sqlite;

impl Sqlite {
    /// Checks a database as thoroughly as SQLite can (`PRAGMA integrity_check`): on request only, it takes about ten times as long as
    /// the check that every backup makes. Answers what is wrong, at most a few lines; nothing for a sound database.
    ///
    /// # Errors
    /// Those of opening the database, and `CANCELLED`.
    pub fn integrity(path: &Path, access: &Access) -> Result<Vec<String>> {
        let reading = Reading::open(path, access)?;
        let connection = reading.connection()?;
        let findings = facts::interruptible(connection, &|| access.cancel.check(), || {
            facts::check(connection, Depth::Full).map_err(|e| reading.error(&e))
        })?;
        reading.close()?;
        Ok(findings.said)
    }
}

/// Options that mean nothing to a file: accepting one silently would promise what does not happen.
fn refused_option(options: &SourceOptions) -> Option<&'static str> {
    let given = [
        ("format", options.format.is_some()),
        ("tls", options.tls.is_some()),
        ("tool-path", options.tool_path.is_some()),
        ("include", !options.include.is_empty()),
        ("exclude", !options.exclude.is_empty()),
        ("no-owner", options.no_owner),
        ("no-privileges", options.no_privileges),
        ("no-large-objects", options.no_large_objects),
    ];
    given.into_iter().find_map(|(name, given)| given.then_some(name))
}

/// The file of a source.
fn path_of(source: &Source) -> Result<PathBuf> {
    let address = source.parsed()?;
    if address.scheme != "sqlite" {
        return Err(Error::new(Code::Usage, "sqlite_scheme").with("scheme", address.scheme));
    }
    if address.port.is_some() || address.host.is_some() || address.user.is_some() || !address.query.is_empty() {
        return Err(Error::new(Code::Usage, "sqlite_address_parts"));
    }
    let path = PathBuf::from(address.path);
    let last = path.to_string_lossy();
    if !path.is_absolute() || last.ends_with('/') || last.ends_with("/.") || path.file_name().is_none() {
        return Err(about(Code::Usage, "sqlite_path_folder", &path));
    }
    if path.as_os_str().len() > PATH_MAX {
        return Err(about(Code::Usage, "sqlite_path_long", &path).with("max", PATH_MAX));
    }
    Ok(path)
}

impl DatabaseKind for Sqlite {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn schemes(&self) -> &'static [&'static str] {
        &["sqlite"]
    }

    fn fields(&self) -> Vec<Field> {
        vec![Field {
            name: "path",
            kind: FieldKind::File,
            required: true,
            choices: &[],
            default: None,
            part: FieldPart::Path,
        }]
    }

    fn capability(&self) -> Capability {
        Capability {
            needs_tools: false,
            network: false,
            consistent_counts: true,
            table_choice: false,
        }
    }

    fn validate(&self, source: &Source) -> Result<()> {
        path_of(source)?;
        if let Some(option) = refused_option(&source.options) {
            return Err(Error::new(Code::Usage, "sqlite_option").with("option", option));
        }
        if source.has_secret {
            return Err(Error::new(Code::Usage, "sqlite_password"));
        }
        Ok(())
    }

    fn formats(&self) -> &'static [DumpFormat] {
        &[DumpFormat::Sqlite]
    }

    fn dump_format(&self, _: &Source) -> DumpFormat {
        DumpFormat::Sqlite
    }

    fn checker(&self, _: DumpFormat) -> Box<dyn Checker> {
        Box::new(FileChecker::deep())
    }

    fn stock_load(&self, _: DumpFormat) -> Vec<String> {
        vec![
            "cp <file> ./<target>.db".to_owned(),
            "sqlite3 ./<target>.db \"PRAGMA integrity_check;\"".to_owned(),
        ]
    }

    fn sweep_target(&self, target: &Source) -> Result<()> {
        target::sweep(&path_of(target)?)
    }

    fn replace(&self, source: &Source, access: Access) -> Result<Box<dyn Replace>> {
        Ok(Box::new(replace::FileReplace::new(path_of(source)?, access)))
    }

    fn open(&self, source: &Source, access: Access) -> Result<Box<dyn Database>> {
        Ok(Box::new(SqliteDatabase {
            path: path_of(source)?,
            access,
            recovered: None,
            target: None,
        }))
    }

    fn throw_away(&self, need: &Need, access: Access) -> Result<std::result::Result<Box<dyn ThrowAway>, Error>> {
        if need.format != DumpFormat::Sqlite {
            return Err(Error::new(Code::Usage, "sqlite_format").with("format", need.format.as_str()));
        }
        Ok(Ok(Box::new(FileThrowAway::new(access)?)))
    }
}

/// One SQLite file, for one piece of work.
struct SqliteDatabase {
    path: PathBuf,
    access: Access,
    /// The private copy that `probe` had to make of what a crash left, for `dump` to read: it need not be made twice.
    recovered: Option<Reading>,
    /// From `prepare_target` to `settle_target` or `discard_target`.
    target: Option<Target>,
}

impl SqliteDatabase {
    fn target(&self) -> Result<&Target> {
        self.target
            .as_ref()
            .ok_or_else(|| Error::internal("sqlite target", "it was not prepared"))
    }
}

impl Database for SqliteDatabase {
    fn probe(&mut self) -> Result<Probe> {
        let reading = Reading::open(&self.path, &self.access)?;
        facts::assert_page_table(reading.connection()?)?;
        let tables = facts::tables(reading.connection()?).map_err(|e| reading.error(&e))?;
        let probe = Probe {
            server_version: facts::library_version(),
            tool: Tool {
                name: "sqlite".to_owned(),
                path: None,
                version: facts::library_version(),
            },
            estimated_bytes: Some(u64::from(reading.pages()) * reading.page_size() as u64),
            tables: tables.len() as u64,
            tls: None,
            remarks: reading.remarks().to_vec(),
        };
        if reading.manner() == Manner::Copy {
            self.recovered = Some(reading);
        } else {
            reading.close()?;
        }
        Ok(probe)
    }

    fn dump(&mut self) -> Result<Box<dyn Dump>> {
        let reading = match self.recovered.take() {
            Some(reading) => reading,
            None => Reading::open(&self.path, &self.access)?,
        };
        Ok(Box::new(PageDump::start(reading, &self.access, Patience::USUAL)?))
    }

    fn counts(&mut self) -> Result<Vec<TableCount>> {
        if let Some(target) = &self.target {
            return target.counts(&self.access.cancel);
        }
        let reading = Reading::open(&self.path, &self.access)?;
        let connection = reading.connection()?;
        let fail = |e: &rusqlite::Error| reading.error(e);
        // What cannot be counted is a remark of the dump; here the list of what can is the answer.
        let (counts, _remarks_of_the_dump) = facts::interruptible(connection, &|| self.access.cancel.check(), || {
            facts::counts(connection, false, &fail)
        })?;
        reading.close()?;
        Ok(counts)
    }

    fn look_at_target(&mut self) -> Result<Option<TargetLook>> {
        target::look(&self.path).map(Some)
    }

    fn prepare_target(&mut self) -> Result<()> {
        self.target = Some(Target::prepare(&self.path)?);
        Ok(())
    }

    fn load(&mut self, format: DumpFormat) -> Result<Box<dyn Load>> {
        if format != DumpFormat::Sqlite {
            return Err(Error::new(Code::Usage, "sqlite_format").with("format", format.as_str()));
        }
        Ok(Box::new(self.target()?.load(self.access.cancel.clone())?))
    }

    fn settle_target(&mut self) -> Result<()> {
        self.target()?;
        match self.target.take() {
            Some(target) => target.settle(&self.access.cancel),
            None => Ok(()),
        }
    }

    fn discard_target(&mut self) -> Result<()> {
        self.target.take().map_or(Ok(()), Target::discard)
    }
}
