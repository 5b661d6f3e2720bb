//! What is known of the live database before it is replaced: who we are to it, and what forbids it.

use coffre_model::replace::{LiveSession, ReplaceWay};
use coffre_model::{Cancel, Code, Error, Result};
use tokio_postgres::types::Type;

use super::moment;
use crate::postgres::connect::{Server, Session};
use crate::postgres::tables::listed;
use crate::postgres::target::{self, TEMPLATES};

/// The database from which ours is renamed, and which programs expect to be there: it keeps its place (some managed servers have no other one).
const HOME: &str = "postgres";

/// A live database, and what we may do with it.
pub(super) struct Survey {
    /// Its number; nothing where there is none of this name.
    pub(super) oid: Option<u32>,
    /// The server's system identifier, where it tells.
    pub(super) system: Option<String>,
    pub(super) way: ReplaceWay,
    pub(super) refusals: Vec<Error>,
    pub(super) remarks: Vec<Error>,
}

impl Survey {
    /// Which database this is.
    pub(super) fn identity(&self) -> String {
        format!("{}/{}", self.system.as_deref().unwrap_or("?"), self.oid.unwrap_or(0))
    }
}

/// Another database of the server to work from, where there is one that can do it.
fn foothold(server: &Server, cancel: &Cancel) -> Result<Option<Session>> {
    match target::elsewhere(server, cancel) {
        Ok(session) => Ok(Some(session)),
        Err(error) if matches!(error.code(), Code::Cancelled) || error.text() == "pg_no_answer" => Err(error),
        // Some servers let a user into one database alone.
        Err(_) => Ok(None),
    }
}

/// The two databases' two-phase transactions that nobody has ended.
pub(super) fn prepared(database: &str, count: usize) -> Error {
    Error::new(Code::Refused, "pg_replace_prepared")
        .with("database", database)
        .with("count", count)
}

/// Looks. `live`: a session in the live database, where it is there.
pub(super) fn survey(server: &Server, live: Option<&mut Session>, cancel: &Cancel) -> Result<Survey> {
    let mut foothold = foothold(server, cancel)?;
    let Some(live) = live else {
        return absent(server, foothold.as_mut(), cancel);
    };
    let name = server.database.as_str();
    let mut refusals = Vec::new();
    let mut remarks = Vec::new();
    let series = live.version().series;
    if series.0 < 10 {
        // Older ones cannot tell what became of a transaction.
        refusals.push(
            Error::new(Code::Refused, "pg_replace_server_old")
                .with("found", live.version().text.clone())
                .with("needed", "10"),
        );
    }
    // Since 16, membership alone does not let one hand objects over.
    let may = if series.0 >= 16 { "SET" } else { "MEMBER" };
    let rows = live.query(
        &format!(
            "SELECT d.oid, d.datistemplate, r.rolsuper, r.rolcreatedb AND pg_catalog.pg_has_role(d.datdba, 'USAGE') AND pg_catalog.pg_has_role(d.datdba, '{may}'),
                    pg_catalog.pg_is_in_recovery(),
                    NOT EXISTS (SELECT FROM pg_catalog.aclexplode(d.datacl) a WHERE a.grantor <> d.datdba)
                      AND NOT EXISTS (SELECT FROM pg_catalog.pg_db_role_setting s WHERE s.setdatabase = d.oid AND s.setrole <> 0)
                      AND NOT EXISTS (SELECT FROM pg_catalog.pg_shseclabel l WHERE l.objoid = d.oid)
               FROM pg_catalog.pg_database d, pg_catalog.pg_roles r WHERE d.datname = pg_catalog.current_database() AND r.rolname = current_user"
        ),
        &[],
    )?;
    let row = rows
        .first()
        .ok_or_else(|| Error::internal("look at a database", "it is not listed"))?;
    let read = |e| Error::internal("look at a database", e);
    let oid: u32 = row.try_get(0).map_err(read)?;
    let template: bool = row.try_get(1).map_err(read)?;
    let superuser: bool = row.try_get(2).map_err(read)?;
    let owner: bool = row.try_get(3).map_err(read)?;
    let standby: bool = row.try_get(4).map_err(read)?;
    let plain: bool = row.try_get(5).map_err(read)?;
    let refuse = |text| Error::new(Code::Refused, text).with("database", name);
    if standby {
        refusals.push(refuse("pg_replace_standby"));
    }
    if template || TEMPLATES.contains(&name) {
        refusals.push(refuse("pg_replace_template"));
    }
    let count: i64 = live
        .value("SELECT pg_catalog.count(*) FROM pg_catalog.pg_prepared_xacts WHERE database = pg_catalog.current_database()")?;
    if count > 0 {
        refusals.push(prepared(name, usize::try_from(count).unwrap_or(usize::MAX)));
    }
    for (sql, text) in [
        (
            "SELECT slot_name::text FROM pg_catalog.pg_replication_slots WHERE database = pg_catalog.current_database() ORDER BY 1",
            "pg_replace_slots",
        ),
        (
            "SELECT subname::text FROM pg_catalog.pg_subscription
              WHERE subdbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()) ORDER BY 1",
            "pg_replace_subscriptions",
        ),
    ] {
        if series.0 < 10 {
            break;
        }
        let rows = live.query(sql, &[])?;
        let names: std::result::Result<Vec<String>, _> = rows.iter().map(|row| row.try_get(0)).collect();
        let names = names.map_err(read)?;
        if !names.is_empty() {
            refusals.push(
                refuse(text)
                    .with("names", listed(names.iter().map(String::as_str)))
                    .with("count", names.len()),
            );
        }
    }
    let beside = name != HOME && (superuser || (owner && plain));
    let possible = match &mut foothold {
        Some(session) if beside => moment::is_possible(session)?,
        _ => false,
    };
    let way = if possible { ReplaceWay::Swap } else { ReplaceWay::Within };
    if way == ReplaceWay::Within {
        let may_make: bool = live.value(
            "SELECT pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE')
                 OR EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
                               AND pg_catalog.has_schema_privilege(n.oid, 'CREATE'))",
        )?;
        if !may_make {
            refusals.push(
                Error::new(Code::Privilege, "pg_replace_privilege")
                    .with("database", name)
                    .with("user", server.user.clone()),
            );
        }
        remarks.push(
            Error::new(Code::Privilege, "pg_replace_within")
                .with("database", name)
                .with("user", server.user.clone()),
        );
    } else if !superuser {
        let rows = live.query(
            "SELECT DISTINCT a.usename::text FROM pg_catalog.pg_stat_activity a
              WHERE a.datname = pg_catalog.current_database() AND a.pid <> pg_catalog.pg_backend_pid() AND a.usesysid IS NOT NULL
                AND NOT pg_catalog.pg_has_role(a.usesysid, 'USAGE')
                AND NOT (pg_catalog.pg_has_role('pg_signal_backend', 'USAGE')
                         AND EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.oid = a.usesysid AND NOT r.rolsuper))
              ORDER BY 1",
            &[],
        )?;
        let names: std::result::Result<Vec<String>, _> = rows.iter().map(|row| row.try_get(0)).collect();
        let names = names.map_err(read)?;
        if !names.is_empty() {
            remarks.push(
                Error::new(Code::Privilege, "pg_replace_sessions_foreign")
                    .with("database", name)
                    .with("user", server.user.clone())
                    .with("users", listed(names.iter().map(String::as_str))),
            );
        }
    }
    Ok(Survey {
        oid: Some(oid),
        system: system(live)?,
        way,
        refusals,
        remarks,
    })
}

/// Of a database that is not there: it is made.
fn absent(server: &Server, foothold: Option<&mut Session>, cancel: &Cancel) -> Result<Survey> {
    let mut own = None;
    let session = match foothold {
        Some(session) => session,
        None => own.insert(target::elsewhere(server, cancel)?),
    };
    let mut refusals = Vec::new();
    let may_make: bool = session.value("SELECT rolsuper OR rolcreatedb FROM pg_catalog.pg_roles WHERE rolname = current_user")?;
    if !may_make {
        refusals.push(target::may_not_make(server));
    }
    if !moment::is_possible(session)? {
        refusals.push(
            Error::new(Code::Refused, "pg_replace_server_old")
                .with("found", session.version().text.clone())
                .with("needed", "11"),
        );
    }
    Ok(Survey {
        oid: None,
        system: system(session)?,
        way: ReplaceWay::Swap,
        refusals,
        remarks: Vec::new(),
    })
}

/// What tells one server from another. Some managed servers do not tell.
pub(super) fn system(session: &mut Session) -> Result<Option<String>> {
    match session.value("SELECT system_identifier::text FROM pg_catalog.pg_control_system()") {
        Ok(known) => Ok(Some(known)),
        Err(error) if error.detail("sqlstate").is_some() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Who is connected to the session's database, Coffre's session itself left out.
pub(super) fn sessions(session: &mut Session, application: &str) -> Result<Vec<LiveSession>> {
    let rows = session.query(
        "SELECT COALESCE(a.application_name, ''), a.usename::text, a.xact_start IS NOT NULL FROM pg_catalog.pg_stat_activity a
          WHERE a.datname = pg_catalog.current_database() AND a.usesysid IS NOT NULL AND a.application_name IS DISTINCT FROM $1
          ORDER BY a.backend_start",
        &[(&application, Type::TEXT)],
    )?;
    let read = |row: &tokio_postgres::Row| -> std::result::Result<LiveSession, tokio_postgres::Error> {
        Ok(LiveSession {
            program: row.try_get(0)?,
            user: row.try_get(1)?,
            in_transaction: row.try_get(2)?,
        })
    };
    rows.iter()
        .map(|row| read(row).map_err(|e| Error::internal("read who is connected", e)))
        .collect()
}
