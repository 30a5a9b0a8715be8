import { type PlatformError, Predicate, Schema } from "effect"
import { constants } from "node:os"

/**
 * What can go wrong between Spillway and its disk, by what can be done about it.
 */

const fields = {
  /** The file or directory that was being worked on. */
  path: Schema.String,
  /** What was being done to it: `mkdir`, `open`, `write`, `sync`, `rename`, `read`, `stat`, `readdir`, `unlink`. */
  operation: Schema.String,
  /** The system's name for the cause, such as `ENOSPC`, or one of Spillway's own: `SHORT_READ`, `CORRUPT`, `TIMEOUT`. */
  errno: Schema.String
}

/** No space, no inodes, or no quota is left (ENOSPC, EDQUOT): room can be made. */
export class DiskFull extends Schema.TaggedError<DiskFull>()("DiskFull", fields) {
  override get message(): string {
    return describe(this)
  }
}

/** The disk may be read but not written (EACCES, EPERM, EROFS): only somebody else can change that. */
export class PermissionDenied extends Schema.TaggedError<PermissionDenied>()("PermissionDenied", fields) {
  override get message(): string {
    return describe(this)
  }
}

/** Anything else: a dying disk, a missing or damaged file, too many open files. */
export class IoError extends Schema.TaggedError<IoError>()("IoError", fields) {
  override get message(): string {
    return describe(this)
  }
}

/** A failure of the cache, never of the origin. */
export type CacheError = DiskFull | PermissionDenied | IoError

const describe = (error: { readonly errno: string; readonly operation: string; readonly path: string }): string =>
  `${error.errno}: ${error.operation} ${error.path}`

/** The error for `errno` (Linux `errno(3)` names). */
export const fromErrno = (errno: string, operation: string, path: string): CacheError => {
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
    return cause.code
  }
  const number = Predicate.hasProperty(cause, "errno") && typeof cause.errno === "number" ? Math.abs(cause.errno) : 0
  return Object.entries(constants.errno).find(([, value]) => value === number)?.[0] ?? "UNKNOWN"
}

/** `PlatformError` has a tag of its own for few errnos (ENOSPC and EROFS are `Unknown`), so the cause is asked. */
export const fromPlatformError =
  (operation: string, path: string) => (error: PlatformError.PlatformError): CacheError => {
    const errno = errnoOf(error.reason.cause)
    return fromErrno(errno === "UNKNOWN" ? tagErrno[error.reason._tag] ?? errno : errno, operation, path)
  }

/** For file systems that report no errno, such as one in memory. */
const tagErrno: Record<string, string> = { NotFound: "ENOENT", PermissionDenied: "EACCES", AlreadyExists: "EEXIST" }

/** Whether `error` is about one file that is gone or damaged, and says nothing about the disk. */
export const isDamage = (error: CacheError): boolean =>
  error.errno === "ENOENT" || error.errno === "SHORT_READ" || error.errno === "CORRUPT"
