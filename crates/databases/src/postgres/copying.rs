//! `COPY` on our own sessions: rows out of a server, rows into one.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use coffre_model::{Error, Result};
use futures_util::{SinkExt, StreamExt};

use super::connect::{Session, wait};

impl Session {
    /// Hands on what a `COPY … TO STDOUT` brings, piece by piece. `stall`: how long nothing may come.
    pub(super) fn copy_out(&mut self, sql: &str, stall: Duration, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let began = {
            let (runtime, client) = self.open_parts()?;
            wait(runtime, &self.cancels, stall, client.copy_out(sql))
        };
        let stream = self.answered(began, stall)?;
        let mut stream = pin!(stream);
        loop {
            let next = {
                let (runtime, _) = self.open_parts()?;
                wait(runtime, &self.cancels, stall, async { stream.next().await.transpose() })
            };
            match self.answered(next, stall)? {
                Some(bytes) => take(&bytes)?,
                None => return Ok(()),
            }
        }
    }

    /// Feeds a `COPY … FROM STDIN` with what `give` brings, until it brings nothing more. Answers the rows.
    pub(super) fn copy_in(&mut self, sql: &str, stall: Duration, give: &mut dyn FnMut() -> Option<Result<Bytes>>) -> Result<u64> {
        let began = {
            let (runtime, client) = self.open_parts()?;
            wait(runtime, &self.cancels, stall, client.copy_in::<_, Bytes>(sql))
        };
        let sink = self.answered(began, stall)?;
        let mut sink = pin!(sink);
        while let Some(bytes) = give() {
            let bytes = bytes?;
            let sent = {
                let (runtime, _) = self.open_parts()?;
                wait(runtime, &self.cancels, stall, sink.feed(bytes))
            };
            self.answered(sent, stall)?;
        }
        let ended = {
            let (runtime, _) = self.open_parts()?;
            wait(runtime, &self.cancels, stall, sink.as_mut().finish())
        };
        self.answered(ended, stall)
    }
}

/// Turns the ends of lines outside of quotes into `\r\n`, as RFC 4180 has them.
#[derive(Default)]
pub(super) struct LineEnds {
    quoted: bool,
}

impl LineEnds {
    /// The next piece of CSV text.
    pub(super) fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for byte in bytes {
            match byte {
                b'"' => self.quoted = !self.quoted,
                b'\n' if !self.quoted => out.push(b'\r'),
                _ => {}
            }
            out.push(*byte);
        }
    }
}

/// A piece of a row stream on its way between two threads.
pub(super) type Piece = Result<Bytes>;

/// The other side has gone.
pub(super) fn gone() -> Error {
    Error::internal("copy rows", "the other side has ended")
}

#[cfg(test)]
mod tests {
    use super::LineEnds;

    #[test]
    fn line_ends_change_outside_of_quotes_alone() {
        for cut in 0..12 {
            let text = b"a,\"b\n\"\"c\"\nd\n";
            let (mut ends, mut out) = (LineEnds::default(), Vec::new());
            ends.feed(&text[..cut], &mut out);
            ends.feed(&text[cut..], &mut out);
            assert_eq!(out, b"a,\"b\n\"\"c\"\r\nd\r\n");
        }
    }
}
