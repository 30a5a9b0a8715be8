import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, FileSystem, Option } from "effect"
import { make as makeResource } from "../../../../src/domain/Resource.ts"
import { Bans } from "../../../../src/services/cache/Bans.ts"
import { CacheIndex } from "../../../../src/services/cache/CacheIndex.ts"
import { ChunkWriter } from "../../../../src/services/cache/ChunkWriter.ts"
import { IndexScan } from "../../../../src/services/cache/IndexScan.ts"
import { ChunkStore } from "../../../../src/services/disk/ChunkStore.ts"
import { DiskBreaker } from "../../../../src/services/disk/DiskBreaker.ts"
import { Inventory } from "../../../../src/services/operate/Inventory.ts"
import { Purger } from "../../../../src/services/operate/Purger.ts"
import { Sweeper } from "../../../../src/services/operate/Sweeper.ts"
import { Faults, type Operation } from "../../../../src/testing/FaultyFileSystem.ts"
import { MemoryOrigin } from "../../../../src/testing/MemoryOrigin.ts"
import { CHUNK, EVERYTHING, purge, restartable, stack, view, World } from "../../../support/stack.ts"
import { randomBytes, sha256 } from "../../../support/TestOrigin.ts"
import { ticking } from "../../../support/ticking.ts"

const url = "http://origin.test/film"
const { id } = makeResource(url)
const film = randomBytes(3 * CHUNK)

/** Has the film cached. */
const cached = Effect.gen(function*() {
  const origin = yield* MemoryOrigin
  origin.files.set(url, { bytes: film, etag: "\"1\"", headers: { "cache-control": "max-age=3600" } })
  yield* view(url)
  yield* ticking(ChunkWriter.use((_) => _.idle))
})

/** The names of files below the directories of resources, without the identifier of the representation. */
const files = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const below = (directory: string) =>
    Effect.map(fs.readDirectory(directory), (names) => names.map((name) => `${directory}/${name}`))
  const prefixes = (yield* below("/cache/v1")).filter((path) => /\/[0-9a-f]{2}$/.test(path))
  const resources = (yield* Effect.forEach(prefixes, below)).flat()
  const names = (yield* Effect.forEach(resources, (resource) => fs.readDirectory(resource))).flat()
  return names.map((name) => name.replace(/^[0-9a-f]{32}/, ""))
})

describe("over files", () => {
  it.effect("a pin is a file beside the manifest, which a restart finds", () =>
    Effect.gen(function*() {
      yield* Effect.gen(function*() {
        yield* cached
        assert.isTrue(Option.getOrThrow(yield* (yield* Purger).pin(url, true)).pinned)
        assert.sameMembers(yield* files, ["manifest.json", "pinned", ".0", ".1", ".2"])
      }).pipe(Effect.provide(restartable()))
      yield* Effect.gen(function*() {
        const index = yield* CacheIndex
        yield* ticking(IndexScan.use((_) => _.loaded))
        assert.isUndefined(index.oldest())
        assert.strictEqual(index.unevictableBytes(), index.bytes())
        assert.isTrue(Option.getOrThrow(yield* (yield* Inventory).find(url)).pinned)
        assert.isFalse(Option.getOrThrow(yield* (yield* Purger).pin(url, false)).pinned)
        assert.sameMembers(yield* files, ["manifest.json", ".0", ".1", ".2"])
        assert.isDefined(index.oldest())
      }).pipe(Effect.provide(restartable()))
      yield* Effect.gen(function*() {
        yield* ticking(IndexScan.use((_) => _.loaded))
        assert.isFalse(Option.getOrThrow(yield* (yield* Inventory).find(url)).pinned)
      }).pipe(Effect.provide(restartable()))
    }).pipe(Effect.provide(World)))

  it.effect("a purge leaves no file, and no row", () =>
    Effect.gen(function*() {
      yield* cached
      const index = yield* CacheIndex
      const purger = yield* Purger
      yield* purger.pin(url, true)
      const before = index.bytes()
      assert.deepStrictEqual(yield* purge(EVERYTHING), { resources: 1, bytes: before })
      assert.deepStrictEqual(yield* files, [])
      assert.deepStrictEqual([index.bytes(), index.count(), index.resources().length], [0, 0, 0])
      assert.deepStrictEqual(yield* purge(EVERYTHING), { resources: 0, bytes: 0 })
    }).pipe(Effect.provide(stack("faulty"))))

  it.effect.each(["unlink", "stat", "read"] as ReadonlyArray<Operation>)(
    "what a disk that fails at %s keeps of a purge is served to nobody, and goes when it works again",
    (operation) =>
      Effect.gen(function*() {
        yield* cached
        const faults = yield* Faults
        const index = yield* CacheIndex
        const { swept } = yield* Sweeper
        yield* faults.add({ operation, fault: "EIO", path: (path) => path.includes(id) })
        const ban = yield* ticking(Purger.use((_) => _.purge(EVERYTHING)))
        yield* ticking(Effect.sleep("5 seconds"))
        assert.strictEqual(sha256((yield* ticking(view(url))).bytes), sha256(film))
        assert.lengthOf((yield* MemoryOrigin).requests, 2)
        yield* faults.clear
        yield* ticking(swept(ban))
        yield* ticking(ChunkWriter.use((_) => _.idle))
        yield* purge(EVERYTHING)
        assert.deepStrictEqual(yield* files, [])
        assert.strictEqual(index.bytes(), 0)
      }).pipe(Effect.provide(stack("faulty")))
  )

  it.effect("a file that cannot be removed keeps its ban, and does not stop the removal of others", () =>
    Effect.gen(function*() {
      const faults = yield* Faults
      const bans = yield* Bans
      const breaker = yield* DiskBreaker
      const index = yield* CacheIndex
      const { files: atOrigin } = yield* MemoryOrigin
      yield* cached
      const others = ["a", "b", "c", "d"].map((name) => `http://origin.test/${name}`)
      for (const other of others) {
        atOrigin.set(other, { bytes: film, etag: "\"1\"", headers: { "cache-control": "max-age=3600" } })
        yield* view(other)
      }
      yield* ticking(ChunkWriter.use((_) => _.idle))
      yield* faults.add({
        operation: "unlink",
        fault: "EPERM",
        path: (path) => path.endsWith(".1") && path.includes(id)
      })
      yield* purge({ _tag: "Prefix", prefix: `${others[0]}` })
      yield* ticking(Purger.use((_) => _.purge(EVERYTHING)))
      yield* ticking(Effect.sleep("1 second"))
      assert.deepStrictEqual(index.resources(), [id])
      assert.deepStrictEqual([...index.keys()].filter(index.has), [])
      assert.deepStrictEqual(bans.active().map(({ target }) => target), [EVERYTHING])
      assert.isUndefined(breaker.unwritable())
      yield* faults.clear
      yield* ticking(Effect.sleep("10 seconds"))
      assert.deepStrictEqual([index.resources(), bans.active()], [[], []])
    }).pipe(Effect.provide(stack("faulty"))))

  it.effect("a purge whose place a wider one has taken is not done before its files are gone", () =>
    Effect.gen(function*() {
      yield* cached
      const faults = yield* Faults
      const purger = yield* Purger
      const sweeper = yield* Sweeper
      const stateOf = (at: number) => sweeper.progress().removals.find(({ ban }) => ban.at === at)?.state
      yield* faults.add({ operation: "unlink", fault: "EIO", path: (path) => path.includes(id) })
      const narrow = yield* ticking(purger.purge({ _tag: "Url", url }))
      const early = yield* Effect.forkChild(sweeper.swept(narrow))
      yield* ticking(Effect.sleep("1 second"))
      yield* ticking(purger.purge(EVERYTHING))
      const late = yield* Effect.forkChild(sweeper.swept(narrow))
      yield* ticking(Effect.sleep("5 seconds"))
      assert.isUndefined(early.pollUnsafe())
      assert.isUndefined(late.pollUnsafe())
      assert.strictEqual(stateOf(narrow.at), "running")
      yield* faults.clear
      yield* ticking(Fiber.joinAll([early, late]))
      assert.strictEqual(stateOf(narrow.at), "done")
      assert.deepStrictEqual(yield* files, [])
    }).pipe(Effect.provide(stack("faulty"))))

  it.effect("a purge survives a kill before anything was removed", () =>
    Effect.gen(function*() {
      const faults = yield* Faults
      yield* Effect.gen(function*() {
        yield* cached
        yield* faults.add({ operation: "unlink", fault: "EIO", path: (path) => path.includes(id) })
        yield* ticking(Purger.use((_) => _.purge({ _tag: "Url", url })))
      }).pipe(Effect.provide(restartable()))
      yield* faults.clear
      assert.include(yield* files, ".0")
      yield* Effect.gen(function*() {
        const { requests } = yield* MemoryOrigin
        const before = requests.length
        yield* ticking(view(url))
        assert.strictEqual(requests.length, before + 1)
      }).pipe(Effect.provide(restartable()))
    }).pipe(Effect.provide(World)))

  it.effect("a purge that a full disk has no room to record is done when the files are gone", () =>
    Effect.gen(function*() {
      yield* cached
      const faults = yield* Faults
      yield* faults.add({ operation: "open", fault: "ENOSPC", path: (path) => path.includes("bans") })
      yield* ticking(Purger.use((_) => _.purge(EVERYTHING)))
      assert.deepStrictEqual(yield* files, [])
    }).pipe(Effect.provide(stack("faulty"))))

  it.effect(
    "a purge that can neither be recorded nor done fails, and holds in this process",
    () =>
      Effect.gen(function*() {
        yield* cached
        const faults = yield* Faults
        yield* faults.add({ operation: "open", fault: "EROFS" })
        yield* faults.add({ operation: "unlink", fault: "EROFS" })
        const error = yield* Effect.flip(ticking(Purger.use((_) => _.purge(EVERYTHING))))
        assert.strictEqual(error._tag, "PermissionDenied")
        const { requests } = yield* MemoryOrigin
        const before = requests.length
        yield* ticking(view(url))
        assert.strictEqual(requests.length, before + 1)
      }).pipe(Effect.provide(stack("faulty")))
  )

  it.effect("a pin after a purge stays, although the files of before are removed later", () =>
    Effect.gen(function*() {
      yield* cached
      const purger = yield* Purger
      const sweeper = yield* Sweeper
      const index = yield* CacheIndex
      yield* purger.pin(url, true)
      const faults = yield* Faults
      yield* faults.add({ operation: "read", fault: "EIO", path: (path) => path.includes(id) })
      const ban = yield* ticking(purger.purge({ _tag: "Prefix", prefix: "http://origin.test/" }))
      yield* faults.clear
      yield* ticking(view(url))
      yield* ticking(ChunkWriter.use((_) => _.idle))
      assert.isTrue(Option.getOrThrow(yield* ticking(purger.pin(url, true))).pinned)
      yield* ticking(sweeper.swept(ban))
      assert.isTrue(index.isPinned(id))
      assert.include(yield* files, "pinned")
      yield* purge(EVERYTHING)
      assert.isFalse(index.isPinned(id))
    }).pipe(Effect.provide(stack("faulty"))))

  it.effect("a pin goes with a purge, although the file is stored again while it is removed", () =>
    Effect.gen(function*() {
      yield* cached
      const purger = yield* Purger
      const index = yield* CacheIndex
      yield* purger.pin(url, true)
      const faults = yield* Faults
      const removal = { operation: "unlink", fault: "hang", path: (path: string) => path.endsWith(".0") } as const
      yield* faults.add(removal)
      const purging = yield* Effect.forkChild(
        Effect.flatMap(purger.purge({ _tag: "Url", url }), (ban) => Sweeper.use((_) => _.swept(ban)))
      )
      yield* ticking(Effect.repeat(Effect.sleep("1 millis"), { until: () => faults.strikes().includes(1) }))
      yield* ticking(view(url))
      yield* faults.lift(removal)
      yield* ticking(Effect.andThen(Fiber.join(purging), ChunkWriter.use((_) => _.idle)))
      assert.isTrue(index.hasResource(id))
      assert.isFalse(index.isPinned(id))
      assert.notInclude(yield* files, "pinned")
    }).pipe(Effect.provide(stack("faulty"))))

  it.effect("a pin that cannot be written is none", () =>
    Effect.gen(function*() {
      yield* cached
      const faults = yield* Faults
      yield* faults.add({ operation: "open", fault: "EROFS", path: (path) => path.includes("pinned") })
      const error = yield* Effect.flip((yield* Purger).pin(url, true))
      assert.strictEqual(error._tag, "PermissionDenied")
      const { keys: [key] } = yield* Effect.map(CacheIndex, (index) => ({ keys: index.keys() }))
      assert.isFalse((yield* (yield* ChunkStore).contents(key!.resource)).pinned)
      assert.isFalse((yield* CacheIndex).isPinned(key!.resource))
    }).pipe(Effect.provide(stack("faulty"))))
})
