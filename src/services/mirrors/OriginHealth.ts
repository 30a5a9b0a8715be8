import { Clock, Context, Effect, type Fiber, FiberSet, Layer, Scope } from "effect"
import type { RouteOrigin, RoutePolicy } from "../../domain/RoutePolicy.ts"
import { awaitReturn } from "../../effects/awaitReturn.ts"
import { monotonicMillis } from "../../effects/monotonic.ts"
import { withoutServices } from "../../effects/withoutServices.ts"
import { OriginConfig } from "../config/OriginConfig.ts"
import * as Metrics from "../observe/pullMetrics.ts"
import { Origin } from "../origin/Origin.ts"
import {
  afterFailure,
  afterResponse,
  BEGINNING,
  MAX_PAUSE_MILLIS,
  pauseBefore,
  type Standing,
  type State,
  type Trouble
} from "./healthStates.ts"
import { type Asked, makeWorks } from "./originQuestion.ts"

/** What is known of an origin. Times are in milliseconds. */
export interface OriginReport {
  readonly url: string
  readonly standing: Standing
  readonly trouble: Trouble | undefined
  /** Since when it has that standing, since 1970; `undefined` if it has never had another. */
  readonly since: number | undefined
  /** The mean time to the first byte of recent responses; `undefined` before the first one. */
  readonly firstByteMillis: number | undefined
}

/**
 * Which origins work, by what comes of the requests to them, and by active checks for routes that have them. If a route has several, one that
 * fails is asked in the background until it works, so no viewer waits for it.
 */
export class OriginHealth extends Context.Service<OriginHealth, {
  /** The time in milliseconds, by a clock that is never set back. */
  readonly now: () => number
  readonly standing: (origin: RouteOrigin) => Standing
  /** A request failed, or its body did. It is not asked again for `atLeast` milliseconds, within the longest pause. */
  readonly failed: (asked: Asked, trouble: Trouble, atLeast?: number) => void
  /** A response has begun, which doesn't say that the origin is in trouble. */
  readonly responded: (asked: Asked) => void
  /** A request was given up before its response began. */
  readonly abandoned: (asked: Asked) => void
  /** The origins of all routes, in the order of the configuration. */
  readonly report: () => ReadonlyArray<OriginReport>
}>()("spillway/services/mirrors/OriginHealth") {
  static readonly layer: Layer.Layer<OriginHealth, never, Origin | OriginConfig> = Layer.effect(
    OriginHealth,
    Effect.suspend(() => make)
  )
}

/** How many origins are watched. Only an application can have more. */
const MAX_ORIGINS = 1024

/** How often active checks that are due are begun, in milliseconds. */
const CHECK_TICK_MILLIS = 1000

/** The part of the newest response in the mean time to the first byte. */
const NEWEST_PART = 1 / 8

interface Watched {
  state: State
  firstByteMillis: number | undefined
  /** Whether the configuration has it. Otherwise an application's resolver has named it. */
  readonly isConfigured: boolean
  /** When it was checked last, and whether it is being checked. */
  checkedAt: number
  isBeingChecked: boolean
  /** Asks it until it works again. */
  returning: Pick<Fiber.Fiber<unknown>, "interruptUnsafe"> | undefined
}

/** Whether anybody gains from knowing when an origin works again: others stand in for it, or the operator has asked. */
const isAwaited = ({ check, origins }: RoutePolicy): boolean => origins.length > 1 || check !== undefined

const make = Effect.gen(function*() {
  const asking = yield* Origin
  const config = yield* OriginConfig
  const clock = yield* Clock.Clock
  const now = yield* monotonicMillis
  const scope = yield* Effect.scope
  const fork = yield* withoutServices(FiberSet.makeRuntime<never, void, never>())
  const watched = new Map<string, Watched>()

  const works = makeWorks(asking, now)
  /** A reload may have replaced them. */
  const configured = () =>
    config.origins.routes.flatMap(({ policy: route }) => route.origins.map((origin) => ({ route, origin })))
  const isConfigured = (href: string) => configured().some(({ origin }) => origin.url.href === href)

  const stateOf = ({ url }: RouteOrigin): State => watched.get(url.href)?.state ?? BEGINNING

  const watch = Effect.fnUntraced(function*({ url: { href } }: RouteOrigin) {
    watched.set(href, {
      state: BEGINNING,
      firstByteMillis: undefined,
      isConfigured: isConfigured(href),
      checkedAt: now(),
      isBeingChecked: false,
      returning: undefined
    })
    yield* Metrics.gauge(
      "spillway_origin_up",
      "1 while an origin is asked as usual, 0 while others of its route are asked first because it fails or is slow",
      () => watched.get(href)?.state.standing === "up" ? 1 : 0,
      { origin: href }
    )
  })

  const watchedOf = (origin: RouteOrigin): Watched | undefined => {
    if (!watched.has(origin.url.href) && watched.size < MAX_ORIGINS) {
      Effect.runSync(Scope.provide(watch(origin), scope))
    }
    return watched.get(origin.url.href)
  }

  const say = (message: string, { origin }: Asked, { standing, trouble }: State) =>
    Effect.annotateLogs(Effect.logWarning(message), {
      origin: origin.url.href,
      standing,
      ...(trouble !== undefined && { trouble })
    })

  const change = (record: Watched, asked: Asked, state: State, atLeast = 0): void => {
    const before = record.state
    record.state = state
    if (before.standing === state.standing || !isAwaited(asked.route)) return
    record.returning?.interruptUnsafe()
    if (state.standing === "up") {
      record.returning = undefined
      fork(say("Origin works again", asked, state))
      return
    }
    const back = awaitReturn({
      isBack: works(asked),
      isAwaited: () => record.state.standing !== "up" && (!record.isConfigured || isConfigured(asked.origin.url.href)),
      pauseBefore: (count) => Math.max(pauseBefore(state, count), count === 0 ? Math.min(atLeast, MAX_PAUSE_MILLIS) : 0)
    })
    record.returning = fork(
      Effect.andThen(
        say("Origin fails, others of its route are asked first", asked, state),
        Effect.andThen(
          back,
          Effect.sync(() => {
            record.returning = undefined
            change(record, asked, afterResponse(record.state, { asked: now(), now: now(), isSlow: false }))
          })
        )
      )
    )
  }

  const failed = (asked: Asked, trouble: Trouble, atLeast?: number): void => {
    const record = watchedOf(asked.origin)
    if (record !== undefined) change(record, asked, afterFailure(record.state, trouble, now()), atLeast)
  }

  const responded = (asked: Asked, isGivenUp: boolean): void => {
    const record = watchedOf(asked.origin)
    if (record === undefined) return
    const millis = now() - asked.at
    const { hedgeAfter, longPolls } = asked.route
    const isSlow = millis >= hedgeAfter && !longPolls
    if (isGivenUp && !isSlow) return
    record.firstByteMillis = record.firstByteMillis === undefined
      ? millis
      : record.firstByteMillis + (millis - record.firstByteMillis) * NEWEST_PART
    change(record, asked, afterResponse(record.state, { asked: asked.at, now: now(), isSlow }))
  }

  for (const { origin } of configured()) if (!watched.has(origin.url.href)) yield* watch(origin)

  /** Asks an origin that is up, if it is time to. */
  const check = ({ origin, route }: Pick<Asked, "origin" | "route">): void => {
    const record = watchedOf(origin)
    if (route.check === undefined || record === undefined || record.isBeingChecked) return
    if (record.state.standing !== "up" || now() - record.checkedAt < route.check.every) return
    record.checkedAt = now()
    record.isBeingChecked = true
    const asked = { origin, route, url: origin.url.href, at: now() }
    fork(Effect.map(works(asked), (isRight) => {
      record.isBeingChecked = false
      if (!isRight) failed(asked, "check")
    }))
  }

  if (!config.offline) {
    yield* Effect.sync(() => configured().forEach(check)).pipe(
      Effect.delay(CHECK_TICK_MILLIS),
      Effect.forever,
      Effect.forkScoped
    )
  }

  const reportOf = ({ url: { href } }: RouteOrigin): OriginReport => {
    const { firstByteMillis, state: { since, standing, trouble } = BEGINNING } = watched.get(href) ?? {}
    return {
      url: href,
      standing,
      trouble,
      since: Number.isFinite(since) ? clock.currentTimeMillisUnsafe() - (now() - since) : undefined,
      firstByteMillis
    }
  }

  return OriginHealth.of({
    now,
    standing: (origin) => stateOf(origin).standing,
    failed,
    responded: (asked) => responded(asked, false),
    abandoned: (asked) => responded(asked, true),
    report: () => [...new Map(configured().map(({ origin }) => [origin.url.href, origin])).values()].map(reportOf)
  })
})
