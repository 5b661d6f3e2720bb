//! Replacing from within one transaction, where no second database can be made.

use std::io::Write;

use coffre_model::Code;
use coffre_model::database::DumpFormat;
use coffre_model::replace::{ReplaceWay, Standing};
use coffre_testkit::postgres::{Options, Postgres, Version};

use crate::common::{SHOP, Setup, shop_counts};
use crate::replace::{contents, databases};

/// A database of somebody who may make none.
fn database(server: &Postgres, name: &str) -> Setup {
    if server
        .sql("postgres", "SELECT 1 FROM pg_roles WHERE rolname = 'owner'")
        .is_empty()
    {
        server.create_role("owner", None);
    }
    server.create_database_named(name);
    server.sql("postgres", &format!("ALTER DATABASE {name} OWNER TO owner"));
    Setup::new(server.address_as("owner", name)).tool_path(server.version().bin())
}

#[test]
fn the_live_database_is_exactly_the_backup() {
    for version in Version::ALL {
        let server = Postgres::start(version, Options::default());
        for plain in [false, true] {
            let name = format!("shop_{plain}");
            let setup = database(&server, &name);
            let setup = if plain { setup.plain() } else { setup };
            // The others come without any extension but this language.
            let extension = if version == Version::V15 {
                "CREATE EXTENSION pg_trgm;"
            } else {
                ""
            };
            let comment = "COMMENT ON EXTENSION plpgsql IS 'mine'";
            server.sql(&name, &format!("{extension} {comment}; SET ROLE owner; {SHOP}"));
            let (bytes, _) = setup.dump().unwrap();
            let backup = contents(&server, &name);
            server.sql(
                &name,
                "SET ROLE owner; DELETE FROM orders WHERE id > 10; CREATE TABLE newer AS SELECT 1 AS x; DROP VIEW rich; CREATE SCHEMA another;
                 CREATE TABLE another.t (x int); SELECT lo_create(0); CREATE TYPE colour AS ENUM ('red'); CREATE DOMAIN small AS int;
                 CREATE FUNCTION f(colour) RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE AGGREGATE agg(int) (sfunc = int4pl, stype = int);
                 CREATE OPERATOR === (leftarg = int, rightarg = int, procedure = int4eq); CREATE COLLATION mine FROM \"C\"; CREATE PROCEDURE p() LANGUAGE sql AS '';
                 CREATE VIEW v1 AS SELECT 1 AS x; CREATE VIEW v2 AS SELECT * FROM v1; CREATE TEXT SEARCH CONFIGURATION words (COPY = simple);
                 ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC; ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
                 ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT INSERT ON TABLES TO PUBLIC; GRANT CREATE ON SCHEMA public TO PUBLIC; CREATE PUBLICATION pub",
            );
            let before = contents(&server, &name);
            let all = databases(&server);
            let mut work = setup.replacing();
            let look = work.replace.look().unwrap();
            assert!(look.refusals.is_empty(), "{:?}", look.refusals);
            assert_eq!(look.way, Some(ReplaceWay::Within));
            assert_eq!(look.remarks[0].text(), "pg_replace_within");
            // Taken back.
            let plan = work.loaded(setup.format(), &bytes).unwrap();
            assert_eq!(work.replace.counts(&plan).unwrap(), shop_counts());
            work.replace.discard(&plan).unwrap();
            assert_eq!(work.replace.recover(&plan).unwrap(), Standing::Before);
            assert_eq!(contents(&server, &name), before);
            // Failed in the middle.
            let mut plan = work.replace.plan(&coffre_model::Id::new()).unwrap();
            work.replace.prepare(&mut plan).unwrap();
            let half = &bytes[..bytes.len() / 2];
            work.load(&plan, setup.format(), half).unwrap_err();
            assert!(work.replace.counts(&plan).is_err());
            assert!(work.replace.swap(&mut plan).is_err());
            assert_eq!(work.replace.recover(&plan).unwrap(), Standing::Before);
            assert_eq!(contents(&server, &name), before);
            // Done.
            let mut work = setup.replacing();
            let plan = work.whole(setup.format(), &bytes).unwrap();
            assert_eq!(contents(&server, &name), backup, "{version:?}");
            assert!(work.replace.remarks().is_empty());
            assert_eq!(setup.replacing().replace.recover(&plan).unwrap(), Standing::After);
            assert_eq!(work.replace.undo(&plan).unwrap_err().code(), Code::Refused);
            work.replace.forget(&plan).unwrap();
            assert_eq!(databases(&server), all);
            assert!(server.is_rid_of("coffre"));
        }
    }
}

#[test]
fn schemas_of_somebody_else_stay_as_they_are() {
    let server = Postgres::start(Version::V15, Options::default());
    let setup = database(&server, "managed");
    server.sql(
        "managed",
        "CREATE SCHEMA auth; CREATE TABLE auth.users AS SELECT 1 AS id; GRANT USAGE ON SCHEMA auth TO owner; GRANT SELECT ON auth.users TO owner;
         CREATE SCHEMA extensions AUTHORIZATION owner; CREATE EXTENSION pg_trgm SCHEMA extensions; SET ROLE owner; CREATE TABLE mine AS SELECT 1 AS x; CREATE TABLE extensions.t ()",
    );
    let (bytes, _) = setup.dump().unwrap();
    let (plain, _) = setup.clone().plain().dump().unwrap();
    server.sql("managed", "INSERT INTO auth.users VALUES (2); UPDATE mine SET x = 2; DROP TABLE extensions.t; SET ROLE owner; CREATE TABLE extensions.u ()");
    let before = contents(&server, "managed");
    let mut work = setup.replacing();
    let plan = work.whole(DumpFormat::PgCustom, &bytes).unwrap();
    assert_eq!(
        server.sql("managed", "SELECT count(*) FROM auth.users; SELECT x FROM mine"),
        "2\n1"
    );
    assert_eq!(
        server.sql("managed", "SELECT tablename FROM pg_tables WHERE schemaname = 'extensions'"),
        "t"
    );
    let remarks: Vec<_> = work.replace.remarks();
    assert!(remarks.iter().any(|remark| remark.text() == "pg_replace_left"), "{remarks:?}");
    drop(plan);
    // SQL text cannot be read without them: nothing changes.
    server.sql(
        "managed",
        "UPDATE mine SET x = 2; DROP TABLE extensions.t; SET ROLE owner; CREATE TABLE extensions.u ()",
    );
    let mut work = setup.clone().plain().replacing();
    work.loaded(DumpFormat::Sql, &plain).unwrap_err();
    drop(work);
    assert_eq!(contents(&server, "managed"), before);
}

#[test]
fn a_lock_of_somebody_else_is_waited_for_no_longer_than_said() {
    let server = Postgres::start(Version::V15, Options::default());
    let mut setup = database(&server, "locked");
    server.sql("locked", "SET ROLE owner; CREATE TABLE t AS SELECT 1 AS x");
    let (bytes, _) = setup.dump().unwrap();
    let mut holder = server.client("psql", "locked");
    let mut holder = holder
        .args(["-X", "-q", "-f", "-"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    holder.stdin.as_mut().unwrap().write_all(b"BEGIN; LOCK TABLE t;\n").unwrap();
    while server.sql(
        "locked",
        "SELECT count(*) FROM pg_locks WHERE relation = 't'::regclass AND mode = 'AccessExclusiveLock'",
    ) == "0"
    {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    setup.lock_wait = std::time::Duration::from_millis(300);
    let mut work = setup.replacing();
    assert_eq!(
        work.loaded(DumpFormat::PgCustom, &bytes).unwrap_err().code(),
        Code::LockTimeout
    );
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert_eq!(server.sql("locked", "SELECT x FROM t"), "1");
}

#[test]
fn the_database_that_others_are_renamed_from_keeps_its_place() {
    let server = Postgres::start(Version::V15, Options::default());
    server.sql("postgres", "CREATE TABLE t AS SELECT 1 AS x");
    let setup = Setup::new(server.address("postgres"));
    let (bytes, _) = setup.dump().unwrap();
    let backup = contents(&server, "postgres");
    server.sql("postgres", "CREATE TABLE u AS SELECT 1 AS x");
    let mut work = setup.replacing();
    let plan = work.whole(DumpFormat::PgCustom, &bytes).unwrap();
    assert_eq!(plan.way, ReplaceWay::Within);
    assert_eq!(contents(&server, "postgres"), backup);
}

#[test]
fn who_may_not_write_is_told_before() {
    let server = Postgres::start(Version::V15, Options::default());
    server.create_role("reader", None);
    server.create_database_named("read");
    let mut work = Setup::new(server.address_as("reader", "read")).replacing();
    let look = work.replace.look().unwrap();
    assert_eq!(
        (look.refusals[0].code(), look.refusals[0].text()),
        (Code::Privilege, "pg_replace_privilege")
    );
    let mut absent = Setup::new(server.address_as("reader", "absent")).replacing();
    assert_eq!(absent.replace.look().unwrap().refusals[0].text(), "pg_create_privilege");
}
