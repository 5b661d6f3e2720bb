// `./dev bench ui`: what the window costs, against an application of Tauri with nothing in it, in turns in the same run. It judges
// nothing: it prints the table of docs/performance.md. Runs inside tests/e2e/run-under-xvfb; BENCH_EMPTY is the empty application.
import { execFileSync, spawn } from 'node:child_process'
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { open, PROGRAM, sleep, until, folder } from '../e2e/desktop.mjs'

const here = import.meta.dirname
const EMPTY = process.env.BENCH_EMPTY
const COFFRE = PROGRAM.replace(/-desktop$/, '')
const PAIRS = Number(process.env.COFFRE_BENCH_RUNS ?? 5)
/** Seconds of rest that are watched. */
const REST = 30
/** Changes of an hour, one each second. */
const HOUR = Number(process.env.COFFRE_BENCH_EVENTS ?? 3600)

const median = (all) => {
  const sorted = [...all].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}
const most = (all) => Math.max(...all)
const rows = []
/** One line of the table. `worth` is what is held against the goal. */
function row(what, ours, empty, worth, goal, unit = '') {
  const met = goal === null ? '' : worth <= goal ? 'met' : '**not met**'
  rows.push(`| ${what} | ${ours} | ${empty} | ${worth === null ? '' : worth.toFixed(2)}${unit} | ${goal === null ? 'shown' : `≤ ${goal}${unit}`} | ${met} |`)
  console.log(rows.at(-1))
}

// ── Homes ──
const base = folder()
const env = (home) => ({ ...process.env, COFFRE_HOME: home, LANG: 'C.UTF-8', LC_ALL: 'C.UTF-8' })
const coffre = (home, ...args) => execFileSync(COFFRE, args, { env: env(home), stdio: ['ignore', 'pipe', 'pipe'] })
/** One source with one verified backup. */
function usual() {
  const home = join(base, 'usual')
  const file = join(base, 'shop.db')
  mkdirSync(join(base, 'backups'))
  execFileSync('sqlite3', [file, 'CREATE TABLE orders (id INTEGER PRIMARY KEY, what TEXT); INSERT INTO orders VALUES (1, hex(randomblob(5000)));'])
  coffre(home, 'source', 'add', `sqlite://${file}`, '--name', 'shop')
  coffre(home, 'destination', 'add', `file://${join(base, 'backups')}`, '--name', 'disk')
  coffre(home, 'backup', '--source', 'shop', '--to', 'disk')
  return home
}
/** The same with 100,000 backups. */
function large(from) {
  const home = join(base, 'large')
  cpSync(from, home, { recursive: true })
  const [file, away] = [join(base, 'shop.db'), join(base, 'shop.away')]
  execFileSync('mv', [file, away])
  try {
    coffre(home, 'backup', '--source', 'shop', '--to', 'disk')
  } catch {
    // It had to fail: there is one that failed now, for others to be like.
  }
  execFileSync('mv', [away, file])
  execFileSync('sqlite3', [join(home, 'catalogue.db')], { input: readFileSync(join(here, 'fill.sql')) })
  return home
}

// ── Processes ──
const parentOf = (pid) => {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const rest = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return Number(rest[1])
}
/** A process and everything it started. */
function family(root) {
  const parents = new Map()
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      parents.set(Number(pid), parentOf(pid))
    } catch {
      // It ended while we looked.
    }
  }
  const found = [root]
  for (let i = 0; i < found.length; i++) for (const [pid, parent] of parents) if (parent === found[i]) found.push(pid)
  return found
}
/** Memory of a family in MB: what only it has, and its part of what is shared. */
const memory = (pids) => pids.reduce((sum, pid) => sum + Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))[1]), 0) / 1000
/** CPU of each thread of a family in milliseconds since it began: the scheduler's own count, in nanoseconds, not the clock's ticks. */
const cpu = (pids) => new Map(pids.flatMap((pid) => threads(pid, 'schedstat').map(([task, text]) => [task, Number(text.split(' ')[0]) / 1e6])))
/** What a file of each thread of a process says. */
function threads(pid, file) {
  return readdirSync(`/proc/${pid}/task`).flatMap((task) => {
    try {
      return [[task, readFileSync(`/proc/${pid}/task/${task}/${file}`, 'utf8')]]
    } catch {
      // It ended while we looked.
      return []
    }
  })
}
/** How much more it is now. A thread that ended meanwhile takes its part along; one that began brings its own. */
const more = (before, now) => [...now].reduce((sum, [task, value]) => sum + value - (before.get(task) ?? 0), 0)
/** How often each thread of a process went to sleep so far. */
const sleeps = (pid) => new Map(threads(pid, 'status').map(([task, text]) => [task, Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(text)[1])]))

/** Starts a program, leaves it alone, and sees what it takes. */
async function resting(program, home) {
  const child = spawn(program, [], { env: env(home), stdio: 'ignore', detached: true })
  try {
    await sleep(12_000)
    const pids = family(child.pid)
    const mb = memory(pids)
    const own = memory([child.pid])
    const [before, woken] = [cpu(pids), sleeps(child.pid)]
    await sleep(REST * 1000)
    return { mb, own, processes: pids.length, cpu: more(before, cpu(pids)), wakes: more(woken, sleeps(child.pid)) / REST }
  } finally {
    process.kill(child.pid, 'SIGTERM')
    await new Promise((ended) => (child.exitCode === null && child.signalCode === null ? child.once('exit', ended) : ended()))
    await sleep(1000)
  }
}

/** Milliseconds until the first useful picture. */
function start(title, program, home) {
  return JSON.parse(execFileSync('python3', [join(here, 'first-paint.py'), title, program], { env: env(home), encoding: 'utf8' }))
}

const spread = (all, digits = 0) => `${median(all).toFixed(digits)} (${Math.min(...all).toFixed(digits)} to ${most(all).toFixed(digits)})`

const wanted = process.argv.slice(2)
const asked = (name) => wanted.length === 0 || wanted.includes(name)
const home = usual()
console.log('| what | ours | empty application | worth | goal | |\n|---|---|---|---|---|---|')
// ── Starting ──
if (asked('start')) {
  start('Empty', EMPTY, home)
  start('Coffre', PROGRAM, home)
  const paints = { ours: [], first: [], empty: [], ratio: [], firstRatio: [] }
  for (let i = 0; i < PAIRS; i++) {
    const empty = start('Empty', EMPTY, home).useful
    const ours = start('Coffre', PROGRAM, home).useful
    const first = start('Coffre', PROGRAM, join(base, `first-${i}`)).useful
    paints.ours.push(ours)
    paints.first.push(first)
    paints.empty.push(empty)
    paints.ratio.push(ours / empty)
    paints.firstRatio.push(first / empty)
  }
  row('from the start to the first useful picture (the overview, complete), ms', spread(paints.ours), spread(paints.empty), median(paints.ratio), 1.3, ' ×')
  row('the same, the very first start (a home is made, the welcome is shown), ms', spread(paints.first), spread(paints.empty), median(paints.firstRatio), null, ' ×')
}

// ── Resting ──
if (asked('rest')) {
  const rests = { ours: [], empty: [] }
  for (let i = 0; i < Math.min(PAIRS, 3); i++) {
    rests.empty.push(await resting(EMPTY, home))
    rests.ours.push(await resting(PROGRAM, home))
  }
  const of = (whose, what) => rests[whose].map((one) => one[what])
  row('memory at rest, all processes, PSS in MB', spread(of('ours', 'mb')), spread(of('empty', 'mb')), median(rests.ours.map((one, i) => one.mb / rests.empty[i].mb)), 1.25, ' ×')
  row(
    'of it the program itself, without WebKit’s processes, MB',
    spread(of('ours', 'own')),
    spread(of('empty', 'own')),
    median(rests.ours.map((one, i) => one.own / rests.empty[i].own)),
    null,
    ' ×',
  )
  row(`CPU at rest, all processes, ms in ${REST} s`, spread(of('ours', 'cpu')), spread(of('empty', 'cpu')), (median(of('ours', 'cpu')) / (REST * 1000)) * 100, null, ' %')
  row('wake-ups of the program itself, each second', spread(of('ours', 'wakes'), 1), spread(of('empty', 'wakes'), 1), null, null)
}

// ── In the window ──
const PAGE = `
  const frame = () => new Promise((done) => requestAnimationFrame(done))
  const painted = async () => { await frame(); await frame() }
  const wait = async (there, limit = 20000) => {
    const end = performance.now() + limit
    while (!there()) { if (performance.now() > end) throw new Error('it never came'); await frame() }
  }
  const list = () => document.querySelector('[role=rowgroup]')
  const drawn = () => { const rows = [...document.querySelectorAll('[data-index]')]; return rows.length > 0 && rows.every((row) => !row.querySelector('.sk')) }
`
const inPage = async (desk, script, ...args) => {
  const answer = await desk.driver.executeAsyncScript(
    `const done = arguments[arguments.length - 1], args = [...arguments].slice(0, -1)
     ;(async () => { ${PAGE} ${script} })().then((ok) => done({ ok }), (error) => done({ error: String(error) }))`,
    ...args,
  )
  if (answer.error) throw new Error(answer.error)
  return answer.ok
}

if (asked('window') || asked('hour')) {
  const many = large(home)
  const desk = await open({ home: many })
  await desk.find('link', 'Overview')
  await desk.read('shop')
  if (asked('window')) {
  const frames = await inPage(desk, `const found = []; for (let i = 0; i < 20; i++) { const began = performance.now(); await painted(); found.push(performance.now() - began) } return found`)
  row('part of all that follows: two frames with nothing to draw, ms', spread(frames), '', null, null)
    // Each view by its link in the sidebar: from the click until what it shows is read and drawn.
    const views = await inPage(
      desk,
      `const found = []
   for (let round = 0; round < 4; round++) for (const link of [...document.querySelectorAll('aside nav a')]) {
     const began = performance.now()
     link.click()
     await wait(() => link.getAttribute('aria-current') === 'page' && document.querySelector('h1') && !document.querySelector('[aria-busy=true], .sk'))
     await painted()
     found.push({ view: link.textContent.trim(), ms: performance.now() - began, round })
     await new Promise((done) => setTimeout(done, 300))
   }
   return found`,
    )
    const later = views.filter((one) => one.round > 0)
    row(
      'interaction to answer: a click in the sidebar until the view is read and drawn, with 100,000 backups, ms',
      `${spread(later.map((one) => one.ms))}; first visits ${spread(views.filter((one) => one.round === 0).map((one) => one.ms))}`,
      '',
      median(later.map((one) => one.ms)),
      100,
      ' ms',
    )
    const slowest = later.toSorted((a, b) => b.ms - a.ms)[0]
    row(`the slowest of them (${slowest.view.replace(/\d+.*/, '')})`, slowest.ms.toFixed(0), '', slowest.ms, 100, ' ms')

    const firstPages = []
    for (let i = 0; i < 7; i++) {
      await desk.go('/settings')
      await sleep(500)
      firstPages.push(await inPage(desk, `const began = performance.now(); location.hash = '/backups'; await wait(drawn); await painted(); return performance.now() - began`))
    }
    row('list of 100,000 backups: until the first page is drawn, ms', spread(firstPages), '', median(firstPages), 100, ' ms')
    const chosen = []
    for (let i = 0; i < 7; i++) {
      chosen.push(
        await inPage(
          desk,
          `const [n] = args, row = document.querySelector('[data-index="' + n + '"]'), began = performance.now()
       row.click()
       const panel = () => document.querySelector('[aria-label="Chosen backup"]')
       await wait(() => row.getAttribute('aria-selected') === 'true' && panel() && panel().innerText.includes('BKP-') && !panel().querySelector('[aria-busy=true], .sk'))
       await painted()
       return performance.now() - began`,
          i + 1,
        ),
      )
    }
    row('a click on a backup until all about it is drawn, ms', spread(chosen), '', median(chosen), 100, ' ms')

    // Scrolling: at each frame, is the whole of what is seen covered with rows, and how many of them are not read yet?
    const scrolled = async (step, frames) =>
      inPage(
        desk,
        `const [step, frames] = args, scroller = list()
     scroller.scrollTop = 0
     await wait(drawn); await painted()
     let dropped = 0, unread = 0, seen = 0, worst = 0, last = performance.now()
     for (let i = 0; i < frames; i++) {
       scroller.scrollTop += step
       await frame()
       const now = performance.now(); worst = Math.max(worst, now - last); last = now
       const box = scroller.getBoundingClientRect()
       const rows = [...scroller.querySelectorAll('[data-index]')].map((row) => [row.getBoundingClientRect(), row]).filter(([at]) => at.bottom > box.top && at.top < box.bottom).sort((a, b) => a[0].top - b[0].top)
       let reach = box.top, gap = rows.length === 0
       for (const [at] of rows) { if (at.top > reach + 1) gap = true; reach = at.bottom }
       if (reach < box.bottom - 1) gap = true
       if (gap) dropped++
       seen += rows.length
       unread += rows.filter(([, row]) => row.querySelector('.sk')).length
     }
     return { dropped, unread, seen, worst, frames, at: scroller.scrollTop }`,
        step,
        frames,
      )
    for (const [what, step] of [
      ['a wheel, 120 px a frame', 120],
      ['a flick, 600 px a frame', 600],
      ['the bar dragged, 20,000 px a frame', 20_000],
    ]) {
      const told = await scrolled(step, 180)
      row(
        `scrolling, ${what}: frames with a gap; rows seen before they were read; longest frame`,
        `${told.dropped} of ${told.frames}; ${((told.unread / told.seen) * 100).toFixed(1)} %; ${told.worst.toFixed(0)} ms`,
        '',
        told.dropped,
        0,
      )
    }
  }

  if (asked('hour')) {
    // An hour of a change each second, pressed together: the overview is shown, and reads itself again at each.
    await desk.go('/overview')
    const [backup] = (await desk.invoke('list_backups', { args: { query: { page: 1, per_page: 1, text: '', sort: 'started_at', descending: true } } })).ok.backups
    const application = family(desk.server.pid).find((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').startsWith(PROGRAM))
    const some = (count) =>
    inPage(
      desk,
      `const [id, count] = args
     for (let i = 0; i < count; i++) {
       await window.__TAURI_INTERNALS__.invoke('pin_backup', { args: { id, pinned: i % 2 === 0 } })
       // Changes closer together than 50 ms are told together.
       await new Promise((done) => setTimeout(done, 55))
     }
     return count`,
      backup.id,
      count,
    )
  // A few at a time: the driver waits a minute for an answer, not longer.
  const push = async (count) => {
    for (let told = 0; told < count; told += 100) await some(100)
  }
  const rested = async () => {
      await sleep(8000)
      return memory(family(application))
    }
    const flat = []
    for (let pushed = 0; pushed <= HOUR; pushed += 400) {
      flat.push({ pushed, mb: await rested() })
      if (pushed < HOUR) await push(400)
    }
    // The caches of the first changes are no growth: the second measure is where it begins.
    const [from, to] = [flat[1], flat.at(-1)]
    row(
      `memory over an hour of pushed events (${HOUR} changes; after 400, after all), MB`,
      `${from.mb.toFixed(0)}, ${to.mb.toFixed(0)} (${flat.map((one) => one.mb.toFixed(0)).join(' ')})`,
      '',
      to.mb / from.mb,
      1.05,
      ' ×',
    )
  }
  await desk.close()
}

if (asked('bundle')) {
  const bundle = execFileSync('node', [join(here, '../../ui/scripts/bundle.mjs')], { encoding: 'utf8' })
  const size = Number(/charts: ([\d.]+) kB/.exec(bundle)[1])
  row('bundle of the interface before charts, gzip, kB', `${size}`, '', size, 150, ' kB')
}
rmSync(base, { recursive: true, force: true })
process.exit(0)
