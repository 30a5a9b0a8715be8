import { Clock, Context, Deferred, Effect, Latch, Layer, Option, Schema } from "effect"
import { crc32 } from "node:zlib"
import { Ban, BanList, type Banned, type BanTarget, EVERYTHING, type Verdict } from "../../domain/BanList.ts"
import { type CacheError, IoError } from "../../domain/CacheError.ts"
import { keepRunning } from "../../effects/keepRunning.ts"
import { CacheConfig } from "../config/CacheConfig.ts"
import { ChunkStore } from "../disk/ChunkStore.ts"
import { DiskBreaker } from "../disk/DiskBreaker.ts"

/**
 * What was stored before a moment and is out of date: purges, and URLs that a request has changed with all that lies below them. To search for
 * it would take too long in a large cache. So entries and manifests are compared with this short list when they are used, and `Sweeper` removes
 * what it covers in the background. The disk has the list too.
 */
export class Bans extends Context.Service<Bans, {
  /** Bans what is stored until now. From then on, no entry that it covers is used. */
  readonly add: (target: BanTarget) => Ban
  /** Adds a ban of the process that owns the cache. */
  readonly adopt: (ban: Ban) => void
  /** The number of the last ban. */
  readonly latest: () => number
  /** The same for a request to the origin that begins now. Reads the list first, if that was not done. */
  readonly begin: Effect.Effect<number>
  /** What the bans since `after` say of an entry; `undefined` if none covers it. */
  readonly verdict: (entry: Banned, after?: number) => Verdict | undefined
  /** Whether bans that were newer than `afterBan` have been dropped, so that nobody knows whether they covered a response. */
  readonly isPast: (afterBan: number) => boolean
  /** The bans of which something may be left. */
  readonly active: () => ReadonlyArray<Ban>
  /** Drops the bans up to this number, except those that `isKept`: nothing is left that they cover. */
  readonly drop: (until: number, isKept?: (ban: Ban) => boolean) => void
  /** Waits until there is a ban that was not there when this was done last. */
  readonly next: Effect.Effect<void>
  /** Reads what earlier processes have banned, at the first use. */
  readonly loaded: Effect.Effect<void, CacheError>
  /** Waits until the disk knows of all bans so far. Fails if it can't be written, or takes longer than `SAVE_TIMEOUT`. */
  readonly saved: Effect.Effect<void, CacheError>
  /** The same for as long as `SETTLE_TIMEOUT`, and without failing. */
  readonly settled: Effect.Effect<void>
}>()("spillway/services/cache/Bans") {
  static readonly layer: Layer.Layer<Bans, never, CacheConfig | DiskBreaker | ChunkStore> = Layer.effect(
    Bans,
    Effect.suspend(() => make)
  )
}

/** The pause before a write that failed is tried again. */
const RETRY_INTERVAL = "2 seconds"

/** How long the answer to a request that invalidates something waits for the disk. */
const SETTLE_TIMEOUT = "500 millis"

/** How long the answer to a purge waits for the disk. */
const SAVE_TIMEOUT = "10 seconds"

const json = Schema.fromJsonString(Schema.Struct({ latest: Schema.Finite, bans: Schema.Array(Ban) }))
const encode = Schema.encodeSync(json)
const decode = Schema.decodeUnknownOption(json)

/** What earlier versions wrote: trees, and when they were revoked. */
const trees = Schema.decodeUnknownOption(
  Schema.fromJsonString(Schema.Array(Schema.Tuple([Schema.String, Schema.Finite])))
)

const fileOf = ({ bans, latest }: BanList): Uint8Array => {
  const text = encode({ latest, bans })
  return Buffer.from(`${text}\n${crc32(text)}`)
}

const parse = (file: string): Option.Option<BanList> => {
  const [text = "", checksum] = file.split("\n")
  if (checksum !== String(crc32(text))) return Option.none()
  return Option.map(decode(text), ({ bans, latest }) => new BanList(bans, latest)).pipe(
    Option.orElse(() =>
      Option.map(
        trees(text),
        (all) => new BanList(all.map(([url, at]) => ({ at, target: { _tag: "OutdatedTree", url } })))
      )
    )
  )
}

/** Someone who waits until the disk knows of a change of the list. */
interface Waiting {
  readonly change: number
  readonly done: Deferred.Deferred<void, CacheError>
}

/** Writes the list that `file` returns in the background. */
const makeWriter = Effect.fnUntraced(function*(loaded: Effect.Effect<void, CacheError>, file: () => Uint8Array) {
  const breaker = yield* DiskBreaker
  const { directory } = yield* CacheConfig
  const store = yield* ChunkStore
  const work = yield* Latch.make(false)
  let waiting: ReadonlyArray<Waiting> = []
  let changes = 0
  let written = 0

  const end = (change: number, outcome: Effect.Effect<void, CacheError>): void => {
    const [ended, rest] = [waiting.filter((one) => one.change <= change), waiting.filter((one) => one.change > change)]
    waiting = rest
    for (const { done } of ended) Deferred.doneUnsafe(done, outcome)
  }

  const write = Effect.suspend(() => {
    const failure = breaker.unwritable()
    // A short file may find room on a full disk. In no other case may this process write.
    return failure === undefined || failure._tag === "DiskFull"
      ? store.writeBans(file())
      : Effect.fail(failure)
  })

  yield* work.await.pipe(
    Effect.andThen(work.close),
    Effect.andThen(Effect.suspend(() => {
      const change = changes
      // What is on disk is not to be lost.
      return Effect.matchEffect(Effect.andThen(loaded, write), {
        onFailure: (error) => {
          end(change, Effect.fail(error))
          return Effect.andThen(Effect.sleep(RETRY_INTERVAL), work.open)
        },
        onSuccess: () =>
          Effect.sync(() => {
            written = change
            end(change, Effect.void)
          })
      })
    })),
    keepRunning("Bans")
  )

  const saved = Effect.suspend((): Effect.Effect<void, CacheError> => {
    if (written === changes) return Effect.void
    const done = Deferred.makeUnsafe<void, CacheError>()
    waiting = [...waiting, { change: changes, done }]
    return Effect.timeoutOrElse(Deferred.await(done), {
      duration: SAVE_TIMEOUT,
      orElse: () => Effect.fail(new IoError({ errno: "TIMEOUT", operation: "write", path: directory }))
    })
  })

  return {
    changed: (): void => {
      changes += 1
      work.openUnsafe()
    },
    saved,
    settled: Effect.suspend(() =>
      breaker.unwritable() === undefined
        ? Effect.ignore(Effect.timeoutOption(saved, SETTLE_TIMEOUT))
        : Effect.void
    )
  }
})

const make = Effect.gen(function*() {
  const clock = yield* Clock.Clock
  const store = yield* ChunkStore
  const started = clock.currentTimeMillisUnsafe()
  const added = yield* Latch.make(false)
  let list = new BanList()
  let dropped = 0
  let isLoaded = false

  const load = (file: Option.Option<string>): void => {
    if (isLoaded) return
    isLoaded = true
    if (Option.isNone(file)) return
    // On a list that is damaged, there may have been anything.
    const found = Option.getOrElse(
      parse(file.value),
      () => new BanList([{ at: started, target: { _tag: "OutdatedTree", url: EVERYTHING } }])
    )
    for (const ban of list.bans) found.put(ban)
    list = found
    if (list.bans.length > 0) added.openUnsafe()
  }

  const loaded = Effect.suspend(() => isLoaded ? Effect.void : Effect.map(store.readBans, load))
  const { changed, saved, settled } = yield* makeWriter(loaded, () => fileOf(list))

  return Bans.of({
    add: (target) => {
      const ban = list.add(target, clock.currentTimeMillisUnsafe())
      added.openUnsafe()
      changed()
      return ban
    },
    adopt: (ban) => list.put(ban),
    latest: () => list.latest,
    begin: Effect.suspend(() =>
      isLoaded
        ? Effect.succeed(list.latest)
        // Without the list, it is newer than all that may be on it.
        : Effect.match(loaded, { onFailure: () => Math.max(started, list.latest), onSuccess: () => list.latest })
    ),
    verdict: (entry, after) => list.verdict(entry, after),
    isPast: (afterBan) => afterBan < dropped,
    active: () => list.bans,
    drop: (until, isKept) => {
      dropped = Math.max(dropped, until)
      list.drop(until, isKept)
      changed()
    },
    next: Effect.andThen(added.await, added.close),
    loaded,
    saved,
    settled
  })
})
