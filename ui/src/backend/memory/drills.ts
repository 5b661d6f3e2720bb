/** Rehearsed restores and looking inside a backup, in memory. */
import type * as T from '../generated'
import type { SourceData } from './data'
import type { Host } from './replaces'

/** What a rehearsal ends like. */
export type DrillEnd = 'counted' | 'structure' | 'differs'

export class Drills {
  /** Newest first, by backup. */
  #drills = new Map<string, T.Drill[]>()
  #open: { id: string; source: SourceData } | null = null
  /** Tables that were brought back, by source and name. */
  #taken = new Set<string>()
  readonly #host: Host
  /** What the next rehearsals end like; counted otherwise. */
  readonly #ends: () => DrillEnd

  constructor(host: Host, ends: () => DrillEnd) {
    this.#host = host
    this.#ends = ends
    const { data } = host
    for (const s of data.sources) {
      const first = data.backups.find((b) => b.source_id === s.source.id && b.state === 'verified' && b.plan)
      if (first && s.restoreMs !== null) this.#put(this.#drill(first, s, 'counted', host.now() - 9 * 3_600_000))
    }
  }

  #put(drill: T.Drill): void {
    const others = (this.#drills.get(drill.backup_id) ?? []).filter((d) => d.id !== drill.id)
    this.#drills.set(drill.backup_id, [drill, ...others])
  }

  #drill(backup: T.Backup, s: SourceData, end: DrillEnd, at: number): T.Drill {
    const [first, second] = s.tables
    const differs = (t: T.TableCount | undefined) =>
      this.#host.error('restored_rows_differ', {
        table: t?.table ?? '',
        expected_rows: t?.rows ?? 0,
        found_rows: (t?.rows ?? 0) - 1,
      })
    return {
      id: this.#host.id(8),
      backup_id: backup.id,
      source_id: backup.source_id,
      state: end === 'differs' ? 'failed' : 'done',
      level: end === 'counted' ? 'counted' : end === 'differs' ? 'restored' : 'structure',
      started_at: new Date(at - (s.restoreMs ?? 4200)).toISOString(),
      ended_at: new Date(at).toISOString(),
      restore_ms: end === 'counted' ? (s.restoreMs ?? 4200) : null,
      server_version: end === 'structure' ? null : s.version,
      tables: end === 'counted' ? s.tables.length : null,
      rows: end === 'counted' ? s.tables.reduce((sum, t) => sum + t.rows, 0) : null,
      remarks:
        end === 'structure'
          ? [
              this.#host.error('pg_server_missing', {
                needed: s.version.split('.')[0] ?? '',
                looked: '/usr/lib/postgresql',
              }),
            ]
          : end === 'differs'
            ? [differs(second)]
            : [],
      error: end === 'differs' ? differs(first) : null,
    }
  }

  of(backup: string): T.Drill[] {
    return this.#drills.get(backup) ?? []
  }
  last(backup: string): T.LastDrill | null {
    const found = this.of(backup).find((d) => d.state === 'done' || d.state === 'failed')
    return found ? short(found) : null
  }
  lastOfSource(source: string): T.LastDrill | null {
    const all = [...this.#drills.values()].flat().filter((d) => d.source_id === source && d.ended_at)
    const last = all.toSorted((a, b) => ((a.ended_at ?? '') < (b.ended_at ?? '') ? 1 : -1))
    const found = last.find((d) => d.state === 'done' || d.state === 'failed')
    return found ? short(found) : null
  }

  #source(backup: T.Backup): SourceData {
    const s = this.#host.data.sources.find((x) => x.source.id === backup.source_id)
    if (!s) throw this.#host.error('not_found')
    return s
  }

  #work(backup: T.Backup, noun: T.RunningNoun, end: (how: 'done' | 'failed' | 'cancelled') => void): void {
    const s = this.#source(backup)
    const { works } = this.#host
    if (works.list.some((w) => w.running.id === backup.id)) throw this.#host.error('busy', { source: backup.source })
    works.start({
      running: {
        id: backup.id,
        noun,
        source: backup.source,
        source_id: backup.source_id,
        adapter: s.adapter,
        plan: backup.plan,
        started_at: new Date(this.#host.now()).toISOString(),
        progress: { id: backup.id, step: 'verifying', done: 0, total: null, estimated: false },
        elsewhere: false,
        cancelling: false,
        cancellable: true,
      },
      steps: [
        { step: 'verifying', bytes: backup.stored_bytes ?? 0, ticks: 8 },
        { step: 'loading', bytes: backup.stored_bytes ?? 0, ticks: 16 },
        { step: 'comparing', bytes: 0, ticks: 4 },
      ],
      share: 0,
      failing: null,
      end: (how) => {
        end(how)
        this.#host.invalidate('running', 'backups', 'overview', 'sources', 'journal')
      },
    })
    this.#host.invalidate('running', { noun: 'backups', id: backup.id })
  }

  start(backup: T.Backup): void {
    const s = this.#source(backup)
    this.#work(backup, 'drill', (how) => {
      const drill = this.#drill(backup, s, this.#ends(), this.#host.now())
      if (how === 'done') this.#put(drill)
      else this.#put({ ...drill, state: 'cancelled', level: null, restore_ms: null, tables: null, rows: null })
      this.#host.log('drill.run', 'drill', drill.id, backup.code, how === 'done' ? drill.error : null)
    })
  }

  open(backup: T.Backup): Promise<T.OpenedBackup> {
    const s = this.#source(backup)
    return new Promise((resolve, reject) =>
      this.#work(backup, 'open', (how) => {
        if (how !== 'done') {
          reject(this.#host.error('cancelled'))
          return
        }
        this.#open = { id: this.#host.id(9), source: s }
        this.#host.log('backup.open', 'backup', backup.id, backup.code)
        const sources = this.#host.data.sources.filter((x) => x.adapter === s.adapter)
        resolve({
          id: this.#open.id,
          backup,
          tables: s.tables
            .toSorted((a, b) => (a.table < b.table ? -1 : 1))
            .map((t) => ({ ...t, new_name: named(t.table) })),
          server_version: s.version,
          remarks: [],
          sources: sources
            .toSorted((a, b) => Number(a !== s) - Number(b !== s))
            .map((x) => ({ id: x.source.id, name: x.source.name, place: x.source.address.replace(/^\w+:\/\//, '') })),
        })
      }),
    )
  }

  #opened(id: string): SourceData {
    if (this.#open?.id !== id) throw this.#host.error('inside_closed')
    return this.#open.source
  }
  #table(id: string, table: string): T.TableCount {
    const found = this.#opened(id).tables.find((t) => t.table === table)
    if (!found) throw this.#host.error('not_found')
    return found
  }

  rows({ id, table, search, page, per_page }: T.ReadRows): T.RowPage {
    const { rows: count } = this.#table(id, table)
    const columns = ['id', 'name', 'note', 'created_at', 'payload']
    const needle = search?.toLowerCase() ?? ''
    const all = Array.from({ length: Math.min(count, 2000) }, (_, i) => rowOf(i, table))
    const found = needle ? all.filter((row) => row.some((v) => v?.toLowerCase().includes(needle))) : all
    const rows = found.slice((page - 1) * per_page, page * per_page)
    return { columns, rows, total: needle ? found.length : count, page, per_page }
  }
  exported(id: string, table: string, format: T.ExportFormat, path: string | null): T.Exported | null {
    const { rows } = this.#table(id, table)
    return path ? { table, format, path, rows } : null
  }
  bringBack({ id, table, source_id, name }: T.RestoreTable): T.TableRestored {
    const { rows } = this.#table(id, table)
    const target = this.#host.data.sources.find((s) => s.source.id === source_id)?.source
    if (!target) throw this.#host.error('not_found')
    const key = `${source_id} ${name}`
    if (this.#taken.has(key)) throw this.#host.error('inside_name_taken', { name, target: target.address })
    this.#taken.add(key)
    this.#host.log('restore.table', 'backup', null, table)
    return { table, name, target: target.address, rows }
  }
  close(id: string): void {
    if (this.#open?.id === id) this.#open = null
  }
  get isOpen(): boolean {
    return this.#open !== null
  }
  get openId(): string | null {
    return this.#open?.id ?? null
  }
}

function short(d: T.Drill): T.LastDrill {
  return { id: d.id, state: d.state, level: d.level, at: d.ended_at ?? d.started_at, restore_ms: d.restore_ms }
}

/** What a table is called that is brought back. */
function named(table: string): string {
  return `${table.split('.').pop()}_restored_20261120`
}

/** A row with everything that can look wrong: nothing, emptiness, markup, bytes, lines, a very long text. */
function rowOf(i: number, table: string): (string | null)[] {
  const notes = [
    null,
    '',
    '<b>bold</b> & <img src=x onerror=alert(1)>',
    'two\nlines',
    `${'long '.repeat(200)}…`,
    '\u202eright to left',
  ]
  return [
    String(i + 1),
    `${table} ${i + 1}`,
    notes[i % notes.length] ?? null,
    '2026-11-20 08:15:00+00',
    i % 3 ? '\\x00ff10' : null,
  ]
}
