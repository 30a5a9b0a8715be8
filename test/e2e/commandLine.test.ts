import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs"
import { join } from "node:path"
import { headerBytes, PART_BYTES, payloadBytes } from "../../src/services/disk/chunkFormat.ts"
import { story } from "../support/cacheStatus.ts"
import { chunkFiles, temporaryDirectory } from "../support/disks.ts"
import { freePort } from "../support/freePort.ts"
import { eventually, eventuallyHit, runProgram, startProgram, view } from "../support/Program.ts"
import { fileOf, makeTestOrigin, MiB, sha256, type TestOrigin } from "../support/TestOrigin.ts"

const KiB = 1024

const ORIGIN = "http://127.0.0.1:9"

const wrong: ReadonlyArray<
  { readonly what: string; readonly args: ReadonlyArray<string>; readonly says: RegExp }
> = [
  { what: "a missing argument", args: ["pin"], says: /argument: url/ },
  { what: "a flag of another command", args: ["status", "--cache-dir", "x"], says: /no flag --cache-dir/ },
  { what: "nothing to purge", args: ["purge"], says: /exactly one of URL/ },
  { what: "nothing to fetch", args: ["warm"], says: /specify URLs/ },
  { what: "nothing to check", args: ["check-config"], says: /name a configuration file/ },
  { what: "an unknown flag", args: ["serve", ORIGIN, "--cache-dri", "x"], says: /--cache-dri/ },
  {
    what: "a misspelt command",
    args: ["staus"],
    says: /no command staus; did you mean status\? \(see spillway --help\)/
  },
  {
    what: "a misspelt flag",
    args: ["serve", ORIGIN, "--maxsize", "1"],
    says: /no flag --maxsize; did you mean --max-size\?/
  },
  { what: "too small a limit", args: ["ls", "--limit", "0"], says: /from 1 to \d+; got 0/ },
  { what: "a second origin", args: ["serve", ORIGIN, "http://127.0.0.1:10"], says: /./ },
  { what: "an origin without scheme", args: ["serve", "media.example.org"], says: /media\.example\.org.*URL/ },
  {
    what: "an origin of another scheme",
    args: ["serve", "ftp://media.example.org"],
    says: /only http, https and file/
  },
  { what: "an origin with a password", args: ["serve", "http://a:b@media.example.org"], says: /password/ },
  { what: "an origin with a query", args: ["serve", "http://media.example.org/?a=b"], says: /no query/ },
  { what: "a size that is none", args: ["serve", ORIGIN, "--max-size", "big"], says: /a size such as .*"big"/ },
  { what: "a negative size", args: ["serve", ORIGIN, "--min-free=-1"], says: /a size such as .*"-1"/ },
  { what: "too small a chunk", args: ["serve", ORIGIN, "--chunk-size", "1KiB"], says: /from 64KiB to 64MiB/ },
  { what: "too large a chunk", args: ["serve", ORIGIN, "--chunk-size", "1GiB"], says: /from 64KiB to 64MiB/ },
  {
    what: "a cache of less than four chunks",
    args: ["serve", ORIGIN, "--max-size", "2MiB", "--chunk-size", "1MiB"],
    says: /four chunks/
  },
  { what: "an invalid port", args: ["serve", ORIGIN, "--port", "99999"], says: /a port from 0 to 65535.*99999/ }
]

const failing: typeof wrong = [
  { what: "an address of another machine", args: ["serve", ORIGIN, "--host", "192.0.2.1"], says: /no such address/ },
  {
    what: "a list that does not exist",
    args: ["warm", "--from", "/nowhere"],
    says: /the list \/nowhere: there is no such file/
  },
  {
    what: "a configuration file that does not exist",
    args: ["check-config", "/nowhere"],
    says: /cannot read \/nowhere/
  },
  { what: "no server", args: ["status", "--server", "http://127.0.0.1:9"], says: /no server responds/ }
]

// Most of the time is the start of a process each.
describe.concurrent("a command that fails", () => {
  const fails = Effect.fnUntraced(function*({ args, says }: typeof wrong[number], code: number) {
    const cwd = yield* temporaryDirectory
    const ended = yield* runProgram(args, { env: { SPILLWAY_CACHE_DIR: cwd } })
    assert.deepStrictEqual([ended.code, ended.stdout], [code, ""])
    assert.match(ended.stderr, says)
    assert.match(ended.stderr, /^spillway: [^\n]+\n$/)
  })

  it.live.each(wrong)("$what: one line that says so, and exit code 2", (one) => fails(one, 2))

  it.live.each(failing)("$what: one line that says so, and exit code 1", (one) => fails(one, 1))

  it.live("no command: help, and exit code 2", () =>
    Effect.gen(function*() {
      const { code, stdout } = yield* runProgram([])
      assert.strictEqual(code, 2)
      assert.include(stdout, "SUBCOMMANDS")
    }))

  it.live("a port in use: one line that says so", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const { port } = new URL(origin.url)
      const directory = yield* temporaryDirectory
      const { code, stderr, stdout } = yield* runProgram(["serve", ORIGIN, "--cache-dir", directory, "--port", port])
      assert.strictEqual(code, 1)
      assert.strictEqual(stdout, "")
      assert.strictEqual(
        stderr,
        `spillway: cannot listen on 127.0.0.1:${port}: the port is in use; choose another one with --port\n`
      )
    }))

  it.live("in a variable: one line that names it", () =>
    Effect.gen(function*() {
      for (
        const [name, value, says] of [
          ["SPILLWAY_CHUNK_SIZE", "huge", /SPILLWAY_CHUNK_SIZE/],
          ["SPILLWAY_LOG_LEVEL", "loud", /SPILLWAY_LOG_LEVEL/]
        ] as const
      ) {
        const { code, stderr } = yield* runProgram(["serve", ORIGIN], { env: { [name]: value } })
        assert.strictEqual(code, 2)
        assert.match(stderr, says)
        assert.match(stderr, /^spillway: [^\n]+\n$/)
      }
    }))
})

/** The sizes of chunk files after a view of a file of 1 MiB, which tell the chunk size that is in force. */
const chunkSizes = Effect.fnUntraced(function*(
  origin: TestOrigin,
  args: ReadonlyArray<string>,
  env: Record<string, string>
) {
  const directory = yield* temporaryDirectory
  origin.files.set("/film", fileOf(MiB, 1))
  const program = yield* startProgram([origin.url, "--cache-dir", directory, "--min-free", "0", ...args], { env })
  yield* view(`${program.url}/film`)
  yield* program.stop("SIGTERM")
  return chunkFiles(directory).map(({ path }) => payloadBytes(Fs.statSync(path).size, Fs.readFileSync(path)))
})

describe("options", () => {
  it.live("come from the flag, or else the variable, or else the default", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const env = { SPILLWAY_CHUNK_SIZE: "256KiB" }
      assert.deepStrictEqual(yield* chunkSizes(origin, [], {}), [MiB])
      assert.deepStrictEqual(yield* chunkSizes(origin, [], env), Array(4).fill(256 * KiB))
      assert.deepStrictEqual(yield* chunkSizes(origin, ["--chunk-size", "524288"], env), Array(2).fill(512 * KiB))
    }))

  it.live("name the port: by variable, and by flag over it", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const directory = yield* temporaryDirectory
      const port = yield* freePort
      const env = { SPILLWAY_PORT: String(port), SPILLWAY_CACHE_DIR: directory }
      const first = yield* startProgram([origin.url], { env })
      assert.strictEqual(new URL(first.url).port, String(port))
      assert.include(first.stdout(), `cache ${directory}`)
      // That port is in use now.
      const args = ["--port", "0", "--cache-dir", yield* temporaryDirectory]
      const second = yield* startProgram([origin.url, ...args], { env })
      assert.notStrictEqual(new URL(second.url).port, String(port))
    }))
})

describe("the program", () => {
  it.live("starts and serves where the cache directory cannot be used, and says so", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const film = fileOf(3 * MiB, 1)
      origin.files.set("/film", film)
      const file = join(yield* temporaryDirectory, "file")
      Fs.writeFileSync(file, "not a directory")
      const program = yield* startProgram([origin.url, "--cache-dir", join(file, "cache")])
      yield* eventually("a warning", Effect.sync(() => program.printed().includes("Cache unusable")))
      for (let i = 0; i < 2; i++) {
        const { headers, sha256: hash, status } = yield* view(`${program.url}/film`)
        assert.strictEqual(status, 200)
        assert.strictEqual(hash, sha256(film.bytes))
        if (i === 0) assert.strictEqual(story(headers), "spillway; fwd=bypass; detail=IO_ERROR")
      }
      assert.strictEqual(yield* program.stop("SIGTERM"), 0)
    }))

  it.live("starts and says so where the origin is down", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      yield* origin.close
      const program = yield* startProgram([origin.url, "--cache-dir", yield* temporaryDirectory])
      yield* eventually("a warning", Effect.sync(() => program.printed().includes("The origin does not respond")))
      assert.strictEqual((yield* view(`${program.url}/film`)).status, 502)
      yield* origin.listen
      origin.files.set("/film", fileOf(MiB, 1))
      assert.strictEqual((yield* view(`${program.url}/film`)).status, 200)
    }))

  it.live("has doctor tell why an origin does not answer, and what to do", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      yield* origin.close
      const args = ["doctor", `${origin.url}/film?hidden`, "--cache-dir", yield* temporaryDirectory]
      const { code, stdout } = yield* runProgram(args)
      assert.strictEqual(code, 1)
      assert.match(
        stdout,
        /FAIL origin: http:\S+\/film\?…: .*connection refused \(ECONNREFUSED, \S+\)\n +> Start the origin/
      )
      assert.notInclude(stdout, "hidden")
    }))

  it.live("logs on stderr, and says on stdout where it listens and no more", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      yield* origin.close
      const directory = yield* temporaryDirectory
      const program = yield* startProgram([origin.url, "--cache-dir", directory])
      yield* eventually("a warning", Effect.sync(() => program.printed().includes("The origin does not respond")))
      assert.match(program.stderr(), /The origin does not respond.*connection refused \(ECONNREFUSED/)
      assert.strictEqual(
        program.stdout(),
        `spillway listening on ${program.url}, origin ${origin.url}/, cache ${directory}\n`
      )
    }))

  it.live(
    "refuses a cache directory that another process has, and takes one that a killed process had",
    () =>
      Effect.gen(function*() {
        const directory = yield* temporaryDirectory
        const first = yield* startProgram(["--cache-dir", directory], { command: "demo" })
        const { port } = new URL(first.url)
        const others = [
          ["demo", "--port", "0"],
          ["serve", ORIGIN, "--port", port],
          ["serve", ORIGIN, "--port", "0", "--workers", "2"]
        ]
        for (const args of others) {
          const { code, stderr, stdout } = yield* runProgram([...args, "--cache-dir", directory])
          assert.deepStrictEqual([code, stdout], [1, ""])
          assert.strictEqual(
            stderr,
            `spillway: cache directory ${directory} is in use by another process; choose another one with --cache-dir\n`
          )
        }
        yield* eventuallyHit(`${first.url}/sample.mp4`)
        yield* first.stop("SIGKILL")
        const third = yield* startProgram(["--cache-dir", directory], { command: "demo" })
        yield* eventuallyHit(`${third.url}/sample.mp4`)
        assert.strictEqual(yield* third.stop(), 0)
      })
  )

  it.live("shows itself with a sample, as a demo", () =>
    Effect.gen(function*() {
      const program = yield* startProgram(["--cache-dir", yield* temporaryDirectory], { command: "demo" })
      const command = `curl -s -o /dev/null -D - ${program.url}/large.bin`
      yield* eventually("instructions", Effect.sync(() => program.stdout().includes(command)))
      const page = yield* view(`${program.url}/`)
      assert.strictEqual(page.status, 200)
      assert.strictEqual(page.headers["content-type"], "text/html; charset=utf-8")
      const video = yield* view(`${program.url}/sample.mp4`)
      assert.strictEqual(video.headers["content-type"], "video/mp4")
      yield* eventuallyHit(`${program.url}/sample.mp4`)
      const seek = yield* view(`${program.url}/sample.mp4`, { range: "bytes=1000-1999" })
      assert.strictEqual(seek.status, 206)
      assert.strictEqual(seek.size, 1000)
      const large = yield* view(`${program.url}/large.bin`)
      assert.strictEqual(story(large.headers), "spillway; fwd=uri-miss; stored")
      assert.strictEqual(large.size, 64 * MiB)
      assert.strictEqual((yield* view(`${program.url}/large.bin`)).sha256, large.sha256)
    }))

  it.live("has verify remove a chunk of which one part is damaged, and no other", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const directory = yield* temporaryDirectory
      origin.files.set("/film", fileOf(MiB, 1))
      const args = ["--cache-dir", directory]
      const program = yield* startProgram([origin.url, ...args, "--min-free=0", "--chunk-size=256KiB"])
      yield* eventuallyHit(`${program.url}/film`)
      yield* program.stop("SIGTERM")
      const before = chunkFiles(directory)
      const { path } = before[2]!
      const bytes = Fs.readFileSync(path)
      bytes[headerBytes(256 * KiB) + PART_BYTES + 5]! ^= 1
      Fs.writeFileSync(path, bytes)
      const { code, stdout } = yield* runProgram(["verify", ...args])
      assert.strictEqual(code, 0)
      assert.include(stdout, "3 intact, 1 damaged and removed, 0 unreadable")
      assert.deepStrictEqual(chunkFiles(directory), before.toSpliced(2, 1))
      const again = yield* runProgram(["verify", "--json", ...args])
      assert.deepInclude(JSON.parse(again.stdout), { files: 1, chunks: 3, intact: 3, damaged: 0, unreadable: 0 })
    }))

  it.live("has doctor leave no directory behind that did not exist", () =>
    Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      const { code, stdout } = yield* runProgram([
        "doctor",
        "--cache-dir",
        join(directory, "a/b"),
        "--min-free",
        "0",
        "localhost:9"
      ])
      assert.strictEqual(code, 1)
      assert.include(stdout, "a/b is readable and writable")
      assert.include(stdout, "localhost:9: no answer from the origin: not a URL")
      assert.deepStrictEqual(Fs.readdirSync(directory), [])
    }))

  it.live("answers --version and --help", () =>
    Effect.gen(function*() {
      const { version } = JSON.parse(Fs.readFileSync(new URL("../../package.json", import.meta.url), "utf8"))
      const asked = yield* runProgram(["--version"])
      assert.strictEqual(asked.code, 0)
      assert.include(asked.stdout, version)
      const help = yield* runProgram(["serve", "--help"])
      assert.strictEqual(help.code, 0)
      for (const name of ["--host", "--port", "--cache-dir", "--max-size", "--min-free", "--chunk-size", "--memory"]) {
        assert.include(help.stdout, name)
      }
    }))
})
