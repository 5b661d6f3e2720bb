/** Everything that the first picture does not need: one part, fetched when that picture stands. */
import Backups from '../routes/Backups.svelte'
import Destination from '../routes/Destination.svelte'
import Destinations from '../routes/Destinations.svelte'
import Health from '../routes/Health.svelte'
import Journal from '../routes/Journal.svelte'
import Plan from '../routes/Plan.svelte'
import Plans from '../routes/Plans.svelte'
import Settings from '../routes/Settings.svelte'
import Source from '../routes/Source.svelte'
import Sources from '../routes/Sources.svelte'

export { default as Above } from './Above.svelte'

export const lists = {
  backups: Backups,
  plans: Plans,
  sources: Sources,
  destinations: Destinations,
  health: Health,
  journal: Journal,
  settings: Settings,
}
export const single = { plans: Plan, sources: Source, destinations: Destination }
