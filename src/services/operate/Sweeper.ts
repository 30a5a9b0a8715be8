import { Context, Deferred, Duration, Effect, Layer } from "effect"
import { type Ban, covers, matches } from "../../domain/BanList.ts"
import type { CacheError } from "../../domain/CacheError.ts"
import { make as makeResource, makePublic } from "../../domain/Resource.ts"
import { keepRunning } from "../../effects/keepRunning.ts"
import { Bans } from "../cache/Bans.ts"
import { CacheIndex } from "../cache/CacheIndex.ts"
import { CatalogMemory } from "../cache/CatalogMemory.ts"
import { IndexScan } from "../cache/IndexScan.ts"
import type { Manifests } from "../cache/Manifests.ts"
import type { MemoryTier } from "../cache/MemoryTier.ts"
import { Replicas } from "../cache/Replicas.ts"
import type { WriteLock } from "../cache/WriteLock.ts"
import { ChunkStore } from "../disk/ChunkStore.ts"
import { DiskBreaker } from "../disk/DiskBreaker.ts"
import type { Inventory } from "./Inventory.ts"
import { makeSweepResource, type Pass, type Unswept } from "./sweepResource.ts"

/** What was removed for a ban. */
export interface Removal {
  readonly ban: Ban
  readonly state: "waiting" | "running" | "done"
  /** Files, and their bytes on disk, that have been removed so far. */
  readonly resources: number
  readonly bytes: number
}

/** The removals, the newest first, and how far the pass over the cache is that is under way. */
export interface SweepProgress {
  readonly removals: ReadonlyArray<Removal>
  readonly examined: number
  readonly total: number
}

/**
 * Removes what bans cover, in the background, and then drops the bans. One pass over the cache is for all bans that there are when it begins.
 * A ban of a URL needs no pass. What can't be removed is tried again later, and its bans are kept until then.
 */
export class Sweeper extends Context.Service<Sweeper, {
  /** The bans of which something may be left, and the latest that are done. */
  readonly progress: () => SweepProgress
  /** Waits until nothing is left of what a ban covers. */
  readonly swept: (ban: Ban) => Effect.Effect<void>
  /** Removes what bans cover of some resources now. */
  readonly sweep: (resources: ReadonlyArray<string>) => Effect.Effect<void, CacheError>
  /** Takes note that a resource was pinned just now: the bans until now don't concern its pin. */
  readonly notePin: (resource: string) => void
}>()("spillway/services/operate/Sweeper") {
  static readonly layer: Layer.Layer<
    Sweeper,
    never,
    | Bans
    | CacheIndex
    | CatalogMemory
    | ChunkStore
    | DiskBreaker
    | IndexScan
    | Inventory
    | Manifests
    | MemoryTier
    | WriteLock
  > = Layer.effect(Sweeper, Effect.suspend(() => make))
}

/** How many resources are examined at a time. */
const CONCURRENCY = 4

/** How many resources are examined before other fibers have their turn. */
const BATCH = 32

/** How long the sweeper waits if the disk is too busy for viewers. */
const BUSY_PAUSE = "20 millis"

/**
 * The pauses before what could not be removed is tried again: the first one, and the longest. Each is twice as long as the one before. A new
 * ban ends a pause, and then the first one follows again.
 */
const RETRY_INTERVAL = { shortest: Duration.seconds(2), longest: Duration.minutes(10) }

/** How many bans that are done are remembered, for the API. */
const MAX_ENDED = 100

/** What is known of a removal. */
interface Progress {
  ban: Ban
  state: Removal["state"]
  resources: number
  bytes: number
}

/** Keeps account of removals. */
const makeAccount = (active: () => ReadonlyArray<Ban>) => {
  const removals = new Map<number, Progress>()
  let waiting: ReadonlyArray<{ readonly ban: Ban; readonly done: Deferred.Deferred<void> }> = []

  const of = (ban: Ban): Progress => {
    const known = removals.get(ban.at)
    if (known !== undefined) return known
    const created: Progress = { ban, state: "waiting", resources: 0, bytes: 0 }
    removals.set(ban.at, created)
    return created
  }

  return {
    begin: (bans: ReadonlyArray<Ban>): void => bans.forEach((ban) => of(ban).state = "running"),
    count: (ban: Ban, bytes: number): void => {
      const removal = of(ban)
      removal.resources += 1
      removal.bytes += bytes
    },
    /** All bans up to this number are done, except those of which something is left, whether or not a wider one has taken their place. */
    end: (until: number, isLeft: (ban: Ban) => boolean): void => {
      const isDone = ({ ban }: { readonly ban: Ban }) => ban.at <= until && !isLeft(ban)
      for (const removal of removals.values()) {
        if (isDone(removal)) removal.state = "done"
      }
      const ended = [...removals.values()].filter(({ state }) => state === "done")
      for (const { ban } of ended.slice(0, Math.max(0, ended.length - MAX_ENDED))) removals.delete(ban.at)
      const done = waiting.filter(isDone)
      waiting = waiting.filter((one) => !isDone(one))
      for (const one of done) Deferred.doneUnsafe(one.done, Effect.void)
    },
    swept: (ban: Ban): Effect.Effect<void> =>
      Effect.suspend(() => {
        if (!active().some((other) => covers(other, ban))) return Effect.void
        const done = Deferred.makeUnsafe<void>()
        waiting = [...waiting, { ban, done }]
        return Deferred.await(done)
      }),
    removals: (): ReadonlyArray<Removal> => {
      active().forEach(of)
      return [...removals.values()].toSorted((a, b) => b.ban.at - a.ban.at)
    }
  }
}

/** The resources that a pass has to examine: all, unless each ban names a URL. */
const makeCandidates = Effect.gen(function*() {
  const index = yield* CacheIndex
  const catalog = yield* CatalogMemory
  return (bans: ReadonlyArray<Ban>): ReadonlyArray<string> => {
    const found = new Set<string>()
    for (const { target } of bans) {
      if (target._tag !== "Url") return [...new Set([...index.resources(), ...index.pinned()])]
      for (const { id } of [makeResource(target.url), makePublic(target.url)]) {
        for (const other of [id, ...index.family(id), ...catalog.family(id)]) found.add(other)
      }
    }
    return [...found]
  }
})

const make = Effect.gen(function*() {
  const bans = yield* Bans
  const breaker = yield* DiskBreaker
  const candidatesOf = yield* makeCandidates
  const catalog = yield* CatalogMemory
  const scan = yield* IndexScan
  const store = yield* ChunkStore
  const { settled } = yield* Replicas
  const { begin, count, end, removals, swept } = makeAccount(bans.active)
  const { notePin, sweepResource } = yield* makeSweepResource(count)
  let examined = 0
  let total = 0
  let pause = RETRY_INTERVAL.shortest

  /** Examines resources. Returns what could not be removed. */
  const sweepAll = Effect.fnUntraced(function*(pass: Pass, resources: ReadonlyArray<string>) {
    const left: Array<Unswept> = []
    const one = (resource: string) =>
      Effect.catch(sweepResource(pass, resource), (unswept) => {
        left.push(unswept)
        return breaker.report(unswept.cause)
      })
    for (let at = 0; at < resources.length; at += BATCH) {
      while (store.isBusy()) yield* Effect.sleep(BUSY_PAUSE)
      yield* Effect.forEach(resources.slice(at, at + BATCH), one, { concurrency: CONCURRENCY, discard: true })
      examined = Math.min(at + BATCH, resources.length)
      yield* Effect.yieldNow
    }
    return left
  })

  /** Whether the disk can't be asked. Nothing is removed then, and the bans stay. */
  const isDiskOut = () => (breaker.unwritable()?._tag ?? "DiskFull") !== "DiskFull"

  /** Whether everything that the bans cover has been removed, and they were dropped. */
  const pass = Effect.gen(function*() {
    yield* bans.loaded
    yield* scan.loaded
    const until = bans.latest()
    const active = bans.active()
    if (active.length === 0) return true
    if (isDiskOut()) return false
    begin(active)
    const candidates = candidatesOf(active)
    total = candidates.length
    examined = 0
    const left = yield* sweepAll({ bans: active }, candidates)
    for (const _ of catalog.applyBans()) yield* Effect.yieldNow
    yield* settled
    if (!scan.isComplete() || isDiskOut()) return false
    const isLeft = ({ target }: Ban) => left.some(({ entry }) => entry === undefined || matches(target, entry))
    bans.drop(until, isLeft)
    end(until, isLeft)
    return left.length === 0
  })

  yield* keepRunning("Sweeper")(
    Effect.matchEffect(pass, {
      onFailure: (error) => Effect.as(breaker.report(error), false),
      onSuccess: Effect.succeed
    }).pipe(
      Effect.flatMap((isDone) => {
        if (isDone) {
          pause = RETRY_INTERVAL.shortest
          return bans.next
        }
        const next = Duration.min(Duration.times(pause, 2), RETRY_INTERVAL.longest)
        const slept = Effect.as(Effect.sleep(pause), next)
        const banned = Effect.as(bans.next, RETRY_INTERVAL.shortest)
        return Effect.map(Effect.raceFirst(slept, banned), (then) => {
          pause = then
        })
      })
    )
  )

  return Sweeper.of({
    progress: () => ({ removals: removals(), examined, total }),
    swept,
    sweep: (resources) =>
      Effect.suspend(() =>
        Effect.forEach(
          resources,
          (resource) => sweepResource({ bans: bans.active() }, resource),
          { discard: true }
        )
      ).pipe(Effect.mapError(({ cause }) => cause)),
    notePin: (resource) => notePin(resource)
  })
})
