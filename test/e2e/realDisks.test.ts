import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Scope } from "effect"
import * as Fs from "node:fs"
import { join } from "node:path"
import { type ReadableFile, ReaderThread } from "../../src/services/disk/ReaderThread.ts"
import { story } from "../support/cacheStatus.ts"
import { chunkFiles, ordinaryUser, setWritable, takeAllRoom, temporaryDirectory, usedBytes } from "../support/disks.ts"
import { eventually, eventuallyHit, openView, pin, type Program, startProgram, view } from "../support/Program.ts"
import {
  freeze,
  makeBtrfs,
  makeExt4,
  makeFuse,
  makeReadOnly,
  misbehave,
  noBtrfs,
  noExt4,
  noFuse,
  type RealDisk,
  setQuota
} from "../support/realDisks.ts"
import { fileOf, makeTestOrigin, MiB, sha256, type TestOrigin } from "../support/TestOrigin.ts"

for (const [what, reason] of Object.entries({ ext4: noExt4, btrfs: noBtrfs, FUSE: noFuse })) {
  if (reason !== undefined) process.stderr.write(`skipped: no disks with ${what} here: ${reason}\n`)
}
if (typeof ordinaryUser === "string") process.stderr.write(`skipped: ${ordinaryUser}\n`)

const startOn = (origin: TestOrigin, { mountPoint, prefix }: RealDisk, user?: ReadonlyArray<string>) =>
  startProgram(
    [origin.url, "--cache-dir", `${mountPoint}/cache`, "--chunk-size", "1MiB", "--min-free", "0", "--memory", "0"],
    { prefix: prefix(user) }
  )

interface Health {
  readonly status: string
  readonly cache: { readonly state: string; readonly bytes: number; readonly error?: string; readonly errno?: string }
}

/** What the program says of itself. */
const healthOf = ({ url }: Program) =>
  Effect.promise(async () => {
    const response = await fetch(`${url}/_spillway/health`)
    assert.strictEqual(response.status, 200)
    return await response.json() as Health
  })

const becomes = (program: Program, state: string) =>
  eventually(`the cache to be ${state}`, Effect.map(healthOf(program), ({ cache }) => cache.state === state)).pipe(
    Effect.catchDefect((defect) =>
      Effect.flatMap(
        healthOf(program),
        (health) => Effect.die(`${String(defect)}: ${JSON.stringify(health)}\n${program.printed()}`)
      )
    )
  )

/** What is seen at `url` is the file at `path`, all of it. */
const seesWhole = Effect.fnUntraced(function*(program: Program, origin: TestOrigin, path: string) {
  const seen = yield* view(program.url + path)
  const { bytes } = origin.files.get(path)!
  assert.strictEqual(seen.status, 200)
  assert.strictEqual(seen.size, bytes.length)
  assert.strictEqual(seen.sha256, sha256(bytes))
  return story(seen.headers)
})

/** Starts to read `path` at `from`: the bytes before `to` at once, the rest is the effect that is returned. */
const startToView = Effect.fnUntraced(
  function*(program: Program, origin: TestOrigin, path: string, from: number, to: number) {
    const viewer = yield* openView(program.url + path, { range: `bytes=${from}-` })
    yield* viewer.readTo(to - from)
    const rest = Effect.map(viewer.rest, (seen) => {
      assert.strictEqual(seen.status, 206)
      assert.strictEqual(seen.sha256, sha256(origin.files.get(path)!.bytes.subarray(from)))
    })
    return { rest }
  }
)

const CHUNK_BYTES = 256 * 1024

/** Takes the bytes of `path` from `from` on at a rate in bytes per second, as a player does, and sees that they are right. */
const watchAt = Effect.fnUntraced(
  function*(rate: number, program: Program, origin: TestOrigin, path: string, from: number) {
    const { bytes } = origin.files.get(path)!
    const viewer = yield* openView(program.url + path, { range: `bytes=${from}-` })
    const started = performance.now()
    for (let read = CHUNK_BYTES; read < bytes.length - from; read += CHUNK_BYTES) {
      yield* viewer.readTo(read)
      yield* Effect.sleep(Math.max(0, started + read / rate * 1000 - performance.now()))
    }
    assert.strictEqual((yield* viewer.rest).sha256, sha256(bytes.subarray(from)))
  },
  Effect.scoped
)

const RATE = 4 * MiB

/** Something that is wrong with a disk until the scope closes, and what the program makes of it. */
interface Outage {
  readonly strike: Effect.Effect<void, never, Scope.Scope>
  readonly error: string
  readonly errno: string
  readonly detail: string
  /** Seconds that viewers go on meanwhile. */
  readonly seconds?: number
}

/** Whether the beginning of each outage in the log follows the end of the one before, if there is one. */
const isEachOutageLoggedOnce = (printed: string): boolean => {
  const lines = printed.match(/Cache unusable|Cache usable again/g) ?? []
  return lines.length > 0 &&
    lines.every((line, index) => line === (index % 2 === 0 ? "Cache unusable" : "Cache usable again"))
}

/** Viewers in mid-stream, of bytes that are cached and that are not, when a disk fails; and all is well again afterwards. */
const survives = Effect.fnUntraced(function*(program: Program, origin: TestOrigin, outage: Outage) {
  const size = (outage.seconds ?? 3) * RATE
  origin.files.set("/film", fileOf(size, 1, { rate: RATE }))
  origin.files.set("/kept", fileOf(8 * MiB, 2))
  for (const [index, path] of ["/fresh", "/other", "/later"].entries()) {
    origin.files.set(path, fileOf(3 * MiB, index + 3))
  }
  yield* seesWhole(program, origin, "/kept")
  yield* eventuallyHit(`${program.url}/kept`)

  const viewers = [
    yield* startToView(program, origin, "/film", 0, 1.5 * MiB),
    yield* startToView(program, origin, "/film", 0, MiB),
    yield* startToView(program, origin, "/film", size / 2 + 1, size / 2 + MiB),
    yield* startToView(program, origin, "/kept", 0, MiB),
    yield* startToView(program, origin, "/kept", 4 * MiB + 1, 5 * MiB)
  ]
  yield* Effect.scoped(Effect.gen(function*() {
    yield* outage.strike
    const rest = yield* Effect.forkChild(Effect.forEach(viewers, ({ rest }) => rest, { concurrency: "unbounded" }))
    for (const path of ["/fresh", "/kept"]) yield* seesWhole(program, origin, path)
    yield* eventually(
      `the cache to fail with ${outage.errno}`,
      // A busy machine may make the disk late at first.
      Effect.map(healthOf(program), ({ cache }) => cache.errno === outage.errno)
    )
    assert.strictEqual((yield* healthOf(program)).cache.error, outage.error)
    assert.strictEqual(yield* seesWhole(program, origin, "/other"), `spillway; fwd=bypass; detail=${outage.detail}`)
    yield* seesWhole(program, origin, "/kept")
    // The disk recovers only after all viewers have ended, so one that waits for the disk waits for good.
    yield* Fiber.join(rest)
    assert.strictEqual((yield* healthOf(program)).cache.state, "unusable")
    assert.isTrue(isEachOutageLoggedOnce(program.printed()), program.printed())
  }))
  yield* becomes(program, "usable")
  yield* seesWhole(program, origin, "/later")
  yield* eventuallyHit(`${program.url}/later`)
})

describe("an ext4", { concurrent: true, skip: noExt4 !== undefined }, () => {
  it.live("of 48 MiB is less than one file, and nobody notices", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const disk = yield* makeExt4(48 * MiB)
      const mounted = disk.insideOf(disk.mountPoint)
      const program = yield* startOn(origin, disk)
      let views = 0
      for (const [index, path] of ["/first", "/second"].entries()) {
        origin.files.set(path, fileOf(128 * MiB, index + 1))
        // It is slower than the viewer, and given up for a while if it is slow for long.
        yield* eventually(
          "the disk to be used",
          Effect.map(seesWhole(program, origin, path), () => {
            views += 1
            return usedBytes(mounted) > 24 * MiB
          })
        )
      }
      assert.isAtMost(origin.bodyBytes(), views * 128 * MiB)
      origin.files.set("/small", fileOf(12 * MiB, 3))
      yield* seesWhole(program, origin, "/small")
      yield* eventuallyHit(`${program.url}/small`)
    }))

  it.live("is filled by somebody else, and given back", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const disk = yield* makeExt4(48 * MiB)
      const program = yield* startOn(origin, disk)
      yield* survives(program, origin, {
        // What may be evicted would give room for what is new.
        strike: Effect.andThen(
          Effect.forEach(["/kept", "/film"], (path) => pin(program, path)),
          takeAllRoom(disk.insideOf(disk.mountPoint))
        ),
        error: "DiskFull",
        errno: "ENOSPC",
        detail: "DISK_FULL"
      })
    }))

  it.live("becomes read-only, and writable again", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const disk = yield* makeExt4(64 * MiB)
      const program = yield* startOn(origin, disk)
      yield* survives(program, origin, {
        strike: makeReadOnly(disk),
        error: "PermissionDenied",
        errno: "EROFS",
        detail: "PERMISSION_DENIED"
      })
    }))

  it.live("is read-only when the program starts, and then writable", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      origin.files.set("/film", fileOf(4 * MiB, 1))
      const disk = yield* makeExt4(64 * MiB)
      const readOnly = yield* Scope.make()
      yield* Scope.provide(makeReadOnly(disk), readOnly)
      const program = yield* startOn(origin, disk)
      assert.strictEqual((yield* healthOf(program)).cache.errno, "EROFS")
      assert.strictEqual(
        yield* seesWhole(program, origin, "/film"),
        "spillway; fwd=bypass; detail=PERMISSION_DENIED"
      )
      yield* Scope.close(readOnly, Exit.void)
      yield* becomes(program, "usable")
      yield* seesWhole(program, origin, "/film")
      yield* eventuallyHit(`${program.url}/film`)
    }))

  it.live.skipIf(typeof ordinaryUser === "string")(
    "loses its permissions, and gets them back",
    () =>
      Effect.gen(function*() {
        const user = ordinaryUser
        if (typeof user === "string") return
        const origin = yield* makeTestOrigin
        const disk = yield* makeExt4(64 * MiB)
        const mounted = disk.insideOf(disk.mountPoint)
        user.own(mounted)
        const program = yield* startOn(origin, disk, user.prefix)
        yield* survives(program, origin, {
          strike: Effect.acquireRelease(
            Effect.sync(() => setWritable(mounted, false)),
            () => Effect.sync(() => setWritable(mounted, true))
          ),
          error: "PermissionDenied",
          errno: "EACCES",
          detail: "PERMISSION_DENIED"
        })
      })
  )

  it.live("loses all that is on it", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const disk = yield* makeExt4(64 * MiB)
      const cache = disk.insideOf(`${disk.mountPoint}/cache`)
      const program = yield* startOn(origin, disk)
      origin.files.set("/film", fileOf(12 * MiB, 1, { rate: RATE }))
      origin.files.set("/kept", fileOf(8 * MiB, 2))
      yield* seesWhole(program, origin, "/kept")
      yield* eventuallyHit(`${program.url}/kept`)
      const viewers = [
        yield* startToView(program, origin, "/film", 0, 1.5 * MiB),
        yield* startToView(program, origin, "/kept", 0, MiB)
      ]
      yield* eventually("chunks on disk", Effect.sync(() => chunkFiles(cache).length > 8))
      yield* Effect.sync(() => {
        for (const name of Fs.readdirSync(cache)) Fs.rmSync(`${cache}/${name}`, { recursive: true, maxRetries: 5 })
      })
      yield* Effect.forEach(viewers, ({ rest }) => rest, { concurrency: "unbounded" })
      for (const [path, chunks] of [["/film", 12], ["/kept", 20]] as const) {
        // What is gone is fetched again, and kept again.
        yield* seesWhole(program, origin, path)
        yield* eventually("all chunks on disk", Effect.sync(() => chunkFiles(cache).length >= chunks))
        yield* eventuallyHit(program.url + path)
        yield* seesWhole(program, origin, path)
      }
      assert.strictEqual((yield* healthOf(program)).cache.state, "usable")
    }))

  it.live("is frozen, and thawed", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const disk = yield* makeExt4(64 * MiB)
      const program = yield* startOn(origin, disk)
      yield* survives(program, origin, {
        strike: freeze(disk),
        error: "IoError",
        errno: "TIMEOUT",
        detail: "IO_ERROR",
        seconds: 9
      })
      assert.strictEqual(yield* program.stop("SIGTERM"), 0)
    }))
})

describe("a quota", { concurrent: true, skip: noBtrfs !== undefined }, () => {
  it.live("of 24 MiB is less than one file, and nobody notices", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const disk = yield* makeBtrfs
      yield* setQuota(disk, "24M")
      const program = yield* startOn(origin, disk)
      origin.files.set("/film", fileOf(64 * MiB, 1))
      yield* seesWhole(program, origin, "/film")
      assert.isAtMost(origin.bodyBytes(), 64 * MiB)
      origin.files.set("/small", fileOf(6 * MiB, 3))
      yield* seesWhole(program, origin, "/small")
      yield* eventuallyHit(`${program.url}/small`)
    }))

  for (
    const [what, limit] of [
      ["is exceeded", "64K"],
      // The small file of a probe would fit.
      ["leaves room for less than a chunk", "1M"]
    ] as const
  ) {
    it.live(`${what}, and is raised`, () =>
      Effect.gen(function*() {
        const origin = yield* makeTestOrigin
        const disk = yield* makeBtrfs
        const program = yield* startOn(origin, disk)
        yield* survives(program, origin, {
          strike: Effect.acquireRelease(setQuota(disk, limit), () => setQuota(disk, "none")),
          error: "DiskFull",
          errno: "EDQUOT",
          detail: "DISK_FULL"
        })
      }))
  }
})

describe("a disk in user space", { concurrent: true, skip: noFuse !== undefined }, () => {
  it.live("fails reads and writes, and then does not", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const disk = yield* makeFuse
      const program = yield* startOn(origin, disk)
      yield* survives(program, origin, {
        strike: misbehave(disk, "failing"),
        error: "IoError",
        errno: "EIO",
        detail: "IO_ERROR"
      })
    }))

  it.live("hangs, and goes on", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const disk = yield* makeFuse
      const program = yield* startOn(origin, disk)
      yield* survives(program, origin, {
        strike: misbehave(disk, "hung"),
        error: "IoError",
        errno: "TIMEOUT",
        detail: "IO_ERROR",
        seconds: 9
      })
    }))

  it.live("hangs while short ranges are read, and goes on", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const disk = yield* makeFuse
      const program = yield* startOn(origin, disk)
      const file = fileOf(8 * MiB, 1)
      origin.files.set("/film", file)
      yield* seesWhole(program, origin, "/film")
      yield* eventuallyHit(`${program.url}/film`)
      const seesRanges = Effect.forEach(
        Array.from({ length: 64 }, (_, index) => index * 130_003),
        (start) =>
          Effect.map(view(`${program.url}/film`, { range: `bytes=${start}-${start + 49_999}` }), (seen) => {
            assert.strictEqual(seen.status, 206)
            assert.strictEqual(seen.sha256, sha256(file.bytes.subarray(start, start + 50_000)))
          }),
        { concurrency: 16, discard: true }
      )
      origin.reset()
      yield* seesRanges
      assert.strictEqual(origin.bodyBytes(), 0)
      yield* Effect.scoped(Effect.andThen(misbehave(disk, "hung"), seesRanges))
      yield* becomes(program, "usable")
      yield* eventuallyHit(`${program.url}/film`)
      origin.reset()
      yield* seesRanges
      assert.strictEqual(origin.bodyBytes(), 0)
    }), 60_000)

  it.live(
    "hangs or is slow, and the reading thread leaves reads of another disk to others",
    () =>
      Effect.gen(function*() {
        const disk = yield* makeFuse
        const bytes = fileOf(MiB, 1).bytes
        const paths = [disk.insideOf(`${disk.mountPoint}/file`), join(yield* temporaryDirectory, "file")]
        for (const path of paths) yield* Effect.promise(() => Fs.promises.writeFile(path, bytes))
        const reader = (yield* ReaderThread)!
        const [onDisk, elsewhere] = yield* Effect.all([reader.open(paths[0]!), reader.open(paths[1]!)])
        const reads = (file: ReadableFile, count: number) =>
          Effect.forEach(
            Array.from({ length: count }, (_, index) => 1000 * index),
            (start) =>
              Effect.suspend(() => {
                const buffer = reader.take()!
                return Effect.map(file.read(buffer, { position: BigInt(start) }), (length) => {
                  assert.strictEqual(length, buffer.length)
                  assert.isTrue(buffer.equals(bytes.subarray(start, start + length)))
                  reader.give(buffer)
                })
              }),
            { concurrency: "unbounded", discard: true }
          )
        yield* reads(onDisk!, 1)
        for (let round = 0; round < 3; round++) {
          const held = yield* Effect.scoped(Effect.gen(function*() {
            yield* misbehave(disk, "hung")
            const held = yield* Effect.forkChild(reads(onDisk!, 1), { startImmediately: true })
            yield* reads(elsewhere!, 20)
            assert.isUndefined(held.pollUnsafe())
            return held
          }))
          yield* Fiber.join(held)
          yield* Effect.scoped(Effect.andThen(misbehave(disk, { readMillis: 5 }), reads(onDisk!, 20)))
        }
      }).pipe(Effect.provide(ReaderThread.layer)),
    60_000
  )

  it.live("is slower than its viewers, and goes on to be used as far as it goes", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const disk = yield* makeFuse
      const flags = ["--chunk-size", "256KiB", "--memory", "0"]
      const program = yield* startProgram(
        // On a busy machine, this disk has long pauses of its own.
        [origin.url, "--cache-dir", `${disk.mountPoint}/cache`, ...flags, "--read-deadline", "2s"],
        { prefix: disk.prefix() }
      )
      const paths = Array.from({ length: 8 }, (_, index) => `/film${index}`)
      for (const [index, path] of paths.entries()) {
        origin.files.set(path, fileOf(4 * MiB, index + 1))
        yield* seesWhole(program, origin, path)
        yield* eventuallyHit(program.url + path)
      }
      origin.reset()
      // Twelve reads at a time, of 256 KiB in 400 ms, are 7.8 MB/s; 48 viewers at 250 kB/s each want half as much again.
      yield* misbehave(disk, { readMillis: 400 })
      const views = Array.from({ length: 48 }, (_, index) => ({
        path: paths[index % paths.length]!,
        from: Math.floor(index / paths.length) * 2 * CHUNK_BYTES
      }))
      yield* Effect.forEach(views, ({ from, path }) => watchAt(250e3, program, origin, path, from), {
        concurrency: "unbounded",
        discard: true
      })
      const watched = views.reduce((sum, { from }) => sum + 4 * MiB - from, 0)

      assert.isAtMost(origin.bodyBytes(), 0.4 * watched)
      assert.notInclude(program.printed(), "Cache unusable")
      assert.strictEqual((yield* healthOf(program)).cache.state, "usable")
    }))

  it.live("hangs when the program ends", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const disk = yield* makeFuse
      const program = yield* startOn(origin, disk)
      origin.files.set("/film", fileOf(32 * MiB, 1))
      origin.files.set("/slow", fileOf(4 * MiB, 2, { rate: RATE }))
      yield* seesWhole(program, origin, "/film")
      const viewer = yield* openView(`${program.url}/slow`)
      yield* viewer.readTo(MiB)
      yield* misbehave(disk, "hung")
      yield* seesWhole(program, origin, "/film")
      const rest = yield* Effect.forkChild(viewer.rest)
      assert.strictEqual(yield* program.stop("SIGTERM"), 0)
      assert.strictEqual((yield* Fiber.join(rest)).sha256, sha256(origin.files.get("/slow")!.bytes))
    }))

  it.live("hangs when the program starts, and then goes on", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const disk = yield* makeFuse
      origin.files.set("/film", fileOf(4 * MiB, 1))
      yield* disk.behave("hung")
      const program = yield* startOn(origin, disk)
      assert.strictEqual(yield* seesWhole(program, origin, "/film"), "spillway; fwd=bypass; detail=IO_ERROR")
      yield* disk.behave("good")
      yield* becomes(program, "usable")
      yield* seesWhole(program, origin, "/film")
      yield* eventuallyHit(`${program.url}/film`)
    }))
})
