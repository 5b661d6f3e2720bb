// Running work: seen, cancelled, asked about before the end; and what the desktop remembers.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { folder, open, run, sleep, test, tray, until } from './desktop.mjs'

/** A database that takes a while: nothing in it can be compressed, and the highest level tries. */
async function slow(desk) {
  const file = join(folder(), 'slow.db')
  execFileSync('sqlite3', [
    file,
    'PRAGMA synchronous=OFF; CREATE TABLE noise(bytes BLOB); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<400) INSERT INTO noise SELECT randomblob(1000000) FROM n;',
  ])
  await desk.coffre('source', 'add', `sqlite://${file}`, '--name', 'slow')
  await desk.coffre('plan', 'add', '--name', 'heavy', '--source', 'slow', '--to', 'local', '--compression', 'zstd:19')
}

const alive = (pid) => run('kill', ['-0', `${pid}`]).then(
  () => true,
  () => false,
)
async function processOf(desk) {
  const { stdout } = await run('pgrep', ['-x', 'coffre-desktop'])
  for (const pid of stdout.trim().split('\n')) {
    // One that has just ended is nobody's.
    const { stdout: environment } = await run('cat', [`/proc/${pid}/environ`]).catch(() => ({ stdout: '' }))
    if (environment.includes(desk.home)) return Number(pid)
  }
  throw new Error('it does not run')
}

/** What lies at the destination, without the folder's own mark. */
const stored = (home) => {
  const base = join(home, 'backups')
  return existsSync(base) ? readdirSync(base, { recursive: true }).filter((name) => /\.(db|zst|partial|json)/.test(name) && !/destination/.test(name)) : []
}

test('a running backup shows its progress and is really cancelled; quitting asks first', async () => {
  const desk = await open()
  await slow(desk)
  await desk.go('/plans')
  await desk.read('heavy')
  const label = 'Back up slow now (heavy)'
  const offered = await until('the tray offers it', async () => {
    const now = await tray()
    return now.labels.includes(label) && now
  })
  await offered.choose(label)
  await desk.go('/overview')
  await desk.click('button', /^Cancel/)
  const ended = await until('it is cancelled', async () => (await desk.coffre('list')).backups.find((one) => one.state !== 'running'))
  assert.equal(ended.state, 'cancelled')
  await until('nothing of it is left', async () => stored(desk.home).length === 0)

  // Once more; this time somebody quits while it runs.
  await until('it can be chosen again', async () => (await tray()).entries.find((one) => one.label === label)?.enabled)
  await (await tray()).choose(label)
  await until('it runs', async () => (await desk.coffre('list')).backups.some((one) => one.state === 'running'))
  const pid = await processOf(desk)
  await (await tray()).choose('Quit')
  await desk.read('A backup is running. Quit anyway?')
  await desk.find('button', 'Stay')
  await sleep(400)
  await desk.picture('story-quit')
  await desk.click('button', 'Stay')
  assert.ok(await alive(pid))
  await (await tray()).choose('Quit')
  await desk.click('button', 'Cancel it and quit')
  await until('Coffre has ended', async () => !(await alive(pid)))
  const { backups } = await desk.coffre('list')
  assert.deepEqual(backups.map((one) => one.state), ['cancelled', 'cancelled'])
  assert.deepEqual(stored(desk.home), [])
})

test('a click on the notification opens the failure; size and start at login are remembered', async () => {
  const desk = await open()
  const file = join(folder(), 'gone.db')
  execFileSync('sqlite3', [file, 'CREATE TABLE t(x); INSERT INTO t VALUES (1)'])
  await desk.coffre('source', 'add', `sqlite://${file}`, '--name', 'gone')
  execFileSync('rm', [file])
  await desk.read('gone')
  const { sources } = await desk.coffre('source', 'list')
  await desk.invoke('run_backup', { args: { plan_id: null, source_id: sources[0].id } })
  await until('it is told', async () => Number((await run('dunstctl', ['count', 'displayed'])).stdout) > 0)
  await run('dunstctl', ['action', '0'])
  await until('the failure is shown', async () => /#\/backups\/[0-9a-f-]{36}$/.test(await desk.driver.getCurrentUrl()))
  await desk.read(/Failed/, '[aria-label="Chosen backup"]')
  await desk.read('What to do')

  // Start at login is what the desktop's own list says.
  const list = join(process.env.XDG_CONFIG_HOME, 'autostart')
  await desk.go('/settings')
  await desk.click('check', /Start at login/)
  const entry = await until('it is in the list', async () => existsSync(list) && readdirSync(list).find((name) => /coffre/i.test(name)))
  assert.match(execFileSync('cat', [join(list, entry)]).toString(), /--hidden/)
  await desk.click('check', /Start at login/)
  await until('it is no longer in the list', async () => !existsSync(join(list, entry)))

  // The size of the window is the same after a new start.
  await desk.resize(1111, 700)
  const pid = await processOf(desk)
  const size = () => run('xdotool', ['search', '--onlyvisible', '--name', 'Coffre', 'getwindowgeometry']).then(({ stdout }) => /Geometry: (\S+)/.exec(stdout)?.[1])
  const before = await until('it has its size', size)
  await (await tray()).choose('Quit')
  await until('Coffre has ended', async () => !(await alive(pid)))
  await open({ home: desk.home })
  await until('it has its old size', async () => (await size()) === before)
})
