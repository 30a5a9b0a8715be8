import { byId, keyed, make, say, sayMore, sign } from "./dom.js"
import { bytes, count, duration, nameOf, percent, rate, things } from "./format.js"

/**
 * The streams that are running, by file.
 *
 * @import { RunningStream } from "../../src/http/admin/api/model.ts"
 */

/** How many files are shown. */
const FILES_SHOWN = 50

/** How many streams of one file are shown. */
const STREAMS_SHOWN = 20

/** A file with more streams than this has them folded away at first. */
const UNFOLDED = 3

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

/** @typedef {{ readonly stream: RunningStream, readonly now: number }} Item */

/** @param {RunningStream} stream */
const sourceOf = ({ detail, source }) =>
  SOURCES[source] +
  (detail === undefined ? "" : `, ${details[detail] ?? detail.toLowerCase().replaceAll("_", " ")}`)

const makeStream = () => {
  const holder = make("span", { class: "holder" })
  const sourceText = make("span")
  const speed = make("p", { class: "speed" })
  const part = make("i", { class: "part" })
  const done = make("i", { class: "done" })
  const where = make("span")
  const who = make("span")
  const element = make(
    "li",
    {},
    make("p", { class: "source" }, holder, sourceText),
    speed,
    make("div", { class: "progress", "aria-hidden": "true" }, part, done),
    make("p", { class: "where dim" }, where, who)
  )

  /** @param {Item} item */
  const update = ({ now, stream }) => {
    const { bytesPerSecond, end, position, size, source, start, startedAt, viewer } = stream
    if (element.dataset.source !== source) {
      element.dataset.source = source
      holder.replaceChildren(sign(source))
    }
    say(sourceText, sourceOf(stream))
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

/** @typedef {{ readonly resource: string, readonly streams: ReadonlyArray<RunningStream>, readonly rate: number, readonly now: number }} File */

/** @param {File} file */
const makeFile = ({ resource, streams }) => {
  const name = make("span", { class: "what" })
  const figures = make("span", { class: "figures dim" })
  const list = make("ul")
  const more = make("p", { class: "dim more", hidden: "" })
  const details = /** @type {HTMLDetailsElement} */ (make(
    "details",
    streams.length > UNFOLDED ? {} : { open: "" },
    make("summary", {}, name, figures),
    list,
    more
  ))
  const element = make("li", { "data-resource": resource }, details)
  const updateStreams = keyed(list, (/** @type {Item} */ { stream }) => stream.id, makeStream)

  /** @param {File} file */
  const update = ({ now, rate: sum, streams }) => {
    const [{ url }] = streams
    say(name, nameOf(url))
    name.title = url
    say(figures, `${things(streams.length, "stream")}, ${rate(sum)}`)
    const shown = streams.slice(0, STREAMS_SHOWN)
    updateStreams(shown.map((stream) => ({ stream, now })))
    sayMore(more, streams.length - shown.length)
  }
  return { element, update }
}

const updateFiles = keyed(byId("streams"), (/** @type {File} */ { resource }) => resource, makeFile)

/**
 * The streams of each file; files with the most streams first, and otherwise in the order in which they began.
 *
 * @param {ReadonlyArray<RunningStream>} streams
 * @param {number} now
 * @returns {ReadonlyArray<File>}
 */
const filesOf = (streams, now) => {
  /** @type {Map<string, Array<RunningStream>>} */
  const byFile = new Map()
  for (const stream of streams) {
    const own = byFile.get(stream.resource)
    if (own === undefined) byFile.set(stream.resource, [stream])
    else own.push(stream)
  }
  return [...byFile].map(([resource, own]) => ({
    resource,
    streams: own,
    rate: own.reduce((sum, { bytesPerSecond }) => sum + bytesPerSecond, 0),
    now
  })).toSorted((a, b) => b.streams.length - a.streams.length)
}

/**
 * @param {ReadonlyArray<RunningStream>} streams
 * @param {number} total how many there are, listed or not
 * @param {number} now in seconds since 1970, by the server's clock
 */
export const showStreams = (streams, total, now) => {
  const files = filesOf(streams, now)
  const shown = files.slice(0, FILES_SHOWN)
  updateFiles(shown)
  say(byId("streams-count"), count(Math.max(total, streams.length)))
  byId("streams-none").hidden = streams.length > 0
  const listed = shown.reduce((sum, { streams }) => sum + streams.length, 0)
  sayMore(byId("streams-more"), Math.max(total, streams.length) - listed)
}
