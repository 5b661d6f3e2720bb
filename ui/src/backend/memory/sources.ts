/** Sources: how protected each is, and the commands that add and change them. */
import type { Backend } from '../backend'
import type * as T from '../generated'
import { ADAPTERS, adapterOf } from './adapters'
import { startBackup } from './backups'
import type { Core } from './core'
import { emptyOptions, GFS, HOUR, type SourceData } from './data'
import { address, checkDraft, hasSecret, refuse } from './drafts'
import { nextRun } from './plans'

export function protectionOf(core: Core, s: SourceData): T.Protection {
  const own = core.data.backups.filter((b) => b.source_id === s.source.id)
  const verified = own.find((b) => b.state === 'verified')
  const last = own.find((b) => b.state !== 'running' && b.state !== 'skipped')
  const plans = core.data.plans.filter((p) => p.plan.source_id === s.source.id)
  const copies = verified?.copies.filter((c) => c.state === 'verified') ?? []
  const sites = new Set(
    copies.map((c) => core.data.destinations.find((d) => d.destination.id === c.destination_id)?.site),
  )
  const age = verified?.ended_at ? core.now() - Date.parse(verified.ended_at) : Number.POSITIVE_INFINITY
  const failed = last && (last.state === 'failed' || last.state === 'interrupted') ? last : undefined
  let state: T.ProtectionState = 'protected'
  let cause: T.ProtectionCause | null = null
  if (!verified) [state, cause] = ['unprotected', plans.length ? 'never' : 'no_plan']
  else if (age > 48 * HOUR) [state, cause] = ['unprotected', 'stale']
  else if (failed) [state, cause] = ['at_risk', 'last_failed']
  else if (plans.length === 0) [state, cause] = ['at_risk', 'no_plan']
  return {
    state,
    cause,
    last_verified_at: verified?.ended_at ?? null,
    copies: copies.length,
    places: sites.size,
    restore_ms: s.restoreMs,
    error: failed?.error ?? null,
    error_backup_id: failed?.id ?? null,
  }
}

export function sourceRow(core: Core, s: SourceData): T.SourceRow {
  const plans = core.data.plans.filter((p) => p.plan.source_id === s.source.id)
  const next = plans.map((p) => nextRun(core, p)).filter((at) => at !== null)
  const outcomes: T.Outcome[] = []
  for (const b of core.data.backups) {
    if (outcomes.length === 14) break
    if (b.source_id === s.source.id && b.state !== 'deleted' && b.state !== 'deleting') outcomes.unshift(b.state)
  }
  return {
    source: s.source,
    adapter: s.adapter,
    label: s.label,
    server_version: s.version || null,
    bytes: s.bytes || null,
    place: s.source.address.replace(/^\w+:\/\//, '').replace(/\?.*/, ''),
    protection: protectionOf(core, s),
    plans: plans.map((p) => ({ id: p.plan.id, name: p.plan.name })),
    outcomes,
    next_run_at: next.length ? core.iso(Math.min(...next)) : null,
    running: core.works.list.some((w) => w.running.source_id === s.source.id),
  }
}

export function worst(rows: T.SourceRow[]): T.SourceRow[] {
  const rank = { unprotected: 0, at_risk: 1, protected: 2 }
  return rows.toSorted((a, b) => rank[a.protection.state] - rank[b.protection.state])
}

export function sourceCommands(
  core: Core,
): Pick<
  Backend,
  | 'listSources'
  | 'showSource'
  | 'checkSource'
  | 'testSource'
  | 'addSource'
  | 'editSource'
  | 'removeSource'
  | 'listTables'
  | 'createSample'
> {
  return {
    listSources: async () => worst(core.data.sources.map((s) => sourceRow(core, s))),
    showSource: async ({ id }) => {
      const s = core.source(id)
      return { ...sourceRow(core, s), draft: { name: s.source.name, adapter: s.adapter, values: s.values } }
    },
    checkSource: async ({ id, draft }) =>
      checkDraft(
        core,
        draft,
        ADAPTERS.databases,
        core.data.sources.filter((s) => s.source.id !== id).map((s) => s.source.name),
      ),
    testSource: async ({ draft, secret }) => {
      await new Promise((done) => setTimeout(done, core.options.live ? 700 : 0))
      if (secret.change === 'set' && secret.value === 'wrong')
        throw core.error('auth_failed', { user: String(draft.values.user ?? '') })
      const host = String(draft.values.host ?? '')
      if (host === '10.0.0.99') throw core.error('unreachable', { place: `${host}:${draft.values.port ?? ''}` })
      const known = core.data.sources.find((s) => s.adapter === draft.adapter)
      return {
        server_version: known?.version ?? '3.46.1',
        tool: known?.tool ?? { name: 'sqlite', path: null, version: '3.46.1' },
        estimated_bytes: known?.bytes ?? 12e6,
        tables: known?.tables.length ?? 6,
        tls: draft.adapter === 'sqlite' ? null : true,
        remarks: [],
      }
    },
    addSource: async ({ draft, secret }) => {
      refuse(await core.commands.checkSource({ id: null, draft }))
      const source: T.Source = {
        id: core.id(1),
        name: draft.name,
        address: address(draft, ADAPTERS.databases),
        options: emptyOptions,
        has_secret: hasSecret(false, secret),
        created_at: core.iso(),
      }
      const known = core.data.sources.find((s) => s.adapter === draft.adapter)
      core.data.sources.push({
        source,
        adapter: draft.adapter,
        label: adapterOf(ADAPTERS.databases, source.address).label,
        version: known?.version ?? '',
        bytes: known?.bytes ?? 12e6,
        stored: known?.stored ?? 3e6,
        values: draft.values,
        tables: known?.tables ?? [{ table: 'orders', rows: 2400 }],
        tool: known?.tool ?? { name: 'sqlite', path: null, version: '3.46.1' },
        restoreMs: null,
      })
      core.log('source.add', 'source', source.id, source.name)
      core.invalidate('sources', 'overview', 'about', 'health')
      return source
    },
    editSource: async ({ id, draft, secret }) => {
      refuse(await core.commands.checkSource({ id, draft }))
      const s = core.source(id)
      s.source = {
        ...s.source,
        name: draft.name,
        address: address(draft, ADAPTERS.databases),
        has_secret: hasSecret(s.source.has_secret, secret),
      }
      s.values = draft.values
      core.log('source.edit', 'source', id, draft.name)
      core.invalidate('sources', 'overview', 'plans', 'health')
      return s.source
    },
    removeSource: async ({ id }) => {
      const s = core.source(id)
      const plans = core.data.plans.filter((p) => p.plan.source_id === id).map((p) => p.plan.name)
      if (plans.length) throw core.error('in_use', { name: s.source.name, plans: plans.join(', ') })
      core.data.sources = core.data.sources.filter((x) => x !== s)
      core.log('source.remove', 'source', id, s.source.name)
      core.invalidate('sources', 'overview', 'health')
      return null
    },
    listTables: async ({ id }) => {
      const s = core.source(id)
      const rows = s.tables.reduce((sum, t) => sum + t.rows, 0) || 1
      return {
        tables: s.tables.map((t) => ({ ...t, bytes: Math.round((s.bytes * t.rows) / rows) })),
        at: core.iso(core.now() - 11 * HOUR),
        exact: true,
      }
    },
    createSample: async () => {
      const destination = await core.commands.defaultDestination()
      const source = await core.commands.addSource({
        draft: {
          name: 'sample-shop',
          adapter: 'sqlite',
          values: { path: '/home/anna/.local/share/coffre/sample/shop.db' },
        },
        secret: { change: 'forget' },
      })
      const plan = await core.commands.addPlan({
        draft: {
          name: 'sample-daily',
          source_id: source.id,
          destination_ids: [destination.id],
          kind: 'full',
          every: 'daily',
          at: '02:30',
          cron: null,
          time_zone: 'Europe/Paris',
          wait_for_network: false,
          wait_for_power: false,
          compression: 'zstd:3',
          key_id: null,
          retention: GFS,
        },
      })
      return {
        source_id: source.id,
        plan_id: plan.id,
        backup_id: startBackup(core, core.source(source.id), core.plan(plan.id), 'manual').id,
      }
    },
  }
}
