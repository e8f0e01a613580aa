import { describe, expect, it } from 'vitest'
import type { Alarm, Health, LiveMessage, State, Ticket } from '../src/api/types'
import { apply, count, deskOrder, emptyDesk, heard, kindOf, passes, waiting, type Desk } from '../src/desk/state'

const AT = '2026-03-01T08:00:00.000Z'
const health = { state: 'ok', at: AT, problems: [], parts: {} } as unknown as Health

const state = (terminal_id: number, more: Partial<State> = {}): State =>
  ({ terminal_id, identity: `139${terminal_id}`, link: 'open', last_received_at: AT, mode: 'moving', silent_since: null, blocked: false, ...more }) as State

const alarm = (id: number, more: Partial<Alarm> = {}): Alarm =>
  ({ id, terminal: { id: 1, identity: '1391' }, severity: 2, desk: 'free', on_desk: true, began_at: AT, ...more }) as Alarm

const ticket = (id: number, closed_at: string | null = null): Ticket => ({ id, terminal: { id: 1, identity: '1391' }, closed_at }) as Ticket

const snapshot = (more: object = {}): LiveMessage => ({ type: 'snapshot', sequence: 7, at: AT, states: [state(1), state(2)], alarms: [alarm(1)], tickets: [ticket(1)], health, ...more })

function begun(): Desk {
  const desk = emptyDesk()
  apply(desk, snapshot())
  return desk
}

describe('apply', () => {
  it('starts from a snapshot whatever its number', () => {
    const desk = emptyDesk()
    const difference = apply(desk, snapshot())
    expect(difference?.whole).toBe(true)
    expect([...desk.states.keys()]).toEqual([1, 2])
    expect(desk.sequence).toBe(7)
  })

  it('forgets what a new snapshot no longer has, and raises only what it did not know', () => {
    const desk = begun()
    const difference = apply(desk, snapshot({ sequence: 3, states: [state(2)], alarms: [alarm(1), alarm(2)], tickets: [] }))
    expect([...desk.states.keys()]).toEqual([2])
    expect(desk.tickets.size).toBe(0)
    expect(difference?.raised.map(({ id }) => id)).toEqual([2])
  })

  it('refuses a message after a gap and changes nothing', () => {
    const desk = begun()
    expect(apply(desk, { type: 'states', sequence: 9, at: AT, states: [state(3)], gone: [] })).toBeNull()
    expect(desk.states.has(3)).toBe(false)
    expect(desk.sequence).toBe(7)
  })

  it('replaces states whole and says whose', () => {
    const desk = begun()
    const difference = apply(desk, { type: 'states', sequence: 8, at: AT, states: [state(2, { mode: 'parked' }), state(5)], gone: [] })
    expect(desk.states.get(2)?.mode).toBe('parked')
    expect([...difference!.terminals]).toEqual([2, 5])
    expect(difference!.whole).toBe(false)
  })

  it('lets who is forgotten go', () => {
    const desk = begun()
    const difference = apply(desk, { type: 'states', sequence: 8, at: AT, states: [], gone: [2] })
    expect(desk.states.has(2)).toBe(false)
    expect(difference!.whole).toBe(true)
  })

  it('raises an alarm once, and lets a handled one leave the desk', () => {
    const desk = begun()
    expect(apply(desk, { type: 'alarms', sequence: 8, at: AT, alarms: [alarm(2)] })?.raised).toHaveLength(1)
    expect(apply(desk, { type: 'alarms', sequence: 9, at: AT, alarms: [alarm(2, { desk: 'taken' })] })?.raised).toHaveLength(0)
    apply(desk, { type: 'alarms', sequence: 10, at: AT, alarms: [alarm(2, { desk: 'handled' })] })
    expect([...desk.alarms.keys()]).toEqual([1])
  })

  it('never puts an alarm on the desk that is for the history only', () => {
    const desk = begun()
    expect(apply(desk, { type: 'alarms', sequence: 8, at: AT, alarms: [alarm(3, { on_desk: false })] })?.raised).toEqual([])
    expect(desk.alarms.has(3)).toBe(false)
  })

  it('drops a closed ticket', () => {
    const desk = begun()
    apply(desk, { type: 'tickets', sequence: 8, at: AT, tickets: [ticket(1, AT), ticket(2)] })
    expect([...desk.tickets.keys()]).toEqual([2])
  })
})

describe('deskOrder', () => {
  it('puts the worst first, and among equals the one that waits longest', () => {
    const alarms = [
      alarm(1, { severity: 3, began_at: '2026-03-01T07:00:00Z' }),
      alarm(2, { severity: 1, began_at: '2026-03-01T07:30:00Z' }),
      alarm(3, { severity: 1, began_at: '2026-03-01T07:10:00Z' }),
      alarm(4, { severity: 3, began_at: '2026-03-01T06:00:00Z' }),
    ]
    expect(deskOrder(alarms).map(({ id }) => id)).toEqual([3, 2, 4, 1])
  })
})

describe('waiting', () => {
  it('counts what is not in the held list and tells the worst of it', () => {
    const alarms = new Map([alarm(1), alarm(2, { severity: 3 }), alarm(3, { severity: 1 })].map((each) => [each.id, each]))
    expect(waiting([1], alarms)).toEqual({ count: 2, worst: 1 })
    expect(waiting([1, 2, 3, 4], alarms)).toEqual({ count: 0, worst: null })
  })
})

describe('kindOf', () => {
  it.each([
    [{ last_received_at: null, mode: 'unknown' as const }, 'never'],
    [{ silent_since: AT, mode: 'moving' as const }, 'silent'],
    [{ mode: 'out_of_service' as const }, 'out'],
    [{ mode: 'deregistered' as const }, 'out'],
    [{ mode: 'unknown' as const }, 'unknown'],
    [{ mode: 'asleep' as const }, 'asleep'],
  ])('%o is %s', (more, kind) => expect(kindOf(state(1, more))).toBe(kind))
})

describe('filters', () => {
  const states = [state(1), state(2, { mode: 'parked', link: 'closed' }), state(3, { silent_since: AT, link: 'closed' }), state(4, { last_received_at: null, link: 'closed' })]
  const alarming = new Set([2])

  it('count what they show', () => {
    const counts = count(states, alarming)
    for (const filter of Object.keys(counts) as (keyof typeof counts)[]) {
      expect(counts[filter], filter).toBe(states.filter((each) => passes(each, filter, alarming)).length)
    }
    expect(counts).toMatchObject({ all: 4, online: 1, alarming: 1, moving: 1, silent: 1, never: 1 })
  })
})

describe('an alarm that somebody took', () => {
  it('rings no more', () => {
    expect(heard([alarm(1, { severity: 1, desk: 'taken' }), alarm(2)])).toBe(2)
    expect(heard([alarm(1), alarm(2, { severity: 3 })])).toBe(2)
  })
})
