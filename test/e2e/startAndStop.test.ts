import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { spawn } from "node:child_process"
import * as Fs from "node:fs"
import { join } from "node:path"
import { find, run } from "../support/command.ts"
import { temporaryDirectory } from "../support/disks.ts"
import { eventually, main, openView, type Program, runProgram, startProgram, view } from "../support/Program.ts"
import { fileOf, makeTestOrigin, MiB, type TestOrigin } from "../support/TestOrigin.ts"

/** More than what fits into the buffers on the way. */
const FILM_BYTES = 24 * MiB

/** A program with a viewer that has begun to read a file, and reads no further. */
const startWithViewer = Effect.fnUntraced(function*(...args: ReadonlyArray<string>) {
  const origin: TestOrigin = yield* makeTestOrigin
  origin.files.set("/film", fileOf(FILM_BYTES, 1))
  const directory = yield* temporaryDirectory
  const program = yield* startProgram([origin.url, "--cache-dir", directory, "--min-free", "0", ...args])
  const viewer = yield* openView(`${program.url}/film`)
  yield* viewer.readTo(1)
  return { origin, program, viewer }
})

const hasEnded = ({ process }: Program): boolean => process.exitCode !== null || process.signalCode !== null

const processIds = ({ process }: Program): ReadonlyArray<string> =>
  Fs.readFileSync(`/proc/${process.pid}/task/${process.pid}/children`, "utf8").trim().split(" ").filter((id) =>
    id !== ""
  )

describe("an old Node", () => {
  it.live.each(["22.18.0", "20.20.2", "8.0.0"])("%s is refused in one line", (version) =>
    Effect.gen(function*() {
      const disguise = `data:text/javascript,Object.defineProperty(process,"versions",{value:{node:"${version}"}})`
      const { code, stderr, stdout } = yield* run(process.execPath, ["--import", disguise, main, "--version"])
      assert.deepStrictEqual([code, stdout], [1, ""])
      assert.strictEqual(
        stderr,
        `spillway: needs Node 22.19 or newer; this is Node ${version} (${process.execPath})\n`
      )
    }))

  it("is one that the package doesn't support", () => {
    const { engines } = JSON.parse(Fs.readFileSync(new URL("../../package.json", import.meta.url), "utf8"))
    assert.strictEqual(engines.node, ">=22.19")
  })
})

describe("a server without an origin", () => {
  it.live.each([{ flags: [] }, { flags: ["--offline"] }, { flags: ["--origin", ""] }])(
    "doesn't start with $flags",
    ({ flags }) =>
      Effect.gen(function*() {
        const { code, stderr, stdout } = yield* runProgram(["serve", "--port", "0", ...flags])
        assert.deepStrictEqual([code, stdout], [2, ""])
        assert.match(stderr, /^spillway: [^\n]*\n$/)
      })
  )

  it.live("says what to do", () =>
    Effect.gen(function*() {
      const { stderr } = yield* runProgram(["serve"], { env: { SPILLWAY_ORIGN: "http://127.0.0.1:9" } })
      assert.include(stderr, "no origin")
      assert.include(stderr, "spillway serve https://")
      assert.include(stderr, "spillway demo")
    }))

  it.live("is no demo: that ignores the origin of the environment", () =>
    Effect.gen(function*() {
      const args = ["--cache-dir", yield* temporaryDirectory]
      const program = yield* startProgram(args, { command: "demo", env: { SPILLWAY_ORIGIN: "http://127.0.0.1:9" } })
      assert.strictEqual((yield* view(`${program.url}/sample.mp4`)).status, 200)
    }))
})

describe("a signal", () => {
  it.live.each(["SIGINT", "SIGTERM"] as const)(
    "%s lets a stream finish, and says so",
    (signal) =>
      Effect.gen(function*() {
        const { program, viewer } = yield* startWithViewer()
        program.process.kill(signal)
        yield* eventually(
          "a line",
          Effect.sync(() => program.stderr().includes("Stopping: 1 stream may finish within 10 seconds"))
        )
        assert.strictEqual((yield* viewer.rest).size, FILM_BYTES)
        yield* eventually("the end", Effect.sync(() => hasEnded(program)))
        assert.strictEqual(program.process.exitCode, 0)
      })
  )

  it.live.each([["SIGINT", 130], ["SIGTERM", 143]] as const)(
    "%s ends the program at once if it is the second",
    ([signal, code]) =>
      Effect.gen(function*() {
        const { program, viewer } = yield* startWithViewer()
        program.process.kill(signal)
        yield* eventually("a line", Effect.sync(() => program.stderr().includes("another signal stops at once")))
        // Signals in quick succession count as one.
        yield* eventually(
          "the end",
          Effect.sync(() => hasEnded(program) || !program.process.kill(signal))
        )
        // A third signal can come before the process has ended.
        assert.include([code, signal], yield* program.stop())
        assert.strictEqual((yield* Effect.flip(viewer.rest)).message, "aborted")
      })
  )

  it.live("ends workers with their owner", () =>
    Effect.gen(function*() {
      const { program, viewer } = yield* startWithViewer("--workers", "2")
      const workers = processIds(program)
      assert.lengthOf(workers, 2)
      // As a terminal sends it.
      const interrupt = () => {
        for (const id of [String(program.process.pid), ...workers]) {
          if (Fs.existsSync(`/proc/${id}`)) process.kill(Number(id), "SIGINT")
        }
      }
      interrupt()
      yield* eventually("a line", Effect.sync(() => program.stderr().includes("another signal stops at once")))
      yield* eventually(
        "the end",
        Effect.sync(() => {
          interrupt()
          return hasEnded(program)
        })
      )
      assert.include([130, "SIGINT"], yield* program.stop())
      yield* Effect.flip(viewer.rest)
      yield* eventually(
        "the end of the workers",
        Effect.sync(() => workers.every((id) => !Fs.existsSync(`/proc/${id}`)))
      )
    }))

  it.live("makes other commands fail", () =>
    Effect.gen(function*() {
      const { origin, program } = yield* startWithViewer()
      // Its body never ends.
      origin.handlers.set("/endless", (_, response) => {
        response.writeHead(200, { "content-length": String(FILM_BYTES), "etag": "\"endless\"" })
        response.write(Buffer.alloc(1000))
      })
      const child = spawn(process.execPath, [main, "warm", "/endless", "--server", program.url], { stdio: "ignore" })
      const ended = new Promise((resolve) => child.on("close", resolve))
      yield* eventually(
        "a job",
        Effect.promise(() =>
          fetch(`${program.url}/_spillway/api/warm`).then((response) => response.text()).then((text) =>
            text.includes("/endless")
          )
        )
      )
      child.kill("SIGINT")
      assert.strictEqual(yield* Effect.promise(() => ended), 130)
    }))
})

const activate = find("systemd-socket-activate")
const notify = find("systemd-notify")
const canNotify = activate !== undefined && notify !== undefined
if (!canNotify) process.stderr.write("skipped: notifications of systemd: there is no systemd\n")

describe.skipIf(!canNotify)("a service manager", () => {
  it.live("learns when the server listens, and when it stops", () =>
    Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      const socket = join(directory, "notify")
      const messages = join(directory, "messages")
      // Receives datagrams as systemd does.
      const receiver = yield* Effect.acquireRelease(
        Effect.sync(() =>
          spawn(activate!, ["--datagram", "--inetd", "-l", socket, "sh", "-c", `exec cat > ${messages}`], {
            stdio: "ignore"
          })
        ),
        (receiver) => Effect.sync(() => receiver.kill("SIGKILL"))
      )
      assert.isDefined(receiver.pid)
      yield* eventually("a socket", Effect.sync(() => Fs.existsSync(socket)))
      // Its message arrives before it ends, so the signal comes while the program still waits for it.
      const slow = `#!/bin/sh\n${notify} "$@"\ncase $1 in READY=1) sleep 2;; esac\n`
      Fs.writeFileSync(join(directory, "systemd-notify"), slow, { mode: 0o755 })
      const program = yield* startProgram(["http://127.0.0.1:9", "--cache-dir", join(directory, "cache")], {
        env: { NOTIFY_SOCKET: socket, PATH: `${directory}:${process.env["PATH"]}` }
      })
      const received = () => Fs.existsSync(messages) ? Fs.readFileSync(messages, "utf8") : ""
      yield* eventually("ready", Effect.sync(() => received().includes(`READY=1\nSTATUS=Listening on ${program.url}`)))
      assert.strictEqual(yield* program.stop(), 0)
      yield* eventually("the stop", Effect.sync(() => received().includes("STOPPING=1\nSTATUS=Stopping")))
    }))
})

describe("verify", () => {
  it.live.each(["/nowhere", "an empty directory"])("refuses %s, which has no cache", (name) =>
    Effect.gen(function*() {
      const directory = name === "/nowhere" ? name : yield* temporaryDirectory
      const { code, stderr, stdout } = yield* runProgram(["verify", "--cache-dir", directory])
      assert.deepStrictEqual([code, stdout], [1, ""])
      assert.strictEqual(
        stderr,
        `spillway: ${directory} has no cache; specify the server's directory with --cache-dir\n`
      )
    }))
})
