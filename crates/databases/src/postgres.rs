//! PostgreSQL, and what speaks like it: dumped by its own `pg_dump`, counted and checked beside.
//!
//! What lives where: `tools` finds programs, `connect` holds our own sessions, `environment` is what a program gets to know, `tables` chooses,
//! `probe` looks, `dump` and `counts` make a backup, `target` and `load` bring one back, `replace` puts one in the place of live data; `server` makes
//! a throw-away server, `throw_away` looks into it, `copying` moves rows; `archive`, `plain` and `sql_load` know the formats.

pub mod archive;
mod confined;
mod connect;
mod copying;
mod counts;
mod dump;
mod environment;
mod failure;
mod load;
pub mod names;
pub mod plain;
mod probe;
mod replace;
mod server;
pub mod sql_load;
mod tables;
mod target;
mod throw_away;
mod tls;
mod tools;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use coffre_model::database::{
    Access, Capability, Checker, Database, DatabaseKind, Dump, DumpFormat, FoundProgram, Load, Probe, TableCount, TargetLook,
};
use coffre_model::field::{Field, FieldKind, FieldPart};
use coffre_model::replace::Replace;
use coffre_model::source::{Source, SourceOptions, Tls};
use coffre_model::throw_away::{Need, ThrowAway};
use coffre_model::{Code, Error, Id, Result};

use self::connect::{Server, Session};
pub use self::load::ForeignText;
use self::load::{PgLoad, Surroundings};
use self::probe::Seen;
use self::server::PrivateServer;
use self::target::Target;
use self::throw_away::ServerThrowAway;
use self::tools::{Found, Program, Search};

/// The kind of database.
pub struct Postgres;

fn field(name: &'static str, kind: FieldKind, part: FieldPart) -> Field {
    Field {
        name,
        kind,
        required: false,
        choices: &[],
        default: None,
        part,
    }
}

impl DatabaseKind for Postgres {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn schemes(&self) -> &'static [&'static str] {
        &["postgres", "postgresql"]
    }

    fn fields(&self) -> Vec<Field> {
        let option = |name, kind| field(name, kind, FieldPart::Option);
        let choice = |name, choices, default| Field {
            choices,
            default: Some(default),
            ..option(name, FieldKind::Choice)
        };
        vec![
            field("host", FieldKind::Text, FieldPart::Host),
            Field {
                default: Some("5432"),
                ..field("port", FieldKind::Number, FieldPart::Port)
            },
            Field {
                required: true,
                ..field("database", FieldKind::Text, FieldPart::Path)
            },
            field("user", FieldKind::Text, FieldPart::User),
            field("password", FieldKind::Secret, FieldPart::Secret),
            choice("tls", &["disable", "prefer", "require", "verify-full"], "prefer"),
            choice("format", &["custom", "plain"], "custom"),
            option("tool_path", FieldKind::Folder),
            option("include", FieldKind::Lines),
            option("exclude", FieldKind::Lines),
            option("no_owner", FieldKind::Switch),
            option("no_privileges", FieldKind::Switch),
            option("no_large_objects", FieldKind::Switch),
        ]
    }

    fn capability(&self) -> Capability {
        Capability {
            needs_tools: true,
            network: true,
            consistent_counts: true,
            table_choice: true,
        }
    }

    fn validate(&self, source: &Source) -> Result<()> {
        let address = source.parsed()?;
        if !self.schemes().contains(&address.scheme.as_str()) {
            return Err(Error::new(Code::Usage, "pg_scheme").with("scheme", address.scheme));
        }
        if address.path.is_empty() {
            return Err(Error::new(Code::Usage, "pg_database_missing"));
        }
        if let Some(name) = address.query.keys().next() {
            return Err(Error::new(Code::Usage, "address_parameter").with("name", name.clone()));
        }
        let host = address.host.as_deref().unwrap_or_default();
        // libpq would take a list of hosts, or an abstract socket; we would not, and both must mean the same.
        if host.contains(',') || host.starts_with('@') {
            return Err(Error::new(Code::Usage, "pg_host").with("host", host));
        }
        let options = &source.options;
        if host.starts_with('/') && matches!(options.tls, Some(Tls::Require | Tls::VerifyFull)) {
            return Err(Error::new(Code::Usage, "pg_socket_tls").with("host", host));
        }
        if !matches!(options.format.as_deref(), None | Some("custom" | "plain")) {
            return Err(Error::new(Code::Usage, "pg_format").with("found", options.format.clone().unwrap_or_default()));
        }
        if options
            .tool_path
            .as_deref()
            .is_some_and(|path| !Path::new(path).is_absolute())
        {
            return Err(Error::new(Code::Usage, "tool_path_relative").with("path", options.tool_path.clone()));
        }
        if options.include.iter().chain(&options.exclude).any(String::is_empty) {
            return Err(Error::new(Code::Usage, "glob_empty"));
        }
        Ok(())
    }

    fn formats(&self) -> &'static [DumpFormat] {
        &[DumpFormat::PgCustom, DumpFormat::Sql]
    }

    fn dump_format(&self, source: &Source) -> DumpFormat {
        match source.options.format.as_deref() {
            Some("plain") => DumpFormat::Sql,
            _ => DumpFormat::PgCustom,
        }
    }

    fn checker(&self, format: DumpFormat) -> Box<dyn Checker> {
        match format {
            DumpFormat::Sql => Box::new(plain::PlainChecker::new(true)),
            _ => Box::new(archive::Archive::new()),
        }
    }

    fn stock_load(&self, format: DumpFormat) -> Vec<String> {
        let load = match format {
            DumpFormat::Sql => "psql --no-psqlrc --set=ON_ERROR_STOP=1 --single-transaction --dbname=<target> --file=<file>",
            // Without owners and privileges it also loads where the roles do not exist.
            _ => "pg_restore --exit-on-error --single-transaction --no-owner --no-privileges --dbname=<target> <file>",
        };
        vec!["createdb --template=template0 <target>".to_owned(), load.to_owned()]
    }

    fn programs(&self, access: &Access) -> Result<Vec<FoundProgram>> {
        let search = Search {
            own: None,
            folders: &access.tool_paths,
            runtime: &access.runtime,
            cancel: &access.cancel,
        };
        let mut found = search.find("pg_dump")?.all();
        found.extend(search.find("pg_restore")?.all());
        Ok(found)
    }

    fn open(&self, source: &Source, access: Access) -> Result<Box<dyn Database>> {
        self.validate(source)?;
        let application = format!("coffre {}", Id::new().short());
        let server = Server::new(source, application, &access)?;
        Ok(Box::new(OpenPostgres {
            options: source.options.clone(),
            format: self.dump_format(source),
            server,
            access,
            probed: None,
            target: None,
            remarks: Arc::default(),
        }))
    }

    fn replace(&self, source: &Source, access: Access) -> Result<Box<dyn Replace>> {
        self.validate(source)?;
        Ok(Box::new(replace::PgReplace::new(source, access)?))
    }

    fn throw_away(&self, need: &Need, access: Access) -> Result<std::result::Result<Box<dyn ThrowAway>, Error>> {
        if !self.formats().contains(&need.format) {
            return Err(Error::new(Code::Usage, "format_not_loadable").with("format", need.format.as_str()));
        }
        Ok(match PrivateServer::start(need.server_version.as_deref(), &access)? {
            Ok(server) => Ok(Box::new(ServerThrowAway::new(server, access)?)),
            Err(why) => Err(why),
        })
    }

    fn can_throw_away(&self, need: &Need, access: &Access) -> Result<std::result::Result<(), Error>> {
        server::find(need.server_version.as_deref(), access).map(|found| found.map(drop))
    }

    fn sweep_throw_away(&self, runtime: &Path) -> Result<()> {
        server::sweep(runtime)
    }
}

/// One PostgreSQL database, for one piece of work.
struct OpenPostgres {
    options: SourceOptions,
    format: DumpFormat,
    server: Server,
    access: Access,
    probed: Option<(Seen, Program)>,
    target: Option<Target>,
    remarks: Arc<Mutex<Vec<Error>>>,
}

impl OpenPostgres {
    fn session(&self) -> Result<Session> {
        Session::open(&self.server, &self.server.database, &self.access.cancel)
    }

    fn find(&self, name: &'static str) -> Result<Found> {
        let own = self.options.tool_path.as_ref().map(PathBuf::from);
        Search {
            own: own.as_deref(),
            folders: &self.access.tool_paths,
            runtime: &self.access.runtime,
            cancel: &self.access.cancel,
        }
        .find(name)
    }
}

impl Database for OpenPostgres {
    fn probe(&mut self) -> Result<Probe> {
        let mut session = self.session()?;
        probe::check_version(&session)?;
        let program = self.find("pg_dump")?.choose_dump(session.version())?;
        let seen = probe::look(&mut session, &self.options)?;
        let probe = probe::describe(&mut session, &seen, &program)?;
        self.probed = Some((seen, program));
        Ok(probe)
    }

    fn dump(&mut self) -> Result<Box<dyn Dump>> {
        let (seen, program) = self
            .probed
            .as_ref()
            .ok_or_else(|| Error::internal("start a dump", "the database was not looked at"))?;
        let dump = dump::start(&dump::Plan {
            server: &self.server,
            access: &self.access,
            options: &self.options,
            format: self.format,
            program,
            seen,
        })?;
        Ok(Box::new(dump))
    }

    fn counts(&mut self) -> Result<Vec<TableCount>> {
        counts::now(&mut self.session()?, &self.options, self.access.stall)
    }

    fn look_at_target(&mut self) -> Result<Option<TargetLook>> {
        target::look(&self.server, &self.access.cancel).map(Some)
    }

    fn prepare_target(&mut self) -> Result<()> {
        target::prepare(&self.server, &self.access.cancel, &mut self.target)
    }

    fn load(&mut self, format: DumpFormat) -> Result<Box<dyn Load>> {
        if self.target.is_none() {
            return Err(Error::internal("load a dump", "the target was not prepared"));
        }
        let surroundings = Surroundings {
            server: self.server.clone(),
            access: self.access.clone(),
            remarks: self.remarks.clone(),
        };
        match format {
            DumpFormat::PgCustom => Ok(Box::new(PgLoad::archive(surroundings, self.find("pg_restore")?))),
            DumpFormat::Sql => Ok(Box::new(PgLoad::text(surroundings))),
            DumpFormat::Sqlite => Err(Error::new(Code::Usage, "format_not_loadable").with("format", format.as_str())),
        }
    }

    /// Nothing is left to do: the load was one transaction, and the server's autovacuum gathers statistics of new tables within its next
    /// round (a minute by default), without making the person wait for it.
    fn settle_target(&mut self) -> Result<()> {
        self.target = None;
        Ok(())
    }

    fn discard_target(&mut self) -> Result<()> {
        if let Some(target) = &self.target {
            target::discard(&self.server, target)?;
            self.target = None;
        }
        Ok(())
    }

    fn remarks(&mut self) -> Vec<Error> {
        std::mem::take(&mut *self.remarks.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
