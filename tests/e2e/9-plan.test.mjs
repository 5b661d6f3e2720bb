// A plan's form: when it would run, said in words, and what would leave when, before it is kept. And the journal that tells of it all.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { answerDialog, coffre, folder, Key, open, test, until } from './desktop.mjs'
import { pictures as look } from './look.mjs'

const problems = []
const pictures = async (desk, name) => problems.push(...(await look(desk, name, '.ed-form,.ed-side,.filters,main .card')))

/** Forty nights of a plan, what became of each of them, and two in the bin: as if time had passed. */
function nights(home) {
  const sql = (text) => execFileSync('sqlite3', ['-cmd', '.timeout 5000', join(home, 'catalogue.db'), text])
  const at = "strftime('%Y-%m-%dT%H:%M:%S.000Z', 'now', printf('-%d days', i), '-3 hours')"
  sql(`PRAGMA foreign_keys = ON; BEGIN;
    CREATE TEMP TABLE n AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40) SELECT i, printf('00000000-0000-7000-8000-%012d', i) AS id, ${at} AS at FROM n;
    INSERT INTO backups (id, code, source_id, source_name, aim, plan_id, plan_name, "trigger", type, kind, state, started_at, ended_at, duration_ms, raw_bytes, stored_bytes,
        sha256, raw_sha256, compression, tables, rows, tool_name, tool_version, server_version, flags, note, pinned, database, format, scope, remarks)
      SELECT n.id, printf('BKP-20260101000000-A%03d', i), b.source_id, b.source_name, b.aim, b.plan_id, b.plan_name, 'scheduled', 'daily', 'full', 'running', n.at, n.at, 900, b.raw_bytes, b.stored_bytes,
        b.sha256, b.raw_sha256, b.compression, b.tables, b.rows, b.tool_name, b.tool_version, b.server_version, '[]', '', 0, b.database, b.format, b.scope, '[]' FROM n, backups b WHERE b.plan_id IS NOT NULL;
    INSERT INTO copies (backup_id, destination_id, key, state, stored_bytes, sha256)
      SELECT n.id, c.destination_id, printf('old/%d', i), 'writing', 0, c.sha256 FROM n, copies c WHERE c.backup_id NOT IN (SELECT id FROM n);
    UPDATE copies SET state = 'verified', stored_bytes = 14200000, verified_at = '2026-01-01T00:00:00.000Z' WHERE state = 'writing';
    UPDATE backups SET state = 'verified' WHERE state = 'running';
    UPDATE backups SET leaves_at = strftime('%Y-%m-%dT%H:%M:%S.000Z', 'now', '+2 days'), leaves_because = '{"rule":"no_rule_keeps_it"}' WHERE code IN ('BKP-20260101000000-A039', 'BKP-20260101000000-A040');
    INSERT INTO slots (plan_id, slot, state, backup_id, reason, tries, seen_at, ended_at)
      SELECT b.plan_id, n.at, iif(i = 4, 'missed', iif(i = 9, 'skipped', 'verified')), iif(i IN (4, 9), NULL, n.id),
        iif(i = 4, '{"code":"BUSY","text":"slot_missed","details":{}}', iif(i = 9, '{"code":"BUSY","text":"slot_still_running","details":{}}', NULL)), 1, n.at, n.at
      FROM n JOIN backups b ON b.id = n.id WHERE i < 20;
    INSERT INTO retention_holds (plan_id, since, reason) SELECT id, strftime('%Y-%m-%dT%H:%M:%S.000Z', 'now'),
      '{"code":"REFUSED","text":"retention_implausible","details":{"plan":"nightly","leaving_count":26,"verified_count":41}}' FROM plans;
    COMMIT;`)
}

const radio = (desk, name) => desk.click('[role=radio]', name)

test('a plan says when it would run and what would leave, refuses what never runs, and the journal can be taken away', async () => {
  const home = join(folder(), 'home')
  const file = join(folder(), 'shop.db')
  execFileSync('sqlite3', [file, "CREATE TABLE orders(id INTEGER PRIMARY KEY, what TEXT); INSERT INTO orders(what) VALUES ('a'),('b');"])
  await coffre(home, 'source', 'add', `sqlite://${file}`, '--name', 'shop')
  await coffre(home, 'destination', 'add', `file://${join(folder(), 'disk')}`, '--name', 'disk')
  await coffre(home, 'plan', 'add', '--name', 'nightly', '--source', 'shop', '--to', 'disk', '--cron', '30 2 * * *', '--time-zone', 'Europe/Paris', '--retention', 'last-30')
  await coffre(home, 'backup', '--plan', 'nightly')
  // A name that a spreadsheet would take for a formula.
  await coffre(home, 'source', 'add', `sqlite://${join(folder(), 'other.db')}`, '--name', '=1+1')
  nights(home)
  const desk = await open({ home })

  await desk.go('/plans')
  await desk.read('nightly')
  await desk.read('Every day 02:30')
  await pictures(desk, 'plan-1-list')
  await desk.click('link', 'nightly')
  await desk.read('Every day, at 02:30 (Europe/Paris).')
  await desk.read('Next five runs')

  // Two lie in the bin, and one of them is kept. Why nothing leaves is said, and what would go can be seen before anybody says yes.
  await desk.read('More than anybody expects'.slice(5))
  await desk.click('button', 'See what would go…')
  await desk.read(/Let \d+ backups? go\?/)
  assert.equal(await desk.focused(), 'Keep them')
  await desk.picture('plan-4-confirm.en.light')
  await desk.keys(Key.ESCAPE)
  await desk.click('button', /^Keep it BKP-20260101000000-A040/)
  await until('it is pinned', async () => (await desk.coffre('show', 'BKP-20260101000000-A040')).backup.pinned)

  // The calendar follows the rules while they are typed; arrows go from day to day, and each says why.
  await desk.read(/Departures over 90 days/)
  const said = () => desk.driver.executeScript('return document.querySelector("[role=slider]")?.getAttribute("aria-valuetext")')
  await until('the calendar', async () => /1 goes. No rule keeps it/.test((await said()) ?? ''))
  await desk.driver.executeScript('document.querySelector("[role=slider]").focus()')
  await desk.keys(Key.ARROW_RIGHT)
  await until('another day, and why', async () => /newer ones? (is|are) there/.test(await said()))
  await pictures(desk, 'plan-2-editor')
  await radio(desk, '7 days, 4 weeks, 12 months')
  await desk.read('more than half would go at once')
  await radio(desk, 'Everything')
  await desk.read('Nothing ever leaves')
  await radio(desk, '30 days')
  await until('another reason', async () => /Older than 30 days/.test((await said()) ?? ''))

  // What never comes due is refused at its field, with the reason; what is right is explained at once.
  await radio(desk, 'Cron')
  await desk.write('Expression', '0 0 31 2 *')
  await desk.read(/would never run/)
  await desk.picture('plan-3-refused.en.light')
  await desk.write('Expression', '* * * * * *')
  await desk.read(/nothing here runs every second/)
  await desk.write('Expression', '*/15 8-18 * * 1-5')
  await desk.read(/Monday to Friday/)
  await desk.write('Time zone', 'new york')
  await desk.read('America/New York')
  await desk.keys(Key.ENTER)
  await desk.read(/\(America\/New_York\)/)
  await pictures(desk, 'plan-3-cron')
  await desk.click('check', 'Only on mains power')
  await desk.click('button', 'Save')
  await until('it is kept', async () => (await desk.coffre('plan', 'show', 'nightly')).plan.schedule.cron === '*/15 8-18 * * 1-5')
  const { plan } = await desk.coffre('plan', 'show', 'nightly')
  assert.deepEqual([plan.schedule.time_zone, plan.schedule.wait_for_power, plan.retention.keep_days], ['America/New_York', true, 30])

  // What became of each run: also of those that nobody was there for.
  await desk.click('link', 'nightly')
  await desk.read('What became of each run')
  await desk.read(/Nobody was there/)
  await desk.driver.executeScript('document.querySelector(".ed-form").scrollTop = 1e6')
  await pictures(desk, 'plan-5-slots')
  await desk.go('/overview')
  await pictures(desk, 'plan-6-overview')

  await desk.go('/journal?action=source')
  await desk.read('Source added')
  await pictures(desk, 'journal')
  const to = join(folder(), 'journal.csv')
  await desk.click('button', 'Export')
  await desk.click('button', 'For a spreadsheet (CSV)…')
  await answerDialog('Save as', to)
  await until('the file', () => readFileSync(to, 'utf8').includes('source.add'))
  const lines = readFileSync(to, 'utf8').split('\r\n')
  assert.equal(lines[0], 'id,at,author,actor,action,subject_kind,subject_id,subject,result,error_code,error_message')
  assert.ok(lines.slice(1, -1).every((line) => line.includes(',source.add,')), lines.join('\n'))
  assert.ok(lines.some((line) => line.includes(",'=1+1,")), 'no cell is a formula')
  assert.deepEqual(problems, [])
})
