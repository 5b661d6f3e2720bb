/** What can be done with a backup, in one place: for the panel, the context menu and the keys. */
import { asCoffreError, type Backup, backend } from '../../backend'
import { type Key, sayError, t } from '../../i18n/index.svelte'
import { ask } from '../../shared/ask.svelte'
import type { IconName } from '../../shared/icons'
import { router } from '../../shared/router.svelte'
import { toasts } from '../../shared/toasts.svelte'

export type Action =
  | 'restore'
  | 'drill'
  | 'open'
  | 'download'
  | 'raw'
  | 'verify'
  | 'pin'
  | 'note'
  | 'sheet'
  | 'delete'
  | 'cancel'

async function attempt<T>(act: () => Promise<T>): Promise<T | undefined> {
  try {
    return await act()
  } catch (thrown) {
    const error = asCoffreError(thrown)
    const words = sayError(error)
    toasts.show(words.message, { bad: true, text: words.hint })
    return undefined
  }
}

export class Actions {
  /** The backups whose deletion is asked about. */
  deleting: Backup | null = $state.raw(null)
  /** The backup whose note is written. */
  noting: Backup | null = $state.raw(null)

  can(b: Backup, action: Action): boolean {
    const readable = b.copies.some((c) => c.state === 'stored' || c.state === 'verified')
    switch (action) {
      case 'restore':
      case 'drill':
      case 'open':
      case 'download':
      case 'raw':
      case 'verify':
      case 'sheet':
        return readable && b.state !== 'running'
      case 'cancel':
        return b.state === 'running'
      case 'pin':
        return readable
      case 'note':
        return b.state !== 'deleted'
      case 'delete':
        return b.state !== 'running' && b.state !== 'deleting' && b.state !== 'deleted'
    }
  }

  /** The entries of a menu for it; `only` names the ones that are wanted. */
  menu(b: Backup, only?: Action[]): { key: Action; icon: IconName; label: string; act: () => void; apart: boolean }[] {
    const all: [Action, IconName, Key, () => void][] = [
      ['cancel', 'cancelled', 'backups.do.cancel', () => void this.cancel(b)],
      ['restore', 'restore', 'backups.do.restore', () => this.restore(b)],
      ['drill', 'drill', 'backups.do.drill', () => void this.drill(b)],
      ['open', 'table', 'backups.do.open', () => this.open(b)],
      ['download', 'download', 'backups.do.download', () => void this.download(b)],
      ['raw', 'download', 'backups.do.raw', () => void this.download(b, true)],
      ['verify', 'verified', 'backups.do.verify', () => void this.verify(b)],
      ['pin', b.pinned ? 'unpin' : 'pin', b.pinned ? 'backups.do.unpin' : 'backups.do.pin', () => void this.pin(b)],
      ['note', 'note', 'backups.do.note', () => (this.noting = b)],
      ['sheet', 'file', 'backups.do.sheet', () => void this.sheet(b)],
      ['delete', 'trash', 'backups.do.delete', () => (this.deleting = b)],
    ]
    const shown = all.filter(([action]) => (!only || only.includes(action)) && this.can(b, action))
    return shown.map(([key, icon, label, act]) => ({
      key,
      icon,
      label: t(label),
      act,
      apart: key === 'delete' && shown.length > 1,
    }))
  }

  restore(b: Backup): void {
    ask.restore = { backup_id: b.id, file: null }
  }
  async drill(b: Backup): Promise<void> {
    const begun = await attempt(() => backend().drillBackup({ id: b.id }))
    // The panel shows it as it goes.
    if (begun !== undefined && router.parts[1] !== b.id)
      toasts.show(t('backups.drilling', { source: b.source }), { icon: 'drill' })
  }
  open(b: Backup): void {
    ask.inside = b.id
  }
  async download(b: Backup, raw = false): Promise<void> {
    const saved = await attempt(() => backend().downloadBackup({ id: b.id, raw }))
    if (saved) toasts.show(t('backups.downloaded'), { icon: 'download', text: saved.path })
  }
  async verify(b: Backup): Promise<void> {
    const begun = await attempt(() => backend().verifyBackup({ id: b.id }))
    if (begun !== undefined) toasts.show(t('backups.verifying', { source: b.source }), { icon: 'verified' })
  }
  async pin(b: Backup): Promise<void> {
    const pinned = !b.pinned
    const done = await attempt(() => backend().pinBackup({ id: b.id, pinned }))
    if (done)
      toasts.show(t(pinned ? 'backups.pin_done' : 'backups.unpin_done'), {
        icon: pinned ? 'pin' : 'unpin',
        undo: {
          label: t('common.undo'),
          act: () => void attempt(() => backend().pinBackup({ id: b.id, pinned: !pinned })),
        },
      })
  }
  async note(b: Backup, note: string): Promise<boolean> {
    const done = await attempt(() => backend().noteBackup({ id: b.id, note }))
    if (done && note !== b.note)
      toasts.show(t('backups.note_done'), {
        icon: 'note',
        undo: {
          label: t('common.undo'),
          act: () => void attempt(() => backend().noteBackup({ id: b.id, note: b.note })),
        },
      })
    return done !== undefined
  }
  async acknowledge(b: Backup): Promise<void> {
    await attempt(() => backend().acknowledgeBackup({ id: b.id }))
  }
  async sheet(b: Backup): Promise<void> {
    const saved = await attempt(() => backend().saveRecoverySheet({ backup_id: b.id }))
    if (saved) toasts.show(t('backups.sheet_done'), { icon: 'file', text: saved.path })
  }
  async cancel(b: Backup): Promise<void> {
    await attempt(() => backend().cancelRun({ id: b.id }))
  }
  async again(b: Backup): Promise<string | undefined> {
    return (await attempt(() => backend().runBackup({ plan_id: b.plan_id, source_id: b.source_id })))?.id
  }
}

export function actionsFor(): Actions {
  return new Actions()
}
