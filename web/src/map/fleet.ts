// From what the desk knows to what stands on the map.

import type { Feature, FeatureCollection, Point } from 'geojson'
import type { Severity, State, TrackPoint } from '../api/types'
import { kindOf, nameOf } from '../desk/state'
import type { Tone } from './style'

const SEVERITY_TONES: Record<Severity, Tone> = { 1: 'emergency', 2: 'urgent', 3: 'warning', 4: 'notice' }
/** Later ones are drawn above earlier ones. */
const ORDER: Tone[] = ['quiet', 'normal', 'silent', 'notice', 'warning', 'urgent', 'emergency']
const GAP_MS = 5 * 60_000 // a line over a longer gap would tell of a way that nobody saw

export const isPlaced = (state: State): boolean => state.lat !== null && state.lon !== null && !state.blocked

export function toneOf(state: State, worst: Severity | undefined): Tone {
  if (worst) return SEVERITY_TONES[worst]
  const kind = kindOf(state)
  if (kind === 'silent' || kind === 'without_code') return 'silent'
  return kind === 'moving' ? 'normal' : 'quiet'
}

/** `beats`: an emergency waits for somebody to take it. */
export function featureOf(state: State, worst: Severity | undefined, beats: boolean): Feature<Point> {
  const kind = kindOf(state)
  const tone = toneOf(state, worst)
  return {
    type: 'Feature',
    id: state.terminal_id,
    geometry: { type: 'Point', coordinates: [state.lon!, state.lat!] },
    properties: {
      name: nameOf(state),
      icon: kind,
      heading: kind === 'moving' ? (state.heading_deg ?? 0) : 0,
      tone,
      order: ORDER.indexOf(tone),
      beats,
    },
  }
}

/** The box around nearly all of the fleet: single terminals that think they are elsewhere do not count. */
export function boundsOf(states: Iterable<State>): [number, number, number, number] | null {
  const placed = [...states].filter(isPlaced)
  if (!placed.length) return null
  const middle = (values: number[]): [number, number] => {
    values.sort((a, b) => a - b)
    const spare = Math.floor(values.length * 0.02)
    return [values[spare]!, values.at(-1 - spare)!]
  }
  const [west, east] = middle(placed.map(({ lon }) => lon!))
  const [south, north] = middle(placed.map(({ lat }) => lat!))
  return [west, south, east, north]
}

export type Footprint = Pick<TrackPoint, 'at' | 'lat' | 'lon' | 'alarm_bits'>

export function trackFeatures(track: Footprint[]): FeatureCollection {
  const pieces: [number, number][][] = []
  track.forEach(({ at, lat, lon }, i) => {
    const before = track[i - 1]
    if (!before || Date.parse(at) - Date.parse(before.at) > GAP_MS) pieces.push([])
    pieces.at(-1)!.push([lon, lat])
  })
  return {
    type: 'FeatureCollection',
    features: [
      { type: 'Feature', properties: {}, geometry: { type: 'MultiLineString', coordinates: pieces.filter((piece) => piece.length > 1) } },
      ...track.map(({ lat, lon, alarm_bits }): Feature => ({
        type: 'Feature',
        properties: { alarming: alarm_bits !== 0 },
        geometry: { type: 'Point', coordinates: [lon, lat] },
      })),
    ],
  }
}
