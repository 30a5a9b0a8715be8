import { spawn } from "node:child_process"
import * as Fs from "node:fs"

/**
 * A program of its own: mounts a file system in memory at the path it is given, by way of `/dev/fuse`, in its own mount
 * namespace. Its parent tells it over the IPC channel what goes wrong, and is told how many calls a disk that hangs holds.
 */

/** What a disk does: as it should, or nothing at all, or it fails reads and writes, or each read takes so many milliseconds. */
export type Conduct = "good" | "hung" | "failing" | { readonly readMillis: number }

// Names and numbers as in Linux's fuse.h.
const Op = {
  LOOKUP: 1,
  FORGET: 2,
  GETATTR: 3,
  SETATTR: 4,
  MKNOD: 8,
  MKDIR: 9,
  UNLINK: 10,
  RMDIR: 11,
  RENAME: 12,
  LINK: 13,
  OPEN: 14,
  READ: 15,
  WRITE: 16,
  STATFS: 17,
  RELEASE: 18,
  FSYNC: 20,
  INIT: 26,
  OPENDIR: 27,
  READDIR: 28,
  RELEASEDIR: 29,
  CREATE: 35,
  INTERRUPT: 36,
  BATCH_FORGET: 42,
  RENAME2: 45
}
const [ENOENT, EINTR, EIO, EEXIST, ENOSYS, ENOTEMPTY] = [2, 4, 5, 17, 38, 39]
const FLAGS = { ASYNC_READ: 1, BIG_WRITES: 1 << 5, MAX_PAGES: 1 << 22 }
const FOPEN_DIRECT_IO = 1
const FATTR = { MODE: 1, SIZE: 8 }
const KIND = { MASK: 0o170000, DIRECTORY: 0o040000, FILE: 0o100000 }

const HEADER_BYTES = 40
const MAX_WRITE = 1024 ** 2
const BLOCK_BYTES = 4096
const DISK_BLOCKS = 1024 ** 2

interface Node {
  readonly id: number
  mode: number
  size: number
  data: Buffer
  readonly children: Map<string, Node>
}

class Failed extends Error {
  readonly errno: number
  constructor(errno: number) {
    super(`errno ${errno}`)
    this.errno = errno
  }
}

const nodes = new Map<number, Node>()

const makeNode = (mode: number): Node => {
  const node = { id: nodes.size + 1, mode, size: 0, data: Buffer.alloc(0), children: new Map() }
  nodes.set(node.id, node)
  return node
}
makeNode(KIND.DIRECTORY | 0o755)

const resize = (node: Node, size: number): void => {
  if (size > node.data.length) {
    const data = Buffer.alloc(Math.max(size, node.data.length * 2))
    node.data.copy(data, 0, 0, node.size)
    node.data = data
  } else if (size < node.size) node.data.fill(0, size, node.size)
  node.size = size
}

const attributes = ({ id, mode, size }: Node): Buffer => {
  const out = Buffer.alloc(88)
  out.writeBigUInt64LE(BigInt(id), 0)
  out.writeBigUInt64LE(BigInt(size), 8)
  out.writeBigUInt64LE(BigInt(Math.ceil(size / 512)), 16)
  out.writeUInt32LE(mode, 60)
  out.writeUInt32LE(1, 64)
  out.writeUInt32LE(BLOCK_BYTES, 80)
  return out
}

/** Nothing is kept by the kernel, so that each call comes here. */
const entry = (node: Node): Buffer => {
  const out = Buffer.alloc(40)
  out.writeBigUInt64LE(BigInt(node.id), 0)
  return Buffer.concat([out, attributes(node)])
}

const attributesOf = (node: Node): Buffer => Buffer.concat([Buffer.alloc(16), attributes(node)])

const opened = (): Buffer => {
  const out = Buffer.alloc(16)
  out.writeUInt32LE(FOPEN_DIRECT_IO, 8)
  return out
}

const names = (from: Buffer): Array<string> => from.toString("utf8").split("\0")

const child = (parent: Node, name: string): Node => {
  const found = parent.children.get(name)
  if (found === undefined) throw new Failed(ENOENT)
  return found
}

const create = (parent: Node, name: string, mode: number): Node => {
  if (parent.children.has(name)) throw new Failed(EEXIST)
  const node = makeNode(mode)
  parent.children.set(name, node)
  return node
}

const init = (): Buffer => {
  const out = Buffer.alloc(64)
  out.writeUInt32LE(7, 0)
  out.writeUInt32LE(31, 4)
  out.writeUInt32LE(MAX_WRITE, 8)
  out.writeUInt32LE(FLAGS.ASYNC_READ | FLAGS.BIG_WRITES | FLAGS.MAX_PAGES, 12)
  out.writeUInt32LE(MAX_WRITE, 20)
  out.writeUInt32LE(1, 24)
  out.writeUInt16LE(MAX_WRITE / BLOCK_BYTES, 28)
  return out
}

const statfs = (): Buffer => {
  const out = Buffer.alloc(80)
  for (const [index, value] of [DISK_BLOCKS, DISK_BLOCKS, DISK_BLOCKS, DISK_BLOCKS, DISK_BLOCKS].entries()) {
    out.writeBigUInt64LE(BigInt(value), index * 8)
  }
  for (const [index, value] of [BLOCK_BYTES, 255, BLOCK_BYTES].entries()) out.writeUInt32LE(value, 40 + index * 4)
  return out
}

const readDirectory = (node: Node, offset: number, size: number): Buffer => {
  const parts: Array<Buffer> = []
  let length = 0
  for (const [index, [name, { id, mode }]] of [...node.children].entries()) {
    if (index < offset) continue
    const bytes = Buffer.from(name)
    const part = Buffer.alloc(Math.ceil((24 + bytes.length) / 8) * 8)
    if (length + part.length > size) break
    part.writeBigUInt64LE(BigInt(id), 0)
    part.writeBigUInt64LE(BigInt(index + 1), 8)
    part.writeUInt32LE(bytes.length, 16)
    part.writeUInt32LE((mode & KIND.MASK) >> 12, 20)
    bytes.copy(part, 24)
    parts.push(part)
    length += part.length
  }
  return Buffer.concat(parts)
}

const rename = (from: Node, to: Node, text: Buffer): Buffer => {
  const [name, target] = names(text) as [string, string]
  to.children.set(target, child(from, name))
  from.children.delete(name)
  return Buffer.alloc(0)
}

const answer = (opcode: number, node: Node, body: Buffer): Buffer => {
  const word = (at: number) => body.readUInt32LE(at)
  const long = (at: number) => Number(body.readBigUInt64LE(at))
  switch (opcode) {
    case Op.INIT:
      return init()
    case Op.LOOKUP:
      return entry(child(node, names(body)[0]!))
    case Op.GETATTR:
      return attributesOf(node)
    case Op.SETATTR:
      if ((word(0) & FATTR.SIZE) !== 0) resize(node, long(16))
      if ((word(0) & FATTR.MODE) !== 0) node.mode = (node.mode & KIND.MASK) | (word(68) & ~KIND.MASK)
      return attributesOf(node)
    case Op.MKNOD:
      return entry(create(node, names(body.subarray(16))[0]!, word(0)))
    case Op.MKDIR:
      return entry(create(node, names(body.subarray(8))[0]!, KIND.DIRECTORY | word(0)))
    case Op.CREATE:
      return Buffer.concat([entry(create(node, names(body.subarray(16))[0]!, KIND.FILE | word(4))), opened()])
    case Op.LINK: {
      const linked = nodes.get(long(0))!
      const name = names(body.subarray(8))[0]!
      if (node.children.has(name)) throw new Failed(EEXIST)
      node.children.set(name, linked)
      return entry(linked)
    }
    case Op.UNLINK:
    case Op.RMDIR: {
      const name = names(body)[0]!
      if (child(node, name).children.size > 0) throw new Failed(ENOTEMPTY)
      node.children.delete(name)
      return Buffer.alloc(0)
    }
    case Op.RENAME:
      return rename(node, nodes.get(long(0))!, body.subarray(8))
    case Op.RENAME2:
      return rename(node, nodes.get(long(0))!, body.subarray(16))
    case Op.OPEN:
    case Op.OPENDIR:
      return opened()
    case Op.READ: {
      const end = Math.min(node.size, long(8) + word(16))
      return node.data.subarray(Math.min(long(8), end), end)
    }
    case Op.WRITE: {
      const [offset, size] = [long(8), word(16)]
      if (offset + size > node.size) resize(node, offset + size)
      body.copy(node.data, offset, 40, 40 + size)
      const out = Buffer.alloc(8)
      out.writeUInt32LE(size, 0)
      return out
    }
    case Op.READDIR:
      return readDirectory(node, long(8), word(16))
    case Op.STATFS:
      return statfs()
    case Op.RELEASE:
    case Op.RELEASEDIR:
    case Op.FSYNC:
      return Buffer.alloc(0)
    // FLUSH too, so that the kernel stops asking: a process that ends with a file open waits for the answer, whatever kills it.
    default:
      throw new Failed(ENOSYS)
  }
}

const device = Fs.openSync("/dev/fuse", "r+")
let conduct: Conduct = "good"
let waiting: Array<Buffer> = []

const reply = (unique: bigint, errno: number, body: Buffer): void => {
  const header = Buffer.alloc(16)
  header.writeUInt32LE(16 + body.length, 0)
  header.writeInt32LE(-errno, 4)
  header.writeBigUInt64LE(unique, 8)
  try {
    Fs.writeSync(device, Buffer.concat([header, body]))
  } catch {
    // Whoever asked is gone.
  }
}

const uniqueOf = (request: Buffer): bigint => request.readBigUInt64LE(8)

const opcodeOf = (request: Buffer): number => request.readUInt32LE(4)

/** Whether somebody waits for a call. A file is closed in the background, maybe only when the disk hangs already. */
const isAwaited = (request: Buffer): boolean => opcodeOf(request) !== Op.RELEASE && opcodeOf(request) !== Op.RELEASEDIR

const handle = (request: Buffer): void => {
  const opcode = opcodeOf(request)
  if (opcode === Op.FORGET || opcode === Op.BATCH_FORGET) return
  if (opcode === Op.INTERRUPT) {
    // Those who wait for a disk that hangs can be killed, as with most network file systems.
    const unique = request.readBigUInt64LE(HEADER_BYTES)
    if (waiting.some((other) => uniqueOf(other) === unique)) reply(unique, EINTR, Buffer.alloc(0))
    waiting = waiting.filter((other) => uniqueOf(other) !== unique)
    return
  }
  if (conduct === "hung") {
    waiting.push(request)
    return void process.send?.(waiting.filter(isAwaited).length)
  }
  try {
    if (conduct === "failing" && (opcode === Op.READ || opcode === Op.WRITE)) throw new Failed(EIO)
    const node = nodes.get(Number(request.readBigUInt64LE(16)))
    const body = request.subarray(HEADER_BYTES)
    const answered = answer(opcode, node!, body)
    if (opcode === Op.READ && typeof conduct === "object") {
      setTimeout(() => reply(uniqueOf(request), 0, answered), conduct.readMillis)
    } else reply(uniqueOf(request), 0, answered)
  } catch (error) {
    if (!(error instanceof Failed)) throw error
    reply(uniqueOf(request), error.errno, Buffer.alloc(0))
  }
}

const buffer = Buffer.alloc(MAX_WRITE + 2 * BLOCK_BYTES)
let mounted = false

const next = (): void =>
  Fs.read(device, buffer, 0, buffer.length, null, (error, length) => {
    if (error === null) {
      handle(Buffer.from(buffer.subarray(0, length)))
      next()
    } else if (["EINTR", "EAGAIN", "ENOENT"].includes(error.code!)) next()
    // Before it is mounted.
    else if (error.code === "EPERM" && !mounted) setTimeout(next, 10)
    else process.exit(error.code === "ENODEV" ? 0 : 1)
  })

process.on("message", (message: Conduct) => {
  conduct = message
  if (conduct !== "hung") { for (const request of waiting.splice(0)) handle(request) }
})
process.on("disconnect", () => process.exit())

const options = "fd=3,rootmode=40000,user_id=0,group_id=0,allow_other"
spawn("mount", ["-i", "-t", "fuse", "-o", options, "spillway", process.argv[2]!], {
  stdio: ["ignore", "inherit", "inherit", device]
}).on("exit", (code) => {
  mounted = true
  if (code === 0) process.stdout.write("ready\n")
  else process.exit(1)
})
next()
