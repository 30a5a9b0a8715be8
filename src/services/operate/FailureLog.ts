import { Clock, Context, Effect, Layer, Stream } from "effect"
import { adviceOn, codeOf, type OriginError } from "../../domain/OriginError.ts"
import { DiskBreaker } from "../disk/DiskBreaker.ts"

/** A failure, and when it ended. Times are milliseconds since 1970. */
export interface Failure {
  readonly at: number
  /** The tag of the error. */
  readonly kind: string
  /** The code of the cause: from the system, from TLS, or one of Spillway's own. */
  readonly errno?: string
  readonly operation?: string
  readonly message: string
  /** What the operator can do. */
  readonly advice?: string
  readonly recoveredAt?: number
  /** Without its query. */
  readonly url?: string
}

/**
 * The latest failures of the disk and of origins, including those that no viewer noticed. Repeated failures of one kind count as one until
 * they end.
 */
export class FailureLog extends Context.Service<FailureLog, {
  /** Newest first, at most `CAPACITY`. */
  readonly recent: () => ReadonlyArray<Failure>
  /** A request to the origin at `host` failed, or its body did. */
  readonly originFailed: (host: string, error: OriginError, url: string) => void
  /** The origin at `host` sent a response. */
  readonly originAnswered: (host: string) => void
}>()("spillway/services/operate/FailureLog") {
  static readonly layer: Layer.Layer<FailureLog, never, DiskBreaker> = Layer.effect(
    FailureLog,
    Effect.suspend(() => make)
  )
}

/** How many failures are kept. The oldest is dropped. */
export const CAPACITY = 100

const make = Effect.gen(function*() {
  const breaker = yield* DiskBreaker
  const clock = yield* Clock.Clock
  const ring: Array<Failure> = []
  /** The failures that have not ended, by what failed: the host of an origin, or the empty string for the disk. */
  const open = new Map<string, Failure>()

  const close = (what: string): void => {
    const failure = open.get(what)
    if (failure === undefined) return
    open.delete(what)
    const at = ring.indexOf(failure)
    if (at >= 0) ring[at] = { ...failure, recoveredAt: clock.currentTimeMillisUnsafe() }
  }

  const add = (what: string, failure: Failure): void => {
    const before = open.get(what)
    if (before?.kind === failure.kind && before.errno === failure.errno) return
    close(what)
    open.set(what, failure)
    ring.push(failure)
    if (ring.length <= CAPACITY) return
    const oldest = ring.shift()!
    for (const [key, value] of open) if (value === oldest) open.delete(key)
  }

  yield* breaker.changes.pipe(
    Stream.runForEach((state) =>
      Effect.sync(() => {
        if (state._tag === "Usable") return close("")
        const { _tag, errno, message, operation } = state.error
        add("", { at: state.since, kind: _tag, errno, operation, message })
      })
    ),
    Effect.forkScoped
  )

  return FailureLog.of({
    recent: () => ring.toReversed(),
    originFailed: (host, error, url) => {
      const errno = codeOf(error)
      add(host, {
        at: clock.currentTimeMillisUnsafe(),
        kind: error._tag,
        ...(errno !== undefined && { errno }),
        message: error.message,
        advice: adviceOn(error),
        url
      })
    },
    originAnswered: (host) => {
      if (open.size > 0) close(host)
    }
  })
})
