// Coffre as a good citizen of the desktop.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { coffre, folder, notifications, open, PROGRAM, run, test, tray, until } from './desktop.mjs'

/** Windows of Coffre that can be seen. */
const shown = async () => {
  const { stdout } = await run('xdotool', ['search', '--onlyvisible', '--name', 'Coffre']).catch(() => ({ stdout: '' }))
  return stdout.trim().split('\n').filter(Boolean).length
}

test('closing the window leaves Coffre in the tray, says so once, and a second start brings it back', async () => {
  const desk = await open()
  await desk.find('heading', 'Backups that come back')
  await until('a window is shown', async () => (await shown()) > 0)
  // As the person at the keyboard closes any window; Coffre answers by hiding.
  const request = async () => {
    const { stdout } = await run('xdotool', ['search', '--onlyvisible', '--name', 'Coffre'])
    await run('xdotool', ['windowactivate', '--sync', stdout.trim().split('\n')[0], 'key', 'alt+F4'])
    await until('the window is hidden', async () => (await shown()) === 0)
  }
  await request()
  const told = await until('it is said', async () => {
    const all = await notifications()
    return all.length > 0 && all
  })
  assert.equal(told[0].title, 'Coffre goes on working')

  // A second start hands over to the first and ends.
  const second = await run(PROGRAM, [], { env: desk.env, timeout: 20_000 })
  assert.doesNotMatch(second.stderr, /panicked/)
  await until('the window is back', async () => (await shown()) > 0)

  await request()
  await until('nothing more is said', async () => (await notifications()).filter((one) => one.title === told[0].title).length === 1)
  await (await tray()).choose('Open Coffre')
  await until('the window is back', async () => (await shown()) > 0)
})

test('what the page may call: Coffre’s commands and events, nothing of the system', async () => {
  const desk = await open()
  const about = await desk.invoke('about', { args: {} })
  assert.ok(about.ok.version)
  for (const [command, args] of [
    ['plugin:shell|execute', { program: 'id', args: [] }],
    ['plugin:shell|open', { path: 'https://example.org' }],
    ['plugin:opener|open_path', { path: '/etc/passwd' }],
    ['plugin:fs|read_text_file', { path: '/etc/passwd' }],
    ['plugin:http|fetch', { url: 'https://example.org' }],
    ['plugin:autostart|enable', {}],
    ['plugin:window|close', { label: 'main' }],
    ['plugin:webview|create_webview_window', { options: { label: 'x', url: 'https://example.org' } }],
    ['plugin:path|resolve_directory', { directory: 1 }],
    ['plugin:event|emit', { event: 'coffre', payload: {} }],
    ['plugin:app|version', {}],
    ['plugin:window-state|restore_state', { label: 'main', flags: 1 }],
    ['plugin:tray|new', { options: {} }],
  ]) {
    const answer = await desk.invoke(command, args)
    assert.ok(answer.error !== undefined, `${command} was answered: ${JSON.stringify(answer)}`)
  }
  // Nonsense gets an error of ours, and breaks nothing.
  for (const [command, args] of [
    ['no_such_command', { args: {} }],
    ['list_backups', { args: { query: 'x'.repeat(100_000) } }],
    ['show_backup', { args: { id: '../../etc/passwd' } }],
    ['show_backup', {}],
    ['set_setting', { args: { key: 'theme', value: '<script>' } }],
    ['add_source', { args: [1, 2, 3] }],
  ]) {
    const answer = await desk.invoke(command, args)
    assert.match(answer.error?.code ?? '', /^[A-Z_]+$/, `${command}: ${JSON.stringify(answer)}`)
    assert.ok(answer.error.message.length > 0 && answer.error.text)
  }
  // Scripts that stand in the page do not run; frames and other addresses do not load.
  const policy = await desk.driver.executeAsyncScript(`
    const done = arguments[0]
    const broken = []
    document.addEventListener('securitypolicyviolation', (e) => broken.push(e.effectiveDirective))
    const script = document.createElement('script'); script.textContent = 'window.ran = true'; document.body.append(script)
    const frame = document.createElement('iframe'); frame.src = 'https://example.org/'; document.body.append(frame)
    const image = new Image(); image.src = 'https://example.org/x.png'
    fetch('https://example.org/').catch(() => {})
    setTimeout(() => { script.remove(); frame.remove(); done({ ran: window.ran === true, broken, global: '__TAURI__' in window }) }, 1000)`)
  assert.equal(policy.ran, false)
  assert.equal(policy.global, false)
  for (const directive of ['script-src-elem', 'frame-src', 'img-src', 'connect-src']) {
    assert.ok(policy.broken.includes(directive), `${directive} in ${policy.broken}`)
  }
  await desk.driver.executeScript(`location.href = 'https://example.org/'`)
  await desk.driver.executeScript(`window.open('https://example.org/')`)
  assert.match(await desk.driver.getCurrentUrl(), /^tauri:\/\/localhost/)
})

test('names with markup are text, in the window and in notifications', async () => {
  const desk = await open()
  const file = join(folder(), 'evil.db')
  writeFileSync(file, 'this is no database, but it is called one')
  const name = '<img src=x onerror=alert(1)><b>&amp;'
  const added = await desk.invoke('add_source', {
    args: { draft: { name, adapter: 'sqlite', values: { path: file } }, secret: { change: 'keep' } },
  })
  assert.ok(added.ok, JSON.stringify(added))
  const begun = await desk.invoke('run_backup', { args: { plan_id: null, source_id: added.ok.id } })
  const told = await until('a notification', async () => (await notifications()).find((one) => one.title.includes(name)))
  assert.ok(!told.body.includes('<b>') || told.body.includes('&lt;b&gt;'), told.body)
  assert.ok(begun.error || begun.ok)
  await desk.go('/backups')
  await desk.read(name)
  await desk.go('/sources')
  await desk.read(name)
  assert.equal(await desk.driver.executeScript('return document.images.length'), 0)
})

test('a damaged catalogue has a view of its own; set aside, it comes back from the manifests', async () => {
  const home = join(folder(), 'home')
  const file = join(folder(), 'shop.db')
  execFileSync('sqlite3', [file, 'CREATE TABLE orders(x); INSERT INTO orders VALUES (1), (2)'])
  await coffre(home, 'source', 'add', `sqlite://${file}`, '--name', 'shop')
  await coffre(home, 'backup', '--source', 'shop')
  const before = await coffre(home, 'list')
  for (const log of ['-wal', '-shm']) rmSync(join(home, `catalogue.db${log}`), { force: true })
  writeFileSync(join(home, 'catalogue.db'), 'SQLite format 3\0 and then noise '.padEnd(8192, 'x'))

  const desk = await open({ home })
  await desk.read('CATALOGUE_CORRUPT')
  await desk.picture('story-catalogue-corrupt')
  assert.match((await tray()).labels[0], /catalogue/i)
  await desk.click('button', 'Set it aside and begin anew')
  assert.ok(readdirSync(home).some((name) => name !== 'catalogue.db' && name.includes('catalogue')))

  await desk.find('heading', 'Recover')
  await desk.write('Name', 'local')
  await desk.write('Path', join(home, 'backups'))
  await desk.click('button', 'Read the backups')
  await desk.read('1 backup found')
  // What nobody has read since is not green; read to its end, it is.
  const found = (await coffre(home, 'list')).backups
  assert.deepEqual(
    found.map((one) => [one.code, one.rows, one.state]),
    before.backups.map((one) => [one.code, one.rows, 'stored']),
  )
  const panel = '[aria-label="Chosen backup"]'
  await desk.go(`/backups/${found[0].id}`)
  await desk.read('Stored', panel)
  await desk.click('button', 'Verify', { inside: panel })
  await desk.read('Verified', panel)
  await desk.picture('story-recovered')
})

test('SIGTERM ends Coffre cleanly', async () => {
  const desk = await open()
  const { stdout } = await run('pgrep', ['-f', `^${PROGRAM}`])
  const pids = stdout.trim().split('\n').map(Number)
  const mine = []
  for (const pid of pids) {
    // One that has just ended is nobody's.
    const { stdout: environment } = await run('cat', [`/proc/${pid}/environ`]).catch(() => ({ stdout: '' }))
    if (environment.includes(desk.home)) mine.push(pid)
  }
  assert.equal(mine.length, 1)
  process.kill(mine[0], 'SIGTERM')
  await until('it has ended', async () => run('kill', ['-0', `${mine[0]}`]).then(() => false, () => true))
  // Closed cleanly: nothing of the log is left beside the catalogue.
  const { stdout: left } = await run('ls', [desk.home])
  assert.ok(!left.includes('catalogue.db-wal'), left)
})
