/**
 * A whole backend in memory, for `npm run dev` in a browser and for tests. It keeps the rules that the window relies on (one run per
 * source, nothing green before it was read back, no restore without its plan) and never reaches the production bundle.
 */
import type { Backend } from '../backend'
import type * as T from '../generated'
import {
  ADAPTERS,
  adapterOf,
  codeOf,
  DAY,
  type Data,
  type DestinationData,
  emptyOptions,
  GFS,
  HOUR,
  hash,
  idOf,
  makeData,
  noRetention,
  type PlanData,
  random,
  type SourceData,
} from './data'
import { type DrillEnd, Drills } from './drills'
import { type ErrorText, errorOf } from './errors'
import { journalOf } from './journal'
import { type Host, Replaces } from './replaces'
import { type Work, Works } from './work'

export interface MemoryOptions {
  /** The instant at which it starts; the real clock by default. */
  now?: number
  /** About how many backups there are. */
  backups?: number
  /** Nothing there yet: the first start. */
  empty?: boolean
  /** Milliseconds that each answer takes. */
  delay?: number
  /** Commands that never answer. */
  hang?: string[]
  /** Commands that fail, and with what. */
  fail?: Record<string, ErrorText>
  /** Whether work runs by itself (timers); tests move it with `works.advance`. */
  live?: boolean
  features?: T.Feature[]
  language?: 'en' | 'fr'
  /** Settings that differ from their defaults. */
  settings?: Record<string, string>
  /** What the file dialogs answer. */
  chosen?: string | null
  secrets?: T.SecretState
  /** What replacements of live data are refused with when they look at it, one after the other. */
  refuse?: ErrorText[]
  /** How the next rehearsed restores end, one after the other. */
  drills?: DrillEnd[]
  /** The catalogue cannot be read. */
  damaged?: boolean
}

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

const DAMAGE = { path: '/home/anna/.local/share/coffre/catalogue.db', cause: 'database disk image is malformed' }

export class MemoryBackend {
  readonly data: Data
  readonly works: Works
  readonly options: MemoryOptions
  #now: number
  #started = Date.now()
  #handlers = new Set<(event: T.BackendEvent) => void>()
  #settings = new Map<string, string>()
  #journal: T.Entry[]
  readonly #restores: T.Restore[] = []
  #plans = new Map<string, T.RestorePlan>()
  #paused = false
  readonly replaces: Replaces
  readonly drills: Drills
  damaged: boolean
  #serial = 9_000_000
  #next = random(99)

  constructor(options: MemoryOptions = {}) {
    this.options = options
    this.damaged = options.damaged ?? false
    this.#now = options.now ?? Date.now()
    const language = options.language ?? 'en'
    this.data = options.empty
      ? { sources: [], destinations: [], plans: [], backups: [], keys: [] }
      : makeData(this.#now, options.backups ?? 1284, language)
    for (const [key, value] of Object.entries(options.settings ?? {})) this.#settings.set(key, value)
    if (options.language) this.#settings.set('language', options.language)
    this.#journal = options.empty ? [] : journalOf(this.data, this.#now)
    this.works = new Works((event) => this.#push(event), options.live ?? false)
    const host: Host = {
      data: this.data,
      works: this.works,
      now: () => this.now(),
      id: (group) => this.#id(group),
      error: (text, details) => this.#error(text, details),
      log: (action, kind, id, subject, error) => this.#log(action, kind, id, subject, error),
      invalidate: (...nouns) => this.invalidate(...nouns),
      random: this.#next,
      undoDays: () => Number(this.#settings.get('undo_keep_days') ?? 7),
      refusal: () => options.refuse?.shift() ?? null,
      restores: this.#restores,
    }
    this.replaces = new Replaces(host)
    this.drills = new Drills(host, () => options.drills?.shift() ?? 'counted')
    if (options.live && !options.empty) {
      const events = this.data.sources[1] as SourceData
      this.#startBackup(events, this.data.plans[1] ?? null, 'scheduled', 0.62)
    }
  }

  #store(): T.SecretStore {
    const state = this.options.secrets ?? 'ready'
    return { kind: 'keychain', name: 'Secret Service', state, error: null }
  }
  get #language(): 'en' | 'fr' {
    return this.#settings.get('language') === 'fr' ? 'fr' : 'en'
  }
  now(): number {
    return this.options.now === undefined
      ? Date.now()
      : this.#now + (this.options.live ? Date.now() - this.#started : 0)
  }
  #iso(at = this.now()): string {
    return new Date(at).toISOString()
  }
  #id(group: number): string {
    return idOf(group, ++this.#serial)
  }
  #error(text: ErrorText, details: T.Details = {}): T.CoffreError {
    return errorOf(text, details, this.#language)
  }
  #push(event: T.BackendEvent): void {
    for (const handler of [...this.#handlers]) handler(event)
  }
  /** Says what changed; for tests also from outside. */
  invalidate(...nouns: (T.Noun | T.Tag)[]): void {
    this.#push({ type: 'invalidated', tags: nouns.map((n) => (typeof n === 'string' ? { noun: n } : n)) })
  }
  push(event: T.BackendEvent): void {
    this.#push(event)
  }
  #log(action: string, kind: string, id: string | null, subject: string, error: T.CoffreError | null = null): void {
    this.#journal.unshift({
      id: this.#journal.length + 1,
      at: this.#iso(),
      author: 'app',
      actor: 'anna',
      action,
      subject_kind: kind,
      subject_id: id,
      subject,
      result: error ? 'failed' : 'ok',
      error,
    })
    this.invalidate('journal')
  }

  #source(id: string | null): SourceData {
    const found = this.data.sources.find((s) => s.source.id === id)
    if (!found) throw this.#error('not_found')
    return found
  }
  #destination(id: string): DestinationData {
    const found = this.data.destinations.find((d) => d.destination.id === id)
    if (!found) throw this.#error('not_found')
    return found
  }
  #plan(id: string): PlanData {
    const found = this.data.plans.find((p) => p.plan.id === id)
    if (!found) throw this.#error('not_found')
    return found
  }
  #backup(id: string): T.Backup {
    const found = this.data.backups.find((b) => b.id === id)
    if (!found) throw this.#error('not_found')
    return found
  }

  #nextRun(p: PlanData): number | null {
    if (p.paused || this.#paused || !this.#has('schedule')) return null
    return this.#slots(p.plan.every, p.at, 1)[0]?.at ?? null
  }
  #has(feature: T.Feature): boolean {
    return (this.options.features ?? ['schedule', 'retention', 'replace', 'rebuild']).includes(feature)
  }
  #slots(
    every: T.BackupType | null,
    at: string | null,
    count: number,
  ): { at: number; remark: 'clock_back' | 'clock_forward' | null }[] {
    if (!every || every === 'manual') return []
    const [hours, minutes] = (at ?? '00:00').split(':').map(Number)
    const date = new Date(this.now())
    const slots: { at: number; remark: 'clock_back' | 'clock_forward' | null }[] = []
    date.setSeconds(0, 0)
    if (every === 'hourly') date.setMinutes(0)
    else date.setHours(hours ?? 0, minutes ?? 0)
    for (let guard = 0; slots.length < count && guard < 2000; guard++) {
      const fits = every === 'weekly' ? date.getDay() === 1 : every === 'monthly' ? date.getDate() === 1 : true
      if (fits && date.getTime() > this.now()) slots.push({ at: date.getTime(), remark: null })
      if (every === 'hourly') date.setHours(date.getHours() + 1)
      else date.setDate(date.getDate() + 1)
    }
    return slots
  }

  #protection(s: SourceData): T.Protection {
    const own = this.data.backups.filter((b) => b.source_id === s.source.id)
    const verified = own.find((b) => b.state === 'verified')
    const last = own.find((b) => b.state !== 'running' && b.state !== 'skipped')
    const plans = this.data.plans.filter((p) => p.plan.source_id === s.source.id)
    const copies = verified?.copies.filter((c) => c.state === 'verified') ?? []
    const sites = new Set(
      copies.map((c) => this.data.destinations.find((d) => d.destination.id === c.destination_id)?.site),
    )
    const age = verified?.ended_at ? this.now() - Date.parse(verified.ended_at) : Number.POSITIVE_INFINITY
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
      restore_ms: this.drills.lastOfSource(s.source.id)?.restore_ms ?? s.restoreMs,
      error: failed?.error ?? null,
      error_backup_id: failed?.id ?? null,
    }
  }
  #sourceRow(s: SourceData): T.SourceRow {
    const plans = this.data.plans.filter((p) => p.plan.source_id === s.source.id)
    const next = plans.map((p) => this.#nextRun(p)).filter((at) => at !== null)
    const outcomes: T.Outcome[] = []
    for (const b of this.data.backups) {
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
      protection: this.#protection(s),
      plans: plans.map((p) => ({ id: p.plan.id, name: p.plan.name })),
      outcomes,
      last_drill: this.drills.lastOfSource(s.source.id),
      next_run_at: next.length ? this.#iso(Math.min(...next)) : null,
      running: this.works.list.some((w) => w.running.source_id === s.source.id),
    }
  }
  #destinationRow(d: DestinationData): T.DestinationRow {
    let copies = 0
    let verified = 0
    let stored = 0
    for (const b of this.data.backups) {
      for (const c of b.copies) {
        if (c.destination_id !== d.destination.id || c.state === 'deleted') continue
        copies++
        stored += c.stored_bytes
        if (c.state === 'verified') verified++
      }
    }
    return {
      destination: d.destination,
      adapter: d.adapter,
      label: d.label,
      place: d.place,
      state: d.answers ? 'answers' : 'silent',
      checked_at: this.#iso(this.now() - 2 * 60_000),
      error: d.answers ? null : this.#error('dest_unreachable', { destination: d.destination.name, place: d.place }),
      space: d.space,
      copies,
      verified_copies: verified,
      stored_bytes: stored,
      plans: this.data.plans
        .filter((p) => p.plan.destination_ids.includes(d.destination.id))
        .map((p) => ({ id: p.plan.id, name: p.plan.name, source: p.plan.source })),
    }
  }
  #worst(rows: T.SourceRow[]): T.SourceRow[] {
    const rank = { unprotected: 0, at_risk: 1, protected: 2 }
    return rows.toSorted((a, b) => rank[a.protection.state] - rank[b.protection.state])
  }

  #checkDraft(draft: T.Draft, adapters: T.Adapter[], taken: string[]): T.DraftErrors {
    const errors: T.DraftErrors = {}
    if (!draft.name.trim()) errors.name = this.#error('name_empty')
    else if (taken.includes(draft.name)) errors.name = this.#error('name_taken', { name: draft.name })
    const adapter = adapters.find((a) => a.name === draft.adapter)
    for (const field of adapter?.fields ?? []) {
      if (field.part === 'secret') continue
      const value = draft.values[field.name]
      const absent = value === undefined || value === null || value === ''
      if (field.required && absent && field.default === null) errors[field.name] = this.#error('field_required')
      if (field.part === 'port' && !absent && !(Number(value) >= 1 && Number(value) <= 65_535))
        errors[field.name] = this.#error('address_port')
      if ((field.kind === 'file' || field.kind === 'folder') && !absent && !String(value).startsWith('/')) {
        errors[field.name] = this.#error('path_absolute')
      }
    }
    return errors
  }
  #refuse(errors: T.DraftErrors): void {
    const first = Object.values(errors)[0]
    if (first) throw first
  }
  #address(draft: T.Draft, adapters: T.Adapter[]): string {
    const adapter = adapters.find((a) => a.name === draft.adapter)
    const scheme = adapter?.schemes[0] ?? draft.adapter
    const get = (part: T.FieldPart) => {
      const field = adapter?.fields.find((f) => f.part === part)
      return field ? (draft.values[field.name] ?? field.default ?? '') : ''
    }
    const path = String(get('path'))
    if (path.startsWith('/')) return `${scheme}://${path}`
    const port = get('port')
    return `${scheme}://${get('user') ? `${encodeURIComponent(String(get('user')))}@` : ''}${get('host')}${port ? `:${port}` : ''}/${encodeURIComponent(path)}`
  }
  #hasSecret(before: boolean, secret: T.SecretChange): boolean {
    return secret.change === 'set' ? secret.value !== '' : secret.change === 'keep' && before
  }

  #startBackup(s: SourceData, p: PlanData | null, trigger: T.Trigger, share = 0): T.Backup {
    if (this.works.list.some((w) => w.running.source_id === s.source.id))
      throw this.#error('busy', { source: s.source.name })
    const at = this.now() - share * 40_000
    const backup: T.Backup = {
      id: this.#id(5),
      code: codeOf(at, this.#next),
      source: s.source.name,
      source_id: s.source.id,
      plan: p?.plan.name ?? null,
      plan_id: p?.plan.id ?? null,
      trigger,
      type: p?.plan.every ?? 'manual',
      kind: 'full',
      base_id: null,
      state: 'running',
      started_at: this.#iso(at),
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
    this.data.backups.unshift(backup)
    const changed = () =>
      this.invalidate('backups', { noun: 'backups', id: backup.id }, 'running', 'overview', 'sources', 'plans')
    const replace = (more: Partial<T.Backup>) => {
      const i = this.data.backups.findIndex((b) => b.id === backup.id)
      if (i >= 0) this.data.backups[i] = { ...(this.data.backups[i] as T.Backup), ...more }
    }
    const refused = s.source.name === 'crm' ? this.data.backups.find((b) => b.source === 'crm' && b.error)?.error : null
    this.works.start({
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
        const ended = { ended_at: this.#iso(), duration_ms: Math.max(1, this.now() - Date.parse(backup.started_at)) }
        if (how === 'cancelled') replace({ ...ended, state: 'cancelled', error: this.#error('cancelled') })
        else if (how === 'failed')
          replace({ ...ended, state: 'failed', error: refused ?? this.#error('internal', { cause: '?' }) })
        else {
          const sha = hash(this.#next)
          const ids = p?.plan.destination_ids ?? [this.data.destinations[0]?.destination.id ?? '']
          replace({
            ...ended,
            state: 'verified',
            raw_bytes: s.bytes,
            stored_bytes: s.stored,
            sha256: sha,
            raw_sha256: hash(this.#next),
            tables: s.tables.length,
            rows: s.tables.reduce((sum, t) => sum + t.rows, 0),
            copies: ids.map((id) => ({
              destination: this.#destination(id).destination.name,
              destination_id: id,
              key: `${s.source.name}/${backup.code}.zst`,
              state: 'verified' as const,
              stored_bytes: s.stored,
              sha256: sha,
              verified_at: ended.ended_at,
            })),
          })
        }
        this.#log('backup.run', 'backup', backup.id, backup.code, how === 'done' ? null : this.#backup(backup.id).error)
        changed()
        this.invalidate('destinations', 'health')
      },
    })
    changed()
    return backup
  }

  /** The commands. Arrow functions, so that they can be handed out one by one. */
  readonly commands: Backend = {
    about: async () => ({
      version: '0.1.0',
      home: '/home/anna/.local/share/coffre',
      log_folder: '/home/anna/.local/share/coffre/logs',
      platform: 'linux',
      features: this.options.features ?? ['schedule', 'retention', 'replace', 'rebuild'],
      secrets: this.#store(),
      system_language:
        this.options.language ??
        (typeof navigator !== 'undefined' && navigator.language.startsWith('fr') ? 'fr' : 'en'),
      first_start: this.data.sources.length === 0 && this.data.destinations.length === 0,
      catalogue_error: this.damaged ? this.#error('catalogue_corrupt', DAMAGE) : null,
    }),
    adapters: async () => ADAPTERS,
    attention: async () => {
      const states = this.data.sources.map((s) => this.#protection(s))
      const next = this.data.plans.map((p) => this.#nextRun(p)).filter((at) => at !== null)
      const count = (state: T.ProtectionState) => states.filter((p) => p.state === state).length
      return {
        sources: states.length,
        protected: count('protected'),
        at_risk: count('at_risk'),
        unprotected: count('unprotected'),
        failures_open: states.filter((p) => p.error).length,
        next_run_at: next.length ? this.#iso(Math.min(...next)) : null,
      }
    },
    overview: async () => this.#overview(),
    running: async () => this.works.list.map((w) => w.running),

    listSources: async () => this.#worst(this.data.sources.map((s) => this.#sourceRow(s))),
    showSource: async ({ id }) => {
      const s = this.#source(id)
      return { ...this.#sourceRow(s), draft: { name: s.source.name, adapter: s.adapter, values: s.values } }
    },
    checkSource: async ({ id, draft }) =>
      this.#checkDraft(
        draft,
        ADAPTERS.databases,
        this.data.sources.filter((s) => s.source.id !== id).map((s) => s.source.name),
      ),
    testSource: async ({ draft, secret }) => {
      await new Promise((done) => setTimeout(done, this.options.live ? 700 : 0))
      if (secret.change === 'set' && secret.value === 'wrong')
        throw this.#error('auth_failed', { user: String(draft.values.user ?? '') })
      const host = String(draft.values.host ?? '')
      if (host === '10.0.0.99') throw this.#error('unreachable', { place: `${host}:${draft.values.port ?? ''}` })
      const known = this.data.sources.find((s) => s.adapter === draft.adapter)
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
      this.#refuse(await this.commands.checkSource({ id: null, draft }))
      const source: T.Source = {
        id: this.#id(1),
        name: draft.name,
        address: this.#address(draft, ADAPTERS.databases),
        options: emptyOptions,
        has_secret: this.#hasSecret(false, secret),
        created_at: this.#iso(),
      }
      const known = this.data.sources.find((s) => s.adapter === draft.adapter)
      this.data.sources.push({
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
      this.#log('source.add', 'source', source.id, source.name)
      this.invalidate('sources', 'overview', 'about', 'health')
      return source
    },
    editSource: async ({ id, draft, secret }) => {
      this.#refuse(await this.commands.checkSource({ id, draft }))
      const s = this.#source(id)
      s.source = {
        ...s.source,
        name: draft.name,
        address: this.#address(draft, ADAPTERS.databases),
        has_secret: this.#hasSecret(s.source.has_secret, secret),
      }
      s.values = draft.values
      this.#log('source.edit', 'source', id, draft.name)
      this.invalidate('sources', 'overview', 'plans', 'health')
      return s.source
    },
    removeSource: async ({ id }) => {
      const s = this.#source(id)
      const plans = this.data.plans.filter((p) => p.plan.source_id === id).map((p) => p.plan.name)
      if (plans.length) throw this.#error('in_use', { name: s.source.name, plans: plans.join(', ') })
      this.data.sources = this.data.sources.filter((x) => x !== s)
      this.#log('source.remove', 'source', id, s.source.name)
      this.invalidate('sources', 'overview', 'health')
      return null
    },
    listTables: async ({ id }) => {
      const s = this.#source(id)
      const rows = s.tables.reduce((sum, t) => sum + t.rows, 0) || 1
      return {
        tables: s.tables.map((t) => ({ ...t, bytes: Math.round((s.bytes * t.rows) / rows) })),
        at: this.#iso(this.now() - 11 * HOUR),
        exact: true,
      }
    },
    createSample: async () => {
      const destination = await this.commands.defaultDestination()
      const source = await this.commands.addSource({
        draft: {
          name: 'sample-shop',
          adapter: 'sqlite',
          values: { path: '/home/anna/.local/share/coffre/sample/shop.db' },
        },
        secret: { change: 'forget' },
      })
      const plan = await this.commands.addPlan({
        draft: {
          name: 'sample-daily',
          source_id: source.id,
          destination_ids: [destination.id],
          kind: 'full',
          every: 'daily',
          at: '02:30',
          cron: null,
          time_zone: 'Europe/Paris',
          compression: 'zstd:3',
          key_id: null,
          retention: GFS,
        },
      })
      return {
        source_id: source.id,
        plan_id: plan.id,
        backup_id: this.#startBackup(this.#source(source.id), this.#plan(plan.id), 'manual').id,
      }
    },

    listDestinations: async () => this.data.destinations.map((d) => this.#destinationRow(d)),
    showDestination: async ({ id }) => {
      const d = this.#destination(id)
      return { ...this.#destinationRow(d), draft: { name: d.destination.name, adapter: d.adapter, values: d.values } }
    },
    checkDestination: async ({ id, draft }) =>
      this.#checkDraft(
        draft,
        ADAPTERS.storages,
        this.data.destinations.filter((d) => d.destination.id !== id).map((d) => d.destination.name),
      ),
    testDestination: async ({ id, draft }) => {
      await new Promise((done) => setTimeout(done, this.options.live ? 500 : 0))
      const known = this.data.destinations.find((d) => d.destination.id === id)
      const place = String(draft.values.path || draft.values.bucket || '')
      if (known && !known.answers) throw this.#error('dest_unreachable', { destination: draft.name, place })
      return {
        place,
        space: draft.adapter === 'local' ? { free: 212e9, total: 480e9 } : null,
        identity: known ? 'known' : place.includes('old') ? 'other' : 'new',
        backups: place.includes('old') ? 412 : 0,
        remarks: [],
      }
    },
    defaultDestination: async () =>
      this.data.destinations[0]?.destination ??
      this.commands.addDestination({
        draft: { name: 'backups', adapter: 'local', values: { path: '/home/anna/.local/share/coffre/backups' } },
        secret: { change: 'forget' },
      }),
    addDestination: async ({ draft, secret }) => {
      this.#refuse(await this.commands.checkDestination({ id: null, draft }))
      const destination: T.Destination = {
        id: this.#id(2),
        name: draft.name,
        address: this.#address(draft, ADAPTERS.storages),
        has_secret: this.#hasSecret(false, secret),
        identity: null,
        created_at: this.#iso(),
      }
      this.data.destinations.push({
        destination,
        adapter: draft.adapter,
        label: draft.adapter === 'local' ? 'Folder' : 'S3',
        values: draft.values,
        space: draft.adapter === 'local' ? { free: 212e9, total: 480e9 } : null,
        answers: true,
        place: String(draft.values.path || `s3://${draft.values.bucket}`),
        site: draft.adapter === 'local' ? 'here' : 's3',
        offsite: draft.adapter !== 'local',
      })
      this.#log('destination.add', 'destination', destination.id, destination.name)
      this.invalidate('destinations', 'overview', 'about', 'health')
      return destination
    },
    editDestination: async ({ id, draft, secret }) => {
      this.#refuse(await this.commands.checkDestination({ id, draft }))
      const d = this.#destination(id)
      d.destination = {
        ...d.destination,
        name: draft.name,
        has_secret: this.#hasSecret(d.destination.has_secret, secret),
      }
      d.values = draft.values
      this.#log('destination.edit', 'destination', id, draft.name)
      this.invalidate('destinations', 'overview', 'plans', 'health')
      return d.destination
    },
    removeDestination: async ({ id }) => {
      const d = this.#destination(id)
      const plans = this.data.plans.filter((p) => p.plan.destination_ids.includes(id)).map((p) => p.plan.name)
      if (plans.length) throw this.#error('in_use', { name: d.destination.name, plans: plans.join(', ') })
      this.data.destinations = this.data.destinations.filter((x) => x !== d)
      this.#log('destination.remove', 'destination', id, d.destination.name)
      this.invalidate('destinations', 'overview', 'health')
      return null
    },
    rebuildFromDestination: async ({ id }) => {
      this.#destination(id)
      const full = makeData(this.now(), 412, this.#language)
      this.data.sources.push(...full.sources)
      this.data.backups.push(...full.backups)
      this.invalidate('sources', 'backups', 'overview', 'about', 'health')
      return { backups: full.backups.length, sources: full.sources.length, unusable: [] }
    },

    listPlans: async () => this.data.plans.map((p) => this.#planRow(p)),
    previewPlan: async ({ id, draft }) => this.#previewPlan(id, draft),
    addPlan: async ({ draft }) => {
      this.#refuse(this.#previewPlan(null, draft).errors)
      const plan: PlanData = { plan: this.#planOf(this.#id(3), draft), at: draft.at, paused: false }
      this.data.plans.push(plan)
      this.#log('plan.add', 'plan', plan.plan.id, draft.name)
      this.invalidate('plans', 'overview', 'sources', 'destinations')
      return plan.plan
    },
    editPlan: async ({ id, draft }) => {
      this.#refuse(this.#previewPlan(id, draft).errors)
      const p = this.#plan(id)
      p.plan = { ...this.#planOf(id, draft), created_at: p.plan.created_at }
      p.at = draft.at
      this.#log('plan.edit', 'plan', id, draft.name)
      this.invalidate('plans', 'overview', 'sources', 'destinations')
      return p.plan
    },
    removePlan: async ({ id }) => {
      const p = this.#plan(id)
      this.data.plans = this.data.plans.filter((x) => x !== p)
      this.#log('plan.remove', 'plan', id, p.plan.name)
      this.invalidate('plans', 'overview', 'sources', 'destinations')
      return null
    },
    pausePlan: async ({ id, paused }) => {
      const p = this.#plan(id)
      p.paused = paused
      this.#log(paused ? 'plan.pause' : 'plan.resume', 'plan', id, p.plan.name)
      this.invalidate('plans', 'overview', 'sources')
      return null
    },
    pauseSchedules: async ({ paused }) => {
      this.#paused = paused
      this.#log(paused ? 'schedule.pause' : 'schedule.resume', 'schedule', null, '')
      this.invalidate('plans', 'overview', 'sources')
      return null
    },

    listBackups: async ({ query }) => this.#listBackups(query),
    showBackup: async ({ id }) => this.#detail(this.#backup(id)),
    runBackup: async ({ plan_id, source_id }) => {
      const p = plan_id ? this.#plan(plan_id) : null
      return { id: this.#startBackup(this.#source(p?.plan.source_id ?? source_id), p, 'manual').id }
    },
    cancelRun: async ({ id }) => {
      this.works.cancel(id)
      return null
    },
    verifyBackup: async ({ id }) => {
      const backup = this.#backup(id)
      const s = this.#source(backup.source_id)
      this.works.start({
        running: {
          id,
          noun: 'verify',
          source: backup.source,
          source_id: backup.source_id,
          adapter: s.adapter,
          plan: backup.plan,
          started_at: this.#iso(),
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
            const i = this.data.backups.findIndex((b) => b.id === id)
            this.data.backups[i] = {
              ...backup,
              state: 'verified',
              copies: backup.copies.map((c) => ({ ...c, state: 'verified', verified_at: this.#iso() })),
            }
          }
          this.#log('backup.verify', 'backup', id, backup.code)
          this.invalidate('backups', 'running', 'overview', 'sources')
        },
      })
      this.invalidate('running')
      return null
    },
    drillBackup: async ({ id }) => {
      this.drills.start(this.#backup(id))
      return null
    },
    openBackup: ({ id }) => this.drills.open(this.#backup(id)),
    readRows: async (asked) => this.drills.rows(asked),
    exportTable: async ({ id, table, format }) => {
      const path = this.options.chosen === undefined ? `/home/anna/${table}.${format}` : this.options.chosen
      return this.drills.exported(id, table, format, path)
    },
    restoreTable: async (asked) => this.drills.bringBack(asked),
    closeOpened: async ({ id }) => {
      this.drills.close(id)
      return null
    },
    pinBackup: async ({ id, pinned }) => this.#edit(id, { pinned }, pinned ? 'backup.pin' : 'backup.unpin'),
    noteBackup: async ({ id, note }) => this.#edit(id, { note }, 'backup.note'),
    previewDelete: async ({ ids }) => {
      const chosen = ids.map((id) => this.#backup(id))
      const names = new Set(chosen.map((b) => b.source_id))
      const left = this.data.backups.filter(
        (b) => names.has(b.source_id) && b.state === 'verified' && !ids.includes(b.id),
      ).length
      const verified = chosen.some((b) => b.state === 'verified')
      return {
        backups: chosen.length,
        stored_bytes: chosen.reduce((sum, b) => sum + b.copies.reduce((s, c) => s + c.stored_bytes, 0), 0),
        verified_left: left,
        refusal: verified && left === 0 ? this.#error('last_verified', { source: chosen[0]?.source ?? '' }) : null,
        confirmation: ids.join('+'),
      }
    },
    deleteBackups: async ({ ids, confirmation }) => {
      if (confirmation !== ids.join('+')) throw this.#error('not_found')
      for (const id of ids) this.#log('backup.delete', 'backup', id, this.#backup(id).code)
      this.data.backups = this.data.backups.filter((b) => !ids.includes(b.id))
      this.invalidate('backups', 'overview', 'sources', 'destinations')
      return null
    },
    downloadBackup: async ({ id }) => {
      const backup = this.#backup(id)
      if (this.options.chosen === null) return null
      this.#log('backup.download', 'backup', id, backup.code)
      return { path: this.options.chosen ?? `/home/anna/${backup.source}_${backup.code}.dump.zst` }
    },
    saveRecoverySheet: async () =>
      this.options.chosen === null ? null : { path: this.options.chosen ?? '/home/anna/coffre-recovery.html' },

    restoreTargets: async ({ backup_id }) => {
      const backup = backup_id ? this.#backup(backup_id) : null
      const s = backup ? this.#source(backup.source_id) : null
      const sqlite = !s || s.adapter === 'sqlite'
      const name = s?.source.name ?? 'restored'
      const stamp = this.#iso().slice(0, 10).replaceAll('-', '')
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
      const replaceable = s ? [s] : this.data.sources.filter((one) => one.adapter === 'sqlite')
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
      const backup = request.backup_id ? this.#backup(request.backup_id) : null
      const remember = (plan: Omit<T.RestorePlan, 'confirmation' | 'expires_at'>): T.RestorePlan => {
        const confirmation = this.#id(7)
        const whole = { ...plan, confirmation, expires_at: this.#iso(this.now() + 15 * 60_000) }
        this.#plans.set(confirmation, whole)
        return whole
      }
      if (request.target.kind === 'replace')
        return remember(this.replaces.plan(this.#source(request.target.value), backup, request.file))
      const s = backup ? this.#source(backup.source_id) : null
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
          check('target_empty', { target }, taken ? this.#error('target_not_empty', { target }) : null),
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
      const plan = this.#plans.get(confirmation)
      if (!plan?.allowed || plan.name !== name) throw this.#error('not_found')
      this.#plans.delete(confirmation)
      const live = this.data.sources.find((s) => plan.mode === 'replace' && s.source.address === plan.target)
      if (live)
        return this.replaces.start(plan, live, rows_may_differ ?? false, () => this.#plans.set(confirmation, plan))
      return this.#startRestore(plan)
    },
    showRestore: async ({ id }) => {
      const restore = this.#restores.find((r) => r.id === id)
      if (!restore) throw this.#error('not_found')
      return this.replaces.detail(restore)
    },
    listRestores: async ({ limit }) => this.#restores.slice(0, limit).map((restore) => this.replaces.detail(restore)),
    undoRestore: async ({ id }) => this.replaces.undo(id),
    listKept: async () => this.replaces.kept(),
    forgetKept: async ({ id }) => this.replaces.forget(id),

    listKeys: async () => this.data.keys,
    createKey: async ({ name, kind }) => {
      if (!name.trim()) throw this.#error('name_empty')
      if (this.data.keys.some((k) => k.name === name)) throw this.#error('name_taken', { name })
      const key: T.Key = {
        id: this.#id(4),
        name,
        kind,
        recipient: kind === 'recipient' ? `age1${hash(this.#next).slice(0, 58)}` : null,
        created_at: this.#iso(),
        exported_at: null,
      }
      this.data.keys.push(key)
      this.#log('key.create', 'key', key.id, name)
      this.invalidate('keys')
      return { ...key, remarks: [] }
    },
    importKey: async ({ name }) => this.commands.createKey({ name, kind: 'recipient', passphrase: null }),
    exportKey: async ({ id }) => {
      const key = this.data.keys.find((k) => k.id === id)
      if (!key) throw this.#error('not_found')
      if (this.options.chosen === null) return null
      key.exported_at = this.#iso()
      this.#log('key.export', 'key', id, key.name)
      this.invalidate('keys')
      return { path: this.options.chosen ?? `/home/anna/${key.name}.age-key.txt` }
    },

    listJournal: async ({ query }) => {
      const text = query.text?.toLowerCase() ?? ''
      const found = this.#journal.filter(
        (e) =>
          (!query.author || e.author === query.author) &&
          (!query.result || e.result === query.result) &&
          (!text || `${e.action} ${e.subject} ${e.actor ?? ''} ${e.error?.message ?? ''}`.toLowerCase().includes(text)),
      )
      const start = (query.page - 1) * query.per_page
      return {
        entries: found.slice(start, start + query.per_page),
        total: found.length,
        page: query.page,
        per_page: query.per_page,
      }
    },
    health: async () => this.#health(),
    checkHealth: async () => {
      await new Promise((done) => setTimeout(done, this.options.live ? 900 : 0))
      this.invalidate('health')
      return this.#health()
    },

    listSettings: async () =>
      SETTINGS.map(([key, preset, kind]) => ({
        key,
        value: this.#settings.get(key) ?? preset,
        default: preset,
        kind,
        overridden: false,
      })),
    setSetting: async ({ key, value }) => {
      this.#settings.set(key, value)
      this.invalidate('settings')
      const row = (await this.commands.listSettings()).find((s) => s.key === key)
      if (!row) throw this.#error('not_found')
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
        error: this.#error('tool_too_old', { tool: 'pg_dump', found: '12.3', server: '16.4', major: '16' }),
        sources: [],
      },
    ],
    rescanTools: async () => {
      this.invalidate('tools')
      return this.commands.listTools()
    },

    chooseFile: async () => (this.options.chosen === undefined ? '/home/anna/data/shop.db' : this.options.chosen),
    chooseFolder: async () => (this.options.chosen === undefined ? '/home/anna/backups' : this.options.chosen),
    chooseNewFile: async ({ suggestion }) => (this.options.chosen === undefined ? suggestion : this.options.chosen),
    openLogFolder: async () => null,
    setCatalogueAside: async () => {
      const path = this.damaged ? '/home/anna/.local/share/coffre/catalogue.db.damaged' : null
      if (this.damaged) this.data.sources = this.data.destinations = this.data.plans = this.data.backups = []
      this.damaged = false
      this.invalidate('about', 'overview', 'sources', 'destinations', 'plans', 'backups', 'journal', 'health')
      return { path }
    },
    quit: async () => null,

    subscribe: (handler) => {
      this.#handlers.add(handler)
      return () => this.#handlers.delete(handler)
    },
  }

  #edit(id: string, more: Partial<T.Backup>, action: string): T.Backup {
    const i = this.data.backups.findIndex((b) => b.id === id)
    if (i < 0) throw this.#error('not_found')
    const backup = { ...(this.data.backups[i] as T.Backup), ...more }
    this.data.backups[i] = backup
    this.#log(action, 'backup', id, backup.code)
    this.invalidate({ noun: 'backups', id })
    return backup
  }

  #planOf(id: string, draft: T.PlanDraft): T.Plan {
    const key = this.data.keys.find((k) => k.id === draft.key_id)
    return {
      id,
      name: draft.name,
      source_id: draft.source_id,
      source: this.#source(draft.source_id).source.name,
      destination_ids: draft.destination_ids,
      destinations: draft.destination_ids.map((d) => this.#destination(d).destination.name),
      kind: draft.kind,
      every: draft.every,
      schedule: null,
      paused_at: null,
      compression: draft.compression,
      encryption: key?.name ?? null,
      key_id: draft.key_id,
      retention: draft.retention,
      created_at: this.#iso(),
    }
  }
  #planRow(p: PlanData): T.PlanRow {
    const own = this.data.backups.filter((b) => b.plan_id === p.plan.id)
    const next = this.#nextRun(p)
    const failure = own.find((b) => b.state !== 'running' && b.state !== 'skipped')
    return {
      plan: p.plan,
      paused: p.paused,
      next_run_at: next === null ? null : this.#iso(next),
      last: own[0] ?? null,
      draft: {
        name: p.plan.name,
        source_id: p.plan.source_id,
        destination_ids: p.plan.destination_ids,
        kind: p.plan.kind,
        every: p.plan.every,
        at: p.at,
        cron: null,
        time_zone: 'Europe/Paris',
        compression: p.plan.compression,
        key_id: p.plan.key_id,
        retention: p.plan.retention,
      },
      successes: own.filter((b) => b.state === 'verified').length,
      failures: own.filter((b) => b.state === 'failed' || b.state === 'interrupted').length,
      last_error: failure?.error ?? null,
    }
  }
  #previewPlan(id: string | null, draft: T.PlanDraft): T.PlanPreview {
    const errors: T.DraftErrors = {}
    if (!draft.name.trim()) errors.name = this.#error('name_empty')
    else if (
      this.data.plans.some(
        (p) => p.plan.id !== id && p.plan.name === draft.name && p.plan.source_id === draft.source_id,
      )
    ) {
      errors.name = this.#error('name_taken', { name: draft.name })
    }
    if (!draft.source_id) errors.source_id = this.#error('field_required')
    if (!draft.destination_ids.length) errors.destination_ids = this.#error('destinations_none')
    const to = this.data.destinations.filter((d) => draft.destination_ids.includes(d.destination.id))
    const s = this.data.sources.find((x) => x.source.id === draft.source_id)
    const kept = this.data.backups.filter((b) => b.plan_id === id && b.state === 'verified')
    const departures: T.Departure[] = []
    const rules = draft.retention
    const some = Object.values(rules).some((v) => v !== null)
    if (this.#has('retention') && some && id) {
      const days = rules.keep_daily ?? rules.keep_days ?? rules.keep_last ?? 7
      for (let d = 0; d < 90; d++) {
        const at = new Date(this.now() + d * DAY)
        if ((at.getDay() + 6) % 7 === 6 && rules.keep_weekly) continue
        const b = kept[Math.min(kept.length - 1, Math.max(0, days - d))]
        const key = `${at.getFullYear()}-${String(at.getMonth() + 1).padStart(2, '0')}-${String(at.getDate()).padStart(2, '0')}`
        const times = d > 0 && at.getDay() === 1 && rules.keep_weekly ? 2 : d > 0 ? 1 : 0
        for (let k = 0; k < times; k++) {
          departures.push({
            day: key,
            code: b?.code ?? '',
            started_at: this.#iso(at.getTime() - days * DAY - k * DAY),
            stored_bytes: s?.stored ?? 0,
            reason: rules.keep_daily ? (k ? 'weekly' : 'daily') : rules.keep_days ? 'older' : 'beyond_last',
          })
        }
      }
    }
    const now = kept.length
    return {
      errors,
      departures,
      kept_now: Math.min(now, 16),
      explanation: null,
      kept_then: id ? 19 : 0,
      copies: to.length,
      places: new Set(to.map((d) => d.site)).size,
      next: this.#has('schedule')
        ? this.#slots(draft.every, draft.at, 5).map((slot) => ({ at: this.#iso(slot.at), remark: slot.remark }))
        : [],
      offsite: to.filter((d) => d.offsite).length,
      raw_bytes: s?.bytes ?? null,
      stored_bytes: s?.stored ?? null,
    }
  }

  #listBackups(query: T.BackupQuery): T.BackupPage {
    const text = query.text?.trim().toLowerCase() ?? ''
    let found = this.data.backups.filter(
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
      backups: found.slice(start, start + query.per_page).map((b) => ({ ...b, last_drill: this.drills.last(b.id) })),
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

  #detail(backup: T.Backup): T.BackupDetail {
    const s = this.#source(backup.source_id)
    const start = Date.parse(backup.started_at)
    const end = backup.ended_at ? Date.parse(backup.ended_at) : null
    const written = backup.state === 'verified' || backup.state === 'stored'
    const timeline: T.TimelineEntry[] = []
    const step = (event: T.TimelineEntry['event'], at: number, facts: T.Details = {}, took: number | null = null) =>
      timeline.push({ at: this.#iso(at), event, facts, duration_ms: took })
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
    const drills = this.drills.of(backup.id)
    const last = drills.find((d) => d.state === 'done' || d.state === 'failed')
    const rehearsed = last?.state === 'done' && last.level === 'counted' ? last : null
    for (const d of drills)
      if (d.ended_at && (d.state === 'done' || d.state === 'failed'))
        step(
          d.state === 'done' ? 'rehearsed' : 'not_rehearsed',
          Date.parse(d.ended_at),
          { level: d.level, rows: d.rows, code: d.error?.code ?? null },
          d.restore_ms,
        )
    const file = backup.copies[0]?.key.split('/').pop() ?? ''
    const plan = this.data.plans.find((p) => p.plan.id === backup.plan_id)
    const next = plan ? this.#nextRun(plan) : null
    return {
      backup,
      adapter: s.adapter,
      timeline,
      protection: this.#protection(s),
      next_run_at: next === null ? null : this.#iso(next),
      places: new Set(
        backup.copies.map((c) => this.data.destinations.find((d) => d.destination.id === c.destination_id)?.site),
      ).size,
      proofs: {
        bytes_read: backup.state === 'verified',
        structure_read: backup.state === 'verified',
        restored: rehearsed !== null || last?.level === 'restored',
        rows_equal: rehearsed !== null,
        restored_at: rehearsed?.ended_at ?? null,
        restore_ms: rehearsed?.restore_ms ?? null,
      },
      drills,
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
                    this.#error('pg_dump_remarks', {
                      stderr: 'warning: circular foreign keys on this table: categories',
                    }),
                  ]
                : [],
            recipient: backup.encryption ? (this.data.keys[0]?.recipient ?? null) : null,
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

  #startRestore(plan: T.RestorePlan): T.Restore {
    const s = plan.backup ? this.#source(plan.backup.source_id) : null
    const step = (name: string): T.RestoreStep => ({ name, state: 'pending', started_at: null, ended_at: null })
    let restore: T.Restore = {
      id: this.#id(6),
      backup_id: plan.backup?.id ?? null,
      file: plan.file,
      target: plan.target,
      source_id: null,
      mode: plan.mode,
      state: 'running',
      safety_backup_id: null,
      started_at: this.#iso(),
      ended_at: null,
      steps: ['verify', 'prepare', 'load', 'compare', 'settle'].map(step),
      counts: [],
      kept_until: null,
      kept_bytes: null,
      remarks: [],
      error: null,
    }
    this.#restores.unshift(restore)
    const put = (more: Partial<T.Restore>) => {
      restore = { ...restore, ...more }
      const i = this.#restores.findIndex((r) => r.id === restore.id)
      if (i >= 0) this.#restores[i] = restore
      this.invalidate({ noun: 'restores', id: restore.id })
    }
    const bytes = plan.backup?.raw_bytes ?? 12e6
    this.works.start({
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
            started_at: i <= index ? (x.started_at ?? this.#iso()) : null,
            ended_at: i < index ? (x.ended_at ?? this.#iso()) : null,
          })),
        }),
      end: (how) => {
        if (how === 'done') {
          put({
            state: 'done',
            ended_at: this.#iso(),
            steps: restore.steps.map((x) => ({ ...x, state: 'done', ended_at: x.ended_at ?? this.#iso() })),
            counts: plan.counts.map((c) => ({ ...c, after: c.backup })),
            remarks:
              s?.adapter === 'postgres'
                ? [
                    this.#error('pg_restored_without_owners', {
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
            ended_at: this.#iso(),
            error: this.#error('cancelled'),
            steps: restore.steps.map((x) =>
              x.state === 'running' ? { ...x, state: 'failed', ended_at: this.#iso() } : x,
            ),
          })
        }
        this.#log('restore.run', 'restore', restore.id, plan.name, restore.error)
        this.invalidate('running', 'restores', 'overview')
      },
    } satisfies Omit<Work, 'at' | 'tick'>)
    this.invalidate('running', 'restores')
    return restore
  }

  #overview(): T.Overview {
    const rows = this.#worst(this.data.sources.map((s) => this.#sourceRow(s)))
    const byDay = new Map<string, T.Calendar>()
    const sizes: T.SizePoint[] = []
    const since = this.now() - 365 * DAY
    let total = this.data.backups.length > 10 ? 83e9 : 0
    const month = this.now() - 30 * DAY
    let failures = 0
    for (let i = this.data.backups.length - 1; i >= 0; i--) {
      const b = this.data.backups[i] as T.Backup
      const at = new Date(b.started_at)
      const kept = b.copies.reduce((sum, c) => sum + c.stored_bytes, 0)
      // Hourly copies leave after some days; what stays grows slowly.
      total += b.type === 'hourly' ? kept * 0.004 : kept * 0.11
      if (at.getTime() < since) continue
      if (b.state === 'failed' && at.getTime() > month) failures++
      const key = `${at.getFullYear()}-${String(at.getMonth() + 1).padStart(2, '0')}-${String(at.getDate()).padStart(2, '0')}`
      let cell = byDay.get(key)
      if (!cell) {
        cell = { day: key, verified: 0, stored: 0, failed: 0, missed: 0, other: 0 }
        byDay.set(key, cell)
        sizes.push({ day: key, stored_bytes: Math.round(total) })
      }
      if (b.state === 'verified') cell.verified++
      else if (b.state === 'stored') cell.stored++
      else if (b.state === 'failed' || b.state === 'interrupted') cell.failed++
      else if (b.state === 'missed') cell.missed++
      else cell.other++
    }
    const last = this.data.backups.find((b) => b.state !== 'running')
    const kept = this.data.backups.filter((b) => b.copies.length > 0)
    const next: T.NextRun[] = []
    for (const p of this.data.plans) {
      const at = this.#nextRun(p)
      if (at === null) continue
      const row = this.#planRow(p)
      const overdue = p.plan.name === 'daily' && p.plan.source === 'wiki'
      next.push({
        plan_id: p.plan.id,
        plan: p.plan.name,
        source: p.plan.source,
        at: this.#iso(overdue ? at - DAY : at),
        overdue,
        remark: row.last_error?.text === 'tool_too_old' || overdue ? row.last_error : null,
      })
    }
    next.sort((a, b) => Number(a.overdue) - Number(b.overdue) || (a.at < b.at ? -1 : 1))
    return {
      sources: rows,
      protected: rows.filter((r) => r.protection.state === 'protected').length,
      figures: {
        stored_bytes: sizes.at(-1)?.stored_bytes ?? 0,
        capacity_bytes: this.data.destinations.length ? 480e9 : null,
        places: new Set(this.data.destinations.map((d) => d.site)).size,
        verified: kept.filter((b) => b.state === 'verified').length,
        kept: kept.length,
        failures,
        failures_open: rows.filter((r) => r.protection.error).length,
        last: last
          ? { id: last.id, source: last.source, state: last.state, at: last.ended_at ?? last.started_at }
          : null,
      },
      calendar: [...byDay.values()],
      sizes,
      running: this.works.list.map((w) => w.running),
      lanes: 2,
      next,
      schedules_paused: this.#paused,
    }
  }

  #health(): T.Health {
    const day = this.data.backups.filter((b) => Date.parse(b.started_at) > this.now() - DAY)
    return {
      checked_at: this.#iso(this.now() - 2 * 60_000),
      sources: this.data.sources.map((s) => {
        const protection = this.#protection(s)
        const silent = s.source.name === 'wiki'
        return {
          source_id: s.source.id,
          source: s.source.name,
          adapter: s.adapter,
          label: s.label,
          state: silent ? 'silent' : 'answers',
          checked_at: this.#iso(this.now() - 2 * 60_000),
          server_version: s.version,
          latency_ms: silent ? null : s.adapter === 'sqlite' ? 0.4 : 3,
          bytes: s.bytes,
          tables: s.tables.length,
          tls: s.adapter === 'sqlite' ? null : true,
          tool: s.tool,
          error: silent ? this.#error('unreachable', { place: '10.0.0.12:3306' }) : null,
          remarks: s.source.name === 'crm' && protection.error ? [protection.error] : [],
          protection,
        }
      }),
      disks: this.data.destinations
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
        quick_check_at: this.#iso(this.now() - 40 * 60_000),
        damaged: false,
        error: null,
        fragmentation: 0.02,
      },
      secrets: this.#store(),
      stale_after_ms: 48 * HOUR,
      day: {
        verified: day.filter((b) => b.state === 'verified').length,
        failed: day.filter((b) => b.state === 'failed').length,
        missed: day.filter((b) => b.state === 'missed').length,
      },
      leftovers: [],
      notices: null,
    }
  }
}

/** The in-memory backend behind the same interface as the real one, with delays and failures as asked for. */
export function memoryBackend(options: MemoryOptions = {}): { backend: Backend; memory: MemoryBackend } {
  const memory = new MemoryBackend(options)
  const language = options.language ?? 'en'
  const backend = new Proxy(memory.commands, {
    get: (commands, name: keyof Backend) => {
      const command = commands[name]
      if (name === 'subscribe' || typeof command !== 'function') return command
      return async (args: never) => {
        if (options.delay) await new Promise((done) => setTimeout(done, options.delay))
        if (options.hang?.includes(name)) return new Promise(() => {})
        // As in the real one: without a catalogue there is nothing to answer from.
        if (memory.damaged && !['about', 'setCatalogueAside', 'openLogFolder', 'quit'].includes(name))
          throw errorOf('catalogue_corrupt', DAMAGE, language)
        const failing = options.fail?.[name]
        if (failing) throw errorOf(failing, { cause: 'test' }, language)
        // As over a wire: nobody holds on to what lies inside.
        return structuredClone(await (command as (args: never) => Promise<unknown>)(args))
      }
    },
  })
  return { backend, memory }
}

export { noRetention }
