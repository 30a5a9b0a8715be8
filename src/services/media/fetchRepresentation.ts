import { Clock, Effect, Scope } from "effect"
import { ANONYMOUS, type Asker } from "../../domain/Asker.ts"
import { indexAt } from "../../domain/Chunk.ts"
import { longestGuess } from "../../domain/Guess.ts"
import { isTransient, loggable, type OriginError, OriginUnexpected } from "../../domain/OriginError.ts"
import {
  carriedRange,
  fromHead,
  isSameVersion,
  type OriginHead,
  type Representation,
  updated
} from "../../domain/Representation.ts"
import type { Resource } from "../../domain/Resource.ts"
import { type RangeSpec, resolve } from "../../domain/rfc/ByteRange.ts"
import {
  isForAnyCookie,
  isHeuristicallyCacheable,
  isOfTheRequest,
  type Uncacheable,
  varyNames,
  whyUncacheable
} from "../../domain/rfc/Cacheability.ts"
import type { RequestDirectives } from "../../domain/rfc/CacheControl.ts"
import { freshnessOf, isFresh, mayServeStale } from "../../domain/rfc/Freshness.ts"
import { readShort } from "../../effects/readShort.ts"
import { Catalog, type Entry } from "../cache/Catalog.ts"
import { ChunkCache } from "../cache/ChunkCache.ts"
import type * as NotStorableMemory from "../cache/UncacheableHints.ts"
import { CacheConfig } from "../config/CacheConfig.ts"
import type { Source } from "../origin/askOrigin.ts"
import { type Answered, carriedBytes, makeFirstResponse } from "../origin/firstResponse.ts"
import { Origin, type OriginResponse } from "../origin/Origin.ts"
import { Downloader } from "../transfer/Downloader.ts"
import type { Current, Final, LookupResult, OriginExchange } from "./LookupResult.ts"
import type * as AnswerCache from "./ResponseCache.ts"
import * as SpareResponse from "./SpareResponse.ts"
import { trimmed } from "./trimmed.ts"

/** What the origin is asked, for which viewer, and what is known before. */
export interface Request {
  readonly method: "GET" | "HEAD"
  readonly resource: Resource
  /** The range that the viewer asked for, or `undefined` for everything. */
  readonly wanted: RangeSpec | undefined
  /** The validator to which the viewer ties its range. */
  readonly ifRange: string | undefined
  readonly source: Source
  readonly asker: Asker
  readonly directives: RequestDirectives | undefined
  /** What is known of the resource. */
  readonly entry: Entry | undefined
  /** The same, as fresh as it is for the asker, if the origin has confirmed it for the asker. */
  readonly mine: Entry | undefined
  readonly reason: OriginExchange["reason"]
  /** Nobody waits for the answer. */
  readonly background?: boolean
}

/** What is remembered of answers that are not stored as representations. */
export interface Memories {
  readonly answers: ReturnType<typeof AnswerCache.make>
  readonly notStorables: ReturnType<typeof NotStorableMemory.make>
}

/** The key under which it is remembered that an answer is not storable: those with a cookie may get another one. */
export const memoryKey = ({ id }: Resource, { cookie, credential }: Asker): string =>
  `${id} ${credential} ${cookie === ANONYMOUS ? "" : "cookie"}`

/** The largest answer other than 200 and 206 that is shared by those who wait for it, in bytes. */
const FINAL_BYTES = 64 * 1024

const unexpected = ({ url }: Resource, status: number, detail: string) =>
  new OriginUnexpected({ url: loggable(url), status, detail })

const isServerError = (status: number): boolean => status === 500 || status === 502 || status === 503 || status === 504

/** Whether a status refuses a file to the viewer, or sends the viewer elsewhere. */
const isRefusal = (status: number): boolean =>
  status >= 300 && status < 500 && status !== 416 && !isOfTheRequest(status)

/** Whether an answer says the same to everybody who waits for it, for every range. */
const isForAll = ({ headers, status }: OriginResponse): boolean =>
  status !== 416 && headers["set-cookie"] === undefined && whyUncacheable(status, headers, false) === undefined

/**
 * Asks the origin about a resource, and makes of its answer what it says of the resource: one round trip, which also begins the
 * transfer of the bytes that are wanted. An answer that is not stored is kept for the viewer whose request brought it.
 */
export const makeFetch = Effect.fnUntraced(function*({ answers, notStorables }: Memories) {
  const config = yield* CacheConfig
  const catalog = yield* Catalog
  const cache = yield* ChunkCache
  const clock = yield* Clock.Clock
  const downloader = yield* Downloader
  const firstAnswer = makeFirstResponse(yield* Origin)
  const now = () => clock.currentTimeMillisUnsafe()

  const hasFirst = (representation: Representation, wanted: RangeSpec | undefined): boolean => {
    const { chunkSize, id, resource, size } = representation
    const range = wanted === undefined ? { start: 0, end: size } : resolve(wanted, size)
    if (range === undefined || range.start === range.end) return true
    return cache.has({ resource, representation: id, index: indexAt(range.start, chunkSize) }) ||
      downloader.isRunning(representation, range.start)
  }

  /** What is kept for the asker, where it may do although the origin could not be asked. */
  const staleOf = ({ directives, mine, wanted }: Request, asked: OriginExchange): Current | undefined =>
    mine !== undefined && mayServeStale(mine.freshness, now(), directives) && hasFirst(mine.representation, wanted)
      ? { _tag: "Current", entry: mine, means: "stale", asked }
      : undefined

  /** Whether the origin need not send what is known again: the first byte is at hand, and its confirmation will do. */
  const isConditional = ({ asker, entry, method, wanted }: Request): boolean => {
    if (entry === undefined || entry.isContested === true) return false
    const { audience, isShared, representation } = entry
    // "Not modified since" may be said of another file, which others get; an `ETag` names this one.
    const isTold = representation.etag !== undefined || isShared || audience.get(asker.cookie) !== undefined
    return isTold && (method === "HEAD" || hasFirst(representation, wanted))
  }

  /** What is stored is not for the asker any more; nor for anybody, unless others have it by a cookie of their own. */
  const withdraw = ({ asker, entry, resource }: Request): Effect.Effect<void> => {
    if (entry === undefined || entry.isShared || !entry.audience.hasOthers(asker.cookie)) {
      return catalog.invalidate(resource)
    }
    return Effect.sync(() => catalog.exclude(entry.representation, asker.cookie))
  }

  /** The origin does not give the file to a shared cache; an older one that is stored is not used again, if it took that back. */
  const remember = (request: Request, reason: Uncacheable, head: OriginHead): Effect.Effect<void> => {
    // What is stored may still be confirmed, or be needed when the origin fails.
    const mayUseKnown = request.entry !== undefined && (reason === "NO_VALIDATOR" || reason === "NO_LENGTH")
    if (!mayUseKnown) notStorables.put(memoryKey(request.resource, request.asker), reason, head, now())
    const isTakenBack = request.asker.credential === "" && (reason === "PRIVATE" || reason === "NO_STORE")
    return isTakenBack ? withdraw(request) : Effect.void
  }

  /**
   * The answer with its body, if that is short, and may be shared; kept for a while if the origin lets a cache keep it. Otherwise
   * the answer as it is, to be passed on.
   */
  const final = Effect.fnUntraced(function*(
    { asker, method, resource }: Request,
    { response, times }: Answered,
    asked: OriginExchange
  ): Effect.fn.Return<Final | OriginResponse, OriginError, Scope.Scope> {
    const { headers, status } = response
    const hasBody = method === "GET"
    const isLong = hasBody && Number(headers["content-length"] ?? 0) > FINAL_BYTES
    if (isLong || !isForAll(response)) return response
    const body = hasBody ? yield* readShort(response.body, FINAL_BYTES) : new Uint8Array()
    if (!(body instanceof Uint8Array)) return { ...response, body }
    const length = body.length > 0 ? { "content-length": String(body.length) } : {}
    const answer = { status, headers: { ...headers, ...length }, body }
    const freshness = freshnessOf(headers, times, undefined, longestGuess(status, resource.url, headers))
    const isMine = asker.credential === "" && (asker.cookie === ANONYMOUS || isForAnyCookie(headers))
    const mayKeep = hasBody && isMine && varyNames(headers).length === 0 &&
      (isHeuristicallyCacheable(status) ||
        (freshness.explicit && !isServerError(status) && !isOfTheRequest(status)))
    const stored = mayKeep && isFresh(freshness, now())
    if (stored) answers.put(resource, answer, freshness)
    return { _tag: "Final", answer, asked: { ...asked, status }, stored }
  })

  return (request: Request): Effect.Effect<LookupResult, OriginError> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function*() {
        const { asker, background = false, entry, ifRange, method, resource, source, wanted } = request
        const known = entry?.representation
        const asked: OriginExchange = { reason: request.reason, status: undefined }
        const scope = yield* Scope.make()
        const chunkSize = known?.chunkSize ?? config.chunkSize
        const range = wanted && { spec: wanted, chunkSize, size: known?.size }
        const isPatient = staleOf(request, asked) === undefined
        let isKept = false

        /** The answer as it is, for the viewer whose request brought it. */
        const passOn = (reason: Uncacheable, response: OriginResponse): Effect.Effect<LookupResult> => {
          if (background) return Effect.succeed({ _tag: "Uncacheable", reason })
          isKept = true
          return Effect.map(
            SpareResponse.make(trimmed(response, wanted), scope),
            (answer) => ({ _tag: "Uncacheable", reason, answer })
          )
        }

        const confirmed = ({ response, times }: Answered, representation: Representation, status: number) =>
          Effect.gen(function*() {
            const next = updated(representation, response.headers)
            const why = whyUncacheable(200, next.headers, asker.credential !== "")
            if (why !== undefined) {
              yield* remember(request, why, response)
              return { _tag: "Uncacheable", reason: why } satisfies LookupResult
            }
            const entry = catalog.confirm(next, response.headers, times, asker.cookie)
            return { _tag: "Current", entry, means: "validated", asked: { ...asked, status } } satisfies LookupResult
          })

        /** What an answer other than 200, 206 and 304 makes. */
        const other = Effect.fnUntraced(function*(answered: Answered) {
          const { status } = answered.response
          // An answer of 5xx is as good as none (RFC 9111 §4.3.3).
          const stale = isServerError(status) ? staleOf(request, { ...asked, status }) : undefined
          if (stale !== undefined) return stale
          // A 404 or 410 is final: don't serve the old copy even if the origin fails later. The same holds if the viewer was refused it.
          if (entry !== undefined && (status === 404 || status === 410)) yield* withdraw(request)
          else if (entry !== undefined && isRefusal(status)) catalog.exclude(entry.representation, asker.cookie)
          const found = yield* final(request, answered, asked)
          return "_tag" in found ? found : yield* passOn("STATUS", found)
        })

        const answer: Effect.Effect<LookupResult, OriginError, Scope.Scope> = Effect.gen(function*() {
          const answered = yield* firstAnswer(
            source,
            { method, wanted: range, ifRange, known, conditional: isConditional(request), background },
            isPatient
          )
          if (answered.confirmed !== undefined) return yield* confirmed(answered, answered.confirmed, 304)
          const { response, times } = answered
          const { headers, status } = response
          if (status === 304) return yield* unexpected(resource, status, "a 304 that nobody asked for")
          if (status !== 200 && (status !== 206 || method === "HEAD")) return yield* other(answered)
          const selected = catalog.vary(resource, headers, source.fields)
          const found = fromHead(selected, response, chunkSize, asker.credential !== "")
          if (typeof found === "string") {
            const isUnreadable = status === 206 && carriedRange(response) === undefined
            if (isUnreadable) return yield* unexpected(resource, status, "another range than was asked for")
            // A HEAD may leave out what the answer to a GET has, so nothing is concluded from that.
            if (method === "GET") yield* remember(request, found, response)
            return yield* passOn(found, response)
          }
          answers.remove(resource.id)
          const standing = catalog.known(selected.id)?.representation
          const isOther = standing !== undefined && !isSameVersion(standing, found)
          const isProtected = isOther && catalog.isProtected(resource, selected, asker.cookie)
          if (method === "HEAD") {
            if (standing !== undefined && !isOther) return yield* confirmed(answered, standing, status)
            // No GET is answered with what only a HEAD has said. It may be wrong, as of an origin that says a length of 0 to all of them.
            if (isOther && !isProtected) catalog.expire(standing)
            const told = catalog.assess(found, headers, times, asker.cookie)
            return { _tag: "Current", entry: told, means: "described", asked: { ...asked, status } }
          }
          if (isProtected) {
            // Others keep what they got, so that a login page never takes the place of what is behind it.
            catalog.separateCookies(resource)
            return yield* passOn("COOKIE", response)
          }
          const bytes = carriedBytes(response, found.size, wanted)
          notStorables.remove(memoryKey(request.resource, request.asker))
          const stored = catalog.confirm(found, headers, times, asker.cookie)
          // After an answer with other bytes, the transfer asks for the wanted ones itself.
          if (bytes !== undefined && bytes.end > bytes.start) {
            const isTied = known === undefined && ifRange !== undefined
            const how = range === undefined || (isTied && status === 200) ? "none" : isTied ? "conditional" : "plain"
            const first = wanted === undefined ? bytes.start : resolve(wanted, found.size)?.start
            isKept = downloader.adopt(stored.representation, { response, scope, asked: how }, bytes, source, first)
          }
          return { _tag: "Current", entry: stored, means: "fetched", asked: { ...asked, status } }
        })
        const found = answer.pipe(
          Scope.provide(scope),
          Effect.catch((error) => {
            const stale = isTransient(error) ? staleOf(request, asked) : undefined
            return stale === undefined ? Effect.fail(error) : Effect.succeed(stale)
          })
        )
        return yield* restore(found).pipe(
          Effect.onExit((exit) => isKept ? Effect.void : Scope.close(scope, exit))
        )
      })
    )
})
