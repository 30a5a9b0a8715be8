import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Layer, Option, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { layer as layerRedis } from "../../examples/redisStore.ts"
import {
  ChunkStore,
  DirectoryLock,
  DiskMonitor,
  type OpenOptions,
  Origin,
  OriginResolver,
  Spillway
} from "../../src/index.ts"
import { CacheConfig, defaults } from "../../src/services/config/CacheConfig.ts"
import { ChunkStoreContract } from "../../src/testing/index.ts"
import { makeRedis, noRedis, type RedisServer } from "../support/fleetPrograms.ts"
import { eventually } from "../support/Program.ts"
import { fileOf, makeTestOrigin, MiB, sha256, type TestOrigin } from "../support/TestOrigin.ts"
import { ticking } from "../support/ticking.ts"

/** Time for tests with a real Redis, on machines that others use too, in milliseconds. */
const PATIENCE = 120_000

/** Redis starts in real time, also where the time of a test stands still. */
const start = (redis: RedisServer) => TestClock.withLive(redis.start)

const running = Effect.tap(makeRedis, start)

const key = { resource: "a".repeat(32), representation: "b".repeat(32), index: 0 }

/** The edges over `redis`, with the keys of one prefix. */
const edges = ({ url }: RedisServer, prefix = "spillway") =>
  Layer.provide(layerRedis({ url, prefix }), Layer.succeed(CacheConfig, defaults))

describe.skipIf(noRedis !== undefined)(`the store in Redis ${noRedis ?? ""}`, () => {
  it.effect("keeps all promises of a ChunkStore", () =>
    Effect.gen(function*() {
      const redis = yield* running
      const broken: Array<string> = []
      for (const [index, { check, title }] of ChunkStoreContract.cases.entries()) {
        const exit = yield* Effect.exit(Effect.provide(check, edges(redis, `case${index}`)))
        if (Exit.isFailure(exit)) broken.push(`${title}: ${Cause.pretty(exit.cause)}`)
      }
      assert.deepStrictEqual(broken, [])
      assert.strictEqual((yield* redis.command("KEYS", "*:lock")).trim(), "")
    }), PATIENCE)

  it.effect("finds damage, and a chunk that is under another's name", () =>
    Effect.gen(function*() {
      const redis = yield* running
      yield* Effect.gen(function*() {
        const store = yield* ChunkStore
        const other = { ...key, index: 1 }
        const at = (index: number) => `spillway:chunk:${key.resource}/${key.representation}.${index}`
        const bytes = new Uint8Array(100_000)
        const fails = (read: typeof key, start: number) =>
          Effect.map(Effect.flip(store.read(read, bytes.length, { start, end: start + 1 })), ({ errno }) => errno)
        yield* store.write(key, bytes)
        yield* redis.command("COPY", at(0), at(1))
        assert.strictEqual(yield* fails(other, 0), "CORRUPT")
        yield* redis.command("SETRANGE", at(0), "90000", "x")
        assert.strictEqual(yield* fails(key, 90_000), "CORRUPT")
        assert.strictEqual((yield* Effect.flip(store.verify(key))).errno, "CORRUPT")
        assert.deepStrictEqual([...yield* store.read(key, bytes.length, { start: 0, end: 1 })], [0])
        yield* redis.command("SETRANGE", at(0), "200000", "x")
        assert.strictEqual(yield* fails(key, 0), "SHORT_READ")
      }).pipe(Effect.provide(edges(redis)))
    }), PATIENCE)

  it.effect("says what fails: memory, access, connection, time", () =>
    Effect.gen(function*() {
      const redis = yield* running
      yield* Effect.gen(function*() {
        const store = yield* ChunkStore
        const monitor = yield* DiskMonitor
        const failure = <A, E extends { readonly _tag: string; readonly errno: string }, R>(
          effect: Effect.Effect<A, E, R>
        ) => Effect.map(Effect.flip(effect), ({ _tag, errno }) => `${_tag} ${errno}`)
        yield* redis.command("CONFIG", "SET", "maxmemory", "100mb")
        const { free, total } = yield* monitor.usage
        assert.strictEqual(total, 100 * MiB)
        assert.isTrue(free > 50 * MiB && free < total)
        yield* store.write(key, new Uint8Array(1))
        yield* store.writeManifest(key.resource, new Uint8Array(1))
        yield* redis.command("CONFIG", "SET", "maxmemory", "1")
        assert.strictEqual(yield* failure(store.write({ ...key, index: 1 }, new Uint8Array(1))), "DiskFull ENOSPC")
        assert.isTrue(Option.isNone(yield* store.stat({ ...key, index: 1 })))
        // Room is made nevertheless.
        yield* store.remove(key)
        assert.isTrue(Option.isNone(yield* store.stat(key)))
        yield* store.removeResource(key.resource, true)
        assert.deepStrictEqual(yield* store.withPrefix(key.resource.slice(0, 12)), [])
        yield* redis.command("CONFIG", "SET", "maxmemory", "0")
        yield* redis.command("REPLICAOF", "127.0.0.1", "1")
        assert.strictEqual(yield* failure(store.write(key, new Uint8Array(1))), "PermissionDenied EROFS")
        yield* redis.command("REPLICAOF", "NO", "ONE")
        // No time passes until it is told to.
        yield* redis.signal("SIGSTOP")
        const late = ticking(failure(store.read(key, 1, { start: 0, end: 1 })))
        assert.strictEqual(yield* late, "IoError TIMEOUT")
        yield* redis.signal("SIGCONT")
        yield* store.write(key, new Uint8Array(1))
        yield* redis.kill
        assert.match(yield* failure(store.stat(key)), /^IoError (?:ECONNRE|ENOTCONN)/)
        assert.strictEqual(yield* failure(store.stat(key)), "IoError ECONNREFUSED")
        yield* start(redis)
        assert.strictEqual(yield* failure(store.verify(key)), "IoError ENOENT")
      }).pipe(Effect.provide(edges(redis)))
    }), PATIENCE)

  it.effect("is used by one process at a time", () =>
    Effect.gen(function*() {
      const redis = yield* running
      const scope = yield* Scope.make()
      const [first, second] = yield* Effect.all([
        Effect.flatMap(Layer.buildWithScope(edges(redis), scope), (context) => Effect.provide(DirectoryLock, context)),
        Effect.flatMap(Layer.build(edges(redis)), (context) => Effect.provide(DirectoryLock, context))
      ])
      const takes = Effect.map(Stream.runHead(first.takes), Option.getOrThrow)
      yield* first.acquire
      yield* first.acquire
      assert.strictEqual(yield* takes, 1)
      assert.strictEqual((yield* Effect.flip(second.acquire)).errno, "LOCKED")
      yield* redis.kill
      yield* start(redis)
      // The first command after that learns that the connection is gone.
      yield* Effect.ignore(first.acquire)
      yield* first.acquire
      assert.strictEqual(yield* takes, 2)
      yield* Scope.close(scope, yield* Effect.exit(Effect.void))
      yield* Effect.ignore(second.acquire)
      yield* second.acquire
    }), PATIENCE)
})

/** Spillway over `redis`, without a tier in memory. A busy machine is no Redis that hangs. */
const embedded = ({ url }: RedisServer) =>
  Spillway.layerNoDeps.pipe(
    Layer.provide([layerRedis({ url, prefix: "spillway", timeout: "5 seconds" }), Origin.layer, OriginResolver.layer]),
    Layer.provide(Spillway.layerOptions({
      chunkSize: "256 KiB",
      maxSize: "64 MiB",
      memory: 0,
      minFree: 0,
      readDeadline: "5 seconds"
    }))
  )

const SIZE = 6 * MiB

const put = (origin: TestOrigin, path: string, seed: number) => {
  const film = { ...fileOf(SIZE, seed), headers: { "cache-control": "max-age=3600" } }
  origin.files.set(path, film)
  return { url: origin.url + path, sha256: sha256(film.bytes) }
}

/** What a viewer gets, with something that happens after the first MiB. */
const watch = Effect.fnUntraced(
  function*(url: string, options: OpenOptions = {}, meanwhile: Effect.Effect<void> = Effect.void) {
    const { open } = yield* Spillway
    const { stream } = yield* open(url, options)
    const pieces: Array<Uint8Array> = []
    let received = 0
    yield* Stream.runForEach(stream, (piece) =>
      Effect.suspend(() => {
        pieces.push(piece.slice())
        const before = received
        received += piece.length
        return before < MiB && received >= MiB ? meanwhile : Effect.void
      }))
    return sha256(Buffer.concat(pieces))
  },
  Effect.scoped
)

type Film = ReturnType<typeof put>

/** Waits until a viewer gets a file without the origin. */
const untilServed = ({ sha256, url }: Film) =>
  eventually(
    `${url} from Redis`,
    Effect.match(watch(url, { onlyIfCached: true }), { onFailure: () => false, onSuccess: (hash) => hash === sha256 })
  )

/** Waits until a file is cached whole. It is watched meanwhile, since what was dropped is fetched with the next use. */
const untilCached = (film: Film) =>
  eventually(
    `${film.url} to be cached`,
    Effect.gen(function*() {
      const { map } = yield* Spillway
      assert.strictEqual(yield* watch(film.url), film.sha256)
      const { ranges } = yield* map(film.url)
      return ranges.length === 1 && ranges[0]!.end === SIZE
    }).pipe(Effect.catchTag("NotInCache", () => Effect.succeed(false)))
  )

const isUsable = (usable: boolean) =>
  Effect.flatMap(Spillway, ({ status }) =>
    eventually(
      `the cache to be ${usable ? "usable" : "unusable"}`,
      Effect.map(status, ({ cache }) => (cache.state === "usable") === usable)
    ))

const failures: ReadonlyArray<readonly [string, (redis: RedisServer) => Effect.Effect<void>]> = [
  ["is killed", ({ kill }) => kill],
  ["hangs", ({ signal }) => signal("SIGSTOP")],
  ["is full", ({ command }) => Effect.asVoid(command("CONFIG", "SET", "maxmemory", "1"))]
]

describe.skipIf(noRedis !== undefined)(`Spillway over Redis ${noRedis ?? ""}`, () => {
  it.live("finds after a restart what was cached", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const redis = yield* makeRedis
      yield* redis.start
      const film = put(origin, "/film.mp4", 1)
      yield* Effect.provide(untilCached(film), embedded(redis))
      yield* Effect.provide(untilServed(film), embedded(redis))
    }), PATIENCE)

  it.live.each(failures)(
    "gives viewers every byte if it %s in the middle of a stream, and caches again when it is back",
    ([title, fail]) =>
      Effect.gen(function*() {
        const origin = yield* makeTestOrigin
        const redis = yield* makeRedis
        yield* redis.start
        const [first, second] = [put(origin, "/first.mp4", 1), put(origin, "/second.mp4", 2)]
        yield* Effect.gen(function*() {
          yield* untilCached(first)
          origin.reset()
          assert.strictEqual(yield* watch(first.url, {}, fail(redis)), first.sha256)
          // A full Redis can still be read.
          if (title !== "is full") assert.isNotEmpty(origin.requests)
          assert.strictEqual(yield* watch(second.url), second.sha256)
          yield* isUsable(false)
          // It comes back with nothing that it knew.
          yield* redis.kill
          yield* redis.start
          yield* isUsable(true)
          for (const film of [first, second]) {
            yield* untilCached(film)
            yield* untilServed(film)
          }
        }).pipe(Effect.provide(embedded(redis)))
      }),
    PATIENCE
  )
})
