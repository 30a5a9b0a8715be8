import { assert, describe, it, layer } from "@effect/vitest"
import { Context, Effect, Layer, type Scope } from "effect"
import { spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import {
  type Answer,
  chromiumPath,
  type Frame,
  openPlayer,
  type Player,
  type PlayerState,
  startBrowser
} from "../support/browser.ts"
import { find, run } from "../support/command.ts"
import {
  chunkFiles,
  insideOf,
  makeDisk,
  noDisks,
  ordinaryUser,
  setWritable,
  takeAllRoom,
  temporaryDirectory
} from "../support/disks.ts"
import { FILM_FRAMES, FILM_SECONDS, FRAME_BYTES, HLS_SEGMENTS, makeFilm, makeHls } from "../support/media.ts"
import { eventually, occurrences, type Program, type ProgramFailed, startProgram, view } from "../support/Program.ts"
import { makeGate, makeTestOrigin, MiB, type OriginFile, sha256, type TestOrigin } from "../support/TestOrigin.ts"
import { withoutHedges } from "../support/withoutHedges.ts"

/** `describe`, unless something that the tests need is not there, which is said. */
const describeWith = (needed: Readonly<Record<string, boolean>>) => {
  const missing = Object.keys(needed).filter((name) => !needed[name])
  if (missing.length > 0) process.stderr.write(`skipped: players' tests that need ${missing.join(" and ")}\n`)
  return describe.skipIf(missing.length > 0)
}

const isInstalled = (command: string) => find(command) !== undefined

const types: Record<string, string> = {
  html: "text/html",
  js: "text/javascript",
  m3u8: "application/vnd.apple.mpegurl",
  m4s: "video/iso.segment",
  mp4: "video/mp4",
  ts: "video/mp2t"
}

/** Puts a file at the origin, which may be cached for an hour. */
const put = (origin: TestOrigin, name: string, bytes: Buffer | string, options: Partial<OriginFile> = {}) =>
  origin.files.set(`/${name}`, {
    bytes: Buffer.from(bytes),
    etag: `"${name}"`,
    contentType: types[name.split(".").at(-1)!]!,
    headers: { "cache-control": "max-age=3600" },
    ...options
  })

/** So that the browser asks for nothing but what the page names. */
const noIcon = "<!doctype html><link rel=\"icon\" href=\"data:,\">"

/** An origin that has the film, and a page that shows it. */
const makeFilmOrigin = Effect.fnUntraced(function*(film: Buffer, options: Partial<OriginFile> = {}) {
  const origin = yield* makeTestOrigin
  put(origin, "film.html", `${noIcon}<video src="film.mp4"></video>`)
  put(origin, "film.mp4", film, options)
  return origin
})

/** Nothing is served from memory, and a busy machine is not taken for a slow disk. */
const CACHE = ["--chunk-size", "1MiB", "--min-free", "0", "--memory", "0", "--read-deadline", "10s"]

const startOn = (directory: string, origin: TestOrigin, prefix: ReadonlyArray<string> = []) =>
  Effect.flatMap(
    withoutHedges(origin.url),
    (origin) => startProgram([...origin, "--cache-dir", directory, ...CACHE], { prefix })
  )

const startHealthy = (origin: TestOrigin) =>
  Effect.flatMap(temporaryDirectory, (directory) => startOn(directory, origin))

const isHit = ({ headers }: Answer) => /^spillway; hit(;|$)/.test(headers["cache-status"] ?? "")

/** The answers with `path`: the ranges that were asked for, of a file of `size` bytes, and none was cut. */
const rangesOf = ({ answers, losses }: Player, path: string, size: number) => {
  assert.isEmpty(losses)
  const ranges = answers.filter((answer) => answer.path === path)
  assert.isNotEmpty(ranges)
  for (const { headers, range, status } of ranges) {
    const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(range ?? "")!
    const last = to === "" ? size - 1 : Number(to)
    assert.strictEqual(status, 206)
    assert.strictEqual(headers["content-range"], `bytes ${from}-${last}/${size}`)
    assert.strictEqual(headers["content-length"], String(last + 1 - Number(from)))
    assert.match(headers["cache-status"] ?? "", /^spillway; (hit|fwd=)/)
  }
  return ranges
}

const EARLY = 1.02
const LATE = FILM_SECONDS - 0.98

/** Goes to near the end, and back: the frames that are seen there. */
const seekBothWays = Effect.fnUntraced(function*(player: Player) {
  const frames = [yield* player.seek(LATE), yield* player.seek(EARLY)]
  assert.deepStrictEqual(frames.map(({ time }) => time), [LATE, EARLY])
  assert.notStrictEqual(frames[0]!.hash, frames[1]!.hash)
  for (const { colours } of frames) assert.isAbove(colours, 100)
  return frames
})

/** Plays for a second, and then the same. */
const playAndSeek = Effect.fnUntraced(function*(player: Player, by: "browser" | "hls.js" = "browser") {
  const { events, frames, time } = yield* player.playTo(1)
  assert.isAtLeast(time, 1)
  assert.isAbove(frames, 10)
  // It makes tiny ones when a busy machine is late.
  if (by !== "hls.js") assert.notInclude(events.map(({ type }) => type), "seeking")
  const seen = yield* seekBothWays(player)
  assert.isAbove((yield* player.state).frames, frames)
  return seen
})

/** Plays to the end, `rate` times as fast as the film was made. */
const playToEnd = Effect.fnUntraced(function*(player: Player, rate: number) {
  const { duration, ended, error, time } = yield* player.playTo(Number.MAX_SAFE_INTEGER, rate)
  assert.isTrue(ended)
  assert.isNull(error)
  assert.closeTo(time, duration, 0.1)
})

/** A wait for bytes that is longer is a pause; a busy machine makes short ones. */
const PAUSE_MILLIS = 1000

/** How long the picture stood still for want of bytes, each time, in milliseconds. */
const waits = ({ events }: PlayerState) =>
  events.flatMap(({ ahead, type, when }, i) =>
    // With more than that ahead, it is not bytes that it waits for.
    type === "waiting" && ahead < 1 ? [(events[i + 1]?.when ?? Number.POSITIVE_INFINITY) - when] : []
  )

/** The same, with all its frames and without a pause. */
const playWithoutPause = Effect.fnUntraced(function*(player: Player) {
  yield* playToEnd(player, 3)
  const state = yield* player.state
  assert.isEmpty(waits(state).filter((wait) => wait > PAUSE_MILLIS), JSON.stringify(state.events))
  assert.isAtLeast(state.frames, FILM_SECONDS * FILM_FRAMES * 0.9)
})

/** Each test has a browser of its own, so one that crashes fails no other test. */
const startChromium = Effect.suspend(() => startBrowser(chromiumPath!))

/** A film, HLS, and what the film looks like with nothing between the browser and the origin. */
class Stage extends Context.Service<Stage, {
  readonly film: Buffer
  readonly hls: ReadonlyMap<string, Buffer>
  readonly expected: ReadonlyArray<Frame>
}>()("spillway/test/e2e/players.test/Stage") {
  static readonly layer = Layer.effect(
    Stage,
    Effect.gen(function*() {
      const film = yield* makeFilm
      const hls = yield* makeHls
      const expected = yield* Effect.scoped(Effect.gen(function*() {
        const browser = yield* startChromium
        const origin = yield* makeFilmOrigin(film)
        return yield* seekBothWays(yield* openPlayer(browser, `${origin.url}/film.html`))
      }))
      return { film, hls, expected }
    })
  )
}

/** A program, where its chunks are, and what breaks its disk. */
interface Breakable {
  readonly program: Program
  readonly directory: string
  readonly breakDisk: Effect.Effect<void, never, Scope.Scope>
}

/** A way in which the cache fails while a film is played. */
interface Failure {
  readonly name: string
  readonly error: "DiskFull" | "PermissionDenied"
  /** Why it cannot be made to fail so here. */
  readonly skip: string | undefined
  readonly start: (origin: TestOrigin) => Effect.Effect<Breakable, ProgramFailed, Scope.Scope>
}

const failures: ReadonlyArray<Failure> = [
  {
    name: "is full",
    error: "DiskFull",
    skip: noDisks,
    start: Effect.fnUntraced(function*(origin) {
      const { mountPoint, prefix } = yield* makeDisk(16 * MiB)
      const program = yield* startOn(mountPoint, origin, prefix)
      const directory = insideOf(program, mountPoint)
      return { program, directory, breakDisk: takeAllRoom(directory) }
    })
  },
  {
    name: "may not be written to",
    error: "PermissionDenied",
    skip: typeof ordinaryUser === "string" ? ordinaryUser : undefined,
    start: Effect.fnUntraced(function*(origin) {
      if (typeof ordinaryUser === "string") return yield* Effect.die(ordinaryUser)
      const directory = yield* temporaryDirectory
      ordinaryUser.own(directory)
      const program = yield* startOn(directory, origin, ordinaryUser.prefix)
      return { program, directory, breakDisk: Effect.sync(() => setWritable(directory, false)) }
    })
  }
]

/** A page that plays HLS. It loads little ahead, so that a seek goes to what is not loaded. */
const hlsPage = (playlist: string) =>
  `${noIcon}<video></video><script src="hls.js"></script><script>
    const loaded = []
    const failures = []
    const hls = new Hls({ maxBufferLength: 3, maxMaxBufferLength: 3, backBufferLength: 0 })
    hls.on(Hls.Events.FRAG_LOADED, (_, { frag }) => loaded.push(frag.sn))
    hls.on(Hls.Events.ERROR, (_, { details, fatal }) => {
      // It calls it an error, too, when the picture waits for more, or when a seek makes a load needless.
      if (fatal || /load|parsing/i.test(details)) failures.push(details)
    })
    hls.loadSource("${playlist}")
    hls.attachMedia(document.querySelector("video"))
  </script>`

describeWith({ Chromium: chromiumPath !== undefined, ffmpeg: isInstalled("ffmpeg") })("Chromium", () => {
  layer(Stage.layer, { excludeTestServices: true })((it) => {
    it.effect("plays the sample on its page, cold and warm", () =>
      Effect.gen(function*() {
        const browser = yield* startChromium
        const program = yield* startProgram(["--cache-dir", yield* temporaryDirectory, ...CACHE], { command: "demo" })
        const { size } = Fs.statSync(new URL("../../assets/sample.mp4", import.meta.url))
        const cold = yield* openPlayer(browser, `${program.url}/`)
        const frames = yield* playAndSeek(cold)
        assert.isFalse(rangesOf(cold, "/sample.mp4", size).some(isHit))
        const warm = yield* openPlayer(browser, `${program.url}/`)
        assert.deepStrictEqual(yield* playAndSeek(warm), frames)
        assert.isTrue(rangesOf(warm, "/sample.mp4", size).every(isHit))
        assert.strictEqual(program.remarks(), "")
      }))

    it.effect(
      "plays a film, cold and warm, and sees the frames that it sees without the program",
      () =>
        Effect.gen(function*() {
          const browser = yield* startChromium
          const { expected, film } = yield* Stage
          // Slow enough that what is sought has not come yet.
          const origin = yield* makeFilmOrigin(film, { rate: 12 * MiB })
          const program = yield* startHealthy(origin)
          const cold = yield* openPlayer(browser, `${program.url}/film.html`)
          assert.deepStrictEqual(yield* playAndSeek(cold), expected)
          yield* playToEnd(cold, 8)
          rangesOf(cold, "/film.mp4", film.length)
          // Where the player turns elsewhere, what came of a chunk is asked for again, and what was in the sockets.
          const turns = origin.requests.filter(({ aborted }) => aborted).length
          assert.isAtMost(turns, 8)
          assert.isAtMost(origin.bodyBytes(), film.length + turns * 2 * MiB)

          yield* fill(program)
          origin.reset()
          const warm = yield* openPlayer(browser, `${program.url}/film.html`)
          assert.deepStrictEqual(yield* playAndSeek(warm), expected)
          assert.isTrue(rangesOf(warm, "/film.mp4", film.length).every(isHit))
          assert.strictEqual(program.remarks(), "")
          assert.isEmpty(origin.requests)
        })
    )

    for (const { error, name, skip, start } of failures) {
      if (skip !== undefined) process.stderr.write(`skipped: a player when the disk ${name}: ${skip}\n`)
      it.effect.skipIf(skip !== undefined)(
        `plays a film without a pause when the disk ${name} from mid-play on`,
        () =>
          Effect.gen(function*() {
            const browser = yield* startChromium
            const { expected, film } = yield* Stage
            const gate = makeGate()
            // Four seconds of the film come before the disk breaks, the rest after it, little faster than it is played.
            const hold = { after: 10 * MiB, until: gate.opened }
            const origin = yield* makeFilmOrigin(film, { rate: 12 * MiB, hold })
            const { breakDisk, directory, program } = yield* start(origin)
            const player = yield* openPlayer(browser, `${program.url}/film.html`)
            yield* player.playTo(0.5)
            yield* eventually("chunks on disk", Effect.sync(() => chunkFiles(directory).length > 3))
            assert.notInclude(program.printed(), "Cache unusable")
            yield* breakDisk
            yield* gate.open
            yield* playWithoutPause(player)
            assert.strictEqual(occurrences(program.printed(), "Cache unusable"), 1, program.printed())
            assert.match(program.printed(), new RegExp(`Cache unusable[^\\n]*"error":"${error}"`))
            // Somebody else, who has nothing of it yet, while the disk is still broken.
            const other = yield* openPlayer(browser, `${program.url}/film.html`)
            assert.deepStrictEqual(yield* seekBothWays(other), expected)
            rangesOf(other, "/film.mp4", film.length)
          })
      )
    }

    it.effect("plays a film without a pause when chunks of it are gone or damaged", () =>
      Effect.gen(function*() {
        const browser = yield* startChromium
        const { expected, film } = yield* Stage
        const origin = yield* makeFilmOrigin(film)
        const directory = yield* temporaryDirectory
        const program = yield* startOn(directory, origin)
        yield* view(`${program.url}/film.mp4`)
        const count = Math.ceil(film.length / MiB)
        yield* eventually("all chunks on disk", Effect.sync(() => chunkFiles(directory).length === count))
        for (const { index, path } of chunkFiles(directory)) {
          if (index % 3 === 1) Fs.rmSync(path)
          if (index % 3 === 2) Fs.truncateSync(path, 100_000)
        }
        origin.reset()
        const player = yield* openPlayer(browser, `${program.url}/film.html`)
        yield* playWithoutPause(player)
        assert.deepStrictEqual(yield* seekBothWays(player), expected)
        assert.isTrue(rangesOf(player, "/film.mp4", film.length).some(isHit))
        assert.isAbove(origin.bodyBytes(), film.length / 2)
      }))

    it.effect.each(["files", "ranges"])(
      "plays HLS with hls.js from segments that are %s, cold and warm",
      (name) =>
        Effect.gen(function*() {
          const browser = yield* startChromium
          const { hls } = yield* Stage
          const origin = yield* makeTestOrigin
          for (const [name, bytes] of hls) put(origin, name, bytes)
          put(origin, "hls.js", Fs.readFileSync(fileURLToPath(import.meta.resolve("hls.js/dist/hls.min.js"))))
          put(origin, "hls.html", hlsPage(`${name}.m3u8`))
          const program = yield* startHealthy(origin)
          const play = Effect.fnUntraced(function*() {
            origin.reset()
            const player = yield* openPlayer(browser, `${program.url}/hls.html`)
            const frames = yield* playAndSeek(player, "hls.js")
            yield* playToEnd(player, 8)
            assert.deepStrictEqual(yield* player.valueOf("failures"), [])
            assert.isEmpty(player.losses)
            const numbers = Array.from({ length: HLS_SEGMENTS }, (_, i) => i)
            assert.includeMembers(yield* player.valueOf<Array<number | string>>("loaded"), numbers)
            if (name === "ranges") rangesOf(player, "/ranges.m4s", hls.get("ranges.m4s")!.length)
            else {
              const answers = numbers.map((i) => player.answers.find(({ path }) => path === `/files${i}.ts`))
              assert.deepStrictEqual(answers.map((answer) => answer?.status), numbers.map(() => 200))
            }
            return { answers: player.answers, frames }
          })
          const cold = yield* play()
          const warm = yield* play()
          assert.strictEqual(program.remarks(), "")
          assert.deepStrictEqual(warm.frames, cold.frames)
          assert.isEmpty(warm.answers.filter((answer) => !isHit(answer)))
          assert.isEmpty(origin.requests)
        })
    )
  })
})

/** Has all of the film cached: how far a player has read before it seeks depends on the machine. */
const fill = ({ url }: Program) => view(`${url}/film.mp4`)

/** The program before an origin that has the film. */
const startWithFilm = Effect.gen(function*() {
  const origin = yield* makeFilmOrigin(yield* makeFilm)
  return { origin, program: yield* startHealthy(origin) }
})

/** Says to the second where playback begins, where it goes on after each of two seeks, and where it ends, and why. */
const mpvScript = `
local seeks = { 10, 3 }
local last
mp.observe_property("time-pos", "number", function(_, time) last = time or last end)
mp.register_event("playback-restart", function()
  print(string.format("at %.0f", mp.get_property_number("time-pos")))
  local to = table.remove(seeks, 1)
  if to then mp.commandv("seek", to, "absolute+exact") end
end)
mp.register_event("end-file", function(event) print(string.format("%s after %.0f", event.reason, last)) end)
`

describeWith({ mpv: isInstalled("mpv"), ffmpeg: isInstalled("ffmpeg") })("mpv", () => {
  it.live("plays a film to its end with seeks both ways, cold and warm", () =>
    Effect.gen(function*() {
      const { origin, program } = yield* startWithFilm
      const script = join(yield* temporaryDirectory, "seeks.lua")
      Fs.writeFileSync(script, mpvScript)
      const nowhere = ["--vo=null", "--ao=null", "--ao-null-untimed", "--untimed"]
      // Its clock complains on a busy machine: only what fetches and decodes is to be heard.
      const modules = ["stream", "ffmpeg", "lavf", "vd", "ad"].map((module) => `${module}=warn`)
      const levels = ["all=no", ...modules, "seeks=info"].join()
      const quiet = ["--no-config", "--no-ytdl", "--no-input-terminal", `--msg-level=${levels}`]
      const play = Effect.fnUntraced(function*() {
        origin.reset()
        const { code, stderr, stdout } = yield* run("mpv", [
          ...nowhere,
          ...quiet,
          `--script=${script}`,
          `${program.url}/film.mp4`
        ])
        assert.strictEqual(code, 0, stdout)
        assert.strictEqual(stderr, "")
        const lines = stdout.trim().split(/\s*\n/)
        assert.deepStrictEqual(lines, ["[seeks] at 0", "[seeks] at 10", "[seeks] at 3", "[seeks] eof after 12"])
      })
      yield* play()
      assert.isNotEmpty(origin.requests)
      yield* fill(program)
      yield* play()
      assert.strictEqual(program.remarks(), "")
      assert.isEmpty(origin.requests)
    }))
})

const gstreamer = {
  GStreamer: isInstalled("gst-launch-1.0"),
  "its plug-ins for HTTP, MP4 and H.264": ["playbin", "souphttpsrc", "qtdemux", "avdec_h264"].every(
    (element) => spawnSync("gst-inspect-1.0", ["--exists", element]).status === 0
  )
}

describeWith({ ...gstreamer, ffmpeg: isInstalled("ffmpeg") })("GStreamer", () => {
  it.live(
    "decodes the pictures and the sound that it decodes without the program, cold and warm",
    () =>
      Effect.gen(function*() {
        const { origin, program } = yield* startWithFilm
        const directory = yield* temporaryDirectory
        const outputs = ["video", "audio"].map((kind) => ({ kind, path: join(directory, kind) }))
        const sinks = outputs.map(({ kind, path }) => `${kind}-sink=filesink location=${path}`)
        const decode = Effect.fnUntraced(function*(url: string) {
          origin.reset()
          const { code, stderr } = yield* run("gst-launch-1.0", ["--quiet", "playbin", `uri=${url}/film.mp4`, ...sinks])
          assert.strictEqual(code, 0, stderr)
          assert.strictEqual(stderr, "")
          return outputs.map(({ path }) => ({ size: Fs.statSync(path).size, sha256: sha256(Fs.readFileSync(path)) }))
        })
        const expected = yield* decode(origin.url)
        assert.strictEqual(expected[0]!.size, FILM_SECONDS * FILM_FRAMES * FRAME_BYTES)
        assert.deepStrictEqual(yield* decode(program.url), expected)
        assert.isNotEmpty(origin.requests)
        assert.deepStrictEqual(yield* decode(program.url), expected)
        assert.strictEqual(program.remarks(), "")
        assert.isEmpty(origin.requests)
      })
  )
})
