import { byId, say } from "./dom.js"
import { bytes, clock, count, duration, often, percent, rate, short, things } from "./format.js"

/**
 * Whether all is well, and the figures at the top.
 *
 * @import { Status, Totals, TrafficSample } from "../../src/http/admin/api/model.ts"
 * @import { Sample } from "./history.js"
 */

/** @type {Record<string, { readonly what: string, readonly meanwhile: string }>} */
const causes = {
  DiskFull: {
    what: "The disk is full",
    meanwhile: "Viewers get what is not cached straight from the origin and notice nothing."
  },
  PermissionDenied: {
    what: "The cache may not write",
    meanwhile: "What is cached is served, and the rest comes straight from the origin."
  },
  IoError: {
    what: "The disk fails",
    meanwhile: "It is left alone, and viewers get everything straight from the origin."
  }
}

/** @type {Record<string, string>} */
const diskTexts = {
  healthy: "",
  info: " The disk is filling up.",
  warning: " The disk has little room left.",
  critical: " The disk has hardly any room left."
}

/** A cache thrashes that removes all its chunks within this time, in seconds. */
const THRASH_SECONDS = 600

/** The part of its size from which on a cache counts as full. */
const NEARLY_FULL = 0.9

/** From when on it is said that the cache will be full, in seconds. */
const FULL_SOON_SECONDS = 86_400

/**
 * A duration in words that change seldom.
 *
 * @param {number} seconds
 */
const roughly = (seconds) => seconds < 3600 ? "an hour" : things(Math.ceil(seconds / 3600), "hour")

/**
 * How the cache changes.
 *
 * @typedef {{ readonly evictedPerSecond: number, readonly keptPerSecond: number }} Trend
 */

/**
 * What the cache does now that the disk works. A cache that removes as much as it has in ten minutes is too small for its viewers. If it has
 * not reached its size by then, it is its disk that has too little room.
 *
 * @param {Status} status
 * @param {Trend} trend
 */
const describeUsable = ({ cache, disk }, { evictedPerSecond, keptPerSecond }) => {
  if (!cache.indexed) return "What the disk has from before is still being read in."
  if (evictedPerSecond * THRASH_SECONDS > cache.chunks && evictedPerSecond > 0) {
    const mend = cache.bytes > NEARLY_FULL * cache.maxBytes ? "Raise max-size." : "Free space on its disk."
    return `The cache is too small for what is being watched: chunks are removed soon after they were written. ${mend}`
  }
  const left = keptPerSecond > 0 ? (cache.maxBytes - cache.bytes) / keptPerSecond : Number.POSITIVE_INFINITY
  const full = left > 0 && left < FULL_SOON_SECONDS ? ` At this rate the cache is full within ${roughly(left)}.` : ""
  return `What viewers watch is kept.${diskTexts[disk.status]}${full}`
}

/**
 * Says how the cache is, in words that stay the same for as long as it is so.
 *
 * @param {Status} status
 * @param {Trend} trend
 * @returns {readonly [state: string, title: string, text: string]}
 */
const describe = (status, trend) => {
  const { cache } = status
  if (cache.state === "unusable") {
    const { meanwhile, what } = causes[cache.error ?? ""] ?? causes.IoError
    const how = [cache.errno, cache.operation].filter((text) => text !== undefined).join(", ")
    const since = cache.since === undefined ? "" : ` since ${clock(cache.since)}`
    return [
      "around",
      "Passing through",
      `${what}${how === "" ? "" : ` (${how})`}${since}. ${meanwhile} Caching resumes by itself.`
    ]
  }
  return ["good", "Caching", describeUsable(status, trend)]
}

const signs = new Map([["good", "#good"], ["around", "#around"], ["gone", "#gone"]])

/** @type {(state: string, title: string, text: string) => void} */
const showState = (state, title, text) => {
  const element = byId("state")
  if (element.dataset.state !== state) {
    element.dataset.state = state
    byId("state-sign").setAttribute("href", signs.get(state) ?? "#wait")
  }
  say(byId("state-title"), title)
  say(byId("state-text"), text)
}

/** @type {(link: "live" | "gone", text: string) => void} */
const showLink = (link, text) => {
  const element = byId("link")
  element.dataset.link = link
  say(byId("link-text"), text)
  document.body.dataset.link = link
}

/** @type {(id: string, part: number, whole: number) => void} */
const fill = (id, part, whole) => {
  byId(id).style.width = `${whole <= 0 ? 0 : Math.min(100, part / whole * 100).toFixed(1)}%`
}

/** @param {Totals} totals */
const showTotals = ({ bytes: sent, coalesced, originBytes, originRequests, requests }) => {
  const all = requests.hit + requests.miss + requests.partial + requests.stale + requests.bypass
  say(byId("hit-rate"), percent(requests.hit, all))
  say(byId("hit-rate-of"), all === 0 ? "no requests yet" : `${count(requests.hit)} of ${things(all, "request")}`)
  const cached = sent.memory + sent.disk
  const total = cached + sent.peer + sent.origin + sent.passthrough
  say(byId("byte-rate"), percent(cached, total))
  say(byId("byte-rate-of"), total === 0 ? "nothing sent yet" : `${bytes(cached)} of ${bytes(total)}`)
  say(byId("fetched"), bytes(originBytes))
  const shared = coalesced === 0 ? "" : `, shared by ${count(coalesced)} more`
  say(byId("fetched-of"), things(originRequests, "request") + shared)
}

/** @param {TrafficSample} traffic */
export const showLastMinute = ({ errorsPerSecond, firstByte, responsesPerSecond }) => {
  say(byId("requests"), often(responsesPerSecond))
  say(
    byId("requests-of"),
    responsesPerSecond === 0
      ? "none in the last minute"
      : `${percent(errorsPerSecond, responsesPerSecond)} errors, in the last minute`
  )
  say(byId("first-byte"), firstByte === undefined ? "–" : `≤ ${short(firstByte.p50)}`)
  say(
    byId("first-byte-of"),
    firstByte === undefined ? "no requests in the last minute" : `median; 95 % ≤ ${short(firstByte.p95)}`
  )
}

/**
 * @param {Status} status
 * @param {Totals} totals
 * @param {Sample | undefined} now
 * @param {Trend} trend
 */
export const showStatus = (status, totals, now, trend) => {
  const { cache, connections, listening, memory, streams, uptime, version } = status
  showState(...describe(status, trend))
  showLink("live", "Live")
  document.title = cache.state === "usable" ? "Spillway" : "Passing through – Spillway"
  say(byId("version"), `version ${version}, up ${duration(uptime)}`)
  say(byId("listening"), listening === undefined ? "" : `, at ${listening}`)
  showTotals(totals)
  say(
    byId("rate"),
    rate(now === undefined ? 0 : (now.cached ?? 0) + (now.peer ?? 0) + (now.origin ?? 0) + (now.passthrough ?? 0))
  )
  say(byId("rate-of"), `${things(streams, "stream")}, ${things(connections, "connection")}`)
  say(byId("kept"), bytes(cache.bytes))
  fill("kept-meter", cache.bytes, cache.maxBytes)
  say(byId("kept-of"), `of ${bytes(cache.maxBytes)}, ${things(cache.resources, "file")}`)
  say(byId("memory-bytes"), bytes(memory.bytes))
  fill("memory-meter", memory.bytes, memory.maxBytes)
  say(byId("memory-of"), `of ${bytes(memory.maxBytes)}, ${things(memory.chunks, "chunk")}`)
}

/**
 * @param {number | undefined} lastHeard milliseconds since 1970
 * @param {number} nextAttempt the same
 * @param {boolean} isFull whether the server answers, but as many watch as may
 */
export const showGone = (lastHeard, nextAttempt, isFull) => {
  const heard = lastHeard === undefined ? "" : ` Last heard at ${clock(lastHeard)}: what is below is from then.`
  const what = isFull ? "Too many watch" : "No answer from the server"
  showState("gone", what, `This page tries again by itself.${heard}`)
  document.title = `${isFull ? what : "No answer"} – Spillway`
  const seconds = Math.max(0, Math.ceil((nextAttempt - Date.now()) / 1000))
  showLink("gone", seconds === 0 ? "Trying again" : `Trying again in ${seconds} s`)
}
