import { Clock, Context, Effect, Layer, Option } from "effect"
import { longestGuess } from "../../domain/Guess.ts"
import { adviceOn, loggable, type OriginError, OriginTimeout } from "../../domain/OriginError.ts"
import { fromHead } from "../../domain/Representation.ts"
import type { Resource } from "../../domain/Resource.ts"
import type { Uncacheable } from "../../domain/rfc/Cacheability.ts"
import { age, type Freshness, freshnessOf, freshnessSource, isFresh, ttlSeconds } from "../../domain/rfc/Freshness.ts"
import type { HeaderFields } from "../../domain/rfc/HeaderFields.ts"
import { ttlOf } from "../../domain/TtlRule.ts"
import { CacheConfig } from "../config/CacheConfig.ts"
import { OriginConfig } from "../config/OriginConfig.ts"
import { DiskBreaker } from "../disk/DiskBreaker.ts"
import { askOrigin, type Source } from "../origin/askOrigin.ts"
import { Origin } from "../origin/Origin.ts"
import { type Cached, Inventory } from "./Inventory.ts"

/** `code` is for programs, `message` for people. */
export interface Reason {
  readonly code: string
  readonly message: string
}

/** Whether something is cached, whether it would be, and why not. */
export interface Explanation {
  readonly cached: Cached | undefined
  readonly size: number | undefined
  /** Whether the origin's answer may be kept. */
  readonly storable: boolean
  readonly reasons: ReadonlyArray<Reason>
  readonly freshness: {
    readonly fresh: boolean
    readonly ageSeconds: number
    readonly ttlSeconds: number
    /** What says so: a field with its directive, a rule of the operator's, or `guessed`. */
    readonly source: string
  } | undefined
  /** Whether the origin answers a request for a range with the range; `undefined` where it was not asked. */
  readonly rangeSupport: boolean | undefined
  readonly advice: ReadonlyArray<string>
}

/** Says why something is cached or not, from what is kept, or from what the origin answers to HEAD where nothing is. */
export class Explainer extends Context.Service<Explainer, {
  readonly why: (resource: Resource, source: Source) => Effect.Effect<Explanation>
  /** Of a resource that viewers cannot ask for. */
  readonly notServed: Explanation
}>()("spillway/services/operate/Explainer") {
  static readonly layer: Layer.Layer<
    Explainer,
    never,
    CacheConfig | DiskBreaker | Origin | OriginConfig | Inventory
  > = Layer.effect(Explainer, Effect.suspend(() => make))
}

/** How long the origin may take to answer. */
const DEADLINE = "10 seconds"

export interface Told {
  readonly message: string
  readonly advice?: string
}

/** What each reason of the origin's means, and what can be done about it. */
export const uncacheable: Record<Uncacheable, Told> = {
  STATUS: { message: "The origin does not answer with a file" },
  NO_STORE: {
    message: "The origin forbids caches to keep it (Cache-Control: no-store)",
    advice: "Have the origin send Cache-Control with a max-age, or no-cache to be asked each time"
  },
  PRIVATE: {
    message: "The origin says that it is for one viewer only (Cache-Control: private)",
    advice: "Have the origin send Cache-Control: public where the file is the same for all"
  },
  VARY: {
    message: "It varies with the cookie, the credentials, or too many other fields of the request (Vary)",
    advice: "Have the origin leave out of Vary what the file does not depend on"
  },
  SET_COOKIE: {
    message: "The answer sets a cookie, so it is taken to be for one viewer",
    advice: "Have the origin set no cookies with files, or send Cache-Control: public"
  },
  ENCODED: {
    message: "The answer is compressed, so that ranges of it are not ranges of the file",
    advice: "Have the origin send media without Content-Encoding"
  },
  NO_LENGTH: {
    message: "The origin does not say how long the file is",
    advice: "Have the origin send Content-Length"
  },
  TOO_LARGE: {
    message: "The origin says that the file has more than 4,294,967,295 chunks",
    advice: "Correct the length at the origin, or set a larger --chunk-size"
  },
  NO_VALIDATOR: {
    message: "The origin sends neither a strong ETag nor a Last-Modified that is older than a second",
    advice: "Have the origin send a strong ETag: without one, two versions of the file cannot be told apart"
  },
  COOKIE: {
    message: "The origin gives viewers with a cookie something else than others are given",
    advice: "Have the origin send Cache-Control: public where the file is the same for all, or private where it is not"
  },
  AUTHORIZATION: {
    message: "It needs credentials, and the origin does not say that the answer may be shared",
    advice: "Have the origin send Cache-Control: public"
  }
}

const make = Effect.gen(function*() {
  const clock = yield* Clock.Clock
  const config = yield* CacheConfig
  const breaker = yield* DiskBreaker
  const origin = yield* Origin
  const { offline } = yield* OriginConfig
  const inventory = yield* Inventory

  const freshnessTold = (freshness: Freshness, headers: HeaderFields, url: string) => {
    const now = clock.currentTimeMillisUnsafe()
    return {
      fresh: isFresh(freshness, now),
      ageSeconds: Math.floor(age(freshness, now) / 1000),
      ttlSeconds: ttlSeconds(freshness, now),
      source: freshnessSource(headers, ttlOf(config.ttl, url))
    }
  }

  /** What keeps anything from being cached now. */
  const ofTheStore = (): ReadonlyArray<Reason> => {
    const failure = breaker.unwritable()
    return failure === undefined
      ? []
      : [{ code: "STORE_UNUSABLE", message: `Nothing can be written to the cache now: ${failure.message}` }]
  }

  const tooLarge = (size: number): ReadonlyArray<Reason> =>
    size <= config.maxSize ? [] : [{ code: "TOO_LARGE", message: "It is larger than the whole cache may be" }]

  const noRanges: Reason = {
    code: "NO_RANGES",
    message: "The origin does not answer requests for ranges: a seek costs everything before it"
  }

  const ofKept = (cached: Cached): Explanation => {
    const { entry: { freshness, representation } } = cached
    const { headers, size, url } = representation
    const hasRanges = representation.ranges !== "none"
    const isWhole = cached.bytes === size
    const fresh = freshnessTold(freshness, headers, url)
    return {
      cached,
      size,
      storable: true,
      reasons: [
        ...(isWhole
          ? []
          : [{ code: "NOT_ASKED_FOR", message: "Nobody has asked for the rest, or it has been evicted" }]),
        ...(fresh.fresh
          ? []
          : [{ code: "STALE", message: "It is stale: the origin is asked before it is used again" }]),
        ...(hasRanges ? [] : [noRanges]),
        ...ofTheStore(),
        ...(isWhole ? [] : tooLarge(size))
      ],
      freshness: fresh,
      rangeSupport: hasRanges,
      advice: [
        ...(isWhole ? [] : ["Fetch the rest ahead: spillway warm URL"]),
        ...(fresh.fresh || freshness.lifetime > 0
          ? []
          : ["Have the origin send Cache-Control with a max-age, or say --ttl, so that it is not asked each time"])
      ]
    }
  }

  const notCached = (reasons: ReadonlyArray<Reason>, advice: ReadonlyArray<string> = []): Explanation => ({
    cached: undefined,
    size: undefined,
    storable: false,
    reasons: [...reasons, ...ofTheStore()],
    freshness: undefined,
    rangeSupport: undefined,
    advice
  })

  const ofFailure = (error: OriginError): Explanation =>
    notCached([{ code: "ORIGIN_FAILED", message: `The origin could not be asked: ${error.message}` }], [
      adviceOn(error)
    ])

  const ofOrigin = Effect.fnUntraced(function*(resource: Resource, source: Source) {
    const requested = clock.currentTimeMillisUnsafe()
    const { headers, status } = yield* askOrigin(origin, source, { method: "HEAD", headers: {} })
    const found = fromHead(resource, { headers, status }, config.chunkSize)
    if (found === "STATUS") {
      return notCached([{ code: "STATUS", message: `The origin answers ${status}, and not with a file` }])
    }
    if (typeof found === "string") {
      const { advice, message } = uncacheable[found]
      return notCached([{ code: found, message }], advice === undefined ? [] : [advice])
    }
    const times = { requested, received: clock.currentTimeMillisUnsafe() }
    const freshness = freshnessOf(
      headers,
      times,
      ttlOf(config.ttl, resource.url),
      longestGuess(status, resource.url, headers)
    )
    return {
      cached: undefined,
      size: found.size,
      storable: true,
      reasons: [
        { code: "NOT_ASKED_FOR", message: "Nobody has asked for it, or it has been evicted" },
        ...(found.ranges === "none" ? [noRanges] : []),
        ...ofTheStore(),
        ...tooLarge(found.size)
      ],
      freshness: freshnessTold(freshness, headers, resource.url),
      rangeSupport: found.ranges !== "none",
      advice: ["Fetch it ahead: spillway warm URL"]
    } satisfies Explanation
  }, Effect.scoped)

  return Explainer.of({
    notServed: {
      cached: undefined,
      size: undefined,
      storable: false,
      reasons: [{ code: "NOT_SERVED", message: "No origin is configured for this URL" }],
      freshness: undefined,
      rangeSupport: undefined,
      advice: ["Give a URL as it is at the origin, or a path as it is at this server"]
    },
    why: Effect.fnUntraced(function*(resource, source) {
      // What the disk cannot tell is not cached as far as anybody can use it.
      const known = Option.flatten(yield* Effect.option(inventory.find(resource.url)))
      if (Option.isSome(known)) return ofKept(known.value)
      if (offline) {
        return notCached([{ code: "OFFLINE", message: "It is not cached, and the server asks no origin (--offline)" }])
      }
      return yield* ofOrigin(resource, source).pipe(
        Effect.timeoutOrElse({
          duration: DEADLINE,
          orElse: () => Effect.fail(new OriginTimeout({ url: loggable(resource.url), phase: "header" }))
        }),
        Effect.catch((error) => Effect.succeed(ofFailure(error)))
      )
    })
  })
})
