import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { spawn } from "node:child_process"
import { type AddressInfo, connect, createServer } from "node:net"
import { Snapshot } from "../../src/http/admin/api/model.ts"
import { find } from "../support/command.ts"
import { temporaryDirectory } from "../support/disks.ts"
import { eventually, main, openView, runProgram, startProgram } from "../support/Program.ts"
import { fileOf, makeTestOrigin, MiB } from "../support/TestOrigin.ts"

/** A server with a stream that goes no further. */
const start = Effect.gen(function*() {
  const origin = yield* makeTestOrigin
  origin.files.set("/film", fileOf(64 * MiB, 1))
  const program = yield* startProgram([origin.url, "--cache-dir", yield* temporaryDirectory, "--min-free", "0"])
  const viewer = yield* openView(`${program.url}/film`)
  yield* viewer.readTo(1)
  return { program, film: `${origin.url}/film` }
})

/** An address that leads to one server after the other, as it does when a server restarts. Between them, connections are refused. */
const makeAddress = Effect.gen(function*() {
  let port: number | undefined
  const server = createServer((socket) => {
    if (port === undefined) return void socket.destroy()
    const onward = connect(port, "127.0.0.1")
    onward.on("error", () => socket.destroy())
    socket.on("error", () => onward.destroy())
    socket.pipe(onward).pipe(socket)
  })
  yield* Effect.acquireRelease(
    Effect.promise(() => new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve))),
    () => Effect.sync(() => void server.close())
  )
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    leadTo: (url: string): void => {
      port = Number(new URL(url).port)
    }
  }
})

/** The screens of `top` for `server` in a terminal. `last` is the latest one that is whole. */
const startTop = Effect.fnUntraced(function*(server: string) {
  const command = `${process.execPath} ${main} top --server ${server}`
  const child = spawn(script!, ["-qec", command, "/dev/null"], { stdio: ["pipe", "pipe", "ignore"] })
  yield* Effect.addFinalizer(() => Effect.sync(() => child.kill("SIGKILL")))
  let printed = ""
  child.stdout.on("data", (data: Buffer) => printed += data.toString())
  return { child, printed: () => printed, last: () => printed.split("\u001b[H").at(-2) ?? "" }
})

const script = find("script")
if (script === undefined) process.stderr.write("skipped: spillway top in a terminal: there is no script\n")

describe("spillway top", () => {
  it.live("prints a snapshot without a terminal, or as many as are requested", () =>
    Effect.gen(function*() {
      const { film, program } = yield* start
      const { code, stdout } = yield* runProgram(["top", "--server", program.url])
      assert.strictEqual(code, 0)
      assert.match(stdout, /^spillway \S+, up .*, 1 stream, 0 % hits\n/)
      assert.match(stdout, /\nrequests +\d+\.\d +\d+\.\d +1\n/)
      assert.include(stdout, film)
      const json = yield* runProgram(["top", "--server", program.url, "--json", "--count", "2"])
      const lines = json.stdout.trimEnd().split("\n")
      assert.lengthOf(lines, 2)
      for (const line of lines) {
        const { streams } = yield* Schema.decodeUnknownEffect(Schema.fromJsonString(Snapshot))(line)
        assert.deepStrictEqual(streams.map(({ url }) => url), [film])
      }
    }))

  it.live("fails if the server ends before all snapshots are there", () =>
    Effect.gen(function*() {
      const { program } = yield* start
      const child = spawn(process.execPath, [main, "top", "--json", "--count", "100000", "--server", program.url], {
        stdio: ["ignore", "pipe", "pipe"]
      })
      yield* Effect.addFinalizer(() => Effect.sync(() => child.kill("SIGKILL")))
      const printed = { stdout: "", stderr: "" }
      for (const name of ["stdout", "stderr"] as const) {
        child[name].on("data", (data: Buffer) => printed[name] += data.toString())
      }
      yield* eventually("a snapshot", Effect.sync(() => printed.stdout.includes("\n")))
      yield* program.stop("SIGKILL")
      yield* eventually("the end", Effect.sync(() => child.exitCode !== null))
      assert.strictEqual(child.exitCode, 1)
      assert.match(printed.stderr, /^spillway: [^\n]*\n$/)
    }))

  it.live("fails in one line if there is no server", () =>
    Effect.gen(function*() {
      const { code, stderr, stdout } = yield* runProgram(["top", "--server", "http://127.0.0.1:9"])
      assert.deepStrictEqual([code, stdout], [1, ""])
      assert.match(stderr, /^spillway: no server responds at http:\/\/127\.0\.0\.1:9; [^\n]*\n$/)
    }))
})

describe.skipIf(script === undefined)("spillway top in a terminal", () => {
  it.live.each([["q", "q"], ["Ctrl-C", "\u0003"]])(
    "has a screen of its own until %s",
    ([, key]) =>
      Effect.gen(function*() {
        const { film, program } = yield* start
        const { child, last, printed } = yield* startTop(program.url)
        yield* eventually("a screen", Effect.sync(() => last().includes(film)))
        assert.notInclude(printed(), "\u001b[?1049l")
        child.stdin.write(key)
        yield* eventually("the end", Effect.sync(() => child.exitCode !== null))
        assert.strictEqual(child.exitCode, 0)
        // The cursor and the former screen are back.
        assert.isTrue(printed().trimEnd().endsWith("\u001b[?25h\u001b[?1049l"), JSON.stringify(printed().slice(-80)))
      })
  )

  it.live("stays when the server restarts or hangs, says that it is gone, and shows it again", () =>
    Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      const start = startProgram(["http://127.0.0.1:9", "--cache-dir", directory])
      const address = yield* makeAddress
      const first = yield* start
      address.leadTo(first.url)
      const { child, last } = yield* startTop(address.url)
      const shows = (what: string, check: (screen: string) => boolean) =>
        eventually(what, Effect.sync(() => check(last())))
      const isGone = (screen: string) => screen.includes(`${address.url} has been GONE since`)
      const isBack = (screen: string) => /^spillway \S+, up/.test(screen)
      yield* shows("a screen", isBack)
      yield* first.stop()
      yield* shows("that it is gone", isGone)
      const second = yield* start
      address.leadTo(second.url)
      yield* shows("that it is back", isBack)
      second.process.kill("SIGSTOP")
      yield* shows("that it is gone again", isGone)
      second.process.kill("SIGCONT")
      yield* shows("that it is back again", isBack)
      child.stdin.write("q")
      yield* eventually("the end", Effect.sync(() => child.exitCode !== null))
      assert.strictEqual(child.exitCode, 0)
    }))

  it.live("ends if another server answers there", () =>
    Effect.gen(function*() {
      const address = yield* makeAddress
      const program = yield* startProgram(["http://127.0.0.1:9", "--cache-dir", yield* temporaryDirectory])
      address.leadTo(program.url)
      const { child, last, printed } = yield* startTop(address.url)
      yield* eventually("a screen", Effect.sync(() => last() !== ""))
      const origin = yield* makeTestOrigin
      address.leadTo(origin.url)
      yield* program.stop()
      yield* eventually("the end", Effect.sync(() => child.exitCode !== null))
      assert.strictEqual(child.exitCode, 1)
      assert.match(printed(), /is not a Spillway server of this version/)
    }))
})
