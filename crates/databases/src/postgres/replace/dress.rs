//! What belongs to a database itself and stands in no dump: its owner, privileges, settings, comment, labels and limit of connections. It is made
//! the same for the one that comes, so that nobody sees a difference but the data.

use coffre_model::{Error, Result};
use tokio_postgres::types::Type;

use crate::postgres::connect::Session;
use crate::postgres::tables::sql_name;

/// `'text'`, whatever `standard_conforming_strings` says.
fn literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    match doubled.contains('\\') {
        true => format!(" E'{}'", doubled.replace('\\', "\\\\")),
        false => format!("'{doubled}'"),
    }
}

/// One privilege of a database.
struct Privilege {
    grantor: String,
    grantor_oid: u32,
    /// Nothing for `PUBLIC`.
    grantee: Option<String>,
    grantee_oid: u32,
    word: String,
    grantable: bool,
}

fn unreadable(error: tokio_postgres::Error) -> Error {
    Error::internal("read what belongs to a database", error)
}

/// The command that makes a database as that of this number is: encoding, order, tablespace, owner.
pub(super) fn making(session: &mut Session, oid: u32, name: &str) -> Result<String> {
    let major = session.version().series.0;
    let (provider, locale) = match major {
        17.. => ("d.datlocprovider::text", "d.datlocale::text"),
        15 | 16 => ("d.datlocprovider::text", "d.daticulocale::text"),
        _ => ("'c'", "NULL::text"),
    };
    let rules = if major >= 16 { "d.daticurules::text" } else { "NULL::text" };
    let sql = format!(
        "SELECT pg_catalog.pg_encoding_to_char(d.encoding)::text, d.datcollate::text, d.datctype::text, {provider}, {locale}, {rules},
                (SELECT t.spcname::text FROM pg_catalog.pg_tablespace t, pg_catalog.pg_database o
                  WHERE t.oid = d.dattablespace AND o.datname = 'template0' AND o.dattablespace <> t.oid),
                pg_catalog.pg_get_userbyid(d.datdba)::text
           FROM pg_catalog.pg_database d WHERE d.oid = $1"
    );
    let rows = session.query(&sql, &[(&oid, Type::OID)])?;
    let row = rows
        .first()
        .ok_or_else(|| Error::internal("make a database", "the live one is not there"))?;
    let text = |at| row.try_get::<_, Option<String>>(at).map_err(unreadable);
    let must = |at| text(at).map(Option::unwrap_or_default);
    let mut sql = format!(
        "CREATE DATABASE {} TEMPLATE template0 ENCODING {} LC_COLLATE {} LC_CTYPE {} OWNER {}",
        sql_name(name),
        literal(&must(0)?),
        literal(&must(1)?),
        literal(&must(2)?),
        sql_name(&must(7)?),
    );
    // The usual one may be nobody's to name.
    if let Some(tablespace) = text(6)? {
        sql.push_str(&format!(" TABLESPACE {}", sql_name(&tablespace)));
    }
    if major >= 15 {
        let locale = must(4)?;
        match must(3)?.as_str() {
            "i" => {
                sql.push_str(&format!(" LOCALE_PROVIDER icu ICU_LOCALE {}", literal(&locale)));
                if let Some(rules) = text(5)? {
                    sql.push_str(&format!(" ICU_RULES {}", literal(&rules)));
                }
            }
            "b" => sql.push_str(&format!(" LOCALE_PROVIDER builtin BUILTIN_LOCALE {}", literal(&locale))),
            _ => sql.push_str(" LOCALE_PROVIDER libc"),
        }
    }
    Ok(sql)
}

/// The commands that dress the database `name` as that of this number is dressed now. They may run more than once.
pub(super) fn dressing(session: &mut Session, oid: u32, name: &str) -> Result<Vec<String>> {
    let quoted = sql_name(name);
    let rows = session.query(
        "SELECT pg_catalog.pg_get_userbyid(d.datdba)::text, d.datdba, d.datconnlimit, pg_catalog.shobj_description(d.oid, 'pg_database'), d.datacl IS NULL
           FROM pg_catalog.pg_database d WHERE d.oid = $1",
        &[(&oid, Type::OID)],
    )?;
    let row = rows
        .first()
        .ok_or_else(|| Error::internal("dress a database", "the live one is not there"))?;
    let owner: String = row.try_get(0).map_err(unreadable)?;
    let owner_oid: u32 = row.try_get(1).map_err(unreadable)?;
    let limit: i32 = row.try_get(2).map_err(unreadable)?;
    let comment: Option<String> = row.try_get(3).map_err(unreadable)?;
    let usual: bool = row.try_get(4).map_err(unreadable)?;
    let comment = comment.map_or_else(|| "NULL".to_owned(), |text| literal(&text));
    let mut commands = vec![
        format!("ALTER DATABASE {quoted} OWNER TO {}", sql_name(&owner)),
        format!("ALTER DATABASE {quoted} WITH CONNECTION LIMIT {limit}"),
        format!("COMMENT ON DATABASE {quoted} IS {comment}"),
    ];
    commands.extend(privileges(session, oid, name, &owner, owner_oid, usual)?);
    commands.extend(settings(session, oid, &quoted)?);
    let labels = session.query(
        "SELECT provider, label FROM pg_catalog.pg_shseclabel
          WHERE classoid = 'pg_catalog.pg_database'::pg_catalog.regclass AND objoid = $1 ORDER BY 1",
        &[(&oid, Type::OID)],
    )?;
    for row in &labels {
        let (provider, label): (String, String) = (row.try_get(0).map_err(unreadable)?, row.try_get(1).map_err(unreadable)?);
        commands.push(format!(
            "SECURITY LABEL FOR {} ON DATABASE {quoted} IS {}",
            sql_name(&provider),
            literal(&label)
        ));
    }
    Ok(commands)
}

/// The commands that close the database `name` to whom that of this number is closed: nobody should read it sooner than it is live.
pub(super) fn closing(session: &mut Session, oid: u32, name: &str) -> Result<Vec<String>> {
    let rows = session.query(
        "SELECT pg_catalog.pg_get_userbyid(d.datdba)::text, d.datdba, d.datacl IS NULL FROM pg_catalog.pg_database d WHERE d.oid = $1",
        &[(&oid, Type::OID)],
    )?;
    let Some(row) = rows.first() else { return Ok(Vec::new()) };
    let owner: String = row.try_get(0).map_err(unreadable)?;
    let owner_oid: u32 = row.try_get(1).map_err(unreadable)?;
    let usual: bool = row.try_get(2).map_err(unreadable)?;
    privileges(session, oid, name, &owner, owner_oid, usual)
}

/// Everything is taken away, and granted anew by whom it was granted.
fn privileges(session: &mut Session, oid: u32, name: &str, owner: &str, owner_oid: u32, usual: bool) -> Result<Vec<String>> {
    if usual {
        // What a database has from the beginning. Once changed, it is never told so again.
        return Ok(Vec::new());
    }
    let rows = session.query(
        "SELECT pg_catalog.pg_get_userbyid(a.grantor)::text, a.grantor, pg_catalog.pg_get_userbyid(a.grantee)::text, a.grantee, a.privilege_type, a.is_grantable
           FROM pg_catalog.pg_database d, pg_catalog.aclexplode(d.datacl) WITH ORDINALITY a(grantor, grantee, privilege_type, is_grantable, place)
          WHERE d.oid = $1 ORDER BY a.place",
        &[(&oid, Type::OID)],
    )?;
    let read = |row: &tokio_postgres::Row| -> std::result::Result<Privilege, tokio_postgres::Error> {
        let grantee_oid: u32 = row.try_get(3)?;
        Ok(Privilege {
            grantor: row.try_get(0)?,
            grantor_oid: row.try_get(1)?,
            grantee: if grantee_oid == 0 { None } else { Some(row.try_get(2)?) },
            grantee_oid,
            word: row.try_get(4)?,
            grantable: row.try_get(5)?,
        })
    };
    let mut left = rows
        .iter()
        .map(read)
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(unreadable)?;
    let quoted = sql_name(name);
    let mut commands = vec![
        format!("REVOKE ALL ON DATABASE {quoted} FROM PUBLIC CASCADE"),
        format!("REVOKE ALL ON DATABASE {quoted} FROM {} CASCADE", sql_name(owner)),
    ];
    // Granted by an earlier dressing, and perhaps no longer to be.
    let others = session.query(
        "SELECT DISTINCT pg_catalog.pg_get_userbyid(a.grantee)::text FROM pg_catalog.pg_database d, pg_catalog.aclexplode(d.datacl) a
          WHERE d.datname::text = $1 AND a.grantor = d.datdba AND a.grantee NOT IN (0, d.datdba)",
        &[(&name, Type::TEXT)],
    )?;
    for row in &others {
        let grantee: String = row.try_get(0).map_err(unreadable)?;
        commands.push(format!("REVOKE ALL ON DATABASE {quoted} FROM {} CASCADE", sql_name(&grantee)));
    }
    // Whoever passed something on must have been given it first.
    let mut may_grant: Vec<(u32, String)> = Vec::new();
    while !left.is_empty() {
        let before = left.len();
        let mut waiting = Vec::new();
        for one in left {
            let may = one.grantor_oid == owner_oid || may_grant.contains(&(one.grantor_oid, one.word.clone()));
            if !may {
                waiting.push(one);
                continue;
            }
            let to = one.grantee.as_deref().map_or_else(|| "PUBLIC".to_owned(), sql_name);
            let option = if one.grantable { " WITH GRANT OPTION" } else { "" };
            let grant = format!("GRANT {} ON DATABASE {quoted} TO {to}{option}", one.word);
            if one.grantor_oid == owner_oid {
                commands.push(grant);
            } else {
                commands.push(format!("SET LOCAL ROLE {}; {grant}; RESET ROLE", sql_name(&one.grantor)));
            }
            if one.grantable {
                may_grant.push((one.grantee_oid, one.word));
            }
        }
        if waiting.len() == before {
            return Err(Error::internal(
                "read the privileges of a database",
                "nobody could have granted them",
            ));
        }
        left = waiting;
    }
    Ok(commands)
}

/// Settings of the database, and of roles in it.
fn settings(session: &mut Session, oid: u32, quoted: &str) -> Result<Vec<String>> {
    let rows = session.query(
        "SELECT s.setrole, pg_catalog.pg_get_userbyid(s.setrole)::text, c.line
           FROM pg_catalog.pg_db_role_setting s, pg_catalog.unnest(s.setconfig) WITH ORDINALITY c(line, place)
          WHERE s.setdatabase = $1 ORDER BY s.setrole, c.place",
        &[(&oid, Type::OID)],
    )?;
    let mut commands = vec![format!("ALTER DATABASE {quoted} RESET ALL")];
    let mut roles: Vec<u32> = Vec::new();
    for row in &rows {
        let role: u32 = row.try_get(0).map_err(unreadable)?;
        let name: String = row.try_get(1).map_err(unreadable)?;
        let line: String = row.try_get(2).map_err(unreadable)?;
        let Some((setting, value)) = line.split_once('=') else {
            continue;
        };
        let of = match role {
            0 => format!("ALTER DATABASE {quoted}"),
            _ => format!("ALTER ROLE {} IN DATABASE {quoted}", sql_name(&name)),
        };
        if role != 0 && !roles.contains(&role) {
            roles.push(role);
            commands.push(format!("{of} RESET ALL"));
        }
        // A name may have parts (`app.user`), each of them quoted.
        let setting: Vec<String> = setting.split('.').map(sql_name).collect();
        let value = match setting.len() == 1 && is_list(line.split('=').next().unwrap_or_default()) {
            // Its parts stand there quoted already, as names are.
            true => value.to_owned(),
            false => literal(value),
        };
        let value = if value.trim().is_empty() { "''".to_owned() } else { value };
        commands.push(format!("{of} SET {} TO {value}", setting.join(".")));
    }
    Ok(commands)
}

/// Settings that are lists of names (`GUC_LIST_QUOTE` in `guc_tables.c`; `pg_dump` knows the same by name): one text would be one name.
fn is_list(setting: &str) -> bool {
    let lists = [
        "local_preload_libraries",
        "search_path",
        "session_preload_libraries",
        "shared_preload_libraries",
        "temp_tablespaces",
        "unix_socket_directories",
    ];
    lists.contains(&setting.to_ascii_lowercase().as_str())
}

/// Dresses it, all or nothing.
pub(super) fn put_on(session: &mut Session, commands: &[String]) -> Result<()> {
    session.run("BEGIN READ WRITE")?;
    for command in commands {
        if let Err(error) = session.run(command) {
            // The first error is the one to be told.
            let _taken_back_with_the_session = session.run("ROLLBACK");
            return Err(error);
        }
    }
    session.run("COMMIT")
}

/// Tries all of it and takes it back: what may not be done shows before anything was loaded, and no setting disturbs the load.
pub(super) fn try_on(session: &mut Session, commands: &[String]) -> Result<()> {
    session.run("BEGIN READ WRITE")?;
    let tried = commands.iter().try_for_each(|command| session.run(command));
    let back = session.run("ROLLBACK");
    tried.and(back)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_quoted_either_way() {
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\'b"), " E'a\\\\''b'");
    }
}
