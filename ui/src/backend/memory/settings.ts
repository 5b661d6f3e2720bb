/** Settings, keys and tools. */
import type { Backend } from '../backend'
import type * as T from '../generated'
import type { Core } from './core'
import { hash } from './data'

const SETTINGS: [string, string, T.SettingKind][] = [
  ['language', 'system', { type: 'choice', choices: ['system', 'en', 'fr'] }],
  ['theme', 'system', { type: 'choice', choices: ['system', 'light', 'dark'] }],
  ['shortcuts', 'on', { type: 'switch' }],
  ['notify_failures', 'on', { type: 'switch' }],
  ['notify_recoveries', 'on', { type: 'switch' }],
  ['notify_successes', 'off', { type: 'switch' }],
  ['close_to_tray', 'on', { type: 'switch' }],
  ['start_at_login', 'off', { type: 'switch' }],
  ['max_parallel_runs', '2', { type: 'number', min: 1, max: 64 }],
  ['stall_seconds', '300', { type: 'number', min: 1, max: 86_400 }],
  ['lock_wait_seconds', '60', { type: 'number', min: 1, max: 86_400 }],
  ['lease_seconds', '60', { type: 'number', min: 2, max: 3600 }],
  ['failed_keep_days', '30', { type: 'number', min: 1, max: 36_500 }],
  ['undo_keep_days', '7', { type: 'number', min: 0, max: 365 }],
  ['drill_every', 'weekly', { type: 'choice', choices: ['off', 'daily', 'weekly', 'monthly'] }],
  ['drill_idle_seconds', '300', { type: 'number', min: 0, max: 86_400 }],
  ['tool_paths', '', { type: 'folders' }],
]

export function settingCommands(
  core: Core,
): Pick<
  Backend,
  'listKeys' | 'createKey' | 'importKey' | 'exportKey' | 'listSettings' | 'setSetting' | 'listTools' | 'rescanTools'
> {
  return {
    listKeys: async () => core.data.keys,
    createKey: async ({ name, kind }) => {
      if (!name.trim()) throw core.error('name_empty')
      if (core.data.keys.some((k) => k.name === name)) throw core.error('name_taken', { name })
      const key: T.Key = {
        id: core.id(4),
        name,
        kind,
        recipient: kind === 'recipient' ? `age1${hash(core.random).slice(0, 58)}` : null,
        created_at: core.iso(),
        exported_at: null,
      }
      core.data.keys.push(key)
      core.log('key.create', 'key', key.id, name)
      core.invalidate('keys')
      return { ...key, remarks: [] }
    },
    importKey: async ({ name }) => core.commands.createKey({ name, kind: 'recipient', passphrase: null }),
    exportKey: async ({ id }) => {
      const key = core.data.keys.find((k) => k.id === id)
      if (!key) throw core.error('not_found')
      if (core.options.chosen === null) return null
      key.exported_at = core.iso()
      core.log('key.export', 'key', id, key.name)
      core.invalidate('keys')
      return { path: core.options.chosen ?? `/home/anna/${key.name}.age-key.txt` }
    },
    listSettings: async () =>
      SETTINGS.map(([key, preset, kind]) => ({
        key,
        value: core.settings.get(key) ?? preset,
        default: preset,
        kind,
        overridden: false,
      })),
    setSetting: async ({ key, value }) => {
      core.settings.set(key, value)
      core.invalidate('settings')
      const row = (await core.commands.listSettings()).find((s) => s.key === key)
      if (!row) throw core.error('not_found')
      return row
    },
    listTools: async () => [
      {
        tool: { name: 'pg_dump', path: '/usr/lib/postgresql/16/bin/pg_dump', version: '16.4' },
        adapter: 'postgres',
        usable: true,
        error: null,
        sources: ['shop', 'crm'],
      },
      {
        tool: { name: 'pg_restore', path: '/usr/lib/postgresql/16/bin/pg_restore', version: '16.4' },
        adapter: 'postgres',
        usable: true,
        error: null,
        sources: ['shop', 'crm'],
      },
      {
        tool: { name: 'mariadb-dump', path: '/usr/bin/mariadb-dump', version: '10.11.6' },
        adapter: 'mysql',
        usable: true,
        error: null,
        sources: ['wiki'],
      },
      {
        tool: { name: 'pg_dump', path: '/opt/old/bin/pg_dump', version: '12.3' },
        adapter: 'postgres',
        usable: false,
        error: core.error('tool_too_old', { tool: 'pg_dump', found: '12.3', server: '16.4', major: '16' }),
        sources: [],
      },
    ],
    rescanTools: async () => {
      core.invalidate('tools')
      return core.commands.listTools()
    },
  }
}
