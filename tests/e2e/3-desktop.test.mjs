// Coffre as a good citizen of the desktop.
import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { folder, notifications, open, PROGRAM, run, test, tray, until } from './desktop.mjs'

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
  const told = await until('a notification', async () => {
    const all = await notifications()
    return all.length > 0 && all
  })
  assert.ok(told[0].title.includes(name), told[0].title)
  assert.ok(!told[0].body.includes('<b>') || told[0].body.includes('&lt;b&gt;'), told[0].body)
  assert.ok(begun.error || begun.ok)
  await desk.go('/backups')
  await desk.read(name)
  await desk.go('/sources')
  await desk.read(name)
  assert.equal(await desk.driver.executeScript('return document.images.length'), 0)
})

test('a damaged catalogue has a view of its own, and Coffre starts anew without throwing it away', async () => {
  const home = join(folder(), 'home')
  mkdirSync(home, { mode: 0o700 })
  writeFileSync(join(home, 'catalogue.db'), 'SQLite format 3\0 and then nonsense'.padEnd(8192, 'x'))
  const desk = await open({ home })
  await desk.read('CATALOGUE_CORRUPT')
  await desk.picture('story-catalogue-corrupt')
  assert.ok((await tray()).labels.length > 0)
  await desk.click('button', 'Set it aside and begin anew')
  // What comes next: where the backups are, from which the catalogue is made anew.
  await desk.find('heading', 'New destination')
  assert.ok(readdirSync(home).some((name) => name !== 'catalogue.db' && name.includes('catalogue') && statSync(join(home, name)).size >= 8192))
})

test('SIGTERM ends Coffre cleanly', async () => {
  const desk = await open()
  const { stdout } = await run('pgrep', ['-f', `^${PROGRAM}`])
  const pids = stdout.trim().split('\n').map(Number)
  const mine = []
  for (const pid of pids) {
    const { stdout: environment } = await run('cat', [`/proc/${pid}/environ`])
    if (environment.includes(desk.home)) mine.push(pid)
  }
  assert.equal(mine.length, 1)
  process.kill(mine[0], 'SIGTERM')
  await until('it has ended', async () => run('kill', ['-0', `${mine[0]}`]).then(() => false, () => true))
  // Closed cleanly: nothing of the log is left beside the catalogue.
  const { stdout: left } = await run('ls', [desk.home])
  assert.ok(!left.includes('catalogue.db-wal'), left)
})
