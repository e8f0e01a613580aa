// The style of the map: base map (built in, or tiles of the center's choice), then vehicles on top.

import type { FeatureCollection } from 'geojson'
import type { ExpressionSpecification, LayerSpecification, SourceSpecification, StyleSpecification } from 'maplibre-gl'
import type { Settings } from '../api/types'
import type { Language } from '../i18n'
import landUrl from './land.generated.json?url'
import { DRIVEN_ROADS, LAKES, OTHER_ROADS, PLACES, RIVERS, rounded, SEAS, type Place } from './region'

export const FONT = 'Noto Sans SC Variable'
const WATER = '#0d1114'
const LAND = '#1a1f23'
const COAST = '#313a42'
const ROAD = '#2b3339'

/** Colours of what is abnormal, as in style.css; `normal` is no colour. */
export const TONES = {
  emergency: '#ff5a52',
  urgent: '#ff9d3c',
  warning: '#ecc94b',
  notice: '#69b7d6',
  silent: '#b794f6',
  normal: '#c4ced6',
  quiet: '#76828d',
} as const
/** Colours of speeds on a track, in km/h: brighter is faster, and none is a colour of alarms. */
export const SPEEDS: [kmh: number, color: string][] = [[0, '#44618f'], [30, '#3f8f9f'], [60, '#58b490'], [90, '#b3d88b'], [120, '#f6f2cf']]
/** Pixels between which an emergency that nobody took beats. */
export const PULSE_FROM = 15
export const PULSE_TO = 27
export type Tone = keyof typeof TONES

const byZoom = (...stops: number[]): ExpressionSpecification =>
  ['interpolate', ['linear'], ['zoom'], ...stops] as unknown as ExpressionSpecification

const points = (places: Place[]): FeatureCollection => ({
  type: 'FeatureCollection',
  features: places.map(({ zh, en, at, rank }) => ({
    type: 'Feature',
    properties: { zh, en, rank },
    geometry: { type: 'Point', coordinates: at },
  })),
})

const lines = (all: { line: [number, number][] }[]): FeatureCollection => ({
  type: 'FeatureCollection',
  features: all.map(({ line, ...properties }) => ({
    type: 'Feature',
    properties,
    geometry: { type: 'LineString', coordinates: rounded(line) },
  })),
})

const lakes: FeatureCollection = {
  type: 'FeatureCollection',
  features: LAKES.map(({ ring, ...properties }) => ({
    type: 'Feature',
    properties,
    geometry: { type: 'Polygon', coordinates: [rounded(ring)] },
  })),
}

const empty: FeatureCollection = { type: 'FeatureCollection', features: [] }

const baseSources = (): Record<string, SourceSpecification> => ({
  land: { type: 'geojson', data: landUrl, tolerance: 0.2, buffer: 8 },
  lakes: { type: 'geojson', data: lakes },
  rivers: { type: 'geojson', data: lines(RIVERS) },
  roads: { type: 'geojson', data: lines([...DRIVEN_ROADS, ...OTHER_ROADS]) },
  seas: { type: 'geojson', data: points(SEAS) },
})

const baseLayers = (language: Language): LayerSpecification[] => [
  { id: 'land', type: 'fill', source: 'land', filter: ['==', ['get', 'kind'], 'land'], paint: { 'fill-color': LAND, 'fill-antialias': false } },
  { id: 'coast', type: 'line', source: 'land', filter: ['==', ['get', 'kind'], 'coast'], paint: { 'line-color': COAST, 'line-width': byZoom(4, 0.6, 9, 1.2) } },
  { id: 'lakes', type: 'fill', source: 'lakes', paint: { 'fill-color': WATER, 'fill-outline-color': COAST } },
  { id: 'rivers', type: 'line', source: 'rivers', layout: { 'line-cap': 'round', 'line-join': 'round' }, paint: { 'line-color': '#222c35', 'line-width': byZoom(5, 0.8, 8, 2, 12, 5) } },
  { id: 'roads', type: 'line', source: 'roads', layout: { 'line-cap': 'round', 'line-join': 'round' }, paint: { 'line-color': ROAD, 'line-width': byZoom(5, 0.8, 8, 1.8, 12, 5) } },
  {
    id: 'rivers-names',
    type: 'symbol',
    source: 'rivers',
    minzoom: 7,
    layout: { 'symbol-placement': 'line', 'text-field': ['get', language], 'text-font': [FONT], 'text-size': 11, 'text-letter-spacing': 0.15, 'symbol-spacing': 500 },
    paint: { 'text-color': '#4c5c69', 'text-halo-color': LAND, 'text-halo-width': 1.2 },
  },
  {
    id: 'seas',
    type: 'symbol',
    source: 'seas',
    layout: { 'text-field': ['get', language], 'text-font': [FONT], 'text-size': ['match', ['get', 'rank'], 1, 15, 12], 'text-letter-spacing': 0.4 },
    paint: { 'text-color': '#3d4a55' },
  },
]

const placeLayer = (language: Language, rank: number, [minzoom, size, color]: [number, number, string]): LayerSpecification => ({
  id: `places-${rank}`,
  type: 'symbol',
  source: 'places',
  minzoom,
  filter: ['==', ['get', 'rank'], rank],
  layout: { 'text-field': ['get', language], 'text-font': [FONT], 'text-size': byZoom(5, size, 9, size + 3), 'text-padding': 6 },
  paint: { 'text-color': color, 'text-halo-color': LAND, 'text-halo-width': 1.4 },
})

const byTone: ExpressionSpecification = ['match', ['get', 'tone'], ...Object.entries(TONES).flat(), TONES.normal] as unknown as ExpressionSpecification
const isAlarming: ExpressionSpecification = ['in', ['get', 'tone'], ['literal', ['emergency', 'urgent']]]

const isAbnormal: ExpressionSpecification = ['!', ['in', ['get', 'tone'], ['literal', ['normal', 'quiet']]]]

const plates = (id: string, filter: ExpressionSpecification, minzoom: number): LayerSpecification => ({
  id,
  type: 'symbol',
  source: 'vehicles',
  minzoom,
  filter,
  layout: {
    'text-field': ['get', 'name'],
    'text-font': [FONT],
    'text-size': byZoom(7, 10.5, 11, 13),
    'text-variable-anchor': ['left', 'right', 'top', 'bottom'],
    'text-radial-offset': 0.95,
    'text-padding': 3,
    'symbol-sort-key': ['-', ['get', 'order']],
  },
  paint: { 'text-color': byTone, 'text-halo-color': '#0f1316', 'text-halo-width': 1.4 },
})

const only = (kind: string): ExpressionSpecification => ['==', ['get', 'kind'], kind]
const round: { 'line-cap': 'round'; 'line-join': 'round' } = { 'line-cap': 'round', 'line-join': 'round' }

/** A track of the past. */
const replayLayers: LayerSpecification[] = [
  { id: 'replay-gap', type: 'line', source: 'replay', filter: only('gap'), paint: { 'line-color': TONES.quiet, 'line-width': 1.5, 'line-dasharray': [2, 3] } },
  { id: 'replay-casing', type: 'line', source: 'replay', filter: only('line'), layout: round, paint: { 'line-color': '#0b0e10', 'line-width': byZoom(6, 5, 12, 8) } },
  { id: 'replay-line', type: 'line', source: 'replay', filter: only('line'), layout: round, paint: { 'line-color': ['interpolate', ['linear'], ['get', 'speed_kmh'], ...SPEEDS.flat()] as unknown as ExpressionSpecification, 'line-width': byZoom(6, 3, 12, 5) } },
  { id: 'replay-ends', type: 'circle', source: 'replay', filter: ['in', ['get', 'kind'], ['literal', ['begin', 'end']]], paint: { 'circle-radius': 5.5, 'circle-color': ['match', ['get', 'kind'], 'begin', '#14181b', '#eef2f5'], 'circle-stroke-width': 2, 'circle-stroke-color': '#eef2f5' } },
  { id: 'replay-stops', type: 'circle', source: 'replay', filter: only('stop'), paint: { 'circle-radius': 8.5, 'circle-color': '#2c343b', 'circle-stroke-width': 1.3, 'circle-stroke-color': '#eef2f5' } },
  { id: 'replay-stops-sign', type: 'symbol', source: 'replay', filter: only('stop'), layout: { 'text-field': 'P', 'text-font': [FONT], 'text-size': 11.5, 'text-allow-overlap': true, 'text-ignore-placement': true }, paint: { 'text-color': '#eef2f5' } },
  { id: 'replay-alarms', type: 'circle', source: 'replay', filter: only('alarm'), paint: { 'circle-radius': 5.5, 'circle-color': ['match', ['get', 'severity'], 1, TONES.emergency, 2, TONES.urgent, 3, TONES.warning, TONES.notice], 'circle-stroke-width': 1.5, 'circle-stroke-color': '#0b0e10' } },
]

/** The area in which vehicles are looked for, and where they were seen in it. */
const areaLayers: LayerSpecification[] = [
  { id: 'area-fill', type: 'fill', source: 'area', filter: only('area'), paint: { 'fill-color': '#8fb3d1', 'fill-opacity': 0.1 } },
  { id: 'area-line', type: 'line', source: 'area', filter: only('area'), layout: round, paint: { 'line-color': '#8fb3d1', 'line-width': 1.6 } },
  { id: 'area-corners', type: 'circle', source: 'area', filter: only('corner'), paint: { 'circle-radius': 4, 'circle-color': '#14181b', 'circle-stroke-width': 1.6, 'circle-stroke-color': '#8fb3d1' } },
  { id: 'area-visits', type: 'circle', source: 'area', filter: only('visit'), paint: { 'circle-radius': ['case', ['get', 'isChosen'], 14, 9], 'circle-color': 'transparent', 'circle-stroke-width': ['case', ['get', 'isChosen'], 2, 1.3], 'circle-stroke-color': ['case', ['get', 'isChosen'], '#ffffff', '#8fb3d1'] } },
]

const vehicleLayers: LayerSpecification[] = [
  { id: 'track-line', type: 'line', source: 'track', filter: ['match', ['geometry-type'], ['LineString', 'MultiLineString'], true, false], layout: { 'line-cap': 'round', 'line-join': 'round' }, paint: { 'line-color': '#8fb3d1', 'line-width': 2.5, 'line-opacity': 0.75 } },
  { id: 'track-points', type: 'circle', source: 'track', minzoom: 8, filter: ['==', ['geometry-type'], 'Point'], paint: { 'circle-radius': 2.6, 'circle-color': '#14181b', 'circle-stroke-width': 1.3, 'circle-stroke-color': ['case', ['get', 'alarming'], TONES.urgent, '#8fb3d1'] } },
  { id: 'vehicles-halo', type: 'circle', source: 'vehicles', filter: isAlarming, paint: { 'circle-radius': 13, 'circle-color': byTone, 'circle-opacity': 0.2, 'circle-stroke-width': 1, 'circle-stroke-color': byTone, 'circle-stroke-opacity': 0.6 } },
  { id: 'vehicles-pulse', type: 'circle', source: 'vehicles', filter: ['get', 'beats'], paint: { 'circle-radius': PULSE_FROM, 'circle-color': TONES.emergency, 'circle-opacity': 0.14, 'circle-stroke-width': 1.5, 'circle-stroke-color': TONES.emergency, 'circle-stroke-opacity': 0.5 } },
  { id: 'vehicles-selected', type: 'circle', source: 'vehicles', filter: ['==', ['id'], -1], paint: { 'circle-radius': 15, 'circle-color': 'transparent', 'circle-stroke-width': 1.6, 'circle-stroke-color': '#ffffff' } },
  {
    id: 'vehicles',
    type: 'symbol',
    source: 'vehicles',
    layout: {
      'icon-image': ['get', 'icon'],
      'icon-size': byZoom(4, 0.45, 7, 0.76, 11, 1),
      'icon-rotate': ['get', 'heading'],
      'icon-rotation-alignment': 'map',
      'icon-allow-overlap': true,
      'icon-ignore-placement': true,
      'symbol-sort-key': ['get', 'order'],
    },
    paint: { 'icon-color': byTone, 'icon-halo-color': '#0b0e10', 'icon-halo-width': 1.5 },
  },
  plates('vehicles-plates-abnormal', isAbnormal, 4),
]

/** Tile servers are often numbered: https://t{s}.example/… stands for t0 to t7. */
const numbered = (url: string): string[] => (url.includes('{s}') ? Array.from({ length: 8 }, (_, i) => url.replace('{s}', String(i))) : [url])

/** The whole style. With tiles of its own, the center sees those instead of the built-in land and roads. */
export function styleFor(settings: Settings | null, language: Language): StyleSpecification {
  const tiles = settings?.map.tiles_url
  const normalPlates = plates('vehicles-plates', ['!', isAbnormal], 5.8)
  return {
    version: 8,
    sources: {
      ...(tiles
        ? { tiles: { type: 'raster', tiles: numbered(tiles), tileSize: 256, maxzoom: 18, attribution: settings?.map.tiles_attribution ?? '' } }
        : baseSources()),
      places: { type: 'geojson', data: points(PLACES) },
      track: { type: 'geojson', data: empty },
      replay: { type: 'geojson', data: empty },
      area: { type: 'geojson', data: empty },
      vehicles: { type: 'geojson', data: empty, buffer: 32 },
    },
    layers: [
      { id: 'background', type: 'background', paint: { 'background-color': WATER } },
      ...(tiles
        ? [{ id: 'tiles', type: 'raster', source: 'tiles' } as LayerSpecification, normalPlates]
        : [
            ...baseLayers(language),
            // What stands higher keeps its place: names of towns yield to plates of abnormal vehicles only.
            normalPlates,
            placeLayer(language, 3, [8, 10.5, '#697682']),
            placeLayer(language, 2, [5, 12, '#8a96a1']),
            placeLayer(language, 1, [3, 13.5, '#aab5be']),
          ]),
      ...areaLayers,
      ...vehicleLayers,
      ...replayLayers,
    ],
  }
}
