//! Programs that are absent, old, something else, or misbehave.

use std::time::{Duration, Instant};

use coffre_model::Code;
use coffre_testkit::postgres::{Postgres, Version};
use coffre_testkit::tools::{Behaviour, FakeTools};

use crate::common::{SHOP, Setup, shop_counts};

fn shop(version: Version) -> (&'static Postgres, String) {
    let server = Postgres::shared(version);
    let name = server.create_database();
    server.sql(&name, SHOP);
    (server, name)
}

fn with_fake(behaviour: &Behaviour) -> (Setup, FakeTools, &'static Postgres) {
    let (server, name) = shop(Version::V15);
    let tools = FakeTools::new();
    tools.put(&Version::V15.tool("pg_dump"), behaviour);
    let setup = Setup::new(server.address(&name)).tool_path(tools.folder());
    (setup, tools, server)
}

#[test]
fn a_tool_that_misbehaves_never_makes_a_dump() {
    for (behaviour, code) in [
        (Behaviour::ExitAfterFull(1), Code::DumpFailed),
        (Behaviour::DieAfterFull("SEGV"), Code::DumpFailed),
        (Behaviour::ExitZeroAfterHalf, Code::DumpTruncated),
        (Behaviour::ExitZeroAfter(100), Code::DumpTruncated),
        (Behaviour::ExitZeroAfter(0), Code::DumpEmpty),
        (Behaviour::Nothing, Code::DumpEmpty),
        (Behaviour::Garbage, Code::VerifyMismatch),
        (Behaviour::Complain("no luck today", 1), Code::DumpFailed),
        (Behaviour::Never, Code::Stalled),
        (Behaviour::NeverAfter(5000), Code::Stalled),
    ] {
        for plain in [false, true] {
            let (setup, tools, server) = with_fake(&behaviour);
            let setup = setup.stall(Duration::from_secs(1));
            let setup = if plain { setup.plain() } else { setup };
            let began = Instant::now();
            let error = setup.dump().unwrap_err();
            // Text that is no dump is seen as text without an end.
            let expected = if plain && code == Code::VerifyMismatch {
                error.code()
            } else {
                code
            };
            assert_eq!(error.code(), expected, "{behaviour:?} {error}");
            assert!(
                began.elapsed() < Duration::from_secs(10),
                "{behaviour:?}: {:?}",
                began.elapsed()
            );
            assert!(server.sessions("coffre").iter().all(|s| !s.contains(&setup.address)));
            assert_eq!(tools.calls("pg_dump").len(), 2);
        }
    }
}

#[test]
fn a_noisy_tool_is_heard_and_does_no_harm() {
    let (setup, _tools, _) = with_fake(&Behaviour::NoisyStderr(5_000_000));
    let (_, facts) = setup.dump().unwrap();
    assert_eq!(facts.counts, shop_counts());
    let remark = &facts.remarks[0];
    assert_eq!(remark.text(), "pg_dump_remarks");
    assert!(remark.detail("stderr").unwrap().len() < 64 << 10);
}

#[test]
fn a_tool_that_does_not_fit_is_refused_by_name() {
    for (behaviour, code, text) in [
        (Behaviour::Version("14.2"), Code::ToolTooOld, "pg_tool_too_old"),
        (Behaviour::Version("9.6.24"), Code::ToolTooOld, "pg_tool_too_old"),
        (
            Behaviour::VersionText("pg_dump (Greenplum Database) 15.1\n"),
            Code::ToolWrong,
            "pg_tool_wrong",
        ),
        (Behaviour::VersionText("hello"), Code::ToolWrong, "pg_tool_wrong"),
        (Behaviour::VersionText(""), Code::ToolWrong, "pg_tool_wrong"),
        (Behaviour::VersionFails(3), Code::ToolWrong, "pg_tool_wrong"),
        (Behaviour::NotExecutable, Code::ToolMissing, "pg_tool_broken"),
        (Behaviour::NotAProgram, Code::ToolMissing, "pg_tool_broken"),
    ] {
        let (setup, tools, _) = with_fake(&behaviour);
        let error = setup.open().database.probe().unwrap_err();
        assert_eq!((error.code(), error.text()), (code, text), "{behaviour:?} {error}");
        let path = tools.folder().join("pg_dump");
        assert_eq!(error.detail("path").unwrap(), path.to_str().unwrap());
        assert_eq!(error.detail("needed").unwrap(), "15");
        if let Behaviour::Version(version) = behaviour {
            assert_eq!(error.detail("found").unwrap(), version);
        }
    }
}

#[test]
fn a_tool_without_an_answer_is_given_up() {
    let (setup, _tools, _) = with_fake(&Behaviour::VersionNever);
    let error = setup.open().database.probe().unwrap_err();
    assert_eq!(error.code(), Code::ToolWrong);
}

#[test]
fn an_empty_tool_folder_is_passed_over() {
    let (server, name) = shop(Version::V15);
    let empty = tempfile::tempdir().unwrap();
    let setup = Setup::new(server.address(&name)).tool_path(empty.path());
    let tool = setup.open().database.probe().unwrap().tool;
    assert_eq!(tool.path.as_deref(), Version::V15.tool("pg_dump").to_str());
    assert_eq!(tool.version, Version::V15.number());
}

#[test]
fn a_newer_tool_works_and_says_so() {
    let (server, name) = shop(Version::V15);
    let setup = Setup::new(server.address(&name)).tool_path(Version::V18.bin());
    let probe = setup.open().database.probe().unwrap();
    assert_eq!(probe.tool.version, Version::V18.number());
    assert_eq!(probe.server_version, Version::V15.number());
    assert_eq!(probe.remarks.len(), 1);
    assert_eq!(probe.remarks[0].text(), "pg_tool_newer");
    let (_, facts) = setup.dump().unwrap();
    assert_eq!(facts.counts, shop_counts());
}

#[test]
fn an_older_tool_is_refused_for_a_newer_server() {
    let (server, name) = shop(Version::V18);
    for bin in [Version::V15.bin(), Version::V16.bin()] {
        let setup = Setup::new(server.address(&name)).tool_path(bin.clone());
        let error = setup.open().database.probe().unwrap_err();
        assert_eq!(error.code(), Code::ToolTooOld);
        assert_eq!(error.detail("path").unwrap(), bin.join("pg_dump").to_str().unwrap());
        assert_eq!(error.detail("needed").unwrap(), "18");
    }
}

#[test]
fn of_the_folders_of_the_settings_the_first_that_fits_is_taken() {
    let (server, name) = shop(Version::V16);
    let mut setup = Setup::new(server.address(&name));
    setup.tool_paths = vec![Version::V15.bin(), Version::V18.bin(), Version::V16.bin()];
    assert_eq!(setup.open().database.probe().unwrap().tool.version, Version::V18.number());
}

#[test]
fn every_program_is_listed_with_what_it_is() {
    let tools = FakeTools::new();
    tools.put(&Version::V15.tool("pg_dump"), &Behaviour::Version("14.2"));
    let other = FakeTools::new();
    other.put(
        &Version::V15.tool("pg_dump"),
        &Behaviour::VersionText("pg_dump of another house"),
    );
    let broken = FakeTools::new();
    broken.put(&Version::V15.tool("pg_restore"), &Behaviour::NotAProgram);
    let mut setup = Setup::new("postgres://h/shop");
    setup.tool_paths = [&tools, &other, &broken]
        .iter()
        .map(|tools| tools.folder().to_owned())
        .collect();
    let found = setup.programs().unwrap();
    let of = |folder: &FakeTools, name: &str| {
        let path = folder.folder().join(name);
        let one = found.iter().find(|one| one.tool.path.as_deref() == path.to_str());
        one.unwrap_or_else(|| panic!("{name} is not among {found:?}"))
    };
    let fine = of(&tools, "pg_dump");
    assert_eq!((fine.tool.version.as_str(), fine.error.is_none()), ("14.2", true));
    assert_eq!(of(&other, "pg_dump").error.as_ref().unwrap().text(), "tool_other");
    assert_eq!(of(&broken, "pg_restore").error.as_ref().unwrap().text(), "tool_broken");
    // Those of this machine beside them.
    assert!(
        found
            .iter()
            .any(|one| one.tool.path.as_deref() == Version::V15.tool("pg_restore").to_str())
    );
}
