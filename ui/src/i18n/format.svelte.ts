/** Numbers, sizes, times and durations as people read them, in the language of the window. */
import { fill, type Language, pattern, speech, t } from './index.svelte'

const NBSP = '\u00a0'
/** Narrow no-break space: French typography before units and in thousands. */
const NNBSP = '\u202f'
const locales: Record<Language, string> = { en: 'en-GB', fr: 'fr-FR' }

const made = new Map<string, Intl.NumberFormat | Intl.DateTimeFormat | Intl.ListFormat>()
function numberFormat(options: Intl.NumberFormatOptions): Intl.NumberFormat {
  const key = `n${speech.language}${JSON.stringify(options)}`
  let format = made.get(key) as Intl.NumberFormat | undefined
  if (!format) {
    format = new Intl.NumberFormat(locales[speech.language], options)
    made.set(key, format)
  }
  return format
}
function dateFormat(options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = `d${speech.language}${JSON.stringify(options)}`
  let format = made.get(key) as Intl.DateTimeFormat | undefined
  if (!format) {
    format = new Intl.DateTimeFormat(locales[speech.language], options)
    made.set(key, format)
  }
  return format
}

/** The minute that it is. Ticks once every half minute, and not at all while the window is hidden. */
class Clock {
  now = $state(Date.now())
  /** What changes more rarely is asked for by itself: else every date in a list would be written anew at each tick. */
  year = $derived(new Date(this.now).getFullYear())
  /** The local day, as `YYYY-MM-DD`. */
  today = $derived(dayKey(new Date(this.now)))
  start(): () => void {
    let timer: ReturnType<typeof setInterval> | undefined
    const tick = () => {
      this.now = Date.now()
    }
    const seen = () => {
      clearInterval(timer)
      if (document.hidden) return
      tick()
      timer = setInterval(tick, 30_000)
    }
    seen()
    document.addEventListener('visibilitychange', seen)
    return () => {
      clearInterval(timer)
      document.removeEventListener('visibilitychange', seen)
    }
  }
}
export const clock = new Clock()

/** 1,284 or 1 284. */
export function number(value: number, digits = 0): string {
  return numberFormat({ maximumFractionDigits: digits }).format(value)
}

/** 62 %. The argument is 0 to 1. */
export function percent(share: number, digits = 0): string {
  const text = numberFormat({ maximumFractionDigits: digits, minimumFractionDigits: digits }).format(share * 100)
  return `${text}${speech.language === 'fr' ? NNBSP : NBSP}%`
}

const UNITS: Record<Language, string[]> = {
  en: ['B', 'kB', 'MB', 'GB', 'TB', 'PB'],
  fr: ['o', 'ko', 'Mo', 'Go', 'To', 'Po'],
}

/** A size as number and unit, for figures that set them apart. */
export function bytesParts(value: number): { value: string; unit: string } {
  let at = 0
  let amount = Math.abs(value)
  while (amount >= 999.5 && at < 5) {
    amount /= 1000
    at++
  }
  const digits = at === 0 || amount >= 100 || (at === 1 && amount >= 10) ? 0 : 1
  const unit = UNITS[speech.language][at] ?? ''
  return { value: numberFormat({ maximumFractionDigits: digits }).format(value < 0 ? -amount : amount), unit }
}

/** 4.2 GB or 4,2 Go. Powers of ten, as disks are sold and as file managers show them. */
export function bytes(value: number): string {
  const { value: amount, unit } = bytesParts(value)
  return `${amount}${NBSP}${unit}`
}

/** 84 MB/s. */
export function rate(perSecond: number): string {
  return `${bytes(perSecond)}/s`
}

/** 0.9 s, 41 s, 3 min 14, 2 h 05, 9 days. */
export function duration(ms: number): string {
  const seconds = ms / 1000
  if (seconds < 10) return fill(pattern('time.s'), { n: number(Math.round(seconds * 10) / 10, 1) })
  if (seconds < 59.5) return fill(pattern('time.s'), { n: number(Math.round(seconds)) })
  const two = (n: number) => String(n).padStart(2, '0')
  if (seconds < 3600) {
    const whole = Math.round(seconds)
    const left = whole % 60
    const minutes = fill(pattern('time.min'), { n: Math.floor(whole / 60) })
    return left ? `${minutes}${NBSP}${two(left)}` : minutes
  }
  const minutes = Math.round(seconds / 60)
  if (minutes <= 48 * 60) {
    const hours = fill(pattern('time.h'), { n: Math.floor(minutes / 60) })
    return minutes % 60 ? `${hours}${NBSP}${two(minutes % 60)}` : hours
  }
  return t('time.days', { count: Math.round(minutes / 1440) })
}

/** The same with one unit: 42 min, 7 h, 9 days. */
export function roughly(ms: number): string {
  const seconds = Math.max(0, ms) / 1000
  if (seconds < 60) return fill(pattern('time.s'), { n: Math.max(1, Math.round(seconds)) })
  if (seconds < 3600) return fill(pattern('time.min'), { n: Math.round(seconds / 60) })
  if (seconds < 48 * 3600) return fill(pattern('time.h'), { n: Math.round(seconds / 3600) })
  return t('time.days', { count: Math.round(seconds / 86_400) })
}

/** 7 h ago; just now. */
export function ago(time: string | number | Date): string {
  const ms = clock.now - new Date(time).getTime()
  return ms < 45_000 ? t('time.just_now') : t('time.ago', { time: roughly(ms) })
}

/** in 18 min. */
export function ahead(time: string | number | Date): string {
  const ms = new Date(time).getTime() - clock.now
  return ms < 30_000
    ? t('time.now')
    : t('time.ahead', {
        time: ms < 10 * 3_600_000 && ms >= 3_600_000 ? duration(Math.round(ms / 60_000) * 60_000) : roughly(ms),
      })
}

/** 14:00; in another time zone than this machine's where one is given and known. */
export function hour(time: string | number | Date, zone?: string | null): string {
  return dateFormat({ hour: '2-digit', minute: '2-digit', ...known(zone) }).format(new Date(time))
}
/** A time zone as an option, where this web view knows it: names come from the other side, and from keyboards. */
function known(zone: string | null | undefined): { timeZone?: string } {
  if (!zone) return {}
  try {
    new Intl.DateTimeFormat('en', { timeZone: zone })
    return { timeZone: zone }
  } catch {
    return {}
  }
}
/** 02:30:04. */
export function second(time: string | number | Date): string {
  return dateFormat({ hour: '2-digit', minute: '2-digit', second: '2-digit' }).format(new Date(time))
}
/** 23 Oct 02:30; with the year where it is not this one. */
export function moment(time: string | number | Date): string {
  const date = new Date(time)
  const year = date.getFullYear() !== clock.year
  const day = dateFormat({ day: 'numeric', month: 'short', ...(year ? { year: '2-digit' } : {}) }).format(date)
  return `${day} ${hour(time)}`.replaceAll(' ', NBSP)
}
/** 23 October at 02:30. */
export function longMoment(time: string | number | Date): string {
  const date = new Date(time)
  const year = date.getFullYear() !== clock.year
  const day = dateFormat({ day: 'numeric', month: 'long', ...(year ? { year: 'numeric' } : {}) }).format(date)
  return t('time.day_at', { day, hour: hour(time) })
}
/** Fri 24 Oct. */
export function weekday(time: string | number | Date, zone?: string | null): string {
  return dateFormat({ weekday: 'short', day: 'numeric', month: 'short', ...known(zone) }).format(new Date(time))
}
/** 23 Oct 2025. */
export function day(time: string | number | Date): string {
  return dateFormat({ day: 'numeric', month: 'short', year: 'numeric' }).format(new Date(time))
}
/** 23 October 2025, Thursday. */
export function fullDay(time: string | number | Date): string {
  return dateFormat({ weekday: 'long', day: 'numeric', month: 'long', year: 'numeric' }).format(new Date(time))
}
/** Oct, or October with `long`. */
export function month(time: string | number | Date, style: 'short' | 'long' = 'short', year = false): string {
  return dateFormat({ month: style, ...(year ? { year: 'numeric' } : {}) }).format(new Date(time))
}
/** Oct 25. */
export function monthYear(time: string | number | Date): string {
  return dateFormat({ month: 'short', year: '2-digit' }).format(new Date(time))
}
/** Mon, M with `narrow`, Monday with `long`; 0 is Monday. */
export function dayName(index: number, style: 'short' | 'narrow' | 'long' = 'short'): string {
  // 1 January 2024 was a Monday.
  return dateFormat({ weekday: style }).format(new Date(2024, 0, 1 + index))
}
/** today 02:30, yesterday 02:30, Fri 02:30, 23 Oct 02:30: what one would say. */
export function spoken(time: string | number | Date): string {
  const date = new Date(time)
  const days = dayNumber(date) - dayNumber(new Date(`${clock.today}T12:00:00`))
  if (days === 0) return hour(time)
  if (days === -1) return t('time.yesterday_at', { hour: hour(time) })
  if (days > 0 && days < 7) return `${dateFormat({ weekday: 'short' }).format(date)}${NBSP}${hour(time)}`
  return moment(time)
}
function dayNumber(date: Date): number {
  return Math.floor(Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) / 86_400_000)
}
/** a, b and c. */
export function list(items: string[]): string {
  const key = `l${speech.language}`
  let format = made.get(key) as Intl.ListFormat | undefined
  if (!format) {
    format = new Intl.ListFormat(locales[speech.language], { type: 'conjunction' })
    made.set(key, format)
  }
  return format.format(items)
}
/** Local day as `YYYY-MM-DD`, the way the backend names days. */
export function dayKey(date: Date): string {
  const two = (n: number) => String(n).padStart(2, '0')
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`
}
