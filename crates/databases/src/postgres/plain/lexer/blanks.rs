//! What stands between statements and words: comments, and the client commands that are refused.

use coffre_model::error::{Code, Error, Result};
use memchr::{memchr, memchr2};

use super::super::words::{Words, is_space};
use super::{Lexer, Sink, State};

/// As much of a client command is shown.
const COMMAND_SHOWN: usize = 120;

impl Lexer {
    pub(super) fn dash(&mut self, byte: u8) -> Result<usize> {
        if byte != b'-' {
            self.state = State::Text;
            return Ok(0);
        }
        self.state = State::LineComment;
        self.word.clear();
        // A comment between statements is no part of the next one.
        if self.length == 1 {
            self.forget();
            self.word.extend_from_slice(b"--");
            return Ok(1);
        }
        self.keep(&[byte])
    }

    pub(super) fn line_comment(&mut self, input: &[u8], sink: &mut dyn Sink) -> Result<usize> {
        let end = memchr2(b'\n', b'\r', input);
        let length = end.unwrap_or(input.len());
        if self.length > 0 {
            self.keep(&input[..length])?;
        } else {
            let room = 80_usize.saturating_sub(self.word.len());
            self.word.extend_from_slice(&input[..length.min(room)]);
            if end.is_some() {
                sink.comment(&self.word);
            }
        }
        if end.is_some() {
            self.state = State::Text;
        }
        Ok(length)
    }

    pub(super) fn slash(&mut self, byte: u8) -> Result<usize> {
        match byte {
            b'*' => self.go(byte, State::Comment { depth: 1, last: 0 }),
            b'/' => self.keep(&[byte]),
            _ => {
                self.state = State::Text;
                Ok(0)
            }
        }
    }

    pub(super) fn comment(&mut self, input: &[u8], depth: u32, last: u8) -> Result<usize> {
        if last == 0 {
            let at = memchr2(b'*', b'/', input);
            let taken = at.map_or(input.len(), |at| at + 1);
            if let Some(at) = at {
                self.state = State::Comment { depth, last: input[at] };
            }
            return self.keep(&input[..taken]);
        }
        let byte = input[0];
        let (depth, last) = match (last, byte) {
            (b'/', b'*') => (depth + 1, 0),
            (b'*', b'/') => (depth - 1, 0),
            (_, b'*' | b'/') => (depth, byte),
            _ => (depth, 0),
        };
        self.keep(&[byte])?;
        self.state = State::Comment { depth, last };
        if depth == 0 {
            self.state = State::Text;
            if self.statement.starts_with(b"/*") && self.first_is_comment() {
                self.forget();
            }
        }
        Ok(1)
    }

    /// Whether nothing but this comment was kept so far: `forget` empties the statement after each of them.
    fn first_is_comment(&self) -> bool {
        self.names == 0 && self.parens == 0 && Words::new(&self.statement, true).next().is_none()
    }

    pub(super) fn command(&mut self, input: &[u8], sink: &mut dyn Sink) -> Result<usize> {
        let end = memchr(b'\n', input);
        let length = end.unwrap_or(input.len());
        let room = COMMAND_SHOWN.saturating_sub(self.word.len());
        self.word.extend_from_slice(&input[..length.min(room)]);
        if end.is_none() && self.word.len() < COMMAND_SHOWN {
            return Ok(length);
        }
        let words: Vec<&[u8]> = self.word.split(|b| is_space(*b)).filter(|w| !w.is_empty()).collect();
        match words.as_slice() {
            [verb @ (b"\\restrict" | b"\\unrestrict"), token]
                if self.word[0] == b'\\' && token.len() <= 100 && token.iter().all(u8::is_ascii_alphanumeric) =>
            {
                sink.restrict(*verb == b"\\restrict", token);
                self.state = State::Text;
                Ok(length)
            }
            _ => Err(Error::new(Code::ArchiveUnsafe, "sql_client_command")
                .with("line", self.line)
                .with("command", String::from_utf8_lossy(&self.word).trim())),
        }
    }
}
