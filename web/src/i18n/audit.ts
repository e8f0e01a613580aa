// What the audit says, in the person's language. The server sends the action's code, the subject's name and what else there is to say.

import type { AuditEntry } from '../api/types'
import { moment } from '../time'
import { named, t, type Key } from '.'
import { zh } from './zh'

/** Of what kind the subject is: the action's first word says it. */
const KINDS: Record<string, string> = { signed_in: 'user', signed_out: 'user', sign_in: 'user' }
const TIME = /^\d{4}-\d\d-\d\dT\d\d:/

/** Who did it. */
export const actor = (entry: AuditEntry): string => entry.user_name || t('audit.nobody')

/** To what it was done. */
export function subject({ action, subject: name }: AuditEntry): string {
  const first = action.split('.')[0]!
  if (first === 'export') return named('export', name)
  const kind = KINDS[first] ?? first
  const key = `subject.${kind}`
  if (kind === 'user' && !name) return t('audit.unknown')
  return key in zh ? t(key as Key, { name }).trim() : name
}

/** What else there is to say; what is not set says nothing. */
export const details = ({ detail }: AuditEntry): string =>
  Object.entries(detail)
    .filter(([, value]) => value !== null && value !== '')
    .map(([name, value]) => t('audit.is', { name: named('detail', name), value: said(value) }))
    .join(t('audit.and'))

function said(value: unknown): string {
  if (typeof value === 'boolean') return t(value ? 'audit.yes' : 'audit.no')
  if (typeof value === 'string') return TIME.test(value) ? moment(value) : value
  return typeof value === 'number' ? String(value) : JSON.stringify(value)
}
