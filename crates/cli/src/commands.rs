//! One file per noun; here only which command goes where.

mod backup;
mod cleanup;
mod demo;
mod destination;
mod drill;
mod guard;
mod key;
mod misc;
mod plan;
mod replace;
mod restore;
mod scheduler;
mod source;
mod verify;

use std::sync::Arc;

use coffre_api::Coffre;
use coffre_api::model::{Cancel, Result};

use crate::args::{Command, Completions};
use crate::output::Out;

impl Command {
    /// The command's name, for the log.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Command::Source(_) => "source",
            Command::Destination(_) => "destination",
            Command::Plan(_) => "plan",
            Command::Backup(_) => "backup",
            Command::List(_) => "list",
            Command::Show(_) => "show",
            Command::Verify(_) => "verify",
            Command::Restore(_) => "restore",
            Command::Undo(_) => "undo",
            Command::Guard(_) => "guard",
            Command::Drill(_) => "drill",
            Command::Open(_) => "open",
            Command::Download(_) => "download",
            Command::Delete(_) => "delete",
            Command::Pin(_) => "pin",
            Command::Unpin(_) => "unpin",
            Command::Note(_) => "note",
            Command::Acknowledge(_) => "acknowledge",
            Command::Cleanup(_) => "cleanup",
            Command::Key(_) => "key",
            Command::Vault(_) => "vault",
            Command::RecoverySheet(_) => "recovery-sheet",
            Command::Journal(_) => "journal",
            Command::Settings(_) => "settings",
            Command::Catalogue(_) => "catalogue",
            Command::Scheduler(_) => "scheduler",
            Command::Serve(_) => "serve",
            Command::Completions(_) => "completions",
            Command::Demo(_) => "demo",
        }
    }
}

/// Carries a command out.
pub(crate) fn run(coffre: &Arc<Coffre>, command: &Command, out: &Out, cancel: &Cancel) -> Result<()> {
    match command {
        Command::Source(source) => source::run(coffre, source, out, cancel),
        Command::Destination(destination) => destination::run(coffre, destination, out, cancel),
        Command::Plan(plan) => plan::run(coffre, plan, out),
        Command::Backup(arguments) => backup::make(coffre, arguments, out, cancel),
        Command::List(arguments) => backup::list(coffre, arguments, out),
        Command::Show(arguments) => backup::show(coffre, arguments, out),
        Command::Verify(arguments) => verify::run(coffre, arguments, out, cancel),
        Command::Restore(arguments) => restore::run(coffre, arguments, out, cancel),
        Command::Undo(arguments) => replace::undo(coffre, arguments, out, cancel),
        Command::Guard(arguments) => guard::run(coffre, arguments, out, cancel),
        Command::Drill(arguments) => drill::run(coffre, arguments, out, cancel),
        Command::Open(arguments) => drill::open(coffre, arguments, out, cancel),
        Command::Download(arguments) => backup::download(coffre, arguments, out, cancel),
        Command::Delete(arguments) => backup::delete(coffre, arguments, out, cancel),
        Command::Pin(one) => backup::pin(coffre, one, true, out),
        Command::Unpin(one) => backup::pin(coffre, one, false, out),
        Command::Note(arguments) => backup::note(coffre, arguments, out),
        Command::Acknowledge(one) => cleanup::acknowledge(coffre, one, out),
        Command::Cleanup(arguments) => cleanup::run(coffre, arguments, out, cancel),
        Command::Key(key) => key::run(coffre, key, out),
        Command::Vault(vault) => key::vault(coffre, vault, out),
        Command::RecoverySheet(sheet) => misc::recovery_sheet(coffre, sheet, out),
        Command::Journal(arguments) => misc::journal(coffre, arguments, out, cancel),
        Command::Settings(settings) => misc::settings(coffre, settings, out),
        Command::Catalogue(catalogue) => misc::catalogue(coffre, catalogue, out, cancel),
        Command::Scheduler(command) => scheduler::run(coffre, command, out, cancel),
        Command::Serve(arguments) => scheduler::serve(coffre, arguments, out, cancel),
        Command::Completions(shell) => completions(out, shell),
        Command::Demo(arguments) => demo::run(coffre, arguments, out, cancel),
    }
}

/// Prints a shell's completion script.
pub(crate) fn completions(out: &Out, completions: &Completions) -> Result<()> {
    let mut command = crate::localise::command(&out.words);
    let mut script = Vec::new();
    clap_complete::generate(completions.shell, &mut command, "coffre", &mut script);
    let script = String::from_utf8_lossy(&script);
    out.line(script.trim_end());
    out.document(&[(
        "completions",
        &serde_json::json!({"shell": completions.shell.to_string(), "script": script}),
    )])
}
