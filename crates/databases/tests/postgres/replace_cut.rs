//! Replacements that are cut off: whatever is left is before or after, never a mix, and everybody can connect.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use coffre_model::Id;
use coffre_model::database::DumpFormat;
use coffre_model::replace::{ReplaceWay, Replacement, Standing};
use coffre_testkit::postgres::{Options, Postgres, Version};

use crate::common::Setup;
use crate::replace::{contents, databases, setup};

const BEFORE: &str = "CREATE TABLE a AS SELECT 1 AS x; CREATE TABLE b AS SELECT g AS x FROM generate_series(1, 1000) g; CREATE SCHEMA other; CREATE TABLE other.c ()";

struct Shop {
    server: Postgres,
    name: String,
    bytes: Vec<u8>,
    before: String,
    backup: String,
    databases: String,
}

fn shop(rows: u32) -> Shop {
    let server = Postgres::start(Version::V15, Options::default());
    let name = server.create_database();
    server.sql(
        &name,
        &format!("CREATE TABLE a AS SELECT 2 AS x; CREATE TABLE big AS SELECT g AS id, repeat('x', 50) AS t FROM generate_series(1, {rows}) g; ALTER TABLE big ADD PRIMARY KEY (id); CREATE INDEX by_text ON big (t, id)"),
    );
    let (bytes, _) = setup(&server, &name).dump().unwrap();
    let backup = contents(&server, &name);
    server.sql(&name, &format!("DROP TABLE a, big; {BEFORE}"));
    Shop {
        before: contents(&server, &name),
        databases: databases(&server),
        server,
        name,
        bytes,
        backup,
    }
}

impl Shop {
    /// A new process looks at what another one left.
    fn recover(&self, plan: &Replacement, at: &str) -> Standing {
        let mut setup = setup(&self.server, &self.name);
        if plan.way == ReplaceWay::Within {
            setup.address = self.server.address_as("owner", &self.name);
        }
        let mut work = setup.replacing();
        let standing = work.replace.recover(plan).unwrap();
        assert_eq!(work.replace.recover(plan).unwrap(), standing, "{at}: again");
        assert!(work.replace.remarks().is_empty());
        match standing {
            Standing::Before => {
                assert_eq!(contents(&self.server, &self.name), self.before, "{at}");
                assert_eq!(databases(&self.server), self.databases, "{at}");
            }
            Standing::After => {
                assert_eq!(contents(&self.server, &self.name), self.backup, "{at}");
                if plan.way == ReplaceWay::Within {
                    return standing;
                }
                work.replace.undo(plan).unwrap();
                assert_eq!(contents(&self.server, &self.name), self.before, "{at}");
                work.replace.forget(plan).unwrap();
                assert_eq!(databases(&self.server), self.databases, "{at}");
            }
        }
        // The server notices that a killed client is gone when it next speaks to it.
        assert!(self.server.is_rid_of("coffre"), "{at}: {:?}", self.server.sessions("coffre"));
        standing
    }
}

#[test]
fn dropped_between_any_two_steps() {
    let shop = shop(1000);
    let setup = setup(&shop.server, &shop.name);
    for step in 0..6 {
        let mut work = setup.replacing();
        let mut plan = work.replace.plan(&Id::new()).unwrap();
        let planned = plan.clone();
        if step > 0 {
            work.replace.prepare(&mut plan).unwrap();
        }
        if step == 2 {
            use std::io::Write;
            let mut load = work.replace.load(&plan, DumpFormat::PgCustom).unwrap();
            load.write_all(&shop.bytes[..shop.bytes.len() / 2]).unwrap();
        }
        if step > 2 {
            work.load(&plan, DumpFormat::PgCustom, &shop.bytes).unwrap();
        }
        if step > 3 {
            work.replace.counts(&plan).unwrap();
        }
        let loaded = plan.clone();
        if step > 4 {
            work.replace.swap(&mut plan).unwrap();
        }
        drop(work);
        let wanted = if step > 4 { Standing::After } else { Standing::Before };
        // What was written down last may be older than what was done.
        let known = match step {
            1 => planned,
            5 => loaded,
            _ => plan,
        };
        assert_eq!(shop.recover(&known, &format!("step {step}")), wanted);
    }
    // And taken back politely.
    let mut work = setup.replacing();
    let plan = work.loaded(DumpFormat::PgCustom, &shop.bytes).unwrap();
    work.replace.discard(&plan).unwrap();
    work.replace.discard(&plan).unwrap();
    assert_eq!(databases(&shop.server), shop.databases);
}

/// The part of another process: replaces, and writes its plan down as the engine does.
#[test]
fn child() {
    let Ok(address) = std::env::var("COFFRE_REPLACE_ADDRESS") else {
        return;
    };
    let folder = std::path::PathBuf::from(std::env::var("COFFRE_REPLACE_FOLDER").unwrap());
    let note = |plan: &Replacement, step: &str| {
        let new = folder.join("new");
        std::fs::write(&new, serde_json::to_vec(plan).unwrap()).unwrap();
        std::fs::rename(new, folder.join("plan")).unwrap();
        std::fs::write(folder.join(step), "").unwrap();
    };
    let bytes = std::fs::read(folder.join("dump")).unwrap();
    let mut work = Setup::new(address).replacing();
    let mut plan = work.replace.plan(&Id::new()).unwrap();
    note(&plan, "planned");
    work.replace.prepare(&mut plan).unwrap();
    note(&plan, "prepared");
    work.load(&plan, DumpFormat::PgCustom, &bytes).unwrap();
    work.replace.counts(&plan).unwrap();
    note(&plan, "loaded");
    work.replace.swap(&mut plan).unwrap();
    note(&plan, "swapped");
}

fn killed(shop: &Shop, address: &str, step: &str, after: Duration) -> Standing {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("dump"), &shop.bytes).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["replace_cut::child", "--exact"])
        .env("COFFRE_REPLACE_ADDRESS", address)
        .env("COFFRE_REPLACE_FOLDER", folder.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while !folder.path().join(step).exists() {
        assert!(began.elapsed() < Duration::from_secs(60), "{step}");
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
    let plan = serde_json::from_slice(&std::fs::read(folder.path().join("plan")).unwrap()).unwrap();
    shop.recover(&plan, &format!("{step} and {after:?}"))
}

#[test]
fn killed_at_many_moments() {
    let shop = shop(20_000);
    let address = shop.server.address(&shop.name);
    let mut seen = Vec::new();
    for (step, moments) in [
        ("planned", &[0, 5, 20, 60, 120][..]),
        ("prepared", &[0, 10, 50, 150]),
        ("loaded", &[0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 60]),
        ("swapped", &[0]),
    ] {
        for after in moments {
            seen.push(killed(&shop, &address, step, Duration::from_millis(*after)));
        }
    }
    println!("{seen:?}");
    assert!(seen.contains(&Standing::Before) && seen.contains(&Standing::After));
}

/// The same from within.
#[test]
fn killed_at_many_moments_of_one_transaction() {
    let mut shop = shop(20_000);
    shop.server.create_role("owner", None);
    let name = shop.name.clone();
    shop.server.sql(
        &name,
        &format!("ALTER DATABASE {name} OWNER TO owner; ALTER TABLE a OWNER TO owner; ALTER TABLE b OWNER TO owner; ALTER SCHEMA other OWNER TO owner; ALTER TABLE other.c OWNER TO owner"),
    );
    shop.before = contents(&shop.server, &name);
    let address = shop.server.address_as("owner", &name);
    // The backup's objects belong to a role that he may not hand anything to.
    shop.backup = shop
        .backup
        .replace("OWNER TO postgres", "OWNER TO owner")
        .replace("Owner: postgres", "Owner: owner");
    let mut seen = Vec::new();
    for (step, moments) in [
        ("planned", &[0, 5][..]),
        ("prepared", &[0, 50, 100, 150, 200]),
        ("loaded", &[0, 1, 2, 3, 4, 5, 6, 8, 10, 15]),
        ("swapped", &[0]),
    ] {
        for after in moments {
            let standing = killed(&shop, &address, step, Duration::from_millis(*after));
            if standing == Standing::After {
                shop.server.sql(
                    &name,
                    &format!(
                        "DROP TABLE a, big; {}",
                        BEFORE.replace("CREATE TABLE a", "SET ROLE owner; CREATE TABLE a")
                    ),
                );
            }
            seen.push(standing);
        }
    }
    println!("{seen:?}");
    assert!(seen.contains(&Standing::Before) && seen.contains(&Standing::After));
}

#[test]
fn the_servers_own_end_in_the_middle() {
    // Each of our sessions is ended, again and again, while it swaps.
    let shop = shop(1000);
    let setup = setup(&shop.server, &shop.name);
    for pause in [0, 2, 4, 6, 8, 10, 12, 15, 20, 25, 30] {
        let mut work = setup.replacing();
        let mut plan = work.loaded(DumpFormat::PgCustom, &shop.bytes).unwrap();
        let known = plan.clone();
        let swapped = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(pause));
                shop.server.terminate("coffre");
            });
            work.replace.swap(&mut plan)
        });
        drop(work);
        let standing = shop.recover(&known, &format!("{pause} ms"));
        if swapped.is_ok() {
            assert_eq!(standing, Standing::After);
        }
        println!("{pause} ms: {:?} {standing:?}", swapped.map_err(|e| e.text().to_owned()));
    }
}

#[test]
fn a_crash_of_the_server_while_closed_is_recovered_from() {
    let shop = shop(1000);
    let setup = setup(&shop.server, &shop.name);
    let mut work = setup.replacing();
    let plan = work.loaded(DumpFormat::PgCustom, &shop.bytes).unwrap();
    drop(work);
    // As a server that crashed in the middle of the moment leaves it.
    shop.server
        .sql("postgres", &format!("ALTER DATABASE {} ALLOW_CONNECTIONS false", shop.name));
    assert_eq!(shop.recover(&plan, "closed"), Standing::Before);
}

#[test]
fn a_cancelled_swap_changes_nothing() {
    let shop = shop(1000);
    let mut work = setup(&shop.server, &shop.name).replacing();
    let mut plan = work.loaded(DumpFormat::PgCustom, &shop.bytes).unwrap();
    work.cancel.cancel(coffre_model::cancel::Reason::Interrupt);
    assert_eq!(
        work.replace.swap(&mut plan).unwrap_err().code(),
        coffre_model::Code::Cancelled
    );
    work.replace.discard(&plan).unwrap();
    assert_eq!(databases(&shop.server), shop.databases);
    assert_eq!(contents(&shop.server, &shop.name), shop.before);
}
