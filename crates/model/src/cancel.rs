//! Cancelling running work: one flag, seen by every loop that can take time.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::error::{Code, Error, Result};

/// Why work was cancelled. Decides the exit status: 130 for an interrupt (and a person's click), 143 for a termination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// SIGINT, or a person's own *Cancel*.
    Interrupt = 1,
    /// SIGTERM: the system wants the process to end.
    Terminate = 2,
    /// The lease of this run was taken by somebody else (this process slept too long); the run may write nothing more.
    LeaseLost = 3,
}

/// A shared flag. Cloning shares it. Every blocking loop calls [`Cancel::check`] at least every 200 ms.
#[derive(Clone, Default)]
pub struct Cancel(Arc<Flag>);

#[derive(Default)]
struct Flag {
    raised: AtomicU8,
    gate: Mutex<()>,
    bell: Condvar,
}

impl Cancel {
    /// A flag that nobody has raised.
    pub fn new() -> Self {
        Self::default()
    }

    /// Raises the flag. The first reason stays.
    pub fn cancel(&self, reason: Reason) {
        // A flag already raised keeps its reason: the error of `compare_exchange` says just that.
        let _first_wins = self
            .0
            .raised
            .compare_exchange(0, reason as u8, Ordering::SeqCst, Ordering::SeqCst);
        // Whoever is about to wait has looked at the flag under this lock.
        drop(self.0.gate.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.bell.notify_all();
    }

    /// Waits until the flag is raised, without looking at it all the time.
    pub fn wait(&self) {
        let gate = self.0.gate.lock().unwrap_or_else(PoisonError::into_inner);
        // The lock guards nothing: nobody can leave anything half done under it.
        let _woken = self.0.bell.wait_while(gate, |()| !self.is_cancelled());
    }

    /// The reason, once raised.
    pub fn reason(&self) -> Option<Reason> {
        match self.0.raised.load(Ordering::SeqCst) {
            1 => Some(Reason::Interrupt),
            2 => Some(Reason::Terminate),
            3 => Some(Reason::LeaseLost),
            _ => None,
        }
    }

    /// Whether the flag is raised.
    pub fn is_cancelled(&self) -> bool {
        self.reason().is_some()
    }

    /// `CANCELLED` (or `INTERRUPTED` for a lost lease) once the flag is raised.
    pub fn check(&self) -> Result<()> {
        match self.reason() {
            None => Ok(()),
            Some(Reason::LeaseLost) => Err(Error::new(Code::Interrupted, "lease_lost")),
            Some(reason) => {
                let status: u8 = if reason == Reason::Terminate { 143 } else { 130 };
                Err(Error::new(Code::Cancelled, "cancelled").with("status", status))
            }
        }
    }
}
