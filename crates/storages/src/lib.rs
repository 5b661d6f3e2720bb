//! One file per storage: where backups lie
