// A piece of the map, drawn by hand: a box, a circle, a polygon, or all that is in sight.

import type { Feature, Polygon } from 'geojson'
import type { LngLat, Map as MapLibre, MapMouseEvent } from 'maplibre-gl'

export type Corner = [lon: number, lat: number]
export type Shape =
  | { kind: 'box'; west: number; south: number; east: number; north: number }
  | { kind: 'circle'; lon: number; lat: number; radius_m: number }
  | { kind: 'polygon'; corners: Corner[] }
export type Tool = Shape['kind']

const METRES_A_DEGREE = 111_320 // as the server reckons (monitor/routes/areas.py)
const CIRCLE_CORNERS = 72
const LONGEST_RADIUS_M = 200_000
const STILL = 5 // pixels: less is a click and no drag

/** The shape as the API asks for it. */
export function questionOf(shape: Shape): Record<string, string> {
  const degrees = (...values: number[]): string => values.map((value) => value.toFixed(6)).join(',')
  if (shape.kind === 'box') return { box: degrees(shape.south, shape.west, shape.north, shape.east) }
  if (shape.kind === 'circle') return { circle: `${degrees(shape.lat, shape.lon)},${shape.radius_m.toFixed(1)}` }
  return { polygon: shape.corners.map(([lon, lat]) => degrees(lat, lon)).join(';') }
}

export function cornersOf(shape: Shape): Corner[] {
  if (shape.kind === 'polygon') return shape.corners
  if (shape.kind === 'box') return [[shape.west, shape.south], [shape.east, shape.south], [shape.east, shape.north], [shape.west, shape.north]]
  const high = shape.radius_m / METRES_A_DEGREE
  const wide = high / Math.cos((shape.lat * Math.PI) / 180)
  return Array.from({ length: CIRCLE_CORNERS }, (_, i): Corner => {
    const turn = (2 * Math.PI * i) / CIRCLE_CORNERS
    return [shape.lon + wide * Math.cos(turn), shape.lat + high * Math.sin(turn)]
  })
}

export function areaFeature(shape: Shape): Feature<Polygon> {
  const corners = cornersOf(shape)
  return { type: 'Feature', properties: { kind: 'area' }, geometry: { type: 'Polygon', coordinates: [[...corners, corners[0]!]] } }
}

/** The box or the circle between two points: its corners, or its middle and its edge. */
export function shapeBetween(tool: 'box' | 'circle', from: LngLat, to: LngLat): Shape {
  if (tool === 'circle') return { kind: 'circle', lon: from.lng, lat: from.lat, radius_m: Math.min(LONGEST_RADIUS_M, from.distanceTo(to)) }
  return { kind: 'box', west: Math.min(from.lng, to.lng), south: Math.min(from.lat, to.lat), east: Math.max(from.lng, to.lng), north: Math.max(from.lat, to.lat) }
}

export function shapeInSight(map: MapLibre): Shape {
  const bounds = map.getBounds()
  return { kind: 'box', west: bounds.getWest(), south: bounds.getSouth(), east: bounds.getEast(), north: bounds.getNorth() }
}

export interface Drawing {
  /** A polygon ends here: the last corner is taken as it stands. */
  finish: () => void
  undo: () => void
  stop: () => void
}

/**
 * Let a shape be drawn: a box or a circle by a drag or by two clicks, a polygon by a click for each corner and a
 * double click for the last. `show` hears of every step (null: nothing yet), `done` of the end.
 */
export function drawShape(map: MapLibre, tool: Tool, show: (shape: Shape | null, corners: Corner[]) => void, done: (shape: Shape) => void): Drawing {
  const canvas = map.getCanvas()
  let begin: MapMouseEvent | null = null
  let corners: Corner[] = []

  const shapeTo = (event: MapMouseEvent): Shape | null => (begin && tool !== 'polygon' ? shapeBetween(tool, begin.lngLat, event.lngLat) : null)
  const polygonOf = (points: Corner[]): Shape | null => (points.length > 2 ? { kind: 'polygon', corners: points } : null)
  const isStill = (event: MapMouseEvent): boolean => begin!.point.dist(event.point) < STILL

  function onDown(event: MapMouseEvent): void {
    if (tool === 'polygon' || event.originalEvent.button !== 0) return
    event.preventDefault()
    begin ??= event
  }
  function onMove(event: MapMouseEvent): void {
    if (tool !== 'polygon') return begin ? show(shapeTo(event), []) : undefined
    if (corners.length) show(polygonOf([...corners, event.lngLat.toArray()]), [...corners, event.lngLat.toArray()])
  }
  function onUp(event: MapMouseEvent): void {
    if (begin && !isStill(event)) end(shapeTo(event)!)
  }
  function onClick(event: MapMouseEvent): void {
    if (tool !== 'polygon') return
    corners = [...corners, event.lngLat.toArray()]
    show(polygonOf(corners), corners)
  }
  function onDouble(event: MapMouseEvent): void {
    event.preventDefault()
    // Its two clicks came before.
    corners = corners.slice(0, -1)
    finish()
  }
  function finish(): void {
    const shape = polygonOf(corners)
    if (shape) end(shape)
  }
  function undo(): void {
    corners = corners.slice(0, -1)
    show(polygonOf(corners), corners)
  }
  function end(shape: Shape): void {
    stop()
    done(shape)
  }
  function stop(): void {
    map.off('mousedown', onDown).off('mousemove', onMove).off('mouseup', onUp).off('click', onClick).off('dblclick', onDouble)
    canvas.style.cursor = ''
  }

  map.on('mousedown', onDown)
  map.on('mousemove', onMove)
  map.on('mouseup', onUp)
  map.on('click', onClick)
  map.on('dblclick', onDouble)
  canvas.style.cursor = 'crosshair'
  return { finish, undo, stop }
}
