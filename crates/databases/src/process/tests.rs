//! Real children that misbehave.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use coffre_model::cancel::Reason;
use coffre_model::{Cancel, Code, Error, Secret};

use super::*;

fn sh(script: &str) -> Invocation {
    Invocation::new(Path::new("/bin/sh"), &std::env::temp_dir())
        .arg("-c")
        .arg(script)
}

fn limits(stall_ms: u64) -> Limits {
    Limits {
        stall: Duration::from_millis(stall_ms),
        cancel: Cancel::new(),
    }
}

fn judge() -> Judge {
    Box::new(|ended| {
        Error::new(Code::DumpFailed, "tool_failed")
            .with("status", ended.status())
            .with("stderr", ended.stderr.last_lines())
    })
}

fn read_all(script: &str, stall_ms: u64) -> (u64, Result<Ended>) {
    let mut output = ChildOutput::start(&sh(script), limits(stall_ms), judge()).unwrap();
    let mut buffer = vec![0; 256 << 10];
    let mut total = 0;
    loop {
        match output.read(&mut buffer) {
            Ok(0) => {
                assert_eq!(output.read(&mut buffer).unwrap(), 0, "the end stays the end");
                return (total, Ok(output.ended().unwrap().clone()));
            }
            Ok(n) => total += n as u64,
            Err(error) => {
                let error = coffre_model::error::from_io(error, |e| Error::internal("read", e));
                let again = output.read(&mut buffer).unwrap_err();
                assert_eq!(coffre_model::error::from_io(again, |e| Error::internal("read", e)), error);
                return (total, Err(error));
            }
        }
    }
}

/// Whether nothing that runs is left in the group whose id the script wrote down. Zombies are dead: reaping orphans is not our part.
fn group_is_gone(file: &Path) -> bool {
    let id = std::fs::read_to_string(file).unwrap().trim().to_owned();
    let alive = || {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let stats = processes.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
        stats.into_iter().any(|stat| {
            let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
            fields[2] == id && fields[0] != "Z"
        })
    };
    // A killed process is gone when the system says so, which takes a moment.
    let limit = Instant::now() + Duration::from_secs(5);
    while alive() {
        if Instant::now() > limit {
            return false;
        }
        thread::sleep(Duration::from_millis(10));
    }
    true
}

#[test]
fn a_good_end_is_a_good_read() {
    let (bytes, end) = read_all("head -c 3000000 /dev/zero; echo all fine >&2", 5000);
    assert_eq!(bytes, 3_000_000);
    assert_eq!(end.unwrap().stderr.last_lines(), "all fine");
}

#[test]
fn exit_1_after_full_output_is_a_failed_read() {
    let (bytes, end) = read_all("head -c 3000000 /dev/zero; echo disk on fire >&2; exit 1", 5000);
    assert_eq!(bytes, 3_000_000);
    let error = end.unwrap_err();
    assert_eq!(error.detail("status").unwrap(), "exit status 1");
    assert_eq!(error.detail("stderr").unwrap(), "disk on fire");
}

#[test]
fn death_by_signal_is_a_failed_read() {
    let (_, end) = read_all("echo half; kill -9 $$", 5000);
    assert_eq!(end.unwrap_err().detail("status").unwrap(), "signal 9");
}

#[test]
fn megabytes_of_words_neither_block_nor_stay() {
    let script = "i=0; while [ $i -lt 5 ]; do head -c 1000000 /dev/zero | tr '\\0' '\\377' >&2; i=$((i+1)); done; echo >&2; echo the end >&2; exit 3";
    let (_, end) = read_all(script, 20_000);
    let error = end.unwrap_err();
    assert!(error.detail("stderr").unwrap().ends_with("the end"));
    assert!(error.detail("stderr").unwrap().len() <= 64 << 10);
    let ended = ask(&sh(script), Duration::from_secs(20), &Cancel::new()).unwrap().ended;
    assert!(ended.stderr.dropped() > 4_900_000);
    // Every kept byte may have become a three-byte replacement character.
    assert!(ended.stderr.text().len() <= 3 * (64 << 10));
}

#[test]
fn silence_is_a_stall_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let group = folder.path().join("group");
    let script = format!("echo $$ > {}; echo begun; sleep 1000 & sleep 1000", group.display());
    let (bytes, end) = read_all(&script, 300);
    assert_eq!(bytes, 6);
    assert_eq!(end.unwrap_err().code(), Code::Stalled);
    assert!(group_is_gone(&group));
}

#[test]
fn closing_the_output_without_ending_is_a_stall() {
    let (bytes, end) = read_all("echo all; exec >&-; sleep 1000", 300);
    assert_eq!(bytes, 4);
    assert_eq!(end.unwrap_err().code(), Code::Stalled);
}

#[test]
fn a_child_that_ignores_the_polite_signal_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let group = folder.path().join("group");
    let script = format!("trap '' TERM; echo $$ > {}; while :; do sleep 0.1; done", group.display());
    let (_, end) = read_all(&script, 500);
    assert_eq!(end.unwrap_err().code(), Code::Stalled);
    assert!(group_is_gone(&group));
}

#[test]
fn a_grandchild_that_keeps_the_pipe_does_not_keep_us() {
    let folder = tempfile::tempdir().unwrap();
    let group = folder.path().join("group");
    let script = format!("echo $$ > {}; echo whole; sleep 1000 & exit 0", group.display());
    let (bytes, end) = read_all(&script, 60_000);
    assert_eq!(bytes, 6);
    assert!(end.unwrap().success());
    assert!(group_is_gone(&group));
}

#[test]
fn a_grandchild_in_a_session_of_its_own_does_not_keep_us_either() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("escaped");
    let script = format!(
        "setsid sh -c 'echo $$ > {0}; exec sleep 1000' & while [ ! -s {0} ]; do sleep 0.01; done; echo whole; exit 0",
        file.display()
    );
    let (bytes, end) = read_all(&script, 60_000);
    assert_eq!(bytes, 6);
    assert!(end.unwrap().success());
    // It left the group on purpose; the test, which knows it, ends it.
    let id: i32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    rustix::process::kill_process(Pid::from_raw(id).unwrap(), Signal::KILL).unwrap();
}

#[test]
fn cancelling_ends_the_group() {
    let folder = tempfile::tempdir().unwrap();
    let group = folder.path().join("group");
    let limits = limits(600_000);
    let script = format!("echo $$ > {}; echo x; sleep 1000 & sleep 1000", group.display());
    let mut output = ChildOutput::start(&sh(&script), limits.clone(), judge()).unwrap();
    let mut buffer = [0; 16];
    assert_eq!(output.read(&mut buffer).unwrap(), 2);
    limits.cancel.cancel(Reason::Interrupt);
    let error = coffre_model::error::from_io(output.read(&mut buffer).unwrap_err(), |e| Error::internal("read", e));
    assert_eq!(error.code(), Code::Cancelled);
    assert!(group_is_gone(&group));
}

#[test]
fn dropping_ends_the_group() {
    let folder = tempfile::tempdir().unwrap();
    let group = folder.path().join("group");
    let script = format!("echo $$ > {}; echo x; sleep 1000 & sleep 1000", group.display());
    let mut output = ChildOutput::start(&sh(&script), limits(600_000), judge()).unwrap();
    assert_eq!(output.read(&mut [0; 16]).unwrap(), 2);
    drop(output);
    assert!(group_is_gone(&group));
}

#[test]
fn what_cannot_be_started_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pg_dump");
    std::fs::write(&file, "no program").unwrap();
    // Executable, but of no format that the system knows: the C library would hand it to a shell.
    let script = folder.path().join("pg_restore");
    std::fs::write(&script, "touch it-ran").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    for path in [file.as_path(), &script, Path::new("/absent/pg_dump")] {
        let error = ChildOutput::start(&Invocation::new(path, folder.path()), limits(1000), judge())
            .err()
            .unwrap();
        assert_eq!(error.code(), Code::ToolMissing);
        assert_eq!(error.detail("path").unwrap(), path.to_string_lossy());
    }
    assert!(!folder.path().join("it-ran").exists());
}

#[test]
fn the_environment_is_ours_alone() {
    let folder = tempfile::tempdir().unwrap();
    let invocation = Invocation::new(Path::new("/usr/bin/env"), folder.path()).env("PGHOST", "here");
    let answer = ask(&invocation, Duration::from_secs(10), &Cancel::new()).unwrap();
    let mut lines: Vec<_> = answer.stdout.lines().collect();
    lines.sort_unstable();
    let home = format!("HOME={}", folder.path().display());
    assert_eq!(lines, [&home, "LC_ALL=C", "PATH=/usr/local/bin:/usr/bin:/bin", "PGHOST=here"]);
}

#[test]
fn a_secret_is_blotted_out_of_what_the_child_says() {
    let invocation = sh("echo the password is open sesame >&2; exit 1").secret(&Secret::new("open sesame"));
    let answer = ask(&invocation, Duration::from_secs(10), &Cancel::new()).unwrap();
    assert_eq!(answer.ended.stderr.text(), "the password is •••\n");
}

#[test]
fn a_question_without_an_answer_is_a_stall() {
    let error = ask(&sh("sleep 1000"), Duration::from_millis(200), &Cancel::new())
        .err()
        .unwrap();
    assert_eq!(error.code(), Code::Stalled);
    let answer = ask(&sh("head -c 3000000 /dev/zero"), Duration::from_secs(10), &Cancel::new());
    assert_eq!(answer.unwrap().stdout.len(), 64 << 10);
}

fn write_all(script: &str, bytes: usize, stall_ms: u64, alive: input::Alive) -> (Result<()>, Option<Result<Ended>>) {
    let mut input = ChildInput::start(&sh(script), limits(stall_ms), judge(), alive).unwrap();
    let piece = vec![b'x'; bytes];
    match input.write_all(&piece) {
        Ok(()) => (Ok(()), Some(input.finish())),
        Err(error) => (
            Err(coffre_model::error::from_io(error, |e| Error::internal("write", e))),
            None,
        ),
    }
}

#[test]
fn everything_arrives() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("got");
    let (written, end) = write_all(&format!("cat > {}", file.display()), 5_000_000, 5000, Box::new(|| false));
    written.unwrap();
    assert!(end.unwrap().unwrap().success());
    assert_eq!(std::fs::metadata(&file).unwrap().len(), 5_000_000);
}

#[test]
fn a_reader_that_gives_up_says_why() {
    let (written, _) = write_all("echo no room >&2; exit 1", 5_000_000, 5000, Box::new(|| false));
    assert_eq!(written.unwrap_err().detail("stderr").unwrap(), "no room");
    let (written, _) = write_all("exit 0", 5_000_000, 5000, Box::new(|| false));
    assert_eq!(written.unwrap_err().text(), "tool_ended_early");
    let (written, end) = write_all("exit 0", 1000, 5000, Box::new(|| false));
    // Whether the pipe was still open or not: what nobody took did not arrive.
    assert_eq!(
        written.and_then(|()| end.unwrap().map(|_| ())).unwrap_err().text(),
        "tool_ended_early"
    );
    let (written, end) = write_all("cat > /dev/null; echo too late >&2; exit 1", 100, 5000, Box::new(|| false));
    written.unwrap();
    assert_eq!(end.unwrap().unwrap_err().detail("stderr").unwrap(), "too late");
}

#[test]
fn a_reader_that_reads_no_more_is_a_stall_unless_it_is_at_work() {
    let (written, _) = write_all("sleep 1000", 5_000_000, 300, Box::new(|| false));
    assert_eq!(written.unwrap_err().code(), Code::Stalled);
    let mut lives = 3;
    let alive = Box::new(move || {
        lives -= 1;
        lives > 0
    });
    let began = Instant::now();
    let (written, end) = write_all("cat > /dev/null; sleep 1000", 100, 300, alive);
    written.unwrap();
    assert_eq!(end.unwrap().unwrap_err().code(), Code::Stalled);
    assert!(began.elapsed() >= Duration::from_millis(900));
}

#[test]
fn children_die_with_a_killed_parent() {
    // The test starts itself anew as the parent that is killed: only a whole process can be.
    const ROLE: &str = "COFFRE_TEST_PARENT_OF";
    if let Some(file) = std::env::var_os(ROLE) {
        let script = format!("echo $$ > {}; exec sleep 1000", Path::new(&file).display());
        // Started by a thread that ends at once: the child must live on nevertheless.
        let child = thread::spawn(move || ChildOutput::start(&sh(&script), limits(600_000), judge()).unwrap());
        let mut output = child.join().unwrap();
        let _never = output.read(&mut [0; 16]);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("child");
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["process::tests::children_die_with_a_killed_parent", "--exact"])
        .env(ROLE, &file)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let id = loop {
        if let Ok(id) = std::fs::read_to_string(&file).unwrap_or_default().trim().parse::<i32>() {
            break Pid::from_raw(id).unwrap();
        }
        assert!(parent.try_wait().unwrap().is_none(), "the parent ended too early");
        thread::sleep(Duration::from_millis(10));
    };
    // Long enough for the starting thread to be gone, and with it, were it the forking one, the child.
    thread::sleep(Duration::from_millis(200));
    assert!(rustix::process::test_kill_process(id).is_ok());
    parent.kill().unwrap();
    parent.wait().unwrap();
    let gone = || match std::fs::read_to_string(format!("/proc/{}/stat", id.as_raw_nonzero())) {
        Err(_) => true,
        Ok(stat) => stat.contains(") Z "),
    };
    let limit = Instant::now() + Duration::from_secs(10);
    while !gone() {
        assert!(Instant::now() < limit, "the child lives on");
        thread::sleep(Duration::from_millis(20));
    }
}
