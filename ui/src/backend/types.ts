/**
 * The wire types, as JSON. Names and fields equal those of `crates/model` (first part) and of the answers of `crates/api` (second
 * part). Times are RFC 3339 in UTC, sizes are bytes, ids are UUIDv7. This file is replaced by generated ones; keep it free of code.
 */

/* ---------- crates/model ---------- */

export type Id = string
export type Time = string

export type Code =
  | 'USAGE'
  | 'NOT_FOUND'
  | 'BUSY'
  | 'REFUSED'
  | 'CANCELLED'
  | 'INTERRUPTED'
  | 'INTERNAL'
  | 'TOOL_MISSING'
  | 'TOOL_TOO_OLD'
  | 'TOOL_WRONG'
  | 'UNREACHABLE'
  | 'AUTH_FAILED'
  | 'TLS_REFUSED'
  | 'PRIVILEGE'
  | 'LOCK_TIMEOUT'
  | 'STALLED'
  | 'DUMP_FAILED'
  | 'DUMP_TRUNCATED'
  | 'DUMP_EMPTY'
  | 'DEST_UNREACHABLE'
  | 'DEST_AUTH'
  | 'DEST_FULL'
  | 'DEST_IDENTITY'
  | 'UPLOAD_INCOMPLETE'
  | 'VERIFY_MISMATCH'
  | 'DECRYPT_FAILED'
  | 'ARCHIVE_UNSAFE'
  | 'SECRET_UNAVAILABLE'
  | 'CATALOGUE_CORRUPT'
  | 'CATALOGUE_NEWER'

export type Fact = string | number | boolean | null
export type Details = Record<string, Fact | Fact[]>

/** `model::Error`, rendered by `api` in the language of the settings; `text` lets the window say it in its own. */
export interface CoffreError {
  code: Code
  text: string
  message: string
  hint: string
  details: Details
}

export type BackupState =
  | 'running'
  | 'stored'
  | 'verified'
  | 'failed'
  | 'interrupted'
  | 'cancelled'
  | 'skipped'
  | 'missed'
  | 'deleting'
  | 'deleted'
export type CopyState = 'stored' | 'verified' | 'missing' | 'corrupt' | 'deleting' | 'deleted'
export type Trigger = 'manual' | 'scheduled' | 'catch_up' | 'safety' | 'guard' | 'api'
export type BackupType = 'hourly' | 'daily' | 'weekly' | 'monthly' | 'manual'
export type Kind = 'full' | 'differential' | 'incremental'

export interface Tool {
  name: string
  path: string | null
  version: string
}

export interface Copy {
  destination: string
  destination_id: Id
  key: string
  state: CopyState
  stored_bytes: number
  sha256: string | null
  verified_at: Time | null
  error?: CoffreError | null
}

export interface Backup {
  id: Id
  code: string
  source: string
  source_id: Id
  plan: string | null
  plan_id: Id | null
  trigger: Trigger
  type: BackupType
  kind: Kind
  base_id: Id | null
  state: BackupState
  started_at: Time
  ended_at: Time | null
  duration_ms: number | null
  raw_bytes: number | null
  stored_bytes: number | null
  sha256: string | null
  raw_sha256: string | null
  compression: string
  encryption: string | null
  tables: number | null
  rows: number | null
  tool: Tool | null
  server_version: string | null
  flags: string[]
  error: CoffreError | null
  note: string
  pinned: boolean
  copies: Copy[]
}

export type DumpFormat = 'pg_custom' | 'sql' | 'sqlite'

export interface TableCount {
  table: string
  rows: number
}

export interface Scope {
  included: string[]
  not_included: string[]
  excluded_tables?: string[]
}

export interface Part {
  name: string
  format: DumpFormat
  raw_bytes: number
  raw_sha256: string
}

export interface Manifest extends Backup {
  schema: number
  coffre_version: string
  artifact: string
  database: string
  format: DumpFormat
  scope: Scope
  table_counts: TableCount[]
  parts: Part[]
  recipient?: string | null
  recovery: string[]
}

export type Tls = 'disable' | 'prefer' | 'require' | 'verify-full'

export interface SourceOptions {
  format: string | null
  tls: Tls | null
  tool_path: string | null
  include: string[]
  exclude: string[]
  no_owner: boolean
  no_privileges: boolean
  no_large_objects: boolean
}

export interface Source {
  id: Id
  name: string
  address: string
  options: SourceOptions
  has_secret: boolean
  created_at: Time
}

export interface Destination {
  id: Id
  name: string
  address: string
  has_secret: boolean
  identified: boolean
  created_at: Time
}

export interface Retention {
  keep_last: number | null
  keep_days: number | null
  keep_hourly: number | null
  keep_daily: number | null
  keep_weekly: number | null
  keep_monthly: number | null
  keep_yearly: number | null
}

export interface Plan {
  id: Id
  name: string
  source_id: Id
  source: string
  destination_ids: Id[]
  destinations: string[]
  kind: Kind
  every: BackupType | null
  compression: string
  encryption: string | null
  key_id: Id | null
  retention: Retention
  created_at: Time
}

export interface Probe {
  server_version: string
  tool: Tool
  estimated_bytes: number | null
  tables: number
  tls: boolean | null
  remarks: CoffreError[]
}

export type FieldKind = 'text' | 'number' | 'switch' | 'choice' | 'file' | 'folder' | 'lines' | 'secret'
export type FieldPart = 'user' | 'host' | 'port' | 'path' | 'option' | 'secret'

export interface Field {
  name: string
  kind: FieldKind
  required: boolean
  choices: string[]
  default: string | null
  part: FieldPart
}

export interface Capability {
  needs_tools: boolean
  network: boolean
  consistent_counts: boolean
  table_choice: boolean
}

export type Step =
  | 'waiting'
  | 'preparing'
  | 'dumping'
  | 'counting'
  | 'verifying'
  | 'loading'
  | 'comparing'
  | 'finishing'

export interface Progress {
  id: Id | null
  step: Step
  done: number
  total: number | null
  estimated: boolean
}

export type RestoreState = 'planned' | 'running' | 'done' | 'undone' | 'failed' | 'interrupted'
export type RestoreMode = 'into' | 'dry_run' | 'replace'
export type StepState = 'pending' | 'running' | 'done' | 'failed'

export interface RestoreStep {
  name: string
  state: StepState
  started_at: Time | null
  ended_at: Time | null
}

export interface CountComparison {
  table: string
  before: number | null
  after: number | null
  backup: number | null
}

export interface Restore {
  id: Id
  backup_id: Id | null
  file: string | null
  target: string
  mode: RestoreMode
  state: RestoreState
  safety_backup_id: Id | null
  started_at: Time
  ended_at: Time | null
  steps: RestoreStep[]
  counts: CountComparison[]
  error: CoffreError | null
}

export type Author = 'cli' | 'app' | 'api' | 'schedule' | 'system'

export interface Entry {
  id: number
  at: Time
  author: Author
  actor: string | null
  action: string
  subject_kind: string
  subject_id: Id | null
  subject: string
  result: 'ok' | 'failed'
  error: CoffreError | null
}

export type KeyKind = 'recipient' | 'passphrase'

export interface Key {
  id: Id
  name: string
  kind: KeyKind
  recipient: string | null
  created_at: Time
  exported_at: Time | null
}

/* ---------- crates/api: what the commands take and answer ---------- */

/** What this build can do beyond the ground; the window hides what is absent rather than offering what will be refused. */
export type Feature = 'schedule' | 'retention' | 'replace' | 'rebuild'

export interface SecretStore {
  kind: 'keychain' | 'vault'
  /** The name a person knows it by: "Secret Service", "Keychain", "Credential Manager", a file. */
  name: string
  state: 'ready' | 'locked' | 'absent' | 'refused'
}

export interface About {
  version: string
  home: string
  log_folder: string
  platform: 'linux' | 'macos' | 'windows'
  features: Feature[]
  secrets: SecretStore
  /** The language that `language = system` means here. */
  system_language: 'en' | 'fr'
  /** No source, no destination, no backup yet: the welcome is shown. */
  first_start: boolean
}

/** A kind of database or storage, with its form as data. */
export interface Adapter {
  /** `postgres`, `sqlite`, `local`, …: the name used in text keys. */
  name: string
  schemes: string[]
  /** A product name, shown as it is: "PostgreSQL". */
  label: string
  fields: Field[]
  /** Databases only. */
  capability: Capability | null
}

export interface Adapters {
  databases: Adapter[]
  storages: Adapter[]
}

export type FieldValue = string | number | boolean | string[] | null

/** What a form holds: the values of an adapter's fields by name, without the secret. The engine builds the address from it. */
export interface Draft {
  name: string
  adapter: string
  values: Record<string, FieldValue>
}

/** What happens to the secret kept for a source or destination. The value goes one way: to the keychain, never back. */
export type SecretChange = { change: 'keep' } | { change: 'set'; value: string } | { change: 'forget' }

/** Messages by field name (`name` for the name itself); empty when all is well. */
export type DraftErrors = Record<string, CoffreError>

export type ProtectionState = 'protected' | 'at_risk' | 'unprotected'
/** Why a source is not protected, or will not stay so. */
export type ProtectionCause = 'no_plan' | 'never' | 'stale' | 'few_copies' | 'last_failed' | 'paused'

/** The parts of the sentence; the window puts them into words. */
export interface Protection {
  state: ProtectionState
  cause: ProtectionCause | null
  last_verified_at: Time | null
  /** Verified copies of that backup, and in how many places. */
  copies: number
  places: number
  /** Measured by a drill or a restore. */
  restore_ms: number | null
  /** The open error of the last run, where there is one. */
  error: CoffreError | null
  /** The backup that the error belongs to. */
  error_backup_id: Id | null
}

export type Outcome = 'verified' | 'stored' | 'failed' | 'interrupted' | 'cancelled' | 'skipped' | 'missed' | 'running'

export interface SourceRow {
  source: Source
  adapter: string
  /** `Adapter.label`, or more exact once probed: "MariaDB". */
  label: string
  server_version: string | null
  /** Size of the last plain dump, or of the last probe. */
  bytes: number | null
  /** Where it is, ready to show: a path, or `user@host:port/db`. */
  place: string
  protection: Protection
  plans: { id: Id; name: string }[]
  /** Outcomes of the last 14 slots or runs, oldest first. */
  outcomes: Outcome[]
  next_run_at: Time | null
  running: boolean
}

export interface SourceDetail extends SourceRow {
  /** To fill the form again; never with a secret. */
  draft: Draft
}

export interface Space {
  free: number
  total: number
}

export interface DestinationRow {
  destination: Destination
  adapter: string
  label: string
  place: string
  /** `unknown` until somebody looked. Nothing here is green: an answer proves no backup. */
  state: 'answers' | 'silent' | 'unknown'
  checked_at: Time | null
  error: CoffreError | null
  space: Space | null
  copies: number
  verified_copies: number
  stored_bytes: number
  plans: { id: Id; name: string; source: string }[]
}

export interface DestinationDetail extends DestinationRow {
  draft: Draft
}

export interface DestinationProbe {
  place: string
  space: Space | null
  /** `new`: nothing there yet; `known`: this very destination; `other`: it belongs to another catalogue and can be read from. */
  identity: 'new' | 'known' | 'other'
  /** Backups (manifests) found there. */
  backups: number
  remarks: CoffreError[]
}

export interface PlanDraft {
  name: string
  source_id: Id
  destination_ids: Id[]
  kind: Kind
  every: BackupType | null
  /** `HH:MM` in `time_zone`; with the feature `schedule`. */
  at: string | null
  /** Five Unix fields, in place of `every` and `at`; with the feature `schedule`. */
  cron: string | null
  time_zone: string | null
  compression: string
  key_id: Id | null
  retention: Retention
}

export interface PlanRow {
  plan: Plan
  /** As it is edited. */
  draft: PlanDraft
  paused: boolean
  next_run_at: Time | null
  last: Backup | null
  successes: number
  failures: number
  last_error: CoffreError | null
}

export interface Departure {
  /** Local day, `YYYY-MM-DD`. */
  day: string
  code: string
  started_at: Time
  stored_bytes: number
  /** `ui.plans.departure.<reason>`. */
  reason: 'older' | 'beyond_last' | 'daily' | 'weekly' | 'monthly'
}

export interface PlanPreview {
  errors: DraftErrors
  /** Five at most; empty without the feature `schedule` or without an interval. */
  next: { at: Time; remark: 'clock_back' | 'clock_forward' | null }[]
  kept_now: number
  kept_then: number
  departures: Departure[]
  copies: number
  places: number
  offsite: number
  /** From the last backup of the source. */
  raw_bytes: number | null
  stored_bytes: number | null
}

export type BackupSort = 'started_at' | 'source' | 'plan' | 'state' | 'type' | 'stored_bytes' | 'duration_ms'

export interface BackupQuery {
  source_id?: Id | null
  plan_id?: Id | null
  state?: BackupState | null
  type?: BackupType | null
  /** Searched in code, names, note and error, without regard to case. */
  text?: string
  sort: BackupSort
  descending: boolean
  /** From 1. */
  page: number
  per_page: number
}

export interface BackupStats {
  stored_bytes: number
  verified: number
  failed: number
  last_verified_at: Time | null
}

export interface BackupPage {
  backups: Backup[]
  total: number
  page: number
  per_page: number
  stats: BackupStats
}

/** What is proven of a backup. `false` means "not proven", never "disproven". */
export interface Proofs {
  bytes_read: boolean
  structure_read: boolean
  restored: boolean
  rows_equal: boolean
  /** The restore or drill behind the last two. */
  restored_at: Time | null
  restore_ms: number | null
}

export interface TimelineEntry {
  at: Time
  /** `ui.timeline.<event>`; its facts are `facts`. */
  event:
    | 'opened'
    | 'tool'
    | 'counted'
    | 'written'
    | 'read_back'
    | 'manifest'
    | 'failed'
    | 'cancelled'
    | 'interrupted'
    | 'missed'
    | 'skipped'
    | 'verified'
    | 'corrupt'
    | 'pinned'
    | 'unpinned'
    | 'noted'
    | 'downloaded'
    | 'deleted'
  facts: Details
  duration_ms: number | null
}

export interface BackupDetail {
  backup: Backup
  adapter: string
  /** Nothing where none was written. */
  manifest: Manifest | null
  proofs: Proofs
  /** In how many places its copies lie; two disks of one machine are one place. */
  places: number
  timeline: TimelineEntry[]
  /** What the error changes: the protection of the source now. */
  protection: Protection
  next_run_at: Time | null
  /** The command that would do the next action of the error, ready to paste; nothing where there is none. */
  remedy: string | null
  /** The same backup from a terminal. */
  command: string
  /** Last lines that the tool printed; secrets are not in them. */
  tool_output: string[]
}

export interface DeletePreview {
  backups: number
  stored_bytes: number
  /** Verified backups of the same sources that stay. */
  verified_left: number
  /** Why it cannot be done at all. */
  refusal: CoffreError | null
  /** To hand back to `delete_backups`. */
  confirmation: string
}

export interface Running {
  /** The backup or restore. */
  id: Id
  noun: 'backup' | 'verify' | 'restore'
  source: string
  source_id: Id | null
  adapter: string
  plan: string | null
  started_at: Time
  progress: Progress
}

export interface RestoreTargetOption {
  kind: 'new_file' | 'new_database' | 'address' | 'replace'
  /** What to start from: a path, a database's name, an address. */
  suggestion: string
  /** Where it would be: the server of `new_database`. */
  place: string
  refusal: CoffreError | null
}

export interface RestoreTarget {
  kind: RestoreTargetOption['kind']
  value: string
  secret: string | null
}

export interface RestoreRequest {
  backup_id: Id | null
  /** A file from anywhere, in place of `backup_id`. */
  file: string | null
  target: RestoreTarget
}

export interface RestoreCheck {
  /** `ui.restore.check.<name>`. `read_to_end` only where it was: it is shown as proof; `readable` is not. */
  name: 'read_to_end' | 'readable' | 'versions' | 'privileges' | 'space' | 'target_empty' | 'key' | 'format'
  ok: boolean
  facts: Details
  error: CoffreError | null
}

export interface RestorePlan {
  /** Bound to backup, target and time; `start_restore` carries it. */
  confirmation: string
  expires_at: Time
  /** What must be typed: the source's name, or the file's. */
  name: string
  backup: Backup | null
  file: string | null
  format: DumpFormat
  target: string
  mode: RestoreMode
  counts: CountComparison[]
  rows: number | null
  checks: RestoreCheck[]
  estimated_ms: number | null
  /** False where a check forbids it. */
  allowed: boolean
  command: string
}

export interface Calendar {
  /** Local day, `YYYY-MM-DD`; days without a row are not listed. */
  day: string
  verified: number
  stored: number
  failed: number
  missed: number
  other: number
}

export interface SizePoint {
  day: string
  stored_bytes: number
}

export interface NextRun {
  plan_id: Id
  plan: string
  source: string
  at: Time
  overdue: boolean
  /** Why it waits or will fail. */
  remark: CoffreError | null
}

export interface Figures {
  stored_bytes: number
  capacity_bytes: number | null
  places: number
  verified: number
  kept: number
  failures: number
  failures_open: number
  last: { source: string; state: BackupState; at: Time } | null
}

export interface Overview {
  sources: SourceRow[]
  protected: number
  figures: Figures
  /** Twelve months, oldest first. */
  calendar: Calendar[]
  sizes: SizePoint[]
  running: Running[]
  lanes: number
  next: NextRun[]
  schedules_paused: boolean
}

/** What the sidebar counts. */
export interface Attention {
  sources: number
  protected: number
  at_risk: number
  unprotected: number
  failures_open: number
  next_run_at: Time | null
}

export interface JournalQuery {
  text?: string
  author?: Author | null
  result?: 'ok' | 'failed' | null
  page: number
  per_page: number
}

export interface JournalPage {
  entries: Entry[]
  total: number
  page: number
  per_page: number
}

export interface SourceHealth {
  source_id: Id
  source: string
  adapter: string
  label: string
  state: 'answers' | 'silent' | 'unknown'
  checked_at: Time | null
  server_version: string | null
  latency_ms: number | null
  bytes: number | null
  tables: number | null
  tls: boolean | null
  tool: Tool | null
  error: CoffreError | null
  remarks: CoffreError[]
  protection: Protection
}

export interface DiskHealth {
  path: string
  destinations: string[]
  space: Space
  /** Twice the largest last backup, at least 10 GB. */
  wanted_free: number
  full_in_days: number | null
}

export interface CatalogueHealth {
  path: string
  bytes: number
  journal_mode: string
  quick_check_at: Time | null
  damaged: boolean
  fragmentation: number
}

export interface MemoryHealth {
  coffre: number
  used: number
  total: number
  swap_used: number
  swap_total: number
}

export interface Health {
  checked_at: Time
  sources: SourceHealth[]
  disks: DiskHealth[]
  /** Nothing where the system does not tell. */
  memory: MemoryHealth | null
  catalogue: CatalogueHealth
  secrets: SecretStore
  stale_after_ms: number
  day: { verified: number; failed: number; missed: number }
}

export interface TableStat {
  table: string
  rows: number
  bytes: number | null
}

export interface TableStats {
  tables: TableStat[]
  /** When these were counted: now, or in the last backup's snapshot. */
  at: Time
  exact: boolean
}

export interface SettingRow {
  key: string
  value: string
  default: string
  kind:
    | { type: 'number'; min: number; max: number }
    | { type: 'choice'; choices: string[] }
    | { type: 'folders' }
    | { type: 'switch' }
  /** Set by `COFFRE_<KEY>` in the environment: shown, not editable. */
  overridden: boolean
}

export interface ToolFound {
  tool: Tool
  adapter: string
  usable: boolean
  /** Why not, where it is not. */
  error: CoffreError | null
  /** Names of the sources that it is chosen for. */
  sources: string[]
}

export type FilePurpose = 'database' | 'restore' | 'identity' | 'tool'

/* ---------- pushed ---------- */

/** What a read provides and a change invalidates. With an id: that one thing; without: every one of its kind. */
export type Noun =
  | 'about'
  | 'sources'
  | 'destinations'
  | 'plans'
  | 'backups'
  | 'restores'
  | 'keys'
  | 'journal'
  | 'health'
  | 'settings'
  | 'tools'
  | 'running'
  | 'overview'
export interface Tag {
  noun: Noun
  id?: Id
}

export type BackendEvent =
  /** These are no longer what was read. */
  | { type: 'invalidated'; tags: Tag[] }
  /** At most ten times a second for each piece of work. */
  | { type: 'progress'; progress: Progress }
  /** A notification or the tray wants a view: a route such as `/backups/<id>`. */
  | { type: 'navigate'; route: string }
  /** Somebody wants to quit while work is running; answered by `quit` or not at all. */
  | { type: 'quit_requested'; running: Running[] }
  /** Events were lost: everything is to be read again. */
  | { type: 'lagged' }
