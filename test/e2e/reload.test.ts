import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs"
import { join } from "node:path"
import type { EffectiveConfig } from "../../src/http/admin/api/model.ts"
import { ask } from "../http/TestProxy.ts"
import { temporaryDirectory } from "../support/disks.ts"
import { eventually, occurrences, openView, startProgram, view } from "../support/Program.ts"
import { fileOf, makeTestOrigin, MiB, sha256 } from "../support/TestOrigin.ts"

const STREAMS = 50

/** A program with a configuration file that can be written anew. */
const startWith = Effect.fnUntraced(function*(args: ReadonlyArray<string>, sections: string) {
  const directory = yield* temporaryDirectory
  const file = join(directory, "spillway.toml")
  const write = (text: string) => {
    Fs.writeFileSync(file, `cache-dir = "${join(directory, "cache")}"\nmin-free = 0\n${text}`)
  }
  write(sections)
  const program = yield* startProgram(["--config", file, ...args])
  const reload = Effect.map(ask(program.url, "/_spillway/api/reload", { method: "POST" }), ({ body, status }) => ({
    status,
    body: JSON.parse(String(body)) as unknown
  }))
  return { file, program, reload, write }
})

const section = (match: string, origin: string, more = ""): string =>
  `[[route]]\nmatch = "${match}"\norigin = "${origin}"\n${more}\n`

describe("a reload of the configuration file", () => {
  it.live.each([["by the API", []], ["by SIGHUP", []], ["with two workers", ["--workers", "2"]]] as const)(
    "%s: new requests use the new routes, and no stream is cut",
    ([how, args]) =>
      Effect.gen(function*() {
        const [before, after] = [yield* makeTestOrigin, yield* makeTestOrigin]
        let release = () => {}
        const released = new Promise<void>((resolve) => release = resolve)
        for (let i = 0; i < STREAMS; i++) {
          before.files.set(`/${i}`, { ...fileOf(MiB, i + 1), hold: { after: 100_000, until: released } })
        }
        after.files.set("/0", fileOf(MiB, 99))
        const { program, reload, write } = yield* startWith(args, section("/films", before.url))
        const viewers = yield* Effect.forEach(
          Array.from({ length: STREAMS }, (_, i) => `${program.url}/films/${i}`),
          (url) => openView(url),
          { concurrency: "unbounded" }
        )
        yield* Effect.forEach(viewers, ({ readTo }) => readTo(1000), { concurrency: "unbounded" })
        write(section("/music", after.url))
        if (how === "by SIGHUP") {
          program.process.kill("SIGHUP")
          yield* eventually(
            "the reload",
            Effect.sync(() => program.printed().includes("The configuration was reloaded"))
          )
        } else assert.deepStrictEqual(yield* reload, { status: 200, body: { routes: 1, restart: [] } })
        // Several, so that each worker is asked.
        for (let i = 0; i < 4; i++) {
          assert.strictEqual((yield* view(`${program.url}/films/0`)).status, 404)
          assert.strictEqual((yield* view(`${program.url}/music/0`)).sha256, sha256(fileOf(MiB, 99).bytes))
        }
        release()
        const views = yield* Effect.forEach(viewers, ({ rest }) => rest, { concurrency: "unbounded" })
        assert.deepStrictEqual(
          views.map(({ sha256 }) => sha256),
          views.map((_, i) => sha256(fileOf(MiB, i + 1).bytes))
        )
      })
  )

  it.live("with a mistake changes nothing, and says what is wrong", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      origin.files.set("/a", fileOf(1000, 1))
      const { file, program, reload, write } = yield* startWith([], section("/films", origin.url))
      write(`${section("/music", origin.url)}ttl = "soon"\nprefix = 1\n`)
      const { body, status } = yield* reload
      assert.strictEqual(status, 409)
      assert.deepStrictEqual(body, {
        message:
          `${file}:7: route.ttl: expected a duration such as 1h, or a path and a duration such as /live/*=2s; got "soon"\n` +
          `${file}:8: route.prefix: there is no such key`
      })
      Fs.rmSync(file)
      assert.deepStrictEqual(yield* reload, { status: 409, body: { message: `cannot read ${file} (NotFound)` } })
      write("")
      assert.strictEqual((yield* reload).status, 409)
      assert.strictEqual((yield* view(`${program.url}/films/a`)).status, 200)
      assert.strictEqual((yield* view(`${program.url}/music/a`)).status, 404)
      assert.strictEqual(
        occurrences(program.printed(), "The configuration was not reloaded; the former one stays in force"),
        3
      )
      // Without a file there is nothing to reload.
      const other = yield* startProgram([origin.url, "--cache-dir", yield* temporaryDirectory])
      assert.strictEqual((yield* ask(other.url, "/_spillway/api/reload", { method: "POST" })).status, 409)
    }))

  it.live(
    "names the options that need a restart, and applies rules to the requests that follow",
    () =>
      Effect.gen(function*() {
        const origin = yield* makeTestOrigin
        origin.files.set("/a?token=1", fileOf(1000, 1))
        origin.files.set("/a?token=2", fileOf(1000, 1))
        const { program, reload, write } = yield* startWith([], section("/", origin.url))
        write(
          `max-streams = 5\nidle-timeout = "1m"\n${
            section("/", origin.url, "key = { ignore = \"token\" }\nttl = \"1h\"")
          }`
        )
        assert.deepStrictEqual(yield* reload, {
          status: 200,
          body: { routes: 1, restart: ["max-streams", "idle-timeout"] }
        })
        yield* view(`${program.url}/a?token=1`)
        yield* eventually(
          "a hit",
          Effect.map(
            view(`${program.url}/a?token=2`),
            ({ headers }) => String(headers["cache-status"]).startsWith("spillway; hit")
          )
        )
      })
  )

  it.live.each([["one process", []], ["two workers", ["--workers", "2"]]] as const)(
    "of %s is seen in the configuration in effect, with where each value comes from",
    ([, args]) =>
      Effect.gen(function*() {
        const secret = "secret-4f9a"
        const directory = yield* temporaryDirectory
        const file = join(directory, "spillway.toml")
        const write = (text: string) => Fs.writeFileSync(file, `cache-dir = "${join(directory, "cache")}"\n${text}`)
        write(`ttl = "1h"\nmax-streams = 5\nmemory = "1MiB"\n${section("/films", "http://127.0.0.1:9")}`)
        const program = yield* startProgram(
          ["http://127.0.0.1:9", "--config", file, "--min-free", "0", "--log-level", "warn", ...args],
          { env: { SPILLWAY_MEMORY: "64MiB", SPILLWAY_ADMIN_TOKEN: secret, SPILLWAY_PASSWORD_OF_ORIGIN: secret } }
        )
        const headers = { authorization: `Bearer ${secret}` }
        const config = Effect.map(ask(program.url, "/_spillway/api/config", { headers }), ({ body }) => {
          assert.notInclude(String(body), secret)
          return JSON.parse(String(body)) as EffectiveConfig
        })
        const first = yield* config
        const option = ({ options }: EffectiveConfig, name: string) => options.find((option) => option.name === name)
        for (
          const [name, source, ...values] of [
            ["max-size", "default", "10GiB"],
            ["max-streams", "file", "5"],
            ["memory", "variable", "64MiB"],
            ["min-free", "flag", "0B"],
            ["log-level", "flag", "warn"],
            ["ttl", "file", "1h"],
            ["admin-token", "variable", "(secret)"],
            ["fleet", "default"]
          ] as const
        ) assert.deepStrictEqual(option(first, name), { name, source, values })
        const origins = [{ url: "http://127.0.0.1:9/", keys: [] }]
        assert.deepStrictEqual(first.routes, [
          { match: "*", source: "argument", origins, keys: [] },
          { match: "/films", source: "file", origins, keys: [] }
        ])
        assert.strictEqual(first.file?.path, file)

        write(
          `ttl = ["2h"]\nmax-streams = 6\nmemory = "2MiB"\n[[route]]\nmatch = "/music"\nfinish = true\n[route.origin]\n` +
            `url = "http://127.0.0.1:9/"\nuser = "u"\npassword = "\${env:SPILLWAY_PASSWORD_OF_ORIGIN}"\n`
        )
        assert.strictEqual((yield* ask(program.url, "/_spillway/api/reload", { method: "POST", headers })).status, 200)
        const second = yield* config
        assert.deepStrictEqual(option(second, "ttl")!.values, ["2h"])
        // The former is in effect until a restart, and what overrides the file stays so after it.
        assert.deepStrictEqual(option(second, "max-streams"), {
          name: "max-streams",
          values: ["5"],
          source: "file",
          afterRestart: { values: ["6"], source: "file" }
        })
        assert.deepStrictEqual(option(second, "memory"), option(first, "memory"))
        assert.deepStrictEqual(second.routes[1], {
          match: "/music",
          source: "file",
          origins: [{
            url: "http://127.0.0.1:9/",
            keys: [{ name: "user", values: ["(secret)"] }, { name: "password", values: ["(secret)"] }]
          }],
          keys: [{ name: "finish", values: ["true"] }]
        })
        assert.isAtLeast(Date.parse(second.file!.readAt), Date.parse(first.file!.readAt))

        write("ttl = 7\n")
        assert.strictEqual((yield* ask(program.url, "/_spillway/api/reload", { method: "POST", headers })).status, 409)
        assert.deepStrictEqual(yield* config, second)
      })
  )
})
