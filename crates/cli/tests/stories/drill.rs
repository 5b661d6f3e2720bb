//! Drills: a backup is rehearsed as deep as this machine can, and nothing of the rehearsal is left, however it ends.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use coffre_testkit::coffre::{Coffre, Running};
use coffre_testkit::invariants::Invariants;
use coffre_testkit::postgres::{Options, Postgres, Version};
use coffre_testkit::tools::{Behaviour, FakeTools};
use coffre_testkit::{is_root, run, wait_until};
use serde_json::Value;

use crate::crm::{long, protecting, small};
use crate::postgres_main_job::SHOP;
use crate::program;
use crate::shop::{artifact, back_up, backups, large, protected, text};

/// Owners, privileges, policies, and a name that would act if it were not data.
const STRANGE: &str = r#"
    CREATE ROLE "o'brien" NOLOGIN;
    CREATE ROLE readers NOLOGIN;
    CREATE TABLE secrets(id int PRIMARY KEY, body text CHECK (length(body) > 0));
    ALTER TABLE secrets OWNER TO "o'brien";
    ALTER TABLE secrets ENABLE ROW LEVEL SECURITY;
    CREATE POLICY a_few ON secrets FOR SELECT TO readers USING (id > 1);
    GRANT SELECT ON secrets TO readers;
    INSERT INTO secrets VALUES (1, 'é'), (2, 'Été');
    CREATE TABLE "x""; DROP TABLE secrets; --"(v text);
    INSERT INTO "x""; DROP TABLE secrets; --" VALUES ('a'), (NULL);
"#;

/// Folders outside of the home in which runs keep something now.
fn outside(home: &Path) -> Vec<PathBuf> {
    let found = run(
        "find",
        [
            home.join("runtime").to_str().unwrap(),
            "-name",
            "outside-*",
            "-printf",
            "%l\n",
        ],
    );
    found.stdout.lines().map(PathBuf::from).collect()
}

/// Programs that work in one of these folders, or below the home.
fn working_in(folders: &[PathBuf]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(cwd) = std::fs::read_link(entry.path().join("cwd")) else {
            continue;
        };
        if folders.iter().any(|folder| cwd.starts_with(folder)) {
            let name = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
            found.push(format!("{}: {name}", entry.path().display()));
        }
    }
    found
}

/// Nothing of a rehearsal is left: no process, no folder, no socket, nothing in the home's private folder.
fn nothing_is_left(coffre: &Coffre, folders: &[PathBuf], what: &str) {
    let mut places = folders.to_vec();
    places.push(coffre.home());
    let ended = wait_until(Duration::from_secs(10), || working_in(&places).is_empty());
    assert!(ended, "{what}: {:?}", working_in(&places));
    for folder in folders {
        assert!(!folder.exists(), "{what}: {} is left", folder.display());
    }
    let left = run(
        "find",
        [
            coffre.home().join("runtime").to_str().unwrap(),
            "-mindepth",
            "1",
            "-not",
            "-name",
            "*.lock",
        ],
    );
    assert_eq!(left.stdout, "", "{what}");
}

fn drill(coffre: &Coffre, source: &str) -> Value {
    coffre.json(["drill", "latest", "--source", source])["drill"].clone()
}

#[test]
fn a_sqlite_backup_is_rehearsed_and_counted() {
    let (coffre, _) = protected();
    let made = back_up(&coffre, "shop");
    assert_eq!(
        coffre.json(["show", text(&made, "code")])["backup"]["last_drill"],
        Value::Null
    );
    let drill = drill(&coffre, "shop");
    assert_eq!(
        (text(&drill, "state"), text(&drill, "level")),
        ("done", "counted"),
        "{drill:#}"
    );
    assert_eq!((drill["tables"].as_u64(), drill["rows"].as_u64()), (Some(2), Some(1000)));
    assert!(drill["restore_ms"].is_u64() && drill["error"].is_null(), "{drill:#}");
    for shown in [
        coffre.json(["show", text(&made, "code")])["backup"]["last_drill"].clone(),
        coffre.json(["list"])["backups"][0]["last_drill"].clone(),
        coffre.json(["source", "show", "shop"])["source"]["last_drill"].clone(),
    ] {
        assert_eq!(
            (text(&shown, "level"), text(&shown, "at")),
            ("counted", text(&drill, "ended_at"))
        );
        assert_eq!(shown["restore_ms"], drill["restore_ms"]);
    }
    let journal = coffre.json(["journal"])["entries"].clone();
    assert_eq!(
        (text(&journal[0], "action"), text(&journal[0], "result")),
        ("drill.run", "ok")
    );
    nothing_is_left(&coffre, &[], "after a drill");
    Invariants::of(&coffre).assert();
}

#[test]
fn what_does_not_hold_is_found_and_the_status_says_so() {
    let (coffre, _) = protected();
    let server = Postgres::shared(Version::V15);
    coffre.ok(["source", "add", &server.address(&small(server)), "--name", "crm"]);
    for source in ["shop", "crm"] {
        for what in ["a bit", "gone"] {
            let made = back_up(&coffre, source);
            let file = artifact(&coffre, &made);
            if what == "gone" {
                std::fs::remove_file(&file).unwrap();
            } else {
                let mut bytes = std::fs::read(&file).unwrap();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                std::fs::write(&file, bytes).unwrap();
            }
            let outcome = coffre.run(["--json", "drill", text(&made, "code")]);
            assert_eq!(
                (outcome.status, outcome.error_code().as_str()),
                (Some(3), "VERIFY_MISMATCH"),
                "{outcome}"
            );
            let drill = &outcome.json()["drill"];
            assert_eq!((text(drill, "state"), &drill["level"]), ("failed", &Value::Null), "{drill:#}");
            assert!(text(&drill["error"], "message").len() > 10, "{drill:#}");
            // Judged as a verification judges it: it is not green any more.
            let copy = coffre.json(["show", text(&made, "code")])["backup"]["copies"][0]["state"].clone();
            assert_eq!(copy, if what == "gone" { "missing" } else { "corrupt" });
            let journal = coffre.json(["journal"])["entries"].clone();
            assert_eq!(
                (text(&journal[0], "action"), text(&journal[0], "result")),
                ("drill.run", "failed")
            );
            coffre.ok(["delete", text(&made, "code"), "--yes"]);
        }
    }
    nothing_is_left(&coffre, &[], "after failed drills");
}

#[test]
fn every_version_of_postgres_is_rehearsed_in_its_own_server() {
    for version in Version::ALL {
        let server = Postgres::start(version, Options::default());
        let database = server.create_database();
        server.sql(&database, SHOP);
        server.sql(&database, STRANGE);
        let coffre = protecting(&server.address(&database), None);
        for format in ["custom", "plain"] {
            let line = [
                "source",
                "edit",
                "crm",
                "--format",
                format,
                "--tool-path",
                version.bin().to_str().unwrap(),
            ]
            .map(str::to_owned);
            coffre.ok(line);
            back_up(&coffre, "crm");
            let drill = drill(&coffre, "crm");
            assert_eq!(
                (text(&drill, "state"), text(&drill, "level")),
                ("done", "counted"),
                "{version:?} {format}: {drill:#}"
            );
            assert_eq!(
                (drill["tables"].as_u64(), drill["rows"].as_u64()),
                (Some(4), Some(7004)),
                "{drill:#}"
            );
            assert_eq!(text(&drill, "server_version"), version.number());
            // Owners and privileges were rehearsed as well: nothing is told of roles that had to be left out.
            let codes: Vec<&str> = drill["remarks"].as_array().unwrap().iter().map(|r| text(r, "code")).collect();
            let expected: &[&str] = if version == Version::V15 { &[] } else { &["TOOL_MISSING"] };
            assert_eq!(codes, expected, "{version:?} {format}: {drill:#}");
        }
        assert!(server.is_rid_of("coffre"));
        nothing_is_left(&coffre, &[], "after a drill");
        Invariants::of(&coffre).server(&server).assert();
    }
}

#[test]
fn where_no_server_fits_the_depth_and_the_reason_are_told() {
    let server = Postgres::start(Version::V18, Options::default());
    let database = small(&server);
    let coffre = protecting(&server.address(&database), None);
    let tools = FakeTools::new();
    for tool in ["pg_dump", "pg_restore"] {
        tools.put(&Version::V18.tool(tool), &Behaviour::Real);
    }
    coffre.ok(["source", "edit", "crm", "--tool-path", tools.folder().to_str().unwrap()]);
    back_up(&coffre, "crm");
    let drilled = coffre.run(["drill", "latest", "--source", "crm"]);
    assert_eq!(drilled.status, Some(0), "{drilled}");
    assert!(drilled.stderr.contains("18") && !drilled.stdout.contains('✓'), "{drilled}");
    let drill = drill(&coffre, "crm");
    assert_eq!(
        (text(&drill, "state"), text(&drill, "level")),
        ("done", "structure"),
        "{drill:#}"
    );
    assert_eq!(text(&drill["remarks"][0], "code"), "TOOL_TOO_OLD", "{drill:#}");
    assert!(drill["restore_ms"].is_null() && drill["rows"].is_null());
    // Nor can it be looked into here, and that says why.
    coffre.fails(
        ["open", "latest", "--source", "crm", "--table", "public.orders"],
        "TOOL_TOO_OLD",
        1,
    );
    nothing_is_left(&coffre, &[], "without a server");
}

/// Starts a drill and answers it with the folders of its server, as soon as they are there.
fn begun(coffre: &Coffre) -> (Running, Vec<PathBuf>) {
    let running = coffre.spawn(["--json", "drill", "latest", "--source", "crm"]);
    let mut folders = Vec::new();
    let there = wait_until(Duration::from_secs(20), || {
        folders = outside(&coffre.home());
        !folders.is_empty() || !is_root()
    });
    assert!(there, "the drill makes no folder: {}", running.stderr_so_far());
    (running, folders)
}

#[test]
fn a_drill_that_is_killed_or_stopped_leaves_nothing() {
    let server = Postgres::shared(Version::V15);
    let database = long(server);
    let coffre = protecting(&server.address(&database), None);
    back_up(&coffre, "crm");
    type Reached = fn(&Path) -> bool;
    let moments: [(&str, Reached); 5] = [
        ("as its folder is there", |_| true),
        ("during initdb", |place| place.join("data/PG_VERSION").exists()),
        ("as its server starts", |place| place.join("data/postmaster.pid").exists()),
        ("as it can be reached", |place| place.join(".s.PGSQL.5432").exists()),
        ("while it loads", |place| {
            // The databases of a new server are three; the fourth is the one that is being loaded.
            std::fs::read_dir(place.join("data/base")).is_ok_and(|found| found.count() > 3)
        }),
    ];
    for (what, reached) in moments {
        for (signal, status) in [(libc::SIGKILL, None), (libc::SIGTERM, Some(143)), (libc::SIGINT, Some(130))] {
            let (running, folders) = begun(&coffre);
            let place = folders.first().cloned().unwrap_or_default();
            assert!(wait_until(Duration::from_secs(20), || reached(&place)), "{what}");
            running.signal(signal);
            let outcome = running.wait();
            assert_eq!(outcome.status, status, "{what}: {outcome}");
            // The server ends by itself, whoever was killed.
            let ended = wait_until(Duration::from_secs(10), || working_in(&folders).is_empty());
            assert!(ended, "{what}, signal {signal}: {:?}", working_in(&folders));
            // What a kill left is gone with the next start.
            coffre.ok(["list"]);
            nothing_is_left(&coffre, &folders, what);
            let state = if signal == libc::SIGKILL { "interrupted" } else { "cancelled" };
            let rows =
                coffre_testkit::invariants::ask_catalogue(&coffre.home(), "SELECT state FROM drills ORDER BY id DESC LIMIT 1");
            assert_eq!(rows, [state], "{what}");
            // The backup is as good as before, and free.
            assert_eq!(text(&backups(&coffre)[0], "state"), "verified");
            assert_eq!(backups(&coffre)[0]["last_drill"], Value::Null);
        }
    }
    let after = drill(&coffre, "crm");
    assert_eq!(text(&after, "level"), "counted", "{after:#}");
    assert!(server.is_rid_of("coffre"));
    Invariants::of(&coffre).server(server).assert();
}

#[test]
fn a_killed_drill_of_a_file_leaves_nothing() {
    let coffre = Coffre::new(program());
    let db = coffre.work("large.db");
    large(&db, 40);
    coffre.ok(["source", "add", &crate::shop::address(&db), "--name", "crm"]);
    back_up(&coffre, "crm");
    for signal in [libc::SIGKILL, libc::SIGTERM] {
        let running = coffre.spawn(["drill", "latest", "--source", "crm"]);
        let partial = || {
            let found = run(
                "find",
                [coffre.home().join("runtime").to_str().unwrap(), "-name", "*partial*"],
            );
            !found.stdout.is_empty()
        };
        assert!(wait_until(Duration::from_secs(20), partial), "{}", running.stderr_so_far());
        running.signal(signal);
        running.wait();
        coffre.ok(["list"]);
        nothing_is_left(&coffre, &[], "a killed drill");
    }
}

#[test]
fn an_ordinary_user_rehearses_as_well() {
    if !is_root() {
        return; // Then every other story shows it.
    }
    let server = Postgres::shared(Version::V15);
    let database = small(server);
    let shown = coffre_testkit::run("mktemp", ["-d", "/tmp/coffre-program-XXXXXX"]).stdout;
    let folder = PathBuf::from(shown.trim());
    let copy = folder.join("coffre");
    std::fs::copy(program(), &copy).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut coffre = Coffre::without_vault(&copy);
    assert!(run("chown", ["-R", "nobody:", coffre.folder().to_str().unwrap()]).ok());
    let words = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"];
    coffre.under(words.map(Into::into).to_vec());
    coffre.ok(["vault", "init"]);
    coffre.ok(["source", "add", &server.address(&database), "--name", "crm"]);
    back_up(&coffre, "crm");
    let drill = drill(&coffre, "crm");
    assert_eq!(text(&drill, "level"), "counted", "{drill:#}");
    nothing_is_left(&coffre, &[], "an ordinary user's drill");
    std::fs::remove_dir_all(folder).unwrap();
}

/// Tries everything that a superuser may do outside of the database, and only in a rehearsal: the source's own server is the test's.
fn hostile(marks: &Path) -> String {
    let mark = |name: &str| marks.join(name).display().to_string();
    format!(
        r#"
    CREATE FUNCTION attempts(x int) RETURNS boolean LANGUAGE plpgsql AS $act$
    DECLARE attempt text;
    BEGIN
        IF pg_catalog.current_setting('cluster_name') <> 'coffre throw-away' THEN RETURN true; END IF;
        IF pg_catalog.current_setting('is_superuser') = 'on' THEN RAISE EXCEPTION 'it is a superuser'; END IF;
        FOREACH attempt IN ARRAY ARRAY[
            $q$COPY (SELECT 1) TO PROGRAM 'touch {program}'$q$,
            $q$COPY (SELECT 1) TO '{file}'$q$,
            $q$SELECT pg_catalog.lo_export(pg_catalog.lo_from_bytea(0, 'x'), '{object}')$q$,
            $q$CREATE FUNCTION system(cstring) RETURNS int LANGUAGE c AS 'libc.so.6', 'system'$q$,
            $q$RESET SESSION AUTHORIZATION$q$,
            $q$SET SESSION AUTHORIZATION coffre_keeper$q$,
            $q$SET ROLE coffre_keeper$q$,
            $q$ALTER ROLE coffre_loader SUPERUSER$q$,
            $q$GRANT pg_execute_server_program TO coffre_loader$q$,
            $q$GRANT coffre_keeper TO coffre_loader$q$,
            $q$SELECT coffre_throw_away.role('pg_execute_server_program')$q$,
            $q$SELECT coffre_throw_away.role('coffre_keeper')$q$,
            $q$ALTER FUNCTION coffre_throw_away.role(text) OWNER TO coffre_loader$q$,
            $q$CREATE OR REPLACE FUNCTION coffre_throw_away.role(wanted text) RETURNS void LANGUAGE sql AS 'SELECT'$q$,
            $q$ALTER SYSTEM SET archive_command = 'touch {program}'$q$,
            $q$CREATE EVENT TRIGGER mine ON ddl_command_end EXECUTE PROCEDURE coffre_throw_away.schema()$q$,
            $q$SET session_replication_role = replica$q$]
        LOOP
            BEGIN
                EXECUTE attempt;
            EXCEPTION WHEN OTHERS THEN NULL;
            END;
        END LOOP;
        IF pg_catalog.current_setting('is_superuser') = 'on' THEN RAISE EXCEPTION 'it became a superuser'; END IF;
        IF pg_catalog.pg_has_role('pg_execute_server_program', 'MEMBER') OR pg_catalog.pg_has_role('coffre_keeper', 'MEMBER') THEN
            RAISE EXCEPTION 'it became a member of what it must not';
        END IF;
        RETURN true;
    END $act$;
    -- An index wants one that promises to change nothing; what it calls has promised nothing.
    CREATE FUNCTION act(x int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $act$ BEGIN RETURN public.attempts(x); END $act$;
    CREATE TABLE checked(x int CHECK (attempts(x)), y int GENERATED ALWAYS AS (CASE WHEN act(x) THEN 1 END) STORED);
    INSERT INTO checked VALUES (1), (2);
    CREATE INDEX ON checked ((act(x)));
    CREATE MATERIALIZED VIEW seen AS SELECT act(x) FROM checked;
"#,
        program = mark("program"),
        file = mark("file"),
        object = mark("object"),
    )
}

#[test]
fn what_a_dump_holds_can_do_no_harm() {
    let server = Postgres::start(Version::V15, Options::default());
    let marks = tempfile::tempdir().unwrap();
    std::fs::set_permissions(marks.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let database = server.create_database();
    server.sql(&database, &hostile(marks.path()));
    let coffre = protecting(&server.address(&database), None);
    for format in ["custom", "plain"] {
        coffre.ok(["source", "edit", "crm", "--format", format]);
        back_up(&coffre, "crm");
        // It tries and is refused; the rows arrive all the same.
        let drill = drill(&coffre, "crm");
        assert_eq!(
            (text(&drill, "state"), text(&drill, "level")),
            ("done", "counted"),
            "{format}: {drill:#}"
        );
        let table = ["open", "latest", "--source", "crm", "--table", "checked", "--search", "2"];
        assert_eq!(coffre.json(table)["rows"]["total"], 1);
        assert_eq!(std::fs::read_dir(marks.path()).unwrap().count(), 0, "{format}");
    }
    // What insists on it is not loaded, and that says nothing about the backup.
    server.sql(
        &database,
        "CREATE TABLE a(x int); CREATE FUNCTION ask(x int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
             IF pg_catalog.current_setting('cluster_name') = 'coffre throw-away' THEN EXECUTE 'COPY checked TO PROGRAM ''true'''; END IF;
             RETURN true; END $$;
         INSERT INTO a VALUES (1); ALTER TABLE a ADD CHECK (ask(x));",
    );
    for format in ["custom", "plain"] {
        coffre.ok(["source", "edit", "crm", "--format", format]);
        back_up(&coffre, "crm");
        let drill = drill(&coffre, "crm");
        assert_eq!(
            (text(&drill, "state"), text(&drill, "level")),
            ("done", "structure"),
            "{format}: {drill:#}"
        );
        let remark = &drill["remarks"][0];
        assert_eq!(text(remark, "code"), "PRIVILEGE", "{format}: {drill:#}");
        assert!(text(remark, "message").contains("external program"), "{format}: {drill:#}");
    }
    nothing_is_left(&coffre, &[], "after a hostile dump");
}

#[test]
fn what_only_a_superuser_makes_is_rehearsed_as_far_as_it_can_be() {
    let server = Postgres::start(Version::V15, Options::default());
    let database = server.create_database();
    // Owners without any right on the schema that their things are in; an extension that is not trusted, in a schema of its own.
    server.sql(
        &database,
        r#"CREATE ROLE landlord; CREATE ROLE tenant; CREATE ROLE "pub lisher";
           CREATE SCHEMA flats AUTHORIZATION landlord;
           CREATE TABLE flats.rooms(id serial PRIMARY KEY, size int); ALTER TABLE flats.rooms OWNER TO tenant;
           INSERT INTO flats.rooms(size) SELECT n FROM generate_series(1, 30) n;
           CREATE FUNCTION flats.big(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 > 20'; ALTER FUNCTION flats.big OWNER TO tenant;
           CREATE MATERIALIZED VIEW flats.large AS SELECT * FROM flats.rooms WHERE flats.big(size); ALTER MATERIALIZED VIEW flats.large OWNER TO tenant;
           GRANT SELECT ON flats.rooms TO "pub lisher" WITH GRANT OPTION;
           ALTER DEFAULT PRIVILEGES FOR ROLE landlord IN SCHEMA flats GRANT SELECT ON TABLES TO tenant;
           CREATE SCHEMA extensions AUTHORIZATION landlord; CREATE EXTENSION pageinspect SCHEMA extensions;
           CREATE EXTENSION hstore SCHEMA extensions; CREATE TABLE tags(t extensions.hstore); INSERT INTO tags VALUES ('a=>1');
           COMMENT ON EXTENSION hstore IS 'tags';
           CREATE FUNCTION noticed() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
           CREATE EVENT TRIGGER notice ON ddl_command_end EXECUTE FUNCTION noticed(); COMMENT ON EVENT TRIGGER notice IS 'x';
           CREATE PUBLICATION everything FOR ALL TABLES; CREATE PUBLICATION one FOR TABLE flats.rooms;
           SELECT lo_from_bytea(4711, 'large'); ALTER LARGE OBJECT 4711 OWNER TO tenant;"#,
    );
    let coffre = protecting(&server.address(&database), None);
    back_up(&coffre, "crm");
    let drill = drill(&coffre, "crm");
    assert_eq!(
        (text(&drill, "state"), text(&drill, "level")),
        ("done", "counted"),
        "{drill:#}"
    );
    let told = text(&drill["remarks"][0], "message");
    for name in ["event trigger notice", "publication everything", "publication one"] {
        assert!(told.contains(name), "{told}");
    }
}

#[test]
fn the_daemon_rehearses_by_itself_and_a_setting_switches_it_off() {
    let (coffre, _) = protected();
    back_up(&coffre, "shop");
    coffre.ok(["settings", "set", "drill_idle_seconds", "0"]);
    coffre.ok(["settings", "set", "drill_every", "off"]);
    coffre.fails(["settings", "set", "drill_every", "often"], "USAGE", 2);
    let last = || coffre.json(["source", "show", "shop"])["source"]["last_drill"].clone();
    let daemon = coffre.spawn(["serve"]);
    assert!(wait_until(Duration::from_secs(30), || {
        coffre.json(["scheduler", "status"])["scheduler"]["running"] == true
    }));
    assert_eq!(last(), Value::Null);
    // Seen by the daemon, as every change of others is.
    coffre.ok(["settings", "set", "drill_every", "weekly"]);
    assert!(
        wait_until(Duration::from_secs(60), || last()["level"] == "counted"),
        "{}",
        last()
    );
    daemon.signal(libc::SIGTERM);
    let ended = daemon.wait();
    assert_eq!(ended.status, Some(0), "{ended}");
    assert!(ended.stderr.contains("rehearsed in a throw-away database"), "{ended}");
    let entries = coffre.json(["journal"])["entries"].clone();
    let line = entries
        .as_array()
        .unwrap()
        .iter()
        .find(|e| e["action"] == "drill.run")
        .unwrap();
    assert_eq!((text(line, "author"), text(line, "result")), ("schedule", "ok"));
    nothing_is_left(&coffre, &[], "after the daemon");
}

#[test]
fn a_daemon_that_ends_in_the_middle_of_a_drill_leaves_nothing() {
    let server = Postgres::shared(Version::V15);
    let database = long(server);
    for signal in [libc::SIGTERM, libc::SIGKILL] {
        let coffre = protecting(&server.address(&database), None);
        back_up(&coffre, "crm");
        coffre.ok(["settings", "set", "drill_idle_seconds", "0"]);
        let daemon = coffre.spawn(["serve"]);
        assert!(wait_until(Duration::from_secs(60), || !outside(&coffre.home()).is_empty()
            || !working_in(&[coffre.home().join("runtime")]).is_empty()));
        let folders = outside(&coffre.home());
        daemon.signal(signal);
        daemon.wait();
        // The next start puts to rest what a killed one could not.
        coffre.ok(["scheduler", "status"]);
        nothing_is_left(&coffre, &folders, "after the daemon");
        assert_eq!(coffre.json(["source", "show", "crm"])["source"]["last_drill"], Value::Null);
    }
}
