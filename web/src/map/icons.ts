// Signs of vehicles on the map, drawn once as distance fields, so that one sign takes any colour.

import type { Map } from 'maplibre-gl'
import type { Kind } from '../desk/state'

const SIZE = 48 // pixels of the picture; it is drawn for screens with two pixels per unit
const SPREAD = 8 // how far from the edge the field still tells the distance

type Inside = (x: number, y: number) => number // signed distance to the edge, in pixels, negative inside

const circle = (radius: number): Inside => (x, y) => Math.hypot(x, y) - radius
const ring = (radius: number, width: number): Inside => (x, y) => Math.abs(Math.hypot(x, y) - radius) - width / 2
const square = (half: number): Inside => (x, y) => {
  const [dx, dy] = [Math.abs(x) - half, Math.abs(y) - half]
  return Math.hypot(Math.max(dx, 0), Math.max(dy, 0)) + Math.min(Math.max(dx, dy), 0)
}

/** A pointed arrow to the north with a notch behind. */
const arrow: Inside = (x, y) => polygon([[0, -17], [11.5, 13], [0, 7], [-11.5, 13]], x, y)

function polygon(corners: [number, number][], x: number, y: number): number {
  let nearest = Infinity
  let isInside = false
  corners.forEach(([ax, ay], i) => {
    const [bx, by] = corners.at(i - 1)!
    const [ex, ey, wx, wy] = [bx - ax, by - ay, x - ax, y - ay]
    const share = Math.min(1, Math.max(0, (wx * ex + wy * ey) / (ex * ex + ey * ey)))
    nearest = Math.min(nearest, Math.hypot(wx - ex * share, wy - ey * share))
    if (ay > y !== by > y && x < ax + (ex * (y - ay)) / ey) isInside = !isInside
  })
  return isInside ? -nearest : nearest
}

const both = (a: Inside, b: Inside): Inside => (x, y) => Math.min(a(x, y), b(x, y))

const SIGNS: Record<Kind, Inside> = {
  moving: arrow,
  parked: square(7.5),
  asleep: ring(7.5, 4),
  silent: both(ring(11, 3.5), circle(4)),
  without_code: both(ring(11, 3.5), circle(4)),
  out: ring(6, 3),
  unknown: circle(6),
  never: ring(6, 3),
}

/** A picture whose alpha is the distance to the edge; 191 is the edge itself (the renderer's convention: 0.75). */
function picture(inside: Inside): ImageData {
  const image = new ImageData(SIZE, SIZE)
  for (let row = 0; row < SIZE; row++) {
    for (let column = 0; column < SIZE; column++) {
      const distance = inside(column + 0.5 - SIZE / 2, row + 0.5 - SIZE / 2)
      image.data[(row * SIZE + column) * 4 + 3] = Math.round(255 * Math.min(1, Math.max(0, 0.75 - distance / SPREAD)))
    }
  }
  return image
}

export function addIcons(map: Map): void {
  for (const [kind, inside] of Object.entries(SIGNS)) {
    if (!map.hasImage(kind)) map.addImage(kind, picture(inside), { sdf: true, pixelRatio: 2 })
  }
}
