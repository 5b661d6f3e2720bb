/** Where a look into a backup stands: opened once, then asked for pages of rows, and closed whatever happens. */
import {
  asCoffreError,
  type BackupDetail,
  backend,
  type CoffreError,
  type ExportFormat,
  type OpenedBackup,
  type RowPage,
  runningWork,
  type TableRestored,
  type Work,
} from '../../backend'

export const PER_PAGE = 50
/** A person who types is not asked for after every letter. */
const PAUSE_MS = 250

const isSame = (one: RowPage['rows'][number] | undefined, other: RowPage['rows'][number] | undefined): boolean =>
  one !== undefined && JSON.stringify(one) === JSON.stringify(other)

export class Look {
  readonly backup_id: string
  detail: BackupDetail | null = $state.raw(null)
  opened: OpenedBackup | null = $state.raw(null)
  opening = $state(false)
  /** Why it could not be opened, or is open no more. */
  error: CoffreError | null = $state.raw(null)

  table: string | null = $state(null)
  search = $state('')
  page = $state(1)
  rows: RowPage | null = $state.raw(null)
  /** What the rows on the screen answer. */
  shown: { table: string; search: string } | null = $state.raw(null)
  reading = $state(false)
  rowsError: CoffreError | null = $state.raw(null)
  /** The row that is looked at, by its place on the page. */
  row: number | null = $state(null)

  /** The form that brings a table back is open. */
  bringing = $state(false)
  into = $state('')
  name = $state('')
  busy = $state(false)
  doError: CoffreError | null = $state.raw(null)
  restored: (TableRestored & { source: string }) | null = $state.raw(null)

  #ended = false
  #round = 0
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(backup_id: string) {
    this.backup_id = backup_id
  }

  /** What is known without opening it, and then the opening. */
  begin = async (): Promise<void> => {
    if (this.opening) return
    this.error = null
    this.opened = null
    this.rows = null
    this.opening = true
    try {
      this.detail = await backend().showBackup({ id: this.backup_id })
      if (this.#ended) return
      const opened = await backend().openBackup({ id: this.backup_id })
      if (this.#ended) {
        // It was closed in the very moment in which it opened.
        await backend().closeOpened({ id: opened.id })
        return
      }
      this.opened = opened
      this.into = opened.sources[0]?.id ?? ''
      const first =
        opened.tables.find((t) => t.table === this.table) ?? opened.tables.find((t) => t.rows > 0) ?? opened.tables[0]
      if (first) this.choose(first.table)
    } catch (thrown) {
      if (!this.#ended) this.error = asCoffreError(thrown)
    } finally {
      this.opening = false
    }
  }

  /** The loading, as it goes on. */
  get work(): Work | undefined {
    const work = runningWork.get(this.backup_id)
    return this.opening && work?.noun === 'open' ? work : undefined
  }
  cancel = async (): Promise<void> => {
    // Where it has just ended, there is nothing to stop.
    await backend()
      .cancelRun({ id: this.backup_id })
      .catch(() => null)
  }

  /** The sheet was closed: nothing is left. */
  end(): void {
    this.#ended = true
    clearTimeout(this.#timer)
    if (this.opening) void this.cancel()
    // A backend that cannot close it now does so when it ends, or when it was left alone for long.
    if (this.opened)
      void backend()
        .closeOpened({ id: this.opened.id })
        .catch(() => null)
  }

  choose(table: string): void {
    this.table = table
    this.search = ''
    this.page = 1
    this.row = null
    this.rows = null
    this.restored = null
    this.bringing = false
    this.name = this.opened?.tables.find((t) => t.table === table)?.new_name ?? ''
    void this.read()
  }
  find(text: string): void {
    this.search = text
    this.page = 1
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => void this.read(), PAUSE_MS)
  }
  go(page: number): void {
    this.page = page
    this.row = null
    void this.read()
  }

  async read(): Promise<void> {
    if (!this.opened || !this.table) return
    const round = ++this.#round
    const asked = { table: this.table, search: this.search.trim() }
    this.reading = true
    this.rowsError = null
    try {
      const rows = await backend().readRows({
        id: this.opened.id,
        table: asked.table,
        search: asked.search || null,
        page: this.page,
        per_page: PER_PAGE,
      })
      if (round !== this.#round || this.#ended) return
      // Who typed on may be reading one of the rows meanwhile: it stays, if it is where it was.
      if (this.row !== null && !isSame(this.rows?.rows[this.row], rows.rows[this.row])) this.row = null
      this.rows = rows
      this.shown = asked
    } catch (thrown) {
      if (round === this.#round && !this.#ended)
        this.#failed(asCoffreError(thrown), (error) => (this.rowsError = error))
    } finally {
      if (round === this.#round) this.reading = false
    }
  }

  /** One that was closed meanwhile is said as a whole: nothing in the sheet works any more. */
  #failed(error: CoffreError, otherwise: (error: CoffreError) => void): void {
    if (error.text === 'inside_closed') {
      this.opened = null
      this.rows = null
      this.error = error
    } else otherwise(error)
  }

  get held(): boolean {
    return this.row !== null || this.bringing
  }
  letGo(): void {
    if (this.bringing) this.bringing = false
    else this.row = null
  }

  async export(format: ExportFormat): Promise<{ rows: number; path: string } | null> {
    if (!this.opened || !this.table) return null
    const { id } = this.opened
    const table = this.table
    return (await this.#do(() => backend().exportTable({ id, table, format }))) ?? null
  }

  async bringBack(): Promise<void> {
    if (!this.opened || !this.table) return
    const { id, sources } = this.opened
    const table = this.table
    const source = sources.find((s) => s.id === this.into)
    if (!source) return
    this.restored = null
    const restored = await this.#do(() =>
      backend().restoreTable({ id, table, source_id: source.id, name: this.name.trim() }),
    )
    if (!restored) return
    this.restored = { ...restored, source: source.name }
    this.bringing = false
  }

  async #do<T>(act: () => Promise<T>): Promise<T | undefined> {
    this.busy = true
    this.doError = null
    try {
      return await act()
    } catch (thrown) {
      if (!this.#ended) this.#failed(asCoffreError(thrown), (error) => (this.doError = error))
      return undefined
    } finally {
      this.busy = false
    }
  }
}
