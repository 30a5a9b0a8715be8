import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs"
import { request } from "node:http"
import { join } from "node:path"
import { exchange } from "../http/TestProxy.ts"
import { temporaryDirectory } from "../support/disks.ts"
import { eventually, type Program, runProgram, startProgram } from "../support/Program.ts"
import { fileOf, makeTestOrigin, MiB } from "../support/TestOrigin.ts"

/** What must not be printed, wherever in a request or an answer it is. */
const SECRET = "secret-4f9a"

const fields = {
  authorization: `Bearer ${SECRET}`,
  cookie: `session=${SECRET}`,
  "x-api-key": SECRET,
  // The access log has it.
  "user-agent": "a player",
  referer: `http://page.example/?${SECRET}`,
  via: `1.1 ${SECRET}`
}

/** Sends a request with secrets, and reads the answer as far as it comes. */
const ask = (url: string, method = "GET", body?: string): Effect.Effect<number | string> =>
  Effect.callback((resume) => {
    const sent = request(url, { method, headers: fields, agent: false }, (response) => {
      response.on("data", () => {})
      response.on("error", () => {})
      response.on("close", () => resume(Effect.succeed(response.statusCode!)))
    })
    sent.on("error", ({ message }) => resume(Effect.succeed(message)))
    sent.end(body)
  })

const assertSilent = (program: Program) =>
  assert.isEmpty(program.printed().split("\n").filter((line) => line.toLowerCase().includes(SECRET)))

describe("what the program prints", () => {
  it.live(
    "has nothing of what requests and answers keep secret, in failures neither, at any log level",
    () =>
      Effect.gen(function*() {
        const origin = yield* makeTestOrigin
        const cookie = { "set-cookie": `session=${SECRET}` }
        origin.files.set(`/film?${SECRET}`, fileOf(MiB, 1))
        origin.files.set(`/private?${SECRET}`, fileOf(MiB, 1, { headers: { "cache-control": "private", ...cookie } }))
        origin.handlers.set(`/cut?${SECRET}`, (_, response) => {
          response.writeHead(200, { "content-length": "1000", ...cookie }).write(SECRET, () => response.destroy())
        })
        origin.handlers.set(`/cut-film?${SECRET}`, (_, response) => {
          response.writeHead(200, { "content-length": "1000000", etag: `"${SECRET}"` })
          response.write(SECRET, () => response.destroy())
        })
        origin.handlers.set(`/reset?${SECRET}`, (incoming) => incoming.socket.resetAndDestroy())
        origin.handlers.set(`/error?${SECRET}`, (_, response) => void response.writeHead(500, cookie).end(SECRET))
        origin.handlers.set(`/odd?${SECRET}`, (_, response) => {
          response.writeHead(206, { "content-range": SECRET, "content-length": "3", etag: "\"1\"" }).end("abc")
        })
        origin.handlers.set(`/nonsense?${SECRET}`, (incoming) => {
          incoming.socket.end(`HTTP/1.1 200 ${SECRET}\r\nX-A: ${SECRET}\x01\r\n\r\n`)
        })
        origin.handlers.set(`/away?${SECRET}`, (_, response) => {
          response.writeHead(302, { location: `http://user:${SECRET}@nowhere.invalid/?${SECRET}` }).end()
        })
        origin.handlers.set(`/vary?${SECRET}`, (_, response) => {
          response.writeHead(200, { vary: "x-api-key, toString", etag: "\"1\"", "content-length": "3" }).end("abc")
        })
        const file = join(yield* temporaryDirectory, "file")
        Fs.writeFileSync(file, "")
        for (const directory of [yield* temporaryDirectory, join(file, "cache")]) {
          const program = yield* startProgram(
            [
              origin.url,
              "--cache-dir",
              directory,
              "--min-free",
              "0",
              "--url-host",
              "nowhere.invalid",
              "--url-host",
              "127.0.0.1"
            ],
            { env: { SPILLWAY_LOG_LEVEL: "all", SPILLWAY_ADMIN_TOKEN: SECRET } }
          )
          const paths = [
            "film",
            "private",
            "cut",
            "cut-film",
            "reset",
            "error",
            "odd",
            "nonsense",
            "away",
            "vary",
            "none",
            "a%0Ab%1B[31m%22"
          ]
          const urls = paths.map((path) => `${program.url}/${path}?${SECRET}`)
          const named = [`http://nowhere.invalid/?${SECRET}`, `http://127.0.0.1/?${SECRET}`, `http://a:${SECRET}@x/`]
          urls.push(...named.map((url) => `${program.url}/_spillway/url?url=${encodeURIComponent(url)}`))
          urls.push(`${program.url}/_spillway/metrics?${SECRET}`, `${program.url}/../?${SECRET}`)
          const round = Effect.gen(function*() {
            yield* Effect.forEach(urls, (url) => ask(url), { concurrency: 6 })
            yield* Effect.forEach(urls.slice(0, 4), (url) => ask(url, "POST", SECRET))
            yield* Effect.forEach(urls.slice(0, 4), (url) => ask(url, "HEAD"))
          })
          yield* round
          const { port } = new URL(program.url)
          for (
            const start of [
              `GET /${SECRET} HTTP/9\r\n`,
              `GET /a?${SECRET}\r\n${SECRET}`,
              `GET / HTTP/1.1\r\nHost: ${SECRET}/\r\n\r\n`
            ]
          ) {
            yield* exchange(Number(port), start, (socket) => socket.end())
          }
          yield* origin.close
          yield* round
          yield* eventually("a warning", Effect.sync(() => program.printed().includes("OriginUnreachable")))
          assert.strictEqual(yield* program.stop(), 0)
          assertSilent(program)
          // A line for each thing that is said, whatever is in a path.
          for (const line of program.printed().trimEnd().split("\n")) {
            assert.match(line, /^(?:spillway |\{"timestamp":)/)
          }
          assert.notMatch(program.printed(), /[^\n -~…]/)
          yield* origin.listen
        }
      })
  )

  it.live("has nothing of a wrong origin's or variable's secrets", () =>
    Effect.gen(function*() {
      const cases: ReadonlyArray<readonly [ReadonlyArray<string>, Record<string, string>]> = [
        [[`http://user:${SECRET}@media.example`], {}],
        [[`http://${SECRET}@media.example`], {}],
        [[`http://media.example/?token=${SECRET}`], {}],
        [["--origin", `/films=http://user:${SECRET}@media.example`], {}],
        [[], { SPILLWAY_ORIGIN: `/films=http://user:${SECRET}@media.example` }],
        [["http://media.example"], { SPILLWAY_ADMIN_TOKEN: `${SECRET} ${SECRET}` }]
      ]
      for (const [args, env] of cases) {
        const { code, stderr, stdout } = yield* runProgram(["serve", ...args], { env })
        assert.strictEqual(code, 2)
        assert.match(stderr, /^spillway: [^\n]+\n$/)
        assert.notInclude(stdout + stderr, SECRET)
      }
    }))
})
