// The copies of the catalogue: listed while it is sound; one takes its place where it is damaged, and nothing is lost.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { coffre, folder, open, test, until } from './desktop.mjs'

test('a damaged catalogue gives its place to its copy, after a question, and is kept', async () => {
  const home = join(folder(), 'home')
  const file = join(folder(), 'shop.db')
  execFileSync('sqlite3', [file, 'CREATE TABLE orders(x); INSERT INTO orders VALUES (1), (2)'])
  await coffre(home, 'source', 'add', `sqlite://${file}`, '--name', 'shop')
  await coffre(home, 'backup', '--source', 'shop')
  const desk = await open({ home })
  const copies = join(home, 'catalogue-copies')
  await until('the first copy is made', async () => existsSync(copies) && readdirSync(copies).some((name) => name.endsWith('.db')))
  await desk.go('/settings')
  await desk.read(/Copies of the catalogue/)
  await desk.read(/A copy only takes the place of one that is damaged/)
  await desk.driver.executeScript('document.getElementById("copies").scrollIntoView()')
  await desk.picture('copies-settings')
  assert.ok(!(await desk.has('button', /^Restore…/)))
  await desk.close()

  const damage = 'SQLite format 3\0 and then noise '.padEnd(8192, 'x')
  for (const log of ['-wal', '-shm']) rmSync(join(home, `catalogue.db${log}`), { force: true })
  writeFileSync(join(home, 'catalogue.db'), damage)
  const again = await open({ home })
  await again.read('CATALOGUE_CORRUPT')
  await again.find('button', /^Restore…/)
  await again.picture('copies-damaged')
  await again.resize(960, 800)
  await again.driver.executeScript('document.documentElement.dataset.theme = "dark"')
  await again.picture('copies-damaged-dark')
  await again.click('button', /^Restore…/)
  await again.read(/moved aside and kept/)
  await again.picture('copies-question')
  await again.click('button', 'Restore this copy')
  await again.read(/What was replaced is kept/)
  await again.picture('copies-restored')
  const kept = readdirSync(home).filter((name) => name.startsWith('catalogue.') && name !== 'catalogue.db')
  assert.ok(
    kept.some((name) => readFileSync(join(home, name), 'latin1') === damage),
    kept.join(),
  )
  assert.equal((await coffre(home, 'list')).backups.length, 1)
  assert.equal((await coffre(home, 'source', 'list')).sources[0].name, 'shop')
  await again.invoke('set_setting', { args: { key: 'language', value: 'fr' } })
  await again.go('/settings')
  await again.read(/Copies du catalogue/)
  await again.driver.executeScript('document.getElementById("copies").scrollIntoView()')
  await again.picture('copies-settings-fr')
})
