//! Replacing a live database by a second one beside it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use coffre_model::replace::{ReplaceWay, Standing};
use coffre_model::{Code, Id};
use coffre_testkit::postgres::{Options, Postgres, Version, quote_identifier, quote_literal};

use crate::common::{SHOP, Setup, shop_counts};

/// What is in a database, as its own `pg_dump` writes it, without what differs from call to call.
pub(crate) fn contents(server: &Postgres, name: &str) -> String {
    let output = server.client("pg_dump", name).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let stays = |line: &&str| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict");
    text.lines().filter(stays).collect::<Vec<_>>().join("\n")
}

/// Everything about a database that no dump holds.
fn dress(server: &Postgres, name: &str) -> String {
    let locale = match server.version() {
        Version::V15 | Version::V16 => "datlocprovider, daticulocale",
        Version::V18 => "datlocprovider, datlocale",
    };
    server.sql(
        "postgres",
        &format!(
            "SELECT pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate, datctype, {locale}, datconnlimit, datallowconn, dattablespace,
                    datacl, shobj_description(oid, 'pg_database')
               FROM pg_database WHERE datname = {0};
             SELECT pg_get_userbyid(setrole), setconfig FROM pg_db_role_setting WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = {0}) ORDER BY 1",
            quote_literal(name)
        ),
    )
}

/// Every database of the server.
pub(crate) fn databases(server: &Postgres) -> String {
    server.sql("postgres", "SELECT datname, oid, datallowconn FROM pg_database ORDER BY 1")
}

/// With the programs of the server's own version.
pub(crate) fn setup(server: &Postgres, name: &str) -> Setup {
    Setup::new(server.address(name)).tool_path(server.version().bin())
}

/// A shop that was backed up and has changed since.
fn shop(server: &Postgres, name: &str, plain: bool) -> (Setup, Vec<u8>, String) {
    server.sql(name, SHOP);
    let setup = setup(server, name);
    let setup = if plain { setup.plain() } else { setup };
    let (bytes, _) = setup.dump().unwrap();
    let backup = contents(server, name);
    server.sql(
        name,
        "DELETE FROM orders WHERE id > 10; CREATE TABLE newer AS SELECT 1 AS x; ALTER TABLE customers ADD COLUMN more int;
         DROP VIEW rich; CREATE SCHEMA another; CREATE TABLE another.t (x int); SELECT lo_create(0)",
    );
    (setup, bytes, backup)
}

#[test]
fn the_live_database_is_exactly_the_backup_and_back() {
    for version in Version::ALL {
        for plain in [false, true] {
            let server = Postgres::start(version, Options::default());
            let name = server.create_database();
            let (setup, bytes, backup) = shop(&server, &name, plain);
            let before = contents(&server, &name);
            assert_ne!(before, backup);
            let mut work = setup.replacing();
            let look = work.replace.look().unwrap();
            assert!(look.exists && look.refusals.is_empty(), "{:?}", look.refusals);
            assert_eq!(look.way, Some(ReplaceWay::Swap));
            let all = databases(&server);
            let mut plan = work.loaded(setup.format(), &bytes).unwrap();
            assert_eq!(work.replace.counts(&plan).unwrap(), shop_counts());
            assert_eq!(contents(&server, &name), before, "untouched until the swap");
            work.replace.swap(&mut plan).unwrap();
            assert_eq!(contents(&server, &name), backup);
            assert!(work.replace.remarks().is_empty());
            let again = work.replace.look().unwrap();
            assert_ne!(again.identity, look.identity);
            assert!(work.replace.kept_bytes(&plan).unwrap().unwrap() > 1 << 20);
            // Nobody gets into what is kept.
            assert!(!server.psql(&plan.kept, "SELECT 1").ok());
            assert!(!work.replace.is_undone(&plan).unwrap());
            assert_eq!(setup.replacing().replace.recover(&plan).unwrap(), Standing::After);
            // Writes since are kept by the undo.
            server.sql(&name, "CREATE TABLE written_since AS SELECT 1 AS x");
            let since = contents(&server, &name);
            let began = Instant::now();
            let mut other = setup.replacing();
            other.replace.undo(&plan).unwrap();
            println!("{version:?}: undo in {:?}", began.elapsed());
            assert_eq!(contents(&server, &name), before);
            assert!(other.replace.is_undone(&plan).unwrap());
            other.replace.undo(&plan).unwrap();
            assert_eq!(other.replace.look().unwrap().identity, look.identity);
            assert!(other.replace.kept_bytes(&plan).unwrap().unwrap() > 1 << 20);
            server.sql(
                "postgres",
                &format!("ALTER DATABASE {} ALLOW_CONNECTIONS true", quote_identifier(&plan.scratch)),
            );
            assert_eq!(contents(&server, &plan.scratch), since);
            other.replace.forget(&plan).unwrap();
            other.replace.forget(&plan).unwrap();
            assert_eq!(databases(&server), all);
            assert!(server.is_rid_of("coffre"));
        }
    }
}

#[test]
fn what_belongs_to_the_database_itself_is_carried_over() {
    for version in Version::ALL {
        let server = Postgres::start(version, Options::default());
        server.sql(
            "postgres",
            "CREATE ROLE boss; CREATE ROLE \"app's\" LOGIN; CREATE ROLE reader; CREATE ROLE second",
        );
        let provider = match version {
            Version::V15 => "LOCALE_PROVIDER libc",
            Version::V16 => "ENCODING 'LATIN1'",
            Version::V18 => "ENCODING 'UTF8' LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'",
        };
        server.sql(
            "postgres",
            &format!("CREATE DATABASE fine TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C' {provider}"),
        );
        server.sql("fine", "CREATE TABLE t AS SELECT 1 AS x");
        let setup = setup(&server, "fine");
        let (bytes, _) = setup.dump().unwrap();
        server.sql(
            "postgres",
            r#"ALTER DATABASE fine OWNER TO boss; COMMENT ON DATABASE fine IS 'it''s a \ fine one'; ALTER DATABASE fine CONNECTION LIMIT 17;
               REVOKE ALL ON DATABASE fine FROM PUBLIC; GRANT CONNECT ON DATABASE fine TO "app's" WITH GRANT OPTION; GRANT CREATE, TEMP ON DATABASE fine TO reader;
               SET ROLE "app's"; GRANT CONNECT ON DATABASE fine TO second; RESET ROLE;
               ALTER DATABASE fine SET search_path TO "$user", 'Odd Name', public; ALTER DATABASE fine SET work_mem = '7MB'; ALTER DATABASE fine SET app.who = 'it''s; me';
               ALTER DATABASE fine SET default_transaction_read_only = on;
               ALTER ROLE "app's" IN DATABASE fine SET statement_timeout = '5s'; ALTER ROLE reader IN DATABASE fine SET "DateStyle" = 'German'"#,
        );
        let mut work = setup.replacing();
        let mut plan = work.loaded(setup.format(), &bytes).unwrap();
        server.sql("postgres", "GRANT CONNECT ON DATABASE fine TO reader; REVOKE TEMP ON DATABASE fine FROM reader; ALTER DATABASE fine SET geqo = off; COMMENT ON DATABASE fine IS 'changed meanwhile'");
        let before = dress(&server, "fine");
        work.replace.swap(&mut plan).unwrap();
        assert_eq!(dress(&server, "fine"), before);
        work.replace.undo(&plan).unwrap();
        assert_eq!(dress(&server, "fine"), before);
        work.replace.forget(&plan).unwrap();
    }
}

#[test]
fn whoever_is_connected_is_ended_and_comes_back_to_the_backup() {
    let server = Postgres::start(Version::V15, Options::default());
    let name = server.create_database();
    let (setup, bytes, backup) = shop(&server, &name, false);
    let mut sessions = Vec::new();
    for sql in [
        "SELECT pg_sleep(60);",
        "BEGIN; INSERT INTO orders (total) VALUES (1); SELECT pg_sleep(60);",
        "BEGIN; SELECT 1;\n\\! sleep 60\n",
        "SELECT 1;\n\\! sleep 60\n",
    ] {
        use std::io::Write;
        let mut child = server
            .client("psql", &name)
            .args(["-X", "-q", "-f", "-"])
            .env("PATH", "/bin:/usr/bin")
            .env("PGAPPNAME", "a shop")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(sql.as_bytes()).unwrap();
        sessions.push(child);
    }
    while server.sessions("a shop").len() < 4
        || server.sql(
            "postgres",
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'",
        ) != "1"
    {
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut work = setup.replacing();
    let look = work.replace.look().unwrap();
    let seen = look.sessions.unwrap();
    assert_eq!(seen.len(), 4);
    assert!(
        seen.iter()
            .all(|one| one.program == "a shop" && one.user.as_deref() == Some("postgres"))
    );
    assert_eq!(seen.iter().filter(|one| one.in_transaction).count(), 3);
    work.whole(setup.format(), &bytes).unwrap();
    assert_eq!(contents(&server, &name), backup);
    assert!(server.sessions("a shop").is_empty());
    for mut child in sessions {
        let _it_may_be_gone = child.kill();
        child.wait().unwrap();
    }
}

/// Asks all along, on a new connection after each refusal; answers the longest time without an answer, and what was seen, in order.
fn asking_all_along(server: &Postgres, name: &str, done: &Arc<AtomicBool>) -> std::thread::JoinHandle<(Duration, Vec<String>)> {
    let mut config = tokio_postgres::Config::new();
    config
        .host("127.0.0.1")
        .port(server.port())
        .user("postgres")
        .dbname(name)
        .application_name("all along");
    let done = done.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (mut longest, mut seen) = (Duration::ZERO, Vec::<String>::new());
        let mut last = Instant::now();
        runtime.block_on(async {
            while !done.load(Ordering::SeqCst) {
                let Ok((client, connection)) = config.connect(tokio_postgres::NoTls).await else {
                    continue;
                };
                let driver = tokio::spawn(connection);
                // Two tables in one statement: both of the one, or both of the other.
                let ask = "SELECT (SELECT string_agg(x::text, ',') FROM a) || ' ' || (SELECT string_agg(x::text, ',') FROM b)";
                while !done.load(Ordering::SeqCst) {
                    match client.simple_query(ask).await {
                        Ok(rows) => {
                            let said = rows.iter().find_map(|row| match row {
                                tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                                _ => None,
                            });
                            let said = said.unwrap_or_default();
                            if seen.last() != Some(&said) {
                                seen.push(said);
                            }
                            longest = longest.max(last.elapsed());
                            last = Instant::now();
                        }
                        Err(error) => {
                            // Ended, never answered wrongly.
                            let state = error.code().map(|code| code.code().to_owned());
                            assert!(matches!(state.as_deref(), None | Some("57P01" | "57P02")), "{error:?}");
                            break;
                        }
                    }
                }
                driver.abort();
            }
        });
        (longest, seen)
    })
}

#[test]
fn a_client_that_asks_all_along_sees_before_then_after() {
    for version in Version::ALL {
        let server = Postgres::start(version, Options::default().conf("autovacuum = on"));
        let name = server.create_database();
        server.sql(&name, "CREATE TABLE a AS SELECT 2 AS x; CREATE TABLE b AS SELECT 2 AS x; CREATE TABLE filling AS SELECT g, repeat('x', 100) FROM generate_series(1, 100000) g");
        let setup = setup(&server, &name);
        let (bytes, _) = setup.dump().unwrap();
        server.sql(&name, "UPDATE a SET x = 1; UPDATE b SET x = 1");
        for undo in [false, true, false] {
            let mut work = setup.replacing();
            let mut plan = work.loaded(setup.format(), &bytes).unwrap();
            let done = Arc::new(AtomicBool::new(false));
            let clients: Vec<_> = (0..3).map(|_| asking_all_along(&server, &name, &done)).collect();
            std::thread::sleep(Duration::from_millis(300));
            let began = Instant::now();
            work.replace.swap(&mut plan).unwrap();
            let took = began.elapsed();
            std::thread::sleep(Duration::from_millis(300));
            if undo {
                work.replace.undo(&plan).unwrap();
                std::thread::sleep(Duration::from_millis(300));
            }
            done.store(true, Ordering::SeqCst);
            for client in clients {
                let (longest, seen) = client.join().unwrap();
                println!("{version:?}: swap in {took:?}, longest time without an answer {longest:?}");
                let wanted: &[&str] = if undo { &["1 1", "2 2", "1 1"] } else { &["1 1", "2 2"] };
                assert_eq!(seen, wanted);
            }
            if !undo {
                work.replace.undo(&plan).unwrap();
            }
            work.replace.forget(&plan).unwrap();
        }
    }
}

#[test]
fn hostile_names_are_just_names() {
    let server = Postgres::start(Version::V15, Options::default());
    let long = "é".repeat(31) + "x";
    for name in [
        "host=evil",
        "dbname=postgres host=evil",
        "a'b\\c \"d\"",
        "--help",
        "new\nline",
        "$(touch /tmp/coffre-was-here) $moment$ $$",
        "\"; DROP DATABASE postgres; --",
        "été \u{202e} 🎉",
        " ",
        &long,
    ] {
        server.create_database_named(name);
        server.sql(name, "CREATE TABLE t AS SELECT 1 AS x");
        let setup = setup(&server, name);
        let (bytes, _) = setup.dump().unwrap();
        server.sql(name, "DROP TABLE t");
        let all = databases(&server);
        let mut work = setup.replacing();
        assert!(work.replace.look().unwrap().refusals.is_empty());
        let plan = work.whole(setup.format(), &bytes).unwrap_or_else(|e| panic!("{name:?}: {e}"));
        assert_eq!(server.sql(name, "SELECT x FROM t"), "1");
        work.replace.undo(&plan).unwrap();
        work.replace.forget(&plan).unwrap();
        assert_eq!(databases(&server), all, "{name:?}");
        server.drop_database(name);
    }
}

#[test]
fn a_database_that_is_gone_comes_back() {
    let server = Postgres::start(Version::V16, Options::default());
    let name = server.create_database();
    let (setup, bytes, backup) = shop(&server, &name, false);
    server.drop_database(&name);
    let all = databases(&server);
    let mut work = setup.replacing();
    let look = work.replace.look().unwrap();
    assert!(!look.exists && look.refusals.is_empty());
    assert_eq!(look.way, Some(ReplaceWay::Swap));
    let plan = work.loaded(setup.format(), &bytes).unwrap();
    assert!(!plan.existed && plan.kept.is_empty());
    assert_eq!(setup.replacing().replace.recover(&plan).unwrap(), Standing::Before);
    assert_eq!(databases(&server), all);
    let plan = work.whole(setup.format(), &bytes).unwrap();
    assert_eq!(contents(&server, &name), backup);
    assert_eq!(work.replace.kept_bytes(&plan).unwrap(), None);
    assert_eq!(work.replace.recover(&plan).unwrap(), Standing::After);
    work.replace.forget(&plan).unwrap();
    assert_eq!(contents(&server, &name), backup);
    work.replace.undo(&plan).unwrap();
    assert!(!server.has_database(&name));
    assert!(work.replace.is_undone(&plan).unwrap());
    work.replace.forget(&plan).unwrap();
    assert_eq!(databases(&server), all);
    // Somebody else was faster.
    let mut plan = work.loaded(setup.format(), &bytes).unwrap();
    server.create_database_named(&name);
    assert_eq!(work.replace.swap(&mut plan).unwrap_err().code(), Code::Refused);
    assert_eq!(work.replace.recover(&plan).unwrap(), Standing::Before);
}

#[test]
fn what_cannot_be_replaced_is_refused_before_anything_is_made() {
    let server = Postgres::start(
        Version::V15,
        Options::default()
            .conf("max_prepared_transactions = 5")
            .conf("wal_level = logical")
            .conf("max_wal_senders = 2"),
    );
    for (make, unmake, text) in [
        (
            "BEGIN; CREATE TABLE p (x int); PREPARE TRANSACTION 'left'",
            "ROLLBACK PREPARED 'left'",
            "pg_replace_prepared",
        ),
        (
            "SELECT pg_create_logical_replication_slot('mine', 'pgoutput')",
            "SELECT pg_drop_replication_slot('mine')",
            "pg_replace_slots",
        ),
        (
            "CREATE SUBSCRIPTION sub CONNECTION 'host=nowhere' PUBLICATION p WITH (connect = false)",
            "ALTER SUBSCRIPTION sub SET (slot_name = NONE); DROP SUBSCRIPTION sub",
            "pg_replace_subscriptions",
        ),
        (
            "UPDATE pg_database SET datistemplate = true WHERE datname = current_database()",
            "UPDATE pg_database SET datistemplate = false WHERE datname = current_database()",
            "pg_replace_template",
        ),
    ] {
        let name = server.create_database();
        server.sql(&name, make);
        let all = databases(&server);
        let mut work = setup(&server, &name).replacing();
        let look = work.replace.look().unwrap();
        assert_eq!(
            look.refusals.iter().map(coffre_model::Error::text).collect::<Vec<_>>(),
            [text]
        );
        assert_eq!(work.replace.plan(&Id::new()).unwrap_err().text(), text);
        assert_eq!(databases(&server), all);
        server.sql(&name, unmake);
        assert!(work.replace.look().unwrap().refusals.is_empty());
        work.replace.plan(&Id::new()).unwrap();
    }
    let mut template = Setup::new(server.address("template1")).replacing();
    assert_eq!(template.replace.look().unwrap().refusals[0].text(), "pg_replace_template");
}

#[test]
fn another_database_of_the_name_is_not_replaced_and_nothing_else_is_removed() {
    let server = Postgres::start(Version::V15, Options::default());
    let name = server.create_database();
    let (setup, bytes, _) = shop(&server, &name, false);
    let mut work = setup.replacing();
    let look = work.replace.look().unwrap();
    let mut plan = work.loaded(setup.format(), &bytes).unwrap();
    assert_eq!(plan.identity, look.identity);
    server.drop_database(&name);
    server.create_database_named(&name);
    assert_ne!(work.replace.plan(&Id::new()).unwrap().identity, look.identity);
    assert_eq!(work.replace.swap(&mut plan).unwrap_err().text(), "pg_replace_changed");
    // The swap was not: what was loaded for it goes, and what has the name now stays, whoever made it.
    let without_ours = |all: &str| -> Vec<String> {
        all.lines()
            .filter(|line| !line.contains(&plan.scratch))
            .map(str::to_owned)
            .collect()
    };
    let all = databases(&server);
    assert_eq!(work.replace.recover(&plan).unwrap(), Standing::Before);
    assert_eq!(work.replace.remarks(), []);
    assert_eq!(databases(&server).lines().collect::<Vec<_>>(), without_ours(&all));
    assert_ne!(databases(&server), all);
    // What was kept is gone: there is nothing to put back.
    let mut plan = work.whole(setup.format(), &bytes).unwrap();
    work.replace.forget(&plan).unwrap();
    assert_eq!(work.replace.undo(&plan).unwrap_err().text(), "pg_undo_gone");
    // What is live is not what the swap made live.
    plan = work.whole(setup.format(), &bytes).unwrap();
    server.sql("postgres", &format!("DROP DATABASE {name} WITH (FORCE)"));
    server.create_database_named(&name);
    let all = databases(&server);
    assert_eq!(work.replace.undo(&plan).unwrap_err().text(), "pg_replace_changed");
    assert_eq!(databases(&server), all);
}

/// Where nothing has the name any more, what is kept is all there is: it comes back by an undo, and is not removed by a forgetting.
#[test]
fn what_is_kept_comes_back_where_the_live_database_is_gone() {
    let server = Postgres::start(Version::V15, Options::default());
    let name = server.create_database();
    let (setup, bytes, _) = shop(&server, &name, false);
    let before = contents(&server, &name);
    let mut work = setup.replacing();
    let plan = work.whole(setup.format(), &bytes).unwrap();
    server.drop_database(&name);
    let all = databases(&server);
    let error = work.replace.forget(&plan).unwrap_err();
    assert_eq!((error.code(), error.text()), (Code::Refused, "pg_kept_alone"));
    assert_eq!(databases(&server), all);
    work.replace.undo(&plan).unwrap();
    assert_eq!(contents(&server, &name), before);
    assert!(work.replace.is_undone(&plan).unwrap());
    // Nothing is left to be kept, and nothing to be removed.
    assert_eq!(work.replace.kept_bytes(&plan).unwrap(), None);
    work.replace.forget(&plan).unwrap();
    assert_eq!(contents(&server, &name), before);
}

#[test]
fn an_ordinary_owner_replaces_his_database() {
    let server = Postgres::start(Version::V16, Options::default());
    server.create_role("owner", None);
    server.sql("postgres", "ALTER ROLE owner CREATEDB; CREATE ROLE friend LOGIN; GRANT friend TO owner; CREATE ROLE stranger LOGIN; CREATE DATABASE his OWNER owner");
    server.sql("his", "SET ROLE owner; CREATE TABLE t AS SELECT 1 AS x");
    let setup = Setup::new(server.address_as("owner", "his")).tool_path(Version::V16.bin());
    let (bytes, _) = setup.dump().unwrap();
    server.sql("his", "UPDATE t SET x = 2");
    let connect = |user: &str| {
        let mut psql = server.client("psql", "his");
        psql.env("PGUSER", user).args(["-X", "-q", "-c", "SELECT pg_sleep(60)"]);
        psql.stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    let connected = |count: &str| {
        while server.sql(
            "postgres",
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'",
        ) != count
        {
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let mut friend = connect("friend");
    connected("1");
    let mut work = setup.replacing();
    let look = work.replace.look().unwrap();
    assert!(look.refusals.is_empty() && look.remarks.is_empty());
    let plan = work.whole(setup.format(), &bytes).unwrap();
    friend.wait().unwrap();
    assert_eq!(server.sql("his", "SELECT x FROM t"), "1");
    work.replace.undo(&plan).unwrap();
    work.replace.forget(&plan).unwrap();
    // Whom he may not end, he cannot replace under their feet.
    let mut stranger = connect("stranger");
    connected("1");
    assert_eq!(work.replace.look().unwrap().remarks[0].text(), "pg_replace_sessions_foreign");
    let before = databases(&server);
    let mut plan = work.loaded(setup.format(), &bytes).unwrap();
    let error = work.replace.swap(&mut plan).unwrap_err();
    assert_eq!((error.code(), error.text()), (Code::Refused, "pg_replace_sessions_stay"));
    assert_eq!(work.replace.recover(&plan).unwrap(), Standing::Before);
    assert_eq!(databases(&server), before);
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    // What he could not carry over stays where it is.
    server.sql("postgres", "ALTER ROLE stranger IN DATABASE his SET work_mem = '7MB'");
    assert_eq!(work.replace.look().unwrap().way, Some(ReplaceWay::Within));
}

#[test]
fn shapes_of_live_data_and_of_a_backup_can_be_compared() {
    use coffre_databases::postgres::Postgres as Kind;
    use coffre_model::database::DatabaseKind;
    for version in Version::ALL {
        let server = Postgres::shared(version);
        let name = server.create_database();
        server.sql(&name, SHOP);
        let setup = setup(server, &name);
        let (bytes, _) = setup.dump().unwrap();
        let mut checker = Kind.checker(setup.format());
        for piece in bytes.chunks(1013) {
            checker.feed(piece).unwrap();
        }
        let backup = checker.finish().unwrap().shapes.unwrap();
        let mut work = setup.replacing();
        let live = |work: &mut crate::common::Replacing| work.replace.look().unwrap().shapes.unwrap();
        assert_eq!(live(&mut work), backup);
        let customers = backup.iter().find(|shape| shape.table == "public.customers").unwrap();
        let names: Vec<_> = customers.columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["id", "name", "mood", "notes", "customers_pkey"]);
        assert_eq!(
            customers.columns[0]
                .definition
                .replace(" CONSTRAINT customers_id_not_null", ""),
            "bigint NOT NULL DEFAULT nextval('public.customers_id_seq'::regclass)"
        );
        server.sql(&name, "ALTER TABLE customers ADD COLUMN more text DEFAULT 'x, y'; DROP TABLE empty; ALTER TABLE orders DROP CONSTRAINT orders_customer_fkey");
        let now = live(&mut work);
        let differing: Vec<_> = now
            .iter()
            .filter(|shape| !backup.contains(shape))
            .map(|shape| shape.table.as_str())
            .collect();
        assert_eq!(differing, ["public.customers", "public.orders"]);
        assert_eq!(now.len() + 1, backup.len());
        // The newest moments too.
        let newest = work.replace.look().unwrap().newest;
        let orders = newest.iter().find(|one| one.table == "public.orders").unwrap();
        assert_eq!(
            (orders.column.as_str(), orders.value.as_str()),
            ("at", "2026-01-04 11:20:00+00")
        );
    }
}
