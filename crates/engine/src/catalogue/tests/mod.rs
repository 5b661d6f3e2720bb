//! Tests of the catalogue on real files, and what they and the leases' tests share.

mod adopting;
mod backups;
mod damage;
mod figures;
mod listing;
mod migration;
mod named;
mod opening;
mod retention;
mod states;
mod telling;

#[allow(
    clippy::disallowed_methods,
    reason = "these tests start themselves again as children, and send them signals"
)]
pub(crate) mod child;

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use coffre_model::backup::{Backup, BackupState, BackupType, Copy, CopyState, Kind, Tool, Trigger};
use coffre_model::compression::Compression;
use coffre_model::database::{DumpFormat, TableCount};
use coffre_model::destination::Destination;
use coffre_model::key::{Key, KeyKind};
use coffre_model::manifest::{Manifest, SCHEMA, Scope};
use coffre_model::plan::{Plan, Retention};
use coffre_model::source::{Source, SourceOptions, Tls};
use coffre_model::{BackupCode, Cancel, Id};
use rusqlite::Connection;
use tempfile::TempDir;

use super::Catalogue;
use crate::home::Home;
use crate::lease::{Lease, Resource};

pub(crate) const LENGTH: Duration = Duration::from_secs(60);

/// A moment, `seconds` after a fixed one.
pub(crate) fn moment(seconds: i64) -> DateTime<Utc> {
    "2026-02-05T21:13:02.125Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::seconds(seconds)
}

/// A home with a catalogue, one source and two destinations.
pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) home: Home,
    pub(crate) catalogue: Catalogue,
    pub(crate) source: Source,
    pub(crate) local: Destination,
    pub(crate) remote: Destination,
}

pub(crate) fn source(name: &str) -> Source {
    Source {
        id: Id::new(),
        name: name.to_owned(),
        address: "postgres://joe@h:5433/shop".to_owned(),
        options: SourceOptions {
            format: Some("custom".into()),
            tls: Some(Tls::VerifyFull),
            include: vec!["public.*".into()],
            ..SourceOptions::default()
        },
        has_secret: true,
        created_at: moment(0),
    }
}

pub(crate) fn destination(name: &str) -> Destination {
    Destination {
        id: Id::new(),
        name: name.to_owned(),
        address: format!("file:///backups/{}", Id::new()),
        has_secret: false,
        identity: Some(Id::new()),
        created_at: moment(0),
    }
}

pub(crate) fn key(name: &str) -> Key {
    Key {
        id: Id::new(),
        name: name.to_owned(),
        kind: KeyKind::Recipient,
        recipient: Some(format!("age1{}", Id::new())),
        created_at: moment(0),
        exported_at: None,
    }
}

pub(crate) fn plan(name: &str, source: &Source, destinations: &[&Destination]) -> Plan {
    Plan {
        id: Id::new(),
        name: name.to_owned(),
        source_id: source.id,
        source: source.name.clone(),
        destination_ids: destinations.iter().map(|d| d.id).collect(),
        destinations: destinations.iter().map(|d| d.name.clone()).collect(),
        kind: Kind::Full,
        every: Some(BackupType::Daily),
        compression: Compression::Gzip(6),
        encryption: None,
        key_id: None,
        retention: Retention {
            keep_daily: Some(7),
            ..Retention::default()
        },
        schedule: None,
        hooks: None,
        paused_at: None,
        created_at: moment(0),
    }
}

/// A backup that has just begun.
pub(crate) fn running(source: &Source, seconds: i64) -> Backup {
    let id = Id::new();
    Backup {
        id,
        code: BackupCode::new(moment(seconds), &id),
        source: source.name.clone(),
        source_id: source.id,
        aim: Some(crate::aim::aim(source)),
        plan: None,
        plan_id: None,
        trigger: Trigger::Manual,
        backup_type: BackupType::Manual,
        kind: Kind::Full,
        base_id: None,
        state: BackupState::Running,
        started_at: moment(seconds),
        ended_at: None,
        duration_ms: None,
        raw_bytes: None,
        stored_bytes: None,
        sha256: None,
        raw_sha256: None,
        compression: Compression::Zstd(3),
        encryption: None,
        tables: None,
        rows: None,
        tool: None,
        server_version: None,
        flags: Vec::new(),
        error: None,
        note: "before the release".to_owned(),
        pinned: false,
        leaves_at: None,
        acknowledged_at: None,
        copies: Vec::new(),
    }
}

/// The same backup at its good end, with a copy of this state at each destination.
pub(crate) fn ended(backup: &Backup, state: BackupState, copies: &[(&Destination, CopyState)]) -> Backup {
    let mut backup = backup.clone();
    backup.state = state;
    backup.ended_at = Some(backup.started_at + TimeDelta::milliseconds(1_500));
    backup.duration_ms = Some(1_500);
    backup.raw_bytes = Some(10_000);
    backup.stored_bytes = Some(4_000);
    backup.sha256 = Some("a".repeat(64));
    backup.raw_sha256 = Some("b".repeat(64));
    backup.tables = Some(2);
    backup.rows = Some(357);
    backup.tool = Some(Tool {
        name: "pg_dump".into(),
        path: Some("/usr/lib/postgresql/15/bin/pg_dump".into()),
        version: "15.20".into(),
    });
    backup.server_version = Some("15.20".into());
    backup.flags = vec!["shrunk".into()];
    let verified_at = backup.ended_at;
    let mut copies: Vec<_> = copies
        .iter()
        .map(|(destination, state)| Copy {
            destination: destination.name.clone(),
            destination_id: destination.id,
            key: artifact_key(&backup),
            state: *state,
            stored_bytes: 4_000,
            sha256: backup.sha256.clone(),
            verified_at: if *state == CopyState::Verified { verified_at } else { None },
            error: None,
        })
        .collect();
    copies.sort_by(|a, b| a.destination.cmp(&b.destination));
    backup.copies = copies;
    backup
}

pub(crate) fn artifact_key(backup: &Backup) -> String {
    format!("shop/2026/{}.dump.zst", backup.code)
}

pub(crate) fn counts() -> Vec<TableCount> {
    vec![
        TableCount {
            table: "public.items".into(),
            rows: 300,
        },
        TableCount {
            table: "public.orders".into(),
            rows: 57,
        },
    ]
}

pub(crate) fn manifest(backup: &Backup) -> Manifest {
    Manifest {
        schema: SCHEMA,
        coffre_version: "0.1.0".into(),
        backup: backup.clone(),
        artifact: "a.dump.zst".into(),
        database: "postgres".into(),
        format: DumpFormat::PgCustom,
        scope: Scope {
            included: vec!["tables".into()],
            not_included: vec!["roles".into()],
            excluded_tables: Vec::new(),
        },
        table_counts: counts(),
        parts: Vec::new(),
        recipient: None,
        remarks: Vec::new(),
        recovery: vec!["zstd -d a.dump.zst".into()],
    }
}

pub(crate) fn manifest_json(backup: &Backup) -> String {
    serde_json::to_string_pretty(&manifest(backup)).unwrap()
}

impl World {
    pub(crate) fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(&dir.path().join("home")).unwrap();
        let catalogue = Catalogue::open(&home).unwrap();
        let (source, local, remote) = (source("shop"), destination("local"), destination("remote"));
        catalogue.add_source(&source).unwrap();
        catalogue.add_destination(&local).unwrap();
        catalogue.add_destination(&remote).unwrap();
        World {
            dir,
            home,
            catalogue,
            source,
            local,
            remote,
        }
    }

    /// A second connection to the file, for what the catalogue itself refuses.
    pub(crate) fn raw(&self) -> Connection {
        let connection = Connection::open(self.home.catalogue()).unwrap();
        connection.busy_timeout(Duration::from_secs(30)).unwrap();
        connection.pragma_update(None, "foreign_keys", "ON").unwrap();
        connection
    }

    pub(crate) fn lease(&self, resource: &Resource) -> Lease {
        Lease::acquire(&self.catalogue, resource, &Id::new(), LENGTH, &Cancel::new()).unwrap()
    }

    pub(crate) fn source_lease(&self) -> Lease {
        self.lease(&Resource::Source(self.source.id))
    }

    pub(crate) fn backup_lease(&self, backup: &Backup) -> Lease {
        self.lease(&Resource::Backup(backup.id))
    }

    /// A run that goes on, to both destinations.
    pub(crate) fn begin(&self, seconds: i64, lease: &Lease) -> Backup {
        let backup = running(&self.source, seconds);
        let key = artifact_key(&backup);
        let copies = [(self.local.id, key.clone()), (self.remote.id, key)];
        self.catalogue.begin_run(&backup, &copies, lease).unwrap();
        backup
    }

    /// A finished backup; `stored` and `verified` ones with both copies in that state.
    pub(crate) fn finished(&self, seconds: i64, state: BackupState) -> Backup {
        let lease = self.source_lease();
        let begun = self.begin(seconds, &lease);
        let copy = match state {
            BackupState::Stored => Some(CopyState::Stored),
            BackupState::Verified => Some(CopyState::Verified),
            _ => None,
        };
        let mut backup = match copy {
            Some(copy) => ended(&begun, state, &[(&self.local, copy), (&self.remote, copy)]),
            None => ended(&begun, state, &[]),
        };
        if copy.is_none() {
            backup.error = Some(coffre_model::Error::new(coffre_model::Code::DumpFailed, "dump_failed").with("tool", "pg_dump"));
        }
        let json = copy.map(|_| manifest_json(&backup));
        let counts = if copy.is_some() { counts() } else { Vec::new() };
        self.catalogue.finish_run(&backup, json.as_deref(), &counts, &lease).unwrap()
    }
}
