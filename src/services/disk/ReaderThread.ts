import { Context, Effect, Layer, PlatformError, type Scope } from "effect"
import * as Fs from "node:fs"
import { Worker } from "node:worker_threads"
import { sharedMemory } from "../../effects/xxh3/xxh3.ts"
import { PART_BYTES } from "./chunkFormat.ts"
import * as LazyThread from "./lazyThread.ts"

/** A file that is open for reading. It returns how many bytes it has read, 0 at the end of the file. */
export interface ReadableFile {
  readonly read: (
    buffer: Uint8Array,
    options: { readonly position: bigint }
  ) => Effect.Effect<number, PlatformError.PlatformError>
}

/** Reads into memory that is shared with a thread. */
export interface ShortReader {
  /** Opens a file. Reads into memory of `take` are done by the thread, others by Node's thread pool. */
  readonly open: (path: string) => Effect.Effect<ReadableFile, PlatformError.PlatformError, Scope.Scope>
  /** Memory for one read of at most `SLOT_BYTES`, or `undefined` if all is in use. */
  readonly take: () => Buffer | undefined
  /** Takes memory of `take` back. Returns `false` if `buffer` is from elsewhere. */
  readonly give: (buffer: Buffer) => boolean
}

/**
 * How short ranges are read, or `undefined` if each is read by a call to the `FileSystem`, as by default. `layer` has a thread for it, which
 * reads the real file system and not the `FileSystem` in context.
 *
 * A read in Node's pool wakes a thread, which costs more than the read of a short range from the page cache. The thread does all reads of a
 * turn of the event loop in one waking. It does them one after the other, so it is for a disk that answers at once: if reads take long, or
 * one doesn't end, the others go to the pool.
 */
export class ReaderThread extends Context.Reference<ShortReader | undefined>("spillway/services/disk/ReaderThread", {
  defaultValue: () => undefined
}) {
  /** The thread starts with the first read of `take`'s memory. If it can't start, or ends, the pool does all reads from then on. */
  static readonly layer: Layer.Layer<never> = Layer.effect(ReaderThread, Effect.suspend(() => make))
}

/** The longest range that counts as short, in bytes. */
export const SHORT_RANGE_BYTES = 128 * 1024

/** The longest read by the thread, in bytes: a short range, with the parts at its ends. */
export const SLOT_BYTES = SHORT_RANGE_BYTES + 2 * PART_BYTES

/** How many reads have memory at a time. A viewer holds it until the response has left. A power of two. */
const SLOTS = 64

/** The heap of the thread, in MiB. */
const HEAP_MEBIBYTES = { young: 1, old: 8 }

/** How long, in milliseconds, the thread may take for a read until those behind it go to the pool. */
const STALL_MILLIS = 20

/** How long, in milliseconds, all reads go to the pool after the thread has met a disk that is slower than the page cache. */
const PAUSE_MILLIS = 100

const shared = {
  memory: undefined as ArrayBufferLike | undefined,
  /** The number of reads handed over so far, then an entry for each of the last `SLOTS`. */
  ring: undefined as Int32Array | undefined,
  mask: SLOTS - 1,
  /** What an entry has, one number each. `count` is the bytes read, or -1 if it could not be read, or wasn't. */
  fields: { state: 0, descriptor: 1, start: 2, length: 3, position: 4, count: 5 },
  states: { queued: 1, running: 2, ended: 3, withdrawn: 4 },
  /** With so many reads that take longer than so many milliseconds, a group doesn't come from the page cache. One may be chance. */
  maxSlow: 2,
  slowMillis: 0.2
}

const { fields, mask, states } = shared
const ENTRY = Object.keys(fields).length

/** Where the entry of a read begins in the ring. */
const entryAt = (read: number): number => 1 + (read & mask) * ENTRY

/** The program of the thread, which gets only the text of this function: it refers to nothing outside. */
const program = (): void => {
  const fs = process.getBuiltinModule("node:fs")
  const { parentPort, workerData } = process.getBuiltinModule("node:worker_threads")
  const { fields, mask, maxSlow, memory, ring, slowMillis, states } = workerData as Required<typeof shared>
  const control = ring!
  const bytes = new Uint8Array(memory!)
  const size = Object.keys(fields).length

  const read = (at: number): number => {
    try {
      return fs.readSync(
        control[at + fields.descriptor]!,
        bytes,
        control[at + fields.start]!,
        control[at + fields.length]!,
        control[at + fields.position]!
      )
    } catch {
      return -1
    }
  }

  for (let next = 0;;) {
    Atomics.wait(control, 0, next)
    let slow = 0
    for (; next !== Atomics.load(control, 0); next = (next + 1) | 0) {
      const at = 1 + (next & mask) * size
      const { ended, queued, running } = states
      if (Atomics.compareExchange(control, at + fields.state, queued, running) !== queued) continue
      const began = performance.now()
      control[at + fields.count] = slow < maxSlow ? read(at) : -1
      if (performance.now() - began > slowMillis) slow += 1
      Atomics.store(control, at + fields.state, ended)
    }
    parentPort!.postMessage(slow >= maxSlow, [])
  }
}

/** Gets the number of bytes read, or `undefined` if the thread doesn't read them. */
type OnEnd = (count: number | undefined) => void

/** The process's side of the thread. */
class Thread {
  readonly #ring = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT * (1 + SLOTS * ENTRY)))
  readonly #onEnds: Array<OnEnd> = []
  readonly #worker: Worker
  /** Reads that were handed over, those of them that the thread knows of, and those that have ended, all modulo 2^32. */
  #handed = 0
  #known = 0
  #ended = 0
  #state: "Starting" | "Ready" | "Held" | "Ended" = "Starting"
  #pausedUntil = 0
  #isSet = false
  #isWatched = false

  constructor(memory: ArrayBufferLike) {
    this.#worker = new Worker(`(${program})()`, {
      eval: true,
      name: "spillway reader",
      execArgv: [],
      env: {},
      workerData: { ...shared, memory, ring: this.#ring },
      resourceLimits: { maxYoungGenerationSizeMb: HEAP_MEBIBYTES.young, maxOldGenerationSizeMb: HEAP_MEBIBYTES.old }
    })
    this.#worker.on("online", () => this.#state = "Ready")
    this.#worker.on("message", (isSlow: boolean) => this.#onReport(isSlow))
    this.#worker.on("error", () => this.#onExit())
    this.#worker.on("exit", () => this.#onExit())
    this.#worker.unref()
  }

  /** Whether a read can be handed over. */
  isReady(): boolean {
    return this.#state === "Ready" && ((this.#handed - this.#ended) | 0) < SLOTS &&
      performance.now() >= this.#pausedUntil
  }

  /** Hands over a read of `length` bytes, to `start` in the memory. What comes in one turn is one group. */
  read(descriptor: number, start: number, length: number, position: number, onEnd: OnEnd): void {
    const at = entryAt(this.#handed)
    this.#ring[at + fields.descriptor] = descriptor
    this.#ring[at + fields.start] = start
    this.#ring[at + fields.length] = length
    this.#ring[at + fields.position] = position
    Atomics.store(this.#ring, at + fields.state, states.queued)
    this.#onEnds[this.#handed & mask] = onEnd
    this.#handed = (this.#handed + 1) | 0
    if (this.#isSet) return
    this.#isSet = true
    setImmediate(() => this.#tell())
  }

  end(): Promise<unknown> {
    return this.#worker.terminate()
  }

  #tell(): void {
    this.#isSet = false
    if (this.#state === "Ended") return this.#withdraw()
    // The program doesn't end while it reads.
    if (this.#ended === this.#known) this.#worker.ref()
    this.#known = this.#handed
    Atomics.store(this.#ring, 0, this.#known)
    Atomics.notify(this.#ring, 0)
    if (!this.#isWatched) this.#watchFrom(this.#ended)
  }

  #onReport(isSlow: boolean): void {
    if (this.#state === "Held") this.#state = "Ready"
    if (isSlow) this.#pausedUntil = performance.now() + PAUSE_MILLIS
    this.#takeEnded()
    if (this.#ended === this.#known) this.#worker.unref()
  }

  #takeEnded(): void {
    while (this.#ended !== this.#known) {
      const at = entryAt(this.#ended)
      const state = Atomics.load(this.#ring, at + fields.state)
      if (state === states.queued || state === states.running) return
      const onEnd = this.#onEnds[this.#ended & mask]!
      const count = this.#ring[at + fields.count]!
      this.#ended = (this.#ended + 1) | 0
      if (state === states.ended) onEnd(count < 0 ? undefined : count)
    }
  }

  /** Looks after a while whether any read has ended since `ended`. */
  #watchFrom(ended: number): void {
    this.#isWatched = true
    setTimeout(() => {
      this.#takeEnded()
      if (this.#ended === ended && this.#state === "Ready") {
        this.#state = "Held"
        this.#withdraw()
      }
      this.#isWatched = false
      if (this.#ended !== this.#known) this.#watchFrom(this.#ended)
    }, STALL_MILLIS).unref()
  }

  /** Gives back the reads that the thread hasn't begun. */
  #withdraw(): void {
    for (let read = this.#ended; read !== this.#handed; read = (read + 1) | 0) {
      const state = entryAt(read) + fields.state
      if (Atomics.compareExchange(this.#ring, state, states.queued, states.withdrawn) !== states.queued) continue
      this.#onEnds[read & mask]!(undefined)
    }
  }

  #onExit(): void {
    if (this.#state === "Ended") return
    this.#state = "Ended"
    this.#takeEnded()
    this.#withdraw()
    // What the thread was reading when it ended.
    for (; this.#ended !== this.#handed; this.#ended = (this.#ended + 1) | 0) {
      const at = entryAt(this.#ended)
      if (this.#ring[at + fields.state] === states.running) this.#onEnds[this.#ended & mask]!(undefined)
    }
  }
}

const readError = (method: string, path: string, cause: NodeJS.ErrnoException): PlatformError.PlatformError =>
  PlatformError.systemError({ _tag: "Unknown", module: "FileSystem", method, pathOrDescriptor: path, cause })

const make = Effect.gen(function*() {
  const slots = sharedMemory(SLOTS * SLOT_BYTES)
  const memory = slots.buffer
  const free = Array.from(
    { length: SLOTS },
    (_, slot): Buffer => Buffer.from(memory, slots.byteOffset + slot * SLOT_BYTES, SLOT_BYTES)
  )
  const thread = yield* LazyThread.make(() => new Thread(memory))

  /** The thread, if it can take a read now. */
  const ready = (): Thread | undefined => {
    const reader = thread()
    return reader?.isReady() === true ? reader : undefined
  }

  const open: ShortReader["open"] = Effect.fnUntraced(function*(path: string) {
    const opening = Effect.callback<number, PlatformError.PlatformError>((resume) =>
      Fs.open(
        path,
        "r",
        (error, descriptor) =>
          resume(error === null ? Effect.succeed(descriptor) : Effect.fail(readError("open", path, error)))
      )
    )
    const descriptor = yield* Effect.acquireRelease(
      opening,
      (descriptor) => Effect.callback<void>((resume) => Fs.close(descriptor, () => resume(Effect.void)))
    )

    const readInPool = (buffer: Uint8Array, position: bigint) =>
      Effect.callback<number, PlatformError.PlatformError>((resume) =>
        Fs.read(
          descriptor,
          buffer,
          0,
          buffer.length,
          position,
          (error, count) => resume(error === null ? Effect.succeed(count) : Effect.fail(readError("read", path, error)))
        )
      )

    return {
      read: (buffer: Uint8Array, { position }: { readonly position: bigint }) => {
        if (buffer.buffer !== memory) return readInPool(buffer, position)
        return Effect.callback<number, PlatformError.PlatformError>((resume) => {
          const reader = ready()
          if (reader === undefined) return resume(readInPool(buffer, position))
          reader.read(
            descriptor,
            buffer.byteOffset,
            buffer.length,
            Number(position),
            (count) => resume(count === undefined ? readInPool(buffer, position) : Effect.succeed(count))
          )
        })
      }
    }
  })

  return {
    open,
    take: () => free.pop(),
    give: (buffer: Buffer) => buffer.buffer === memory && free.push(buffer) > 0
  }
})
