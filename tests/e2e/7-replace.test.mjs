// Live data is replaced by a backup in the real window, and taken back: nothing is lost unseen, nothing is done unasked.
import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { join } from 'node:path'
import { after } from 'node:test'
import { folder, Key, open, sleep, test, until } from './desktop.mjs'
import { pictures as look } from './look.mjs'
import { postgres } from './servers.mjs'

const SHEET = '[role=dialog]'

const pictures = async (desk, name) => assert.deepEqual(await look(desk, name, '.sheet,.sheet-body,.sheet-head,.sheet-foot'), [])

/** The rows of the table in the sheet. */
const rows = (desk) =>
  desk.driver.executeScript(
    `return [...document.querySelectorAll('${SHEET} table tbody tr')].map((tr) => [...tr.children].slice(0, 4).map((td) => td.textContent.replace(/\\s+/g, ' ').trim()))`,
  )

const query = (file, sql) => execFileSync('sqlite3', ['-cmd', '.timeout 5000', file, sql]).toString().trim()

/** Everything in a database, as its own tool writes it. */
const dump = (file) => query(file, '.dump')

test('SQLite, held open by an application: what goes is shown, asked for, replaced, proved, and taken back', async () => {
  const file = join(folder(), 'shop.db')
  query(
    file,
    `PRAGMA journal_mode=WAL; CREATE TABLE orders(id INTEGER PRIMARY KEY, what TEXT, created_at TEXT); CREATE TABLE settings(k TEXT, v TEXT);
     WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<2400)
     INSERT INTO orders SELECT i, hex(randomblob(30)), '2026-01-01 10:00:00' FROM n; INSERT INTO settings VALUES ('vat','20');`,
  )
  const backedUp = dump(file)
  const desk = await open()
  await desk.coffre('source', 'add', `sqlite://${file}`, '--name', 'shop')
  await desk.coffre('backup', '--source', 'shop')
  // After it: rows are deleted, others come, a table more. An application reads and has the file open all along.
  query(
    file,
    `DELETE FROM orders WHERE id <= 100; INSERT INTO orders(what, created_at) VALUES ('new', '2026-11-20 18:30:00');
     ALTER TABLE orders ADD COLUMN vat_no TEXT; CREATE TABLE promo(id INTEGER PRIMARY KEY, code TEXT); INSERT INTO promo(code) VALUES ('A'),('B'),('C');`,
  )
  const before = dump(file)
  const application = spawn('python3', [
    '-c',
    `import sqlite3, sys, time
c = sqlite3.connect(sys.argv[1], timeout=10)
while True:
    print(c.execute('SELECT count(*) FROM orders').fetchone()[0], flush=True); time.sleep(0.05)`,
    file,
  ])
  after(() => application.kill('SIGKILL'))
  const seen = []
  application.stdout.on('data', (data) => seen.push(...data.toString().trim().split('\n')))
  let complaints = ''
  application.stderr.on('data', (data) => (complaints += data))

  await desk.go('/backups')
  await desk.read('shop')
  const { backups } = await desk.coffre('list')
  await desk.go(`/backups/${backups[0].id}`)
  await desk.click('button', 'Restore…')
  await desk.read('Where should it go?')
  await desk.driver.executeScript('document.querySelector(\'input[name="target"][aria-describedby="about-replace"]\').click()')
  await desk.read('First you see what you would lose', SHEET)
  await pictures(desk, 'replace-1-where')
  await desk.click('button', 'Preview')
  await desk.read('Checked just now', SHEET)
  // Exactly the rows that go, and the table that vanishes, the worst first.
  assert.deepEqual(await rows(desk), [
    ['promo', '3', '–', '− table vanishes'],
    ['orders', '2,301', '2,400', '+99'],
  ])
  const preview = await desk.text(SHEET)
  for (const words of ['1 table vanishes: promo', 'orders.vat_no (TEXT) goes: the backup does not have it.', '2026-11-20', 'Backup read to its end', 'python3', 'one click brings it back'])
    assert.ok(preview.includes(words), `${words}: ${preview}`)
  await pictures(desk, 'replace-2-preview')
  assert.equal(dump(file), before, 'a preview changes nothing')

  await desk.click('button', 'Continue')
  await desk.write(/^Type the source’s name/, 'shop')
  await desk.click('button', 'Replace the data of shop')
  await desk.find('button', 'Stop the count-down')
  await desk.read(/The restore starts in \d+ seconds/, SHEET)
  await desk.picture('replace-3-countdown.en.light')
  await desk.keys(Key.ESCAPE)
  await until('the count-down has stopped', async () => !(await desk.has('button', 'Stop the count-down')))
  await sleep(500)
  assert.equal(dump(file), before, 'a count-down that was stopped changes nothing')
  assert.deepEqual((await desk.invoke('list_restores', { args: { limit: 10 } })).ok, [])
  await pictures(desk, 'replace-3-confirm')

  await desk.click('button', 'Replace the data of shop')
  await desk.read(/shop is exactly the backup of/, SHEET)
  assert.equal(dump(file), backedUp, 'the data is the backup')
  assert.deepEqual(await rows(desk), [
    ['orders', '2,301', '2,400', '2,400'],
    ['promo', '3', '–', '–'],
    ['settings', '1', '1', '1'],
  ])
  await desk.read(/Kept until .*\(.*B\)/, SHEET)
  await pictures(desk, 'replace-4-result')
  await until('the application sees the backup', () => seen.at(-1) === '2400')
  assert.equal(complaints, '', 'and never noticed more than that')

  // The way back is where the result is, in the panel, and in health. Once asked and left; then done.
  await desk.click('button', 'Done')
  await desk.read(/Replaced shop on/, '[aria-label="Chosen backup"]')
  await desk.picture('replace-5-panel.en.light')
  await desk.go('/health')
  await desk.read('Kept for an undo')
  await pictures(desk, 'replace-6-kept')
  await desk.click('button', /^Undo…/)
  await desk.read('Take back the restore of shop?')
  assert.equal(await desk.focused(), 'Leave it as it is')
  await pictures(desk, 'replace-7-undo')
  await desk.keys(Key.ENTER)
  await until('nothing is asked any more', async () => !(await desk.has('dialog', /Take back/)))
  assert.equal(dump(file), backedUp)
  await desk.click('button', /^Undo…/)
  await desk.click('button', 'Undo the restore')
  await desk.read('shop is what it was before the restore', SHEET)
  assert.equal(dump(file), before, 'everything is as before')
  await pictures(desk, 'replace-8-undone')
  await until('the application sees it', () => seen.at(-1) === '2301')
  assert.equal(complaints, '')

  // What the undo took away is kept too, and can go now.
  await desk.click('button', 'Done')
  await desk.click('button', /^Remove now/)
  await desk.read('Remove the kept data of shop now?')
  await desk.picture('replace-9-remove.en.light')
  await desk.click('button', 'Remove')
  await until('nothing is kept', async () => !(await desk.text()).includes('Kept for an undo'))
  assert.equal(dump(file), before)
  application.kill('SIGKILL')
  // Every backup is as it was, the safety backup too: `verify` fails where one is not.
  await desk.coffre('verify', '--all')
  assert.deepEqual((await desk.coffre('list')).backups.map((one) => [one.trigger, one.state]), [['safety', 'verified'], ['manual', 'verified']])
})

test('PostgreSQL, while an application writes: asked about, replaced, taken back from the palette', async () => {
  const PASSWORD = 'se\\cret "42"'
  const server = await postgres(PASSWORD)
  await server.sql('postgres', 'CREATE DATABASE shop')
  await server.sql('shop', "CREATE TABLE orders AS SELECT i AS id, now() - interval '1 day' AS created_at FROM generate_series(1, 3000) i; CREATE TABLE legacy AS SELECT 1 AS x")
  const desk = await open()
  const draft = { name: 'shop', adapter: 'postgres', values: { host: '127.0.0.1', port: server.port, database: 'shop', user: 'anna', tls: 'prefer', format: 'custom' } }
  const added = await desk.invoke('add_source', { args: { draft, secret: { change: 'set', value: PASSWORD } } })
  assert.ok(added.ok, JSON.stringify(added))
  const begun = await desk.invoke('run_backup', { args: { plan_id: null, source_id: added.ok.id } })
  const backup = begun.ok.id
  await until('verified', async () => (await desk.coffre('show', backup)).backup.state === 'verified')
  await server.sql('shop', "DROP TABLE legacy; CREATE TABLE promo AS SELECT i FROM generate_series(1, 12) i; DELETE FROM orders WHERE id <= 10; INSERT INTO orders SELECT i, now() FROM generate_series(4000, 4100) i")
  const facts = () => server.sql('shop', "SELECT string_agg(t || ':' || (xpath('/row/c/text()', query_to_xml(format('SELECT count(*) AS c FROM %I', t), false, true, '')))[1]::text, ' ' ORDER BY t) FROM (SELECT tablename AS t FROM pg_tables WHERE schemaname = 'public') x")
  assert.equal(await facts(), 'orders:3091 promo:12')

  await desk.go(`/backups/${backup}`)
  await desk.click('button', 'Restore…')
  await desk.read('Where should it go?')
  await desk.driver.executeScript('document.querySelector(\'input[name="target"][aria-describedby="about-replace"]\').click()')
  await desk.click('button', 'Preview')
  await desk.read('Checked just now', SHEET)
  const shown = (await rows(desk)).map(([table, ...more]) => [table.replace('public.', ''), ...more])
  assert.deepEqual(shown, [
    ['promo', '12', '–', '− table vanishes'],
    ['orders', '3,091', '3,000', '−91'],
    ['legacy', '–', '1', '+ table comes back'],
  ])
  await pictures(desk, 'replace-pg-preview')

  // An application writes between the preview and the answer.
  await desk.click('button', 'Continue')
  await server.sql('shop', 'INSERT INTO orders SELECT i, now() FROM generate_series(5000, 5004) i')
  await desk.write(/^Type the source’s name/, 'shop')
  await desk.click('button', 'Replace the data of shop')
  await desk.read('shop has changed since the preview', SHEET)
  assert.deepEqual((await rows(desk)).map(([table, ...more]) => [table.replace('public.', ''), ...more]), [['orders', '3,091', '3,096']])
  assert.equal(await facts(), 'orders:3096 promo:12')
  await pictures(desk, 'replace-pg-changed')
  await desk.click('button', 'Go on: the application keeps writing')
  await desk.read(/shop is exactly the backup of/, SHEET)
  assert.equal(await facts(), 'legacy:1 orders:3000')
  await pictures(desk, 'replace-pg-result')
  await desk.click('button', 'Done')

  await desk.keys(Key.chord(Key.CONTROL, 'k'))
  await desk.find('dialog', /./)
  await desk.keys('undo the restore')
  await desk.find('button', /Undo the restore of shop/)
  await desk.picture('replace-pg-palette.en.light')
  await desk.keys(Key.ENTER)
  await desk.read('Take back the restore of shop?')
  await desk.click('button', 'Undo the restore')
  await desk.read('shop is what it was before the restore', SHEET)
  assert.equal(await facts(), 'orders:3096 promo:12')
})
