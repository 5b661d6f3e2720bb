/** A form over an adapter's fields: values, what was touched, messages while typing, the secret apart. */

type Value = string | number | boolean | string[] | null
export interface DraftData {
  name: string
  adapter: string
  values: Record<string, Value>
}
interface Sayable {
  text: string
  message: string
  hint: string
  details?: Record<string, unknown>
}
export type SecretChange = { change: 'keep' } | { change: 'set'; value: string } | { change: 'forget' }

/** So long after the last key the backend is asked what it thinks. */
const PAUSE_MS = 200

export class DraftForm {
  draft: DraftData = $state({ name: '', adapter: '', values: {} })
  errors: Record<string, Sayable> = $state.raw({})
  touched: Record<string, boolean> = $state({})
  secret = $state('')
  // Reactive, because `dirty` is asked before the form begins.
  #start = $state('')
  #check: (draft: DraftData) => Promise<Record<string, Sayable>>
  #timer: ReturnType<typeof setTimeout> | undefined
  #round = 0

  constructor(check: (draft: DraftData) => Promise<Record<string, Sayable>>) {
    this.#check = check
  }

  begin(draft: DraftData): void {
    this.draft = draft
    this.#start = JSON.stringify(draft)
    this.touched = {}
    this.secret = ''
    this.#later(0)
  }

  get dirty(): boolean {
    return this.#start !== '' && (JSON.stringify(this.draft) !== this.#start || this.secret !== '')
  }
  get valid(): boolean {
    return Object.keys(this.errors).length === 0
  }
  get secretChange(): SecretChange {
    return this.secret === '' ? { change: 'keep' } : { change: 'set', value: this.secret }
  }
  /** A copy without reactivity, to be sent. */
  get plain(): DraftData {
    return $state.snapshot(this.draft) as DraftData
  }

  name = (name: string) => {
    this.draft.name = name
    this.#later()
  }
  value = (name: string, value: Value) => {
    this.draft.values[name] = value
    this.#later()
  }
  touch = (name: string) => {
    this.touched[name] = true
  }
  /** Shows every message: somebody tried to save. */
  touchAll(): void {
    for (const name of ['name', ...Object.keys(this.errors)]) this.touched[name] = true
  }
  adapter(adapter: string, values: Record<string, Value>): void {
    this.draft.adapter = adapter
    this.draft.values = values
    this.touched = {}
    this.#later(0)
  }

  #later(ms = PAUSE_MS): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => void this.check(), ms)
  }
  async check(): Promise<boolean> {
    clearTimeout(this.#timer)
    const round = ++this.#round
    try {
      const errors = await this.#check(this.plain)
      if (round === this.#round) this.errors = errors
    } catch {
      // The check is a courtesy while typing; saving makes it again and says what is wrong.
    }
    return this.valid
  }
}
