/** Channels of the backend in memory: what is said of them is what the engine would say; nothing is ever sent. */
import type { Backend } from '../backend'
import type * as T from '../generated'
import type { Core } from './core'
import { hasSecret } from './drafts'

type Field = T.ChannelForm['fields'][number]
const field = (name: string, kind: Field['kind'], required: boolean): Field => ({
  name,
  kind,
  required,
  choices: [],
  default: null,
  part: kind === 'secret' ? 'secret' : 'option',
})
export const CHANNEL_FORMS: T.ChannelForm[] = [
  {
    kind: 'email',
    fields: [
      field('host', 'text', true),
      { ...field('security', 'choice', true), choices: ['starttls', 'tls', 'none'], default: 'starttls' },
      field('port', 'number', false),
      field('user', 'text', false),
      field('password', 'secret', false),
      field('from', 'text', true),
      field('to', 'lines', true),
      field('ca_file', 'file', false),
    ],
  },
  { kind: 'slack', fields: [field('url', 'secret', true)] },
  {
    kind: 'webhook',
    fields: [field('url', 'text', true), field('secret', 'secret', false), field('ca_file', 'file', false)],
  },
  { kind: 'ping', fields: [field('url', 'secret', true), field('failures', 'switch', false)] },
]

const words = (value: T.FieldValue | null | undefined): string =>
  Array.isArray(value) ? value.join(', ') : value === null || value === undefined ? '' : String(value)

/** Where a draft goes, as may be shown. */
export function placeOf(draft: T.ChannelDraft): string {
  if (draft.kind === 'email') return `${words(draft.values.to)} (${words(draft.values.host)})`
  return draft.kind === 'webhook' ? words(draft.values.url) : 'https://hooks.example.org'
}

function settingsOf(draft: T.ChannelDraft): T.ChannelSettings {
  const place = placeOf(draft)
  const text = (name: string) => words(draft.values[name])
  switch (draft.kind) {
    case 'slack':
      return { kind: 'slack', place }
    case 'ping':
      return { kind: 'ping', place, failures: draft.values.failures === true }
    case 'webhook':
      return { kind: 'webhook', url: text('url'), ca_file: text('ca_file') || null }
    case 'email':
      return {
        kind: 'email',
        host: text('host'),
        port: Number(draft.values.port ?? 587),
        security: (text('security') || 'starttls') as T.Security,
        user: text('user') || null,
        from: text('from'),
        to: Array.isArray(draft.values.to) ? draft.values.to : [],
        ca_file: text('ca_file') || null,
      }
  }
}

/** The row of a new or changed channel. */
export function channelRow(id: string, draft: T.ChannelDraft, has_secret: boolean, at: string): T.ChannelRow {
  return {
    draft,
    state: {
      id,
      name: draft.name,
      settings: settingsOf(draft),
      language: draft.language,
      time_zone: draft.time_zone ?? 'Europe/Paris',
      wants: draft.wants,
      plan_ids: draft.plan_ids,
      has_secret,
      paused_at: null,
      created_at: at,
      place: placeOf(draft),
      plans: [],
      last: null,
      waiting: 0,
      failing: null,
    },
  }
}

/** What a mail server said at night, and a team's Slack that works. */
export function demoChannels(at: string, refused: T.CoffreError): T.ChannelRow[] {
  const wants: T.Wants = {
    failures: true,
    recoveries: true,
    successes: false,
    patient: false,
    reminder_hours: 24,
    digest: 'none',
    digest_at: '08:00',
  }
  const common = { language: 'en' as const, time_zone: 'Europe/Paris', wants, plan_ids: [] }
  const mail = channelRow(
    '0199f000-0009-7000-8000-000000000001',
    {
      name: 'ops',
      kind: 'email',
      values: {
        host: 'smtp.example.org',
        security: 'starttls',
        port: 587,
        user: 'coffre',
        from: 'coffre@example.org',
        to: ['ops@example.org'],
      },
      ...common,
    },
    true,
    at,
  )
  mail.state.last = { at, state: 'given_up', tries: 1, next_try_at: null }
  mail.state.failing = refused
  const team = channelRow(
    '0199f000-0009-7000-8000-000000000002',
    { name: 'team', kind: 'slack', values: {}, ...common },
    true,
    at,
  )
  team.state.last = { at, state: 'sent', tries: 1, next_try_at: null }
  return [mail, team]
}

/** Who should be told, and cannot be. */
export function unheard(core: Core): T.Unheard {
  const listening = core.channels.filter((c) => !c.state.paused_at)
  const channels = listening.flatMap(({ state: { id, name, failing } }) =>
    failing ? [{ id, name, error: failing }] : [],
  )
  return { channels, nobody: channels.length > 0 && channels.length === listening.length }
}

/** What was sent to a channel. */
export function deliveriesOf(row: T.ChannelRow): T.DeliveryShown[] {
  const { last, failing, id, name } = row.state
  if (!last) return []
  const one: T.DeliveryShown = {
    id: `${id.slice(0, -3)}901`,
    channel: name,
    events: ['backup.failed'],
    about: ['shop'],
    state: last.state,
    tries: last.tries,
    created_at: last.at,
    ended_at: last.at,
    next_try_at: last.next_try_at,
    error: failing,
  }
  return [one]
}

export function channelCommands(
  core: Core,
): Pick<
  Backend,
  | 'channelForms'
  | 'listChannels'
  | 'checkChannel'
  | 'saveChannel'
  | 'testChannel'
  | 'pauseChannel'
  | 'removeChannel'
  | 'listDeliveries'
> {
  const channel = (id: string) => {
    const row = core.channels.find((c) => c.state.id === id)
    if (!row) throw core.error('not_found')
    return row
  }
  return {
    channelForms: async () => CHANNEL_FORMS,
    listChannels: async () => core.channels,
    checkChannel: async ({ id, draft, secret }) => {
      const errors: Record<string, T.CoffreError> = {}
      if (!draft.name.trim()) errors.name = core.error('name_empty')
      if (core.channels.some((c) => c.state.name === draft.name && c.state.id !== id))
        errors.name = core.error('name_taken', { name: draft.name })
      const fields = CHANNEL_FORMS.find((f) => f.kind === draft.kind)?.fields ?? []
      for (const f of fields) {
        const value = draft.values[f.name]
        const empty =
          value === undefined || value === null || value === '' || (Array.isArray(value) && value.length === 0)
        if (f.required && !f.default && f.kind !== 'secret' && empty) errors[f.name] = core.error('field_required')
        if (f.required && f.kind === 'secret' && id === null && secret.change === 'keep')
          errors[f.name] = core.error('channel_no_address')
      }
      return errors
    },
    saveChannel: async ({ id, draft, secret }) => {
      const before = core.channels.find((c) => c.state.id === id)
      const row = channelRow(id ?? core.id(9), draft, hasSecret(before?.state.has_secret ?? false, secret), core.iso())
      core.channels = before ? core.channels.map((c) => (c === before ? row : c)) : [...core.channels, row]
      core.log(id ? 'channel.edit' : 'channel.add', 'channel', row.state.id, draft.name)
      core.invalidate('channels', 'health', 'overview')
      return row.state
    },
    testChannel: async ({ id }) => {
      const { state } = channel(id)
      const error = state.failing
      state.last = { at: core.iso(), state: error ? 'given_up' : 'sent', tries: 1, next_try_at: null }
      core.invalidate('channels', 'health', 'overview')
      return { ok: !error, error }
    },
    pauseChannel: async ({ id, paused }) => {
      const { state } = channel(id)
      state.paused_at = paused ? core.iso() : null
      core.channels = [...core.channels]
      core.invalidate('channels', 'health', 'overview')
      return state
    },
    removeChannel: async ({ id }) => {
      core.channels = core.channels.filter((c) => c.state.id !== id)
      core.invalidate('channels', 'health', 'overview')
      return null
    },
    listDeliveries: async ({ id }) => {
      const row = core.channels.find((c) => c.state.id === id)
      return row ? deliveriesOf(row) : []
    },
  }
}
