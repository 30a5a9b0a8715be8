/** How many interim answers are dropped before one final answer. */
const MAX_INTERIM = 64

/** The longest interim answer that is dropped, in bytes. */
const MAX_INTERIM_BYTES = 16 * 1024

const NOTHING: Buffer = Buffer.alloc(0)

const END = Buffer.from("\r\n\r\n")

/** What each byte of the first line of an interim answer may be, up to the end of its status. */
const STATUS_LINE = ["H", "T", "T", "P", "/", "1", ".", "01", " ", "1", "0123456789", "0123456789", " \r"]

/** Whether `bytes` begin an interim answer other than 101; `undefined` as long as that is open. */
const isInterim = (bytes: Buffer): boolean | undefined => {
  for (let i = 0; i < STATUS_LINE.length; i++) {
    if (i >= bytes.length) return undefined
    if (!STATUS_LINE[i]!.includes(String.fromCharCode(bytes[i]!))) return false
  }
  return bytes.toString("latin1", 9, 12) !== "101"
}

/** A head with a line that does not end in CRLF could be read in two ways. */
const hasBareLineFeed = (head: Buffer): boolean => /(?<!\r)\n/.test(head.toString("latin1"))

/**
 * Takes interim answers (RFC 9110 §15.2) out of what an origin sends on one connection: a client has to survive them, and undici
 * ends the connection at a 100. The bytes of final answers pass unchanged. So do interim answers that are too long, too many or
 * malformed, which undici then judges.
 */
export class InterimFilter {
  #awaits = false
  #held = NOTHING
  #left = 0
  #hasBegun = false

  /** Whether any byte has come since `expect`. */
  get hasBegun(): boolean {
    return this.#hasBegun
  }

  /** A request is about to be sent, so the next bytes begin an answer. */
  expect(): void {
    this.#awaits = true
    this.#hasBegun = false
    this.#left = MAX_INTERIM
  }

  /** What of `piece`, and of what was held back before, belongs to a final answer; `undefined` if nothing does yet. */
  take(piece: Buffer): Buffer | undefined {
    this.#hasBegun = true
    if (!this.#awaits) return piece
    this.#held = this.#held.length === 0 ? piece : Buffer.concat([this.#held, piece])
    while (this.#held.length > 0) {
      const interim = isInterim(this.#held)
      if (interim === undefined) return undefined
      const end = interim && this.#left > 0 ? this.#held.indexOf(END) : undefined
      if (end === -1 && this.#held.length <= MAX_INTERIM_BYTES) return undefined
      const isDropped = end !== undefined && end >= 0 && end <= MAX_INTERIM_BYTES
      if (!isDropped || hasBareLineFeed(this.#held.subarray(0, end))) return this.#pass()
      this.#held = this.#held.subarray(end + END.length)
      this.#left -= 1
    }
    return undefined
  }

  #pass(): Buffer {
    const all = this.#held
    this.#awaits = false
    this.#held = NOTHING
    return all
  }
}
