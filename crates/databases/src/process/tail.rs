//! What a child says: drained by a thread of its own, so that the child never waits for us, and kept in bounded memory.

use std::collections::VecDeque;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use coffre_model::{Error, Result, Secret};
use rustix::event::{PollFd, PollFlags};

/// The most that is kept of what a child says.
const KEPT: usize = 64 << 10;
/// The most that an error carries of it.
const SHOWN_LINES: usize = 20;
const SHOWN_BYTES: usize = 4 << 10;
/// What stands in the place of a secret.
const BLOT: &str = "•••";

/// The last that a child said, at most 64 KiB.
#[derive(Clone, Debug, Default)]
pub struct Tail {
    text: String,
    dropped: u64,
}

impl Tail {
    /// Everything that was kept; bytes that are no UTF-8 are replaced.
    pub fn text(&self) -> String {
        self.text.clone()
    }

    /// How many bytes were said before.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Its lines, without empty ones.
    pub fn lines(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.text.lines().map(str::trim_end).filter(|line| !line.is_empty())
    }

    /// The last lines, as many as fit into an error.
    pub fn last_lines(&self) -> String {
        let mut kept = Vec::new();
        let mut bytes = 0;
        for line in self.lines().rev().take(SHOWN_LINES) {
            bytes += line.len() + 1;
            if bytes > SHOWN_BYTES && !kept.is_empty() {
                break;
            }
            let end = line.floor_char_boundary(SHOWN_BYTES);
            kept.push(&line[..end]);
        }
        kept.reverse();
        kept.join("\n")
    }

    fn new(kept: VecDeque<u8>, dropped: u64, secrets: &[Secret]) -> Self {
        let mut text = String::from_utf8_lossy(&Vec::from(kept)).into_owned();
        // A secret of one or two letters would blot out half of every message; it hides nothing that could be told apart.
        for secret in secrets.iter().filter(|secret| secret.expose().len() > 2) {
            if text.contains(secret.expose()) {
                text = text.replace(secret.expose(), BLOT);
            }
        }
        if dropped > 0
            && let Some(end) = text.find('\n')
        {
            // The first line is only the end of one, perhaps of half a secret.
            text.drain(..=end);
        }
        Tail { text, dropped }
    }
}

/// A thread that empties a pipe until its end, or until it is told that nothing more of interest comes.
pub(super) struct Drain {
    thread: JoinHandle<(VecDeque<u8>, u64)>,
    last_call: Arc<AtomicBool>,
    secrets: Vec<Secret>,
}

impl Drain {
    /// Keeps the last of what comes.
    pub(super) fn start(pipe: OwnedFd, secrets: Vec<Secret>) -> Result<Self> {
        Self::spawn(pipe, secrets, true)
    }

    /// Keeps the first of what comes.
    pub(super) fn start_keeping_first(pipe: OwnedFd) -> Result<Self> {
        Self::spawn(pipe, Vec::new(), false)
    }

    fn spawn(pipe: OwnedFd, secrets: Vec<Secret>, keep_last: bool) -> Result<Self> {
        let last_call = Arc::new(AtomicBool::new(false));
        let told = last_call.clone();
        let thread = thread::Builder::new()
            .name("stderr".into())
            .spawn(move || drain(pipe, &told, keep_last))
            .map_err(|e| Error::internal("start a thread", e))?;
        Ok(Drain {
            thread,
            last_call,
            secrets,
        })
    }

    /// Takes what is in the pipe now and ends, even if somebody still holds the pipe open.
    pub(super) fn end(self) -> Tail {
        self.last_call.store(true, Ordering::SeqCst);
        let (kept, dropped) = self.thread.join().unwrap_or_default();
        Tail::new(kept, dropped, &self.secrets)
    }
}

fn drain(pipe: OwnedFd, last_call: &AtomicBool, keep_last: bool) -> (VecDeque<u8>, u64) {
    let mut pipe = std::fs::File::from(pipe);
    let mut kept = VecDeque::new();
    let mut dropped = 0;
    let mut piece = vec![0; 16 << 10];
    loop {
        // Looked at before the pipe: what was written before the last call is still read.
        let last = last_call.load(Ordering::SeqCst);
        if !ready(&pipe, PollFlags::IN, !last) {
            if last {
                break;
            }
            continue;
        }
        match pipe.read(&mut piece) {
            Ok(0) => break,
            Ok(n) => {
                if keep_last {
                    kept.extend(&piece[..n]);
                    let over = kept.len().saturating_sub(KEPT);
                    kept.drain(..over);
                    dropped += over as u64;
                } else {
                    let room = KEPT - kept.len();
                    kept.extend(&piece[..n.min(room)]);
                    dropped += n.saturating_sub(room) as u64;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            // A pipe that cannot be read any more has nothing more to say.
            Err(_) => break,
        }
    }
    (kept, dropped)
}

/// Waits until a pipe can be read or written: for a slice of time, or not at all.
pub(super) fn ready(pipe: &impl AsFd, what: PollFlags, wait: bool) -> bool {
    let limit = rustix::event::Timespec {
        tv_sec: 0,
        tv_nsec: if wait { super::SLICE.subsec_nanos().into() } else { 0 },
    };
    let mut fds = [PollFd::new(pipe, what)];
    // Interrupted by a signal: as if the slice were over.
    rustix::event::poll(&mut fds, Some(&limit)).unwrap_or(0) > 0
}
