import { Effect, Exit } from "effect"
import { type CacheError, IoError } from "../../domain/CacheError.ts"
import type { Representation } from "../../domain/Representation.ts"
import { CacheConfig } from "../config/CacheConfig.ts"
import { inBlocks } from "../disk/blocks.ts"
import { bytesOnDisk, ChunkStore, compactBytesOnDisk, isShort } from "../disk/ChunkStore.ts"
import { DiskBreaker } from "../disk/DiskBreaker.ts"
import * as ManifestFormat from "../disk/manifestFormat.ts"
import { Counters } from "../observe/Counters.ts"
import * as Metrics from "../observe/pullMetrics.ts"
import type { Job } from "./Backlog.ts"
import { CacheIndex } from "./CacheIndex.ts"
import { Catalog } from "./Catalog.ts"
import { ChunkMemory } from "./ChunkMemory.ts"
import { Evictor } from "./Evictor.ts"
import type { Addition } from "./Folders.ts"
import { Manifests } from "./Manifests.ts"
import { WriteLock } from "./WriteLock.ts"

/** How many chunks of a group are handed to the store at a time. */
const CONCURRENCY = 128

/**
 * How long the disk may go without a change while a group is written before it counts as hanging, in milliseconds: reads of a frozen disk go on.
 * The group is checked in ticks, so that time in which the event loop was held up doesn't count.
 */
const WRITE_DEADLINE = 5000
const TICK_MILLIS = 500

/** What is written for a group. */
interface Plan {
  /** What the resources of the group get. */
  readonly additions: ReadonlyArray<Addition>
  /** What the files of chunks take of the disk, in bytes. */
  readonly bytes: number
  /** The manifests that have to be written before the chunks. */
  readonly manifests: ReadonlyArray<readonly [Representation, Uint8Array]>
  /** The manifests that share a file with their only chunk. */
  readonly compact: ReadonlyMap<Job, readonly [Representation, Uint8Array]>
}

const planOf = (
  group: ReadonlyArray<Job>,
  asKnown: (representation: Representation) => Representation,
  missing: (representation: Representation) => Uint8Array | undefined,
  canBeCompact: (resource: string) => boolean
): Plan => {
  const additions: Array<Addition> = []
  const manifests: Array<readonly [Representation, Uint8Array]> = []
  const compact = new Map<Job, readonly [Representation, Uint8Array]>()
  let bytes = 0
  for (const [resource, jobs] of Map.groupBy(group, ({ key }) => key.resource)) {
    const job = jobs.at(-1)!
    const { payload } = job
    const representation = asKnown(job.representation)
    if (isShort(representation) && jobs.length === 1 && canBeCompact(resource)) {
      const file = ManifestFormat.encode(representation)
      compact.set(job, [representation, file])
      bytes += compactBytesOnDisk(payload.length, file.length)
      additions.push({ resource, chunks: 1, manifest: 0, isCompact: true })
      continue
    }
    const file = missing(representation)
    if (file !== undefined) manifests.push([representation, file])
    bytes += jobs.reduce((sum, { payload }) => sum + bytesOnDisk(payload.length), 0)
    additions.push({ resource, chunks: jobs.length, manifest: inBlocks(file?.length ?? 0) })
  }
  return { additions, bytes, compact, manifests }
}

/** The chunks of a group that aren't done. */
class Progress {
  readonly #waiting: Set<Job>
  readonly #begun = new Set<Job>()
  readonly #done: (job: Job) => void

  constructor(group: ReadonlyArray<Job>, done: (job: Job) => void) {
    this.#waiting = new Set(group)
    this.#done = done
  }

  get left(): number {
    return this.#waiting.size + this.#begun.size
  }

  /** Whether the chunk still has to be written. */
  begin = (job: Job): boolean => {
    if (this.#waiting.delete(job)) this.#begun.add(job)
    return this.#begun.has(job)
  }

  end = (job: Job): void => {
    if (this.#begun.delete(job)) this.#done(job)
  }

  /** Ends those that no write has begun for. Returns how many. */
  endWaiting(): number {
    const count = this.#waiting.size
    for (const job of this.#waiting) this.#done(job)
    this.#waiting.clear()
    return count
  }

  endAll(): void {
    this.endWaiting()
    for (const job of this.#begun) this.end(job)
  }
}

/**
 * Writes groups of chunks, several files at a time. Room is made and reserved for a group at once. If that fails, or a write finds the
 * disk full, the chunks are written one by one, each after a clean-up if it finds the disk full again. Failures are reported to
 * `DiskBreaker`.
 *
 * The function returned writes those chunks of a group that are current and not on disk, and calls `done` with each chunk of the group
 * when it has been written or dropped.
 */
export const make = Effect.gen(function*() {
  const { directory } = yield* CacheConfig
  const catalog = yield* Catalog
  const evictor = yield* Evictor
  const breaker = yield* DiskBreaker
  const index = yield* CacheIndex
  const { withWriteLock } = yield* WriteLock
  const manifests = yield* Manifests
  const { writeCompact } = manifests
  const memory = yield* ChunkMemory
  const store = yield* ChunkStore
  const counters = yield* Counters

  const countRetry = yield* Metrics.counters(
    "spillway_write_retries_total",
    "Chunks written once more after an emergency clean-up, by whether that helped",
    "outcome",
    ["won", "lost"]
  )

  /** The representation of a chunk as it is by now: a soft purge may have made it stale. */
  const asKnown = (found: Representation): Representation => {
    const known = catalog.known(found.resource)?.representation
    return known?.id === found.id ? known : found
  }

  const canBeCompact = (resource: string) => writeCompact !== undefined && !index.hasFolder(resource)

  /** Reserves room for chunks and the manifests that they need, and writes those. */
  const prepare = Effect.fnUntraced(function*(group: ReadonlyArray<Job>) {
    const { additions, bytes, compact, manifests: missing } = planOf(group, asKnown, manifests.missing, canBeCompact)
    yield* evictor.reserve(() => bytes + index.growth(additions), group.length)
    yield* Effect.forEach(missing, ([representation, file]) => manifests.write(representation, file), {
      concurrency: CONCURRENCY,
      discard: true
    })
    return compact
  })

  const write = Effect.fnUntraced(function*(job: Job, compact: Plan["compact"]) {
    const { key, payload, representation } = job
    const manifest = compact.get(job)
    if (manifest === undefined || writeCompact === undefined) {
      // A write that failed or was interrupted may continue in the background, and read the payload at any time.
      yield* Effect.onError(store.write(key, payload), () => Effect.sync(() => memory.forget(payload)))
      index.add(key, bytesOnDisk(payload.length))
    } else yield* writeCompact(...manifest, payload)
    breaker.succeeded("write")
    // It may have been invalidated while nothing of it was on disk.
    if (!catalog.isCurrent(representation)) manifests.revoke(key.resource)
  })

  const writeAlone = (job: Job) => Effect.scoped(Effect.flatMap(prepare([job]), (compact) => write(job, compact)))

  const writeAgain = (job: Job) =>
    Effect.onExit(writeAlone(job), (exit) => Effect.sync(() => countRetry(Exit.isSuccess(exit) ? "won" : "lost")))

  /** The representation may have been superseded or invalidated while its chunk waited. */
  const isWanted = ({ key, representation }: Job): boolean => catalog.isCurrent(representation) && !index.has(key)

  const drop = (error: CacheError) => {
    counters.dropped()
    return breaker.report(error)
  }

  /** A defect in the write of one chunk is logged, and costs only that chunk. */
  const contained = <A>(write: Effect.Effect<A>): Effect.Effect<A | void> =>
    Effect.catchDefect(write, (defect) => {
      counters.dropped()
      return Effect.logError("A chunk was dropped: its write ended in a defect", defect)
    })

  const recordAlone = (job: Job) =>
    Effect.suspend(() => {
      // The disk may have failed while the chunk waited.
      if (breaker.unwritable() !== undefined) return Effect.sync(counters.dropped)
      if (!isWanted(job)) return Effect.void
      return Effect.catchTag(writeAlone(job), "DiskFull", (full) =>
        Effect.flatMap(evictor.cleanUp, (freed) =>
          freed > 0 ? writeAgain(job) : Effect.fail(full)))
    }).pipe(Effect.catch(drop))

  /** Returns the chunks that have to be written one by one. */
  const recordTogether = Effect.fnUntraced(function*(group: ReadonlyArray<Job>, { begin, end }: Progress) {
    const prepared = yield* Effect.exit(prepare(group))
    if (Exit.isFailure(prepared)) return group
    const left: Array<Job> = []
    const writeOne = (job: Job) =>
      Effect.suspend(() => begin(job) ? write(job, prepared.value) : Effect.void).pipe(
        Effect.matchEffect({
          onSuccess: () => Effect.void,
          onFailure: (error) => {
            if (error._tag !== "DiskFull") return drop(error)
            left.push(job)
            return Effect.void
          }
        }),
        contained,
        Effect.ensuring(Effect.sync(() => {
          if (!left.includes(job)) end(job)
        }))
      )
    yield* Effect.forEach(group, writeOne, { concurrency: CONCURRENCY, discard: true })
    return left
  }, Effect.scoped)

  const record = Effect.fnUntraced(function*(group: ReadonlyArray<Job>, progress: Progress) {
    const isTogether = group.length > 1 && breaker.unwritable() === undefined
    const alone = isTogether ? yield* recordTogether(group.filter(isWanted), progress) : group
    for (const job of alone) {
      if (progress.begin(job)) {
        yield* Effect.ensuring(
          contained(recordAlone(job)),
          Effect.sync(() => progress.end(job))
        )
      }
    }
  })

  /** A write that does not end is not interrupted, since nobody could tell what it did; but it is noticed. */
  const watch = Effect.fnUntraced(function*(progress: Progress) {
    // Room may have to be made for long, which shows in the index.
    const state = (): string => `${progress.left} ${index.bytes()}`
    let before = state()
    let quiet = 0
    while (quiet < WRITE_DEADLINE) {
      yield* Effect.sleep(TICK_MILLIS)
      const after = state()
      quiet = after === before ? quiet + TICK_MILLIS : 0
      before = after
    }
    for (let count = progress.endWaiting(); count > 0; count--) counters.dropped()
    yield* breaker.report(new IoError({ errno: "TIMEOUT", operation: "write", path: directory }))
    return yield* Effect.never
  })

  return (group: ReadonlyArray<Job>, done: (job: Job) => void): Effect.Effect<void> =>
    Effect.suspend(() => {
      const progress = new Progress(group, done)
      return Effect.ensuring(
        Effect.raceFirst(withWriteLock(record(group, progress)), watch(progress)),
        Effect.sync(() => progress.endAll())
      )
    })
})
