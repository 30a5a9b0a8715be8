import { Array as Arr, Cause, Effect, Exit, Layer, Scope, Stream } from "effect"
import { loggable, OriginBodyFailed, type OriginError } from "../../domain/OriginError.ts"
import { carriedRange } from "../../domain/Representation.ts"
import { formatContentRange } from "../../domain/rfc/ByteRange.ts"
import { monotonicMillis } from "../../effects/monotonic.ts"
import { watchPieces } from "../../effects/pieces.ts"
import type { OriginConfig } from "../config/OriginConfig.ts"
import * as Metrics from "../observe/pullMetrics.ts"
import { Origin, type OriginRequest, type OriginResponse } from "../origin/Origin.ts"
import { makeSlot, type Slot } from "../origin/OriginLimiter.ts"
import { Fleet } from "./Fleet.ts"
import { Journey } from "./Journey.ts"
import { type Leg, makeOpenLeg } from "./legs.ts"

/**
 * `Origin` as a node of a fleet sees it. It asks the node that owns a stretch of a file, which has the bytes or fetches them for all. If it fails, the next node in rank takes over at the exact byte, and at last the origin. Alone, it is the origin itself.
 */
export const layer: Layer.Layer<Origin, never, Origin | OriginConfig> = Layer.effect(
  Origin,
  Effect.gen(function*() {
    const { self } = yield* Fleet
    return self === undefined ? yield* Origin : Origin.of({ request: yield* makeRequest })
  })
)

const NO_RELEASE = Effect.void

/** Its slot stands in for that of the leg that is read. The reader of the body sets how its request is ended. */
const makeFacade = (): Facade => ({ slot: { ...makeSlot(), release: NO_RELEASE }, isFromPeer: false })

/** What the reader of a body sees of the leg that is read. */
interface Facade {
  readonly slot: Slot
  isFromPeer: boolean
}

/** Has the reader of the body see a leg, and hold its slot. */
const turnTo = (reader: Facade, { peer, response: { slot } }: Leg): void => {
  reader.isFromPeer = peer !== undefined
  const facade = reader.slot
  if (slot === undefined) return
  slot.grace = facade.grace
  if (facade.release !== NO_RELEASE) slot.release = facade.release
}

/** The head of the response to a journey that has begun with `head`. */
const headOf = ({ end, position, size, spec }: Journey, { headers }: OriginResponse) => {
  const { "content-range": _, ...rest } = headers
  const length = { "content-length": String(end - position) }
  return spec === undefined
    ? { status: 200, headers: { "accept-ranges": "bytes", ...rest, ...length } }
    : {
      status: 206,
      headers: { ...rest, ...length, "content-range": formatContentRange({ start: position, end }, size) }
    }
}

/** `length` bytes of `body`, without the `before` bytes at its start. */
const within = (body: OriginResponse["body"], before: number, length: number): OriginResponse["body"] =>
  Stream.transformPull(body, (pull) =>
    Effect.sync(() => {
      let skipped = 0
      let left = length
      const part = (piece: Uint8Array): ReadonlyArray<Uint8Array> => {
        const start = Math.min(before - skipped, piece.length)
        skipped += start
        const kept = piece.subarray(start, start + left)
        left -= kept.length
        return kept.length === 0 ? [] : [kept]
      }
      const next: typeof pull = Effect.suspend(() => {
        if (left === 0) return Cause.done()
        return Effect.flatMap(pull, (pieces) => {
          const parts = pieces.flatMap(part)
          return Arr.isReadonlyArrayNonEmpty(parts) ? Effect.succeed(parts) : next
        })
      })
      return next
    }))

/** How a body is watched. Times are in milliseconds. */
interface Watch {
  readonly now: () => number
  /** How long the node may be silent before it is asked. */
  readonly silence: number
  /** Asks the node whether it is there. */
  readonly isThere: Effect.Effect<boolean>
  /** Ends the body. */
  readonly abandon: Effect.Effect<void>
}

/** `body` of a node, which is abandoned when the node is lost while its next bytes are awaited. */
const whileItAnswers = (
  body: OriginResponse["body"],
  { abandon, isThere, now, silence }: Watch
): OriginResponse["body"] =>
  Stream.transformPull(body, (pull, scope) => {
    let since: number | undefined
    const watch = Effect.gen(function*() {
      while (true) {
        const left = since === undefined ? silence : since + silence - now()
        if (left > 0) {
          yield* Effect.sleep(left)
          continue
        }
        if (!(yield* isThere)) return yield* abandon
        if (since !== undefined) since = now()
      }
    })
    const next = Effect.suspend(() => {
      since = now()
      return Effect.map(pull, (pieces) => {
        since = undefined
        return pieces
      })
    })
    return Effect.as(Effect.forkIn(watch, scope), next)
  })

const makeRequest = Effect.gen(function*() {
  const origin = yield* Origin
  const fleet = yield* Fleet
  const openLeg = yield* makeOpenLeg
  const now = yield* monotonicMillis
  const countSwap = yield* Metrics.counters(
    "spillway_peer_swaps_total",
    "Bodies that another node or the origin took over from a node that failed",
    "cause",
    ["broken", "silent"]
  )

  /** The bytes of a leg. If those of a node break off, or it is lost, the leg ends, and the next one starts at that byte. */
  const bytesOf = (journey: Journey, leg: Leg, facade: Facade): OriginResponse["body"] => {
    const { peer, response, scope } = leg
    const { request: { url } } = journey
    const close = Scope.close(scope, Exit.void)
    const announced = carriedRange(response)?.range.end ?? journey.end
    const before = journey.bytesBefore(response) ?? 0
    const body = before === 0 ? response.body : within(response.body, before, journey.end - journey.position)
    const counted = watchPieces(body, (piece) => {
      if (peer !== undefined) fleet.traffic.receivedBytes += piece.length
      journey.advance(piece.length, fleet.stretchAt)
    })
    const isShort = () => journey.position < Math.min(announced, journey.end)
    const ended = (): Effect.Effect<void, OriginError> => {
      if (!isShort()) return Effect.void
      if (peer !== undefined) return Effect.sync(() => journey.avoid(peer))
      return Effect.fail(new OriginBodyFailed({ url: loggable(url), offset: journey.position, cause: "end of body" }))
    }
    const bytes = Stream.suspend(() => {
      turnTo(facade, leg)
      if (peer === undefined) return counted
      let isSilent = false
      const abandon = Effect.suspend(() => {
        isSilent = true
        return close
      })
      const swap = () =>
        Stream.fromEffectDrain(Effect.suspend(() => {
          countSwap(isSilent ? "silent" : "broken")
          journey.avoid(peer)
          return isSilent ? Effect.void : fleet.suspect(peer)
        }))
      const watch = { now, silence: fleet.silence, isThere: fleet.check(peer), abandon }
      return Stream.catchTags(whileItAnswers(counted, watch), {
        OriginBodyFailed: swap,
        OriginTimeout: swap,
        OriginUnreachable: swap
      })
    })
    return Stream.concat(bytes, Stream.fromEffectDrain(Effect.suspend(ended))).pipe(Stream.ensuring(close))
  }

  /** The next leg, which has to be of the version that the journey began with. */
  const next = (journey: Journey, facade: Facade): OriginResponse["body"] =>
    Stream.unwrap(Effect.gen(function*() {
      const leg = yield* openLeg(journey)
      if (journey.continues(leg.response)) return bytesOf(journey, leg, facade)
      const cause = "the origin has another version"
      return yield* new OriginBodyFailed({ url: loggable(journey.request.url), offset: journey.position, cause })
    }))

  const bodyOf = (journey: Journey, first: Leg, facade: Facade): OriginResponse["body"] =>
    Stream.flatMap(
      Stream.unfold(
        true,
        (isFirst) =>
          Effect.sync(() =>
            journey.position < journey.end
              ? [isFirst ? bytesOf(journey, first, facade) : next(journey, facade), false] as const
              : undefined
          )
      ),
      (leg) => leg
    )

  /** Whether a response to a request for the first part doesn't say what one to a request for everything would. */
  const isMisled = ({ spec }: Journey, { status }: OriginResponse): boolean =>
    spec === undefined && (status === 206 || status === 416)

  return Effect.fnUntraced(function*(request: OriginRequest) {
    const { peers, ...direct } = request
    const isDirect = fleet.peers().length === 0 || (peers !== undefined && fleet.unsettled.concern(peers.url))
    const journey = isDirect ? undefined : Journey.of(request)
    if (journey === undefined) return yield* origin.request(direct)
    const first = yield* openLeg(journey)
    const { hasLostPeer } = journey
    if (!journey.begin(first.response)) {
      if (!isMisled(journey, first.response)) {
        return { ...first.response, hasLostPeer, isFromPeer: () => first.peer !== undefined }
      }
      yield* Scope.close(first.scope, Exit.void)
      return yield* origin.request(direct)
    }
    const facade = makeFacade()
    return {
      ...first.response,
      ...headOf(journey, first.response),
      body: bodyOf(journey, first, facade),
      slot: facade.slot,
      hasLostPeer,
      isFromPeer: () => facade.isFromPeer
    }
  })
})
