/** Channels of the backend in memory: what is said of them is what the engine would say; nothing is ever sent. */
import type * as T from '../generated'

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
