import { describe, expect, it } from 'vitest'
import type { State } from '../src/api/types'
import { boundsOf, featureOf, toneOf, trackFeatures, type Footprint } from '../src/map/fleet'
import { rounded } from '../src/map/region'

const state = (more: Partial<State> = {}): State =>
  ({ terminal_id: 4, identity: '139', plate: '辽A12345', blocked: false, last_received_at: '2026-03-01T08:00:00Z', silent_since: null, mode: 'moving', lat: 41.8, lon: 123.4, heading_deg: 90, ...more }) as State

describe('toneOf', () => {
  it('colours only what is abnormal', () => {
    expect(toneOf(state(), undefined)).toBe('normal')
    expect(toneOf(state({ mode: 'parked' }), undefined)).toBe('quiet')
    expect(toneOf(state({ silent_since: '2026-03-01T08:00:00Z' }), undefined)).toBe('silent')
    expect(toneOf(state({ silent_since: '2026-03-01T08:00:00Z' }), 1)).toBe('emergency')
  })
})

describe('featureOf', () => {
  it('turns only what moves', () => {
    expect(featureOf(state(), undefined, false).properties).toMatchObject({ name: '辽A12345', icon: 'moving', heading: 90 })
    expect(featureOf(state({ mode: 'parked' }), undefined, false).properties).toMatchObject({ icon: 'parked', heading: 0 })
  })
})

describe('boundsOf', () => {
  it('leaves out the few that think they are in the Gulf of Guinea', () => {
    const fleet = Array.from({ length: 100 }, (_, i) => state({ lat: 41 + i / 100, lon: 123 + i / 100 }))
    const [west, south, east, north] = boundsOf([...fleet, state({ lat: 0, lon: 0 })])!
    expect(west).toBeGreaterThan(122)
    expect(south).toBeGreaterThan(40)
    expect(east).toBeLessThan(125)
    expect(north).toBeLessThan(43)
  })

  it('knows nothing of a fleet without fixes', () => expect(boundsOf([state({ lat: null, lon: null })])).toBeNull())
})

describe('trackFeatures', () => {
  const step = (minute: number): Footprint => ({ at: `2026-03-01T08:${String(minute).padStart(2, '0')}:00Z`, lat: 41, lon: 123 + minute / 100, alarm_bits: 0 })

  it('draws no line over a gap', () => {
    const [line, ...points] = trackFeatures([step(0), step(1), step(20), step(21)]).features
    expect(line!.geometry).toMatchObject({ type: 'MultiLineString', coordinates: [[[123, 41], [123.01, 41]], [[123.2, 41], [123.21, 41]]] })
    expect(points).toHaveLength(4)
  })
})

describe('rounded', () => {
  it('keeps the ends of a line', () => {
    const line = rounded([[0, 0], [1, 1], [2, 0]])
    expect(line[0]).toEqual([0, 0])
    expect(line.at(-1)).toEqual([2, 0])
  })
})
