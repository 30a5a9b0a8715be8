import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import type { WarmJob } from "../../../src/http/admin/api/model.ts"
import { maxAge, type Site, start, withTime } from "../Site.ts"
import { control } from "./Control.ts"

const HLS = "application/vnd.apple.mpegurl"

/** Warms `url`, and returns the job when it has ended. */
const warmed = (site: Site, url: string): Effect.Effect<WarmJob, Error> => {
  const api = control(site)
  return withTime(Effect.gen(function*() {
    let job = yield* api.call<WarmJob>("POST", "/warm", { url })
    for (let tries = 0; tries < 1000 && (job.state === "waiting" || job.state === "running"); tries++) {
      job = yield* api.get<WarmJob>(`/warm/${job.id}`)
    }
    return job
  }))
}

const isCached = (site: Site, path: string) =>
  Effect.map(site.ask(path, { headers: { "cache-control": "only-if-cached" } }), ({ status }) => status === 200)

/** Has the origin have a small file at each path, or the text given with it. */
const put = (site: Site, ...files: ReadonlyArray<string | readonly [path: string, text: string]>): void => {
  for (const file of files) {
    const [path, text] = typeof file === "string" ? [file, `the bytes of ${file}`] : file
    site.file(path, { bytes: Buffer.from(text), contentType: "application/octet-stream" })
  }
}

/** A master playlist with two renditions, one with an initialization section, a key, and ranges of one file. */
const putHls = (site: Site): ReadonlyArray<string> => {
  put(
    site,
    [
      "/show/master.m3u8",
      "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nlow/a.m3u8\n#EXT-X-STREAM-INF:BANDWIDTH=2\n/high.m3u8\n"
    ],
    ["/show/low/a.m3u8", "#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI=\"../key\"\n#EXTINF:1,\n0.ts\n#EXTINF:1,\n1.ts?x=1\n"],
    [
      "/high.m3u8",
      "#EXTM3U\n#EXT-X-MAP:URI=\"all.mp4\",BYTERANGE=\"5@0\"\n#EXT-X-BYTERANGE:5@5\nall.mp4\n#EXT-X-BYTERANGE:5\nall.mp4\n"
    ],
    "/show/key",
    "/show/low/0.ts",
    "/show/low/1.ts?x=1",
    "/all.mp4"
  )
  return [
    "/show/master.m3u8",
    "/show/low/a.m3u8",
    "/high.m3u8",
    "/show/key",
    "/show/low/0.ts",
    "/show/low/1.ts?x=1",
    "/all.mp4"
  ]
}

describe("warming a playlist", () => {
  it.effect.each(["path", "URL"])("fetches all that it names, each once, by %s", (by) =>
    Effect.gen(function*() {
      const site = yield* start()
      const all = putHls(site)
      const job = yield* warmed(site, `${by === "URL" ? site.origin.url : ""}/show/master.m3u8`)
      assert.deepInclude(job, { state: "done", files: { total: 7, done: 7, failed: 0 }, cachedBytes: 0 })
      assert.strictEqual(job.bytes, [...site.origin.files.values()].reduce((sum, { bytes }) => sum + bytes.length, 0))
      assert.sameMembers(site.origin.requests.map(({ url }) => url), [...all])
      for (const path of all) assert.isTrue(yield* isCached(site, path), path)
      const again = yield* warmed(site, "/show/master.m3u8")
      assert.deepInclude(again, { state: "done", files: { total: 7, done: 7, failed: 0 }, cachedBytes: job.bytes })
      assert.lengthOf(site.origin.requests, 7)
    }))

  it.effect("knows a playlist by its type, also one that a playlist names", () =>
    Effect.gen(function*() {
      const site = yield* start()
      put(site, "/1.ts")
      site.file("/list", { bytes: Buffer.from("#EXTM3U\nvariant?id=1\n"), contentType: HLS })
      site.file("/variant?id=1", { bytes: Buffer.from("#EXTM3U\n1.ts\n"), contentType: `${HLS}; charset=utf-8` })
      assert.deepInclude((yield* warmed(site, "/list")).files, { total: 3, done: 3 })
    }))

  it.effect("fetches a DASH presentation", () =>
    Effect.gen(function*() {
      const site = yield* start()
      const segments = ["/dash/v/i.mp4", "/dash/v/1.m4s", "/dash/v/2.m4s", "/dash/a.mp4"]
      put(site, ...segments, [
        "/dash/a.mpd",
        `<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" mediaPresentationDuration="PT4S"><Period><AdaptationSet>` +
        `<Representation id="v"><SegmentTemplate duration="2" initialization="$RepresentationID$/i.mp4" media="$RepresentationID$/$Number$.m4s"/></Representation>` +
        `<Representation id="a"><BaseURL>a.mp4</BaseURL><SegmentBase indexRange="0-5"/></Representation>` +
        `</AdaptationSet></Period></MPD>`
      ])
      assert.deepInclude(yield* warmed(site, "/dash/a.mpd"), {
        state: "done",
        files: { total: 5, done: 5, failed: 0 }
      })
      for (const path of segments) assert.isTrue(yield* isCached(site, path), path)
    }))

  it.effect("fetches all others if one fails, and says which one and why", () =>
    Effect.gen(function*() {
      const site = yield* start()
      put(site, ["/a.m3u8", "#EXTM3U\n1.ts\n2.ts?token=secret\n3.ts\n"], "/1.ts", "/3.ts")
      const job = yield* warmed(site, "/a.m3u8")
      assert.deepInclude(job, { state: "failed", files: { total: 4, done: 3, failed: 1 } })
      assert.strictEqual(
        job.error,
        `1 of 4 files could not be fetched, the first of them ${site.origin.url}/2.ts?…: the origin responded with status 404`
      )
      assert.isTrue(yield* isCached(site, "/3.ts"))
    }))

  it.effect("contacts nothing that viewers could not request", () =>
    Effect.gen(function*() {
      const site = yield* start()
      const other = yield* start()
      put(other, "/1.ts")
      put(site, ["/a.m3u8", `#EXTM3U\n${other.origin.url}/1.ts\nftp://media.example.org/2.ts\n`])
      const job = yield* warmed(site, "/a.m3u8")
      assert.deepInclude(job, { state: "failed", files: { total: 2, done: 1, failed: 1 } })
      assert.match(job.error ?? "", /no origin is configured/)
      assert.isEmpty(other.origin.requests)
    }))

  it.effect("follows one that must not be cached, and fails because of it", () =>
    Effect.gen(function*() {
      const site = yield* start()
      put(site, "/1.ts")
      site.file("/live.m3u8", {
        bytes: Buffer.from("#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:7\n1.ts\n"),
        headers: { "cache-control": "no-store" }
      })
      const job = yield* warmed(site, "/live.m3u8")
      assert.deepInclude(job, { state: "failed", files: { total: 2, done: 1, failed: 1 } })
      assert.match(job.error ?? "", /live\.m3u8: the origin's response is uncacheable: NO_STORE/)
      assert.isTrue(yield* isCached(site, "/1.ts"))
    }))

  it.effect("reads one without a length", () =>
    Effect.gen(function*() {
      const site = yield* start()
      put(site, "/1.ts")
      site.answer("/a.m3u8", () => ({
        headers: { "content-type": HLS, "transfer-encoding": "chunked", ...maxAge(60) },
        body: "#EXTM3U\n1.ts\n"
      }))
      assert.deepInclude(yield* warmed(site, "/a.m3u8"), { state: "done", files: { total: 2, done: 2, failed: 0 } })
    }))

  it.effect("takes a page for a file", () =>
    Effect.gen(function*() {
      const site = yield* start()
      put(site, ["/a.m3u8", "<html>#EXTM3U\n1.ts\n</html>"])
      const job = yield* warmed(site, "/a.m3u8")
      assert.strictEqual(job.state, "done")
      assert.notProperty(job, "files")
    }))

  const wrong: ReadonlyArray<readonly [what: string, text: string, says: RegExp]> = [
    ["is larger than 8 MiB", `#EXTM3U\n${"#".repeat(8 * 1024 ** 2)}`, /larger than 8388608 bytes/],
    ["names too many files", `#EXTM3U\n${"1.ts\n".repeat(100_001)}`, /names more than 100000 files/],
    ["is not well-formed", "<MPD><Period></MPD>", /can't be followed: Unexpected close tag/]
  ]

  it.effect.each(wrong)("fails if it %s", ([, text, says]) =>
    Effect.gen(function*() {
      const site = yield* start()
      put(site, ["/a.m3u8", text], "/1.ts")
      const job = yield* warmed(site, "/a.m3u8")
      assert.strictEqual(job.state, "failed")
      assert.match(job.error ?? "", says)
    }))

  it.effect("takes playlists for files below a depth of three", () =>
    Effect.gen(function*() {
      const site = yield* start()
      for (let depth = 0; depth < 6; depth++) put(site, [`/${depth}.m3u8`, `#EXTM3U\n${depth + 1}.m3u8\n`])
      assert.deepInclude(yield* warmed(site, "/0.m3u8"), { state: "done", files: { total: 4, done: 4, failed: 0 } })
      assert.isFalse(yield* isCached(site, "/4.m3u8"))
    }))

  it.effect("ends with one that names itself", () =>
    Effect.gen(function*() {
      const site = yield* start()
      put(site, ["/a.m3u8", "#EXTM3U\na.m3u8\n./a.m3u8#1\n"])
      assert.deepInclude(yield* warmed(site, "/a.m3u8"), { state: "done", files: { total: 1, done: 1, failed: 0 } })
    }))
})
