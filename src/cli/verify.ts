import { ByteSize, Console, Effect, Layer, Stream } from "effect"
import { Command } from "effect/cli"
import { isDamage } from "../domain/CacheError.ts"
import { CacheConfig } from "../services/CacheConfig.ts"
import { ChunkStore } from "../services/ChunkStore.ts"
import { DiskGate } from "../services/DiskGate.ts"
import { serveFlags } from "./flags.ts"
import * as Progress from "./progress.ts"
import { StartupError } from "./StartupError.ts"

const sizeOf = (bytes: number): string => ByteSize.format(ByteSize.bytes(bytes))

/**
 * Reads every chunk. What is damaged is removed, so that it is fetched again when next needed. A server may run on the same
 * directory meanwhile: it takes a chunk that is gone for a miss.
 */
const run = Effect.gen(function*() {
  const store = yield* ChunkStore
  const { directory } = yield* CacheConfig
  const unusable = Effect.mapError((error: { readonly message: string }) =>
    new StartupError({ message: `cache directory ${directory}: ${error.message}` })
  )
  const resources = yield* unusable(Stream.runCollect(store.resources))
  const keys = (yield* unusable(Effect.forEach(resources, store.list))).flat()
  const progress = yield* Progress.make(keys.length, "chunks")
  let bytes = 0
  let damaged = 0
  let unreadable = 0
  for (const key of keys) {
    yield* Effect.matchEffect(store.verify(key), {
      onSuccess: (length) => Effect.sync(() => bytes += length),
      onFailure: (error) =>
        // A server has evicted it in the meantime.
        error.errno === "ENOENT" ? Effect.void : Effect.suspend(() => {
          const repaired = isDamage(error)
          if (repaired) damaged += 1
          else unreadable += 1
          return Effect.andThen(
            progress.note(`${repaired ? "damaged, removed" : "cannot be read"}: ${error.message}`),
            repaired ? Effect.ignore(store.remove(key)) : Effect.void
          )
        })
    })
    yield* progress.advance(bytes)
  }
  yield* progress.end
  yield* Console.log(
    `${keys.length} chunks of ${resources.length} files, ${sizeOf(bytes)}: ` +
      `${keys.length - damaged - unreadable} good, ${damaged} damaged and removed, ${unreadable} that cannot be read`
  )
  if (unreadable > 0) return yield* new StartupError({ message: "some chunks cannot be read; is the disk failing?" })
})

export const verify = Command.make(
  "verify",
  { directory: serveFlags.directory },
  ({ directory }) =>
    Effect.provide(
      run,
      ChunkStore.layer.pipe(Layer.provideMerge(CacheConfig.layer({ directory })), Layer.provide(DiskGate.layer))
    )
).pipe(Command.withDescription("Read the whole cache, and remove what is damaged"))
