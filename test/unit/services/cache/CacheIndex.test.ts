import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem, Layer } from "effect"
import { execFileSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import { IoError } from "../../../../src/domain/CacheError.ts"
import type { ChunkKey } from "../../../../src/domain/Chunk.ts"
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
import { CHUNK, restartable, stack, view, World } from "../../../support/stack.ts"
import { randomBytes } from "../../../support/TestOrigin.ts"
import { ticking } from "../../../support/ticking.ts"

const film1 = makeResource("http://origin.test/film1").id
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

const keyAt = (index: number, representation = "r", resource = film1): ChunkKey => ({ resource, representation, index })

/** Runs `test` with an index that has nothing. */
const withIndex = (test: (index: CacheIndex["Service"]) => void) =>
  Effect.map(CacheIndex, test).pipe(Effect.provide(stack("memory")))

/** Removes all chunks in the order in which they are evicted. Returns their indices. */
const evicted = (index: CacheIndex["Service"]) => {
  const indices: Array<number> = []
  for (let key = index.oldest(); key !== undefined; key = index.oldest()) {
    index.remove(key)
    indices.push(key.index)
  }
  return indices
}

describe("CacheIndex", () => {
  it.effect("knows which chunks are there, and where stretches end", () =>
    withIndex((index) => {
      for (const i of [0, 1, 3]) index.add(keyAt(i), 100)
      assert.deepStrictEqual([0, 1, 2, 3].map((i) => index.has(keyAt(i))), [true, true, false, true])
      assert.deepStrictEqual([0, 2, 3].map((i) => index.firstMissing(keyAt(i))), [2, 2, 4])
      assert.deepStrictEqual(index.stretches(film1, "r"), [[0, 2], [3, 4]])
      assert.deepStrictEqual([index.count(), index.hasResource(film1), index.resources()], [3, true, [film1]])
      assert.sameDeepMembers([...index.keys()], [keyAt(0), keyAt(1), keyAt(3)])
      index.forget(film1)
      assert.deepStrictEqual([index.count(), index.bytes(), index.nodes(), index.hasResource(film1)], [0, 0, 0, false])
    }))

  it.effect("adds a chunk once", () =>
    withIndex((index) => {
      index.add(keyAt(0), 100)
      const bytes = index.bytes()
      index.add(keyAt(0), 200)
      assert.deepStrictEqual([index.count(), index.bytes()], [1, bytes])
      index.remove(keyAt(0))
      index.remove(keyAt(0))
      assert.strictEqual(index.count(), 0)
    }))

  it.effect("evicts the least recently used chunks first, found ones before used ones", () =>
    withIndex((index) => {
      for (const i of [0, 1, 2]) index.add(keyAt(i), 100)
      for (const i of [3, 4]) index.enter(keyAt(i), 100, "cold")
      for (const i of [0, 3]) index.touch(keyAt(i))
      assert.deepStrictEqual(evicted(index), [4, 1, 2, 0, 3])
    }))

  it.effect("evicts superseded representations before the current one", () =>
    withIndex((index) => {
      index.add(keyAt(0, "new"), 100)
      index.add(keyAt(1, "old"), 100)
      index.supersede(film1, "new")
      // A use doesn't save it.
      index.touch(keyAt(1, "old"))
      assert.deepStrictEqual(evicted(index), [1, 0])
    }))

  it.effect("hides a condemned chunk, and counts it until it is removed", () =>
    withIndex((index) => {
      for (const i of [0, 1, 2]) index.add(keyAt(i), 100)
      const bytes = index.bytes()
      index.condemn(keyAt(1))
      assert.deepStrictEqual([index.has(keyAt(1)), index.firstMissing(keyAt(0)), index.bytes()], [false, 1, bytes])
      assert.deepStrictEqual(index.oldest(), keyAt(1))
      // Written anew, it is as any other.
      index.add(keyAt(1), 100)
      assert.deepStrictEqual([index.has(keyAt(1)), index.firstMissing(keyAt(0)), index.bytes()], [true, 3, bytes])
      assert.deepStrictEqual(evicted(index), [0, 2, 1])
    }))

  it.effect("protects pinned resources, and those chunks of theirs that come later", () =>
    withIndex((index) => {
      for (const i of [0, 1]) index.add(keyAt(i), 4096)
      index.add(keyAt(9, "other"), 4096)
      index.pin(film1, "r")
      index.add(keyAt(2), 4096)
      assert.deepStrictEqual([index.isPinned(film1), index.pinned()], [true, [film1]])
      assert.isAtLeast(index.unevictableBytes(), 3 * 4096)
      assert.deepStrictEqual(evicted(index), [9])
      index.unpin(film1)
      assert.deepStrictEqual([index.isPinned(film1), index.unevictableBytes()], [false, 0])
      assert.deepStrictEqual(evicted(index), [0, 1, 2])
    }))

  it.effect("sets chunks aside until removals are retried", () =>
    withIndex((index) => {
      for (const i of [0, 1]) index.add(keyAt(i), 100)
      assert.isTrue(index.setAside(keyAt(0)))
      assert.isFalse(index.setAside(keyAt(7)))
      assert.deepStrictEqual([index.oldest(), index.unevictableBytes()], [keyAt(1), 100])
      index.retryRemovals()
      assert.deepStrictEqual(evicted(index), [0, 1])
    }))

  it.effect("counts manifests and directories, and grows by what it foretells", () =>
    withIndex((index) => {
      const growth = index.growth([{ resource: film1, chunks: 1, manifest: 4096 }])
      index.setManifest(film1, 4096)
      index.add(keyAt(0), 100)
      assert.strictEqual(index.bytes(), 100 + growth)
      assert.strictEqual(index.bytesOf(film1), index.bytes())
      assert.strictEqual(index.nodes(), 4)
      assert.isTrue(index.hasManifest(film1))
      index.revokeManifest(film1)
      assert.isFalse(index.hasManifest(film1))
      assert.deepStrictEqual([index.isAlone(film1), index.family(film1)], [true, [film1]])
    }))

  it.effect("has a directory without a chunk as hollow, unless it is pinned", () =>
    withIndex((index) => {
      index.setManifest(film1, 4096)
      assert.deepStrictEqual(index.hollow(), [film1])
      index.pin(film1)
      assert.deepStrictEqual(index.hollow(), [])
      index.unpin(film1)
      index.add(keyAt(0), 100)
      assert.deepStrictEqual(index.hollow(), [])
    }))

  it.effect("remembers the latest use of a resource while it has chunks", () =>
    withIndex((index) => {
      index.enter(keyAt(0), 100, "cold")
      assert.strictEqual(index.lastUsed(film1), 0)
      for (const at of [5, 9, 7]) index.noteUse(film1, at)
      assert.strictEqual(index.lastUsed(film1), 9)
      index.remove(keyAt(0))
      assert.strictEqual(index.lastUsed(film1), 0)
    }))
})

describe("the memory of the index", () => {
  it("is at most 64 bytes for each chunk, and 300 for each file of one chunk", () => {
    const program = fileURLToPath(new URL("../../../support/indexMemory.ts", import.meta.url))
    const output = execFileSync(process.execPath, ["--expose-gc", program], { encoding: "utf8" })
    const { count, perChunk, perFile } = JSON.parse(output) as Record<"count" | "perChunk" | "perFile", number>
    assert.strictEqual(count, 250_000)
    assert.isAtMost(perChunk, 64)
    assert.isAtMost(perFile, 300)
  })
})
