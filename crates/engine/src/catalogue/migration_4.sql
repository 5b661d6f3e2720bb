-- Slots that left no backup behind: what a history shows beside the backups, and what a calendar counts.
CREATE INDEX slots_without_run ON slots (slot, plan_id, state)
WHERE backup_id IS NULL AND state IN ('failed', 'skipped', 'missed');

-- A period of the journal.
CREATE INDEX journal_time ON journal (at, id);
