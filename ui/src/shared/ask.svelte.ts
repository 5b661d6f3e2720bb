/** What is being asked of the person now: the pop-ups that any view may open. Ids and plain values alone. */

class Ask {
  palette = $state(false)
  shortcuts = $state(false)
  /** The choice of what to back up; or straight away, for one source or plan. */
  backup = $state(false)
  /** What the restore sheet is about. */
  restore: { backup_id: string | null; file: string | null; restore_id?: string | null } | null = $state.raw(null)

  /** Which backup is looked into. */
  inside: string | null = $state(null)
  /** Which restore in place of live data is to be taken back. */
  undo: string | null = $state(null)
  /** Of which one what is kept for that is to go now. */
  forget: string | null = $state(null)

  /** Opens the sheet of a restore that goes on, or has ended. */
  watch(restore_id: string): void {
    this.restore = { backup_id: null, file: null, restore_id }
  }
}

export const ask = new Ask()
