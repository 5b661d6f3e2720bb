//! Cuts SQL text into statements and `COPY` rows, fed in pieces of any size.
//!
//! It follows the rules of PostgreSQL's own scanner (`scan.l`, and `psqlscan.l` where `psql` decides what ends a statement). Where
//! `psql` and the server read the same bytes differently, text is refused rather than guessed at: such a difference is how
//! something is smuggled past a check.

mod blanks;
mod rows;
mod strings;

use coffre_model::error::{Code, Error, Result};
use memchr::{memchr, memchr_iter};

use super::words::{is_name_rest, is_name_start, is_space};

/// The longest statement that is accepted (rows of `COPY` do not count: they are not kept).
pub(crate) const STATEMENT_MAX: usize = 256 << 20;

/// One whole statement, with its semicolon.
pub(crate) struct Statement<'a> {
    /// Its text, without the white space and comments before it; cut where it is longer than the lexer was told to keep.
    pub(crate) text: &'a [u8],
    /// Whether `text` is all of it.
    pub(crate) whole: bool,
    /// The line that it begins on, from 1.
    pub(crate) line: u64,
    /// Whether there are semicolons inside of it that do not end it (outside of strings and comments).
    pub(crate) semicolons: bool,
}

/// What follows a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Another statement.
    Sql,
    /// Rows, up to a line `\.`.
    Rows,
}

/// Takes what the lexer finds.
pub(crate) trait Sink {
    /// A statement.
    fn statement(&mut self, statement: Statement<'_>) -> Result<Next>;
    /// Whether a backslash in `'…'` is an ordinary character from here on. Asked after each statement.
    fn standard_strings(&self) -> bool;
    /// A piece of the rows, as they are. Pieces begin and end anywhere.
    fn rows(&mut self, bytes: &[u8]) -> Result<()>;
    /// The rows have ended; there were `lines` of them.
    fn rows_end(&mut self, lines: u64) -> Result<()>;
    /// A line comment between two statements, from its `--`, at most 80 bytes of it.
    fn comment(&mut self, comment: &[u8]);
    /// `\restrict` (`begin`) or `\unrestrict` with its token.
    fn restrict(&mut self, begin: bool, token: &[u8]);
}

/// How backslashes and quotes are read inside a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quote {
    /// `'…'` with standard strings, and `U&'…'`.
    Plain,
    /// `E'…'`, and `'…'` without standard strings.
    Escape,
    /// `B'…'` and `X'…'`: ends at the first quote.
    Bits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Text,
    /// In a name or key word; `after_number` if digits stand right before it.
    Name {
        after_number: bool,
    },
    Number,
    /// After `U&`.
    UnicodePrefix,
    Dash,
    LineComment,
    Slash,
    /// In a comment of this depth, behind this byte.
    Comment {
        depth: u32,
        last: u8,
    },
    String {
        quote: Quote,
        continued: bool,
    },
    /// After a backslash in a string.
    Escaped {
        continued: bool,
    },
    /// After a quote in a string: its end, or the first of two.
    StringQuote {
        quote: Quote,
        continued: bool,
    },
    /// After a string of another kind than `'` begins: a quote on a later line continues it.
    AfterString {
        quote: Quote,
        newline: bool,
    },
    AfterStringDash {
        quote: Quote,
        newline: bool,
    },
    AfterStringComment {
        quote: Quote,
    },
    QuotedName,
    /// After `$`, while its tag is read.
    DollarTag,
    /// In a `$tag$` quote, with so many bytes of its closing tag matched.
    Dollar {
        matched: usize,
    },
    /// A client command, to the end of its line.
    Command,
    /// The rest of the line after `COPY … FROM stdin;`, with so many dashes of a comment seen.
    RowsBegin {
        dashes: u8,
    },
    /// In rows; `held` bytes of `\.` and its line end matched at the begin of a line.
    Rows {
        line_start: bool,
        held: usize,
    },
}

/// The lexer.
pub(crate) struct Lexer {
    state: State,
    keep: usize,
    /// The statement so far; empty while there is none.
    statement: Vec<u8>,
    length: usize,
    begun: u64,
    line: u64,
    offset: u64,
    /// Bytes on the current line before this one were not all white space.
    line_used: bool,
    parens: u32,
    /// Depth of `BEGIN ATOMIC … END` and `CASE … END` in it.
    bodies: u32,
    names: u32,
    /// The first letters of the first four names, if they are those of `create or replace function`.
    first_names: [u8; 4],
    begin_seen: bool,
    semicolons: bool,
    /// The word, tag, comment or client command being read.
    word: Vec<u8>,
    row_lines: u64,
    mark: [u8; 3],
    mark_length: usize,
}

impl Lexer {
    /// `keep`: how many bytes of a statement are kept.
    pub(crate) fn new(keep: usize) -> Self {
        Lexer {
            state: State::Text,
            keep: keep.min(STATEMENT_MAX),
            statement: Vec::new(),
            length: 0,
            begun: 1,
            line: 1,
            offset: 0,
            line_used: false,
            parens: 0,
            bodies: 0,
            names: 0,
            first_names: [0; 4],
            begin_seen: false,
            semicolons: false,
            word: Vec::new(),
            row_lines: 0,
            mark: [0; 3],
            mark_length: 0,
        }
    }

    /// The line of the next byte, from 1.
    pub(crate) fn line(&self) -> u64 {
        self.line
    }

    /// How many bytes came.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Takes the next bytes.
    pub(crate) fn feed(&mut self, bytes: &[u8], sink: &mut dyn Sink) -> Result<()> {
        if let Some(at) = memchr(0, bytes) {
            return Err(Error::new(Code::VerifyMismatch, "sql_nul").with("offset", self.offset + at as u64));
        }
        let begin = self.offset;
        self.offset += bytes.len() as u64;
        // A byte order mark at the very front is passed over, as psql does.
        if begin < 3 && self.mark_length as u64 == begin {
            let now = bytes.len().min(3 - self.mark_length);
            self.mark[self.mark_length..self.mark_length + now].copy_from_slice(&bytes[..now]);
            self.mark_length += now;
            if self.mark_length < 3 {
                return Ok(());
            }
            self.after_mark(sink)?;
            return self.run(&bytes[now..], sink);
        }
        self.run(bytes, sink)
    }

    fn after_mark(&mut self, sink: &mut dyn Sink) -> Result<()> {
        let (mark, length) = (self.mark, self.mark_length);
        // From now on the count of bytes says that the front is behind us.
        self.mark_length = usize::MAX;
        if mark[..length] == *b"\xef\xbb\xbf" {
            return Ok(());
        }
        self.run(&mark[..length], sink)
    }

    /// The end of the bytes.
    ///
    /// # Errors
    /// `DUMP_TRUNCATED` inside of anything.
    pub(crate) fn finish(&mut self, sink: &mut dyn Sink) -> Result<()> {
        if self.mark_length < 3 {
            self.after_mark(sink)?;
        }
        // The last line may lack its newline.
        match self.state {
            // The last line of a dump, cut.
            State::Command
                if [&b"\\restrict "[..], b"\\unrestrict "]
                    .iter()
                    .any(|c| c.starts_with(&self.word)) => {}
            State::Command | State::LineComment => self.run(b"\n", sink)?,
            State::Rows { held: 2.., .. } => {
                self.state = State::Text;
                sink.rows_end(self.row_lines)?;
            }
            _ => {}
        }
        let inside = match self.state {
            State::Text if self.length == 0 => return Ok(()),
            State::Rows { .. } | State::RowsBegin { .. } => "COPY",
            State::String { .. } | State::Escaped { .. } => "'",
            State::QuotedName => "\"",
            State::Dollar { .. } => "$$",
            State::Comment { .. } => "/*",
            _ => {
                return Err(Error::new(Code::DumpTruncated, "sql_unfinished")
                    .with("line", self.begun)
                    .with("offset", self.offset));
            }
        };
        Err(Error::new(Code::DumpTruncated, "sql_truncated")
            .with("inside", inside)
            .with("line", self.begun)
            .with("offset", self.offset))
    }

    fn run(&mut self, mut input: &[u8], sink: &mut dyn Sink) -> Result<()> {
        while !input.is_empty() {
            let taken = match self.state {
                State::Text => self.text(input[0], sink)?,
                State::Name { after_number } => self.name(input, after_number)?,
                State::Number => self.number(input[0]),
                State::UnicodePrefix => self.unicode_prefix(input[0])?,
                State::Dash => self.dash(input[0])?,
                State::LineComment => self.line_comment(input, sink)?,
                State::Slash => self.slash(input[0])?,
                State::Comment { depth, last } => self.comment(input, depth, last)?,
                State::String { quote, continued } => self.string(input, quote, continued)?,
                State::Escaped { continued } => self.go(
                    input[0],
                    State::String {
                        quote: Quote::Escape,
                        continued,
                    },
                )?,
                State::StringQuote { quote, continued } => self.string_quote(input[0], quote, continued, sink)?,
                State::AfterString { .. } | State::AfterStringDash { .. } | State::AfterStringComment { .. } => {
                    self.after_string(input[0], sink)?
                }
                State::QuotedName => self.until(input, memchr(b'"', input), State::Text)?,
                State::DollarTag => self.dollar_tag(input[0])?,
                State::Dollar { matched } => self.dollar(input, matched)?,
                State::Command => self.command(input, sink)?,
                State::RowsBegin { dashes } => self.rows_begin(input[0], dashes)?,
                State::Rows { line_start, held } => self.rows(input, line_start, held, sink)?,
            };
            input = &input[taken..];
        }
        Ok(())
    }

    /// Adds bytes to the statement.
    fn keep(&mut self, bytes: &[u8]) -> Result<usize> {
        if self.length == 0 {
            self.begun = self.line;
        }
        self.line += memchr_iter(b'\n', bytes).count() as u64;
        self.length += bytes.len();
        if self.length > STATEMENT_MAX {
            return Err(Error::new(Code::Refused, "sql_statement_long")
                .with("line", self.begun)
                .with("megabytes", STATEMENT_MAX >> 20));
        }
        let room = self.keep.saturating_sub(self.statement.len());
        self.statement.extend_from_slice(&bytes[..room.min(bytes.len())]);
        Ok(bytes.len())
    }

    fn go(&mut self, byte: u8, state: State) -> Result<usize> {
        self.state = state;
        self.keep(&[byte])
    }

    /// Takes everything up to and with `end`, or all of it.
    fn until(&mut self, input: &[u8], end: Option<usize>, then: State) -> Result<usize> {
        let taken = end.map_or(input.len(), |at| at + 1);
        if end.is_some() {
            self.state = then;
        }
        self.keep(&input[..taken])
    }

    fn text(&mut self, byte: u8, sink: &mut dyn Sink) -> Result<usize> {
        let used = std::mem::replace(&mut self.line_used, true);
        match byte {
            _ if is_space(byte) => {
                self.line_used = used && byte != b'\n';
                if self.length > 0 {
                    return self.keep(&[byte]);
                }
                self.line += u64::from(byte == b'\n');
                Ok(1)
            }
            b'\'' => self.begin_string(if sink.standard_strings() {
                Quote::Plain
            } else {
                Quote::Escape
            }),
            b'"' => self.go(byte, State::QuotedName),
            b'$' => {
                self.word.clear();
                self.word.push(byte);
                self.go(byte, State::DollarTag)
            }
            b'-' => self.go(byte, State::Dash),
            b'/' => self.go(byte, State::Slash),
            b'\\' => {
                if self.length > 0 || used {
                    self.word.clear();
                    self.word.push(b' ');
                } else {
                    self.word.clear();
                }
                self.word.push(byte);
                self.state = State::Command;
                Ok(1)
            }
            b';' if self.parens == 0 && self.bodies == 0 => self.semicolon(sink),
            b';' => {
                self.semicolons = true;
                self.keep(&[byte])
            }
            b'0'..=b'9' => self.go(byte, State::Number),
            _ if is_name_start(byte) => {
                self.word.clear();
                self.state = State::Name { after_number: false };
                Ok(0)
            }
            b'(' => {
                self.parens += 1;
                self.keep(&[byte])
            }
            b')' => {
                self.parens = self.parens.saturating_sub(1);
                self.keep(&[byte])
            }
            _ => self.keep(&[byte]),
        }
    }

    fn semicolon(&mut self, sink: &mut dyn Sink) -> Result<usize> {
        if self.length == 0 {
            return Ok(1);
        }
        self.keep(b";")?;
        let statement = Statement {
            text: &self.statement,
            whole: self.length == self.statement.len(),
            line: self.begun,
            semicolons: self.semicolons,
        };
        let next = sink.statement(statement)?;
        self.forget();
        if next == Next::Rows {
            self.row_lines = 0;
            self.state = State::RowsBegin { dashes: 0 };
        }
        Ok(1)
    }

    fn forget(&mut self) {
        self.statement.clear();
        // One long statement does not hold its memory for the rest of the file.
        self.statement.shrink_to(1 << 20);
        self.length = 0;
        self.names = 0;
        self.first_names = [0; 4];
        self.begin_seen = false;
        self.semicolons = false;
    }

    fn name(&mut self, input: &[u8], after_number: bool) -> Result<usize> {
        let length = input.iter().take_while(|b| is_name_rest(**b)).count();
        let room = 16_usize.saturating_sub(self.word.len());
        self.word.extend_from_slice(&input[..length.min(room)]);
        if length > 0 {
            self.keep(&input[..length])?;
        }
        let Some(&next) = input.get(length) else {
            return Ok(length);
        };
        if after_number {
            // Older servers read `1e'…'` as a number and an E string, newer ones as a fault; nobody means it.
            if next == b'\'' || (next == b'&' && self.word.len() == 1) {
                return Err(self.ambiguous());
            }
            self.state = State::Text;
            return Ok(length);
        }
        self.state = match (self.word.as_slice(), next) {
            ([b'e' | b'E'], b'\'') => return self.begin_string(Quote::Escape).map(|one| length + one),
            ([b'b' | b'B' | b'x' | b'X'], b'\'') => return self.begin_string(Quote::Bits).map(|one| length + one),
            ([b'u' | b'U'], b'&') => return self.go(next, State::UnicodePrefix).map(|one| length + one),
            _ => State::Text,
        };
        self.end_name();
        Ok(length)
    }

    /// psql's way to know the body of an SQL function from the rest of its statement: in `CREATE [OR REPLACE] FUNCTION|PROCEDURE`,
    /// outside of parentheses, BEGIN and CASE open and END closes. We want ATOMIC behind BEGIN as well: a function may be called
    /// "begin".
    fn end_name(&mut self) {
        let word = self.word.to_ascii_lowercase();
        let place = self.names as usize;
        self.names = self.names.saturating_add(1);
        if place < 4 {
            let known = [&b"create"[..], b"or", b"replace", b"function", b"procedure"];
            self.first_names[place] = if known.contains(&word.as_slice()) { word[0] } else { 0 };
        }
        let [a, b, c, d] = self.first_names;
        let function = |letter: u8| matches!(letter, b'f' | b'p');
        if a != b'c' || !(function(b) || ([b, c] == *b"or" && function(d))) || self.parens > 0 {
            return;
        }
        let after_begin = std::mem::replace(&mut self.begin_seen, word == b"begin");
        match word.as_slice() {
            b"atomic" if after_begin => self.bodies += 1,
            b"case" if self.bodies > 0 => self.bodies += 1,
            b"end" => self.bodies = self.bodies.saturating_sub(1),
            _ => {}
        }
    }

    fn number(&mut self, byte: u8) -> usize {
        self.state = if byte.is_ascii_digit() {
            State::Text
        } else if is_name_start(byte) {
            self.word.clear();
            State::Name { after_number: true }
        } else {
            State::Text
        };
        0
    }

    fn ambiguous(&self) -> Error {
        Error::new(Code::ArchiveUnsafe, "sql_ambiguous").with("line", self.line)
    }
}

#[cfg(test)]
mod tests;
