import { Effect, FileSystem, Layer, Path, Stream } from "effect"
import { Command } from "effect/cli"
import { type CacheError, isDamage, isOfOneFile } from "../domain/CacheError.ts"
import type { ChunkKey } from "../domain/Chunk.ts"
import { CacheConfig } from "../services/config/CacheConfig.ts"
import { serveFlags } from "../services/config/settings.ts"
import { chunksIn, ChunkStore, type StoredResource } from "../services/disk/ChunkStore.ts"
import { DiskLimiter } from "../services/disk/DiskLimiter.ts"
import { rootOf } from "../services/disk/storeLayout.ts"
import { jsonFlag, show } from "./client.ts"
import * as Progress from "./progress.ts"
import { StartupError } from "./StartupError.ts"
import { counted, size } from "./text.ts"

/**
 * Reads every chunk, and removes those that are damaged or unreadable, so that they are fetched again when needed. A server can use
 * the directory meanwhile: a missing chunk is a miss.
 */
const run = Effect.fnUntraced(function*(json: boolean) {
  const store = yield* ChunkStore
  const fs = yield* FileSystem.FileSystem
  const { directory } = yield* CacheConfig
  const unusable = Effect.mapError((error: { readonly message: string }) =>
    new StartupError({ message: `cannot list the cache directory ${directory}: ${error.message}` })
  )
  if (!(yield* unusable(fs.exists(rootOf(yield* Path.Path, directory))))) {
    return yield* new StartupError({
      message: `${directory} has no cache; specify the server's directory with --cache-dir`
    })
  }
  const unlisted: Array<CacheError> = []
  const skip = (error: CacheError) => Effect.sync(() => void unlisted.push(error))
  const list = ({ resource }: StoredResource) =>
    Effect.catch(
      Effect.map(store.contents(resource), (contents) => [chunksIn(contents)]),
      (error) => Effect.as(skip(error), [])
    )
  const resources = yield* unusable(Stream.runCollect(store.resources(skip)))
  const listed = (yield* Effect.forEach(resources, list)).flat()
  const keys = listed.flat()
  const progress = yield* Progress.make(keys.length, "chunks")
  for (const error of unlisted) yield* progress.note(`unreadable: ${error.message}`)
  let bytes = 0
  let damaged = 0
  let unreadable = 0

  const remove = (key: ChunkKey) => Effect.match(store.remove(key), { onFailure: () => false, onSuccess: () => true })

  const repair = Effect.fnUntraced(function*(key: ChunkKey, error: CacheError) {
    // A server evicted it meanwhile.
    if (error.errno === "ENOENT") return
    const isRemoved = isOfOneFile(error) && (yield* remove(key))
    if (isDamage(error) && isRemoved) damaged += 1
    else unreadable += 1
    const what = isDamage(error) ? "damaged" : "unreadable"
    yield* progress.note(`${what}, ${isRemoved ? "removed" : "not removed"}: ${error.message}`)
  })

  for (const key of keys) {
    yield* Effect.matchEffect(store.verify(key), {
      onSuccess: (length) => Effect.sync(() => bytes += length),
      onFailure: (error) => repair(key, error)
    })
    yield* progress.advance(bytes)
  }
  yield* progress.end
  const intact = keys.length - damaged - unreadable
  const found = { files: listed.length, chunks: keys.length, bytes, intact, damaged, unreadable }
  yield* show(
    json,
    found,
    () =>
      `${counted(keys.length, "chunk")} of ${counted(listed.length, "file")}, ${size(bytes)}: ` +
      `${intact} intact, ${damaged} damaged and removed, ${unreadable} unreadable`
  )
  if (unreadable + unlisted.length > 0) {
    return yield* new StartupError({
      message: `${
        counted(unreadable + unlisted.length, "file")
      } in ${directory} cannot be read or removed; look for disk errors (dmesg)`
    })
  }
})

export const verify = Command.make(
  "verify",
  { directory: serveFlags.directory, json: jsonFlag },
  ({ directory, json }) =>
    Effect.provide(
      run(json),
      ChunkStore.layer.pipe(Layer.provideMerge(CacheConfig.layer({ directory })), Layer.provide(DiskLimiter.layer))
    )
).pipe(Command.withDescription("Read the whole cache, and remove damaged and unreadable chunks"))
