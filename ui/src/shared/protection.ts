/** The sentence that says how well a source is protected, from its parts. */
import { ago, duration, fullDay, list, roughly } from '../i18n/format.svelte'
import { type Sayable, sayError, t, word } from '../i18n/index.svelte'

/** Slots that brought no verified backup, since the last one that did. */
interface Behind {
  missed: number
  failed: number
  skipped: number
  since: string
}

export interface ProtectionParts {
  state: 'protected' | 'at_risk' | 'unprotected'
  cause:
    | 'no_plan'
    | 'never'
    | 'moved'
    | 'stale'
    | 'slots_missed'
    | 'unusual'
    | 'drill_failed'
    | 'few_copies'
    | 'last_failed'
    | 'paused'
    | 'never_drilled'
    | null
  last_verified_at: string | null
  copies: number
  places: number
  restore_ms: number | null
  behind: Behind | null
  error: Sayable | null
}

/** "Last verified copy 11 h ago, 3 copies, 2 places." */
export function copySentence(p: ProtectionParts): string {
  if (p.cause === 'moved') return t('protection.cause.moved')
  if (!p.last_verified_at) return t('protection.never')
  if (p.state === 'unprotected') return t('protection.last', { ago: ago(p.last_verified_at) })
  return t('protection.last_copies', {
    ago: ago(p.last_verified_at),
    copies: t('protection.copies', { count: p.copies }),
    places: t('protection.places', { count: p.places }),
  })
}

/** "3 runs missed and 1 run failed since Tuesday, 17 November." */
function behindSentence(behind: Behind): string {
  const parts = (['missed', 'failed', 'skipped'] as const).filter((kind) => behind[kind] > 0)
  return t('protection.behind.since', {
    what: list(parts.map((kind) => t(`protection.behind.${kind}`, { count: behind[kind] }))),
    when: fullDay(behind.since),
  })
}

/** What follows: the reason for worry, or how long a restore takes. */
export function reasonSentence(p: ProtectionParts): string {
  if (p.error) return sayError(p.error).message
  if (p.behind && (p.cause === 'slots_missed' || p.cause === 'stale')) return behindSentence(p.behind)
  if (p.cause && p.cause !== 'never' && p.cause !== 'moved') return t(`protection.cause.${p.cause}`)
  if (p.cause) return ''
  if (p.restore_ms === null) return t('protection.not_rehearsed')
  return t(p.restore_ms < 60_000 ? 'protection.restore_takes' : 'protection.restore_about', {
    time: p.restore_ms < 60_000 ? duration(Math.round(p.restore_ms / 1000) * 1000) : roughly(p.restore_ms),
  })
}

/** "Rehearsed 2 days ago: restored and counted." Nothing where none was, and where the reason for worry says it already. */
export function drillSentence(
  last: { state: string; level: string | null; at: string } | null,
  p: { cause: string | null },
): string {
  if (!last || p.cause === 'drill_failed') return ''
  if (last.state === 'failed') return t('drill.source_failed', { ago: ago(last.at) })
  return t('drill.source', { ago: ago(last.at), level: word('drill.level', last.level ?? 'bytes') })
}
