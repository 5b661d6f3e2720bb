//! Classes "restore" and "crash" for live PostgreSQL data: exactly the backup, or exactly as before, whoever is connected and whenever
//! Coffre is killed; and what was there can be brought back.

use coffre_testkit::coffre::Coffre;
use coffre_testkit::invariants::Invariants;
use coffre_testkit::postgres::{Postgres, Version, quote_identifier, quote_literal};
use coffre_testkit::strace::{Injection, inject};
use serde_json::Value;

use crate::crm::{content, left_alone, protecting, small};
use crate::shop::{back_up, backups, text};

fn replacing(code: &str) -> Vec<&str> {
    vec!["--json", "restore", code, "--replace", "--yes", "--no-countdown"]
}

fn spoil(server: &Postgres, database: &str) {
    server.sql(
        database,
        "DELETE FROM customers WHERE id > 100; DROP TABLE IF EXISTS extra; CREATE TABLE extra(id int, created_at timestamptz);
         INSERT INTO extra VALUES (1, '2026-11-20 10:00:00+00'); ALTER TABLE orders ADD COLUMN IF NOT EXISTS note text",
    );
}

/// Databases of ours that lie beside others.
fn beside(server: &Postgres, database: &str) -> usize {
    // Other stories use the same server: only what carries a part of this database's name counts.
    let part: String = database.chars().take(12).collect();
    let sql = format!(
        "SELECT count(*) FROM pg_database WHERE datname LIKE 'coffre%' AND strpos(datname, {}) > 0",
        quote_literal(&part)
    );
    server.sql("postgres", &sql).parse().unwrap()
}

fn row<'a>(counts: &'a Value, table: &str) -> &'a Value {
    let found = counts.as_array().unwrap().iter().find(|c| c["table"] == table);
    found.unwrap_or_else(|| panic!("no {table} in {counts:#}"))
}

#[test]
fn live_data_is_previewed_replaced_and_brought_back() {
    for version in [Version::V15, Version::V18] {
        let server = Postgres::shared(version);
        let database = small(server);
        let name = quote_identifier(&database);
        server.sql(
            &database,
            &format!("COMMENT ON DATABASE {name} IS 'the shop'; ALTER DATABASE {name} SET work_mem = '7MB'; ALTER DATABASE {name} CONNECTION LIMIT 55"),
        );
        let about = |database: &str| {
            let sql = format!(
                "SELECT shobj_description(d.oid, 'pg_database'), d.datconnlimit, d.datdba::regrole, d.datacl, d.datallowconn,
                        (SELECT array_agg(setconfig) FROM pg_db_role_setting WHERE setdatabase = d.oid)
                   FROM pg_database d WHERE datname = {}",
                quote_literal(database)
            );
            server.sql("postgres", &sql)
        };
        let coffre = protecting(&server.address(&database), None);
        coffre.ok(["source", "edit", "crm", "--tool-path", version.bin().to_str().unwrap()]);
        let made = back_up(&coffre, "crm");
        let good = (content(server, &database), about(&database));
        spoil(server, &database);
        let spoilt = content(server, &database);

        let seen = coffre.json(["restore", text(&made, "code"), "--replace", "--dry-run"]);
        let impact = &seen["impact"];
        let customers = row(&impact["counts"], "public.customers");
        assert_eq!(
            (&customers["before"], &customers["backup"]),
            (&100.into(), &500.into()),
            "{impact:#}"
        );
        assert_eq!(impact["vanish"], serde_json::json!(["public.extra"]), "{impact:#}");
        assert_eq!(impact["way"], "swap", "{impact:#}");
        assert!(impact["schema"].to_string().contains("note"), "{impact:#}");
        assert!(impact["newest"].to_string().contains("2026-11-20"), "{impact:#}");
        assert_eq!(content(server, &database), spoilt);
        assert_eq!(beside(server, &database), 0);

        let done = coffre.json(&replacing(text(&made, "code"))[1..]);
        let restore = &done["restore"];
        assert_eq!(text(restore, "state"), "done", "{done:#}");
        assert_eq!((content(server, &database), about(&database)), good);
        assert!(
            restore["kept_until"].is_string() && restore["kept_bytes"].as_u64() > Some(0),
            "{restore:#}"
        );
        assert_eq!(beside(server, &database), 1);

        server.sql(&database, "CREATE TABLE written_since AS SELECT 1 AS x");
        let undone = coffre.json(["undo", text(restore, "id")]);
        assert_eq!(text(&undone["restore"], "state"), "undone");
        assert_eq!(content(server, &database), spoilt);
        coffre.fails(["undo", text(restore, "id")], "REFUSED", 4);
        // What was written since is not destroyed by the undo either; it leaves when it is told to.
        assert_eq!(beside(server, &database), 1);
        coffre.ok(["undo", text(restore, "id"), "--forget"]);
        assert_eq!(beside(server, &database), 0);
        assert_eq!(content(server, &database), spoilt);
        assert!(left_alone(server, &database));
        Invariants::of(&coffre).assert();
    }
}

#[test]
fn a_role_that_may_make_no_database_replaces_within_one_transaction() {
    let server = Postgres::shared(Version::V15);
    let role = format!("tenant{}", server.create_database());
    server.create_role(&role, Some("Zug-um-Zug 41"));
    let database = server.create_database();
    let name = quote_identifier(&database);
    server.sql(
        "postgres",
        &format!("ALTER DATABASE {name} OWNER TO {}", quote_identifier(&role)),
    );
    let script = format!("SET ROLE {}; {}", quote_identifier(&role), crate::crm::SMALL);
    server.sql(&database, &script);
    let coffre = protecting(&server.address_as(&role, &database), Some("Zug-um-Zug 41"));
    let made = back_up(&coffre, "crm");
    let good = content(server, &database);
    let owned = |sql: &str| server.sql(&database, &format!("SET ROLE {}; {sql}", quote_identifier(&role)));
    owned("DELETE FROM customers WHERE id > 100; CREATE TABLE extra(id int); CREATE VIEW seen AS SELECT * FROM orders");
    let spoilt = content(server, &database);
    let seen = coffre.json(["restore", text(&made, "code"), "--replace", "--dry-run"]);
    assert_eq!(seen["impact"]["way"], "within", "{seen:#}");
    let done = coffre.json(&replacing(text(&made, "code"))[1..]);
    assert_eq!(content(server, &database), good, "{done:#}");
    assert_eq!(
        server.sql(&database, "SELECT count(*) FROM pg_views WHERE viewname = 'seen'"),
        "0"
    );
    let undone = coffre.json(["undo", text(&done["restore"], "id")]);
    assert_eq!(text(&undone["restore"], "state"), "undone", "{undone:#}");
    assert_eq!(content(server, &database), spoilt);
    Invariants::of(&coffre).secret("Zug-um-Zug 41").assert();
}

/// A managed server: schemas that belong to somebody else, with tables that change on their own.
#[test]
fn schemas_of_somebody_else_stay_as_they_are() {
    let server = Postgres::shared(Version::V15);
    let role = format!("tenant{}", server.create_database());
    server.create_role(&role, Some("Zug-um-Zug 41"));
    let database = server.create_database();
    let (name, tenant) = (quote_identifier(&database), quote_identifier(&role));
    server.sql("postgres", &format!("GRANT CREATE, CONNECT ON DATABASE {name} TO {tenant}"));
    server.sql(
        &database,
        &format!(
            "CREATE SCHEMA auth; CREATE TABLE auth.users AS SELECT g AS id FROM generate_series(1, 7) g;
             GRANT USAGE ON SCHEMA auth TO {tenant}; GRANT SELECT ON auth.users TO {tenant};
             CREATE SCHEMA shop AUTHORIZATION {tenant}; SET ROLE {tenant};
             CREATE TABLE shop.orders AS SELECT g AS id FROM generate_series(1, 50) g"
        ),
    );
    let coffre = protecting(&server.address_as(&role, &database), Some("Zug-um-Zug 41"));
    let made = back_up(&coffre, "crm");
    server.sql(
        &database,
        "INSERT INTO auth.users VALUES (8), (9); DELETE FROM shop.orders WHERE id > 5; CREATE TABLE shop.extra(x int)",
    );
    server.sql(&database, &format!("ALTER TABLE shop.extra OWNER TO {tenant}"));
    let done = coffre.json(&replacing(text(&made, "code"))[1..]);
    assert_eq!(text(&done["restore"], "state"), "done", "{done:#}");
    assert_eq!(server.sql(&database, "SELECT count(*) FROM shop.orders"), "50");
    assert_eq!(
        server.sql(&database, "SELECT count(*) FROM auth.users"),
        "9",
        "not ours, and not touched"
    );
    assert_eq!(server.sql(&database, "SELECT to_regclass('shop.extra') IS NULL"), "t");
    assert!(done["restore"]["remarks"].to_string().contains("auth"), "{done:#}");
}

#[test]
fn whoever_is_connected_is_ended_and_can_come_back() {
    let server = Postgres::shared(Version::V15);
    let database = small(server);
    let coffre = protecting(&server.address(&database), None);
    let made = back_up(&coffre, "crm");
    let good = content(server, &database);
    spoil(server, &database);
    // One in an open transaction that never ends by itself, one that does nothing.
    let mut sessions: Vec<_> = [
        "BEGIN; UPDATE customers SET name = 'never'; SELECT pg_sleep(600)",
        "SELECT pg_sleep(600)",
    ]
    .into_iter()
    .map(|sql| server.client("psql", &database).args(["-c", sql]).spawn().unwrap())
    .collect();
    let there = || {
        server.sql(
            "postgres",
            &format!(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = {} AND query LIKE '%pg_sleep%'",
                quote_literal(&database)
            ),
        )
    };
    assert!(coffre_testkit::wait_until(std::time::Duration::from_secs(20), || there() == "2"));
    let seen = coffre.json(["restore", text(&made, "code"), "--replace", "--dry-run"]);
    assert_eq!(seen["impact"]["sessions"].as_array().map(Vec::len), Some(2), "{seen:#}");
    let done = coffre.run(replacing(text(&made, "code")));
    assert_eq!(done.status, Some(0), "{done}");
    for session in &mut sessions {
        assert!(!session.wait().unwrap().success(), "its server ended it");
    }
    assert_eq!(content(server, &database), good);
    assert!(left_alone(server, &database));
}

/// Kills at the first, second, … commit of the catalogue: once at each step's beginning and end.
#[test]
fn killed_at_every_step_it_is_before_or_after() {
    let server = Postgres::shared(Version::V15);
    let database = small(server);
    let mut coffre = protecting(&server.address(&database), None);
    back_up(&coffre, "crm");
    let good = content(server, &database);
    let (mut before, mut after) = (0, 0);
    for when in (1..).step_by(2) {
        spoil(server, &database);
        let spoilt = content(server, &database);
        let first = backups(&coffre).pop().unwrap();
        coffre.under(inject("fsync,fdatasync", Injection::KillBefore, &when.to_string()));
        let outcome = coffre.run(replacing(text(&first, "code")));
        coffre.under(Vec::new());
        let what = format!("killed before the {when}. sync: {outcome}");
        coffre.ok(["list"]);
        let now = content(server, &database);
        assert!(now == good || now == spoilt, "a mix: {what}");
        let kept = kept(&coffre);
        assert_eq!(beside(server, &database), kept.len(), "{what}");
        let wrong = Invariants::of(&coffre).violations();
        assert!(wrong.is_empty(), "{what}:\n{}", wrong.join("\n"));
        for id in kept {
            coffre.ok(["undo", &id, "--forget"]);
        }
        if outcome.status == Some(0) {
            break;
        }
        if now == good {
            after += 1
        } else {
            before += 1
        }
        assert!(when < 500, "it never comes through");
    }
    assert!(before >= 5, "{before} before, {after} after");
    assert_eq!(beside(server, &database), 0);
}

fn kept(coffre: &Coffre) -> Vec<String> {
    let kept = coffre.json(["undo"]);
    let list = kept["restores"].as_array().unwrap();
    list.iter().map(|r| text(r, "id").to_owned()).collect()
}
