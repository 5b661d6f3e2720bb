/** Backups: the list, one of them in full, and the work that makes and reads them. */
import type { Backend } from '../backend'
import type * as T from '../generated'
import type { Core } from './core'
import { codeOf, HOUR, hash, type PlanData, type SourceData } from './data'
import { nextRun } from './plans'
import { protectionOf } from './sources'

export function startBackup(core: Core, s: SourceData, p: PlanData | null, trigger: T.Trigger, share = 0): T.Backup {
  if (core.works.list.some((w) => w.running.source_id === s.source.id))
    throw core.error('busy', { source: s.source.name })
  const at = core.now() - share * 40_000
  const backup: T.Backup = {
    id: core.id(5),
    code: codeOf(at, core.random),
    source: s.source.name,
    source_id: s.source.id,
    plan: p?.plan.name ?? null,
    plan_id: p?.plan.id ?? null,
    trigger,
    type: p?.plan.every ?? 'manual',
    kind: 'full',
    base_id: null,
    state: 'running',
    started_at: core.iso(at),
    ended_at: null,
    duration_ms: null,
    raw_bytes: null,
    stored_bytes: null,
    sha256: null,
    raw_sha256: null,
    compression: p?.plan.compression ?? 'zstd:3',
    encryption: p?.plan.encryption ?? null,
    tables: null,
    rows: null,
    tool: s.tool,
    server_version: s.version,
    flags: [],
    error: null,
    note: '',
    pinned: false,
    copies: [],
  }
  core.data.backups.unshift(backup)
  const changed = () =>
    core.invalidate('backups', { noun: 'backups', id: backup.id }, 'running', 'overview', 'sources', 'plans')
  const replace = (more: Partial<T.Backup>) => {
    const i = core.data.backups.findIndex((b) => b.id === backup.id)
    if (i >= 0) core.data.backups[i] = { ...(core.data.backups[i] as T.Backup), ...more }
  }
  const refused = s.source.name === 'crm' ? core.data.backups.find((b) => b.source === 'crm' && b.error)?.error : null
  core.works.start({
    running: {
      id: backup.id,
      noun: 'backup',
      source: s.source.name,
      source_id: s.source.id,
      adapter: s.adapter,
      plan: p?.plan.name ?? null,
      started_at: backup.started_at,
      progress: { id: backup.id, step: 'preparing', done: 0, total: null, estimated: false },
      elsewhere: false,
      cancelling: false,
      cancellable: true,
    },
    steps: [
      { step: 'preparing', bytes: 0, ticks: 4 },
      { step: 'dumping', bytes: s.bytes, ticks: 120, estimated: true },
      { step: 'verifying', bytes: s.stored, ticks: 30 },
      { step: 'finishing', bytes: 0, ticks: 2 },
    ],
    share,
    failing: refused ? 1 : null,
    end: (how) => {
      const ended = { ended_at: core.iso(), duration_ms: Math.max(1, core.now() - Date.parse(backup.started_at)) }
      if (how === 'cancelled') replace({ ...ended, state: 'cancelled', error: core.error('cancelled') })
      else if (how === 'failed')
        replace({ ...ended, state: 'failed', error: refused ?? core.error('internal', { cause: '?' }) })
      else {
        const sha = hash(core.random)
        const ids = p?.plan.destination_ids ?? [core.data.destinations[0]?.destination.id ?? '']
        replace({
          ...ended,
          state: 'verified',
          raw_bytes: s.bytes,
          stored_bytes: s.stored,
          sha256: sha,
          raw_sha256: hash(core.random),
          tables: s.tables.length,
          rows: s.tables.reduce((sum, t) => sum + t.rows, 0),
          copies: ids.map((id) => ({
            destination: core.destination(id).destination.name,
            destination_id: id,
            key: `${s.source.name}/${backup.code}.zst`,
            state: 'verified' as const,
            stored_bytes: s.stored,
            sha256: sha,
            verified_at: ended.ended_at,
          })),
        })
      }
      core.log('backup.run', 'backup', backup.id, backup.code, how === 'done' ? null : core.backup(backup.id).error)
      changed()
      core.invalidate('destinations', 'health')
    },
  })
  changed()
  return backup
}

export function edit(core: Core, id: string, more: Partial<T.Backup>, action: string): T.Backup {
  const i = core.data.backups.findIndex((b) => b.id === id)
  if (i < 0) throw core.error('not_found')
  const backup = { ...(core.data.backups[i] as T.Backup), ...more }
  core.data.backups[i] = backup
  core.log(action, 'backup', id, backup.code)
  core.invalidate({ noun: 'backups', id }, 'plans')
  return backup
}

export function listBackups(core: Core, query: T.BackupQuery): T.BackupPage {
  const text = query.text?.trim().toLowerCase() ?? ''
  let found = core.data.backups.filter(
    (b) =>
      (!query.source_id || b.source_id === query.source_id) &&
      (!query.plan_id || b.plan_id === query.plan_id) &&
      (!query.state || b.state === query.state) &&
      (!query.type || b.type === query.type) &&
      (!text ||
        `${b.code} ${b.source} ${b.plan ?? ''} ${b.note} ${b.error?.message ?? ''}`.toLowerCase().includes(text)),
  )
  const key = query.sort
  if (key !== 'started_at' || !query.descending) {
    const sign = query.descending ? -1 : 1
    found = found.toSorted((a, b) => {
      const [x, y] = [a[key], b[key]]
      if (x === y) return 0
      if (x === null) return 1
      if (y === null) return -1
      return x < y ? -sign : sign
    })
  }
  const start = (query.page - 1) * query.per_page
  const verified = found.filter((b) => b.state === 'verified')
  return {
    backups: found.slice(start, start + query.per_page),
    total: found.length,
    page: query.page,
    per_page: query.per_page,
    stats: {
      stored_bytes: found.reduce((sum, b) => sum + (b.stored_bytes ?? 0), 0),
      verified: verified.length,
      failed: found.filter((b) => b.state === 'failed').length,
      last_verified_at: verified[0]?.ended_at ?? null,
    },
  }
}

export function detail(core: Core, backup: T.Backup): T.BackupDetail {
  const s = core.source(backup.source_id)
  const start = Date.parse(backup.started_at)
  const end = backup.ended_at ? Date.parse(backup.ended_at) : null
  const written = backup.state === 'verified' || backup.state === 'stored'
  const timeline: T.TimelineEntry[] = []
  const step = (event: T.TimelineEntry['event'], at: number, facts: T.Details = {}, took: number | null = null) =>
    timeline.push({ at: core.iso(at), event, facts, duration_ms: took })
  if (backup.state === 'missed' || backup.state === 'skipped') step(backup.state, start, { plan: backup.plan ?? '' })
  else {
    step('opened', start, { plan: backup.plan ?? '', trigger: backup.trigger })
    const took = backup.duration_ms ?? 0
    if (backup.tool)
      step(
        'tool',
        start + 600,
        {
          tool: backup.tool.name,
          version: backup.tool.version,
          compression: backup.compression,
          encrypted: backup.encryption !== null,
        },
        written ? took * 0.6 : 100,
      )
    if (backup.state === 'verified')
      for (const c of backup.copies)
        step('read_back', start + took * 0.97, { destination: c.destination, stored_bytes: c.stored_bytes })
    if (written) step('manifest', start + took * 0.99, { tables: backup.tables, rows: backup.rows }, took)
    if (backup.error && end)
      step(
        backup.state === 'cancelled' ? 'cancelled' : backup.state === 'interrupted' ? 'interrupted' : 'failed',
        end,
        { code: backup.error.code },
      )
  }
  const restored =
    backup.state === 'verified' &&
    s.restoreMs !== null &&
    backup.type === 'daily' &&
    backup.id === core.data.backups.find((b) => b.source_id === s.source.id && b.plan)?.id
  const file = backup.copies[0]?.key.split('/').pop() ?? ''
  const plan = core.data.plans.find((p) => p.plan.id === backup.plan_id)
  const next = plan ? nextRun(core, plan) : null
  return {
    backup,
    adapter: s.adapter,
    timeline,
    protection: protectionOf(core, s),
    next_run_at: next === null ? null : core.iso(next),
    places: new Set(
      backup.copies.map((c) => core.data.destinations.find((d) => d.destination.id === c.destination_id)?.site),
    ).size,
    proofs: {
      bytes_read: backup.state === 'verified',
      structure_read: backup.state === 'verified',
      restored,
      rows_equal: restored,
      restored_at: restored ? core.iso(core.now() - 9 * HOUR) : null,
      restore_ms: restored ? s.restoreMs : null,
    },
    manifest: written
      ? {
          ...backup,
          schema: 1,
          coffre_version: '0.1.0',
          artifact: file,
          database: s.adapter,
          format: s.adapter === 'sqlite' ? 'sqlite' : 'pg_custom',
          scope: {
            included: ['schema', 'rows', 'indexes', 'sequences'],
            not_included: s.adapter === 'postgres' ? ['roles', 'tablespaces', 'other_databases'] : [],
          },
          table_counts: s.tables.toSorted((a, b) => b.rows - a.rows),
          parts: [
            {
              name: 'database',
              format: 'pg_custom',
              raw_bytes: backup.raw_bytes ?? 0,
              raw_sha256: backup.raw_sha256 ?? '',
            },
          ],
          remarks:
            s.source.name === 'shop' && backup.pinned
              ? [
                  core.error('pg_dump_remarks', {
                    stderr: 'warning: circular foreign keys on this table: categories',
                  }),
                ]
              : [],
          recipient: backup.encryption ? (core.data.keys[0]?.recipient ?? null) : null,
          recovery: [
            ...(backup.encryption ? [`age -d -i coffre-2026.txt -o ${file.replace('.zst', '')}.zst ${file}`] : []),
            `zstd -d ${file}`,
            s.adapter === 'sqlite'
              ? `sqlite3 ${file.replace('.zst', '')} "pragma integrity_check"`
              : `pg_restore --exit-on-error --single-transaction -d TARGET ${file.replace('.zst', '')}`,
          ],
        }
      : null,
    remedy: backup.error?.text === 'tool_too_old' ? 'sudo apt install postgresql-client-17' : null,
    command: `coffre show ${backup.code}`,
    tool_output:
      backup.error?.text === 'tool_too_old'
        ? [
            'pg_dump: error: aborting because of server version mismatch',
            'pg_dump: detail: server version: 17.2; pg_dump version: 16.4',
          ]
        : [],
  }
}

export function backupCommands(
  core: Core,
): Pick<
  Backend,
  | 'listBackups'
  | 'showBackup'
  | 'runBackup'
  | 'cancelRun'
  | 'verifyBackup'
  | 'pinBackup'
  | 'noteBackup'
  | 'previewDelete'
  | 'deleteBackups'
  | 'downloadBackup'
  | 'saveRecoverySheet'
> {
  return {
    listBackups: async ({ query }) => listBackups(core, query),
    showBackup: async ({ id }) => detail(core, core.backup(id)),
    runBackup: async ({ plan_id, source_id }) => {
      const p = plan_id ? core.plan(plan_id) : null
      return { id: startBackup(core, core.source(p?.plan.source_id ?? source_id), p, 'manual').id }
    },
    cancelRun: async ({ id }) => {
      core.works.cancel(id)
      return null
    },
    verifyBackup: async ({ id }) => {
      const backup = core.backup(id)
      const s = core.source(backup.source_id)
      core.works.start({
        running: {
          id,
          noun: 'verify',
          source: backup.source,
          source_id: backup.source_id,
          adapter: s.adapter,
          plan: backup.plan,
          started_at: core.iso(),
          progress: { id, step: 'verifying', done: 0, total: null, estimated: false },
          elsewhere: false,
          cancelling: false,
          cancellable: true,
        },
        steps: [{ step: 'verifying', bytes: backup.stored_bytes ?? 0, ticks: 30 }],
        share: 0,
        failing: null,
        end: (how) => {
          if (how === 'done') {
            const i = core.data.backups.findIndex((b) => b.id === id)
            core.data.backups[i] = {
              ...backup,
              state: 'verified',
              copies: backup.copies.map((c) => ({ ...c, state: 'verified', verified_at: core.iso() })),
            }
          }
          core.log('backup.verify', 'backup', id, backup.code)
          core.invalidate('backups', 'running', 'overview', 'sources')
        },
      })
      core.invalidate('running')
      return null
    },
    // A pin takes it out of the bin.
    pinBackup: async ({ id, pinned }) =>
      edit(core, id, { pinned, ...(pinned ? { leaves_at: null } : {}) }, pinned ? 'backup.pin' : 'backup.unpin'),
    noteBackup: async ({ id, note }) => edit(core, id, { note }, 'backup.note'),
    previewDelete: async ({ ids }) => {
      const chosen = ids.map((id) => core.backup(id))
      const names = new Set(chosen.map((b) => b.source_id))
      const left = core.data.backups.filter(
        (b) => names.has(b.source_id) && b.state === 'verified' && !ids.includes(b.id),
      ).length
      const verified = chosen.some((b) => b.state === 'verified')
      return {
        backups: chosen.length,
        stored_bytes: chosen.reduce((sum, b) => sum + b.copies.reduce((s, c) => s + c.stored_bytes, 0), 0),
        verified_left: left,
        refusal: verified && left === 0 ? core.error('last_verified', { source: chosen[0]?.source ?? '' }) : null,
        confirmation: ids.join('+'),
      }
    },
    deleteBackups: async ({ ids, confirmation }) => {
      if (confirmation !== ids.join('+')) throw core.error('not_found')
      for (const id of ids) core.log('backup.delete', 'backup', id, core.backup(id).code)
      core.data.backups = core.data.backups.filter((b) => !ids.includes(b.id))
      core.invalidate('backups', 'overview', 'sources', 'destinations')
      return null
    },
    downloadBackup: async ({ id }) => {
      const backup = core.backup(id)
      if (core.options.chosen === null) return null
      core.log('backup.download', 'backup', id, backup.code)
      return { path: core.options.chosen ?? `/home/anna/${backup.source}_${backup.code}.dump.zst` }
    },
    saveRecoverySheet: async () =>
      core.options.chosen === null ? null : { path: core.options.chosen ?? '/home/anna/coffre-recovery.html' },
  }
}
