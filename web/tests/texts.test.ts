import { describe, expect, it } from 'vitest'
import { en } from '../src/i18n/en'
import { zh } from '../src/i18n/zh'
import { duration, moment, spoken } from '../src/time'

const slots = (text: string): string[] => (text.match(/\{\w+\}/g) ?? []).sort()

describe('dictionaries', () => {
  it('have the same slots in both languages', () => {
    for (const key of Object.keys(zh) as (keyof typeof zh)[]) expect(slots(en[key]), key).toEqual(slots(zh[key]))
  })

  it('leave nothing empty', () => expect(Object.values({ ...zh, ...en })).not.toContain(''))
})

describe('times', () => {
  it('are those of China', () => expect(moment('2026-03-01T16:30:00Z', Date.parse('2026-03-01T15:00:00Z'))).toBe('03-02 00:30:00'))
  it('leave out the day when it is today', () => expect(moment('2026-03-01T08:30:05Z', Date.parse('2026-03-01T15:00:00Z'))).toBe('16:30:05'))
  it.each([
    [42_000, '42s'],
    [7 * 60_000 + 5_000, '7m 05s'],
    [3 * 3600_000 + 20 * 60_000, '3h 20m'],
    [50 * 3600_000, '2d 2h'],
    [-5_000, '0s'],
  ])('%d ms are %s', (length, text) => expect(duration(length)).toBe(text))
  it.each([
    [13, '13 秒', '13 s'],
    [312, '5 分 12 秒', '5 min 12 s'],
    [7200, '2 小时', '2 h'],
    [0, '0 秒', '0 s'],
  ])('%d s in words', (seconds, zh, en) => expect([spoken(seconds, 'zh'), spoken(seconds, 'en')]).toEqual([zh, en]))
})
