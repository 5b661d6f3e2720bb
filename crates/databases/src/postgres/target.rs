//! The target of a restore: a new database, or one with nothing in it. Nothing that exists is ever touched.

use std::collections::BTreeSet;
use std::time::Duration;

use coffre_model::database::TargetLook;
use coffre_model::{Cancel, Code, Error, Result};
use tokio_postgres::types::Type;

use super::connect::{Server, Session};
use super::probe;
use super::tables::{listed, sql_name};
use super::tools::Series;

/// Databases to connect to for making or removing another one. Every server has one of them.
const ELSEWHERE: [&str; 2] = ["postgres", "template1"];
/// Databases that new ones are made from.
pub(crate) const TEMPLATES: [&str; 2] = ["template0", "template1"];
/// How long removing a database waits for sessions that are just ending.
const REMOVE_LIMIT: Duration = Duration::from_secs(30);

/// A target that was looked at, and what must be known to take everything back.
pub(crate) enum Target {
    /// It was not there, we asked for it, and no answer came: perhaps made.
    Asked,
    /// Made by us.
    Made,
    /// There before, with nothing in it but these extensions.
    Empty { extensions: BTreeSet<String> },
}

/// Looks at the target; makes it where it does not exist. `made` knows at every moment what there is to take back.
///
/// # Errors
/// `REFUSED` naming what is in it; `PRIVILEGE` where a database may not be made; what connecting can bring.
pub(crate) fn prepare(server: &Server, cancel: &Cancel, made: &mut Option<Target>) -> Result<()> {
    match Session::open(server, &server.database, cancel) {
        Ok(mut session) => {
            probe::check_version(&session)?;
            assert_empty(server, &mut session)?;
            let extensions = extensions(&mut session)?;
            *made = Some(Target::Empty { extensions });
            Ok(())
        }
        Err(error) if error.text() == "pg_database_absent" => make(server, cancel, made),
        Err(error) => Err(error),
    }
}

/// Looks only: what [`prepare`] would refuse now is refused here.
///
/// # Errors
/// As [`prepare`].
pub(crate) fn look(server: &Server, cancel: &Cancel) -> Result<TargetLook> {
    let (exists, session) = match Session::open(server, &server.database, cancel) {
        Ok(mut session) => {
            probe::check_version(&session)?;
            assert_empty(server, &mut session)?;
            (true, session)
        }
        Err(error) if error.text() == "pg_database_absent" => {
            let mut session = elsewhere(server, cancel)?;
            probe::check_version(&session)?;
            let may_make: bool =
                session.value("SELECT rolsuper OR rolcreatedb FROM pg_catalog.pg_roles WHERE rolname = current_user")?;
            if !may_make {
                return Err(may_not_make(server));
            }
            (false, session)
        }
        Err(error) => return Err(error),
    };
    Ok(TargetLook {
        exists,
        server_version: Some(session.version().text.clone()),
        space: None,
    })
}

fn assert_empty(server: &Server, session: &mut Session) -> Result<()> {
    // What lies in a template comes with every database that is made from it.
    let template: bool =
        session.value("SELECT datistemplate FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()")?;
    if template || TEMPLATES.contains(&server.database.as_str()) {
        return Err(Error::new(Code::Refused, "pg_replace_template").with("database", server.database.clone()));
    }
    let found = objects(session)?;
    if found.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = found.iter().map(|object| object.shown.as_str()).collect();
    Err(Error::new(Code::Refused, "pg_target_not_empty")
        .with("database", server.database.clone())
        .with("objects", listed(names.iter().copied()))
        .with("count", names.len()))
}

pub(crate) fn may_not_make(server: &Server) -> Error {
    Error::new(Code::Privilege, "pg_create_privilege")
        .with("database", server.database.clone())
        .with("user", server.user.clone())
}

/// Takes back what was made. Asks nothing of the target's own state but what it checks.
///
/// # Errors
/// `REFUSED` where somebody else has put something into a database that was there before; then nothing is removed.
pub(crate) fn discard(server: &Server, target: &Target) -> Result<()> {
    // Taking back happens after a failure or a cancel, and must not be stopped by it.
    let free = Cancel::new();
    match target {
        Target::Asked => remove_if_made(server, &free),
        Target::Made => remove(server, &free),
        Target::Empty { extensions } => empty(server, extensions, &free),
    }
}

/// A session in another database of the server, to make, rename or remove one.
pub(crate) fn elsewhere(server: &Server, cancel: &Cancel) -> Result<Session> {
    let mut last = None;
    for database in ELSEWHERE.into_iter().filter(|name| *name != server.database) {
        match Session::open(server, database, cancel) {
            Ok(session) => return Ok(session),
            // It is the server that is silent, not the database: the next one would take as long.
            Err(error) if error.text() == "pg_no_answer" => return Err(error),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| Error::internal("connect", "no database to connect to")))
}

/// Makes a database with nothing in it. `made` knows at every moment what there is to take back.
///
/// # Errors
/// `PRIVILEGE`, and `REFUSED` where there is one of this name.
pub(crate) fn make(server: &Server, cancel: &Cancel, made: &mut Option<Target>) -> Result<()> {
    let mut session = elsewhere(server, cancel)?;
    probe::check_version(&session)?;
    let encoding: String = session
        .value("SELECT pg_catalog.pg_encoding_to_char(encoding)::text FROM pg_catalog.pg_database WHERE datname = 'template0'")?;
    // template0 has nothing in it, whatever somebody put into template1. UTF8 takes the text of every other encoding.
    let mut sql = format!("CREATE DATABASE {} TEMPLATE template0", sql_name(&server.database));
    if encoding != "UTF8" {
        sql.push_str(" ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'");
        if session.version().series >= Series(15, 0) {
            sql.push_str(" LOCALE_PROVIDER libc");
        }
    }
    *made = Some(Target::Asked);
    let error = match session.run(&sql) {
        Ok(()) => {
            *made = Some(Target::Made);
            return Ok(());
        }
        Err(error) => error,
    };
    let state = error.detail("sqlstate");
    // The server said no; a session that was ended by somebody (class 57) may have come through nevertheless.
    if state.as_deref().is_some_and(|state| !state.starts_with("57")) {
        *made = None;
    }
    Err(match state.as_deref() {
        Some("42501") => may_not_make(server),
        Some("42P04") => Error::new(Code::Refused, "pg_target_appeared").with("database", server.database.clone()),
        _ => error,
    })
}

/// Takes back a database that was asked for without an answer. It was not there a moment before; still, only one with nothing in it and
/// nobody in it is removed.
fn remove_if_made(server: &Server, cancel: &Cancel) -> Result<()> {
    let mut session = elsewhere(server, cancel)?;
    // The server may still be making it, for somebody who does not listen any more.
    session.end_others()?;
    match Session::open(server, &server.database, cancel) {
        Ok(mut target) => {
            if !objects(&mut target)?.is_empty() {
                return Ok(());
            }
        }
        Err(error) if error.text() == "pg_database_absent" => return Ok(()),
        Err(error) => return Err(error),
    }
    session.run_within(
        &format!("DROP DATABASE IF EXISTS {}", sql_name(&server.database)),
        REMOVE_LIMIT,
    )
}

/// Removes a database, whoever is connected. One that is not there is removed already.
pub(crate) fn remove(server: &Server, cancel: &Cancel) -> Result<()> {
    let mut session = elsewhere(server, cancel)?;
    let name = sql_name(&server.database);
    give_up_subscriptions(server, &mut session, cancel)?;
    if session.version().series.0 >= 13 {
        return session.run_within(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"), REMOVE_LIMIT);
    }
    // Our own sessions there may still be ending; nobody else knows of a database that we made a moment ago.
    let mut tries = 50;
    loop {
        let dropped = session.run_within(&format!("DROP DATABASE IF EXISTS {name}"), REMOVE_LIMIT);
        tries -= 1;
        match dropped {
            Err(error) if error.detail("sqlstate").as_deref() == Some("55006") && tries > 0 => {
                super::dump::end_sessions(server);
                std::thread::sleep(Duration::from_millis(100));
            }
            other => return other,
        }
    }
}

/// The command that opens or closes a database.
pub(crate) fn allowing(name: &str, open: bool) -> String {
    format!("ALTER DATABASE {} WITH ALLOW_CONNECTIONS {open}", sql_name(name))
}

/// A server keeps a database that has a subscription. Those that a dump brought were never enabled, and nobody waits for them at the other end:
/// they are removed without asking there. One that somebody has enabled since stays, and with it the database, until they have removed it.
fn give_up_subscriptions(server: &Server, elsewhere: &mut Session, cancel: &Cancel) -> Result<()> {
    if elsewhere.version().series.0 < 10 {
        return Ok(());
    }
    let rows = elsewhere.query(
        "SELECT s.subname::text, s.subenabled FROM pg_catalog.pg_subscription s
           JOIN pg_catalog.pg_database d ON d.oid = s.subdbid WHERE d.datname = $1",
        &[(&server.database, Type::TEXT)],
    )?;
    let found: std::result::Result<Vec<(String, bool)>, _> =
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect();
    let found = found.map_err(|e: tokio_postgres::Error| Error::internal("read subscriptions", e))?;
    if found.is_empty() || found.iter().any(|(_, enabled)| *enabled) {
        return Ok(());
    }
    // What is kept for an undo lets nobody in.
    elsewhere.run(&allowing(&server.database, true))?;
    let mut inside = Session::open(server, &server.database, cancel)?;
    for (name, _) in found {
        inside.run(&format!("ALTER SUBSCRIPTION {} SET (slot_name = NONE)", sql_name(&name)))?;
        inside.run(&format!("DROP SUBSCRIPTION {}", sql_name(&name)))?;
    }
    Ok(())
}

/// Something in a database that no extension and no system made.
pub(crate) struct Object {
    /// For people.
    pub(crate) shown: String,
    /// What removes it.
    pub(crate) removal: String,
    /// The transaction that made it.
    made_by: String,
    /// The schema that it is in.
    pub(crate) schema: Option<String>,
    /// Its name, where it is a schema itself.
    pub(crate) schema_itself: Option<String>,
}

/// Catalogues whose entries are things that a person makes, by the name of their class: with a schema column, or without.
const IN_SCHEMAS: &[(&str, &str, &str)] = &[
    ("pg_class", "relnamespace", "x.relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c')"),
    ("pg_proc", "pronamespace", "true"),
    (
        "pg_type",
        "typnamespace",
        "x.typtype IN ('b', 'd', 'e', 'r') AND NOT (x.typelem <> 0 AND x.typlen = -1)",
    ),
    ("pg_operator", "oprnamespace", "true"),
    ("pg_opclass", "opcnamespace", "true"),
    ("pg_opfamily", "opfnamespace", "true"),
    ("pg_collation", "collnamespace", "true"),
    ("pg_conversion", "connamespace", "true"),
    ("pg_ts_config", "cfgnamespace", "true"),
    ("pg_ts_dict", "dictnamespace", "true"),
    ("pg_ts_parser", "prsnamespace", "true"),
    ("pg_ts_template", "tmplnamespace", "true"),
];
const WITHOUT_SCHEMA: &[(u32, &str, &str)] = &[
    (
        9,
        "pg_namespace",
        "x.nspname !~ '^pg_' AND x.nspname NOT IN ('public', 'information_schema')",
    ),
    (9, "pg_language", "true"),
    (9, "pg_cast", "true"),
    (9, "pg_foreign_data_wrapper", "true"),
    (9, "pg_foreign_server", "true"),
    (10, "pg_event_trigger", "true"),
    (10, "pg_publication", "true"),
];
/// Every object that initdb makes has a smaller number.
const FIRST_OWN: u32 = 16_384;

/// Everything in a database that a person has made.
pub(crate) fn objects(session: &mut Session) -> Result<Vec<Object>> {
    let class = |catalogue: &str| format!("'pg_catalog.{catalogue}'::pg_catalog.regclass");
    // Made by an extension, or a part of something else (the sequence of an identity column) that is seen and removed with it.
    let by_itself = |catalogue: &str| {
        format!(
            "NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                          WHERE d.classid = {} AND d.objid = x.oid AND (d.deptype = 'e' OR (d.deptype = 'i' AND d.refobjid <> x.oid)))",
            class(catalogue)
        )
    };
    let mut parts = Vec::new();
    for (catalogue, schema, wanted) in IN_SCHEMAS {
        parts.push(format!(
            "SELECT {}::pg_catalog.oid AS classid, x.oid AS objid, x.xmin::text AS made_by, n.nspname::text AS within, NULL::text AS itself
               FROM pg_catalog.{catalogue} x JOIN pg_catalog.pg_namespace n ON n.oid = x.{schema}
              WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND {wanted} AND {}",
            class(catalogue),
            by_itself(catalogue)
        ));
    }
    let major = session.version().series.0;
    for (_, catalogue, wanted) in WITHOUT_SCHEMA.iter().filter(|(since, ..)| major >= *since) {
        let itself = if *catalogue == "pg_namespace" {
            "x.nspname::text"
        } else {
            "NULL"
        };
        parts.push(format!(
            "SELECT {}, x.oid, x.xmin::text, NULL, {itself} FROM pg_catalog.{catalogue} x WHERE x.oid >= {FIRST_OWN} AND {wanted} AND {}",
            class(catalogue),
            by_itself(catalogue)
        ));
    }
    parts.push(
        "SELECT 'pg_catalog.pg_largeobject'::pg_catalog.regclass, x.oid, x.xmin::text, NULL, NULL FROM pg_catalog.pg_largeobject_metadata x"
            .to_owned(),
    );
    // An inner SELECT per row: `pg_identify_object` answers nothing for what is dropped meanwhile.
    let sql = format!(
        "SELECT pg_catalog.pg_describe_object(o.classid, o.objid, 0), (i.i).type, (i.i).identity, o.objid::bigint, o.made_by, o.within, o.itself
           FROM ({}) o, LATERAL (SELECT pg_catalog.pg_identify_object(o.classid, o.objid, 0) AS i) i
          WHERE (i.i).identity IS NOT NULL ORDER BY 1",
        parts.join(" UNION ALL ")
    );
    let rows = session.query(&sql, &[])?;
    let read = |row: &tokio_postgres::Row| -> std::result::Result<Object, tokio_postgres::Error> {
        let (kind, identity): (String, String) = (row.try_get(1)?, row.try_get(2)?);
        Ok(Object {
            shown: row.try_get(0)?,
            removal: removal(&kind, &identity, row.try_get(3)?),
            made_by: row.try_get(4)?,
            schema: row.try_get(5)?,
            schema_itself: row.try_get(6)?,
        })
    };
    rows.iter()
        .map(|row| read(row).map_err(|e| Error::internal("read what is in a database", e)))
        .collect()
}

/// The command that removes an object, from what `pg_identify_object` calls it. Its identity is quoted already.
fn removal(kind: &str, identity: &str, oid: i64) -> String {
    let kind = match kind {
        "large object" => {
            return format!("SELECT pg_catalog.lo_unlink(oid) FROM pg_catalog.pg_largeobject_metadata WHERE oid = {oid}");
        }
        "composite type" => "TYPE".to_owned(),
        "foreign-data wrapper" => "FOREIGN DATA WRAPPER".to_owned(),
        other => other.to_uppercase(),
    };
    format!("DROP {kind} IF EXISTS {identity} CASCADE")
}

fn extensions(session: &mut Session) -> Result<BTreeSet<String>> {
    let rows = session.query("SELECT extname::text FROM pg_catalog.pg_extension", &[])?;
    let names = rows.iter().map(|row| row.try_get(0));
    names
        .collect::<std::result::Result<_, tokio_postgres::Error>>()
        .map_err(|e| Error::internal("read the extensions", e))
}

/// Empties a database that was empty before, provided that one single transaction, the load's, made everything in it. What a load changes on
/// what was there before (privileges and comment of the schema `public`) stays.
fn empty(server: &Server, extensions_before: &BTreeSet<String>, cancel: &Cancel) -> Result<()> {
    let mut session = Session::open(server, &server.database, cancel)?;
    session.run("BEGIN")?;
    let found = objects(&mut session)?;
    let makers: BTreeSet<&str> = found.iter().map(|object| object.made_by.as_str()).collect();
    if makers.len() > 1 {
        let names: Vec<_> = found.iter().map(|object| object.shown.as_str()).collect();
        return Err(Error::new(Code::Refused, "pg_target_changed")
            .with("database", server.database.clone())
            .with("objects", listed(names.iter().copied()))
            .with("count", names.len()));
    }
    for name in extensions(&mut session)?.difference(extensions_before) {
        session.run(&format!("DROP EXTENSION IF EXISTS {} CASCADE", sql_name(name)))?;
    }
    for object in &found {
        session.run(&object.removal)?;
    }
    session.run("COMMIT")
}
