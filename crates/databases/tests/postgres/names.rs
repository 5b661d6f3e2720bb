//! Names are data: whatever they look like, they come back unchanged, and nothing is read out of them.

use coffre_testkit::postgres::{Postgres, Version};

use crate::common::{Setup, count};

const ODD: &[&str] = &[
    "host=evil",
    "dbname=postgres host=evil",
    "postgres://evil/x",
    "a'b\\c \"d\"",
    "--help",
    "-f /tmp/x",
    "new\nline",
    "$(touch /tmp/coffre-was-here)",
    "`id`; DROP DATABASE postgres; --",
    "../../etc/passwd",
    "été \u{202e} 🎉",
    " ",
    "%s %n ? * |",
];

#[test]
fn databases_with_odd_names_go_round() {
    let server = Postgres::shared(Version::V15);
    for (at, name) in ODD.iter().enumerate() {
        server.create_database_named(name);
        server.sql(name, "CREATE TABLE t AS SELECT g FROM generate_series(1, 10) g");
        for plain in [false, true] {
            let setup = Setup::new(server.address(name));
            let setup = if plain { setup.plain() } else { setup };
            let (bytes, facts) = setup.dump().unwrap_or_else(|e| panic!("{name:?}: {e}"));
            assert_eq!(facts.counts, [count("public.t", 10)]);
            let target = format!("{name}{plain}");
            let target_setup = Setup::new(server.address(&target));
            let mut work = target_setup
                .restore(setup.format(), &bytes)
                .unwrap_or_else(|e| panic!("into {target:?}: {e}"));
            assert_eq!(work.database.counts().unwrap(), facts.counts);
            assert!(server.has_database(&target), "{target:?}");
            work.database.discard_target().unwrap();
            assert!(!server.has_database(&target), "{target:?}");
        }
        // Neither the name's parts nor anything else was made or removed.
        assert!(server.has_database("postgres"), "after {at}");
        server.drop_database(name);
    }
    assert!(!std::path::Path::new("/tmp/coffre-was-here").exists());
}

#[test]
fn users_with_odd_names_connect() {
    let server = Postgres::shared(Version::V15);
    let database = server.create_database();
    server.sql(&database, "CREATE TABLE t AS SELECT 1 AS x; GRANT SELECT ON t TO PUBLIC");
    for name in ["host=evil", "a'b\\c \"d\"", "--help", "new\nline", "postgres://x", "été:@/"] {
        server.create_role(name, None);
        let (_, facts) = Setup::new(server.address_as(name, &database))
            .dump()
            .unwrap_or_else(|e| panic!("{name:?}: {e}"));
        assert_eq!(facts.counts, [count("public.t", 1)]);
    }
}

#[test]
fn tables_with_odd_names_are_counted_and_chosen() {
    let server = Postgres::shared(Version::V15);
    let database = server.create_database();
    for (at, name) in ODD.iter().enumerate() {
        let quoted = coffre_testkit::postgres::quote_identifier(name);
        server.sql(
            &database,
            &format!("CREATE TABLE {quoted} AS SELECT g FROM generate_series(1, {at}) g"),
        );
    }
    server.sql(&database, "CREATE TABLE kept (x int)");
    let setup = Setup::new(server.address(&database));
    let (_, facts) = setup.dump().unwrap();
    assert_eq!(facts.counts.len(), ODD.len() + 1);
    let total: u64 = facts.counts.iter().map(|c| c.rows).sum();
    assert_eq!(total, (0..ODD.len() as u64).sum::<u64>());
    // Each of them left out by the name that the counts show.
    let mut setup = setup;
    setup.options.exclude = facts
        .counts
        .iter()
        .map(|c| c.table.clone())
        .filter(|table| table != "public.kept")
        .collect();
    let (_, facts) = setup.dump().unwrap();
    assert_eq!(facts.counts, [count("public.kept", 0)]);
    assert_eq!(facts.scope.excluded_tables.len(), ODD.len());
}

#[test]
fn a_name_that_the_server_would_cut_off_is_not_another_database() {
    let server = Postgres::shared(Version::V15);
    let short = "x".repeat(63);
    server.create_database_named(&short);
    let error = Setup::new(server.address(&format!("{short}y"))).dump().unwrap_err();
    assert_eq!((error.code().as_str(), error.text()), ("UNREACHABLE", "pg_name_long"));
    let error = Setup::new(server.address(&format!("{short}y")))
        .open()
        .database
        .prepare_target()
        .unwrap_err();
    assert_eq!(error.text(), "pg_name_long");
    server.drop_database(&short);
}
