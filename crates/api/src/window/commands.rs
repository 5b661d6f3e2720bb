//! The table of commands: each declared once, with what it takes and what it answers. The shell hands name and JSON over; wrong names
//! and wrong arguments are errors like any other.

use coffre_model::{Code, Error, Id, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use ts_rs::TS;

use super::Window;
use super::wire::WireError;
use crate::wire::window_json;

/// The arguments of a command that takes none.
#[derive(Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// The arguments of a command about one thing.
#[derive(Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub(super) struct ById {
    pub(super) id: Id,
}

macro_rules! commands {
    ($($name:ident: $arguments:path => $answer:ty;)*) => {
        /// The name of every command.
        pub const COMMANDS: &[&str] = &[$(stringify!($name)),*];

        fn call(window: &Window, command: &str, arguments: Value) -> Result<Value> {
            match command {
                $(stringify!($name) => {
                    let arguments: $arguments = read(stringify!($name), arguments)?;
                    let answer: $answer = window.$name(arguments)?;
                    written(window, &answer)
                })*
                _ => Err(Error::new(Code::Usage, "command_unknown").with("command", shortened(command))),
            }
        }

        /// Shows every type of the table to a visitor.
        #[cfg(test)]
        pub(super) fn visit_types(visitor: &mut impl ts_rs::TypeVisitor) {
            $(visitor.visit::<$arguments>(); visitor.visit::<$answer>();)*
        }

        /// Name, arguments and answer of each command, as TypeScript.
        #[cfg(test)]
        pub(super) fn signatures(config: &ts_rs::Config) -> Vec<(&'static str, String, String)> {
            vec![$((stringify!($name), <$arguments>::name(config), <$answer>::name(config))),*]
        }
    };
}

commands! {
    about: Nothing => super::about::About;
    adapters: Nothing => super::about::AdapterList;
    attention: Nothing => super::about::Attention;
    overview: Nothing => super::overview::Overview;
    running: Nothing => Vec<super::running::Running>;
    set_catalogue_aside: Nothing => super::about::SetAside;
    list_catalogue_copies: Nothing => super::catalogue_copies::KeptCopies;
    restore_catalogue: super::catalogue_copies::RestoreCatalogue => super::catalogue_copies::CatalogueRestored;

    list_sources: Nothing => Vec<super::sources::SourceRow>;
    show_source: ById => super::sources::SourceDetail;
    check_source: super::drafts::CheckDraft => super::drafts::DraftErrors;
    test_source: super::drafts::TestDraft => coffre_model::database::Probe;
    add_source: super::drafts::AddDraft => coffre_model::source::Source;
    edit_source: super::drafts::EditDraft => coffre_model::source::Source;
    remove_source: ById => ();
    list_tables: ById => super::sources::TableStats;
    create_sample: Nothing => super::sources::SampleMade;

    list_destinations: Nothing => Vec<super::destinations::DestinationRow>;
    show_destination: ById => super::destinations::DestinationDetail;
    check_destination: super::drafts::CheckDraft => super::drafts::DraftErrors;
    test_destination: super::drafts::TestDraft => super::destinations::DestinationProbe;
    add_destination: super::drafts::AddDraft => coffre_model::destination::Destination;
    edit_destination: super::drafts::EditDraft => coffre_model::destination::Destination;
    remove_destination: ById => ();
    default_destination: Nothing => coffre_model::destination::Destination;
    rebuild_from_destination: ById => super::destinations::RebuiltFrom;

    list_plans: Nothing => Vec<super::plans::PlanRow>;
    preview_plan: super::plan_preview::PreviewPlan => super::plan_preview::PlanPreview;
    add_plan: super::plans::AddPlan => coffre_model::plan::Plan;
    edit_plan: super::plans::EditPlan => coffre_model::plan::Plan;
    remove_plan: ById => ();
    pause_plan: super::plans::PausePlan => ();
    pause_schedules: super::plans::PauseSchedules => ();
    list_slots: super::slots::ListSlots => Vec<super::slots::SlotRow>;
    preview_retention: ById => super::plan_retention::RetentionPreview;
    confirm_retention: super::plan_retention::ConfirmRetention => super::plan_retention::RetentionDone;
    acknowledge_backup: ById => coffre_model::backup::Backup;

    list_backups: super::backups::ListBackups => super::backups::BackupPage;
    show_backup: ById => super::backup_detail::BackupDetail;
    run_backup: super::backups::RunBackup => super::backups::RunBegun;
    cancel_run: ById => ();
    verify_backup: ById => ();
    drill_backup: ById => ();
    pin_backup: super::backups::PinBackup => coffre_model::backup::Backup;
    note_backup: super::backups::NoteBackup => coffre_model::backup::Backup;
    preview_delete: super::deletes::PreviewDelete => super::deletes::DeletePreview;
    delete_backups: super::deletes::DeleteBackups => ();
    download_backup: super::backups::DownloadBackup => Option<super::dialogs::FileWritten>;
    save_recovery_sheet: super::backups::SaveRecoverySheet => Option<super::dialogs::FileWritten>;

    restore_targets: super::restore_targets::RestoreWhat => Vec<super::restore_targets::RestoreTargetOption>;
    plan_restore: super::restores::PlanRestore => super::restores::RestorePlan;
    start_restore: super::restores::StartRestore => coffre_model::restore::Restore;
    show_restore: ById => super::undos::RestoreDetail;
    list_restores: super::restores::ListRestores => Vec<super::undos::RestoreDetail>;
    undo_restore: ById => coffre_model::restore::Restore;
    list_kept: Nothing => Vec<super::undos::RestoreDetail>;
    forget_kept: ById => coffre_model::restore::Restore;

    open_backup: ById => super::inside::OpenedBackup;
    read_rows: super::inside::ReadRows => coffre_model::throw_away::RowPage;
    export_table: super::inside::ExportTable => Option<crate::inside::Exported>;
    restore_table: super::inside::RestoreTable => crate::inside::TableRestored;
    close_opened: ById => ();

    list_keys: Nothing => Vec<coffre_model::key::Key>;
    create_key: super::keys::CreateKey => super::keys::KeyMade;
    import_key: super::keys::ImportKey => coffre_model::key::Key;
    export_key: ById => Option<super::dialogs::FileWritten>;

    list_journal: super::journal::ListJournal => super::journal::JournalPage;
    export_journal: super::journal::ExportJournal => Option<super::dialogs::FileWritten>;
    health: Nothing => super::health::Health;
    check_health: Nothing => super::health::Health;

    channel_forms: Nothing => Vec<super::channels::ChannelForm>;
    list_channels: Nothing => Vec<super::channels::ChannelRow>;
    check_channel: super::channels::CheckChannel => super::drafts::DraftErrors;
    save_channel: super::channels::SaveChannel => coffre_model::channel::Channel;
    test_channel: ById => super::channels::ChannelTested;
    pause_channel: super::channels::PauseChannel => coffre_model::channel::Channel;
    remove_channel: ById => ();
    list_deliveries: ById => Vec<crate::notifications::DeliveryShown>;

    list_settings: Nothing => Vec<super::settings::SettingRow>;
    set_setting: super::settings::SetSetting => super::settings::SettingRow;
    list_tools: Nothing => Vec<super::tools::ToolFound>;
    rescan_tools: Nothing => Vec<super::tools::ToolFound>;

    choose_file: super::dialogs::ChooseFile => Option<String>;
    choose_folder: Nothing => Option<String>;
    choose_new_file: super::dialogs::ChooseNewFile => Option<String>;
    open_log_folder: Nothing => ();
    quit: super::running::Quit => ();
}

/// What the window asks for before it can show anything.
const FIRST: [&str; 6] = ["about", "list_settings", "running", "attention", "adapters", "overview"];

impl Window {
    /// The answers to what a window asks for first, by the name of the command, so that they can be put into its page: it shows its first
    /// picture without asking. What is refused is left out; the window asks for it, and is told why.
    pub fn first_answers(&self) -> Value {
        let answers = FIRST.into_iter().filter_map(|command| {
            let answer = self.dispatch(command, Value::Null).ok()?;
            Some((command.to_owned(), answer))
        });
        Value::Object(answers.collect())
    }

    /// Carries out one command. Blocks until it is done (a test of a source waits for its server, a restore's preview reads the whole
    /// backup): call it from a thread that may wait.
    ///
    /// # Errors
    /// Everything that can go wrong, in words of the language of the settings. Never panics.
    pub fn dispatch(&self, command: &str, arguments: Value) -> Result<Value, Box<WireError>> {
        let work = std::panic::AssertUnwindSafe(|| call(self, command, arguments));
        let outcome = std::panic::catch_unwind(work)
            .unwrap_or_else(|_| Err(Error::internal("carry out a command", "it panicked; the log says where")));
        outcome.map_err(|error| {
            tracing::info!(command = shortened(command), %error, "command refused");
            Box::new(self.in_words(&error))
        })
    }
}

fn read<T: DeserializeOwned>(command: &'static str, arguments: Value) -> Result<T> {
    let wrong = |cause: &str| {
        Error::new(Code::Usage, "arguments")
            .with("command", command)
            .with("cause", cause)
    };
    let arguments = match arguments {
        Value::Null => Value::Object(serde_json::Map::new()),
        Value::Object(named) => Value::Object(named),
        // serde would take a list for the fields in their order; arguments have names.
        _ => return Err(wrong("expected an object")),
    };
    serde_json::from_value(arguments).map_err(|e| wrong(&without_values(&e.to_string())))
}

/// What was expected, without what was given: that may be a password in the wrong place.
fn without_values(cause: &str) -> String {
    match cause.rsplit_once("expected ") {
        Some((_, expected)) => {
            let expected = expected.split(", found").next().unwrap_or_default();
            format!("expected {expected}")
        }
        None if cause.starts_with("missing field `") => cause.to_owned(),
        None => "not of the right form".to_owned(),
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}

fn written(window: &Window, answer: &impl Serialize) -> Result<Value> {
    window_json(answer, &window.words())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_never_repeats_what_was_given() {
        #[derive(Debug, Deserialize)]
        #[allow(dead_code, reason = "only read")]
        struct Takes {
            secret: Vec<u8>,
            id: Id,
        }
        let refused = |value: Value| read::<Takes>("x", value).err().unwrap().to_string();
        for given in [
            serde_json::json!({"secret": "hunter2", "id": "00000000-0000-7000-8000-000000000000"}),
            serde_json::json!({"secret": [], "id": "hunter2"}),
            serde_json::json!("hunter2"),
            serde_json::json!({"secret": "x, expected hunter2, expected"}),
        ] {
            let said = refused(given);
            assert!(said.contains("USAGE arguments") && !said.contains("hunter2"), "{said}");
        }
        assert!(refused(serde_json::json!({})).contains("secret"));
    }
}
