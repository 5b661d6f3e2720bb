//! Replacing from within, where no second database can be made: one transaction in the live one that removes what is there and loads the backup.
//! Until its commit nobody sees anything of it; afterwards the database is exactly the backup. What became of the transaction of a killed process
//! is asked of the server by its number.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use coffre_model::database::{Access, TableCount};
use coffre_model::replace::Standing;
use coffre_model::{Cancel, Code, Error, Result};
use tokio_postgres::types::Type;

use super::facts::Facts;
use crate::postgres::connect::{Server, Session};
use crate::postgres::counts;
use crate::postgres::sql_load::Held;
use crate::postgres::tables::{listed, sql_name};
use crate::postgres::target::{self, Object};
use crate::postgres::tools::Version;

/// How long the transaction of a killed process gets to end.
const ENDING: Duration = Duration::from_secs(10);

/// The transaction.
pub(super) struct Within {
    server: Server,
    cancel: Cancel,
    version: Version,
    transaction: String,
    session: Option<Session>,
    back: Arc<Mutex<Option<Held>>>,
}

/// A session in the middle of the transaction, on its way through a load and back.
pub(crate) struct HandedOver {
    pub(crate) held: Held,
    /// Where it comes back to.
    pub(crate) back: Arc<Mutex<Option<Held>>>,
    /// Schemas of somebody else, with nothing of ours in them: nothing of them is loaded.
    pub(crate) foreign: BTreeSet<String>,
    /// Schemas that are there already.
    pub(crate) there: BTreeSet<String>,
    /// The user is no superuser.
    pub(crate) extensions_stay: bool,
    left: Vec<String>,
    database: String,
}

impl HandedOver {
    /// What a person should know of it.
    pub(super) fn remarks(&self) -> Vec<Error> {
        if self.left.is_empty() {
            return Vec::new();
        }
        vec![
            Error::new(Code::Privilege, "pg_replace_left")
                .with("database", self.database.clone())
                .with("objects", listed(self.left.iter().map(String::as_str)))
                .with("count", self.left.len()),
        ]
    }
}

impl Within {
    /// Begins it. Nothing is locked yet.
    pub(super) fn begin(server: &Server, access: &Access) -> Result<Within> {
        let mut session = Session::open(server, &server.database, &access.cancel)?;
        session.run("SET standard_conforming_strings = on; BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")?;
        let transaction: String = session.value("SELECT pg_catalog.txid_current()::text")?;
        Ok(Within {
            server: server.clone(),
            cancel: access.cancel.clone(),
            version: session.version().clone(),
            transaction,
            session: Some(session),
            back: Arc::default(),
        })
    }

    /// Its number.
    pub(super) fn transaction(&self) -> &str {
        &self.transaction
    }

    /// Removes what is there, and hands the session over to a load.
    pub(super) fn hand_over(&mut self) -> Result<HandedOver> {
        let mut session = self
            .session
            .take()
            .ok_or_else(|| Error::internal("load within a database", "the transaction is not there"))?;
        let superuser: String = session.value("SELECT pg_catalog.current_setting('is_superuser')")?;
        let cleared = clear(&mut session)?;
        Ok(HandedOver {
            held: session.into_held()?,
            back: self.back.clone(),
            foreign: cleared.foreign,
            there: cleared.there,
            extensions_stay: superuser != "on",
            left: cleared.left,
            database: self.server.database.clone(),
        })
    }

    /// The session, after the load has given it back.
    fn session(&mut self) -> Result<&mut Session> {
        if self.session.is_none() {
            let held = self.back.lock().unwrap_or_else(PoisonError::into_inner).take();
            let held = held.ok_or_else(|| Error::internal("replace within a database", "nothing was loaded"))?;
            let session = Session::from_held(held, &self.server, self.version.clone(), &self.cancel)?;
            self.session = Some(session);
        }
        self.session
            .as_mut()
            .ok_or_else(|| Error::internal("replace within a database", "no session"))
    }

    /// Exact rows, as they will be.
    pub(super) fn counts(&mut self, stall: Duration) -> Result<Vec<TableCount>> {
        let session = self.session()?;
        // What the text may have set for itself.
        session.run("RESET SESSION AUTHORIZATION; SET search_path = ''; SET row_security = off; SET statement_timeout = 0")?;
        let (counted, _) = counts::readable(session)?;
        counts::count(session, &counted, stall)
    }

    /// The moment.
    pub(super) fn commit(&mut self) -> Result<()> {
        let transaction = self.transaction.clone();
        let session = self.session()?;
        // A transaction that has failed answers a COMMIT by taking everything back.
        let now: String = session.value("SELECT pg_catalog.txid_current()::text")?;
        if now != transaction {
            return Err(Error::new(Code::Refused, "sql_transaction_lost"));
        }
        session.run("COMMIT")?;
        let outcome: Option<String> = session.value(&format!("SELECT pg_catalog.txid_status({transaction})"))?;
        match outcome.as_deref() {
            Some("committed") => Ok(()),
            _ => Err(Error::new(Code::Refused, "sql_transaction_lost")),
        }
    }
}

/// What removing left.
#[derive(Default)]
struct Cleared {
    foreign: BTreeSet<String>,
    there: BTreeSet<String>,
    left: Vec<String>,
}

/// Removes everything that a dump of this database would hold and that this user may remove. Extensions stay, and the schemas that they are in.
fn clear(session: &mut Session) -> Result<Cleared> {
    let mut cleared = Cleared::default();
    let with_extensions: BTreeSet<String> = texts(
        session,
        "SELECT n.nspname::text FROM pg_catalog.pg_namespace n
          WHERE EXISTS (SELECT FROM pg_catalog.pg_extension e WHERE e.extnamespace = n.oid)
             OR EXISTS (SELECT FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class c ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND c.oid = d.objid
                         WHERE d.deptype = 'e' AND c.relnamespace = n.oid)",
    )?
    .into_iter()
    .collect();
    let mut objects = target::objects(session)?;
    // Schemas first: they take with them what is in them.
    objects.sort_by_key(|object| object.schema_itself.is_none());
    session.run("SELECT pg_catalog.lo_unlink(m.oid) FROM pg_catalog.pg_largeobject_metadata m WHERE pg_catalog.pg_has_role(m.lomowner, 'USAGE')")?;
    let mut ours: BTreeSet<String> = BTreeSet::new();
    let mut kept: Vec<&Object> = Vec::new();
    for object in &objects {
        if let Some(name) = &object.schema_itself
            && with_extensions.contains(name)
        {
            cleared.there.insert(name.clone());
            continue;
        }
        if removed(session, &object.removal)? {
            ours.extend(object.schema.clone());
        } else {
            kept.push(object);
        }
    }
    // Something that could not be removed may have gone with something else.
    let still: BTreeSet<String> = target::objects(session)?.into_iter().map(|object| object.shown).collect();
    for object in kept.into_iter().filter(|object| still.contains(&object.shown)) {
        cleared.left.push(object.shown.clone());
        if let Some(name) = &object.schema_itself {
            cleared.there.insert(name.clone());
            if !ours.contains(name) {
                cleared.foreign.insert(name.clone());
            }
        }
    }
    default_privileges(session)?;
    public(session)?;
    Ok(cleared)
}

/// Runs a command that may not be allowed. `false`: it was not, and nothing has changed.
fn removed(session: &mut Session, command: &str) -> Result<bool> {
    match session.run(&format!("SAVEPOINT coffre; {command}; RELEASE SAVEPOINT coffre")) {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.detail("sqlstate").as_deref(), Some("42501" | "2BP01")) => {
            session.run("ROLLBACK TO SAVEPOINT coffre; RELEASE SAVEPOINT coffre")?;
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn texts(session: &mut Session, sql: &str) -> Result<Vec<String>> {
    let rows = session.query(sql, &[])?;
    rows.iter()
        .map(|row| row.try_get(0).map_err(|e| Error::internal("read what is in a database", e)))
        .collect()
}

/// Takes default privileges back to what they are from the beginning: they would be granted on what is loaded.
fn default_privileges(session: &mut Session) -> Result<()> {
    let rows = session.query(
        "SELECT DISTINCT pg_catalog.pg_get_userbyid(d.defaclrole)::text, n.nspname::text, d.defaclobjtype::text,
                CASE WHEN a.grantee = 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(a.grantee)::text END
           FROM pg_catalog.pg_default_acl d LEFT JOIN pg_catalog.pg_namespace n ON n.oid = d.defaclnamespace
                LEFT JOIN LATERAL pg_catalog.aclexplode(d.defaclacl) a ON true
          WHERE pg_catalog.pg_has_role(d.defaclrole, 'USAGE')",
        &[],
    )?;
    let read = |e| Error::internal("read default privileges", e);
    let mut whole = BTreeSet::new();
    for row in &rows {
        let role: String = row.try_get(0).map_err(read)?;
        let schema: Option<String> = row.try_get(1).map_err(read)?;
        let kind: String = row.try_get(2).map_err(read)?;
        let grantee: Option<String> = row.try_get(3).map_err(read)?;
        let kind = match kind.as_str() {
            "r" => "TABLES",
            "S" => "SEQUENCES",
            "f" => "FUNCTIONS",
            "T" => "TYPES",
            "n" => "SCHEMAS",
            _ => "LARGE OBJECTS",
        };
        let place = schema
            .as_deref()
            .map_or_else(String::new, |name| format!(" IN SCHEMA {}", sql_name(name)));
        let who = grantee.as_deref().map_or_else(|| "PUBLIC".to_owned(), sql_name);
        let begin = format!("ALTER DEFAULT PRIVILEGES FOR ROLE {}{place}", sql_name(&role));
        removed(session, &format!("{begin} REVOKE ALL ON {kind} FROM {who}"))?;
        if schema.is_none() {
            whole.insert((begin, kind, role));
        }
    }
    for (begin, kind, role) in whole {
        removed(session, &format!("{begin} GRANT ALL ON {kind} TO {}", sql_name(&role)))?;
        let everybody = match kind {
            "FUNCTIONS" => "EXECUTE",
            "TYPES" => "USAGE",
            _ => continue,
        };
        removed(session, &format!("{begin} GRANT {everybody} ON {kind} TO PUBLIC"))?;
    }
    Ok(())
}

/// Makes the schema `public` what it is in a new database, as far as it is ours.
fn public(session: &mut Session) -> Result<()> {
    let rows = session.query(
        "SELECT DISTINCT CASE WHEN a.grantee = 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(a.grantee)::text END
           FROM pg_catalog.pg_namespace n, pg_catalog.aclexplode(n.nspacl) a
          WHERE n.nspname = 'public' AND a.grantee <> n.nspowner AND pg_catalog.pg_has_role(n.nspowner, 'USAGE')",
        &[],
    )?;
    for row in &rows {
        let who: Option<String> = row.try_get(0).map_err(|e| Error::internal("read privileges", e))?;
        let who = who.as_deref().map_or_else(|| "PUBLIC".to_owned(), sql_name);
        removed(session, &format!("REVOKE ALL ON SCHEMA public FROM {who} CASCADE"))?;
    }
    let words = if session.version().series.0 >= 15 {
        "USAGE"
    } else {
        "USAGE, CREATE"
    };
    let ours: Option<bool> = session.value(
        "SELECT (SELECT pg_catalog.pg_has_role(nspowner, 'USAGE') FROM pg_catalog.pg_namespace WHERE nspname = 'public')",
    )?;
    match ours {
        Some(true) => {
            removed(session, &format!("GRANT {words} ON SCHEMA public TO PUBLIC"))?;
            removed(session, "COMMENT ON SCHEMA public IS 'standard public schema'")?;
        }
        Some(false) => {}
        None => {
            removed(
                session,
                &format!(
                    "CREATE SCHEMA public; GRANT {words} ON SCHEMA public TO PUBLIC; COMMENT ON SCHEMA public IS 'standard public schema'"
                ),
            )?;
        }
    }
    Ok(())
}

/// What became of it. The remark says where that cannot be told.
pub(super) fn recover(server: &Server, facts: &Facts, cancel: &Cancel) -> Result<(Standing, Option<Error>)> {
    let Some(transaction) = &facts.transaction else {
        return Ok((Standing::Before, None));
    };
    let mut session = Session::open(server, &server.database, cancel)?;
    let began = std::time::Instant::now();
    loop {
        session.query(
            "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
              WHERE application_name = $1 AND usename = current_user AND pid <> pg_catalog.pg_backend_pid()",
            &[(&facts.application, Type::TEXT)],
        )?;
        let number: i64 = transaction
            .parse()
            .map_err(|e| Error::internal("read the number of a transaction", e))?;
        let rows = session.query("SELECT pg_catalog.txid_status($1)", &[(&number, Type::INT8)])?;
        let status: Option<String> = rows.first().and_then(|row| row.try_get(0).ok().flatten());
        match status.as_deref() {
            Some("committed") => return Ok((Standing::After, None)),
            Some("aborted") => return Ok((Standing::Before, None)),
            Some(_) if began.elapsed() < ENDING => std::thread::sleep(Duration::from_millis(20)),
            Some(_) => {
                return Err(Error::new(Code::Stalled, "pg_query_stalled")
                    .with("seconds", ENDING.as_secs())
                    .with("database", server.database.clone()));
            }
            // So long ago that the server has forgotten it.
            None => {
                let remark = Error::new(Code::Refused, "pg_replace_forgotten").with("database", server.database.clone());
                return Ok((Standing::Before, Some(remark)));
            }
        }
    }
}
