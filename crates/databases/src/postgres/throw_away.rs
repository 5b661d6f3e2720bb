//! A throw-away database on a server of our own: looked into, checked, and one table taken out of it.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use coffre_model::address::Address;
use coffre_model::database::Access;
use coffre_model::error::from_io;
use coffre_model::source::{Source, SourceOptions};
use coffre_model::throw_away::{ExportFormat, RowPage, ThrowAway};
use coffre_model::{Code, Error, Id, Result};
use tokio_postgres::types::{ToSql, Type};

use super::confined;
use super::connect::{Server, Session};
use super::copying::{LineEnds, Piece, gone};
use super::names::{qualified, quote_ident};
use super::probe;
use super::server::{KEEPER, LOADER, PORT, PrivateServer};
use super::tables::{self, Kind, Table, sql_name};
use crate::process::{self, Invocation};

/// The one database that a dump is loaded into.
const DATABASE: &str = "restored";
/// The most letters of a value that a page shows.
const SHOWN: usize = 1000;
/// Findings of a check that are kept.
const FINDINGS: usize = 5;
/// Pieces of rows between two servers.
const PIECES: usize = 16;
/// Longer names are cut off by a server without a word.
const NAME_MAX: usize = 63;
/// The order in which letters of both cases are found equal, best first: of the collations that a server may have.
const COLLATIONS: [&str; 5] = ["und-x-icu", "pg_c_utf8", "C.utf8", "C.UTF-8", "en_US.utf8"];

/// The database, and the server with it.
pub(super) struct ServerThrowAway {
    /// Our session, opened at the first question. Dropped first.
    session: Option<Session>,
    server: PrivateServer,
    access: Access,
}

/// A table to look into.
struct Looked {
    table: Table,
    columns: Vec<Column>,
}

struct Column {
    name: String,
    definition: String,
}

impl ServerThrowAway {
    /// # Errors
    /// What making the users of the server can bring.
    pub(super) fn new(server: PrivateServer, access: Access) -> Result<Self> {
        let made = ServerThrowAway {
            session: None,
            server,
            access,
        };
        confined::make_users(
            &Server::new(&made.source(), application(), &made.access)?,
            &made.access.cancel,
        )?;
        Ok(made)
    }

    fn session(&mut self) -> Result<&mut Session> {
        if self.session.is_none() {
            let server = Server::new(&self.source(), application(), &self.access)?;
            self.session = Some(Session::open(&server, DATABASE, &self.access.cancel)?);
        }
        self.session
            .as_mut()
            .ok_or_else(|| Error::internal("open a throw-away database", "no session"))
    }

    /// Works on a session that is given up where the work fails: the next question gets a fresh one.
    fn ask<T>(&mut self, work: impl FnOnce(&mut Session) -> Result<T>) -> Result<T> {
        let outcome = self.session().and_then(work);
        if outcome.is_err() {
            self.session = None;
        }
        outcome
    }
}

fn application() -> String {
    format!("coffre {}", Id::new().short())
}

/// A table by the name that lists show (`public."Order"`), else by its plain `schema.name`, else by its name alone where only one is called so.
fn find(session: &mut Session, given: &str) -> Result<Looked> {
    let all: Vec<Table> = tables::list(session)?
        .into_iter()
        .filter(|t| matches!(t.kind, Kind::Ordinary | Kind::Partitioned | Kind::MaterialisedView))
        .collect();
    let mut fits: Vec<&Table> = all.iter().filter(|t| t.display() == given).collect();
    if fits.is_empty() {
        fits = all.iter().filter(|t| format!("{}.{}", t.schema, t.name) == given).collect();
    }
    if fits.is_empty() {
        fits = all
            .iter()
            .filter(|t| t.name == given || quote_ident(&t.name) == given)
            .collect();
    }
    let [table] = fits.as_slice() else {
        return Err(Error::new(Code::NotFound, "inside_table_unknown").with("table", given));
    };
    let table = (*table).clone();
    let columns = columns(session, &table)?;
    Ok(Looked { table, columns })
}

/// Columns as a new table would have them: type, collation, and what must not be NULL. What a column is computed from, or counts with, belongs to
/// the original.
fn columns(session: &mut Session, table: &Table) -> Result<Vec<Column>> {
    let rows = session.query(
        "SELECT a.attname::text,
                pg_catalog.format_type(a.atttypid, a.atttypmod)
                || CASE WHEN a.attcollation <> t.typcollation AND a.attcollation <> 0
                        THEN (SELECT ' COLLATE ' || pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.collname)
                                FROM pg_catalog.pg_collation c JOIN pg_catalog.pg_namespace n ON n.oid = c.collnamespace
                               WHERE c.oid = a.attcollation)
                        ELSE '' END
                || COALESCE((SELECT ' DEFAULT ' || pg_catalog.pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attrdef d
                              WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.attgenerated = ''
                                AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend p
                                                 WHERE p.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND p.objid = d.oid
                                                   AND p.refclassid <> 'pg_catalog.pg_type'::pg_catalog.regclass
                                                   AND p.refobjid <> a.attrelid)), '')
                || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END
           FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
          WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
          ORDER BY a.attnum",
        &[(&table.oid, Type::OID)],
    )?;
    rows.iter()
        .map(|row| {
            Ok(Column {
                name: row.try_get(0)?,
                definition: row.try_get(1)?,
            })
        })
        .collect::<std::result::Result<_, tokio_postgres::Error>>()
        .map_err(|e| Error::internal("read the columns of a table", e))
}

/// Keys and checks that need nothing but the table itself.
fn constraints(session: &mut Session, table: &Table) -> Result<Vec<String>> {
    let rows = session.query(
        "SELECT pg_catalog.pg_get_constraintdef(c.oid) FROM pg_catalog.pg_constraint c
          WHERE c.conrelid = $1 AND c.contype IN ('p', 'u', 'c')
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend p
                             WHERE p.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND p.objid = c.oid
                               AND p.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass)
          ORDER BY c.contype DESC, c.conname",
        &[(&table.oid, Type::OID)],
    )?;
    rows.iter()
        .map(|row| row.try_get(0).map_err(|e| Error::internal("read the keys of a table", e)))
        .collect()
}

impl Looked {
    /// `ONLY` the table itself, as it is counted; a partitioned one has nothing but its partitions.
    fn from(&self) -> String {
        match self.table.kind {
            Kind::Ordinary => format!("ONLY {}", self.table.sql()),
            _ => self.table.sql(),
        }
    }

    fn list(&self) -> String {
        let names: Vec<String> = self.columns.iter().map(|column| sql_name(&column.name)).collect();
        names.join(", ")
    }

    /// The primary key's order, else the one in which the rows lie.
    fn order(&self, session: &mut Session) -> Result<String> {
        let rows = session.query(
            "SELECT a.attname::text FROM pg_catalog.pg_index i
               CROSS JOIN LATERAL pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY k(num, place)
               JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.num
              WHERE i.indrelid = $1 AND i.indisprimary AND k.place <= i.indnkeyatts ORDER BY k.place",
            &[(&self.table.oid, Type::OID)],
        )?;
        let names: std::result::Result<Vec<String>, _> = rows.iter().map(|row| row.try_get::<_, String>(0)).collect();
        let names = names.map_err(|e| Error::internal("read a primary key", e))?;
        if names.is_empty() {
            return Ok("tableoid, ctid".to_owned());
        }
        Ok(names.iter().map(|name| sql_name(name)).collect::<Vec<_>>().join(", "))
    }

    /// The statement that makes a table like it.
    fn make(&self, schema: &str, name: &str, constraints: &[String]) -> String {
        let columns = self
            .columns
            .iter()
            .map(|column| format!("{} {}", sql_name(&column.name), column.definition));
        let parts: Vec<String> = columns.chain(constraints.iter().cloned()).collect();
        format!(
            "CREATE TABLE {}.{} (\n    {}\n)",
            sql_name(schema),
            sql_name(name),
            parts.join(",\n    ")
        )
    }

    /// The statement that fills a table like it.
    fn fill(&self, name: &str, from: &str) -> String {
        let columns = match self.columns.is_empty() {
            true => String::new(),
            false => format!(" ({})", self.list()),
        };
        format!(
            "COPY {}.{}{columns} FROM {from}",
            sql_name(&self.table.schema),
            sql_name(name)
        )
    }

    fn read(&self, order: &str, options: &str) -> String {
        format!(
            "COPY (SELECT {} FROM {} ORDER BY {order}) TO STDOUT{options}",
            self.list(),
            self.from()
        )
    }

    fn count(&self, session: &mut Session, stall: Duration) -> Result<u64> {
        let sql = format!("SELECT pg_catalog.count(*) FROM {}", self.from());
        counted(session, &sql, &[], stall)
    }
}

fn counted(session: &mut Session, sql: &str, params: &[(&(dyn ToSql + Sync), Type)], stall: Duration) -> Result<u64> {
    let rows = session.query_within(sql, params, patience(stall))?;
    let count: i64 = rows
        .first()
        .ok_or_else(|| Error::internal("count rows", "no answer"))?
        .try_get(0)
        .map_err(|e| Error::internal("count rows", e))?;
    u64::try_from(count).map_err(|e| Error::internal("count rows", e))
}

/// A question that reads a whole table of our own server may take its time: nobody else is in its way.
fn patience(stall: Duration) -> Duration {
    stall.saturating_mul(12)
}

/// A name for a new table.
fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || name.contains('\0') || name.len() > NAME_MAX {
        return Err(Error::new(Code::Usage, "inside_name").with("name", name.replace('\0', "\u{2400}")));
    }
    Ok(())
}

impl ThrowAway for ServerThrowAway {
    fn source(&self) -> Source {
        let address = Address {
            scheme: "postgres".to_owned(),
            user: Some(LOADER.to_owned()),
            host: Some(self.server.sockets().to_string_lossy().into_owned()),
            port: Some(PORT),
            path: DATABASE.to_owned(),
            query: BTreeMap::new(),
        };
        Source {
            id: Id::new(),
            name: "throw-away".to_owned(),
            address: address.to_string(),
            options: SourceOptions::default(),
            has_secret: false,
            created_at: chrono::DateTime::UNIX_EPOCH,
        }
    }

    fn access(&self) -> Access {
        Access {
            password: None,
            ..self.access.clone()
        }
    }

    fn version(&self) -> String {
        self.server.version().text.clone()
    }

    fn check(&mut self) -> Result<Option<Vec<String>>> {
        let Some(program) = self.server.program("pg_amcheck") else {
            return Ok(None);
        };
        let available: bool = self.ask(|session| {
            session.value("SELECT EXISTS (SELECT FROM pg_catalog.pg_available_extensions WHERE name = 'amcheck')")
        })?;
        if !available {
            return Ok(None);
        }
        let call = Invocation::new(&program, &self.access.runtime)
            .arg("--host")
            .arg(self.server.sockets().to_owned())
            .args(["--port", &PORT.to_string(), "--username", KEEPER, "--no-password"])
            .args(["--database", DATABASE, "--install-missing"]);
        // It says nothing while it reads, and a large database takes long: only a cancellation ends it.
        let answer = process::ask(&call, Duration::MAX, &self.access.cancel)?;
        match answer.ended.code {
            Some(0) => Ok(Some(Vec::new())),
            // What it says of damage stands in its output, one finding in two lines or so.
            Some(2) => {
                let said = answer.stdout.lines().map(str::trim).filter(|line| !line.is_empty());
                let mut said: Vec<String> = said.take(FINDINGS).map(str::to_owned).collect();
                if said.is_empty() {
                    said.push(answer.ended.status());
                }
                Ok(Some(said))
            }
            _ => Err(Error::new(Code::ToolWrong, "pg_check_failed")
                .with("path", program.to_string_lossy())
                .with("status", answer.ended.status())
                .with("stderr", answer.ended.stderr.last_lines())),
        }
    }

    fn rows(&mut self, table: &str, search: Option<&str>, page: u64, per_page: u64) -> Result<RowPage> {
        let stall = self.access.stall;
        let search = search.filter(|text| !text.is_empty()).map(str::to_owned);
        if search.as_ref().is_some_and(|text| text.contains('\0')) {
            return Err(Error::new(Code::Usage, "name_nul"));
        }
        let page = page.max(1);
        self.ask(|session| {
            let looked = find(session, table)?;
            let order = looked.order(session)?;
            let text = |name: &str| format!("pg_catalog.format('%s', {})", sql_name(name));
            let shown: Vec<String> = looked
                .columns
                .iter()
                // The value as its type writes it; a composite of NULLs is a value.
                .map(|c| {
                    let (name, text) = (sql_name(&c.name), text(&c.name));
                    format!(
                        "CASE WHEN {name} IS NOT DISTINCT FROM NULL THEN NULL ELSE pg_catalog.left({text}, {}) END",
                        SHOWN + 1
                    )
                })
                .collect();
            let mut condition = String::new();
            let mut params: Vec<(&(dyn ToSql + Sync), Type)> = Vec::new();
            if let Some(search) = &search {
                let collation = collation(session)?;
                let holds = |c: &Column| {
                    format!(
                        "pg_catalog.strpos(pg_catalog.lower({}{collation}), pg_catalog.lower($1{collation})) > 0",
                        text(&c.name)
                    )
                };
                let any: Vec<String> = looked.columns.iter().map(holds).collect();
                let any = if any.is_empty() {
                    "false".to_owned()
                } else {
                    any.join(" OR ")
                };
                // Named once more, so that it has a type where there is no column.
                condition = format!(" WHERE $1::pg_catalog.text IS NOT NULL AND ({any})");
                params.push((search, Type::TEXT));
            }
            let from = looked.from();
            let count = format!("SELECT pg_catalog.count(*) FROM {from}{condition}");
            let total = counted(session, &count, &params, stall)?;
            let skip = (page - 1).saturating_mul(per_page);
            let sql = format!(
                "SELECT {} FROM {from}{condition} ORDER BY {order} LIMIT {} OFFSET {}",
                shown.join(", "),
                per_page.min(i64::MAX.cast_unsigned()),
                skip.min(i64::MAX.cast_unsigned())
            );
            let read = |e| Error::internal("read rows", e);
            let rows = session.query_within(&sql, &params, patience(stall))?;
            let value = |row: &tokio_postgres::Row, at| row.try_get::<_, Option<String>>(at).map(|v| v.map(cut));
            let rows = rows
                .iter()
                .map(|row| (0..shown.len()).map(|at| value(row, at)).collect())
                .collect::<std::result::Result<_, _>>()
                .map_err(read)?;
            Ok(RowPage {
                columns: looked.columns.into_iter().map(|column| column.name).collect(),
                rows,
                total,
                page,
                per_page,
            })
        })
    }

    fn export(&mut self, table: &str, format: ExportFormat, name: Option<&str>, out: &mut dyn Write) -> Result<u64> {
        let stall = patience(self.access.stall);
        if let Some(name) = name {
            check_name(name)?;
        }
        self.ask(|session| {
            let mut write = |bytes: &[u8]| {
                out.write_all(bytes)
                    .map_err(|e| from_io(e, |e| Error::internal("write an export", e)))
            };
            let looked = find(session, table)?;
            let order = looked.order(session)?;
            session.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
            let count = looked.count(session, stall)?;
            match format {
                ExportFormat::Csv => {
                    let (mut ends, mut line) = (LineEnds::default(), Vec::new());
                    session.copy_out(&looked.read(&order, " (FORMAT csv, HEADER)"), stall, &mut |bytes| {
                        line.clear();
                        ends.feed(bytes, &mut line);
                        write(&line)
                    })?;
                }
                ExportFormat::Sql => {
                    let name = name.unwrap_or(&looked.table.name);
                    let made = looked.make(&looked.table.schema, name, &constraints(session, &looked.table)?);
                    let head = format!(
                        "SET client_encoding = 'UTF8';\nSET standard_conforming_strings = on;\nBEGIN;\n{made};\n\n{};\n",
                        looked.fill(name, "stdin")
                    );
                    write(head.as_bytes())?;
                    session.copy_out(&looked.read(&order, ""), stall, &mut write)?;
                    write(b"\\.\n\nCOMMIT;\n")?;
                }
            }
            session.run("COMMIT")?;
            Ok(count)
        })
    }

    fn copy_table(&mut self, table: &str, into: &Source, access: Access, name: &str) -> Result<u64> {
        check_name(name)?;
        let stall = patience(self.access.stall);
        let server = Server::new(into, application(), &access)?;
        let mut target = Session::open(&server, &server.database, &access.cancel)?;
        probe::check_version(&target)?;
        self.ask(|session| {
            let looked = find(session, table)?;
            let schema = looked.table.schema.as_str();
            let taken = |error: Option<Error>| {
                Error::new(Code::Refused, "inside_name_taken")
                    .with("name", qualified(schema, name))
                    .with("target", into.database_address())
                    .with("cause", error.and_then(|e| e.detail("cause")).unwrap_or_default())
            };
            let order = looked.order(session)?;
            let keys = constraints(session, &looked.table)?;
            target.run("BEGIN")?;
            let there = target.query(
                "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                                 WHERE n.nspname::text = $1 AND c.relname::text = $2),
                        EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname::text = $1)",
                &[(&schema, Type::TEXT), (&name, Type::TEXT)],
            )?;
            let read = |e| Error::internal("look for a name", e);
            let row = there.first().ok_or_else(|| Error::internal("look for a name", "no answer"))?;
            if row.try_get(0).map_err(read)? {
                return Err(taken(None));
            }
            if !row.try_get::<_, bool>(1).map_err(read)? {
                target.run(&format!("CREATE SCHEMA {}", sql_name(schema)))?;
            }
            // Somebody may have taken it in between; what else is in the way keeps its own words.
            let in_the_way = |error: Error| match error.detail("sqlstate").as_deref() {
                Some("42P07" | "42710") => taken(Some(error)),
                _ => error,
            };
            target.run(&looked.make(schema, name, &[])).map_err(in_the_way)?;
            let copy = looked.fill(name, "STDIN");
            let expected = looked.count(session, stall)?;
            let rows = between(session, &looked.read(&order, ""), &mut target, &copy, stall)?;
            for key in keys {
                let sql = format!("ALTER TABLE {}.{} ADD {key}", sql_name(schema), sql_name(name));
                target.run_within(&sql, stall)?;
            }
            if rows != expected {
                return Err(Error::new(Code::VerifyMismatch, "restored_rows_differ")
                    .with("table", qualified(schema, name))
                    .with("expected_rows", expected)
                    .with("found_rows", rows));
            }
            target.run_within("COMMIT", stall)?;
            Ok(rows)
        })
    }
}

/// Rows out of one server into another, in bounded memory.
fn between(from: &mut Session, read: &str, to: &mut Session, write: &str, stall: Duration) -> Result<u64> {
    let (send, receive) = mpsc::sync_channel::<Piece>(PIECES);
    thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let read = from.copy_out(read, stall, &mut |bytes| {
                send.send(Ok(Bytes::copy_from_slice(bytes))).map_err(|_| gone())
            });
            if let Err(error) = &read {
                // Nobody listens where writing has failed; then that is the error to tell.
                let _unheard = send.send(Err(error.clone()));
            }
            read
        });
        let written = to.copy_in(write, stall, &mut || receive.recv().ok());
        drop(receive);
        let read = reader.join().map_err(|_| Error::internal("copy rows", "a thread panicked"))?;
        let written = written?;
        read.map(|()| written)
    })
}

/// ` COLLATE …`, by which letters lose their case as people expect; nothing where the server has no such order.
fn collation(session: &mut Session) -> Result<String> {
    let wanted: Vec<String> = COLLATIONS.iter().map(|name| (*name).to_owned()).collect();
    let rows = session.query(
        "SELECT collname::text FROM pg_catalog.pg_collation
          WHERE collname::text = ANY ($1) AND collnamespace = 'pg_catalog'::pg_catalog.regnamespace
            AND collencoding IN (-1, pg_catalog.pg_char_to_encoding('UTF8'))
          ORDER BY pg_catalog.array_position($1, collname::text) LIMIT 1",
        &[(&wanted, Type::TEXT_ARRAY)],
    )?;
    let Some(row) = rows.first() else { return Ok(String::new()) };
    let name: String = row.try_get(0).map_err(|e| Error::internal("read a collation", e))?;
    Ok(format!(" COLLATE pg_catalog.{}", sql_name(&name)))
}

fn cut(text: String) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
