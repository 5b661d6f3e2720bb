//! The newest moment that a table holds, where it takes moments to find: by an index, or in a small table.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use coffre_model::replace::NewestValue;
use coffre_model::{Code, Error, Result};

use crate::postgres::connect::Session;
use crate::postgres::names::qualified;
use crate::postgres::tables::sql_name;

/// How long the server may search in one table.
const ONE: Duration = Duration::from_millis(400);
/// How long all of it may take.
const ALL: Duration = Duration::from_secs(4);
/// Pages of a table that is read without an index (8 MiB).
const SMALL: i32 = 1024;

struct Candidate {
    schema: String,
    table: String,
    column: String,
}

/// How well a name says that a column holds the time of the last change. Smaller is better.
fn rank(column: &str) -> u8 {
    let name = column.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    if has(&["updat", "modif", "chang"]) {
        0
    } else if has(&["creat", "insert", "added"]) {
        1
    } else if name == "at" || name.ends_with("_at") || name.ends_with("_on") || has(&["time", "date"]) {
        2
    } else {
        3
    }
}

/// The newest values. Tables for which it cannot be told quickly are left out.
pub(super) fn newest(session: &mut Session) -> Result<Vec<NewestValue>> {
    let rows = session.query(
        "SELECT n.nspname::text, c.relname::text, a.attname::text, a.atttypid::bigint, a.attnum
           FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
          WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND a.attnum > 0 AND NOT a.attisdropped
            AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
            AND a.atttypid IN ('pg_catalog.timestamptz'::pg_catalog.regtype, 'pg_catalog.timestamp'::pg_catalog.regtype, 'pg_catalog.date'::pg_catalog.regtype)
            AND pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT') AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
            AND (pg_catalog.pg_relation_size(c.oid) / pg_catalog.current_setting('block_size')::int < $1
                 OR EXISTS (SELECT FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid JOIN pg_catalog.pg_am m ON m.oid = x.relam
                             WHERE i.indrelid = c.oid AND i.indisvalid AND i.indpred IS NULL AND i.indkey[0] = a.attnum AND m.amname = 'btree'))
          ORDER BY 1, 2, 5",
        &[(&SMALL, tokio_postgres::types::Type::INT4)],
    )?;
    let mut best: BTreeMap<String, ((u8, u8), Candidate)> = BTreeMap::new();
    for row in &rows {
        let read = |e| Error::internal("read columns of times", e);
        let candidate = Candidate {
            schema: row.try_get(0).map_err(read)?,
            table: row.try_get(1).map_err(read)?,
            column: row.try_get(2).map_err(read)?,
        };
        let kind: i64 = row.try_get(3).map_err(read)?;
        // With a zone, without, a day: the more precise one.
        let precise = match kind {
            1184 => 0,
            1114 => 1,
            _ => 2,
        };
        let rank = (rank(&candidate.column), precise);
        let table = qualified(&candidate.schema, &candidate.table);
        match best.get(&table) {
            Some((known, _)) if *known <= rank => {}
            _ => _ = best.insert(table, (rank, candidate)),
        }
    }
    let began = Instant::now();
    let mut found = Vec::new();
    session.run(&format!(
        "SET statement_timeout = {}; SET lock_timeout = 200",
        ONE.as_millis()
    ))?;
    for (table, (_, one)) in best {
        if began.elapsed() >= ALL {
            break;
        }
        let sql = format!(
            "SELECT pg_catalog.max({})::text FROM ONLY {}.{}",
            sql_name(&one.column),
            sql_name(&one.schema),
            sql_name(&one.table)
        );
        match session.query(&sql, &[]) {
            Ok(rows) => {
                let value = rows
                    .first()
                    .and_then(|row| row.try_get::<_, Option<String>>(0).ok().flatten());
                found.extend(value.map(|value| NewestValue {
                    table,
                    column: one.column,
                    value,
                }));
            }
            // It takes longer, is locked, or is hidden: then it is not told.
            Err(error) if error.code() != Code::Cancelled && error.detail("sqlstate").is_some() => {}
            Err(error) => return Err(error),
        }
    }
    let wait = session.lock_wait().as_millis();
    session.run(&format!("SET statement_timeout = 0; SET lock_timeout = {wait}"))?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::rank;

    #[test]
    fn the_column_of_the_last_change_is_preferred() {
        let mut columns = ["birthday", "created_at", "Updated", "at", "x"];
        columns.sort_by_key(|column| rank(column));
        assert_eq!(columns, ["Updated", "created_at", "at", "birthday", "x"]);
    }
}
