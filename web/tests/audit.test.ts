import { beforeEach, describe, expect, it, vi } from 'vitest'
import type { AuditEntry } from '../src/api/types'
import { setLanguage } from '../src/i18n'
import { actor, details, subject } from '../src/i18n/audit'

// What a browser has.
vi.hoisted(() => {
  vi.stubGlobal('localStorage', { getItem: () => 'zh', setItem: () => undefined })
  vi.stubGlobal('document', { documentElement: {}, createElement: () => ({}) })
})

const entry = (action: string, of: string, detail: Record<string, unknown> = {}, by = 'root'): AuditEntry => ({ id: 1, at: '2026-03-01T08:00:00Z', user_name: by, action, subject: of, detail })

describe('the audit in words', () => {
  beforeEach(() => setLanguage('zh'))

  it.each([
    ['alarm.taken', '12', '报警 12', 'alarm 12'],
    ['vehicle.added', '辽A12345', '车辆 辽A12345', 'vehicle 辽A12345'],
    ['signed_in', 'anna', '用户 anna', 'user anna'],
    ['sign_in.failed', '', '没有的用户名', 'no such user'],
    ['export', 'trips', '行程', 'trips'],
    ['log.seen', '', '日志', 'log'],
    ['strange.thing', 'x', 'x', 'x'],
  ])('%s of %s', (action, of, zh, en) => {
    expect(subject(entry(action, of))).toBe(zh)
    setLanguage('en')
    expect(subject(entry(action, of)).toLowerCase()).toBe(en.toLowerCase())
  })

  it('says what else there is', () => {
    const failed = entry('sign_in.failed', 'anna', { network: '203.0.113.7', count: 3, note: '', role: null, unknown: { a: 1 } }, '')
    expect(details(failed)).toBe('网段：203.0.113.7；次数：3；unknown：{"a":1}')
    expect(actor(failed)).toBe('未登录者')
    setLanguage('en')
    expect(details(entry('signed_in', 'anna', { new_device: true }))).toBe('new device: yes')
  })
})
