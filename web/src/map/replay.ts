// A track of the past: from points to coloured lines, and where one was at a time between them. Pure.

import type { Feature, FeatureCollection, Point } from 'geojson'
import type { Alarm, Leg, Track, TrackPoint } from '../api/types'

/** After a longer silence nobody knows the way (docs/journeys.md). */
const GAP_MS = 10 * 60_000
/** Points of nearly the same speed are one line: a few hundred lines instead of thousands. */
const CLASS_KMH = 5

/** A point with its time as a number, and whether the way to the next one is unknown. */
export interface Step extends TrackPoint {
  ms: number
  isBeforeGap: boolean
}

/**
 * Where points were left out, a long time between two of them is no gap: the vehicle drove straight on. There the
 * legs tell where gaps begin.
 */
export function stepsOf({ points, tolerance_m }: Track, legs: Leg[]): Step[] {
  const gaps = legs.filter(({ gap_km }) => gap_km > 0).map(({ ended_at }) => Date.parse(ended_at))
  const steps = points.map((point) => ({ ...point, ms: Date.parse(point.at), isBeforeGap: false }))
  steps.forEach((step, i) => {
    const next = steps[i + 1]
    if (!next || next.ms - step.ms <= GAP_MS) return
    step.isBeforeGap = tolerance_m === 0 || gaps.some((at) => step.ms <= at && at < next.ms)
  })
  return steps
}

/** The last step at or before a time; -1 before the first. */
export function indexAt(steps: Step[], ms: number): number {
  let [low, high] = [0, steps.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (steps[middle]!.ms <= ms) low = middle + 1
    else high = middle
  }
  return low - 1
}

export interface Place {
  at: [lon: number, lat: number]
  speed_kmh: number
  heading_deg: number
  isKnown: boolean
}

/** Where one was: on the straight line between two points; in a gap, where one was seen last. */
export function placeAt(steps: Step[], ms: number): Place | null {
  const i = Math.max(0, indexAt(steps, ms))
  const [here, next] = [steps[i], steps[i + 1]]
  if (!here) return null
  const known = { heading_deg: here.heading_deg, isKnown: !here.isBeforeGap || ms <= here.ms }
  if (!next || here.isBeforeGap || ms <= here.ms) return { at: [here.lon, here.lat], speed_kmh: known.isKnown ? here.speed_kmh : 0, ...known }
  const share = (ms - here.ms) / (next.ms - here.ms)
  const mix = (a: number, b: number): number => a + (b - a) * share
  return { at: [mix(here.lon, next.lon), mix(here.lat, next.lat)], speed_kmh: mix(here.speed_kmh, next.speed_kmh), ...known }
}

/** Lines of one speed each, gaps, stops, alarms, and both ends. */
export function replayFeatures(steps: Step[], legs: Leg[], alarms: Alarm[]): FeatureCollection {
  const point = (lon: number, lat: number, properties: object): Feature<Point> => ({ type: 'Feature', properties, geometry: { type: 'Point', coordinates: [lon, lat] } })
  const [first, last] = [steps[0], steps.at(-1)]
  return {
    type: 'FeatureCollection',
    features: [
      ...linesOf(steps),
      ...legs.filter(({ kind }) => kind === 'stop').map(({ began_lon, began_lat }) => point(began_lon, began_lat, { kind: 'stop' })),
      ...(first && last ? [point(first.lon, first.lat, { kind: 'begin' }), point(last.lon, last.lat, { kind: 'end' })] : []),
      ...alarms.flatMap(({ lon, lat, severity }) => (lon === null || lat === null ? [] : [point(lon, lat, { kind: 'alarm', severity })])),
    ],
  }
}

function linesOf(steps: Step[]): Feature[] {
  const lines: { kind: 'line' | 'gap'; speed_kmh: number; coordinates: [number, number][] }[] = []
  steps.slice(0, -1).forEach((step, i) => {
    const next = steps[i + 1]!
    const kind = step.isBeforeGap ? 'gap' : 'line'
    const speed_kmh = Math.round(step.speed_kmh / CLASS_KMH) * CLASS_KMH
    const line = lines.at(-1)
    if (line?.kind === kind && kind === 'line' && line.speed_kmh === speed_kmh) line.coordinates.push([next.lon, next.lat])
    else lines.push({ kind, speed_kmh, coordinates: [[step.lon, step.lat], [next.lon, next.lat]] })
  })
  return lines.map(({ coordinates, ...properties }) => ({ type: 'Feature', properties, geometry: { type: 'LineString', coordinates } }))
}

/** The greatest speed in each of `count` equal pieces of the time from the first to the last step; 0 where unknown. */
export function speedProfile(steps: Step[], count: number): number[] {
  const profile = new Array<number>(count).fill(0)
  const [first, last] = [steps[0], steps.at(-1)]
  if (!first || !last || first.ms === last.ms) return profile
  const pieceOf = (ms: number): number => Math.min(count - 1, Math.floor(((ms - first.ms) / (last.ms - first.ms)) * count))
  steps.forEach((step, i) => {
    const next = steps[i + 1]
    const begin = pieceOf(step.ms)
    const end = next && !step.isBeforeGap ? pieceOf(next.ms) : begin
    for (let piece = begin; piece <= end; piece++) {
      const share = end === begin ? 0 : (piece - begin) / (end - begin)
      profile[piece] = Math.max(profile[piece]!, step.speed_kmh + ((next?.speed_kmh ?? 0) - step.speed_kmh) * share)
    }
  })
  return profile
}

export function boundsOfTrack(steps: { lon: number; lat: number }[]): [number, number, number, number] | null {
  if (!steps.length) return null
  const [lons, lats] = [steps.map(({ lon }) => lon), steps.map(({ lat }) => lat)]
  const least = (values: number[]): number => values.reduce((a, b) => Math.min(a, b))
  const most = (values: number[]): number => values.reduce((a, b) => Math.max(a, b))
  return [least(lons), least(lats), most(lons), most(lats)]
}
