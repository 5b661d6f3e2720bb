/** What a slot that is due waits for, in one sentence: "Due 03:00, will run when there is a network." */
import { spoken } from '../i18n/format.svelte'
import { type Sayable, sayError, t } from '../i18n/index.svelte'

export interface Due {
  at: string
  reason: (Sayable & { code: string }) | null
  tries: number
  next_try_at: string | null
}

export function dueSentence({ at, reason, tries, next_try_at }: Due): string {
  const time = spoken(at)
  if (!reason) return t('due.soon', { time })
  if (reason.text === 'waits_for_network') return t('due.network', { time })
  if (reason.text === 'waits_for_power') return t('due.power', { time })
  if (reason.text === 'slot_waits_turn' || reason.code === 'BUSY') return t('due.turn', { time })
  if (reason.code === 'SECRET_UNAVAILABLE' && !tries) return t('due.secret', { time, why: sayError(reason).message })
  const why = sayError(reason).message
  return next_try_at
    ? t('due.again', { time, why, count: tries, again: spoken(next_try_at) })
    : t('due.because', { time, why })
}
