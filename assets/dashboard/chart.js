import { rate } from "./format.js"
import { SHOWN_SECONDS } from "./history.js"
import uPlot from "./uPlot.esm.js"

/**
 * The chart of what was sent, one source upon the other.
 *
 * @import { Sample } from "./history.js"
 */

/** How much is shown at first, in seconds; later as much as there is. */
const FIRST_SECONDS = 60

const HEIGHT = 220

/** Bytes per second between two lines: round figures in the units that they are shown in. */
const STEPS = [1, 1024, 1024 ** 2, 1024 ** 3].flatMap((unit) =>
  [1, 2, 5, 10, 20, 50, 100, 200, 500].map((n) => n * unit)
)

/** The top first: each hides what is below it. */
const SERIES = /** @type {const} */ (["passthrough", "origin", "peer", "cached"])

/**
 * What passes through is hatched, so that it is told apart without colours.
 *
 * @param {string} colour
 * @param {string} paper
 */
const hatch = (colour, paper) => {
  const ratio = devicePixelRatio
  const size = Math.round(8 * ratio)
  const canvas = Object.assign(document.createElement("canvas"), { width: size, height: size })
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"))
  context.fillStyle = paper
  context.fillRect(0, 0, size, size)
  context.strokeStyle = colour
  context.lineWidth = 2.5 * ratio
  context.beginPath()
  for (const shift of [-size, 0, size]) {
    context.moveTo(shift, size)
    context.lineTo(shift + size, 0)
  }
  context.stroke()
  return /** @type {CanvasPattern} */ (context.createPattern(canvas, "repeat"))
}

/** @param {string} name */
const variable = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()

/**
 * @param {HTMLElement} element where it is drawn
 * @param {(sample: Sample | undefined) => void} onPoint called with the sample that is pointed at
 */
export const makeChart = (element, onPoint) => {
  /** @type {ReadonlyArray<Sample>} */
  let shown = []
  /** @type {uPlot | undefined} */
  let plot

  const dataOf = () => {
    /** @type {(sum: (sample: Sample) => number) => Array<number | null>} */
    const column = (sum) => shown.map((sample) => sample.cached === null ? null : sum(sample))
    /** @type {(value: number | null) => number} */
    const known = (value) => value ?? 0
    return [
      shown.map(({ at }) => at),
      column((s) => known(s.cached) + known(s.peer) + known(s.origin) + known(s.passthrough)),
      column((s) => known(s.cached) + known(s.peer) + known(s.origin)),
      column((s) => known(s.cached) + known(s.peer)),
      column((s) => known(s.cached))
    ]
  }

  /**
   * Shades the times in which the cache could not be used.
   *
   * @param {uPlot} plot
   */
  const shadeOutages = ({ bbox, ctx, valToPos }) => {
    ctx.save()
    ctx.fillStyle = variable("around-paper")
    shown.forEach(({ at, isDown }, index) => {
      const before = shown[index - 1]
      if (!isDown || before === undefined) return
      const from = Math.max(bbox.left, valToPos(before.at, "x", true))
      const to = Math.min(bbox.left + bbox.width, valToPos(at, "x", true))
      // The same width as the samples beside it, without a seam.
      if (to > from) ctx.fillRect(Math.floor(from), bbox.top, Math.ceil(to) - Math.floor(from), bbox.height)
    })
    ctx.restore()
  }

  const width = () => Math.max(200, element.clientWidth)

  const build = () => {
    plot?.destroy()
    const axis = {
      stroke: variable("dim"),
      font: "12px system-ui, sans-serif",
      grid: { stroke: variable("line"), width: 1 },
      ticks: { show: false }
    }
    const paper = variable("card")
    plot = new uPlot(
      {
        width: width(),
        height: HEIGHT,
        padding: [12, 30, 0, 0],
        legend: { show: false },
        cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
        scales: {
          x: {
            range: () => {
              const now = shown.at(-1)?.at ?? Date.now() / 1000
              const first = shown[0]?.at ?? now
              return [now - Math.min(SHOWN_SECONDS, Math.max(FIRST_SECONDS, now - first)), now]
            }
          },
          y: { range: (_, __, max) => [0, Math.max(100 * 1024, (max ?? 0) * 1.1)] }
        },
        axes: [
          {
            ...axis,
            size: 30,
            space: 80,
            values: (_, splits) => splits.map((at) => new Date(at * 1000).toLocaleTimeString("en-GB"))
          },
          {
            ...axis,
            size: 82,
            gap: 6,
            space: 40,
            incrs: STEPS,
            values: (_, splits) => splits.map((value) => value === 0 ? "0" : rate(value))
          }
        ],
        series: [
          {},
          ...SERIES.map((name) => ({
            stroke: variable(name),
            width: 1.5,
            fill: name === "passthrough" ? hatch(variable(name), paper) : variable(`${name}-fill`),
            points: { show: false }
          }))
        ],
        hooks: {
          drawClear: [shadeOutages],
          setCursor: [(plot) => onPoint(plot.cursor.idx == null ? undefined : shown[plot.cursor.idx])]
        }
      },
      /** @type {uPlot.AlignedData} */ (dataOf()),
      element
    )
  }

  build()
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", build)
  new ResizeObserver(() => plot?.setSize({ width: width(), height: HEIGHT })).observe(element)

  return {
    /** @param {ReadonlyArray<Sample>} samples */
    show: (samples) => {
      shown = samples
      plot?.setData(/** @type {uPlot.AlignedData} */ (dataOf()))
    }
  }
}
