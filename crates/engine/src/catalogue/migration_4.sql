-- Schema 4: commands before and after runs. Never changed once released.

-- As JSON; nothing for a plan without any.
ALTER TABLE plans ADD COLUMN hooks TEXT CHECK (hooks IS NULL OR json_valid(hooks));

-- What became of them: one row for each moment of a run. The error is JSON.
CREATE TABLE hook_runs (
    backup_id  TEXT NOT NULL REFERENCES backups (id),
    moment     TEXT NOT NULL CHECK (moment IN ('before', 'after')),
    program    TEXT NOT NULL,
    started_at TEXT NOT NULL CHECK (started_at LIKE '____-__-__T__:__:__.___Z'),
    ended_at   TEXT NOT NULL CHECK (ended_at LIKE '____-__-__T__:__:__.___Z'),
    status     TEXT,
    output     TEXT NOT NULL,
    error      TEXT CHECK (error IS NULL OR json_valid(error)),
    PRIMARY KEY (backup_id, moment)
) STRICT, WITHOUT ROWID;
