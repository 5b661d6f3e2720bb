/** Pushed events, handed on to reads and to whoever listens. */
import type { Backend } from './backend'
import type { BackendEvent, Tag } from './generated'

type Hearer = (event: BackendEvent) => void

const hearers = new Set<Hearer>()

/** Listens until the answer is called. */
export function hear(hearer: Hearer): () => void {
  hearers.add(hearer)
  return () => hearers.delete(hearer)
}

/** Starts to hand on what the backend pushes; the answer ends it. */
export function connect(backend: Backend): () => void {
  return backend.subscribe((event) => {
    for (const hearer of [...hearers]) hearer(event)
  })
}

/** Whether what was read under `provided` is stale once `changed` was invalidated. */
export function touches(provided: Tag[], changed: Tag[]): boolean {
  return changed.some((c) => provided.some((p) => p.noun === c.noun && (!p.id || !c.id || p.id === c.id)))
}
