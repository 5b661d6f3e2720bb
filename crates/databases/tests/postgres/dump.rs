//! Dumps of a database that lives.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use coffre_model::cancel::Reason;
use coffre_model::{Code, Error};
use coffre_testkit::postgres::{Options, Postgres, Version};
use coffre_testkit::proxy::{Direction, Kind as Fault, Proxy};
use coffre_testkit::tools::{Behaviour, FakeTools};
use coffre_testkit::wait_until;

use crate::common::{SHOP, Setup, unwrapped};

/// A server of one's own: what is done to all sessions, or to the whole server, must not meet other tests.
fn own_server() -> Postgres {
    Postgres::start(Version::V15, Options::default())
}

/// About 50 MB, so that a dump does not fit into the pipes.
fn large(server: &Postgres) -> String {
    let name = server.create_database();
    server.sql(
        &name,
        "CREATE TABLE big AS SELECT g AS id, repeat(md5(g::text), 15) AS text FROM generate_series(1, 100000) g;
         CREATE TABLE small AS SELECT 1 AS x",
    );
    name
}

/// A session called "the holder" that keeps the table `held` for itself; answers once it has it.
fn hold(server: &Postgres, database: &str) -> Child {
    let holder = server
        .client("psql", database)
        .env("PGAPPNAME", "the holder")
        .args(["-c", "BEGIN; LOCK TABLE held; SELECT pg_sleep(60)"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let locked = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND relation = 'held'::regclass";
    assert!(wait_until(Duration::from_secs(10), || server.sql(database, locked) == "1"));
    holder
}

#[test]
fn what_comes_back_is_what_was_there() {
    let server = Postgres::shared(Version::V15);
    let name = server.create_database();
    server.sql(&name, SHOP);
    let text = |database: &str| {
        let output = server.client("pg_dump", database).output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        let lines = text
            .lines()
            .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"));
        lines.map(|line| format!("{line}\n")).collect::<String>()
    };
    for plain in [false, true] {
        let setup = Setup::new(server.address(&name));
        let setup = if plain { setup.plain() } else { setup };
        let (bytes, _) = setup.dump().unwrap();
        let target = format!("{name}_back");
        let mut work = Setup::new(server.address(&target)).restore(setup.format(), &bytes).unwrap();
        assert!(work.database.remarks().is_empty());
        assert_eq!(text(&target), text(&name));
        work.database.discard_target().unwrap();
    }
}

#[test]
fn writers_do_not_disturb_a_dump() {
    let server = Postgres::shared(Version::V15);
    let name = server.create_database();
    // Money moves between accounts and never appears or vanishes; the log gets a row with each transfer.
    server.sql(
        &name,
        "CREATE TABLE accounts AS SELECT g AS id, 1000 AS money FROM generate_series(1, 5000) g;
         CREATE TABLE log (amount int);
         CREATE TABLE churn (x int);
         INSERT INTO churn SELECT generate_series(1, 1000);
         CREATE PROCEDURE transfer(times int) LANGUAGE plpgsql AS $$
         DECLARE a int; b int;
         BEGIN
             FOR i IN 1..times LOOP
                 a := 1 + random() * 4999; b := 1 + random() * 4999;
                 UPDATE accounts SET money = money - 7 WHERE id = a;
                 UPDATE accounts SET money = money + 7 WHERE id = b;
                 INSERT INTO log VALUES (7);
                 COMMIT;
             END LOOP;
         END $$;",
    );
    let stop = Arc::new(AtomicBool::new(false));
    let (address, told) = (name.clone(), stop.clone());
    let writer = thread::spawn(move || {
        let server = Postgres::shared(Version::V15);
        while !told.load(Ordering::SeqCst) {
            server.sql(&address, "CALL transfer(200)");
            server.sql(
                &address,
                "BEGIN; TRUNCATE churn; INSERT INTO churn SELECT generate_series(1, 1000); COMMIT",
            );
        }
    });
    let setup = Setup::new(server.address(&name));
    for round in 0..5 {
        let (bytes, facts) = setup.dump().unwrap_or_else(|e| panic!("round {round}: {e}"));
        let rows = |table: &str| facts.counts.iter().find(|c| c.table == table).unwrap().rows;
        assert_eq!(rows("public.accounts"), 5000);
        assert_eq!(rows("public.churn"), 1000);
        let target = format!("{name}_{round}");
        let mut work = Setup::new(server.address(&target)).restore(setup.format(), &bytes).unwrap();
        assert_eq!(work.database.counts().unwrap(), facts.counts);
        assert_eq!(server.sql(&target, "SELECT sum(money) FROM accounts"), "5000000");
        work.database.discard_target().unwrap();
    }
    stop.store(true, Ordering::SeqCst);
    writer.join().unwrap();
}

#[test]
fn a_lock_held_by_another_session_is_named() {
    let server = Postgres::shared(Version::V15);
    let name = server.create_database();
    server.sql(&name, "CREATE TABLE free (x int); CREATE TABLE held (x int)");
    let mut holder = hold(server, &name);
    let mut setup = Setup::new(server.address(&name));
    setup.lock_wait = Duration::from_secs(1);
    let error = setup.dump().unwrap_err();
    assert_eq!((error.code(), error.text()), (Code::LockTimeout, "pg_lock_held"), "{error}");
    assert_eq!(error.detail("table").unwrap(), "public.held");
    assert_eq!(error.detail("holder_application").unwrap(), "the holder");
    // Without the table there is nothing to wait for.
    setup.options.exclude = vec!["held".to_owned()];
    setup.dump().unwrap();
    holder.kill().unwrap();
    holder.wait().unwrap();
}

/// Begins a dump of a large database, does something in its midst, and answers how it ends.
fn disturbed(setup: &Setup, disturb: impl FnOnce()) -> (Error, Duration) {
    let mut work = setup.open();
    work.database.probe().unwrap();
    let mut dump = work.database.dump().unwrap();
    let mut buffer = vec![0; 100_000];
    dump.read_exact(&mut buffer).unwrap();
    disturb();
    let began = Instant::now();
    let error = match std::io::copy(&mut dump, &mut std::io::sink()) {
        Err(error) => unwrapped(error),
        Ok(_) => dump.finish().map(|_| ()).expect_err("a disturbed dump ended well"),
    };
    drop(work);
    (error, began.elapsed())
}

#[test]
fn a_terminated_session_fails_the_dump() {
    let server = own_server();
    let name = large(&server);
    let setup = Setup::new(server.address(&name));
    let terminate = |whose: &str| {
        let sql = format!(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE 'coffre%' AND {whose}"
        );
        assert_eq!(server.sql("postgres", &sql), "1", "{whose}");
    };
    // The tool's own session.
    let (error, _) = disturbed(&setup, || terminate("query LIKE 'COPY%'"));
    assert_eq!(error.code(), Code::DumpFailed, "{error}");
    // Ours, which holds the snapshot and has counted by now.
    let (error, _) = disturbed(&setup, || {
        thread::sleep(Duration::from_secs(1));
        terminate("query NOT LIKE 'COPY%'");
    });
    assert_eq!((error.code(), error.text()), (Code::DumpFailed, "pg_session_lost"), "{error}");
    assert!(server.is_rid_of("coffre"));
}

#[test]
fn a_server_that_dies_fails_the_dump() {
    let server = own_server();
    let name = large(&server);
    let (error, took) = disturbed(&Setup::new(server.address(&name)), || server.crash());
    assert_eq!(error.code(), Code::DumpFailed, "{error}");
    assert!(took < Duration::from_secs(10));
}

#[test]
fn a_server_that_stops_is_a_stall() {
    let server = own_server();
    let name = large(&server);
    let setup = Setup::new(server.address(&name)).stall(Duration::from_secs(1));
    let (error, took) = disturbed(&setup, || server.pause());
    server.resume();
    assert_eq!(error.code(), Code::Stalled, "{error}");
    assert!(took < Duration::from_secs(12), "{took:?}");
    assert!(server.is_rid_of("coffre"));
}

#[test]
fn a_network_that_breaks_fails_the_dump() {
    let server = Postgres::shared(Version::V15);
    let name = large(server);
    for (fault, codes) in [(Fault::Cut, &[Code::DumpFailed][..]), (Fault::Stall, &[Code::Stalled])] {
        let proxy = Proxy::to_port(server.port());
        let address = server
            .address(&name)
            .replace(&format!(":{}/", server.port()), &format!(":{}/", proxy.port()));
        let setup = Setup::new(address).stall(Duration::from_secs(1));
        let (error, _) = disturbed(&setup, || proxy.strike(fault, Direction::ToClient, 64 << 10));
        assert!(codes.contains(&error.code()), "{error}");
    }
}

/// Our session holds a table, somebody waits for it, and the program would wait behind him: for itself, in the end. Also where the program is slow
/// to come, as on a busy machine.
#[test]
fn somebody_who_comes_before_a_slow_program_is_let_through() {
    let server = own_server();
    let name = server.create_database();
    server.sql(&name, "CREATE TABLE held AS SELECT 1 AS x");
    let tools = FakeTools::new();
    let path = tools.put(&Version::V15.tool("pg_dump"), &Behaviour::Real);
    let script = std::fs::read_to_string(&path).unwrap();
    let (version, _) = script.rsplit_once("exec \"$real\" \"$@\"").unwrap();
    // The first time it connects only once the other waits, and not at all before it was looked for.
    let (server_folder, mark) = (Version::V15.tool("psql"), tools.folder().join("was here"));
    let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'held'::regclass";
    let slow = format!(
        "if ! [ -e '{mark}' ]; then touch '{mark}'; until [ \"$('{psql}' -XAtc \"{waiting}\" '{address}')\" = 1 ]; do sleep 0.1; done; sleep 1; fi\n",
        mark = mark.display(),
        psql = server_folder.display(),
        address = server.address(&name),
    );
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, format!("{version}{slow}exec \"$real\" \"$@\"\n")).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let setup = Setup::new(server.address(&name)).tool_path(tools.folder());
    thread::scope(|scope| {
        scope.spawn(|| {
            let ours = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessShareLock' AND granted AND relation = 'held'::regclass";
            assert!(wait_until(Duration::from_secs(20), || server.sql(&name, ours) == "1"));
            server.sql(&name, "ALTER TABLE held ADD COLUMN y int");
        });
        let (_, facts) = setup.dump().unwrap();
        assert_eq!(facts.counts[0].rows, 1);
    });
    assert_eq!(server.sql(&name, "SELECT y IS NULL FROM held"), "t");
}

#[test]
fn a_cancelled_dump_leaves_nothing_behind() {
    let server = own_server();
    let name = large(&server);
    let mut work = Setup::new(server.address(&name)).password("never used").open();
    work.database.probe().unwrap();
    let mut dump = work.database.dump().unwrap();
    dump.read_exact(&mut vec![0; 100_000]).unwrap();
    assert_eq!(server.sessions("coffre").len(), 2);
    assert_eq!(work.private_files().len(), 1);
    let (cancel, (send, cancelled_at)) = (work.cancel.clone(), mpsc::channel());
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(50));
        send.send(Instant::now()).unwrap();
        cancel.cancel(Reason::Interrupt);
    });
    // A slow reader, who is in the midst of it when the flag is raised.
    let error = loop {
        match dump.read(&mut [0; 1000]) {
            Ok(n) => assert!(n > 0),
            Err(error) => break unwrapped(error),
        }
        thread::sleep(Duration::from_millis(1));
    };
    assert_eq!(error.code(), Code::Cancelled);
    drop(dump);
    assert!(cancelled_at.recv().unwrap().elapsed() < Duration::from_secs(5));
    assert!(server.is_rid_of("coffre"));
    assert!(work.private_files().is_empty());
}

#[test]
fn cancelling_while_waiting_for_a_lock_is_prompt() {
    let server = Postgres::shared(Version::V15);
    let name = server.create_database();
    server.sql(&name, "CREATE TABLE held (x int)");
    let mut holder = hold(server, &name);
    let mut work = Setup::new(server.address(&name)).open();
    work.database.probe().unwrap();
    let cancel = work.cancel.clone();
    let raiser = thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        cancel.cancel(Reason::Interrupt);
        Instant::now()
    });
    let error = work.database.dump().err().unwrap();
    assert_eq!(error.code(), Code::Cancelled);
    assert!(raiser.join().unwrap().elapsed() < Duration::from_millis(1500));
    let waiting = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}' AND application_name LIKE 'coffre%'");
    assert!(wait_until(Duration::from_secs(5), || server.sql("postgres", &waiting) == "0"));
    holder.kill().unwrap();
    holder.wait().unwrap();
}

#[test]
fn what_cannot_be_reached_says_how() {
    let server = Postgres::shared(Version::V15);
    for (address, code, text) in [
        ("postgres://u@127.0.0.1:1/x".to_owned(), Code::Unreachable, "pg_unreachable"),
        (
            "postgres://u@no-such-host.invalid/x".to_owned(),
            Code::Unreachable,
            "pg_unreachable",
        ),
        (
            "postgres://u@%2Fno%2Fsuch%2Ffolder/x".to_owned(),
            Code::Unreachable,
            "pg_unreachable",
        ),
        (server.address("absent"), Code::Unreachable, "pg_database_absent"),
        (server.address_as("nobody", "postgres"), Code::AuthFailed, "pg_auth_failed"),
    ] {
        let error = Setup::new(&address).open().database.probe().unwrap_err();
        assert_eq!((error.code(), error.text()), (code, text), "{address} {error}");
    }
}

#[test]
fn addresses_and_options_that_cannot_be_honoured_are_refused_when_added() {
    let refused = |setup: Setup| setup.try_open().err().map(|error| (error.code(), error.text().to_owned()));
    for (address, text) in [
        ("postgres://u@h", "pg_database_missing"),
        ("mysql://u@h/x", "pg_scheme"),
        ("postgres://u@a,b/x", "pg_host"),
        ("postgres://u@h/x?sslmode=require", "address_parameter"),
    ] {
        assert_eq!(
            refused(Setup::new(address)),
            Some((Code::Usage, text.to_owned())),
            "{address}"
        );
    }
    let mut setup = Setup::new("postgres://u@h/x");
    setup.options.format = Some("directory".to_owned());
    assert_eq!(refused(setup.clone()), Some((Code::Usage, "pg_format".to_owned())));
    setup.options.format = None;
    setup.options.tool_path = Some("bin".to_owned());
    assert_eq!(refused(setup), Some((Code::Usage, "tool_path_relative".to_owned())));
}

/// A dump that waits for a lock, killed: neither its child nor its sessions stay. The test starts itself anew to be killed.
#[test]
fn a_killed_process_leaves_no_session() {
    const ROLE: &str = "COFFRE_TEST_KILLED";
    if let Ok(address) = std::env::var(ROLE) {
        let mut setup = Setup::new(address);
        setup.lock_wait = Duration::from_secs(600);
        let mut work = setup.open();
        work.database.probe().unwrap();
        let _never = work.database.dump();
        return;
    }
    let server = own_server();
    let name = server.create_database();
    server.sql(&name, "CREATE TABLE held (x int)");
    let mut holder = hold(&server, &name);
    let mut killed = Command::new(std::env::current_exe().unwrap())
        .args(["dump::a_killed_process_leaves_no_session", "--exact"])
        .env(ROLE, server.address(&name))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'coffre%' AND wait_event_type = 'Lock'";
    assert!(wait_until(Duration::from_secs(20), || server.sql("postgres", waiting) == "1"));
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(server.is_rid_of("coffre"));
    holder.kill().unwrap();
    holder.wait().unwrap();
}
