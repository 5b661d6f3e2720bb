// Throw-away servers for stories.
import { chmodSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after } from 'node:test'
import { run } from './desktop.mjs'

/** PostgreSQL refuses to run as root: as another user then, where this is root. */
const root = process.getuid() === 0
const as = (program, args) => (root ? ['setpriv', ['--reuid=postgres', '--regid=postgres', '--clear-groups', program, ...args]] : [program, args])

function programs() {
  const base = '/usr/lib/postgresql'
  const found = existsSync(base) ? readdirSync(base).sort((a, b) => b - a) : []
  if (found.length === 0) throw new Error('no PostgreSQL server is installed (./dev setup installs one)')
  return join(base, found[0], 'bin')
}

/** A PostgreSQL server that asks for a password, on a loopback port. */
export async function postgres(password) {
  const bin = programs()
  const folder = mkdtempSync('/tmp/coffre-pg-')
  const port = 20_000 + (process.pid % 20_000) + Math.floor(Math.random() * 1000)
  writeFileSync(join(folder, 'password'), password)
  if (root) await run('chown', ['-R', 'postgres:postgres', folder])
  chmodSync(folder, 0o700)
  const data = join(folder, 'data')
  const act = (program, args) => run(...as(join(bin, program), args), { cwd: '/', env: { PATH: process.env.PATH, LC_ALL: 'C' } })
  await act('initdb', ['-D', data, '-U', 'anna', '-A', 'scram-sha-256', `--pwfile=${join(folder, 'password')}`, '--no-sync', '-E', 'UTF8', '--locale=C'])
  const options = `-c listen_addresses=127.0.0.1 -c port=${port} -c unix_socket_directories=${folder} -c fsync=off`
  await act('pg_ctl', ['-D', data, '-w', '-s', '-l', join(folder, 'log'), '-o', options, 'start'])
  const stop = () => act('pg_ctl', ['-D', data, '-m', 'immediate', '-s', 'stop'])
  after(async () => {
    await stop().catch(() => {})
    rmSync(folder, { recursive: true, force: true })
  })
  const sql = async (database, text) => {
    const { stdout } = await run(join(bin, 'psql'), ['-h', '127.0.0.1', '-p', `${port}`, '-U', 'anna', '-d', database, '-XAtq', '-v', 'ON_ERROR_STOP=1', '-c', text], {
      env: { PATH: process.env.PATH, PGPASSWORD: password },
    })
    return stdout.trim()
  }
  return { port, sql, stop }
}
