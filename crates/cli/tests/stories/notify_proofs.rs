//! What channels hear of rehearsals, verifications and restores: once, again after a while, when it is over; and who of them hears it.

use std::path::{Path, PathBuf};

use coffre_testkit::coffre::Coffre;
use coffre_testkit::web::Receiver;
use serde_json::Value;

use crate::schedule::{clock, plan};
use crate::shop::{address, artifact, back_up, protected, small, sqlite, text};

/// A channel that posts to this path, limited as `more` says.
fn hook(coffre: &Coffre, server: &Receiver, name: &str, more: &[&str]) {
    let url = server.url(&format!("/{name}"));
    let line = ["channel", "add", "webhook", "--name", name, "--url", &url];
    coffre.ok([&line, more].concat());
}

/// What came at this path: event, whether it is a reminder, the source.
fn heard(server: &Receiver, name: &str) -> Vec<(String, bool, String)> {
    let path = format!("/{name}");
    let mut all = Vec::new();
    for request in server.requests().iter().filter(|request| request.path == path) {
        let body: Value = serde_json::from_str(&request.body).unwrap();
        for event in body["events"].as_array().unwrap() {
            let source = event["source"]["name"].as_str().unwrap_or_default();
            all.push((text(event, "event").to_owned(), event["reminder"] == true, source.to_owned()));
        }
    }
    all
}

fn names(heard: &[(String, bool, String)]) -> Vec<&str> {
    heard.iter().map(|(event, ..)| event.as_str()).collect()
}

/// The folder of the destination `safe`.
fn safe(coffre: &Coffre) -> PathBuf {
    let listed = coffre.json(["destination", "list"])["destinations"].clone();
    let safe = listed.as_array().unwrap().iter().find(|one| one["name"] == "safe").unwrap();
    PathBuf::from(text(safe, "address").strip_prefix("file://").unwrap())
}

/// Turns a bit of a file.
fn spoil(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn a_failed_rehearsal_is_told_once_again_after_a_day_and_when_the_next_one_is_good() {
    let server = Receiver::start([]);
    let (mut coffre, _) = protected();
    clock(&mut coffre, "2026-11-17 12:00:00");
    hook(&coffre, &server, "hook", &["--remind-after", "12", "--language", "fr"]);
    plan(&coffre, &[]);
    let safe = safe(&coffre);
    let made = coffre.json(["backup", "--plan", "nightly"])["backup"].clone();
    // A newer one, so that the source still has something to rely on.
    clock(&mut coffre, "2026-11-17 12:10:00");
    coffre.json(["backup", "--plan", "nightly"]);
    let file = safe.join(text(&made["copies"][0], "key"));
    let fails = |coffre: &Coffre| {
        let outcome = coffre.run(["drill", text(&made, "code")]);
        assert_ne!(outcome.status, Some(0), "{outcome}");
    };
    coffre.ok(["drill", text(&made, "code")]);
    assert_eq!(heard(&server, "hook"), [], "nobody asked for successes");
    spoil(&file);
    clock(&mut coffre, "2026-11-17 13:00:00");
    fails(&coffre);
    // The source is at risk because of it, and nobody hears that as a second thing.
    let shown = coffre.json(["source", "show", "shop"])["source"]["protection"].clone();
    assert_eq!((text(&shown, "state"), text(&shown, "cause")), ("at_risk", "drill_failed"));
    clock(&mut coffre, "2026-11-17 14:00:00");
    fails(&coffre);
    coffre.json(["scheduler", "run"]);
    let told = heard(&server, "hook");
    assert_eq!(told, [("drill.failed".to_owned(), false, "shop".to_owned())]);
    let body: Value = serde_json::from_str(&server.requests()[0].body).unwrap();
    let event = &body["events"][0];
    assert_eq!(
        (&event["backup"]["code"], &event["code"]),
        (&made["code"], &"VERIFY_MISMATCH".into()),
        "{body:#}"
    );
    clock(&mut coffre, "2026-11-18 02:00:00");
    coffre.json(["scheduler", "run"]);
    coffre.json(["scheduler", "run"]);
    let told = heard(&server, "hook");
    assert_eq!((names(&told), told[1].1), (vec!["drill.failed", "drill.failed"], true));
    spoil(&file);
    clock(&mut coffre, "2026-11-18 02:10:00");
    coffre.ok(["drill", text(&made, "code")]);
    coffre.ok(["drill", text(&made, "code")]);
    coffre.json(["scheduler", "run"]);
    assert_eq!(
        names(&heard(&server, "hook")),
        ["drill.failed", "drill.failed", "drill.recovered"]
    );
    let last = server.requests().pop().unwrap();
    assert!(last.body.contains("la répétition est de nouveau bonne"), "{last:?}");
}

#[test]
fn a_failed_verification_is_told_once_again_after_a_while_and_when_it_is_good_again() {
    let server = Receiver::start([]);
    let (mut coffre, _) = protected();
    clock(&mut coffre, "2026-11-17 12:00:00");
    hook(&coffre, &server, "hook", &["--remind-after", "12"]);
    let made = back_up(&coffre, "shop");
    let code = text(&made, "code");
    let file = artifact(&coffre, &made);
    spoil(&file);
    clock(&mut coffre, "2026-11-17 13:00:00");
    coffre.fails(["verify", code], "VERIFY_MISMATCH", 3);
    clock(&mut coffre, "2026-11-17 14:00:00");
    coffre.fails(["verify", code], "VERIFY_MISMATCH", 3);
    // That the last run is no good any more is the same thing.
    assert_eq!(
        heard(&server, "hook"),
        [("verify.failed".to_owned(), false, "shop".to_owned())]
    );
    clock(&mut coffre, "2026-11-18 02:00:00");
    coffre.json(["scheduler", "run"]);
    coffre.json(["scheduler", "run"]);
    assert_eq!(
        heard(&server, "hook")[1..],
        [("verify.failed".to_owned(), true, "shop".to_owned())]
    );
    spoil(&file);
    clock(&mut coffre, "2026-11-18 02:10:00");
    coffre.ok(["verify", code]);
    coffre.ok(["verify", code]);
    assert_eq!(
        names(&heard(&server, "hook")),
        ["verify.failed", "verify.failed", "verify.recovered"]
    );

    // A place that does not answer says nothing of the copy, and is told and ended all the same.
    let folder = coffre.home().join("backups");
    let away = folder.with_extension("away");
    std::fs::rename(&folder, &away).unwrap();
    clock(&mut coffre, "2026-11-18 02:20:00");
    assert_ne!(coffre.run(["verify", code]).status, Some(0));
    assert_eq!(coffre.json(["show", code])["backup"]["state"], "verified");
    std::fs::rename(&away, &folder).unwrap();
    clock(&mut coffre, "2026-11-18 02:30:00");
    coffre.ok(["verify", code]);
    assert_eq!(names(&heard(&server, "hook"))[3..], ["verify.failed", "verify.recovered"]);

    // What is deleted has nothing to answer for any more.
    spoil(&file);
    clock(&mut coffre, "2026-11-18 02:40:00");
    coffre.fails(["verify", code], "VERIFY_MISMATCH", 3);
    coffre.ok(["delete", code, "--yes"]);
    clock(&mut coffre, "2026-11-18 16:00:00");
    coffre.json(["scheduler", "run"]);
    let told = heard(&server, "hook");
    assert_eq!(names(&told)[5..6], ["verify.failed"]);
    assert!(!told[6..].iter().any(|(event, ..)| event.starts_with("verify")), "{told:?}");
}

#[test]
fn a_channel_for_one_plan_hears_what_concerns_its_backups_and_its_source_alone() {
    let server = Receiver::start([]);
    let (mut coffre, db) = protected();
    // Far enough apart that nothing is a storm.
    let mut minutes = 0;
    // Each command begins at a time of its own: what a slow one wrote down must not lie ahead of the next.
    let mut later = |coffre: &mut Coffre| {
        minutes += 20;
        clock(coffre, &format!("2026-11-17 {:02}:{:02}:00", 6 + minutes / 60, minutes % 60));
    };
    later(&mut coffre);
    plan(&coffre, &[]);
    let other = coffre.work("other.db");
    small(&other);
    coffre.ok(["source", "add", &address(&other), "--name", "other"]);
    coffre.ok(["plan", "add", "--name", "others", "--source", "other", "--to", "safe"]);
    for limited in ["nightly", "others"] {
        hook(&coffre, &server, limited, &["--plan", limited]);
    }
    hook(&coffre, &server, "all", &[]);
    later(&mut coffre);
    let made = coffre.json(["backup", "--plan", "nightly"])["backup"].clone();
    let code = text(&made, "code");
    let file = safe(&coffre).join(text(&made["copies"][0], "key"));

    // Its backup, rehearsed and verified.
    spoil(&file);
    later(&mut coffre);
    assert_ne!(coffre.run(["drill", code]).status, Some(0));
    later(&mut coffre);
    assert_ne!(coffre.run(["verify", code]).status, Some(0));
    spoil(&file);
    later(&mut coffre);
    coffre.ok(["verify", code]);
    later(&mut coffre);
    coffre.ok(["drill", code]);
    // One by hand, of its source.
    later(&mut coffre);
    let by_hand = back_up(&coffre, "shop");
    spoil(&artifact(&coffre, &by_hand));
    later(&mut coffre);
    assert_ne!(coffre.run(["verify", text(&by_hand, "code")]).status, Some(0));
    spoil(&artifact(&coffre, &by_hand));
    later(&mut coffre);
    coffre.ok(["verify", text(&by_hand, "code")]);
    // Live data of its source, replaced and taken back.
    sqlite(&db, "DELETE FROM customers WHERE id > 500");
    later(&mut coffre);
    let done = coffre.json(["restore", code, "--replace", "--yes", "--no-countdown"]);
    later(&mut coffre);
    coffre.ok(["undo", text(&done["restore"], "id")]);

    let told = heard(&server, "nightly");
    let proofs: Vec<&str> = names(&told)
        .into_iter()
        .filter(|event| !event.starts_with("source"))
        .collect();
    let expected = [
        "drill.failed",
        "verify.failed",
        "verify.recovered",
        "drill.recovered",
        "verify.failed",
        "verify.recovered",
        "restore.done",
        "undo.done",
    ];
    assert_eq!(proofs[..8], expected, "{told:?}");
    assert!(told.iter().all(|(_, _, source)| source == "shop"), "{told:?}");
    assert_eq!(
        heard(&server, "all"),
        told,
        "with one plan that does anything, there is nothing else to hear"
    );
    assert_eq!(heard(&server, "others"), [], "nothing of this is of its plan");

    // And the other way round.
    later(&mut coffre);
    let made = coffre.json(["backup", "--plan", "others"])["backup"].clone();
    spoil(&safe(&coffre).join(text(&made["copies"][0], "key")));
    later(&mut coffre);
    assert_ne!(coffre.run(["drill", text(&made, "code")]).status, Some(0));
    assert_eq!(names(&heard(&server, "others")), ["drill.failed"]);
    assert_eq!(heard(&server, "nightly"), told);
}
