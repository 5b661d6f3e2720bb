//! Classes "secrets" and "injection" for PostgreSQL: a name is a name, a password is nowhere, and the surroundings have no say.

use std::os::unix::fs::PermissionsExt;

use coffre_testkit::coffre::Coffre;
use coffre_testkit::invariants::Invariants;
use coffre_testkit::postgres::{Options, Postgres, Version};
use coffre_testkit::tools::{Behaviour, FakeTools};

use crate::crm::{SMALL, add, content, fails, protecting, small};
use crate::program;
use crate::shop::{back_up, text};

#[test]
fn databases_and_tables_with_odd_names() {
    let server = Postgres::shared(Version::V15);
    let coffre = Coffre::new(program());
    for (at, name) in [
        "host=evil",
        "-f pwned",
        "new\nline",
        "a'b\\c \"d\" %41",
        "$(touch pwned) `touch pwned`; --",
        "été \u{202e}🎉",
    ]
    .into_iter()
    .enumerate()
    {
        server.create_database_named(name);
        let quoted = name.replace('"', "\"\"");
        server.sql(
            name,
            &format!("CREATE SCHEMA \"{quoted}\"; CREATE TABLE \"{quoted}\".\"{quoted}\" AS SELECT g AS \"{quoted}\" FROM generate_series(1, 30) g"),
        );
        let source = format!("s{at}");
        coffre.ok(["source", "add", &server.address(name), "--name", &source]);
        if at % 2 == 1 {
            coffre.ok(["source", "edit", &source, "--format", "plain"]);
        }
        let made = back_up(&coffre, &source);
        assert_eq!(made["rows"].as_u64(), Some(30));
        let into = format!("{name}+");
        let answer = coffre.json(["restore", "latest", "--source", &source, "--into", &server.address(&into)]);
        assert_eq!(answer["restore"]["counts"][0]["after"].as_u64(), Some(30), "{answer:#}");
        assert_eq!(content(server, &into), content(server, name), "{name:?}");
        server.drop_database(&into);
    }
    for folder in [coffre.folder().to_owned(), coffre.home(), coffre.work("")] {
        assert!(!folder.join("pwned").exists());
    }
    Invariants::of(&coffre).assert();
}

/// A server that asks everybody for a password, with a database that everybody may read.
fn guarded() -> Postgres {
    let server = Postgres::start(Version::V15, Options::default().password("the superuser's own"));
    server.create_database_named("shop");
    server.sql(
        "shop",
        &format!("{SMALL}; GRANT SELECT ON ALL TABLES IN SCHEMA public TO PUBLIC"),
    );
    server
}

#[test]
fn passwords_with_every_odd_character() {
    let server = guarded();
    let mut coffre = Coffre::new(program());
    coffre.set("COFFRE_LOG", "trace");
    let long = "x9".repeat(512);
    let mut invariants = Invariants::of(&coffre);
    let passwords = [
        "open: \\ ' \" $ # % @ / & sesame",
        " between spaces ",
        "-leading-dash",
        "été 🗝 *:*:*",
        "two\nlines of it",
        long.as_str(),
    ];
    let tools = FakeTools::new();
    tools.put(&Version::V15.tool("pg_dump"), &Behaviour::Real);
    for (at, password) in passwords.into_iter().enumerate() {
        let (role, source) = (format!("role{at}"), format!("s{at}"));
        server.create_role(&role, Some(password));
        let address = server.address_as(&role, "shop");
        if at % 2 == 0 {
            add(&coffre, &source, &address, Some(password));
        } else {
            coffre.set("THE_PASSWORD", password);
            coffre.ok(["source", "add", &address, "--name", &source, "--password-env", "THE_PASSWORD"]);
            coffre.unset("THE_PASSWORD");
        }
        coffre.ok(["source", "edit", &source, "--tool-path", tools.folder().to_str().unwrap()]);
        let outcome = coffre.ok(["--json", "backup", "--source", &source]);
        assert_eq!(outcome.json()["backup"]["rows"].as_u64(), Some(1200), "{outcome}");
        let shown = coffre.ok(["--json", "source", "show", &source]);
        invariants = invariants.secret(password).said(&outcome).said(&shown);
    }
    for call in tools.calls("pg_dump") {
        for password in passwords {
            assert!(!call.arguments.join("\0").contains(password));
            // Only what a password file cannot carry goes by the tool's environment.
            assert!(password.contains('\n') || !call.environment.join("\0").contains(password));
        }
    }
    // A password that is wrong now, and one that was never given.
    server.sql("shop", "ALTER ROLE role0 PASSWORD 'another'");
    let changed = coffre.fails(["backup", "--source", "s0"], "AUTH_FAILED", 1);
    add(&coffre, "none", &server.address_as("role1", "shop"), None);
    let none = coffre.fails(["backup", "--source", "none"], "AUTH_FAILED", 1);
    for outcome in [&changed, &none] {
        let error = outcome.json()["error"].clone();
        assert!(text(&error, "hint").len() > 10, "{outcome}");
        invariants = invariants.said(outcome);
    }
    assert!(text(&changed.json()["error"], "message").contains("role0"), "{changed}");
    // The same words in a restore's target.
    let refused = coffre.run_with_input(
        [
            "--json",
            "restore",
            "latest",
            "--source",
            "s1",
            "--into",
            &server.address("never"),
            "--password-stdin",
        ],
        b"a wrong guess",
    );
    assert_eq!(
        (refused.error_code().as_str(), refused.status),
        ("AUTH_FAILED", Some(1)),
        "{refused}"
    );
    assert!(!server.has_database("never"));
    invariants.said(&refused).secret("a wrong guess").server(&server).assert();
}

#[test]
fn the_surroundings_have_no_say() {
    let server = guarded();
    let mut coffre = protecting(&server.address("shop"), server.password());
    let other = Postgres::shared(Version::V15);
    let elsewhere = small(other);
    let home = coffre.folder().join("user");
    let private = |name: &str, words: &str| {
        let path = home.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, words).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    let right = format!("*:*:*:*:{}\n", server.password().unwrap());
    let passfile = private(".pgpass", &right);
    let service = private(
        ".pg_service.conf",
        &format!("[evil]\nhost=127.0.0.1\nport={}\ndbname={elsewhere}\n", other.port()),
    );
    private(".postgresql/root.crt", "no certificate\n");
    private(".psqlrc", "\\! touch pwned\n");
    for (name, value) in [
        ("PGHOST", "evil.example"),
        ("PGHOSTADDR", "192.0.2.1"),
        ("PGPORT", "1"),
        ("PGDATABASE", &elsewhere),
        ("PGUSER", "evil"),
        ("PGSERVICE", "evil"),
        ("PGOPTIONS", "-c default_transaction_read_only=on -c evil=1"),
        ("PGSSLMODE", "verify-full"),
        ("PGCLIENTENCODING", "LATIN1"),
        ("PGTARGETSESSIONATTRS", "standby"),
        ("PGPASSFILE", passfile.to_str().unwrap()),
        ("PGSERVICEFILE", service.to_str().unwrap()),
    ] {
        coffre.set(name, value);
    }
    coffre.set("PGPASSWORD", "not it");
    let made = back_up(&coffre, "crm");
    assert_eq!(made["rows"].as_u64(), Some(1200));
    let line = [
        "restore",
        "latest",
        "--source",
        "crm",
        "--into",
        &server.address("back"),
        "--password-stdin",
    ];
    let restored = coffre.run_with_input(line, server.password().unwrap().as_bytes());
    assert_eq!(restored.status, Some(0), "{restored}");
    assert_eq!(content(&server, "back"), content(&server, "shop"));
    // What was not given to Coffre is not taken from there either.
    coffre.set("PGPASSWORD", server.password().unwrap());
    add(&coffre, "without", &server.address("shop"), None);
    coffre.fails(["backup", "--source", "without"], "AUTH_FAILED", 1);
    coffre.ok(["source", "remove", "crm"]);
    add(&coffre, "crm", &server.address("shop"), Some("wrong"));
    let wrong = fails(&coffre, "AUTH_FAILED");
    assert!(text(&wrong, "message").contains("postgres"), "{wrong:#}");
    Invariants::of(&coffre)
        .server(&server)
        .secret(server.password().unwrap())
        .assert();
}
