//! Replacing databases with everything in them that comes after the rows, and what goes wrong there.

use std::time::{Duration, Instant};

use coffre_model::cancel::Reason;
use coffre_model::database::DumpFormat;
use coffre_model::{Code, Error, Id};
use coffre_testkit::postgres::{Options, Postgres, Version, quote_identifier};

use crate::common::{Replacing, SHOP, Setup};
use crate::replace::{contents, databases, setup};

/// Of every kind that comes after the rows, with what is about it, and with what hangs together across tables.
const RICH: &str = r#"
    CREATE ROLE keeper; CREATE ROLE reader;
    CREATE SCHEMA closed AUTHORIZATION keeper;
    CREATE TABLE closed.parents (id int PRIMARY KEY, name text UNIQUE, CHECK (id > 0));
    CREATE TABLE closed.children (id int, parent int, words text, at timestamptz DEFAULT '2026-01-01', price numeric,
        CONSTRAINT mine PRIMARY KEY (id), CONSTRAINT late_one UNIQUE (words, id) DEFERRABLE INITIALLY DEFERRED,
        CONSTRAINT other FOREIGN KEY (parent) REFERENCES closed.parents ON DELETE CASCADE NOT VALID,
        EXCLUDE USING gist (box(point(id, id), point(id, id)) WITH &&));
    ALTER TABLE closed.parents ADD favourite int REFERENCES closed.children DEFERRABLE;
    INSERT INTO closed.parents SELECT g, 'parent ' || g FROM generate_series(1, 500) g;
    INSERT INTO closed.children SELECT g, 1 + g % 500, 'some words ' || g, '2026-01-01'::timestamptz + g * interval '1 h', g / 7.0 FROM generate_series(1, 2000) g;
    UPDATE closed.parents SET favourite = id;
    CREATE INDEX letters ON closed.children USING gin (to_tsvector('english', words)); COMMENT ON INDEX closed.letters IS 'for searches';
    CREATE INDEX late ON closed.children USING brin (at) WITH (pages_per_range = 16);
    CREATE UNIQUE INDEX partly ON closed.children ((price * 2)) INCLUDE (words) WHERE id > 10;
    ALTER TABLE closed.children CLUSTER ON mine; ALTER TABLE closed.parents REPLICA IDENTITY USING INDEX parents_pkey;
    ALTER INDEX closed.partly ALTER COLUMN 1 SET STATISTICS 500;
    CREATE STATISTICS closed.together (dependencies) ON parent, price FROM closed.children;
    COMMENT ON CONSTRAINT other ON closed.children IS 'who it belongs to';
    ALTER TABLE closed.parents OWNER TO keeper; ALTER TABLE closed.children OWNER TO keeper;
    ALTER TABLE closed.children ENABLE ROW LEVEL SECURITY; ALTER TABLE closed.children FORCE ROW LEVEL SECURITY;
    CREATE POLICY own ON closed.children FOR SELECT TO reader USING (id > 5); COMMENT ON POLICY own ON closed.children IS 'few';
    CREATE FUNCTION closed.on_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''not while loading''; END';
    CREATE TRIGGER changes BEFORE INSERT OR UPDATE ON closed.children FOR EACH ROW EXECUTE FUNCTION closed.on_change();
    ALTER TABLE closed.children DISABLE TRIGGER changes;
    CREATE TRIGGER every AFTER DELETE ON closed.parents FOR EACH STATEMENT EXECUTE FUNCTION closed.on_change(); COMMENT ON TRIGGER every ON closed.parents IS 'told';
    CREATE RULE kept AS ON DELETE TO closed.children DO INSTEAD NOTHING;
    REVOKE ALL ON closed.parents, closed.children FROM keeper; GRANT SELECT ON closed.parents TO reader WITH GRANT OPTION; GRANT UPDATE (name) ON closed.parents TO reader;
    ALTER DEFAULT PRIVILEGES IN SCHEMA closed GRANT SELECT ON TABLES TO reader;
    CREATE TABLE logs (id int, day date, what text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
    CREATE TABLE logs_1 PARTITION OF logs FOR VALUES FROM ('2026-01-01') TO ('2026-07-01');
    CREATE TABLE logs_2 PARTITION OF logs FOR VALUES FROM ('2026-07-01') TO ('2027-01-01');
    CREATE TABLE logs_rest PARTITION OF logs DEFAULT;
    CREATE INDEX by_what ON logs (what); CREATE INDEX alone ON ONLY logs (day);
    INSERT INTO logs SELECT g, '2026-01-01'::date + g % 500, 'what ' || g FROM generate_series(1, 3000) g;
    CREATE TABLE notes (id int PRIMARY KEY, log int, day date, FOREIGN KEY (log, day) REFERENCES logs) PARTITION BY HASH (id);
    CREATE TABLE notes_0 PARTITION OF notes FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE notes_1 PARTITION OF notes FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    INSERT INTO notes SELECT id, id, day FROM logs WHERE id % 3 = 0;
    CREATE VIEW grouped AS SELECT p.id, p.name, count(*) FROM closed.parents p JOIN closed.children c ON c.parent = p.id GROUP BY p.id;
    CREATE MATERIALIZED VIEW first AS SELECT id, name FROM closed.parents; CREATE UNIQUE INDEX ON first (id);
    CREATE MATERIALIZED VIEW second AS SELECT count(*) FROM first; CREATE MATERIALIZED VIEW unread AS SELECT 1 AS x WITH NO DATA;
    CREATE MATERIALIZED VIEW keyed AS SELECT p.id, p.name FROM closed.parents p GROUP BY p.id;
    SELECT lo_from_bytea(4711, 'large'); ALTER LARGE OBJECT 4711 OWNER TO keeper; GRANT SELECT ON LARGE OBJECT 4711 TO reader; COMMENT ON LARGE OBJECT 4711 IS 'one';
    CREATE SEQUENCE numbers INCREMENT 5; SELECT nextval('numbers'), nextval('numbers'); GRANT USAGE ON SEQUENCE numbers TO reader;
    CREATE PUBLICATION told FOR TABLE closed.parents, logs; COMMENT ON PUBLICATION told IS 'what is told';
    CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN IF tg_tag <> ''REFRESH MATERIALIZED VIEW'' AND tg_tag <> ''COMMENT'' THEN RAISE EXCEPTION ''watched''; END IF; END';
    CREATE EVENT TRIGGER watching ON ddl_command_start EXECUTE FUNCTION watch(); ALTER EVENT TRIGGER watching DISABLE;
    COMMENT ON EVENT TRIGGER watching IS 'everything';
    CREATE FOREIGN DATA WRAPPER wrapped; CREATE SERVER afar FOREIGN DATA WRAPPER wrapped; CREATE USER MAPPING FOR keeper SERVER afar OPTIONS (password 'x');
    CREATE FOREIGN TABLE afar_table (x int) SERVER afar;
"#;

/// Everything that a `pg_dump` in text does not tell apart, or that only a look into the catalogues shows.
fn health(server: &Postgres, name: &str) -> String {
    server.sql(
        name,
        "SELECT indexrelid::regclass, indisvalid, indisready, indisclustered, indisreplident FROM pg_index WHERE indexrelid >= 16384 AND indrelid::regclass::text !~ 'pg_toast' ORDER BY indexrelid::regclass::text;
         SELECT conname, convalidated, condeferrable, conindid::regclass FROM pg_constraint WHERE oid >= 16384 ORDER BY 1, conrelid::regclass::text;
         SELECT relname, relispopulated, relrowsecurity, relforcerowsecurity, relacl FROM pg_class WHERE oid >= 16384 AND relkind <> 't' AND relname !~ '^pg_toast' ORDER BY 1;
         SELECT inhrelid::regclass, inhparent::regclass FROM pg_inherits ORDER BY inhrelid::regclass::text",
    )
}

#[test]
fn a_rich_database_is_the_same_in_a_new_place_and_in_its_own() {
    for version in Version::ALL {
        let server = Postgres::start(version, Options::default());
        let name = server.create_database();
        server.sql(&name, SHOP);
        server.sql(&name, RICH);
        if version == Version::V15 {
            server.sql(
                &name,
                "CREATE EXTENSION pg_trgm; COMMENT ON EXTENSION pg_trgm IS 'words'; CREATE INDEX trigrams ON closed.children USING gin (words gin_trgm_ops)",
            );
        }
        if version == Version::V18 {
            server.sql(
                &name,
                "CREATE TABLE newer (id int, no int, note text, valid daterange, CONSTRAINT needed NOT NULL no NOT VALID, twice int GENERATED ALWAYS AS (id * 2) VIRTUAL,
                     CONSTRAINT checked CHECK (id > 0) NOT ENFORCED); INSERT INTO newer VALUES (1, 2, 'x'); CREATE INDEX ON newer (no)",
            );
        }
        let setup = setup(&server, &name);
        let (bytes, facts) = setup.dump().unwrap();
        let (source, well) = (contents(&server, &name), health(&server, &name));

        // Into a new place.
        let mut one = setup.clone();
        one.address = server.address("one");
        let mut work = one.restore(setup.format(), &bytes).unwrap();
        assert_eq!(work.database.counts().unwrap(), facts.counts);
        work.database.settle_target().unwrap();
        assert_eq!(contents(&server, "one"), source, "{version:?}");
        assert_eq!(health(&server, "one"), well, "{version:?}");

        // In the place of what is live.
        server.sql(&name, "DROP SCHEMA closed CASCADE; CREATE TABLE since (x int)");
        let mut work = setup.replacing();
        let plan = work.whole(setup.format(), &bytes).unwrap();
        assert!(work.replace.remarks().is_empty(), "{version:?}");
        assert_eq!(contents(&server, &name), source, "{version:?}");
        assert_eq!(health(&server, &name), well, "{version:?}");
        work.replace.undo(&plan).unwrap();
        work.replace.forget(&plan).unwrap();
        assert!(server.is_rid_of("coffre"));
    }
}

#[test]
fn who_took_rights_from_himself_gets_his_keys_back() {
    let server = Postgres::start(Version::V15, Options::default());
    server.create_role("app", None);
    server.sql("postgres", "ALTER ROLE app CREATEDB; CREATE DATABASE apps OWNER app");
    server.sql(
        "apps",
        "SET ROLE app; CREATE SCHEMA mine; CREATE TABLE mine.parents AS SELECT g AS id FROM generate_series(1, 100) g; ALTER TABLE mine.parents ADD PRIMARY KEY (id);
         CREATE TABLE mine.children AS SELECT g AS id, 1 + g % 100 AS parent FROM generate_series(1, 1000) g; ALTER TABLE mine.children ADD PRIMARY KEY (id);
         ALTER TABLE mine.children ADD FOREIGN KEY (parent) REFERENCES mine.parents",
    );
    let mut setup = setup(&server, "apps");
    let bytes = {
        server.sql("apps", "REVOKE ALL ON mine.parents, mine.children FROM app");
        setup.dump().unwrap().0
    };
    let source = contents(&server, "apps");
    setup.address = server.address_as("app", "apps");
    let mut work = setup.replacing();
    let mut plan = work.loaded(setup.format(), &bytes).unwrap();
    // He counts as whoever he is: without rights, what he cannot read is not counted.
    work.replace.swap(&mut plan).unwrap();
    assert_eq!(contents(&server, "apps"), source);
    work.replace.undo(&plan).unwrap();
    work.replace.forget(&plan).unwrap();
}

/// A live database, and a backup of another state of it that makes trouble when all rows are there.
struct Trouble {
    server: Postgres,
    setup: Setup,
    bytes: Vec<u8>,
    before: String,
    databases: String,
}

fn trouble(options: Options, sql: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Trouble {
    let server = Postgres::start(Version::V15, options);
    let name = server.create_database();
    server.sql(&name, sql);
    let setup = setup(&server, &name);
    let bytes = change(setup.dump().unwrap().0);
    server.sql(&name, "CREATE TABLE since AS SELECT 1 AS x");
    Trouble {
        before: contents(&server, &name),
        databases: databases(&server),
        server,
        setup,
        bytes,
    }
}

impl Trouble {
    fn name(&self) -> String {
        self.setup.source().parsed().unwrap().path
    }

    /// Loads; whatever went wrong, what is live is what it was, and nothing else is left.
    fn fails(&self, work: &mut Replacing) -> Error {
        let mut plan = work.replace.plan(&Id::new()).unwrap();
        work.replace.prepare(&mut plan).unwrap();
        let error = work.load(&plan, DumpFormat::PgCustom, &self.bytes).unwrap_err();
        assert!(self.server.is_rid_of("coffre"), "nobody is at work any more");
        work.replace.discard(&plan).unwrap();
        assert_eq!(databases(&self.server), self.databases);
        assert_eq!(contents(&self.server, &self.name()), self.before);
        assert!(work.private_files().is_empty(), "{:?}", work.private_files());
        error
    }
}

/// Its last index says nothing for as long as it takes.
const SLOW: &str = "CREATE TABLE t AS SELECT g AS x FROM generate_series(1, 20) g; ALTER TABLE t ADD PRIMARY KEY (x); CREATE INDEX quick ON t (x);
    CREATE FUNCTION slow(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
        'BEGIN IF current_database() LIKE ''coffre%'' THEN PERFORM pg_catalog.pg_sleep(''SECONDS''); END IF; RETURN $1; END';
    CREATE INDEX late ON t (slow(x));";

fn slow(seconds: &str) -> Trouble {
    trouble(Options::default(), &SLOW.replace("SECONDS", seconds), |bytes| bytes)
}

/// Waits until the slow index is being made.
fn until_it_is_made(server: &Postgres) {
    let until = Instant::now() + Duration::from_secs(60);
    while !server
        .sessions("coffre")
        .iter()
        .any(|s| s.contains("INDEX late") && s.contains("active"))
    {
        assert!(Instant::now() < until, "{:?}", server.sessions("coffre"));
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn rows_that_no_key_takes_are_told_and_nothing_is_left() {
    let twice = |mut bytes: Vec<u8>| {
        let at = bytes.windows(5).position(|w| w == b"7002\n").unwrap();
        bytes[at + 3] = b'1';
        bytes
    };
    let sql = "CREATE TABLE t AS SELECT g AS x FROM generate_series(7000, 7100) g; ALTER TABLE t ADD PRIMARY KEY (x); CREATE INDEX again ON t (x)";
    let trouble = trouble(Options::default(), sql, twice);
    let error = trouble.fails(&mut trouble.setup.replacing());
    assert_eq!(error.code(), Code::DumpFailed, "{error}");
    let said = error.detail("stderr").unwrap();
    assert!(said.contains("Key (x)=(7001) is duplicated"), "{said}");
}

#[test]
fn a_function_that_fails_in_an_index_is_told_and_nothing_is_left() {
    let sql = "CREATE TABLE t AS SELECT g AS x FROM generate_series(1, 10) g; CREATE INDEX fine ON t (x);
        CREATE FUNCTION boom(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN 1 / (CASE WHEN current_database() LIKE ''coffre%'' THEN 0 ELSE 1 END); END';
        CREATE INDEX late ON t (boom(x))";
    let trouble = trouble(Options::default(), sql, |bytes| bytes);
    let error = trouble.fails(&mut trouble.setup.replacing());
    assert_eq!(error.code(), Code::DumpFailed, "{error}");
    assert!(error.detail("stderr").unwrap().contains("division by zero"), "{error}");
}

#[test]
fn cancelled_while_an_index_is_made() {
    let trouble = slow("1000");
    let mut work = trouble.setup.replacing();
    let cancel = work.cancel.clone();
    let error = std::thread::scope(|scope| {
        scope.spawn(|| {
            until_it_is_made(&trouble.server);
            cancel.cancel(Reason::Interrupt);
        });
        trouble.fails(&mut work)
    });
    assert_eq!(error.code(), Code::Cancelled, "{error}");
}

#[test]
fn sessions_that_are_ended_while_an_index_is_made() {
    let trouble = slow("1000");
    let error = std::thread::scope(|scope| {
        scope.spawn(|| {
            until_it_is_made(&trouble.server);
            trouble.server.terminate("coffre");
        });
        trouble.fails(&mut trouble.setup.replacing())
    });
    assert_eq!(
        (error.code(), error.text()),
        (Code::DumpFailed, "pg_tool_session_ended"),
        "{error}"
    );
}

#[test]
fn a_long_index_is_no_stall() {
    let trouble = slow("0.15");
    let mut work = trouble.setup.clone().stall(Duration::from_secs(1)).replacing();
    let plan = work.loaded(DumpFormat::PgCustom, &trouble.bytes).unwrap();
    work.replace.discard(&plan).unwrap();
    assert_eq!(databases(&trouble.server), trouble.databases);
}

#[test]
fn few_connections_are_enough() {
    let sql = "CREATE TABLE t AS SELECT g AS x FROM generate_series(1, 100) g; ALTER TABLE t ADD PRIMARY KEY (x); CREATE INDEX again ON t (x)";
    // A few more than are open at once: on a busy machine the server notices late that one was closed.
    for (conf, limit) in [("max_connections = 100", "6"), ("max_connections = 9", "-1")] {
        let server = Postgres::start(
            Version::V15,
            Options::default().conf(conf).conf("superuser_reserved_connections = 2"),
        );
        server.create_role("app", None);
        server.sql(
            "postgres",
            &format!("ALTER ROLE app CREATEDB CONNECTION LIMIT {limit}; CREATE DATABASE apps OWNER app"),
        );
        server.sql(
            "apps",
            &format!("SET ROLE app; CREATE SCHEMA mine; SET search_path = mine; {sql}"),
        );
        let mut setup = setup(&server, "apps");
        setup.address = server.address_as("app", "apps");
        let (bytes, facts) = setup.dump().unwrap();
        let source = contents(&server, "apps");
        let mut work = setup.replacing();
        let mut plan = work.loaded(setup.format(), &bytes).unwrap();
        assert_eq!(work.replace.counts(&plan).unwrap(), facts.counts);
        work.replace.swap(&mut plan).unwrap();
        assert_eq!(contents(&server, "apps"), source, "{conf}, {limit}");
        assert!(server.psql(&quote_identifier(&plan.kept), "SELECT 1").status != Some(0));
    }
}

#[test]
fn a_subscription_that_a_backup_brought_keeps_nothing_for_ever() {
    for version in Version::ALL {
        let server = Postgres::start(version, Options::default());
        let name = server.create_database();
        server.sql(
            &name,
            "CREATE TABLE t AS SELECT 1 AS x;
             CREATE SUBSCRIPTION \"from \"\"there\"\"\" CONNECTION 'host=127.0.0.1 port=1 dbname=none' PUBLICATION p WITH (connect = false, slot_name = 'a_slot')",
        );
        let setup = setup(&server, &name);
        let (bytes, _) = setup.dump().unwrap();
        for gone in [
            "ALTER SUBSCRIPTION \"from \"\"there\"\"\" SET (slot_name = NONE)",
            "DROP SUBSCRIPTION \"from \"\"there\"\"\"",
        ] {
            server.sql(&name, gone);
        }
        let (before, all) = (contents(&server, &name), databases(&server));
        let count = || server.sql("postgres", "SELECT count(*) FROM pg_subscription");
        // Loaded, and given up.
        let mut work = setup.replacing();
        let plan = work.loaded(setup.format(), &bytes).unwrap();
        assert_eq!(count(), "1");
        work.replace.discard(&plan).unwrap();
        assert_eq!((databases(&server), count()), (all.clone(), "0".to_owned()));
        // Put in its place, taken back, and not kept any longer.
        let plan = work.whole(setup.format(), &bytes).unwrap();
        work.replace.undo(&plan).unwrap();
        assert_eq!((contents(&server, &name), count()), (before.clone(), "1".to_owned()));
        work.replace.forget(&plan).unwrap();
        assert_eq!((databases(&server), count()), (all.clone(), "0".to_owned()));
        // One that somebody has enabled is theirs.
        let plan = work.loaded(setup.format(), &bytes).unwrap();
        server.sql(&plan.scratch, "ALTER SUBSCRIPTION \"from \"\"there\"\"\" ENABLE");
        let error = work.replace.discard(&plan).unwrap_err();
        assert!(error.to_string().contains("subscription"), "{error}");
        assert_eq!(count(), "1");
    }
}
