//! What the tables of an archive are made of: read from the commands that its table of contents holds for them. `pg_dump` writes them in one
//! form, so two archives by one program can be compared text by text.

use std::collections::BTreeMap;

use coffre_model::replace::{ColumnShape, TableShape};

use crate::postgres::names::qualified;

/// So much of one command is read.
pub(super) const COMMAND_MAX: usize = 256 << 10;
/// What is kept of all of them, at most. Beyond that nothing is told rather than a part.
const ALL_MAX: usize = 16 << 20;

/// The kinds of entries that say what a table is made of.
pub(super) fn says_shape(description: &[u8]) -> bool {
    matches!(
        description,
        b"TABLE" | b"CONSTRAINT" | b"CHECK CONSTRAINT" | b"FK CONSTRAINT" | b"DEFAULT"
    )
}

/// The tables so far.
#[derive(Default)]
pub(super) struct Shapes {
    tables: BTreeMap<String, Vec<ColumnShape>>,
    kept: usize,
    /// Something could not be read: then nothing is told.
    unknown: bool,
}

impl Shapes {
    /// Takes the command of one entry.
    pub(super) fn take(&mut self, description: &str, namespace: Option<&str>, tag: &str, command: &[u8]) {
        self.kept += command.len() + tag.len();
        let (Some(schema), Ok(command)) = (namespace, str::from_utf8(command)) else {
            self.unknown = true;
            return;
        };
        if command.len() >= COMMAND_MAX || self.kept > ALL_MAX {
            self.unknown = true;
            self.tables.clear();
            return;
        }
        let understood = match description {
            "TABLE" => {
                self.tables.insert(qualified(schema, tag), columns(command));
                true
            }
            _ => self.alter(schema, tag, command),
        };
        self.unknown |= !understood;
    }

    /// `ALTER TABLE … ADD CONSTRAINT …` and `… ALTER COLUMN … SET DEFAULT …`. The tag is the table's name, a space, and the constraint's or
    /// column's. Those of other things (a domain, a view, a foreign table) say nothing of a table.
    fn alter(&mut self, schema: &str, tag: &str, command: &str) -> bool {
        let known = tag.match_indices(' ').find_map(|(at, _)| {
            let table = qualified(schema, &tag[..at]);
            self.tables.contains_key(&table).then(|| (table, &tag[at + 1..]))
        });
        let Some((table, name)) = known else { return true };
        let Some(shape) = self.tables.get_mut(&table) else {
            return true;
        };
        let text = spaced(command);
        let text = text.trim_end_matches(';');
        if let Some(at) = find(text, " ADD CONSTRAINT ") {
            let rest = &text[at + " ADD CONSTRAINT ".len()..];
            let definition = rest[name_end(rest)..].trim().to_owned();
            shape.push(ColumnShape {
                name: name.to_owned(),
                definition,
            });
            return true;
        }
        let Some(at) = find(text, " SET DEFAULT ") else { return false };
        let Some(column) = shape.iter_mut().find(|column| column.name == name) else {
            return false;
        };
        column.definition.push_str(" DEFAULT ");
        column.definition.push_str(&text[at + " SET DEFAULT ".len()..]);
        true
    }

    /// All of them, by name.
    pub(super) fn finish(&mut self) -> Option<Vec<TableShape>> {
        let tables = std::mem::take(&mut self.tables).into_iter();
        (!self.unknown).then(|| tables.map(|(table, columns)| TableShape { table, columns }).collect())
    }
}

/// The columns and constraints of a `CREATE TABLE`, and what stands behind them (`PARTITION BY …`, `INHERITS …`).
fn columns(command: &str) -> Vec<ColumnShape> {
    let text = spaced(command);
    let text = text.trim_end_matches(';');
    let Some(open) = find(text, "(") else { return Vec::new() };
    let (pieces, behind) = pieces(&text[open + 1..]);
    let mut shapes: Vec<ColumnShape> = pieces.into_iter().filter(|piece| !piece.is_empty()).map(shape).collect();
    if !behind.is_empty() {
        shapes.push(ColumnShape {
            name: behind.to_owned(),
            definition: String::new(),
        });
    }
    shapes
}

fn shape(piece: &str) -> ColumnShape {
    let named = piece.strip_prefix("CONSTRAINT ").unwrap_or(piece);
    let end = name_end(named);
    ColumnShape {
        name: unquoted(&named[..end]),
        definition: named[end..].trim().to_owned(),
    }
}

/// Calls `see` for every byte that is not inside quotes, with its position, until it answers `false`. Quotes themselves are not shown.
fn outside(text: &str, mut see: impl FnMut(usize, u8) -> bool) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            quote @ (b'"' | b'\'') => {
                let escapes = quote == b'\'' && at > 0 && matches!(bytes[at - 1], b'E' | b'e');
                at += 1;
                while at < bytes.len() && bytes[at] != quote {
                    at += if escapes && bytes[at] == b'\\' { 2 } else { 1 };
                }
            }
            other => {
                if !see(at, other) {
                    return;
                }
            }
        }
        at += 1;
    }
}

/// Single spaces outside quotes.
fn spaced(text: &str) -> String {
    let text = text.trim();
    let mut spaced = String::with_capacity(text.len());
    let mut taken = 0;
    outside(text, |at, byte| {
        if byte.is_ascii_whitespace() {
            spaced.push_str(&text[taken..at]);
            if !spaced.ends_with(' ') {
                spaced.push(' ');
            }
            taken = at + 1;
        }
        true
    });
    spaced.push_str(text.get(taken..).unwrap_or_default());
    spaced
}

/// Where this stands outside quotes.
fn find(text: &str, wanted: &str) -> Option<usize> {
    let mut found = None;
    outside(text, |at, _| {
        if text.as_bytes()[at..].starts_with(wanted.as_bytes()) {
            found = Some(at);
        }
        found.is_none()
    });
    found
}

/// What stands between commas up to the closing parenthesis, and what follows that.
fn pieces(text: &str) -> (Vec<&str>, &str) {
    let mut pieces = Vec::new();
    let (mut depth, mut begin, mut end) = (0_u32, 0, text.len());
    outside(text, |at, byte| {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' if depth == 0 => {
                end = at;
                return false;
            }
            b')' | b']' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                pieces.push(text[begin..at].trim());
                begin = at + 1;
            }
            _ => {}
        }
        true
    });
    pieces.push(text[begin..end].trim());
    (pieces, text.get(end + 1..).unwrap_or_default().trim())
}

/// Where the name at the front ends.
fn name_end(text: &str) -> usize {
    if !text.starts_with('"') {
        return text.find(' ').unwrap_or(text.len());
    }
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match (bytes[at], bytes.get(at + 1)) {
            (b'"', Some(b'"')) => at += 2,
            (b'"', _) => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

fn unquoted(name: &str) -> String {
    match name.strip_prefix('"').and_then(|name| name.strip_suffix('"')) {
        Some(inner) => inner.replace("\"\"", "\""),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn column(name: &str, definition: &str) -> ColumnShape {
        ColumnShape {
            name: name.to_owned(),
            definition: definition.to_owned(),
        }
    }

    #[test]
    fn a_table_is_read() {
        let mut shapes = Shapes::default();
        shapes.take(
            "TABLE",
            Some("public"),
            "odd t",
            b"CREATE TABLE public.\"odd t\" (\n    id bigint NOT NULL,\n    \"a \"\" b\" numeric(10,2) DEFAULT 'x,  (y'::text,\n    e text DEFAULT E'\\\\''(',\n    CONSTRAINT \"my check\" CHECK ((id > 0))\n)\nPARTITION BY RANGE (id);\n",
        );
        shapes.take(
            "DEFAULT",
            Some("public"),
            "odd t id",
            b"ALTER TABLE ONLY public.\"odd t\" ALTER COLUMN id SET DEFAULT nextval('public.s'::regclass);\n",
        );
        shapes.take(
            "CONSTRAINT",
            Some("public"),
            "odd t key",
            b"ALTER TABLE ONLY public.\"odd t\"\n    ADD CONSTRAINT key PRIMARY KEY (id);\n",
        );
        shapes.take(
            "DEFAULT",
            Some("public"),
            "a_view x",
            b"ALTER TABLE ONLY public.a_view ALTER COLUMN x SET DEFAULT 1;",
        );
        let tables = shapes.finish().unwrap();
        assert_eq!(tables.len(), 1);
        assert_eq!(tables[0].table, "public.\"odd t\"");
        assert_eq!(
            tables[0].columns,
            [
                column("id", "bigint NOT NULL DEFAULT nextval('public.s'::regclass)"),
                column("a \" b", "numeric(10,2) DEFAULT 'x,  (y'::text"),
                column("e", "text DEFAULT E'\\\\''('"),
                column("my check", "CHECK ((id > 0))"),
                column("PARTITION BY RANGE (id)", ""),
                column("key", "PRIMARY KEY (id)"),
            ]
        );
    }

    #[test]
    fn nothing_is_told_rather_than_a_part() {
        let mut shapes = Shapes::default();
        shapes.take("TABLE", Some("public"), "t", b"CREATE TABLE public.t (\n);\n");
        shapes.take("TABLE", Some("public"), "l", b"CREATE TABLE public.l (a\xff int);");
        assert_eq!(shapes.finish(), None);
    }

    proptest! {
        #[test]
        fn nothing_panics(description in "TABLE|DEFAULT|CONSTRAINT", tag in ".{0,10}", command in "(CREATE TABLE |ALTER TABLE | ADD CONSTRAINT | SET DEFAULT |[(),\"'E\\\\ é\n;]|.){0,40}") {
            let mut shapes = Shapes::default();
            shapes.take("TABLE", Some("s"), "t", b"CREATE TABLE s.t (a int);");
            shapes.take(&description, Some("s"), &tag, command.as_bytes());
            shapes.take(&description, Some("s"), &format!("t {tag}"), command.as_bytes());
            let _either_way = shapes.finish();
        }
    }
}
