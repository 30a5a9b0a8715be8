import { Cause, Effect, Exit, Stream } from "effect"
import { loggable, OriginBodyFailed, type OriginError } from "../../domain/OriginError.ts"
import type { Representation } from "../../domain/Representation.ts"
import { READ_AHEAD_BYTES } from "../../domain/RoutePolicy.ts"

/** The longest body without a length that is kept while it arrives, in bytes. */
export const MAX_UNMEASURED_BYTES = 16 * 1024 ** 2

/** How much of a longer one is kept for viewers who are behind the fastest, in bytes. */
export const UNMEASURED_WINDOW_BYTES = 2 * READ_AHEAD_BYTES

/** A viewer of an `UnmeasuredBody`. */
interface Reader {
  /** The number of the next piece, counted from the first byte of the body. */
  next: number
  /** The offset of that piece, in bytes. */
  offset: number
  wake: (() => void) | undefined
}

/**
 * - `Kept`: it arrives, and all of it is held.
 * - `Passing`: it arrives, and is too long to be held. Viewers can't join any more.
 * - `Ended`: nothing more arrives.
 */
type State =
  | { readonly _tag: "Kept" }
  | { readonly _tag: "Passing" }
  | { readonly _tag: "Ended"; readonly failure: OriginError | undefined }

/**
 * The body of a response without a length, while it arrives: only its end tells its size. Viewers share it from its first byte. It stays at
 * most `READ_AHEAD_BYTES` ahead of the fastest one. When it has ended, or is too long, a viewer that is further behind the fastest than
 * `UNMEASURED_WINDOW_BYTES` gets a failure, to continue in another way.
 */
export class UnmeasuredBody {
  readonly #url: string
  /** Whether it goes on to its end without viewers. */
  readonly #isBackground: boolean
  /** Whether another node of a fleet sends it. */
  readonly isFromPeer: boolean
  readonly #readers = new Set<Reader>()
  #state: State = { _tag: "Kept" }
  #pieces: Array<Uint8Array> = []
  /** The number of pieces before `#pieces`. */
  #dropped = 0
  #held = 0
  #position = 0
  /** What it was stored as. */
  stored: Representation | undefined
  /** Called when nobody wants the rest, though it may be about to arrive. */
  onAbandoned: (() => void) | undefined
  /** Whether a viewer has ever joined. */
  hadReader = false
  #wake: (() => void) | undefined

  constructor(url: string, isBackground: boolean, isFromPeer = false) {
    this.isFromPeer = isFromPeer
    this.#url = url
    this.#isBackground = isBackground
  }

  /** How much of it is in memory, in bytes. */
  get held(): number {
    return this.#held
  }

  /** How much of it has arrived, in bytes. */
  get position(): number {
    return this.#position
  }

  /** Whether a viewer may join: all bytes so far are held, and it has not failed. */
  get isJoinable(): boolean {
    return this.#state._tag === "Kept"
  }

  /** The bytes from the first one, for one viewer. */
  get stream(): Stream.Stream<Uint8Array, OriginError> {
    return Stream.unwrap(Effect.suspend(() => {
      const reader: Reader = { next: 0, offset: 0, wake: undefined }
      this.hadReader = true
      this.#readers.add(reader)
      return Effect.as(
        Effect.addFinalizer(() => Effect.sync(() => this.#leave(reader))),
        Stream.fromPull(Effect.succeed(this.#pull(reader)))
      )
    }))
  }

  /** Waits until more should be received; `false` if nobody wants it. */
  readonly awaitDemand: Effect.Effect<boolean> = Effect.callback((resume) => {
    const look = () => {
      const demand = this.#demand()
      if (demand === "wait") return
      this.#wake = undefined
      resume(Effect.succeed(demand === "go"))
    }
    this.#wake = look
    look()
    return Effect.sync(() => this.#wake = undefined)
  })

  /** Takes bytes that have arrived. `limit` is how much may be held, in bytes. */
  add(pieces: ReadonlyArray<Uint8Array>, limit: number): void {
    for (const piece of pieces) {
      this.#pieces.push(piece)
      this.#held += piece.length
      this.#position += piece.length
    }
    if (this.#held > limit) this.pass()
    this.#trim()
    this.#wakeReaders()
  }

  /** Stops holding all of it: it is too long, or not to be stored. */
  pass(): void {
    if (this.#state._tag === "Kept") this.#state = { _tag: "Passing" }
  }

  /** The body so far, if all of it is held. */
  get whole(): Uint8Array | undefined {
    return this.isJoinable ? Buffer.concat(this.#pieces) : undefined
  }

  /** Nothing more arrives. */
  end(failure: OriginError | undefined): void {
    this.#state = { _tag: "Ended", failure }
    this.#trim()
    this.#wakeReaders()
  }

  #demand(): "go" | "wait" | "end" {
    if (this.#readers.size === 0) {
      if (this.#isBackground) return this.isJoinable ? "go" : "end"
      return this.hadReader ? "end" : this.#position < READ_AHEAD_BYTES ? "go" : "wait"
    }
    for (const { offset } of this.#readers) if (this.#position < offset + READ_AHEAD_BYTES) return "go"
    return "wait"
  }

  #leave(reader: Reader): void {
    this.#readers.delete(reader)
    this.#trim()
    if (this.#state._tag !== "Ended" && this.#demand() === "end") this.onAbandoned?.()
    else this.#wake?.()
  }

  #wakeReaders(): void {
    for (const reader of this.#readers) reader.wake?.()
  }

  /** Drops what all viewers have, and what the slowest are too far behind for. */
  #trim(): void {
    if (this.isJoinable) return
    // Without a viewer, the first one is about to join.
    let first = this.#readers.size === 0 ? this.#dropped : Infinity
    for (const { next } of this.#readers) first = Math.min(first, next)
    while (this.#pieces.length > 0 && (this.#dropped < first || this.#held > UNMEASURED_WINDOW_BYTES)) {
      this.#held -= this.#pieces.shift()!.length
      this.#dropped += 1
    }
  }

  #pull(reader: Reader): Effect.Effect<readonly [Uint8Array], OriginError | Cause.Done> {
    return Effect.callback((resume) => {
      const look = () => {
        const outcome = this.#poll(reader)
        if (outcome === undefined) return
        reader.wake = undefined
        resume(outcome)
      }
      reader.wake = look
      look()
      return Effect.sync(() => reader.wake = undefined)
    })
  }

  #poll(reader: Reader): Exit.Exit<readonly [Uint8Array], OriginError | Cause.Done> | undefined {
    const { next, offset } = reader
    if (next < this.#dropped) {
      const cause = "the viewer is too far behind the others"
      return Exit.fail(new OriginBodyFailed({ url: loggable(this.#url), offset, cause }))
    }
    const piece = this.#pieces[next - this.#dropped]
    if (piece !== undefined) {
      reader.next += 1
      reader.offset += piece.length
      this.#trim()
      this.#wake?.()
      return Exit.succeed([piece])
    }
    if (this.#state._tag !== "Ended") return undefined
    return Exit.fail(this.#state.failure ?? Cause.Done())
  }
}
