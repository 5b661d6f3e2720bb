//! The questions that every database is asked.

use coffre_databases::postgres::Postgres as Kind;
use coffre_model::source::SourceOptions;
use coffre_testkit::conformance::database::{Case, Subject, check, source};
use coffre_testkit::postgres::{Postgres, Version};

use crate::common::{SHOP, Setup, shop_counts};

fn conforms(version: Version, format: &str) {
    let server = Postgres::shared(version);
    let options = SourceOptions {
        format: Some(format.to_owned()),
        tool_path: Some(version.bin().to_str().unwrap().to_owned()),
        ..SourceOptions::default()
    };
    let case = |address| Case::new(source(address, options.clone()));
    check(&Subject {
        kind: &Kind,
        filled: &|| {
            let name = server.create_database();
            server.sql(&name, SHOP);
            case(server.address(&name))
        },
        target: &|| {
            let name = server.create_database();
            server.drop_database(&name);
            case(server.socket_address(&name))
        },
        absent: &|| case("postgres://nobody@127.0.0.1:1/nothing".to_owned()),
    });
}

#[test]
fn custom_on_15() {
    conforms(Version::V15, "custom");
}

#[test]
fn plain_on_15() {
    conforms(Version::V15, "plain");
}

#[test]
fn custom_on_18() {
    conforms(Version::V18, "custom");
}

#[test]
fn the_counts_are_exact() {
    for version in Version::ALL {
        let server = Postgres::shared(version);
        let name = server.create_database();
        server.sql(&name, SHOP);
        let setup = Setup::new(server.address(&name)).tool_path(version.bin());
        let (_, facts) = setup.dump().unwrap();
        assert_eq!(facts.counts, shop_counts());
        assert!(facts.remarks.is_empty(), "{:?}", facts.remarks);
        assert_eq!(setup.open().database.counts().unwrap(), shop_counts());
    }
}
