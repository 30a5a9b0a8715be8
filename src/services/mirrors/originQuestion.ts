import { Effect } from "effect"
import type { RouteOrigin, RoutePolicy } from "../../domain/RoutePolicy.ts"
import type { Origin } from "../origin/Origin.ts"

/** A request to one origin of a route. */
export interface Asked {
  readonly route: RoutePolicy
  readonly origin: RouteOrigin
  /** The URL at that origin. */
  readonly url: string
  /** When it was sent, by `OriginHealth.now`. */
  readonly at: number
}

/** How long an origin may take to answer a question in the background, in milliseconds. */
const QUESTION_MILLIS = 5000

/** The request that shows whether an origin works: that of the active check, or else for the head of the file that it failed. */
const questionFor = ({ origin, route: { check }, url }: Asked) =>
  check === undefined
    ? { method: "HEAD", url: url.replace(/\?.*$/s, "") }
    : { method: "GET", url: origin.url.href.replace(/\/$/, "") + check.path }

/** Makes the function that asks an origin whether it works, and isn't slow. */
export const makeWorks = (asking: Origin["Service"], now: () => number) => (asked: Asked): Effect.Effect<boolean> => {
  const { origin, route } = asked
  const question = { ...questionFor(asked), headers: {}, route, server: origin, background: true }
  const isRight = route.check === undefined
    ? (status: number) => status < 500 && status !== 429
    : (status: number) => status < 400
  return Effect.suspend(() => {
    const at = now()
    return Effect.scoped(asking.request(question)).pipe(
      Effect.map(({ status }) => isRight(status) && now() - at < route.hedgeAfter),
      Effect.timeoutOrElse({ duration: QUESTION_MILLIS, orElse: () => Effect.succeed(false) }),
      Effect.orElseSucceed(() => false)
    )
  })
}
