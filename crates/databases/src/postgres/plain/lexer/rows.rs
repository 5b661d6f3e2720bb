//! The rows after `COPY … FROM stdin;`.

use coffre_model::error::Result;
use memchr::{memchr_iter, memmem};

use super::super::words::is_space;
use super::{Lexer, Sink, State};

impl Lexer {
    pub(super) fn rows_begin(&mut self, byte: u8, dashes: u8) -> Result<usize> {
        self.begun = self.line;
        self.state = match (byte, dashes) {
            (b'\n', 0 | 2) => {
                self.line += 1;
                self.line_used = false;
                State::Rows {
                    line_start: true,
                    held: 0,
                }
            }
            (_, 2) => self.state,
            (b'-', _) => State::RowsBegin { dashes: dashes + 1 },
            (_, 0) if is_space(byte) => self.state,
            // psql would run the rest of this line after the rows, which stand on the next lines.
            _ => return Err(self.ambiguous()),
        };
        Ok(1)
    }

    pub(super) fn rows(&mut self, input: &[u8], line_start: bool, held: usize, sink: &mut dyn Sink) -> Result<usize> {
        const END: &[u8] = b"\\.\r\n";
        if line_start {
            let byte = input[0];
            let state = match (held, byte) {
                (0, b'\\') | (1, b'.') | (2, b'\r') => State::Rows {
                    line_start,
                    held: held + 1,
                },
                (2 | 3, b'\n') => {
                    self.line += 1;
                    sink.rows_end(self.row_lines)?;
                    State::Text
                }
                _ => {
                    // An ordinary row after all.
                    if held > 0 {
                        sink.rows(&END[..held])?;
                    }
                    self.state = State::Rows {
                        line_start: false,
                        held: 0,
                    };
                    return Ok(0);
                }
            };
            self.state = state;
            return Ok(1);
        }
        let found = memmem::find(input, b"\n\\.");
        let taken = match found {
            Some(at) => at + 1,
            None if input.ends_with(b"\n\\") => input.len() - 1,
            None => input.len(),
        };
        let rows = &input[..taken];
        let lines = memchr_iter(b'\n', rows).count() as u64;
        self.line += lines;
        self.row_lines += lines;
        self.state = State::Rows {
            line_start: rows.ends_with(b"\n"),
            held: 0,
        };
        sink.rows(rows)?;
        Ok(taken)
    }
}
