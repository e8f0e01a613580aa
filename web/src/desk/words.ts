// The status word of a location report, as far as people look at it (JT/T 808-2013 table 25), and headings.

import { t } from '../i18n'

const SET = { 0: 'acc_on', 1: 'positioned', 4: 'out_of_service', 5: 'encrypted', 10: 'oil_cut', 11: 'circuit_cut', 12: 'doors_locked', 13: 'door_1_open', 14: 'door_2_open', 15: 'door_3_open', 16: 'door_4_open' } as const
const UNSET = { 0: 'acc_off', 1: 'not_positioned' } as const
export type StatusWord = (typeof SET)[keyof typeof SET] | (typeof UNSET)[keyof typeof UNSET]

export function statusWords(bits: number): StatusWord[] {
  const isSet = (bit: string): boolean => ((bits >>> Number(bit)) & 1) === 1
  const set = Object.entries(SET).flatMap(([bit, word]) => (isSet(bit) ? [word] : []))
  const unset = Object.entries(UNSET).flatMap(([bit, word]) => (isSet(bit) ? [] : [word]))
  return [...set, ...unset]
}

/** One of the eight winds. */
export const compass = (heading_deg: number): string => t('compass').split(' ')[Math.round(heading_deg / 45) % 8] ?? ''
