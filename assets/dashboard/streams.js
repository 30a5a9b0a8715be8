import { byId, keyed, make, say, sayMore, sign } from "./dom.js"
import { bytes, count, duration, nameOf, percent, rate } from "./format.js"

/**
 * The streams that are running.
 *
 * @import { RunningStream } from "../../src/http/admin/api/model.ts"
 */

/** How many are shown. */
const SHOWN = 50

const SOURCES = /** @type {const} */ ({
  memory: "Memory",
  disk: "Disk",
  peer: "Other node",
  origin: "Origin",
  passthrough: "Passthrough"
})

/** @type {Record<string, string>} */
const details = {
  DISK_FULL: "the disk is full",
  PERMISSION_DENIED: "the cache may not write",
  IO_ERROR: "the disk fails"
}

/** @param {{ readonly stream: RunningStream }} item */
const makeView = ({ stream }) => {
  const holder = make("span", { class: "holder" })
  const sourceText = make("span")
  const source = make("p", { class: "source" }, holder, sourceText)
  const speed = make("p", { class: "speed" })
  const part = make("i", { class: "part" })
  const done = make("i", { class: "done" })
  const where = make("span")
  const who = make("span")
  const name = nameOf(stream.url)
  const element = make(
    "li",
    {},
    source,
    make("p", { class: "what", title: stream.url }, name),
    speed,
    make("div", { class: "progress", "aria-hidden": "true" }, part, done),
    make("p", { class: "where dim" }, where, who)
  )

  /** @param {{ readonly stream: RunningStream, readonly now: number }} item */
  const update = ({ now, stream }) => {
    const { bytesPerSecond, detail, end, position, size, source: from, start, startedAt, viewer } = stream
    if (element.dataset.source !== from) {
      element.dataset.source = from
      holder.replaceChildren(sign(from))
    }
    const why = detail === undefined ? "" : `, ${details[detail] ?? detail.toLowerCase().replaceAll("_", " ")}`
    say(sourceText, SOURCES[from] + why)
    say(speed, rate(bytesPerSecond))
    const whole = Math.max(1, size)
    part.style.left = done.style.left = `${start / whole * 100}%`
    part.style.width = `${(end - start) / whole * 100}%`
    done.style.width = `${(position - start) / whole * 100}%`
    say(where, `at ${bytes(position)} of ${bytes(size)}, ${percent(position, size)}`)
    const seconds = now - Date.parse(startedAt) / 1000
    say(who, [viewer ?? "", `for ${duration(seconds)}`].filter((text) => text !== "").join(" · "))
  }
  return { element, update }
}

const update = keyed(
  byId("streams"),
  (/** @type {{ readonly stream: RunningStream, readonly now: number }} */ { stream }) => stream.id,
  makeView
)

/**
 * @param {ReadonlyArray<RunningStream>} streams
 * @param {number} total how many there are, listed or not
 * @param {number} now in seconds since 1970, by the server's clock
 */
export const showStreams = (streams, total, now) => {
  const shown = streams.slice(0, SHOWN)
  update(shown.map((stream) => ({ stream, now })))
  say(byId("streams-count"), count(Math.max(total, streams.length)))
  byId("streams-none").hidden = streams.length > 0
  sayMore(byId("streams-more"), Math.max(total, streams.length) - shown.length)
}
