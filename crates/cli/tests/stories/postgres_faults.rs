//! Classes "network", "database" and "crash" for PostgreSQL: what breaks between Coffre and a server, and what other sessions do there.

use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use coffre_testkit::invariants::{Invariants, Snapshot};
use coffre_testkit::postgres::{Options, Postgres, Version};
use coffre_testkit::proxy::{Direction, Kind, Proxy};
use coffre_testkit::wait_until;

use crate::crm::{content, failed, fails, left_alone, long, protecting, small, through, wait_for_bytes};
use crate::shop::{artifact, back_up, backups, files, text};

/// Slow enough that there is time to do something in the middle.
const SLOW: Duration = Duration::from_millis(8);

#[test]
fn a_network_that_breaks() {
    let server = Postgres::shared(Version::V15);
    let database = long(server);
    let proxy = Proxy::to_port(server.port());
    let coffre = protecting(&through(&proxy, server, &database), None);
    let before = proxy.bytes(Direction::ToClient);
    let good = back_up(&coffre, "crm");
    let whole = proxy.bytes(Direction::ToClient) - before;
    let kept = Snapshot::of(artifact(&coffre, &good).parent().unwrap());
    for (kind, after, code) in [
        (Kind::Cut, 0, "UNREACHABLE"),
        (Kind::Reset, 1, "UNREACHABLE"),
        (Kind::Cut, 64 << 10, "DUMP_FAILED"),
        (Kind::Reset, whole / 2, "DUMP_FAILED"),
        (Kind::Cut, whole - 20_000, "DUMP_FAILED"),
    ] {
        proxy.strike(kind, Direction::ToClient, after);
        let error = fails(&coffre, code);
        if code == "DUMP_FAILED" {
            // In the tool's own words, or that our own session was lost.
            let said = format!("{}{}", error["details"]["stderr"], error["details"]["cause"]);
            assert!(said.contains("connection"), "{kind:?} after {after}: {error:#}");
        }
    }
    // Whatever the last hundred bytes were: never green without all of it.
    proxy.strike(Kind::Cut, Direction::ToClient, whole - 100);
    let last = coffre.run(["--json", "backup", "--source", "crm"]);
    assert!(last.status == Some(0) || last.error_code() == "DUMP_FAILED", "{last}");
    // The other way: the server does not hear us any more.
    proxy.strike(Kind::Cut, Direction::ToServer, 6000);
    fails(&coffre, "DUMP_FAILED");
    proxy.set_fault(None);
    back_up(&coffre, "crm");
    coffre.ok(["verify", "--all"]);
    kept.assert_kept();
    assert!(left_alone(server, &database));
    Invariants::of(&coffre).assert();
}

#[test]
fn a_network_that_falls_silent() {
    let server = Postgres::shared(Version::V15);
    let database = long(server);
    let proxy = Proxy::to_port(server.port());
    let mut coffre = protecting(&through(&proxy, server, &database), None);
    coffre.set("COFFRE_STALL_SECONDS", "1").set("COFFRE_LOCK_WAIT_SECONDS", "1");
    // In the midst of the dump, and while the database is only looked at.
    for (direction, after) in [
        (Direction::ToClient, 2 << 20),
        (Direction::ToClient, 2000),
        (Direction::ToServer, 1300),
    ] {
        proxy.strike(Kind::Stall, direction, after);
        let began = Instant::now();
        let error = fails(&coffre, "STALLED");
        assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
        assert!(text(&error, "hint").contains("stall_seconds"), "{error:#}");
        proxy.set_fault(None);
        // What was held up is let through first: it must not count for the next fault.
        assert!(left_alone(server, &database));
    }
    back_up(&coffre, "crm");
    Invariants::of(&coffre).assert();
}

#[test]
fn sessions_are_ended_and_the_server_dies_and_is_gone() {
    let server = Postgres::start(Version::V15, Options::default());
    let database = long(&server);
    let proxy = Proxy::to_port(server.port());
    let coffre = protecting(&through(&proxy, &server, &database), None);
    let good = back_up(&coffre, "crm");
    let kept = Snapshot::of(artifact(&coffre, &good).parent().unwrap());
    proxy.set_delay(SLOW);
    let end = |whose: &str| {
        let sql = format!(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE 'coffre%' AND {whose}"
        );
        assert_eq!(server.sql("postgres", &sql), "1", "{whose}");
    };
    let disturbed = |disturb: &dyn Fn()| {
        let from = proxy.bytes(Direction::ToClient);
        let running = coffre.spawn(["--json", "backup", "--source", "crm"]);
        wait_for_bytes(&proxy, from, 3 << 20);
        disturb();
        let outcome = running.wait();
        let error = failed(&coffre, &outcome, "DUMP_FAILED");
        assert!(outcome.took < Duration::from_secs(30), "{outcome}");
        kept.assert_kept();
        assert_eq!(files(&coffre.home().join("backups")).len(), 2);
        error
    };
    let tool = disturbed(&|| end("query LIKE 'COPY%'"));
    assert!(text(&tool, "message").contains("ended the session"), "{tool:#}");
    // Ours, that holds the snapshot.
    disturbed(&|| end("query NOT LIKE 'COPY%'"));
    assert!(server.is_rid_of("coffre"));
    disturbed(&|| server.crash());
    let gone = fails(&coffre, "UNREACHABLE");
    assert!(text(&gone, "message").contains("127.0.0.1"), "{gone:#}");
    // One that was there is still there, and says so.
    assert_eq!(
        coffre.json(["show", "latest", "--source", "crm"])["backup"]["code"],
        good["code"]
    );
    coffre.ok(["verify", "--all"]);
    Invariants::of(&coffre).assert();
}

#[test]
fn somebody_stops_it_in_the_middle() {
    let secret = "hold: it \\ there";
    let server = Postgres::start(Version::V15, Options::default().password(secret));
    let database = long(&server);
    let proxy = Proxy::to_port(server.port());
    let coffre = protecting(&through(&proxy, &server, &database), Some(secret));
    let good = back_up(&coffre, "crm");
    let kept = Snapshot::of(artifact(&coffre, &good).parent().unwrap());
    proxy.set_delay(SLOW);
    for (signal, status) in [(libc::SIGINT, 130), (libc::SIGTERM, 143), (libc::SIGKILL, 0)] {
        let from = proxy.bytes(Direction::ToClient);
        let running = coffre.spawn(["--json", "backup", "--source", "crm"]);
        wait_for_bytes(&proxy, from, 3 << 20);
        // While it runs, the password lies in one private file, and in no process's arguments or environment.
        let private = files(&coffre.home().join("runtime"));
        assert_eq!(
            private.iter().filter(|name| name.contains("pgpass")).count(),
            1,
            "{private:?}"
        );
        let mut looked = 0;
        for pid in running.descendants().iter().map(|(pid, _)| *pid).chain([running.id()]) {
            for place in ["cmdline", "environ"] {
                let bytes = std::fs::read(format!("/proc/{pid}/{place}")).unwrap_or_default();
                assert!(!String::from_utf8_lossy(&bytes).contains("hold: it"), "{place} of {pid}");
                looked += bytes.len();
            }
        }
        assert!(looked > 0);
        assert_eq!(server.sessions("coffre").len(), 2);
        let began = Instant::now();
        if signal == libc::SIGKILL {
            running.kill();
        } else {
            running.signal(signal);
            let outcome = running.wait();
            assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
            assert_eq!(
                (outcome.status, outcome.error_code().as_str()),
                (Some(status), "CANCELLED"),
                "{outcome}"
            );
        }
        let newest = backups(&coffre).into_iter().next().unwrap();
        let state = if signal == libc::SIGKILL { "interrupted" } else { "cancelled" };
        assert_eq!(text(&newest, "state"), state, "{newest:#}");
        kept.assert_kept();
        assert_eq!(files(&coffre.home().join("backups")).len(), 2, "only what was good before");
        // No session, no process, no password file.
        Invariants::of(&coffre).server(&server).secret(secret).assert();
    }
    proxy.set_delay(Duration::ZERO);
    back_up(&coffre, "crm");
    coffre.ok(["verify", "--all"]);
}

#[test]
fn a_table_that_somebody_holds() {
    let server = Postgres::shared(Version::V15);
    let database = small(server);
    let mut coffre = protecting(&server.address(&database), None);
    coffre.set("COFFRE_LOCK_WAIT_SECONDS", "1");
    let mut holder = server
        .client("psql", &database)
        .env("PGAPPNAME", "the nightly job")
        .args(["-c", "BEGIN; LOCK TABLE orders; SELECT pg_sleep(60)"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let locked = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND relation = 'orders'::regclass";
    assert!(wait_until(Duration::from_secs(10), || server.sql(&database, locked) == "1"));
    let error = fails(&coffre, "LOCK_TIMEOUT");
    for word in ["orders", "the nightly job", "postgres"] {
        assert!(text(&error, "message").contains(word), "{word}: {error:#}");
    }
    holder.kill().unwrap();
    holder.wait().unwrap();
    let pid = error["details"]["holder_pid"].as_u64().unwrap();
    server.sql(&database, &format!("SELECT pg_terminate_backend({pid})"));
    back_up(&coffre, "crm");
    assert!(left_alone(server, &database));
    Invariants::of(&coffre).assert();
}

#[test]
fn a_table_that_may_not_be_read() {
    let server = Postgres::shared(Version::V15);
    let database = small(server);
    server.create_role("reader of crm", None);
    server.sql(&database, "GRANT SELECT ON customers TO \"reader of crm\"");
    let coffre = protecting(&server.address_as("reader of crm", &database), None);
    let error = fails(&coffre, "PRIVILEGE");
    assert!(text(&error, "message").contains("public.orders"), "{error:#}");
    // The very command that helps, ready to be run.
    let said = format!("{}{}", text(&error, "message"), text(&error, "hint"));
    let grant = said.lines().find_map(|line| line.find("GRANT SELECT").map(|at| &line[at..]));
    let grant = grant.unwrap_or_else(|| panic!("no GRANT: {error:#}"));
    let command = &grant[..=grant.find(';').unwrap_or(grant.len() - 1)];
    server.sql(&database, command);
    back_up(&coffre, "crm");
    Invariants::of(&coffre).assert();
}

#[test]
fn two_at_once() {
    let server = Postgres::shared(Version::V15);
    let database = long(server);
    let proxy = Proxy::to_port(server.port());
    let coffre = protecting(&through(&proxy, server, &database), None);
    proxy.set_delay(SLOW);
    let first = coffre.spawn(["--json", "backup", "--source", "crm"]);
    wait_for_bytes(&proxy, 0, 1 << 20);
    let second = coffre.fails(["backup", "--source", "crm"], "BUSY", 5);
    proxy.set_delay(Duration::ZERO);
    let first = first.wait();
    assert_eq!(first.status, Some(0), "{first}");
    let made = first.json()["backup"].clone();
    assert!(
        second.stdout.contains(text(&made, "id")),
        "the answer names the run: {second}"
    );
    assert_eq!(backups(&coffre).len(), 1, "who was busy left no row");
    Invariants::of(&coffre).assert();
}

/// Raises a flag when dropped.
struct Flag<'a>(&'a AtomicBool);

impl Drop for Flag<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn tables_come_and_go_meanwhile() {
    let server = Postgres::shared(Version::V15);
    let database = small(server);
    let coffre = protecting(&server.address(&database), None);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut round = 0;
            while !stop.load(Ordering::SeqCst) {
                round += 1;
                // Without a pause nobody who wants all tables at once would ever get them, `pg_dump` by itself neither.
                std::thread::sleep(Duration::from_millis(150));
                server.sql(
                    &database,
                    &format!(
                        "CREATE TABLE passing_{round} AS SELECT 1 AS x; ALTER TABLE orders ADD COLUMN IF NOT EXISTS c{} int;
                         DROP TABLE passing_{round}; BEGIN; TRUNCATE orders; INSERT INTO orders SELECT g, g FROM generate_series(1, 700) g; COMMIT",
                        round % 20
                    ),
                );
            }
        });
        // Also when something below does not hold: the writer must not go on for ever.
        let _ended = Flag(&stop);
        for round in 0..4 {
            let made = back_up(&coffre, "crm");
            let into = format!("{database}_{round}");
            let answer = coffre.json(["restore", text(&made, "code"), "--into", &server.address(&into)]);
            assert_eq!(answer["restore"]["state"], "done", "{answer:#}");
            assert_eq!(
                server.sql(&into, "SELECT count(*) FROM orders"),
                "700",
                "never a half-emptied table"
            );
            assert_eq!(server.sql(&into, "SELECT count(*) FROM customers"), "500");
        }
    });
    Invariants::of(&coffre).assert();
}

#[test]
fn a_source_that_shrank_is_flagged() {
    let server = Postgres::shared(Version::V15);
    let database = small(server);
    let coffre = protecting(&server.address(&database), None);
    let full = back_up(&coffre, "crm");
    assert_eq!(full["flags"].as_array().unwrap().len(), 0);
    server.sql(&database, "TRUNCATE orders; DELETE FROM customers WHERE id > 20");
    for _ in 0..2 {
        // A second small one does not look normal either.
        let small = back_up(&coffre, "crm");
        assert_eq!(small["flags"][0], "shrunk", "{small:#}");
        assert_eq!((small["tables"].as_u64(), small["rows"].as_u64()), (Some(2), Some(20)));
    }
    let said = coffre.ok(["backup", "--source", "crm"]);
    let words = format!("{}{}", said.stdout, said.stderr);
    assert!(
        words.to_lowercase().contains("shr") || words.contains("smaller"),
        "it is said: {said}"
    );
    // What was there before comes back.
    let into = format!("{database}_back");
    coffre.ok(["restore", text(&full, "code"), "--into", &server.address(&into)]);
    assert!(content(server, &into).contains("public.orders: 700|"));
    Invariants::of(&coffre).assert();
}
