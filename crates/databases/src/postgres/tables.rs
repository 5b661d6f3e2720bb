//! The tables of a database, and which of them a dump takes: by the source's globs, resolved here to exact names. `pg_dump`'s own patterns are
//! never used: one that matches nothing there is easily overlooked, and their syntax is another one.

use std::collections::{HashMap, HashSet};

use coffre_model::source::SourceOptions;
use coffre_model::{Code, Error, Result};
use tokio_postgres::types::Type;

use super::connect::Session;
use super::names::qualified;

/// How many names an error lists before it says "and so many more".
const LISTED: usize = 5;

/// What kind of relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Holds rows of its own.
    Ordinary,
    /// Its rows are in its partitions.
    Partitioned,
    /// Its rows are on another server.
    Foreign,
    /// Its rows are made anew after a restore.
    MaterialisedView,
    /// Has no rows of its own.
    View,
    /// Holds one value.
    Sequence,
}

/// One relation outside the system's schemas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) oid: u32,
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Its rows are lost in a crash, and not there on a standby.
    pub(crate) unlogged: bool,
    /// Belongs to an extension, which makes it anew.
    pub(crate) extension: bool,
    /// The user may see into its schema.
    pub(crate) schema_open: bool,
    /// The user may read it.
    pub(crate) readable: bool,
    /// Row-level security would hide rows from the user.
    pub(crate) hides_rows: bool,
    /// The table that it is a partition of, or that it serves as a sequence.
    pub(crate) part_of: Option<u32>,
}

impl Table {
    /// `schema.table`, as counts and people write it.
    pub(crate) fn display(&self) -> String {
        qualified(&self.schema, &self.name)
    }

    /// `"schema"."table"`: always quoted, the one form that SQL takes for any name.
    pub(crate) fn sql(&self) -> String {
        format!("{}.{}", sql_name(&self.schema), sql_name(&self.name))
    }
}

/// A name in double quotes. Every identifier in our SQL goes through here.
pub(crate) fn sql_name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Every relation outside the system's schemas, by schema and name.
pub(crate) fn list(session: &mut Session) -> Result<Vec<Table>> {
    let series = session.version().series;
    let hides_rows = if series >= super::tools::Series(9, 5) {
        "pg_catalog.row_security_active(c.oid)"
    } else {
        "false"
    };
    let partition_of = if series.0 >= 10 {
        "(SELECT i.inhparent FROM pg_catalog.pg_inherits i WHERE c.relispartition AND i.inhrelid = c.oid)"
    } else {
        "NULL::oid"
    };
    let sql = format!(
        "SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, c.relpersistence = 'u',
                EXISTS (SELECT FROM pg_catalog.pg_depend d
                         WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e'),
                pg_catalog.has_schema_privilege(n.oid, 'USAGE'),
                COALESCE(pg_catalog.has_table_privilege(c.oid, 'SELECT'), true),
                {hides_rows},
                COALESCE({partition_of},
                         (SELECT d.refobjid FROM pg_catalog.pg_depend d
                           WHERE c.relkind = 'S' AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid
                             AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype IN ('a', 'i') LIMIT 1))
           FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
          WHERE c.relkind IN ('r', 'p', 'f', 'm', 'v', 'S') AND c.relpersistence <> 't'
            AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
          ORDER BY 2, 3"
    );
    let rows = session.query(&sql, &[])?;
    rows.iter()
        .map(|row| read(row).map_err(|e| Error::internal("read the list of tables", e)))
        .collect()
}

fn read(row: &tokio_postgres::Row) -> std::result::Result<Table, tokio_postgres::Error> {
    Ok(Table {
        oid: row.try_get(0)?,
        schema: row.try_get(1)?,
        name: row.try_get(2)?,
        kind: match row.try_get::<_, &str>(3)? {
            "r" => Kind::Ordinary,
            "p" => Kind::Partitioned,
            "f" => Kind::Foreign,
            "m" => Kind::MaterialisedView,
            "v" => Kind::View,
            _ => Kind::Sequence,
        },
        unlogged: row.try_get(4)?,
        extension: row.try_get(5)?,
        schema_open: row.try_get(6)?,
        readable: row.try_get(7)?,
        hides_rows: row.try_get(8)?,
        part_of: row.try_get(9)?,
    })
}

/// What a dump takes and what it leaves out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    /// What is dumped, extensions' own tables aside.
    pub(crate) taken: Vec<Table>,
    /// What is left out by choice.
    pub(crate) excluded: Vec<Table>,
}

impl Selection {
    /// The tables whose rows are in the dump and are counted. On a standby, unlogged tables cannot be read.
    pub(crate) fn counted(&self, standby: bool) -> impl Iterator<Item = &Table> {
        self.taken
            .iter()
            .filter(move |table| table.kind == Kind::Ordinary && !(standby && table.unlogged))
    }
}

/// Decides which tables are dumped.
///
/// # Errors
/// `USAGE` where a glob matches no table, and where nothing would be left.
pub(crate) fn select(tables: &[Table], options: &SourceOptions) -> Result<Selection> {
    let own: Vec<&Table> = tables.iter().filter(|table| !table.extension).collect();
    let holds_rows = |table: &Table| matches!(table.kind, Kind::Ordinary | Kind::Partitioned | Kind::Foreign);
    let matching = |glob: &str, wanted: &dyn Fn(&Table) -> bool| -> Result<HashSet<u32>> {
        let found: HashSet<u32> = own
            .iter()
            .filter(|table| wanted(table) && glob_matches(glob, table))
            .map(|table| table.oid)
            .collect();
        if found.is_empty() {
            return Err(Error::new(Code::Usage, "glob_matches_nothing").with("glob", glob));
        }
        Ok(found)
    };
    let mut gone = HashSet::new();
    if !options.include.is_empty() {
        let mut kept = HashSet::new();
        for glob in &options.include {
            kept.extend(matching(glob, &holds_rows)?);
        }
        with_parts(&own, &mut kept);
        let others = own.iter().filter(|table| holds_rows(table) && !kept.contains(&table.oid));
        gone.extend(others.map(|table| table.oid));
    }
    for glob in &options.exclude {
        gone.extend(matching(glob, &|table| table.kind != Kind::Sequence)?);
    }
    with_parts(&own, &mut gone);
    let (excluded, taken): (Vec<&Table>, Vec<&Table>) = own.into_iter().partition(|table| gone.contains(&table.oid));
    if !gone.is_empty() && !taken.iter().any(|table| holds_rows(table)) {
        return Err(Error::new(Code::Usage, "choice_leaves_nothing"));
    }
    Ok(Selection {
        taken: taken.into_iter().cloned().collect(),
        excluded: excluded.into_iter().cloned().collect(),
    })
}

/// Adds the partitions of each table in the set, their partitions, and the sequences of all of them.
fn with_parts(tables: &[&Table], set: &mut HashSet<u32>) {
    let mut parts: HashMap<u32, Vec<u32>> = HashMap::new();
    for table in tables {
        if let Some(whole) = table.part_of {
            parts.entry(whole).or_default().push(table.oid);
        }
    }
    let mut open: Vec<u32> = set.iter().copied().collect();
    while let Some(oid) = open.pop() {
        for part in parts.get(&oid).into_iter().flatten() {
            if set.insert(*part) {
                open.push(*part);
            }
        }
    }
}

/// Whether a glob means this table. With a dot, the part before it is for the schema; without one, any schema will do. `*` stands for any
/// letters, `?` for one; between double quotes they stand for themselves, so that what a list shows (`public."Order"`) works as well.
fn glob_matches(glob: &str, table: &Table) -> bool {
    let (schema, name) = (letters(&table.schema), letters(&table.name));
    [tokens(glob, true), tokens(glob, false)].iter().any(|glob| {
        let dot = glob.iter().position(|token| *token == Token::Dot);
        let whole = dot.is_some_and(|at| wild(&glob[..at], &schema) && wild(&glob[at + 1..], &name));
        // Without a schema; the name itself may hold dots.
        whole || wild(glob, &name)
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Letter(char),
    One,
    Any,
    /// A dot that is not between quotes: between schema and name, or a dot.
    Dot,
}

/// Reads a glob: with quotes as SQL reads them, or with quotes that are letters.
fn tokens(glob: &str, quotes: bool) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut letters = glob.chars().peekable();
    let mut quoted = false;
    while let Some(letter) = letters.next() {
        tokens.push(match letter {
            '"' if quotes && quoted && letters.next_if_eq(&'"').is_some() => Token::Letter('"'),
            '"' if quotes => {
                quoted = !quoted;
                continue;
            }
            '*' if !quoted => Token::Any,
            '?' if !quoted => Token::One,
            '.' if !quoted => Token::Dot,
            other => Token::Letter(other),
        });
    }
    tokens
}

fn letters(text: &str) -> Vec<char> {
    text.chars().collect()
}

/// Letter by letter, without recursion: at a mismatch the last `*` takes one letter more.
fn wild(pattern: &[Token], text: &[char]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        let fits = match pattern.get(p) {
            Some(Token::Letter(letter)) => *letter == text[t],
            Some(Token::Dot) => text[t] == '.',
            Some(Token::One) => true,
            Some(Token::Any) => {
                star = Some((p, t));
                p += 1;
                continue;
            }
            None => false,
        };
        if fits {
            p += 1;
            t += 1;
        } else if let Some((at, taken)) = star {
            star = Some((at, taken + 1));
            p = at + 1;
            t = taken + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|token| *token == Token::Any)
}

/// Follows what hangs on the excluded tables: views go with them; anything else that could not be restored without them is refused.
///
/// # Errors
/// `REFUSED`, naming what needs them: a backup that does not restore is none.
pub(crate) fn settle_dependents(session: &mut Session, all: &[Table], selection: &mut Selection) -> Result<()> {
    if selection.excluded.is_empty() {
        return Ok(());
    }
    let mut gone: HashSet<u32> = selection.excluded.iter().map(|table| table.oid).collect();
    // Views on views on excluded tables. Each round finds at least one more, or is the last.
    loop {
        let oids: Vec<u32> = gone.iter().copied().collect();
        let rows = session.query(
            "SELECT DISTINCT r.ev_class FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid
              WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
                AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
                AND d.refobjid = ANY ($1) AND r.ev_class <> ALL ($1)",
            &[(&oids, Type::OID_ARRAY)],
        )?;
        let before = gone.len();
        let views = rows.iter().map(|row| row.try_get::<_, u32>(0));
        for view in views {
            gone.insert(view.map_err(|e| Error::internal("read dependent views", e))?);
        }
        if gone.len() == before {
            break;
        }
    }
    let oids: Vec<u32> = gone.iter().copied().collect();
    let rows = session.query(DEPENDENTS, &[(&oids, Type::OID_ARRAY)])?;
    if !rows.is_empty() {
        let names = rows.iter().map(|row| row.try_get::<_, String>(0));
        let names: std::result::Result<Vec<_>, _> = names.collect();
        let names = names.map_err(|e| Error::internal("read dependent objects", e))?;
        return Err(Error::new(Code::Refused, "pg_choice_breaks")
            .with("objects", listed(names.iter().map(String::as_str)))
            .with("count", names.len()));
    }
    let (excluded, taken) = all
        .iter()
        .filter(|table| !table.extension)
        .cloned()
        .partition(|table| gone.contains(&table.oid));
    *selection = Selection { taken, excluded };
    Ok(())
}

/// What needs one of the relations of `$1`, or their row types, and is not part of one of them: foreign keys, functions, columns, children,
/// policies.
const DEPENDENTS: &str = "
    WITH gone(classid, objid) AS (
        SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid, o FROM pg_catalog.unnest($1) o
        UNION ALL
        SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, t.oid
          FROM pg_catalog.pg_type t LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem AND t.typlen = -1
         WHERE t.typrelid = ANY ($1) OR e.typrelid = ANY ($1)
    ), hanging AS (
        SELECT d.classid, d.objid, d.objsubid,
               CASE d.classid
                   WHEN 'pg_catalog.pg_class'::pg_catalog.regclass THEN d.objid
                   WHEN 'pg_catalog.pg_constraint'::pg_catalog.regclass
                       THEN (SELECT conrelid FROM pg_catalog.pg_constraint WHERE oid = d.objid)
                   WHEN 'pg_catalog.pg_attrdef'::pg_catalog.regclass
                       THEN (SELECT adrelid FROM pg_catalog.pg_attrdef WHERE oid = d.objid)
                   WHEN 'pg_catalog.pg_trigger'::pg_catalog.regclass
                       THEN (SELECT tgrelid FROM pg_catalog.pg_trigger WHERE oid = d.objid)
                   WHEN 'pg_catalog.pg_rewrite'::pg_catalog.regclass
                       THEN (SELECT ev_class FROM pg_catalog.pg_rewrite WHERE oid = d.objid)
               END AS relation
          FROM pg_catalog.pg_depend d JOIN gone g ON g.classid = d.refclassid AND g.objid = d.refobjid
         WHERE d.deptype = 'n'
           AND d.classid::pg_catalog.regclass::text IN ('pg_class', 'pg_constraint', 'pg_attrdef', 'pg_trigger', 'pg_rewrite', 'pg_proc', 'pg_policy')
    )
    SELECT DISTINCT pg_catalog.pg_describe_object(classid, objid, 0)
      FROM hanging
     WHERE relation IS NULL
        OR (relation <> ALL ($1)
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_class c, pg_catalog.pg_index i
                             WHERE c.oid = relation AND c.relkind IN ('i', 'I') AND i.indexrelid = c.oid AND i.indrelid = ANY ($1)))
     ORDER BY 1";

/// The first few names, and how many more there are.
pub(crate) fn listed<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = names.len().saturating_sub(LISTED);
    let first: Vec<_> = names.take(LISTED).collect();
    match more {
        0 => first.join(", "),
        _ => format!("{} … (+{more})", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(oid: u32, schema: &str, name: &str, kind: Kind, part_of: Option<u32>) -> Table {
        Table {
            oid,
            schema: schema.into(),
            name: name.into(),
            kind,
            unlogged: false,
            extension: false,
            schema_open: true,
            readable: true,
            hides_rows: false,
            part_of,
        }
    }

    fn shop() -> Vec<Table> {
        vec![
            table(1, "public", "orders", Kind::Ordinary, None),
            table(2, "public", "Order", Kind::Ordinary, None),
            table(3, "log", "events", Kind::Partitioned, None),
            table(4, "log", "events_1", Kind::Ordinary, Some(3)),
            table(5, "log", "events_id", Kind::Sequence, Some(3)),
            table(6, "public", "a.b", Kind::Ordinary, None),
            table(7, "public", "latest", Kind::View, None),
        ]
    }

    fn names(include: &[&str], exclude: &[&str]) -> Result<Vec<String>> {
        let options = SourceOptions {
            include: include.iter().map(|s| (*s).to_owned()).collect(),
            exclude: exclude.iter().map(|s| (*s).to_owned()).collect(),
            ..SourceOptions::default()
        };
        Ok(select(&shop(), &options)?.taken.into_iter().map(|table| table.name).collect())
    }

    #[test]
    fn globs_choose() {
        assert_eq!(names(&[], &[]).unwrap().len(), 7);
        assert_eq!(names(&["public.orders"], &[]).unwrap(), ["orders", "latest"]);
        assert_eq!(names(&["log.*"], &[]).unwrap(), ["events", "events_1", "events_id", "latest"]);
        assert_eq!(
            names(&["events"], &[]).unwrap(),
            ["events", "events_1", "events_id", "latest"]
        );
        assert_eq!(names(&[], &["log.events"]).unwrap(), ["orders", "Order", "a.b", "latest"]);
        assert_eq!(names(&["?rder"], &[]).unwrap(), ["Order", "latest"]);
        assert_eq!(
            names(&[], &["public.\"Order\"", "public.a.b", "latest", "log.*"]).unwrap(),
            ["orders"]
        );
        assert_eq!(names(&[], &["a.b", "log.*"]).unwrap(), ["orders", "Order", "latest"]);
    }

    #[test]
    fn a_glob_that_matches_nothing_is_an_error() {
        for (include, exclude) in [(&["nope"][..], &[][..]), (&[], &["public.nope*"]), (&["orders", "x"], &[])] {
            let error = names(include, exclude).unwrap_err();
            assert_eq!((error.code(), error.text()), (Code::Usage, "glob_matches_nothing"));
        }
        assert_eq!(names(&[], &["*"]).unwrap_err().text(), "choice_leaves_nothing");
    }

    #[test]
    fn names_are_listed_briefly() {
        assert_eq!(listed(["a", "b"].into_iter()), "a, b");
        assert_eq!(
            listed(["a", "b", "c", "d", "e", "f", "g"].into_iter()),
            "a, b, c, d, e … (+2)"
        );
    }

    proptest! {
        #[test]
        fn what_a_list_shows_means_that_table(schema in ".{1,8}", name in ".{1,8}") {
            let shown = table(1, &schema, &name, Kind::Ordinary, None);
            prop_assert!(glob_matches(&shown.display(), &shown));
            prop_assert!(glob_matches(&shown.sql(), &shown));
        }

        #[test]
        fn a_name_matches_itself_and_stars_match_everything(text in "[^*?]{0,12}", cut in 0usize..13) {
            let wild = |glob: &str, text: &str| super::wild(&tokens(glob, false), &letters(text));
            prop_assert!(wild(&text, &text));
            prop_assert!(wild("*", &text));
            let at = text.char_indices().map(|(at, _)| at).nth(cut).unwrap_or(text.len());
            let (front, back) = (&text[..at], &text[at..]);
            prop_assert!(wild(&[front, "*"].concat(), &text));
            prop_assert!(wild(&["*", back].concat(), &text));
            prop_assert!(wild(&[front, "*", back].concat(), &text));
            prop_assert!(!wild(&[&text, "?"].concat(), &text));
        }
    }
}
