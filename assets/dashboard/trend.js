/**
 * How the cache has changed in the last minute.
 *
 * @import { Status } from "../../src/http/admin/api/model.ts"
 */

/** Over how long changes are measured, in seconds. */
const SECONDS = 60

/** Nothing is said of less, in seconds. */
const LEAST_SECONDS = 10

export const makeTrend = () => {
  /** @type {Array<{ readonly at: number, readonly evictions: number, readonly bytes: number }>} */
  const marks = []

  /**
   * @param {number} now in seconds since 1970, by the server's clock
   * @param {Status} status
   */
  const add = (now, { cache: { bytes, state }, totals: { evictions } }) => {
    const last = marks.at(-1)
    // The server has restarted. What was removed for a disk that others have filled says nothing of the viewers.
    if (state === "unusable" || (last !== undefined && (last.evictions > evictions || last.at > now))) marks.length = 0
    marks.push({ at: now, evictions, bytes })
    while (marks[0].at < now - SECONDS) marks.shift()
    const seconds = now - marks[0].at
    if (seconds < LEAST_SECONDS) return { evictedPerSecond: 0, keptPerSecond: 0 }
    return {
      evictedPerSecond: (evictions - marks[0].evictions) / seconds,
      keptPerSecond: (bytes - marks[0].bytes) / seconds
    }
  }
  return { add }
}
