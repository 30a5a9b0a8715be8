import { NodeFileSystem } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, FileSystem, Layer, Option } from "effect"
import { execFileSync } from "node:child_process"
import * as Fs from "node:fs"
import { join } from "node:path"
import { poolSize } from "../../../../src/effects/poolSize.ts"
import { ReaderThread, type ShortReader, SLOT_BYTES } from "../../../../src/services/disk/ReaderThread.ts"
import { eventually } from "../../../support/Program.ts"
import { randomBytes } from "../../../support/TestOrigin.ts"

const Thread = Layer.provideMerge(ReaderThread.layer, NodeFileSystem.layer)

const directory = Effect.flatMap(
  FileSystem.FileSystem,
  (fs) => fs.makeTempDirectoryScoped({ prefix: "spillway-test-" })
)

const content = randomBytes(1024 ** 2)

/** A file with `content` that `reader` has opened. `read` reads it into memory that it shares with the thread, and copies the bytes. */
const makeFile = Effect.fnUntraced(function*(reader: ShortReader) {
  const path = join(yield* directory, "file")
  Fs.writeFileSync(path, content)
  const file = yield* reader.open(path)
  const read = (start: number, length: number) =>
    Effect.suspend(() => {
      const buffer = reader.take()!
      return Effect.map(file.read(buffer.subarray(0, length), { position: BigInt(start) }), (count) => {
        const bytes = Buffer.from(buffer.subarray(0, count))
        assert.isTrue(reader.give(buffer))
        return bytes
      })
    })
  return { file, path, read }
})

/** Holds each thread of Node's pool until the scope closes, by opening a pipe that nobody writes to. */
const holdPool = Effect.gen(function*() {
  const path = join(yield* directory, "pipe")
  execFileSync("mkfifo", [path])
  yield* Effect.acquireRelease(
    Effect.sync(() => Array.from({ length: poolSize() }, () => Fs.promises.open(path, "r"))),
    (opened) =>
      Effect.promise(async () => {
        const writer = Fs.openSync(path, Fs.constants.O_RDWR | Fs.constants.O_NONBLOCK)
        for (const file of await Promise.all(opened)) await file.close()
        Fs.closeSync(writer)
      })
  )
})

const reader = Effect.map(ReaderThread, (reader) => reader!)

/** Waits until the thread reads. Until it has started, the pool does. */
const awaitThread = (read: Effect.Success<ReturnType<typeof makeFile>>["read"]) =>
  Effect.scoped(
    Effect.andThen(
      holdPool,
      eventually("the thread to read", Effect.map(Effect.timeoutOption(read(0, 1), "50 millis"), Option.isSome))
    )
  )

describe("ReaderThread", () => {
  it.live("reads while all threads of Node's pool are held", () =>
    Effect.gen(function*() {
      const { read } = yield* makeFile(yield* reader)
      yield* awaitThread(read)
      yield* holdPool
      assert.isTrue((yield* read(1000, 50_000)).equals(content.subarray(1000, 51_000)))
      assert.isTrue((yield* read(content.length - 3, 10)).equals(content.subarray(-3)))
      assert.lengthOf(yield* read(content.length, 10), 0)
    }).pipe(Effect.scoped, Effect.provide(Thread)))

  it.live("keeps the bytes of many reads at once apart, and uses their memory again", () =>
    Effect.gen(function*() {
      const { read } = yield* makeFile(yield* reader)
      yield* awaitThread(read)
      yield* Effect.forEach(
        Array.from({ length: 2000 }, (_, index) => (index * 7919) % (content.length - SLOT_BYTES)),
        (start, index) => {
          const length = 1 + (index * 997) % SLOT_BYTES
          return Effect.map(
            read(start, length),
            (bytes) => assert.isTrue(bytes.equals(content.subarray(start, start + length)), `from ${start}`)
          )
        },
        { concurrency: 50 }
      )
    }).pipe(Effect.scoped, Effect.provide(Thread)))

  it.live("has memory for so many reads, and takes no other memory back", () =>
    Effect.gen(function*() {
      const { give, open, take } = yield* reader
      const { path } = yield* makeFile(yield* reader)
      const taken: Array<Buffer> = []
      for (let buffer = take(); buffer !== undefined; buffer = take()) taken.push(buffer)
      assert.isAbove(taken.length, 0)
      const own = Buffer.alloc(100)
      assert.isFalse(give(own))
      assert.isUndefined(take())
      const file = yield* open(path)
      assert.strictEqual(yield* file.read(own, { position: 5n }), 100)
      assert.isTrue(own.equals(content.subarray(5, 105)))
      for (const buffer of taken) assert.isTrue(give(buffer))
      assert.isDefined(take())
    }).pipe(Effect.scoped, Effect.provide(Thread)))

  it.live("reads a file that was replaced while it is open", () =>
    Effect.gen(function*() {
      const { path, read } = yield* makeFile(yield* reader)
      yield* awaitThread(read)
      Fs.writeFileSync(`${path}.new`, Buffer.alloc(1000))
      Fs.renameSync(`${path}.new`, path)
      assert.isTrue((yield* read(0, 1000)).equals(content.subarray(0, 1000)))
    }).pipe(Effect.scoped, Effect.provide(Thread)))

  it.live("says why a file can't be opened or read", () =>
    Effect.gen(function*() {
      const { open, take } = yield* reader
      const { read } = yield* makeFile(yield* reader)
      yield* awaitThread(read)
      const at = yield* directory
      const missing = yield* Effect.flip(open(join(at, "missing")))
      assert.strictEqual((missing.reason.cause as NodeJS.ErrnoException).code, "ENOENT")
      const unreadable = yield* open(at)
      const error = yield* Effect.flip(unreadable.read(take()!, { position: 0n }))
      assert.strictEqual((error.reason.cause as NodeJS.ErrnoException).code, "EISDIR")
    }).pipe(Effect.scoped, Effect.provide(Thread)))

  it.live("ends in the middle of reads without leaving anyone waiting", () =>
    Effect.gen(function*() {
      const reads = yield* Effect.provide(
        Effect.gen(function*() {
          const { read } = yield* makeFile(yield* reader)
          yield* awaitThread(read)
          return yield* Effect.forkDetach(
            Effect.forEach(
              Array.from({ length: 50 }, (_, index) => index * 1000),
              (start) => read(start, 100_000),
              { concurrency: "unbounded" }
            ),
            { startImmediately: true }
          )
        }),
        ReaderThread.layer
      )
      for (const [index, bytes] of (yield* Fiber.join(reads)).entries()) {
        assert.isTrue(bytes.equals(content.subarray(index * 1000, index * 1000 + 100_000)))
      }
    }).pipe(Effect.scoped, Effect.provide(NodeFileSystem.layer)))
})
