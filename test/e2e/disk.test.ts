import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import * as Fs from "node:fs"
import { story } from "../support/cacheStatus.ts"
import {
  chunkFiles,
  type Disk,
  insideOf,
  makeDisk,
  noDisks,
  ordinaryUser,
  readIfThere,
  remount,
  setWritable,
  takeAllRoom,
  temporaryDirectory,
  usedBytes
} from "../support/disks.ts"
import {
  eventually,
  eventuallyHit,
  occurrences,
  openView,
  type Program,
  startProgram,
  view
} from "../support/Program.ts"
import { fileOf, makeGate, makeTestOrigin, MiB, randomBytes, sha256, type TestOrigin } from "../support/TestOrigin.ts"
import { withoutHedges } from "../support/withoutHedges.ts"

const MEMORY = ["--memory", "4MiB"]

const startWith = (
  origin: TestOrigin,
  directory: string,
  args: ReadonlyArray<string>,
  prefix: ReadonlyArray<string> = []
) =>
  Effect.flatMap(
    withoutHedges(origin.url),
    (origin) =>
      startProgram([...origin, "--cache-dir", directory, "--chunk-size", "1MiB", "--min-free", "0", ...args], {
        prefix
      })
  )

const startOn = (origin: TestOrigin, { mountPoint, prefix }: Disk, args: ReadonlyArray<string>) =>
  startWith(origin, mountPoint, args, prefix)

/** Waits until the program has said so. */
const said = (program: Program, text: string) =>
  eventually(`"${text}"`, Effect.sync(() => program.printed().includes(text)))

/** What is seen at `url` is the file at `path`, all of it. */
const seesWhole = Effect.fnUntraced(function*(program: Program, origin: TestOrigin, path: string) {
  const { headers, sha256: hash, size, status } = yield* view(program.url + path)
  const { bytes } = origin.files.get(path)!
  assert.strictEqual(status, 200)
  assert.strictEqual(headers["content-length"], String(bytes.length))
  assert.strictEqual(size, bytes.length)
  assert.strictEqual(hash, sha256(bytes))
  return story(headers)
})

/** Once for the cause, not once for each chunk. */
const saidUnusableOnce = (program: Program, error: string) => {
  assert.strictEqual(occurrences(program.printed(), "Cache unusable"), 1, program.printed())
  assert.match(program.printed(), new RegExp(`Cache unusable[^\\n]*"error":"${error}"`))
}

/** Waits until the disk has so many chunks; a hit may come from what is still to be written. */
const stored = (directory: string, count: number) =>
  eventually(`${count} chunks on disk`, Effect.sync(() => chunkFiles(directory).length === count))

/** Caching goes on by itself: a file that was never seen is on disk after one view, and a hit at the second. */
const resumes = Effect.fnUntraced(function*(program: Program, origin: TestOrigin, directory: string) {
  yield* said(program, "Cache usable again")
  origin.files.set("/later", fileOf(3 * MiB, 99))
  const before = chunkFiles(directory).length
  yield* seesWhole(program, origin, "/later")
  yield* stored(directory, before + 3)
  assert.strictEqual(yield* seesWhole(program, origin, "/later"), "spillway; hit")
})

if (noDisks !== undefined) process.stderr.write(`skipped: ${noDisks}\n`)
if (typeof ordinaryUser === "string") process.stderr.write(`skipped: ${ordinaryUser}\n`)

describe.skipIf(noDisks !== undefined)("a disk of 16 MiB", () => {
  it.live("is less than one file, and nobody notices", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      origin.files.set("/first", fileOf(64 * MiB, 1))
      origin.files.set("/second", fileOf(64 * MiB, 2))
      const disk = yield* makeDisk(16 * MiB)
      const program = yield* startOn(origin, disk, MEMORY)
      for (const path of ["/first", "/second"]) {
        yield* seesWhole(program, origin, path)
        // Chunks are written behind the viewer, who may be done when seven of them are.
        yield* eventually(
          "the disk to be used",
          Effect.sync(() => usedBytes(insideOf(program, disk.mountPoint)) > 8 * MiB)
        )
      }
      // Each byte was asked for once, so that nothing was fetched again for want of room.
      assert.isAtMost(origin.bodyBytes(), 128 * MiB)
      // The disk that is full goes on to be used: a file that fits is kept.
      origin.files.set("/small", fileOf(6 * MiB, 3))
      yield* seesWhole(program, origin, "/small")
      yield* eventuallyHit(`${program.url}/small`)
    }))

  it.live("is filled by somebody else in mid-stream, and then given back", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const gate = makeGate()
      origin.files.set("/film", fileOf(24 * MiB, 1, { rate: 8 * MiB, hold: { after: 4 * MiB, until: gate.opened } }))
      origin.files.set("/other", fileOf(3 * MiB, 2))
      const disk = yield* makeDisk(16 * MiB)
      const program = yield* startOn(origin, disk, ["--memory", "0"])
      const mounted = insideOf(program, disk.mountPoint)
      const viewer = yield* openView(`${program.url}/film`)
      yield* viewer.readTo(3 * MiB)
      yield* eventually("the first chunk on disk", Effect.sync(() => chunkFiles(mounted).length > 0))
      yield* Effect.scoped(Effect.gen(function*() {
        yield* takeAllRoom(mounted)
        yield* gate.open
        const rest = yield* Effect.forkChild(viewer.rest)
        yield* said(program, "Cache unusable")
        assert.strictEqual(yield* seesWhole(program, origin, "/other"), "spillway; fwd=bypass; detail=DISK_FULL")
        assert.strictEqual((yield* Fiber.join(rest)).sha256, sha256(origin.files.get("/film")!.bytes))
        saidUnusableOnce(program, "DiskFull")
      }))
      yield* resumes(program, origin, mounted)
    }))

  it.live("becomes read-only in mid-stream, and writable again", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const gate = makeGate()
      origin.files.set("/film", fileOf(12 * MiB, 1, { hold: { after: 4 * MiB, until: gate.opened } }))
      origin.files.set("/kept", fileOf(3 * MiB, 2))
      origin.files.set("/other", fileOf(3 * MiB, 3))
      const disk = yield* makeDisk(16 * MiB)
      const program = yield* startOn(origin, disk, ["--memory", "0"])
      const mounted = insideOf(program, disk.mountPoint)
      yield* seesWhole(program, origin, "/kept")
      yield* stored(mounted, 3)
      const viewer = yield* openView(`${program.url}/film`)
      yield* viewer.readTo(3 * MiB)
      // Its directory is there by then.
      yield* eventually("its first chunk on disk", Effect.sync(() => chunkFiles(mounted).length > 3))
      yield* eventually("the disk to be read-only", remount(program, disk, "ro"))
      yield* gate.open
      const rest = yield* Effect.forkChild(viewer.rest)
      yield* said(program, "Cache unusable")
      assert.strictEqual(yield* seesWhole(program, origin, "/other"), "spillway; fwd=bypass; detail=PERMISSION_DENIED")
      // What is there can still be read.
      assert.strictEqual(yield* seesWhole(program, origin, "/kept"), "spillway; hit")
      assert.strictEqual((yield* Fiber.join(rest)).sha256, sha256(origin.files.get("/film")!.bytes))
      saidUnusableOnce(program, "PermissionDenied")
      yield* eventually("the disk to be writable", remount(program, disk, "rw"))
      yield* resumes(program, origin, mounted)
    }))

  it.live("is read-only before anything of a file is kept", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      for (const [seed, path] of ["/kept", "/new", "/other"].entries()) {
        origin.files.set(path, fileOf(3 * MiB, seed + 1))
      }
      const disk = yield* makeDisk(16 * MiB)
      const program = yield* startOn(origin, disk, ["--memory", "0"])
      const mounted = insideOf(program, disk.mountPoint)
      yield* seesWhole(program, origin, "/kept")
      yield* stored(mounted, 3)
      yield* eventually("the disk to be read-only", remount(program, disk, "ro"))
      yield* seesWhole(program, origin, "/new")
      yield* said(program, "Cache unusable")
      saidUnusableOnce(program, "PermissionDenied")
      assert.strictEqual(yield* seesWhole(program, origin, "/other"), "spillway; fwd=bypass; detail=PERMISSION_DENIED")
      assert.strictEqual(yield* seesWhole(program, origin, "/kept"), "spillway; hit")
      yield* eventually("the disk to be writable", remount(program, disk, "rw"))
      yield* resumes(program, origin, mounted)
    }))
})

describe("a cache directory", () => {
  it.live.skipIf(typeof ordinaryUser === "string")(
    "loses its permissions in mid-stream, and gets them back",
    () =>
      Effect.gen(function*() {
        const user = ordinaryUser
        if (typeof user === "string") return
        const origin = yield* makeTestOrigin
        const gate = makeGate()
        origin.files.set("/film", fileOf(12 * MiB, 1, { hold: { after: 4 * MiB, until: gate.opened } }))
        origin.files.set("/other", fileOf(3 * MiB, 2))
        const directory = yield* temporaryDirectory
        user.own(directory)
        const program = yield* startWith(origin, directory, ["--memory", "0"], user.prefix)
        const viewer = yield* openView(`${program.url}/film`)
        yield* viewer.readTo(3 * MiB)
        yield* eventually("the first chunk on disk", Effect.sync(() => chunkFiles(directory).length > 0))
        setWritable(directory, false)
        yield* gate.open
        const rest = yield* Effect.forkChild(viewer.rest)
        yield* said(program, "Cache unusable")
        assert.strictEqual(
          yield* seesWhole(program, origin, "/other"),
          "spillway; fwd=bypass; detail=PERMISSION_DENIED"
        )
        assert.strictEqual((yield* Fiber.join(rest)).sha256, sha256(origin.files.get("/film")!.bytes))
        saidUnusableOnce(program, "PermissionDenied")
        setWritable(directory, true)
        yield* resumes(program, origin, directory)
      })
  )

  it.live("is removed in mid-stream", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const gate = makeGate()
      origin.files.set("/film", fileOf(8 * MiB, 1, { hold: { after: 4 * MiB, until: gate.opened } }))
      const directory = `${yield* temporaryDirectory}/cache`
      const program = yield* startWith(origin, directory, ["--memory", "0"])
      const viewer = yield* openView(`${program.url}/film`)
      yield* viewer.readTo(3 * MiB)
      yield* Effect.sync(() => Fs.rmSync(directory, { recursive: true, maxRetries: 5 }))
      yield* gate.open
      assert.strictEqual((yield* viewer.rest).sha256, sha256(origin.files.get("/film")!.bytes))
      // The chunks that are gone are fetched again, and kept again.
      const restored = Effect.map(seesWhole(program, origin, "/film"), () => chunkFiles(directory).length === 8)
      yield* eventually("all chunks on disk", restored)
      assert.strictEqual(yield* seesWhole(program, origin, "/film"), "spillway; hit")
    }))

  it.live(
    "has damaged files after a restart: each is seen, fetched again and kept again",
    () =>
      Effect.gen(function*() {
        const origin = yield* makeTestOrigin
        origin.files.set("/film", fileOf(9 * MiB, 1))
        const directory = yield* temporaryDirectory
        const stored = () => chunkFiles(directory).flatMap(({ path }) => readIfThere(path))
        const first = yield* startWith(origin, directory, ["--memory", "0"])
        yield* seesWhole(first, origin, "/film")
        assert.strictEqual(yield* first.stop("SIGTERM"), 0)
        const good = stored()
        assert.strictEqual(good.length, 9)

        const at = (index: number) => chunkFiles(directory).find((file) => file.index === index)!.path
        const paths = good.map((_, index) => at(index))
        Fs.truncateSync(paths[0]!, 100_000)
        Fs.writeFileSync(paths[1]!, randomBytes(good[1]!.length, 99))
        Fs.rmSync(paths[2]!)
        Fs.writeFileSync(paths[3]!, good[4]!)
        Fs.writeFileSync(paths[4]!, good[3]!)
        Fs.truncateSync(paths[5]!, 0)
        const flipped = Buffer.from(good[6]!)
        flipped[flipped.length - 1]! ^= 1
        Fs.writeFileSync(paths[6]!, flipped)

        const second = yield* startWith(origin, directory, ["--memory", "0"])
        origin.reset()
        yield* seesWhole(second, origin, "/film")
        // Seven damaged chunks, and not one byte of the two good ones.
        assert.strictEqual(origin.bodyBytes(), 7 * MiB)
        yield* eventually(
          "all chunks as they were",
          Effect.sync(() => {
            const now = stored()
            return now.length === good.length && now.every((bytes, index) => bytes.equals(good[index]!))
          })
        )
        origin.reset()
        assert.strictEqual(yield* seesWhole(second, origin, "/film"), "spillway; hit")
        assert.strictEqual(origin.bodyBytes(), 0)
        assert.notInclude(second.printed(), "Cache unusable")
      })
  )
})
