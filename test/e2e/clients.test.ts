import { assert, describe, it, layer } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { execFile, spawnSync } from "node:child_process"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { gzipSync } from "node:zlib"
import { story } from "../support/cacheStatus.ts"
import { temporaryDirectory } from "../support/disks.ts"
import { startProgram } from "../support/Program.ts"
import { makeTestOrigin, type OriginFile, randomBytes, sha256, type TestOrigin } from "../support/TestOrigin.ts"
import { withoutHedges } from "../support/withoutHedges.ts"

const video = readFileSync(new URL("../../assets/sample.mp4", import.meta.url))
const large = randomBytes(5_000_000, 4)

/** `describe`, unless the client is not there, which is said. */
const describeWith = (command: string, versionFlag: string) => {
  const isThere = spawnSync(command, [versionFlag]).status === 0
  if (!isThere) process.stdout.write(`${command} is not installed: its tests are skipped\n`)
  return describe.skipIf(!isThere)
}

interface Ended {
  readonly code: number
  readonly stdout: Buffer
  readonly stderr: string
}

/** Runs a client to its end. Its standard input is empty. */
const run = (command: string, args: ReadonlyArray<string>): Effect.Effect<Ended> =>
  Effect.callback((resume) => {
    const options = { encoding: "buffer", maxBuffer: 64 * 1024 ** 2 } as const
    const child = execFile(command, args, options, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === "number" ? error.code : -1
      resume(Effect.succeed({ code, stdout, stderr: stderr.toString() }))
    })
    child.stdin?.end()
    return Effect.sync(() => child.kill("SIGKILL"))
  })

/** The program before an origin. Each test puts files of its own there. */
class Running extends Context.Service<Running, {
  readonly directory: string
  readonly origin: TestOrigin
  readonly url: string
}>()("spillway/test/e2e/clients.test/Running") {
  static readonly layer = Layer.effect(
    Running,
    Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      const origin = yield* makeTestOrigin
      const cache = ["--cache-dir", join(directory, "cache"), "--chunk-size", "64KiB", "--min-free", "0"]
      const { url } = yield* startProgram([...(yield* withoutHedges(origin.url)), ...cache])
      return { directory, origin, url }
    })
  )
}

/** Puts a file at the origin: its place there and here, and how many bytes the origin has sent of it. */
const put = Effect.fnUntraced(function*(name: string, bytes: Buffer, options: Partial<OriginFile> = {}) {
  const { origin, url } = yield* Running
  const headers = { "cache-control": "max-age=60" }
  const file = { bytes, etag: `"${name}"`, contentType: "video/mp4", headers, ...options }
  const path = `/${name}`
  origin.files.set(path, file)
  const requests = () => origin.requests.filter((request) => request.url === path)
  return {
    file,
    direct: `${origin.url}${path}`,
    url: `${url}${path}`,
    path,
    requests,
    sent: () => requests().reduce((sum, { sent }) => sum + sent, 0)
  }
})

const curl = (...args: ReadonlyArray<string>) => run("curl", ["--silent", "--show-error", "--max-time", "20", ...args])

/** The statuses and fields of an answer that was written with `--dump-header`. */
const headOf = (text: string) => {
  const [statusLine, ...lines] = text.trim().split("\r\n")
  const fields = lines.map((
    line
  ) => [line.slice(0, line.indexOf(":")).toLowerCase(), line.slice(line.indexOf(":") + 2)])
  return { status: Number(statusLine!.split(" ")[1]), headers: Object.fromEntries(fields) as Record<string, string> }
}

describeWith("curl", "--version")("curl", () => {
  layer(Running.layer, { excludeTestServices: true })((it) => {
    it.effect("gets a file, and gets it again from the cache", () =>
      Effect.gen(function*() {
        const { sent, url } = yield* put("twice", large)
        for (let i = 0; i < 2; i++) {
          const { code, stderr, stdout } = yield* curl(url)
          assert.strictEqual(code, 0, stderr)
          assert.strictEqual(sha256(stdout), sha256(large))
        }
        assert.strictEqual(sent(), large.length)
      }))

    it.effect("resumes a download with -C -, cold and warm", () =>
      Effect.gen(function*() {
        const { directory } = yield* Running
        const { url } = yield* put("resumed", large)
        for (const [i, had] of [1_234_567, 1, large.length - 1].entries()) {
          const at = join(directory, `resumed-${i}`)
          writeFileSync(at, large.subarray(0, had))
          const { code, stderr } = yield* curl("-C", "-", "-o", at, url)
          assert.strictEqual(code, 0, stderr)
          assert.strictEqual(sha256(readFileSync(at)), sha256(large))
        }
      }))

    it.effect("resumes a download that broke off", () =>
      Effect.gen(function*() {
        const { directory, origin } = yield* Running
        const { file, path, url } = yield* put("broken", large, { rate: 2_000_000 })
        const at = join(directory, "broken")
        const broken = yield* curl("--max-time", "1", "-o", at, url)
        assert.strictEqual(broken.code, 28, broken.stderr)
        assert.isBelow(readFileSync(at).length, large.length)
        const { rate: _, ...quick } = file
        origin.files.set(path, quick)
        const resumed = yield* curl("-C", "-", "-o", at, url)
        assert.strictEqual(resumed.code, 0, resumed.stderr)
        assert.strictEqual(sha256(readFileSync(at)), sha256(large))
      }))

    it.effect("gets ranges, cold and warm", () =>
      Effect.gen(function*() {
        const { url } = yield* put("ranges", large)
        const ranges: ReadonlyArray<readonly [string, number, number]> = [
          ["0-0", 0, 1],
          ["100000-199999", 100_000, 200_000],
          ["4999990-", 4_999_990, 5_000_000],
          ["-5", 4_999_995, 5_000_000]
        ]
        for (const [range, from, to] of [...ranges, ...ranges]) {
          const { code, stderr, stdout } = yield* curl("--range", range, "--fail", url)
          assert.strictEqual(code, 0, stderr)
          assert.isTrue(stdout.equals(large.subarray(from, to)), range)
        }
      }))

    it.effect("sees by --head what it would get", () =>
      Effect.gen(function*() {
        const { sent, url } = yield* put("head", video)
        // The HEAD of an unknown file stores nothing; the GET behind it does.
        for (const expected of ["spillway; fwd=uri-miss", "spillway; hit"]) {
          const { stdout } = yield* curl("--head", url)
          const { headers, status } = headOf(stdout.toString())
          assert.strictEqual(status, 200)
          assert.strictEqual(headers["content-length"], String(video.length))
          assert.strictEqual(headers["content-type"], "video/mp4")
          assert.strictEqual(headers["accept-ranges"], "bytes")
          assert.strictEqual(headers["etag"], "\"head\"")
          assert.strictEqual(story(headers), expected)
          assert.strictEqual((yield* curl(url)).code, 0)
        }
        assert.strictEqual(sent(), video.length)
      }))

    it.effect(
      "with --compressed gets the bytes as they are, or as the origin has coded them",
      () =>
        Effect.gen(function*() {
          const { url } = yield* put("plain", large)
          const plain = yield* curl("--compressed", url)
          assert.strictEqual(sha256(plain.stdout), sha256(large))
          const text = Buffer.from("a text\n".repeat(1000))
          const bytes = gzipSync(text)
          const coded = yield* put("coded", bytes, { headers: { "content-encoding": "gzip" } })
          for (let i = 0; i < 2; i++) {
            const raw = yield* curl(coded.url)
            assert.isTrue(raw.stdout.equals(bytes))
            const decoded = yield* curl("--compressed", coded.url)
            assert.isTrue(decoded.stdout.equals(text), decoded.stderr)
          }
        })
    )

    it.effect("revalidates with --etag-compare", () =>
      Effect.gen(function*() {
        const { directory } = yield* Running
        const { url } = yield* put("etag", video)
        const etag = join(directory, "etag")
        const discard = ["-o", "/dev/null", "-w", "%{http_code}"]
        const first = yield* curl("--etag-save", etag, ...discard, url)
        const second = yield* curl("--etag-compare", etag, ...discard, url)
        assert.deepStrictEqual([first, second].map(({ stdout }) => stdout.toString()), ["200", "304"])
      }))

    it.effect("asks for several files on one connection", () =>
      Effect.gen(function*() {
        const one = yield* put("one", video)
        const two = yield* put("two", large)
        const write = ["-w", "%{http_code} %{num_connects}\n"]
        const discard = ["-o", "/dev/null", "-o", "/dev/null", "-o", "/dev/null"]
        const { stdout } = yield* curl(...write, ...discard, one.url, `${one.url}-missing`, two.url)
        assert.deepStrictEqual(stdout.toString().trim().split("\n"), ["200 1", "404 0", "200 0"])
      }))

    it.effect("that offers HTTP/2 gets the file by HTTP/1.1", () =>
      Effect.gen(function*() {
        const { url } = yield* put("http2", large)
        for (let i = 0; i < 2; i++) {
          const { code, stderr, stdout } = yield* curl("--http2", "--max-time", "5", url)
          assert.strictEqual(code, 0, stderr)
          assert.strictEqual(sha256(stdout), sha256(large))
        }
      }))
  })

  it.live("sees the sample of the demo", () =>
    Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      const program = yield* startProgram(["--cache-dir", join(directory, "cache"), "--min-free", "0"], {
        command: "demo"
      })
      const page = yield* curl("--fail", `${program.url}/`)
      assert.include(page.stdout.toString(), "<video")
      for (let i = 0; i < 2; i++) {
        const { stdout } = yield* curl("--fail", `${program.url}/sample.mp4`)
        assert.isTrue(stdout.equals(video))
        const part = yield* curl("--fail", "--range", "1000000-1999999", `${program.url}/large.bin`)
        assert.strictEqual(part.stdout.length, 1_000_000)
      }
    }))
})

describeWith("ffmpeg", "-version")("ffmpeg", () => {
  /** The frames of the video at `url`, each as its time and the hash of its picture. */
  const decode = (url: string, input: ReadonlyArray<string>) =>
    Effect.map(
      run("ffmpeg", ["-nostdin", "-v", "error", ...input, "-i", url, "-map", "0:v", "-f", "framemd5", "-"]),
      ({ code, stderr, stdout }) => {
        assert.strictEqual(code, 0, stderr)
        assert.strictEqual(stderr, "")
        return stdout.toString().split("\n").filter((line) => /^\d/.test(line))
      }
    )

  const cases: ReadonlyArray<readonly [string, ReadonlyArray<string>, number]> = [
    ["from the start", [], 300],
    ["from a seek", ["-ss", "7"], 125]
  ]

  layer(Running.layer, { excludeTestServices: true })((it) => {
    it.effect.each(cases)("decodes the same frames %s, cold and warm", ([, input, frames]) =>
      Effect.gen(function*() {
        const { direct, requests, sent, url } = yield* put(`${frames}.mp4`, video)
        const expected = yield* decode(direct, input)
        assert.strictEqual(expected.length, frames)
        const before = { requests: requests().length, sent: sent() }
        for (let i = 0; i < 2; i++) assert.deepStrictEqual(yield* decode(url, input), expected)
        assert.isAbove(requests().length, before.requests)
        assert.isAtMost(sent() - before.sent, 2 * video.length)
      }))

    it.effect("decodes the same frames of a file that is cached, without the origin", () =>
      Effect.gen(function*() {
        const { direct, requests, url } = yield* put("cached.mp4", video)
        const expected = yield* decode(direct, ["-ss", "7"])
        const whole = yield* Effect.promise(() => fetch(url).then((response) => response.arrayBuffer()))
        assert.isTrue(Buffer.from(whole).equals(video))
        const before = requests().length
        assert.deepStrictEqual(yield* decode(url, ["-ss", "7"]), expected)
        assert.strictEqual(requests().length, before)
      }))
  })
})
