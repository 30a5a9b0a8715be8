import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem, Layer } from "effect"
import { IoError } from "../../../../src/domain/CacheError.ts"
import { make as makeResource } from "../../../../src/domain/Resource.ts"
import * as ObservedValue from "../../../../src/effects/ObservedValue.ts"
import { CacheIndex } from "../../../../src/services/cache/CacheIndex.ts"
import { ChunkWriter } from "../../../../src/services/cache/ChunkWriter.ts"
import { IndexScan } from "../../../../src/services/cache/IndexScan.ts"
import { ChunkStore } from "../../../../src/services/disk/ChunkStore.ts"
import { DirectoryLock } from "../../../../src/services/disk/DirectoryLock.ts"
import { DiskBreaker } from "../../../../src/services/disk/DiskBreaker.ts"
import { MemoryDisk } from "../../../../src/testing/MemoryFileSystem.ts"
import { MemoryOrigin } from "../../../../src/testing/MemoryOrigin.ts"
import { CHUNK, restartable, view, World } from "../../../support/stack.ts"
import { randomBytes } from "../../../support/TestOrigin.ts"
import { ticking } from "../../../support/ticking.ts"

const chunk = randomBytes(CHUNK)
const film = Buffer.concat([chunk, chunk])

const settle = ticking(Effect.sleep("10 seconds"))

const cache = Effect.fnUntraced(function*(name: string) {
  const origin = yield* MemoryOrigin
  const url = `http://origin.test/${name}`
  origin.files.set(url, { bytes: film, etag: "\"1\"", headers: { "cache-control": "max-age=3600" } })
  yield* view(url)
  yield* ticking(ChunkWriter.use((_) => _.idle))
  return makeResource(url).id
})

const directoryOf = (resource: string) => `/cache/v1/${resource.slice(0, 2)}/${resource}`

describe("when the lock is taken again", () => {
  it.effect("the index learns what another process wrote and removed meanwhile", () =>
    Effect.gen(function*() {
      const takes = yield* ObservedValue.make(1)
      const lock = Layer.succeed(DirectoryLock, { acquire: Effect.void, takes: takes.changes })
      yield* Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const index = yield* CacheIndex
        const store = yield* ChunkStore
        const [kept, lost] = [yield* cache("kept"), yield* cache("lost")]
        const bytes = index.bytes()
        const other = makeResource("http://origin.test/other").id
        for (const { key } of index.chunksOf(lost)) yield* store.write({ ...key, resource: other }, chunk)
        yield* fs.rename(`${directoryOf(lost)}/manifest.json`, `${directoryOf(other)}/manifest.json`)
        yield* fs.remove(directoryOf(lost), { recursive: true })
        yield* takes.set(2)
        yield* settle
        yield* ticking(IndexScan.use((_) => _.loaded))
        assert.sameMembers([...index.resources()], [kept, other])
        assert.strictEqual(index.bytes(), bytes)
      }).pipe(Effect.provide(restartable({}, lock)))
    }).pipe(Effect.provide(World)))
})

describe("while another process has the lock", () => {
  it.effect("nothing of its directory is read or tidied up", () =>
    Effect.gen(function*() {
      const disk = yield* MemoryDisk
      const fs = yield* FileSystem.FileSystem
      const takes = yield* ObservedValue.make(0)
      const locked = new IoError({ errno: "LOCKED", operation: "open", path: "/cache/v1/lock" })
      let acquire: Effect.Effect<void, IoError> = Effect.fail(locked)
      const lock = Layer.succeed(DirectoryLock, { acquire: Effect.suspend(() => acquire), takes: takes.changes })
      const resource = makeResource("http://origin.test/film").id
      const theirs = `${directoryOf(resource)}/manifest.json.1-1.tmp`
      yield* fs.makeDirectory(directoryOf(resource), { recursive: true })
      yield* Effect.scoped(fs.open(theirs, { flag: "wx" }))
      yield* Effect.gen(function*() {
        const breaker = yield* DiskBreaker
        const scan = yield* IndexScan
        yield* settle
        assert.isTrue(disk.files().has(theirs))
        assert.isFalse(scan.isLoaded())
        acquire = takes.set(1)
        yield* settle
        assert.isUndefined(breaker.unwritable())
        assert.isTrue(scan.isLoaded())
        assert.isFalse(disk.files().has(theirs))
      }).pipe(Effect.provide(restartable({}, lock)))
    }).pipe(Effect.provide(World)))
})
