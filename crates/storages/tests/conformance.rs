//! Every storage answers the same questions (`coffre_testkit::conformance::storage`).

#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use std::time::Duration;

use coffre_model::destination::Destination;
use coffre_model::storage::{Storage, StorageAccess};
use coffre_model::{Cancel, Id};
use coffre_testkit::conformance;

fn open(address: &str) -> Box<dyn Storage> {
    let destination = Destination {
        id: Id::new(),
        name: "conformance".into(),
        address: address.into(),
        has_secret: false,
        identity: None,
        created_at: "2026-01-01T00:00:00Z".parse().unwrap(),
    };
    let access = StorageAccess {
        secret: None,
        stall: Duration::from_secs(60),
        cancel: Cancel::new(),
    };
    let scheme = destination.parsed().unwrap().scheme;
    coffre_storages::find(&scheme).unwrap().open(&destination, access).unwrap()
}

#[test]
fn a_local_folder_keeps_what_the_trait_promises() {
    conformance::storage::check(|| {
        let folder = tempfile::tempdir().unwrap();
        move || open(&format!("file://{}", folder.path().display()))
    });
}
