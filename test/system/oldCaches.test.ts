import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { TestClock } from "effect/testing"
import { execFileSync } from "node:child_process"
import * as Fs from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { make as makeResource } from "../../src/domain/Resource.ts"
import { Bans } from "../../src/services/cache/Bans.ts"
import { CacheIndex } from "../../src/services/cache/CacheIndex.ts"
import { ChunkWriter } from "../../src/services/cache/ChunkWriter.ts"
import { IndexScan } from "../../src/services/cache/IndexScan.ts"
import { Lookup } from "../../src/services/media/Lookup.ts"
import { MediaStream } from "../../src/services/media/MediaStream.ts"
import { Purger } from "../../src/services/operate/Purger.ts"
import { type MemoryFile, MemoryOrigin } from "../../src/testing/MemoryOrigin.ts"
import { temporaryDirectory } from "../support/disks.ts"
import { stack } from "../support/stack.ts"

/**
 * Cache directories of earlier versions. Each is read, or replaced by an empty one. No damaged byte is served.
 *
 * An archive in `test/fixtures/caches` has the directory that `write` made with an earlier version of the program. Add one before the
 * format on disk changes: `SPILLWAY_TEST_WRITE_CACHE=NAME npx vitest run test/system/oldCaches.test.ts` writes `NAME.tar.gz`.
 */

const ORIGIN = "http://origin.test"
const SIZE = 12_300
const CHUNK_BYTES = 4096

/** When the caches were written. Their files are fresh for an hour. */
const WRITTEN = Date.parse("2030-01-01T12:00:00Z")

const bytesOf = (seed: number, size = SIZE) =>
  Uint8Array.from({ length: size }, (_, i) => (i >> 6) * 37 + (i >> 12) * 11 + seed * 59)

/** A file, the request for it, and whether a version without strong validators stores it. */
interface Case {
  readonly path: string
  readonly seed: number
  readonly file?: Omit<MemoryFile, "bytes">
  readonly range?: readonly [start: number, end: number]
  readonly fields?: Record<string, string>
  /** Stored since responses without a strong validator are. */
  readonly isTransfer?: boolean
  /** Invalidated after it was stored: by itself, or with all that is below its folder. */
  readonly isInvalidated?: boolean
}

const headers = { "content-type": "video/mp4", "cache-control": "max-age=3600", "x-title": "A film" }
const varying = { ...headers, vary: "accept-language" }

const cases: ReadonlyArray<Case> = [
  { path: "/strong", seed: 1, file: { etag: "\"s1\"" } },
  { path: "/dated", seed: 2, file: { lastModified: "Mon, 31 Dec 2029 12:00:00 GMT" }, range: [5000, 9000] },
  { path: "/pinned", seed: 3, file: { etag: "\"p1\"" } },
  { path: "/revoked", seed: 4, file: { etag: "\"r1\"" }, isInvalidated: true },
  { path: "/tree/a", seed: 5, file: { etag: "\"t1\"" }, isInvalidated: true },
  { path: "/variants", seed: 6, file: { etag: "\"en\"", headers: varying }, fields: { "accept-language": "en" } },
  { path: "/variants", seed: 7, file: { etag: "\"de\"", headers: varying }, fields: { "accept-language": "de" } },
  { path: "/weak", seed: 8, file: { etag: "W/\"w1\"" }, isTransfer: true },
  { path: "/bare", seed: 9, isTransfer: true },
  { path: "/library/assumed", seed: 10, range: [5000, 9000], isTransfer: true }
]

const put = Effect.fnUntraced(function*({ file, path, seed }: Case) {
  const { files } = yield* MemoryOrigin
  files.set(ORIGIN + path, { bytes: bytesOf(seed), headers, ...file })
})

/** What a viewer gets, and how many bytes the origin sent for it. */
const look = Effect.fnUntraced(function*({ fields = {}, path, range }: Case) {
  const { requests } = yield* MemoryOrigin
  const before = requests.length
  const resource = makeResource(ORIGIN + path)
  const source = { fields, locate: () => Effect.succeed({ url: resource.url, headers: {} }) }
  const ranges = range && [{ _tag: "From" as const, start: range[0], last: range[1] - 1 }]
  const opened = yield* (yield* MediaStream).open({ resource, source, ranges })
  if (opened._tag !== "Media") return yield* Effect.die(`${path}: ${opened._tag}`)
  const body = yield* opened.parts[0]!.bytes
  const bytes = body instanceof Uint8Array ? body : yield* Stream.mkUint8Array(body)
  const own = requests.slice(before)
  return {
    bytes,
    headers: opened.entry.representation.headers,
    requests: own.length,
    sent: own.reduce((sum, { sent }) => sum + sent, 0)
  }
}, Effect.scoped)

/** Looks at what the origin has now: the bytes and the head are right. */
const lookRight = Effect.fnUntraced(function*(one: Case) {
  yield* put(one)
  const seen = yield* look(one)
  const { file, path, range = [0, SIZE], seed } = one
  assert.deepStrictEqual(seen.bytes, bytesOf(seed).slice(...range), path)
  for (const [name, value] of Object.entries({ ...headers, ...file?.headers })) {
    assert.strictEqual(seen.headers[name], value, `${path}: ${name}`)
  }
  assert.strictEqual(seen.headers["etag"], file?.etag, path)
  assert.strictEqual(seen.headers["last-modified"], file?.lastModified, path)
  return seen
})

const written = Effect.flatMap(ChunkWriter, ({ idle }) => idle)

const write = Effect.gen(function*() {
  const { ban, invalidate } = yield* Lookup
  for (const one of cases) yield* lookRight(one)
  yield* written
  yield* (yield* Purger).pin(`${ORIGIN}/pinned`, true)
  yield* invalidate(makeResource(`${ORIGIN}/revoked`))
  yield* ban({ _tag: "OutdatedTree", url: `${ORIGIN}/tree` })
  yield* (yield* Bans).saved
  yield* written
})

/** Runs `effect` in a process of its own, so to speak, over the cache in `directory`, so many minutes after it was written. */
const running = <A, E>(
  directory: string,
  minutes: number,
  effect: Effect.Effect<
    A,
    E,
    Effect.Services<typeof write> | Effect.Services<ReturnType<typeof look>> | CacheIndex | IndexScan
  >
) =>
  Effect.andThen(
    // Before the services start: those that do something each second would do it for as long as this jumps.
    TestClock.setTime(WRITTEN + minutes * 60_000),
    Effect.provide(
      Effect.andThen(Effect.flatMap(IndexScan, ({ loaded }) => loaded), effect),
      stack("real", { directory, chunkSize: CHUNK_BYTES, assumeUnchanged: ["/library/*"] })
    )
  )

const folder = fileURLToPath(new URL("../fixtures/caches", import.meta.url))

interface Version {
  readonly name: string
  /** Whether it stores responses without a strong validator, and what was invalidated. */
  readonly hasTransfers: boolean
  /** Whether this version can read what that one has written. */
  readonly isRead: boolean
}

const versions: ReadonlyArray<Version> = [
  { name: "without-transfers", hasTransfers: false, isRead: true },
  { name: "with-transfers", hasTransfers: true, isRead: true },
  { name: "this version", hasTransfers: true, isRead: true }
]

/** A directory with what a version has written. */
const cacheOf = Effect.fnUntraced(function*({ name }: Version) {
  const directory = yield* temporaryDirectory
  const archive = join(folder, `${name}.tar.gz`)
  if (Fs.existsSync(archive)) execFileSync("tar", ["-xzf", archive, "-C", directory])
  else yield* running(directory, 0, write)
  return directory
})

const filesIn = (directory: string): ReadonlyArray<string> =>
  Fs.readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .toSorted()

/** What a disk may have done to the file at `path`, which is not empty. `other` is another file. */
const damages: Record<string, (content: Buffer, other: Buffer) => Buffer> = {
  "a flipped bit in the middle": (content) => {
    const damaged = Buffer.from(content)
    damaged[content.length >> 1]! ^= 4
    return damaged
  },
  "a lost end": (content) => content.subarray(0, content.length - 1),
  "no bytes": () => Buffer.alloc(0),
  "zeros": (content) => Buffer.alloc(content.length),
  "the content of another file": (_, other) => other
}

describe.each(versions)("a cache of $name", (version) => {
  const known = new Set(cases.filter(({ isTransfer = false }) => version.hasTransfers || !isTransfer))
  const isAsked = ({ isInvalidated = false }: Case) => isInvalidated && version.hasTransfers

  it.effect(
    "serves right bytes with their head, and asks the origin only about what was invalidated",
    () =>
      Effect.gen(function*() {
        const directory = yield* cacheOf(version)
        yield* running(
          directory,
          30,
          Effect.gen(function*() {
            for (const one of cases) {
              const { requests, sent } = yield* lookRight(one)
              // Which fields a file varies with has to be learnt again.
              if (!version.isRead || !known.has(one) || one.path === "/variants") continue
              assert.strictEqual(sent, 0, one.path)
              assert.strictEqual(requests, isAsked(one) ? 1 : 0, one.path)
            }
            const index = yield* CacheIndex
            assert.strictEqual(index.isPinned(makeResource(`${ORIGIN}/pinned`).id), version.isRead)
            assert.isFalse(index.isPinned(makeResource(`${ORIGIN}/strong`).id))
          })
        )
      })
  )

  it.effect("serves no old byte of a file that has changed", () =>
    Effect.gen(function*() {
      const directory = yield* cacheOf(version)
      // An hour later, nothing is fresh.
      for (const minutes of [30, 90]) {
        yield* running(
          directory,
          minutes,
          Effect.gen(function*() {
            for (const one of cases.filter((one) => minutes > 60 || isAsked(one))) {
              // By the operator's word, a file of the same size is the same.
              if (one.path.startsWith("/library/")) continue
              const { etag, lastModified, ...rest } = one.file ?? {}
              const file = {
                ...rest,
                ...(etag !== undefined && { etag: etag.replace("\"", "\"2-") }),
                ...(lastModified !== undefined && { lastModified: lastModified.replace("12:00", "13:00") })
              }
              yield* lookRight({ ...one, file, seed: one.seed + 100 })
            }
          })
        )
      }
    }))

  it.effect.each(Object.keys(damages))("drops files with %s", (damage) =>
    Effect.gen(function*() {
      const directory = yield* cacheOf(version)
      const files = filesIn(directory).filter((path) => Fs.statSync(path).size > 0)
      const contents = files.map((path) => Fs.readFileSync(path))
      const damaged = contents.map((content, i) => damages[damage]!(content, contents[(i + 1) % files.length]!))
      for (const [i, path] of files.entries()) Fs.writeFileSync(path, damaged[i]!)
      yield* running(
        directory,
        30,
        Effect.gen(function*() {
          for (const one of cases) assert.isAbove((yield* lookRight(one)).sent, 0, one.path)
          yield* written
        })
      )
      // And with what is there after that.
      yield* running(
        directory,
        31,
        Effect.gen(function*() {
          for (const one of cases) yield* lookRight(one)
        })
      )
    }))
})

const name = process.env["SPILLWAY_TEST_WRITE_CACHE"]

it.effect.skipIf(name === undefined)("writes an archive of the cache of this version", () =>
  Effect.gen(function*() {
    const directory = yield* cacheOf({ name: "this version", hasTransfers: true, isRead: true })
    execFileSync("tar", ["-C", directory, "--owner=0", "--group=0", "-czf", join(folder, `${name}.tar.gz`), "v1"])
  }))
