import { Clock, Context, Effect, FiberSet, Layer, Metric, Option, Scope } from "effect"
import { type RangeSpec, resolve } from "../domain/ByteRange.ts"
import type { RequestDirectives } from "../domain/CacheControl.ts"
import { indexAt } from "../domain/Chunk.ts"
import { freshnessOf, isFresh, mayRevalidateBehind, mayServeStale } from "../domain/Freshness.ts"
import { longestGuess } from "../domain/Guess.ts"
import { isTransient, loggable, type OriginError, OriginUnexpected } from "../domain/OriginError.ts"
import {
  carriedRange,
  fromHead,
  isSameVersion,
  type OriginHead,
  type Representation,
  updated
} from "../domain/Representation.ts"
import { identify, type Resource } from "../domain/Resource.ts"
import {
  isHeuristicallyCacheable,
  isOfTheRequest,
  type NotStorable,
  varyNames,
  whyNotStorable
} from "../domain/Storable.ts"
import * as AnswerCache from "./AnswerCache.ts"
import type { Source } from "./askOrigin.ts"
import { CacheConfig } from "./CacheConfig.ts"
import { Catalog, type Entry } from "./Catalog.ts"
import { ChunkCache } from "./ChunkCache.ts"
import { Downloader } from "./Downloader.ts"
import { type Answered, carriedBytes, makeFirstAnswer, shortBody } from "./firstAnswer.ts"
import type { Asked, Current, Found } from "./Found.ts"
import * as NotStorableMemory from "./NotStorableMemory.ts"
import { Origin, type OriginResponse } from "./Origin.ts"
import { OriginConfig } from "./OriginConfig.ts"
import { retries } from "./retry.ts"
import * as SingleFlight from "./SingleFlight.ts"
import * as SpareAnswer from "./SpareAnswer.ts"

/** What is to be found out, and for whom. */
export interface Question {
  readonly resource: Resource
  /** The range that the viewer asked for, or `undefined` for everything. */
  readonly wanted: RangeSpec | undefined
  readonly source: Source
  readonly directives: RequestDirectives | undefined
}

/**
 * Finds the current representation of a resource: from the `Catalog` while that is fresh, and else from the origin, in one
 * round trip that also starts the transfer of the bytes that are wanted. Requests for one resource at a time share it.
 */
export class Lookup extends Context.Service<Lookup, {
  /** What a resource is, from the cache while it is fresh, else from the origin, whose answer begins the transfer of what is wanted. */
  readonly find: (question: Question) => Effect.Effect<Found, OriginError>
  /** The same without a transfer. */
  readonly head: (question: Question) => Effect.Effect<Found, OriginError>
  /** Has the origin asked before anything that is kept of a resource is used again. */
  readonly invalidate: (resource: Resource) => Effect.Effect<void>
  /** Forgets all answers that are no files, and what is not to be kept. */
  readonly forget: () => void
}>()("spillway/services/Lookup") {
  static readonly layer: Layer.Layer<
    Lookup,
    never,
    CacheConfig | Catalog | ChunkCache | Downloader | Origin | OriginConfig
  > = Layer.effect(Lookup, Effect.suspend(() => make))
}

/** The largest answer other than 200 and 206 that is shared by those who wait for it, in bytes. */
const FINAL_BYTES = 64 * 1024

/** How often an answer may turn out to be of another variant than was thought. */
const MAX_SELECTIONS = 3

const unexpected = ({ url }: Resource, status: number, detail: string) =>
  new OriginUnexpected({ url: loggable(url), status, detail })

const isServerError = (status: number): boolean => status === 500 || status === 502 || status === 503 || status === 504

const make = Effect.gen(function*() {
  const config = yield* CacheConfig
  const { offline } = yield* OriginConfig
  const catalog = yield* Catalog
  const cache = yield* ChunkCache
  const clock = yield* Clock.Clock
  const downloader = yield* Downloader
  const firstAnswer = makeFirstAnswer(yield* Origin)
  const shared = SingleFlight.make<string, Found, OriginError>()
  const inBackground = yield* FiberSet.makeRuntime<never, unknown, unknown>()
  const answers = AnswerCache.make()
  yield* Metric.update(retries, 0)
  const notStorables = NotStorableMemory.make()
  const now = () => clock.currentTimeMillisUnsafe()

  /** An answer to one viewer's credentials is not told to others, unless the origin allows that. */
  const credentialsOf = ({ fields }: Source): string =>
    fields["authorization"] === undefined ? "" : ` ${identify(fields["authorization"])}`

  const keyOf = ({ resource, source }: Question): string => resource.id + credentialsOf(source)

  /** The origin does not give the file to a shared cache; an older one that is stored is not used again, if it took that back. */
  const remember = (
    question: Question,
    reason: NotStorable,
    head: OriginHead,
    known?: Representation
  ): Effect.Effect<Found> => {
    // What is stored may still be confirmed, or be needed when the origin fails.
    const mayUseKnown = known !== undefined && (reason === "NO_VALIDATOR" || reason === "NO_LENGTH")
    if (!mayUseKnown) notStorables.put(keyOf(question), reason, head, now())
    const isTakenBack = credentialsOf(question.source) === "" && (reason === "PRIVATE" || reason === "NO_STORE")
    const taken = isTakenBack ? catalog.invalidate(question.resource) : Effect.void
    return Effect.as(taken, { _tag: "NotStorable", reason })
  }

  /** Whether an answer says the same to everybody who waits for it, whatever range they asked for. */
  const isForAll = ({ headers, status }: OriginResponse): boolean =>
    status !== 416 && headers["set-cookie"] === undefined && whyNotStorable(status, headers, false) === undefined

  /** The answer with its body, when that is short, and may be shared; kept for a while, where the origin lets a cache keep it. */
  const final = Effect.fnUntraced(function*(
    question: Question,
    { response, times }: Answered,
    asked: Asked,
    hasBody: boolean
  ): Effect.fn.Return<Found, OriginError> {
    const { headers, status } = response
    const isLong = Number(headers["content-length"] ?? 0) > FINAL_BYTES
    if (!isForAll(response) || (hasBody && isLong)) return { _tag: "NotStorable", reason: "STATUS" }
    const body = hasBody ? yield* shortBody(response.body, FINAL_BYTES) : new Uint8Array()
    if (body === undefined) return { _tag: "NotStorable", reason: "STATUS" }
    const length = body.length > 0 ? { "content-length": String(body.length) } : {}
    const answer = { status, headers: { ...headers, ...length }, body }
    const freshness = freshnessOf(headers, times, undefined, longestGuess(status, question.resource.url, headers))
    const mayKeep = hasBody && credentialsOf(question.source) === "" && varyNames(headers).length === 0 &&
      (isHeuristicallyCacheable(status) ||
        (freshness.explicit && !isServerError(status) && !isOfTheRequest(status)))
    const stored = mayKeep && isFresh(freshness, now())
    if (stored) answers.put(question.resource.id, answer, freshness)
    return { _tag: "Final", answer, asked: { ...asked, status }, stored }
  })

  /** What an answer that confirms what is known makes of it. */
  const notModified = (
    question: Question,
    known: Representation,
    { response, times }: Answered,
    asked: Asked
  ): Effect.Effect<Found> => {
    const { headers } = response
    const next = updated(known, headers)
    const why = whyNotStorable(200, next.headers, credentialsOf(question.source) !== "")
    if (why !== undefined) return remember(question, why, response)
    const entry = catalog.confirm(next, headers, times)
    return Effect.succeed({
      _tag: "Current",
      entry,
      means: "validated",
      asked: { ...asked, status: asked.status ?? 304 }
    })
  }

  const hasFirst = (representation: Representation, wanted: RangeSpec | undefined): boolean => {
    const { chunkSize, id, resource, size } = representation
    const range = wanted === undefined ? { start: 0, end: size } : resolve(wanted, size)
    if (range === undefined || range.start === range.end) return true
    return cache.has({ resource, representation: id, index: indexAt(range.start, chunkSize) }) ||
      downloader.isRunning(representation, range.start)
  }

  /** What is kept, where it may do although the origin could not be asked. */
  const staleOf = (
    { directives, wanted }: Question,
    entry: Entry | undefined,
    asked: Asked
  ): Current | undefined =>
    entry !== undefined && mayServeStale(entry.freshness, now(), directives) && hasFirst(entry.representation, wanted)
      ? { _tag: "Current", entry, means: "stale", asked }
      : undefined

  const orStale = (question: Question, entry: Entry | undefined, asked: Asked) =>
    Effect.catch((error: OriginError) => {
      const stale = isTransient(error) ? staleOf(question, entry, asked) : undefined
      return stale === undefined ? Effect.fail(error) : Effect.succeed(stale)
    })

  /** What `ask` makes of an answer that is neither a 304 nor a transfer. */
  const other = Effect.fnUntraced(function*(
    question: Question,
    entry: Entry | undefined,
    answered: Answered,
    asked: Asked,
    hasBody: boolean
  ) {
    const { status } = answered.response
    // An answer of 5xx is as good as none (RFC 9111 §4.3.3).
    const stale = isServerError(status) ? staleOf(question, entry, { ...asked, status }) : undefined
    if (stale !== undefined) return stale
    // Gone is gone, also should the origin fail later.
    if (entry !== undefined && (status === 404 || status === 410)) yield* catalog.invalidate(question.resource)
    return yield* final(question, answered, asked, hasBody)
  })

  const ask = (
    question: Question,
    entry: Entry | undefined,
    reason: Asked["reason"],
    background = false
  ): Effect.Effect<Found, OriginError> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function*() {
        const { resource, source, wanted } = question
        const known = entry?.representation
        const asked: Asked = { reason, status: undefined }
        const scope = yield* Scope.make()
        const chunkSize = known?.chunkSize ?? config.chunkSize
        const range = wanted && { spec: wanted, chunkSize, size: known?.size }
        // With the first byte at hand, the origin need not send it again; without, its answer must bring it.
        const conditional = known !== undefined && entry?.isContested !== true && hasFirst(known, wanted)
        const isPatient = staleOf(question, entry, asked) === undefined
        let isKept = false
        /** The answer as it is, where it is the one to the viewer's own request. */
        const notStorable = Effect.fnUntraced(function*(found: Found, response: OriginResponse) {
          const isRead = response.status !== 200 && response.headers["content-length"] === undefined
          if (found._tag !== "NotStorable" || range !== undefined || conditional || background || isRead) return found
          isKept = true
          return { ...found, answer: yield* SpareAnswer.make(response, scope) }
        })
        const answer = Effect.gen(function*() {
          const answered = yield* firstAnswer(
            source,
            { method: "GET", wanted: range, known, conditional, background },
            isPatient
          )
          if (answered.confirmed !== undefined) return yield* notModified(question, answered.confirmed, answered, asked)
          const { response, times } = answered
          const { status } = response
          if (status === 304) return yield* unexpected(resource, status, "a 304 that nobody asked for")
          if (status !== 200 && status !== 206) {
            return yield* notStorable(yield* other(question, entry, answered, asked, true), response)
          }
          const selected = catalog.vary(resource, response.headers, source.fields)
          const isAuthorized = source.fields["authorization"] !== undefined
          const found = fromHead(selected, response, chunkSize, isAuthorized)
          if (typeof found === "string") {
            const isUnreadable = status === 206 && carriedRange(response) === undefined
            if (isUnreadable) return yield* unexpected(resource, status, "another range than was asked for")
            return yield* notStorable(yield* remember(question, found, response, known), response)
          }
          const bytes = carriedBytes(response, found.size, wanted)
          notStorables.remove(keyOf(question))
          answers.remove(resource.id)
          const confirmed = catalog.confirm(found, response.headers, times)
          // After an answer with other bytes, the transfer asks for the wanted ones itself.
          if (bytes !== undefined && bytes.end > bytes.start) {
            const opened = { response, scope, asked: range === undefined ? "none" : "plain" } as const
            isKept = downloader.adopt(confirmed.representation, opened, bytes, source)
          }
          return { _tag: "Current", entry: confirmed, means: "fetched", asked: { ...asked, status } } satisfies Found
        }).pipe(
          Scope.provide(scope),
          orStale(question, entry, asked)
        )
        return yield* restore(answer).pipe(
          Effect.onExit((exit) => isKept ? Effect.void : Scope.close(scope, exit))
        )
      })
    )

  const askHead = (
    question: Question,
    entry: Entry | undefined,
    reason: Asked["reason"]
  ): Effect.Effect<Found, OriginError> => {
    const { resource, source } = question
    const known = entry?.representation
    const asked: Asked = { reason, status: undefined }
    return Effect.scoped(Effect.gen(function*() {
      const isPatient = staleOf(question, entry, asked) === undefined
      const conditional = known !== undefined
      const answered = yield* firstAnswer(source, { method: "HEAD", known, conditional }, isPatient)
      if (answered.confirmed !== undefined) return yield* notModified(question, answered.confirmed, answered, asked)
      const { response, times } = answered
      if (response.status === 304) return yield* unexpected(resource, 304, "a 304 that nobody asked for")
      if (response.status !== 200) return yield* other(question, entry, answered, asked, false)
      const selected = catalog.vary(resource, response.headers, source.fields)
      const isAuthorized = source.fields["authorization"] !== undefined
      const found = fromHead(selected, response, known?.chunkSize ?? config.chunkSize, isAuthorized)
      // A HEAD may leave out what the answer to a GET has, so nothing is concluded for that.
      if (typeof found === "string") return { _tag: "NotStorable", reason: found } satisfies Found
      answers.remove(resource.id)
      if (known !== undefined && isSameVersion(known, found)) {
        return yield* notModified(question, known, answered, { ...asked, status: 200 })
      }
      // No GET is answered with what only a HEAD has said. It may be wrong, as of an origin that says a length of 0 to all of them.
      if (known !== undefined) catalog.expire(known)
      const told = catalog.assess(found, response.headers, times)
      return { _tag: "Current", entry: told, means: "described", asked: { ...asked, status: 200 } } satisfies Found
    })).pipe(orStale(question, entry, asked))
  }

  const find = Effect.fnUntraced(function*(
    method: string,
    question: Question,
    work: (entry: Entry | undefined, reason: Asked["reason"]) => Effect.Effect<Found, OriginError>
  ) {
    const { directives, resource, source } = question
    const cacheOnly = offline || directives?.onlyIfCached === true
    for (let selections = 0; selections < MAX_SELECTIONS; selections++) {
      const selected = catalog.select(resource, source.fields)
      const entry = Option.getOrUndefined(yield* catalog.get(selected))
      // What others may not be given is not asked for with one viewer's credentials to be kept.
      if (entry?.isSharable === false && credentialsOf(source) !== "") {
        return cacheOnly ? { _tag: "NotCached" } as const : { _tag: "NotStorable", reason: "AUTHORIZATION" } as const
      }
      if (entry !== undefined && isFresh(entry.freshness, now(), directives)) {
        return { _tag: "Current", entry, means: "fresh", cacheOnly } as const
      }
      const kept = answers.get(keyOf(question), now(), directives)
      if (kept !== undefined) return { _tag: "Final", ...kept } as const
      if (offline && entry !== undefined) return { _tag: "Current", entry, means: "stale", cacheOnly: true } as const
      if (cacheOnly) return { _tag: "NotCached" } as const
      const reason = notStorables.get(keyOf(question), now(), question.wanted !== undefined)
      if (reason !== undefined) return { _tag: "NotStorable", reason } as const
      const flight = `${method} ${selected.id}${credentialsOf(source)}`
      if (entry !== undefined && mayRevalidateBehind(entry.freshness, now(), directives)) {
        inBackground(Effect.ignore(shared(flight, ask(question, entry, "stale", true))))
        return { _tag: "Current", entry, means: "revalidating" } as const
      }
      const miss = catalog.varies(resource) ? "vary-miss" : "uri-miss"
      const why = entry === undefined ? miss : isFresh(entry.freshness, now()) ? "request" : "stale"
      let isFirst = false
      const found = yield* shared(
        flight,
        Effect.suspend(() => {
          isFirst = true
          return work(entry, why)
        })
      )
      if (found._tag === "NotStorable") return isFirst ? found : { _tag: "NotStorable", reason: found.reason } as const
      if (found._tag === "Final" && !isFirst) {
        // What varies is for the one whose request it answers.
        const isMine = varyNames(found.answer.headers).length === 0
        return isMine ? { ...found, collapsed: true } : { _tag: "NotStorable", reason: "VARY" } as const
      }
      if (found._tag !== "Current") return found
      // Who joined another viewer's request may learn that the answer is of another variant than its own.
      const mine = catalog.select(resource, source.fields)
      if (mine.id === found.entry.representation.resource) return isFirst ? found : { ...found, collapsed: true }
    }
    return { _tag: "NotStorable", reason: "VARY" } as const
  })

  return Lookup.of({
    find: (question) => find("GET", question, (entry, reason) => ask(question, entry, reason)),
    head: (question) => find("HEAD", question, (entry, reason) => askHead(question, entry, reason)),
    forget: () => {
      answers.clear()
      notStorables.clear()
    },
    invalidate: (resource) =>
      Effect.suspend(() => {
        answers.remove(resource.id)
        notStorables.remove(resource.id)
        return catalog.invalidate(resource)
      })
  })
})
