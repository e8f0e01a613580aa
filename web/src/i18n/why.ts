// The reasons of tickets and incidents, said in the person's language. The server decides and gives code and numbers.

import type { Why } from '../api/types'
import { spoken } from '../time'
import { language, t, type Key } from '.'
import { zh } from './zh'

/** The sentence of a reason, or `otherwise` where this page does not know it. */
export function sentence(why: Why | null | undefined, otherwise: string): string {
  const key = `why.${why?.code}`
  if (!why || !(key in zh)) return otherwise
  const values = Object.fromEntries(Object.entries(why.params).map(([name, value]) => said(name, value)))
  const text = t(key as Key, values)
  return why.params.power_lost ? `${text} ${t('why.powerLost')}` : text
}

/** Lengths of time come as `…_s`, in seconds. The zone of times needs no saying: the page has only one. */
function said(name: string, value: string | number): [string, string | number] {
  if (name.endsWith('_s') && typeof value === 'number') return [name.slice(0, -2), spoken(value, language.value)]
  return [name, typeof value === 'string' ? value.replace(/ \(UTC\+8\)$/, '') : value]
}
