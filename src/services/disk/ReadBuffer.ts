import { Effect } from "effect"
import { HEADER_BYTES } from "./chunkFormat.ts"

/**
 * Memory of one viewer's that chunks are read into, one after the other, where nobody keeps them. What is freed by the megabyte has
 * the whole heap looked through again and again, which costs more than reading.
 */

export type ReadBuffer = <E>(read: (buffer: Buffer) => Effect.Effect<Uint8Array, E>) => Effect.Effect<Uint8Array, E>

/** For chunks of up to `chunkSize` bytes; the memory is taken when it is first needed. */
export const make = (chunkSize: number): ReadBuffer => {
  let free: Buffer | undefined
  return (read) =>
    Effect.suspend(() => {
      const buffer = free ?? Buffer.allocUnsafeSlow(chunkSize + HEADER_BYTES)
      // A read that fails may go on in the background, and write there without end.
      free = undefined
      return Effect.tap(read(buffer), () => Effect.sync(() => free = buffer))
    })
}
