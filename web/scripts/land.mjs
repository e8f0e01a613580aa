// Writes src/map/land.generated.json: the land and the coast of the base map, without any boundary.
//
// Around the region watched it is Natural Earth 1:10m, elsewhere 1:110m; both come from npm `world-atlas`
// (public domain data). The two meet along the edges of REGION, so no land is drawn twice and coasts do not disagree.
import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { feature } from 'topojson-client'

const REGION = { west: 110, east: 136, south: 30, north: 50 } // degrees; all of it within a day's drive of Liaoning
const DECIMALS = 4 // 10 m
const OUTSIDE = [
  { west: -180, east: REGION.west, south: -90, north: 90 },
  { west: REGION.east, east: 180, south: -90, north: 90 },
  { west: REGION.west, east: REGION.east, south: -90, north: REGION.south },
  { west: REGION.west, east: REGION.east, south: REGION.north, north: 90 },
]

const require = createRequire(import.meta.url)
const TARGET = new URL('../src/map/land.generated.json', import.meta.url)

function polygons(file) {
  const topology = JSON.parse(readFileSync(require.resolve(`world-atlas/${file}`), 'utf8'))
  return feature(topology, topology.objects.land).features.flatMap(({ geometry }) =>
    geometry.type === 'Polygon' ? [geometry.coordinates] : geometry.coordinates,
  )
}

/** Sutherland and Hodgman: the part of a closed ring within a box. */
function clip(ring, { west, east, south, north }) {
  const edges = [
    [0, west, 1],
    [0, east, -1],
    [1, south, 1],
    [1, north, -1],
  ]
  let points = ring.slice(0, -1)
  for (const [axis, limit, sign] of edges) {
    const input = points
    points = []
    input.forEach((here, i) => {
      const before = input.at(i - 1)
      const isIn = (here[axis] - limit) * sign >= 0
      const wasIn = (before[axis] - limit) * sign >= 0
      if (isIn !== wasIn) {
        const share = (limit - before[axis]) / (here[axis] - before[axis])
        const cut = before.map((value, k) => value + share * (here[k] - value))
        cut[axis] = limit
        points.push(cut)
      }
      if (isIn) points.push(here)
    })
  }
  return points.length < 3 ? [] : [...points, points[0]]
}

const clipped = (all, box) =>
  all.map((rings) => rings.map((ring) => clip(ring, box)).filter((ring) => ring.length)).filter((rings) => rings.length)

const onEdge = ([lon, lat]) =>
  lon === REGION.west || lon === REGION.east || lat === REGION.south || lat === REGION.north

/** The pieces of a ring that are coast and not the edge of the region. */
function coasts(ring) {
  const lines = [[]]
  ring.forEach((point, i) => {
    if (i && onEdge(point) && onEdge(ring[i - 1])) lines.push([])
    lines.at(-1).push(point)
  })
  return lines.filter((line) => line.length > 1)
}

const rounded = (value) => (Array.isArray(value) ? value.map(rounded) : Number(value.toFixed(DECIMALS)))

const near = clipped(polygons('land-10m.json'), REGION)
const far = OUTSIDE.flatMap((box) => clipped(polygons('land-110m.json'), box))
const collection = {
  type: 'FeatureCollection',
  features: [
    { type: 'Feature', properties: { kind: 'land' }, geometry: { type: 'MultiPolygon', coordinates: [...near, ...far] } },
    { type: 'Feature', properties: { kind: 'coast' }, geometry: { type: 'MultiLineString', coordinates: near.flat().flatMap(coasts) } },
  ],
}
for (const each of collection.features) each.geometry.coordinates = rounded(each.geometry.coordinates)
writeFileSync(TARGET, JSON.stringify(collection))
