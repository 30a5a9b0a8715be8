import { afterAll, assert, describe, layer } from "@effect/vitest"
import { Context, Effect, Layer, Option } from "effect"
import * as Fs from "node:fs"
import { join } from "node:path"
import { story } from "../support/cacheStatus.ts"
import { temporaryDirectory } from "../support/disks.ts"
import { eventually, startProgram, view } from "../support/Program.ts"
import { root } from "../support/Project.ts"
import {
  makeRealOrigin,
  mediaServers,
  obstacle,
  type OriginServer,
  type RealOrigin,
  servers,
  versionOf
} from "../support/realOrigins.ts"
import { MiB, randomBytes, sha256 } from "../support/TestOrigin.ts"

const film = randomBytes(3 * MiB, 7)

/** The head of a response is shorter. */
const HEAD_BYTES = 1024

/** A day ago, in seconds. The times of files have fractions of a second, and `Last-Modified` doesn't. */
const YESTERDAY = Math.floor(Date.now() / 1000) - 86_400 + 0.25

const page = join(root, "docs/reference/origins.md")
const isWriting = process.env["SPILLWAY_TEST_WRITE_DOCS"] === "1"
const cellsOf = (row: string): ReadonlyArray<string> => row.split("|").slice(1, -1).map((cell) => cell.trim())
const isRow = (name: string) => (line: string) => line.startsWith("|") && cellsOf(line)[0] === name
const measured = new Map<string, string>()
const skipped = [...servers, ...mediaServers].filter((server) => obstacle(server) !== undefined).map(({ name }) => name)

afterAll(() => {
  if (!isWriting) return
  const lines = Fs.readFileSync(page, "utf8").split("\n")
  for (const [name, row] of measured) {
    const index = lines.findIndex(isRow(name))
    if (index >= 0) lines[index] = row
    else lines.splice(lines.findLastIndex((line) => line.startsWith("|")) + 1, 0, row)
  }
  for (const name of skipped) {
    if (lines.some(isRow(name))) continue
    lines.splice(lines.findLastIndex((line) => line.startsWith("|")) + 1, 0, `| ${name} | skipped | | | | | | | |`)
  }
  Fs.writeFileSync(page, lines.join("\n"))
})

/** The real program before a real server. Each test puts files of its own there. */
class Running extends Context.Service<Running, {
  readonly origin: RealOrigin
  readonly url: string
}>()("spillway/test/e2e/origins.test/Running") {
  static readonly layer = (server: OriginServer) =>
    Layer.effect(
      Running,
      Effect.gen(function*() {
        const directory = yield* temporaryDirectory
        const origin = yield* makeRealOrigin(server)
        const cache = ["--cache-dir", join(directory, "cache"), "--chunk-size", "256KiB", "--min-free", "0"]
        const { url } = yield* startProgram([origin.url, ...cache, ...server.flags ?? []])
        return { origin, url }
      })
    )
}

/** The response to a request, and how many bytes the origin sends for it. */
const look = Effect.fnUntraced(function*(path: string, headers: Record<string, string> = {}) {
  const { origin, url } = yield* Running
  const before = origin.received()
  const seen = yield* view(`${url}/${path}`, headers)
  // A transfer may continue after the response has ended.
  let last = -1
  yield* eventually(
    "the end of the transfer",
    Effect.sync(() => last === (last = origin.received()))
  )
  return { ...seen, cost: last - before }
})

const REVALIDATE = { "cache-control": "no-cache" }

const nameCost = (bytes: number): string => {
  if (bytes === 0) return "0"
  if (bytes < HEAD_BYTES) return "a header"
  return "the file"
}

const nameValidators = ({ etag, "last-modified": date }: Record<string, unknown>): string => {
  const tag = String(etag)
  const kind = tag.startsWith("W/") ? "weak `ETag`" : tag.startsWith("\"") ? "`ETag`" : "`ETag` without quotes"
  return [...(etag === undefined ? [] : [kind]), ...(date === undefined ? [] : ["`Last-Modified`"])].join(", ") ||
    "none"
}

/** Breaks off a transfer of `bytes` in its middle. Whether the viewer gets the whole file, rather than an error. */
const breakOff = (origin: RealOrigin, path: string, bytes: Buffer) =>
  Effect.gen(function*() {
    origin.breakAfter(Math.floor(bytes.length / 3))
    const seen = yield* Effect.option(look(path))
    if (Option.isNone(seen) || seen.value.status >= 500) return false
    assert.strictEqual(seen.value.sha256, sha256(bytes))
    assert.isAbove(seen.value.cost, bytes.length)
    return true
  }).pipe(Effect.timeout("10 seconds"))

/** Views `bytes` at `path`, and breaks off their transfer at `broken`. Compares the row of the server with the page, or notes it to be written. */
const checkRow = Effect.fnUntraced(function*(server: OriginServer, bytes: Buffer, path: string, broken: string) {
  const { origin } = yield* Running
  const direct = yield* view(`${origin.direct}/${path}`)
  const part = yield* view(`${origin.direct}/${path}`, { range: "bytes=1-9" })
  const first = yield* look(path)
  const second = yield* look(path)
  const confirmed = yield* look(path, REVALIDATE)
  for (const { sha256: hash, status } of [direct, first, second, confirmed]) {
    assert.strictEqual(status, 200)
    assert.strictEqual(hash, sha256(bytes))
  }
  assert.isAtMost(first.cost, bytes.length + HEAD_BYTES)
  const isCached = second.cost < HEAD_BYTES
  const isResumed = yield* breakOff(origin, broken, bytes)
  const row = [
    server.name,
    versionOf(server, String(direct.headers.server)) ?? "",
    nameValidators(direct.headers),
    part.status === 206 ? "yes" : "no",
    isCached ? "yes" : "no",
    nameCost(second.cost),
    nameCost(confirmed.cost),
    isResumed ? "is resumed" : "is cut",
    isCached ? "" : `\`${/detail=\w+/.exec(story(second.headers))?.[0] ?? story(second.headers)}\``
  ]
  const text = `| ${row.join(" | ")} |`.replaceAll("|  |", "| |")
  process.stderr.write(`${text}\n`)
  measured.set(server.name, text)
  if (isWriting) return
  const written = Fs.readFileSync(page, "utf8").split("\n").find(isRow(server.name))
  assert.isDefined(written, `no row of ${server.name}`)
  assert.deepStrictEqual(cellsOf(written!).toSpliced(1, 1), row.toSpliced(1, 1))
})

/** What minidlna lists: the path of each video, by its title. */
const listMedia = (direct: string) =>
  Effect.tryPromise(async (): Promise<ReadonlyMap<string, string>> => {
    const response = await fetch(`${direct}/ctl/ContentDir`, {
      method: "POST",
      headers: {
        soapaction: "\"urn:schemas-upnp-org:service:ContentDirectory:1#Browse\"",
        "content-type": "text/xml"
      },
      body: `<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>
<u:Browse xmlns:u="urn:schemas-upnp-org:service:ContentDirectory:1"><ObjectID>2$8</ObjectID>
<BrowseFlag>BrowseDirectChildren</BrowseFlag><Filter>*</Filter><StartingIndex>0</StartingIndex>
<RequestedCount>10</RequestedCount><SortCriteria></SortCriteria></u:Browse></s:Body></s:Envelope>`
    })
    const items = (await response.text()).matchAll(/dc:title&gt;(\w+)&lt;[^]*?http:\/\/[^/]+\/(MediaItems\/[\w.]+)/g)
    return new Map(Array.from(items, ([, title, path]) => [title!, path!]))
  })

const withServer = (server: OriginServer) => layer(Running.layer(server), { excludeTestServices: true })

/** The tests of a server; they are skipped, with the reason, if it isn't installed. */
const describeServer = (server: OriginServer, tests: Parameters<ReturnType<typeof withServer>>[1]) => {
  const missing = obstacle(server)
  if (missing !== undefined) process.stderr.write(`skipped: ${server.name}: ${missing}\n`)
  describe.skipIf(missing !== undefined)(
    missing === undefined ? server.name : `${server.name} (${missing})`,
    () => withServer(server)(tests)
  )
}

for (const server of mediaServers) {
  describeServer(server, (it) => {
    it.effect(
      "has its row in docs/reference/origins.md: SPILLWAY_TEST_WRITE_DOCS=1 writes it",
      () =>
        Effect.gen(function*() {
          const { origin } = yield* Running
          // It serves what it takes for media, and under numbers of its own.
          const sample = Fs.readFileSync(join(root, "assets/sample.mp4"))
          for (const name of ["film.mp4", "broken.mp4"]) origin.put(name, sample, Math.floor(YESTERDAY))
          yield* origin.stop
          yield* origin.start
          const media = listMedia(origin.direct)
          yield* eventually("the scan", Effect.map(media, ({ size }) => size === 2))
          const paths = yield* media
          yield* checkRow(server, sample, paths.get("film")!, paths.get("broken")!)
        })
    )
  })
}

for (const server of servers) {
  describeServer(server, (it) => {
    it.effect(
      "has its row in docs/reference/origins.md: SPILLWAY_TEST_WRITE_DOCS=1 writes it",
      () =>
        Effect.gen(function*() {
          const { origin } = yield* Running
          origin.put("film.mp4", film, YESTERDAY)
          // Files from an archive have whole seconds.
          origin.put("broken.mp4", film, Math.floor(YESTERDAY))
          yield* checkRow(server, film, "film.mp4", "broken.mp4")
        })
    )

    it.effect("serves ranges that are combined into the whole file", () =>
      Effect.gen(function*() {
        const { origin } = yield* Running
        // Files from an archive have whole seconds.
        origin.put("parts.mp4", film, Math.floor(YESTERDAY))
        const range = { range: "bytes=1000000-1999999" }
        for (let i = 0; i < 2; i++) {
          const part = yield* look("parts.mp4", range)
          const exact = sha256(film.subarray(1_000_000, 2_000_000))
          if (story(part.headers).includes("fwd=bypass")) {
            // A server may send the whole file or more than the range, and Spillway may pass it on if it can't store it.
            const direct = yield* view(`${origin.direct}/parts.mp4`, range)
            assert.strictEqual(part.status, direct.status)
            assert.oneOf(part.sha256, [exact, direct.sha256])
          } else {
            assert.strictEqual(part.status, 206)
            assert.strictEqual(part.sha256, exact)
          }
        }
        const whole = yield* look("parts.mp4")
        assert.strictEqual(whole.status, 200)
        assert.strictEqual(whole.sha256, sha256(film))
        const again = yield* look("parts.mp4")
        assert.strictEqual(again.sha256, sha256(film))
        if (story(again.headers) !== "spillway; hit") return
        const end = yield* look("parts.mp4", { range: "bytes=-500000" })
        assert.strictEqual(end.status, 206)
        assert.strictEqual(end.sha256, sha256(film.subarray(-500_000)))
        assert.strictEqual(end.cost, 0)
      }))

    it.effect("decides the answers to HEAD and to conditional requests", () =>
      Effect.gen(function*() {
        const { origin, url } = yield* Running
        origin.put("conditions.mp4", film, YESTERDAY)
        const { headers } = yield* look("conditions.mp4")
        const plain = { method: "HEAD", headers: { "accept-encoding": "identity" } }
        const headOf = (url: string) => Effect.promise(() => fetch(`${url}/conditions.mp4`, plain))
        const head = yield* headOf(url)
        // Icecast knows no HEAD.
        if (head.status !== 200) assert.strictEqual(head.status, (yield* headOf(origin.direct)).status)
        else {
          assert.strictEqual(head.headers.get("content-length"), String(film.length))
          for (const name of ["content-type", "etag", "last-modified"]) {
            assert.strictEqual(head.headers.get(name) ?? undefined, headers[name], name)
          }
        }
        const { etag, "last-modified": date } = headers
        const condition = etag !== undefined && etag.endsWith("\"")
          ? { "if-none-match": etag }
          : date && { "if-modified-since": date }
        if (condition) {
          const confirmed = yield* look("conditions.mp4", condition as Record<string, string>)
          assert.strictEqual(confirmed.status, 304)
          assert.strictEqual(confirmed.size, 0)
        }
        const other = yield* look("conditions.mp4", { "if-none-match": "\"other\"" })
        assert.strictEqual(other.status, 200)
        assert.strictEqual(other.sha256, sha256(film))
      }))

    it.effect("serves small and empty files, also when they are revalidated", () =>
      Effect.gen(function*() {
        const { origin } = yield* Running
        const files: ReadonlyArray<readonly [string, string]> = [
          ["notes.txt", "The quick brown fox.\n".repeat(200)],
          ["empty.txt", ""],
          ["playlist.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nfilm.mp4\n#EXT-X-ENDLIST\n"]
        ]
        for (const [name, text] of files) {
          origin.put(name, Buffer.from(text), YESTERDAY)
          const { headers } = yield* view(`${origin.direct}/${name}`)
          for (const condition of [{}, REVALIDATE, {}]) {
            const seen = yield* look(name, condition)
            assert.strictEqual(seen.status, 200, name)
            assert.strictEqual(seen.sha256, sha256(Buffer.from(text)), name)
            assert.strictEqual(seen.headers["content-type"], headers["content-type"], name)
          }
        }
      }))

    it.effect(
      "changes a file, and the next request that revalidates gets the new bytes",
      () =>
        Effect.gen(function*() {
          const { origin } = yield* Running
          origin.put("changed.mp4", film, YESTERDAY)
          for (let i = 0; i < 2; i++) assert.strictEqual((yield* look("changed.mp4")).sha256, sha256(film))
          const changed = randomBytes(2 * MiB + 1, 8)
          origin.put("changed.mp4", changed)
          // Some servers cache what they know about a file for a second or two.
          const direct = view(`${origin.direct}/changed.mp4`)
          yield* eventually("the changed file", Effect.map(direct, ({ size }) => size === changed.length))
          for (const headers of [REVALIDATE, {}, REVALIDATE]) {
            const seen = yield* look("changed.mp4", headers)
            assert.strictEqual(seen.status, 200)
            assert.strictEqual(seen.sha256, sha256(changed))
          }
        })
    )

    it.effect("restarts and goes down, and the cached file stays", () =>
      Effect.gen(function*() {
        const { origin } = yield* Running
        yield* origin.stop
        yield* origin.start
        origin.put("down.mp4", film, YESTERDAY)
        assert.strictEqual((yield* look("down.mp4")).sha256, sha256(film))
        const before = yield* look("down.mp4", REVALIDATE)
        yield* origin.stop
        yield* origin.start
        const after = yield* look("down.mp4", REVALIDATE)
        assert.strictEqual(after.sha256, sha256(film))
        assert.strictEqual(nameCost(after.cost), nameCost(before.cost))
        const { headers } = yield* look("down.mp4")
        const mayBeStale = !/no-cache/.test(headers["cache-control"] ?? "")
        const isStored = mayBeStale && !story(headers).includes("fwd=bypass")
        yield* origin.stop
        const seen = yield* look("down.mp4")
        if (isStored) {
          assert.strictEqual(seen.status, 200)
          assert.strictEqual(seen.sha256, sha256(film))
        } else assert.oneOf(seen.status, [502, 503, 504])
      }))
  })
}
