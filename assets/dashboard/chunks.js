import { byId, keyed, make, say, sayMore } from "./dom.js"
import { bytes, nameOf, percent, things } from "./format.js"

/**
 * Maps of what is cached of the resources that are being streamed: a cell for a chunk, or for several where there are too many.
 *
 * @import { ResourceMap } from "../../src/http/admin/api/model.ts"
 */

/** How many are shown. */
const SHOWN = 12

/** The sides of a cell with the gap beside it that are tried, and how high a map may be, in pixels. */
const PITCHES = [20, 16, 12, 10, 8]
const MAX_HEIGHT = 120

const GAP = 2

/** @param {string} name */
const variable = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()

/**
 * The largest cells that fit.
 *
 * @param {number} width
 * @param {number} chunks
 */
const layOut = (width, chunks) => {
  for (const pitch of PITCHES) {
    const columns = Math.max(1, Math.floor((width + GAP) / pitch))
    const rows = Math.ceil(chunks / columns)
    if (rows * pitch <= MAX_HEIGHT) return { pitch, columns, each: 1, cells: chunks }
  }
  const pitch = PITCHES[PITCHES.length - 1]
  const columns = Math.max(1, Math.floor((width + GAP) / pitch))
  const each = Math.ceil(chunks / (columns * Math.floor(MAX_HEIGHT / pitch)))
  return { pitch, columns, each, cells: Math.ceil(chunks / each) }
}

/**
 * How much of each cell is cached, from 0 to 1.
 *
 * @param {ResourceMap} map
 * @param {number} cells
 * @param {number} span the bytes of a cell
 */
const partsOf = ({ ranges, size }, cells, span) => {
  const parts = new Float64Array(cells)
  for (const { end, start } of ranges) {
    for (let cell = Math.floor(start / span); cell < cells && cell * span < end; cell++) {
      const last = Math.min((cell + 1) * span, size)
      parts[cell] += (Math.min(end, last) - Math.max(start, cell * span)) / (last - cell * span)
    }
  }
  return parts
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {ResourceMap} map
 */
const paint = (canvas, map) => {
  const width = canvas.clientWidth
  if (width === 0) return
  const chunks = Math.max(1, Math.ceil(map.size / map.chunkSize))
  const { cells, columns, each, pitch } = layOut(width, chunks)
  const height = Math.ceil(cells / columns) * pitch
  const ratio = devicePixelRatio
  const wide = Math.round(width * ratio)
  const high = Math.round(height * ratio)
  if (canvas.width !== wide || canvas.height !== high) {
    Object.assign(canvas, { width: wide, height: high })
    canvas.style.height = `${height}px`
  }
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"))
  context.setTransform(ratio, 0, 0, ratio, 0, 0)
  context.clearRect(0, 0, width, height)
  const [full, empty, edge, ink, paper] = ["cached", "cell", "cell-edge", "position", "card"].map(variable)
  const side = pitch - GAP
  const parts = partsOf(map, cells, each * map.chunkSize)
  /** @type {(cell: number) => readonly [number, number]} */
  const corner = (cell) => [cell % columns * pitch + GAP / 2, Math.floor(cell / columns) * pitch + GAP / 2]
  for (let cell = 0; cell < cells; cell++) {
    const [x, y] = corner(cell)
    const part = Math.min(1, parts[cell])
    context.fillStyle = empty
    context.fillRect(x, y, side, side)
    if (part < 0.999) {
      context.strokeStyle = edge
      context.lineWidth = 1
      context.strokeRect(x + 0.5, y + 0.5, side - 1, side - 1)
    }
    if (part === 0) continue
    context.fillStyle = full
    const filled = part >= 0.999 ? side : Math.max(2, part * side)
    context.fillRect(x, y + side - filled, side, filled)
  }
  for (const { position } of map.streams) {
    const [x, y] = corner(Math.min(cells - 1, Math.floor(position / map.chunkSize / each)))
    // Around the cell, so that what is in it stays to be seen, and apart from it.
    for (const [style, width] of /** @type {const} */ ([[paper, 5], [ink, 2]])) {
      context.strokeStyle = style
      context.lineWidth = width
      context.strokeRect(x, y, side, side)
    }
  }
}

/** @param {ResourceMap} map */
const summary = ({ chunkSize, ranges, size, streams }) => {
  const cached = ranges.reduce((sum, { end, start }) => sum + end - start, 0)
  const chunks = things(Math.max(1, Math.ceil(size / chunkSize)), "chunk")
  const viewers = streams.length === 0 ? "" : `, ${things(streams.length, "viewer")} in it`
  return `${percent(cached, size)} cached: ${bytes(cached)} of ${bytes(size)} in ${chunks}${viewers}`
}

/**
 * A map without a title.
 *
 * @param {ResourceMap} map
 */
export const makeMap = (map) => {
  const canvas = /** @type {HTMLCanvasElement} */ (make("canvas", { role: "img" }))
  const text = make("p", { class: "dim" })
  const element = make("div", { class: "map" }, canvas, text)
  let last = map
  new ResizeObserver(() => paint(canvas, last)).observe(canvas)
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => paint(canvas, last))
  return {
    element,
    /** @param {ResourceMap} map */
    update: (map) => {
      last = map
      const said = summary(map)
      say(text, said)
      canvas.setAttribute("aria-label", `Map of chunks. ${said}`)
      paint(canvas, map)
    }
  }
}

/** @param {ResourceMap} map */
const makeView = (map) => {
  const view = makeMap(map)
  view.element.prepend(make("h3", { title: map.url }, nameOf(map.url)))
  return view
}

const update = keyed(byId("maps"), (/** @type {ResourceMap} */ { resource }) => resource, makeView)

/** @param {ReadonlyArray<ResourceMap>} maps */
export const showMaps = (maps) => {
  update(maps.slice(0, SHOWN))
  byId("maps-none").hidden = maps.length > 0
  byId("maps-key").hidden = maps.length === 0
  sayMore(byId("maps-more"), maps.length - SHOWN)
}
