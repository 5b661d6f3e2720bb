//! A database on a server: found, tested, backed up, restored beside itself; and what its refusals look like in the window.

use coffre_api::model::address::Address;
use coffre_testkit::postgres::{Postgres, Version};
use serde_json::{Value, json};

use crate::desk::{Desk, home};

/// The form of a source at this address.
pub(crate) fn draft(name: &str, address: &str) -> Value {
    let address = Address::parse(address).unwrap();
    let values =
        json!({"host": address.host, "port": address.port, "database": address.path, "user": address.user, "tls": "prefer"});
    json!({"name": name, "adapter": "postgres", "values": values})
}

fn add(desk: &Desk, draft: &Value) -> Value {
    desk.ask("add_source", json!({"draft": draft, "secret": {"change": "keep"}}))
}

fn request(backup: &Value, kind: &str, value: &str) -> Value {
    json!({"request": {"backup_id": backup["id"], "file": null, "target": {"kind": kind, "value": value, "secret": null}}})
}

#[test]
fn from_the_form_to_a_new_database_on_the_same_server() {
    let server = Postgres::shared(Version::V15);
    let name = server.create_database();
    server.sql(&name, "CREATE TABLE orders AS SELECT g AS id FROM generate_series(1, 500) g");
    let home = home();
    let desk = Desk::on(home.path());
    let draft = draft("shop", &server.address(&name));
    let probe = desk.ask(
        "test_source",
        json!({"id": null, "draft": draft, "secret": {"change": "keep"}}),
    );
    assert_eq!(
        (&probe["server_version"], &probe["tables"]),
        (&json!(Version::V15.number()), &json!(1))
    );
    let source = add(&desk, &draft);
    let shown = desk.ask("show_source", json!({"id": source["id"]}));
    assert_eq!(
        (&shown["label"], &shown["draft"]["values"]["database"]),
        (&json!("PostgreSQL"), &json!(name))
    );
    let backup = desk.back_up(&source);
    assert_eq!((&backup["state"], &backup["rows"]), (&json!("verified"), &json!(500)));
    let tools = desk.ask("list_tools", json!({}));
    let chosen = tools
        .as_array()
        .unwrap()
        .iter()
        .find(|tool| tool["sources"] == json!(["shop"]));
    assert_eq!(chosen.unwrap()["tool"], backup["tool"]);

    let targets = desk.ask("restore_targets", json!({"backup_id": backup["id"], "file": null}));
    let kinds: Vec<&Value> = targets.as_array().unwrap().iter().map(|target| &target["kind"]).collect();
    assert_eq!(kinds, ["new_database", "address", "replace"]);
    let suggestion = format!("{}_{}", targets[0]["suggestion"].as_str().unwrap(), name);
    let plan = desk.ask("plan_restore", request(&backup, "new_database", &suggestion));
    assert_eq!(plan["allowed"], true, "{plan}");
    let facts = |name: &str| {
        let checks = plan["checks"].as_array().unwrap();
        checks.iter().find(|check| check["name"] == name).unwrap()["facts"].clone()
    };
    assert_eq!(facts("versions")["server_version"], Version::V15.number());
    assert_eq!(facts("target_empty")["exists"], false);
    assert!(!server.has_database(&suggestion), "a preview makes nothing");
    let restore = desk.ask("start_restore", json!({"confirmation": plan["confirmation"], "name": "shop"}));
    desk.until_idle();
    let restore = desk.ask("show_restore", json!({"id": restore["id"]}))["restore"].clone();
    assert_eq!(
        (&restore["state"], &restore["counts"][0]["after"]),
        (&json!("done"), &json!(500))
    );
    assert_eq!(server.sql(&suggestion, "SELECT count(*) FROM orders"), "500");

    let full = desk.ask("plan_restore", request(&backup, "new_database", &name));
    assert_eq!(full["allowed"], false);
    assert_eq!(full["checks"][0]["error"]["text"], "pg_target_not_empty");
    server.drop_database(&suggestion);
}

#[test]
fn a_refusal_brings_the_command_that_ends_it() {
    let server = Postgres::shared(Version::V15);
    let name = server.create_database();
    server.sql(&name, "CREATE TABLE secrets AS SELECT 1 AS x");
    server.create_role("window_reader", None);
    let home = home();
    let desk = Desk::on(home.path());
    let source = add(&desk, &draft("shop", &server.address_as("window_reader", &name)));
    let failed = desk.back_up(&source);
    assert_eq!(failed["error"]["code"], "PRIVILEGE");
    let remedy = desk.ask("show_backup", json!({"id": failed["id"]}))["remedy"].clone();
    assert!(remedy.as_str().unwrap().contains("GRANT SELECT ON TABLE"), "{remedy}");
    server.sql(&name, remedy.as_str().unwrap());
    assert_eq!(desk.back_up(&source)["state"], "verified");

    let gone = add(&desk, &draft("gone", "postgres://joe@127.0.0.1:1/shop"));
    let failed = desk.back_up(&gone);
    assert_eq!(failed["error"]["code"], "UNREACHABLE");
    let health = desk.ask("check_health", json!({}));
    let states: Vec<(&Value, &Value)> = health["sources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (&row["source"], &row["state"]))
        .collect();
    assert_eq!(
        states,
        [(&json!("gone"), &json!("silent")), (&json!("shop"), &json!("answers"))]
    );
}

#[test]
fn what_is_wrong_with_a_server_is_said_before_it_is_kept() {
    let server = Postgres::shared(Version::V15);
    let name = server.create_database();
    server.sql(&name, "CREATE TABLE secrets AS SELECT 1 AS x");
    server.create_role("window_tester", None);
    let home = home();
    let desk = Desk::on(home.path());
    let test = |draft: Value| json!({"id": null, "draft": draft, "secret": {"change": "keep"}});
    let draft_at = |address: &str| draft("shop", address);
    let absent = desk.refused_in_words("test_source", test(draft_at("postgres://joe@127.0.0.1:1/shop")));
    assert_eq!(absent.code.as_str(), "UNREACHABLE", "{absent:?}");
    let nowhere = desk.refused_in_words("test_source", test(draft_at("postgres://joe@nowhere.invalid:5432/shop")));
    assert_eq!(nowhere.code.as_str(), "UNREACHABLE", "{nowhere:?}");
    let unknown = desk.refused_in_words("test_source", test(draft_at(&server.address("no_such_database"))));
    assert!(unknown.message.contains("no_such_database"), "{unknown:?}");
    let stranger = desk.refused_in_words("test_source", test(draft_at(&server.address_as("no_such_role", &name))));
    assert_eq!(stranger.code.as_str(), "AUTH_FAILED", "{stranger:?}");
    let mut strict = draft_at(&server.address(&name));
    strict["values"]["tls"] = json!("require");
    let plain = desk.refused_in_words("test_source", test(strict));
    assert_eq!(plain.code.as_str(), "TLS_REFUSED", "{plain:?}");
    // A role that may not read everything: refused, or told as a remark, with the script that grants it.
    let probe = desk
        .window
        .dispatch("test_source", test(draft_at(&server.address_as("window_tester", &name))));
    let said = match &probe {
        Ok(probe) => probe["remarks"].to_string(),
        Err(error) => {
            assert_eq!(error.code.as_str(), "PRIVILEGE");
            error.details.to_string()
        }
    };
    assert!(said.contains("GRANT"), "{said}");
    assert_eq!(desk.ask("list_sources", json!({})), json!([]), "a test keeps nothing");
}
