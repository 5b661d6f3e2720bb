//! Who is told what: real mail servers and real receivers of HTTP, with everything that they do wrong.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use coffre_testkit::coffre::Coffre;
use coffre_testkit::mail::{MailServer, Mode, PASSWORD, USER};
use coffre_testkit::web::{Answer, Receiver, Request};
use coffre_testkit::{run, wait_until};
use serde_json::Value;

use crate::program;
use crate::shop::{protected, small, text};

/// Adds a channel that signs in at a mail server.
fn mail_channel(coffre: &Coffre, server: &MailServer, security: &str, more: &[&str]) -> Value {
    let (port, ca) = (server.port().to_string(), server.authority().display().to_string());
    let line = [
        "--json",
        "channel",
        "add",
        "email",
        "--name",
        "mail",
        "--host",
        "localhost",
        "--port",
        &port,
        "--security",
        security,
        "--from",
        "coffre@example.org",
        "--to",
        "joe@example.org",
        "--user",
        USER,
        "--password-stdin",
        "--ca-file",
        &ca,
    ];
    let added = coffre.run_with_input([&line, more].concat(), PASSWORD.as_bytes());
    assert_eq!(added.status, Some(0), "{added}");
    added.json()["channel"].clone()
}

/// Adds a channel whose secret comes from standard input.
fn secret_channel(coffre: &Coffre, kind: &str, secret: &str, more: &[&str]) -> Value {
    let line = ["--json", "channel", "add", kind, "--name", kind, "--secret-stdin"];
    let added = coffre.run_with_input([&line, more].concat(), secret.as_bytes());
    assert_eq!(added.status, Some(0), "{added}");
    added.json()["channel"].clone()
}

/// A mail server that asks nobody and encrypts nothing, and a channel that goes there because somebody chose that.
fn plain_mail(coffre: &Coffre, server: &MailServer, more: &[&str]) {
    let port = server.port().to_string();
    let line = [
        "channel",
        "add",
        "email",
        "--name",
        "mail",
        "--host",
        "localhost",
        "--port",
        &port,
        "--security",
        "none",
        "--from",
        "coffre@example.org",
        "--to",
        "joe@example.org",
    ];
    coffre.ok([&line, more].concat());
}

/// No file below a folder, and no word of the program's own answers, holds this text.
fn assert_nowhere(coffre: &Coffre, secret: &str) {
    let home = coffre.home();
    let found = run("grep", ["-rlaF", "--", secret, home.to_str().unwrap()]);
    assert_eq!(found.stdout, "", "a secret lies in the home");
    for line in [&["channel", "list"][..], &["channel", "deliveries"], &["journal"]] {
        let said = coffre.json(line.iter().copied()).to_string();
        assert!(!said.contains(secret), "{said}");
    }
}

fn break_shop(db: &Path) {
    std::fs::rename(db, db.with_extension("away")).unwrap();
}

fn mend_shop(db: &Path) {
    std::fs::rename(db.with_extension("away"), db).unwrap();
}

fn fail_backup(coffre: &Coffre) {
    let outcome = coffre.run(["backup", "--source", "shop"]);
    assert_eq!(
        outcome.status,
        Some(1),
        "telling changes nothing about how a command ends: {outcome}"
    );
}

#[test]
fn a_mail_goes_over_starttls_and_over_tls_to_whoever_signs_in() {
    for (mode, security) in [(Mode::Starttls, "starttls"), (Mode::Tls, "tls")] {
        let server = MailServer::start(mode, true);
        let coffre = Coffre::new(program());
        let added = mail_channel(&coffre, &server, security, &[]);
        assert_eq!(
            (&added["has_secret"], &added["settings"]["security"]),
            (&true.into(), &security.into())
        );
        let tested = coffre.json(["channel", "test", "mail"]);
        assert_eq!(tested["ok"], true);
        let mail = server.mails().remove(0);
        assert!(mail.encrypted, "{mail:?}");
        assert_eq!(
            (mail.from.as_str(), mail.to.as_slice()),
            ("coffre@example.org", &["joe@example.org".to_owned()][..])
        );
        assert_eq!(
            mail.header("message-id"),
            format!("<{}@example.org>", text(&tested["delivery"], "id"))
        );
        assert!(mail.text.contains("test") && mail.html.contains("<html"), "{mail:?}");

        // Another password: the server says no, once and for all, and the answer says which server and which user.
        let wrong = coffre.run_with_input(["channel", "edit", "mail", "--secret-stdin"], b"wrong");
        assert_eq!(wrong.status, Some(0), "{wrong}");
        let refused = coffre.fails(["channel", "test", "mail"], "AUTH_FAILED", 1).json();
        assert!(text(&refused["error"], "message").contains(USER), "{refused:#}");
        let listed = coffre.json(["channel", "list"])["channels"][0].clone();
        assert_eq!(
            (&listed["failing"]["code"], &listed["last"]["state"]),
            (&"AUTH_FAILED".into(), &"given_up".into())
        );
        assert_eq!(server.mails().len(), 1);
        assert_nowhere(&coffre, PASSWORD);
    }
}

#[test]
fn nothing_goes_out_with_less_encryption_than_was_asked_for() {
    let plain = MailServer::start(Mode::Plain, false);
    let coffre = Coffre::new(program());
    mail_channel(&coffre, &plain, "starttls", &[]);
    let refused = coffre.fails(["channel", "test", "mail"], "TLS_REFUSED", 1).json();
    assert!(text(&refused["error"], "hint").contains("587"), "{refused:#}");
    assert!(plain.mails().is_empty());
    // A password in the clear is refused before anything is kept.
    coffre.fails(["channel", "edit", "mail", "--security", "none"], "REFUSED", 4);
    let chosen = coffre.run_with_input(
        [
            "channel",
            "edit",
            "mail",
            "--security",
            "none",
            "--user",
            "",
            "--secret-stdin",
        ],
        b"",
    );
    assert_eq!(chosen.status, Some(0), "{chosen}");
    // The port stays: it was given.
    coffre.ok(["channel", "test", "mail"]);
    assert!(!plain.mails()[0].encrypted);

    // A certificate that nobody vouches for.
    let stranger = MailServer::start(Mode::Starttls, true);
    let coffre = Coffre::new(program());
    mail_channel(&coffre, &stranger, "starttls", &[]);
    coffre.ok(["channel", "edit", "mail", "--ca-file", ""]);
    coffre.fails(["channel", "test", "mail"], "TLS_REFUSED", 1);
    // One that is for another name.
    let ca = stranger.authority().display().to_string();
    coffre.ok(["channel", "edit", "mail", "--ca-file", &ca, "--host", "127.0.0.2"]);
    coffre.fails(["channel", "test", "mail"], "TLS_REFUSED", 1);
    assert!(stranger.mails().is_empty());
}

#[test]
fn a_server_that_refuses_is_slow_or_is_not_there_is_told_apart() {
    let mut coffre = Coffre::new(program());
    coffre.set("COFFRE_NOTIFY_SECONDS", "2");
    let server = MailServer::start(Mode::Plain, false);
    plain_mail(&coffre, &server, &[]);
    coffre.ok(["channel", "edit", "mail", "--to", "nobody@example.org"]);
    let refused = coffre.fails(["channel", "test", "mail"], "NOT_FOUND", 1).json();
    assert!(text(&refused["error"], "message").contains("no such mailbox"), "{refused:#}");
    // One of two gets it, and that the other one does not is said.
    coffre.ok([
        "channel",
        "edit",
        "mail",
        "--to",
        "nobody@example.org",
        "--to",
        "joe@example.org",
    ]);
    coffre.fails(["channel", "test", "mail"], "NOT_FOUND", 1);
    assert_eq!(server.mails().len(), 1);
    assert_eq!(server.mails()[0].to, ["joe@example.org"]);

    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port().to_string();
    coffre.ok(["channel", "edit", "mail", "--port", &port]);
    coffre.fails(["channel", "test", "mail"], "STALLED", 1);
    drop(silent);
    coffre.fails(["channel", "test", "mail"], "UNREACHABLE", 1);
    coffre.ok(["channel", "edit", "mail", "--host", "nowhere.invalid"]);
    let unresolved = coffre.fails(["channel", "test", "mail"], "UNREACHABLE", 1).json();
    assert!(text(&unresolved["error"], "message").contains("name"), "{unresolved:#}");
}

#[test]
fn one_mail_when_it_fails_and_one_when_it_is_over() {
    let server = MailServer::start(Mode::Plain, false);
    let (coffre, db) = protected();
    plain_mail(&coffre, &server, &["--language", "fr", "--time-zone", "Europe/Paris"]);
    coffre.ok(["backup", "--source", "shop"]);
    assert_eq!(server.mails().len(), 0, "nobody asked for successes");
    break_shop(&db);
    fail_backup(&coffre);
    let mail = server.mails().remove(0);
    assert_eq!(mail.header("subject"), "shop\u{202f}: la sauvegarde a échoué");
    assert!(
        mail.text.contains("(Europe/Paris)") && mail.text.contains("BKP-"),
        "{}",
        mail.text
    );
    assert!(mail.text.contains("shop.db"), "the reason: {}", mail.text);
    fail_backup(&coffre);
    fail_backup(&coffre);
    assert_eq!(server.mails().len(), 1, "it still fails: nobody has to hear that each time");
    mend_shop(&db);
    coffre.ok(["backup", "--source", "shop"]);
    coffre.ok(["backup", "--source", "shop"]);
    let mails = server.mails();
    assert_eq!(mails.len(), 2, "{mails:#?}");
    assert!(mails[1].header("subject").contains("fonctionnent à nouveau"), "{mails:#?}");
    let sent = coffre.json(["channel", "deliveries", "mail"])["deliveries"].clone();
    assert_eq!(
        (&sent[0]["events"][0], &sent[0]["state"]),
        (&"backup.recovered".into(), &"sent".into())
    );
}

#[test]
fn a_reminder_comes_after_its_time_and_a_paused_channel_is_silent() {
    let server = Receiver::start([]);
    let (mut coffre, db) = protected();
    let clock = |coffre: &mut Coffre, time: &str| crate::schedule::clock(coffre, time);
    clock(&mut coffre, "2026-11-17 12:00:00");
    coffre.ok([
        "channel",
        "add",
        "webhook",
        "--name",
        "hook",
        "--url",
        &server.url("/x"),
        "--remind-after",
        "24",
    ]);
    let events = || -> Vec<(String, bool)> {
        let body = |request: &Request| serde_json::from_str::<Value>(&request.body).unwrap();
        let bodies = server.requests().iter().map(body).collect::<Vec<_>>();
        bodies
            .iter()
            .map(|body| (text(body, "event").to_owned(), body["events"][0]["reminder"] == true))
            .collect()
    };
    break_shop(&db);
    fail_backup(&coffre);
    clock(&mut coffre, "2026-11-18 11:59:00");
    coffre.json(["scheduler", "run"]);
    assert_eq!(events(), [("backup.failed".to_owned(), false)]);
    clock(&mut coffre, "2026-11-18 12:01:00");
    coffre.json(["scheduler", "run"]);
    coffre.json(["scheduler", "run"]);
    assert_eq!(events().len(), 2);
    assert_eq!(events()[1], ("backup.failed".to_owned(), true));
    coffre.ok(["channel", "pause", "hook"]);
    mend_shop(&db);
    coffre.ok(["backup", "--source", "shop"]);
    assert_eq!(events().len(), 2);
    // Each command begins at the time that it is told: what a slow one wrote down must not lie ahead of the next.
    clock(&mut coffre, "2026-11-18 12:02:00");
    coffre.ok(["channel", "resume", "hook"]);
    clock(&mut coffre, "2026-11-18 12:03:00");
    coffre.json(["scheduler", "run"]);
    assert_eq!(
        events()[2],
        ("backup.recovered".to_owned(), false),
        "what it had heard of is over"
    );
}

#[test]
fn a_webhook_is_signed_and_sent_again_under_the_same_name() {
    const SECRET: &str = "signing-secret-7f3a";
    let server = Receiver::start([Answer::Status(500)]);
    let (coffre, db) = protected();
    secret_channel(&coffre, "webhook", SECRET, &["--url", &server.url("/hook?team=1")]);
    break_shop(&db);
    let failed = coffre.run(["backup", "--source", "shop"]);
    assert!(failed.stderr.contains("500"), "what could not be sent is said: {failed}");
    let waits = coffre.json(["channel", "show", "webhook"])["channel"].clone();
    assert_eq!((&waits["waiting"], &waits["last"]["state"]), (&1.into(), &"pending".into()));
    // Whoever edits a channel has looked at it: it is tried again at once.
    coffre.ok(["channel", "edit", "webhook", "--successes"]);
    coffre.json(["scheduler", "run"]);
    let [first, second] = <[Request; 2]>::try_from(server.requests()).unwrap();
    assert_eq!(first.header("idempotency-key"), second.header("idempotency-key"));
    assert_eq!(
        (second.path.as_str(), second.header("x-coffre-event")),
        ("/hook?team=1", Some("backup.failed"))
    );
    // Checked with a stock tool, as docs/notifications.md says.
    let signature = second.header("x-coffre-signature").unwrap();
    let (time, hex) = signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    let file = coffre.work("signed");
    std::fs::write(&file, format!("{time}.{}", second.body)).unwrap();
    let computed = run("openssl", ["dgst", "-sha256", "-hmac", SECRET, file.to_str().unwrap()]).stdout;
    assert_eq!(computed.trim().rsplit(' ').next(), Some(hex));
    let body: Value = serde_json::from_str(&second.body).unwrap();
    assert_eq!(
        (&body["schema"], &body["events_count"], &body["level"]),
        (&1.into(), &1.into(), &"bad".into())
    );
    let event = &body["events"][0];
    assert_eq!(event["source"]["name"], "shop");
    for field in ["message", "hint", "code"] {
        assert!(!text(event, field).is_empty(), "{body:#}");
    }
    assert_nowhere(&coffre, SECRET);
}

#[test]
fn an_answer_that_is_final_ends_it() {
    let (mut coffre, _) = protected();
    coffre.set("COFFRE_NOTIFY_SECONDS", "2");
    let elsewhere = Receiver::start([]);
    let to = elsewhere.url("/secret-path");
    let server = Receiver::start([
        Answer::Status(410),
        Answer::With(307, "location", to),
        Answer::Status(403),
        Answer::Status(422),
        Answer::With(429, "retry-after", "900".into()),
        Answer::Hang,
        Answer::Close,
    ]);
    coffre.ok(["channel", "add", "webhook", "--name", "hook", "--url", &server.url("/x")]);
    for (code, words) in [
        ("NOT_FOUND", "410"),
        ("UNREACHABLE", "307"),
        ("AUTH_FAILED", "403"),
        ("UNREACHABLE", "422"),
        ("UNREACHABLE", "429"),
        ("STALLED", "2 s"),
        ("UNREACHABLE", "broke"),
    ] {
        let said = coffre.fails(["channel", "test", "hook"], code, 1).json();
        assert!(text(&said["error"], "message").contains(words), "{words}: {said:#}");
        assert!(!said.to_string().contains("secret-path"), "{said:#}");
    }
    assert!(elsewhere.requests().is_empty(), "nobody was followed");
    coffre.ok(["channel", "test", "hook"]);
}

#[test]
fn whoever_asks_whether_all_is_well_hears_that_nobody_can_be_told() {
    let server = Receiver::start([Answer::Status(410)]);
    let (coffre, _) = protected();
    coffre.ok(["backup", "--source", "shop"]);
    coffre.ok(["channel", "add", "webhook", "--name", "hook", "--url", &server.url("/x")]);
    let ask = || [coffre.run(["source", "list"]), coffre.run(["scheduler", "status"])];
    for asked in ask() {
        assert!(asked.status == Some(0) && asked.stderr.is_empty(), "{asked}");
    }
    coffre.fails(["channel", "test", "hook"], "NOT_FOUND", 1);
    for asked in ask() {
        assert_eq!(asked.status, Some(0), "{asked}");
        assert!(asked.stderr.contains("“hook”") && asked.stderr.contains("410"), "{asked}");
        assert!(asked.stderr.contains("Nobody would hear"), "{asked}");
    }
    let unheard = coffre.json(["scheduler", "status"])["scheduler"]["unheard"].clone();
    assert_eq!(
        (&unheard["nobody"], &unheard["channels"][0]["error"]["code"]),
        (&true.into(), &"NOT_FOUND".into())
    );
    let french = coffre.run(["--lang", "fr", "scheduler", "status"]);
    assert!(french.stderr.contains("aucun canal"), "{french}");
    coffre.ok(["channel", "test", "hook"]);
    for asked in ask() {
        assert!(asked.stderr.is_empty(), "{asked}");
    }
}

#[test]
fn a_killed_sender_sends_again_under_the_same_name() {
    let server = Receiver::start([Answer::Hang]);
    let (coffre, db) = protected();
    coffre.ok(["channel", "add", "webhook", "--name", "hook", "--url", &server.url("/x")]);
    break_shop(&db);
    let sending = coffre.spawn(["backup", "--source", "shop"]);
    assert!(wait_until(Duration::from_secs(60), || server.requests().len() == 1));
    sending.kill();
    coffre.json(["scheduler", "run"]);
    let [first, second] = <[Request; 2]>::try_from(server.requests()).unwrap();
    assert_eq!(first.header("idempotency-key"), second.header("idempotency-key"));
    assert_eq!(first.body, second.body);
    coffre.json(["scheduler", "run"]);
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_sign_of_life_for_an_outside_monitor() {
    let server = Receiver::start([]);
    let (mut coffre, db) = protected();
    // The log says everything that it is asked to say, but no secret.
    coffre.set("COFFRE_LOG", "trace");
    let secret = "0b9f-uuid-of-the-check";
    let added = secret_channel(&coffre, "ping", &server.url(&format!("/ping/{secret}")), &["--failures"]);
    assert!(!added.to_string().contains(secret), "{added:#}");
    coffre.ok(["backup", "--source", "shop"]);
    coffre.ok(["backup", "--source", "shop"]);
    break_shop(&db);
    fail_backup(&coffre);
    coffre.json(["scheduler", "run"]);
    let paths: Vec<String> = server.requests().into_iter().map(|request| request.path).collect();
    let (good, bad) = (format!("/ping/{secret}"), format!("/ping/{secret}/fail"));
    assert_eq!(paths, [good.clone(), good, bad]);
    assert_nowhere(&coffre, secret);
    // An address that is a secret is no argument.
    coffre.fails(
        [
            "channel",
            "add",
            "slack",
            "--name",
            "s",
            "--url",
            "https://hooks.slack.com/services/x",
        ],
        "USAGE",
        2,
    );
}

#[test]
fn a_plan_that_fails_in_the_daemon_makes_one_mail() {
    let server = MailServer::start(Mode::Plain, false);
    let (coffre, db) = protected();
    crate::schedule::plan(&coffre, &["--cron", "* * * * *"]);
    plain_mail(&coffre, &server, &[]);
    break_shop(&db);
    let daemon = coffre.spawn(["serve"]);
    assert!(wait_until(Duration::from_secs(90), || !server.mails().is_empty()));
    // It fails again, by hand, beside the daemon: two processes, one judgement.
    let again = coffre.run(["backup", "--plan", "nightly"]);
    assert_ne!(again.status, Some(0), "{again}");
    mend_shop(&db);
    let good = || coffre.run(["backup", "--plan", "nightly"]).status == Some(0);
    assert!(wait_until(Duration::from_secs(90), good));
    assert!(wait_until(Duration::from_secs(30), || server.mails().len() >= 2));
    daemon.signal(15);
    let ended = daemon.wait();
    assert_eq!(ended.status, Some(0), "{ended}");
    let subjects: Vec<String> = server.mails().iter().map(|mail| mail.header("subject").to_owned()).collect();
    assert_eq!(subjects, ["shop: the backup failed", "shop: backups work again"]);
}

#[test]
fn a_summary_comes_once_at_its_time() {
    let server = Receiver::start([]);
    let (mut coffre, _) = protected();
    crate::schedule::clock(&mut coffre, "2026-11-17 12:00:00");
    let digest = ["--digest", "daily", "--digest-at", "08:30", "--time-zone", "Europe/Paris"];
    let line = ["channel", "add", "webhook", "--name", "hook", "--url", &server.url("/x")];
    coffre.ok([&line[..], &digest].concat());
    coffre.ok(["backup", "--source", "shop"]);
    for time in [
        "2026-11-18 07:29:00",
        "2026-11-18 07:30:30",
        "2026-11-18 07:31:00",
        "2026-11-18 12:00:00",
    ] {
        crate::schedule::clock(&mut coffre, time);
        coffre.json(["scheduler", "run"]);
        let expected = usize::from(time != "2026-11-18 07:29:00");
        assert_eq!(server.requests().len(), expected, "{time}");
    }
    let body: Value = serde_json::from_str(&server.requests()[0].body).unwrap();
    assert_eq!(body["event"], "digest");
    assert_eq!(body["events"][0]["sources"][0]["name"], "shop", "{body:#}");
    assert!(text(&body["events"][0], "message").contains("1 verified backup,"), "{body:#}");
    // Away for three days: one summary, not three.
    crate::schedule::clock(&mut coffre, "2026-11-21 20:00:00");
    coffre.json(["scheduler", "run"]);
    let events = || -> Vec<Value> {
        let body = |request: &Request| serde_json::from_str::<Value>(&request.body).unwrap()["event"].clone();
        server.requests().iter().map(body).collect()
    };
    assert_eq!(
        events().iter().filter(|event| *event == "digest").count(),
        2,
        "{:?}",
        events()
    );
}

#[test]
fn a_lost_catalogue_silences_nobody() {
    let server = Receiver::start([]);
    let (coffre, _) = protected();
    let secret = server.url("/services/secret-of-the-team");
    secret_channel(&coffre, "slack", &secret, &["--language", "fr"]);
    coffre.ok(["backup", "--source", "shop"]);
    let folder = coffre.home().join("backups");
    std::fs::write(coffre.home().join("catalogue.db"), "no database any more").unwrap();
    for side in ["catalogue.db-wal", "catalogue.db-shm"] {
        drop(std::fs::remove_file(coffre.home().join(side)));
    }
    coffre.json(["catalogue", "rebuild", "--from", &format!("file://{}", folder.display())]);
    let listed = coffre.json(["channel", "list"])["channels"][0].clone();
    assert_eq!((&listed["name"], &listed["language"]), (&"slack".into(), &"fr".into()));
    let told = server.requests();
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].body.contains("catalogue a été reconstruit"), "{told:#?}");
    assert_nowhere(&coffre, "secret-of-the-team");
}

#[test]
fn what_a_channel_cannot_be_is_refused() {
    let (coffre, _) = protected();
    let other = coffre.work("other.db");
    small(&other);
    let add = |more: &[&str]| {
        let line = [
            "channel", "add", "email", "--name", "m", "--host", "h", "--from", "a@b.c", "--to", "d@e.f",
        ];
        coffre.fails([&line, more].concat(), "USAGE", 2).json()
    };
    add(&["--user", "joe"]);
    add(&["--to", "x@y.z\r\nRCPT TO:<evil@x>"]);
    add(&["--digest", "daily", "--digest-at", "25:00"]);
    add(&["--time-zone", "Europe/Pariss"]);
    let said = add(&["--url", "https://h"]);
    // An option that would be ignored is said to be: email has no address of the web.
    assert!(said["error"]["message"].is_string());
    coffre.fails(["channel", "add", "webhook", "--name", "w"], "USAGE", 2);
    coffre.fails(["channel", "add", "webhook", "--name", "w", "--url", "ftp://h/"], "USAGE", 2);
    coffre.fails(["channel", "show", "nobody"], "NOT_FOUND", 1);
    assert_eq!(coffre.json(["channel", "list"])["channels"], Value::Array(vec![]));
}
