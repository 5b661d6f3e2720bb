/** Running work of the in-memory backend: steps of so many ticks, told as progress. */
import type { BackendEvent, Running, Step } from '../generated'

export interface WorkStep {
  step: Step
  bytes: number
  ticks: number
  estimated?: boolean
}
export interface Work {
  running: Running
  steps: WorkStep[]
  /** Where to begin, 0 to 1 of the longest step. */
  share: number
  /** The index of the step that fails. */
  failing: number | null
  stepped?: (index: number) => void
  end: (how: 'done' | 'failed' | 'cancelled') => void
  at: number
  tick: number
}

const TICK_MS = 250

export class Works {
  list: Work[] = []
  #push: (event: BackendEvent) => void
  #live: boolean
  #timer: ReturnType<typeof setInterval> | undefined

  constructor(push: (event: BackendEvent) => void, live: boolean) {
    this.#push = push
    this.#live = live
  }

  start(work: Omit<Work, 'at' | 'tick'>): void {
    const begun: Work = { ...work, at: 0, tick: 0 }
    if (work.share > 0) {
      begun.at = work.steps.findIndex((s) => s.ticks === Math.max(...work.steps.map((x) => x.ticks)))
      begun.tick = Math.floor((work.steps[begun.at]?.ticks ?? 0) * work.share)
    }
    this.list.push(begun)
    begun.stepped?.(begun.at)
    this.#tell(begun)
    if (this.#live) this.#timer ??= setInterval(() => this.advance(1), TICK_MS)
  }

  cancel(id: string): void {
    const work = this.list.find((w) => w.running.id === id)
    if (work?.running.cancellable) this.#finish(work, 'cancelled')
  }

  /** Moves everything on by so many ticks. */
  advance(ticks: number): void {
    for (let i = 0; i < ticks; i++) for (const work of [...this.list]) this.#move(work)
    if (this.list.length === 0 && this.#timer) {
      clearInterval(this.#timer)
      this.#timer = undefined
    }
  }

  #move(work: Work): void {
    const step = work.steps[work.at]
    if (!step) return
    work.tick++
    if (work.tick >= step.ticks) {
      if (work.failing === work.at) {
        this.#finish(work, 'failed')
        return
      }
      work.at++
      work.tick = 0
      if (work.at >= work.steps.length) {
        this.#finish(work, 'done')
        return
      }
      work.stepped?.(work.at)
    }
    this.#tell(work)
    this.#push({ type: 'progress', progress: work.running.progress })
  }

  #tell(work: Work): void {
    const step = work.steps[work.at]
    if (!step) return
    work.running = {
      ...work.running,
      cancellable: work.running.cancellable && step.step !== 'swapping',
      progress: {
        id: work.running.id,
        step: step.step,
        done: Math.round((step.bytes * work.tick) / step.ticks),
        total: step.bytes || null,
        estimated: step.estimated ?? false,
      },
    }
  }

  #finish(work: Work, how: 'done' | 'failed' | 'cancelled'): void {
    this.list = this.list.filter((w) => w !== work)
    work.end(how)
  }
}
