import { Context, Effect, Exit, FileSystem, Layer, Option, Path, Random, Scope, Semaphore, Stream } from "effect"
import { open } from "node:fs/promises"
import { connect, createServer } from "node:net"
import { type CacheError, errnoOf, fromErrno, fromPlatformError, IoError } from "../../domain/CacheError.ts"
import * as ObservedValue from "../../effects/ObservedValue.ts"
import { CacheConfig } from "../config/CacheConfig.ts"
import { DiskLimiter } from "./DiskLimiter.ts"
import { makeDirectories } from "./makeDirectories.ts"

/**
 * One process for one cache directory. The lock is a Unix socket in it that the owner listens on: the system closes it
 * when the process ends, however it ends, and it is seen across containers that share the directory.
 */
export class DirectoryLock extends Context.Service<DirectoryLock, {
  /**
   * Takes the lock, also again when its file was removed or replaced, or does nothing when it is held. Fails with `IoError` and the
   * errno `LOCKED` when another process has it, and with what the disk says when it cannot be taken.
   */
  readonly acquire: Effect.Effect<void, CacheError>
  /** How often it has been taken, now and at each change: what is in the directory may be another process's work since. */
  readonly takes: Stream.Stream<number>
}>()("spillway/services/disk/DirectoryLock") {
  /** On the directory of `CacheConfig`. Given up when the scope closes. */
  static readonly layer: Layer.Layer<
    DirectoryLock,
    never,
    CacheConfig | DiskLimiter | FileSystem.FileSystem | Path.Path
  > = Layer.effect(DirectoryLock, Effect.suspend(() => make))

  /** For a store that nobody else can see. */
  static readonly layerNone: Layer.Layer<DirectoryLock> = Layer.succeed(DirectoryLock, {
    acquire: Effect.void,
    takes: Stream.succeed(1)
  })
}

/** What file systems without sockets or links answer. */
const unsupported = new Set(["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EINVAL"])

/** What a socket answers that nobody listens on. Others mean that its owner is busy, or stopped. */
const dead = new Set(["ECONNREFUSED", "ENOENT"])

/** Whether somebody listens on the socket at `at`. */
const isAlive = (at: string): Effect.Effect<boolean> =>
  Effect.callback((resume) => {
    const socket = connect({ path: at })
    const answer = (alive: boolean) => {
      socket.destroy()
      resume(Effect.succeed(alive))
    }
    socket.once("connect", () => answer(true))
    socket.once("error", (error) => answer(!dead.has(errnoOf(error))))
  })

const listen = (at: string): Effect.Effect<void, CacheError, Scope.Scope> =>
  Effect.asVoid(Effect.acquireRelease(
    Effect.callback<ReturnType<typeof createServer>, CacheError>((resume) => {
      const server = createServer((socket) => void socket.destroy())
      // Stays: a connection that cannot be accepted later is an error too.
      server.on("error", (error) => resume(Effect.fail(fromErrno(errnoOf(error), "open", at))))
      server.listen({ path: at }, () => resume(Effect.succeed(server.unref())))
    }),
    (server) => Effect.callback<void>((resume) => void server.close(() => resume(Effect.void)))
  ))

const make = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const limiter = yield* DiskLimiter
  const { directory } = yield* CacheConfig
  const layerScope = yield* Effect.scope
  const root = path.join(directory, "v1")
  const name = "lock"
  const mutex = yield* Semaphore.make(1)
  const takes = yield* ObservedValue.make(0)
  const session = Math.abs(yield* Random.nextInt).toString(36)
  let held: { readonly scope: Scope.Closeable; readonly file: string } | "impossible" | undefined

  const io = <A>(operation: string, effect: Effect.Effect<A, Parameters<ReturnType<typeof fromPlatformError>>[0]>) =>
    limiter.pass(Effect.mapError(effect, fromPlatformError(operation, path.join(root, name))))

  /** Tells a file from another one that was put in its place: the inode of a socket stays taken while somebody listens on it. */
  const identityOf = (file: string) =>
    io("stat", fs.stat(path.join(root, file))).pipe(
      Effect.map(({ dev, ino }) => `${dev} ${Option.getOrElse(ino, () => 0)}`),
      Effect.catchIf(({ errno }) => errno === "ENOENT", () => Effect.succeed("none"))
    )

  const directoryHandle = Effect.acquireRelease(
    Effect.tryPromise({
      try: () => open(root, "r"),
      catch: (cause) => fromErrno(errnoOf(cause), "open", root)
    }),
    (handle) => Effect.promise(() => handle.close())
  )

  const removeFile = (file: string) => io("unlink", fs.remove(path.join(root, file), { force: true }))

  /**
   * Listens, and links the socket to the lock's name, which only one can do; returns the identity of its file. A socket's path may have some hundred characters;
   * by way of an open directory it is short. That is closed again, so that Node, which removes the path of a socket that it
   * closes, and waits for that, does not get to the disk.
   */
  const claim = Effect.fnUntraced(function*(scope: Scope.Scope) {
    const handle = yield* directoryHandle
    const at = (file: string) =>
      process.platform === "linux" ? `/proc/self/fd/${handle.fd}/${file}` : path.join(root, file)
    const own = `${name}-${session}`
    yield* Scope.provide(listen(at(own)), scope)
    const file = yield* identityOf(own)
    const link = io("open", fs.link(path.join(root, own), path.join(root, name)))
    // Left by a process that was killed, or not. Anyone who moves it away must still look at what it was that moved.
    const replace = Effect.gen(function*() {
      const taken = new IoError({ errno: "LOCKED", operation: "open", path: path.join(root, name) })
      if (yield* isAlive(at(name))) return yield* taken
      const stale = `${name}-${session}.stale.tmp`
      yield* io("rename", fs.rename(path.join(root, name), path.join(root, stale)))
      if (yield* isAlive(at(stale))) {
        yield* io("rename", fs.rename(path.join(root, stale), path.join(root, name)))
        return yield* taken
      }
      yield* removeFile(stale)
      return yield* link
    })
    const settled = Effect.catchIf(link, ({ errno }) => errno === "EEXIST", () => replace)
    yield* Effect.ensuring(settled, Effect.ignore(removeFile(own)))
    return file
  }, Effect.scoped)

  const take = Effect.gen(function*() {
    yield* limiter.pass(makeDirectories(fs, path, root))
    // The socket is made by the main thread, which a disk that hangs must not hold: so it has to answer first.
    const trial = path.join(root, `${name}-${session}.tmp`)
    yield* io("write", Effect.andThen(fs.writeFile(trial, new Uint8Array(1)), fs.remove(trial)))
    const file = yield* claim(yield* Effect.scope)
    yield* Effect.addFinalizer(() =>
      identityOf(name).pipe(
        Effect.flatMap((found) => found === file ? removeFile(name) : Effect.void),
        Effect.interruptible,
        Effect.timeout("1 second"),
        Effect.ignore
      )
    )
    return file
  })

  // Somebody may remove or rename the directory; the lock that is there then is another process's.
  const acquire = Effect.gen(function*() {
    if (held !== undefined) {
      if (held === "impossible" || held.file === (yield* identityOf(name))) return
      yield* Scope.close(held.scope, Exit.void)
      held = undefined
    }
    const scope = yield* Scope.fork(layerScope)
    held = yield* Effect.map(Scope.provide(take, scope), (file) => ({ scope, file })).pipe(
      Effect.onError((cause) => Scope.close(scope, Exit.failCause(cause))),
      // The trial could write there, so it is not the permission that is missing.
      Effect.catchIf(({ errno, operation }) => operation === "open" && unsupported.has(errno), (error) =>
        Effect.as(
          Effect.logWarning("The cache's file system has no locks: see to it that no other process uses it").pipe(
            Effect.annotateLogs({ errno: error.errno, path: error.path })
          ),
          "impossible" as const
        ))
    )
    yield* takes.set(takes.current() + 1)
  })

  return DirectoryLock.of({ acquire: mutex.withPermit(acquire), takes: takes.changes })
})
