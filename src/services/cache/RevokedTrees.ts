import { Clock, Context, Effect, Latch, Layer, Option, Schema } from "effect"
import { crc32 } from "node:zlib"
import { EVERYTHING, type Tree, UrlTrees } from "../../domain/UrlTrees.ts"
import { keepRunning } from "../../effects/keepRunning.ts"
import { ChunkStore } from "../disk/ChunkStore.ts"
import { DiskBreaker } from "../disk/DiskBreaker.ts"

/**
 * Which URLs a request has changed with all that lies below them, such as a collection that was moved. What is in the catalog's
 * memory is revoked there; a search of the disk would take too long for a large cache, so what is only there is compared with
 * this list when its manifest is read.
 */
export class RevokedTrees extends Context.Service<RevokedTrees, {
  /** Nothing that is known of `tree` until now holds. */
  readonly add: (tree: Tree) => void
  /** Whether what the origin said of `url` at `generatedAt`, in milliseconds since 1970, has been revoked since, perhaps by an earlier process. */
  readonly covers: (url: string, generatedAt: number) => Effect.Effect<boolean>
  /** Waits until the disk knows of all that was added, for as long as `SETTLE_TIMEOUT`, and not when the disk fails. */
  readonly settled: Effect.Effect<void>
}>()("spillway/services/cache/RevokedTrees") {
  static readonly layer: Layer.Layer<RevokedTrees, never, DiskBreaker | ChunkStore> = Layer.effect(
    RevokedTrees,
    Effect.suspend(() => make)
  )
}

/** The pause before a write that failed is tried again. */
const RETRY_INTERVAL = "2 seconds"

/** How long the answer to a request that invalidates something waits for the disk. */
const SETTLE_TIMEOUT = "500 millis"

const json = Schema.fromJsonString(Schema.Array(Schema.Tuple([Schema.String, Schema.Finite])))
const encode = Schema.encodeSync(json)
const decode = Schema.decodeUnknownOption(json)

const fileOf = (trees: UrlTrees): Uint8Array => {
  const text = encode(trees.entries())
  return Buffer.from(`${text}\n${crc32(text)}`)
}

const parse = (file: string): Option.Option<ReadonlyArray<readonly [string, number]>> => {
  const [text = "", checksum] = file.split("\n")
  return checksum === String(crc32(text)) ? decode(text) : Option.none()
}

const make = Effect.gen(function*() {
  const clock = yield* Clock.Clock
  const breaker = yield* DiskBreaker
  const store = yield* ChunkStore
  const started = clock.currentTimeMillisUnsafe()
  const trees = new UrlTrees()
  const work = yield* Latch.make(false)
  const idle = yield* Latch.make(true)
  let isDirty = false
  let isLoaded = false

  const load = (file: Option.Option<string>): void => {
    if (isLoaded) return
    isLoaded = true
    if (Option.isNone(file)) return
    // On a list that is damaged, there may have been anything.
    const entries = Option.getOrElse(parse(file.value), () => [[EVERYTHING, started] as const])
    for (const [tree, at] of entries) trees.add(tree, at)
  }

  /** What earlier processes have written, read at the first use. */
  const loaded = Effect.suspend(() => isLoaded ? Effect.void : Effect.map(store.readRevokedTrees, load))

  yield* work.await.pipe(
    Effect.andThen(work.close),
    // What is on disk is not to be lost.
    Effect.andThen(loaded),
    Effect.andThen(Effect.suspend(() => {
      isDirty = false
      return store.writeRevokedTrees(fileOf(trees))
    })),
    Effect.matchEffect({
      onFailure: () => Effect.andThen(Effect.sleep(RETRY_INTERVAL), work.open),
      onSuccess: () => Effect.suspend(() => isDirty ? Effect.void : idle.open)
    }),
    keepRunning("RevokedTrees")
  )

  return RevokedTrees.of({
    add: (tree) => {
      trees.add(tree, clock.currentTimeMillisUnsafe())
      isDirty = true
      idle.closeUnsafe()
      work.openUnsafe()
    },
    covers: (url, generatedAt) =>
      // Without the list, it may have been.
      Effect.match(loaded, { onFailure: () => true, onSuccess: () => trees.covers(url, generatedAt) }),
    settled: Effect.suspend(() =>
      breaker.unwritable() === undefined
        ? Effect.asVoid(Effect.timeoutOption(idle.await, SETTLE_TIMEOUT))
        : Effect.void
    )
  })
})
