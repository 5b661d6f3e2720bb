//! Class "tools" for PostgreSQL: programs that are absent, old, something else, or misbehave.

use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant};

use coffre_testkit::coffre::Coffre;
use coffre_testkit::disk::SmallDisk;
use coffre_testkit::invariants::Invariants;
use coffre_testkit::postgres::{Postgres, Version};
use coffre_testkit::tools::{Behaviour, FakeTools};

use crate::crm::{fails, left_alone, protecting, small};
use crate::shop::{back_up, text};

/// A home whose `crm` is dumped by fakes.
fn with_fakes() -> (Coffre, FakeTools, String) {
    let server = Postgres::shared(Version::V15);
    let database = small(server);
    let coffre = protecting(&server.address(&database), None);
    let tools = FakeTools::new();
    coffre.ok(["source", "edit", "crm", "--tool-path", tools.folder().to_str().unwrap()]);
    (coffre, tools, database)
}

#[test]
fn a_tool_that_misbehaves_never_makes_a_green_backup() {
    let (mut coffre, tools, database) = with_fakes();
    coffre.set("COFFRE_STALL_SECONDS", "1");
    let real = Version::V15.tool("pg_dump");
    tools.put(&real, &Behaviour::Real);
    let good = back_up(&coffre, "crm");
    let fake = tools.folder().join("pg_dump");
    assert_eq!(text(&good["tool"], "path"), fake.to_str().unwrap());
    for (behaviour, code, word) in [
        (Behaviour::ExitZeroAfterHalf, "DUMP_TRUNCATED", ""),
        (Behaviour::ExitAfterFull(1), "DUMP_FAILED", "1"),
        (Behaviour::DieAfterFull("SEGV"), "DUMP_FAILED", "signal"),
        (Behaviour::DieAfterFull("KILL"), "DUMP_FAILED", "signal"),
        (Behaviour::Nothing, "DUMP_EMPTY", ""),
        (Behaviour::Garbage, "VERIFY_MISMATCH", ""),
        (Behaviour::Complain("no luck today", 3), "DUMP_FAILED", "no luck today"),
        (Behaviour::Never, "STALLED", "pg_dump"),
        (Behaviour::NeverAfter(5000), "STALLED", "pg_dump"),
    ] {
        tools.put(&real, &behaviour);
        let began = Instant::now();
        if code == "VERIFY_MISMATCH" {
            // What is no dump at all is a failed verification of what the tool gave: status 3.
            coffre.fails(["backup", "--source", "crm"], code, 3);
        } else {
            let error = fails(&coffre, code);
            assert!(text(&error, "message").contains(word), "{behaviour:?}: {error:#}");
        }
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "{behaviour:?}: {:?}",
            began.elapsed()
        );
    }
    // Megabytes of warnings do no harm, and at most 64 KiB of them are kept.
    tools.put(&real, &Behaviour::NoisyStderr(4_000_000));
    let noisy = back_up(&coffre, "crm");
    let manifest = coffre.json(["show", text(&noisy, "code")])["manifest"].to_string();
    assert!(
        manifest.contains("a word too many") && manifest.len() < 100_000,
        "{}",
        manifest.len()
    );
    // It ended well, with an error's worth of words: none of them is lost, none is an error.
    coffre.ok(["verify", "--all"]);
    assert!(left_alone(Postgres::shared(Version::V15), &database));
    Invariants::of(&coffre).assert();
}

#[test]
fn a_tool_that_does_not_fit_is_refused_by_name() {
    let (coffre, tools, _) = with_fakes();
    let real = Version::V15.tool("pg_dump");
    for (behaviour, code) in [
        (Behaviour::Version("14.2"), "TOOL_TOO_OLD"),
        (Behaviour::VersionText("pg_dump (Greenplum Database) 15.1\n"), "TOOL_WRONG"),
        (Behaviour::VersionFails(3), "TOOL_WRONG"),
        (Behaviour::NotExecutable, "TOOL_MISSING"),
        (Behaviour::NotAProgram, "TOOL_MISSING"),
    ] {
        let fake = tools.put(&real, &behaviour);
        let error = fails(&coffre, code);
        let message = text(&error, "message");
        assert!(message.contains(fake.to_str().unwrap()), "{behaviour:?}: {error:#}");
        assert!(
            message.contains("15") || text(&error, "hint").contains("15"),
            "what is needed: {error:#}"
        );
        // It was asked what it is, and nothing more.
        assert!(tools.calls("pg_dump").iter().all(|call| call.arguments == ["--version"]));
    }
    Invariants::of(&coffre).assert();
}

#[test]
fn no_tool_at_all_and_only_older_ones() {
    let server = Postgres::shared(Version::V15);
    let mut coffre = protecting(&server.address(&small(server)), None);
    let newer = Postgres::shared(Version::V18);
    let later = newer.create_database();
    newer.sql(&later, "CREATE TABLE t(i int)");
    coffre.ok(["source", "add", &newer.address(&later), "--name", "later"]);
    let old = coffre.fails(["backup", "--source", "later"], "TOOL_TOO_OLD", 1);
    let message = old.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("18") && message.contains("15."), "{message}");
    coffre.ok(["source", "edit", "later", "--tool-path", Version::V18.bin().to_str().unwrap()]);
    let made = back_up(&coffre, "later");
    assert!(text(&made["tool"], "version").starts_with("18"), "{made:#}");
    // A machine without any.
    let hidden = SmallDisk::mount(Path::new("/usr/lib/postgresql"), 1);
    let mut prefix = hidden.prefix();
    prefix[0] = OsString::from("/usr/bin/nsenter");
    coffre.under(prefix);
    coffre.set("PATH", coffre.work("empty"));
    let error = fails(&coffre, "TOOL_MISSING");
    assert!(
        text(&error, "message").contains("pg_dump") && text(&error, "hint").contains("postgresql-client"),
        "{error:#}"
    );
    coffre.under(Vec::new()).unset("PATH");
    back_up(&coffre, "crm");
    Invariants::of(&coffre).assert();
}
