//! Hooks: commands of a person's before and after each run of a plan.
//!
//! A command is a list of arguments, never a line for a shell. Hooks live in the catalogue of one home alone: no manifest carries any, and
//! nothing that is taken in from a destination brings one with it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::backup::words;
use crate::error::{Code, Error, Result};

words! {
    /// What follows when the command before a run fails.
    HookFailure {
        /// The run fails with that reason, and nothing is dumped.
        Abort = "abort",
        /// It goes on, and says so.
        Continue = "continue",
    }
}

words! {
    /// When a hook is run.
    HookMoment {
        /// Before anything of the source is read.
        Before = "before",
        /// After the run has come to its end, whichever.
        After = "after",
    }
}

/// The most arguments of a command.
const ARGUMENTS: usize = 100;
/// The most bytes of a command.
const BYTES: usize = 32 << 10;
/// The longest limit, in seconds.
pub const LONGEST: u64 = 86_400;
/// The limit where nothing is said, in seconds.
pub const USUAL: u64 = 60;

/// The hooks of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct Hooks {
    /// The command before; none if empty. The first is the program: an absolute path, or a name that is looked for in the usual folders.
    pub before: Vec<String>,
    /// The command after; none if empty.
    pub after: Vec<String>,
    /// How long each may take, in seconds.
    pub limit_seconds: u64,
    /// What follows when the command before fails. One after can change nothing any more: it is remarked.
    pub on_failure: HookFailure,
}

impl Default for Hooks {
    fn default() -> Self {
        Hooks {
            before: Vec::new(),
            after: Vec::new(),
            limit_seconds: USUAL,
            on_failure: HookFailure::Abort,
        }
    }
}

impl Hooks {
    /// The command of a moment; nothing where there is none.
    pub fn command(&self, moment: HookMoment) -> Option<&[String]> {
        let command = match moment {
            HookMoment::Before => &self.before,
            HookMoment::After => &self.after,
        };
        (!command.is_empty()).then_some(command.as_slice())
    }

    /// Whether there is no command at all.
    pub fn is_empty(&self) -> bool {
        self.before.is_empty() && self.after.is_empty()
    }

    /// Whether it can be carried out, as far as that is known without trying.
    ///
    /// # Errors
    /// `USAGE`.
    pub fn check(&self) -> Result<()> {
        for (what, command) in [("before", &self.before), ("after", &self.after)] {
            let wrong = |text: &'static str| Err(Error::new(Code::Usage, text).with("what", what));
            let Some(program) = command.first() else { continue };
            if program.is_empty() || (program.contains('/') && !program.starts_with('/')) {
                return wrong("hook_program");
            }
            if command.iter().any(|argument| argument.contains('\0')) {
                return wrong("hook_nul");
            }
            if command.len() > ARGUMENTS || command.iter().map(String::len).sum::<usize>() > BYTES {
                return wrong("hook_long");
            }
        }
        if self.limit_seconds == 0 || self.limit_seconds > LONGEST {
            return Err(Error::new(Code::Usage, "hook_limit").with("max", LONGEST));
        }
        Ok(())
    }
}

/// What became of a hook.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct HookRun {
    /// Before or after the run.
    pub moment: HookMoment,
    /// The program that was run.
    pub program: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: DateTime<Utc>,
    /// How it ended: `exit status 0`, `signal 9`; nothing where it could not be started.
    pub status: Option<String>,
    /// The last that it said, a few kilobytes at most.
    pub output: String,
    /// Why it failed, if it did.
    pub error: Option<Error>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_a_command() {
        let of = |before: &[&str]| Hooks {
            before: before.iter().map(ToString::to_string).collect(),
            ..Hooks::default()
        };
        for good in [&["/bin/true"][..], &["systemctl", "stop", "a b; rm -rf $(x)"], &[]] {
            assert!(of(good).check().is_ok(), "{good:?}");
        }
        let many = vec!["x"; ARGUMENTS + 1];
        let long = "x".repeat(BYTES);
        for bad in [&[""][..], &["./mine"], &["bin/mine"], &["x", "a\0b"], &many, &["x", &long]] {
            assert_eq!(of(bad).check().unwrap_err().code(), Code::Usage);
        }
        for limit in [0, LONGEST + 1] {
            let hooks = Hooks {
                limit_seconds: limit,
                ..Hooks::default()
            };
            assert_eq!(hooks.check().unwrap_err().text(), "hook_limit");
        }
        let read: Hooks = serde_json::from_str(r#"{"before": ["x"]}"#).unwrap();
        assert_eq!(
            (read.limit_seconds, read.on_failure, read.is_empty()),
            (USUAL, HookFailure::Abort, false)
        );
    }
}
