//! A look at a database before anything is created: what can be refused is refused here.

use coffre_model::database::Probe;
use coffre_model::source::SourceOptions;
use coffre_model::{Code, Error, Result};

use super::connect::Session;
use super::tables::{self, Kind, Selection, Table, listed, sql_name};
use super::tools::{Program, Series, Version};

/// The oldest server that `pg_dump` 10 and newer can dump.
const OLDEST: Series = Series(9, 2);
/// What an empty database takes on disk, about.
const EMPTY_BYTES: i64 = 7 << 20;
/// With more objects than this, the script grants whole schemas.
const GRANTS_MAX: usize = 200;

/// What later work needs to know.
pub(crate) struct Seen {
    /// The server's.
    pub(crate) version: Version,
    pub(crate) standby: bool,
    pub(crate) superuser: bool,
    pub(crate) selection: Selection,
}

/// Refuses servers that no supported tool can dump.
pub(crate) fn check_version(session: &Session) -> Result<()> {
    let version = session.version();
    if version.series < OLDEST {
        return Err(Error::new(Code::Refused, "pg_server_too_old")
            .with("found", version.text.clone())
            .with("needed", OLDEST.to_string()));
    }
    Ok(())
}

/// Looks at tables and privileges.
///
/// # Errors
/// `PRIVILEGE` with the script that is missing; `USAGE` and `REFUSED` for a choice of tables that cannot be.
pub(crate) fn look(session: &mut Session, options: &SourceOptions) -> Result<Seen> {
    let all = tables::list(session)?;
    let mut selection = tables::select(&all, options)?;
    tables::settle_dependents(session, &all, &mut selection)?;
    let superuser: String = session.value("SELECT pg_catalog.current_setting('is_superuser')")?;
    let superuser = superuser == "on";
    if !superuser {
        let user: String = session.value("SELECT current_user::text")?;
        check_reading(&selection.taken, &user)?;
        if !options.no_large_objects {
            check_large_objects(session, &user)?;
        }
    }
    Ok(Seen {
        version: session.version().clone(),
        standby: session.value("SELECT pg_catalog.pg_is_in_recovery()")?,
        superuser,
        selection,
    })
}

/// What `pg_dump` would stumble over: it locks every table and reads every table and sequence.
fn check_reading(taken: &[Table], user: &str) -> Result<()> {
    let read = |table: &&Table| matches!(table.kind, Kind::Ordinary | Kind::Partitioned | Kind::Sequence);
    let closed: Vec<&Table> = taken
        .iter()
        .filter(read)
        .filter(|table| !table.readable || !table.schema_open)
        .collect();
    if !closed.is_empty() {
        let names: Vec<_> = closed.iter().map(|table| table.display()).collect();
        return Err(Error::new(Code::Privilege, "pg_privilege")
            .with("tables", listed(names.iter().map(String::as_str)))
            .with("count", closed.len())
            .with("user", user)
            .with("grants", grants(&closed, user)));
    }
    let hiding: Vec<String> = taken
        .iter()
        .filter(|table| table.hides_rows && table.kind == Kind::Ordinary)
        .map(Table::display)
        .collect();
    if !hiding.is_empty() {
        return Err(Error::new(Code::Privilege, "pg_row_security")
            .with("tables", listed(hiding.iter().map(String::as_str)))
            .with("count", hiding.len())
            .with("user", user)
            .with("grants", format!("ALTER ROLE {} BYPASSRLS;", sql_name(user))));
    }
    Ok(())
}

/// The commands that open what is closed.
fn grants(closed: &[&Table], user: &str) -> String {
    let user = sql_name(user);
    let mut lines = Vec::new();
    let mut schemas: Vec<&str> = closed.iter().map(|table| table.schema.as_str()).collect();
    schemas.sort_unstable();
    schemas.dedup();
    let shut = |schema: &str| closed.iter().any(|table| table.schema == schema && !table.schema_open);
    for schema in schemas.iter().filter(|schema| shut(schema)) {
        lines.push(format!("GRANT USAGE ON SCHEMA {} TO {user};", sql_name(schema)));
    }
    if closed.len() > GRANTS_MAX {
        for schema in schemas.into_iter().map(sql_name) {
            lines.push(format!("GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {user};"));
            lines.push(format!("GRANT SELECT ON ALL SEQUENCES IN SCHEMA {schema} TO {user};"));
        }
    } else {
        for table in closed.iter().filter(|table| !table.readable) {
            let what = if table.kind == Kind::Sequence { "SEQUENCE" } else { "TABLE" };
            lines.push(format!("GRANT SELECT ON {what} {} TO {user};", table.sql()));
        }
    }
    lines.join("\n")
}

fn check_large_objects(session: &mut Session, user: &str) -> Result<()> {
    let closed = if session.version().series.0 >= 18 {
        "NOT pg_catalog.has_largeobject_privilege(m.oid, 'SELECT')"
    } else {
        "NOT pg_catalog.pg_has_role(m.lomowner, 'USAGE')
         AND NOT EXISTS (SELECT FROM pg_catalog.aclexplode(m.lomacl) a
                          WHERE a.privilege_type = 'SELECT'
                            AND (a.grantee = 0 OR pg_catalog.pg_has_role(a.grantee, 'USAGE')))
         AND pg_catalog.current_setting('lo_compat_privileges') = 'off'"
    };
    let sql = format!(
        "SELECT pg_catalog.count(*), pg_catalog.min(m.oid::bigint) FROM pg_catalog.pg_largeobject_metadata m WHERE {closed}"
    );
    let rows = session.query(&sql, &[])?;
    let row = rows
        .first()
        .ok_or_else(|| Error::internal("look at large objects", "no answer"))?;
    let read = |e| Error::internal("look at large objects", e);
    let count: i64 = row.try_get(0).map_err(read)?;
    let first: Option<i64> = row.try_get(1).map_err(read)?;
    let Some(first) = first.filter(|_| count > 0) else {
        return Ok(());
    };
    Err(Error::new(Code::Privilege, "pg_large_objects_closed")
        .with("count", count)
        .with("first", first)
        .with("user", user)
        .with(
            "grants",
            format!("GRANT SELECT ON LARGE OBJECT {first} TO {};", sql_name(user)),
        ))
}

/// About how many bytes a dump will have: what tables take of the database, as far as statistics tell.
fn estimate(session: &mut Session) -> Result<u64> {
    let rows = session.query(
        "SELECT pg_catalog.pg_database_size(pg_catalog.current_database()),
                COALESCE((SELECT pg_catalog.sum(relpages::float8) FROM pg_catalog.pg_class WHERE relkind IN ('r', 't')), 0),
                COALESCE((SELECT pg_catalog.sum(relpages::float8) FROM pg_catalog.pg_class), 0)",
        &[],
    )?;
    let read = |e| Error::internal("estimate the size", e);
    let row = rows
        .first()
        .ok_or_else(|| Error::internal("estimate the size", "no answer"))?;
    let bytes: i64 = row.try_get(0).map_err(read)?;
    let (tables, all): (f64, f64) = (row.try_get(1).map_err(read)?, row.try_get(2).map_err(read)?);
    let share = if all > 0.0 { (tables / all).clamp(0.1, 1.0) } else { 0.75 };
    let bytes = bytes.saturating_sub(EMPTY_BYTES).max(0);
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an estimate, never negative"
    )]
    let estimate = (bytes as f64 * share) as u64;
    Ok(estimate)
}

/// Everything about the database that a person wants to know before a dump.
pub(crate) fn describe(session: &mut Session, seen: &Seen, program: &Program) -> Result<Probe> {
    let server = session.version().clone();
    let mut remarks = Vec::new();
    if program.version.series > server.series {
        remarks.push(
            Error::new(Code::ToolWrong, "pg_tool_newer")
                .with("tool", program.name)
                .with("path", program.path.to_string_lossy())
                .with("found", program.version.text.clone())
                .with("server", server.text.clone()),
        );
    }
    if seen.standby {
        remarks.push(Error::new(Code::Unreachable, "pg_standby"));
    }
    Ok(Probe {
        tool: program.tool(),
        estimated_bytes: Some(estimate(session)?),
        // Those that hold rows: a partitioned table is its partitions.
        tables: seen.selection.counted(seen.standby).count() as u64,
        tls: session.tls(),
        server_version: server.text,
        remarks,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(schema: &str, name: &str, kind: Kind, schema_open: bool) -> Table {
        Table {
            oid: 1,
            schema: schema.into(),
            name: name.into(),
            kind,
            unlogged: false,
            extension: false,
            schema_open,
            readable: false,
            hides_rows: false,
            part_of: None,
        }
    }

    #[test]
    fn the_script_grants_what_is_missing() {
        let tables = [
            closed("shop", "Orders", Kind::Ordinary, false),
            closed("public", "id", Kind::Sequence, true),
        ];
        let error = check_reading(&tables, "me\"; DROP").unwrap_err();
        assert_eq!(error.code(), Code::Privilege);
        assert_eq!(
            error.detail("grants").unwrap(),
            "GRANT USAGE ON SCHEMA \"shop\" TO \"me\"\"; DROP\";\n\
             GRANT SELECT ON TABLE \"shop\".\"Orders\" TO \"me\"\"; DROP\";\n\
             GRANT SELECT ON SEQUENCE \"public\".\"id\" TO \"me\"\"; DROP\";"
        );
        let many: Vec<_> = (0..300)
            .map(|i| closed("s", &format!("t{i}"), Kind::Ordinary, true))
            .collect();
        let grants = check_reading(&many, "me").unwrap_err().detail("grants").unwrap();
        assert_eq!(grants.lines().count(), 2);
    }
}
