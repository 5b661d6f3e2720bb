// A person protects a PostgreSQL database of their own, with a password.
import assert from 'node:assert/strict'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { notifications, open, run, test, tray, until } from './desktop.mjs'
import { postgres } from './servers.mjs'

const PASSWORD = 'pa$$ "wörd" \\ %41'

/** Every file below a folder that holds a text. */
function holding(folder, text) {
  const found = []
  for (const name of readdirSync(folder)) {
    const path = join(folder, name)
    if (statSync(path).isDirectory()) found.push(...holding(path, text))
    else if (statSync(path).isFile() && readFileSync(path).includes(text)) found.push(path)
  }
  return found
}

test('a PostgreSQL source: tested, its password in the keychain alone, planned, backed up; a failure is told, and its end', async () => {
  const server = await postgres(PASSWORD)
  await server.sql('postgres', 'CREATE DATABASE shop')
  await server.sql('shop', 'CREATE TABLE orders AS SELECT i AS id, md5(i::text) AS token FROM generate_series(1, 5000) i')

  const desk = await open()
  await desk.click('button', /Protect a database/)
  await desk.click('radio', /PostgreSQL/)
  await desk.write(/^Host/, '127.0.0.1')
  await desk.write(/^Port/, `${server.port}`)
  await desk.write(/^Database/, 'shop')
  await desk.write(/^User/, 'anna')
  await desk.write(/^Password/, 'wrong')
  await desk.click('button', 'Test connection')
  await desk.read(/AUTH_FAILED|password/i, '.ed-side')
  await desk.picture('story-postgres-refused')
  await desk.write(/^Password/, PASSWORD)
  await desk.click('button', 'Test connection')
  await desk.read('The database answers')
  await desk.picture('story-postgres-answers')
  await desk.write(/^Name/, 'shop')
  await desk.click('button', 'Save and continue')

  // The plan comes next, with a first destination where there is none.
  await desk.find('heading', 'New plan')
  // The keychain has the password, and no file of ours.
  const found = await run('secret-tool', ['search', '--all', '--unlock', 'service', 'coffre']).catch((error) => error)
  assert.ok(`${found.stdout}${found.stderr}`.includes(PASSWORD), `the password is in the Secret Service: ${found.stdout} ${found.stderr}`)
  assert.deepEqual(holding(desk.home, PASSWORD), [])

  await desk.click('button', /Use the folder/)
  await desk.read(/1 copy in/)
  await desk.picture('story-plan')
  await desk.click('button', 'Save')
  const { plans } = await until('a plan', async () => {
    const now = await desk.coffre('plan', 'list')
    return now.plans.length === 1 && now
  })
  const label = `Back up shop now (${plans[0].name})`

  // Back up now, from the tray.
  const menu = await until('the tray offers the plan', async () => {
    const now = await tray()
    return now.labels.includes(label) && now
  })
  await menu.choose(label)
  await until('verified', async () => (await desk.coffre('list')).backups.some((one) => one.state === 'verified'))
  assert.ok(!(await notifications()).some((one) => one.title.includes('shop')), 'a success is not told unless asked for')

  // The server goes away: the next backup fails, and the desktop says so.
  await server.stop()
  await (await tray()).choose(label)
  const told = await until('a notification of the failure', async () => (await notifications()).find((one) => one.title.includes('shop')))
  assert.equal(told.app, 'Coffre')
  assert.match(told.title, /failed/)
  assert.ok(told.stays, 'until somebody saw it')
  await desk.go('/backups')
  await desk.read(/Failed/)
  await desk.picture('story-failure')
  const state = await until('the tray shows trouble', async () => {
    const now = await tray()
    return /at risk|not protected/.test(now.labels[0]) && now
  })
  assert.ok(state)
})
