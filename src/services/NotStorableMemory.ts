import { hasValidator, type OriginHead, unsettledMillis } from "../domain/Representation.ts"
import type { NotStorable } from "../domain/Storable.ts"

/** How long an answer is remembered to be not for a shared cache, in milliseconds, so that it costs one request only. */
const REMEMBERED_MILLIS = 60_000

/** How many such resources are remembered. */
const CAPACITY = 10_000

/** How long the next answer will be no more storable than `head`, in milliseconds. */
const lasts = (reason: NotStorable, head: OriginHead): number => {
  if (reason !== "NO_VALIDATOR") return REMEMBERED_MILLIS
  // A whole answer may have the validators that a part lacks (RFC 9110 §15.3.7).
  if (head.status === 206 && !hasValidator(head)) return 0
  return Math.min(unsettledMillis(head.headers) ?? REMEMBERED_MILLIS, REMEMBERED_MILLIS)
}

/** Which resources turned out to be not for a shared cache, and why; the last ones, for a while. */
export const make = () => {
  const known = new Map<string, { readonly reason: NotStorable; readonly since: number; readonly lasts: number }>()
  return {
    get: (key: string, now: number): NotStorable | undefined => {
      const found = known.get(key)
      // Not yet `since`: the clock has been set back, perhaps by far.
      return found !== undefined && now >= found.since && now < found.since + found.lasts ? found.reason : undefined
    },
    put: (key: string, reason: NotStorable, head: OriginHead, now: number): void => {
      known.delete(key)
      known.set(key, { reason, since: now, lasts: lasts(reason, head) })
      const [oldest] = known.keys()
      if (known.size > CAPACITY && oldest !== undefined) known.delete(oldest)
    },
    remove: (key: string): void => void known.delete(key),
    clear: (): void => known.clear()
  }
}
