//! `coffre guard --source S -- COMMAND`: a backup, verified; then the command; and the way back where it failed.

use std::io::IsTerminal;
use std::process::{Command, Stdio};
use std::time::Duration;

use coffre_api::Coffre;
use coffre_api::model::{Cancel, Code, Error, Result};
use coffre_api::restores::From;
use serde_json::json;

use super::replace;
use crate::args;
use crate::output::Out;
use crate::progress::Bar;

pub(super) fn run(coffre: &Coffre, given: &args::Guard, out: &Out, cancel: &Cancel) -> Result<()> {
    let source = coffre.source(&given.source)?;
    let shown = given.command.join(" ");
    let note = given.note.clone().unwrap_or_else(|| {
        let note = out.words.say("cli.guard_note", &[("command", json!(shown))]);
        note.chars().take(500).collect()
    });
    let bar = Bar::new(out.words, out.quiet || out.json);
    let made = coffre.guard_backup(&source, &note, &bar, cancel);
    bar.clear();
    // Without a verified backup the command is not run.
    let backup = made?;
    out.say_aside(
        "cli.guard_backup",
        &[("backup", json!(backup.code)), ("command", json!(shown))],
    );
    let status = execute(&given.command, out.json, cancel)?;
    let back = format!("coffre restore {} --replace", backup.code);
    let document = json!({"command": given.command, "status": status, "undo": back});
    if status == 0 {
        out.say_aside("cli.guard_ok", &[("backup", json!(backup.code))]);
        return out.document(&[("guard", &document), ("backup", &backup)]);
    }
    out.say_aside(
        "cli.guard_failed",
        &[("command", json!(shown)), ("status", json!(status)), ("back", json!(back))],
    );
    if !out.json && std::io::stdin().is_terminal() {
        let from = From::Backup(Box::new(backup.clone()));
        match replace::offer(coffre, &from, &source, out, cancel) {
            // Nobody wanted it: the command is on the screen.
            Err(error) if error.code() == Code::Refused && error.text() == "confirmation_name" => {
                out.say_aside("cli.guard_left", &[("back", json!(back))]);
            }
            Err(error) => return Err(error),
            Ok(()) => {}
        }
    }
    out.document(&[("guard", &document), ("backup", &backup)])?;
    // The command's own status is the answer, whatever was done about it.
    out.exit(status)
}

/// Runs the command with our own input and output, and answers its exit status (128 and the signal where one ended it). With `--json` its output goes to
/// standard error: ours carries one document.
#[allow(
    clippy::disallowed_methods,
    reason = "the one command that a person gives to be run as it is"
)]
fn execute(command: &[String], json: bool, cancel: &Cancel) -> Result<u8> {
    let (program, arguments) = command
        .split_first()
        .ok_or_else(|| Error::new(Code::Usage, "guard_command"))?;
    let mut prepared = Command::new(program);
    prepared.args(arguments);
    if json {
        prepared.stdout(Stdio::from(std::io::stderr()));
    }
    let mut child = prepared.spawn().map_err(|e| {
        Error::new(Code::Refused, "guard_not_started")
            .with("command", program.as_str())
            .with("cause", e.to_string())
    })?;
    let mut told = false;
    loop {
        let ended = child.try_wait().map_err(|e| Error::internal("wait for a command", e))?;
        if let Some(status) = ended {
            #[cfg(unix)]
            let code = {
                use std::os::unix::process::ExitStatusExt;
                status.code().or_else(|| status.signal().map(|s| 128 + s))
            };
            #[cfg(not(unix))]
            let code = status.code();
            return Ok(code.and_then(|c| u8::try_from(c).ok()).unwrap_or(1));
        }
        // Asked to stop: the command is asked too, and waited for. It may be in the middle of a migration.
        if !told && cancel.check().is_err() {
            told = true;
            #[cfg(unix)]
            if let Some(pid) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
                // It may just have ended by itself: then there is nobody to tell.
                let _gone = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
