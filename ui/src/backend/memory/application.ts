/** The application itself: what it can do, its dialogs, and what is said of a damaged catalogue. */
import type { Backend } from '../backend'
import { ADAPTERS } from './adapters'
import type { Core } from './core'

export const DAMAGE = { path: '/home/anna/.local/share/coffre/catalogue.db', cause: 'database disk image is malformed' }

export function applicationCommands(
  core: Core,
): Pick<
  Backend,
  | 'about'
  | 'adapters'
  | 'chooseFile'
  | 'chooseFolder'
  | 'chooseNewFile'
  | 'openLogFolder'
  | 'setCatalogueAside'
  | 'listCatalogueCopies'
  | 'restoreCatalogue'
  | 'quit'
  | 'subscribe'
> {
  return {
    about: async () => ({
      version: '0.1.0',
      home: '/home/anna/.local/share/coffre',
      log_folder: '/home/anna/.local/share/coffre/logs',
      platform: 'linux',
      features: core.options.features ?? ['schedule', 'retention', 'replace', 'rebuild'],
      secrets: core.store(),
      system_language:
        core.options.language ??
        (typeof navigator !== 'undefined' && navigator.language.startsWith('fr') ? 'fr' : 'en'),
      first_start: core.data.sources.length === 0 && core.data.destinations.length === 0,
      catalogue_error: core.damaged ? core.error('catalogue_corrupt', DAMAGE) : null,
    }),
    adapters: async () => ADAPTERS,
    chooseFile: async () => (core.options.chosen === undefined ? '/home/anna/data/shop.db' : core.options.chosen),
    chooseFolder: async () => (core.options.chosen === undefined ? '/home/anna/backups' : core.options.chosen),
    chooseNewFile: async ({ suggestion }) => (core.options.chosen === undefined ? suggestion : core.options.chosen),
    openLogFolder: async () => null,
    listCatalogueCopies: async () => ({
      copies: core.data.sources.length
        ? [1, 2, 3].map((days) => ({
            path: `/home/anna/.local/share/coffre/catalogue-copies/${days}.db`,
            at: core.iso(core.now() - days * 86_400_000),
            bytes: 18.4e6 - days * 2e5,
          }))
        : [],
      damaged: core.damaged,
    }),
    restoreCatalogue: async ({ path }) => {
      if (!core.damaged) throw core.error('catalogue_sound', { path: '/home/anna/.local/share/coffre/catalogue.db' })
      core.damaged = false
      core.invalidate('about', 'overview', 'sources', 'destinations', 'plans', 'backups', 'journal', 'health')
      return { copy: path, aside: '/home/anna/.local/share/coffre/catalogue.db.damaged' }
    },
    setCatalogueAside: async () => {
      const path = core.damaged ? '/home/anna/.local/share/coffre/catalogue.db.damaged' : null
      if (core.damaged) core.data.sources = core.data.destinations = core.data.plans = core.data.backups = []
      core.damaged = false
      core.invalidate('about', 'overview', 'sources', 'destinations', 'plans', 'backups', 'journal', 'health')
      return { path }
    },
    quit: async () => null,
    subscribe: (handler) => {
      core.handlers.add(handler)
      return () => core.handlers.delete(handler)
    },
  }
}
