//! Reading what a child writes. A failed child is a failed read.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use coffre_model::{Error, Result};
use rustix::event::PollFlags;

use super::{Child, Ended, Invocation, Judge, Limits, tail};

/// After a wait, the child gets so long to fill the pipe: a program that writes 4 KiB at a time is then read in large pieces, and neither
/// side wakes up for each of them.
const GATHER: Duration = Duration::from_micros(500);

/// The standard output of a program as a stream. `read` answers 0 only after the program has ended with 0; any other end is an error.
/// Dropping it kills the program's whole group and reaps it.
pub struct ChildOutput {
    child: Child,
    pipe: Option<OwnedFd>,
    limits: Limits,
    judge: Judge,
    end: Option<Result<Ended>>,
}

impl ChildOutput {
    /// Starts a program to read from. Its input is empty.
    ///
    /// # Errors
    /// `TOOL_MISSING` if it cannot be started.
    pub fn start(invocation: &Invocation, limits: Limits, judge: Judge) -> Result<Self> {
        let mut command = invocation.command()?;
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = Child::start(invocation, command)?;
        let pipe = child.take_stdout();
        if let Some(pipe) = &pipe {
            prepare(pipe)?;
        }
        Ok(ChildOutput {
            child,
            pipe,
            limits,
            judge,
            end: None,
        })
    }

    /// Waits for the first bytes or the end of the program, for a moment. Answers whether a `read` would not wait. Meant to be called over
    /// and over before the first `read`; `began` is when that began.
    ///
    /// # Errors
    /// `STALLED`, `CANCELLED`.
    pub fn look(&mut self, began: Instant) -> Result<bool> {
        self.limits.cancel.check()?;
        let Some(pipe) = &self.pipe else { return Ok(true) };
        if tail::ready(pipe, PollFlags::IN, true) || self.child.has_ended() {
            return Ok(true);
        }
        if began.elapsed() >= self.limits.stall {
            let error = self.child.stalled(self.limits.stall);
            self.end = Some(Err(error.clone()));
            return Err(error);
        }
        Ok(false)
    }

    /// How the program ended, once `read` has answered 0.
    pub fn ended(&self) -> Option<&Ended> {
        self.end.as_ref()?.as_ref().ok()
    }

    fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.limits.cancel.check()?;
        let began = Instant::now();
        let mut filled = 0;
        let mut gathered = false;
        while let Some(pipe) = &self.pipe {
            match rustix::io::read(pipe, &mut buffer[filled..]) {
                Ok(0) if filled > 0 => return Ok(filled),
                Ok(0) => break,
                Ok(n) => {
                    filled += n;
                    if filled == buffer.len() {
                        return Ok(filled);
                    }
                    continue;
                }
                Err(rustix::io::Errno::INTR) => continue,
                Err(rustix::io::Errno::AGAIN) if filled > 0 && gathered => return Ok(filled),
                Err(rustix::io::Errno::AGAIN) if filled > 0 => {
                    thread::sleep(GATHER);
                    gathered = true;
                    continue;
                }
                Err(rustix::io::Errno::AGAIN) => {}
                Err(error) => return Err(Error::internal("read from a tool", error)),
            }
            self.limits.cancel.check()?;
            if tail::ready(pipe, PollFlags::IN, true) {
                thread::sleep(GATHER);
                continue;
            }
            if self.child.has_ended() {
                // Something that it left behind holds the pipe. Ended with its group, it writes no more; what is in the pipe still counts.
                self.child.reap();
                if !tail::ready(pipe, PollFlags::IN, false) {
                    break;
                }
            } else if began.elapsed() >= self.limits.stall {
                return Err(self.child.stalled(self.limits.stall));
            }
        }
        self.pipe = None;
        self.wait_for_the_end()?;
        Ok(0)
    }

    /// The output is over: only the exit status says whether it is whole.
    fn wait_for_the_end(&mut self) -> Result<()> {
        if self.child.ended.is_none() && !self.child.wait(self.limits.stall, Some(&self.limits.cancel))? {
            return Err(self.child.stalled(self.limits.stall));
        }
        let ended = self.child.reap();
        if !ended.success() {
            return Err((self.judge)(&ended));
        }
        self.end = Some(Ok(ended));
        Ok(())
    }
}

impl Read for ChildOutput {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &self.end {
            Some(Ok(_)) => return Ok(0),
            Some(Err(error)) => return Err(error.clone().into()),
            None if buffer.is_empty() => return Ok(0),
            None => {}
        }
        self.read_some(buffer).map_err(|error| {
            self.child.stop();
            self.end = Some(Err(error.clone()));
            error.into()
        })
    }
}

/// Makes our end of a pipe answer at once, and the pipe itself large where the system lets us.
pub(super) fn prepare(pipe: &OwnedFd) -> Result<()> {
    rustix::io::ioctl_fionbio(pipe, true).map_err(|e| Error::internal("prepare a pipe", e))?;
    #[cfg(target_os = "linux")]
    {
        // A user's share of pipe memory can be used up; a small pipe works as well, only slower.
        let _stays_small = rustix::pipe::fcntl_setpipe_size(pipe, super::PIPE_BYTES);
    }
    Ok(())
}
