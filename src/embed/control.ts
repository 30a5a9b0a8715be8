import { Clock, Effect, Option, Schema, Stream } from "effect"
import type { CacheError } from "../domain/CacheError.ts"
import { MediaRefused, NotInCache } from "../domain/OpenError.ts"
import { loggable } from "../domain/OriginError.ts"
import type { TargetError } from "../domain/RequestTarget.ts"
import type { Resource } from "../domain/Resource.ts"
import type {
  Purged,
  PurgeRequest,
  PurgeState,
  ResourceDetail,
  ResourceSummary,
  Status,
  WarmJob,
  Why
} from "../http/admin/api/model.ts"
import { detailOf, jobOf, purgedOf, purgeStateOf, summaryOf, whyOf } from "../http/admin/api/present.ts"
import { StatusReport } from "../http/admin/StatusReport.ts"
import { OriginConfig } from "../services/config/OriginConfig.ts"
import { DiskBreaker } from "../services/disk/DiskBreaker.ts"
import { ActiveStreams } from "../services/observe/ActiveStreams.ts"
import { makeAddressing } from "../services/operate/addressing.ts"
import { Explainer } from "../services/operate/Explainer.ts"
import { FleetPurger } from "../services/operate/FleetPurger.ts"
import { Inventory } from "../services/operate/Inventory.ts"
import { Purger } from "../services/operate/Purger.ts"
import { Sweeper } from "../services/operate/Sweeper.ts"
import { type Job, Warmer } from "../services/operate/Warmer.ts"

/**
 * A file can't be fetched ahead, or its job was cancelled. `reason` is for people.
 *
 * @since 0.1.0
 * @category errors
 */
export class WarmFailed extends Schema.TaggedError<WarmFailed>()("WarmFailed", {
  url: Schema.String,
  reason: Schema.String
}) {
  override get message(): string {
    return `${this.url}: ${this.reason}`
  }
}

/**
 * Which cached resources to list.
 *
 * @since 0.1.0
 * @category options
 */
export interface ListOptions {
  /** What their URLs at the origin begin with, or a path at this server. All by default. */
  readonly prefix?: string
  /** A tag in `Surrogate-Key` or `Cache-Tag` of their responses. */
  readonly tag?: string
  /** At most so many; 100 by default. */
  readonly limit?: number
}

/**
 * The listed resources, and the number of all that match with their bytes on disk.
 *
 * @since 0.1.0
 * @category models
 */
export interface Listed {
  readonly resources: ReadonlyArray<ResourceSummary>
  readonly total: number
  readonly bytes: number
}

/**
 * The control of a running Spillway from code. It is the control API without HTTP: the results are the same.
 * A file is named by its URL, or by a path that `OriginResolver` resolves like a viewer's request.
 *
 * @since 0.1.0
 * @category services
 */
export interface Control {
  /**
   * Returns the state of the server, its cache and its disk. Doesn't ask the disk.
   *
   * @since 0.1.0
   * @category control
   */
  readonly status: Effect.Effect<Status>
  /**
   * Lists what is cached, the most recently used first. With a prefix or a tag, manifests are read from disk. Fails if the disk does.
   *
   * @since 0.1.0
   * @category control
   */
  readonly list: (options?: ListOptions) => Effect.Effect<Listed, CacheError | MediaRefused>
  /**
   * Returns which parts of a file are on disk, and what is known of it. Fails with `NotInCache` if that is nothing.
   *
   * @since 0.1.0
   * @category control
   */
  readonly map: (what: string | URL) => Effect.Effect<ResourceDetail, CacheError | MediaRefused | NotInCache>
  /**
   * Explains whether a file is cached, whether it would be, and why not. Asks the origin for a file that isn't.
   *
   * @since 0.1.0
   * @category control
   */
  readonly why: (what: string | URL) => Effect.Effect<Why, MediaRefused>
  /**
   * Fetches a file ahead, and all files that it names if it is an HLS playlist or a DASH manifest. The stream has the state of the job, at
   * once and then each `WARM_MILLIS` until it is done. If it is run no longer, the job is cancelled; what was fetched stays cached, and the next
   * job continues there. Streams of one file share a job. Fails with `WarmFailed` if a file can't be fetched, after all others were.
   *
   * @example
   * ```ts
   * import { Console, Effect, Stream } from "effect"
   * import { Spillway } from "spillway"
   *
   * const ahead = Effect.flatMap(Spillway, ({ warm }) =>
   *   Stream.runForEach(warm("https://media.example.org/film.mp4"), ({ bytes, size }) => Console.log(`${bytes} of ${size}`)))
   * ```
   *
   * @since 0.1.0
   * @category control
   */
  readonly warm: (what: string | URL) => Stream.Stream<WarmJob, CacheError | MediaRefused | WarmFailed>
  /**
   * Protects a cached file from eviction, also after a restart. Fails with `NotInCache` if nothing of it is cached.
   *
   * @since 0.1.0
   * @category control
   */
  readonly pin: (what: string | URL) => Effect.Effect<ResourceSummary, CacheError | MediaRefused | NotInCache>
  /**
   * Lets a file and all its variants be evicted again.
   *
   * @since 0.1.0
   * @category control
   */
  readonly unpin: (what: string | URL) => Effect.Effect<ResourceSummary, CacheError | MediaRefused | NotInCache>
  /**
   * Makes what was stored until now out of date: one URL, all with a prefix or a tag, or everything. When it returns, nothing of that is used any
   * more, in this process, on the nodes of a fleet that are in `nodes`, and after a restart. With `soft`, it counts as stale. Files are
   * removed in the background. Fails if the disk can't record it.
   *
   * @example
   * ```ts
   * import { Effect } from "effect"
   * import { Spillway } from "spillway"
   *
   * const refresh = Effect.flatMap(Spillway, ({ purge }) => purge({ tag: "show-1", soft: true }))
   * ```
   *
   * @since 0.1.0
   * @category control
   */
  readonly purge: (target: PurgeRequest) => Effect.Effect<Purged, CacheError | MediaRefused>
  /**
   * Returns the purges of which files may be left, and the latest that are done, the newest first.
   *
   * @since 0.1.0
   * @category control
   */
  readonly purges: Effect.Effect<ReadonlyArray<PurgeState>>
}

/** How often `warm` looks at its job, in milliseconds. */
const WARM_MILLIS = 250

/** How many resources are listed unless the caller says otherwise. */
const LISTED = 100

/** A text as it is given to `addressing`. */
const textOf = (what: string | URL): string => what instanceof URL ? what.href : what

const isRefused = (found: unknown): found is TargetError =>
  typeof found === "object" && found !== null && "status" in found

/** Makes the functions that name resources: as the control API does, with the errors of applications. */
const makeNaming = Effect.map(makeAddressing, (addressing) => {
  const named = <A>(text: string, found: A | TargetError): Effect.Effect<A, MediaRefused> =>
    isRefused(found)
      ? Effect.fail(new MediaRefused({ url: loggable(text), reason: found.reason }))
      : Effect.succeed(found)
  return {
    resourceOf: (text: string) => named(text, addressing.resourceOf(text)),
    prefixOf: (text: string) => named(text, addressing.prefixOf(text)),
    banTargetOf: (request: PurgeRequest) => {
      const text = "url" in request ? request.url : "prefix" in request ? request.prefix : ""
      return named(text, addressing.banTargetOf(request))
    },
    isServed: addressing.isServed
  }
})

/** `warm` of `Control`. */
const makeWarm = Effect.gen(function*() {
  const naming = yield* makeNaming
  const breaker = yield* DiskBreaker
  const { offline } = yield* OriginConfig
  const warmer = yield* Warmer
  const isEnded = ({ state }: Job) => state === "done" || state === "failed" || state === "cancelled"

  const begin = Effect.fnUntraced(function*(text: string) {
    const resource = yield* naming.resourceOf(text)
    const failed = (reason: string) => new WarmFailed({ url: loggable(resource.url), reason })
    if (offline) return yield* failed("no origin is asked (offline)")
    if (!naming.isServed(resource)) return yield* failed("no origin is configured for it")
    const failure = breaker.unwritable()
    if (failure !== undefined) return yield* Effect.fail(failure)
    const job = warmer.add(text, resource)
    if (job === undefined) return yield* failed("as many jobs wait as may")
    return { id: job.id, failed }
  })

  return (what: string | URL): Stream.Stream<WarmJob, CacheError | MediaRefused | WarmFailed> =>
    Stream.unwrap(Effect.map(begin(textOf(what)), ({ failed, id }) => {
      const look = Effect.suspend(() => {
        const job = warmer.job(id)
        if (job === undefined || job.state === "cancelled") return Effect.fail(failed("the job was cancelled"))
        return job.state === "failed" ? Effect.fail(failed(job.error ?? "unknown")) : Effect.succeed(job)
      })
      return Stream.concat(
        Stream.fromEffect(look),
        Stream.fromEffectRepeat(Effect.andThen(Effect.sleep(WARM_MILLIS), look))
      ).pipe(
        Stream.takeUntil(isEnded),
        Stream.map(jobOf),
        Stream.ensuring(Effect.suspend(() => {
          const job = warmer.job(id)
          return job === undefined || isEnded(job) ? Effect.void : Effect.asVoid(warmer.cancel(id))
        }))
      )
    }))
})

/** The functions of `Control`. */
export const make = Effect.gen(function*() {
  const activeStreams = yield* ActiveStreams
  const breaker = yield* DiskBreaker
  const clock = yield* Clock.Clock
  const explainer = yield* Explainer
  const fleetPurger = yield* FleetPurger
  const inventory = yield* Inventory
  const naming = yield* makeNaming
  const purger = yield* Purger
  const report = yield* StatusReport
  const sweeper = yield* Sweeper
  const now = () => clock.currentTimeMillisUnsafe()
  const notCached = ({ url }: Resource) => new NotInCache({ url: loggable(url) })

  const mark = (pinned: boolean) =>
    Effect.fnUntraced(function*(what: string | URL) {
      const resource = yield* naming.resourceOf(textOf(what))
      const cached = yield* purger.pin(resource.url, pinned)
      return Option.isNone(cached) ? yield* notCached(resource) : summaryOf(cached.value, now())
    })

  const control: Control = {
    status: report.status,
    list: Effect.fnUntraced(function*({ limit = LISTED, prefix = "", tag }: ListOptions = {}) {
      const listed = yield* inventory.list({ prefix: yield* naming.prefixOf(prefix), tag, limit })
      return { ...listed, resources: listed.resources.map((cached) => summaryOf(cached, now())) }
    }),
    map: Effect.fnUntraced(function*(what) {
      const resource = yield* naming.resourceOf(textOf(what))
      const cached = yield* inventory.find(resource.url)
      return Option.isNone(cached)
        ? yield* notCached(resource)
        : detailOf(cached.value, activeStreams.streams(), now())
    }),
    why: Effect.fnUntraced(function*(what) {
      const text = textOf(what)
      const resource = yield* naming.resourceOf(text)
      return whyOf(resource.url, yield* explainer.why(text, resource), breaker.unwritable()?.message)
    }),
    warm: yield* makeWarm,
    pin: mark(true),
    unpin: mark(false),
    purge: Effect.fnUntraced(function*(request) {
      return purgedOf(yield* fleetPurger.purge(yield* naming.banTargetOf(request)))
    }),
    purges: Effect.sync(() => sweeper.progress().removals.map(purgeStateOf))
  }
  return control
})
