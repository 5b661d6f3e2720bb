/** The views, in the order of the sidebar and of the keys 1 to 8. */
import type { IconName } from './icons'

export type ViewName = 'overview' | 'backups' | 'plans' | 'sources' | 'destinations' | 'health' | 'journal' | 'settings'

export const views: { name: ViewName; path: string; icon: IconName; digit: string }[] = (
  ['overview', 'backups', 'plans', 'sources', 'destinations', 'health', 'journal', 'settings'] as const
).map((name, i) => ({ name, path: `/${name}`, icon: name, digit: String(i + 1) }))
