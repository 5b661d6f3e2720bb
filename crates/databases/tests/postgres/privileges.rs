//! What a user may not read is found before anything is created, with the script that is missing.

use coffre_model::Code;
use coffre_testkit::postgres::{Postgres, Version};

use crate::common::{SHOP, Setup, shop_counts};

#[test]
fn missing_privileges_come_with_the_script_that_grants_them() {
    let server = Postgres::shared(Version::V15);
    let name = server.create_database();
    server.sql(&name, SHOP);
    server.create_role("reader", None);
    let mut setup = Setup::new(server.address_as("reader", &name));
    setup.options.no_large_objects = true;
    let error = setup.open().database.probe().unwrap_err();
    assert_eq!((error.code(), error.text()), (Code::Privilege, "pg_privilege"));
    assert!(error.detail("tables").unwrap().contains("\"Odd Schema\""));
    let grants = error.detail("grants").unwrap();
    // The script, run as it is, is what was missing.
    server.sql(&name, &grants);
    let (_, facts) = setup.dump().unwrap();
    assert_eq!(facts.counts, shop_counts());
    // And the large object.
    setup.options.no_large_objects = false;
    let error = setup.open().database.probe().unwrap_err();
    assert_eq!((error.code(), error.text()), (Code::Privilege, "pg_large_objects_closed"));
    server.sql(&name, &error.detail("grants").unwrap());
    setup.dump().unwrap();
}

#[test]
fn rows_hidden_by_a_policy_are_never_silently_missing() {
    let server = Postgres::shared(Version::V15);
    let name = server.create_database();
    server.create_role("tenant", None);
    server.sql(
        &name,
        "CREATE TABLE t AS SELECT g AS x FROM generate_series(1, 10) g; GRANT SELECT ON t TO tenant;
         ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY half ON t USING (x < 5)",
    );
    let setup = Setup::new(server.address_as("tenant", &name));
    let error = setup.open().database.probe().unwrap_err();
    assert_eq!((error.code(), error.text()), (Code::Privilege, "pg_row_security"));
    let error = setup.open().database.counts().unwrap_err();
    assert_eq!(error.code(), Code::Privilege, "{error}");
    server.sql("postgres", &error_grants(&setup));
    let (_, facts) = setup.dump().unwrap();
    assert_eq!(facts.counts[0].rows, 10);
    server.sql("postgres", "ALTER ROLE tenant NOBYPASSRLS");
}

fn error_grants(setup: &Setup) -> String {
    let error = setup.open().database.probe().unwrap_err();
    error.detail("grants").unwrap()
}

#[test]
fn tables_left_out_need_no_privilege() {
    let server = Postgres::shared(Version::V15);
    let name = server.create_database();
    server.create_role("partial", None);
    server.sql(
        &name,
        "CREATE TABLE open AS SELECT 1 AS x; GRANT SELECT ON open TO partial; CREATE TABLE closed AS SELECT 1 AS x",
    );
    let mut setup = Setup::new(server.address_as("partial", &name));
    assert_eq!(setup.dump().unwrap_err().code(), Code::Privilege);
    setup.options.exclude = vec!["closed".to_owned()];
    assert_eq!(setup.dump().unwrap().1.counts.len(), 1);
}
