-- Schema 2: live data replaced and taken back; drills. Never changed once released.

ALTER TABLE restores ADD COLUMN source_id TEXT REFERENCES sources (id);
-- What the target was when a preview was shown: the replacement that carries the preview's confirmation must find the same.
ALTER TABLE restores ADD COLUMN fingerprint TEXT;
-- A preview is good once.
ALTER TABLE restores ADD COLUMN used_at TEXT CHECK (used_at LIKE '____-__-__T__:__:__.___Z');
-- What an adapter needs to finish or take back a replacement after a kill.
ALTER TABLE restores ADD COLUMN replacement TEXT CHECK (replacement IS NULL OR json_valid(replacement));
-- The engine has not yet seen how a replacement that was cut off ended: asked at every start until it is known.
ALTER TABLE restores ADD COLUMN unsettled INTEGER NOT NULL DEFAULT 0 CHECK (unsettled IN (0, 1));
-- What an undo needs is kept until then. Nothing where nothing is kept (any more).
ALTER TABLE restores ADD COLUMN kept_until TEXT CHECK (kept_until LIKE '____-__-__T__:__:__.___Z');
ALTER TABLE restores ADD COLUMN kept_bytes INTEGER CHECK (kept_bytes >= 0);
CREATE INDEX restores_kept ON restores (kept_until) WHERE kept_until IS NOT NULL;
CREATE INDEX restores_unsettled ON restores (id) WHERE unsettled = 1;
CREATE INDEX restores_source ON restores (source_id) WHERE source_id IS NOT NULL;

-- A replacement that was cut off after its moment is done, once the engine has looked.
DROP TRIGGER restores_transition;
CREATE TRIGGER restores_transition BEFORE UPDATE OF state ON restores
WHEN NEW.state IS NOT OLD.state AND NOT (
       (OLD.state = 'planned' AND NEW.state IN ('running', 'failed'))
    OR (OLD.state = 'running' AND NEW.state IN ('done', 'failed', 'interrupted'))
    OR (OLD.state = 'interrupted' AND NEW.state = 'done')
    OR (OLD.state = 'done' AND NEW.state = 'undone'))
BEGIN
    SELECT RAISE(ABORT, 'restores_transition');
END;

-- A rehearsal: how deep it got, and how long bringing everything back took.
CREATE TABLE drills (
    id             TEXT PRIMARY KEY CHECK (length(id) = 36),
    backup_id      TEXT NOT NULL REFERENCES backups (id),
    source_id      TEXT NOT NULL REFERENCES sources (id),
    state          TEXT NOT NULL CHECK (state IN ('running', 'done', 'failed', 'interrupted', 'cancelled')),
    -- The deepest level that was reached and found right. Nothing where not even the bytes are.
    level          TEXT CHECK (level IN ('bytes', 'structure', 'restored', 'counted')),
    started_at     TEXT NOT NULL CHECK (started_at LIKE '____-__-__T__:__:__.___Z'),
    ended_at       TEXT CHECK (ended_at LIKE '____-__-__T__:__:__.___Z'),
    -- From the first byte read to the last row counted: what a real restore would take here.
    restore_ms     INTEGER CHECK (restore_ms >= 0),
    server_version TEXT,
    tables         INTEGER CHECK (tables >= 0),
    rows           INTEGER CHECK (rows >= 0),
    error          TEXT CHECK (error IS NULL OR json_valid(error)),
    -- Why it did not go deeper, and what else a person should know.
    remarks        TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(remarks)),
    resource       TEXT,
    fence          INTEGER,
    CHECK (state = 'running' OR ended_at IS NOT NULL),
    CHECK (state <> 'failed' OR error IS NOT NULL)
) STRICT, WITHOUT ROWID;
CREATE INDEX drills_backup ON drills (backup_id, started_at);
CREATE INDEX drills_source ON drills (source_id, started_at);
CREATE INDEX drills_state ON drills (state) WHERE state = 'running';

CREATE TRIGGER drills_transition BEFORE UPDATE OF state ON drills
WHEN NEW.state IS NOT OLD.state AND OLD.state <> 'running'
BEGIN
    SELECT RAISE(ABORT, 'drills_transition');
END;
