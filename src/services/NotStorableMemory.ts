import type { NotStorable } from "../domain/Storable.ts"

/** How long an answer is remembered to be not for a shared cache, in milliseconds, so that it costs one request only. */
const REMEMBERED_MILLIS = 60_000

/** How many such resources are remembered. */
const CAPACITY = 10_000

/** Which resources turned out to be not for a shared cache, and why; the last ones, for a while. */
export const make = () => {
  const known = new Map<string, { readonly reason: NotStorable; readonly until: number }>()
  return {
    get: (key: string, now: number): NotStorable | undefined => {
      const found = known.get(key)
      return found !== undefined && now < found.until ? found.reason : undefined
    },
    put: (key: string, reason: NotStorable, now: number): void => {
      known.delete(key)
      known.set(key, { reason, until: now + REMEMBERED_MILLIS })
      const [oldest] = known.keys()
      if (known.size > CAPACITY && oldest !== undefined) known.delete(oldest)
    },
    remove: (key: string): void => void known.delete(key),
    clear: (): void => known.clear()
  }
}
