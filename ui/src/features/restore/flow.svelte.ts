/** Where a guided restore stands. It only ever goes on with what the backend planned and still holds to be true. */
import {
  asCoffreError,
  type BackupDetail,
  backend,
  type CoffreError,
  hear,
  type Restore,
  type RestoreDetail,
  type RestorePlan,
  type RestoreTargetOption,
  runningWork,
  type Work,
} from '../../backend'

export const COUNT_DOWN_S = 10
export type StepName = 'where' | 'preview' | 'confirm' | 'restore'
export const STEPS: StepName[] = ['where', 'preview', 'confirm', 'restore']
/** Said aloud at these; more would only be noise. */
const SPOKEN = [10, 5, 3, 2, 1]

export class Flow {
  step: StepName = $state('where')
  detail: BackupDetail | null = $state.raw(null)
  options: RestoreTargetOption[] | null = $state.raw(null)
  kind: RestoreTargetOption['kind'] | null = $state(null)
  value = $state('')
  secret = $state('')
  plan: RestorePlan | null = $state.raw(null)
  typed = $state('')
  /** Seconds left of the count-down, while it runs. */
  left: number | null = $state(null)
  spoken: number | null = $state(null)
  restore: Restore | null = $state.raw(null)
  /** The same with what can be done about it, once that is known. */
  outcome: RestoreDetail | null = $state.raw(null)
  busy = $state(false)
  error: CoffreError | null = $state.raw(null)
  #timer: ReturnType<typeof setInterval> | undefined
  #unhear: (() => void) | undefined
  #ended = false
  backup_id: string | null = $state(null)
  file: string | null = $state(null)
  readonly #restore_id: string | null

  constructor(wish: { backup_id: string | null; file: string | null; restore_id?: string | null }) {
    this.backup_id = wish.backup_id
    this.file = wish.file
    this.#restore_id = wish.restore_id ?? null
  }

  /** Finds out what is restored and where it could go. */
  begin = async (): Promise<void> => {
    await this.#attempt(async () => {
      if (this.#restore_id) {
        const { restore } = await backend().showRestore({ id: this.#restore_id })
        this.file = restore.file
        this.backup_id = restore.backup_id
        // Only for the title: the backup may have been deleted since.
        if (restore.backup_id)
          this.detail = await backend()
            .showBackup({ id: restore.backup_id })
            .catch(() => null)
        if (!this.#ended) await this.#follow(restore)
        return
      }
      await this.#look()
    })
  }

  async #look(): Promise<void> {
    const [options, detail] = await Promise.all([
      backend().restoreTargets({ backup_id: this.backup_id, file: this.file }),
      this.backup_id ? backend().showBackup({ id: this.backup_id }) : Promise.resolve(null),
    ])
    if (this.#ended) return
    this.options = options
    this.detail = detail
    const first = options.find((o) => !o.refusal)
    if (first) this.pick(first.kind)
  }

  /** After a restore that did not work: the same backup, to another place. */
  elsewhere = async (): Promise<void> => {
    this.#unhear?.()
    this.step = 'where'
    this.restore = this.outcome = null
    if (!this.options) await this.#attempt(() => this.#look())
  }

  /** The sheet was closed. Work that has begun goes on. */
  end(): void {
    this.#ended = true
    this.stopCounting()
    this.#unhear?.()
    // Nobody waits for this preview any more. Where it has just ended, there is nothing to stop.
    if (this.reading) void this.stopReading().catch(() => {})
  }

  /** The preview that is being made: it reads the whole backup. */
  get reading(): Work | undefined {
    if (!this.busy || this.step !== 'where') return undefined
    const source = this.detail?.backup.source_id ?? (this.kind === 'replace' ? this.value : null)
    const name = this.file?.split(/[\\/]/).pop()
    return runningWork.list.find(
      (work) =>
        work.noun === 'restore' && work.cancellable && (source ? work.source_id === source : work.source === name),
    )
  }
  async stopReading(): Promise<void> {
    const id = this.reading?.id
    if (id) await backend().cancelRun({ id })
  }

  get option(): RestoreTargetOption | undefined {
    return this.options?.find((o) => o.kind === this.kind)
  }

  pick(kind: RestoreTargetOption['kind']): void {
    this.kind = kind
    this.value = this.options?.find((o) => o.kind === kind)?.suggestion ?? ''
    this.error = null
  }

  preview = async (): Promise<void> => {
    await this.#attempt(async () => {
      if (!this.kind) return
      const plan = await this.#unlessStopped(
        backend().planRestore({
          request: {
            backup_id: this.backup_id,
            file: this.file,
            target: { kind: this.kind, value: this.value.trim(), secret: this.secret || null },
          },
        }),
      )
      if (this.#ended || !plan) return
      this.plan = plan
      this.typed = ''
      this.step = 'preview'
    })
  }

  /** A preview that was stopped on purpose is no error. */
  async #unlessStopped<T>(preview: Promise<T>): Promise<T | null> {
    try {
      return await preview
    } catch (thrown) {
      if (asCoffreError(thrown).code === 'CANCELLED') return null
      throw thrown
    }
  }

  /** The live data is not what the preview showed: nothing was done, and the person decides. */
  get changed(): 'rows' | 'target' | null {
    if (this.plan === null || this.restore?.state !== 'failed') return null
    const text = this.restore.error?.text
    return text === 'replace_rows_changed' ? 'rows' : text === 'replace_target_changed' ? 'target' : null
  }
  /** The preview once more, of what is there now. */
  lookAgain = async (): Promise<void> => {
    this.#unhear?.()
    this.restore = this.outcome = null
    this.step = 'where'
    await this.preview()
  }
  /** The application keeps writing, and that was to be expected: with the same word, unless more than rows has changed. */
  goOn = async (): Promise<void> => {
    this.#unhear?.()
    await this.#start(true)
  }

  get matches(): boolean {
    return this.plan !== null && this.typed === this.plan.name
  }

  /** The second half of the confirmation. It can be stopped until its last second. */
  count(): void {
    if (!this.matches || this.left !== null || this.busy) return
    this.error = null
    this.#tick(COUNT_DOWN_S)
    this.#timer = setInterval(() => this.#tick((this.left ?? 1) - 1), 1000)
  }
  #tick(left: number): void {
    if (left <= 0) {
      this.stopCounting()
      void this.#start()
      return
    }
    this.left = left
    if (SPOKEN.includes(left)) this.spoken = left
  }
  stopCounting(): void {
    clearInterval(this.#timer)
    this.left = null
    this.spoken = null
  }

  async #start(rows_may_differ = false): Promise<void> {
    await this.#attempt(async () => {
      if (!this.plan) return
      const { confirmation } = this.plan
      await this.#follow(await backend().startRestore({ confirmation, name: this.typed, rows_may_differ }))
    })
  }

  async #follow(restore: Restore): Promise<void> {
    this.restore = restore
    this.outcome = null
    this.step = 'restore'
    const { id } = restore
    const load = async () => {
      try {
        const now = await backend().showRestore({ id })
        if (this.#ended || this.restore?.id !== id) return
        this.restore = now.restore
        this.outcome = now
      } catch (thrown) {
        this.error = asCoffreError(thrown)
      }
    }
    this.#unhear = hear((event) => {
      if (
        event.type === 'lagged' ||
        (event.type === 'invalidated' &&
          event.tags.some((tag) => tag.noun === 'restores' && (!tag.id || tag.id === id)))
      )
        void load()
    })
    await load()
  }

  /** Stops the work; the target is as before. */
  cancel = async (): Promise<void> => {
    const id = this.restore?.id
    if (id) await this.#attempt(async () => void (await backend().cancelRun({ id })))
  }

  back(): void {
    this.stopCounting()
    this.error = null
    this.step = this.step === 'confirm' ? 'preview' : 'where'
  }

  async #attempt(act: () => Promise<void>): Promise<void> {
    this.busy = true
    this.error = null
    try {
      await act()
    } catch (thrown) {
      this.error = asCoffreError(thrown)
      // A plan that no longer holds is made again, not insisted on.
      if (this.step === 'confirm') this.stopCounting()
    } finally {
      this.busy = false
    }
  }
}
