//! What a statement is, as far as a restore must know before it is run.

use coffre_model::error::{Code, Error};

use super::lexer::Statement;
use super::words::{Word, Words};

/// What is to be done with a statement.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Run it.
    Run,
    /// Leave it out: it begins or ends a transaction, and the whole load is one.
    Transaction,
    /// Rows follow it.
    Rows(Rows),
    /// It changes how strings are read: whether a backslash in `'…'` is an ordinary character.
    StandardStrings(bool),
    /// It says how the rest of the text is encoded (upper case, as written).
    Encoding(String),
    /// It sets the schema of unqualified names.
    SearchPath(Option<String>),
    /// It cannot be part of a load into one database.
    Refused(Error),
    /// It would act outside of the database, or what follows it cannot be read.
    Stop(Error),
}

/// Of `COPY … FROM stdin`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rows {
    /// The schema, where it is named.
    pub(crate) schema: Option<String>,
    /// The table; nothing where its name is not UTF-8.
    pub(crate) table: Option<String>,
    /// Whether each line is one row (text format).
    pub(crate) countable: bool,
}

/// As much of a statement is shown in an error.
const SHOWN: usize = 60;

/// The begin of a statement, for a person: one line of at most 60 characters.
pub(crate) fn shown(statement: &[u8]) -> String {
    let head = String::from_utf8_lossy(&statement[..statement.len().min(4 * SHOWN)]);
    let line = head.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// Judges a statement.
pub(crate) fn judge(statement: &Statement<'_>, standard_strings: bool) -> Verdict {
    let mut words = Words::new(statement.text, standard_strings);
    let mut next = || words.next().unwrap_or(Word::Sign(b';'));
    let first = next();
    let Word::Plain(verb) = &first else {
        return Verdict::Run;
    };
    let refused = |why: &'static str| Verdict::Refused(outside(why, statement));
    match verb.as_ref() {
        "begin" | "end" => Verdict::Transaction,
        "start" if next().is("transaction") => Verdict::Transaction,
        "commit" if !next().is("prepared") => Verdict::Transaction,
        "commit" | "abort" => refused("sql_transaction"),
        "prepare" if next().is("transaction") => refused("sql_transaction"),
        // ROLLBACK TO a savepoint stays inside, every other one would undo what was loaded.
        "rollback" => {
            let savepoint = [next(), next()].iter().any(|word| word.is("to"));
            if savepoint { Verdict::Run } else { refused("sql_transaction") }
        }
        "create" | "alter" | "drop" => {
            let object = next();
            if ["database", "system", "tablespace"].iter().any(|outer| object.is(outer)) {
                refused("sql_outside")
            } else {
                Verdict::Run
            }
        }
        "set" => setting(&mut words),
        "copy" => copy(&mut words, statement),
        _ => Verdict::Run,
    }
}

fn outside(text: &'static str, statement: &Statement<'_>) -> Error {
    Error::new(Code::Refused, text)
        .with("line", statement.line)
        .with("statement", shown(statement.text))
}

/// `SET [SESSION | LOCAL] name { TO | = } value` and `SET NAMES value`.
fn setting(words: &mut Words<'_>) -> Verdict {
    let mut name = words.next();
    if name.as_ref().is_some_and(|word| word.is("session") || word.is("local")) {
        name = words.next();
    }
    let Some(Word::Plain(name)) = name else {
        return Verdict::Run;
    };
    let names = name == "names";
    if !names && !words.next().is_some_and(|word| word.is("to") || word == Word::Sign(b'=')) {
        return Verdict::Run;
    }
    let value = match words.next() {
        Some(Word::Text(text)) => String::from_utf8_lossy(text).into_owned(),
        Some(word) => word.name().unwrap_or_default(),
        None => String::new(),
    };
    match name.as_ref() {
        "standard_conforming_strings" => match value.to_ascii_lowercase().as_str() {
            "off" | "of" | "false" | "no" | "0" => Verdict::StandardStrings(false),
            _ => Verdict::StandardStrings(true),
        },
        "client_encoding" | "names" => Verdict::Encoding(value.to_ascii_uppercase()),
        "search_path" => Verdict::SearchPath(Some(value).filter(|schema| !schema.is_empty())),
        _ => Verdict::Run,
    }
}

/// `COPY [BINARY] table [(columns)] FROM …` or `COPY (query) TO …`, everything before FROM or TO outside of parentheses.
fn copy(words: &mut Words<'_>, statement: &Statement<'_>) -> Verdict {
    let mut names = Vec::new();
    let mut depth = 0_u32;
    let mut binary = false;
    let from = loop {
        let Some(word) = words.next() else {
            return Verdict::Refused(outside("sql_copy", statement));
        };
        match &word {
            Word::Sign(b'(') => depth += 1,
            Word::Sign(b')') => depth = depth.saturating_sub(1),
            _ if depth > 0 => {}
            Word::Plain(w) if w == "from" => break true,
            Word::Plain(w) if w == "to" => break false,
            Word::Plain(w) if w == "binary" && names.is_empty() => binary = true,
            Word::Plain(_) | Word::Quoted(_) => names.push(word.name()),
            _ => {}
        }
    };
    match words.next() {
        // STDOUT after FROM and STDIN after TO are accepted by the server, and mean the same.
        Some(word) if from && (word.is("stdin") || word.is("stdout")) => {}
        Some(word) if word.is("stdin") || word.is("stdout") => return Verdict::Refused(outside("sql_copy", statement)),
        Some(word) if word.is("program") => return Verdict::Stop(server_side("sql_copy_program", statement)),
        Some(Word::Text(_)) => return Verdict::Stop(server_side("sql_copy_file", statement)),
        _ => return Verdict::Stop(server_side("sql_copy_unknown", statement)),
    }
    let mut countable = true;
    for word in words {
        // Formats are written as words or as strings: `CSV`, `(FORMAT csv)`, `(FORMAT 'csv')`.
        let is = |format: &str| word.is(format) || matches!(&word, Word::Text(t) if t.eq_ignore_ascii_case(format.as_bytes()));
        binary |= is("binary");
        countable &= !is("csv") && !is("header");
    }
    // No line `\.` ends binary rows.
    if binary || !statement.whole {
        return Verdict::Stop(outside("sql_copy", statement));
    }
    let table = names.pop().flatten();
    Verdict::Rows(Rows {
        schema: names.pop().flatten(),
        table,
        countable,
    })
}

fn server_side(text: &'static str, statement: &Statement<'_>) -> Error {
    Error::new(Code::ArchiveUnsafe, text)
        .with("line", statement.line)
        .with("statement", shown(statement.text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(text: &str) -> Verdict {
        let text = text.as_bytes();
        judge(
            &Statement {
                text,
                whole: true,
                line: 7,
                semicolons: false,
            },
            true,
        )
    }

    fn table(verdict: &Verdict) -> Option<(Option<&str>, Option<&str>, bool)> {
        match verdict {
            Verdict::Rows(rows) => Some((rows.schema.as_deref(), rows.table.as_deref(), rows.countable)),
            _ => None,
        }
    }

    #[test]
    fn copy_is_told_apart() {
        for (text, expected) in [
            ("COPY public.t (a, b) FROM stdin;", (Some("public"), Some("t"), true)),
            ("copy\n\"From\" FROM STDIN", (None, Some("From"), true)),
            (
                "COPY s.\"T\" (\"to\", \"from\") FROM stdin WITH (FORMAT text);",
                (Some("s"), Some("T"), true),
            ),
            ("COPY t FROM stdout CSV HEADER", (None, Some("t"), false)),
            ("COPY t FROM stdin WITH (FORMAT 'csv')", (None, Some("t"), false)),
            ("COPY program FROM stdin", (None, Some("program"), true)),
        ] {
            assert_eq!(table(&verdict(text)), Some(expected), "{text}");
        }
        for text in [
            "COPY t FROM PROGRAM 'x'",
            "copy t(a) from /* c */ program E'x'",
            "COPY (SELECT 1 FROM t) TO PROGRAM 'x'",
            "COPY t TO '/etc/passwd'",
            "COPY t FROM $$/etc/passwd$$",
            "COPY t FROM U&'x'",
            "COPY t FROM x",
        ] {
            assert!(
                matches!(verdict(text), Verdict::Stop(e) if e.code() == Code::ArchiveUnsafe),
                "{text}"
            );
        }
        for text in ["COPY BINARY t FROM stdin", "COPY t FROM stdin WITH BINARY"] {
            assert!(
                matches!(verdict(text), Verdict::Stop(e) if e.code() == Code::Refused),
                "{text}"
            );
        }
        for text in ["COPY t TO stdout", "COPY t", "COPY (SELECT 1) TO STDIN"] {
            assert!(matches!(verdict(text), Verdict::Refused(_)), "{text}");
        }
    }

    #[test]
    fn transactions_and_settings_are_seen() {
        for text in [
            "BEGIN;",
            "begin isolation level serializable",
            "START TRANSACTION",
            "COMMIT",
            "END",
            "commit work",
        ] {
            assert!(matches!(verdict(text), Verdict::Transaction), "{text}");
        }
        for text in [
            "ROLLBACK;",
            "ABORT",
            "ROLLBACK WORK",
            "COMMIT PREPARED 'x'",
            "PREPARE TRANSACTION 'x'",
            "CREATE DATABASE x",
            "ALTER SYSTEM SET a = b",
        ] {
            assert!(
                matches!(verdict(text), Verdict::Refused(e) if e.code() == Code::Refused),
                "{text}"
            );
        }
        for text in [
            "ROLLBACK TO a",
            "ROLLBACK WORK TO SAVEPOINT a",
            "SAVEPOINT a",
            "PREPARE x AS SELECT 1",
            "SET a = 1",
            "\"begin\"",
            "CREATE TABLE t ()",
        ] {
            assert!(matches!(verdict(text), Verdict::Run), "{text}");
        }
        for text in [
            "SET standard_conforming_strings = off;",
            "set session Standard_Conforming_Strings to 'off'",
            "SET LOCAL standard_conforming_strings=no",
        ] {
            assert!(matches!(verdict(text), Verdict::StandardStrings(false)), "{text}");
        }
        assert!(matches!(verdict("SET NAMES 'latin1'"), Verdict::Encoding(e) if e == "LATIN1"));
        assert!(matches!(verdict("SET search_path = public, pg_catalog"), Verdict::SearchPath(Some(s)) if s == "public"));
    }
}
