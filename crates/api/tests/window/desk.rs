//! A desk with a window on it: a home in a temporary folder, a shell that answers dialogs as it is told, every event kept.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use coffre_api::model::{Code, Error, Result};
use coffre_api::window::dialogs::{Dialogs, FilePurpose};
use coffre_api::window::notices::Notice;
use coffre_api::window::{Setup, Window, WireError};
use coffre_api::words::Language;
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Nothing here takes so long, on however slow a machine: whoever waits longer waits for something that does not come.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a shell would do, done by a test.
#[derive(Default)]
pub(crate) struct Shell {
    /// What every dialog answers.
    pub(crate) chosen: Mutex<Option<PathBuf>>,
    /// A desktop without any.
    pub(crate) no_dialogs: Mutex<bool>,
    pub(crate) suggested: Mutex<Vec<String>>,
    pub(crate) notices: Mutex<Vec<Notice>>,
    pub(crate) opened: Mutex<Vec<PathBuf>>,
    pub(crate) quits: Mutex<usize>,
}

impl Shell {
    fn answer(&self) -> Result<Option<PathBuf>> {
        if *self.no_dialogs.lock().unwrap() {
            return Err(Error::new(Code::NotFound, "dialog_absent"));
        }
        Ok(self.chosen.lock().unwrap().clone())
    }
}

impl Dialogs for Shell {
    fn choose_file(&self, _: FilePurpose) -> Result<Option<PathBuf>> {
        self.answer()
    }

    fn choose_folder(&self) -> Result<Option<PathBuf>> {
        self.answer()
    }

    fn save_file(&self, suggestion: &str) -> Result<Option<PathBuf>> {
        self.suggested.lock().unwrap().push(suggestion.to_owned());
        self.answer()
    }

    fn open_folder(&self, path: &Path) -> Result<()> {
        self.opened.lock().unwrap().push(path.to_owned());
        Ok(())
    }

    fn notify(&self, notice: &Notice) {
        self.notices.lock().unwrap().push(notice.clone());
    }

    fn quit(&self) {
        *self.quits.lock().unwrap() += 1;
    }
}

#[derive(Default)]
struct Heard {
    events: Mutex<Vec<(Instant, Value)>>,
    more: Condvar,
}

/// A window on a home.
pub(crate) struct Desk {
    pub(crate) window: Window,
    pub(crate) shell: Arc<Shell>,
    heard: Arc<Heard>,
}

impl Desk {
    pub(crate) fn on(home: &Path) -> Desk {
        Desk::speaking(home, Language::En)
    }

    /// On a system that speaks this language.
    pub(crate) fn speaking(home: &Path, system_language: Language) -> Desk {
        let heard = Arc::new(Heard::default());
        let shell = Arc::new(Shell::default());
        let ear = Arc::clone(&heard);
        let window = Window::open(Setup {
            home: home.to_owned(),
            actor: Some("anna".to_owned()),
            system_language,
            dialogs: shell.clone(),
            sink: Box::new(move |event| {
                let event = serde_json::to_value(event).unwrap();
                ear.events.lock().unwrap().push((Instant::now(), event));
                ear.more.notify_all();
            }),
        })
        .unwrap();
        Desk { window, shell, heard }
    }

    /// Asks, and must be answered.
    #[track_caller]
    pub(crate) fn ask(&self, command: &str, arguments: Value) -> Value {
        match self.window.dispatch(command, arguments.clone()) {
            Ok(answer) => answer,
            Err(error) => panic!("{command} {arguments}: {error:?}"),
        }
    }

    /// Asks, and must be refused.
    #[track_caller]
    pub(crate) fn refused(&self, command: &str, arguments: Value) -> Box<WireError> {
        match self.window.dispatch(command, arguments.clone()) {
            Ok(answer) => panic!("{command} {arguments} was answered: {answer}"),
            Err(error) => error,
        }
    }

    /// Asks in both languages, and must be refused in both, in words.
    #[track_caller]
    pub(crate) fn refused_in_words(&self, command: &str, arguments: Value) -> Box<WireError> {
        let english = self.refused(command, arguments.clone());
        self.ask("set_setting", json!({"key": "language", "value": "fr"}));
        let french = self.refused(command, arguments);
        self.ask("set_setting", json!({"key": "language", "value": "en"}));
        are_words_for_the_same(&english, &french);
        english
    }

    /// Waits for an event, also one that came already.
    #[track_caller]
    pub(crate) fn wait_for(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let events = self.heard.events.lock().unwrap();
        let found = self
            .heard
            .more
            .wait_timeout_while(events, PATIENCE, |events| !events.iter().any(|(_, event)| wanted(event)))
            .unwrap();
        let event = found.0.iter().find(|(_, event)| wanted(event));
        event
            .unwrap_or_else(|| panic!("never heard: {what}; heard {:?}", found.0))
            .1
            .clone()
    }

    pub(crate) fn events(&self) -> Vec<(Instant, Value)> {
        self.heard.events.lock().unwrap().clone()
    }

    pub(crate) fn forget_events(&self) {
        self.heard.events.lock().unwrap().clear();
    }

    /// Waits until something holds.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let began = Instant::now();
        while !holds() {
            assert!(began.elapsed() < PATIENCE, "it never came to this: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until nothing runs in this window.
    #[track_caller]
    pub(crate) fn until_idle(&self) {
        self.until("nothing runs", || {
            self.ask("running", Value::Null).as_array().unwrap().is_empty()
        });
    }

    /// The state in which a backup ends.
    #[track_caller]
    pub(crate) fn end_of(&self, id: &Value) -> Value {
        self.until("the backup ends", || {
            self.ask("show_backup", json!({"id": id}))["backup"]["state"] != "running"
        });
        self.until_idle();
        self.ask("show_backup", json!({"id": id}))["backup"].clone()
    }

    /// Adds a SQLite source.
    #[track_caller]
    pub(crate) fn add_sqlite(&self, name: &str, path: &Path) -> Value {
        let draft = json!({"name": name, "adapter": "sqlite", "values": {"path": path}});
        self.ask("add_source", json!({"draft": draft, "secret": {"change": "keep"}}))
    }

    /// Adds a folder as a destination.
    #[track_caller]
    pub(crate) fn add_folder(&self, name: &str, path: &Path) -> Value {
        let draft = json!({"name": name, "adapter": "local", "values": {"path": path}});
        self.ask("add_destination", json!({"draft": draft, "secret": {"change": "keep"}}))
    }

    /// Makes a backup by hand and waits for its end.
    #[track_caller]
    pub(crate) fn back_up(&self, source: &Value) -> Value {
        let begun = self.ask("run_backup", json!({"plan_id": null, "source_id": source["id"]}));
        self.end_of(&begun["id"])
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        // A test that fails in the middle of something says more than the cleaning up after it.
        let _closed = self.window.close();
    }
}

pub(crate) fn home() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Two errors say the same, each in its language, with every fact filled in.
#[track_caller]
pub(crate) fn are_words_for_the_same(english: &WireError, french: &WireError) {
    assert_eq!((english.code, &english.text), (french.code, &french.text));
    assert_ne!(english.message, french.message);
    for said in [&english.message, &english.hint, &french.message, &french.hint] {
        assert!(
            !said.is_empty() && !said.contains('–') && !said.contains(['{', '}']),
            "{}: {said}",
            english.text
        );
    }
}

/// Runs a test of this program that is ignored otherwise in a process of its own: behind `prefix`, in another environment.
#[track_caller]
#[allow(clippy::disallowed_methods, reason = "starts itself again in another environment")]
pub(crate) fn alone(test: &str, prefix: Vec<OsString>, environment: &[(&str, &OsStr)]) {
    let mut words = prefix;
    words.push(std::env::current_exe().unwrap().into());
    words.extend(["--exact", test, "--ignored", "--nocapture"].map(OsString::from));
    let output = std::process::Command::new(&words[0])
        .args(&words[1..])
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// What [`alone`] was told.
pub(crate) fn told(name: &str) -> PathBuf {
    std::env::var_os(name).expect("started by another test").into()
}

/// The form of a plan.
pub(crate) fn plan_draft(name: &str, source: &Value, destinations: &[&Value]) -> Value {
    let ids: Vec<&Value> = destinations.iter().map(|destination| &destination["id"]).collect();
    json!({
        "name": name, "source_id": source["id"], "destination_ids": ids, "kind": "full", "every": "daily", "at": null, "weekday": null,
        "month_day": null, "cron": null, "time_zone": null, "wait_for_network": false, "wait_for_power": false, "compression": "zstd:3", "key_id": null,
        "retention": {"keep_last": null, "keep_days": null, "keep_hourly": null, "keep_daily": 7, "keep_weekly": null,
            "keep_monthly": null, "keep_yearly": null},
    })
}

/// A question to the list.
pub(crate) fn query(more: Value) -> Value {
    let mut query = json!({"sort": "started_at", "descending": true, "page": 1, "per_page": 50});
    for (name, value) in more.as_object().unwrap() {
        query[name] = value.clone();
    }
    json!({ "query": query })
}

/// A small database.
pub(crate) fn make_database(path: &Path, rows: u32) {
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch("CREATE TABLE IF NOT EXISTS things (id INTEGER PRIMARY KEY, name TEXT NOT NULL)")
        .unwrap();
    for n in 0..rows {
        connection
            .execute("INSERT INTO things (name) VALUES (?1)", [format!("thing {n}")])
            .unwrap();
    }
    connection.close().unwrap();
}

/// A database whose backup takes a while: nothing in it can be compressed.
pub(crate) fn make_slow_database(path: &Path) {
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch(
            "PRAGMA synchronous = OFF; CREATE TABLE noise (id INTEGER PRIMARY KEY, bytes BLOB);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 120)
             INSERT INTO noise (bytes) SELECT randomblob(1000000) FROM n;",
        )
        .unwrap();
    connection.close().unwrap();
}

pub(crate) fn is_invalidated(event: &Value, noun: &str) -> bool {
    let tags = event["tags"].as_array();
    event["type"] == "invalidated" && tags.is_some_and(|tags| tags.iter().any(|tag| tag["noun"] == noun))
}
