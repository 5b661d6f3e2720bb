//! Passwords of every kind arrive, by private ways, and leave nothing behind.

use std::process::{Command, Stdio};
use std::sync::OnceLock;

use coffre_model::Code;
use coffre_testkit::postgres::{Options, Postgres, Version};
use coffre_testkit::tools::{Behaviour, FakeTools};

use crate::common::{Setup, count};

fn server() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(|| {
        let server = Postgres::start(Version::V15, Options::default().password("the superuser's"));
        server.create_database_named("shop");
        server.sql("shop", "CREATE TABLE t AS SELECT 1 AS x; GRANT SELECT ON t TO PUBLIC");
        server
    })
}

fn odd_passwords() -> Vec<String> {
    let mut all: Vec<String> = [
        "plain",
        "with:colon",
        "back\\slash",
        "it's",
        "say \"x\"",
        "$HOME",
        "#comment",
        "50%",
        "a@b",
        "a/b",
        " spaces ",
        "-dash",
        "--help",
        "mot de passe été 🎉",
        "tab\tinside",
        "new\nline",
        "ends in newline\n",
        "return\r",
        "*",
        "*:*:*:*:x",
        ": \\ ' \" $ # % @ /",
    ]
    .map(str::to_owned)
    .to_vec();
    all.push("x".repeat(1024));
    all
}

#[test]
fn every_password_connects() {
    let server = server();
    for (at, password) in odd_passwords().iter().enumerate() {
        let role = format!("odd{at}");
        server.create_role(&role, Some(password));
        let setup = Setup::new(server.address_as(&role, "shop")).password(password);
        let mut work = setup.open();
        let (_, facts) = work.dump().unwrap_or_else(|e| panic!("{password:?}: {e}"));
        assert_eq!(facts.counts, [count("public.t", 1)]);
        assert!(work.private_files().is_empty(), "{:?}", work.private_files());
    }
}

#[test]
fn a_password_is_in_no_argument_and_a_usual_one_in_no_environment() {
    let server = server();
    for (at, password) in ["open:sesame", "open\nsesame"].into_iter().enumerate() {
        let role = format!("seen{at}");
        server.create_role(&role, Some(password));
        let tools = FakeTools::new();
        tools.put(&Version::V15.tool("pg_dump"), &Behaviour::Real);
        Setup::new(server.address_as(&role, "shop"))
            .password(password)
            .tool_path(tools.folder())
            .dump()
            .unwrap();
        let calls = tools.calls("pg_dump");
        assert_eq!(calls.len(), 2, "once for its version, once to work");
        for call in &calls {
            assert!(!call.arguments.join("\0").contains("sesame"), "{:?}", call.arguments);
        }
        let environment = calls[1].environment.join("\0");
        // Only what a password file cannot carry goes through the environment of the tool (decision 0003).
        assert_eq!(environment.contains("sesame"), password.contains('\n'));
        assert_eq!(environment.contains("PGPASSWORD"), password.contains('\n'));
    }
}

#[test]
fn a_tool_that_prints_the_password_does_not_leak_it() {
    let server = server();
    server.create_role("leak", Some("open:sesame \\ there"));
    let tools = FakeTools::new();
    tools.put(&Version::V15.tool("pg_dump"), &Behaviour::Real);
    let path = tools.folder().join("pg_dump");
    let script = std::fs::read_to_string(&path).unwrap();
    let (version, _) = script.rsplit_once("exec \"$real\" \"$@\"").unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, format!("{version}cat \"$PGPASSFILE\" >&2\nexit 1\n")).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let error = Setup::new(server.address_as("leak", "shop"))
        .password("open:sesame \\ there")
        .tool_path(tools.folder())
        .dump()
        .unwrap_err();
    assert_eq!(error.code(), Code::DumpFailed);
    assert!(error.detail("stderr").unwrap().contains("•••"), "{error}");
    assert!(!error.to_string().contains("sesame"), "{error}");
}

#[test]
fn a_wrong_and_a_missing_password_say_so() {
    let server = server();
    server.create_role("joe", Some("right"));
    let setup = Setup::new(server.address_as("joe", "shop"));
    for (setup, text) in [
        (setup.clone().password("wrong"), "pg_auth_failed"),
        (setup.clone().password(""), "pg_password_missing"),
        (setup, "pg_password_missing"),
    ] {
        let error = setup.dump().unwrap_err();
        assert_eq!((error.code(), error.text()), (Code::AuthFailed, text), "{error}");
        assert!(!error.to_string().contains("wrong"));
    }
}

/// Everything that libpq would take from its surroundings points somewhere else; the test starts itself anew in them.
#[test]
fn ambient_settings_have_no_effect() {
    const ROLE: &str = "COFFRE_TEST_AMBIENT";
    if let Ok(address) = std::env::var(ROLE) {
        let (_, facts) = Setup::new(&address).password("the superuser's").dump().unwrap();
        assert_eq!(facts.counts, [count("public.t", 1)]);
        // And what is not given to us is not taken from there.
        let error = Setup::new(&address).dump().unwrap_err();
        assert_eq!(error.code(), Code::AuthFailed);
        return;
    }
    let server = server();
    let home = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = home.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        path
    };
    let passfile = write(".pgpass", "*:*:*:*:the superuser's\n");
    let service = write(".pg_service.conf", "[evil]\nhost=127.0.0.1\nport=1\n");
    write(".postgresql/root.crt", "no certificate\n");
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["passwords::ambient_settings_have_no_effect", "--exact", "--nocapture"])
        .env(ROLE, server.address("shop"))
        .envs([
            ("PGHOST", "evil.example"),
            ("PGHOSTADDR", "192.0.2.1"),
            ("PGPORT", "1"),
            ("PGDATABASE", "evil"),
            ("PGUSER", "evil"),
            ("PGPASSWORD", "evil"),
            ("PGSERVICE", "evil"),
            ("PGOPTIONS", "-c evil=1"),
            ("PGSSLMODE", "verify-full"),
            ("PGREQUIRESSL", "1"),
            ("PGCLIENTENCODING", "LATIN1"),
            ("PGTARGETSESSIONATTRS", "standby"),
            ("LC_ALL", "fr_FR.UTF-8"),
            ("LANGUAGE", "fr"),
        ])
        .env("HOME", home.path())
        .env("PGPASSFILE", passfile)
        .env("PGSERVICEFILE", service)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
}
