/**
 * A whole backend in memory, for `npm run dev` in a browser and for tests. It keeps the rules that the window relies on (one run per
 * source, nothing green before it was read back, no restore without its plan) and never reaches the production bundle. What each command
 * does lies beside this file, by subject.
 */
import type { Backend } from '../backend'
import { applicationCommands, DAMAGE } from './application'
import { backupCommands, startBackup } from './backups'
import { channelCommands } from './channels'
import { Core, type MemoryOptions } from './core'
import { noRetention } from './data'
import { destinationCommands } from './destinations'
import { errorOf } from './errors'
import { healthCommands } from './health'
import { journalCommands } from './journal'
import { overviewCommands } from './overview'
import { planCommands } from './plans'
import { restoreCommands } from './restores'
import { settingCommands } from './settings'
import { sourceCommands } from './sources'

export type { MemoryOptions } from './core'

export class MemoryBackend extends Core {
  constructor(options: MemoryOptions = {}) {
    super(options)
    this.commands = {
      ...applicationCommands(this),
      ...overviewCommands(this),
      ...sourceCommands(this),
      ...destinationCommands(this),
      ...planCommands(this),
      ...backupCommands(this),
      ...restoreCommands(this),
      ...journalCommands(this),
      ...healthCommands(this),
      ...settingCommands(this),
      ...channelCommands(this),
    }
    const [, events] = this.data.sources
    if (options.live && events) startBackup(this, events, this.data.plans[1] ?? null, 'scheduled', 0.62)
  }
}

/** The in-memory backend behind the same interface as the real one, with delays and failures as asked for. */
export function memoryBackend(options: MemoryOptions = {}): { backend: Backend; memory: MemoryBackend } {
  const memory = new MemoryBackend(options)
  const language = options.language ?? 'en'
  const backend = new Proxy(memory.commands, {
    get: (commands, name: keyof Backend) => {
      const command = commands[name]
      if (name === 'subscribe' || typeof command !== 'function') return command
      return async (args: never) => {
        if (options.delay) await new Promise((done) => setTimeout(done, options.delay))
        if (options.hang?.includes(name)) return new Promise(() => {})
        // As in the real one: without a catalogue there is nothing to answer from.
        if (
          memory.damaged &&
          !['about', 'setCatalogueAside', 'listCatalogueCopies', 'restoreCatalogue', 'openLogFolder', 'quit'].includes(
            name,
          )
        )
          throw errorOf('catalogue_corrupt', DAMAGE, language)
        const failing = options.fail?.[name]
        if (failing) throw errorOf(failing, { cause: 'test' }, language)
        // As over a wire: nobody holds on to what lies inside.
        return structuredClone(await (command as (args: never) => Promise<unknown>)(args))
      }
    },
  })
  return { backend, memory }
}

export { noRetention }
