import { draw, make, say, sign } from "./dom.js"
import { bytes, count, percent } from "./format.js"

/**
 * How full the disk is: a half ring from empty to full, with the lines below which its state changes.
 *
 * @import { Status } from "../../src/http/admin/api/model.ts"
 */

const STATES = /** @type {const} */ ({
  healthy: { text: "Healthy", sign: "good" },
  info: { text: "Filling up", sign: "wait" },
  warning: { text: "Little room left", sign: "gone" },
  critical: { text: "Hardly any room left", sign: "gone" }
})

const RADIUS = 80
const CENTRE = { x: 110, y: 100 }

/**
 * Where a part of the whole is on the ring.
 *
 * @param {number} part from 0, on the left, to 1
 * @param {number} radius
 */
const at = (part, radius) => {
  const angle = Math.PI * (1 - Math.min(1, Math.max(0, part)))
  return `${(CENTRE.x + radius * Math.cos(angle)).toFixed(2)} ${(CENTRE.y - radius * Math.sin(angle)).toFixed(2)}`
}

/** @type {(from: number, to: number, radius?: number) => string} */
const arc = (from, to, radius = RADIUS) =>
  `M${at(from, radius)}A${radius} ${radius} 0 0 1 ${at(Math.max(from, to), radius)}`

/** @param {HTMLElement} element */
export const makeGauge = (element) => {
  const path = (/** @type {string} */ name) => draw("path", { class: name, d: "" })
  const [track, others, own] = ["track", "others", "own"].map(path)
  const zones = ["info", "warning", "critical"].map((name) => path(`zone ${name}`))
  const lines = ["info", "warning", "critical"].map((name) => path(`line ${name}`))
  const free = draw("text", { x: CENTRE.x, y: 82, class: "value" })
  const of = draw("text", { x: CENTRE.x, y: 101, class: "of" })
  const picture = draw(
    "svg",
    { viewBox: "0 0 220 112", role: "img" },
    track,
    others,
    own,
    ...zones,
    ...lines,
    free,
    of
  )
  const state = make("b")
  const holder = make("span", { class: "holder" })
  const badge = make("p", { class: "disk-state" }, holder, state)
  const ownText = make("dd")
  const othersText = make("dd")
  const thresholds = [make("dd"), make("dd"), make("dd")]
  const backlog = make("dd")
  const evicted = make("dd")
  const row = (/** @type {string} */ name, /** @type {string} */ term, /** @type {HTMLElement} */ value) =>
    make("div", { "data-part": name }, make("dt", {}, make("i", { "aria-hidden": "true" }), term), value)
  element.append(
    picture,
    badge,
    make(
      "dl",
      { class: "facts" },
      row("own", "Spillway's cache", ownText),
      row("others", "Everything else", othersText),
      row("info", "Filling up below", thresholds[0]),
      row("warning", "Little room below", thresholds[1]),
      row("critical", "Critical below", thresholds[2]),
      row("backlog", "Waiting to be written", backlog),
      row("evicted", "Chunks evicted", evicted)
    )
  )

  /** @param {Status} status */
  const show = ({ backlog: waiting, cache, disk, totals }) => {
    const { freeBytes, thresholds: below, totalBytes } = disk
    const total = Math.max(1, totalBytes)
    const used = totalBytes - freeBytes
    const kept = Math.min(cache.bytes, used)
    const upTo = (used - kept) / total
    track.setAttribute("d", arc(0, 1))
    others.setAttribute("d", upTo > 0.002 ? arc(0, upTo) : "")
    own.setAttribute("d", kept / total > 0.002 ? arc(upTo, used / total) : "")
    const starts = [below.info, below.warning, below.critical].map((free) => 1 - Math.min(1, free / total))
    starts.forEach((start, index) => {
      zones[index].setAttribute("d", arc(start, starts[index + 1] ?? 1, RADIUS + 16))
      lines[index].setAttribute("d", `M${at(start, RADIUS - 9)}L${at(start, RADIUS + 20)}`)
    })
    say(free, bytes(freeBytes))
    say(of, `free of ${bytes(totalBytes)}`)
    const { sign: id, text } = STATES[disk.status]
    if (badge.dataset.disk !== disk.status) {
      badge.dataset.disk = disk.status
      holder.replaceChildren(sign(id))
    }
    say(state, text)
    picture.setAttribute(
      "aria-label",
      `${text}: ${bytes(freeBytes)} free of ${bytes(totalBytes)}, ${percent(used, totalBytes)} used`
    )
    say(ownText, bytes(cache.bytes))
    say(othersText, bytes(Math.max(0, used - cache.bytes)))
    ;[below.info, below.warning, below.critical].forEach((free, index) => say(thresholds[index], `${bytes(free)} free`))
    say(backlog, bytes(waiting.bytes))
    say(evicted, count(totals.evictions))
  }
  return { show }
}
