// A person opens Coffre for the first time.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { answerDialog, folder, open, test, until } from './desktop.mjs'

test('first start → sample → green, then downloaded, then brought back into a new place', async () => {
  const desk = await open()
  await desk.find('heading', 'Backups that come back')
  await desk.picture('story-welcome')
  await desk.click('button', /Try with a sample/)

  // The first backup runs before one's eyes and turns green.
  const panel = '[aria-label="Chosen backup"]'
  await desk.read(/Verified/, panel)
  await desk.find('button', 'Restore…', { inside: panel })
  await desk.picture('story-first-backup')
  const { backups } = await desk.coffre('list')
  assert.equal(backups.length, 1)
  assert.equal(backups[0].state, 'verified')
  const source = backups[0].source
  await desk.go('/overview')
  await desk.read(/1 of 1 protected/)
  await desk.picture('story-protected')

  // Downloaded through the native dialog; stock tools read what lies there.
  await desk.go(`/backups/${backups[0].id}`)
  const copy = join(folder(), 'copy.db.zst')
  await desk.click('button', 'Download…', { inside: panel })
  await answerDialog('Save as', copy)
  await desk.read('Downloaded')
  const plain = copy.replace(/\.zst$/, '')
  execFileSync('zstd', ['-q', '-d', copy, '-o', plain])
  assert.equal(execFileSync('sqlite3', [plain, 'PRAGMA integrity_check']).toString().trim(), 'ok')

  // Restored into a new place, through the double confirmation.
  const place = join(folder(), 'back.db')
  await desk.click('button', 'Restore…', { inside: panel })
  await desk.read('Where should it go?')
  await desk.write(/File|New file|Path/i, place, { inside: '[role=dialog]' })
  await desk.picture('story-restore-1-where')
  await desk.click('button', 'Preview')
  await desk.read('Checked just now')
  await desk.picture('story-restore-2-preview')
  assert.ok(!existsSync(place), 'a preview writes nothing')
  await desk.click('button', 'Continue')
  const start = await desk.find('button', 'Start the restore')
  assert.equal(await start.isEnabled(), false)
  await desk.write(/Type the name to confirm/, `${source}x`)
  await desk.read('This is another name.')
  assert.equal(await start.isEnabled(), false)
  await desk.write(/Type the name to confirm/, source)
  await desk.click('button', 'Start the restore')
  await desk.find('button', 'Stop the count-down')
  await desk.picture('story-restore-3-count-down')
  assert.ok(!existsSync(place), 'nothing is written while it can be taken back')
  await desk.click('button', 'Stop the count-down')
  assert.ok(!existsSync(place))
  await desk.click('button', 'Start the restore')
  await desk.read(/is exactly the backup/)
  await desk.picture('story-restore-4-result')
  assert.equal(execFileSync('sqlite3', [place, 'PRAGMA integrity_check']).toString().trim(), 'ok')
  await desk.click('button', 'Done')
  await until('the sheet is closed', async () => !(await desk.has('dialog', /./)))
})
