import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import * as Fs from "node:fs"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import { story } from "../support/cacheStatus.ts"
import { temporaryDirectory } from "../support/disks.ts"
import { eventually, eventuallyHit, openView, type Program, startProgram, view } from "../support/Program.ts"
import { makeFuse, misbehave, noFuse } from "../support/realDisks.ts"
import { fileOf, makeTestOrigin, MiB, randomBytes, sha256 } from "../support/TestOrigin.ts"

const FILM = randomBytes(32 * MiB, 1)
const SHORT = randomBytes(MiB, 2)

/** More requests than Node has threads for the disk and for names. */
const MANY = 40

/** How many of the 24 threads one mount may hold. */
const CALLS = 3

/** A program with an origin on a mount that can hang, one on a disk that doesn't, and one that is a server. */
const start = Effect.gen(function*() {
  const mount = yield* makeFuse
  const other = yield* temporaryDirectory
  const server = yield* makeTestOrigin
  server.files.set("/song.mp3", fileOf(MiB, 3))
  Fs.writeFileSync(join(mount.insideOf(mount.mountPoint), "film.mkv"), FILM)
  for (let n = 0; n < MANY; n++) Fs.writeFileSync(join(mount.insideOf(mount.mountPoint), `short-${n}.bin`), SHORT)
  for (let n = 0; n < 3; n++) Fs.writeFileSync(join(other, `other-${n}.bin`), SHORT)
  const port = new URL(server.url).port
  const program = yield* startProgram(
    [
      "--origin",
      `/nas=${pathToFileURL(mount.mountPoint)}`,
      "--origin",
      `/disk=${pathToFileURL(other)}`,
      "--origin",
      `/server=http://localhost:${port}`,
      "--cache-dir",
      yield* temporaryDirectory,
      "--memory",
      "0",
      "--min-free",
      "0",
      "--ttl",
      "1h",
      "--first-byte-timeout",
      "8s",
      "--silence-timeout",
      "60s",
      "--log-level",
      "info"
    ],
    { prefix: mount.prefix() }
  )
  return { mount, program }
})

const statusOf = (program: Program, path: string) =>
  Effect.map(
    Effect.result(view(`${program.url}${path}`)),
    (result) => result._tag === "Success" ? result.success.status : result.failure.message
  )

describe.skipIf(noFuse !== undefined)("an origin on a mount that hangs", () => {
  it.live(
    "ends like a silent server, takes nothing from the others, and is served again when it returns",
    () =>
      Effect.gen(function*() {
        const { mount, program } = yield* start
        assert.strictEqual((yield* view(`${program.url}/nas/short-0.bin`)).sha256, sha256(SHORT))
        yield* eventuallyHit(`${program.url}/nas/short-0.bin`)
        yield* Effect.scoped(Effect.gen(function*() {
          yield* misbehave(mount, "hung")
          const paths = Array.from({ length: MANY - 1 }, (_, n) => `/nas/short-${n + 1}.bin`)
          const asked = yield* Effect.forkChild(
            Effect.forEach(paths, (path) => statusOf(program, path), { concurrency: "unbounded" })
          )
          // What is cached is read from the disk, a name is resolved, and another directory is read.
          yield* eventually("calls that hang", Effect.sync(() => mount.held() === CALLS))
          const cached = yield* view(`${program.url}/nas/short-0.bin`)
          assert.deepInclude(cached, { status: 200, sha256: sha256(SHORT) })
          assert.strictEqual(story(cached.headers), "spillway; hit")
          assert.strictEqual((yield* view(`${program.url}/server/song.mp3`)).status, 200)
          assert.strictEqual((yield* view(`${program.url}/disk/other-0.bin`)).sha256, sha256(SHORT))
          const statuses = yield* Fiber.join(asked)
          assert.deepStrictEqual(new Set(statuses), new Set([504]))
          // However many have asked, the mount holds a few threads and no more.
          assert.strictEqual(mount.held(), CALLS)
          assert.strictEqual((yield* view(`${program.url}/disk/other-1.bin`)).status, 200)
        }))
        yield* eventually(
          "the mount to be served",
          Effect.map(statusOf(program, "/nas/short-1.bin"), (status) => status === 200)
        )
        assert.strictEqual((yield* view(`${program.url}/nas/short-2.bin`)).sha256, sha256(SHORT))
        assert.strictEqual(yield* program.stop(), 0)
      })
  )

  it.live("pauses a film, which goes on at the same byte", () =>
    Effect.gen(function*() {
      const { mount, program } = yield* start
      const viewer = yield* openView(`${program.url}/nas/film.mkv`)
      yield* viewer.readTo(4 * MiB)
      yield* Effect.scoped(Effect.gen(function*() {
        yield* misbehave(mount, "hung")
        const reading = yield* Effect.forkChild(viewer.readTo(FILM.length))
        yield* eventually("a call that hangs", Effect.sync(() => mount.held() > 0))
        assert.isTrue(reading.pollUnsafe() === undefined)
        yield* Fiber.interrupt(reading)
      }))
      assert.strictEqual((yield* viewer.rest).sha256, sha256(FILM))
      assert.strictEqual(yield* program.stop(), 0)
    }))

  it.live("doesn't keep the program from ending", () =>
    Effect.gen(function*() {
      const { mount, program } = yield* start
      yield* misbehave(mount, "hung")
      assert.strictEqual(yield* statusOf(program, "/nas/short-0.bin"), 504)
      assert.strictEqual(yield* program.stop(), 0)
    }))
})
