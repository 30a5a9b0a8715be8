import { Effect } from "effect"
import { BufferPool } from "../../effects/BufferPool.ts"

/** How much memory that no viewer uses is kept for each size of a buffer, in bytes. */
const POOLED_BYTES = 4 * 1024 ** 2

/** Free buffers by their size. All viewers share them, so most views need no new memory. */
export class ReadBuffers {
  readonly #pools = new Map<number, BufferPool>()

  /** The pool of buffers of `bytes` bytes. There is one for each size, so ask for few sizes. */
  of(bytes: number): BufferPool {
    let pool = this.#pools.get(bytes)
    if (pool === undefined) this.#pools.set(bytes, pool = new BufferPool(bytes, POOLED_BYTES / bytes))
    return pool
  }
}

/**
 * The read buffer of one viewer, who has done with a piece when it asks for the next. It is used for every piece, and replaced when another size is
 * needed, because a slow viewer must not keep a large one.
 */
export class ReadBuffer {
  readonly #buffers: ReadBuffers
  #free: Buffer | undefined

  constructor(buffers: ReadBuffers) {
    this.#buffers = buffers
  }

  /** Runs `read` with a buffer of so many bytes. */
  read<E>(bytes: number, read: (buffer: Buffer) => Effect.Effect<Uint8Array, E>): Effect.Effect<Uint8Array, E> {
    return Effect.suspend(() => {
      if (this.#free?.length !== bytes) this.release()
      const buffer = this.#free ?? this.#buffers.of(bytes).take()
      // A read that failed or was interrupted may continue in the background, and write to the buffer at any time: that one is lost.
      this.#free = undefined
      return Effect.tap(read(buffer), () => Effect.sync(() => this.#free = buffer))
    })
  }

  /** Leaves the buffer to other viewers. Call it when this one has done with the last piece. */
  release(): void {
    if (this.#free !== undefined) this.#buffers.of(this.#free.length).give(this.#free)
    this.#free = undefined
  }
}
