import { assert, describe, it } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import { spawn } from "node:child_process"
import * as Fs from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { ask } from "../http/TestProxy.ts"
import { find, run } from "../support/command.ts"
import { temporaryDirectory } from "../support/disks.ts"
import { freePort } from "../support/freePort.ts"
import { eventually, openView, startProgram, view, ViewFailed } from "../support/Program.ts"
import { fileOf, makeTestOrigin, MiB, sha256 } from "../support/TestOrigin.ts"

const CONFIGURATION = fileURLToPath(new URL("../../deploy/nginx/spillway.conf", import.meta.url))

const nginx = find("nginx") ?? ["/usr/sbin/nginx"].find((path) => Fs.existsSync(path))
if (nginx === undefined) process.stderr.write("skipped: nginx in front: there is no nginx\n")

/** The configuration as it is, but for addresses and what `change` changes, in a directory of its own. */
const configure = Effect.fnUntraced(function*(directory: string, port: number, spillway: string, change: Change) {
  const text = change(Fs.readFileSync(CONFIGURATION, "utf8"))
  assert.include(text, "server spillway:8080;")
  assert.include(text, "listen 80;")
  Fs.writeFileSync(
    join(directory, "spillway.conf"),
    text.replace("server spillway:8080;", `server ${spillway};`).replace("listen 80;", `listen 127.0.0.1:${port};`)
  )
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    .map((name) => `${name}_temp_path ${directory}/${name};`)
  const main = join(directory, "nginx.conf")
  Fs.writeFileSync(
    main,
    `daemon off; master_process off; pid ${directory}/pid; error_log stderr warn; events {}
     http { access_log off; ${temporary.join(" ")} include ${directory}/spillway.conf; }`
  )
  return main
})

type Change = (text: string) => string

/** Starts nginx before `spillway`; it ends with the scope. */
const startNginx = (
  spillway: string,
  change: Change = (text) => text
): Effect.Effect<string, ViewFailed, Scope.Scope> =>
  Effect.gen(function*() {
    const directory = yield* temporaryDirectory
    const port = yield* freePort
    const main = yield* configure(directory, port, spillway, change)
    const tested = yield* run(nginx!, ["-t", "-p", directory, "-e", "stderr", "-c", main])
    assert.strictEqual(tested.code, 0, tested.stderr)
    assert.notInclude(tested.stderr, "[warn]")
    yield* Effect.acquireRelease(
      Effect.sync(() => spawn(nginx!, ["-p", directory, "-e", "stderr", "-c", main], { stdio: "inherit" })),
      (child) =>
        Effect.callback<void>((resume) => {
          if (child.exitCode !== null) return resume(Effect.void)
          child.once("exit", () => resume(Effect.void))
          child.kill("SIGTERM")
        })
    )
    const url = `http://127.0.0.1:${port}`
    yield* eventually("nginx", Effect.isSuccess(view(`${url}/_spillway/ready`)))
    return url
  })

describe.skipIf(nginx === undefined)("nginx in front", () => {
  it.live(
    "passes on what is asked and answered as it comes",
    () =>
      Effect.gen(function*() {
        const origin = yield* makeTestOrigin
        const directory = yield* temporaryDirectory
        const args = ["--cache-dir", directory, "--min-free", "0", "--max-size", "1GiB", "--memory", "8MiB"]
        const program = yield* startProgram([origin.url, ...args])
        const url = yield* startNginx(new URL(program.url).host)
        const film = fileOf(96 * MiB, 1)
        origin.files.set("/film", film)

        // Large files, whole and in part, cold and warm.
        const cold = yield* view(`${url}/film`)
        assert.deepInclude(cold, { status: 200, size: film.bytes.length, sha256: sha256(film.bytes) })
        const part = yield* view(`${url}/film`, { range: "bytes=50000000-50999999" })
        assert.deepInclude(part, { status: 206, sha256: sha256(film.bytes.subarray(50_000_000, 51_000_000)) })
        assert.match(String(part.headers["cache-status"]), /^spillway; hit/)

        // Nothing is taken from Spillway that the viewer does not take: nginx has no buffer but those of the sockets.
        yield* Effect.scoped(Effect.gen(function*() {
          const other = fileOf(160 * MiB, 2)
          origin.files.set("/other", other)
          const viewer = yield* openView(`${url}/other`)
          yield* viewer.readTo(MiB)
          const sent = () => origin.requests.find((request) => request.url === "/other")!.sent
          let before = 0
          yield* eventually(
            "a pause",
            Effect.sync(() => {
              const isSame = sent() === before
              before = sent()
              return isSame
            }).pipe(Effect.delay("300 millis"))
          )
          // What the sockets of three connections hold.
          assert.isBelow(before, other.bytes.length / 2)
        }))

        // An upload of more than nginx takes by itself goes through to the origin.
        let uploaded = 0
        origin.handlers.set("/upload", (request, response) => {
          request.on("data", (piece: Buffer) => uploaded += piece.length).on("end", () => response.end("taken"))
        })
        const upload = yield* ask(url, "/upload", { method: "POST", body: "x".repeat(3 * MiB) })
        assert.deepEqual([upload.status, upload.body.toString(), uploaded], [200, "taken", 3 * MiB])

        // An answer that the origin cuts is cut for the viewer too, once its head has left.
        origin.handlers.set("/cut", (_, response) => {
          response.writeHead(200, { "content-length": String(16 * MiB) })
          response.write(Buffer.alloc(8 * MiB), () => response.destroy())
        })
        assert.instanceOf(yield* Effect.flip(view(`${url}/cut`)), ViewFailed)
      })
  )

  it.live("does not pass itself off as the machine that it is on", () =>
    Effect.gen(function*() {
      const program = yield* startProgram(["--cache-dir", yield* temporaryDirectory], { command: "demo" })
      const host = new URL(program.url).host
      const url = yield* startNginx(host)
      const page = (path: string) => ask(url, `/_spillway/${path}`, { headers: { host: "localhost" } })
      assert.strictEqual((yield* page("metrics")).status, 404)
      assert.strictEqual((yield* page("api/status")).status, 404)
      assert.deepStrictEqual(JSON.parse((yield* page("health")).body.toString()), { status: "ok" })
      assert.deepStrictEqual(JSON.parse((yield* page("ready")).body.toString()), { status: "ready" })
      // Where nginx has no rule for them, Spillway knows by X-Forwarded-For whom the request is of.
      const open = yield* startNginx(host, (text) => text.replace("return 404;", "proxy_pass http://spillway;"))
      const asked = yield* ask(open, "/_spillway/metrics", { headers: { host: "localhost" } })
      assert.strictEqual(asked.status, 403)
    }))
})
