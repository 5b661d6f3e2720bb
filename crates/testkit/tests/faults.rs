//! The fault tools do what they say: otherwise a test of a fault would prove nothing.

#![allow(clippy::unwrap_used, reason = "a test has nobody to hand errors to")]

use std::path::Path;

use coffre_testkit::disk::{SmallDisk, file_size_limit};
use coffre_testkit::strace::{self, Injection};
use coffre_testkit::tools::{Behaviour, FakeTools};
use coffre_testkit::{run, run_under};

#[test]
fn a_small_disk_is_small_and_gone_afterwards() {
    let mount = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(mount.path(), 4);
    let file = mount.path().join("file");
    let path = file.to_str().unwrap();
    let full = run_under(
        &disk.prefix(),
        ["dd", "if=/dev/zero", &format!("of={path}"), "bs=1M", "count=8"],
    );
    assert!(full.stderr.contains("No space left"), "{}", full.stderr);
    assert!(!file.exists(), "it is seen outside");
    assert!(disk.seen().join("file").exists());
    assert_eq!(disk.free(), 0);
    std::fs::remove_file(disk.seen().join("file")).unwrap();
    disk.fill(1 << 20);
    assert!(disk.free().abs_diff(1 << 20) <= 64 * 1024, "{}", disk.free());
    disk.relieve();
    assert!(disk.free() > 3 << 20);
    let seen = disk.seen();
    drop(disk);
    assert!(!seen.exists());
}

#[test]
fn a_limited_file_stops_growing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    let tried = run_under(
        &file_size_limit(10_240),
        ["dd", "if=/dev/zero", &format!("of={}", file.display()), "bs=1k", "count=20"],
    );
    assert!(tried.stderr.contains("File too large"), "{}", tried.stderr);
    assert_eq!(file.metadata().unwrap().len(), 10_240);
}

#[test]
fn system_calls_fail_when_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("a"), "x").unwrap();
    let moved = run_under(
        &strace::inject("rename,renameat,renameat2", Injection::Error("EIO"), "1"),
        ["mv", &path("a"), &path("b")],
    );
    assert!(moved.stderr.contains("Input/output error"), "{}", moved.stderr);
    let killed = run_under(
        &strace::inject(strace::DURABILITY, Injection::KillBefore, "1"),
        ["mv", &path("a"), &path("b")],
    );
    assert_eq!(killed.status, None, "it was not killed");
    assert!(Path::new(&path("a")).exists());
    let log = folder.path().join("log");
    assert!(run_under(&strace::trace(&log, strace::DURABILITY), ["mv", &path("a"), &path("b")]).ok());
    assert_eq!(strace::count(&log, strace::DURABILITY), 1);
    let elsewhere = strace::inject_at(Path::new("/nowhere"), "unlink,unlinkat", Injection::Error("EIO"), "1+");
    assert!(run_under(&elsewhere, ["rm", &path("b")]).ok());
}

#[test]
fn fake_tools_misbehave_as_told() {
    let tools = FakeTools::new();
    let real = Path::new("/usr/bin/seq");
    let whole = run(real, ["2000"]).stdout;
    let try_one = |behaviour: Behaviour| {
        let fake = tools.put(real, &behaviour);
        run(fake, ["2000"])
    };
    assert_eq!(try_one(Behaviour::Real).stdout, whole);
    let late = try_one(Behaviour::ExitAfterFull(3));
    assert_eq!((late.status, late.stdout == whole), (Some(3), true));
    let died = try_one(Behaviour::DieAfterFull("KILL"));
    assert_eq!((died.status, died.stdout == whole), (None, true));
    let half = try_one(Behaviour::ExitZeroAfterHalf);
    assert_eq!((half.status, half.stdout.len()), (Some(0), whole.len() / 2));
    let start = try_one(Behaviour::ExitZeroAfter(100));
    assert_eq!((start.status, start.stdout.len()), (Some(0), 100));
    let nothing = try_one(Behaviour::Nothing);
    assert_eq!((nothing.status, nothing.stdout.len()), (Some(0), 0));
    let noisy = try_one(Behaviour::NoisyStderr(3 << 20));
    assert_eq!((noisy.stdout == whole, noisy.stderr.len()), (true, 3 << 20));
    let complaint = try_one(Behaviour::Complain("it's \"broken\"", 4));
    assert_eq!((complaint.status, complaint.stderr.as_str()), (Some(4), "it's \"broken\"\n"));
    let garbage = try_one(Behaviour::Garbage);
    assert_eq!((garbage.status, garbage.stdout.len()), (Some(0), 65_536));
    let fake = tools.put(real, &Behaviour::Version("14.2"));
    assert_eq!(run(&fake, ["--version"]).stdout, "seq (PostgreSQL) 14.2\n");
    assert_eq!(run(&fake, ["1"]).stdout, "1\n");
    let never = tools.put(real, &Behaviour::NeverAfter(10));
    let ended = run(
        "timeout",
        ["--signal=KILL".into(), "1".into(), never.into_os_string(), "2000".into()],
    );
    assert_eq!((ended.status, ended.stdout.len()), (None, 10));
    assert!(tools.calls("seq").len() >= 10);
    let first = &tools.calls("seq")[0];
    assert_eq!(first.arguments, ["2000"]);
    assert!(first.environment.iter().any(|line| line == "LC_ALL=C.UTF-8"), "{first:?}");
}

#[test]
fn fakes_that_cannot_run() {
    use std::os::unix::fs::PermissionsExt;
    let tools = FakeTools::new();
    let fake = tools.put(Path::new("/usr/bin/seq"), &Behaviour::NotExecutable);
    assert_eq!(fake.metadata().unwrap().permissions().mode() & 0o111, 0);
    let fake = tools.put(Path::new("/usr/bin/seq"), &Behaviour::NotAProgram);
    let started = std::panic::catch_unwind(|| run(&fake, ["1"]));
    assert!(started.is_err());
    assert!(tools.calls("seq").is_empty());
}
