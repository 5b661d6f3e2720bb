// Both languages, both themes, the keyboard alone, narrow and wide: every view in pictures, and with nothing for axe to find.
import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after } from 'node:test'
import { folder, HAS_PROCESSOR, Key, open, PROGRAM, run, sleep, test, until } from './desktop.mjs'
import { findings } from './look.mjs'

const VIEWS = ['overview', 'backups', 'plans', 'sources', 'destinations', 'health', 'journal', 'settings']

/** A home with something in every view: verified, failed and running backups of two sources. */
async function furnished(desk) {
  const files = folder()
  const shop = join(files, 'boutique.db')
  execFileSync('sqlite3', [shop, 'CREATE TABLE orders(id INTEGER PRIMARY KEY, what TEXT); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<2000) INSERT INTO orders SELECT i, hex(randomblob(20)) FROM n;'])
  const gone = join(files, 'archive.db')
  execFileSync('cp', [shop, gone])
  await desk.coffre('source', 'add', `sqlite://${shop}`, '--name', 'boutique')
  await desk.coffre('source', 'add', `sqlite://${gone}`, '--name', 'archive')
  await desk.coffre('backup', '--source', 'boutique')
  await desk.coffre('backup', '--source', 'archive')
  await desk.coffre('plan', 'add', 'boutique, chaque jour', '--source', 'boutique', '--every', 'daily').catch(() => {})
  execFileSync('rm', [gone])
  await desk.coffre('backup', '--source', 'archive').catch(() => {})
}

test('every view, in both languages and themes, wide and narrow: pictures, and nothing that axe finds', async () => {
  const desk = await open()
  await furnished(desk)
  await desk.find('link', 'Overview')
  await desk.read(/boutique/)
  const [font, still] = await desk.driver.executeScript("return [getComputedStyle(document.body).fontFamily, matchMedia('(prefers-reduced-motion: reduce)').matches]")
  assert.match(font, /^"?DejaVu Sans"?, sans-serif$/, 'the font that run-under-xvfb gives the desktop')
  assert.ok(still || HAS_PROCESSOR, 'nothing moves where WebKit paints by itself')
  assert.ok(HAS_PROCESSOR || !(await desk.threads()).some((thread) => thread.name.startsWith('llvmpipe')), 'no graphics processor is emulated')
  const problems = []
  for (const language of ['en', 'fr']) {
    await desk.invoke('set_setting', { args: { key: 'language', value: language } })
    await until('the language', async () => (await desk.driver.executeScript('return document.documentElement.lang')) === language)
    for (const theme of ['light', 'dark']) {
      await desk.invoke('set_setting', { args: { key: 'theme', value: theme } })
      await until('the theme', async () => (await desk.driver.executeScript('return document.documentElement.dataset.theme')) === theme)
      await desk.resize(1280, 832)
      for (const view of VIEWS) {
        await desk.go(`/${view}`)
        await until('the view', async () => (await desk.driver.executeScript('return document.querySelector("h1")?.textContent ?? ""')).length > 0)
        await until('no skeleton', async () => !(await desk.driver.executeScript('return document.querySelector("[aria-busy=true]") !== null')))
        await desk.picture(`${view}.${language}.${theme}`)
        for (const finding of await findings(desk)) problems.push(`${view} ${language} ${theme}: ${finding}`)
      }
    }
    await desk.resize(960, 800)
    for (const view of VIEWS) {
      await desk.go(`/${view}`)
      await until('the view', async () => (await desk.driver.executeScript('return document.querySelector("h1")?.textContent ?? ""')).length > 0)
      const wider = await desk.driver.executeScript('return document.documentElement.scrollWidth - document.documentElement.clientWidth')
      if (wider > 0) problems.push(`${view} ${language}: ${wider} px wider than the window at 960`)
      await desk.picture(`${view}.${language}.960`)
    }
  }
  assert.deepEqual(problems, [])
})

test('everything with the keyboard alone, in French', async () => {
  const desk = await open({ env: { LC_ALL: 'fr_FR.UTF-8', LANG: 'fr_FR.UTF-8' } })
  await desk.find('heading', 'Des sauvegardes que l’on sait restaurer')
  // The first door, reached and opened by keys.
  const door = await until('the door has the focus', async () => {
    await desk.keys(Key.TAB)
    const words = await desk.focused()
    return /exemple/i.test(words) && words
  })
  assert.ok(door)
  await desk.keys(Key.ENTER)
  await desk.read(/Vérifiée/, 'aside.panel')
  await desk.invoke('set_setting', { args: { key: 'theme', value: 'dark' } })
  await until('the theme', async () => (await desk.driver.executeScript('return document.documentElement.dataset.theme')) === 'dark')
  await desk.picture('story-clavier-verifiee')
  // The palette, from anywhere.
  await desk.keys(Key.chord(Key.CONTROL, 'k'))
  await desk.find('dialog', /./)
  await desk.keys('journal')
  await desk.picture('story-clavier-palette')
  await desk.keys(Key.ENTER)
  await desk.find('heading', 'Journal')
  // Views by their digits; the list of shortcuts; Escape closes it.
  await desk.keys('2')
  await desk.find('heading', 'Sauvegardes')
  await desk.keys('?')
  await desk.find('dialog', /raccourcis|clavier/i)
  await desk.keys(Key.ESCAPE)
  await until('the list is closed', async () => !(await desk.has('dialog', /./)))
})

test('any driver gets its pictures of the window; where nobody drives it, no graphics processor is emulated', async () => {
  // As somebody else's driver starts it, who sets nothing.
  const desk = await open({ env: { WEBKIT_DISABLE_COMPOSITING_MODE: undefined } })
  assert.ok(await Promise.race([desk.driver.takeScreenshot(), sleep(60_000, null, { ref: false })]), 'the picture comes')
  await desk.close()
  if (HAS_PROCESSOR) return
  const plain = spawn(PROGRAM, [], { stdio: 'ignore', env: { ...process.env, COFFRE_HOME: join(folder(), 'home') } })
  after(() => plain.kill())
  const page = await until('its page', async () => (await run('pgrep', ['-P', `${plain.pid}`, 'WebKitWebProces'])).stdout.trim())
  const environment = readFileSync(`/proc/${page}/environ`, 'latin1').split('\0')
  for (const choice of ['WEBKIT_DISABLE_COMPOSITING_MODE=1', 'WEBKIT_SKIA_ENABLE_CPU_RENDERING=1']) assert.ok(environment.includes(choice), choice)
})
