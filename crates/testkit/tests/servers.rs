//! The throw-away servers do what the other tests rely on.

#![allow(clippy::unwrap_used, reason = "a test has nobody to hand errors to")]
#![allow(clippy::disallowed_methods, reason = "tests start stock tools")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use coffre_testkit::postgres::{Options, Postgres, Version};
use coffre_testkit::proxy::{Direction, Kind, Proxy};
use coffre_testkit::wait_until;

#[test]
fn every_version_answers_with_its_own_number() {
    for version in Version::ALL {
        let server = Postgres::shared(version);
        let number = server.sql("postgres", "SHOW server_version");
        assert!(number.starts_with(&version.number()), "{number} is not {}", version.number());
        assert!(version.tool("pg_dump").is_file() && version.tool("pg_restore").is_file());
    }
    assert!(Version::V16.number().starts_with("16."));
    assert!(Version::V18.number().starts_with("18."));
}

#[test]
fn databases_roles_and_odd_names() {
    let server = Postgres::shared(Version::V15);
    let first = server.create_database();
    assert_ne!(first, server.create_database());
    let odd = "a\"b 'c' host=evil; DROP";
    server.create_database_named(odd);
    assert!(server.has_database(odd));
    assert_eq!(server.sql(odd, "SELECT current_database()"), odd);
    server.create_role("reader'\"", Some("it's \"one\"\n"));
    server.drop_database(odd);
    assert!(!server.has_database(odd));
    assert!(server.psql(&first, "SELECT 1/0").stderr.contains("division by zero"));
}

#[test]
fn a_password_is_needed_where_one_was_set() {
    let password = "p:\\'\"$#%@/ é\nx";
    let server = Postgres::start(Version::V16, Options::default().password(password));
    assert_eq!(server.sql("postgres", "SELECT 1"), "1");
    let mut without = server.client("psql", "postgres");
    without.env_remove("PGPASSWORD").args(["-w", "-X", "-c", "SELECT 1"]);
    assert!(!without.output().unwrap().status.success());
}

#[test]
fn tls_with_a_certificate_for_the_very_host() {
    let server = Postgres::start(Version::V15, Options::default().tls_only());
    let connect = |mode: &str| {
        let mut client = server.client("psql", "postgres");
        client
            .env("PGHOST", "127.0.0.1")
            .env("PGSSLMODE", mode)
            .env("PGSSLROOTCERT", server.authority());
        client.args([
            "-X",
            "-A",
            "-t",
            "-c",
            "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
        ]);
        client.output().unwrap()
    };
    assert_eq!(connect("verify-full").stdout, b"t\n");
    assert!(!connect("disable").status.success());
}

#[test]
fn a_server_ends_with_its_owner_even_when_that_is_killed() {
    let marker = tempfile::tempdir().unwrap();
    let file = marker.path().join("folder");
    // This very test program, once more, as the owner that gets killed.
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "owner_to_be_killed", "--ignored", "--nocapture"])
        .env("COFFRE_TEST_MARKER", &file)
        .stdout(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    let told = || std::fs::read_to_string(&file).is_ok_and(|text| text.contains('\n'));
    assert!(wait_until(Duration::from_secs(60), told));
    let text = std::fs::read_to_string(&file).unwrap();
    let folder = std::path::PathBuf::from(text.trim());
    assert!(folder.join("data").is_dir());
    owner.kill().unwrap();
    owner.wait().unwrap();
    assert!(
        wait_until(Duration::from_secs(20), || !folder.exists()),
        "{} is still there",
        folder.display()
    );
}

/// Not a test: what [`a_server_ends_with_its_owner_even_when_that_is_killed`] starts and kills.
#[test]
#[ignore = "started by another test"]
fn owner_to_be_killed() {
    let server = Postgres::start(Version::V16, Options::default());
    let marker = std::env::var_os("COFFRE_TEST_MARKER").unwrap();
    std::fs::write(marker, format!("{}\n", server.socket_folder().display())).unwrap();
    std::thread::sleep(Duration::from_secs(600));
}

#[test]
fn a_dropped_server_leaves_nothing() {
    let server = Postgres::start(Version::V16, Options::default());
    let folder = server.socket_folder();
    server.pause();
    drop(server);
    assert!(!folder.exists());
}

#[test]
fn sessions_are_seen_and_ended() {
    let server = Postgres::start(Version::V16, Options::default());
    let mut client = server.client("psql", "postgres");
    client
        .env("PGAPPNAME", "coffre probe")
        .args(["-X", "-c", "SELECT pg_sleep(60)"]);
    let mut client = client.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    assert!(wait_until(Duration::from_secs(20), || server.sessions("coffre").len() == 1));
    assert_eq!(server.terminate("coffre"), 1);
    assert!(!client.wait().unwrap().success());
    assert!(server.is_rid_of("coffre"));
    server.crash();
    assert!(!server.psql("postgres", "SELECT 1").ok());
}

#[test]
fn the_proxy_counts_and_strikes() {
    let server = Postgres::shared(Version::V16);
    let proxy = Proxy::to_port(server.port());
    let ask = |rows: u32| {
        let mut client = server.client("psql", "postgres");
        client.env("PGHOST", "127.0.0.1").env("PGPORT", proxy.port().to_string());
        client.args([
            "-X",
            "-A",
            "-t",
            "-c",
            &format!("SELECT repeat('x', 1000) FROM generate_series(1, {rows})"),
        ]);
        client.output().unwrap()
    };
    let whole = ask(1000);
    assert!(whole.status.success());
    assert_eq!(whole.stdout.len(), 1_001_000);
    assert!(proxy.bytes(Direction::ToClient) > 1_000_000);
    assert!(proxy.connections() == 1);

    for kind in [Kind::Cut, Kind::Reset] {
        proxy.strike(kind, Direction::ToClient, 500_000);
        let before = proxy.bytes(Direction::ToClient);
        let cut = ask(1000);
        assert!(!cut.status.success());
        assert_eq!(proxy.bytes(Direction::ToClient) - before, 500_000);
    }
    proxy.set_fault(None);
    assert!(ask(1).status.success());

    // Nothing arrives, nothing is closed; mended, it goes on where it stood.
    proxy.strike(Kind::Stall, Direction::ToClient, 500_000);
    let before = proxy.bytes(Direction::ToClient);
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| ask(1000));
        let arrived = wait_until(Duration::from_secs(60), || {
            proxy.bytes(Direction::ToClient) - before >= 500_000
        });
        std::thread::sleep(Duration::from_millis(300));
        let stalled = proxy.bytes(Direction::ToClient) - before == 500_000 && !asked.is_finished();
        // Mended before anything is asserted: a panic here would wait for the thread.
        proxy.set_fault(None);
        assert_eq!(asked.join().unwrap().stdout.len(), 1_001_000);
        assert!(arrived && stalled);
    });
    proxy.set_delay(Duration::from_millis(50));
    assert!(ask(1).status.success());
}

#[test]
fn a_cut_is_an_end_and_a_reset_is_an_error() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..2 {
                let (mut socket, _) = listener.accept().unwrap();
                // Whether it still goes out is up to the proxy.
                let _maybe = socket.write_all(&[7; 1000]);
                let _maybe = socket.read_to_end(&mut Vec::new());
            }
        });
        for kind in [Kind::Cut, Kind::Reset] {
            proxy.strike(kind, Direction::ToClient, 10);
            let mut received = Vec::new();
            let ended = TcpStream::connect(proxy.address()).unwrap().read_to_end(&mut received);
            match kind {
                Kind::Reset => assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset),
                _ => assert_eq!((ended.unwrap(), received), (10, vec![7; 10])),
            }
        }
    });
}
