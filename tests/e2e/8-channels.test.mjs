// Who is told: a channel made in the window, tried, and told of a failure once, by a receiver that really answers.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { folder, open, test, until } from './desktop.mjs'

/** A receiver that answers as it is told, and 200 after that. */
async function receiver(answers) {
  const bodies = []
  const server = createServer((request, response) => {
    let body = ''
    request.on('data', (part) => {
      body += part
    })
    request.on('end', () => {
      bodies.push(JSON.parse(body))
      response.writeHead(answers.shift() ?? 200).end()
    })
  })
  await new Promise((done) => server.listen(0, '127.0.0.1', done))
  server.unref()
  return { bodies, url: `http://127.0.0.1:${server.address().port}/hook` }
}

test('a channel is added, tried, and hears of a failure once', async () => {
  const { bodies, url } = await receiver([410])
  const desk = await open()
  const file = join(folder(), 'shop.db')
  execFileSync('sqlite3', [file, 'CREATE TABLE orders(id INTEGER PRIMARY KEY)'])
  await desk.coffre('source', 'add', `sqlite://${file}`, '--name', 'shop')
  execFileSync('rm', [file])
  await desk.go('/settings')
  await desk.click('button', /^Add a channel/)
  await desk.find('field', 'Mail server')
  await desk.picture('channel-form')
  await desk.click('button', 'Webhook')
  await desk.write('Name', 'hook')
  await desk.write('Address', url)
  await desk.click('button', 'Save')
  await desk.read(url)
  // The receiver says no: the window says what it said, and what to do.
  await desk.click('button', /^Send a test/)
  await desk.read(/nobody takes messages under this address \(410\)/)
  await desk.picture('channel-refused')
  await desk.go('/health')
  await desk.read(/The channel “hook” does not reach its receiver/)
  await desk.picture('channel-health')
  // Where a person looks first: in the sidebar, and in a sentence of its own on the overview.
  // Wide enough for the sidebar's words: the size of the window is that of the test before.
  await desk.resize(1280, 800)
  await desk.go('/overview')
  await desk.read(/Nobody would hear of a failure/)
  await desk.read(/Nobody can be told/)
  await desk.picture('channel-overview')
  await desk.invoke('set_setting', { args: { key: 'language', value: 'fr' } })
  await desk.invoke('set_setting', { args: { key: 'theme', value: 'dark' } })
  await desk.resize(960, 800)
  await desk.read(/Personne n’apprendrait un échec/)
  await desk.picture('channel-overview-fr-dark')
  await desk.invoke('set_setting', { args: { key: 'language', value: 'en' } })
  await desk.invoke('set_setting', { args: { key: 'theme', value: 'light' } })
  await desk.click('link', 'See what to do')
  await desk.click('button', /^Send a test/)
  await desk.read(/The receiver took it/)
  await desk.coffre('backup', '--source', 'shop').catch(() => {})
  await desk.coffre('backup', '--source', 'shop').catch(() => {})
  await until('it is told', async () => bodies.some((body) => body.event === 'backup.failed'))
  const failed = bodies.filter((body) => body.event === 'backup.failed')
  assert.equal(failed.length, 1, JSON.stringify(failed))
  await desk.click('button', /^What was sent/)
  await desk.read(/backup\.failed · shop/)
  await desk.picture('channel-history')
  await desk.invoke('set_setting', { args: { key: 'language', value: 'fr' } })
  await desk.invoke('set_setting', { args: { key: 'theme', value: 'dark' } })
  await desk.resize(960, 800)
  await desk.keys('\uE00C')
  await desk.read(/Canaux/)
  await desk.click('button', /^Modifier hook/)
  await desk.find('field', 'Adresse')
  await desk.picture('channel-form-fr-dark')
})
