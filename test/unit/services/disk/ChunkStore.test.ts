import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem, Layer, Option, Path, Stream } from "effect"
import { crc32 } from "node:zlib"
import { IoError } from "../../../../src/domain/CacheError.ts"
import type { ChunkKey } from "../../../../src/domain/Chunk.ts"
import { fromHead, type Representation } from "../../../../src/domain/Representation.ts"
import { make as makeResource } from "../../../../src/domain/Resource.ts"
import { CacheConfig } from "../../../../src/services/config/CacheConfig.ts"
import { headerBytes, PART_BYTES } from "../../../../src/services/disk/chunkFormat.ts"
import { chunksIn, ChunkStore } from "../../../../src/services/disk/ChunkStore.ts"
import { DiskBreaker } from "../../../../src/services/disk/DiskBreaker.ts"
import * as ManifestFormat from "../../../../src/services/disk/manifestFormat.ts"
import { IDLE_MILLIS } from "../../../../src/services/disk/OpenChunks.ts"
import * as ChunkStoreContract from "../../../../src/testing/ChunkStoreContract.ts"
import { Faults, type Operation } from "../../../../src/testing/FaultyFileSystem.ts"
import { MemoryDisk } from "../../../../src/testing/MemoryFileSystem.ts"
import { restartable, stack, World } from "../../../support/stack.ts"
import { randomBytes } from "../../../support/TestOrigin.ts"
import { ticking } from "../../../support/ticking.ts"

const resource = makeResource("http://origin.test/film.mp4")
const representation = fromHead(
  resource,
  { status: 200, headers: { "content-length": "1000", etag: "\"1\"", "content-type": "video/mp4" } },
  65536
) as Representation
const key: ChunkKey = { resource: resource.id, representation: representation.id, index: 3 }
const payload = randomBytes(1000)
/** The only chunk of a body that is as long as it. */
const first: ChunkKey = { ...key, index: 0 }

/** A chunk of several parts, of which the last is shorter. */
const PART = PART_BYTES
const LONG = 3 * PART + 100
const long = randomBytes(LONG)

const whole = (length: number) => ({ start: 0, end: length })

const files = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const { directory } = yield* CacheConfig
  return (yield* fs.readDirectory(directory, { recursive: true })).filter((name) => name.includes("."))
})

describe.each(["memory", "real", "thread"] as const)("the contract, %s", (kind) => {
  it.effect.each(ChunkStoreContract.cases.map(({ check, title }) => [title, check] as const))(
    "%s",
    ([, check]) => Effect.provide(check, stack(kind))
  )
})

/** The file of a chunk in the first format: one checksum of the header from byte 12 on and of all bytes. */
const firstFormat = ({ index, representation, resource }: ChunkKey, payload: Buffer): Buffer => {
  const header = Buffer.alloc(64)
  header.write("SPLWAY01", "latin1")
  header.writeUInt32LE(payload.length, 12)
  header.writeUInt32LE(index, 16)
  header.write(resource, 32, 16, "hex")
  header.write(representation, 48, 16, "hex")
  header.writeUInt32LE(crc32(payload, crc32(header.subarray(12))), 8)
  return Buffer.concat([header, payload])
}

/** The same in the second format: the checksum of each part is a CRC-32. */
const secondFormat = ({ index, representation, resource }: ChunkKey, payload: Buffer): Buffer => {
  const header = Buffer.alloc(headerBytes(payload.length))
  header.write("SPLWAY02", "latin1")
  header.writeUInt32LE(payload.length, 12)
  header.writeUInt32LE(index, 16)
  header.writeUInt32LE(PART, 20)
  header.write(resource, 32, 16, "hex")
  header.write(representation, 48, 16, "hex")
  for (let part = 0; part * PART < payload.length; part++) {
    header.writeUInt32LE(crc32(payload.subarray(part * PART, (part + 1) * PART)), 64 + 4 * part)
  }
  header.writeUInt32LE(crc32(header.subarray(12)), 8)
  return Buffer.concat([header, payload])
}

describe("on disk", () => {
  const fileOf = Effect.gen(function*() {
    const path = yield* Path.Path
    const { directory } = yield* CacheConfig
    return path.join(directory, "v1", key.resource.slice(0, 2), key.resource, `${key.representation}.${key.index}`)
  })

  const damages: ReadonlyArray<readonly [string, (file: Uint8Array) => Uint8Array, string]> = [
    ["a flipped bit in the payload", (file) => file.with(500, file[500]! ^ 1), "CORRUPT"],
    ["a flipped bit in the header", (file) => file.with(40, file[40]! ^ 1), "CORRUPT"],
    ["a flipped bit in the checksum", (file) => file.with(8, file[8]! ^ 1), "CORRUPT"],
    ["a cut-off end", (file) => file.subarray(0, -1), "SHORT_READ"],
    ["nothing in it", () => new Uint8Array(), "SHORT_READ"],
    ["zeros after a crash", (file) => new Uint8Array(file.length), "CORRUPT"]
  ]

  it.effect.each(damages)("a file with %s is not what was written", ([, damage, errno]) =>
    Effect.gen(function*() {
      const store = yield* ChunkStore
      const fs = yield* FileSystem.FileSystem
      const at = yield* fileOf
      yield* store.write(key, payload)
      yield* fs.writeFile(at, damage(yield* fs.readFile(at)))
      const error = yield* Effect.flip(store.read(key, 1000, whole(1000)))
      assert.deepStrictEqual([error._tag, error.errno, error.path], ["IoError", errno, at])
    }).pipe(Effect.provide(stack("real"))))

  it.effect("the file of another chunk is not what was written", () =>
    Effect.gen(function*() {
      const store = yield* ChunkStore
      const fs = yield* FileSystem.FileSystem
      const at = yield* fileOf
      yield* store.write(key, payload)
      yield* store.write({ ...key, index: 4 }, randomBytes(1000, 2))
      yield* fs.rename(at.replace(/3$/, "4"), at)
      assert.strictEqual((yield* Effect.flip(store.read(key, 1000, whole(1000)))).errno, "CORRUPT")
    }).pipe(Effect.provide(stack("real"))))

  it.effect("a file whose index no chunk can have is no chunk", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const store = yield* ChunkStore
      const at = yield* fileOf
      yield* store.write(key, payload)
      for (const index of ["4294967295", "4294967296", "9999999999"]) {
        yield* fs.copyFile(at, at.replace(/\d+$/, index))
      }
      assert.deepStrictEqual((yield* store.contents(resource.id)).keys, [key])
    }).pipe(Effect.provide(stack("real"))))

  it.effect("a manifest that cannot be understood is none", () =>
    Effect.gen(function*() {
      const store = yield* ChunkStore
      const fs = yield* FileSystem.FileSystem
      const path = yield* Path.Path
      yield* store.writeManifest(resource.id, ManifestFormat.encode(representation))
      yield* fs.writeFileString(path.join(path.dirname(yield* fileOf), "manifest.json"), "{\"id\":")
      assert.isTrue(Option.isNone(yield* store.readManifest(resource.id)))
    }).pipe(Effect.provide(stack("real"))))

  it.effect("what an interrupted write of an earlier process left is removed when the store is listed", () =>
    Effect.gen(function*() {
      const store = yield* ChunkStore
      const fs = yield* FileSystem.FileSystem
      const at = yield* fileOf
      yield* store.write(key, payload)
      yield* fs.writeFile(`${at}.earlier.tmp`, payload)
      yield* Stream.runDrain(Stream.mapEffect(store.resources(Effect.fail), ({ examine }) => examine(Effect.fail)))
      assert.deepStrictEqual((yield* files).filter((name) => name.endsWith(".tmp")), [])
      assert.strictEqual((yield* store.read(key, 1000, whole(1000))).length, 1000)
    }).pipe(Effect.provide(stack("real"))))

  it.effect("damage in one part is found by those who read it, and by nobody else", () =>
    Effect.gen(function*() {
      const store = yield* ChunkStore
      const fs = yield* FileSystem.FileSystem
      const at = yield* fileOf
      const partAt = (part: number) => ({ start: part * PART + 10, end: part * PART + 20 })
      yield* store.write(key, long)
      for (const isOpen of [false, true]) {
        if (isOpen) yield* store.read(key, LONG, partAt(0))
        const file = yield* fs.open(at, { flag: "r+" })
        yield* file.seek(BigInt(headerBytes(LONG) + PART), "start")
        yield* file.writeAll(Buffer.from(isOpen ? "damaged" : "spoiled"))
        assert.strictEqual((yield* Effect.flip(store.read(key, LONG, partAt(1)))).errno, "CORRUPT")
        assert.strictEqual((yield* Effect.flip(store.verify(key))).errno, "CORRUPT")
        for (const part of [0, 2, 3]) {
          const { end, start } = partAt(part)
          assert.deepStrictEqual(Buffer.from(yield* store.read(key, LONG, { start, end })), long.subarray(start, end))
        }
      }
    }).pipe(Effect.scoped, Effect.provide(stack("real"))))

  it.effect("a file that was cut off while it is open is too short", () =>
    Effect.gen(function*() {
      const store = yield* ChunkStore
      const fs = yield* FileSystem.FileSystem
      yield* store.write(key, long)
      yield* store.read(key, LONG, whole(LONG))
      yield* fs.truncate(yield* fileOf, headerBytes(LONG) + PART)
      assert.strictEqual((yield* Effect.flip(store.read(key, LONG, whole(LONG)))).errno, "SHORT_READ")
      assert.strictEqual((yield* store.read(key, LONG, whole(PART))).length, PART)
    }).pipe(Effect.provide(stack("real"))))

  /** Writes the file of an earlier format, and reads it in the middle of parts, at their ends, and whole. */
  const readEarlier = Effect.fnUntraced(function*(file: Buffer) {
    const store = yield* ChunkStore
    const fs = yield* FileSystem.FileSystem
    const at = yield* fileOf
    yield* store.write(key, long)
    yield* fs.writeFile(at, file)
    for (const [start, end] of [[0, 1], [PART - 1, 2 * PART], [LONG - 1, LONG]] as const) {
      assert.deepStrictEqual(Buffer.from(yield* store.read(key, LONG, { start, end })), long.subarray(start, end))
    }
    assert.strictEqual(yield* store.verify(key), LONG)
    return { damage: (byte: number) => fs.writeFile(at, file.with(byte, file[byte]! ^ 1)), store }
  })

  it.effect("a file of the first format is read, and verified as a whole", () =>
    Effect.gen(function*() {
      const { damage, store } = yield* readEarlier(firstFormat(key, long))
      yield* damage(LONG)
      // It is open: the checksums of its parts are known.
      assert.strictEqual((yield* Effect.flip(store.read(key, LONG, whole(LONG)))).errno, "CORRUPT")
      assert.strictEqual((yield* Effect.flip(store.read(key, LONG, whole(1)))).errno, "CORRUPT")
      assert.strictEqual((yield* Effect.flip(store.verify(key))).errno, "CORRUPT")
    }).pipe(Effect.provide(stack("real"))))

  it.effect("a file of the second format is read, and its parts are verified", () =>
    Effect.gen(function*() {
      const { damage, store } = yield* readEarlier(secondFormat(key, long))
      yield* damage(headerBytes(LONG) + PART)
      assert.strictEqual((yield* store.read(key, LONG, whole(PART))).length, PART)
      assert.strictEqual((yield* Effect.flip(store.read(key, LONG, whole(PART + 1)))).errno, "CORRUPT")
      assert.strictEqual((yield* Effect.flip(store.verify(key))).errno, "CORRUPT")
    }).pipe(Effect.provide(stack("real"))))

  it.effect("a file of the second format with the magic of the third is not what was written", () =>
    Effect.gen(function*() {
      const store = yield* ChunkStore
      const fs = yield* FileSystem.FileSystem
      const file = secondFormat(key, long)
      file.write("3", 7, "latin1")
      yield* store.write(key, long)
      yield* fs.writeFile(yield* fileOf, file)
      assert.strictEqual((yield* Effect.flip(store.read(key, LONG, whole(1)))).errno, "CORRUPT")
    }).pipe(Effect.provide(stack("real"))))

  const compactFile = Effect.map(fileOf, (at) => `${at.slice(0, at.lastIndexOf("/"))}.compact`)

  it.effect("a short body takes one file node, in the directory of its prefix", () =>
    Effect.gen(function*() {
      const store = yield* ChunkStore
      const fs = yield* FileSystem.FileSystem
      const path = yield* Path.Path
      const at = yield* compactFile
      yield* store.writeCompact!(first, payload, ManifestFormat.encode(representation))
      assert.deepStrictEqual(yield* fs.readDirectory(path.dirname(at)), [path.basename(at)])
    }).pipe(Effect.provide(stack("real"))))

  it.effect.each(damages.filter(([name]) => !name.includes("end")))(
    "a short body with %s is not what was written, and is found and removed nevertheless",
    ([, damage]) =>
      Effect.gen(function*() {
        const store = yield* ChunkStore
        const fs = yield* FileSystem.FileSystem
        const at = yield* compactFile
        yield* store.writeCompact!(first, payload, ManifestFormat.encode(representation))
        yield* fs.writeFile(at, damage(yield* fs.readFile(at)))
        const error = yield* Effect.flip(store.read(first, 1000, { start: 0, end: 1000 }))
        assert.deepStrictEqual([error._tag, error.path], ["IoError", at])
        assert.include(["CORRUPT", "SHORT_READ"], error.errno)
        const { key } = (yield* store.contents(resource.id)).compact!
        assert.include(["CORRUPT", "SHORT_READ"], (yield* Effect.flip(store.verify(key))).errno)
        yield* store.remove(key)
        assert.deepStrictEqual(chunksIn(yield* store.contents(resource.id)), [])
      }).pipe(Effect.provide(stack("real")))
  )

  it.effect("a short body whose manifest is damaged has none", () =>
    Effect.gen(function*() {
      const store = yield* ChunkStore
      const fs = yield* FileSystem.FileSystem
      const at = yield* compactFile
      yield* store.writeCompact!(first, payload, ManifestFormat.encode(representation))
      const file = yield* fs.readFile(at)
      const [inManifest, inLength] = [file.length - 20, file.length - 1]
      const flipped = file.with(inManifest, file[inManifest]! ^ 1)
      for (const damaged of [flipped, file.with(inLength, 255), file.subarray(0, -100)]) {
        yield* fs.writeFile(at, damaged)
        assert.isTrue(Option.isNone(yield* store.readManifest(resource.id)))
        assert.strictEqual((yield* store.read(first, 1000, { start: 0, end: 1000 })).length, 1000)
      }
    }).pipe(Effect.provide(stack("real"))))

  const writes: ReadonlyArray<Operation> = ["mkdir", "open", "write", "rename"]
  it.effect.each(writes)(
    "a write that fails at %s names it, and leaves nothing",
    (operation) =>
      Effect.gen(function*() {
        const store = yield* ChunkStore
        const faults = yield* Faults
        yield* faults.add({ operation, fault: "ENOSPC", path: (path) => !path.includes("probe") })
        const error = yield* Effect.flip(store.write(key, payload))
        assert.deepStrictEqual([error._tag, error.errno, error.operation], ["DiskFull", "ENOSPC", operation])
        assert.deepStrictEqual((yield* files).filter((name) => !name.includes("probe")), [])
      }).pipe(Effect.provide(stack("faulty")))
  )

  it.effect("a write that stops half-way leaves the chunk that was there", () =>
    Effect.gen(function*() {
      const store = yield* ChunkStore
      const faults = yield* Faults
      yield* store.write(key, payload)
      yield* faults.add({ operation: "write", fault: "short" })
      assert.strictEqual((yield* Effect.flip(store.write(key, randomBytes(1000, 2))))._tag, "DiskFull")
      assert.deepStrictEqual(Buffer.from(yield* store.read(key, 1000, whole(1000))), payload)
    }).pipe(Effect.provide(stack("faulty"))))
})

describe("open files", () => {
  const OpenDisk = Layer.provideMerge(restartable(), World)

  const read = Effect.gen(function*() {
    const store = yield* ChunkStore
    return yield* ticking(store.read(key, 1000, whole(1000)))
  })

  const closings: ReadonlyArray<readonly [string, Effect.Effect<unknown, unknown, ChunkStore | DiskBreaker>]> = [
    ["the chunk is removed", ChunkStore.use((store) => store.remove(key))],
    ["the chunk is replaced", ChunkStore.use((store) => store.write(key, payload))],
    ["the resource is removed", ChunkStore.use((store) => store.removeResource(resource.id, true))],
    ["another process has removed the chunk", ChunkStore.use((store) => store.release(key))],
    ["nobody reads it for a while", Effect.sleep(2 * IDLE_MILLIS)],
    [
      "the breaker opens",
      DiskBreaker.use((breaker) => breaker.open(new IoError({ errno: "EIO", operation: "read", path: "/cache" })))
    ]
  ]

  it.effect.each(closings)("are closed when %s", ([, closing]) =>
    Effect.gen(function*() {
      const store = yield* ChunkStore
      const disk = yield* MemoryDisk
      const before = disk.handles()
      yield* ticking(store.write(key, payload))
      yield* read
      yield* read
      assert.strictEqual(disk.handles(), before + 1)
      yield* ticking(Effect.andThen(closing, Effect.sleep("1 second")))
      assert.strictEqual(disk.handles(), before)
    }).pipe(Effect.provide(OpenDisk)))

  it.effect("are closed after a read that fails", () =>
    Effect.gen(function*() {
      const store = yield* ChunkStore
      const faults = yield* Faults
      const disk = yield* MemoryDisk
      yield* ticking(store.write(key, payload))
      yield* read
      yield* faults.add({ operation: "read", fault: "EIO", times: 1 })
      assert.strictEqual((yield* Effect.flip(read)).errno, "EIO")
      assert.strictEqual(disk.handles(), 0)
      assert.deepStrictEqual(Buffer.from(yield* read), payload)
    }).pipe(Effect.provide(OpenDisk)))
})
