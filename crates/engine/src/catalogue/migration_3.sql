-- Schema 3: plans that run by themselves, and backups that leave by rules. Never changed once released.

-- When it is due, as JSON: five fields of cron, a time zone, and what it waits for.
ALTER TABLE plans ADD COLUMN schedule TEXT CHECK (schedule IS NULL OR json_valid(schedule));
-- Since when it is not started by itself.
ALTER TABLE plans ADD COLUMN paused_at TEXT CHECK (paused_at LIKE '____-__-__T__:__:__.___Z');

-- Every moment at which a plan was due, and what became of it: nothing is ever silent.
CREATE TABLE slots (
    plan_id     TEXT NOT NULL REFERENCES plans (id),
    slot        TEXT NOT NULL CHECK (slot LIKE '____-__-__T__:__:__.___Z'),
    state       TEXT NOT NULL CHECK (state IN ('due', 'running', 'verified', 'failed', 'skipped', 'missed')),
    -- Why it was skipped or missed, what it waits for, or why it failed.
    reason      TEXT CHECK (reason IS NULL OR json_valid(reason)),
    backup_id   TEXT REFERENCES backups (id),
    -- How often it was tried, and when it is tried again.
    tries       INTEGER NOT NULL DEFAULT 0 CHECK (tries >= 0),
    next_try_at TEXT CHECK (next_try_at LIKE '____-__-__T__:__:__.___Z'),
    seen_at     TEXT NOT NULL CHECK (seen_at LIKE '____-__-__T__:__:__.___Z'),
    ended_at    TEXT CHECK (ended_at LIKE '____-__-__T__:__:__.___Z'),
    PRIMARY KEY (plan_id, slot),
    CHECK (state IN ('due', 'running') OR ended_at IS NOT NULL),
    CHECK (state NOT IN ('failed', 'skipped', 'missed') OR reason IS NOT NULL)
) STRICT, WITHOUT ROWID;
CREATE INDEX slots_open ON slots (state, slot) WHERE state IN ('due', 'running');
CREATE INDEX slots_backup ON slots (backup_id) WHERE backup_id IS NOT NULL;

CREATE TRIGGER slots_transition BEFORE UPDATE OF state ON slots
WHEN NEW.state IS NOT OLD.state AND NOT (
       (OLD.state = 'due' AND NEW.state IN ('running', 'skipped', 'missed', 'failed'))
    OR (OLD.state = 'running' AND NEW.state IN ('verified', 'failed', 'due', 'missed')))
BEGIN
    SELECT RAISE(ABORT, 'slots_transition');
END;

-- Chosen by retention: its bytes go at `leaves_at`, and until then it can be taken back. The reason is JSON.
ALTER TABLE backups ADD COLUMN leaves_at TEXT CHECK (leaves_at LIKE '____-__-__T__:__:__.___Z');
ALTER TABLE backups ADD COLUMN leaves_because TEXT CHECK (leaves_because IS NULL OR json_valid(leaves_because));
CREATE INDEX backups_leaving ON backups (leaves_at) WHERE leaves_at IS NOT NULL;
-- A person has seen what is unusual about it (`flags`): it counts for retention again.
ALTER TABLE backups ADD COLUMN acknowledged_at TEXT CHECK (acknowledged_at LIKE '____-__-__T__:__:__.___Z');

-- What retention was told to stop at, until a person says that it is right: JSON, one row a plan.
CREATE TABLE retention_holds (
    plan_id TEXT PRIMARY KEY REFERENCES plans (id),
    since   TEXT NOT NULL CHECK (since LIKE '____-__-__T__:__:__.___Z'),
    reason  TEXT NOT NULL CHECK (json_valid(reason))
) STRICT, WITHOUT ROWID;

-- What the scheduler knows of itself, by name: pauses, the last tick, when internal jobs ran.
CREATE TABLE clockwork (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL CHECK (json_valid(value))
) STRICT, WITHOUT ROWID;
