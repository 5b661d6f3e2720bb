/** Health, as last known. */
import type { Backend } from '../backend'
import type * as T from '../generated'
import { unheard } from './channels'
import type { Core } from './core'
import { DAY, HOUR } from './data'
import { protectionOf } from './sources'

export function health(core: Core): T.Health {
  const day = core.data.backups.filter((b) => Date.parse(b.started_at) > core.now() - DAY)
  return {
    checked_at: core.iso(core.now() - 2 * 60_000),
    sources: core.data.sources.map((s) => {
      const protection = protectionOf(core, s)
      const silent = s.source.name === 'wiki'
      return {
        source_id: s.source.id,
        source: s.source.name,
        adapter: s.adapter,
        label: s.label,
        state: silent ? 'silent' : 'answers',
        checked_at: core.iso(core.now() - 2 * 60_000),
        server_version: s.version,
        latency_ms: silent ? null : s.adapter === 'sqlite' ? 0.4 : 3,
        bytes: s.bytes,
        tables: s.tables.length,
        tls: s.adapter === 'sqlite' ? null : true,
        tool: s.tool,
        error: silent ? core.error('unreachable', { place: '10.0.0.12:3306' }) : null,
        remarks: s.source.name === 'crm' && protection.error ? [protection.error] : [],
        protection,
      }
    }),
    disks: core.data.destinations
      .filter((d) => d.space)
      .map((d) => ({
        path: d.place,
        destinations: [d.destination.name],
        space: d.space ?? { free: 0, total: 0 },
        wanted_free: 10e9,
        full_in_days: d.site === 'here' && d.place === '/srv/backups' ? 152 : null,
      })),
    memory: { coffre: 41e6, used: 6.1e9, total: 15.6e9, swap_used: 0.2e9, swap_total: 4e9 },
    catalogue: {
      path: '/home/anna/.local/share/coffre/catalogue.db',
      bytes: 18.4e6,
      journal_mode: 'wal',
      quick_check_at: core.iso(core.now() - 40 * 60_000),
      damaged: false,
      error: null,
      fragmentation: 0.02,
    },
    secrets: core.store(),
    stale_after_ms: 48 * HOUR,
    day: {
      verified: day.filter((b) => b.state === 'verified').length,
      failed: day.filter((b) => b.state === 'failed').length,
      missed: day.filter((b) => b.state === 'missed').length,
    },
    leftovers: [],
    notices: null,
    channels: unheard(core).channels,
  }
}

export function healthCommands(core: Core): Pick<Backend, 'health' | 'checkHealth'> {
  return {
    health: async () => health(core),
    checkHealth: async () => {
      await new Promise((done) => setTimeout(done, core.options.live ? 900 : 0))
      core.invalidate('health')
      return health(core)
    },
  }
}
