/** Destinations: what lies at each, and the commands that add and change them. */
import type { Backend } from '../backend'
import type * as T from '../generated'
import { ADAPTERS } from './adapters'
import type { Core } from './core'
import { type DestinationData, makeData } from './data'
import { address, checkDraft, hasSecret, refuse } from './drafts'

export function destinationRow(core: Core, d: DestinationData): T.DestinationRow {
  let copies = 0
  let verified = 0
  let stored = 0
  for (const b of core.data.backups) {
    for (const c of b.copies) {
      if (c.destination_id !== d.destination.id || c.state === 'deleted') continue
      copies++
      stored += c.stored_bytes
      if (c.state === 'verified') verified++
    }
  }
  return {
    destination: d.destination,
    adapter: d.adapter,
    label: d.label,
    place: d.place,
    state: d.answers ? 'answers' : 'silent',
    checked_at: core.iso(core.now() - 2 * 60_000),
    error: d.answers ? null : core.error('dest_unreachable', { destination: d.destination.name, place: d.place }),
    space: d.space,
    copies,
    verified_copies: verified,
    stored_bytes: stored,
    plans: core.data.plans
      .filter((p) => p.plan.destination_ids.includes(d.destination.id))
      .map((p) => ({ id: p.plan.id, name: p.plan.name, source: p.plan.source })),
  }
}

export function destinationCommands(
  core: Core,
): Pick<
  Backend,
  | 'listDestinations'
  | 'showDestination'
  | 'checkDestination'
  | 'testDestination'
  | 'defaultDestination'
  | 'addDestination'
  | 'editDestination'
  | 'removeDestination'
  | 'rebuildFromDestination'
> {
  return {
    listDestinations: async () => core.data.destinations.map((d) => destinationRow(core, d)),
    showDestination: async ({ id }) => {
      const d = core.destination(id)
      return { ...destinationRow(core, d), draft: { name: d.destination.name, adapter: d.adapter, values: d.values } }
    },
    checkDestination: async ({ id, draft }) =>
      checkDraft(
        core,
        draft,
        ADAPTERS.storages,
        core.data.destinations.filter((d) => d.destination.id !== id).map((d) => d.destination.name),
      ),
    testDestination: async ({ id, draft }) => {
      await new Promise((done) => setTimeout(done, core.options.live ? 500 : 0))
      const known = core.data.destinations.find((d) => d.destination.id === id)
      const place = String(draft.values.path || draft.values.bucket || '')
      if (known && !known.answers) throw core.error('dest_unreachable', { destination: draft.name, place })
      return {
        place,
        space: draft.adapter === 'local' ? { free: 212e9, total: 480e9 } : null,
        identity: known ? 'known' : place.includes('old') ? 'other' : 'new',
        backups: place.includes('old') ? 412 : 0,
        remarks: [],
      }
    },
    defaultDestination: async () =>
      core.data.destinations[0]?.destination ??
      core.commands.addDestination({
        draft: { name: 'backups', adapter: 'local', values: { path: '/home/anna/.local/share/coffre/backups' } },
        secret: { change: 'forget' },
      }),
    addDestination: async ({ draft, secret }) => {
      refuse(await core.commands.checkDestination({ id: null, draft }))
      const destination: T.Destination = {
        id: core.id(2),
        name: draft.name,
        address: address(draft, ADAPTERS.storages),
        has_secret: hasSecret(false, secret),
        identity: null,
        created_at: core.iso(),
      }
      core.data.destinations.push({
        destination,
        adapter: draft.adapter,
        label: draft.adapter === 'local' ? 'Folder' : 'S3',
        values: draft.values,
        space: draft.adapter === 'local' ? { free: 212e9, total: 480e9 } : null,
        answers: true,
        place: String(draft.values.path || `s3://${draft.values.bucket}`),
        site: draft.adapter === 'local' ? 'here' : 's3',
        offsite: draft.adapter !== 'local',
      })
      core.log('destination.add', 'destination', destination.id, destination.name)
      core.invalidate('destinations', 'overview', 'about', 'health')
      return destination
    },
    editDestination: async ({ id, draft, secret }) => {
      refuse(await core.commands.checkDestination({ id, draft }))
      const d = core.destination(id)
      d.destination = {
        ...d.destination,
        name: draft.name,
        has_secret: hasSecret(d.destination.has_secret, secret),
      }
      d.values = draft.values
      core.log('destination.edit', 'destination', id, draft.name)
      core.invalidate('destinations', 'overview', 'plans', 'health')
      return d.destination
    },
    removeDestination: async ({ id }) => {
      const d = core.destination(id)
      const plans = core.data.plans.filter((p) => p.plan.destination_ids.includes(id)).map((p) => p.plan.name)
      if (plans.length) throw core.error('in_use', { name: d.destination.name, plans: plans.join(', ') })
      core.data.destinations = core.data.destinations.filter((x) => x !== d)
      core.log('destination.remove', 'destination', id, d.destination.name)
      core.invalidate('destinations', 'overview', 'health')
      return null
    },
    rebuildFromDestination: async ({ id }) => {
      core.destination(id)
      const full = makeData(core.now(), 412, core.language)
      core.data.sources.push(...full.sources)
      core.data.backups.push(...full.backups)
      core.invalidate('sources', 'backups', 'overview', 'about', 'health')
      return { backups: full.backups.length, sources: full.sources.length, unusable: [] }
    },
  }
}
