// What a terminal says of itself while nobody can know that it is that terminal.

import type { Claimed, Terminal } from '../api/types'

const DEVICE = ['manufacturer_id', 'model', 'maker_terminal_id'] as const

export const deviceOf = (claim: Claimed): string => DEVICE.map((name) => claim[name]).filter(Boolean).join(' · ')

/** What it claims, where that is another device than the one that registered. */
export function otherDevice(terminal: Terminal): Claimed | null {
  const { claim } = terminal
  const differs = claim && terminal.registered_at && DEVICE.some((name) => claim[name] !== terminal[name])
  return differs ? claim : null
}
