/**
 * What every subject of the in-memory backend stands on: the data, the clock, the ids, the errors, the journal and what is pushed. The
 * commands lie beside it, by subject, as functions of a `Core`.
 */
import type { Backend } from '../backend'
import type * as T from '../generated'
import { type Data, type DestinationData, idOf, makeData, type PlanData, random, type SourceData } from './data'
import { type ErrorText, errorOf } from './errors'
import { journalOf } from './journal'
import { Replaces } from './replaces'
import { Works } from './work'

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
  /** The catalogue cannot be read. */
  damaged?: boolean
}

export class Core {
  readonly data: Data
  readonly works: Works
  readonly options: MemoryOptions
  readonly replaces: Replaces
  readonly restores: T.Restore[] = []
  readonly restorePlans = new Map<string, T.RestorePlan>()
  readonly settings = new Map<string, string>()
  readonly handlers = new Set<(event: T.BackendEvent) => void>()
  readonly random = random(99)
  journal: T.Entry[]
  /** Why nothing leaves by the rules of a plan. */
  readonly holds = new Map<string, T.CoffreError>()
  /** Whether all schedules are paused. */
  paused = false
  damaged: boolean
  /** Every command, for those that are made of others. */
  commands!: Backend
  #now: number
  #started = Date.now()
  #serial = 9_000_000

  constructor(options: MemoryOptions = {}) {
    this.options = options
    this.damaged = options.damaged ?? false
    this.#now = options.now ?? Date.now()
    const language = options.language ?? 'en'
    this.data = options.empty
      ? { sources: [], destinations: [], plans: [], backups: [], keys: [] }
      : makeData(this.#now, options.backups ?? 1284, language)
    for (const [key, value] of Object.entries(options.settings ?? {})) this.settings.set(key, value)
    if (options.language) this.settings.set('language', options.language)
    this.journal = options.empty ? [] : journalOf(this.data, this.#now)
    this.works = new Works((event) => this.push(event), options.live ?? false)
    this.replaces = new Replaces({
      data: this.data,
      works: this.works,
      now: () => this.now(),
      id: (group) => this.id(group),
      error: (text, details) => this.error(text, details),
      log: (action, kind, id, subject, error) => this.log(action, kind, id, subject, error),
      invalidate: (...nouns) => this.invalidate(...nouns),
      random: this.random,
      undoDays: () => Number(this.settings.get('undo_keep_days') ?? 7),
      refusal: () => options.refuse?.shift() ?? null,
      restores: this.restores,
    })
  }

  store(): T.SecretStore {
    const state = this.options.secrets ?? 'ready'
    return { kind: 'keychain', name: 'Secret Service', state, error: null }
  }
  get language(): 'en' | 'fr' {
    return this.settings.get('language') === 'fr' ? 'fr' : 'en'
  }
  now(): number {
    return this.options.now === undefined
      ? Date.now()
      : this.#now + (this.options.live ? Date.now() - this.#started : 0)
  }
  iso(at = this.now()): string {
    return new Date(at).toISOString()
  }
  id(group: number): string {
    return idOf(group, ++this.#serial)
  }
  error(text: ErrorText, details: T.Details = {}): T.CoffreError {
    return errorOf(text, details, this.language)
  }
  has(feature: T.Feature): boolean {
    return (this.options.features ?? ['schedule', 'retention', 'replace', 'rebuild']).includes(feature)
  }
  push(event: T.BackendEvent): void {
    for (const handler of [...this.handlers]) handler(event)
  }
  /** Says what changed; for tests also from outside. */
  invalidate(...nouns: (T.Noun | T.Tag)[]): void {
    this.push({ type: 'invalidated', tags: nouns.map((n) => (typeof n === 'string' ? { noun: n } : n)) })
  }
  log(action: string, kind: string, id: string | null, subject: string, error: T.CoffreError | null = null): void {
    this.journal.unshift({
      id: this.journal.length + 1,
      at: this.iso(),
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

  source(id: string | null): SourceData {
    const found = this.data.sources.find((s) => s.source.id === id)
    if (!found) throw this.error('not_found')
    return found
  }
  destination(id: string): DestinationData {
    const found = this.data.destinations.find((d) => d.destination.id === id)
    if (!found) throw this.error('not_found')
    return found
  }
  plan(id: string): PlanData {
    const found = this.data.plans.find((p) => p.plan.id === id)
    if (!found) throw this.error('not_found')
    return found
  }
  backup(id: string): T.Backup {
    const found = this.data.backups.find((b) => b.id === id)
    if (!found) throw this.error('not_found')
    return found
  }
}
