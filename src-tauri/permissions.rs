//! What the page may do, written down: a change of it must be meant. (`tests/e2e` asks the real window.)

use serde_json::{Value, json};

fn read(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn the_page_hears_events_and_nothing_else() {
    // Written by tauri-build: every capability as it was resolved.
    let resolved = read(include_str!("../gen/schemas/capabilities.json"));
    let all: Vec<&Value> = resolved.as_object().unwrap().values().collect();
    assert_eq!(all.len(), 1, "one capability");
    assert_eq!(
        all[0]["permissions"],
        json!(["core:event:allow-listen", "core:event:allow-unlisten"])
    );
    assert_eq!(all[0]["windows"], json!(["main"]));
    assert!(all[0].get("remote").is_none(), "no page from elsewhere");
}

#[test]
fn the_policy_allows_files_of_our_own_alone() {
    let configuration = read(include_str!("../tauri.conf.json"));
    let security = &configuration["app"]["security"];
    insta::assert_snapshot!(
        security["csp"].as_str().unwrap().replace("; ", "\n"),
        @r"
    default-src 'none'
    script-src 'self'
    style-src 'self'
    img-src 'self'
    font-src 'self'
    connect-src ipc: http://ipc.localhost
    frame-src 'none'
    object-src 'none'
    base-uri 'none'
    form-action 'none'
    "
    );
    assert_eq!(security["capabilities"], json!(["main"]));
    assert_eq!(configuration["app"]["withGlobalTauri"], json!(false));
    assert!(security.get("dangerousDisableAssetCspModification").is_none());
}
