-- Catalogues made before the first release have no `aim`.
ALTER TABLE backups ADD COLUMN aim TEXT;
CREATE INDEX backups_aim ON backups (source_id, aim, started_at, id, state);
DROP TRIGGER backups_identity;
CREATE TRIGGER backups_identity BEFORE UPDATE OF id, code, source_id, aim, plan_id, started_at, kind, base_id ON backups
WHEN NEW.id IS NOT OLD.id OR NEW.code IS NOT OLD.code OR NEW.source_id IS NOT OLD.source_id OR NEW.aim IS NOT OLD.aim
    OR NEW.plan_id IS NOT OLD.plan_id
    OR NEW.started_at IS NOT OLD.started_at OR NEW.kind IS NOT OLD.kind OR NEW.base_id IS NOT OLD.base_id
BEGIN
    SELECT RAISE(ABORT, 'backups_identity');
END;
