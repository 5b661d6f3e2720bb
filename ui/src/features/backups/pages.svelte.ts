/**
 * A list of any length, read page by page as it is looked at. Knows where each row stands although most rows were never read: a
 * row that was not read yet counts with the usual height, and reading it moves nothing that is in view.
 */
import {
  asCoffreError,
  type Backup,
  type BackupPage,
  type BackupQuery,
  type BackupStats,
  backend,
  type CoffreError,
  type Drilled,
  hear,
} from '../../backend'

export const PER_PAGE = 50
export const ROW = 36
/** A failed row carries its reason on a second line. */
export const ROW_WITH_REASON = 60

export function rowHeight(backup: Backup | undefined): number {
  return backup && hasReason(backup) ? ROW_WITH_REASON : ROW
}
export function hasReason(backup: Backup): boolean {
  return backup.error !== null && (backup.state === 'failed' || backup.state === 'interrupted')
}

export interface Row {
  index: number
  top: number
  height: number
  backup: Drilled | undefined
}

export type Filters = Omit<BackupQuery, 'page' | 'per_page'>

/** Where a jump ends is known after so long without another one. */
const REST_MS = 60
/** Pages kept in memory; the farthest from the view are forgotten first. */
const KEPT = 40

export class Pages {
  total: number | undefined = $state()
  stats: BackupStats | undefined = $state.raw()
  error: CoffreError | null = $state.raw(null)
  slow = $state(false)
  /** Grows with every answer, so that what depends on the pages is worked out again. */
  version = $state(0)
  #filters: Filters
  #pages = new Map<number, Drilled[]>()
  #asked = new Set<number>()
  #round = 0
  #tops: number[] = [0]
  /** Called with the height that was added above `index`, to keep the view still. */
  onshift: ((firstIndexBelow: number, delta: number) => void) | null = null

  constructor(filters: Filters) {
    this.#filters = filters
  }

  /** Begins again with other filters. What is shown stays until the first answer. */
  filter(filters: Filters): void {
    this.#filters = filters
    void this.#restart()
  }

  /** Listens until the answer is called. */
  follow(): () => void {
    void this.#restart()
    return hear((event) => {
      const stale =
        event.type === 'lagged' || (event.type === 'invalidated' && event.tags.some((tag) => tag.noun === 'backups'))
      if (stale) void this.#refresh()
    })
  }

  retry = () => this.#restart()

  async #restart(): Promise<void> {
    const round = ++this.#round
    this.#asked.clear()
    const timer = setTimeout(() => {
      if (round === this.#round && this.total === undefined) this.slow = true
    }, 150)
    try {
      const page = await this.#ask(1)
      if (round !== this.#round) return
      this.#pages.clear()
      this.#take(page)
    } catch (thrown) {
      if (round === this.#round) this.error = asCoffreError(thrown)
    } finally {
      clearTimeout(timer)
      if (round === this.#round) this.slow = false
    }
  }

  /** Reads again what is known, page by page, without letting go of it. */
  async #refresh(): Promise<void> {
    const round = ++this.#round
    this.#asked.clear()
    const known = [...this.#pages.keys()]
    const near = known.filter((n) => Math.abs(n - this.#around) <= 2)
    for (const n of known) if (!near.includes(n)) this.#pages.delete(n)
    try {
      const pages = await Promise.all((near.length ? near : [1]).map((n) => this.#ask(n)))
      if (round !== this.#round) return
      for (const page of pages) this.#take(page)
    } catch (thrown) {
      if (round === this.#round) this.error = asCoffreError(thrown)
    }
  }

  #around = 1

  #ask(page: number): Promise<BackupPage> {
    return backend().listBackups({ query: { ...this.#filters, page, per_page: PER_PAGE } })
  }

  #take(page: BackupPage): void {
    const before = this.#pages.has(page.page) ? this.#height(page.page) : this.#guess(page.page)
    this.error = null
    this.total = page.total
    this.stats = page.stats
    this.#pages.set(page.page, page.backups)
    if (this.#pages.size > KEPT) this.#forget()
    this.#measure()
    const delta = this.#height(page.page) - before
    if (delta !== 0) this.onshift?.(page.page * PER_PAGE, delta)
    this.version++
  }

  #forget(): void {
    let farthest = 0
    for (const n of this.#pages.keys())
      if (Math.abs(n - this.#around) > Math.abs(farthest - this.#around) || !farthest) farthest = n
    // Its height stays as it was measured, so that nothing moves.
    this.#remembered.set(farthest, this.#height(farthest))
    this.#pages.delete(farthest)
    this.#asked.delete(farthest)
  }
  #remembered = new Map<number, number>()

  #guess(page: number): number {
    const total = this.total ?? 0
    return this.#remembered.get(page) ?? Math.max(0, Math.min(PER_PAGE, total - (page - 1) * PER_PAGE)) * ROW
  }
  #height(page: number): number {
    const rows = this.#pages.get(page)
    return rows ? rows.reduce((sum, b) => sum + rowHeight(b), 0) : this.#guess(page)
  }
  #measure(): void {
    const count = Math.ceil((this.total ?? 0) / PER_PAGE)
    const tops = new Array<number>(count + 1)
    tops[0] = 0
    for (let n = 1; n <= count; n++) tops[n] = (tops[n - 1] ?? 0) + this.#height(n)
    this.#tops = tops
  }

  /** Height of the whole list. */
  get height(): number {
    void this.version
    return this.#tops.at(-1) ?? 0
  }

  at(index: number): Drilled | undefined {
    void this.version
    return this.#pages.get(Math.floor(index / PER_PAGE) + 1)?.[index % PER_PAGE]
  }

  /** Where a known backup stands. */
  indexOf(id: string): number {
    void this.version
    for (const [n, rows] of this.#pages) {
      const i = rows.findIndex((b) => b.id === id)
      if (i >= 0) return (n - 1) * PER_PAGE + i
    }
    return -1
  }

  top(index: number): number {
    const page = Math.floor(index / PER_PAGE) + 1
    const rows = this.#pages.get(page)
    let top = this.#tops[page - 1] ?? 0
    for (let i = 0; i < index % PER_PAGE; i++) top += rowHeight(rows?.[i])
    return top
  }

  /** The rows between two heights, and asks for the pages that they are on. */
  between(from: number, to: number): Row[] {
    void this.version
    const total = this.total ?? 0
    const rows: Row[] = []
    // The page where `from` lies: by halving, since pages differ in height.
    let low = 0
    let high = Math.max(0, this.#tops.length - 2)
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if ((this.#tops[middle] ?? 0) <= from) low = middle
      else high = middle - 1
    }
    let index = low * PER_PAGE
    let top = this.#tops[low] ?? 0
    while (index < total && top < to) {
      const backup = this.#pages.get(Math.floor(index / PER_PAGE) + 1)?.[index % PER_PAGE]
      const height = rowHeight(backup)
      if (top + height > from) rows.push({ index, top, height, backup })
      top += height
      index++
    }
    return rows
  }

  /**
   * Makes sure that the pages of these rows are read, and the ones beside them. Where the bar is dragged over hundreds of pages, only
   * those where it rests are read: the others would be answered one after the other, long after anybody could see them.
   */
  want(first: number, last: number): void {
    const count = Math.ceil((this.total ?? 0) / PER_PAGE)
    const from = Math.max(1, Math.floor((first - 15) / PER_PAGE) + 1)
    const to = Math.min(count, Math.floor((last + 15) / PER_PAGE) + 1)
    const around = Math.floor((from + to) / 2)
    const far = Math.abs(around - this.#around) > 2
    this.#around = around
    const read = () => {
      for (let n = from; n <= to; n++) if (!this.#pages.has(n) && !this.#asked.has(n)) void this.#fetch(n)
    }
    clearTimeout(this.#resting)
    // A single jump is read at once.
    const dragged = far && performance.now() - this.#jumped < REST_MS
    if (far) this.#jumped = performance.now()
    if (dragged) this.#resting = setTimeout(read, REST_MS)
    else read()
  }
  #jumped = Number.NEGATIVE_INFINITY
  #resting: ReturnType<typeof setTimeout> | undefined

  async #fetch(n: number): Promise<void> {
    const round = this.#round
    this.#asked.add(n)
    try {
      const page = await this.#ask(n)
      if (round === this.#round) this.#take(page)
    } catch (thrown) {
      if (round === this.#round) this.error = asCoffreError(thrown)
    } finally {
      this.#asked.delete(n)
    }
  }
}
