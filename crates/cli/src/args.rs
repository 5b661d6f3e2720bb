//! The command line as types. No words here: every help text is `help.<command>.<argument>` in the catalogues of words, so that
//! it exists in both languages (`localise.rs`; a test asserts that none is missing).

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

#[derive(Debug, Parser)]
#[command(name = "coffre", version, disable_help_subcommand = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Args)]
pub(crate) struct Global {
    #[arg(long, global = true, display_order = 900, value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,
    #[arg(long, global = true, display_order = 900)]
    pub(crate) json: bool,
    #[arg(long, global = true, display_order = 900, value_enum)]
    pub(crate) lang: Option<Lang>,
    #[arg(long, short, global = true, display_order = 900)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum, PartialEq, Eq)]
pub(crate) enum Lang {
    En,
    Fr,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(subcommand)]
    Source(Source),
    #[command(subcommand)]
    Destination(Destination),
    #[command(subcommand)]
    Plan(Plan),
    Backup(Backup),
    List(List),
    Show(Show),
    Verify(Verify),
    Restore(Restore),
    Undo(Undo),
    Guard(Guard),
    Drill(Drill),
    Open(Open),
    Download(Download),
    Delete(Delete),
    Pin(One),
    Unpin(One),
    Note(Note),
    Acknowledge(One),
    Cleanup(Cleanup),
    #[command(subcommand)]
    Key(Key),
    #[command(subcommand)]
    Vault(Vault),
    RecoverySheet(RecoverySheet),
    Journal(Journal),
    #[command(subcommand)]
    Settings(Settings),
    #[command(subcommand)]
    Catalogue(Catalogue),
    #[command(subcommand)]
    Scheduler(Scheduler),
    Serve(Serve),
    Completions(Completions),
    Demo(Demo),
}

#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct Password {
    #[arg(long)]
    pub(crate) password_stdin: bool,
    #[arg(long, value_name = "VAR")]
    pub(crate) password_env: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SourceOptions {
    #[arg(long, value_name = "PATH", allow_hyphen_values = true)]
    pub(crate) attach: Vec<String>,
    #[arg(long, value_name = "GLOB", allow_hyphen_values = true)]
    pub(crate) include: Vec<String>,
    #[arg(long, value_name = "GLOB", allow_hyphen_values = true)]
    pub(crate) exclude: Vec<String>,
    #[arg(long, value_parser = ["custom", "plain"])]
    pub(crate) format: Option<String>,
    #[arg(long, value_parser = ["disable", "prefer", "require", "verify-full"])]
    pub(crate) tls: Option<String>,
    #[arg(long, value_name = "DIR", allow_hyphen_values = true)]
    pub(crate) tool_path: Option<String>,
    #[arg(long)]
    pub(crate) no_owner: bool,
    #[arg(long)]
    pub(crate) no_privileges: bool,
    #[arg(long)]
    pub(crate) no_large_objects: bool,
    #[arg(long, value_name = "URL")]
    pub(crate) health_url: Option<String>,
    #[arg(long, value_name = "C")]
    pub(crate) stop_command: Option<String>,
    #[arg(long, value_name = "C")]
    pub(crate) start_command: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Source {
    Add {
        #[arg(value_name = "ADDRESS", allow_hyphen_values = true)]
        address: String,
        #[arg(long, allow_hyphen_values = true)]
        name: String,
        #[command(flatten)]
        password: Password,
        #[command(flatten)]
        options: Box<SourceOptions>,
    },
    Test(One),
    List,
    Show(One),
    Edit {
        #[arg(value_name = "S")]
        one: String,
        #[arg(long, allow_hyphen_values = true)]
        name: Option<String>,
        #[arg(long, allow_hyphen_values = true)]
        address: Option<String>,
        #[command(flatten)]
        password: Password,
        #[command(flatten)]
        options: Box<SourceOptions>,
    },
    Remove(One),
}

#[derive(Debug, Args)]
pub(crate) struct One {
    #[arg(value_name = "NAME")]
    pub(crate) one: String,
    #[arg(long, value_name = "S", allow_hyphen_values = true)]
    pub(crate) source: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Destination {
    Add {
        #[arg(value_name = "ADDRESS", allow_hyphen_values = true)]
        address: String,
        #[arg(long, allow_hyphen_values = true)]
        name: String,
        #[arg(long)]
        secret_stdin: bool,
    },
    Test(One),
    List,
    Show(One),
    Remove(One),
}

#[derive(Debug, Args)]
pub(crate) struct PlanOptions {
    #[arg(long, value_name = "EXPR", allow_hyphen_values = true, conflicts_with = "every")]
    pub(crate) cron: Option<String>,
    #[arg(long, value_parser = ["hourly", "daily", "weekly", "monthly"])]
    pub(crate) every: Option<String>,
    #[arg(long, value_name = "Z", allow_hyphen_values = true)]
    pub(crate) time_zone: Option<String>,
    #[arg(long, value_name = "yes|no", num_args = 0..=1, require_equals = true, default_missing_value = "yes", value_parser = ["yes", "no"])]
    pub(crate) wait_for_network: Option<String>,
    #[arg(long, value_name = "yes|no", num_args = 0..=1, require_equals = true, default_missing_value = "yes", value_parser = ["yes", "no"])]
    pub(crate) wait_for_power: Option<String>,
    #[arg(long, value_parser = ["full", "differential", "incremental"])]
    pub(crate) kind: Option<String>,
    #[arg(long, value_name = "N")]
    pub(crate) full_every: Option<u32>,
    #[arg(long, value_name = "zstd[:L]|gzip[:L]|none")]
    pub(crate) compression: Option<String>,
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub(crate) encrypt: Option<String>,
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) keep_last: Option<u32>,
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) keep_days: Option<u32>,
    #[arg(long, value_name = "N")]
    pub(crate) keep_hourly: Option<u32>,
    #[arg(long, value_name = "N")]
    pub(crate) keep_daily: Option<u32>,
    #[arg(long, value_name = "N")]
    pub(crate) keep_weekly: Option<u32>,
    #[arg(long, value_name = "N")]
    pub(crate) keep_monthly: Option<u32>,
    #[arg(long, value_name = "N")]
    pub(crate) keep_yearly: Option<u32>,
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) keep_min: Option<u32>,
    #[arg(long, value_name = "RULES", value_parser = coffre_api::model::plan::PRESETS)]
    pub(crate) retention: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Plan {
    Add {
        #[arg(long, allow_hyphen_values = true)]
        name: String,
        #[arg(long, value_name = "S", allow_hyphen_values = true)]
        source: String,
        #[arg(long, value_name = "D", required = true, allow_hyphen_values = true)]
        to: Vec<String>,
        #[command(flatten)]
        options: Box<PlanOptions>,
    },
    List,
    Show(One),
    Edit {
        #[arg(value_name = "P")]
        one: String,
        #[arg(long, allow_hyphen_values = true)]
        name: Option<String>,
        #[arg(long, value_name = "D", allow_hyphen_values = true)]
        to: Vec<String>,
        #[arg(long, conflicts_with = "encrypt")]
        no_encrypt: bool,
        #[command(flatten)]
        options: Box<PlanOptions>,
    },
    Pause(One),
    Resume(One),
    Remove(One),
    Simulate(One),
}

#[derive(Debug, Args)]
pub(crate) struct Cleanup {
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[arg(long, value_name = "P", allow_hyphen_values = true)]
    pub(crate) plan: Option<String>,
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub(crate) keep_days: Option<u32>,
    #[arg(long, requires = "plan")]
    pub(crate) yes: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Scheduler {
    Status,
    Run,
    Pause,
    Resume,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Backup {
    #[arg(long, value_name = "P",
          conflicts_with_all = ["source", "to", "compression", "encrypt"], allow_hyphen_values = true)]
    pub(crate) plan: Option<String>,
    #[arg(long, value_name = "S", allow_hyphen_values = true)]
    pub(crate) source: Option<String>,
    #[arg(long, value_name = "D", allow_hyphen_values = true)]
    pub(crate) to: Vec<String>,
    #[arg(long, value_name = "zstd[:L]|gzip[:L]|none")]
    pub(crate) compression: Option<String>,
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub(crate) encrypt: Option<String>,
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) note: Option<String>,
    #[arg(long)]
    pub(crate) pin: bool,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    #[arg(long, value_name = "S", allow_hyphen_values = true)]
    pub(crate) source: Option<String>,
    #[arg(long, value_name = "P", allow_hyphen_values = true)]
    pub(crate) plan: Option<String>,
    #[arg(long, value_name = "ST", value_parser = ["running", "stored", "verified", "failed", "interrupted", "cancelled", "skipped", "missed", "deleting", "deleted"])]
    pub(crate) state: Option<String>,
    #[arg(long = "type", value_parser = ["hourly", "daily", "weekly", "monthly", "manual"])]
    pub(crate) backup_type: Option<String>,
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) page: u32,
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) per_page: u32,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    #[arg(value_name = "B")]
    pub(crate) backup: String,
    #[arg(long, value_name = "S", allow_hyphen_values = true)]
    pub(crate) source: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    #[arg(value_name = "B", required_unless_present = "all")]
    pub(crate) backup: Option<String>,
    #[arg(long, value_name = "S", allow_hyphen_values = true)]
    pub(crate) source: Option<String>,
    #[arg(long, conflicts_with = "backup")]
    pub(crate) all: bool,
    #[arg(long, value_name = "D", allow_hyphen_values = true)]
    pub(crate) copy: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    #[arg(value_name = "B")]
    pub(crate) backup: Option<String>,
    #[arg(long, value_name = "S", allow_hyphen_values = true)]
    pub(crate) source: Option<String>,
    #[arg(long, value_name = "PATH", conflicts_with = "backup", allow_hyphen_values = true)]
    pub(crate) file: Option<PathBuf>,
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub(crate) key: Option<String>,
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[arg(long, conflicts_with = "into")]
    pub(crate) replace: bool,
    #[arg(long, value_name = "ADDRESS", allow_hyphen_values = true)]
    pub(crate) into: Option<String>,
    #[arg(long, value_name = "T", allow_hyphen_values = true, requires = "into", conflicts_with_all = ["file", "dry_run", "replace"])]
    pub(crate) table: Option<String>,
    #[arg(long = "as", value_name = "NAME", allow_hyphen_values = true, requires = "table")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) password: Password,
    #[arg(long, value_parser = ["disable", "prefer", "require", "verify-full"])]
    pub(crate) tls: Option<String>,
    #[arg(long, value_name = "DIR", allow_hyphen_values = true)]
    pub(crate) tool_path: Option<String>,
    #[arg(long)]
    pub(crate) no_owner: bool,
    #[arg(long)]
    pub(crate) no_privileges: bool,
    #[arg(long)]
    pub(crate) yes: bool,
    #[arg(long)]
    pub(crate) no_countdown: bool,
    #[arg(long, value_name = "WORD", requires = "replace")]
    pub(crate) confirmation: Option<String>,
    #[arg(long, requires = "confirmation")]
    pub(crate) rows_may_differ: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Undo {
    #[arg(value_name = "RESTORE")]
    pub(crate) restore: Option<String>,
    #[arg(long, requires = "restore")]
    pub(crate) forget: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Guard {
    #[arg(long, value_name = "S", allow_hyphen_values = true)]
    pub(crate) source: String,
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) note: Option<String>,
    #[arg(value_name = "COMMAND", last = true, required = true, num_args = 1..)]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Drill {
    #[arg(value_name = "B")]
    pub(crate) backup: String,
    #[arg(long, value_name = "S", allow_hyphen_values = true)]
    pub(crate) source: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Open {
    #[arg(value_name = "B")]
    pub(crate) backup: String,
    #[arg(long, value_name = "S", allow_hyphen_values = true)]
    pub(crate) source: Option<String>,
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    pub(crate) table: Option<String>,
    #[arg(
        long,
        value_name = "X",
        allow_hyphen_values = true,
        requires = "table",
        conflicts_with = "export"
    )]
    pub(crate) search: Option<String>,
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) page: u32,
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) per_page: u32,
    #[arg(long, value_parser = ["csv", "sql"], requires = "table", requires = "to")]
    pub(crate) export: Option<String>,
    #[arg(long, value_name = "PATH", allow_hyphen_values = true, requires = "export")]
    pub(crate) to: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Download {
    #[arg(value_name = "B")]
    pub(crate) backup: String,
    #[arg(long, value_name = "S", allow_hyphen_values = true)]
    pub(crate) source: Option<String>,
    #[arg(long, value_name = "PATH", allow_hyphen_values = true)]
    pub(crate) to: PathBuf,
    #[arg(long)]
    pub(crate) raw: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    #[arg(value_name = "B")]
    pub(crate) backup: String,
    #[arg(long, value_name = "S", allow_hyphen_values = true)]
    pub(crate) source: Option<String>,
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Note {
    #[arg(value_name = "B")]
    pub(crate) backup: String,
    #[arg(value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) text: String,
    #[arg(long, value_name = "S", allow_hyphen_values = true)]
    pub(crate) source: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    Create {
        #[arg(value_name = "NAME", allow_hyphen_values = true, required_unless_present = "name")]
        one: Option<String>,
        #[arg(long, allow_hyphen_values = true, conflicts_with = "one")]
        name: Option<String>,
        #[arg(long)]
        passphrase_stdin: bool,
    },
    List,
    Export {
        #[arg(value_name = "NAME", allow_hyphen_values = true, required_unless_present = "name")]
        one: Option<String>,
        #[arg(long, allow_hyphen_values = true, conflicts_with = "one")]
        name: Option<String>,
        #[arg(long, value_name = "PATH")]
        to: Option<PathBuf>,
    },
    Import {
        #[arg(value_name = "NAME", allow_hyphen_values = true, required_unless_present = "name")]
        one: Option<String>,
        #[arg(long, allow_hyphen_values = true, conflicts_with = "one")]
        name: Option<String>,
        #[arg(long, value_name = "PATH")]
        from: Option<PathBuf>,
        #[arg(long)]
        passphrase: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Vault {
    Init,
    Status,
}

#[derive(Debug, Args)]
pub(crate) struct RecoverySheet {
    #[arg(long, value_name = "PATH", allow_hyphen_values = true)]
    pub(crate) to: PathBuf,
    #[arg(value_name = "B")]
    pub(crate) backup: Option<String>,
    #[arg(long, value_name = "S", allow_hyphen_values = true)]
    pub(crate) source: Option<String>,
    #[arg(long)]
    pub(crate) include_keys: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Journal {
    /// Nothing means 50; of an export, everything.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000), conflicts_with = "export")]
    pub(crate) limit: Option<u32>,
    #[arg(long, value_name = "TEXT")]
    pub(crate) search: Option<String>,
    #[arg(long, value_name = "ACTION")]
    pub(crate) action: Option<String>,
    #[arg(long, value_name = "AUTHOR", value_parser = ["app", "cli", "api", "schedule", "system"])]
    pub(crate) author: Option<String>,
    #[arg(long, value_name = "S")]
    pub(crate) source: Option<String>,
    #[arg(long, value_name = "DAY")]
    pub(crate) since: Option<String>,
    #[arg(long, value_name = "DAY")]
    pub(crate) until: Option<String>,
    #[arg(long, value_name = "FILE")]
    pub(crate) export: Option<PathBuf>,
    #[arg(long, value_name = "FORMAT", value_parser = ["csv", "json"], requires = "export")]
    pub(crate) format: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Settings {
    List,
    Get { key: String },
    Set { key: String, value: String },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Catalogue {
    Rebuild {
        #[arg(long, value_name = "D", required = true, num_args = 1.., allow_hyphen_values = true)]
        from: Vec<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    #[arg(value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}
