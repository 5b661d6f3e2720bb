/** Restoring in place of live data, in memory: what is live beside what is in the backups, what is kept, and the way back. */
import type * as T from '../generated'
import { codeOf, DAY, type Data, hash, type SourceData } from './data'
import type { ErrorText } from './errors'
import type { Work, Works } from './work'

/** What the backend lends. */
export interface Host {
  data: Data
  works: Works
  now: () => number
  id: (group: number) => string
  error: (text: ErrorText, details?: T.Details) => T.CoffreError
  log: (action: string, kind: string, id: string | null, subject: string, error?: T.CoffreError | null) => void
  invalidate: (...nouns: (T.Noun | T.Tag)[]) => void
  random: () => number
  undoDays: () => number
  /** What the next replacement is refused with when it looks at the live data. */
  refusal: () => ErrorText | null
  restores: T.Restore[]
}

const STEPS = ['look', 'verify', 'safety', 'prepare', 'load', 'compare', 'swap', 'check']

export class Replaces {
  #live = new Map<string, T.TableCount[]>()
  #plans = new Map<string, { way: T.ReplaceWay; before: T.TableCount[] }>()
  #host: Host

  constructor(host: Host) {
    this.#host = host
  }

  #iso(at = this.#host.now()): string {
    return new Date(at).toISOString()
  }
  #source(id: string | null): SourceData | undefined {
    return this.#host.data.sources.find((s) => s.source.id === id)
  }

  /** What is live now: a little more than in the newest backup. */
  live(s: SourceData): T.TableCount[] {
    let live = this.#live.get(s.source.id)
    if (!live) {
      const more: Record<string, number> = {
        'public.order_lines': 916,
        'public.orders': 258,
        'public.payments': 254,
        'public.carts': 246,
        'public.stock_moves': 214,
        'public.customers': 23,
      }
      live = s.tables
        .filter((t) => t.table !== 'public.legacy_tax')
        .map((t, i) => ({
          table: t.table,
          rows: t.rows + (more[t.table] ?? (s.source.name !== 'shop' && i === 0 ? 41 : 0)),
        }))
      if (s.source.name === 'shop') live.push({ table: 'public.promo_2025q4', rows: 1204 })
      this.#live.set(s.source.id, live)
    }
    return live
  }

  impact(s: SourceData, backup: T.Backup | null): T.Impact {
    const now = this.live(s)
    const then = s.tables
    const rows = (list: T.TableCount[], table: string) => list.find((t) => t.table === table)?.rows ?? null
    const tables = [...new Set([...now, ...then].map((t) => t.table))].sort()
    const shop = s.source.name === 'shop'
    const at = (seconds: number) =>
      this.#iso(this.#host.now() - seconds * 1000)
        .replace('T', ' ')
        .slice(0, 19)
    return {
      source: s.source.name,
      exists: true,
      way: s.source.name === 'crm' ? 'within' : 'swap',
      counts: tables.map((table) => ({ table, before: rows(now, table), after: null, backup: rows(then, table) })),
      appear: tables.filter((table) => rows(now, table) === null),
      vanish: tables.filter((table) => rows(then, table) === null),
      schema: shop
        ? [{ table: 'public.customers', column: 'vat_no', now: 'text', backup: null }]
        : s.adapter === 'sqlite'
          ? []
          : null,
      newest: shop
        ? [
            { table: 'public.payments', column: 'paid_at', value: `${at(47)}.128+00` },
            { table: 'public.order_lines', column: 'created_at', value: at(50) },
            { table: 'public.orders', column: 'created_at', value: at(50) },
            { table: 'public.promo_2025q4', column: 'created_at', value: at(2700) },
          ]
        : [],
      live_bytes: s.bytes,
      backup_bytes: backup?.raw_bytes ?? s.bytes,
      space: { free: 38e9, total: 480e9 },
      estimated_ms: s.restoreMs,
      backup_version: backup?.server_version ?? null,
      live_version: s.version,
      sessions:
        s.adapter === 'sqlite'
          ? null
          : Array.from({ length: 7 }, (_, i) => ({
              program: i < 5 ? 'shop-web' : 'psql',
              user: 'shop',
              in_transaction: i === 0,
            })),
      refusals: [],
      remarks: [],
      confirmation: null,
      expires_at: null,
    }
  }

  /** The parts of a plan that are about live data. */
  plan(
    s: SourceData,
    backup: T.Backup | null,
    file: string | null,
  ): Omit<T.RestorePlan, 'confirmation' | 'expires_at'> {
    const impact = this.impact(s, backup)
    const check = (name: T.CheckName, facts: T.Details = {}): T.RestoreCheck => ({ name, ok: true, facts, error: null })
    return {
      name: s.source.name,
      backup,
      file,
      format: s.adapter === 'sqlite' ? 'sqlite' : 'pg_custom',
      target: s.source.address,
      mode: 'replace',
      counts: impact.counts,
      rows: s.tables.reduce((sum, t) => sum + t.rows, 0),
      checks: [
        check('read_to_end', { bytes: backup?.stored_bytes ?? 0, destination: backup?.copies[0]?.destination ?? '' }),
        ...(backup?.encryption ? [check('key', { key: backup.encryption })] : []),
        check('versions', { server_version: s.version, backup_version: backup?.server_version ?? null }),
        check('space', { free: 38e9, needed: impact.backup_bytes }),
        check('replaceable', { way: impact.way, source: s.source.name }),
      ],
      estimated_ms: s.restoreMs,
      impact,
      undo_days: this.#host.undoDays(),
      allowed: true,
      command: backup
        ? `coffre restore ${backup.code} --replace`
        : `coffre restore --file ${file} --replace --source ${s.source.name}`,
    }
  }

  #put(id: string, more: Partial<T.Restore>): void {
    const { restores } = this.#host
    const i = restores.findIndex((r) => r.id === id)
    if (i >= 0) restores[i] = { ...(restores[i] as T.Restore), ...more }
    this.#host.invalidate({ noun: 'restores', id })
  }
  #get(id: string): T.Restore {
    const found = this.#host.restores.find((r) => r.id === id)
    if (!found) throw this.#host.error('not_found')
    return found
  }

  /** Replaces. `refused` is told where nothing was done and the plan is still good. */
  start(plan: T.RestorePlan, s: SourceData, rowsMayDiffer: boolean, refused: () => void): T.Restore {
    const host = this.#host
    const id = host.id(6)
    const before = this.live(s)
    const way = plan.impact?.way ?? 'swap'
    const refusal = host.refusal()
    const stopped = refusal === 'replace_rows_changed' && rowsMayDiffer ? null : refusal
    host.restores.unshift({
      id,
      backup_id: plan.backup?.id ?? null,
      file: plan.file,
      target: plan.target,
      source_id: s.source.id,
      mode: 'replace',
      state: 'running',
      safety_backup_id: null,
      started_at: this.#iso(),
      ended_at: null,
      steps: STEPS.map((name) => ({ name, state: 'pending', started_at: null, ended_at: null })),
      counts: [],
      kept_until: null,
      kept_bytes: null,
      remarks: [],
      error: null,
    })
    const bytes = plan.backup?.raw_bytes ?? s.bytes
    const stored = plan.backup?.stored_bytes ?? s.stored
    this.#work(id, 'restore', s, {
      steps: [
        { step: 'preparing', bytes: 0, ticks: 2 },
        { step: 'verifying', bytes: stored, ticks: 12 },
        { step: 'dumping', bytes: s.bytes, ticks: 20, estimated: true },
        { step: 'preparing', bytes: 0, ticks: 2 },
        { step: 'loading', bytes, ticks: 40 },
        { step: 'comparing', bytes: 0, ticks: 5 },
        { step: 'swapping', bytes: 0, ticks: 2 },
        { step: 'comparing', bytes: 0, ticks: 2 },
      ],
      failing: stopped ? 0 : null,
      stepped: (index) => {
        if (STEPS[index] === 'prepare') this.#put(id, { safety_backup_id: this.#safety(s).id })
        this.#put(id, {
          steps: this.#get(id).steps.map((step, i) => ({
            ...step,
            state: i < index ? 'done' : i === index ? 'running' : 'pending',
            started_at: i <= index ? (step.started_at ?? this.#iso()) : null,
            ended_at: i < index ? (step.ended_at ?? this.#iso()) : null,
          })),
        })
      },
      end: (how) => {
        const row = this.#get(id)
        const ended_at = this.#iso()
        if (how === 'done') {
          this.#live.set(s.source.id, s.tables)
          this.#plans.set(id, { way, before })
          const days = host.undoDays()
          this.#put(id, {
            state: 'done',
            ended_at,
            steps: row.steps.map((step) => ({ ...step, state: 'done', ended_at: step.ended_at ?? ended_at })),
            counts: plan.counts.map((c) => ({ ...c, after: c.backup })),
            kept_until: way === 'swap' && days > 0 ? this.#iso(host.now() + days * DAY) : null,
            kept_bytes: way === 'swap' && days > 0 ? s.bytes : null,
          })
        } else {
          const error = host.error(how === 'failed' && stopped ? stopped : 'cancelled')
          if (stopped === 'replace_rows_changed') refused()
          this.#put(id, {
            state: 'failed',
            ended_at,
            error,
            counts: plan.counts.map((c, i) => ({
              ...c,
              before: c.before === null ? null : c.before + (i === 1 ? 3 : 0),
            })),
            steps: row.steps.map((step) => (step.state === 'running' ? { ...step, state: 'failed', ended_at } : step)),
          })
        }
        host.log('restore.replace', 'restore', id, plan.name, this.#get(id).error)
        host.invalidate('running', 'restores', 'overview', 'backups', 'health')
      },
    })
    host.invalidate('running', 'restores')
    return this.#get(id)
  }

  #work(
    id: string,
    noun: T.RunningNoun,
    s: SourceData,
    work: Pick<Work, 'steps' | 'failing' | 'stepped' | 'end'>,
  ): void {
    this.#host.works.start({
      running: {
        id,
        noun,
        source: s.source.name,
        source_id: s.source.id,
        adapter: s.adapter,
        plan: null,
        started_at: this.#iso(),
        progress: { id, step: 'preparing', done: 0, total: null, estimated: false },
        elsewhere: false,
        cancelling: false,
        cancellable: true,
      },
      share: 0,
      ...work,
    })
  }

  /** The copy of what is live, made first. */
  #safety(s: SourceData): T.Backup {
    const host = this.#host
    const id = host.id(5)
    const code = codeOf(host.now(), host.random)
    const sha256 = hash(host.random)
    const destination = host.data.destinations[0]?.destination
    const live = this.live(s)
    const backup: T.Backup = {
      ...(host.data.backups.find((b) => b.source_id === s.source.id && b.state === 'verified') as T.Backup),
      id,
      code,
      plan: null,
      plan_id: null,
      trigger: 'safety',
      type: 'manual',
      started_at: this.#iso(),
      ended_at: this.#iso(),
      rows: live.reduce((sum, t) => sum + t.rows, 0),
      tables: live.length,
      sha256,
      pinned: false,
      note: '',
      copies: [
        {
          destination: destination?.name ?? '',
          destination_id: destination?.id ?? '',
          key: `${s.source.name}/${code}.zst`,
          state: 'verified',
          stored_bytes: s.stored,
          sha256,
          verified_at: this.#iso(),
        },
      ],
    }
    host.data.backups.unshift(backup)
    return backup
  }

  detail(restore: T.Restore): T.RestoreDetail {
    const s = this.#source(restore.source_id)
    const safety = this.#host.data.backups.find((b) => b.id === restore.safety_backup_id) ?? null
    const last = this.#host.restores.find(
      (r) => r.source_id === restore.source_id && r.mode === 'replace' && r.state === 'done',
    )
    const way = this.#plans.get(restore.id)?.way ?? null
    const there = way === 'swap' ? restore.kept_until !== null : safety !== null
    return {
      restore,
      source: s?.source.name ?? null,
      adapter: s?.adapter ?? null,
      place: restore.target.replace(/^\w+:\/\/(?:[^@/]*@)?/, ''),
      safety,
      undo: last?.id === restore.id && there ? way : null,
    }
  }

  undo(id: string): T.Restore {
    const host = this.#host
    const row = this.#get(id)
    const s = this.#source(row.source_id)
    const known = this.#plans.get(id)
    if (!s || !known || !this.detail(row).undo) throw host.error('undo_gone', { restore: id })
    const swap = known.way === 'swap'
    this.#put(id, {
      steps: [...row.steps, { name: 'undo', state: 'running', started_at: this.#iso(), ended_at: null }],
    })
    this.#work(id, 'undo', s, {
      steps: swap
        ? [{ step: 'swapping', bytes: 0, ticks: 2 }]
        : [
            { step: 'verifying', bytes: s.stored, ticks: 8 },
            { step: 'loading', bytes: s.bytes, ticks: 20 },
            { step: 'swapping', bytes: 0, ticks: 2 },
          ],
      failing: null,
      end: (how) => {
        const ended_at = this.#iso()
        const steps = this.#get(id).steps.map(
          (step): T.RestoreStep =>
            step.name === 'undo' ? { ...step, state: how === 'done' ? 'done' : 'failed', ended_at } : step,
        )
        if (how === 'done') {
          this.#live.set(s.source.id, known.before)
          const kept = swap ? { kept_until: this.#iso(host.now() + 7 * DAY), kept_bytes: s.bytes } : {}
          this.#put(id, { state: 'undone', steps, ...kept })
        } else this.#put(id, { steps })
        host.log('restore.undo', 'restore', id, s.source.name)
        host.invalidate('running', 'restores', 'overview', 'health')
      },
    })
    host.invalidate('running', 'restores')
    return this.#get(id)
  }

  kept(): T.RestoreDetail[] {
    const kept = this.#host.restores.filter((r) => r.kept_until !== null)
    return kept.toSorted((a, b) => ((a.kept_until ?? '') < (b.kept_until ?? '') ? -1 : 1)).map((r) => this.detail(r))
  }
  forget(id: string): T.Restore {
    if (this.#get(id).kept_until === null) throw this.#host.error('undo_gone', { restore: id })
    this.#put(id, { kept_until: null, kept_bytes: null })
    this.#host.log('restore.forget', 'restore', id, this.#get(id).target)
    this.#host.invalidate('restores', 'health')
    return this.#get(id)
  }
}
