// The map on the desk, for those that draw on it beside the fleet. Null until its style is there.

import type { FeatureCollection } from 'geojson'
import type { GeoJSONSource, Map as MapLibre } from 'maplibre-gl'
import { shallowRef } from 'vue'

export const shownMap = shallowRef<MapLibre | null>(null)

/** Pixels of the map that a panel on its left covers. */
export const PANEL = 400
export const MARGIN = 70

export const NOTHING: FeatureCollection = { type: 'FeatureCollection', features: [] }

export function draw(source: 'replay' | 'area', data: FeatureCollection): void {
  void shownMap.value?.getSource<GeoJSONSource>(source)?.setData(data)
}
