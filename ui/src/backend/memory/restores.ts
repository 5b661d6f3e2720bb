/** Restores into a new place, and the plan that each one needs; those in place of live data lie in replaces.ts. */
import type { Backend } from '../backend'
import type * as T from '../generated'
import type { Core } from './core'
import type { Work } from './work'

export function startRestore(core: Core, plan: T.RestorePlan): T.Restore {
  const s = plan.backup ? core.source(plan.backup.source_id) : null
  const step = (name: string): T.RestoreStep => ({ name, state: 'pending', started_at: null, ended_at: null })
  let restore: T.Restore = {
    id: core.id(6),
    backup_id: plan.backup?.id ?? null,
    file: plan.file,
    target: plan.target,
    source_id: null,
    mode: plan.mode,
    state: 'running',
    safety_backup_id: null,
    started_at: core.iso(),
    ended_at: null,
    steps: ['verify', 'prepare', 'load', 'compare', 'settle'].map(step),
    counts: [],
    kept_until: null,
    kept_bytes: null,
    remarks: [],
    error: null,
  }
  core.restores.unshift(restore)
  const put = (more: Partial<T.Restore>) => {
    restore = { ...restore, ...more }
    const i = core.restores.findIndex((r) => r.id === restore.id)
    if (i >= 0) core.restores[i] = restore
    core.invalidate({ noun: 'restores', id: restore.id })
  }
  const bytes = plan.backup?.raw_bytes ?? 12e6
  core.works.start({
    running: {
      id: restore.id,
      noun: 'restore',
      source: plan.name,
      source_id: null,
      adapter: s?.adapter ?? 'sqlite',
      plan: null,
      started_at: restore.started_at,
      progress: { id: restore.id, step: 'verifying', done: 0, total: null, estimated: false },
      elsewhere: false,
      cancelling: false,
      cancellable: true,
    },
    steps: [
      { step: 'verifying', bytes: plan.backup?.stored_bytes ?? 3e6, ticks: 12 },
      { step: 'preparing', bytes: 0, ticks: 3 },
      { step: 'loading', bytes, ticks: 40 },
      { step: 'comparing', bytes: 0, ticks: 5 },
      { step: 'finishing', bytes: 0, ticks: 2 },
    ],
    share: 0,
    failing: null,
    stepped: (index) =>
      put({
        steps: restore.steps.map((x, i) => ({
          ...x,
          state: i < index ? 'done' : i === index ? 'running' : 'pending',
          started_at: i <= index ? (x.started_at ?? core.iso()) : null,
          ended_at: i < index ? (x.ended_at ?? core.iso()) : null,
        })),
      }),
    end: (how) => {
      if (how === 'done') {
        put({
          state: 'done',
          ended_at: core.iso(),
          steps: restore.steps.map((x) => ({ ...x, state: 'done', ended_at: x.ended_at ?? core.iso() })),
          counts: plan.counts.map((c) => ({ ...c, after: c.backup })),
          remarks:
            s?.adapter === 'postgres'
              ? [
                  core.error('pg_restored_without_owners', {
                    count: 2,
                    roles: 'shop_owner, reporting',
                    user: 'coffre',
                  }),
                ]
              : [],
        })
      } else {
        put({
          state: 'failed',
          ended_at: core.iso(),
          error: core.error('cancelled'),
          steps: restore.steps.map((x) =>
            x.state === 'running' ? { ...x, state: 'failed', ended_at: core.iso() } : x,
          ),
        })
      }
      core.log('restore.run', 'restore', restore.id, plan.name, restore.error)
      core.invalidate('running', 'restores', 'overview')
    },
  } satisfies Omit<Work, 'at' | 'tick'>)
  core.invalidate('running', 'restores')
  return restore
}

export function restoreCommands(
  core: Core,
): Pick<
  Backend,
  | 'restoreTargets'
  | 'planRestore'
  | 'startRestore'
  | 'showRestore'
  | 'listRestores'
  | 'undoRestore'
  | 'listKept'
  | 'forgetKept'
> {
  return {
    restoreTargets: async ({ backup_id }) => {
      const backup = backup_id ? core.backup(backup_id) : null
      const s = backup ? core.source(backup.source_id) : null
      const sqlite = !s || s.adapter === 'sqlite'
      const name = s?.source.name ?? 'restored'
      const stamp = core.iso().slice(0, 10).replaceAll('-', '')
      const options: T.RestoreTargetOption[] = []
      if (sqlite)
        options.push({
          kind: 'new_file',
          suggestion: `/home/anna/${name}-${stamp}.db`,
          place: '',
          sources: [],
          refusal: null,
        })
      else {
        options.push({
          kind: 'new_database',
          suggestion: `${name}_${stamp}`,
          place: s.source.address.replace(/\/[^/]*$/, '').replace(/^\w+:\/\//, ''),
          sources: [],
          refusal: null,
        })
        options.push({
          kind: 'address',
          suggestion: `${s.adapter}://user@localhost/${name}`,
          place: '',
          sources: [],
          refusal: null,
        })
      }
      const replaceable = s ? [s] : core.data.sources.filter((one) => one.adapter === 'sqlite')
      const sources = replaceable.map(({ source: { id, name, address } }) => ({
        id,
        name,
        place: address.replace(/^\w+:\/\/(?:[^@/]*@)?/, ''),
      }))
      const own = backup ? sources[0] : undefined
      if (sources.length)
        options.push({ kind: 'replace', suggestion: own?.id ?? '', place: own?.place ?? '', sources, refusal: null })
      return options
    },
    planRestore: async ({ request }) => {
      const backup = request.backup_id ? core.backup(request.backup_id) : null
      const remember = (plan: Omit<T.RestorePlan, 'confirmation' | 'expires_at'>): T.RestorePlan => {
        const confirmation = core.id(7)
        const whole = { ...plan, confirmation, expires_at: core.iso(core.now() + 15 * 60_000) }
        core.restorePlans.set(confirmation, whole)
        return whole
      }
      if (request.target.kind === 'replace')
        return remember(core.replaces.plan(core.source(request.target.value), backup, request.file))
      const s = backup ? core.source(backup.source_id) : null
      const taken = request.target.value.includes('taken')
      const target = request.target.value
      const counts = (s?.tables ?? []).map((t) => ({ table: t.table, before: null, after: null, backup: t.rows }))
      const check = (
        name: T.RestoreCheck['name'],
        facts: T.Details = {},
        error: T.CoffreError | null = null,
      ): T.RestoreCheck => ({ name, ok: error === null, facts, error })
      return remember({
        name: s?.source.name ?? request.file?.split('/').pop() ?? '',
        backup,
        file: request.file,
        format: s?.adapter === 'sqlite' ? 'sqlite' : s ? 'pg_custom' : 'sql',
        target,
        mode: 'into',
        counts,
        rows: counts.length ? counts.reduce((sum, c) => sum + (c.backup ?? 0), 0) : null,
        checks: [
          check('read_to_end', { bytes: backup?.stored_bytes ?? 0, destination: backup?.copies[0]?.destination ?? '' }),
          ...(backup?.encryption ? [check('key', { key: backup.encryption })] : []),
          check('versions', {
            tool: s?.tool.name ?? '',
            tool_version: s?.tool.version ?? '',
            server_version: s?.version ?? '',
          }),
          check('target_empty', { target }, taken ? core.error('target_not_empty', { target }) : null),
          check('space', { free: 38e9, needed: (backup?.raw_bytes ?? 0) * 2 }),
        ],
        estimated_ms: s?.restoreMs ?? null,
        allowed: !taken,
        command: `coffre restore ${backup?.code ?? `--file ${request.file}`} --into ${target}`,
        impact: null,
        undo_days: 7,
      })
    },
    startRestore: async ({ confirmation, name, rows_may_differ }) => {
      const plan = core.restorePlans.get(confirmation)
      if (!plan?.allowed || plan.name !== name) throw core.error('not_found')
      core.restorePlans.delete(confirmation)
      const live = core.data.sources.find((s) => plan.mode === 'replace' && s.source.address === plan.target)
      if (live)
        return core.replaces.start(plan, live, rows_may_differ ?? false, () =>
          core.restorePlans.set(confirmation, plan),
        )
      return startRestore(core, plan)
    },
    showRestore: async ({ id }) => {
      const restore = core.restores.find((r) => r.id === id)
      if (!restore) throw core.error('not_found')
      return core.replaces.detail(restore)
    },
    listRestores: async ({ limit }) => core.restores.slice(0, limit).map((restore) => core.replaces.detail(restore)),
    undoRestore: async ({ id }) => core.replaces.undo(id),
    listKept: async () => core.replaces.kept(),
    forgetKept: async ({ id }) => core.replaces.forget(id),
  }
}
