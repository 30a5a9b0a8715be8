/**
 * What has been sent in the last hour: from totals that only grow, and before the page was opened from the server's memory.
 *
 * @import { Totals, TrafficSample } from "../../src/http/admin/api/model.ts"
 */

/** How much is remembered of each second. */
const SECONDS = 600

/** How much is shown, in seconds. What is older than `SECONDS` comes from the server, in samples of ten seconds. */
export const SHOWN_SECONDS = 3600

/** Samples that are further apart than this have a gap between them, in seconds. */
const GAP_SECONDS = 5

/**
 * Bytes per second in the time before `at`, in seconds since 1970; `undefined` where nothing is known of them.
 *
 * `isDown`: the cache could not be used.
 *
 * @typedef {{ readonly at: number, readonly isDown: boolean, readonly cached: number | null, readonly peer: number | null, readonly origin: number | null, readonly passthrough: number | null }} Sample
 */

/** @typedef {{ readonly cached: number, readonly peer: number, readonly origin: number, readonly passthrough: number }} Sums */

/** @param {Totals["bytes"]} bytes */
const sumsOf = ({ disk, memory, origin, passthrough, peer }) => ({ cached: memory + disk, peer, origin, passthrough })

/** @param {Sums} sums */
const totalOf = ({ cached, origin, passthrough, peer }) => cached + peer + origin + passthrough

export const makeHistory = () => {
  /** @type {Array<Sample>} */
  const samples = []
  /** @type {ReadonlyArray<Sample>} */
  let past = []
  /** @type {{ readonly at: number, readonly sums: Sums, readonly startedAt: string } | undefined} */
  let last
  /** @type {Array<{ readonly at: number, readonly sums: Sums }>} */
  const deltas = []

  /**
   * @param {number} now in seconds since 1970, by the server's clock: events may come late, several at once
   * @param {Totals} totals
   * @param {string} startedAt when the server began to count
   * @param {boolean} isDown
   */
  const add = (now, totals, startedAt, isDown) => {
    const sums = sumsOf(totals.bytes)
    const before = last
    last = { at: now, sums, startedAt }
    if (before === undefined) return
    const seconds = now - before.at
    const isAnother = before.startedAt !== startedAt || totalOf(sums) < totalOf(before.sums)
    if (isAnother && seconds < 0) samples.length = deltas.length = 0
    if (isAnother || seconds > GAP_SECONDS) {
      samples.push({ at: before.at, isDown: false, cached: null, peer: null, origin: null, passthrough: null })
    }
    if (!isAnother && seconds > 0) {
      /** @type {(key: keyof Sums) => number} */
      const grown = (key) => Math.max(0, sums[key] - before.sums[key])
      const delta = {
        cached: grown("cached"),
        peer: grown("peer"),
        origin: grown("origin"),
        passthrough: grown("passthrough")
      }
      deltas.push({ at: now, sums: delta })
      samples.push({
        at: now,
        isDown,
        cached: delta.cached / seconds,
        peer: delta.peer / seconds,
        origin: delta.origin / seconds,
        passthrough: delta.passthrough / seconds
      })
    }
    while (samples.length > 0 && samples[0].at < now - SECONDS) samples.shift()
    while (deltas.length > 0 && deltas[0].at < now - SECONDS) deltas.shift()
  }

  /** @type {() => Sums} */
  const sums = () =>
    deltas.reduce(
      ({ cached, origin, passthrough, peer }, { sums }) => ({
        cached: cached + sums.cached,
        peer: peer + sums.peer,
        origin: origin + sums.origin,
        passthrough: passthrough + sums.passthrough
      }),
      { cached: 0, peer: 0, origin: 0, passthrough: 0 }
    )

  /** @param {ReadonlyArray<TrafficSample>} told */
  const setPast = (told) => {
    past = told.map(({ at, bytesPerSecond, cache }) => ({
      at: Date.parse(at) / 1000,
      isDown: cache === "unusable",
      ...sumsOf(bytesPerSecond)
    }))
  }

  return {
    add,
    /** Takes what the server remembers. */
    setPast,
    /** The oldest first, of at most `SHOWN_SECONDS`. */
    samples: () => {
      const first = samples[0]?.at ?? Number.POSITIVE_INFINITY
      const oldest = (samples.at(-1)?.at ?? 0) - SHOWN_SECONDS
      return [...past.filter(({ at }) => at < first && at >= oldest), ...samples]
    },
    /** How many bytes that was in all. */
    sums
  }
}
