/** How much memory that nobody uses is kept, in bytes. */
const FREE_BYTES = 32 * 1024 ** 2

/** Sizes are rounded up to one of eight steps between two powers of two, so that a buffer fits others later. */
const STEPS_LOG2 = 3

const roundedSize = (bytes: number): number => {
  const step = 2 ** Math.max(0, 31 - Math.clz32(bytes) - STEPS_LOG2)
  return Math.ceil(bytes / step) * step
}

/**
 * Buffers that are used again when nobody holds them any more. Every 64 MiB of new buffers would trigger a full mark of V8's heap, and new
 * memory costs a page fault every 4 KiB.
 *
 * Each holder calls `hold` once and `release` once. A holder that can't tell when it is done calls `forget`: then V8 collects the
 * memory. V8 also collects what a holder never releases, such as a viewer who is cut off.
 */
export class ReusedBuffers {
  /** Shorter buffers are left to V8, in bytes. */
  readonly least: number
  readonly #onFree: ((buffer: Buffer) => void) | undefined
  /** How many hold a buffer, for those that are to be used again. */
  readonly #holds = new WeakMap<ArrayBufferLike, number>()
  /** By size. The size that was used longest ago comes first. */
  readonly #free = new Map<number, Array<Buffer>>()
  #freeBytes = 0

  /** `onFree` gets each buffer that nobody holds any more. */
  constructor(least: number, onFree?: (buffer: Buffer) => void) {
    this.least = least
    this.#onFree = onFree
  }

  /** A buffer with any content, which the caller holds. */
  take(bytes: number): Buffer {
    if (bytes < this.least) return Buffer.allocUnsafeSlow(bytes)
    const size = roundedSize(bytes)
    const buffer = this.#takeFree(size) ?? Buffer.allocUnsafeSlow(size)
    this.#holds.set(buffer.buffer, 1)
    return buffer.subarray(0, bytes)
  }

  /** Whether the buffer that `bytes` are part of will be used again. */
  isReused({ buffer }: Uint8Array): boolean {
    return this.#holds.has(buffer)
  }

  /** Holds the buffer that `bytes` are part of, if it will be used again. */
  hold({ buffer }: Uint8Array): void {
    const holds = this.#holds.get(buffer)
    if (holds !== undefined) this.#holds.set(buffer, holds + 1)
  }

  /** Ends one hold of the buffer that `bytes` are part of. */
  release({ buffer }: Uint8Array): void {
    const holds = this.#holds.get(buffer)
    if (holds === undefined) return
    if (holds > 1) return void this.#holds.set(buffer, holds - 1)
    this.#holds.delete(buffer)
    this.#give(Buffer.from(buffer as ArrayBuffer))
  }

  /** Leaves the buffer that `bytes` are part of to V8. Someone may keep it, or write it in the background. */
  forget(bytes: Uint8Array): void {
    this.#holds.delete(bytes.buffer)
  }

  #takeFree(size: number): Buffer | undefined {
    const free = this.#free.get(size)
    const buffer = free?.pop()
    if (buffer === undefined) return undefined
    this.#freeBytes -= size
    this.#free.delete(size)
    if (free!.length > 0) this.#free.set(size, free!)
    return buffer
  }

  #give(buffer: Buffer): void {
    this.#onFree?.(buffer)
    const size = buffer.length
    if (size > FREE_BYTES) return
    while (this.#freeBytes + size > FREE_BYTES) this.#takeFree(this.#free.keys().next().value!)
    const free = this.#free.get(size) ?? []
    free.push(buffer)
    this.#free.delete(size)
    this.#free.set(size, free)
    this.#freeBytes += size
  }
}
