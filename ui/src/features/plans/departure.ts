/** Why a backup would leave, in words. */
import type { Departure, Retention } from '../../backend'
import { t } from '../../i18n/index.svelte'

const PERIODS = ['hourly', 'daily', 'weekly', 'monthly', 'yearly'] as const

export function why({ chosen_at, kept_by, replaced, reason }: Departure, rules: Retention): string {
  if (reason.rule === 'failed_long_ago') return t('plans.departure.failed', { count: reason.number ?? 0 })
  if (!kept_by) {
    // In the bin by the rules of then. What nothing has looked at yet leaves by these: where there is one alone, that one says it.
    if (chosen_at === null) return t('plans.departure.none')
    const set = Object.entries(rules).filter(([name, number]) => name !== 'keep_min' && number)
    const [name, number] = set[0] ?? []
    if (set.length === 1 && (name === 'keep_last' || name === 'keep_days'))
      return t(`plans.departure.${name === 'keep_last' ? 'last' : 'days'}`, { count: number ?? 0 })
    return t('plans.departure.none')
  }
  if (kept_by.rule === 'last' || kept_by.rule === 'days')
    return t(`plans.departure.${kept_by.rule}`, { count: kept_by.number ?? 0 })
  const period = PERIODS.find((name) => name === kept_by.rule)
  if (!period) return t('plans.departure.newer')
  const count = rules[`keep_${period}`] ?? 0
  return replaced || !count ? t(`plans.replaced.${period}`) : t(`plans.departure.${period}`, { count })
}
