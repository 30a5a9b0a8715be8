import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { execFileSync } from "node:child_process"
import * as Fs from "node:fs"
import { Agent, get } from "node:http"
import { connect } from "node:net"
import { openRaw } from "../http/RawConnection.ts"
import { ask, exchange } from "../http/TestProxy.ts"
import { story } from "../support/cacheStatus.ts"
import { decode, encode } from "../support/codings.ts"
import { chunkFiles, insideOf, makeDisk, noDisks, takeAllRoom, temporaryDirectory } from "../support/disks.ts"
import {
  eventually,
  occurrences,
  openView,
  pin,
  type Program,
  runProgram,
  startProgram,
  view
} from "../support/Program.ts"
import { valueOf } from "../support/scrape.ts"
import { fileOf, makeGate, makeTestOrigin, MiB, sha256, type TestOrigin } from "../support/TestOrigin.ts"
import { withoutHedges } from "../support/withoutHedges.ts"

const WORKERS = 2

/** How often each worker is asked in turn. */
const ROUNDS = 3

const TURNS = ROUNDS * WORKERS

/** How long a worker waits for an owner that stands still before it says so, in milliseconds (`src/workers/OwnerLink.ts`). */
const OWNER_SILENCE_MILLIS = 10_000

/** How often an owner that stands still is asked, so that a moment without the processor counts for nothing. */
const ASKS = 5

const OPTIONS = ["--min-free", "0", "--workers", String(WORKERS)]

const start = (origin: TestOrigin, directory: string, ...args: ReadonlyArray<string>) =>
  Effect.flatMap(
    withoutHedges(origin.url),
    (origin) => startProgram([...origin, "--cache-dir", directory, ...OPTIONS, ...args])
  )

const startFresh = (origin: TestOrigin, ...args: ReadonlyArray<string>) =>
  Effect.flatMap(temporaryDirectory, (directory) => start(origin, directory, ...args))

/**
 * Whether a process runs the worker's program by now. Until then it is a copy of its parent, which waits for it: to stop it would
 * stop both.
 */
const isStarted = (pid: number): boolean => {
  try {
    return Fs.readFileSync(`/proc/${pid}/environ`, "utf8").includes("NODE_UNIQUE_ID=")
  } catch {
    return false
  }
}

/** The workers of a program. */
const workersOf = ({ process }: Program): ReadonlyArray<number> =>
  execFileSync("pgrep", ["-P", String(process.pid)], { encoding: "utf8" })
    .trim().split("\n").map(Number).filter(isStarted)

const signal = (pids: ReadonlyArray<number>, name: NodeJS.Signals) =>
  Effect.sync(() => {
    for (const pid of pids) process.kill(pid, name)
  })

/** `ask` while no worker but `pid` accepts connections. */
const askedOf = <A, E, R>(program: Program, pid: number, ask: Effect.Effect<A, E, R>) => {
  const others = workersOf(program).filter((other) => other !== pid)
  return Effect.acquireUseRelease(signal(others, "SIGSTOP"), () => ask, () => signal(others, "SIGCONT"))
}

/** `ask` of each worker, several times. */
const inTurn = <A, E, R>(program: Program, ask: Effect.Effect<A, E, R>) => {
  const workers = workersOf(program)
  return Effect.forEach(
    Array.from({ length: TURNS }, (_, i) => workers[i % WORKERS]!),
    (pid) => askedOf(program, pid, ask)
  )
}

/** What each worker shows of `path` is the file: what is told of the answers. */
const seenByAll = Effect.fnUntraced(function*(program: Program, origin: TestOrigin, path: string) {
  const hash = sha256(origin.files.get(path)!.bytes)
  const views = yield* inTurn(program, view(program.url + path))
  for (const seen of views) assert.strictEqual(seen.sha256, hash)
  return views.map(({ headers }) => story(headers))
})

/** How many files and connections a process has open. */
const openFiles = (pid: number): number => Fs.readdirSync(`/proc/${pid}/fd`).length

/** A viewer who keeps its connection, and with it its worker. */
const keptViewer = ({ url }: Program, path: string) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => new Agent({ keepAlive: true, maxSockets: 1 })),
      (agent) => Effect.sync(() => agent.destroy())
    ),
    (agent) =>
      Effect.callback<number>((resume) => {
        const request = get(url + path, { agent }, (response) => {
          let bytes = 0
          response.on("data", (data: Buffer) => bytes += data.length)
          response.on("end", () => resume(Effect.succeed(bytes)))
          response.on("error", () => {})
        })
        request.on("error", () => {})
        return Effect.sync(() => request.destroy())
      })
  )

/** Whether nobody listens there any more. */
const isRefused = ({ url }: Program) =>
  Effect.callback<boolean>((resume) => {
    const socket = connect(Number(new URL(url).port), "127.0.0.1")
    const answer = (refused: boolean) => {
      socket.destroy()
      resume(Effect.succeed(refused))
    }
    socket.on("connect", () => answer(false)).on("error", () => answer(true))
  })

describe("viewers with cookies", () => {
  it.live(
    "get from each worker what the origin gives them, also of what others have been given",
    () =>
      Effect.gen(function*() {
        const origin = yield* makeTestOrigin
        const film = fileOf(MiB, 1, { headers: { "cache-control": "max-age=3600" } })
        origin.handlers.set("/film", ({ headers }, response) => {
          const member = headers.cookie === "member"
          const fields = { "cache-control": "max-age=3600", "etag": member ? "\"film\"" : "\"trailer\"" }
          if (headers["if-none-match"] === fields.etag) return void response.writeHead(304, fields).end()
          const body = member ? film.bytes : Buffer.from("trailer")
          response.writeHead(200, { ...fields, "content-length": body.length }).end(body)
        })
        const program = yield* startFresh(origin)
        const seen = (headers: Record<string, string>) =>
          Effect.map(
            inTurn(program, ask(program.url, "/film", { headers })),
            (answers) => new Set(answers.map(({ body }) => sha256(body)))
          )
        for (const headers of [{}, { cookie: "member" }, { cookie: "other" }, {}, { cookie: "member" }]) {
          const isMember = "cookie" in headers && headers.cookie === "member"
          const expected = isMember ? film.bytes : Buffer.from("trailer")
          assert.deepStrictEqual(yield* seen(headers as Record<string, string>), new Set([sha256(expected)]))
        }
      })
  )
})

describe("workers", () => {
  it.live("serve what one of them has fetched, each by itself", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const film = fileOf(6 * MiB + 1, 1)
      origin.files.set("/film", film)
      const program = yield* startFresh(origin)
      assert.match(program.stdout(), /, 2 workers\n/)
      assert.strictEqual(workersOf(program).length, WORKERS)
      const [first, ...others] = yield* seenByAll(program, origin, "/film")
      assert.strictEqual(first, "spillway; fwd=uri-miss; stored")
      for (const told of others) assert.strictEqual(told, "spillway; hit")
      assert.strictEqual(origin.bodyBytes(), film.bytes.length)
      const viewers = yield* inTurn(
        program,
        Effect.tap(keptViewer(program, "/film"), (look) => look)
      )
      const all = Effect.forEach(viewers, (look) => look)
      // The owner stands still, so that nothing can come from it.
      const resume = Effect.sync(() => program.process.kill("SIGCONT"))
      yield* eventually(
        "all to be served by workers alone",
        Effect.sync(() => program.process.kill("SIGSTOP")).pipe(
          Effect.andThen(Effect.timeoutOption(all, "5 seconds")),
          Effect.ensuring(resume),
          Effect.map(({ _tag }) => _tag === "Some")
        )
      )
      assert.strictEqual(origin.bodyBytes(), film.bytes.length)
    }))

  it.live("have 50 cold viewers share one transfer", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const film = fileOf(16 * MiB, 2, { rate: 16 * MiB })
      origin.files.set("/film", film)
      const program = yield* startFresh(origin)
      const views = yield* Effect.forEach(Array.from({ length: 50 }), () => view(`${program.url}/film`), {
        concurrency: "unbounded"
      })
      for (const seen of views) assert.strictEqual(seen.sha256, sha256(film.bytes))
      assert.strictEqual(origin.bodyBytes(), film.bytes.length)
    }))

  it.live(
    "serve nothing any more once a purge has been answered, nor after a change was let through",
    () =>
      Effect.gen(function*() {
        const origin = yield* makeTestOrigin
        origin.handlers.set("/note", (request, response) => {
          const { bytes, etag } = origin.files.get("/note as it is")!
          if (request.method === "PUT") return void response.writeHead(204).end()
          const fields = { etag, "content-length": bytes.length, "cache-control": "max-age=3600" }
          response.writeHead(200, fields).end(bytes)
        })
        const put = (seed: number) => Effect.sync(() => void origin.files.set("/note as it is", fileOf(10_000, seed)))
        const program = yield* startFresh(origin)
        const seen = Effect.map(
          inTurn(program, view(`${program.url}/note`)),
          (views) => views.map(({ sha256 }) => sha256)
        )
        const expected = (seed: number) => Array.from({ length: TURNS }, () => sha256(fileOf(10_000, seed).bytes))
        yield* put(1)
        yield* seen
        const { url } = program
        const takesBack = [
          Effect.map(runProgram(["purge", "--server", url, "--all"]), ({ code }) => assert.strictEqual(code, 0)),
          Effect.map(ask(url, "/note", { method: "PUT", body: "new" }), ({ status }) => assert.strictEqual(status, 204))
        ]
        for (const [i, takeBack] of takesBack.entries()) {
          yield* seen
          yield* put(i + 2)
          assert.deepStrictEqual(yield* seen, expected(i + 1))
          yield* takeBack
          assert.deepStrictEqual(yield* seen, expected(i + 2))
        }
      })
  )

  it.live("keep to what answers vary on, and to whom they may be shown", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      origin.handlers.set("/page", (request, response) => {
        const language = String(request.headers["accept-language"])
        const fields = { etag: `"${language}"`, vary: "accept-language", "cache-control": "max-age=3600" }
        response.writeHead(200, { ...fields, "content-length": language.length }).end(language)
      })
      origin.handlers.set("/text", (request, response) => {
        const coding = request.headers["accept-encoding"] === "gzip" ? "gzip" : undefined
        const coded = encode(coding, Buffer.from("text"))
        const fields = { etag: `"${coding}"`, vary: "accept-encoding", "cache-control": "max-age=3600" }
        response.writeHead(200, {
          ...fields,
          ...(coding && { "content-encoding": coding }),
          "content-length": coded.length
        })
        response.end(coded)
      })
      origin.handlers.set("/mine", (request, response) => {
        const who = String(request.headers.authorization)
        response.writeHead(200, { etag: `"${who}"`, "content-length": who.length, "cache-control": "max-age=60" })
        response.end(who)
      })
      const program = yield* startFresh(origin)
      for (const language of ["de", "en", "de", "en"]) {
        const asked = ask(program.url, "/page", { headers: { "accept-language": language } })
        for (const { body } of yield* inTurn(program, asked)) {
          assert.strictEqual(body.toString(), language)
        }
      }
      for (const accepted of ["gzip", "identity", "gzip", "identity", "br"]) {
        const asked = ask(program.url, "/text", { headers: { "accept-encoding": accepted } })
        for (const { body, headers } of yield* inTurn(program, asked)) {
          assert.strictEqual(headers["content-encoding"], accepted === "gzip" ? "gzip" : undefined)
          assert.strictEqual(decode(headers, body, accepted).toString(), "text")
        }
      }
      for (const who of ["Basic ann", "Basic bob"]) {
        for (const { body } of yield* inTurn(program, ask(program.url, "/mine", { headers: { authorization: who } }))) {
          assert.strictEqual(body.toString(), who)
        }
      }
    }))

  it.live("hand on what they cannot answer, as it came", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      origin.handlers.set("/upload", (request, response, { headers }) => {
        let body = ""
        request.on("data", (data: Buffer) => body += data.toString())
        request.on(
          "end",
          () => response.end(`${request.method} ${body} ${headers["via"]} ${headers["spillway-viewer"]}`)
        )
      })
      const { url } = yield* startFresh(origin)
      const told = Effect.fnUntraced(function*(text: string) {
        const answer = yield* exchange(Number(new URL(url).port), text.replaceAll("\n", "\r\n"))
        return answer.slice(answer.indexOf("\r\n\r\n") + 4)
      })
      const head = "POST /upload HTTP/1.1\nHost: a\nConnection: close\n"
      assert.include(yield* told(`${head}Content-Length: 5\n\nhello`), "POST hello 1.1 spillway undefined")
      const chunked = "Transfer-Encoding: chunked\n\n3\nhel\n2\nlo\n0\n\n"
      assert.include(yield* told(head + chunked), "POST hello 1.1 spillway undefined")
      const expecting = "Content-Length: 5\nExpect: 100-continue\nSpillway-Viewer: 192.0.2.1\n\nhello"
      assert.include(yield* told(head + expecting), "POST hello 1.1 spillway undefined")
      // Shown to this machine: whoever names another one is not of it.
      const own = (host: string) =>
        exchange(Number(new URL(url).port), `GET /_spillway/metrics HTTP/1.0\r\nHost: ${host}\r\n\r\n`)
      assert.match(yield* own("localhost"), /^HTTP\/1\.1 200 /)
      assert.match(yield* own("media.example"), /^HTTP\/1\.1 403 /)
    }))

  it.live("are told of together by metrics and log", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      origin.files.set("/film", fileOf(3 * MiB, 1))
      const program = yield* startFresh(origin)
      yield* seenByAll(program, origin, "/film")
      yield* seenByAll(program, origin, "/film")
      const requests = 2 * TURNS
      const figures = Effect.map(ask(program.url, "/_spillway/metrics"), ({ body }) => (series: string) =>
        valueOf(body.toString(), series) ?? 0)
      yield* eventually(
        "all to be counted",
        Effect.map(figures, (figure) =>
          figure("spillway_requests_total{outcome=\"hit\"}") === requests - 1)
      )
      const figure = yield* figures
      assert.strictEqual(figure("spillway_requests_total{outcome=\"miss\"}"), 1)
      const sources = ["memory", "disk", "origin", "passthrough"]
      const bytes = sources.map((source) => figure(`spillway_sent_bytes_total{source="${source}"}`))
      assert.strictEqual(bytes.reduce((sum, count) => sum + count, 0), requests * 3 * MiB)
      assert.strictEqual(bytes[2], 3 * MiB)
      assert.strictEqual(figure("spillway_workers"), WORKERS)
      assert.isAtLeast(figure("spillway_memory_chunks"), 3)
      yield* eventually(
        "a line for each request",
        Effect.sync(() => occurrences(program.stderr(), "\"url\":\"/film\"") === requests)
      )
    }))

  it.live("go on from the owner's bytes where a chunk is gone or damaged", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const film = fileOf(8 * MiB, 1)
      origin.files.set("/film", film)
      const directory = yield* temporaryDirectory
      const program = yield* start(origin, directory, "--memory", "0", "--chunk-size", "1MiB")
      yield* seenByAll(program, origin, "/film")
      yield* eventually("the chunks", Effect.sync(() => chunkFiles(directory).length === 8))
      yield* seenByAll(program, origin, "/film")
      for (const { index, path } of chunkFiles(directory)) {
        if (index === 3) Fs.rmSync(path)
        if (index === 5) Fs.writeFileSync(path, Buffer.alloc(Fs.statSync(path).size))
      }
      yield* seenByAll(program, origin, "/film")
      assert.isAtMost(origin.bodyBytes(), film.bytes.length + 2 * MiB)
    }))

  it.live.skipIf(noDisks !== undefined)("serve whole files while the disk is full", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const gate = makeGate()
      origin.files.set("/first", fileOf(4 * MiB, 1))
      origin.files.set("/film", fileOf(12 * MiB, 2, { hold: { after: 4 * MiB, until: gate.opened } }))
      const { mountPoint, prefix } = yield* makeDisk(16 * MiB)
      const args = [origin.url, "--cache-dir", mountPoint, ...OPTIONS]
      const program = yield* startProgram(args, { prefix })
      yield* seenByAll(program, origin, "/first")
      const viewer = yield* openView(`${program.url}/film`)
      yield* viewer.readTo(MiB)
      // What may be evicted would give room for what is new.
      for (const path of ["/first", "/film"]) yield* pin(program, path)
      yield* takeAllRoom(insideOf(program, mountPoint))
      yield* gate.open
      assert.strictEqual((yield* viewer.rest).sha256, sha256(fileOf(12 * MiB, 2).bytes))
      for (const told of yield* seenByAll(program, origin, "/first")) assert.match(told, /^spillway; (hit|fwd=)/)
      yield* seenByAll(program, origin, "/film")
      assert.strictEqual(occurrences(program.printed(), "Cache unusable"), 1, program.printed())
    }))

  it.live("are replaced when they die, and the others go on", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const gate = makeGate()
      origin.files.set("/film", fileOf(2 * MiB, 1))
      origin.files.set("/slow", fileOf(2 * MiB, 2, { hold: { after: MiB, until: gate.opened } }))
      const program = yield* startFresh(origin)
      yield* seenByAll(program, origin, "/film")
      const viewers = yield* inTurn(program, openView(`${program.url}/slow`))
      const rests = yield* Effect.forEach(viewers, ({ rest }) => Effect.forkChild(Effect.exit(rest)))
      const [victim] = workersOf(program)
      process.kill(victim!, "SIGKILL")
      yield* eventually(
        "another worker",
        Effect.sync(() => workersOf(program).length === WORKERS && !workersOf(program).includes(victim!))
      )
      yield* gate.open
      const ends = yield* Effect.forEach(rests, Fiber.join)
      const whole = ends.flatMap((end) => end._tag === "Success" ? [end.value.sha256] : [])
      assert.deepStrictEqual(whole, Array.from({ length: TURNS / WORKERS }, () => sha256(fileOf(2 * MiB, 2).bytes)))
      yield* seenByAll(program, origin, "/film")
      assert.strictEqual(occurrences(program.stderr(), "A worker has ended"), 1)
    }))

  it.live("that hang do not keep a purge from being answered, nor serve what was purged", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      origin.files.set("/film", fileOf(MiB, 1))
      const program = yield* startFresh(origin)
      yield* seenByAll(program, origin, "/film")
      yield* seenByAll(program, origin, "/film")
      const [hanging] = workersOf(program)
      process.kill(hanging!, "SIGSTOP")
      origin.files.set("/film", fileOf(MiB, 2))
      const { code } = yield* runProgram(["purge", "--server", program.url, "--all"])
      assert.strictEqual(code, 0)
      assert.notInclude(workersOf(program), hanging)
      yield* eventually("another worker", Effect.sync(() => workersOf(program).length === WORKERS))
      yield* seenByAll(program, origin, "/film")
    }))

  it.live(
    "go on with what is cached while the owner stands still, and say so about the rest",
    () =>
      Effect.gen(function*() {
        const origin = yield* makeTestOrigin
        const gate = makeGate()
        origin.files.set("/film", fileOf(MiB, 1))
        origin.files.set("/new", fileOf(MiB, 2))
        origin.handlers.set("/endless", (_, response) => {
          response.writeHead(200, { "content-type": "text/plain" }).write("the beginning")
          void gate.opened.then(() => response.end())
        })
        const program = yield* startFresh(origin)
        yield* seenByAll(program, origin, "/film")
        yield* seenByAll(program, origin, "/film")
        const port = Number(new URL(program.url).port)
        const relayed = yield* openRaw(port)
        let ending = "none"
        relayed.socket.on("end", () => ending = "FIN").on("error", ({ message }) => ending = message)
        relayed.send("GET /endless HTTP/1.0\r\n\r\n")
        yield* relayed.until("the beginning", (received) => received.endsWith("the beginning"))
        yield* Effect.acquireUseRelease(
          signal([program.process.pid!], "SIGSTOP"),
          () =>
            Effect.gen(function*() {
              const missing = yield* Effect.forkChild(ask(program.url, "/new"))
              for (const told of yield* seenByAll(program, origin, "/film")) assert.strictEqual(told, "spillway; hit")
              const { headers, status } = yield* Fiber.join(missing)
              assert.strictEqual(status, 503)
              assert.match(String(headers["cache-status"]), /detail=OWNER_UNAVAILABLE/)
              yield* relayed.closed
              assert.match(ending, /ECONNRESET/)
              // Each worker finds out by itself. Nobody waits from then on, until the owner responds again.
              yield* eventually(
                "both workers to notice",
                Effect.sync(() => occurrences(program.stderr(), "that owns the cache does not respond") === WORKERS)
              )
              const begun = performance.now()
              for (let i = 0; i < ASKS; i++) assert.strictEqual((yield* ask(program.url, "/new")).status, 503)
              assert.isBelow(performance.now() - begun, ASKS * OWNER_SILENCE_MILLIS)
            }),
          () => signal([program.process.pid!], "SIGCONT")
        )
        yield* eventually(
          "the owner",
          Effect.map(ask(program.url, "/new"), ({ status }) => status === 200)
        )
        yield* seenByAll(program, origin, "/new")
        assert.strictEqual(occurrences(program.stderr(), "A worker has ended"), 0)
      })
  )

  it.live("survive a pause of the whole machine, and so do their viewers", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const gate = makeGate()
      origin.files.set("/film", fileOf(4 * MiB, 1, { hold: { after: 2 * MiB, until: gate.opened } }))
      const program = yield* startFresh(origin)
      const all = [...workersOf(program), program.process.pid!]
      const viewers = yield* inTurn(program, openView(`${program.url}/film`))
      for (const viewer of viewers) yield* viewer.readTo(MiB)
      // Longer than any of them may say nothing.
      yield* Effect.acquireUseRelease(
        signal(all, "SIGSTOP"),
        () => Effect.sleep("11 seconds"),
        () => signal(all.toReversed(), "SIGCONT")
      )
      yield* Effect.sleep("2 seconds")
      yield* gate.open
      for (const viewer of viewers) assert.strictEqual((yield* viewer.rest).size, 4 * MiB)
      assert.deepStrictEqual([...workersOf(program), program.process.pid!], all)
    }))

  it.live("that hang are ended and replaced, while the others take all new viewers", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      origin.files.set("/film", fileOf(MiB, 1))
      const program = yield* startFresh(origin)
      const [hanging] = workersOf(program)
      const request = "GET /film HTTP/1.1\r\nHost: a\r\n\r\n"
      // A response shows that the worker has accepted the connection; until then, it may go to another one.
      const answered = Effect.tap(openRaw(Number(new URL(program.url).port)), ({ send, until }) => {
        send(request)
        return until("a response", (received) => received.startsWith("HTTP/1.1 200"))
      })
      const waiting = yield* askedOf(program, hanging!, answered)
      yield* signal([hanging!], "SIGSTOP")
      waiting.send(request)
      // One that the hanging worker accepted would be cut at the end of that worker.
      for (let i = 0; i < 2 * TURNS; i++) assert.strictEqual((yield* ask(program.url, "/film")).status, 200)
      yield* eventually(
        "another worker",
        Effect.sync(() => workersOf(program).length === WORKERS && !workersOf(program).includes(hanging!))
      )
      yield* waiting.closed
    }))

  it.live("share the connections of a crowd", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const program = yield* startFresh(origin)
      const count = 64
      const before = workersOf(program).map(openFiles)
      const taken = () => workersOf(program).map((pid, i) => openFiles(pid) - before[i]!)
      const isShared = Effect.scoped(Effect.gen(function*() {
        yield* Effect.forEach(
          Array.from({ length: count }),
          () => openRaw(Number(new URL(program.url).port)),
          { concurrency: "unbounded" }
        )
        yield* eventually("the connections", Effect.sync(() => taken().reduce((sum, n) => sum + n, 0) >= count))
        return taken().every((connections) => connections >= count / 8)
      }))
      const ended = eventually("their end", Effect.sync(() => taken().every((connections) => connections < count / 8)))
      // On a busy machine, one worker may run alone for as long as a crowd takes to come.
      yield* eventually("a crowd that is shared", Effect.tap(isShared, ended))
    }))

  it.live.each(["the program", "the program, and each of them,"])(
    "finish what they are sending when %s is told to end",
    (who) =>
      Effect.gen(function*() {
        const origin = yield* makeTestOrigin
        const gate = makeGate()
        const film = fileOf(4 * MiB, 1, { hold: { after: 2 * MiB, until: gate.opened } })
        origin.files.set("/film", film)
        const program = yield* startFresh(origin)
        const workers = workersOf(program)
        const viewers = yield* inTurn(program, openView(`${program.url}/film`))
        for (const viewer of viewers) yield* viewer.readTo(MiB)
        if (who !== "the program") { for (const pid of workers) process.kill(pid, "SIGTERM") }
        const stopped = yield* Effect.forkChild(program.stop("SIGTERM"))
        yield* eventually("an end to listening", isRefused(program))
        yield* gate.open
        for (const viewer of viewers) assert.strictEqual((yield* viewer.rest).sha256, sha256(film.bytes))
        assert.strictEqual(yield* Fiber.join(stopped), 0)
        for (const pid of workers) assert.isFalse(Fs.existsSync(`/proc/${pid}`))
      })
  )

  it.live("end when the program is killed", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      origin.handlers.set("/endless", (_, response) => void response.write("the beginning"))
      const program = yield* startFresh(origin)
      const workers = workersOf(program)
      const viewer = yield* openRaw(Number(new URL(program.url).port))
      let ending = "none"
      viewer.socket.on("end", () => ending = "FIN").on("error", ({ message }) => ending = message)
      viewer.send("GET /endless HTTP/1.0\r\n\r\n")
      yield* viewer.until("the beginning", (received) => received.endsWith("the beginning"))
      yield* program.stop("SIGKILL")
      yield* viewer.closed
      assert.match(ending, /ECONNRESET/)
      yield* eventually("their end", Effect.sync(() => workers.every((pid) => !Fs.existsSync(`/proc/${pid}`))))
    }))

  it.live("say in one line why they cannot listen", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const { url } = yield* startFresh(origin)
      const directory = yield* temporaryDirectory
      const args = ["serve", origin.url, "--cache-dir", directory, ...OPTIONS, "--port", new URL(url).port]
      const { code, stderr } = yield* runProgram(args)
      assert.strictEqual(code, 1)
      assert.match(
        stderr,
        /^spillway: cannot listen on 127\.0\.0\.1:\d+: the port is in use; choose another one with --port\n$/
      )
      const nowhere = yield* runProgram(["serve", origin.url, ...OPTIONS], { env: { TMPDIR: "/nowhere" } })
      assert.strictEqual(nowhere.code, 1)
      assert.match(
        nowhere.stderr,
        /^spillway: --workers: cannot create a directory in \/nowhere \(\w+\); set TMPDIR .*\n$/
      )
      const tooMany = yield* runProgram(["serve", origin.url, "--workers", "65"])
      assert.strictEqual(tooMany.code, 2)
      assert.match(tooMany.stderr, /^spillway: .*from 1 to 64.*\n$/)
    }))
})
