-- Schema 4: who is told what. Never changed once released.

-- Where messages go. Settings, what it wants and which plans are JSON; never a secret.
CREATE TABLE channels (
    id           TEXT PRIMARY KEY CHECK (length(id) = 36),
    name         TEXT NOT NULL CHECK (name <> ''),
    settings     TEXT NOT NULL CHECK (json_valid(settings)),
    language     TEXT NOT NULL CHECK (language IN ('en', 'fr')),
    time_zone    TEXT NOT NULL,
    wants        TEXT NOT NULL CHECK (json_valid(wants)),
    plan_ids     TEXT NOT NULL CHECK (json_valid(plan_ids)),
    has_secret   INTEGER NOT NULL CHECK (has_secret IN (0, 1)),
    paused_at    TEXT CHECK (paused_at LIKE '____-__-__T__:__:__.___Z'),
    created_at   TEXT NOT NULL CHECK (created_at LIKE '____-__-__T__:__:__.___Z'),
    removed_at   TEXT CHECK (removed_at LIKE '____-__-__T__:__:__.___Z'),
    -- From when on it listens: since it was added, or goes on after a pause.
    since        TEXT NOT NULL CHECK (since LIKE '____-__-__T__:__:__.___Z'),
    -- Lines of the journal up to here were looked at for it.
    journal_seen INTEGER NOT NULL CHECK (journal_seen >= 0),
    -- The moment of its last summary.
    digested_at  TEXT CHECK (digested_at LIKE '____-__-__T__:__:__.___Z'),
    -- When that was looked at which it was told last: a look from before is out of date.
    looked_at    TEXT CHECK (looked_at LIKE '____-__-__T__:__:__.___Z')
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX channels_name ON channels (name) WHERE removed_at IS NULL;

-- What each channel was told last of each topic: what differs from that is news.
CREATE TABLE channel_told (
    channel_id TEXT NOT NULL REFERENCES channels (id),
    topic      TEXT NOT NULL,
    level      TEXT NOT NULL CHECK (level IN ('good', 'warning', 'bad')),
    fact       TEXT NOT NULL,
    told_at    TEXT CHECK (told_at LIKE '____-__-__T__:__:__.___Z'),
    reminders  INTEGER NOT NULL CHECK (reminders >= 0),
    PRIMARY KEY (channel_id, topic)
) STRICT, WITHOUT ROWID;

-- Messages, written together with what they tell; sent afterwards, by whoever comes first.
CREATE TABLE deliveries (
    id          TEXT PRIMARY KEY CHECK (length(id) = 36),
    channel_id  TEXT NOT NULL REFERENCES channels (id),
    -- What it tells: nothing is queued twice for one channel.
    event_key   TEXT NOT NULL,
    -- Facts and names, as JSON. Words are made when it is sent.
    message     TEXT NOT NULL CHECK (json_valid(message)),
    state       TEXT NOT NULL CHECK (state IN ('pending', 'sending', 'sent', 'given_up')),
    tries       INTEGER NOT NULL DEFAULT 0 CHECK (tries >= 0),
    created_at  TEXT NOT NULL CHECK (created_at LIKE '____-__-__T__:__:__.___Z'),
    next_try_at TEXT NOT NULL CHECK (next_try_at LIKE '____-__-__T__:__:__.___Z'),
    ended_at    TEXT CHECK (ended_at LIKE '____-__-__T__:__:__.___Z'),
    -- The process that sends it now.
    owner       TEXT,
    -- Why the last try did not work.
    error       TEXT CHECK (error IS NULL OR json_valid(error)),
    UNIQUE (channel_id, event_key),
    CHECK ((state = 'sending') = (owner IS NOT NULL)),
    CHECK ((state IN ('sent', 'given_up')) = (ended_at IS NOT NULL)),
    CHECK (state <> 'given_up' OR error IS NOT NULL)
) STRICT, WITHOUT ROWID;
CREATE INDEX deliveries_open ON deliveries (next_try_at) WHERE state IN ('pending', 'sending');
CREATE INDEX deliveries_channel ON deliveries (channel_id, created_at);

CREATE TRIGGER deliveries_transition BEFORE UPDATE OF state ON deliveries
WHEN NEW.state IS NOT OLD.state AND NOT (
       (OLD.state = 'pending' AND NEW.state IN ('sending', 'given_up'))
    OR (OLD.state = 'sending' AND NEW.state IN ('pending', 'sent', 'given_up'))
    OR (OLD.state = 'given_up' AND NEW.state = 'pending'))
BEGIN
    SELECT RAISE(ABORT, 'deliveries_transition');
END;
