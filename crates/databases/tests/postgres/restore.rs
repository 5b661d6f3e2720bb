//! Restores into new and empty places.

use coffre_model::Code;
use coffre_model::database::DumpFormat;
use coffre_testkit::postgres::{Options, Postgres, Version};
use coffre_testkit::tools::{Behaviour, FakeTools};

use crate::common::{SHOP, Setup, shop_counts};

fn shop(server: &Postgres, setup: impl Fn(Setup) -> Setup) -> (Vec<u8>, DumpFormat) {
    let name = server.create_database();
    server.sql(&name, SHOP);
    let setup = setup(Setup::new(server.address(&name)));
    (setup.dump().unwrap().0, setup.format())
}

fn fresh(server: &Postgres) -> String {
    let name = server.create_database();
    server.drop_database(&name);
    name
}

#[test]
fn a_target_with_anything_in_it_is_refused_by_name() {
    let server = Postgres::shared(Version::V15);
    for (sql, named) in [
        ("CREATE TABLE \"My Table\" (x int)", "table \"My Table\""),
        // It depends on itself: its key on its own column.
        ("CREATE TABLE p (x int) PARTITION BY RANGE (x)", "table p"),
        ("CREATE TABLE i (x int GENERATED ALWAYS AS IDENTITY)", "table i"),
        ("CREATE VIEW v AS SELECT 1", "view v"),
        ("CREATE SEQUENCE s", "sequence s"),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "function f()"),
        ("CREATE TYPE mood AS ENUM ('x')", "type mood"),
        ("CREATE DOMAIN d AS int", "type d"),
        ("CREATE SCHEMA other", "schema other"),
        ("SELECT lo_create(4711)", "large object 4711"),
        ("CREATE FOREIGN DATA WRAPPER w", "foreign-data wrapper w"),
        ("CREATE PUBLICATION p", "publication p"),
    ] {
        let name = server.create_database();
        server.sql(&name, sql);
        let mut work = Setup::new(server.address(&name)).open();
        let error = work.database.prepare_target().unwrap_err();
        assert_eq!(
            (error.code(), error.text()),
            (Code::Refused, "pg_target_not_empty"),
            "{sql}: {error}"
        );
        let objects = error.detail("objects").unwrap().replace("public.", "");
        assert!(objects.contains(named), "{sql}: {objects}");
        work.database.discard_target().unwrap();
        assert!(server.has_database(&name));
    }
}

/// What lies in a template comes with every database that is made later.
#[test]
fn a_template_is_no_target() {
    let server = Postgres::start(Version::V15, Options::default());
    let own = server.create_database();
    server.sql("postgres", &format!("ALTER DATABASE {own} IS_TEMPLATE true"));
    for name in ["template1", own.as_str()] {
        let mut work = Setup::new(server.address(name)).open();
        for error in [
            work.database.look_at_target().unwrap_err(),
            work.database.prepare_target().unwrap_err(),
        ] {
            assert_eq!((error.code(), error.text()), (Code::Refused, "pg_replace_template"), "{name}");
        }
        work.database.discard_target().unwrap();
    }
}

#[test]
fn an_empty_database_is_filled_and_emptied_again() {
    let server = Postgres::shared(Version::V15);
    let (bytes, format) = shop(server, |setup| setup);
    let name = server.create_database();
    server.sql(&name, "CREATE EXTENSION pg_trgm");
    let state = "SELECT classid::regclass, objid, deptype FROM pg_depend WHERE objid >= 16384 ORDER BY 1, 2, 3";
    let before = server.sql(&name, state);
    let mut work = Setup::new(server.address(&name)).restore(format, &bytes).unwrap();
    assert_eq!(work.database.counts().unwrap(), shop_counts());
    assert_ne!(server.sql(&name, state), before);
    work.database.discard_target().unwrap();
    assert_eq!(server.sql(&name, state), before);
    assert_eq!(server.sql(&name, "SELECT count(*) FROM pg_largeobject_metadata"), "0");
    // Once settled, it is nobody's to take back.
    let mut work = Setup::new(server.address(&name)).restore(format, &bytes).unwrap();
    work.database.settle_target().unwrap();
    work.database.discard_target().unwrap();
    assert_eq!(work.database.counts().unwrap(), shop_counts());
}

#[test]
fn what_somebody_else_made_meanwhile_is_not_taken_back() {
    let server = Postgres::shared(Version::V15);
    let (bytes, format) = shop(server, |setup| setup);
    let name = server.create_database();
    let mut work = Setup::new(server.address(&name)).restore(format, &bytes).unwrap();
    server.sql(&name, "CREATE TABLE mine AS SELECT 1 AS x");
    let error = work.database.discard_target().unwrap_err();
    assert_eq!((error.code(), error.text()), (Code::Refused, "pg_target_changed"));
    assert_eq!(server.sql(&name, "SELECT count(*) FROM mine"), "1");
    assert_eq!(server.sql(&name, "SELECT count(*) FROM orders"), "5000");
}

#[test]
fn owners_and_privileges_come_back_where_their_roles_are() {
    let server = Postgres::shared(Version::V15);
    let name = server.create_database();
    server.sql(
        &name,
        "CREATE ROLE owner_here; CREATE TABLE t (x int); ALTER TABLE t OWNER TO owner_here; GRANT SELECT ON t TO PUBLIC",
    );
    let setup = Setup::new(server.address(&name));
    let (bytes, _) = setup.dump().unwrap();
    let target = fresh(server);
    let mut work = Setup::new(server.address(&target)).restore(setup.format(), &bytes).unwrap();
    assert!(work.database.remarks().is_empty());
    let owner = "SELECT tableowner, has_table_privilege('public', 't', 'SELECT') FROM pg_tables WHERE tablename = 't'";
    assert_eq!(server.sql(&target, owner), "owner_here|t");
    work.database.discard_target().unwrap();
}

#[test]
fn a_fresh_server_without_the_roles_takes_everything_else_and_says_so() {
    let server = Postgres::shared(Version::V15);
    let other = Postgres::start(Version::V15, Options::default());
    let name = server.create_database();
    server.sql(
        &name,
        "CREATE ROLE only_here; CREATE ROLE granted_here; CREATE TABLE t AS SELECT 1 AS x;
         ALTER TABLE t OWNER TO only_here; GRANT SELECT ON t TO granted_here",
    );
    let setup = Setup::new(server.address(&name));
    let (bytes, facts) = setup.dump().unwrap();
    let mut work = Setup::new(other.address("copy")).restore(setup.format(), &bytes).unwrap();
    assert_eq!(work.database.counts().unwrap(), facts.counts);
    let remarks = work.database.remarks();
    assert_eq!(remarks.len(), 1);
    assert_eq!(remarks[0].text(), "pg_restored_without_owners");
    assert_eq!(remarks[0].detail("roles").unwrap(), "granted_here, only_here");
    assert!(work.database.remarks().is_empty(), "told once");
    assert_eq!(
        other.sql("copy", "SELECT tableowner FROM pg_tables WHERE tablename = 't'"),
        "postgres"
    );
    assert!(other.is_rid_of("coffre"));
}

#[test]
fn an_ordinary_user_can_restore() {
    let server = Postgres::shared(Version::V15);
    let name = server.create_database();
    server.sql(
        &name,
        "CREATE EXTENSION pg_trgm; COMMENT ON EXTENSION pg_trgm IS 'words'; COMMENT ON EXTENSION plpgsql IS 'mine';
         CREATE TABLE t AS SELECT 1 AS x",
    );
    let setup = Setup::new(server.address(&name));
    let (bytes, facts) = setup.dump().unwrap();
    server.create_role("ordinary", None);
    let target = fresh(server);
    let mut work = Setup::new(server.address_as("ordinary", &target)).open();
    let looked = work.database.look_at_target().unwrap_err();
    let error = work.database.prepare_target().unwrap_err();
    assert_eq!((error.code(), error.text()), (Code::Privilege, "pg_create_privilege"));
    assert_eq!(looked, error, "a look says the same before");
    work.database.discard_target().unwrap();
    server.sql("postgres", "ALTER ROLE ordinary CREATEDB");
    let look = work.database.look_at_target().unwrap().unwrap();
    assert_eq!(
        (look.exists, look.server_version),
        (false, Some(Version::V15.number().to_owned()))
    );
    assert!(!server.has_database(&target), "and makes nothing");
    let mut work = Setup::new(server.address_as("ordinary", &target))
        .restore(setup.format(), &bytes)
        .unwrap();
    assert_eq!(work.database.counts().unwrap(), facts.counts);
    let remarks = work.database.remarks();
    assert_eq!(remarks[0].text(), "pg_restored_without_owners");
    assert!(work.private_files().is_empty());
    work.database.discard_target().unwrap();
    assert!(!server.has_database(&target));
    server.sql("postgres", "ALTER ROLE ordinary NOCREATEDB");
}

#[test]
fn archives_go_between_versions() {
    for (from, tool, to) in [
        (Version::V16, Version::V16, Version::V18),
        (Version::V16, Version::V18, Version::V18),
        (Version::V18, Version::V18, Version::V16),
        // A tool newer than the server makes archives that the server's own programs cannot read.
        (Version::V15, Version::V18, Version::V15),
        (Version::V15, Version::V16, Version::V15),
        (Version::V16, Version::V18, Version::V16),
    ] {
        let server = Postgres::shared(from);
        let (bytes, format) = shop(server, |setup| setup.tool_path(tool.bin()));
        let target = Postgres::shared(to);
        let name = fresh(target);
        let mut setup = Setup::new(target.address(&name));
        setup.tool_paths = vec![Version::V16.bin(), Version::V18.bin()];
        let mut work = setup
            .restore(format, &bytes)
            .unwrap_or_else(|e| panic!("{from:?} by {tool:?} into {to:?}: {e}"));
        assert_eq!(work.database.counts().unwrap(), shop_counts());
        assert_eq!(target.sql(&name, "SELECT count(*) FROM pg_largeobject_metadata"), "1");
        work.database.discard_target().unwrap();
    }
}

#[test]
fn an_archive_that_no_program_reads_says_which_one_is_needed() {
    let server = Postgres::shared(Version::V16);
    let (bytes, format) = shop(server, |setup| setup.tool_path(Version::V18.bin()));
    let name = fresh(server);
    let error = Setup::new(server.address(&name))
        .tool_path(Version::V16.bin())
        .restore(format, &bytes)
        .err()
        .unwrap();
    assert_eq!(error.code(), Code::ToolTooOld);
    assert_eq!(error.detail("needed").unwrap(), "17");
    assert!(!server.has_database(&name));
}

#[test]
fn a_tool_that_misbehaves_never_makes_a_restore() {
    let server = Postgres::shared(Version::V15);
    let (bytes, format) = shop(server, |setup| setup);
    for (behaviour, code) in [
        (Behaviour::Nothing, Code::DumpFailed),
        (Behaviour::Complain("no room", 1), Code::DumpFailed),
        (Behaviour::Never, Code::Stalled),
        (Behaviour::ExitAfterFull(1), Code::DumpFailed),
    ] {
        let tools = FakeTools::new();
        tools.put(&Version::V15.tool("pg_restore"), &behaviour);
        let name = fresh(server);
        let error = Setup::new(server.address(&name))
            .tool_path(tools.folder())
            .stall(std::time::Duration::from_secs(1))
            .restore(format, &bytes)
            .err()
            .unwrap_or_else(|| panic!("{behaviour:?} passed"));
        assert_eq!(error.code(), code, "{behaviour:?}: {error}");
        assert!(!server.has_database(&name), "{behaviour:?}");
    }
}

#[test]
fn a_failure_in_the_midst_leaves_an_empty_database_empty() {
    let server = Postgres::shared(Version::V15);
    let name = server.create_database();
    // The constraint is not valid for what is there: the restore fails at its very end.
    server.sql(
        &name,
        "CREATE TABLE t AS SELECT g AS x FROM generate_series(1, 10) g; ALTER TABLE t ADD CHECK (x < 5) NOT VALID;
         CREATE FUNCTION boom(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN 1 / (CASE WHEN current_database() LIKE ''db%'' THEN 1 ELSE 0 END); END';
         CREATE INDEX late ON t (boom(x))",
    );
    for plain in [false, true] {
        let setup = Setup::new(server.address(&name));
        let setup = if plain { setup.plain() } else { setup };
        let (bytes, _) = setup.dump().unwrap();
        let target = format!("other_{plain}");
        server.create_database_named(&target);
        let error = Setup::new(server.address(&target))
            .restore(setup.format(), &bytes)
            .err()
            .unwrap();
        assert_eq!(error.code(), Code::DumpFailed, "{error}");
        assert!(
            error.to_string().contains("division by zero") || error.to_string().contains("check constraint"),
            "{error}"
        );
        assert_eq!(
            server.sql(
                &target,
                "SELECT count(*) FROM pg_class WHERE oid >= 16384 AND relnamespace = 'public'::regnamespace"
            ),
            "0"
        );
        server.drop_database(&target);
    }
}

#[test]
fn a_long_index_is_no_stall() {
    let server = Postgres::shared(Version::V15);
    let name = server.create_database();
    // Each row of the index takes a millisecond; nothing is written to the tool meanwhile.
    server.sql(
        &name,
        "CREATE TABLE t AS SELECT g AS x FROM generate_series(1, 10) g;
         CREATE FUNCTION slow(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM pg_catalog.pg_sleep(0.3); RETURN $1; END';
         CREATE INDEX late ON t (slow(x))",
    );
    let setup = Setup::new(server.address(&name));
    let (bytes, _) = setup.dump().unwrap();
    let target = fresh(server);
    let mut work = Setup::new(server.address(&target))
        .stall(std::time::Duration::from_secs(1))
        .restore(setup.format(), &bytes)
        .unwrap();
    work.database.discard_target().unwrap();
}
