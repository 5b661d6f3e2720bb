//! A person protects a PostgreSQL database, proves it, and brings it back.

use coffre_testkit::coffre::Coffre;
use coffre_testkit::invariants::Invariants;
use coffre_testkit::postgres::{Options, Postgres, Version};
use coffre_testkit::run;

use crate::program;

/// A small shop with what real databases have: schemas, odd names, keys, views, sequences, a function, large objects.
pub(crate) const SHOP: &str = r#"
    CREATE TABLE customers(id serial PRIMARY KEY, name text NOT NULL, since timestamptz DEFAULT now());
    CREATE SCHEMA "Back Office";
    CREATE TABLE "Back Office"."Order Lines"(id bigint PRIMARY KEY, customer int REFERENCES customers, doc jsonb);
    CREATE INDEX ON "Back Office"."Order Lines"(customer);
    CREATE VIEW big AS SELECT * FROM "Back Office"."Order Lines" WHERE id > 100;
    CREATE FUNCTION twice(i int) RETURNS int LANGUAGE sql AS 'SELECT i * 2';
    INSERT INTO customers(name) SELECT 'customer ' || i || E' with\ta tab\nand a line' FROM generate_series(1, 2000) i;
    INSERT INTO "Back Office"."Order Lines" SELECT i, 1 + i % 2000, jsonb_build_object('n', i) FROM generate_series(1, 5000) i;
    SELECT lo_from_bytea(0, 'a large object');
"#;

fn count_of(counts: &serde_json::Value, table: &str) -> Option<u64> {
    counts.as_array()?.iter().find(|c| c["table"] == table)?["after"].as_u64()
}

#[test]
fn a_database_is_protected_proved_and_brought_back() {
    let server = Postgres::start(Version::V15, Options::default().password("s3cret: it's \"here\""));
    let database = server.create_database();
    server.sql(&database, SHOP);
    let coffre = Coffre::new(program());
    let added = coffre.run_with_input(
        [
            "source",
            "add",
            &server.address(&database),
            "--name",
            "crm",
            "--password-stdin",
        ],
        server.password().unwrap().as_bytes(),
    );
    assert_eq!(added.status, Some(0), "{added}");

    for format in ["custom", "plain"] {
        coffre.ok(["source", "edit", "crm", "--format", format]);
        let answer = coffre.json(["backup", "--source", "crm"]);
        let backup = &answer["backup"];
        assert_eq!(backup["state"], "verified", "{answer:#}");
        assert_eq!((backup["tables"].as_u64(), backup["rows"].as_u64()), (Some(2), Some(7000)));
        assert_eq!(backup["tool"]["name"], "pg_dump");
        assert!(backup["tool"]["path"].as_str().unwrap().starts_with('/'));
        assert!(backup["server_version"].as_str().unwrap().starts_with("15."));

        let back = format!("{database}_{format}");
        let restored = coffre.json(["restore", "latest", "--source", "crm", "--into", &server.address(&back)]);
        let counts = &restored["restore"]["counts"];
        assert_eq!(count_of(counts, "public.customers"), Some(2000), "{restored:#}");
        assert_eq!(count_of(counts, r#""Back Office"."Order Lines""#), Some(5000));
        let fingerprint = r#"SELECT md5(string_agg(c::text, ',' ORDER BY id)) FROM customers c"#;
        assert_eq!(server.sql(&back, fingerprint), server.sql(&database, fingerprint));
        assert_eq!(
            server.sql(
                &back,
                "SELECT twice(21), (SELECT count(*) FROM big), (SELECT count(*) FROM pg_largeobject_metadata)"
            ),
            "42|4900|1"
        );

        // The same place a second time holds something now, and stays untouched.
        coffre.fails(
            ["restore", "latest", "--source", "crm", "--into", &server.address(&back)],
            "REFUSED",
            4,
        );
    }
    let manifest = &coffre.json(["show", "latest", "--source", "crm"])["manifest"];
    assert!(
        manifest["scope"]["not_included"]
            .as_array()
            .unwrap()
            .iter()
            .any(|w| w == "roles")
    );
    assert!(server.is_rid_of("coffre"));
    Invariants::of(&coffre)
        .server(&server)
        .secret(server.password().unwrap())
        .assert();
}

#[test]
fn a_dump_made_elsewhere_comes_back_too() {
    let server = Postgres::shared(Version::V15);
    let database = server.create_database();
    server.sql(&database, SHOP);
    let coffre = Coffre::new(program());
    let folder = coffre.work("dumps");
    std::fs::create_dir(&folder).unwrap();
    let bin = Version::V15.bin();
    let script = format!(
        "cd '{}' && export PGHOST='{}' PGPORT={} PGUSER=postgres PATH='{}':$PATH && \
         pg_dump {database} > a.sql && gzip -k a.sql && pg_dump -Fc {database} > b.dump && zstd -q b.dump -o c.zst",
        folder.display(),
        server.socket_folder().display(),
        server.port(),
        bin.display()
    );
    let made = run("bash", ["-ec", &script]);
    assert!(made.ok(), "{made:?}");
    for file in ["a.sql", "a.sql.gz", "b.dump", "c.zst"] {
        let into = format!("{database}_{}", file.replace('.', "_"));
        let path = folder.join(file);
        let restored = coffre.json(["restore", "--file", path.to_str().unwrap(), "--into", &server.address(&into)]);
        assert_eq!(restored["restore"]["state"], "done", "{file}: {restored:#}");
        assert_eq!(server.sql(&into, "SELECT count(*) FROM customers"), "2000", "{file}");
    }
    let evil = folder.join("evil.sql");
    std::fs::write(&evil, "CREATE TABLE t(i int);\n\\! touch /tmp/coffre-was-here\n").unwrap();
    let into = format!("{database}_evil");
    coffre.fails(
        ["restore", "--file", evil.to_str().unwrap(), "--into", &server.address(&into)],
        "ARCHIVE_UNSAFE",
        4,
    );
    assert!(!server.has_database(&into));
}
