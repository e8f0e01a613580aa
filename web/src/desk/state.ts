// What the desk knows: the snapshot of the live connection, moved on by its messages. Pure; live.ts does the talking.

import type { Alarm, Health, LiveMessage, Severity, State, Ticket, Time } from '../api/types'

export interface Desk {
  /** Of the last message; -1 before the first snapshot. */
  sequence: number
  at: Time
  states: Map<number, State>
  /** Alarms on the desk: not handled. */
  alarms: Map<number, Alarm>
  /** Open tickets. */
  tickets: Map<number, Ticket>
  health: Health | null
}

/** What a message changed, for those that draw or sound only differences. */
export interface Difference {
  /** Everything may have changed: draw anew. */
  whole: boolean
  terminals: Set<number>
  raised: Alarm[]
}

export const emptyDesk = (): Desk => ({
  sequence: -1,
  at: '',
  states: new Map(),
  alarms: new Map(),
  tickets: new Map(),
  health: null,
})

const byId = <Item extends { id: number }>(items: Item[]): Map<number, Item> => new Map(items.map((item) => [item.id, item]))

/** Move `desk` on by one message; null: a message is missing in between, only a new snapshot helps. */
export function apply(desk: Desk, message: LiveMessage): Difference | null {
  if (message.type !== 'snapshot' && message.sequence !== desk.sequence + 1) return null
  desk.sequence = message.sequence
  desk.at = message.at
  const difference: Difference = { whole: false, terminals: new Set(), raised: [] }
  switch (message.type) {
    case 'snapshot':
      difference.whole = true
      difference.raised = message.alarms.filter(({ id }) => !desk.alarms.has(id))
      desk.states = new Map(message.states.map((state) => [state.terminal_id, state]))
      desk.alarms = byId(message.alarms)
      desk.tickets = byId(message.tickets)
      desk.health = message.health
      break
    case 'states':
      for (const state of message.states) {
        desk.states.set(state.terminal_id, state)
        difference.terminals.add(state.terminal_id)
      }
      for (const id of message.gone) {
        desk.states.delete(id)
        difference.whole = true
      }
      break
    case 'alarms':
      for (const alarm of message.alarms) {
        if (putAlarm(desk, alarm)) difference.raised.push(alarm)
        difference.terminals.add(alarm.terminal.id)
      }
      break
    case 'tickets':
      for (const ticket of message.tickets) {
        putTicket(desk, ticket)
        difference.terminals.add(ticket.terminal.id)
      }
      break
    case 'health':
      desk.health = message.health
  }
  return difference
}

/** True: the alarm is new on the desk. */
export function putAlarm(desk: Desk, alarm: Alarm): boolean {
  const isNew = !desk.alarms.has(alarm.id)
  if (alarm.desk === 'handled' || !alarm.on_desk) {
    desk.alarms.delete(alarm.id)
    return false
  }
  desk.alarms.set(alarm.id, alarm)
  return isNew
}

export function putTicket(desk: Desk, ticket: Ticket): void {
  if (ticket.closed_at) desk.tickets.delete(ticket.id)
  else desk.tickets.set(ticket.id, ticket)
}

/** Worst first; among equals the one that waits longest. */
export const deskOrder = (alarms: Iterable<Alarm>): Alarm[] =>
  [...alarms].sort((a, b) => a.severity - b.severity || compare(a.began_at, b.began_at) || a.id - b.id)

/** How bad the worst is that may be heard: nobody has taken it. */
export function heard(alarms: Iterable<Alarm>): Severity | null {
  const loud = [...alarms].filter(({ desk }) => desk === 'free')
  return loud.reduce<Severity | null>((worst, { severity }) => (!worst || severity < worst ? severity : worst), null)
}

/** The terminals that have an alarm on the desk. */
export const alarmingOf = (alarms: Iterable<Alarm>): ReadonlySet<number> => new Set([...alarms].map(({ terminal }) => terminal.id))

/**
 * The order shown while a hand is over the list: rows stay where they are, also those that left the desk, and new
 * ones wait outside. Returns how many wait and how bad the worst of them is.
 */
export function waiting(shown: number[], alarms: Map<number, Alarm>): { count: number; worst: Severity | null } {
  const present = new Set(shown)
  const outside = [...alarms.values()].filter(({ id }) => !present.has(id))
  return {
    count: outside.length,
    worst: outside.reduce<Severity | null>((worst, { severity }) => (!worst || severity < worst ? severity : worst), null),
  }
}

/** The state of a vehicle in one word, for lists and the map. Silence comes first: it is the abnormal one. */
export type Kind = 'moving' | 'parked' | 'asleep' | 'silent' | 'without_code' | 'out' | 'unknown' | 'never'

export function kindOf(state: State): Kind {
  if (!state.last_received_at) return 'never'
  if (state.silent_since) return 'silent'
  if (state.without_code_since) return 'without_code'
  switch (state.mode) {
    case 'moving':
    case 'parked':
    case 'asleep':
    case 'unknown':
      return state.mode
    default:
      return 'out'
  }
}

export type Filter = 'all' | 'online' | 'alarming' | Kind

/** How many terminals each filter shows. */
export function count(states: Iterable<State>, alarming: ReadonlySet<number>): Record<Filter, number> {
  const counts = { all: 0, online: 0, alarming: 0, moving: 0, parked: 0, asleep: 0, silent: 0, without_code: 0, out: 0, unknown: 0, never: 0 }
  for (const state of states) {
    counts.all++
    counts[kindOf(state)]++
    if (state.link === 'open') counts.online++
    if (alarming.has(state.terminal_id)) counts.alarming++
  }
  return counts
}

export function passes(state: State, filter: Filter, alarming: ReadonlySet<number>): boolean {
  if (filter === 'all') return true
  if (filter === 'online') return state.link === 'open'
  if (filter === 'alarming') return alarming.has(state.terminal_id)
  return kindOf(state) === filter
}

export const nameOf = ({ plate, identity }: Pick<State, 'plate' | 'identity'>): string => plate || identity

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)
