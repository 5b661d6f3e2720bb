//! SQL text, read by pushing: proves that a dump made by `pg_dump` is whole, counts its rows, and finds what would act outside of
//! the database.
//!
//! What is refused as unsafe is the class, not a list: every client command (anything after a backslash outside of strings, comments
//! and rows) but the `\restrict` that `pg_dump` itself writes, and every `COPY` that does not read the text itself. SQL that a
//! privileged role could use for the same end (a `DO` block, a function in C) is the server's to forbid: load with a role that
//! is no superuser.

pub(crate) mod lexer;
pub(crate) mod statement;
pub(crate) mod words;

use std::collections::BTreeMap;

use coffre_model::database::{Checker, Parsed, TableCount};
use coffre_model::error::{Code, Error, Result};

use self::lexer::{Lexer, Next, Sink, Statement};
use self::statement::{Rows, Verdict, judge, shown};
use super::names::qualified;

/// So much of a statement is looked at. The longest `COPY` there can be (1,600 columns) fits.
const LOOKED_AT: usize = 512 << 10;

/// Reads SQL text. Keeps one statement's begin and one number per table.
pub struct PlainChecker {
    lexer: Lexer,
    found: Found,
    require_end: bool,
}

/// The end of a dump, as `pg_dump` marks it.
#[derive(Debug, Default)]
pub(crate) struct EndMark {
    /// The mark has come, and nothing but comments and `\unrestrict` after it.
    seen: bool,
    /// What `\restrict` said and no `\unrestrict` took back.
    token: Option<Vec<u8>>,
    /// Something else came after the mark: a second dump, say.
    followed: bool,
}

impl EndMark {
    pub(crate) fn comment(&mut self, comment: &[u8]) {
        if comment.trim_ascii_end() == b"-- PostgreSQL database dump complete" {
            self.seen = true;
        }
    }

    pub(crate) fn other(&mut self) {
        self.followed |= self.seen;
        self.seen = false;
    }

    pub(crate) fn restrict(&mut self, begin: bool, token: &[u8]) {
        if begin {
            self.other();
            self.token = Some(token.to_vec());
        } else if self.token.as_deref() == Some(token) {
            // Only the whole token: a cut one means that the end of the text is cut.
            self.token = None;
        }
    }

    /// # Errors
    /// `DUMP_TRUNCATED` where the mark is missing, `VERIFY_MISMATCH` where it is not the end.
    pub(crate) fn check(&self, offset: u64) -> Result<()> {
        if self.followed {
            return Err(Error::new(Code::VerifyMismatch, "sql_trailing").with("offset", offset));
        }
        if self.seen && self.token.is_none() {
            return Ok(());
        }
        Err(Error::new(Code::DumpTruncated, "sql_no_end").with("offset", offset))
    }
}

struct Found {
    standard_strings: bool,
    utf8: bool,
    schema: Option<String>,
    rows: Option<Rows>,
    counts: BTreeMap<String, u64>,
    /// Tables with a block whose rows cannot be counted.
    uncounted: Vec<String>,
    objects: u64,
    end: EndMark,
    refusal: Option<Error>,
}

impl PlainChecker {
    /// Begins to read. `require_end`: whether `pg_dump`'s end mark must be there; not for text that something else may have made.
    pub fn new(require_end: bool) -> Self {
        PlainChecker {
            lexer: Lexer::new(LOOKED_AT),
            found: Found {
                standard_strings: true,
                utf8: true,
                schema: None,
                rows: None,
                counts: BTreeMap::new(),
                uncounted: Vec::new(),
                objects: 0,
                end: EndMark::default(),
                refusal: None,
            },
            require_end,
        }
    }

    /// Why this text, though neither cut nor unsafe, cannot be loaded by Coffre; known after the last byte. A restore asks this
    /// before it touches anything; a verification does not care.
    pub fn load_refusal(&self) -> Option<&Error> {
        self.found.refusal.as_ref()
    }
}

impl Checker for PlainChecker {
    fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        self.lexer.feed(bytes, &mut self.found)
    }

    fn finish(&mut self) -> Result<Parsed> {
        if self.lexer.offset() == 0 {
            return Err(Error::new(Code::DumpEmpty, "dump_empty"));
        }
        self.lexer.finish(&mut self.found)?;
        if self.require_end {
            self.found.end.check(self.lexer.offset())?;
        }
        let mut counts = std::mem::take(&mut self.found.counts);
        for table in &self.found.uncounted {
            counts.remove(table);
        }
        Ok(Parsed {
            shapes: None,
            counts: counts.into_iter().map(|(table, rows)| TableCount { table, rows }).collect(),
            objects: self.found.objects,
        })
    }
}

/// Why a statement cannot be sent to a server as it is, if so. Text in another encoding than UTF-8 is accepted only where it is
/// plain ASCII: then both readings agree. (Rows are never touched: the server converts them.)
pub(crate) fn encoding_refusal(statement: &Statement<'_>, utf8: bool) -> Option<Error> {
    let text = statement.text;
    let sendable = if utf8 {
        match std::str::from_utf8(text) {
            Ok(_) => true,
            // Cut in the middle of a character.
            Err(error) => !statement.whole && error.error_len().is_none(),
        }
    } else {
        text.is_ascii()
    };
    (!sendable).then(|| {
        Error::new(Code::Refused, "sql_encoding")
            .with("line", statement.line)
            .with("statement", shown(text))
    })
}

/// Whether statements in this client encoding can be sent as UTF-8 text: `SQL_ASCII` means that the server converts nothing.
pub(crate) fn is_utf8(encoding: &str) -> bool {
    let letters: String = encoding.chars().filter(char::is_ascii_alphanumeric).collect();
    matches!(letters.to_ascii_uppercase().as_str(), "UTF8" | "UNICODE" | "SQLASCII")
}

impl Sink for Found {
    fn statement(&mut self, statement: Statement<'_>) -> Result<Next> {
        self.end.other();
        self.objects += 1;
        let refusal = encoding_refusal(&statement, self.utf8);
        let mut next = Next::Sql;
        match judge(&statement, self.standard_strings) {
            Verdict::Run | Verdict::Transaction => {}
            Verdict::StandardStrings(standard) => self.standard_strings = standard,
            Verdict::Encoding(encoding) => self.utf8 = is_utf8(&encoding),
            Verdict::SearchPath(schema) => self.schema = schema,
            Verdict::Rows(mut rows) => {
                // In another encoding the bytes of a name may be UTF-8 by chance, and mean something else.
                let sure = self.utf8 || statement.text.is_ascii();
                rows.table = rows.table.filter(|_| sure);
                self.rows = Some(rows);
                next = Next::Rows;
            }
            Verdict::Refused(error) => {
                self.refusal.get_or_insert(error);
            }
            Verdict::Stop(error) => return Err(error),
        }
        if let Some(error) = refusal {
            self.refusal.get_or_insert(error);
        }
        Ok(next)
    }

    fn standard_strings(&self) -> bool {
        self.standard_strings
    }

    fn rows(&mut self, _: &[u8]) -> Result<()> {
        Ok(())
    }

    fn rows_end(&mut self, lines: u64) -> Result<()> {
        if let Some(rows) = self.rows.take()
            && let Some(table) = rows.table
            && let Some(schema) = rows.schema.or_else(|| self.schema.clone())
        {
            let table = qualified(&schema, &table);
            if !rows.countable {
                self.uncounted.push(table.clone());
            }
            *self.counts.entry(table).or_default() += lines;
        }
        Ok(())
    }

    fn comment(&mut self, comment: &[u8]) {
        self.end.comment(comment);
    }

    fn restrict(&mut self, begin: bool, token: &[u8]) {
        self.end.restrict(begin, token);
    }
}
