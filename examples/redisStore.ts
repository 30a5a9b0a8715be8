import { type Duration, Effect, Layer, Option, Stream, SubscriptionRef } from "effect"
import { randomUUID } from "node:crypto"
import { crc32 } from "node:zlib"
import { createClient, ErrorReply, RESP_TYPES } from "redis"
import {
  type CacheConfig,
  type CacheError,
  type ChunkKey,
  ChunkStore,
  type Contents,
  DirectoryLock,
  DiskBusy,
  DiskFull,
  DiskMonitor,
  IoError,
  Manifest,
  PermissionDenied,
  readShortBy,
  type StoredResource
} from "spillway"

/**
 * Chunks in Redis or Valkey, for an application whose machine has no disk of its own. The names in Redis:
 *
 *     PREFIX:resources            a sorted set of all resources
 *     PREFIX:resource:<resource>  a hash: `manifest`, `revoked`, `pinned`, and for each chunk when it was last used
 *     PREFIX:chunk:<chunk>        a chunk: a CRC-32 of each part, then its bytes
 *     PREFIX:bans, PREFIX:lock, PREFIX:probe
 *
 * Run Redis with `maxmemory-policy noeviction`, since Spillway evicts, and without snapshots: one that is restored brings purged files back.
 */
export interface RedisStoreOptions {
  readonly url: string
  /** What the names of all keys begin with. Braces around a part of it have a cluster keep all keys on one node. */
  readonly prefix: string
  /** How long a command may take: 1 s by default. After that, the connection is given up. */
  readonly timeout?: Duration.Input
}

/** How long it may take to connect, in milliseconds. */
const CONNECT_MILLIS = 1000

/** How many commands may be under way. Further ones fail with `DiskBusy`. */
const MAX_COMMANDS = 1000

/** How long the lock is held without being taken again, in milliseconds: Spillway takes it again every 30 s. */
const LEASE_MILLIS = 90_000

/** How many resources are listed at a time. */
const LISTED_AT_ONCE = 1000

/** How many bytes have a checksum of their own: those that Spillway reads at least. */
const PART_BYTES = 16 * 1024

const connect = (url: string) => {
  // The client never connects by itself again: the next command does, which Spillway sends as a probe.
  const socket = { connectTimeout: CONNECT_MILLIS, reconnectStrategy: false } as const
  const client = createClient({ url, RESP: 2, commandsQueueMaxLength: MAX_COMMANDS, disableOfflineQueue: true, socket })
    // An error without a listener ends the process. Commands fail with it, too.
    .on("error", () => {})
  const commands = client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer })
  return { client, ready: client.connect().then(() => commands), isLate: false }
}

type Connection = ReturnType<typeof connect>
type Commands = Awaited<Connection["ready"]>

/** The errnos of a connection that fails. Spillway tries no other chunk after one of them. */
const DISCONNECTED = new Set(["ECONNREFUSED", "ECONNRESET", "EHOSTUNREACH", "ENETUNREACH", "EPIPE", "ETIMEDOUT"])

/** What Spillway does about a failure depends on its type and errno. */
const errorOf = (cause: unknown, operation: string, path: string): CacheError => {
  const { code = "", message } = cause as Error & { readonly code?: string }
  const as = (errno: string) => ({ errno, operation, path })
  if (cause instanceof ErrorReply) {
    switch (message.split(" ")[0]) {
      case "OOM":
        return new DiskFull(as("ENOSPC"))
      case "NOPERM":
        return new PermissionDenied(as("EACCES"))
      case "READONLY":
        return new PermissionDenied(as("EROFS"))
      case "BUSY":
      case "LOADING":
        return new IoError(as("EAGAIN"))
      case "NOAUTH":
      case "WRONGPASS":
        return new IoError(as("ENOTCONN"))
      default:
        return new IoError(as("EIO"))
    }
  }
  if (message === "The queue is full") return new DiskBusy(as("BUSY"))
  return new IoError(as(DISCONNECTED.has(code) ? code : "ENOTCONN"))
}

/** Makes the function that runs commands on `path`, over a connection that is opened when it is needed and closed with the scope. */
const makeRun = Effect.fnUntraced(function*({ timeout = "1 second", url }: RedisStoreOptions) {
  let connection: Connection | undefined
  let isClosed = false

  const close = (old: Connection): void => {
    if (old === connection) connection = undefined
    if (old.client.isOpen) old.client.destroy()
  }
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      isClosed = true
      if (connection !== undefined) close(connection)
    })
  )

  return <A>(operation: string, path: string, call: (commands: Commands) => Promise<A>): Effect.Effect<A, CacheError> =>
    Effect.suspend(() => {
      const late = () => new IoError({ errno: "TIMEOUT", operation, path })
      if (isClosed) return Effect.fail(new IoError({ errno: "ENOTCONN", operation, path }))
      const used = connection?.client.isOpen === true ? connection : connection = connect(url)
      return Effect.tryPromise({
        try: () => used.ready.then(call),
        catch: (cause) => used.isLate ? late() : errorOf(cause, operation, path)
      }).pipe(
        Effect.timeoutOrElse({
          duration: timeout,
          // Redis may have done it nevertheless. What that leaves behind is found when the store is listed again.
          orElse: () => {
            used.isLate = true
            close(used)
            return Effect.fail(late())
          }
        })
      )
    })
})

type Run = Effect.Success<ReturnType<typeof makeRun>>

const countParts = (bytes: number): number => Math.ceil(bytes / PART_BYTES)

/** The checksums of the parts of `bytes`, which are right at `path` only. */
const checksumsOf = (path: string, bytes: Uint8Array): Buffer => {
  const table = Buffer.alloc(4 * countParts(bytes.length))
  for (let part = 0; part < countParts(bytes.length); part++) {
    table.writeUInt32LE(crc32(bytes.subarray(part * PART_BYTES, (part + 1) * PART_BYTES), crc32(path)), 4 * part)
  }
  return table
}

/** The methods that are about one chunk. */
const makeChunks = (run: Run, { prefix }: RedisStoreOptions) => {
  const at = ({ index, representation, resource }: ChunkKey) => `${prefix}:chunk:${resource}/${representation}.${index}`
  const fieldOf = ({ index, representation }: ChunkKey) => `${representation}.${index}`
  const hashOf = ({ resource }: ChunkKey) => `${prefix}:resource:${resource}`
  const now = Effect.clockWith((clock) => Effect.sync(() => String(clock.currentTimeMillisUnsafe())))
  const fail = (errno: string, path: string) => Effect.fail(new IoError({ errno, operation: "read", path }))

  const read: ChunkStore["Service"]["read"] = (key, length, { end, start }) => {
    const path = at(key)
    const [first, last] = [Math.floor(start / PART_BYTES), Math.floor((end - 1) / PART_BYTES)]
    const table = 4 * countParts(length)
    const [from, to] = [first * PART_BYTES, Math.min(length, (last + 1) * PART_BYTES)]
    const read = run("read", path, (redis) =>
      Promise.all([
        redis.strLen(path),
        redis.getRange(path, 4 * first, 4 * last + 3),
        redis.getRange(path, table + from, table + to - 1)
      ]))
    return Effect.flatMap(read, ([size, checksums, bytes]) => {
      if (size === 0 || checksums === null || bytes === null) return fail("ENOENT", path)
      if (size !== table + length) return fail("SHORT_READ", path)
      return checksumsOf(path, bytes).equals(checksums)
        ? Effect.succeed(bytes.subarray(start - from, end - from))
        : fail("CORRUPT", path)
    })
  }

  return {
    read,
    readShort: readShortBy(read),
    verify: (key) =>
      Effect.flatMap(run("read", at(key), (redis) => redis.get(at(key))), (value) => {
        if (value === null) return fail("ENOENT", at(key))
        const table = 4 * Math.ceil(value.length / (PART_BYTES + 4))
        const bytes = value.subarray(table)
        return checksumsOf(at(key), bytes).equals(value.subarray(0, table))
          ? Effect.succeed(bytes.length)
          : fail("CORRUPT", at(key))
      }),
    write: (key, payload) =>
      Effect.flatMap(now, (now) =>
        run("write", at(key), (redis) =>
          redis.multi()
            .set(at(key), Buffer.concat([checksumsOf(at(key), payload), payload]))
            .hSet(hashOf(key), fieldOf(key), now)
            .zAdd(`${prefix}:resources`, { score: 0, value: key.resource })
            .exec())).pipe(Effect.asVoid),
    // A Redis that is full refuses a transaction, even one that only removes. Without its use, a chunk would never be found again.
    remove: (key) =>
      Effect.asVoid(
        run(
          "unlink",
          at(key),
          (redis) => Promise.all([redis.del(at(key)), redis.hDel(hashOf(key), fieldOf(key))])
        )
      ),
    stat: (key) =>
      Effect.map(
        run("stat", at(key), (redis) => Promise.all([redis.hGet(hashOf(key), fieldOf(key)), redis.strLen(at(key))])),
        ([used, bytes]) => used === null ? Option.none() : Option.some({ key, bytes, used: Number(used) })
      ),
    // It may have been removed meanwhile.
    touch: (key) => {
      const script =
        "if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end"
      return Effect.flatMap(
        now,
        (now) =>
          run("stat", at(key), (redis) => redis.eval(script, { keys: [hashOf(key)], arguments: [fieldOf(key), now] }))
      ).pipe(Effect.asVoid)
    }
  } satisfies Partial<ChunkStore["Service"]>
}

/** The fields of a resource's hash, by their names. */
type Fields = Readonly<Record<string, Buffer>>

/** When each chunk was last used, by representation and index. */
const usesOf = (fields: Fields) => {
  const uses = new Map<string, Array<{ readonly index: number; readonly used: number }>>()
  for (const [name, value] of Object.entries(fields)) {
    const [representation = "", index] = name.split(".")
    if (index === undefined) continue
    const chunk = { index: Number(index), used: Number(value) }
    const others = uses.get(representation)
    if (others === undefined) uses.set(representation, [chunk])
    else others.push(chunk)
  }
  return uses
}

const contentsOf = (resource: string, fields: Fields): Contents => ({
  keys: Array.from(
    usesOf(fields),
    ([representation, chunks]) => chunks.map(({ index }) => ({ resource, representation, index }))
  ).flat(),
  // For stores in which a small file costs as much as a large one.
  compact: undefined,
  manifest: { bytes: fields["manifest"]?.length ?? 0, isRevoked: fields["revoked"] !== undefined },
  pinned: fields["pinned"] !== undefined
})

/** The methods that are about a resource, or all of them. */
const makeResources = (run: Run, stat: ChunkStore["Service"]["stat"], { prefix }: RedisStoreOptions) => {
  const all = `${prefix}:resources`
  const at = (resource: string) => `${prefix}:resource:${resource}`

  const fieldsOf = (resource: string): Effect.Effect<Fields, CacheError> =>
    run("readdir", at(resource), (redis) => redis.hGetAll(at(resource)))

  const readManifest = (isRevoked: boolean) => (resource: string) =>
    Effect.map(
      run("read", at(resource), (redis) => redis.hmGet(at(resource), ["manifest", "revoked"])),
      ([manifest, revoked]) =>
        manifest && (revoked != null) === isRevoked ? Manifest.decode(resource, manifest.toString()) : Option.none()
    )

  const set = (operation: string, resource: string, fields: Record<string, string | Buffer>) =>
    run(
      operation,
      at(resource),
      (redis) => redis.multi().hSet(at(resource), fields).zAdd(all, { score: 0, value: resource }).exec()
    )

  const unset = (operation: string, resource: string, field: string) =>
    Effect.asVoid(run(operation, at(resource), (redis) => redis.hDel(at(resource), field)))

  const examine = Effect.fnUntraced(function*(resource: string) {
    const fields = yield* fieldsOf(resource)
    const chunks = yield* Effect.forEach(usesOf(fields), ([representation, uses]) => {
      const indices = uses.map(({ index }) => index).toSorted((a, b) => a - b)
      const bytesOf = (index = 0) =>
        Effect.map(
          stat({ resource, representation, index }),
          Option.match({ onNone: () => 0, onSome: ({ bytes }) => bytes })
        )
      return Effect.map(
        Effect.all([bytesOf(indices[0]), bytesOf(indices.at(-1))]),
        ([bytes, lastBytes]) => ({
          representation,
          indices,
          bytes,
          lastBytes,
          used: Math.max(...uses.map(({ used }) => used))
        })
      )
    })
    return { ...contentsOf(resource, fields), chunks, isHollow: chunks.length === 0 }
  })

  /** The resources in the order of their names, from a name on. */
  const listed = (from: string) =>
    Effect.map(
      run("readdir", all, (redis) =>
        redis.zRange(all, from, "+", { BY: "LEX", LIMIT: { offset: 0, count: LISTED_AT_ONCE } })),
      (names) => {
        const resources = names.map((name): StoredResource => {
          const resource = name.toString()
          return {
            resource,
            examine: () =>
              examine(resource)
          }
        })
        const last = resources.length < LISTED_AT_ONCE ? undefined : resources.at(-1)
        return [
          resources,
          Option.map(Option.fromUndefinedOr(last), ({ resource }) =>
            `(${resource}`)
        ] as const
      }
    )

  return {
    contents: (resource) => Effect.map(fieldsOf(resource), (fields) => contentsOf(resource, fields)),
    resources: () => Stream.paginate("-", listed),
    withPrefix: (digits) =>
      Effect.map(
        // Identifiers are hexadecimal.
        run("readdir", all, (redis) => redis.zRange(all, `[${digits}`, `(${digits}g`, { BY: "LEX" })),
        (names) => names.map(String)
      ),
    readManifest: readManifest(false),
    readRevoked: readManifest(true),
    writeManifest: (resource, file) =>
      Effect.andThen(
        unset("write", resource, "revoked"),
        Effect.asVoid(set("write", resource, { manifest: Buffer.from(file) }))
      ),
    revokeManifest: (resource) =>
      Effect.flatMap(
        run("read", at(resource), (redis) => redis.hExists(at(resource), "manifest")),
        (isThere) => isThere ? Effect.asVoid(set("write", resource, { revoked: "1" })) : Effect.void
      ),
    pin: (resource, pinned) =>
      pinned ? Effect.asVoid(set("write", resource, { pinned: "1" })) : unset("unlink", resource, "pinned"),
    removeResource: (resource) =>
      Effect.flatMap(fieldsOf(resource), (fields) => {
        const names = contentsOf(resource, fields).keys.map(({ index, representation }) =>
          `${prefix}:chunk:${resource}/${representation}.${index}`
        )
        return run(
          "unlink",
          at(resource),
          (redis) => Promise.all([redis.del([...names, at(resource)]), redis.zRem(all, resource)])
        )
      }).pipe(Effect.asVoid)
  } satisfies Partial<ChunkStore["Service"]>
}

const makeStore = (run: Run, options: RedisStoreOptions): ChunkStore["Service"] => {
  const [bans, probe] = [`${options.prefix}:bans`, `${options.prefix}:probe`]
  const chunks = makeChunks(run, options)
  return {
    ...chunks,
    ...makeResources(run, chunks.stat, options),
    readBans: Effect.map(
      run("read", bans, (redis) => redis.get(bans)),
      (file) => Option.map(Option.fromNullOr(file), String)
    ),
    writeBans: (file) => Effect.asVoid(run("write", bans, (redis) => redis.set(bans, Buffer.from(file)))),
    probe: (bytes) =>
      Effect.asVoid(run("write", probe, async (redis) => {
        await redis.set(probe, Buffer.alloc(bytes))
        await redis.get(probe)
        await redis.del(probe)
      })),
    // Nothing is kept open, and a command that is late gives up the connection.
    release: () => Effect.void,
    isBusy: () => false,
    stalled: () => Effect.never
  }
}

/** Takes the lock or extends it: 1 if it was free, 0 if it is held already, -1 if another process holds it. */
const TAKE = `
local holder = redis.call('GET', KEYS[1])
if holder == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return 0
end
if holder then return -1 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1`

const GIVE_BACK = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"

/** Lets one process use the keys of a prefix. A Redis that has lost its data has lost the lock too, so that Spillway lists what is left. */
const makeLock = Effect.fnUntraced(function*(run: Run, { prefix }: RedisStoreOptions) {
  const path = `${prefix}:lock`
  const name = randomUUID()
  const takes = yield* SubscriptionRef.make(0)
  yield* Effect.addFinalizer(() =>
    Effect.ignore(run("unlink", path, (redis) => redis.eval(GIVE_BACK, { keys: [path], arguments: [name] })))
  )
  return DirectoryLock.of({
    takes: SubscriptionRef.changes(takes),
    acquire: Effect.flatMap(
      run("open", path, (redis) => redis.eval(TAKE, { keys: [path], arguments: [name, String(LEASE_MILLIS)] })),
      (taken) =>
        taken === -1
          ? Effect.fail(new IoError({ errno: "LOCKED", operation: "open", path }))
          : taken === 1
          ? SubscriptionRef.update(takes, (count) => count + 1)
          : Effect.void
    )
  })
})

/** The memory that Redis may take, and what is left of it. */
const usageOf = (run: Run) =>
  Effect.map(run("stat", "memory", (redis) => redis.info("memory")), (text) => {
    const figure = (name: string) => Number(new RegExp(`^${name}:(\\d+)`, "m").exec(text.toString())?.[1] ?? 0)
    const total = figure("maxmemory") || figure("total_system_memory")
    return { total, free: Math.max(0, total - figure("used_memory")), totalNodes: 0, freeNodes: 0 }
  })

/**
 * The edges of Spillway that meet Redis, for `Spillway.layerNoDeps`. They need no Redis at the start: until there is one, Spillway
 * streams from the origin.
 */
export const layer = (
  options: RedisStoreOptions
): Layer.Layer<ChunkStore | DirectoryLock | DiskMonitor, never, CacheConfig> =>
  Layer.unwrap(
    Effect.map(makeRun(options), (run) =>
      Layer.mergeAll(
        Layer.succeed(ChunkStore, makeStore(run, options)),
        Layer.effect(DirectoryLock, makeLock(run, options)),
        DiskMonitor.layerUsage(usageOf(run))
      ))
  )
