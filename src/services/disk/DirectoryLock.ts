import { Context, Effect, Exit, FileSystem, Layer, Option, Path, Random, Scope, Semaphore, Stream } from "effect"
import { open } from "node:fs/promises"
import { connect, createServer } from "node:net"
import { type CacheError, errnoOf, fromErrno, fromPlatformError, IoError } from "../../domain/CacheError.ts"
import * as ObservedValue from "../../effects/ObservedValue.ts"
import { CacheConfig } from "../config/CacheConfig.ts"
import { DiskLimiter } from "./DiskLimiter.ts"
import { makeDirectories } from "./makeDirectories.ts"
import { rootOf } from "./storeLayout.ts"

/**
 * Lets only one process use a cache directory. The lock is a Unix socket in the directory, on which the owner listens. The system
 * closes the socket when the process ends, however it ends. Containers that share the directory see the same socket.
 *
 * @since 0.1.0
 * @category services
 */
export class DirectoryLock extends Context.Service<DirectoryLock, {
  /**
   * Takes the lock, or does nothing if this process holds it. Takes it again if its file was removed or replaced. Fails with
   * `IoError` and the errno `LOCKED` if another process holds it, and with the error of the disk if it can't be taken.
   */
  readonly acquire: Effect.Effect<void, CacheError>
  /** How often the lock was taken, now and at each change. Each time, another process may have changed the directory before. */
  readonly takes: Stream.Stream<number>
}>()("spillway/services/disk/DirectoryLock") {
  /**
   * The lock of the directory in `CacheConfig`, released when the scope closes.
   *
   * @since 0.1.0
   * @category layers
   */
  static readonly layer: Layer.Layer<
    DirectoryLock,
    never,
    CacheConfig | DiskLimiter | FileSystem.FileSystem | Path.Path
  > = Layer.effect(DirectoryLock, Effect.suspend(() => make))

  /**
   * For a store that no other process can use.
   *
   * @since 0.1.0
   * @category layers
   */
  static readonly layerNone: Layer.Layer<DirectoryLock> = Layer.succeed(DirectoryLock, {
    acquire: Effect.void,
    takes: Stream.succeed(1)
  })
}

/** The errnos of file systems without sockets or links. */
const unsupported = new Set(["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EINVAL"])

/** The errnos of a socket on which no process listens. All others mean that its owner is busy or stopped. */
const dead = new Set(["ECONNREFUSED", "ENOENT"])

/** Whether a process listens on the socket at `at`. */
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
      // Stays registered: a later connection that can't be accepted is an error too.
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
  const root = rootOf(path, directory)
  const name = "lock"
  const mutex = yield* Semaphore.make(1)
  const takes = yield* ObservedValue.make(0)
  const session = Math.abs(yield* Random.nextInt).toString(36)
  let held: { readonly scope: Scope.Closeable; readonly file: string } | "impossible" | undefined

  const io = <A>(operation: string, effect: Effect.Effect<A, Parameters<ReturnType<typeof fromPlatformError>>[0]>) =>
    limiter.pass(Effect.mapError(effect, fromPlatformError(operation, path.join(root, name))))

  /** Identifies a file, to notice a replacement. The inode of a socket isn't reused while a process listens on it. */
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
   * Listens, and links the socket to the lock's name, which only one process can do. Returns the identity of the file. The path of a
   * socket may have about a hundred characters; through an open directory it is short. That directory is closed again, because Node
   * removes the path of a socket that it closes, and waits for that: it must not reach the disk.
   */
  const claim = Effect.fnUntraced(function*(scope: Scope.Scope) {
    const handle = yield* directoryHandle
    const at = (file: string) =>
      process.platform === "linux" ? `/proc/self/fd/${handle.fd}/${file}` : path.join(root, file)
    const own = `${name}-${session}`
    yield* Scope.provide(listen(at(own)), scope)
    const file = yield* identityOf(own)
    const link = io("open", fs.link(path.join(root, own), path.join(root, name)))
    // The owner may be dead. Two processes may find that at once, so check the file again after moving it away.
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
    // The main thread makes the socket, and a disk that hangs must not block it. So the disk has to respond first.
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

  // If the directory was removed or renamed, the lock that is there now is another process's.
  const acquire = Effect.gen(function*() {
    if (held !== undefined) {
      if (held === "impossible" || held.file === (yield* identityOf(name))) return
      yield* Scope.close(held.scope, Exit.void)
      held = undefined
    }
    const scope = yield* Scope.fork(layerScope)
    held = yield* Effect.map(Scope.provide(take, scope), (file) => ({ scope, file })).pipe(
      Effect.onError((cause) => Scope.close(scope, Exit.failCause(cause))),
      // The trial could write there, so this is not a missing permission.
      Effect.catchIf(({ errno, operation }) => operation === "open" && unsupported.has(errno), (error) =>
        Effect.as(
          Effect.logWarning(
            "The file system of the cache has no locks: make sure that no other process uses the directory"
          ).pipe(
            Effect.annotateLogs({ errno: error.errno, path: error.path })
          ),
          "impossible" as const
        ))
    )
    yield* takes.set(takes.current() + 1)
  })

  return DirectoryLock.of({ acquire: mutex.withPermit(acquire), takes: takes.changes })
})
