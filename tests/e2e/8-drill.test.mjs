// A restore is rehearsed in the real window, and a backup is opened: what was proved stands with the backup and its source, rows are as they
// were, and nothing is left of either.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { answerDialog, folder, Key, open, test, until } from './desktop.mjs'
import { pictures as look } from './look.mjs'

const SHEET = '[role=dialog]'
const PANEL = '[aria-label="Chosen backup"]'

const pictures = async (desk, name) =>
  assert.deepEqual(await look(desk, name, '.sheet,.sheet-head,.sheet-foot,.look-bar,.look-form,aside.panel,.look-tables'), [])

const query = (file, sql) => execFileSync('sqlite3', ['-cmd', '.timeout 5000', file, sql]).toString().trim()

/** The private folders of work that goes on, below the one of each process. */
const left = (home) =>
  readdirSync(join(home, 'runtime'), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .flatMap((entry) => readdirSync(join(home, 'runtime', entry.name)))

test('a backup is rehearsed, told with its source, opened, searched, exported, and nothing of it is left', async () => {
  const place = folder()
  const file = join(place, 'shop.db')
  query(
    file,
    `CREATE TABLE orders(id INTEGER PRIMARY KEY, customer TEXT, note TEXT, paid REAL, receipt BLOB, created_at TEXT, shipped_at TEXT, address TEXT, city TEXT, country TEXT);
     WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<2400)
     INSERT INTO orders SELECT i, 'Customer '||i, CASE i%4 WHEN 0 THEN NULL WHEN 1 THEN '' WHEN 2 THEN '<b>bold</b> & co' ELSE replace(hex(zeroblob(300)),'0','long ') END,
       i*1.5, randomblob(6), '2026-11-20 10:00:00', NULL, i||' rue des Écoles', 'Paris', 'FR' FROM n;
     CREATE TABLE settings(k TEXT, v TEXT); CREATE TABLE audit(at TEXT);`,
  )
  const desk = await open()
  await desk.coffre('source', 'add', `sqlite://${file}`, '--name', 'shop')
  await desk.coffre('backup', '--source', 'shop')
  await desk.go('/backups')
  await desk.read('shop')
  const [backup] = (await desk.coffre('list')).backups
  await desk.go(`/backups/${backup.id}`)
  await desk.read(/A rehearsal restores it into a throw-away database/, PANEL)
  await desk.picture('drill-0-never.en.light')

  await desk.click('button', 'Rehearse a restore')
  await desk.read(/2,400 rows in 3 tables compared, all equal\./, PANEL)
  await desk.read(/It took \d/, PANEL)
  await desk.read('Restore rehearsed: restored and counted', PANEL)
  await pictures(desk, 'drill-1-panel')
  assert.deepEqual(left(desk.home), [])
  const shown = (await desk.coffre('show', backup.id)).backup.last_drill
  assert.equal(shown.level, 'counted')
  await desk.go('/backups')
  await desk.resize(1280, 832)
  await desk.read('Rehearsed')
  await desk.picture('drill-2-list.en.light')
  await desk.go('/overview')
  await desk.read(/Rehearsed just now: restored and counted\./)
  await desk.picture('drill-3-overview.en.light')
  await desk.go(`/sources/${backup.source_id}`)
  await desk.read(/Rehearsed .*: restored and counted\./)
  await desk.picture('drill-4-source.en.light')

  // Opened from the same panel.
  await desk.go(`/backups/${backup.id}`)
  await desk.click('button', 'Look inside…')
  await desk.read('1 to 50 of 2,400', SHEET)
  assert.equal(left(desk.home).length, 1)
  const cells = () =>
    desk.driver.executeScript(`return [...document.querySelectorAll('${SHEET} table tbody tr')].slice(0, 4).map((tr) => [...tr.children].map((td) => td.textContent.trim()))`)
  const [one, two, , four] = await cells()
  assert.deepEqual(one.slice(1, 4), ['1', 'Customer 1', 'empty'])
  assert.deepEqual([two[3], four[3], four[7]], ['<b>bold</b> & co', 'NULL', 'NULL'])
  assert.match(one[5], /^X'[0-9A-F]{12}'$/)
  await pictures(desk, 'inside-1-rows')
  await desk.write('Search the rows', '77 RUE DES éCOLES')
  await desk.read('1 to 24 of 24', SHEET)
  await desk.driver.executeScript(`document.querySelector('${SHEET} [data-row="1"]').click()`)
  await desk.read('Row 2', SHEET)
  await pictures(desk, 'inside-2-row')
  await desk.keys(Key.ESCAPE)
  await until('the row is closed', async () => !(await desk.has('button', 'Close the row')))

  await desk.click('button', 'Bring the table back…')
  await desk.write('New name', 'orders then')
  await desk.picture('inside-3-bring.en.light')
  await desk.click('button', 'Bring back')
  await desk.read('orders then is in shop: 2,400 rows', SHEET)
  assert.equal(query(file, 'SELECT count(*), count(note) FROM "orders then"'), '2400|1800')
  assert.equal(query(file, 'SELECT count(*) FROM orders'), '2400')

  const to = join(place, 'orders.csv')
  await desk.click('button', 'CSV…')
  await answerDialog('Save as', to)
  await until('the file is there', () => existsSync(to))
  await desk.read('2,400 rows exported')
  assert.equal(readFileSync(to, 'utf8').trimEnd().split('\r\n').length, 2401)

  await desk.click('button', 'Close', { inside: '.sheet-foot' })
  await until('nothing is left', () => left(desk.home).length === 0)
})
