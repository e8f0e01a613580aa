// The status word of a location report, as far as people look at it (JT/T 808-2013 table 25), and headings.

import { t } from '../i18n'

const STATUS = { 0: 'accOn', 1: 'positioned', 4: 'outOfService', 5: 'encrypted', 10: 'oilCut', 11: 'circuitCut', 12: 'locked', 13: 'door1', 14: 'door2' } as const
const OFF = { 0: 'accOff', 1: 'notPositioned' } as const
export type StatusWord = (typeof STATUS)[keyof typeof STATUS] | (typeof OFF)[keyof typeof OFF]

export function statusWords(bits: number): StatusWord[] {
  const set = Object.entries(STATUS).flatMap(([bit, word]) => ((bits >>> Number(bit)) & 1 ? [word] : []))
  const unset = Object.entries(OFF).flatMap(([bit, word]) => ((bits >>> Number(bit)) & 1 ? [] : [word]))
  return [...set, ...unset]
}

/** One of the eight winds. */
export const compass = (heading_deg: number): string => t('compass').split(' ')[Math.round(heading_deg / 45) % 8] ?? ''
