// Times as people of the center read them: the clock of China, whatever the browser's own.

import { ref } from 'vue'
import type { Time } from './api/types'

const ZONE = 'Asia/Shanghai'
const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

const clockFormat = new Intl.DateTimeFormat('en-GB', { timeZone: ZONE, hour: '2-digit', minute: '2-digit', second: '2-digit' })
const dayFormat = new Intl.DateTimeFormat('en-CA', { timeZone: ZONE, year: 'numeric', month: '2-digit', day: '2-digit' })

/** Server time now, in milliseconds; moves once a second. Ages are differences to this and not to the browser's clock. */
export const now = ref(Date.now())
let offset = 0
setInterval(() => (now.value = Date.now() + offset), SECOND)

/** The server said that it is `at` now. */
export function setServerTime(at: Time): void {
  offset = Date.parse(at) - Date.now()
  now.value = Date.now() + offset
}

/** 14:03:22 */
export const clock = (at: Time | number): string => clockFormat.format(new Date(at))

/** 2026-11-21 */
export const day = (at: Time | number): string => dayFormat.format(new Date(at))

/** The clock alone for today, with month and day for other days, whole for other years. */
export function moment(at: Time | null, today = now.value): string {
  if (!at) return '—'
  const [then, current] = [day(at), day(today)]
  if (then === current) return clock(at)
  return `${then.slice(0, 4) === current.slice(0, 4) ? then.slice(5) : then} ${clock(at)}`
}

/** From when to when, in milliseconds. */
export interface Period {
  from: number
  to: number
}

/** The midnight with which a day began, `daysAgo` days before `at`. */
export const midnight = (daysAgo = 0, at = now.value): number => Date.parse(`${day(at - daysAgo * DAY)}T00:00:00+08:00`)

/** All that was ever received. */
export const always = (): Period => ({ from: Date.parse('2000-01-01T00:00:00+08:00'), to: now.value + DAY })

/** The whole day; `days` of them end with it. */
export const dayOf = (at: number, days = 1): Period => ({ from: midnight(days - 1, at), to: midnight(0, at) + DAY })

/** A period as the API wants it. */
export const between = ({ from, to }: Period): { from: Time; to: Time } => ({ from: new Date(from).toISOString(), to: new Date(to).toISOString() })

/** What a field for date and time shows; and what was entered there, NaN where that is no time. */
export const toField = (at: number): string => `${day(at)}T${clock(at).slice(0, 5)}`
export const fromField = (text: string): number => Date.parse(`${text}+08:00`)

/** 14:03, with month and day where more than one day is in question. */
export const minute = (at: Time | number, withDay = false): string => (withDay ? `${day(at).slice(5)} ` : '') + clock(at).slice(0, 5)

/** How long: 42s, 7m 05s, 3h 20m, 5d 2h. */
export function duration(milliseconds: number): string {
  const length = Math.max(0, milliseconds)
  if (length < MINUTE) return `${Math.floor(length / SECOND)}s`
  if (length < HOUR) return `${Math.floor(length / MINUTE)}m ${pad((length % MINUTE) / SECOND)}s`
  if (length < DAY) return `${Math.floor(length / HOUR)}h ${pad((length % HOUR) / MINUTE)}m`
  return `${Math.floor(length / DAY)}d ${Math.floor((length % DAY) / HOUR)}h`
}

export const age = (at: Time | null): string => (at ? duration(now.value - Date.parse(at)) : '—')

const pad = (value: number): string => String(Math.floor(value)).padStart(2, '0')

const SPOKEN_UNITS = [
  { seconds: 86_400, zh: '天', en: 'd' },
  { seconds: 3_600, zh: '小时', en: 'h' },
  { seconds: 60, zh: '分', en: 'min' },
  { seconds: 1, zh: '秒', en: 's' },
]

/** A length of time with its two largest units: 3 小时 20 分, 3 h 20 min. */
export function spoken(seconds: number, language: 'zh' | 'en'): string {
  const whole = Math.max(0, Math.round(seconds))
  const first = SPOKEN_UNITS.findIndex((unit) => whole >= unit.seconds)
  if (first < 0) return `0 ${SPOKEN_UNITS.at(-1)![language]}`
  const parts = SPOKEN_UNITS.slice(first, first + 2).map((unit, i) => {
    const rest = i ? whole % SPOKEN_UNITS[first]!.seconds : whole
    return { count: Math.floor(rest / unit.seconds), unit: unit[language] }
  })
  return parts.filter(({ count }) => count).map(({ count, unit }) => `${count} ${unit}`).join(' ')
}
