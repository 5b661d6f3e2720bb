//! Commands before and after a run: what they are told, what follows when they fail, and that nothing of them stays.

use std::time::{Duration, Instant};

use coffre_testkit::coffre::Coffre;
use coffre_testkit::invariants::Invariants;
use coffre_testkit::wait_until;
use serde_json::{Value, json};

use crate::shop::{backups, files, protected, text};

/// The shop with a plan whose hooks are these lines of a shell (a program as any other: Coffre itself uses none).
fn planned(before: &str, after: &str, more: &[&str]) -> Coffre {
    let (coffre, _) = protected();
    let place = format!("file://{}", coffre.destination_folder("safe").display());
    coffre.ok(["destination", "add", &place, "--name", "safe"]);
    let line = ["plan", "add", "--name", "nightly", "--source", "shop", "--to", "safe"];
    let shell = |script: &str| json!(["sh", "-c", script]).to_string();
    let (before, after) = (shell(before), shell(after));
    let hooks = ["--before", before.as_str(), "--after", after.as_str()];
    coffre.ok([&line[..], &hooks, more].concat());
    coffre
}

fn hooks_of(coffre: &Coffre) -> Vec<Value> {
    let id = text(&backups(coffre)[0], "id").to_owned();
    coffre.json(["show", &id])["hooks"].as_array().unwrap().clone()
}

#[test]
fn they_are_told_what_runs_and_nothing_more() {
    let mut coffre = planned("env | sort", "env | sort; echo to stderr >&2", &["--hook-limit", "2m"]);
    coffre.set("HOOK_MUST_NOT_SEE_THIS", "private");
    let made = coffre.json(["backup", "--plan", "nightly"])["backup"].clone();
    assert_eq!(made["state"], "verified");
    let hooks = hooks_of(&coffre);
    let said = |at: usize| text(&hooks[at], "output").to_owned();
    for (at, moment, state) in [(0, "before", "running"), (1, "after", "verified")] {
        assert_eq!(
            (&hooks[at]["moment"], &hooks[at]["status"], &hooks[at]["error"]),
            (&json!(moment), &json!("exit status 0"), &Value::Null)
        );
        for line in [
            format!("COFFRE_HOOK={moment}"),
            format!("COFFRE_STATE={state}"),
            format!("COFFRE_BACKUP_ID={}", text(&made, "id")),
            format!("COFFRE_RUN_ID={}", text(&made, "id")),
            "COFFRE_PLAN=nightly".to_owned(),
            "COFFRE_SOURCE=shop".to_owned(),
            "COFFRE_TRIGGER=manual".to_owned(),
        ] {
            assert!(said(at).lines().any(|l| l == line), "{line}: {}", said(at));
        }
        // Neither what is ours nor where secrets lie.
        assert!(!said(at).contains("MUST_NOT") && !said(at).contains("VAULT"), "{}", said(at));
    }
    assert!(said(1).ends_with("to stderr"));
    let plan = coffre.json(["plan", "show", "nightly"])["plan"].clone();
    assert_eq!(
        plan["hooks"],
        json!({"before": ["sh", "-c", "env | sort"], "after": ["sh", "-c", "env | sort; echo to stderr >&2"], "limit_seconds": 120, "on_failure": "abort"})
    );
    // Nothing of them leaves this home.
    let manifest = files(&coffre.work("safe"))
        .into_iter()
        .find(|path| path.ends_with(".manifest.json"))
        .unwrap();
    assert!(
        !std::fs::read_to_string(coffre.work("safe").join(manifest))
            .unwrap()
            .contains("env | sort")
    );
    let french = coffre.ok(["--lang", "fr", "plan", "show", "nightly"]).stdout;
    assert!(french.contains("env | sort") && french.contains("120 s"), "{french}");
    coffre.ok(["plan", "edit", "nightly", "--before", "[]", "--after", "[]"]);
    assert_eq!(coffre.json(["plan", "show", "nightly"])["plan"]["hooks"], Value::Null);
    coffre.ok(["backup", "--plan", "nightly"]);
    assert!(hooks_of(&coffre).is_empty());
}

#[test]
fn what_fails_before_ends_the_run_or_is_a_remark_by_choice() {
    let coffre = planned("echo the queue is not empty; exit 3", "echo $COFFRE_STATE $COFFRE_ERROR", &[]);
    let failed = coffre.fails(["backup", "--plan", "nightly"], "DUMP_FAILED", 1).json();
    let message = text(&failed["error"], "message");
    assert!(
        message.contains("the queue is not empty") && message.contains("exit status 3"),
        "{message}"
    );
    assert_eq!(backups(&coffre)[0]["state"], "failed");
    assert!(
        files(&coffre.work("safe"))
            .iter()
            .all(|path| path.ends_with("coffre-destination.json")),
        "nothing was begun"
    );
    // What was stopped before is to be started again.
    assert_eq!(text(&hooks_of(&coffre)[1], "output"), "failed DUMP_FAILED");
    coffre.ok(["plan", "edit", "nightly", "--hook-failure", "continue"]);
    let made = coffre.ok(["backup", "--plan", "nightly"]);
    assert!(
        made.stderr.contains("the queue is not empty") || made.stdout.contains("the queue is not empty"),
        "{made}"
    );
    assert_eq!(backups(&coffre)[0]["state"], "verified");
    assert_eq!(text(&hooks_of(&coffre)[1], "output"), "verified");
    // One after can change nothing any more.
    coffre.ok([
        "plan",
        "edit",
        "nightly",
        "--before",
        "[]",
        "--after",
        r#"["sh", "-c", "kill -9 $$"]"#,
        "--hook-failure",
        "abort",
    ]);
    let made = coffre.ok(["backup", "--plan", "nightly"]);
    assert!(made.stderr.contains("signal 9") || made.stdout.contains("signal 9"), "{made}");
    assert_eq!(backups(&coffre)[0]["state"], "verified");
    coffre.ok([
        "plan",
        "edit",
        "nightly",
        "--before",
        r#"["/nowhere/stop-app"]"#,
        "--after",
        "[]",
    ]);
    coffre.fails(["backup", "--plan", "nightly"], "TOOL_MISSING", 1);
    coffre.ok(["plan", "edit", "nightly", "--before", r#"["no-such-program-anywhere"]"#]);
    let missing = coffre.fails(["backup", "--plan", "nightly"], "TOOL_MISSING", 1).json();
    assert!(text(&missing["error"], "message").contains("no-such-program-anywhere"));
    Invariants::of(&coffre).assert();
}

#[test]
fn what_cannot_be_a_command_is_refused() {
    let coffre = planned("true", "true", &[]);
    for given in ["systemctl stop app", r#"{"a": 1}"#, r#"["./mine"]"#, r#"[""]"#, "[1]"] {
        coffre.fails(["plan", "edit", "nightly", "--before", given], "USAGE", 2);
    }
    for given in ["0s", "never", "25h", "-1"] {
        coffre.fails(["plan", "edit", "nightly", &format!("--hook-limit={given}")], "USAGE", 2);
    }
    coffre.ok(["plan", "edit", "nightly", "--before", "[]", "--after", "[]"]);
    coffre.fails(["plan", "edit", "nightly", "--hook-limit", "5m"], "USAGE", 2);
}

#[test]
fn what_hangs_is_ended_with_all_that_it_started() {
    let coffre = planned("sleep 4321 & sleep 4321", "echo $COFFRE_ERROR", &["--hook-limit", "1s"]);
    let began = Instant::now();
    let failed = coffre.fails(["backup", "--plan", "nightly"], "STALLED", 1).json();
    assert!(text(&failed["error"], "message").contains("1 s"), "{failed:#}");
    assert!(began.elapsed() < Duration::from_secs(15));
    assert_eq!(text(&hooks_of(&coffre)[1], "output"), "STALLED");
    assert!(nobody_sleeps("4321"));
}

#[test]
fn a_cancel_ends_it_and_what_was_stopped_is_started_again() {
    let coffre = planned("sleep 4322", "echo again in $COFFRE_STATE", &[]);
    let run = coffre.spawn(["backup", "--plan", "nightly"]);
    assert!(wait_until(Duration::from_secs(30), || !nobody_sleeps("4322")));
    let asked = Instant::now();
    run.signal(libc::SIGINT);
    assert_eq!(run.wait().status, Some(130));
    assert!(asked.elapsed() < Duration::from_secs(5));
    assert!(nobody_sleeps("4322"));
    assert_eq!(backups(&coffre)[0]["state"], "cancelled");
    assert_eq!(text(&hooks_of(&coffre)[0], "output"), "again in cancelled");
}

/// Whether no process `sleep <for>` is there.
fn nobody_sleeps(seconds: &str) -> bool {
    let lines = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let line = std::fs::read(entry.ok()?.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    !lines.into_iter().any(|line| line.trim() == format!("sleep {seconds}"))
}
