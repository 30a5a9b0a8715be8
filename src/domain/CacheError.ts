import { type PlatformError, Predicate, Schema } from "effect"
import { constants } from "node:os"

/** How the names of files end that are not complete yet. */
export const TEMPORARY = ".tmp"

/**
 * What can go wrong between Spillway and its disk, by what can be done about it.
 */

const fields = {
  /** The file or directory that was being worked on. */
  path: Schema.String,
  /** What was being done to it: `mkdir`, `open`, `write`, `sync`, `rename`, `read`, `stat`, `readdir`, `unlink`. */
  operation: Schema.String,
  /** The system's name for the cause, such as `ENOSPC`, or one of Spillway's own: `SHORT_READ`, `CORRUPT`, `TIMEOUT`, `BUSY`. */
  errno: Schema.String
}

/**
 * No space, no inodes, or no quota is left (ENOSPC, EDQUOT). Spillway evicts chunks to make room.
 *
 * @since 0.1.0
 * @category errors
 */
export class DiskFull extends Schema.TaggedError<DiskFull>()("DiskFull", fields) {
  override get message(): string {
    return describe(this)
  }
}

/**
 * The disk can be read but not written (EACCES, EPERM, EROFS).
 *
 * @since 0.1.0
 * @category errors
 */
export class PermissionDenied extends Schema.TaggedError<PermissionDenied>()("PermissionDenied", fields) {
  override get message(): string {
    return describe(this)
  }
}

/**
 * Anything else: a dying disk, a missing or damaged file, too many open files.
 *
 * @since 0.1.0
 * @category errors
 */
export class IoError extends Schema.TaggedError<IoError>()("IoError", fields) {
  override get message(): string {
    return describe(this)
  }
}

/**
 * The disk works, but has too much to do to be in time for a viewer. It can be read again a moment later.
 *
 * @since 0.1.0
 * @category errors
 */
export class DiskBusy extends Schema.TaggedError<DiskBusy>()("DiskBusy", fields) {
  override get message(): string {
    return describe(this)
  }
}

/** For one of these the cache is not used for a while. */
export type CacheFailure = DiskFull | PermissionDenied | IoError

/**
 * A failure of the cache, never of the origin.
 *
 * @since 0.1.0
 * @category errors
 */
export type CacheError = CacheFailure | DiskBusy

const describe = (error: { readonly errno: string; readonly operation: string; readonly path: string }): string =>
  `${error.errno}: ${error.operation} ${error.path}`

/** The error for `errno` (Linux `errno(3)` names). */
export const fromErrno = (errno: string, operation: string, path: string): CacheFailure => {
  const details = { errno, operation, path }
  switch (errno) {
    case "ENOSPC":
    case "EDQUOT":
      return new DiskFull(details)
    case "EACCES":
    case "EPERM":
    case "EROFS":
      return new PermissionDenied(details)
    default:
      return new IoError(details)
  }
}

/** The errno inside an error of Node's, or `UNKNOWN`. For some, such as EDQUOT, Node has a number and no name. */
export const errnoOf = (cause: unknown): string => {
  if (Predicate.hasProperty(cause, "code") && typeof cause.code === "string" && /^[A-Z_0-9]+$/.test(cause.code)) {
    // Node checks before it removes, and has a name of its own for what it finds: `ERR_FS_EISDIR`.
    return cause.code.replace(/^ERR_FS_/, "")
  }
  const number = Predicate.hasProperty(cause, "errno") && typeof cause.errno === "number" ? Math.abs(cause.errno) : 0
  return Object.entries(constants.errno).find(([, value]) => value === number)?.[0] ?? "UNKNOWN"
}

/** `PlatformError` has a tag of its own for few errnos (ENOSPC and EROFS are `Unknown`), so the cause is asked. */
export const fromPlatformError =
  (operation: string, path: string) => (error: PlatformError.PlatformError): CacheFailure => {
    const errno = errnoOf(error.reason.cause)
    return fromErrno(errno === "UNKNOWN" ? tagErrno[error.reason._tag] ?? errno : errno, operation, path)
  }

/** For file systems that report no errno, such as one in memory. */
const tagErrno: Record<string, string> = { NotFound: "ENOENT", PermissionDenied: "EACCES", AlreadyExists: "EEXIST" }

/** What the system says of a name at which there is not file: something else, or nothing. */
const notAFile = new Set(["EISDIR", "ELOOP", "ENOENT", "ENOTDIR", "ENXIO"])

/** Whether `error` says that one file is missing or not what was written. It says nothing about the disk. */
export const isDamage = ({ errno }: CacheError): boolean =>
  notAFile.has(errno) || errno === "SHORT_READ" || errno === "CORRUPT"

/**
 * Causes that lie in the process, such as its limit of open files, or in the disk as a whole: Spillway itself finds some of them, and the
 * others say that there is no connection to a store elsewhere.
 */
const shared = new Set(
  ("EAGAIN EMFILE ENFILE ENOMEM EROFS TIMEOUT LOCKED " +
    "ECONNREFUSED ECONNRESET EHOSTUNREACH ENETUNREACH ENOTCONN EPIPE ETIMEDOUT").split(" ")
)

/** Whether `error` may concern one file or directory only, such as EIO of a bad sector or EPERM of an immutable file. */
export const isOfOneFile = ({ _tag, errno }: CacheError): boolean =>
  _tag !== "DiskFull" && _tag !== "DiskBusy" && !shared.has(errno)

/** Whether `error` came from changing the disk, rather than from reading it. */
export const isFromWriting = ({ operation, path }: CacheError): boolean =>
  path.endsWith(TEMPORARY) || ["mkdir", "write", "sync", "rename", "unlink"].includes(operation)

/**
 * What `error` is evidence against: a file when its bytes could not be read or written, a directory that could not be made,
 * else the directory that holds the name.
 * A directory that fails makes each name in it fail, and is still one object.
 */
export const objectOf = ({ operation, path }: CacheError): string =>
  ["close", "mkdir", "read", "sync", "write"].includes(operation)
    ? path.replace(/(?:\.[^./]+)?\.tmp$/, "")
    : path.slice(0, Math.max(0, path.lastIndexOf("/")))
