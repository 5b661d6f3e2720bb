-- Schema 1. Never changed once released; a change is a new migration.
--
-- Times are RFC 3339 in UTC with exactly three digits of milliseconds, so that the order of the text is the order of time.
-- Ids are UUIDs in their form with hyphens. Sizes are bytes. Words are those of `coffre-model`, checked here a second time.


-- "COFR": tells a catalogue from any other SQLite database.
PRAGMA application_id = 1129268818;
-- `x IS NULL OR json_valid(x)`: before SQLite 3.41 json_valid(NULL) is 0, and a stock sqlite3 would call a sound catalogue damaged.
CREATE TABLE settings (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- A removed source, destination, plan or key keeps its row: what was made with it still shows its name and can still be restored.
-- A placeholder stands for one that is known from a manifest alone (the catalogue was rebuilt).
CREATE TABLE sources (
    id          TEXT PRIMARY KEY CHECK (length(id) = 36),
    name        TEXT NOT NULL CHECK (name <> ''),
    address     TEXT NOT NULL,
    options     TEXT NOT NULL CHECK (json_valid(options)),
    has_secret  INTEGER NOT NULL CHECK (has_secret IN (0, 1)),
    created_at  TEXT NOT NULL CHECK (created_at LIKE '____-__-__T__:__:__.___Z'),
    removed_at  TEXT CHECK (removed_at LIKE '____-__-__T__:__:__.___Z'),
    placeholder INTEGER NOT NULL DEFAULT 0 CHECK (placeholder IN (0, 1))
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX sources_name ON sources (name) WHERE removed_at IS NULL;

CREATE TABLE destinations (
    id          TEXT PRIMARY KEY CHECK (length(id) = 36),
    name        TEXT NOT NULL CHECK (name <> ''),
    address     TEXT NOT NULL,
    has_secret  INTEGER NOT NULL CHECK (has_secret IN (0, 1)),
    identity    TEXT CHECK (length(identity) = 36),
    created_at  TEXT NOT NULL CHECK (created_at LIKE '____-__-__T__:__:__.___Z'),
    removed_at  TEXT CHECK (removed_at LIKE '____-__-__T__:__:__.___Z')
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX destinations_name ON destinations (name) WHERE removed_at IS NULL;

CREATE TABLE keys (
    id          TEXT PRIMARY KEY CHECK (length(id) = 36),
    name        TEXT NOT NULL CHECK (name <> ''),
    kind        TEXT NOT NULL CHECK (kind IN ('recipient', 'passphrase')),
    recipient   TEXT,
    created_at  TEXT NOT NULL CHECK (created_at LIKE '____-__-__T__:__:__.___Z'),
    exported_at TEXT CHECK (exported_at LIKE '____-__-__T__:__:__.___Z'),
    removed_at  TEXT CHECK (removed_at LIKE '____-__-__T__:__:__.___Z'),
    CHECK ((kind = 'recipient') = (recipient IS NOT NULL))
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX keys_name ON keys (name) WHERE removed_at IS NULL;

CREATE TABLE plans (
    id          TEXT PRIMARY KEY CHECK (length(id) = 36),
    name        TEXT NOT NULL CHECK (name <> ''),
    source_id   TEXT NOT NULL REFERENCES sources (id),
    kind        TEXT NOT NULL CHECK (kind IN ('full', 'differential', 'incremental')),
    every       TEXT CHECK (every IN ('hourly', 'daily', 'weekly', 'monthly', 'manual')),
    compression TEXT NOT NULL,
    key_id      TEXT REFERENCES keys (id),
    retention   TEXT NOT NULL CHECK (json_valid(retention)),
    created_at  TEXT NOT NULL CHECK (created_at LIKE '____-__-__T__:__:__.___Z'),
    removed_at  TEXT CHECK (removed_at LIKE '____-__-__T__:__:__.___Z'),
    placeholder INTEGER NOT NULL DEFAULT 0 CHECK (placeholder IN (0, 1))
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX plans_name ON plans (name) WHERE removed_at IS NULL;
CREATE INDEX plans_source ON plans (source_id);
CREATE INDEX plans_key ON plans (key_id);

CREATE TABLE plan_destinations (
    plan_id        TEXT NOT NULL REFERENCES plans (id),
    position       INTEGER NOT NULL CHECK (position >= 0),
    destination_id TEXT NOT NULL REFERENCES destinations (id),
    PRIMARY KEY (plan_id, position),
    UNIQUE (plan_id, destination_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX plan_destinations_destination ON plan_destinations (destination_id);

-- A run and its result.
CREATE TABLE backups (
    id             TEXT PRIMARY KEY CHECK (length(id) = 36),
    code           TEXT NOT NULL UNIQUE,
    source_id      TEXT NOT NULL REFERENCES sources (id),
    source_name    TEXT NOT NULL,
    -- Which database the source pointed to (a fingerprint): what was made of another one proves nothing of the source as it is now.
    aim            TEXT,
    plan_id        TEXT REFERENCES plans (id),
    plan_name      TEXT,
    "trigger"      TEXT NOT NULL CHECK ("trigger" IN ('manual', 'scheduled', 'catch_up', 'safety', 'guard', 'api')),
    type           TEXT NOT NULL CHECK (type IN ('hourly', 'daily', 'weekly', 'monthly', 'manual')),
    kind           TEXT NOT NULL CHECK (kind IN ('full', 'differential', 'incremental')),
    -- No foreign key: after a rebuild the base can be lost while what builds on it is still there, and that must be shown.
    base_id        TEXT CHECK (length(base_id) = 36),
    state          TEXT NOT NULL CHECK (state IN ('running', 'stored', 'verified', 'failed', 'interrupted', 'cancelled', 'skipped',
                                                  'missed', 'deleting', 'deleted')),
    started_at     TEXT NOT NULL CHECK (started_at LIKE '____-__-__T__:__:__.___Z'),
    ended_at       TEXT CHECK (ended_at LIKE '____-__-__T__:__:__.___Z'),
    duration_ms    INTEGER CHECK (duration_ms >= 0),
    raw_bytes      INTEGER CHECK (raw_bytes >= 0),
    stored_bytes   INTEGER CHECK (stored_bytes >= 0),
    sha256         TEXT CHECK (length(sha256) = 64),
    raw_sha256     TEXT CHECK (length(raw_sha256) = 64),
    compression    TEXT NOT NULL,
    encryption     TEXT,
    key_id         TEXT REFERENCES keys (id),
    tables         INTEGER CHECK (tables >= 0),
    rows           INTEGER CHECK (rows >= 0),
    tool_name      TEXT,
    tool_path      TEXT,
    tool_version   TEXT,
    server_version TEXT,
    flags          TEXT NOT NULL CHECK (json_valid(flags)),
    error          TEXT CHECK (error IS NULL OR json_valid(error)),
    note           TEXT NOT NULL,
    pinned         INTEGER NOT NULL CHECK (pinned IN (0, 1)),
    database       TEXT,
    format         TEXT CHECK (format IN ('pg_custom', 'sql', 'sqlite')),
    scope          TEXT CHECK (scope IS NULL OR json_valid(scope)),
    remarks        TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(remarks)),
    -- The lease under which the row may be written while its state is live.
    resource       TEXT,
    fence          INTEGER,
    CHECK ((tool_name IS NULL) = (tool_version IS NULL)),
    CHECK ((plan_id IS NULL) = (plan_name IS NULL)),
    CHECK (state IN ('running', 'skipped', 'missed', 'deleting', 'deleted') OR ended_at IS NOT NULL),
    CHECK (state <> 'failed' OR error IS NOT NULL),
    CHECK (state <> 'verified' OR (sha256 IS NOT NULL AND raw_sha256 IS NOT NULL AND stored_bytes > 0))
) STRICT;
-- The lists: newest first, the state in the index, so that counting and paging never touch the rows themselves.
CREATE INDEX backups_time ON backups (started_at, id, state);
CREATE INDEX backups_source ON backups (source_id, started_at, id, state);
CREATE INDEX backups_aim ON backups (source_id, aim, started_at, id, state);
CREATE INDEX backups_plan ON backups (plan_id, started_at, id, state) WHERE plan_id IS NOT NULL;
CREATE INDEX backups_state ON backups (state, started_at, id);
CREATE INDEX backups_type ON backups (type, started_at, id, state);
-- The same lists sorted otherwise.
CREATE INDEX backups_by_source ON backups (source_name COLLATE NOCASE, started_at, id, state);
CREATE INDEX backups_by_plan ON backups (plan_name COLLATE NOCASE, started_at, id, state);
CREATE INDEX backups_by_size ON backups (stored_bytes, started_at, id, state);
CREATE INDEX backups_by_duration ON backups (duration_ms, started_at, id, state);
CREATE INDEX backups_base ON backups (base_id) WHERE base_id IS NOT NULL;
CREATE INDEX backups_key ON backups (key_id) WHERE key_id IS NOT NULL;

-- `writing` is set with the key before the first byte is written, so that a crash never leaves bytes that nobody knows of.
-- It is never shown outside.
CREATE TABLE copies (
    backup_id      TEXT NOT NULL REFERENCES backups (id),
    destination_id TEXT NOT NULL REFERENCES destinations (id),
    key            TEXT NOT NULL CHECK (key <> ''),
    state          TEXT NOT NULL CHECK (state IN ('writing', 'stored', 'verified', 'missing', 'corrupt', 'deleting', 'deleted')),
    stored_bytes   INTEGER NOT NULL CHECK (stored_bytes >= 0),
    sha256         TEXT CHECK (length(sha256) = 64),
    verified_at    TEXT CHECK (verified_at LIKE '____-__-__T__:__:__.___Z'),
    error          TEXT CHECK (error IS NULL OR json_valid(error)),
    PRIMARY KEY (backup_id, destination_id),
    UNIQUE (destination_id, key),
    CHECK (state <> 'verified' OR (sha256 IS NOT NULL AND verified_at IS NOT NULL AND stored_bytes > 0))
) STRICT, WITHOUT ROWID;
CREATE INDEX copies_sum ON copies (backup_id, state, stored_bytes);
CREATE INDEX copies_writing ON copies (backup_id) WHERE state = 'writing';

-- Gone with the backup: they describe bytes that are no longer there, and would grow without end.
CREATE TABLE manifests (
    backup_id TEXT PRIMARY KEY REFERENCES backups (id),
    json      TEXT NOT NULL CHECK (json_valid(json))
) STRICT;

CREATE TABLE table_counts (
    backup_id  TEXT NOT NULL REFERENCES backups (id),
    table_name TEXT NOT NULL,
    rows       INTEGER NOT NULL CHECK (rows >= 0),
    PRIMARY KEY (backup_id, table_name)
) STRICT, WITHOUT ROWID;

CREATE TABLE restores (
    id               TEXT PRIMARY KEY CHECK (length(id) = 36),
    backup_id        TEXT REFERENCES backups (id),
    file             TEXT,
    target           TEXT NOT NULL,
    mode             TEXT NOT NULL CHECK (mode IN ('into', 'dry_run', 'replace')),
    state            TEXT NOT NULL CHECK (state IN ('planned', 'running', 'done', 'undone', 'failed', 'interrupted')),
    safety_backup_id TEXT REFERENCES backups (id),
    started_at       TEXT NOT NULL CHECK (started_at LIKE '____-__-__T__:__:__.___Z'),
    ended_at         TEXT CHECK (ended_at LIKE '____-__-__T__:__:__.___Z'),
    error            TEXT CHECK (error IS NULL OR json_valid(error)),
    remarks          TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(remarks)),
    resource         TEXT,
    fence            INTEGER,
    CHECK (backup_id IS NOT NULL OR file IS NOT NULL),
    CHECK (state IN ('planned', 'running') OR ended_at IS NOT NULL),
    CHECK (state <> 'failed' OR error IS NOT NULL)
) STRICT;
CREATE INDEX restores_time ON restores (started_at, id);
CREATE INDEX restores_state ON restores (state);
CREATE INDEX restores_backup ON restores (backup_id);
CREATE INDEX restores_safety ON restores (safety_backup_id) WHERE safety_backup_id IS NOT NULL;

CREATE TABLE restore_steps (
    restore_id TEXT NOT NULL REFERENCES restores (id),
    position   INTEGER NOT NULL CHECK (position >= 0),
    name       TEXT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('pending', 'running', 'done', 'failed')),
    started_at TEXT CHECK (started_at LIKE '____-__-__T__:__:__.___Z'),
    ended_at   TEXT CHECK (ended_at LIKE '____-__-__T__:__:__.___Z'),
    PRIMARY KEY (restore_id, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE restore_counts (
    restore_id    TEXT NOT NULL REFERENCES restores (id),
    position      INTEGER NOT NULL CHECK (position >= 0),
    table_name    TEXT NOT NULL,
    rows_before   INTEGER CHECK (rows_before >= 0),
    rows_after    INTEGER CHECK (rows_after >= 0),
    rows_backup   INTEGER CHECK (rows_backup >= 0),
    PRIMARY KEY (restore_id, position)
) STRICT, WITHOUT ROWID;

-- Who works on what. `beat` changes while the owner lives and is not frozen; `expires_at` is the owner's wall clock and only a hint.
CREATE TABLE leases (
    resource   TEXT PRIMARY KEY,
    owner      TEXT NOT NULL,
    fence      INTEGER NOT NULL UNIQUE,
    run_id     TEXT NOT NULL CHECK (length(run_id) = 36),
    beat       INTEGER NOT NULL,
    lease_ms   INTEGER NOT NULL CHECK (lease_ms > 0),
    expires_at TEXT NOT NULL CHECK (expires_at LIKE '____-__-__T__:__:__.___Z')
) STRICT, WITHOUT ROWID;

-- The greatest fence ever given out: a fence is never used twice, whatever becomes of the lease.
CREATE TABLE fence (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    last INTEGER NOT NULL
) STRICT;
INSERT INTO fence (one, last) VALUES (1, 0);

CREATE TABLE journal (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    at           TEXT NOT NULL CHECK (at LIKE '____-__-__T__:__:__.___Z'),
    author       TEXT NOT NULL CHECK (author IN ('cli', 'app', 'api', 'schedule', 'system')),
    actor        TEXT,
    action       TEXT NOT NULL,
    subject_kind TEXT NOT NULL,
    subject_id   TEXT,
    subject      TEXT NOT NULL,
    result       TEXT NOT NULL CHECK (result IN ('ok', 'failed')),
    error        TEXT CHECK (error IS NULL OR json_valid(error)),
    CHECK (result <> 'failed' OR error IS NOT NULL)
) STRICT;

-- The history of one thing; and when backups were deleted, for the size over time.
CREATE INDEX journal_subject ON journal (subject_id) WHERE subject_id IS NOT NULL;
CREATE INDEX journal_deleted ON journal (at, subject_id) WHERE action = 'backup.delete' AND result = 'ok';

-- States. The same tables of transitions stand in Rust (`BackupState::may_become`, `catalogue::states`); a test compares them pair by pair.

CREATE TRIGGER backups_begin BEFORE INSERT ON backups
WHEN NEW.state NOT IN ('running', 'skipped', 'missed')
BEGIN
    SELECT RAISE(ABORT, 'backups_begin');
END;

CREATE TRIGGER backups_transition BEFORE UPDATE OF state ON backups
WHEN NEW.state IS NOT OLD.state AND NOT (
       (OLD.state = 'running' AND NEW.state IN ('stored', 'verified', 'failed', 'interrupted', 'cancelled'))
    OR (OLD.state = 'stored' AND NEW.state IN ('verified', 'failed', 'deleting'))
    OR (OLD.state = 'verified' AND NEW.state IN ('failed', 'deleting'))
    OR (OLD.state = 'failed' AND NEW.state IN ('verified', 'deleting'))
    OR (OLD.state IN ('interrupted', 'cancelled', 'skipped', 'missed') AND NEW.state = 'deleting')
    OR (OLD.state = 'deleting' AND NEW.state = 'deleted'))
BEGIN
    SELECT RAISE(ABORT, 'backups_transition');
END;

CREATE TRIGGER backups_verified BEFORE UPDATE OF state ON backups
WHEN NEW.state = 'verified' AND NOT EXISTS (SELECT 1 FROM copies WHERE backup_id = NEW.id AND state = 'verified')
BEGIN
    SELECT RAISE(ABORT, 'backups_verified');
END;

CREATE TRIGGER backups_identity BEFORE UPDATE OF id, code, source_id, aim, plan_id, started_at, kind, base_id ON backups
WHEN NEW.id IS NOT OLD.id OR NEW.code IS NOT OLD.code OR NEW.source_id IS NOT OLD.source_id OR NEW.aim IS NOT OLD.aim
    OR NEW.plan_id IS NOT OLD.plan_id
    OR NEW.started_at IS NOT OLD.started_at OR NEW.kind IS NOT OLD.kind OR NEW.base_id IS NOT OLD.base_id
BEGIN
    SELECT RAISE(ABORT, 'backups_identity');
END;

-- What was written is known once and for all when the run ends.
CREATE TRIGGER backups_hash BEFORE UPDATE OF sha256, raw_sha256, raw_bytes, stored_bytes ON backups
WHEN OLD.state <> 'running' AND (NEW.sha256 IS NOT OLD.sha256 OR NEW.raw_sha256 IS NOT OLD.raw_sha256
    OR NEW.raw_bytes IS NOT OLD.raw_bytes OR NEW.stored_bytes IS NOT OLD.stored_bytes)
BEGIN
    SELECT RAISE(ABORT, 'backups_hash');
END;

CREATE TRIGGER backups_kept BEFORE DELETE ON backups
BEGIN
    SELECT RAISE(ABORT, 'backups_kept');
END;

CREATE TRIGGER copies_begin BEFORE INSERT ON copies
WHEN NEW.state <> 'writing'
BEGIN
    SELECT RAISE(ABORT, 'copies_begin');
END;

CREATE TRIGGER copies_transition BEFORE UPDATE OF state ON copies
WHEN NEW.state IS NOT OLD.state AND NOT (
       (OLD.state = 'writing' AND NEW.state IN ('stored', 'verified', 'missing', 'corrupt', 'deleting'))
    OR (OLD.state = 'stored' AND NEW.state IN ('verified', 'missing', 'corrupt', 'deleting'))
    OR (OLD.state = 'verified' AND NEW.state IN ('missing', 'corrupt', 'deleting'))
    OR (OLD.state = 'missing' AND NEW.state IN ('verified', 'corrupt', 'deleting'))
    OR (OLD.state = 'corrupt' AND NEW.state IN ('verified', 'missing', 'deleting'))
    OR (OLD.state = 'deleting' AND NEW.state = 'deleted'))
BEGIN
    SELECT RAISE(ABORT, 'copies_transition');
END;

-- A verified backup never stays without a verified copy: first the backup changes, then its last copy.
CREATE TRIGGER copies_verified BEFORE UPDATE OF state ON copies
WHEN OLD.state = 'verified' AND NEW.state <> 'verified'
    AND EXISTS (SELECT 1 FROM backups WHERE id = OLD.backup_id AND state = 'verified')
    AND NOT EXISTS (SELECT 1 FROM copies WHERE backup_id = OLD.backup_id AND destination_id <> OLD.destination_id AND state = 'verified')
BEGIN
    SELECT RAISE(ABORT, 'copies_verified');
END;

CREATE TRIGGER copies_identity BEFORE UPDATE OF backup_id, destination_id, key ON copies
WHEN NEW.backup_id IS NOT OLD.backup_id OR NEW.destination_id IS NOT OLD.destination_id OR NEW.key IS NOT OLD.key
BEGIN
    SELECT RAISE(ABORT, 'copies_identity');
END;

CREATE TRIGGER copies_kept BEFORE DELETE ON copies
WHEN OLD.state <> 'writing'
BEGIN
    SELECT RAISE(ABORT, 'copies_kept');
END;

CREATE TRIGGER restores_begin BEFORE INSERT ON restores
WHEN NEW.state NOT IN ('planned', 'running')
BEGIN
    SELECT RAISE(ABORT, 'restores_begin');
END;

CREATE TRIGGER restores_transition BEFORE UPDATE OF state ON restores
WHEN NEW.state IS NOT OLD.state AND NOT (
       (OLD.state = 'planned' AND NEW.state IN ('running', 'failed'))
    OR (OLD.state = 'running' AND NEW.state IN ('done', 'failed', 'interrupted'))
    OR (OLD.state = 'done' AND NEW.state = 'undone'))
BEGIN
    SELECT RAISE(ABORT, 'restores_transition');
END;

-- The journal is only ever added to.
CREATE TRIGGER journal_append BEFORE INSERT ON journal
WHEN EXISTS (SELECT 1 FROM journal WHERE id = NEW.id)
BEGIN
    SELECT RAISE(ABORT, 'journal_append');
END;

CREATE TRIGGER journal_update BEFORE UPDATE ON journal
BEGIN
    SELECT RAISE(ABORT, 'journal_append');
END;

CREATE TRIGGER journal_delete BEFORE DELETE ON journal
BEGIN
    SELECT RAISE(ABORT, 'journal_append');
END;
