import type { OriginHead } from "../../domain/Representation.ts"
import type { Uncacheable } from "../../domain/rfc/Cacheability.ts"
import { isCoded } from "../../domain/rfc/ContentCoding.ts"
import { unsettledMillis } from "../../domain/rfc/lastModified.ts"
import { LruMap } from "../../effects/LruMap.ts"

/** How long an answer is remembered to be not for a shared cache, in milliseconds, so that it costs one request only. */
const REMEMBERED_MILLIS = 60_000

/** How many such resources are remembered. */
const CAPACITY = 10_000

/** How long the next answer will be no more storable than `head`, in milliseconds. */
const lasts = (reason: Uncacheable, head: OriginHead): number => {
  if (reason !== "NO_VALIDATOR") return REMEMBERED_MILLIS
  return Math.min(unsettledMillis(head.headers) ?? REMEMBERED_MILLIS, REMEMBERED_MILLIS)
}

/** Reasons that may be those of one coding. */
const ofCoding: ReadonlySet<Uncacheable> = new Set(["ENCODED", "NO_LENGTH", "NO_VALIDATOR", "TOO_LARGE"])

interface Remembered {
  /** Whether the reason is one that a response without its content coding may not have. */
  readonly isOfCoded: boolean
  readonly reason: Uncacheable
  readonly since: number
  readonly lasts: number
  /** Whether it is known of parts only: a whole answer may have the validators that they lack (RFC 9110 §15.3.7). */
  readonly ofParts: boolean
}

/** Which resources turned out to be not for a shared cache, and why; the last ones, for a while. */
export const make = () => {
  const known = new LruMap<string, Remembered>(CAPACITY)
  const get = (key: string, now: number, isPart: boolean): Remembered | undefined => {
    const found = known.peek(key)
    if (found?.ofParts === true && !isPart) return undefined
    // Not yet `since`: the clock has been set back, perhaps by far.
    return found !== undefined && now >= found.since && now < found.since + found.lasts ? found : undefined
  }
  return {
    /** Why what `key` names is not storable, as far as that is known of a part or of the whole. */
    get: (key: string, now: number, isPart: boolean): Uncacheable | undefined => get(key, now, isPart)?.reason,
    /** Whether it is uncacheable in its content coding, so that without one it may be cacheable. */
    isOfCoded: (key: string, now: number, isPart: boolean): boolean => get(key, now, isPart)?.isOfCoded === true,
    put: (key: string, reason: Uncacheable, head: OriginHead, now: number): void => {
      const ofParts = reason === "NO_VALIDATOR" && head.status === 206
      const isOfCoded = ofCoding.has(reason) && isCoded(head.headers)
      known.set(key, { reason, since: now, lasts: lasts(reason, head), ofParts, isOfCoded })
    },
    remove: (key: string): void => known.delete(key),
    clear: (): void => known.clear()
  }
}
