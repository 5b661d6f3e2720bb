//! A program that goes on beside us until we are done with it: the server of a throw-away database.

use std::process::Stdio;
use std::time::Duration;

use coffre_model::{Cancel, Result};
use rustix::process::Signal;

use super::{Child, Ended, Invocation};

/// How long it may take to end by the signal that it understands, before it and everything in its group is killed.
const LEAVE: Duration = Duration::from_secs(8);

/// The program. Dropping this ends and reaps it.
pub struct Resident {
    child: Child,
    goodbye: Signal,
}

impl Resident {
    /// Starts it; its output goes nowhere, and the last of what it says on standard error is kept. `goodbye` asks it to end, and is also what the
    /// system sends it when we die in whatever way, where the system can (Linux).
    ///
    /// # Errors
    /// `TOOL_MISSING` if it cannot be started.
    pub fn start(invocation: &Invocation, goodbye: Signal) -> Result<Resident> {
        let mut command = invocation.command_dying_of(goodbye)?;
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Ok(Resident {
            child: Child::start(invocation, command)?,
            goodbye,
        })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// Waits for a moment; answers whether it has ended.
    ///
    /// # Errors
    /// `CANCELLED`.
    pub fn has_ended(&self, within: Duration, cancel: &Cancel) -> Result<bool> {
        self.child.wait(within, Some(cancel))
    }

    /// Ends it now, and answers how it ended.
    pub fn end(&mut self) -> Ended {
        if !self.child.has_ended() && self.child.ended.is_none() {
            // It may have ended in this very moment.
            let _gone_already = rustix::process::kill_process(self.child.pid, self.goodbye);
            // Without a flag there is nothing that waiting could fail with; what does not end is killed below.
            let _killed_below = self.child.wait(LEAVE, None);
        }
        self.child.stop()
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        self.end();
    }
}
