/** Which page shows which address. */
import type { Component } from 'svelte'
import type { Key } from '../i18n/index.svelte'
import Backups from '../routes/Backups.svelte'
import Destination from '../routes/Destination.svelte'
import Destinations from '../routes/Destinations.svelte'
import Health from '../routes/Health.svelte'
import Journal from '../routes/Journal.svelte'
import Overview from '../routes/Overview.svelte'
import Plan from '../routes/Plan.svelte'
import Plans from '../routes/Plans.svelte'
import Settings from '../routes/Settings.svelte'
import Source from '../routes/Source.svelte'
import Sources from '../routes/Sources.svelte'
import { type ViewName, views } from '../shared/views'

const lists: Record<ViewName, Component> = {
  overview: Overview,
  backups: Backups,
  plans: Plans,
  sources: Sources,
  destinations: Destinations,
  health: Health,
  journal: Journal,
  settings: Settings,
}
const single: Partial<Record<ViewName, Component>> = { plans: Plan, sources: Source, destinations: Destination }

/** The page for a path; the overview for anything unknown. */
export function find(path: string): { name: string; title: Key; page: Component } {
  const [first, second] = path.split('/').filter(Boolean)
  const view = views.find((v) => v.name === first)
  if (!view) return { name: 'overview', title: 'nav.overview', page: Overview }
  const one = second ? single[view.name] : undefined
  return { name: one ? `${view.name}/${second}` : view.name, title: `nav.${view.name}`, page: one ?? lists[view.name] }
}
