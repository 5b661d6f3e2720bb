/** The backend inside the desktop application. The one file that imports Tauri's API. */
import { invoke } from '@tauri-apps/api/core'
import { listen } from '@tauri-apps/api/event'
import { type Backend, commandName } from './backend'
import { asCoffreError } from './error'
import type { BackendEvent } from './generated'

/** The one channel of pushed events. */
const EVENT = 'coffre'

async function call(method: string, args: Record<string, unknown> | undefined): Promise<unknown> {
  try {
    // Rust sees every argument under its own name: Tauri would otherwise want camelCase, so the whole object is one argument.
    return await invoke(commandName(method), { args: args ?? {} })
  } catch (error) {
    throw asCoffreError(error)
  }
}

function subscribe(handler: (event: BackendEvent) => void): () => void {
  let ended = false
  let stop: (() => void) | undefined
  void listen<BackendEvent>(EVENT, (event) => handler(event.payload)).then(
    (unlisten) => {
      if (ended) unlisten()
      else {
        stop = unlisten
        // What happened between the first reads and this moment was not heard.
        handler({ type: 'lagged' })
      }
    },
    // Without events nothing that is shown can be trusted to be fresh: said like any other error, at the next read.
    (error) => queueMicrotask(() => Promise.reject(asCoffreError(error))),
  )
  return () => {
    ended = true
    stop?.()
  }
}

/** Every method of {@link Backend} is a command of the same name; the interface is what keeps the two in step. */
export const tauriBackend = new Proxy({} as Backend, {
  get: (_, method) => {
    if (typeof method !== 'string' || method === 'then') return undefined
    if (method === 'subscribe') return subscribe
    return (args?: Record<string, unknown>) => call(method, args)
  },
})
