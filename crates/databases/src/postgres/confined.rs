//! Who does what on a throw-away server, so that a dump can do no harm there.
//!
//! A dump holds code: functions that an index, a check or a trigger runs while it is loaded. A superuser's code may start programs and write files as
//! the user that the server runs as (`COPY … PROGRAM`, `lo_export`, untrusted languages, C functions). So nothing that a dump holds is ever run as
//! one: it is loaded, counted and looked into as [`LOADER`], who owns the database, is a member of every role that the dump names, and has none of
//! the server's own rights. [`KEEPER`], the superuser, runs statements of ours alone, made of names, before the first byte of the dump is executed.
//!
//! What a superuser does for the loader without being one:
//! - roles, through `coffre_throw_away.role`, which hands over no role that was there before;
//! - the right to put things into every schema for every role (a superuser hands objects over to whomever), through an event trigger;
//! - extensions that only a superuser may make, those alone whose functions read and write nothing outside of the database ([`HARMLESS`]).

use std::collections::BTreeSet;

use coffre_model::{Cancel, Code, Error, Result};
use tokio_postgres::types::Type;

use super::archive::{Archive, ArchiveEntry};
use super::connect::{Server, Session};
use super::server::{CLUSTER, KEEPER, LOADER};
use super::tables::{listed, sql_name};

/// Every role that a dump names belongs to it.
const OWNERS: &str = "coffre_owners";
/// Whether this session is a loader's on a server of ours.
pub(crate) const IS_CONFINED: &str = "SELECT session_user = 'coffre_loader' AND EXISTS
    (SELECT FROM pg_catalog.pg_settings WHERE name = 'cluster_name' AND setting = 'coffre throw-away')";

/// Extensions that only a superuser may make (before 13: all), and whose functions stay inside of the database. Not among them, and not to be added:
/// what reaches files, programs or the network (`adminpack`, `dblink`, `file_fdw`, `postgres_fdw`, `plpython3u`, `pg_cron`, …).
const HARMLESS: &[&str] = &[
    "address_standardizer",
    "amcheck",
    "bloom",
    "btree_gin",
    "btree_gist",
    "citext",
    "cube",
    "dict_int",
    "dict_xsyn",
    "earthdistance",
    "fuzzystrmatch",
    "hll",
    "hstore",
    "hypopg",
    "intagg",
    "intarray",
    "ip4r",
    "isn",
    "lo",
    "ltree",
    "moddatetime",
    "pageinspect",
    "pg_buffercache",
    "pg_freespacemap",
    "pg_similarity",
    "pg_stat_statements",
    "pg_trgm",
    "pg_visibility",
    "pgcrypto",
    "pgrouting",
    "pgrowlocks",
    "pgstattuple",
    "postgis",
    "postgis_sfcgal",
    "postgis_topology",
    "prefix",
    "rum",
    "seg",
    "semver",
    "sslinfo",
    "tablefunc",
    "tcn",
    "tsm_system_rows",
    "tsm_system_time",
    "unaccent",
    "unit",
    "uuid-ossp",
    "vector",
];

/// What only a superuser can make or own, and what no row depends on: left out of a rehearsal, and told.
const SUPERUSER_ONLY: &[&str] = &[
    "EVENT TRIGGER",
    "PUBLICATION",
    "PUBLICATION TABLE",
    "PUBLICATION TABLES IN SCHEMA",
    "SUBSCRIPTION",
    "SUBSCRIPTION TABLE",
];

fn as_keeper(server: &Server, database: &str, cancel: &Cancel) -> Result<Session> {
    let mut keeper = server.clone();
    KEEPER.clone_into(&mut keeper.user);
    database.clone_into(&mut keeper.database);
    Session::open(&keeper, database, cancel)
}

/// Makes the loader of a new server.
pub(super) fn make_users(server: &Server, cancel: &Cancel) -> Result<()> {
    let mut keeper = as_keeper(server, "postgres", cancel)?;
    // May see rows whatever policies there are: they are counted.
    keeper.run(&format!(
        "CREATE ROLE {LOADER} LOGIN NOSUPERUSER NOCREATEROLE CREATEDB BYPASSRLS"
    ))?;
    keeper.run(&format!("CREATE ROLE {OWNERS} NOLOGIN"))
}

/// Whether a target can be a server of ours at all: only a loader is told apart from everybody else, by its name and its socket.
pub(super) fn may_be_throw_away(server: &Server) -> bool {
    server.user == LOADER && server.host.starts_with('/')
}

/// Whether this session's server is one of ours.
pub(super) fn is_throw_away(server: &Server, session: &mut Session) -> Result<bool> {
    debug_assert!(IS_CONFINED.contains(LOADER) && IS_CONFINED.contains(CLUSTER));
    Ok(may_be_throw_away(server) && session.value(IS_CONFINED)?)
}

/// Prepares the database for a dump, before anything of it is executed. `extensions`: those that it asks for, each with its schema. Answers the
/// schemas that were made for them; their owners are theirs.
pub(super) fn open_to(server: &Server, archive: Option<&Archive>, cancel: &Cancel) -> Result<BTreeSet<String>> {
    let mut keeper = as_keeper(server, &server.database, cancel)?;
    let database = sql_name(&server.database);
    keeper.run(&format!(
        "CREATE SCHEMA IF NOT EXISTS coffre_throw_away;
         GRANT USAGE ON SCHEMA coffre_throw_away TO {LOADER};
         CREATE OR REPLACE FUNCTION coffre_throw_away.role(wanted text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
             SET search_path = pg_catalog, pg_temp AS $function$
         BEGIN
             IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = wanted::pg_catalog.name) THEN
                 EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN NOSUPERUSER', wanted::pg_catalog.name);
                 EXECUTE pg_catalog.format('GRANT %I TO {LOADER}', wanted::pg_catalog.name);
                 EXECUTE pg_catalog.format('GRANT {OWNERS} TO %I', wanted::pg_catalog.name);
             END IF;
         END $function$;
         CREATE OR REPLACE FUNCTION coffre_throw_away.schema() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER
             SET search_path = pg_catalog, pg_temp AS $function$
         DECLARE made pg_catalog.name;
         BEGIN
             FOR made IN SELECT n.nspname FROM pg_catalog.pg_event_trigger_ddl_commands() c
                           JOIN pg_catalog.pg_namespace n ON n.oid = c.objid AND c.classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass
             LOOP
                 EXECUTE pg_catalog.format('GRANT ALL ON SCHEMA %I TO {OWNERS}', made);
             END LOOP;
         END $function$;
         DROP EVENT TRIGGER IF EXISTS coffre_throw_away;
         CREATE EVENT TRIGGER coffre_throw_away ON ddl_command_end WHEN TAG IN ('CREATE SCHEMA') EXECUTE PROCEDURE coffre_throw_away.schema();
         GRANT ALL ON SCHEMA public TO {OWNERS};
         GRANT ALL ON DATABASE {database} TO {OWNERS};"
    ))?;
    // Since 15 its owner is whoever owns the database.
    if keeper.version().series.0 < 15 {
        keeper.run(&format!("ALTER SCHEMA public OWNER TO {LOADER}"))?;
    }
    match archive {
        Some(archive) => make_extensions(&mut keeper, archive),
        None => Ok(BTreeSet::new()),
    }
}

/// Makes the extensions that only a superuser may make, in a database that nobody has put anything into.
fn make_extensions(keeper: &mut Session, archive: &Archive) -> Result<BTreeSet<String>> {
    let trusted = if keeper.version().series.0 >= 13 {
        "v.trusted"
    } else {
        "false"
    };
    let rows = keeper.query(
        &format!(
            "SELECT v.name::text FROM pg_catalog.pg_available_extensions e
               JOIN pg_catalog.pg_available_extension_versions v ON v.name = e.name AND v.version = e.default_version
              WHERE NOT {trusted} AND v.name::text = ANY ($1)"
        ),
        &[(&HARMLESS, Type::TEXT_ARRAY)],
    )?;
    let names: std::result::Result<BTreeSet<String>, _> = rows.iter().map(|row| row.try_get(0)).collect();
    let there = names.map_err(|e| Error::internal("read the extensions", e))?;
    let mut schemas = BTreeSet::new();
    for (name, schema) in archive.extensions().into_iter().flatten() {
        if !there.contains(name) {
            continue;
        }
        if !matches!(schema.as_str(), "public" | "pg_catalog") && !schema.starts_with("pg_") && schemas.insert(schema.clone()) {
            keeper.run(&format!("CREATE SCHEMA IF NOT EXISTS {}", sql_name(schema)))?;
            let made = |e: &&ArchiveEntry| e.description == "SCHEMA" && e.tag == *schema;
            let owner = archive
                .entries()
                .into_iter()
                .flatten()
                .find(made)
                .and_then(|e| e.owner.as_ref());
            if let Some(make) = owner.and_then(|owner| make_role(owner)) {
                keeper.run(&make)?;
            }
            let owner = owner
                .filter(|owner| make_role(owner).is_some())
                .map_or(LOADER, String::as_str);
            keeper.run(&format!("ALTER SCHEMA {} OWNER TO {}", sql_name(schema), sql_name(owner)))?;
        }
        keeper.run(&format!(
            "CREATE EXTENSION IF NOT EXISTS {} WITH SCHEMA {} CASCADE",
            sql_name(name),
            sql_name(schema)
        ))?;
    }
    // Rows of an extension's own tables are in the dump where the extension says so.
    keeper.run(&format!(
        "DO LANGUAGE plpgsql $do$ DECLARE part pg_catalog.regclass; BEGIN
             FOR part IN SELECT c.oid::pg_catalog.regclass FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class c ON c.oid = d.objid
                          WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype = 'e' AND c.relkind IN ('r', 'p', 'S')
             LOOP EXECUTE pg_catalog.format('GRANT ALL ON %s TO {LOADER}', part); END LOOP; END $do$"
    ))?;
    Ok(schemas)
}

/// Makes the roles that a dump names. Nobody can log in as them.
pub(super) fn make_roles<'r>(session: &mut Session, roles: impl Iterator<Item = &'r String>) -> Result<()> {
    for sql in roles.filter_map(|role| make_role(role)) {
        session.run(&sql)?;
    }
    Ok(())
}

/// The statement that makes a role where it is not there; nothing for the system's own names, which cannot be made.
pub(crate) fn make_role(role: &str) -> Option<String> {
    if role.is_empty() || role.starts_with("pg_") || matches!(role, "public" | "none") || role.contains('\0') {
        return None;
    }
    let text = role.replace('\\', "\\\\").replace('\'', "''");
    // Without an answer: in a transaction of text nobody reads one.
    Some(format!(
        "DO LANGUAGE plpgsql $coffre$ BEGIN PERFORM coffre_throw_away.role({}); END $coffre$",
        // The body is in dollars: a name that holds their tag is hidden from it.
        format_args!("E'{}'", text.replace('$', "\\x24"))
    ))
}

/// Whether an entry is left out of a rehearsal: itself, or something about it.
pub(super) fn is_left_out(entry: &ArchiveEntry) -> bool {
    let about = matches!(entry.description.as_str(), "COMMENT" | "ACL" | "SECURITY LABEL");
    let of = |what: &&&str| entry.tag.strip_prefix(**what).is_some_and(|rest| rest.starts_with(' '));
    SUPERUSER_ONLY.contains(&entry.description.as_str()) || about && SUPERUSER_ONLY.iter().any(|what| of(&what))
}

/// What is left out, told; nothing where nothing is.
pub(super) fn left_out(archive: &Archive) -> Option<Error> {
    let entries = archive.entries().into_iter().flatten();
    let left_out = entries.filter(|entry| matches!(entry.description.as_str(), "EVENT TRIGGER" | "PUBLICATION" | "SUBSCRIPTION"));
    let names: Vec<String> = left_out
        .map(|entry| format!("{} {}", entry.description.to_lowercase(), entry.tag))
        .collect();
    (!names.is_empty()).then(|| {
        Error::new(Code::Privilege, "drill_left_out")
            .with("objects", listed(names.iter().map(String::as_str)))
            .with("count", names.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_roles_stay_names() {
        assert_eq!(make_role("pg_execute_server_program"), None);
        assert_eq!(make_role("public"), None);
        let made = make_role("it's $coffre$ \\ x").unwrap();
        assert_eq!(
            made,
            "DO LANGUAGE plpgsql $coffre$ BEGIN PERFORM coffre_throw_away.role(E'it''s \\x24coffre\\x24 \\\\ x'); END $coffre$"
        );
    }

    #[test]
    fn what_reaches_outside_is_not_harmless() {
        for name in [
            "adminpack",
            "dblink",
            "file_fdw",
            "postgres_fdw",
            "plpython3u",
            "plperlu",
            "pg_cron",
            "lo_export",
            "xml2",
        ] {
            assert!(!HARMLESS.contains(&name));
        }
        assert!(HARMLESS.is_sorted());
    }
}
