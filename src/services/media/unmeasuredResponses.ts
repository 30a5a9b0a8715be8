import { Cause, Clock, Effect, Exit, FiberSet, Scope, type Stream } from "effect"
import type { Asker } from "../../domain/Asker.ts"
import { span } from "../../domain/Chunk.ts"
import { loggable, OriginBodyFailed, type OriginError } from "../../domain/OriginError.ts"
import { isFile, type Representation } from "../../domain/Representation.ts"
import { familyOf, type Resource } from "../../domain/Resource.ts"
import { type AcceptedCodings, codingOf, dependsOnAccepted } from "../../domain/rfc/ContentCoding.ts"
import { isFresh } from "../../domain/rfc/Freshness.ts"
import { toPull } from "../../effects/pieces.ts"
import { withoutServices } from "../../effects/withoutServices.ts"
import { Bans } from "../cache/Bans.ts"
import { Catalog, type Entry, freshnessFor } from "../cache/Catalog.ts"
import { ChunkCache } from "../cache/ChunkCache.ts"
import type { FirstResponse } from "../origin/firstResponse.ts"
import { transferFailure } from "../transfer/transferFailure.ts"
import { MAX_UNMEASURED_BYTES, UnmeasuredBody } from "../transfer/UnmeasuredBody.ts"
import type { Exchange } from "./Exchange.ts"
import type { LookupRequest } from "./Lookup.ts"
import { makeStoredResponse } from "./storedResponse.ts"
import { keyAt } from "./viewerStream.ts"

/** How much of all bodies without a length may be held, in bytes. */
const MAX_HELD_BYTES = 64 * 1024 ** 2

/** How long a body waits for its first viewer, in milliseconds. */
const JOIN_MILLIS = 1000

/** The representation of a response whose body turned out to have so many bytes. */
export type Measure = (length: number) => Representation

/** A response without a length whose body arrives. */
interface Arriving {
  /** Its representation has no size yet. */
  readonly entry: Entry
  readonly body: UnmeasuredBody
  /** The codings that its request accepted. */
  readonly accepted: AcceptedCodings
}

/**
 * The responses without a length whose bodies arrive. Viewers who ask meanwhile share them from the first byte. A body that has come to its
 * end is stored, unless it was too long, or the resource has been changed, purged or fetched again meanwhile.
 */
export const makeUnmeasuredResponses = Effect.gen(function*() {
  const bans = yield* Bans
  const catalog = yield* Catalog
  const cache = yield* ChunkCache
  const clock = yield* Clock.Clock
  const { isProtected, variantsOf } = yield* makeStoredResponse
  const fork = yield* withoutServices(FiberSet.makeRuntime<never, void, never>())
  /** Those that viewers may join, by the identifier of the resource. */
  const arriving = new Map<string, Arriving>()

  const release = (id: string): void => {
    arriving.get(id)?.body.pass()
    arriving.delete(id)
  }

  /** How much `body` may hold, in bytes. */
  const limitOf = (body: UnmeasuredBody): number => {
    let others = -body.held
    for (const { body } of arriving.values()) others += body.held
    return Math.min(MAX_UNMEASURED_BYTES, MAX_HELD_BYTES - others)
  }

  /** Adds what arrives to `body`. Fails if nobody wants the rest. */
  const receive = Effect.fnUntraced(function*(
    body: UnmeasuredBody,
    from: Stream.Stream<Uint8Array, OriginError>,
    url: string,
    onTooLong: Effect.Effect<void>
  ): Effect.fn.Return<void, OriginError, Scope.Scope> {
    const pull = yield* toPull(from)
    const firstDemand = Effect.timeoutOrElse(body.awaitDemand, {
      duration: JOIN_MILLIS,
      orElse: () => Effect.succeed(body.hadReader)
    })
    while (yield* (body.hadReader ? body.awaitDemand : firstDemand)) {
      const pieces = yield* Effect.catchIf(pull, Cause.isDone, () => Effect.succeed([]))
      if (pieces.length === 0) return
      const wasJoinable = body.isJoinable
      body.add(pieces, limitOf(body))
      if (wasJoinable && !body.isJoinable) yield* onTooLong
    }
    return yield* new OriginBodyFailed({ url: loggable(url), offset: body.position, cause: "no viewer is left" })
  }, Effect.scoped)

  const store = (bytes: Uint8Array, representation: Representation): void => {
    const { chunkSize, size } = representation
    for (let start = 0; start < size; start += chunkSize) {
      const key = keyAt(representation, start)
      const { end } = span(key.index, chunkSize, size)
      // Of a `Buffer`, `slice` would keep all of it in memory.
      cache.keep(representation, key, new Uint8Array(bytes.subarray(start, end)))
    }
  }

  /** Whether a ban since its request began covers a response, or may have. Its head may have come after the ban. */
  const isBanned = ({ representation }: Entry): boolean =>
    bans.isPast(representation.afterBan ?? 0) || bans.verdict(representation) !== undefined

  /** Whether a viewer may get a response of which the bytes so far are held. */
  const isFor = (
    { accepted: leaders, body, entry }: Arriving,
    { directives }: LookupRequest,
    { cookie, credential }: Asker,
    accepted: AcceptedCodings
  ): boolean => {
    if (!body.isJoinable || isBanned(entry) || (credential !== "" && !entry.isSharable)) return false
    const { headers } = entry.representation
    // The origin might choose another coding for this viewer.
    if (accepted !== leaders && (dependsOnAccepted(headers) || codingOf(headers) !== "identity")) return false
    const freshness = freshnessFor(entry, cookie)
    return freshness !== undefined && isFresh(freshness, clock.currentTimeMillisUnsafe(), directives)
  }

  return {
    /** Begins to receive the response of `exchange`, and takes over its connection. */
    begin: (
      exchange: Exchange,
      { response, times }: FirstResponse,
      measure: Measure,
      selected: Resource,
      onTooLong: Effect.Effect<void>
    ): Arriving => {
      const { accepted, asker, background = false, resource } = exchange.request
      const body = new UnmeasuredBody(selected.url, background, response.isFromPeer?.())
      const entry = catalog.assess(measure(0), response.headers, times, asker.cookie)
      release(selected.id)
      const found: Arriving = { entry, body, accepted }
      arriving.set(selected.id, found)
      exchange.isHandedOver = true
      const finish = (exit: Exit.Exit<void, OriginError>) =>
        Effect.suspend(() => {
          const failure = transferFailure(exit, selected.url, body.position)
          const isCurrent = arriving.get(selected.id) === found
          if (isCurrent) arriving.delete(selected.id)
          const whole = failure === undefined && isCurrent ? body.whole : undefined
          // The origin may have confirmed what others have since this one began.
          if (whole !== undefined && !isProtected(exchange.request, response.status, selected)) {
            if (isFile(response.status)) catalog.choose(resource, response.headers, accepted)
            body.stored = catalog.confirm(measure(whole.length), response.headers, times, asker.cookie).representation
            store(whole, body.stored)
          }
          body.end(failure)
          return Scope.close(exchange.scope, Exit.void)
        })
      const fiber = fork(
        Effect.ignoreCause(Effect.onExit(receive(body, response.body, selected.url, onTooLong), finish))
      )
      const abandon = () => fiber.interruptUnsafe()
      body.onAbandoned = abandon
      return found
    },
    /** The one that a viewer may join. */
    joinable: (request: LookupRequest, asker: Asker, accepted: AcceptedCodings): Arriving | undefined => {
      const family = familyOf(request.resource.id)
      for (const [id, found] of arriving) {
        if (familyOf(id) !== family || !isFor(found, request, asker, accepted)) continue
        const variants = variantsOf(request, accepted, found.entry.representation.headers)
        if (variants.some((variant) => variant.id === id)) return found
      }
      return undefined
    },
    /** Stops storing and sharing the response for a variant: another one has come. */
    release,
    /** The same for a resource and its variants. */
    releaseFamily: (resource: Resource): void => {
      for (const id of arriving.keys()) if (familyOf(id) === familyOf(resource.id)) release(id)
    },
    releaseAll: (): void => {
      for (const id of arriving.keys()) release(id)
    }
  }
})

/** What `makeUnmeasuredResponses` makes. */
export type UnmeasuredResponses = Effect.Success<typeof makeUnmeasuredResponses>
