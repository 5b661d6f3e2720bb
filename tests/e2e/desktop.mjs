// Coffre in its real window, for a story: one application on a home of its own, driven through WebDriver by what a person reads.
// Runs inside run-under-xvfb (screen, bus, keychain, notification daemon and tray of its own).
import { execFile, spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { after, test as it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Builder, Capabilities, Key } from 'selenium-webdriver'

export { Key, sleep }
const exec = promisify(execFile)
const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..')
/** Where the programs under test lie. */
export const programs = resolve(process.env.COFFRE_TEST_PROGRAMS ?? join(root, 'target/debug'))
export const PROGRAM = join(programs, 'coffre-desktop')
const COFFRE = join(programs, 'coffre')
/** Where pictures go. */
export const PICTURES = resolve(process.env.COFFRE_TEST_PICTURES ?? join(root, 'target/e2e'))
mkdirSync(PICTURES, { recursive: true })
/** Whether WebKit has a graphics processor to draw with here. */
export const HAS_PROCESSOR = existsSync('/dev/dri')
/** Far more than anything takes: whoever waits longer waits for something that does not come. */
const PATIENCE = 60_000

/** The terminal on a home. */
export async function coffre(home, ...args) {
  const { stdout } = await run(COFFRE, [...args, '--json'], { env: { ...process.env, COFFRE_HOME: home } })
  return JSON.parse(stdout)
}

const desks = []

/** A bounded test: a window that hangs must fail the run, not stop it. What could be seen when it failed is kept. */
export const test = (name, work) =>
  it(name, { timeout: 240_000 }, async () => {
    try {
      await work()
    } catch (error) {
      for (const [at, desk] of desks.entries()) await Promise.race([desk.picture(`failed-${at}-${name.slice(0, 30).replace(/\W+/g, '-')}`).catch(() => {}), sleep(5000)])
      throw error
    }
  })

export const run = (program, args, options) => exec(program, args, { timeout: 60_000, ...options })

/** Waits until something is there, and answers it. */
export async function until(what, look, patience = PATIENCE) {
  const end = Date.now() + patience
  let last
  for (;;) {
    try {
      const found = await look()
      if (found) return found
      last = found
    } catch (error) {
      last = error
    }
    if (Date.now() > end) throw new Error(`it never came to this: ${what} (${last?.message ?? last})`)
    await sleep(50)
  }
}

export function folder() {
  const made = mkdtempSync(join(tmpdir(), 'coffre-e2e-'))
  // At the very end: what a hook removes is still written to by an application that another hook has yet to close.
  process.on('exit', () => rmSync(made, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 }))
  return made
}

const freePort = () =>
  new Promise((ok) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      server.close(() => ok(port))
    })
  })

// Runs in the page: what a person calls by a name, found by that name.
const FIND = `
  const [roles, name, exact, inside] = arguments
  const css = {
    button: 'button,[role=button],[role=menuitem],[role=option]', link: 'a[href]', heading: 'h1,h2,h3,h4', radio: 'input[type=radio]',
    field: 'input:not([type=radio]):not([type=checkbox]),textarea,select', check: 'input[type=checkbox]', dialog: '[role=dialog],[role=alertdialog]',
    region: 'aside,section,main,nav,[role=region]', any: '*',
  }
  const clean = (text) => (text ?? '').replace(/[\\u00a0\\u202f\\s]+/g, ' ').trim()
  const named = (e) => {
    const own = e.getAttribute('aria-label') || (e.getAttribute('aria-labelledby') || '').split(' ').map((id) => document.getElementById(id)?.textContent ?? '').join(' ').trim()
    if (own) return clean(own)
    if (e.labels && e.labels.length) return clean([...e.labels].map((l) => l.textContent).join(' '))
    return clean(e.textContent)
  }
  const wanted = new RegExp(name.source, name.flags)
  const shown = (e) => e.getClientRects().length > 0 && getComputedStyle(e).visibility !== 'hidden'
  const scope = inside ? document.querySelector(inside) : document
  if (!scope) return null
  const all = [...scope.querySelectorAll(roles.split(',').map((r) => css[r] ?? r).join(','))].filter((e) => shown(e) && wanted.test(named(e)))
  // Of nested ones the innermost is meant.
  return all.find((e) => !all.some((o) => o !== e && e.contains(o))) ?? null
`

const pattern = (name) =>
  name instanceof RegExp
    ? { source: name.source, flags: name.flags }
    : { source: `^${name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`, flags: '' }

class Desk {
  constructor(driver, server, home, env) {
    Object.assign(this, { driver, server, home, env })
  }

  /** Finds something by its role and name, waiting for it. */
  find(role, name, { inside = null, patience = PATIENCE } = {}) {
    return until(`${role} “${name}”`, () => this.driver.executeScript(FIND, role, pattern(name), true, inside), patience)
  }
  async has(role, name, inside = null) {
    return (await this.driver.executeScript(FIND, role, pattern(name), true, inside)) !== null
  }
  /** Clicks, once it can be clicked. */
  async click(role, name, options) {
    await until(`a click on ${role} “${name}”`, async () => {
      const found = await this.find(role, name, options)
      if (!(await found.isEnabled())) return false
      await found.click()
      return true
    })
  }
  /** Writes into a field as a person does. */
  async write(label, text, options) {
    const field = await this.find('field', label, options)
    await field.click()
    await field.sendKeys(Key.chord(Key.CONTROL, 'a'), Key.BACK_SPACE)
    await field.sendKeys(text)
  }
  /** Waits until a text can be read. */
  read(text, inside = 'body', patience = PATIENCE) {
    const wanted = text instanceof RegExp ? text : new RegExp(text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
    return until(`“${text}” can be read`, async () => wanted.exec(await this.text(inside)), patience)
  }
  async text(inside = 'body') {
    const text = await this.driver.executeScript('return document.querySelector(arguments[0])?.innerText ?? ""', inside)
    return text.replace(/[\u00a0\u202f]/g, ' ')
  }
  /** Goes to a view by its address, as a link does. */
  async go(route) {
    await this.driver.executeScript('location.hash = arguments[0]', route)
  }
  keys(...keys) {
    return this.driver.switchTo().activeElement().sendKeys(...keys)
  }
  /** Where the focus is, in words. */
  focused() {
    return this.driver.executeScript(
      `const e = document.activeElement; return ((e.getAttribute('aria-label') || (e.labels && e.labels[0] && e.labels[0].textContent) || e.textContent || e.tagName) + '').replace(/\\s+/g, ' ').trim()`,
    )
  }
  /**
   * A picture of the window, for people to look at: what stands on the screen. The driver's own never comes where WebKit lays pages together
   * by itself (WebKitGTK 2.50.6), as it does without a graphics processor.
   */
  async picture(name) {
    // What moves has come to rest; nothing is asserted on a picture.
    await sleep(300)
    await run('import', ['-window', await this.window(), join(PICTURES, `${name}.png`)])
  }
  /** The window on the screen, in front of all others; the whole screen where there is none. */
  async window() {
    for (const pid of new Set((await this.threads()).map((thread) => thread.pid))) {
      const { stdout } = await run('xdotool', ['search', '--onlyvisible', '--pid', `${pid}`, '--name', 'Coffre']).catch(() => ({ stdout: '' }))
      const found = stdout.trim().split('\n').at(-1)
      if (!found) continue
      // What lies above it would be in the picture.
      await run('xdotool', ['windowraise', found])
      await sleep(100)
      return found
    }
    return 'root'
  }
  /** The threads of the application and of WebKit's processes, with their names. */
  async threads() {
    const { stdout } = await run('ps', ['-eLo', 'pid=,ppid=,comm='])
    const all = stdout.trim().split('\n').map((line) => /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(line)).map(([, pid, parent, name]) => ({ pid: Number(pid), parent: Number(parent), name }))
    const ours = [this.server.pid]
    for (const pid of ours) for (const one of all) if (one.parent === pid && !ours.includes(one.pid)) ours.push(one.pid)
    return all.filter((one) => one.pid !== this.server.pid && ours.includes(one.pid))
  }
  /** Calls a command of the backend directly, as a page could. */
  invoke(command, args) {
    return this.driver.executeAsyncScript(
      `const done = arguments[2]
       window.__TAURI_INTERNALS__.invoke(arguments[0], arguments[1]).then((ok) => done({ ok }), (error) => done({ error }))`,
      command,
      args,
    )
  }
  /** The terminal on the same home: the witness beside the window. */
  coffre(...args) {
    return coffre(this.home, ...args)
  }
  async resize(width, height) {
    await this.driver.manage().window().setRect({ width, height })
  }
  async close() {
    // quit() ends the application; where it hangs, ending the driver's process group does.
    await Promise.race([this.driver.quit().catch(() => {}), sleep(10_000)])
    try {
      process.kill(-this.server.pid, 'SIGTERM')
    } catch {
      // It is gone already.
    }
  }
}

/** Opens Coffre on a home (a new one by default). */
export async function open({ home = join(folder(), 'home'), env = {}, args = [], program = PROGRAM } = {}) {
  const port = await freePort()
  const whole = {
    ...process.env,
    LANG: 'C.UTF-8',
    LC_ALL: 'C.UTF-8',
    // What the application asks for where nobody drives it; a driver's pictures never come then, so ours are of the screen.
    ...(HAS_PROCESSOR ? {} : { WEBKIT_DISABLE_COMPOSITING_MODE: '1' }),
    ...env,
    COFFRE_HOME: home,
    // What tauri-driver sets: the application opens its web view to automation on it.
    TAURI_AUTOMATION: 'true',
    TAURI_WEBVIEW_AUTOMATION: 'true',
  }
  const server = spawn('WebKitWebDriver', [`--port=${port}`], { stdio: 'ignore', detached: true, env: whole })
  await until('the driver answers', async () => (await fetch(`http://127.0.0.1:${port}/status`)).ok)
  const wanted = new Capabilities({
    browserName: 'wry',
    'webkitgtk:browserOptions': { binary: program, args },
  })
  const driver = await new Builder().withCapabilities(wanted).usingServer(`http://127.0.0.1:${port}/`).build()
  await driver.manage().setTimeouts({ script: PATIENCE })
  const desk = new Desk(driver, server, home, whole)
  desks.push(desk)
  after(() => desk.close())
  await until('the window says something', async () => (await desk.text()).length > 20)
  return desk
}

/** What `busctl` answers on the session's bus. */
export async function bus(...args) {
  const { stdout } = await run('busctl', ['--user', '--json=short', '--', ...args])
  return JSON.parse(stdout || 'null')?.data
}

/** The menu of the tray icon, as the panel gets it: what stands in it, and a way to choose. */
export async function tray() {
  const watcher = ['org.kde.StatusNotifierWatcher', '/StatusNotifierWatcher', 'org.kde.StatusNotifierWatcher']
  const items = await until('a tray icon', async () => {
    const found = await bus('get-property', ...watcher, 'RegisteredStatusNotifierItems')
    return found.length > 0 && found
  })
  const [, owner, path] = /^([^/]+)(\/.*)$/.exec(items.at(-1))
  const menu = await bus('get-property', owner, path, 'org.kde.StatusNotifierItem', 'Menu')
  const [, [, , children]] = await bus('call', owner, menu, 'com.canonical.dbusmenu', 'GetLayout', 'iias', '0', '-1', '0')
  const entries = children
    .map((child) => child.data)
    .map(([id, about]) => ({ id, label: about.label?.data ?? '', enabled: about.enabled?.data ?? true }))
  return {
    entries,
    labels: entries.map((entry) => entry.label).filter(Boolean),
    choose: async (label) => {
      const entry = entries.find((one) => one.label === label)
      if (!entry) throw new Error(`no “${label}” in ${JSON.stringify(entries)}`)
      await bus('call', owner, menu, 'com.canonical.dbusmenu', 'Event', 'isvu', `${entry.id}`, 'clicked', 'i', '0', '0')
    },
  }
}

/** What the notification daemon has shown, newest first; what is on the screen is closed by asking. */
export async function notifications() {
  await run('dunstctl', ['close-all'])
  const history = JSON.parse((await run('dunstctl', ['history'])).stdout).data[0]
  return history.map((one) => ({ app: one.appname.data, title: one.summary.data, body: one.body.data, stays: one.timeout.data === 0 }))
}

/** Answers a native file dialog by typing a path into it. */
export async function answerDialog(title, path) {
  const window = await until(`the dialog “${title}”`, async () =>
    (await run('xdotool', ['search', '--onlyvisible', '--name', `^${title}$`])).stdout.trim().split('\n')[0],
  )
  await run('xdotool', ['windowactivate', '--sync', window])
  await sleep(700)
  // In a dialog that opens, '/' opens the line for a location; in one that saves, the name has the focus already, and takes a whole path.
  await run('xdotool', ['key', 'ctrl+a'])
  await run('xdotool', ['type', '--delay', '20', path])
  await sleep(500)
  await run('xdotool', ['key', 'Return'])
}
