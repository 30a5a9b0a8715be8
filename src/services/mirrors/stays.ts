import type { RouteOrigin } from "../../domain/RoutePolicy.ts"
import { LruMap } from "../../effects/LruMap.ts"
import type { OriginRequest, OriginResponse } from "../origin/Origin.ts"

/** How many files stay at another mirror than the preferred one. The least recently used one may go back early. */
const MAX_STAYS = 4096

/** For how long, in milliseconds. */
const STAY_MILLIS = 600_000

/** Whether a response has another version of the file than the request names. */
const isOfOtherVersion = ({ headers }: OriginRequest, { status }: OriginResponse): boolean => {
  const isConditional = headers["if-none-match"] !== undefined || headers["if-modified-since"] !== undefined
  return isConditional ? status === 200 || status === 206 : headers["if-range"] !== undefined && status === 200
}

/**
 * Files whose mirrors have different validators. If each request went to the first mirror that works, an origin that comes and goes would
 * have the cache fetch such a file again each time. So after its mirror was replaced, the file stays at the other one for some minutes.
 */
export const makeStays = (now: () => number) => {
  const stays = new LruMap<string, { readonly origin: RouteOrigin; readonly until: number }>(MAX_STAYS)
  return {
    /** The mirror that a file stays at, if there is one. */
    of: (file: string): RouteOrigin | undefined => {
      const stay = stays.get(file)
      return stay !== undefined && stay.until > now() ? stay.origin : undefined
    },
    /** Learns from a response of `origin` that is used. `hasDifferent`: another mirror had another version. */
    learn: (
      file: string,
      origin: RouteOrigin,
      { hasDifferent, isPreferred, request, response }: {
        readonly request: OriginRequest
        readonly response: OriginResponse
        readonly isPreferred: boolean
        readonly hasDifferent: boolean
      }
    ): void => {
      if (isPreferred) stays.delete(file)
      else if (hasDifferent || isOfOtherVersion(request, response)) {
        stays.set(file, { origin, until: now() + STAY_MILLIS })
      }
    }
  }
}
