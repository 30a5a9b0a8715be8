import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs"
import { dirname, join } from "node:path"
import { jsonSchema } from "../../src/services/config/configSchema.ts"
import { ask } from "../http/TestProxy.ts"
import { temporaryDirectory } from "../support/disks.ts"
import { eventuallyHit, runProgram, startProgram, view } from "../support/Program.ts"
import { root } from "../support/Project.ts"
import { fileOf, makeTestOrigin, MiB, sha256 } from "../support/TestOrigin.ts"

const SECRET = "secret-4f9a-that-nobody-may-read-anywhere"

/** A configuration file in a directory of its own, for a cache beside it. */
const makeConfig = Effect.fnUntraced(function*(lines: (directory: string) => ReadonlyArray<string>) {
  const directory = yield* temporaryDirectory
  const file = join(directory, "spillway.toml")
  Fs.writeFileSync(file, lines(directory).join("\n"))
  return file
})

describe("a configuration file", () => {
  it.live("has the routes and options of a run", () =>
    Effect.gen(function*() {
      const [films, music] = [yield* makeTestOrigin, yield* makeTestOrigin]
      const film = fileOf(2 * MiB, 1)
      for (const token of ["a", "b"]) films.files.set(`/v/film?token=${token}&v=1`, film)
      films.files.set("/v/other?token=a", fileOf(1000, 2))
      music.files.set("/song", fileOf(1000, 3))
      const file = yield* makeConfig((directory) => [
        `cache-dir = "${join(directory, "cache")}"`,
        "min-free = 0",
        "max-size = \"64MiB\"",
        "",
        "[[route]]",
        "match = \"/films\"",
        `origin = "${films.url}/v"`,
        "ttl = \"1h\"",
        "[route.key]",
        "ignore = \"token\"",
        "",
        "[[route]]",
        "match = \"music.example\"",
        `origin = "${music.url}"`
      ])
      const program = yield* startProgram(["--config", file])
      assert.include(program.stdout(), `origin /films=${films.url}/v music.example=${music.url}/, cache`)
      // Two viewers with a token each: one entry, one transfer.
      assert.strictEqual((yield* view(`${program.url}/films/film?token=a&v=1`)).sha256, sha256(film.bytes))
      yield* eventuallyHit(`${program.url}/films/film?token=a&v=1`)
      const before = films.requests.length
      const second = yield* view(`${program.url}/films/film?v=1&token=b`)
      assert.strictEqual(second.sha256, sha256(film.bytes))
      assert.match(String(second.headers["cache-status"]), /^spillway; hit/)
      assert.strictEqual(films.requests.length, before)
      assert.strictEqual((yield* view(`${program.url}/song`, { host: "music.example" })).status, 200)
      assert.strictEqual((yield* view(`${program.url}/song`)).status, 404)
    }))

  it.live("is overridden by variables, and these by flags", () =>
    Effect.gen(function*() {
      const [inFile, inVariable, onLine] = [yield* makeTestOrigin, yield* makeTestOrigin, yield* makeTestOrigin]
      const file = yield* makeConfig((directory) => [
        `cache-dir = "${join(directory, "of-file")}"`,
        "port = 0",
        `origin = "/a=${inFile.url}"`,
        "[[route]]",
        "match = \"/section\"",
        `origin = "${inFile.url}"`
      ])
      const directory = yield* temporaryDirectory
      const env = { SPILLWAY_CONFIG: file, SPILLWAY_ORIGIN: `/b=${inVariable.url}` }
      const byVariable = yield* startProgram(["--cache-dir", directory], { env })
      assert.include(byVariable.stdout(), `origin /b=${inVariable.url}/ /section=${inFile.url}/, cache ${directory}`)
      yield* byVariable.stop()
      const byFlag = yield* startProgram(
        ["--cache-dir", directory, "--origin", `/c=${onLine.url}`, "--origin", `/section=${onLine.url}`],
        { env }
      )
      assert.include(
        byFlag.stdout(),
        `origin /c=${onLine.url}/ /section=${onLine.url}/ /section=${inFile.url}/, cache ${directory}`
      )
    }))

  it.live("with mistakes doesn't start, and each of them is a line", () =>
    Effect.gen(function*() {
      const file = yield* makeConfig(() => ["prot = 80", "", "[[route]]", "origin = \"media.example\""])
      const { code, stderr, stdout } = yield* runProgram(["serve", "--config", file])
      assert.strictEqual(code, 2)
      assert.strictEqual(stdout, "")
      assert.strictEqual(
        stderr,
        `spillway: ${file}:1: prot: there is no such key; did you mean port?\n` +
          `spillway: ${file}:4: route.origin: origin "media.example": not a URL; give one such as https://media.example.org\n`
      )
      const missing = yield* runProgram(["serve", "--config", `${file}.none`])
      assert.strictEqual(missing.code, 1)
      assert.strictEqual(missing.stderr, `spillway: cannot read ${file}.none (NotFound)\n`)
    }))

  it.live("is explained by check-config, without secrets", () =>
    Effect.gen(function*() {
      const file = yield* makeConfig(() => [
        `admin-token = "\${env:TOKEN}"`,
        `fleet-secret = "${SECRET}"`,
        "ttl = [\"1h\", \"/live/*=2s\"]",
        "[[route]]",
        "match = \"/films\"",
        "origin = [\"http://a.example/v\", { url = \"http://b.example\" }]",
        "[route.key]",
        "ignore = [\"token\", \"utm_*\"]",
        "[[route]]",
        "origin = \"http://c.example\"",
        "cookies = false"
      ])
      const env = { TOKEN: SECRET, SPILLWAY_TTL: "5m", SPILLWAY_MAX_SISE: SECRET }
      const { code, stderr, stdout } = yield* runProgram(
        ["check-config", file, "/films/x?token=1&v=2", "http://d.example/y"],
        { env }
      )
      assert.strictEqual(stderr, "")
      assert.strictEqual(code, 0)
      assert.strictEqual(
        stdout,
        `${file}: no mistakes, 3 options, 2 routes

admin-token = (secret)
fleet-secret = (secret)
ttl = 1h, /live/*=2s (overridden by SPILLWAY_TTL)

requests below /films: http://a.example/v, http://b.example/
  key.ignore = token, utm_*
all other requests: http://c.example/
  cookies = false

warning: SPILLWAY_MAX_SISE has no effect; did you mean SPILLWAY_MAX_SIZE?

/films/x?token=1&v=2: requests below /films
  cache key http://a.example/v/x?v=2
http://d.example/y: all other requests
  cache key http://c.example/y
`
      )
      Fs.appendFileSync(file, "\nkookies = true\n")
      const wrong = yield* runProgram(["check-config"], { env: { ...env, SPILLWAY_CONFIG: file } })
      assert.strictEqual(wrong.code, 2)
      assert.strictEqual(
        wrong.stderr,
        `spillway: ${file}:12: route.kookies: there is no such key; did you mean cookies?\n`
      )
    }))

  it.live("has a JSON Schema", () =>
    Effect.gen(function*() {
      const { code, stdout } = yield* runProgram(["check-config", "--schema"])
      assert.strictEqual(code, 0)
      assert.deepStrictEqual(JSON.parse(stdout), {
        $schema: "https://json-schema.org/draft/2020-12/schema",
        ...JSON.parse(JSON.stringify(jsonSchema))
      })
      assert.includeMembers(Object.keys(jsonSchema.properties!), ["port", "admin-token", "route"])
      assert.includeMembers(Object.keys(jsonSchema.properties!["route"]!.items!.properties!), ["match", "origin"])
    }))

  it.live("is as good as the example in deploy", () =>
    Effect.gen(function*() {
      const { code, stdout } = yield* runProgram(["check-config", join(root, "deploy/spillway.toml")])
      assert.strictEqual(code, 0)
      assert.include(stdout, "no mistakes")
    }))
})

describe("the secrets of a configuration file", () => {
  it.live(
    "reach the origin, and no output: log, metrics, API, dashboard and check-config",
    () =>
      Effect.gen(function*() {
        const origin = yield* makeTestOrigin
        origin.files.set("/a", fileOf(1000, 1, { headers: { "cache-control": "max-age=600", "x-powered-by": "PHP" } }))
        origin.handlers.set("/reset", (incoming) => incoming.socket.resetAndDestroy())
        const file = yield* makeConfig((directory) => [
          `cache-dir = "${join(directory, "cache")}"`,
          "min-free = 0",
          "log-level = \"all\"",
          "admin-token = \"${file:token}\"",
          "[[route]]",
          `origin = "${origin.url}"`,
          "[route.request-fields]",
          "set = { x-api-key = \"Key ${env:API_KEY}\", x-literal = \"literal-4f9a\" }",
          "[route.response-fields]",
          "set = { x-frame-options = \"DENY\" }",
          "remove = \"x-powered-by\""
        ])
        Fs.writeFileSync(join(dirname(file), "token"), `${SECRET}\n`)
        const env = { API_KEY: SECRET }
        const program = yield* startProgram(["--config", file], { env })
        yield* view(`${program.url}/a`)
        yield* eventuallyHit(`${program.url}/a`)
        // The second one is from memory.
        for (let i = 0; i < 2; i++) {
          const { headers } = yield* view(`${program.url}/a`)
          assert.strictEqual(headers["x-frame-options"], "DENY")
          assert.isUndefined(headers["x-powered-by"])
        }
        yield* view(`${program.url}/reset`)
        const { headers } = origin.requests.find(({ url }) => url === "/a")!
        assert.strictEqual(headers["x-api-key"], `Key ${SECRET}`)
        assert.strictEqual(headers["x-literal"], "literal-4f9a")
        const authorization = `Bearer ${SECRET}`
        const pages = ["api/status", "api/resources", "api/resource?url=/a", "api/why?url=/a", "metrics", "", "ready"]
        const outputs = yield* Effect.forEach(pages, (page) =>
          Effect.map(
            ask(program.url, `/_spillway/${page}`, { headers: { authorization } }),
            ({ body, headers }) => String(body) + JSON.stringify(headers)
          ))
        assert.strictEqual((yield* view(`${program.url}/_spillway/metrics`)).status, 401)
        const reload = yield* ask(program.url, "/_spillway/api/reload", { method: "POST", headers: { authorization } })
        assert.strictEqual(reload.status, 200)
        const { stdout } = yield* runProgram(["check-config", file], { env })
        assert.strictEqual(yield* program.stop(), 0)
        for (const output of [...outputs, String(reload.body), stdout, program.printed()]) {
          assert.notMatch(output, /(secret|literal)-4f9a/)
        }
      })
  )
})

describe("environment variables", () => {
  it.live("that are misspelt are logged with the nearest name", () =>
    Effect.gen(function*() {
      const program = yield* startProgram(
        ["http://127.0.0.1:9", "--offline", "--cache-dir", yield* temporaryDirectory],
        { env: { SPILLWAY_MEMROY: SECRET, SPILLWAY_SERVICE_HOST: "10.0.0.1", SPILLWAY_PORT_8080_TCP_ADDR: "10.0.0.1" } }
      )
      const warnings = program.printed().split("\n").filter((line) => line.includes("environment variable"))
      assert.lengthOf(warnings, 1)
      assert.include(warnings[0], "\"variable\":\"SPILLWAY_MEMROY\",\"advice\":\"Did you mean SPILLWAY_MEMORY?\"")
      assert.notInclude(program.printed(), SECRET)
    }))
})
