//! Channels in the window: a form, a test with a precise answer, one message for one failure, trouble in Health.

use std::time::Duration;

use coffre_api::window::tray::TrayState;
use coffre_testkit::wait_until;
use coffre_testkit::web::{Answer, Receiver};
use serde_json::{Value, json};

use crate::desk::{Desk, home, make_database};

fn draft(name: &str, kind: &str, values: Value) -> Value {
    json!({
        "name": name, "kind": kind, "values": values, "language": "en", "time_zone": "UTC", "plan_ids": [],
        "wants": {"failures": true, "recoveries": true, "successes": false, "patient": false, "reminder_hours": 24, "digest": "none", "digest_at": "08:00"},
    })
}

fn save(id: Option<&Value>, draft: &Value) -> Value {
    json!({"id": id, "draft": draft, "secret": {"change": "keep"}})
}

#[test]
fn a_form_says_what_is_missing_and_a_test_what_the_receiver_said() {
    let server = Receiver::start([Answer::Status(410)]);
    let home = home();
    let desk = Desk::on(home.path());
    let forms = desk.ask("channel_forms", json!({}));
    assert_eq!(forms.as_array().unwrap().len(), 4);
    let empty = draft("", "email", json!({}));
    let errors = desk.ask("check_channel", save(None, &empty));
    for field in ["name", "host", "from", "to"] {
        assert!(errors[field]["message"].is_string(), "{field}: {errors:#}");
    }
    let clear = draft(
        "m",
        "email",
        json!({"host": "h", "from": "a@b.c", "to": ["d@e.f"], "security": "none", "user": "joe"}),
    );
    let set = json!({"id": null, "draft": clear, "secret": {"change": "set", "value": "hunter2"}});
    let errors = desk.ask("check_channel", set.clone());
    assert_eq!(errors["security"]["text"], "smtp_password_in_clear", "{errors:#}");
    assert_eq!(desk.refused("save_channel", set).text, "smtp_password_in_clear");
    let hook = draft("hook", "webhook", json!({"url": server.url("/x")}));
    let saved = desk.ask("save_channel", save(None, &hook));
    let tested = desk.ask("test_channel", json!({"id": saved["id"]}));
    assert_eq!(
        (&tested["ok"], &tested["error"]["text"]),
        (&false.into(), &"http_gone".into())
    );
    let trouble = desk.ask("health", json!({}))["channels"].clone();
    assert_eq!(
        (&trouble[0]["name"], &trouble[0]["error"]["text"]),
        (&"hook".into(), &"http_gone".into())
    );
    let tested = desk.ask("test_channel", json!({"id": saved["id"]}));
    assert_eq!((&tested["ok"], &tested["error"]), (&true.into(), &Value::Null));
    assert_eq!(desk.ask("health", json!({}))["channels"], json!([]));
    let row = desk.ask("list_channels", json!({}))[0].clone();
    assert_eq!(row["draft"]["values"]["url"], server.url("/x"));
    assert_eq!(
        desk.ask("list_deliveries", json!({"id": saved["id"]}))
            .as_array()
            .unwrap()
            .len(),
        2
    );
    // Its name belongs to it, and to no other.
    assert_eq!(desk.ask("check_channel", save(Some(&saved["id"]), &hook)), json!({}));
    assert_eq!(desk.ask("check_channel", save(None, &hook))["name"]["text"], "name_taken");
    desk.ask("remove_channel", json!({"id": saved["id"]}));
    assert_eq!(desk.ask("list_channels", json!({})), json!([]));
}

#[test]
fn the_window_tells_a_failure_once() {
    let server = Receiver::start([]);
    let home = home();
    let desk = Desk::on(home.path());
    let hook = draft("hook", "webhook", json!({"url": server.url("/x")}));
    desk.ask("save_channel", save(None, &hook));
    let path = home.path().join("shop.db");
    make_database(&path, 3);
    let source = desk.add_sqlite("shop", &path);
    std::fs::remove_file(&path).unwrap();
    for _ in 0..2 {
        desk.ask("run_backup", json!({"source_id": source["id"], "plan_id": null}));
        desk.until_idle();
    }
    assert!(wait_until(Duration::from_secs(90), || !server.requests().is_empty()));
    let body: Value = serde_json::from_str(&server.requests()[0].body).unwrap();
    assert_eq!(
        (&body["event"], &body["events"][0]["source"]["name"]),
        (&"backup.failed".into(), &"shop".into())
    );
    // Told by the desktop as well, from the same judgement.
    assert!(!desk.shell.notices.lock().unwrap().is_empty());
}

#[test]
fn a_channel_that_fails_is_seen_beside_sources_that_are_safe() {
    let server = Receiver::start([]);
    let home = home();
    let desk = Desk::on(home.path());
    let made = desk.ask("create_sample", json!({}));
    desk.end_of(&made["backup_id"]);
    desk.until_idle();
    let seen = || {
        let (attention, overview) = (desk.ask("attention", json!({})), desk.ask("overview", json!({})));
        assert_eq!(
            (&attention["protected"], &overview["protected"]),
            (&1.into(), &1.into()),
            "backups are as fine as before"
        );
        assert_eq!(attention["nobody_told"], overview["unheard"]["nobody"]);
        let channels = overview["unheard"]["channels"].as_array().unwrap().len();
        assert_eq!(attention["channels_failing"], channels);
        (channels, attention["nobody_told"] == true, desk.window.tray())
    };
    let (failing, nobody, tray) = seen();
    assert_eq!((failing, nobody, tray.state), (0, false, TrayState::Protected), "{tray:?}");

    // A mail server that is gone, and nobody else who listens.
    let away = draft("away", "webhook", json!({"url": "http://127.0.0.1:9/x"}));
    let away = desk.ask("save_channel", save(None, &away));
    desk.ask("test_channel", json!({"id": away["id"]}));
    let (failing, nobody, tray) = seen();
    assert_eq!((failing, nobody, tray.state), (1, true, TrayState::Attention), "{tray:?}");
    assert!(
        tray.sentence.contains("1 source is protected. Nobody can be told"),
        "two sentences: {tray:?}"
    );
    let told = desk.ask("overview", json!({}))["unheard"]["channels"][0].clone();
    assert_eq!((&told["name"], &told["id"]), (&"away".into(), &away["id"]));
    assert!(told["error"]["message"].is_string(), "{told:#}");

    // Somebody else is reached: then it is one channel, and not silence.
    let hook = draft("hook", "webhook", json!({"url": server.url("/x")}));
    let hook = desk.ask("save_channel", save(None, &hook));
    desk.ask("test_channel", json!({"id": hook["id"]}));
    let (failing, nobody, tray) = seen();
    assert_eq!((failing, nobody, tray.state), (1, false, TrayState::Attention), "{tray:?}");
    assert!(tray.sentence.contains("1 channel does not reach its receiver"), "{tray:?}");

    desk.ask("set_setting", json!({"key": "language", "value": "fr"}));
    let french = desk.window.tray().sentence;
    assert!(french.contains("1 canal ne fonctionne pas"), "{french}");
    // A person's choice is no failure.
    desk.ask("pause_channel", json!({"id": away["id"], "paused": true}));
    let (failing, nobody, tray) = seen();
    assert_eq!((failing, nobody, tray.state), (0, false, TrayState::Protected), "{tray:?}");
}
