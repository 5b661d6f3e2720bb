/**
 * The types between window and backend, written from the Rust ones. Do not edit: after a change in `crates/api/src/window`, run
 * `UPDATE_TYPES=1 cargo test -p coffre-api types_are_current`.
 * Times are RFC 3339 in UTC, sizes are bytes, ids are UUIDv7.
 */

export type Time = string
export type Fact = string | number | boolean | null
/** Facts of an error or an event, by name. */
export type Details = Record<string, Fact | Fact[]>
/** How a run can end, or stand. */
export type Outcome = Exclude<BackupState, 'deleting' | 'deleted'>

/** Coffre itself. */
export type About = {
  /** Its version. */
  version: string,
  /** The home folder. */
  home: string,
  /** Where log files lie. */
  log_folder: string,
  /** The system. */
  platform: 'linux' | 'macos' | 'windows',
  /** What this build can do. */
  features: Array<Feature>,
  /** The secret store. */
  secrets: SecretStore,
  /** The language that `language = system` means here. */
  system_language: 'en' | 'fr',
  /** No source, no destination, no backup yet: the welcome is shown. */
  first_start: boolean,
  /** Why the catalogue cannot be opened; then every other command answers the same. */
  catalogue_error: CoffreError | null,
}

/** A kind of database or storage, with its form as data. */
export type Adapter = {
  /** `postgres`, `sqlite`, `local`, …: the name used in text keys. */
  name: string,
  /** The schemes of its addresses. */
  schemes: Array<string>,
  /** Its name for people. */
  label: string,
  /** Its form. */
  fields: Array<Field>,
  /** Databases only. */
  capability: Capability | null,
}

/** Every kind. */
export type Adapters = {
  /** Of databases. */
  databases: Array<Adapter>,
  /** Of storages. */
  storages: Array<Adapter>,
}

/** The arguments of `add_source` and `add_destination`. */
export type AddDraft = { draft: Draft, secret: SecretChange, };

/** The arguments of `add_plan`. */
export type AddPlan = { draft: PlanDraft, };

/** Whether something answered when it was last looked at. An answer proves no backup. */
export type Answer = "answers" | "silent" | "unknown";

/** What the sidebar counts. */
export type Attention = {
  /** All sources. */
  sources: number,
  /** Those that are protected. */
  protected: number,
  /** Those at risk. */
  at_risk: number,
  /** Those that are not protected. */
  unprotected: number,
  /** Sources whose last run failed. */
  failures_open: number,
  /** Channels that do not reach their receiver. */
  channels_failing: number,
  /** No channel that listens reaches its receiver: nobody would hear. */
  nobody_told: boolean,
  /** When something runs next. */
  next_run_at: string | null,
  /** Whether nothing runs by itself because somebody paused it. */
  schedules_paused: boolean,
}

/** Through what a person or a machine acted. */
export type Author = "cli" | "app" | "api" | "schedule" | "system";

/** What the backend says by itself. */
export type BackendEvent = { "type": "invalidated",
  /** Which ones. */
  tags: Array<Tag>, } | { "type": "progress",
  /** The news. */
  progress: Progress, } | { "type": "navigate",
  /** The view. */
  route: string, } | { "type": "quit_requested",
  /** What would end. */
  running: Array<Running>, } | { "type": "lagged" };

/** A backup: one attempt and its result. */
export type Backup = {
  /** Identity. */
  id: Id,
  /** The readable name. */
  code: BackupCode,
  /** The source's name as it was. */
  source: string,
  /** The source's id. */
  source_id: Id,
  /**
   * Which database the source pointed to when this was made: SHA-256 of [`crate::source::Source::database_address`], in hexadecimal. A
   * backup proves something of its source only while the source still points there. Nothing in backups that do not say it.
   */
  aim?: string | null,
  /** The plan's name, if a plan made it. */
  plan: string | null,
  /** The plan's id, if a plan made it. */
  plan_id: Id | null,
  /** What started it. */
  trigger: Trigger,
  /** The interval it stands for. */
  type: BackupType,
  /** How much it holds. */
  kind: Kind,
  /** What it builds on (differential and incremental). */
  base_id: Id | null,
  /** Where it stands. */
  state: BackupState,
  /** When the run began. */
  started_at: string,
  /** When it ended, in whatever way. */
  ended_at: string | null,
  /** How long it took. */
  duration_ms: number | null,
  /** Size of the plain dump. */
  raw_bytes: number | null,
  /** Size of the artifact. */
  stored_bytes: number | null,
  /** SHA-256 of the stored artifact. */
  sha256: string | null,
  /** SHA-256 of the plain dump. */
  raw_sha256: string | null,
  /** How it is compressed. */
  compression: Compression,
  /** The name of the key that opens it. */
  encryption: string | null,
  /** How many tables it holds. */
  tables: number | null,
  /** How many rows it holds. */
  rows: number | null,
  /** What made the dump. */
  tool: Tool | null,
  /** The server's version. */
  server_version: string | null,
  /** Remarks that change how it counts, such as `shrunk`. */
  flags: Array<string>,
  /** Why it failed. */
  error: CoffreError | null,
  /** A person's remark. */
  note: string,
  /** Never removed by retention. */
  pinned: boolean,
  /** Chosen by retention: its bytes go at this time, and until then it can be taken back by pinning it. */
  leaves_at?: string | null,
  /** When a person said that what is unusual about it (`flags`) is right: since then it counts for retention. */
  acknowledged_at?: string | null,
  /** Where it lies. */
  copies: Array<Copy>,
}

/** The readable name of a backup: `BKP-20260205211302-IWD8` (UTC time of its start, four random letters or digits). */
export type BackupCode = string;

/** One backup with everything about it. */
export type BackupDetail = {
  /** The backup. */
  backup: Backup,
  /** The kind of database. */
  adapter: string,
  /** Its manifest; nothing where none was written. */
  manifest: Manifest | null,
  /** What is proven. */
  proofs: Proofs,
  /** In how many places its copies lie; two disks of one machine are one place. */
  places: number,
  /** What the commands before and after its run did. */
  hooks: Array<HookRun>,
  /** What happened, oldest first. */
  timeline: Array<TimelineEntry>,
  /** Every drill of it, newest first. */
  drills: Array<Drill>,
  /** How safe its source is now. */
  protection: Protection,
  /** When its plan runs next. */
  next_run_at: string | null,
  /** The command that would do the next action of the error, ready to paste; nothing where there is none. */
  remedy: string | null,
  /** The same backup from a terminal. */
  command: string,
  /** Last lines that the tool printed; secrets are not in them. */
  tool_output: Array<string>,
}

/** A page of the list. */
export type BackupPage = {
  /** The backups, each with what its last drill showed. */
  backups: Array<Drilled>,
  /** How many there are on all pages. */
  total: number,
  /** The page, from 1. */
  page: number,
  /** How many on a page. */
  per_page: number,
  /** Sums over all pages. */
  stats: BackupStats,
}

/** What is asked of the list. */
export type BackupQuery = { source_id?: Id | null, plan_id?: Id | null, state?: BackupState | null, type?: BackupType | null,
  /** Searched in code, names, note and error, without regard to case. */
  text?: string | null, sort: BackupSort, descending: boolean,
  /** From 1. */
  page: number, per_page: number,
}

/** By what the list is sorted. */
export type BackupSort = "started_at" | "source" | "plan" | "state" | "type" | "stored_bytes" | "duration_ms";

/** Where a backup stands. Only `Verified` is green. */
export type BackupState = "running" | "stored" | "verified" | "failed" | "interrupted" | "cancelled" | "skipped" | "missed" | "deleting" | "deleted";

/** Sums over all pages. */
export type BackupStats = {
  /** Bytes of all copies that lie somewhere. */
  stored_bytes: number,
  /** Verified backups. */
  verified: number,
  /** Failed ones. */
  failed: number,
  /** When a copy of the newest verified backup was last read back. */
  last_verified_at: string | null,
}

/** The interval a backup stands for; retention counts by it. */
export type BackupType = "hourly" | "daily" | "weekly" | "monthly" | "manual";

/** Slots that brought no verified backup, since the last one that did. */
export type Behind = {
  /** Nobody was there for them. */
  missed: number,
  /** They did not work. */
  failed: number,
  /** They were left out because the run before them went on. */
  skipped: number,
  /** The first of them. */
  since: string,
}

/** The arguments of a command about one thing. */
export type ById = { id: Id, };

/** How the runs of one local day ended. Days without a run are not listed. */
export type Calendar = {
  /** Local day, `YYYY-MM-DD`. */
  day: string,
  /** Verified. */
  verified: number,
  /** Written, not read back. */
  stored: number,
  /** Failed or interrupted. */
  failed: number,
  /** Nobody was there. */
  missed: number,
  /** Cancelled, skipped, running. */
  other: number,
}

/** What a kind of database can do; drawn by the shells, checked by the engine. */
export type Capability = {
  /** Needs programs of the database's maker. */
  needs_tools: boolean,
  /** Can reach a server over a network. */
  network: boolean,
  /** Can count rows in the dump's own snapshot. */
  consistent_counts: boolean,
  /** Can choose tables. */
  table_choice: boolean,
}

/** Coffre's own database. */
export type CatalogueHealth = {
  /** The file. */
  path: string,
  /** Its size with its log. */
  bytes: number,
  /** `wal`. */
  journal_mode: string,
  /** When it was last read whole and checked. */
  quick_check_at: string | null,
  /** Whether that found damage. */
  damaged: boolean,
  /** What it found. */
  error: CoffreError | null,
  /** The share of it that holds nothing, 0 to 1. */
  fragmentation: number,
}

/** A copy that is the catalogue now. */
export type CatalogueRestored = {
  /** The copy; it stays. */
  copy: string,
  /** Where what was replaced lies now, if there was anything. */
  aside: string | null,
}

/** A channel. */
export type Channel = {
  /** Identity. */
  id: Id,
  /** The name a person gave it. */
  name: string,
  /** How it reaches its receiver. */
  settings: ChannelSettings,
  /** `en` or `fr`. */
  language: 'en' | 'fr',
  /** The IANA time zone in which it tells times. */
  time_zone: string,
  /** What it wants to hear. */
  wants: Wants,
  /** Only of these plans and their sources; empty: of all. */
  plan_ids: Array<Id>,
  /** Whether a secret is kept for it. */
  has_secret: boolean,
  /** Since when it hears nothing. */
  paused_at: string | null,
  /** When it was added. */
  created_at: string,
}

/** What the form of a channel holds; never its secret. */
export type ChannelDraft = { name: string, kind: ChannelKind, values: Record<string, FieldValue | null>, language: 'en' | 'fr',
  /** Nothing: that of this machine. */
  time_zone: string | null, wants: Wants, plan_ids: Array<Id>,
}

/** A kind of channel and its form. */
export type ChannelForm = { kind: ChannelKind, fields: Array<Field>, };

/** How a channel carries messages. */
export type ChannelKind = "email" | "slack" | "webhook" | "ping";

/** A channel with what its form holds. */
export type ChannelRow = { state: ChannelState, draft: ChannelDraft, };

/** What a kind of channel needs to reach its receiver. Never a secret: those are kept under the channel's id. */
export type ChannelSettings = { "kind": "email",
  /** The server's name. */
  host: string,
  /** Its port. */
  port: number,
  /** How the connection is protected. */
  security: Security,
  /** Who signs in; nothing for a server that asks nobody. */
  user: string | null,
  /** The sender's address. */
  from: string,
  /** The receivers' addresses. */
  to: Array<string>,
  /** Certificates (PEM) that are trusted beside the system's. */
  ca_file: string | null, } | { "kind": "slack",
  /** What may be shown of the address: scheme and host. */
  place: string, } | { "kind": "webhook",
  /** The address. */
  url: string,
  /** Certificates (PEM) that are trusted beside the system's. */
  ca_file: string | null, } | { "kind": "ping",
  /** What may be shown of the address: scheme and host. */
  place: string,
  /** Whether a failed run is told too, at the address with `/fail` behind it. Else silence tells. */
  failures: boolean,
}

/** A channel and how it goes. */
export type ChannelState = {
  /** Where it goes, as may be shown. */
  place: string,
  /** The plans' names that it is limited to. */
  plans: Array<string>,
  /** What became of the message that was tried last. */
  last: LastDelivery | null,
  /** How many messages wait. */
  waiting: number,
  /** Why it does not reach its receiver, if so. */
  failing: CoffreError | null,
  /** Identity. */
  id: Id,
  /** The name a person gave it. */
  name: string,
  /** How it reaches its receiver. */
  settings: ChannelSettings,
  /** `en` or `fr`. */
  language: 'en' | 'fr',
  /** The IANA time zone in which it tells times. */
  time_zone: string,
  /** What it wants to hear. */
  wants: Wants,
  /** Only of these plans and their sources; empty: of all. */
  plan_ids: Array<Id>,
  /** Whether a secret is kept for it. */
  has_secret: boolean,
  /** Since when it hears nothing. */
  paused_at: string | null,
  /** When it was added. */
  created_at: string,
}

/** What became of a test: the error says why it was not taken. */
export type ChannelTested = { ok: boolean, error: CoffreError | null, };

/** The arguments of `check_channel`. */
export type CheckChannel = { id: Id | null, draft: ChannelDraft, secret: SecretChange, };

/** The arguments of `check_source` and `check_destination`. */
export type CheckDraft = { id: Id | null, draft: Draft, };

/** What was looked at before a restore. */
export type CheckName = "read_to_end" | "versions" | "privileges" | "space" | "target_empty" | "key" | "format" | "replaceable";

/** The arguments of `choose_file`. */
export type ChooseFile = { purpose: FilePurpose, };

/** The arguments of `choose_new_file`. */
export type ChooseNewFile = { suggestion: string, };

/** What is odd about a slot. */
export type ClockChange = "clock_forward" | "clock_back";

/** Stable error codes (`contract.md`, "Output and exit status"). A code exists only if a caller acts on it. */
export type Code = "USAGE" | "NOT_FOUND" | "BUSY" | "REFUSED" | "CANCELLED" | "INTERRUPTED" | "INTERNAL" | "TOOL_MISSING" | "TOOL_TOO_OLD" | "TOOL_WRONG" | "UNREACHABLE" | "AUTH_FAILED" | "TLS_REFUSED" | "PRIVILEGE" | "LOCK_TIMEOUT" | "STALLED" | "DUMP_FAILED" | "DUMP_TRUNCATED" | "DUMP_EMPTY" | "DEST_UNREACHABLE" | "DEST_AUTH" | "DEST_FULL" | "DEST_IDENTITY" | "UPLOAD_INCOMPLETE" | "VERIFY_MISMATCH" | "DECRYPT_FAILED" | "ARCHIVE_UNSAFE" | "SECRET_UNAVAILABLE" | "CATALOGUE_CORRUPT" | "CATALOGUE_NEWER" | "HOME_FULL";

/** An error in words: `text` is the key below `errors.`, for a window that says it in words of its own. */
export type CoffreError = { code: Code, text: string, message: string, hint: string, details: Details, };

/** A compression with its level. `zip` and `tar.gz` belong to composite backups and are refused until those exist. */
export type Compression = string;

/** The arguments of `confirm_retention`. */
export type ConfirmRetention = { plan_id: Id, confirmation: string, };

/** A backup as it lies at one destination. */
export type Copy = {
  /** The destination's name. */
  destination: string,
  /** The destination's id. */
  destination_id: Id,
  /** Where the artifact lies below the destination's root. */
  key: string,
  /** How it stands. */
  state: CopyState,
  /** Size of the artifact as stored. */
  stored_bytes: number,
  /** SHA-256 of the artifact as stored, in hexadecimal. */
  sha256: string | null,
  /** When it was last read back to its end. */
  verified_at: string | null,
  /** Why it is missing or corrupt. */
  error?: CoffreError | null,
}

/** How one copy stands at its destination. */
export type CopyState = "stored" | "verified" | "missing" | "corrupt" | "deleting" | "deleted";

/** The rows of one table: in the target before and after, and in the backup. */
export type CountComparison = {
  /** The table. */
  table: string,
  /** Rows in the target before; nothing where the table was not there. */
  before: number | null,
  /** Rows in the target now; nothing where it is not there (or in a dry run). */
  after: number | null,
  /** Rows in the backup; nothing where its manifest does not know (a file made elsewhere). */
  backup: number | null,
}

/** The arguments of `create_key`. */
export type CreateKey = { name: string, kind: KeyKind,
  /** For a key from a passphrase. */
  passphrase: string | null,
}

/** How the last 24 hours went. */
export type DayCounts = {
  /** Verified backups. */
  verified: number,
  /** Failed and interrupted ones. */
  failed: number,
  /** Missed ones. */
  missed: number,
}

/** The arguments of `delete_backups`. */
export type DeleteBackups = { ids: Array<Id>, confirmation: string, };

/** What would vanish. */
export type DeletePreview = {
  /** How many backups. */
  backups: number,
  /** Bytes of all their copies. */
  stored_bytes: number,
  /** Verified backups of the same sources that stay. */
  verified_left: number,
  /** Why it cannot be done at all. */
  refusal: CoffreError | null,
  /** To hand back to `delete_backups`; good once, for a quarter of an hour. */
  confirmation: string,
}

/** A message and what became of it, for showing. */
export type DeliveryShown = {
  /** Its id; the receiver got it too. */
  id: Id,
  /** The channel's name. */
  channel: string,
  /** What it tells: `backup.failed`, … */
  events: Array<string>,
  /** What about: names of sources, without repetition. */
  about: Array<string>,
  /** What became of it. */
  state: DeliveryState,
  /** How often it was tried. */
  tries: number,
  /** When it was queued. */
  created_at: string,
  /** When it was sent or given up. */
  ended_at: string | null,
  /** When it is tried again. */
  next_try_at: string | null,
  /** Why the last try did not work. */
  error: CoffreError | null,
}

/** What became of a message. */
export type DeliveryState = "pending" | "sending" | "sent" | "given_up";

/** A backup that would leave. */
export type Departure = {
  /** The local day on which its bytes would go, `YYYY-MM-DD`. */
  day: string,
  /** The backup; nothing for one that does not exist yet. */
  id: Id | null,
  /** Its code, likewise. */
  code: string | null,
  /** When it was made, or would be. */
  started_at: string,
  /** When it would go into the bin; nothing where it is there already. */
  chosen_at: string | null,
  /** When its bytes would go. */
  leaves_at: string,
  /** What it takes. */
  stored_bytes: number,
  /** Why. */
  reason: Reason,
  /** What keeps it until then, where something does. */
  kept_by: Reason | null,
  /** Whether a newer one stands for the same stretch of time then. */
  replaced: boolean,
  /** So many would leave at once that Coffre stops and asks first. */
  asks: boolean,
}

/** A place that holds backups. */
export type Destination = {
  /** Identity; also written into [`IDENTITY_FILE`] there. */
  id: Id,
  /** The name a person gave it. */
  name: string,
  /** The canonical address, without a secret. */
  address: string,
  /** Whether a secret is kept for it. */
  has_secret: boolean,
  /**
   * What the identity file said when this destination was first used. From then on its absence, or another id, stops everything.
   * It differs from `id` where a folder with backups from another home was added.
   */
  identity: Id | null,
  /** When it was added. */
  created_at: string,
}

/** A destination with its form. */
export type DestinationDetail = {
  /** To fill the form again; never with a secret. */
  draft: Draft,
  /** The destination. */
  destination: Destination,
  /** The kind of storage. */
  adapter: string,
  /** Its name for people. */
  label: string,
  /** Where it is, ready to show. */
  place: string,
  /** Whether it answered. */
  state: Answer,
  /** When it was asked. */
  checked_at: string | null,
  /** Why it did not answer. */
  error: CoffreError | null,
  /** Room there. */
  space: Space | null,
  /** Copies that lie there, or should. */
  copies: number,
  /** Those of them that are verified. */
  verified_copies: number,
  /** Bytes that they take. */
  stored_bytes: number,
  /** Plans that use it. */
  plans: Array<PlanThere>,
}

/** What a look at a destination found. */
export type DestinationProbe = {
  /** Where it is. */
  place: string,
  /** Room there. */
  space: Space | null,
  /** Whose it is. */
  identity: WhoseIdentity,
  /** Backups (manifests) found there. */
  backups: number,
  /** Remarks for a person. */
  remarks: Array<CoffreError>,
}

/** A destination in a list. */
export type DestinationRow = {
  /** The destination. */
  destination: Destination,
  /** The kind of storage. */
  adapter: string,
  /** Its name for people. */
  label: string,
  /** Where it is, ready to show. */
  place: string,
  /** Whether it answered. */
  state: Answer,
  /** When it was asked. */
  checked_at: string | null,
  /** Why it did not answer. */
  error: CoffreError | null,
  /** Room there. */
  space: Space | null,
  /** Copies that lie there, or should. */
  copies: number,
  /** Those of them that are verified. */
  verified_copies: number,
  /** Bytes that they take. */
  stored_bytes: number,
  /** Plans that use it. */
  plans: Array<PlanThere>,
}

/** How often a channel gets a summary. */
export type Digest = "none" | "daily" | "weekly";

/** A disk that backups lie on. */
export type DiskHealth = {
  /** Where it is mounted, or the destination's own place. */
  path: string,
  /** The destinations on it. */
  destinations: Array<string>,
  /** Room on it. */
  space: Space,
  /** How much should be free: twice the largest backup, at least 10 GB. */
  wanted_free: number,
  /** In how many days it is full at the pace of the last thirty; nothing where it does not grow, or would take more than ten years. */
  full_in_days: number | null,
}

/** The arguments of `download_backup`. */
export type DownloadBackup = { id: Id,
  /** The plain dump: decrypted and decompressed. */
  raw: boolean,
}

/** What a form holds: the values of an adapter's fields by name, without the secret. The address is built from it here. */
export type Draft = {
  /** The name. */
  name: string,
  /** The kind of database or storage. */
  adapter: string,
  /** The values. */
  values: Record<string, FieldValue | null>,
}

/** Messages by the name of the field (`name` for the name itself); empty when all is well. */
export type DraftErrors = Record<string, CoffreError>;

/** A drill, as the contract shows it. */
export type Drill = {
  /** Identity. */
  id: Id,
  /** The backup that was rehearsed. */
  backup_id: Id,
  /** Its source. */
  source_id: Id,
  /** Where it stands. */
  state: DrillState,
  /** The deepest level that was reached and found right. Nothing where not even the bytes are. */
  level: DrillLevel | null,
  /** When it began. */
  started_at: string,
  /** When it ended. */
  ended_at: string | null,
  /** From the first byte read to the last row counted, without the making of the throw-away database: what a real restore would take here. */
  restore_ms: number | null,
  /** The version of what served the throw-away database. */
  server_version: string | null,
  /** Tables counted. */
  tables: number | null,
  /** Rows counted. */
  rows: number | null,
  /** Why it did not go deeper, and what else a person should know. */
  remarks: Array<CoffreError>,
  /** Why it failed. */
  error: CoffreError | null,
}

/** How deep a drill got. */
export type DrillLevel = "bytes" | "structure" | "restored" | "counted";

/** Where a drill stands. */
export type DrillState = "running" | "done" | "failed" | "interrupted" | "cancelled";

/** A backup with what its last drill showed. */
export type Drilled = {
  /** Its last drill that came to an end; nothing where there was none. */
  last_drill: LastDrill | null,
  /** Identity. */
  id: Id,
  /** The readable name. */
  code: BackupCode,
  /** The source's name as it was. */
  source: string,
  /** The source's id. */
  source_id: Id,
  /**
   * Which database the source pointed to when this was made: SHA-256 of [`crate::source::Source::database_address`], in hexadecimal. A
   * backup proves something of its source only while the source still points there. Nothing in backups that do not say it.
   */
  aim?: string | null,
  /** The plan's name, if a plan made it. */
  plan: string | null,
  /** The plan's id, if a plan made it. */
  plan_id: Id | null,
  /** What started it. */
  trigger: Trigger,
  /** The interval it stands for. */
  type: BackupType,
  /** How much it holds. */
  kind: Kind,
  /** What it builds on (differential and incremental). */
  base_id: Id | null,
  /** Where it stands. */
  state: BackupState,
  /** When the run began. */
  started_at: string,
  /** When it ended, in whatever way. */
  ended_at: string | null,
  /** How long it took. */
  duration_ms: number | null,
  /** Size of the plain dump. */
  raw_bytes: number | null,
  /** Size of the artifact. */
  stored_bytes: number | null,
  /** SHA-256 of the stored artifact. */
  sha256: string | null,
  /** SHA-256 of the plain dump. */
  raw_sha256: string | null,
  /** How it is compressed. */
  compression: Compression,
  /** The name of the key that opens it. */
  encryption: string | null,
  /** How many tables it holds. */
  tables: number | null,
  /** How many rows it holds. */
  rows: number | null,
  /** What made the dump. */
  tool: Tool | null,
  /** The server's version. */
  server_version: string | null,
  /** Remarks that change how it counts, such as `shrunk`. */
  flags: Array<string>,
  /** Why it failed. */
  error: CoffreError | null,
  /** A person's remark. */
  note: string,
  /** Never removed by retention. */
  pinned: boolean,
  /** Chosen by retention: its bytes go at this time, and until then it can be taken back by pinning it. */
  leaves_at?: string | null,
  /** When a person said that what is unusual about it (`flags`) is right: since then it counts for retention. */
  acknowledged_at?: string | null,
  /** Where it lies. */
  copies: Array<Copy>,
}

/** What a stream of plain bytes is. */
export type DumpFormat = "pg_custom" | "sql" | "sqlite";

/** The arguments of `edit_source` and `edit_destination`. */
export type EditDraft = { id: Id, draft: Draft, secret: SecretChange, };

/** The arguments of `edit_plan`. */
export type EditPlan = { id: Id, draft: PlanDraft, };

/** One line of the journal. */
export type Entry = {
  /** Order of writing. */
  id: number,
  /** When. */
  at: string,
  /** Through what. */
  author: Author,
  /** The user of the system, or a token's name. */
  actor: string | null,
  /** What: `backup.run`, `source.add`, `restore.run`, … (`journal.<action>` in the catalogues of words). */
  action: string,
  /** The kind of thing acted on: `backup`, `source`, … */
  subject_kind: string,
  /** Its id. */
  subject_id: string | null,
  /** Its name or code as it was. */
  subject: string,
  /** `ok`, or `failed` (then with the error). */
  result: 'ok' | 'failed',
  /** Why it failed. */
  error: CoffreError | null,
}

/** How a table is exported. */
export type ExportFormat = "csv" | "sql";

/** The arguments of `export_journal`. */
export type ExportJournal = { wanted: JournalWanted, format: JournalFormat, };

/** The arguments of `export_table`. */
export type ExportTable = {
  /** The open backup. */
  id: Id, table: string, format: ExportFormat,
}

/** One table that was written to a file. */
export type Exported = {
  /** The table. */
  table: string,
  /** How. */
  format: ExportFormat,
  /** The file. */
  path: string,
  /** Its rows. */
  rows: number,
}

/** A channel that does not reach its receiver. */
export type FailingChannel = {
  /** The channel. */
  id: Id,
  /** Its name. */
  name: string,
  /** Why not. */
  error: CoffreError,
}

/** What this build can do beyond the ground; the window hides what is absent rather than offering what will be refused. */
export type Feature = "schedule" | "retention" | "replace" | "rebuild";

/** One field of a settings form. Labels and hints are `fields.<adapter>.<name>.{label,hint}` in the catalogues of words. */
export type Field = {
  /** The name in the settings, and the last part of the text key. */
  name: string,
  /** What it takes. */
  kind: FieldKind,
  /** Whether it must be given. */
  required: boolean,
  /** The allowed values of a choice. */
  choices: Array<string>,
  /** What is meant when it is left empty. */
  default: string | null,
  /** Where it goes: a part of the address (`host`, `path`, …) or the options. */
  part: FieldPart,
}

/** What a field takes. */
export type FieldKind = "text" | "number" | "switch" | "choice" | "file" | "folder" | "lines" | "secret";

/** Where the value of a field is kept. */
export type FieldPart = "user" | "host" | "port" | "path" | "option" | "secret";

/** The value of one field. */
export type FieldValue = boolean | number | string | Array<string>;

/** The figures. */
export type Figures = {
  /** Bytes of all copies. */
  stored_bytes: number,
  /** Size of all places together, where all of them tell. */
  capacity_bytes: number | null,
  /** How many places there are. */
  places: number,
  /** Verified backups. */
  verified: number,
  /** Backups that lie somewhere. */
  kept: number,
  /** Failures of the last thirty days. */
  failures: number,
  /** Sources whose last run failed. */
  failures_open: number,
  /** The last run that is over. */
  last: LastRunOfAll | null,
}

/** For what a file is chosen; decides the dialog's title and filter. */
export type FilePurpose = "database" | "restore" | "identity" | "tool";

/** A file that was written. */
export type FileWritten = {
  /** Where. */
  path: string,
}

/** Everything. */
export type Health = {
  /** When anything was last looked at. */
  checked_at: string | null,
  /** Sources. */
  sources: Array<SourceHealth>,
  /** Disks. */
  disks: Array<DiskHealth>,
  /** Nothing where the system does not tell. */
  memory: MemoryHealth | null,
  /** The catalogue. */
  catalogue: CatalogueHealth,
  /** The secret store. */
  secrets: SecretStore,
  /** From what age on a backup is not fresh any more, where no plan says it. */
  stale_after_ms: number,
  /** The last 24 hours. */
  day: DayCounts,
  /** What dead runs left at destinations and could not be removed, and what Coffre's own daily work could not do. */
  leftovers: Array<CoffreError>,
  /** Why the system did not show the last notification. */
  notices: CoffreError | null,
  /** Channels that do not reach their receiver. */
  channels: Array<FailingChannel>,
}

/** What follows when the command before a run fails. */
export type HookFailure = "abort" | "continue";

/** When a hook is run. */
export type HookMoment = "before" | "after";

/** What became of a hook. */
export type HookRun = {
  /** Before or after the run. */
  moment: HookMoment,
  /** The program that was run. */
  program: string,
  /** When it began. */
  started_at: string,
  /** When it ended. */
  ended_at: string,
  /** How it ended: `exit status 0`, `signal 9`; nothing where it could not be started. */
  status: string | null,
  /** The last that it said, a few kilobytes at most. */
  output: string,
  /** Why it failed, if it did. */
  error: CoffreError | null,
}

/** The hooks of a plan. */
export type Hooks = {
  /** The command before; none if empty. The first is the program: an absolute path, or a name that is looked for in the usual folders. */
  before: Array<string>,
  /** The command after; none if empty. */
  after: Array<string>,
  /** How long each may take, in seconds. */
  limit_seconds: number,
  /** What follows when the command before fails. One after can change nothing any more: it is remarked. */
  on_failure: HookFailure,
}

/** A UUIDv7: unique, and sorted by the time of its making. */
export type Id = string;

/** What replacing would mean. */
export type Impact = {
  /** The source's name. */
  source: string,
  /** Whether there is anything to lose. */
  exists: boolean,
  /** How it would be done; nothing where it cannot be. */
  way: ReplaceWay | null,
  /** Rows now and in the backup, for every table that is in either. */
  counts: Array<CountComparison>,
  /** Tables that would appear. */
  appear: Array<string>,
  /** Tables that would vanish. */
  vanish: Array<string>,
  /** What differs in tables that are in both. Nothing where one of the two does not tell. */
  schema: Array<SchemaDifference> | null,
  /** The newest moment per table now, the newest first: what is younger than the backup would be lost. */
  newest: Array<NewestValue>,
  /** Size of the live data in bytes. */
  live_bytes: number | null,
  /** Size of the plain backup in bytes. */
  backup_bytes: number | null,
  /** Room where the second one would lie. */
  space: Space | null,
  /** How long it took the last time, or a drill, in milliseconds. */
  estimated_ms: number | null,
  /** The version of the server that the backup came from. */
  backup_version: string | null,
  /** The version of the server now. */
  live_version: string | null,
  /** Who is connected now. */
  sessions: Array<LiveSession> | null,
  /** What forbids it now. */
  refusals: Array<CoffreError>,
  /** What a person should know. */
  remarks: Array<CoffreError>,
  /** The word that a replacement may carry: it is then refused if anything of this has changed. Good once. Nothing where it is forbidden. */
  confirmation: Id | null,
  /** Until when that is good. */
  expires_at: string | null,
}

/** The arguments of `import_key`. */
export type ImportKey = { name: string,
  /** The file with the key; not read where there is a passphrase. */
  path: string,
  /** A passphrase that backups were encrypted with, taken over as a key. */
  passphrase: string | null,
}

/** How the journal is written out. */
export type JournalFormat = "csv" | "json";

/** A page of the journal. */
export type JournalPage = {
  /** Its lines, newest first. */
  entries: Array<Entry>,
  /** How many there are on all pages. */
  total: number,
  /** The page, from 1. */
  page: number,
  /** How many on a page. */
  per_page: number,
}

/** What is asked of the journal. */
export type JournalQuery = { text?: string | null, author?: Author | null, result?: JournalResult | null, action?: string | null, source_id?: Id | null, since?: string | null, until?: string | null,
  /** From 1. */
  page: number, per_page: number,
}

/** Whether something went well. */
export type JournalResult = "ok" | "failed";

/** Which lines of the journal. Everything that is set must hold. */
export type JournalWanted = {
  /** Searched in action, subject, actor and error, without regard to case. */
  text?: string | null, author?: Author | null, result?: JournalResult | null,
  /** `backup.run`, or `backup` for everything of that kind. */
  action?: string | null,
  /** What concerns this source. */
  source_id?: Id | null,
  /** From this moment on. */
  since?: string | null,
  /** Before this moment. */
  until?: string | null,
}

/** The copies, and whether one is needed. */
export type KeptCopies = {
  /** Newest first. */
  copies: Array<KeptCopy>,
  /** The catalogue is damaged: a copy may take its place. A sound one is never replaced. */
  damaged: boolean,
}

/** A copy of the catalogue. */
export type KeptCopy = {
  /** The file. */
  path: string,
  /** When it was made. */
  at: string,
  /** Its size. */
  bytes: number,
}

/** A key that backups can be encrypted with. */
export type Key = {
  /** Identity; the secret store keeps the secret part under it. */
  id: Id,
  /** The name a person gave it. */
  name: string,
  /** What kind. */
  kind: KeyKind,
  /** `age1…` for a pair; nothing for a passphrase. */
  recipient: string | null,
  /** When it was made or imported. */
  created_at: string,
  /** When it was last exported, that is: when a person last held a copy of their own. */
  exported_at: string | null,
}

/** What kind of key. */
export type KeyKind = "recipient" | "passphrase";

/** A key that was made. */
export type KeyMade = {
  /** What a person should know about it: a short passphrase. */
  remarks: Array<CoffreError>,
  /** Identity; the secret store keeps the secret part under it. */
  id: Id,
  /** The name a person gave it. */
  name: string,
  /** What kind. */
  kind: KeyKind,
  /** `age1…` for a pair; nothing for a passphrase. */
  recipient: string | null,
  /** When it was made or imported. */
  created_at: string,
  /** When it was last exported, that is: when a person last held a copy of their own. */
  exported_at: string | null,
}

/** How much of the source a backup holds. */
export type Kind = "full" | "differential" | "incremental";

/** The message that was tried last. */
export type LastDelivery = {
  /** When it was queued. */
  at: string,
  /** What became of it. */
  state: DeliveryState,
  /** How often it was tried. */
  tries: number,
  /** When it is tried again. */
  next_try_at: string | null,
}

/** The last drill of a backup, in short. */
export type LastDrill = {
  /** Which one. */
  id: Id,
  /** `done` or `failed`: what was cut off or stopped says nothing. */
  state: DrillState,
  /** How deep it got. */
  level: DrillLevel | null,
  /** When it ended. */
  at: string,
  /** What a restore took. */
  restore_ms: number | null,
}

/** The last run that is over. */
export type LastRunOfAll = {
  /** Its id. */
  id: Id,
  /** The source's name. */
  source: string,
  /** How it ended. */
  state: BackupState,
  /** When. */
  at: string,
}

/** A backup that would leave. */
export type Leaving = {
  /** The backup. */
  id: Id,
  /** Its code. */
  code: string,
  /** When it was made. */
  started_at: string,
  /** Where it stands. */
  state: BackupState,
  /** What it takes, everywhere. */
  stored_bytes: number,
  /** When its bytes would go. */
  leaves_at: string | null,
  /** Why. */
  reason: Reason,
}

/** The arguments of `list_backups`. */
export type ListBackups = { query: BackupQuery, };

/** The arguments of `list_journal`. */
export type ListJournal = { query: JournalQuery, };

/** The arguments of `list_restores`. */
export type ListRestores = { limit: number, };

/** The arguments of `list_slots`. */
export type ListSlots = { plan_id: Id, limit: number, };

/** Somebody who is connected to the live data now. */
export type LiveSession = {
  /** The program, as it calls itself. */
  program: string,
  /** The user, where there are users. */
  user: string | null,
  /** Whether it is in the middle of a transaction. */
  in_transaction: boolean,
}

/** The manifest. */
export type Manifest = {
  /** [`SCHEMA`]. */
  schema: number,
  /** The Coffre that wrote it. */
  coffre_version: string,
  /** The file name of the artifact that it describes. */
  artifact: string,
  /** Kind of database: `postgres`, `sqlite`, … */
  database: string,
  /** What the plain bytes are. */
  format: DumpFormat,
  /** What is in it, and what is not. */
  scope: Scope,
  /** Exact rows per table, taken in the dump's own snapshot. */
  table_counts: Array<TableCount>,
  /** The parts. */
  parts: Array<Part>,
  /** Remarks of the tool or the adapter, for a person. */
  remarks?: Array<CoffreError>,
  /** `age1…` of the key that opens it, if it is a pair. */
  recipient?: string | null,
  /** The stock commands that restore this very backup, in order. */
  recovery: Array<string>,
  /** Identity. */
  id: Id,
  /** The readable name. */
  code: BackupCode,
  /** The source's name as it was. */
  source: string,
  /** The source's id. */
  source_id: Id,
  /**
   * Which database the source pointed to when this was made: SHA-256 of [`crate::source::Source::database_address`], in hexadecimal. A
   * backup proves something of its source only while the source still points there. Nothing in backups that do not say it.
   */
  aim?: string | null,
  /** The plan's name, if a plan made it. */
  plan: string | null,
  /** The plan's id, if a plan made it. */
  plan_id: Id | null,
  /** What started it. */
  trigger: Trigger,
  /** The interval it stands for. */
  type: BackupType,
  /** How much it holds. */
  kind: Kind,
  /** What it builds on (differential and incremental). */
  base_id: Id | null,
  /** Where it stands. */
  state: BackupState,
  /** When the run began. */
  started_at: string,
  /** When it ended, in whatever way. */
  ended_at: string | null,
  /** How long it took. */
  duration_ms: number | null,
  /** Size of the plain dump. */
  raw_bytes: number | null,
  /** Size of the artifact. */
  stored_bytes: number | null,
  /** SHA-256 of the stored artifact. */
  sha256: string | null,
  /** SHA-256 of the plain dump. */
  raw_sha256: string | null,
  /** How it is compressed. */
  compression: Compression,
  /** The name of the key that opens it. */
  encryption: string | null,
  /** How many tables it holds. */
  tables: number | null,
  /** How many rows it holds. */
  rows: number | null,
  /** What made the dump. */
  tool: Tool | null,
  /** The server's version. */
  server_version: string | null,
  /** Remarks that change how it counts, such as `shrunk`. */
  flags: Array<string>,
  /** Why it failed. */
  error: CoffreError | null,
  /** A person's remark. */
  note: string,
  /** Never removed by retention. */
  pinned: boolean,
  /** Chosen by retention: its bytes go at this time, and until then it can be taken back by pinning it. */
  leaves_at?: string | null,
  /** When a person said that what is unusual about it (`flags`) is right: since then it counts for retention. */
  acknowledged_at?: string | null,
  /** Where it lies. */
  copies: Array<Copy>,
}

/** Memory, in bytes. */
export type MemoryHealth = {
  /** Coffre's own, with the processes that it started. */
  coffre: number,
  /** Used on this machine. */
  used: number,
  /** All of it. */
  total: number,
  /** Used on disk in place of memory. */
  swap_used: number,
  /** All of that. */
  swap_total: number,
}

/** A thing by id and name. */
export type Named = {
  /** Its id. */
  id: Id,
  /** Its name. */
  name: string,
}

/** The newest moment that a table holds. */
export type NewestValue = {
  /** The table, named as in [`TableCount`]. */
  table: string,
  /** Its column of times that was looked at. */
  column: string,
  /** The greatest value, as the database writes it. */
  value: string,
}

/** A run to come. */
export type NextRun = {
  /** Its plan. */
  plan_id: Id,
  /** The plan's name. */
  plan: string,
  /** The source's name. */
  source: string,
  /** When. */
  at: string,
  /** Whether that is past. */
  overdue: boolean,
  /** Why it waits or will fail. */
  remark: CoffreError | null,
  /** How often it was tried. */
  tries: number,
  /** Not tried again before. */
  next_try_at: string | null,
}

/** A slot to come. */
export type NextSlot = {
  /** When. */
  at: string,
  /** What is odd about it. */
  remark: ClockChange | null,
}

/** The arguments of `note_backup`. */
export type NoteBackup = { id: Id, note: string, };

/** The arguments of a command that takes none. */
export type Nothing = Record<symbol, never>;

/** A kind of thing that is read, and can change. */
export type Noun = "about" | "sources" | "destinations" | "plans" | "backups" | "restores" | "keys" | "journal" | "health" | "settings" | "channels" | "tools" | "running" | "overview";

/** A backup that was opened. */
export type OpenedBackup = {
  /** What the other commands call it by; `close_opened` ends it. */
  id: Id,
  /** The backup. */
  backup: Backup,
  /** Its tables, by name. */
  tables: Array<OpenedTable>,
  /** The version of what serves it. */
  server_version: string,
  /** What a person should know of how it was loaded. */
  remarks: Array<CoffreError>,
  /** Sources that one of its tables can be brought back into; its own first. */
  sources: Array<ReplaceableSource>,
}

/** A table of an open backup. */
export type OpenedTable = {
  /** Its name, as lists show it. */
  table: string,
  /** Its rows. */
  rows: number,
  /** What it is called when it is brought back, unless another name is given. */
  new_name: string,
}

/** Everything. */
export type Overview = {
  /** Every source, the least safe first. */
  sources: Array<SourceRow>,
  /** How many of them are protected. */
  protected: number,
  /** The figures. */
  figures: Figures,
  /** Twelve months, oldest first. */
  calendar: Array<Calendar>,
  /** Twelve months, oldest first. */
  sizes: Array<SizePoint>,
  /** What runs now. */
  running: Array<Running>,
  /** How many can run at once. */
  lanes: number,
  /** What runs next. */
  next: Array<NextRun>,
  /** Whether nothing runs by itself because somebody paused it. */
  schedules_paused: boolean,
  /** Who should be told, and cannot be. */
  unheard: Unheard,
}

/** One part of an artifact. A plain backup has one. */
export type Part = {
  /** `database`, or the name of an attachment. */
  name: string,
  /** What its plain bytes are. */
  format: DumpFormat,
  /** Size of its plain bytes. */
  raw_bytes: number,
  /** SHA-256 of its plain bytes, in hexadecimal. */
  raw_sha256: string,
}

/** The arguments of `pause_channel`. */
export type PauseChannel = { id: Id, paused: boolean, };

/** The arguments of `pause_plan`. */
export type PausePlan = { id: Id, paused: boolean, };

/** The arguments of `pause_schedules`. */
export type PauseSchedules = { paused: boolean, };

/** The arguments of `pin_backup`. */
export type PinBackup = { id: Id, pinned: boolean, };

/** What is backed up, where to, and how. */
export type Plan = {
  /** Identity. */
  id: Id,
  /** The name a person gave it. */
  name: string,
  /** The source's id. */
  source_id: Id,
  /** The source's name. */
  source: string,
  /** The destinations' ids, in the order in which they were given. */
  destination_ids: Array<Id>,
  /** The destinations' names, likewise. */
  destinations: Array<string>,
  /** How much each backup holds. */
  kind: Kind,
  /** The interval, where one is set: decides the type of the backups. */
  every: BackupType | null,
  /** Compression. */
  compression: Compression,
  /** The name of the key, if backups are encrypted. */
  encryption: string | null,
  /** The key's id. */
  key_id: Id | null,
  /** What is kept. */
  retention: Retention,
  /** When it is due by itself; nothing for a plan that a person starts. */
  schedule: PlanSchedule | null,
  /** Commands before and after each of its runs. */
  hooks?: Hooks | null,
  /** Since when it is not started by itself. */
  paused_at: string | null,
  /** When it was made. */
  created_at: string,
}

/** What a plan's form holds. */
export type PlanDraft = {
  /** Its name. */
  name: string,
  /** The source; nothing while none is chosen. */
  source_id: Id,
  /** The destinations, in order. */
  destination_ids: Array<Id>,
  /** How much each backup holds. */
  kind: Kind,
  /** The interval. */
  every: BackupType | null,
  /** `HH:MM` in `time_zone`, with `every`; nothing means the usual time. Of an hourly plan the minute counts. */
  at: string | null,
  /** The day of the week of a weekly plan, 0 is Sunday; nothing means Monday. */
  weekday?: number | null,
  /** The day of the month of a monthly plan, up to 28, which every month has; nothing means the first. */
  month_day?: number | null,
  /** Five Unix fields, in place of `every` and `at`. */
  cron: string | null,
  /** The time zone of both; nothing means that of this machine. */
  time_zone: string | null,
  /** Wait for the network. */
  wait_for_network: boolean,
  /** Wait for mains power. */
  wait_for_power: boolean,
  /** `zstd[:L]`, `gzip[:L]` or `none`. */
  compression: string,
  /** The key that encrypts. */
  key_id: Id | null,
  /** What is kept. */
  retention: Retention,
  /** Commands before and after each run; where nothing is said they stay as they are. */
  hooks?: Hooks | null,
}

/** What a plan would mean. */
export type PlanPreview = {
  /** What is wrong with the form. */
  errors: DraftErrors,
  /** Its next slots, five at most; empty where it is not started by itself. */
  next: Array<NextSlot>,
  /** Its schedule in words. */
  explanation: string | null,
  /** The five fields that the form means. */
  cron: string | null,
  /** Backups of this plan that lie somewhere now. */
  kept_now: number,
  /** How many would lie there at the end of the days that were played through. */
  kept_then: number,
  /** What would leave within the next ninety days, if every run succeeds; first what is in the bin already. */
  departures: Array<Departure>,
  /** Nothing where all ninety days were played through; else how far it went. */
  departures_until: string | null,
  /** Days in the bin before the bytes go. */
  bin_days: number,
  /** Why nothing leaves by the rules of this plan, where they stand still. */
  retention_stopped: CoffreError | null,
  /** Its backups with a flag that nobody has looked at: they count for no rule. */
  unusual: Array<Unusual>,
  /** Copies of each backup. */
  copies: number,
  /** In how many places. */
  places: number,
  /** How many of those away from this machine. */
  offsite: number,
  /** Size of the source's last plain dump. */
  raw_bytes: number | null,
  /** Size of its last artifact. */
  stored_bytes: number | null,
}

/** The arguments of `plan_restore`. */
export type PlanRestore = { request: RestoreRequest, };

/** A plan in a list. */
export type PlanRow = {
  /** The plan. */
  plan: Plan,
  /** As it is edited. */
  draft: PlanDraft,
  /** Whether it is paused. */
  paused: boolean,
  /** When it runs next. */
  next_run_at: string | null,
  /** Its last backup. */
  last: Backup | null,
  /** Its verified backups. */
  successes: number,
  /** Its failed and interrupted ones. */
  failures: number,
  /** Slots that nobody was there for. */
  missed: number,
  /** Why the last one failed, if it did. */
  last_error: CoffreError | null,
  /** The slot that is due and has not run yet, with what it waits for. */
  due: SlotRow | null,
  /** Why nothing leaves by its rules, where they stand still. */
  retention_stopped: CoffreError | null,
}

/** When a plan is due. */
export type PlanSchedule = {
  /** Five fields of cron: minute, hour, day of the month, month, day of the week. */
  cron: string,
  /** The IANA time zone in which they are meant. */
  time_zone: string,
  /** Wait for the network (a destination or source that is reached over it). */
  wait_for_network: boolean,
  /** Wait for mains power. */
  wait_for_power: boolean,
}

/** A plan that uses a destination. Plans of several sources may have one name. */
export type PlanThere = {
  /** Its id. */
  id: Id,
  /** Its name. */
  name: string,
  /** Its source's name. */
  source: string,
}

/** The arguments of `preview_delete`. */
export type PreviewDelete = { ids: Array<Id>, };

/** The arguments of `preview_plan`. */
export type PreviewPlan = { id: Id | null, draft: PlanDraft, };

/** What a look at the database found. */
export type Probe = {
  /** The server's (or file's) version. */
  server_version: string,
  /** The tool that would make the dump. */
  tool: Tool,
  /** About how many bytes a dump would have, for progress. */
  estimated_bytes: number | null,
  /** How many tables there are. */
  tables: number,
  /** Whether the connection is encrypted; nothing where there is no network. */
  tls: boolean | null,
  /** Remarks for a person: a newer tool than the server, tables that may not be read, … */
  remarks: Array<CoffreError>,
}

/** One piece of news about running work. */
export type Progress = {
  /** The backup or restore that this is about. */
  id: Id | null,
  /** What is being done. */
  step: Step,
  /** Bytes done in this step. */
  done: number,
  /** Bytes in all, where known or estimated. */
  total: number | null,
  /** Whether `total` is an estimate. */
  estimated: boolean,
}

/** What is proven of a backup. `false` means "not proven", never "disproven". */
export type Proofs = {
  /** Its stored bytes were read back to their end. */
  bytes_read: boolean,
  /** They were decrypted, decompressed and parsed to their end. */
  structure_read: boolean,
  /** It was restored. */
  restored: boolean,
  /** And every table had its rows. */
  rows_equal: boolean,
  /** When. */
  restored_at: string | null,
  /** How long that took. */
  restore_ms: number | null,
}

/** The parts of the sentence; the window puts them into words. */
export type Protection = {
  /** How safe the source is. */
  state: ProtectionState,
  /** Why it is not safer. */
  cause: ProtectionCause | null,
  /** When the newest verified backup was read to its end. */
  last_verified_at: string | null,
  /** Verified copies of that backup, without those at destinations that did not answer when they were last asked. */
  copies: number,
  /** In how many places they are. */
  places: number,
  /** How long a restore took when one was last made or rehearsed. */
  restore_ms: number | null,
  /** What its plans owe; nothing where they kept what they promised. */
  behind: Behind | null,
  /** The open error of the last run, where there is one. */
  error: CoffreError | null,
  /** The backup that the error belongs to. */
  error_backup_id: Id | null,
}

/** Why a source is not protected, or will not stay so. */
export type ProtectionCause = "no_plan" | "never" | "moved" | "stale" | "slots_missed" | "unusual" | "drill_failed" | "few_copies" | "last_failed" | "paused" | "never_drilled";

/** How safe a source is. */
export type ProtectionState = "protected" | "at_risk" | "unprotected";

/** The arguments of `quit`. */
export type Quit = { mode: QuitMode, };

/** What becomes of running work. */
export type QuitMode = "wait" | "cancel";

/** The arguments of `read_rows`. */
export type ReadRows = {
  /** The open backup. */
  id: Id, table: string,
  /** Text that a value of a row holds, whatever the case of its letters. */
  search: string | null,
  /** From 1. */
  page: number, per_page: number,
}

/** Why a backup stays or leaves. */
export type Reason = {
  /** By what. */
  rule: Rule,
  /** For which stretch of time, in the plan's zone: `2026-02-14 21 +01:00`, `2026-02-14`, `2026-W07`, `2026-02`, `2026`. */
  period?: string | null,
  /** The number in the rule. */
  number?: number | null,
}

/** What was taken in from a destination. */
export type RebuiltFrom = {
  /** Backups that were not known. */
  backups: number,
  /** Sources that had no backup before. */
  sources: number,
  /** Manifests that could not be used, and why. */
  unusable: Array<CoffreError>,
}

/** How live data is replaced. */
export type ReplaceWay = "swap" | "within";

/** A source whose live data could be replaced. */
export type ReplaceableSource = {
  /** It. */
  id: Id,
  /** Its name. */
  name: string,
  /** Where its data lives. */
  place: string,
}

/** A restore, as the contract shows it. */
export type Restore = {
  /** Identity. */
  id: Id,
  /** The backup; nothing for a file from elsewhere. */
  backup_id: Id | null,
  /** The file, when one was given. */
  file: string | null,
  /** The address restored into. */
  target: string,
  /** The source whose live data is replaced, or would be. */
  source_id: Id | null,
  /** How. */
  mode: RestoreMode,
  /** Where it stands. */
  state: RestoreState,
  /** The copy of the target made first (with `--replace`). */
  safety_backup_id: Id | null,
  /** When it began. */
  started_at: string,
  /** When it ended. */
  ended_at: string | null,
  /** What was done. */
  steps: Array<RestoreStep>,
  /** Rows per table. */
  counts: Array<CountComparison>,
  /** Until when what was live before is kept for an undo. Nothing where nothing is kept (any more). */
  kept_until: string | null,
  /** How much room that takes in bytes. */
  kept_bytes: number | null,
  /** What a person should know of the way it was done: owners that had to be left out, … */
  remarks: Array<CoffreError>,
  /** Why it failed. */
  error: CoffreError | null,
}

/** Which copy is to come back. */
export type RestoreCatalogue = {
  /** Its file, one of those that were listed. */
  path: string,
}

/** One of them. */
export type RestoreCheck = {
  /** Which: `ui.restore.check.<name>`. */
  name: CheckName,
  /** Whether it is well. */
  ok: boolean,
  /** Its facts. */
  facts: Details,
  /** Why not. */
  error: CoffreError | null,
}

/** A restore, with what can be done about it now. */
export type RestoreDetail = {
  /** The restore. */
  restore: Restore,
  /** The source whose live data it replaced, by its name now. */
  source: string | null,
  /** The kind of database of that source. */
  adapter: string | null,
  /** Where its data is, for a person: without scheme, password and options. */
  place: string,
  /** The backup that was made of the live data first. */
  safety: Backup | null,
  /** How it can be taken back now: `swap` puts back what is kept, in a moment; `within` restores the safety backup. Nothing where it cannot. */
  undo: ReplaceWay | null,
}

/** Where the backup goes. */
export type RestoreMode = "into" | "dry_run" | "replace";

/** What a restore would do. */
export type RestorePlan = {
  /** Bound to backup, target and time; `start_restore` carries it out once. */
  confirmation: string,
  /** Until when. */
  expires_at: string,
  /** What must be typed: the source's name, or the file's. */
  name: string,
  /** The backup. */
  backup: Backup | null,
  /** The file. */
  file: string | null,
  /** What the plain bytes are; nothing where the file could not be read. */
  format: DumpFormat | null,
  /** The address restored into. */
  target: string,
  /** How. */
  mode: RestoreMode,
  /** Rows per table. */
  counts: Array<CountComparison>,
  /** Rows in all, where known. */
  rows: number | null,
  /** What was looked at. */
  checks: Array<RestoreCheck>,
  /** How long it took the last time. */
  estimated_ms: number | null,
  /** What replacing live data would mean; nothing for a new place, and where the backup itself is not good. */
  impact: Impact | null,
  /** For how many days what was live is kept for an undo (the setting). Zero: not at all. */
  undo_days: number,
  /** False where a check forbids it. */
  allowed: boolean,
  /** The same from a terminal. */
  command: string,
}

/** What is asked of a restore. */
export type RestoreRequest = {
  /** A backup; or */
  backup_id: Id | null,
  /** a file from anywhere. */
  file: string | null, target: RestoreTarget,
}

/** Where a restore stands. */
export type RestoreState = "planned" | "running" | "done" | "undone" | "failed" | "interrupted";

/** One step. */
export type RestoreStep = {
  /**
   * Into a new place: `verify`, `prepare`, `load`, `compare`, `settle`. In place of live data: `look`, `verify`, `safety`, `prepare`, `load`,
   * `compare`, `swap`, `check`; and `undo`.
   */
  name: string,
  /** Where it stands. */
  state: StepState,
  /** When it began. */
  started_at: string | null,
  /** When it ended. */
  ended_at: string | null,
}

/** The arguments of `restore_table`. */
export type RestoreTable = {
  /** The open backup. */
  id: Id, table: string,
  /** The source that it is brought back into, beside what is there. */
  source_id: Id,
  /** What it is to be called. */
  name: string,
}

/** A place to restore to, as it was chosen. */
export type RestoreTarget = { kind: TargetKind,
  /** As `TargetKind` says; for `replace` the id of a source, where a file replaces its data. */
  value: string, secret: string | null,
}

/** A place to restore to, as it is offered. */
export type RestoreTargetOption = {
  /** What kind. */
  kind: TargetKind,
  /** What to start from: a path, a database's name, an address. */
  suggestion: string,
  /** Where it would be: the server of `new_database`. */
  place: string,
  /** The sources whose live data could be replaced: a backup's own, for a file all that can take it. Empty for other kinds. */
  sources: Array<ReplaceableSource>,
  /** Why it cannot be chosen. */
  refusal: CoffreError | null,
}

/** The arguments of `restore_targets`. */
export type RestoreWhat = { backup_id: Id | null, file: string | null, };

/** How many backups a plan keeps ([`crate::retention`]). Without a rule nothing ever leaves by itself; zero is no rule. */
export type Retention = {
  /** The last N. */
  keep_last: number | null,
  /** Those younger than N days. */
  keep_days: number | null,
  /** One an hour, N times. */
  keep_hourly: number | null,
  /** One a day, N times. */
  keep_daily: number | null,
  /** One a week, N times. */
  keep_weekly: number | null,
  /** One a month, N times. */
  keep_monthly: number | null,
  /** One a year, N times. */
  keep_yearly: number | null,
  /** Never fewer verified ones than this, whatever the rules say; 1 where nothing is said. */
  keep_min?: number | null,
}

/** What was done then. */
export type RetentionDone = {
  /** How many are in the bin. */
  leaving: number,
  /** How many are gone. */
  removed: number,
  /** Why some that are due are still there; they are tried again. */
  waiting: Array<CoffreError>,
}

/** What a plan's retention would do now. */
export type RetentionPreview = {
  /** What would leave, newest first; the first of them where they are very many. */
  leaving: Array<Leaving>,
  /** How many that are in all. */
  leaving_count: number,
  /** What they take. */
  bytes: number,
  /** How many of the plan's backups stay. */
  kept: number,
  /** How many of those are verified. */
  kept_verified: number,
  /** Why nothing is done by itself. */
  stopped: CoffreError | null,
  /** To hand back to `confirm_retention`; good once, for a quarter of an hour. */
  confirmation: string,
}

/** One page of a table's rows, as text. */
export type RowPage = {
  /** The columns, in order. */
  columns: Array<string>,
  /** Rows; each value as the database writes it, nothing for NULL. A very long value is cut, and ends with `…`. */
  rows: Array<Array<string | null>>,
  /** Rows that fit the search, in all. */
  total: number,
  /** Which page, from 1. */
  page: number,
  /** Rows a page. */
  per_page: number,
}

/** What keeps a backup, or lets it go. */
export type Rule = "last" | "days" | "hourly" | "daily" | "weekly" | "monthly" | "yearly" | "minimum" | "last_of_source" | "last_at_destination" | "base" | "pinned" | "manual" | "running" | "not_verified" | "unusual" | "newest_unusual" | "future" | "failed_recently" | "nothing_better" | "no_rules" | "no_rule_keeps_it" | "failed_long_ago" | "asked";

/** The arguments of `run_backup`. */
export type RunBackup = {
  /** By this plan; or */
  plan_id: Id | null,
  /** of this source, without a plan, to the default destination. */
  source_id: Id | null,
}

/** A backup that has begun. */
export type RunBegun = {
  /** Its id. */
  id: Id,
}

/** A piece of work that goes on. */
export type Running = {
  /** The backup or restore. */
  id: Id,
  /** What is done. */
  noun: RunningNoun,
  /** The source's name, or the file's. */
  source: string,
  /** The source. */
  source_id: Id | null,
  /** The kind of database. */
  adapter: string,
  /** The plan's name. */
  plan: string | null,
  /** Since when. */
  started_at: string,
  /** How far it is. */
  progress: Progress,
  /** Another process on this home does it: its progress is not known here, and it cannot be cancelled here. */
  elsewhere: boolean,
  /** It was cancelled and is about to end. */
  cancelling: boolean,
  /** It can be cancelled from here. Not what another process does, and not once live data is changing places: that is all or nothing, and over in a moment. */
  cancellable: boolean,
}

/** What kind of work. */
export type RunningNoun = "backup" | "verify" | "restore" | "download" | "undo" | "drill" | "open";

/** The sample, protected, with its first backup running. */
export type SampleMade = {
  /** The source. */
  source_id: Id,
  /** The plan. */
  plan_id: Id,
  /** The backup that runs. */
  backup_id: Id,
}

/** The arguments of `save_channel`: a new one without an id. */
export type SaveChannel = { id: Id | null, draft: ChannelDraft, secret: SecretChange, };

/** The arguments of `save_recovery_sheet`. */
export type SaveRecoverySheet = {
  /** Of this backup; or of the latest verified one of every source. */
  backup_id: Id | null,
  /** Whether the private keys are printed on it. */
  include_keys?: boolean,
}

/** One column (or constraint) that differs. */
export type SchemaDifference = {
  /** The table; it is in both. */
  table: string,
  /** The column or constraint. */
  column: string,
  /** What it is now; nothing where it is not there. */
  now: string | null,
  /** What it is in the backup; nothing where it is not there. */
  backup: string | null,
}

/** What a dump holds and what it does not. */
export type Scope = {
  /** What is in it: words of `scope.<word>` in the catalogues of words. */
  included: Array<string>,
  /** What is not: `roles`, `tablespaces`, `other_databases`, … and tables left out by choice. */
  not_included: Array<string>,
  /** Tables left out by choice, by name. */
  excluded_tables?: Array<string>,
}

/** What happens to the secret kept for a source or destination. The value goes one way: to the store, never back. */
export type SecretChange = { "change": "keep", } | { "change": "set",
  /** By this. */
  value: string, } | { "change": "forget",
}

/** How the secret store stands. */
export type SecretState = "ready" | "locked" | "absent" | "refused" | "unknown";

/** The store of passwords and keys. */
export type SecretStore = {
  /** `keychain` or `vault`. */
  kind: 'keychain' | 'vault',
  /** The name a person knows it by, or the vault's file. */
  name: string,
  /** How it stands. */
  state: SecretState,
  /** Why it cannot be used. */
  error: CoffreError | null,
}

/** How the connection with a mail server is protected. */
export type Security = "starttls" | "tls" | "none";

/** A catalogue that was moved out of the way. */
export type SetAside = {
  /** Where the damaged one lies now; nothing where there was nothing wrong. */
  path: string | null,
}

/** The arguments of `set_setting`. */
export type SetSetting = { key: string, value: string, };

/** What a setting may be. */
export type SettingKind = { "type": "number",
  /** The least. */
  min: number,
  /** The greatest. */
  max: number, } | { "type": "choice",
  /** Which. */
  choices: Array<string>, } | { "type": "folders" } | { "type": "switch" };

/** A setting as it stands. */
export type SettingRow = {
  /** The key. */
  key: string,
  /** What holds. */
  value: string,
  /** What holds when nobody set it. */
  default: string,
  /** What it may be. */
  kind: SettingKind,
  /** Set by `COFFRE_<KEY>` in the environment: shown, not editable. */
  overridden: boolean,
}

/** What lay at all destinations at the end of a local day. */
export type SizePoint = {
  /** Local day, `YYYY-MM-DD`. */
  day: string,
  /** Bytes. */
  stored_bytes: number,
}

/** One moment at which a plan was due. */
export type SlotRow = {
  /** The moment. */
  at: string,
  /** What became of it. */
  state: SlotState,
  /** Why; for `due`, what it waits for. */
  reason: CoffreError | null,
  /** For how many moments it stands: missed ones of long ago share one. */
  count: number,
  /** Its run. */
  backup_id: Id | null,
  /** How often it was tried. */
  tries: number,
  /** Not tried again before. */
  next_try_at: string | null,
  /** When it was over. */
  ended_at: string | null,
}

/** What became of a slot. */
export type SlotState = "due" | "running" | "verified" | "failed" | "skipped" | "missed";

/** A database to protect. */
export type Source = {
  /** Identity. */
  id: Id,
  /** The name a person gave it. Data: shown, compared, never interpreted. */
  name: string,
  /** The canonical address, without a password. */
  address: string,
  /** Choices. */
  options: SourceOptions,
  /** Whether a password is kept in the secret store under this source's id. */
  has_secret: boolean,
  /** When it was added. */
  created_at: string,
}

/** A source with its form. */
export type SourceDetail = {
  /** To fill the form again; never with a secret. */
  draft: Draft,
  /** The source. */
  source: Source,
  /** The kind of database. */
  adapter: string,
  /** Its name for people. */
  label: string,
  /** The server's version, as it was last seen. */
  server_version: string | null,
  /** Size of the last plain dump, or as it was last looked at. */
  bytes: number | null,
  /** Where it is, ready to show. */
  place: string,
  /** How safe it is. */
  protection: Protection,
  /** Its plans. */
  plans: Array<Named>,
  /** What the last drill of any of its backups showed. */
  last_drill: LastDrill | null,
  /** How its last runs ended, oldest first. */
  outcomes: Array<Outcome>,
  /** When something of it runs next. */
  next_run_at: string | null,
  /** Whether it is being backed up now. */
  running: boolean,
}

/** A source and whether it answers. */
export type SourceHealth = {
  /** The source. */
  source_id: Id,
  /** Its name. */
  source: string,
  /** The kind of database. */
  adapter: string,
  /** Its name for people. */
  label: string,
  /** Whether it answered. */
  state: Answer,
  /** When it was asked. */
  checked_at: string | null,
  /** Its version. */
  server_version: string | null,
  /** How long the look took: connecting, and asking what a backup would ask. */
  latency_ms: number | null,
  /** About how large a dump would be. */
  bytes: number | null,
  /** How many tables. */
  tables: number | null,
  /** Whether the connection is encrypted. */
  tls: boolean | null,
  /** The tool that would make the dump. */
  tool: Tool | null,
  /** Why it did not answer. */
  error: CoffreError | null,
  /** Remarks for a person. */
  remarks: Array<CoffreError>,
  /** How safe it is. */
  protection: Protection,
}

/** What a person can choose about a source beyond its address. Adapters refuse what they cannot honour. */
export type SourceOptions = {
  /** `custom` or `plain` (PostgreSQL). */
  format: string | null,
  /** How much TLS. */
  tls: Tls | null,
  /** A folder searched first for this source's tools. */
  tool_path: string | null,
  /** Only tables that match one of these globs (`schema.table`). */
  include: Array<string>,
  /** No table that matches one of these globs. */
  exclude: Array<string>,
  /** Leave owners out of the dump. */
  no_owner: boolean,
  /** Leave privileges (GRANT) out of the dump. */
  no_privileges: boolean,
  /** Leave large objects out of the dump. */
  no_large_objects: boolean,
}

/** A source in a list. */
export type SourceRow = {
  /** The source. */
  source: Source,
  /** The kind of database. */
  adapter: string,
  /** Its name for people. */
  label: string,
  /** The server's version, as it was last seen. */
  server_version: string | null,
  /** Size of the last plain dump, or as it was last looked at. */
  bytes: number | null,
  /** Where it is, ready to show. */
  place: string,
  /** How safe it is. */
  protection: Protection,
  /** Its plans. */
  plans: Array<Named>,
  /** What the last drill of any of its backups showed. */
  last_drill: LastDrill | null,
  /** How its last runs ended, oldest first. */
  outcomes: Array<Outcome>,
  /** When something of it runs next. */
  next_run_at: string | null,
  /** Whether it is being backed up now. */
  running: boolean,
}

/** Room at a destination. */
export type Space = {
  /** Free for us, in bytes. */
  free: number,
  /** All of it, in bytes. */
  total: number,
}

/** The arguments of `start_restore`. */
export type StartRestore = { confirmation: string, name: string,
  /** In place of live data: rows may have come or gone since the preview, because an application keeps writing. False where it is not said. */
  rows_may_differ?: boolean,
}

/** What is being done now. */
export type Step = "waiting" | "preparing" | "dumping" | "counting" | "verifying" | "loading" | "comparing" | "swapping" | "finishing";

/** Where a step of a restore stands. */
export type StepState = "pending" | "running" | "done" | "failed";

/** Exact rows of one table. */
export type TableCount = {
  /** The table; `schema.table` where the database has schemas, each part quoted as SQL would where it must be. */
  table: string,
  /** Rows. */
  rows: number,
}

/** One table that was brought back. */
export type TableRestored = {
  /** The table in the backup. */
  table: string,
  /** What it is called now. */
  name: string,
  /** The address of the database that it is in. */
  target: string,
  /** Its rows. */
  rows: number,
}

/** Rows of one table. */
export type TableStat = {
  /** The table. */
  table: string,
  /** Its rows. */
  rows: number,
  /** What it takes, where that is known. */
  bytes: number | null,
}

/** Tables with their rows. */
export type TableStats = {
  /** By name. */
  tables: Array<TableStat>,
  /** When they were counted: now, or in the last backup's snapshot. */
  at: string,
  /** Whether they were counted one by one. */
  exact: boolean,
}

/** What a read provides and a change invalidates. With an id: that one thing; without: every one of its kind. */
export type Tag = {
  /** The kind of thing. */
  noun: Noun,
  /** The thing. */
  id?: Id,
}

/** What kind of place a restore can go to. */
export type TargetKind = "new_file" | "new_database" | "address" | "replace";

/** The arguments of `test_source` and `test_destination`. */
export type TestDraft = { id: Id | null, draft: Draft, secret: SecretChange, };

/** Something that happened to a backup. */
export type TimelineEntry = {
  /** When. */
  at: string,
  /** What: `ui.timeline.<event>`. */
  event: TimelineEvent,
  /** Its facts. */
  facts: Details,
  /** How long it took. */
  duration_ms: number | null,
}

/** What can happen to a backup. */
export type TimelineEvent = "opened" | "tool" | "read_back" | "manifest" | "failed" | "cancelled" | "interrupted" | "missed" | "skipped" | "adopted" | "verified" | "corrupt" | "not_verified" | "pinned" | "unpinned" | "noted" | "downloaded" | "restored" | "rehearsed" | "not_rehearsed" | "deleted";

/** How much TLS a connection must have. */
export type Tls = "disable" | "prefer" | "require" | "verify-full";

/** The program that made a dump. */
export type Tool = {
  /** `pg_dump`, or `sqlite` for the built-in way. */
  name: string,
  /** Absolute path; nothing for the built-in way. */
  path: string | null,
  /** The version that it printed when executed. */
  version: string,
}

/** A program that was found. */
export type ToolFound = {
  /** Name, path, and the version that it printed. */
  tool: Tool,
  /** The kind of database that it belongs to. */
  adapter: string,
  /** Whether it can be used. */
  usable: boolean,
  /** Why not. */
  error: CoffreError | null,
  /** Names of the sources whose last backup it made. */
  sources: Array<string>,
}

/** What started a run. */
export type Trigger = "manual" | "scheduled" | "catch_up" | "safety" | "guard" | "api";

/** Who should be told, and cannot be. Says nothing about backups: a source is as safe as its copies. */
export type Unheard = {
  /** Channels that listen and do not reach their receiver, by name. */
  channels: Array<FailingChannel>,
  /** No channel that listens reaches its receiver. */
  nobody: boolean,
}

/** A backup with a flag that nobody has looked at. */
export type Unusual = {
  /** The backup. */
  id: Id,
  /** Its code. */
  code: string,
  /** When it was made. */
  started_at: string,
  /** What is unusual: `flag.<word>`. */
  flags: Array<string>,
}

/** What a channel wants to hear. */
export type Wants = {
  /** What went wrong. */
  failures: boolean,
  /** That it is over. */
  recoveries: boolean,
  /** Every verified backup. */
  successes: boolean,
  /** Waits with a failure until it is not tried again by itself any more. */
  patient: boolean,
  /** After how many hours it hears again of what still goes wrong; 0 is never. */
  reminder_hours: number,
  /** How often it gets a summary. */
  digest: Digest,
  /** At what time of the day, `HH:MM` in the channel's time zone. */
  digest_at: string,
}

/** Whose a place is. */
export type WhoseIdentity = "new" | "known" | "other";

/** Every command: what it takes, and what it answers. */
export interface Commands {
  about: { args: Nothing; answer: About }
  adapters: { args: Nothing; answer: Adapters }
  attention: { args: Nothing; answer: Attention }
  overview: { args: Nothing; answer: Overview }
  running: { args: Nothing; answer: Array<Running> }
  set_catalogue_aside: { args: Nothing; answer: SetAside }
  list_catalogue_copies: { args: Nothing; answer: KeptCopies }
  restore_catalogue: { args: RestoreCatalogue; answer: CatalogueRestored }
  list_sources: { args: Nothing; answer: Array<SourceRow> }
  show_source: { args: ById; answer: SourceDetail }
  check_source: { args: CheckDraft; answer: DraftErrors }
  test_source: { args: TestDraft; answer: Probe }
  add_source: { args: AddDraft; answer: Source }
  edit_source: { args: EditDraft; answer: Source }
  remove_source: { args: ById; answer: null }
  list_tables: { args: ById; answer: TableStats }
  create_sample: { args: Nothing; answer: SampleMade }
  list_destinations: { args: Nothing; answer: Array<DestinationRow> }
  show_destination: { args: ById; answer: DestinationDetail }
  check_destination: { args: CheckDraft; answer: DraftErrors }
  test_destination: { args: TestDraft; answer: DestinationProbe }
  add_destination: { args: AddDraft; answer: Destination }
  edit_destination: { args: EditDraft; answer: Destination }
  remove_destination: { args: ById; answer: null }
  default_destination: { args: Nothing; answer: Destination }
  rebuild_from_destination: { args: ById; answer: RebuiltFrom }
  list_plans: { args: Nothing; answer: Array<PlanRow> }
  preview_plan: { args: PreviewPlan; answer: PlanPreview }
  add_plan: { args: AddPlan; answer: Plan }
  edit_plan: { args: EditPlan; answer: Plan }
  remove_plan: { args: ById; answer: null }
  pause_plan: { args: PausePlan; answer: null }
  pause_schedules: { args: PauseSchedules; answer: null }
  list_slots: { args: ListSlots; answer: Array<SlotRow> }
  preview_retention: { args: ById; answer: RetentionPreview }
  confirm_retention: { args: ConfirmRetention; answer: RetentionDone }
  acknowledge_backup: { args: ById; answer: Backup }
  list_backups: { args: ListBackups; answer: BackupPage }
  show_backup: { args: ById; answer: BackupDetail }
  run_backup: { args: RunBackup; answer: RunBegun }
  cancel_run: { args: ById; answer: null }
  verify_backup: { args: ById; answer: null }
  drill_backup: { args: ById; answer: null }
  pin_backup: { args: PinBackup; answer: Backup }
  note_backup: { args: NoteBackup; answer: Backup }
  preview_delete: { args: PreviewDelete; answer: DeletePreview }
  delete_backups: { args: DeleteBackups; answer: null }
  download_backup: { args: DownloadBackup; answer: FileWritten | null }
  save_recovery_sheet: { args: SaveRecoverySheet; answer: FileWritten | null }
  restore_targets: { args: RestoreWhat; answer: Array<RestoreTargetOption> }
  plan_restore: { args: PlanRestore; answer: RestorePlan }
  start_restore: { args: StartRestore; answer: Restore }
  show_restore: { args: ById; answer: RestoreDetail }
  list_restores: { args: ListRestores; answer: Array<RestoreDetail> }
  undo_restore: { args: ById; answer: Restore }
  list_kept: { args: Nothing; answer: Array<RestoreDetail> }
  forget_kept: { args: ById; answer: Restore }
  open_backup: { args: ById; answer: OpenedBackup }
  read_rows: { args: ReadRows; answer: RowPage }
  export_table: { args: ExportTable; answer: Exported | null }
  restore_table: { args: RestoreTable; answer: TableRestored }
  close_opened: { args: ById; answer: null }
  list_keys: { args: Nothing; answer: Array<Key> }
  create_key: { args: CreateKey; answer: KeyMade }
  import_key: { args: ImportKey; answer: Key }
  export_key: { args: ById; answer: FileWritten | null }
  list_journal: { args: ListJournal; answer: JournalPage }
  export_journal: { args: ExportJournal; answer: FileWritten | null }
  health: { args: Nothing; answer: Health }
  check_health: { args: Nothing; answer: Health }
  channel_forms: { args: Nothing; answer: Array<ChannelForm> }
  list_channels: { args: Nothing; answer: Array<ChannelRow> }
  check_channel: { args: CheckChannel; answer: DraftErrors }
  save_channel: { args: SaveChannel; answer: Channel }
  test_channel: { args: ById; answer: ChannelTested }
  pause_channel: { args: PauseChannel; answer: Channel }
  remove_channel: { args: ById; answer: null }
  list_deliveries: { args: ById; answer: Array<DeliveryShown> }
  list_settings: { args: Nothing; answer: Array<SettingRow> }
  set_setting: { args: SetSetting; answer: SettingRow }
  list_tools: { args: Nothing; answer: Array<ToolFound> }
  rescan_tools: { args: Nothing; answer: Array<ToolFound> }
  choose_file: { args: ChooseFile; answer: string | null }
  choose_folder: { args: Nothing; answer: string | null }
  choose_new_file: { args: ChooseNewFile; answer: string | null }
  open_log_folder: { args: Nothing; answer: null }
  quit: { args: Quit; answer: null }
}
