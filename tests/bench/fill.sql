-- 100,000 backups beside the two that were really made (one verified, one failed), by the catalogue's own rules: a run begins as
-- `running`, its copy as `writing`, and both become what they are. One in twenty failed.
PRAGMA foreign_keys = ON;
BEGIN;
CREATE TEMP TABLE n AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
  SELECT i, printf('01000000-0000-7000-8000-%012x', i) AS id, strftime('%Y-%m-%dT%H:%M:%S.000Z', 'now', (-15 * i) || ' minutes') AS at,
    iif(i % 20 = 0, 'failed', 'verified') AS state FROM n;
CREATE TEMP TABLE model AS SELECT * FROM backups WHERE state IN ('verified', 'failed') GROUP BY state;
CREATE UNIQUE INDEX temp.n_id ON n (id);
INSERT INTO backups (id, code, source_id, source_name, "trigger", type, kind, state, started_at, ended_at, duration_ms, raw_bytes, stored_bytes, sha256,
    raw_sha256, compression, tables, rows, tool_name, tool_version, server_version, flags, error, note, pinned, database, format, scope)
  SELECT n.id, printf('BKP-%s-%04d', strftime('%Y%m%d%H%M%S', n.at), n.i % 10000), m.source_id, m.source_name, 'scheduled', 'hourly', m.kind, 'running', n.at, n.at,
    abs(random()) % 90000, m.raw_bytes, iif(m.stored_bytes IS NULL, NULL, abs(random()) % 900000000 + 1), m.sha256, m.raw_sha256, m.compression, m.tables, m.rows,
    m.tool_name, m.tool_version, m.server_version, m.flags, m.error, iif(n.i % 50 = 0, 'Before the release', ''), n.i % 70 = 0, m.database, m.format, m.scope
  FROM n JOIN model m ON m.state = n.state ORDER BY n.i DESC;
INSERT INTO copies (backup_id, destination_id, key, state, stored_bytes, sha256, verified_at)
  SELECT b.id, c.destination_id, 'bench/' || b.code || '.db.zst', 'writing', b.stored_bytes, b.sha256, b.started_at
  FROM backups b JOIN n ON n.id = b.id, (SELECT destination_id FROM copies LIMIT 1) c WHERE n.state = 'verified';
UPDATE copies SET state = 'verified' WHERE state = 'writing';
UPDATE backups SET state = (SELECT state FROM n WHERE n.id = backups.id) WHERE state = 'running';
COMMIT;
