/** Believable content: five sources, four destinations, a year of history. The same numbers every time. */
import type {
  Backup,
  BackupState,
  BackupType,
  Copy,
  Destination,
  FieldValue,
  Key,
  Plan,
  PlanDraft,
  Retention,
  Source,
  Space,
  TableCount,
  Tool,
} from '../generated'
import { errorOf } from './errors'

export const HOUR = 3_600_000
export const DAY = 24 * HOUR

/** mulberry32: small, good enough, repeatable. */
export function random(seed: number): () => number {
  let a = seed
  return () => {
    a = (a + 0x6d2b79f5) | 0
    let t = Math.imul(a ^ (a >>> 15), 1 | a)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
}

/** An id in the shape of a UUIDv7, made of a number. */
export function idOf(group: number, n: number): string {
  const hex = n.toString(16).padStart(12, '0')
  return `0199f000-${group.toString(16).padStart(4, '0')}-7000-8000-${hex}`
}

export interface SourceData {
  source: Source
  adapter: string
  label: string
  version: string
  bytes: number
  stored: number
  values: Record<string, FieldValue | null>
  tables: TableCount[]
  tool: Tool
  restoreMs: number | null
}
export interface DestinationData {
  destination: Destination
  adapter: string
  label: string
  values: Record<string, FieldValue | null>
  space: Space | null
  answers: boolean
  place: string
  /** Copies at the same place count once. */
  site: string
  offsite: boolean
}
export interface PlanData {
  plan: Plan
  at: string | null
  paused: boolean
  /** As it was edited last. */
  draft?: PlanDraft
}

export interface Data {
  sources: SourceData[]
  destinations: DestinationData[]
  plans: PlanData[]
  backups: Backup[]
  keys: Key[]
}

const NONE: Retention = {
  keep_last: null,
  keep_days: null,
  keep_hourly: null,
  keep_daily: null,
  keep_weekly: null,
  keep_monthly: null,
  keep_yearly: null,
}
export const GFS: Retention = { ...NONE, keep_daily: 7, keep_weekly: 4, keep_monthly: 12 }
export const noRetention = NONE

export const emptyOptions = {
  format: null,
  tls: null,
  tool_path: null,
  include: [],
  exclude: [],
  no_owner: false,
  no_privileges: false,
  no_large_objects: false,
}

const LETTERS = 'ABCDEFGHJKLMNPQRSTUVWXYZ23456789'
export function codeOf(at: number, next: () => number): string {
  const stamp = new Date(at).toISOString().replace(/\D/g, '').slice(0, 14)
  let tail = ''
  for (let i = 0; i < 4; i++) tail += LETTERS[Math.floor(next() * LETTERS.length)]
  return `BKP-${stamp}-${tail}`
}

export function hash(next: () => number): string {
  let text = ''
  while (text.length < 64)
    text += Math.floor(next() * 0xffffffff)
      .toString(16)
      .padStart(8, '0')
  return text.slice(0, 64)
}

/** Everything, as it stands at `now`. `count` asks for about so many backups; `language` is that of the errors inside. */
export function makeData(now: number, count: number, language: 'en' | 'fr'): Data {
  const iso = (at: number) => new Date(at).toISOString()
  const next = random(7)
  const nights = (hour: number, minute = 0) => {
    const d = new Date(now)
    d.setHours(hour, minute, 4, 0)
    return d.getTime() > now ? d.getTime() - DAY : d.getTime()
  }

  const source = (
    n: number,
    name: string,
    adapter: string,
    label: string,
    address: string,
    version: string,
    bytes: number,
    stored: number,
    values: Record<string, FieldValue | null>,
    tables: [string, number][],
    tool: Tool,
    restoreMs: number | null,
  ): SourceData => ({
    source: {
      id: idOf(1, n),
      name,
      address,
      options: emptyOptions,
      has_secret: adapter !== 'sqlite',
      created_at: iso(now - 380 * DAY),
    },
    adapter,
    label,
    version,
    bytes,
    stored,
    values,
    tool,
    restoreMs,
    tables: tables.map(([table, rows]) => ({ table, rows })),
  })
  const pg = (version: string): Tool => ({
    name: 'pg_dump',
    path: `/usr/lib/postgresql/${version.split('.')[0]}/bin/pg_dump`,
    version,
  })
  const sources = [
    source(
      1,
      'shop',
      'postgres',
      'PostgreSQL',
      'postgres://coffre@db.acme.fr:5432/shop',
      '16.4',
      4.2e9,
      1.1e9,
      { host: 'db.acme.fr', port: 5432, database: 'shop', user: 'coffre', tls: 'verify-full', format: 'custom' },
      [
        ['public.order_lines', 610_118],
        ['public.orders', 183_951],
        ['public.payments', 181_490],
        ['public.stock_moves', 91_904],
        ['public.customers', 52_287],
        ['public.products', 12_840],
        ['public.carts', 2_874],
        ['public.sessions', 6_431],
        ['public.categories', 214],
        ['public.legacy_tax', 88],
        ['public.vat_rates', 41],
        ['public.settings', 36],
        ['public.users', 128],
      ],
      pg('16.4'),
      231_000,
    ),
    source(
      2,
      'events',
      'mongodb',
      'MongoDB',
      'mongodb://coffre@mongo.acme.fr:27017/events',
      '7.0',
      12.8e9,
      3.1e9,
      { host: 'mongo.acme.fr', port: 27017, database: 'events', user: 'coffre', tls: 'require' },
      [
        ['events', 48_120_334],
        ['devices', 18_220],
        ['rules', 412],
      ],
      { name: 'mongodump', path: '/usr/bin/mongodump', version: '100.9.4' },
      662_000,
    ),
    source(
      3,
      'chrono',
      'sqlite',
      'SQLite',
      'sqlite:///srv/chrono/chrono.db',
      '3.46.1',
      96e6,
      21.4e6,
      { path: '/srv/chrono/chrono.db' },
      [
        ['entries', 812_004],
        ['projects', 143],
        ['people', 27],
        ['tags', 310],
      ],
      { name: 'sqlite', path: null, version: '3.46.1' },
      6_200,
    ),
    source(
      4,
      'crm',
      'postgres',
      'Supabase',
      'postgres://postgres.acme@db.crm.supabase.co:5432/postgres',
      '17.2',
      860e6,
      212e6,
      {
        host: 'db.crm.supabase.co',
        port: 5432,
        database: 'postgres',
        user: 'postgres.acme',
        tls: 'verify-full',
        format: 'custom',
      },
      [
        ['public.contacts', 48_210],
        ['public.deals', 9_114],
        ['public.notes', 120_338],
        ['auth.users', 312],
      ],
      pg('16.4'),
      null,
    ),
    source(
      5,
      'wiki',
      'mysql',
      'MariaDB',
      'mysql://wiki@10.0.0.12:3306/wiki',
      '10.11',
      1.3e9,
      304e6,
      { host: '10.0.0.12', port: 3306, database: 'wiki', user: 'wiki', tls: 'prefer' },
      [
        ['page', 18_402],
        ['revision', 204_118],
        ['user', 94],
      ],
      { name: 'mariadb-dump', path: '/usr/bin/mariadb-dump', version: '10.11.6' },
      null,
    ),
  ]

  const destination = (
    n: number,
    name: string,
    adapter: string,
    label: string,
    address: string,
    place: string,
    values: Record<string, FieldValue | null>,
    space: Space | null,
    site: string,
    offsite: boolean,
    answers = true,
  ): DestinationData => ({
    destination: {
      id: idOf(2, n),
      name,
      address,
      has_secret: adapter !== 'local',
      identity: idOf(2, n),
      created_at: iso(now - 380 * DAY),
    },
    adapter,
    label,
    place,
    values,
    space,
    answers,
    site,
    offsite,
  })
  const destinations = [
    destination(
      1,
      'disque-local',
      'local',
      'Folder',
      'file:///srv/backups',
      '/srv/backups',
      { path: '/srv/backups' },
      { free: 212e9, total: 480e9 },
      'here',
      false,
    ),
    destination(
      2,
      'r2-paris',
      's3',
      'Cloudflare R2',
      's3://acme-coffre/main?region=auto',
      's3://acme-coffre',
      { bucket: 'acme-coffre', prefix: 'main', region: 'auto', access_key: 'AKIA…' },
      null,
      'r2',
      true,
    ),
    destination(
      3,
      'disque-usb',
      'local',
      'Folder',
      'file:///media/usb',
      '/media/usb',
      { path: '/media/usb' },
      { free: 640e9, total: 1e12 },
      'here',
      false,
    ),
    destination(
      4,
      'nas-office',
      'local',
      'Folder',
      'file:///mnt/nas/coffre',
      '/mnt/nas/coffre',
      { path: '/mnt/nas/coffre' },
      null,
      'nas',
      true,
      false,
    ),
  ]

  const key: Key = {
    id: idOf(4, 1),
    name: 'coffre-2026',
    kind: 'recipient',
    recipient: 'age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kudtuplsqqrmqva',
    created_at: iso(now - 380 * DAY),
    exported_at: iso(now - 41 * DAY),
  }

  const plan = (
    n: number,
    name: string,
    s: SourceData,
    to: DestinationData[],
    every: BackupType,
    at: string | null,
    encrypted: boolean,
  ): PlanData => ({
    plan: {
      id: idOf(3, n),
      name,
      source_id: s.source.id,
      source: s.source.name,
      destination_ids: to.map((d) => d.destination.id),
      destinations: to.map((d) => d.destination.name),
      kind: 'full',
      every,
      schedule: { cron: '30 2 * * *', time_zone: 'Europe/Paris', wait_for_network: false, wait_for_power: false },
      paused_at: null,
      compression: 'zstd:3',
      encryption: encrypted ? key.name : null,
      key_id: encrypted ? key.id : null,
      retention: GFS,
      created_at: iso(now - 380 * DAY),
    },
    at,
    paused: false,
  })
  const [shop, events, chrono, crm, wiki] = sources as [SourceData, SourceData, SourceData, SourceData, SourceData]
  const [local, r2, usb, nas] = destinations as [DestinationData, DestinationData, DestinationData, DestinationData]
  const plans = [
    plan(1, 'nightly', shop, [local, r2, usb], 'daily', '02:30', true),
    plan(2, 'hourly', events, [local, r2], 'hourly', null, true),
    plan(3, 'hourly', chrono, [local, r2], 'hourly', null, true),
    plan(4, 'nightly', crm, [local, r2], 'daily', '03:00', true),
    plan(5, 'daily', wiki, [nas], 'daily', '09:00', false),
  ]

  let n = 0
  const backups: Backup[] = []
  const add = (
    s: SourceData,
    p: PlanData | null,
    at: number,
    state: BackupState,
    more: Partial<Backup> = {},
    growth = 1,
  ): Backup => {
    const written = state === 'verified' || state === 'stored'
    const noise = 0.97 + next() * 0.06
    const took = Math.max(800, Math.round((s.bytes / 22e6) * 1000 * noise))
    const lasted = written
      ? took
      : state === 'failed'
        ? 400 + Math.round(next() * 1800)
        : state === 'missed' || state === 'skipped'
          ? null
          : Math.round(took * 0.3)
    const stored = written ? Math.round(s.stored * growth * noise) : null
    const to = p ? destinations.filter((d) => p.plan.destination_ids.includes(d.destination.id)) : [local]
    const code = codeOf(at, next)
    const sha = written ? hash(next) : null
    const copies: Copy[] =
      written && stored !== null
        ? to.map((d) => ({
            destination: d.destination.name,
            destination_id: d.destination.id,
            key: `${s.source.name}-${s.source.id.slice(-8)}/${new Date(at).getUTCFullYear()}/${s.source.name}_${iso(at).slice(0, 19).replace('T', '_').replaceAll(':', '-')}_${code}.dump.zst`,
            state: state === 'verified' ? 'verified' : 'stored',
            stored_bytes: stored,
            sha256: sha,
            verified_at: state === 'verified' ? iso(at + (lasted ?? 0)) : null,
          }))
        : []
    const backup: Backup = {
      id: idOf(5, ++n),
      code,
      source: s.source.name,
      source_id: s.source.id,
      plan: p?.plan.name ?? null,
      plan_id: p?.plan.id ?? null,
      trigger: p ? 'scheduled' : 'manual',
      type: p?.plan.every ?? 'manual',
      kind: 'full',
      base_id: null,
      state,
      started_at: iso(at),
      ended_at: lasted === null ? null : iso(at + lasted),
      duration_ms: lasted,
      raw_bytes: written ? Math.round(s.bytes * growth * noise) : null,
      stored_bytes: stored,
      sha256: sha,
      raw_sha256: sha ? hash(next) : null,
      compression: 'zstd:3',
      encryption: written && p ? p.plan.encryption : null,
      tables: written ? s.tables.length : null,
      rows: written ? s.tables.reduce((sum, t) => sum + t.rows, 0) : null,
      tool: written ? s.tool : null,
      server_version: written ? s.version : null,
      flags: [],
      error: null,
      note: '',
      pinned: false,
      copies,
      ...more,
    }
    backups.push(backup)
    return backup
  }
  const nasError = errorOf('dest_unreachable', { destination: 'nas-office', place: '/mnt/nas/coffre' }, language)
  const oldTool = errorOf('tool_too_old', { tool: 'pg_dump', found: '16.4', server: '17.2', major: '17' }, language)

  // Nightly and daily sources: a year each.
  const lastShop = nights(2, 30)
  const lastCrm = nights(3)
  const lastWiki = nights(9)
  for (let d = 364; d >= 0; d--) {
    const growth = 1 - d * 0.0018
    const roll = next()
    const bad = d > 20 && roll < 0.012
    const missed = d > 20 && roll > 0.988
    add(
      shop,
      plans[0] as PlanData,
      lastShop - d * DAY,
      missed ? 'missed' : 'verified',
      missed ? { error: errorOf('missed_asleep', {}, language) } : {},
      growth,
    )
    if (d === 0)
      add(crm, plans[3] as PlanData, lastCrm, 'failed', { error: oldTool, tool: pg('16.4'), server_version: '17.2' })
    else add(crm, plans[3] as PlanData, lastCrm - d * DAY, d === 60 ? 'stored' : 'verified', {}, growth)
    if (d < 9) {
      const state: BackupState = d === 0 || d > 6 ? 'failed' : 'missed'
      add(wiki, plans[4] as PlanData, lastWiki - d * DAY, state, {
        error: state === 'failed' ? nasError : errorOf('missed_asleep', {}, language),
      })
    } else
      add(
        wiki,
        plans[4] as PlanData,
        lastWiki - d * DAY,
        bad ? 'failed' : 'verified',
        bad ? { error: nasError } : {},
        growth,
      )
  }
  // Hourly sources: as many hours as are asked for, three days at least.
  const hours = Math.max(72, Math.ceil((count - backups.length) / 2))
  const lastChrono = now - 42 * 60_000
  const lastEvents = now - 58 * 60_000
  for (let h = hours - 1; h >= 0; h--) {
    const growth = Math.max(0.3, 1 - h * 0.00008)
    add(
      chrono,
      plans[2] as PlanData,
      lastChrono - h * HOUR,
      h === 5 || h === 6 ? 'skipped' : 'verified',
      h === 5 || h === 6 ? { error: errorOf('skipped_overlap', {}, language) } : {},
      growth,
    )
    const state: BackupState = h === 5 ? 'stored' : h === 30 ? 'interrupted' : 'verified'
    add(
      events,
      plans[1] as PlanData,
      lastEvents - h * HOUR,
      state,
      h === 30 ? { error: errorOf('interrupted', {}, language) } : {},
      growth,
    )
  }
  add(shop, null, now - 20 * HOUR, 'verified', {
    pinned: true,
    note: language === 'fr' ? 'avant la migration des taxes' : 'before the tax migration',
  })
  add(shop, null, now - 67 * HOUR, 'cancelled', { error: errorOf('cancelled', {}, language) })
  // Two that no rule keeps any more: still there for some days.
  const old = backups.filter((b) => b.plan_id === plans[0]?.plan.id && b.state === 'verified').slice(-11, -9)
  for (const [i, b] of old.entries()) b.leaves_at = iso(now + (i + 1) * DAY)
  backups.sort((a, b) => (a.started_at < b.started_at ? 1 : -1))

  return { sources, destinations, plans, backups, keys: [key] }
}
