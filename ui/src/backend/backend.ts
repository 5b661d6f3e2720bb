import type * as T from './types'

/**
 * Everything that the window can ask for: one method per command. Each takes one object of named arguments and answers, or
 * rejects with a {@link T.CoffreError}. What each provides and invalidates stands in README.md beside this file.
 */
export interface Backend {
  about(): Promise<T.About>
  adapters(): Promise<T.Adapters>
  attention(): Promise<T.Attention>
  overview(): Promise<T.Overview>
  running(): Promise<T.Running[]>

  listSources(): Promise<T.SourceRow[]>
  showSource(args: { id: T.Id }): Promise<T.SourceDetail>
  checkSource(args: { id: T.Id | null; draft: T.Draft }): Promise<T.DraftErrors>
  testSource(args: { id: T.Id | null; draft: T.Draft; secret: T.SecretChange }): Promise<T.Probe>
  addSource(args: { draft: T.Draft; secret: T.SecretChange }): Promise<T.Source>
  editSource(args: { id: T.Id; draft: T.Draft; secret: T.SecretChange }): Promise<T.Source>
  removeSource(args: { id: T.Id }): Promise<null>
  listTables(args: { id: T.Id }): Promise<T.TableStats>
  createSample(): Promise<{ source_id: T.Id; plan_id: T.Id; backup_id: T.Id }>

  listDestinations(): Promise<T.DestinationRow[]>
  showDestination(args: { id: T.Id }): Promise<T.DestinationDetail>
  checkDestination(args: { id: T.Id | null; draft: T.Draft }): Promise<T.DraftErrors>
  testDestination(args: { id: T.Id | null; draft: T.Draft; secret: T.SecretChange }): Promise<T.DestinationProbe>
  defaultDestination(): Promise<T.Destination>
  addDestination(args: { draft: T.Draft; secret: T.SecretChange }): Promise<T.Destination>
  editDestination(args: { id: T.Id; draft: T.Draft; secret: T.SecretChange }): Promise<T.Destination>
  removeDestination(args: { id: T.Id }): Promise<null>
  rebuildFromDestination(args: { id: T.Id }): Promise<{ backups: number; sources: number }>

  listPlans(): Promise<T.PlanRow[]>
  previewPlan(args: { id: T.Id | null; draft: T.PlanDraft }): Promise<T.PlanPreview>
  addPlan(args: { draft: T.PlanDraft }): Promise<T.Plan>
  editPlan(args: { id: T.Id; draft: T.PlanDraft }): Promise<T.Plan>
  removePlan(args: { id: T.Id }): Promise<null>
  pausePlan(args: { id: T.Id; paused: boolean }): Promise<null>
  pauseSchedules(args: { paused: boolean }): Promise<null>

  listBackups(args: { query: T.BackupQuery }): Promise<T.BackupPage>
  showBackup(args: { id: T.Id }): Promise<T.BackupDetail>
  runBackup(args: { plan_id: T.Id | null; source_id: T.Id | null }): Promise<{ id: T.Id }>
  cancelRun(args: { id: T.Id }): Promise<null>
  verifyBackup(args: { id: T.Id }): Promise<null>
  pinBackup(args: { id: T.Id; pinned: boolean }): Promise<T.Backup>
  noteBackup(args: { id: T.Id; note: string }): Promise<T.Backup>
  previewDelete(args: { ids: T.Id[] }): Promise<T.DeletePreview>
  deleteBackups(args: { ids: T.Id[]; confirmation: string }): Promise<null>
  downloadBackup(args: { id: T.Id; raw: boolean }): Promise<{ path: string } | null>
  saveRecoverySheet(args: { backup_id: T.Id | null }): Promise<{ path: string } | null>

  restoreTargets(args: { backup_id: T.Id | null; file: string | null }): Promise<T.RestoreTargetOption[]>
  planRestore(args: { request: T.RestoreRequest }): Promise<T.RestorePlan>
  startRestore(args: { confirmation: string; name: string }): Promise<T.Restore>
  showRestore(args: { id: T.Id }): Promise<T.Restore>
  listRestores(args: { limit: number }): Promise<T.Restore[]>

  listKeys(): Promise<T.Key[]>
  createKey(args: { name: string; kind: T.KeyKind; passphrase: string | null }): Promise<T.Key>
  importKey(args: { name: string; path: string; passphrase: string | null }): Promise<T.Key>
  exportKey(args: { id: T.Id }): Promise<{ path: string } | null>

  listJournal(args: { query: T.JournalQuery }): Promise<T.JournalPage>
  health(): Promise<T.Health>
  checkHealth(): Promise<T.Health>

  listSettings(): Promise<T.SettingRow[]>
  setSetting(args: { key: string; value: string }): Promise<T.SettingRow>
  listTools(): Promise<T.ToolFound[]>
  rescanTools(): Promise<T.ToolFound[]>

  chooseFile(args: { purpose: T.FilePurpose }): Promise<string | null>
  chooseFolder(): Promise<string | null>
  chooseNewFile(args: { suggestion: string }): Promise<string | null>
  openLogFolder(): Promise<null>
  quit(args: { mode: 'wait' | 'cancel' }): Promise<null>

  /** Hears everything that the backend pushes, until the answer is called. */
  subscribe(handler: (event: T.BackendEvent) => void): () => void
}

/** The names of the methods that are commands. */
export type Command = Exclude<keyof Backend, 'subscribe'>

/** `listBackups` → `list_backups`: the name of the command in Rust. */
export function commandName(method: string): string {
  return method.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
}
