//! Classes "restore" and "corrupt archive" for PostgreSQL: what exists is never touched, what is damaged never begins, and what was cut
//! off leaves nothing half-made.

use std::path::Path;
use std::time::Duration;

use coffre_testkit::coffre::Coffre;
use coffre_testkit::invariants::Invariants;
use coffre_testkit::postgres::{Postgres, Version};
use coffre_testkit::proxy::{Direction, Kind, Proxy};
use coffre_testkit::{run, wait_until};
use serde_json::Value;

use crate::crm::{content, left_alone, long, protecting, small, through};
use crate::shop::{artifact, back_up, text};

/// `restore CODE --into ADDRESS` as JSON.
fn into<'a>(code: &'a str, address: &'a str) -> [&'a str; 5] {
    ["--json", "restore", code, "--into", address]
}

/// The newest line of the journal about a restore.
fn told(coffre: &Coffre) -> Value {
    let journal = coffre.json(["journal"]);
    let lines = journal["entries"].as_array().unwrap().clone();
    lines.into_iter().find(|line| line["action"] == "restore.run").unwrap()
}

#[test]
fn what_holds_anything_is_refused_untouched() {
    let server = Postgres::shared(Version::V15);
    let database = small(server);
    let coffre = protecting(&server.address(&database), None);
    let made = back_up(&coffre, "crm");
    let target = server.create_database();
    for (what, name) in [
        ("CREATE TABLE mine AS SELECT 1 AS x", "mine"),
        ("DROP TABLE mine; CREATE VIEW seen AS SELECT 2", "seen"),
        ("DROP VIEW seen; CREATE SCHEMA own", "own"),
        ("DROP SCHEMA own; SELECT lo_from_bytea(0, 'x')", "large object"),
    ] {
        server.sql(&target, what);
        let script = "\"$1\" -h \"$2\" -p \"$3\" -U postgres -b \"$4\" | grep -v restrict";
        let tool = Version::V15.tool("pg_dump").display().to_string();
        let (host, port) = (server.socket_folder().display().to_string(), server.port().to_string());
        let dump = || run("bash", ["-ec", script, "dump", &tool, &host, &port, &target]).stdout;
        let before = dump();
        let refused = coffre.run(into(text(&made, "code"), &server.address(&target)));
        assert_eq!(
            (refused.error_code().as_str(), refused.status),
            ("REFUSED", Some(4)),
            "{refused}"
        );
        assert!(text(&refused.json()["error"], "message").contains(name), "{refused}");
        assert!(!before.is_empty() && dump() == before, "{what}");
        assert_eq!(told(&coffre)["result"], "failed");
    }
    // The source itself is such a place.
    let itself = coffre.run(into(text(&made, "code"), &server.address(&database)));
    assert_eq!(itself.error_code(), "REFUSED", "{itself}");
    Invariants::of(&coffre).assert();
}

#[test]
fn damage_is_found_before_anything_is_made() {
    type Damage = fn(&Path);
    let server = Postgres::shared(Version::V15);
    let database = small(server);
    let coffre = protecting(&server.address(&database), None);
    let target = format!("{database}_never");
    for format in ["custom", "plain"] {
        coffre.ok(["source", "edit", "crm", "--format", format]);
        for (what, damage) in [
            (
                "a bit flipped",
                (|file| {
                    let mut bytes = std::fs::read(file).unwrap();
                    let middle = bytes.len() / 2;
                    bytes[middle] ^= 4;
                    std::fs::write(file, bytes).unwrap();
                }) as Damage,
            ),
            ("cut", |file| {
                let size = file.metadata().unwrap().len();
                std::fs::File::options()
                    .write(true)
                    .open(file)
                    .unwrap()
                    .set_len(size - 1)
                    .unwrap();
            }),
            ("another file", |file| std::fs::write(file, "not a dump at all").unwrap()),
            ("gone", |file| std::fs::remove_file(file).unwrap()),
        ] {
            let made = back_up(&coffre, "crm");
            damage(&artifact(&coffre, &made));
            let outcome = coffre.run(into(text(&made, "code"), &server.address(&target)));
            let expected = if what == "gone" {
                ("NOT_FOUND", Some(1))
            } else {
                ("VERIFY_MISMATCH", Some(3))
            };
            assert_eq!(
                (outcome.error_code().as_str(), outcome.status),
                expected,
                "{format} {what}: {outcome}"
            );
            assert!(!server.has_database(&target), "{format} {what}");
            // It is not green any more.
            let state = coffre.json(["show", text(&made, "code")])["backup"]["copies"][0]["state"].clone();
            assert_eq!(state, if what == "gone" { "missing" } else { "corrupt" }, "{format} {what}");
            coffre.ok(["delete", text(&made, "code"), "--yes"]);
        }
    }
    Invariants::of(&coffre).assert();
}

#[test]
fn text_that_would_act_outside_is_refused() {
    let server = Postgres::shared(Version::V15);
    let coffre = protecting(&server.address(&small(server)), None);
    let pwned = coffre.work("pwned");
    let target = server.address("never made of text");
    for (at, text) in [
        "CREATE TABLE t(i int);\n\\! touch PWNED\n",
        "COPY (SELECT 1) TO PROGRAM 'touch PWNED';\n",
        "CREATE TABLE t(x text);\ncopy t\n  from /* a */ program $$touch PWNED$$;\n",
        "CREATE TABLE t(x text); COPY t FROM '/etc/passwd';\n",
        "SELECT 1 \\g |touch PWNED\n",
        "\\i /etc/passwd\n",
        "\\connect postgres\nDROP TABLE x;\n",
    ]
    .into_iter()
    .enumerate()
    {
        let file = coffre.work(&format!("{at}.sql"));
        std::fs::write(&file, text.replace("PWNED", pwned.to_str().unwrap())).unwrap();
        let outcome = coffre.run(["--json", "restore", "--file", file.to_str().unwrap(), "--into", &target]);
        assert_eq!(
            (outcome.error_code().as_str(), outcome.status),
            ("ARCHIVE_UNSAFE", Some(4)),
            "{text}: {outcome}"
        );
        assert!(!pwned.exists(), "{text}");
        assert!(!server.has_database("never made of text"), "{text}");
    }
    Invariants::of(&coffre).assert();
}

#[test]
fn a_restore_is_stopped_in_the_middle() {
    let server = Postgres::shared(Version::V15);
    let database = long(server);
    let coffre = protecting(&server.address(&database), None);
    let made = back_up(&coffre, "crm");
    let code = text(&made, "code");
    let proxy = Proxy::to_port(server.port());
    let empty = server.create_database();
    let target = format!("{database}_back");
    let address = through(&proxy, server, &target);
    for signal in [libc::SIGINT, libc::SIGKILL] {
        for (name, address) in [(&target, &address), (&empty, &through(&proxy, server, &empty))] {
            let from = proxy.bytes(Direction::ToServer);
            proxy.set_delay(Duration::from_millis(8));
            let running = coffre.spawn(into(code, address));
            assert!(wait_until(Duration::from_secs(30), || proxy.bytes(Direction::ToServer)
                > from + (2 << 20)));
            if signal == libc::SIGKILL {
                running.kill();
            } else {
                running.signal(signal);
                let outcome = running.wait();
                assert_eq!(
                    (outcome.status, outcome.error_code().as_str()),
                    (Some(130), "CANCELLED"),
                    "{outcome}"
                );
            }
            proxy.set_delay(Duration::ZERO);
            assert!(left_alone(server, name));
            // What was there before is there, and empty; what was made is gone, or (killed) empty.
            assert!(name == &empty || signal == libc::SIGKILL || !server.has_database(name));
            if server.has_database(name) {
                assert_eq!(content(server, name), "", "never a part");
            }
            let line = told(&coffre);
            let expected = if signal == libc::SIGKILL { "INTERRUPTED" } else { "CANCELLED" };
            assert_eq!(text(&line["error"], "code"), expected, "{line:#}");
            Invariants::of(&coffre).assert();
        }
    }
    // Nothing stands in the way of doing it again.
    for (name, address) in [(&target, &address), (&empty, &through(&proxy, server, &empty))] {
        coffre.ok(into(code, address));
        assert_eq!(content(server, name), content(server, &database));
    }
    Invariants::of(&coffre).assert();
}

#[test]
fn a_target_that_was_only_begun_is_taken_back() {
    let server = Postgres::shared(Version::V15);
    let database = small(server);
    let coffre = protecting(&server.address(&database), None);
    let made = back_up(&coffre, "crm");
    let proxy = Proxy::to_port(server.port());
    // Stopped after the server has made the database, and before anybody was told so.
    let target = format!("{database}_begun");
    let address = through(&proxy, server, &target);
    proxy.set_delay(Duration::from_millis(150));
    let running = coffre.spawn(into(text(&made, "code"), &address));
    assert!(wait_until(Duration::from_secs(30), || server.has_database(&target)));
    running.signal(libc::SIGINT);
    let outcome = running.wait();
    assert_eq!(
        (outcome.status, outcome.error_code().as_str()),
        (Some(130), "CANCELLED"),
        "{outcome}"
    );
    assert!(!server.has_database(&target), "{outcome}");
    // The connection is lost at that moment, for good: it cannot be taken back, and that is said.
    let running = coffre.spawn(into(text(&made, "code"), &address));
    assert!(wait_until(Duration::from_secs(30), || server.has_database(&target)));
    proxy.strike(Kind::Cut, Direction::ToClient, 0);
    let outcome = running.wait();
    assert_eq!(outcome.status, Some(1), "{outcome}");
    let error = outcome.json()["error"].clone();
    assert!(
        text(&error["details"]["target_left"], "message").contains("127.0.0.1"),
        "{outcome}"
    );
    assert!(text(&error, "message").contains(&target), "{outcome}");
    assert_eq!(content(server, &target), "");
    proxy.set_fault(None);
    proxy.set_delay(Duration::ZERO);
    coffre.ok(into(text(&made, "code"), &address));
    // Ended by the server's administrator: the same, and everything can be taken back.
    let target = format!("{database}_ended");
    server.sql(
        &database,
        "CREATE TABLE noise AS SELECT g AS id, repeat(md5(g::text), 60) AS words FROM generate_series(1, 6000) g",
    );
    let made = back_up(&coffre, "crm");
    proxy.set_delay(Duration::from_millis(8));
    let from = proxy.bytes(Direction::ToServer);
    let running = coffre.spawn(into(text(&made, "code"), &through(&proxy, server, &target)));
    assert!(wait_until(Duration::from_secs(30), || proxy.bytes(Direction::ToServer)
        > from + (2 << 20)));
    server.sql(
        "postgres",
        &format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{target}'"),
    );
    let outcome = running.wait();
    assert_eq!(
        (outcome.error_code().as_str(), outcome.status),
        ("DUMP_FAILED", Some(1)),
        "{outcome}"
    );
    assert!(!server.has_database(&target), "{outcome}");
    Invariants::of(&coffre).assert();
}

#[test]
fn dumps_go_between_versions_or_say_why_not() {
    let (older, newer) = (Postgres::shared(Version::V15), Postgres::shared(Version::V18));
    let database = small(older);
    let coffre = protecting(&older.address(&database), None);
    let made = back_up(&coffre, "crm");
    let target = newer.create_database();
    coffre.ok(into(text(&made, "code"), &newer.address(&target)));
    assert_eq!(content(newer, &target), content(older, &database));
    // The other way: by a program that reads it, or with its number in the answer, and then nothing is made.
    let later = small(newer);
    let bin = Version::V18.bin();
    let bin = bin.to_str().unwrap();
    coffre.ok(["source", "add", &newer.address(&later), "--name", "later", "--tool-path", bin]);
    let made = back_up(&coffre, "later");
    let back = format!("{database}_from_newer");
    let address = older.address(&back);
    let old = Version::V15.bin();
    let line = [
        &into(text(&made, "code"), &address)[..],
        &["--tool-path", old.to_str().unwrap()],
    ]
    .concat();
    let refused = coffre.run(line);
    assert_eq!(
        (refused.error_code().as_str(), refused.status),
        ("TOOL_TOO_OLD", Some(1)),
        "{refused}"
    );
    assert!(text(&refused.json()["error"], "message").contains("pg_restore"), "{refused}");
    assert!(!older.has_database(&back));
    // The folder that the source's own tools are in serves its restores too.
    coffre.ok(into(text(&made, "code"), &address));
    assert_eq!(content(older, &back), content(newer, &later));
    // What the older server does not know is its own answer, and everything is taken back.
    newer.sql(&later, "CREATE TABLE v(a int, b int GENERATED ALWAYS AS (a * 2) VIRTUAL)");
    let made = back_up(&coffre, "later");
    let again = format!("{database}_unknown");
    let failed = coffre.run(into(text(&made, "code"), &older.address(&again)));
    assert_eq!(failed.error_code(), "DUMP_FAILED", "{failed}");
    assert!(!older.has_database(&again), "{failed}");
    Invariants::of(&coffre).assert();
}
