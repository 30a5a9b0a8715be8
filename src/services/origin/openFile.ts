import type { BigIntStats } from "node:fs"
import { constants, type FileHandle, open, opendir, realpath, stat } from "node:fs/promises"
import { sep } from "node:path"
import { OriginFault } from "../../domain/OriginFault.ts"

/** What tells one version of a file from others. */
export interface FileVersion {
  /** In bytes. */
  readonly size: number
  /** When it was last written, in milliseconds. */
  readonly modified: number
  /** The same for each read of this version: of size, time of the last write in nanoseconds, and inode. */
  readonly tag: string
}

/** A file that is open for reading. */
export interface OpenFile extends FileVersion {
  /**
   * At most `length` bytes from `position` on, of this version only. Rejected with the fault `FILE_CHANGED` if the file has been written to or
   * has become shorter since it was opened.
   */
  readonly read: (position: number, length: number) => Promise<Uint8Array>
  readonly close: () => Promise<void>
}

/** Why no file is opened, as the status of a response. */
export type FileRefusal = 403 | 404

/** There is no regular file of that name. */
const missing = new Set(["ENOENT", "ENOTDIR", "ENAMETOOLONG", "ELOOP", "ENXIO"])

const forbidden = new Set(["EACCES", "EPERM"])

const codeOf = (error: unknown): string =>
  typeof error === "object" && error !== null && "code" in error ? String(error.code) : "EIO"

/** The fault for what a call to the file system was rejected with. */
export const faultOf = (error: unknown): OriginFault =>
  error instanceof OriginFault ? error : new OriginFault(codeOf(error))

const versionOf = ({ ino, mtimeNs, size }: BigIntStats): FileVersion => ({
  size: Number(size),
  modified: Number(mtimeNs / 1_000_000n),
  tag: [size, mtimeNs, ino].map((part) => part.toString(36)).join("-")
})

/** A directory that isn't there or is empty may be a mount that is missing. That doesn't mean that its files are gone. */
const checkMounted = async (root: string): Promise<void> => {
  const directory = await opendir(root)
  try {
    if (await directory.read() === null) throw new OriginFault("EMPTY_DIRECTORY")
  } finally {
    await directory.close()
  }
}

/**
 * Whether `path`, which was opened as the file of `info`, is below `root` with all links resolved. The comparison with `info` fails if a
 * link was changed in between.
 */
const staysBelow = async (root: string, path: string, info: BigIntStats): Promise<boolean> => {
  const [realRoot, real] = [await realpath(root), await realpath(path)]
  if (!real.startsWith(realRoot.endsWith(sep) ? realRoot : realRoot + sep)) return false
  const { dev, ino } = await stat(real, { bigint: true })
  return dev === info.dev && ino === info.ino
}

const readerOf = (handle: FileHandle, { size, tag }: FileVersion): OpenFile["read"] => async (position, length) => {
  const buffer = Buffer.allocUnsafeSlow(Math.min(length, size - position))
  const { bytesRead } = await handle.read(buffer, 0, buffer.length, position)
  // Afterwards, so that it covers the bytes that were read.
  const now = versionOf(await handle.stat({ bigint: true }))
  if (bytesRead === 0 || now.tag !== tag) throw new OriginFault("FILE_CHANGED")
  return buffer.subarray(0, bytesRead)
}

/** Opens the regular file at `path`, which has to be below `root` also with all symbolic links resolved. */
const openBelow = async (root: string, path: string): Promise<OpenFile | FileRefusal> => {
  // Without waiting for a writer if it is a pipe.
  const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    const info = await handle.stat({ bigint: true })
    const refusal = !info.isFile() ? 404 : await staysBelow(root, path, info) ? undefined : 403
    if (refusal !== undefined) {
      await handle.close()
      return refusal
    }
    const version = versionOf(info)
    return { ...version, read: readerOf(handle, version), close: () => handle.close() }
  } catch (error) {
    await handle.close()
    throw error
  }
}

/** The same, or why not. Rejected if the file system fails. */
export const openFile = async (root: string, path: string): Promise<OpenFile | FileRefusal> => {
  try {
    return await openBelow(root, path)
  } catch (error) {
    const code = codeOf(error)
    if (forbidden.has(code)) return 403
    if (!missing.has(code)) throw error
    await checkMounted(root)
    return 404
  }
}
