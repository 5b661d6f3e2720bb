/** Running work, with the rate and the time left worked out from the progress that is pushed. */
import type { Backend } from './backend'
import { hear, touches } from './events.svelte'
import type { Id, Progress, Running, Step } from './generated'

/** How much the newest measurement counts; the rest is the past, so that the estimate does not jump. */
const WEIGHT = 0.25
/** Measurements closer together than this say nothing. */
const APART_MS = 400

interface Pace {
  step: Step
  done: number
  at: number
  rate: number | null
}

export interface Work extends Running {
  /** Bytes a second, once known. */
  rate: number | null
  /** Milliseconds, once known. */
  left: number | null
  /** 0 to 1, where a total is known. */
  share: number | null
}

class RunningWork {
  list: Work[] = $state.raw([])
  #paces = new Map<Id, Pace>()
  #round = 0
  #meanwhile: Map<Id, Progress> | undefined

  get(id: Id): Work | undefined {
    return this.list.find((work) => work.id === id)
  }

  /** Follows the backend until the answer is called. */
  follow(backend: Backend): () => void {
    const load = async () => {
      const round = ++this.#round
      const meanwhile = new Map<Id, Progress>()
      this.#meanwhile = meanwhile
      const list = await backend.running().catch(() => undefined) // The views say what is wrong; here the last list stays.
      if (list === undefined || round !== this.#round) return
      // What was pushed while the list was on its way is newer than the list.
      this.list = list.map((running) => this.#measure(running, meanwhile.get(running.id) ?? running.progress))
      for (const id of this.#paces.keys()) if (!list.some((r) => r.id === id)) this.#paces.delete(id)
    }
    void load()
    return hear((event) => {
      if (event.type === 'progress') {
        const { progress } = event
        if (progress.id) this.#meanwhile?.set(progress.id, progress)
        if (!this.list.some((work) => work.id === progress.id)) return
        this.list = this.list.map((work) => (work.id === progress.id ? this.#measure(work, progress) : work))
      } else if (
        event.type === 'lagged' ||
        (event.type === 'invalidated' && touches([{ noun: 'running' }], event.tags))
      ) {
        void load()
      }
    })
  }

  #measure(running: Running, progress: Progress): Work {
    const at = Date.now()
    let pace = this.#paces.get(running.id)
    if (!pace || pace.step !== progress.step || progress.done < pace.done) {
      pace = { step: progress.step, done: progress.done, at, rate: null }
      this.#paces.set(running.id, pace)
    } else if (at - pace.at >= APART_MS) {
      const now = ((progress.done - pace.done) * 1000) / (at - pace.at)
      const rate = pace.rate === null ? now : pace.rate * (1 - WEIGHT) + now * WEIGHT
      pace = { step: progress.step, done: progress.done, at, rate }
      this.#paces.set(running.id, pace)
    }
    const { rate } = pace
    const total = progress.total
    const left = rate && total ? Math.max(0, ((total - progress.done) * 1000) / rate) : null
    return { ...running, progress, rate, left, share: total ? Math.min(1, progress.done / total) : null }
  }
}

export const runningWork = new RunningWork()
