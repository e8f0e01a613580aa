import { describe, expect, it } from 'vitest'
import type { Leg, Track, TrackPoint } from '../src/api/types'
import { areaFeature, cornersOf, questionOf } from '../src/map/area'
import { boundsOfTrack, indexAt, placeAt, replayFeatures, speedProfile, stepsOf } from '../src/map/replay'
import { between, dayOf, fromField, midnight, toField } from '../src/time'

const at = (minute: number): string => new Date(Date.parse('2026-03-01T08:00:00Z') + minute * 60_000).toISOString()
const point = (minute: number, speed_kmh = 60): TrackPoint => ({ at: at(minute), lat: 41, lon: 123 + minute / 100, speed_kmh, heading_deg: 90 }) as TrackPoint
const track = (points: TrackPoint[], tolerance_m = 0): Track => ({ points, tolerance_m, total: points.length, from: at(0), to: at(60) })
const leg = (kind: Leg['kind'], from: number, to: number, gap_km = 0): Leg => ({ kind, began_at: at(from), ended_at: at(to), gap_km, began_lat: 41, began_lon: 123 }) as Leg

describe('stepsOf', () => {
  const lone = [point(0), point(1), point(20)]
  it('sees a gap where a long time passed and nothing was left out', () => expect(stepsOf(track(lone), []).map((step) => step.isBeforeGap)).toEqual([false, true, false]))
  it('sees none where points were left out', () => expect(stepsOf(track(lone, 12), []).some((step) => step.isBeforeGap)).toBe(false))
  it('sees one there where a leg ended before the unknown', () => expect(stepsOf(track(lone, 12), [leg('trip', 0, 2, 5)]).map((step) => step.isBeforeGap)).toEqual([false, true, false]))
})

describe('placeAt', () => {
  const steps = stepsOf(track([point(0, 60), point(2, 80), point(30, 0)]), [])
  it('is on the way between two points', () => expect(placeAt(steps, Date.parse(at(1)))).toMatchObject({ at: [expect.closeTo(123.01), 41], speed_kmh: 70, isKnown: true }))
  it('stays where it was seen last in a gap', () => expect(placeAt(steps, Date.parse(at(10)))).toMatchObject({ at: [123.02, 41], speed_kmh: 0, isKnown: false }))
  it('knows only the first and the last place beyond the ends', () => {
    expect(placeAt(steps, 0)?.at).toEqual([123, 41])
    expect(placeAt(steps, Date.parse(at(99)))?.at).toEqual([123.3, 41])
  })
  it('is nowhere without a track', () => expect(placeAt([], 0)).toBeNull())
  it('finds the last step before a time', () => expect([-1, 0, 1, 2, 5, 60].map((minute) => indexAt(steps, Date.parse(at(minute))))).toEqual([-1, 0, 0, 1, 1, 2]))
})

describe('replayFeatures', () => {
  it('joins what has one speed, and draws gaps and stops apart', () => {
    const steps = stepsOf(track([point(0, 60), point(1, 61), point(2, 90), point(3, 90), point(20, 0)]), [])
    const { features } = replayFeatures(steps, [leg('stop', 3, 20)], [])
    expect(features.map(({ properties }) => properties!.kind)).toEqual(['line', 'line', 'gap', 'stop', 'begin', 'end'])
    expect(features[0]!.geometry).toMatchObject({ coordinates: [[123, 41], [123.01, 41], [123.02, 41]] })
  })
})

describe('speedProfile', () => {
  it('rises between points and is nothing in a gap', () => {
    const profile = speedProfile(stepsOf(track([point(0, 0), point(10, 100), point(40, 0)]), []), 8)
    expect(profile).toEqual([0, 50, 100, 0, 0, 0, 0, 0])
  })
  it('is flat without a track', () => expect(speedProfile([], 3)).toEqual([0, 0, 0]))
})

describe('boundsOfTrack', () => {
  it('goes around all points', () => expect(boundsOfTrack([{ lon: 3, lat: 1 }, { lon: 2, lat: 5 }])).toEqual([2, 1, 3, 5]))
  it('is nothing around none', () => expect(boundsOfTrack([])).toBeNull())
})

describe('areas', () => {
  const box = { kind: 'box', west: 123, south: 41, east: 124, north: 42 } as const
  it('are asked for as the API wants them', () => {
    expect(questionOf(box)).toEqual({ box: '41.000000,123.000000,42.000000,124.000000' })
    expect(questionOf({ kind: 'circle', lon: 123, lat: 41, radius_m: 1500 })).toEqual({ circle: '41.000000,123.000000,1500.0' })
    expect(questionOf({ kind: 'polygon', corners: [[123, 41], [124, 41], [124, 42]] })).toEqual({ polygon: '41.000000,123.000000;41.000000,124.000000;42.000000,124.000000' })
  })
  it('are closed rings on the map', () => expect(areaFeature(box).geometry.coordinates[0]).toEqual([[123, 41], [124, 41], [124, 42], [123, 42], [123, 41]]))
  it('have circles as wide as high on the ground', () => {
    const lons = cornersOf({ kind: 'circle', lon: 0, lat: 60, radius_m: 111_320 }).map(([lon]) => lon)
    expect(Math.max(...lons)).toBeCloseTo(2, 1)
  })
})

describe('periods', () => {
  const noon = Date.parse('2026-03-01T17:00:00Z') // one o'clock of the next day in China
  it('are whole days of China', () => expect(between(dayOf(noon))).toEqual({ from: '2026-03-01T16:00:00.000Z', to: '2026-03-02T16:00:00.000Z' }))
  it('of a week end with today', () => expect(between(dayOf(noon, 7)).from).toBe('2026-02-23T16:00:00.000Z'))
  it('come back from fields as they went in', () => expect(fromField(toField(midnight(1, noon)))).toBe(midnight(1, noon)))
})
