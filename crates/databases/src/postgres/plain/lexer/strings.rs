//! Strings, in all the ways there are to write them.

use coffre_model::error::Result;
use memchr::{memchr, memchr2};

use super::super::words::{is_name_rest, is_name_start, is_space};
use super::{Lexer, Quote, Sink, State};

/// Longest tag of a `$tag$` quote.
const TAG_MAX: usize = 1 << 10;

impl Lexer {
    pub(super) fn begin_string(&mut self, quote: Quote) -> Result<usize> {
        self.go(b'\'', State::String { quote, continued: false })
    }

    pub(super) fn unicode_prefix(&mut self, byte: u8) -> Result<usize> {
        match byte {
            b'\'' => self.begin_string(Quote::Plain),
            b'"' => self.go(byte, State::QuotedName),
            _ => {
                self.end_name();
                self.state = State::Text;
                Ok(0)
            }
        }
    }

    pub(super) fn string(&mut self, input: &[u8], quote: Quote, continued: bool) -> Result<usize> {
        let at = if quote == Quote::Escape {
            memchr2(b'\'', b'\\', input)
        } else {
            memchr(b'\'', input)
        };
        if let Some(at) = at {
            self.state = if input[at] == b'\\' {
                State::Escaped { continued }
            } else {
                State::StringQuote { quote, continued }
            };
        }
        let taken = &input[..at.map_or(input.len(), |at| at + 1)];
        if continued && memchr(b'\\', taken).is_some() {
            // psql reads a string that goes on after a line end by the session's rule, the server by the string's own.
            return Err(self.ambiguous());
        }
        self.keep(taken)
    }

    pub(super) fn string_quote(&mut self, byte: u8, quote: Quote, continued: bool, sink: &mut dyn Sink) -> Result<usize> {
        let fresh = if sink.standard_strings() {
            Quote::Plain
        } else {
            Quote::Escape
        };
        if byte == b'\'' {
            let quote = if quote == Quote::Bits { fresh } else { quote };
            return self.go(byte, State::String { quote, continued });
        }
        self.state = if quote == fresh {
            State::Text
        } else {
            State::AfterString { quote, newline: false }
        };
        Ok(0)
    }

    pub(super) fn after_string(&mut self, byte: u8, sink: &mut dyn Sink) -> Result<usize> {
        let line_end = matches!(byte, b'\n' | b'\r');
        match self.state {
            State::AfterStringComment { quote } if line_end => self.go(byte, State::AfterString { quote, newline: true }),
            State::AfterStringComment { .. } => self.keep(&[byte]),
            State::AfterStringDash { quote, .. } if byte == b'-' => self.go(byte, State::AfterStringComment { quote }),
            State::AfterString { quote, newline } if is_space(byte) => self.go(
                byte,
                State::AfterString {
                    quote,
                    newline: newline || line_end,
                },
            ),
            State::AfterString { quote, newline } if byte == b'-' => self.go(byte, State::AfterStringDash { quote, newline }),
            State::AfterString { quote, newline: true } if byte == b'\'' => {
                let continued = quote == Quote::Escape || !sink.standard_strings();
                self.go(byte, State::String { quote, continued })
            }
            _ => {
                self.state = State::Text;
                Ok(0)
            }
        }
    }

    pub(super) fn dollar_tag(&mut self, byte: u8) -> Result<usize> {
        let first = self.word.len() == 1;
        if byte == b'$' {
            self.word.push(byte);
            return self.go(byte, State::Dollar { matched: 0 });
        }
        if if first { is_name_start(byte) } else { is_name_rest(byte) } {
            if self.word.len() > TAG_MAX {
                return Err(self.ambiguous());
            }
            self.word.push(byte);
            return self.keep(&[byte]);
        }
        // No quote after all: what was read behind the dollar sign is a name (perhaps the E of a string) or nothing.
        self.word.remove(0);
        self.state = if first && !byte.is_ascii_digit() {
            State::Text
        } else if first {
            State::Number
        } else {
            State::Name { after_number: false }
        };
        Ok(0)
    }

    pub(super) fn dollar(&mut self, input: &[u8], mut matched: usize) -> Result<usize> {
        let mut at = 0;
        while at < input.len() {
            if matched == 0 {
                let Some(found) = memchr(b'$', &input[at..]) else {
                    at = input.len();
                    break;
                };
                at += found;
            }
            matched = match input[at] {
                byte if byte == self.word[matched] => matched + 1,
                b'$' => 1,
                _ => 0,
            };
            at += 1;
            if matched == self.word.len() {
                self.state = State::Text;
                return self.keep(&input[..at]);
            }
        }
        self.state = State::Dollar { matched };
        self.keep(&input[..at])
    }
}
