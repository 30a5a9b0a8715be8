import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Fiber } from "effect"
import * as Fs from "node:fs"
import { join } from "node:path"
import { connect, type ConnectionOptions } from "node:tls"
import { formatSignature, signRequest } from "../../src/domain/FleetSignature.ts"
import { rank } from "../../src/domain/Rendezvous.ts"
import { authority, issued, selfSigned } from "../support/certificates.ts"
import { temporaryDirectory } from "../support/disks.ts"
import {
  asStranger,
  type FleetPrograms,
  metric,
  SECRET,
  startFleet,
  watch,
  type Watched
} from "../support/fleetPrograms.ts"
import { eventually, openView, runProgram, view } from "../support/Program.ts"
import { fileOf, makeTestOrigin, MiB, type OriginFile, sha256, type TestOrigin } from "../support/TestOrigin.ts"

const assertWhole = ({ isWhole, sha256: hash, size }: Watched, { bytes }: OriginFile): void => {
  assert.deepStrictEqual({ size, isWhole }, { size: bytes.length, isWhole: true })
  assert.strictEqual(hash, sha256(bytes))
}

/** A file at a path whose first stretch is ranked like this. */
const fileAt = (origin: TestOrigin, fleet: FleetPrograms, order: string, file: OriginFile): string => {
  const path = fleet.pathWith(order)
  origin.files.set(path, file)
  return path
}

/** What the origin was asked for. */
const asked = (origin: TestOrigin): string =>
  origin.requests.filter(({ method }) => method === "GET").map(({ headers, sent, url }) =>
    `${url} ${headers.range ?? "all"} ${sent}`
  ).join("; ")

/**
 * A patience with silent nodes that is longer than any wait on a busy machine. A viewer who had to wait for it would show, and no node asks the
 * origin because another one is slow.
 */
const PATIENT = ["--peer-patience", "120s"]

const gets = (origin: TestOrigin) => origin.requests.filter(({ method }) => method === "GET")

const node = (fleet: FleetPrograms, name: string) => fleet.nodes.find((node) => node.name === name)!

describe("a fleet of three nodes", () => {
  it.live("gets a cold file from the origin once, for viewers at all nodes at once", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const film = fileOf(24 * MiB, 1)
      origin.files.set("/film", film)
      const fleet = yield* startFleet({ origin, stretch: 4 * MiB, args: PATIENT })
      yield* fleet.settled(2)
      origin.reset()
      const viewers = fleet.nodes.flatMap(({ url }) => Array.from({ length: 4 }, () => watch(`${url}/film`)))
      for (const seen of yield* Effect.all(viewers, { concurrency: "unbounded" })) assertWhole(seen, film)
      assert.strictEqual(origin.bodyBytes(), film.bytes.length, asked(origin))
    }))

  it.live("has each chunk on one disk, and hot ones in the memory of all", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const films = Array.from({ length: 12 }, (_, i) => [`/film${i}`, fileOf(3 * MiB, i + 1)] as const)
      for (const [path, film] of films) origin.files.set(path, film)
      const fleet = yield* startFleet({ origin, args: PATIENT })
      yield* fleet.settled(2)
      origin.reset()
      for (const { url } of fleet.nodes) {
        for (const [path, film] of films) assertWhole(yield* watch(url + path), film)
      }
      const content = films.reduce((sum, [, { bytes }]) => sum + bytes.length, 0)
      assert.strictEqual(origin.bodyBytes(), content, asked(origin))
      const onDisks = Effect.map(
        Effect.forEach(fleet.nodes, (node) => metric(node, "spillway_cache_bytes")),
        (bytes) => bytes.reduce((sum, one) => sum + one, 0)
      )
      yield* eventually("all of the content on disk", Effect.map(onDisks, (bytes) => bytes >= content))
      assert.isAtMost(yield* onDisks, 1.02 * content)
      // Again at all nodes: nothing comes from elsewhere.
      const received = Effect.forEach(fleet.nodes, (node) => metric(node, "spillway_peer_received_bytes_total"))
      const before = yield* received
      const sentFrom = (source: string) =>
        Effect.forEach(fleet.nodes, (node) => metric(node, `spillway_sent_bytes_total{source="${source}"}`))
      // What a node has from another one isn't the origin's. What it has received may be in memory before it is sent.
      for (const [i, sent] of (yield* sentFrom("peer")).entries()) {
        assert.isAbove(sent, 0)
        assert.isAtMost(sent, before[i]!)
      }
      assert.isAtMost((yield* sentFrom("origin")).reduce((sum, bytes) => sum + bytes, 0), content)
      for (const { url } of fleet.nodes) {
        for (const [path, film] of films) assertWhole(yield* watch(url + path), film)
      }
      assert.deepStrictEqual(yield* received, before)
      assert.strictEqual(origin.bodyBytes(), content)
    }))

  it.live("says which nodes a response came through, and which of them stores it", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const fleet = yield* startFleet({ origin })
      yield* fleet.settled(2)
      const path = fileAt(origin, fleet, "n3,n1,n2", fileOf(1000, 1))
      const { headers } = yield* view(node(fleet, "n1").url + path)
      const [owner, asked] = String(headers["cache-status"]).split(", ")
      assert.match(owner!, /^spillway\/n3; fwd=uri-miss.*; stored;/)
      assert.match(asked!, /^spillway\/n1; fwd=uri-miss/)
      assert.notInclude(asked!, "stored")
      assert.isUndefined(headers["spillway-proof"])
      const own = yield* view(`${node(fleet, "n1").url}/absent`, { "cache-control": "only-if-cached" })
      assert.strictEqual(own.headers["cache-status"], "spillway/n1; detail=NOT_CACHED")
      yield* node(fleet, "n3").program.stop("SIGKILL")
      const next = fleet.pathWith("n3,n2,n1")
      origin.files.set(next, fileOf(1000, 2))
      const field = String((yield* view(node(fleet, "n1").url + next)).headers["cache-status"])
      assert.match(field, /^spillway\/n2; fwd=uri-miss.*, spillway\/n1; fwd=uri-miss.*; detail=PEER_LOST$/)
    }))

  it.live("names its node in what workers answer", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      origin.files.set("/film", fileOf(1000, 1))
      const fleet = yield* startFleet({ origin, names: ["n1"], args: ["--workers", "2"] })
      const { url } = node(fleet, "n1")
      const story = (path: string, fields: Record<string, string> = {}) =>
        Effect.map(view(url + path, fields), ({ headers }) => String(headers["cache-status"]))
      yield* story("/film")
      // The first hits are those of the owner, until it has told the workers of the file.
      const served = Effect.map(metric(node(fleet, "n1"), "spillway_requests_total{outcome=\"hit\"}"), (hits) =>
        hits > 20)
      yield* eventually(
        "hits",
        Effect.andThen(
          Effect.map(story("/film"), (field) =>
            assert.match(field, /^spillway\/n1; hit/)),
          served
        )
      )
      assert.strictEqual(
        yield* story("/absent", { "cache-control": "only-if-cached" }),
        "spillway/n1; detail=NOT_CACHED"
      )
    }))

  it.live(
    "answers HEAD, and requests with credentials, from what the owner has for everybody",
    () =>
      Effect.gen(function*() {
        const origin = yield* makeTestOrigin
        const fleet = yield* startFleet({ origin, names: ["n1", "n2"] })
        yield* fleet.settled(1)
        const shared = fileOf(MiB, 1, { headers: { "cache-control": "public, max-age=3600" } })
        const path = fileAt(origin, fleet, "n2,n1", shared)
        const own = `${path}?own`
        const ofOne = fileOf(1000, 2, { headers: { "cache-control": "max-age=3600" } })
        origin.files.set(own, ofOne)
        const [n1, n2] = [node(fleet, "n1"), node(fleet, "n2")]
        for (const target of [path, own]) yield* watch(n2.url + target)
        origin.reset()
        const credentials = { headers: { authorization: "Basic eA==" } }
        for (const method of ["HEAD", "GET"]) {
          const answer = yield* Effect.promise(() => fetch(n1.url + path, { method, ...credentials }))
          assert.strictEqual(answer.status, 200)
          assert.strictEqual(answer.headers.get("content-length"), String(MiB))
          assert.match(answer.headers.get("cache-status")!, /^spillway\/n2; hit/)
          const text = yield* Effect.promise(() => answer.arrayBuffer())
          if (method === "GET") assert.strictEqual(sha256(Buffer.from(text)), sha256(shared.bytes))
        }
        assert.lengthOf(origin.requests, 0)
        assertWhole(yield* watch(n1.url + own, credentials), ofOne)
        assert.deepStrictEqual(origin.requests.map(({ headers }) => headers.authorization), ["Basic eA=="])
      })
  )

  it.live("waits for a slow origin without taking the owner for lost, and asks it once", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const fleet = yield* startFleet({ origin, args: ["--peer-patience", "5s"] })
      yield* fleet.settled(2)
      origin.reset()
      const path = fleet.pathWith("n3,n1,n2")
      const film = fileOf(MiB, 1)
      origin.handlers.set(path, (_, response, seen) => {
        setTimeout(() => {
          seen.sent = film.bytes.length
          response.writeHead(200, { "etag": film.etag!, "cache-control": "max-age=60" }).end(film.bytes)
        }, 3000)
      })
      const seen = yield* Effect.forEach(fleet.nodes, ({ url }) => watch(url + path), { concurrency: "unbounded" })
      for (const one of seen) assertWhole(one, film)
      assert.lengthOf(gets(origin), 1)
      yield* fleet.settled(2)
    }))
})

/** Has a file of 16 MiB read at two nodes, slowly enough that `act` comes in mid-stream of its owner, `n3`. */
const whileStreaming = Effect.fnUntraced(function*(
  origin: TestOrigin,
  fleet: FleetPrograms,
  act: (path: string) => void
) {
  const film = fileOf(16 * MiB, 5, { rate: 8 * MiB })
  const path = fileAt(origin, fleet, "n3,n1,n2", film)
  origin.reset()
  let hasActed = false
  const onBytes = (bytes: number): void => {
    if (hasActed || bytes < 3 * MiB) return
    hasActed = true
    act(path)
  }
  const urls = ["n1", "n2", "n1", "n2"].map((name) => node(fleet, name).url)
  const seen = yield* Effect.forEach(urls, (url) => watch(url + path, { onBytes }), { concurrency: "unbounded" })
  assert.isTrue(hasActed)
  for (const one of seen) assertWhole(one, film)
  return { gap: Math.max(...seen.map(({ longestGap }) => longestGap)), film }
})

describe("the owner of a file", () => {
  it.live(
    "that is killed in mid-stream costs no byte, and the rest comes from the origin once",
    () =>
      Effect.gen(function*() {
        const origin = yield* makeTestOrigin
        const fleet = yield* startFleet({ origin, stretch: 64 * MiB, args: PATIENT })
        yield* fleet.settled(2)
        const { film, gap } = yield* whileStreaming(
          origin,
          fleet,
          () => node(fleet, "n3").program.process.kill("SIGKILL")
        )
        process.stderr.write(`viewers of a node that is killed wait ${gap} ms\n`)
        assert.isBelow(gap, 500 + LOAD_MILLIS)
        // If one of the others is a little behind, it fetches the part of a chunk between them too.
        assert.isAtMost(gets(origin).length, 3, asked(origin))
        assert.match(gets(origin).at(-1)!.headers.range!, /^bytes=[1-9]\d+-/)
        assert.isAtMost(origin.bodyBytes(), film.bytes.length + BUFFERED, asked(origin))
      })
  )

  it.live("that hangs in mid-stream is replaced, and used again when it goes on", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const fleet = yield* startFleet({ origin, stretch: 64 * MiB })
      yield* fleet.settled(2)
      const owner = node(fleet, "n3")
      const { gap } = yield* whileStreaming(origin, fleet, () => owner.program.process.kill("SIGSTOP"))
      process.stderr.write(`viewers of a node that hangs wait ${gap} ms\n`)
      assert.isBelow(gap, 3500 + LOAD_MILLIS)
      assert.isAtMost(gets(origin).length, 3, asked(origin))
      // The next viewer doesn't wait for it.
      const next = fileAt(origin, fleet, "n3,n2,n1", fileOf(1000, 9))
      assert.isBelow((yield* watch(node(fleet, "n1").url + next)).firstByte, 1000 + LOAD_MILLIS)
      owner.program.process.kill("SIGCONT")
      yield* fleet.settled(2)
    }))

  it.live("whose disk or origin fails is passed by", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const fleet = yield* startFleet({ origin, names: ["n1", "n2"] })
      yield* fleet.settled(1)
      const film = fileOf(MiB, 3)
      const path = fleet.pathWith("n2,n1")
      let isFirst = true
      origin.handlers.set(path, (_, response, seen) => {
        if (isFirst) {
          isFirst = false
          return void response.writeHead(500).end()
        }
        seen.sent = film.bytes.length
        response.writeHead(200, { "etag": film.etag! }).end(film.bytes)
      })
      assertWhole(yield* watch(node(fleet, "n1").url + path), film)
    }))
})

/**
 * What a loaded machine may add to a wait, in milliseconds. `fleetOrigin.test.ts` measures the waits themselves, by a clock that doesn't depend
 * on the machine.
 */
const LOAD_MILLIS = 15_000

/** What the origin may have handed to the kernel for somebody who has gone, in bytes: the buffers of both sides of a socket. */
const BUFFERED = 10 * MiB

describe("two nodes that each take the other for the owner", () => {
  it.live("both answer, and don't wait for each other", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const sizes: Record<string, number> = { n1: MiB, n2: 2 * MiB }
      const fleet = yield* startFleet({
        origin,
        names: ["n1", "n2"],
        stretchOf: (name) => sizes[name]!,
        args: PATIENT
      })
      yield* fleet.settled(1)
      const candidates = ["n1", "n2"].map((name) => ({ name, weight: 1 }))
      const ownerFor = (path: string, stretch: number) => rank(candidates, origin.url + path, stretch)[0]!.name
      const paths = Array.from({ length: 200 }, (_, i) => `/mutual${i}`)
        .filter((path) => ownerFor(path, 1) === "n2" && ownerFor(path, 0) === "n1").slice(0, 5)
      assert.lengthOf(paths, 5)
      for (const [i, path] of paths.entries()) {
        const film = fileOf(2 * MiB, i + 1)
        origin.files.set(path, film)
        const range = { range: `bytes=${MiB}-` }
        const seen = yield* Effect.forEach(fleet.nodes, ({ url }) => watch(url + path, { headers: range }), {
          concurrency: "unbounded"
        })
        for (const { firstByte, sha256: hash } of seen) {
          assert.strictEqual(hash, sha256(film.bytes.subarray(MiB)))
          assert.isBelow(firstByte, 1000 + LOAD_MILLIS)
        }
      }
      const apart = yield* Effect.forEach(fleet.nodes, (node) => metric(node, "spillway_peer_apart_total"))
      assert.isAbove(apart[0]! + apart[1]!, 0)
    }))

  it.live(
    "don't wait for each other when each owns what the other's viewer asks for first",
    () =>
      Effect.gen(function*() {
        const origin = yield* makeTestOrigin
        const fleet = yield* startFleet({ origin, names: ["n1", "n2"], args: PATIENT })
        yield* fleet.settled(1)
        const paths = Array.from({ length: 200 }, (_, i) => `/crossed${i}`)
          .filter((path) => fleet.order(path)[0] === "n2" && fleet.order(path, MiB)[0] === "n1").slice(0, 5)
        for (const [i, path] of paths.entries()) {
          const film = fileOf(2 * MiB, i + 1)
          origin.files.set(path, film)
          const [first, second] = yield* Effect.all([
            watch(`${node(fleet, "n1").url}${path}`, { headers: { range: "bytes=0-99" } }),
            watch(`${node(fleet, "n2").url}${path}`, { headers: { range: `bytes=${MiB}-${MiB + 99}` } })
          ], { concurrency: "unbounded" })
          assert.strictEqual(first.sha256, sha256(film.bytes.subarray(0, 100)))
          assert.strictEqual(second.sha256, sha256(film.bytes.subarray(MiB, MiB + 100)))
          assert.isBelow(Math.max(first.firstByte, second.firstByte), 1000 + LOAD_MILLIS)
        }
      })
  )
})

describe("the port for other nodes", () => {
  it.live("answers strangers, old and repeated requests 403, without a lookup", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      origin.files.set("/film", fileOf(1000, 1))
      const fleet = yield* startFleet({ origin, names: ["n1", "n2"] })
      yield* fleet.settled(1)
      const [n1] = fleet.nodes as [FleetPrograms["nodes"][number]]
      origin.reset()
      const now = yield* Clock.currentTimeMillis
      let nonces = 0
      const signed = (
        { method = "GET", path = "/film", range = "bytes=0-9", secret = SECRET, ahead = 0 }: {
          readonly method?: string
          readonly path?: string
          readonly range?: string
          readonly secret?: string
          /** How far the sender's clock is ahead, in milliseconds. */
          readonly ahead?: number
        } = {}
      ) => {
        const request = { method, target: path, host: "", range, flags: "" }
        const from = { name: "n2", time: now + ahead, nonce: `nonce-${nonces++}-of-a-test` }
        return { "spillway-peer": formatSignature(signRequest([secret], request, from)), range: "bytes=0-9" }
      }
      const right = signed()
      assert.strictEqual((yield* asStranger(n1, { path: "/film", headers: right })).status, 206)
      const seen = gets(origin).length
      const refused: ReadonlyArray<readonly [string, Parameters<typeof asStranger>[1]]> = [
        ["no signature", { path: "/film" }],
        ["repeated", { path: "/film", headers: right }],
        ["another secret", { path: "/film", headers: signed({ secret: "x".repeat(40) }) }],
        ["old", { path: "/film", headers: signed({ ahead: -90_000 }) }],
        ["of the future", { path: "/film", headers: signed({ ahead: 90_000 }) }],
        ["another target", { path: "/other", headers: signed() }],
        ["another method", { path: "/film", method: "HEAD", headers: signed() }],
        ["another range", { path: "/film", headers: { ...signed(), range: "bytes=0-10" } }],
        ["a method that isn't for nodes", { path: "/film", method: "DELETE", headers: signed({ method: "DELETE" }) }],
        ["a page for people", { path: "/_spillway/metrics", headers: signed({ path: "/_spillway/metrics" }) }],
        ["a purge", { path: "/_spillway/peer/purge", method: "POST" }],
        ["the question whether it is there", { path: "/_spillway/peer/alive", method: "HEAD" }]
      ]
      for (const [what, request] of refused) {
        assert.strictEqual((yield* asStranger(n1, request)).status, 403, what)
      }
      assert.lengthOf(gets(origin), seen)
      assert.strictEqual(yield* metric(n1, "spillway_peer_forbidden_total"), refused.length)
    }))

  it.live("isn't imitated by fields on the public port, which the origin isn't sent", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      origin.files.set("/film", fileOf(1000, 1))
      const fleet = yield* startFleet({ origin, names: ["n1"] })
      const [n1] = fleet.nodes as [FleetPrograms["nodes"][number]]
      const headers = { "spillway-peer": "v1 n2 0 nonce mac", "spillway-wants": "cached", "spillway-host": "evil" }
      assert.strictEqual((yield* view(`${n1.url}/film`, headers)).status, 200)
      const { status } = yield* view(`${n1.url}/private`, { ...headers, authorization: "x" })
      assert.strictEqual(status, 404)
      for (const request of origin.requests) assert.notInclude(JSON.stringify(request.headers), "spillway-")
    }))
})

describe("a node", () => {
  it.live("that is the only one answers as without a fleet", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const film = fileOf(3 * MiB, 1)
      origin.files.set("/film", film)
      const fleet = yield* startFleet({ origin, names: ["n1"] })
      const [n1] = fleet.nodes as [FleetPrograms["nodes"][number]]
      assertWhole(yield* watch(`${n1.url}/film`), film)
      assert.deepStrictEqual(gets(origin).map(({ headers }) => headers.range), [undefined])
    }))

  it.live("with workers is a node like any other", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const fleet = yield* startFleet({ origin, names: ["n1", "n2"], args: ["--workers", "2", ...PATIENT] })
      yield* fleet.settled(1)
      const film = fileOf(6 * MiB, 1)
      const path = fileAt(origin, fleet, "n2,n1", film)
      origin.reset()
      const seen = yield* Effect.forEach([...fleet.nodes, ...fleet.nodes], ({ url }) => watch(url + path), {
        concurrency: "unbounded"
      })
      for (const one of seen) assertWhole(one, film)
      assert.strictEqual(origin.bodyBytes(), film.bytes.length, asked(origin))
    }))
})

describe("TLS between nodes", () => {
  it.live(
    "carries what they exchange, and nobody without a certificate of the authority gets a connection",
    () =>
      Effect.gen(function*() {
        const origin = yield* makeTestOrigin
        const directory = yield* temporaryDirectory
        const files = { cert: issued.cert, key: issued.key, ca: authority }
        for (const [name, text] of Object.entries(files)) Fs.writeFileSync(join(directory, name), text)
        const args = Object.keys(files).flatMap((name) => [`--peer-tls-${name}`, join(directory, name)])
        const fleet = yield* startFleet({ origin, host: "localhost", names: ["n1", "n2"], args })
        yield* fleet.settled(1)
        const film = fileOf(3 * MiB, 1)
        const path = fileAt(origin, fleet, "n2,n1", film)
        for (const { url } of fleet.nodes) assertWhole(yield* watch(url + path), film)
        const [n1] = fleet.nodes as [FleetPrograms["nodes"][number]]
        assert.isAbove(yield* metric(n1, "spillway_peer_received_bytes_total"), 0)
        assert.strictEqual((yield* asStranger(n1, { path })).status, 0)
        const strangers: ReadonlyArray<ConnectionOptions> = [{}, { cert: selfSigned.cert, key: selfSigned.key }]
        for (const stranger of strangers) {
          const isAnswered = yield* Effect.callback<boolean>((resume) => {
            const options = { port: n1.peerPort, host: "localhost", ca: authority, ...stranger }
            const socket = connect(options, () => socket.write("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n"))
            socket.on("data", () => resume(Effect.succeed(true)))
            socket.on("error", () => {})
            socket.on("close", () => resume(Effect.succeed(false)))
          })
          assert.isFalse(isAnswered)
        }
      })
  )
})

describe("a change at one node", () => {
  it.live("by PUT is seen at all others at once", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const fleet = yield* startFleet({ origin })
      yield* fleet.settled(2)
      const path = fileAt(origin, fleet, "n3,n1,n2", fileOf(1000, 1))
      for (const { url } of fleet.nodes) yield* view(url + path)
      const current = fileOf(1000, 2)
      origin.handlers.set(path, ({ method }, response) => {
        if (method === "PUT") {
          origin.files.set(path, current)
          origin.handlers.delete(path)
        }
        response.writeHead(204).end()
      })
      const { status } = yield* Effect.promise(() =>
        fetch(node(fleet, "n1").url + path, { method: "PUT", body: "new" })
      )
      assert.strictEqual(status, 204)
      for (const { url } of fleet.nodes) assertWhole(yield* watch(url + path), current)
    }))

  it.live(
    "by a purge is missed by a node that is stopped, which revalidates everything when it goes on",
    () =>
      Effect.gen(function*() {
        const origin = yield* makeTestOrigin
        const fleet = yield* startFleet({ origin, names: ["n1", "n2"] })
        yield* fleet.settled(1)
        const path = fileAt(origin, fleet, "n2,n1", fileOf(1000, 1))
        for (const { url } of fleet.nodes) yield* view(url + path)
        const n2 = node(fleet, "n2")
        n2.program.process.kill("SIGSTOP")
        const current = fileOf(1000, 2)
        origin.files.set(path, current)
        const purge = runProgram(["purge", "--server", node(fleet, "n1").url, origin.url + path, "--json", "--strict"])
        const { code, stderr, stdout } = yield* purge
        assert.deepStrictEqual(JSON.parse(stdout).missing, ["n2"])
        assert.strictEqual(code, 3)
        assert.include(stderr, "spillway: the purge is not confirmed by n2")
        n2.program.process.kill("SIGCONT")
        assertWhole(yield* watch(n2.url + path), current)
        yield* fleet.settled(1)
        yield* eventually("a purge that both confirm", Effect.map(purge, ({ code }) => code === 0))
      })
  )

  it.live("is fetched ahead for all of them by a job at one of them", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const fleet = yield* startFleet({ origin })
      yield* fleet.settled(2)
      const film = fileOf(6 * MiB, 1)
      origin.files.set("/film", film)
      origin.reset()
      const { code, stderr } = yield* runProgram(["warm", "--server", node(fleet, "n1").url, "/film"])
      assert.strictEqual(code, 0, stderr)
      const onDisks = Effect.map(
        Effect.forEach(fleet.nodes, (node) => metric(node, "spillway_cache_bytes")),
        (bytes) => bytes.reduce((sum, one) => sum + one, 0)
      )
      yield* eventually("all of the film on disk", Effect.map(onDisks, (bytes) => bytes >= film.bytes.length))
      assert.strictEqual(origin.bodyBytes(), film.bytes.length, asked(origin))
    }))
})

/** The longest run of neighbouring stretches of a file with one owner. */
const longestRun = (fleet: FleetPrograms, path: string, stretches: number): number => {
  let longest = 0
  let run = 0
  let before = ""
  for (let stretch = 0; stretch < stretches; stretch++) {
    const owner = fleet.order(path, stretch * MiB)[0]!
    run = owner === before ? run + 1 : 1
    before = owner
    longest = Math.max(longest, run)
  }
  return longest
}

describe("a rolling restart", () => {
  it.live(
    "of all other nodes costs a viewer nothing, and the origin at most 1.05 of the file",
    () =>
      Effect.gen(function*() {
        const origin = yield* makeTestOrigin
        const fleet = yield* startFleet({ origin })
        yield* fleet.settled(2)
        const film = fileOf(96 * MiB, 4)
        // What is under way to a node that ends comes again: no more than one request of it.
        let path = ""
        for (let i = 0; path === "" || longestRun(fleet, path, 96) > 3; i++) path = `/film${i}`
        origin.files.set(path, film)
        origin.reset()
        const seen = yield* Effect.scoped(Effect.gen(function*() {
          const viewer = yield* openView(node(fleet, "n1").url + path)
          for (const [i, name] of ["n2", "n3"].entries()) {
            yield* viewer.readTo((i + 1) * 32 * MiB)
            yield* node(fleet, name).program.stop("SIGTERM")
            yield* node(fleet, name).start
            yield* fleet.settled(2)
          }
          return yield* viewer.rest
        }))
        assert.strictEqual(seen.size, film.bytes.length)
        assert.strictEqual(seen.sha256, sha256(film.bytes))
        const share = origin.bodyBytes() / film.bytes.length
        process.stderr.write(`a rolling restart costs the origin ${share.toFixed(3)} of the file\n`)
        assert.isAtMost(share, 1.05, asked(origin))
      })
  )
})

describe("a node that flaps", () => {
  it.live("costs no viewer a byte, and the origin no more than without a fleet", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const fleet = yield* startFleet({ origin, args: ["--peer-patience", "500ms"] })
      yield* fleet.settled(2)
      const films = Array.from({ length: 24 }, (_, i) => [`/film${i}`, fileOf(4 * MiB, i + 1)] as const)
      for (const [path, film] of films) origin.files.set(path, film)
      origin.reset()
      const { program } = node(fleet, "n3")
      let flaps = 0
      const flap = Effect.gen(function*() {
        program.process.kill("SIGSTOP")
        yield* Effect.sleep("800 millis")
        program.process.kill("SIGCONT")
        yield* Effect.sleep("600 millis")
        flaps += 1
      })
      const flapping = yield* Effect.forkChild(Effect.forever(flap))
      const watchAll = (name: string) =>
        Effect.forEach(films, ([path, film]) =>
          Effect.map(watch(node(fleet, name).url + path), (seen) => assertWhole(seen, film)), { concurrency: 4 })
      yield* Effect.all([watchAll("n1"), watchAll("n2")], { concurrency: "unbounded" })
      yield* eventually(
        "three flaps",
        Effect.sync(() =>
          flaps >= 3
        )
      )
      yield* Fiber.interrupt(flapping)
      program.process.kill("SIGCONT")
      yield* fleet.settled(2)
      const content = films.reduce((sum, [, { bytes }]) => sum + bytes.length, 0)
      const share = origin.bodyBytes() / content
      process.stderr.write(`a node that flaps ${flaps} times costs the origin ${share.toFixed(2)} of the content\n`)
      assert.isAtMost(share, fleet.nodes.length)
      for (const one of fleet.nodes) {
        yield* eventually(
          `the streams of ${one.name} to have ended`,
          Effect.map(metric(one, "spillway_streams"), (streams) => streams === 0)
        )
      }
    }))
})
