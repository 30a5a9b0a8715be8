import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Fiber, Option } from "effect"
import { TestClock } from "effect/testing"
import * as Fs from "node:fs"
import { fileURLToPath } from "node:url"
import { optionsOf, settingsOf } from "../../src/cli/serveSettings.ts"
import { parseConfig } from "../../src/services/config/ConfigFile.ts"
import { SecretSource } from "../../src/services/config/SecretSource.ts"
import { fromSettings as serverOptions } from "../../src/services/config/ServerConfig.ts"
import { ChunkStore } from "../../src/services/disk/ChunkStore.ts"
import { story } from "../support/cacheStatus.ts"
import { makeTestOrigin, type OriginFile, type TestOrigin } from "../support/TestOrigin.ts"
import { bytes, otherBytes, SIZE, start, until } from "./Site.ts"

const page = Fs.readFileSync(fileURLToPath(new URL("../../docs/guide/recipes.md", import.meta.url)), "utf8")

/** The configuration files of the page, by their headings. */
const recipes = new Map(
  page.split(/^## /m).slice(1).map((section) => [
    section.split("\n", 1)[0]!,
    section.split("\n").filter((line) => line.startsWith("    ")).map((line) => line.slice(4)).join("\n")
  ])
)

const settingsOfRecipe = Effect.fnUntraced(function*(text: string) {
  const file = yield* Effect.provideService(parseConfig(text, "recipes.md"), SecretSource, {
    read: ({ name }) => Effect.succeed(`secret-of-${name}`)
  })
  return yield* settingsOf({ flags: {}, origin: Option.none() }, file).pipe(
    Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromUnknown({}))
  )
})

/** Spillway as a recipe configures it, after `edit`, with `origin` in place of each server of `servers`. */
const startRecipe = Effect.fnUntraced(function*(
  name: string,
  servers: ReadonlyArray<string>,
  edit: (text: string) => string = (text) => text
) {
  const origin = yield* makeTestOrigin
  const text = servers.reduce((text, server) => text.replaceAll(server, origin.url), edit(recipes.get(name)!))
  const settings = yield* settingsOfRecipe(text)
  const { cache, origin: origins } = optionsOf(settings)
  const store = yield* Effect.provide(ChunkStore, ChunkStore.layerMemory)
  const site = yield* start({
    before: { origin, store },
    cache,
    origins,
    limits: serverOptions(settings)
  })
  return { ...site, settings }
})

/** Puts the same file at several targets, such as those of viewers with a token each. */
const put = (origin: TestOrigin, targets: ReadonlyArray<string>, file: Partial<OriginFile>): void => {
  for (const target of targets) origin.files.set(target, { bytes, contentType: "video/x-matroska", ...file })
}

/** How many body bytes the origin has sent for paths that begin so. */
const sentOf = ({ requests }: TestOrigin, path: string): number =>
  requests.filter(({ url }) => url.startsWith(path)).reduce((sum, { sent }) => sum + sent, 0)

describe("each recipe", () => {
  it.effect.each([...recipes.keys()])("is a configuration file without mistakes: %s", (name) =>
    Effect.gen(function*() {
      const { routes } = yield* settingsOfRecipe(recipes.get(name)!)
      assert.isNotEmpty(routes)
      const isSigned = routes[0]!.policy.origins[0].access.authorization?._tag === "SigV4"
      assert.strictEqual(isSigned, name === "Private buckets")
    }))
})

/** Longer than a file is fresh of which nobody says how long it is. */
const LONGEST_GUESS = "61 minutes"

const LAST_MODIFIED = "Mon, 01 Jan 2029 12:00:00 GMT"

describe("media servers", () => {
  it.effect("Jellyfin: two tokens cost one transfer of a film, and not of a playlist that repeats them", () =>
    Effect.gen(function*() {
      const { ask, origin, seen, settings } = yield* startRecipe("Jellyfin", ["http://jellyfin:8096"])
      const film = (token: string) =>
        `/Videos/7/stream.mkv?static=true&mediaSourceId=7&deviceId=d${token}&api_key=${token}&PlaySessionId=p${token}`
      put(origin, ["a", "b"].map(film), { lastModified: LAST_MODIFIED })
      const viewers = yield* Effect.all(["a", "b"].map((token) => ask(film(token))), { concurrency: "unbounded" })
      for (const { body } of viewers) assert.isTrue(body.equals(bytes))
      assert.strictEqual(
        story((yield* ask(film("b"), { headers: { range: "bytes=1000-1999" } })).headers),
        "spillway; hit"
      )
      assert.strictEqual(sentOf(origin, "/Videos"), SIZE)
      const playlist = (token: string) => `/videos/7/master.m3u8?api_key=${token}`
      for (const token of ["a", "b"]) {
        put(origin, [playlist(token)], { bytes: Buffer.from(`seg.ts?api_key=${token}`), lastModified: LAST_MODIFIED })
        assert.strictEqual((yield* ask(playlist(token))).body.toString(), `seg.ts?api_key=${token}`)
        assert.strictEqual(seen(playlist(token)).length, 1)
      }
      // Who sends the token in a field gets a response of its own.
      const headers = { "x-emby-token": "c" }
      assert.match(story((yield* ask(film("a"), { headers })).headers), /fwd=/)
      assert.isTrue(settings.routes[0]!.policy.upgrades)
    }))

  it.effect("Plex: files without validators are cached in parts, and two tokens cost one transfer", () =>
    Effect.gen(function*() {
      const { ask, origin, seen } = yield* startRecipe("Plex", ["http://plex:32400"])
      const film = (token: string) =>
        `/library/parts/12/1690000000/file.mkv?X-Plex-Client-Identifier=${token}&X-Plex-Token=${token}`
      put(origin, ["a", "b"].map(film), {})
      for (const token of ["a", "b"]) {
        const { body, status } = yield* ask(film(token), { headers: { range: "bytes=0-99999" } })
        assert.strictEqual(status, 206)
        assert.isTrue(body.equals(bytes.subarray(0, 100_000)))
      }
      assert.isTrue((yield* ask(film("a"))).body.equals(bytes))
      yield* TestClock.adjust("10 minutes")
      assert.strictEqual(story((yield* ask(film("b"))).headers), "spillway; hit")
      assert.isAtMost(sentOf(origin, "/library/parts"), SIZE)
      // All other paths keep their tokens, and nothing is assumed of them.
      const list = (token: string) => `/library/sections?X-Plex-Token=${token}`
      put(origin, ["a", "b"].map(list), { bytes: Buffer.from("<xml/>") })
      for (const token of ["a", "b"]) yield* ask(list(token))
      for (const token of ["a", "b"]) assert.strictEqual(seen(list(token)).length, 1)
    }))

  it.effect("Emby: a film is fresh for an hour, and two tokens cost one transfer", () =>
    Effect.gen(function*() {
      const { ask, origin, seen } = yield* startRecipe("Emby", ["http://emby:8096"])
      const film = (token: string) => `/emby/Videos/7/stream.mkv?Static=true&api_key=${token}&DeviceId=${token}`
      put(origin, ["a", "b"].map(film), { etag: "\"7\"", headers: { "cache-control": "public" } })
      for (const token of ["a", "b"]) assert.isTrue((yield* ask(film(token))).body.equals(bytes))
      assert.strictEqual(seen(film("b")).length, 0)
      yield* TestClock.adjust(LONGEST_GUESS)
      assert.strictEqual(story((yield* ask(film("b"))).headers), "spillway; fwd=stale; fwd-status=304")
    }))
})

describe("stores", () => {
  it.effect("S3 and MinIO: each signature gets the same entry, and each other parameter its own", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* startRecipe("S3 and MinIO", ["http://minio:9000"])
      const film = (signature: string, more = "") =>
        `/films/a.mkv?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=20300101T${signature}Z&X-Amz-Signature=${signature}${more}`
      const attached = "&response-content-disposition=attachment"
      put(origin, [film("1"), film("2"), film("3", attached)], { etag: "\"x\"", lastModified: LAST_MODIFIED })
      for (const signature of ["1", "2"]) assert.isTrue((yield* ask(film(signature))).body.equals(bytes))
      assert.strictEqual(sentOf(origin, "/films"), SIZE)
      yield* ask(film("3", attached))
      assert.strictEqual(sentOf(origin, "/films"), 2 * SIZE)
      // An expired signature is refused to its viewer alone, and only if the origin is asked.
      origin.handlers.set(film("4"), (_, response) => void response.writeHead(403, { "content-length": "0" }).end())
      assert.strictEqual((yield* ask(film("4"))).status, 200)
      yield* TestClock.adjust(LONGEST_GUESS)
      assert.strictEqual((yield* ask(film("4"))).status, 403)
      assert.strictEqual((yield* ask(film("1"))).status, 200)
    }))

  it.effect("redirects to presigned downloads are followed, and the file is kept under the first URL", () =>
    Effect.gen(function*() {
      const bucket = yield* makeTestOrigin
      const { answer, ask, seen } = yield* startRecipe(
        "Redirects to presigned downloads",
        ["https://downloads.example.org"],
        (text) => `allow-private = true\n${text.replace("*.s3.eu-central-1.amazonaws.com", new URL(bucket.url).host)}`
      )
      let signatures = 0
      answer("/releases/a.iso", () => ({
        status: 302,
        headers: { location: `${bucket.url}/b/a.iso?X-Amz-Signature=${signatures += 1}`, "cache-control": "no-cache" }
      }))
      put(bucket, [1, 2, 3].map((i) => `/b/a.iso?X-Amz-Signature=${i}`), { etag: "\"x\"", lastModified: LAST_MODIFIED })
      for (let i = 0; i < 3; i++) assert.isTrue((yield* ask("/releases/a.iso")).body.equals(bytes))
      assert.strictEqual(seen("/releases/a.iso").length, 3)
      assert.strictEqual(sentOf(bucket, "/b"), SIZE)
    }))

  it.effect("Nextcloud: the interface is cached without cookies, and files, redirects and WebDAV pass", () =>
    Effect.gen(function*() {
      const { answer, ask, origin, seen } = yield* startRecipe("Nextcloud", ["http://nextcloud:80"])
      const viewer = (cookie: string) => ({
        headers: { host: "cloud.example", cookie, "x-forwarded-for": "203.0.113.7", "x-forwarded-proto": "https" }
      })
      answer(
        "/dist/main.js?v=1",
        () => ({ headers: { "cache-control": "max-age=15778463", etag: "\"1\"" }, body: "js" })
      )
      for (const cookie of ["oc=a", "oc=b"]) yield* ask("/dist/main.js?v=1", viewer(cookie))
      assert.strictEqual(seen("/dist/main.js?v=1").length, 1)
      assert.notProperty(seen("/dist/main.js?v=1")[0]!.headers, "cookie")
      const dav = "/remote.php/dav/files/me"
      answer(`${dav}/a`, ({ headers }) => ({
        headers: { "cache-control": "private, no-store" },
        body: String(headers.cookie)
      }))
      for (const cookie of ["oc=a", "oc=b"]) {
        assert.strictEqual(String((yield* ask(`${dav}/a`, viewer(cookie))).body), cookie)
      }
      const { headers } = seen(`${dav}/a`).at(-1)!
      assert.strictEqual(headers["x-forwarded-proto"], "https")
      assert.strictEqual(headers["x-forwarded-host"], "cloud.example")
      assert.strictEqual(headers["x-forwarded-for"], "203.0.113.7, 127.0.0.1")
      answer(
        "/",
        () => ({ status: 302, headers: { location: `${origin.url}/apps/files`, "cache-control": "no-store" } })
      )
      const redirect = yield* ask("/", viewer("oc=a"))
      assert.deepStrictEqual([redirect.status, redirect.headers["location"]], [302, "/apps/files"])
      answer(`${dav}/a`, ({ headers }) => ({ status: 201, body: String(headers["destination"]) }))
      const moved = yield* ask(`${dav}/a`, {
        method: "MOVE",
        headers: { host: "cloud.example", destination: `http://cloud.example${dav}/b` }
      })
      assert.strictEqual(String(moved.body), `${origin.url}${dav}/b`)
    }))
})

describe("mirrors and live streams", () => {
  it.effect("apt: packages are kept, lists are confirmed, and the second origin stands in", () =>
    Effect.gen(function*() {
      const second = yield* makeTestOrigin
      const { ask, origin, seen } = yield* startRecipe(
        "apt",
        ["http://deb.debian.org"],
        (text) => text.replace("http://ftp.debian.org", second.url)
      )
      const file = { etag: "\"1\"", lastModified: LAST_MODIFIED }
      for (const mirror of [origin, second]) {
        put(mirror, ["/debian/pool/a.deb", "/debian/pool/b.deb"], file)
        put(mirror, ["/debian/dists/stable/InRelease"], { ...file, bytes: otherBytes })
      }
      yield* ask("/debian/./pool/a.deb")
      yield* ask("/debian/dists/stable/InRelease")
      yield* TestClock.adjust(LONGEST_GUESS)
      assert.strictEqual(story((yield* ask("/debian/pool/a.deb")).headers), "spillway; hit")
      const list = yield* ask("/debian/dists/stable/InRelease")
      assert.strictEqual(story(list.headers), "spillway; fwd=stale; fwd-status=304")
      assert.strictEqual(seen("/debian/pool/a.deb").length, 1)
      yield* origin.close
      assert.isTrue((yield* ask("/debian/pool/b.deb")).body.equals(bytes))
      assert.strictEqual(second.requests.length, 1)
    }))

  it.effect("ISO images: downloads in parts and as a whole get one file, which is kept", () =>
    Effect.gen(function*() {
      const { ask, origin } = yield* startRecipe("ISO images", [
        "https://mirror-a.example.org",
        "https://mirror-b.example.org"
      ])
      put(origin, ["/debian-cd/12/a.iso"], { etag: "\"1\"", lastModified: LAST_MODIFIED })
      const half = Math.floor(SIZE / 2)
      const downloads = [`bytes=0-${half - 1}`, `bytes=${half}-`, undefined].map((range) =>
        ask("/images/12/a.iso", range === undefined ? {} : { headers: { range } })
      )
      const [first, second, whole] = yield* Effect.all(downloads, { concurrency: "unbounded" })
      assert.isTrue(Buffer.concat([first!.body, second!.body]).equals(bytes))
      assert.isTrue(whole!.body.equals(bytes))
      yield* TestClock.adjust(LONGEST_GUESS)
      assert.strictEqual(story((yield* ask("/images/12/a.iso")).headers), "spillway; hit")
    }))

  it.effect("live HLS: viewers share a playlist for a second, and each segment", () =>
    Effect.gen(function*() {
      const { answer, ask, origin, seen } = yield* startRecipe("Live HLS", ["http://encoder:8080"])
      let version = 0
      const { promise: isOpen, resolve: open } = Promise.withResolvers<void>()
      answer("/live/a.m3u8", async () => {
        version += 1
        await isOpen
        return { headers: { etag: `"${version}"`, "cache-control": "max-age=3600" }, body: `segment ${version}` }
      })
      const viewers = yield* Effect.forEach(
        Array.from({ length: 20 }),
        () => Effect.forkChild(ask("/live/a.m3u8"), { startImmediately: true })
      )
      yield* until("the request", () => version === 1)
      open()
      for (const viewer of viewers) assert.strictEqual(String((yield* Fiber.join(viewer)).body), "segment 1")
      assert.strictEqual(seen("/live/a.m3u8").length, 1)
      yield* TestClock.adjust("1100 millis")
      assert.strictEqual(String((yield* ask("/live/a.m3u8")).body), "segment 2")
      put(origin, ["/live/1.ts"], { etag: "\"s\"", headers: { "cache-control": "no-cache" } })
      const segments = yield* Effect.all(Array.from({ length: 20 }, () => ask("/live/1.ts")), {
        concurrency: "unbounded"
      })
      for (const { body } of segments) assert.isTrue(body.equals(bytes))
      yield* TestClock.adjust("4 minutes")
      assert.strictEqual(story((yield* ask("/live/1.ts")).headers), "spillway; hit")
      assert.strictEqual(sentOf(origin, "/live/1.ts"), SIZE)
    }))
})
