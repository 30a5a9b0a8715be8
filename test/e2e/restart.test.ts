import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import * as Fs from "node:fs"
import type { IncomingMessage, ServerResponse } from "node:http"
import { dirname, join } from "node:path"
import { story } from "../support/cacheStatus.ts"
import { chunkFiles, temporaryDirectory, totalSize, tree } from "../support/disks.ts"
import { eventually, openView, startProgram, view } from "../support/Program.ts"
import {
  fileOf,
  makeGate,
  makeTestOrigin,
  MiB,
  type OriginFile,
  sha256,
  type TestOrigin
} from "../support/TestOrigin.ts"
import { withoutHedges } from "../support/withoutHedges.ts"

const start = (origin: TestOrigin, directory: string, ...args: ReadonlyArray<string>) =>
  Effect.flatMap(
    withoutHedges(origin.url),
    (origin) => startProgram([...origin, "--cache-dir", directory, "--min-free", "0", "--memory", "0", ...args])
  )

const gets = (origin: TestOrigin) => origin.requests.filter(({ method }) => method === "GET")

const hashOf = ({ bytes }: OriginFile, start?: number, end?: number) => sha256(bytes.subarray(start, end))

/** Waits until so many chunks are on disk. */
const stored = (directory: string, count: number) =>
  eventually(`${count} chunks on disk`, Effect.sync(() => chunkFiles(directory).length === count))

/** How many short files are on disk. */
const storedFiles = (directory: string): number => tree(directory).filter((path) => path.endsWith(".compact")).length

/** Adds files of chunks for resources that nobody asks for. Those of one resource are links to one file. */
const addLinks = (directory: string, resources: number, chunks: number): void => {
  for (let number = 0; number < resources; number++) {
    const resource = sha256(Buffer.from(String(number))).slice(0, 32)
    const parent = join(directory, "v1", resource.slice(0, 2), resource)
    Fs.mkdirSync(parent, { recursive: true })
    const at = (index: number) => join(parent, `${resource}.${index}`)
    Fs.writeFileSync(at(0), "")
    for (let index = 1; index < chunks; index++) Fs.linkSync(at(0), at(index))
  }
}

/** A file that the origin asks about each time, since it says nothing of freshness. */
const unlabelled = (size: number, seed: number, options: Partial<OriginFile> = {}) =>
  fileOf(size, seed, { headers: {}, ...options })

/** Answers a request for the bytes of `file` from `start` on, and breaks the connection before the byte at `end`. */
const breakOff = (
  { bytes, etag }: OriginFile,
  request: IncomingMessage,
  response: ServerResponse,
  end: number
): void => {
  const start = Number(/^bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0)
  response.writeHead(start === 0 ? 200 : 206, {
    "content-length": bytes.length - start,
    "accept-ranges": "bytes",
    "etag": etag,
    ...(start > 0 && { "content-range": `bytes ${start}-${bytes.length - 1}/${bytes.length}` })
  })
  response.write(bytes.subarray(start, end), () => response.destroy())
}

describe("a restart", () => {
  it.live("finds what was cached, for which the origin sends no byte", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const film = unlabelled(9 * MiB + 1, 1)
      origin.files.set("/film", film)
      const directory = yield* temporaryDirectory
      const first = yield* start(origin, directory)
      assert.strictEqual((yield* view(`${first.url}/film`)).sha256, hashOf(film))
      // What waits to be written is written.
      assert.strictEqual(yield* first.stop("SIGTERM"), 0)
      assert.strictEqual(chunkFiles(directory).length, 10)
      origin.reset()
      const second = yield* start(origin, directory)
      assert.strictEqual((yield* view(`${second.url}/film`)).sha256, hashOf(film))
      const part = yield* view(`${second.url}/film`, { range: "bytes=5000000-6999999" })
      assert.strictEqual(part.sha256, hashOf(film, 5_000_000, 7_000_000))
      assert.strictEqual(origin.bodyBytes(), 0)
    }))

  it.live(
    "serves nothing that was purged before a kill, in the same moment as the purge was answered",
    () =>
      Effect.gen(function*() {
        const origin = yield* makeTestOrigin
        const directory = yield* temporaryDirectory
        const paths = Array.from({ length: 100 }, (_, i) => `/${i % 2 === 0 ? "old" : "kept"}/${i}`)
        for (const [i, path] of paths.entries()) origin.files.set(path, fileOf(2048, i))
        const first = yield* start(origin, directory)
        for (const path of paths) yield* view(first.url + path)
        yield* eventually("the writes", Effect.sync(() => storedFiles(directory) === paths.length))
        yield* Effect.promise(() =>
          fetch(`${first.url}/_spillway/api/purge`, {
            method: "POST",
            headers: { "content-type": "application/json" },
            body: JSON.stringify({ prefix: "/old/" })
          }).then(({ status }) => {
            first.process.kill("SIGKILL")
            assert.strictEqual(status, 200)
          })
        )
        yield* first.stop("SIGKILL")
        origin.reset()
        const second = yield* start(origin, directory)
        for (const path of paths) yield* view(second.url + path)
        const asked = gets(origin).map(({ url }) => url)
        assert.deepStrictEqual(asked, paths.filter((path) => path.startsWith("/old/")))
      })
  )

  it.live("on a cache of many chunks serves from it at once, and then knows all of them", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const film = unlabelled(3 * MiB, 1)
      origin.files.set("/film", film)
      const directory = yield* temporaryDirectory
      const first = yield* start(origin, directory)
      yield* view(`${first.url}/film`)
      assert.strictEqual(yield* first.stop("SIGTERM"), 0)
      addLinks(directory, 40, 1000)
      origin.reset()
      const second = yield* start(origin, directory)
      assert.strictEqual((yield* view(`${second.url}/film`)).sha256, hashOf(film))
      assert.strictEqual(origin.bodyBytes(), 0)
      const cache = Effect.promise(async () => {
        const response = await fetch(`${second.url}/_spillway/api/status`)
        return (await response.json() as { readonly cache: { readonly chunks: number; readonly indexed: boolean } })
          .cache
      })
      yield* eventually("the index", Effect.map(cache, ({ indexed }) => indexed))
      assert.strictEqual((yield* cache).chunks, 40_000 + 3)
    }))

  it.live("after a kill serves only right bytes", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const film = unlabelled(16 * MiB, 1, { rate: 8 * MiB })
      origin.files.set("/film", film)
      const directory = yield* temporaryDirectory
      const first = yield* start(origin, directory)
      const viewer = yield* openView(`${first.url}/film`)
      yield* viewer.readTo(6.5 * MiB)
      yield* eventually("a chunk on disk", Effect.sync(() => chunkFiles(directory).length > 0))
      assert.strictEqual(yield* first.stop("SIGKILL"), "SIGKILL")
      const second = yield* start(origin, directory)
      const kept = chunkFiles(directory).length
      assert.isAbove(kept, 0)
      origin.reset()
      assert.strictEqual((yield* view(`${second.url}/film`)).sha256, hashOf(film))
      assert.isAtMost(origin.bodyBytes(), (16 - kept) * MiB)
    }))

  it.live("waits for a stream that is running, and ends with 0", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const gate = makeGate()
      const film = unlabelled(8 * MiB, 1, { hold: { after: 2 * MiB, until: gate.opened } })
      origin.files.set("/film", film)
      const program = yield* start(origin, yield* temporaryDirectory)
      const viewer = yield* openView(`${program.url}/film`)
      yield* viewer.readTo(MiB)
      const stopped = yield* Effect.forkChild(program.stop("SIGTERM"))
      // Nobody new is let in.
      yield* eventually(
        "the port to be closed",
        Effect.match(view(`${program.url}/film`, { range: "bytes=0-0" }), {
          onSuccess: () => false,
          onFailure: ({ message }) => message.includes("ECONNREFUSED")
        })
      )
      yield* gate.open
      assert.strictEqual((yield* viewer.rest).sha256, hashOf(film))
      assert.strictEqual(yield* Fiber.join(stopped), 0)
    }))
})

describe("a file that changes at the origin", () => {
  it.live("is seen new and whole at the next view", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const [old, changed] = [unlabelled(4 * MiB, 1), unlabelled(5 * MiB, 2)]
      origin.files.set("/film", old)
      const directory = yield* temporaryDirectory
      const { url } = yield* start(origin, directory)
      assert.strictEqual((yield* view(`${url}/film`)).sha256, hashOf(old))
      yield* stored(directory, 4)
      origin.files.set("/film", changed)
      const seen = yield* view(`${url}/film`)
      assert.strictEqual(seen.sha256, hashOf(changed))
      assert.strictEqual(seen.headers.etag, changed.etag)
      assert.strictEqual(seen.headers["content-length"], String(changed.bytes.length))
    }))

  it.live("is seen new and whole after a restart", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      // Of the same size, so that nothing but the validator tells them apart.
      const [old, changed] = [unlabelled(4 * MiB, 1), unlabelled(4 * MiB, 2)]
      origin.files.set("/film", old)
      const directory = yield* temporaryDirectory
      const first = yield* start(origin, directory)
      yield* view(`${first.url}/film`)
      assert.strictEqual(yield* first.stop("SIGTERM"), 0)
      origin.files.set("/film", changed)
      const second = yield* start(origin, directory)
      assert.strictEqual((yield* view(`${second.url}/film`)).sha256, hashOf(changed))
    }))

  it.live("in mid-transfer is cut, not mixed", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const [old, changed] = [unlabelled(4 * MiB, 1), unlabelled(4 * MiB, 2)]
      const end = 2 * MiB + 100_000
      origin.files.set("/film", changed)
      origin.handlers.set("/film", (request, response) => {
        if (request.method === "GET") origin.handlers.delete("/film")
        breakOff(old, request, response, end)
      })
      const { url } = yield* start(origin, yield* temporaryDirectory)
      const cut = yield* Effect.flip(view(`${url}/film`))
      assert.isAtMost(cut.received, end)
      assert.strictEqual(cut.sha256, hashOf(old, 0, cut.received))
      assert.strictEqual((yield* view(`${url}/film`)).sha256, hashOf(changed))
    }))

  it.live("between two gaps in what is cached is cut, not mixed", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const [old, changed] = [fileOf(6 * MiB, 1), fileOf(6 * MiB, 2)]
      origin.files.set("/film", old)
      const directory = yield* temporaryDirectory
      const { url } = yield* start(origin, directory)
      for (const chunk of [0, 1, 2, 4]) {
        yield* view(`${url}/film`, { range: `bytes=${chunk * MiB}-${(chunk + 1) * MiB - 1}` })
      }
      yield* stored(directory, 4)
      origin.files.set("/film", changed)
      const cut = yield* Effect.flip(view(`${url}/film`))
      assert.strictEqual(cut.received, 3 * MiB)
      assert.strictEqual(cut.sha256, hashOf(old, 0, 3 * MiB))
      // Found out now, though the old one was to be fresh for an hour.
      assert.strictEqual((yield* view(`${url}/film`)).sha256, hashOf(changed))
    }))
})

describe("an origin", () => {
  it.live("that knows no ranges gives ranges all the same, and they are kept", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const film = fileOf(6 * MiB, 1, { ranges: false })
      origin.files.set("/film", film)
      const directory = yield* temporaryDirectory
      const { url } = yield* start(origin, directory)
      const [from, to] = [2.5 * MiB, 4 * MiB]
      const part = Effect.gen(function*() {
        const seen = yield* view(`${url}/film`, { range: `bytes=${from}-${to - 1}` })
        assert.strictEqual(seen.status, 206)
        assert.strictEqual(seen.headers["content-range"], `bytes ${from}-${to - 1}/${film.bytes.length}`)
        assert.strictEqual(seen.sha256, hashOf(film, from, to))
        return story(seen.headers)
      })
      yield* part
      yield* eventually("a hit", Effect.map(part, (status) => status === "spillway; hit"))
      assert.isAtMost(origin.bodyBytes(), film.bytes.length * 2)
      assert.strictEqual((yield* view(`${url}/film`)).sha256, hashOf(film))
    }))

  it.live("that is down takes nothing away that is cached", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const film = unlabelled(4 * MiB, 1)
      origin.files.set("/film", film)
      origin.files.set("/other", unlabelled(MiB, 2))
      const directory = yield* temporaryDirectory
      const first = yield* start(origin, directory)
      yield* view(`${first.url}/film`)
      yield* stored(directory, 4)
      yield* origin.close
      assert.strictEqual((yield* view(`${first.url}/film`)).sha256, hashOf(film))
      assert.strictEqual((yield* view(`${first.url}/other`)).status, 502)
      assert.strictEqual(yield* first.stop("SIGTERM"), 0)

      const second = yield* start(origin, directory)
      const seen = yield* view(`${second.url}/film`)
      assert.strictEqual(seen.sha256, hashOf(film))
      assert.strictEqual(story(seen.headers), "spillway; hit; detail=ORIGIN_UNREACHABLE")
      assert.strictEqual((yield* view(`${second.url}/other`)).status, 502)
      yield* origin.listen
      assert.strictEqual((yield* view(`${second.url}/other`)).status, 200)
    }))

  it.live("that dies in the middle of a body has the viewer see it", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const film = unlabelled(4 * MiB, 1, { hold: { after: 2.5 * MiB, until: new Promise(() => {}) } })
      origin.files.set("/film", film)
      const program = yield* start(origin, yield* temporaryDirectory)
      const viewer = yield* openView(`${program.url}/film`)
      yield* viewer.readTo(1.5 * MiB)
      yield* origin.close
      const cut = yield* Effect.flip(viewer.rest)
      assert.isBelow(cut.received, film.bytes.length)
      assert.strictEqual(cut.sha256, hashOf(film, 0, cut.received))
      yield* eventually("a word about it", Effect.sync(() => program.printed().includes("Response cut")))
    }))

  it.live(
    "that breaks connections is asked again for the very byte, and the viewer sees nothing of it",
    () =>
      Effect.gen(function*() {
        const origin = yield* makeTestOrigin
        const film = unlabelled(6 * MiB, 1)
        origin.files.set("/film", film)
        // Inside of a chunk, at the end of one, and just after that.
        const breaks = [1.5 * MiB + 1, 3 * MiB, 3 * MiB + 1]
        const ends = [...breaks]
        origin.handlers.set("/film", (request, response) => {
          if (request.method === "GET") breakOff(film, request, response, ends.shift()!)
          if (ends.length === 0) origin.handlers.delete("/film")
        })
        const { url } = yield* start(origin, yield* temporaryDirectory)
        const seen = yield* view(`${url}/film`)
        assert.strictEqual(seen.size, film.bytes.length)
        assert.strictEqual(seen.sha256, hashOf(film))
        assert.deepStrictEqual(
          gets(origin).map(({ headers }) => /^bytes=(\d+)-/.exec(headers.range ?? "bytes=0-")?.[1]),
          [0, ...breaks].map(String)
        )
      })
  )
})

describe("a cache of a limited size", () => {
  it.live("never takes more, and gives up what was used longest ago", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const directory = yield* temporaryDirectory
      const { url } = yield* start(origin, directory, "--max-size", "8MiB")
      const resources = new Set<string>()
      // A hit may come before the write, and it is the write that makes room.
      const written = Effect.sync(() => {
        const counts = new Map<string, number>()
        for (const { path } of chunkFiles(directory)) counts.set(dirname(path), (counts.get(dirname(path)) ?? 0) + 1)
        const found = [...counts].find(([resource, count]) => count === 3 && !resources.has(resource))
        if (found !== undefined) resources.add(found[0])
        return found !== undefined
      })
      for (const [seed, path] of ["/a", "/b", "/c", "/d", "/e"].entries()) {
        const film = fileOf(3 * MiB, seed + 1)
        origin.files.set(path, film)
        assert.strictEqual((yield* view(url + path)).sha256, hashOf(film))
        yield* eventually(`all of ${path} on disk`, written)
        assert.isAtMost(totalSize(directory), 8 * MiB)
        // It is used again after each other one, and so is never the oldest.
        assert.strictEqual(story((yield* view(`${url}/a`)).headers), "spillway; hit")
      }
      assert.isAtMost(totalSize(directory), 8 * MiB)
      origin.reset()
      for (const path of ["/a", "/e"]) {
        assert.strictEqual(story((yield* view(url + path)).headers), "spillway; hit")
      }
      assert.strictEqual(origin.bodyBytes(), 0)
      yield* view(`${url}/b`)
      assert.isAbove(origin.bodyBytes(), 0)
    }))
})
