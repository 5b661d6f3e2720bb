//! Writing what a child reads.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use coffre_model::{Code, Error, Result};
use rustix::event::PollFlags;

use super::{Child, Ended, Invocation, Judge, Limits, output, tail};

/// Asked when a program has taken no bytes for the stall limit: whether it is nevertheless at work (building an index after the last
/// byte, say). `true` starts the limit anew.
pub type Alive = Box<dyn FnMut() -> bool + Send>;

/// The standard input of a program as a sink. Dropping it without [`ChildInput::finish`] kills the program's whole group and reaps it.
pub struct ChildInput {
    child: Child,
    pipe: Option<OwnedFd>,
    limits: Limits,
    judge: Judge,
    alive: Alive,
    failure: Option<Error>,
}

impl ChildInput {
    /// Starts a program to write to. Its output goes nowhere.
    ///
    /// # Errors
    /// `TOOL_MISSING` if it cannot be started.
    pub fn start(invocation: &Invocation, limits: Limits, judge: Judge, alive: Alive) -> Result<Self> {
        Self::start_with(invocation, Stdio::null(), limits, judge, alive)
    }

    /// As [`ChildInput::start`], with the program's output as a pipe. It ends when the program does; somebody must read it.
    pub fn start_filter(invocation: &Invocation, limits: Limits, judge: Judge, alive: Alive) -> Result<(Self, OwnedFd)> {
        let mut input = Self::start_with(invocation, Stdio::piped(), limits, judge, alive)?;
        let output = input.child.take_stdout();
        Ok((input, output.ok_or_else(|| Error::internal("start a tool", "no pipe"))?))
    }

    fn start_with(invocation: &Invocation, output: Stdio, limits: Limits, judge: Judge, alive: Alive) -> Result<Self> {
        let mut command = invocation.command()?;
        command.stdin(Stdio::piped()).stdout(output);
        let mut child = Child::start(invocation, command)?;
        let pipe = child.take_stdin();
        if let Some(pipe) = &pipe {
            output::prepare(pipe)?;
        }
        Ok(ChildInput {
            child,
            pipe,
            limits,
            judge,
            alive,
            failure: None,
        })
    }

    /// Ends the input and waits until the program has ended.
    ///
    /// # Errors
    /// What the program's failure means, `STALLED`, `CANCELLED`.
    pub fn finish(mut self) -> Result<Ended> {
        if let Some(error) = self.failure.take() {
            return Err(error);
        }
        self.wait_until_taken()?;
        self.pipe = None;
        self.wait_for_the_end()
    }

    /// Waits until the program has taken everything out of the pipe: one that ends with 0 before has not done its work.
    fn wait_until_taken(&mut self) -> Result<()> {
        let mut began = Instant::now();
        let mut left = u64::MAX;
        while let Some(pipe) = &self.pipe {
            // Where the system cannot tell, the exit status alone must do.
            let now = rustix::io::ioctl_fionread(pipe).unwrap_or(0);
            if now == 0 {
                break;
            }
            if now != left {
                (left, began) = (now, Instant::now());
            }
            self.limits.cancel.check()?;
            if self.child.has_ended() {
                return Err(self.ended_early());
            }
            self.keep_waiting(&mut began)?;
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    fn write_some(&mut self, bytes: &[u8]) -> Result<usize> {
        self.limits.cancel.check()?;
        let mut began = Instant::now();
        while let Some(pipe) = &self.pipe {
            match rustix::io::write(pipe, bytes) {
                Ok(n) => return Ok(n),
                Err(rustix::io::Errno::INTR) => continue,
                Err(rustix::io::Errno::AGAIN) => {}
                Err(rustix::io::Errno::PIPE) => break,
                Err(error) => return Err(Error::internal("write to a tool", error)),
            }
            self.limits.cancel.check()?;
            if tail::ready(pipe, PollFlags::OUT, true) {
                continue;
            }
            if self.child.has_ended() {
                break;
            }
            self.keep_waiting(&mut began)?;
        }
        Err(self.ended_early())
    }

    /// It does not read any more, so it has failed, even if it says otherwise: there was more to come.
    fn ended_early(&mut self) -> Error {
        match self.wait_for_the_end() {
            Err(error) => error,
            Ok(ended) => Error::new(Code::DumpFailed, "tool_ended_early")
                .with("tool", self.child.name.clone())
                .with("stderr", ended.stderr.last_lines()),
        }
    }

    fn keep_waiting(&mut self, began: &mut Instant) -> Result<()> {
        if began.elapsed() >= self.limits.stall {
            if !(self.alive)() {
                return Err(self.child.stalled(self.limits.stall));
            }
            *began = Instant::now();
        }
        Ok(())
    }

    fn wait_for_the_end(&mut self) -> Result<Ended> {
        const LOOK: Duration = Duration::from_millis(500);
        let mut began = Instant::now();
        while !self.child.wait(LOOK.min(self.limits.stall), Some(&self.limits.cancel))? {
            self.keep_waiting(&mut began)?;
        }
        let ended = self.child.reap();
        if ended.success() {
            Ok(ended)
        } else {
            Err((self.judge)(&ended))
        }
    }
}

impl Write for ChildInput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(error) = &self.failure {
            return Err(error.clone().into());
        }
        if bytes.is_empty() {
            return Ok(0);
        }
        self.write_some(bytes).map_err(|error| {
            self.child.stop();
            self.pipe = None;
            self.failure = Some(error.clone());
            error.into()
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
