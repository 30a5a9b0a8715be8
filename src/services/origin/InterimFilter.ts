/** How many interim responses are dropped before a final one. */
const MAX_INTERIM = 64

/** The longest interim response that is dropped, in bytes. */
const MAX_INTERIM_BYTES = 16 * 1024

const NOTHING: Buffer = Buffer.alloc(0)

const END = Buffer.from("\r\n\r\n")

/** The allowed bytes at each position of an interim response's first line, up to the end of its status. */
const STATUS_LINE = ["H", "T", "T", "P", "/", "1", ".", "01", " ", "1", "0123456789", "0123456789", " \r"]

/** Whether `bytes` begin an interim response other than 101; `undefined` while that is unknown. */
const isInterim = (bytes: Buffer): boolean | undefined => {
  for (let i = 0; i < STATUS_LINE.length; i++) {
    if (i >= bytes.length) return undefined
    if (!STATUS_LINE[i]!.includes(String.fromCharCode(bytes[i]!))) return false
  }
  return bytes.toString("latin1", 9, 12) !== "101"
}

/** Whether a line does not end in CRLF. Such a header is ambiguous. */
const hasBareLineFeed = (head: Buffer): boolean => /(?<!\r)\n/.test(head.toString("latin1"))

/**
 * Removes interim responses (RFC 9110 §15.2) from what an origin sends on one connection. A client has to tolerate them, but undici closes
 * the connection at a 100. Final responses pass unchanged. So do interim responses that are too long, too many or malformed, which
 * undici then handles.
 */
export class InterimFilter {
  #awaits = false
  #held = NOTHING
  #left = 0
  #hasBegun = false

  /** Whether any byte has arrived since `expect`. */
  get hasBegun(): boolean {
    return this.#hasBegun
  }

  /** A request is about to be sent, so the next bytes begin a response. */
  expect(): void {
    this.#awaits = true
    this.#hasBegun = false
    this.#left = MAX_INTERIM
  }

  /** The bytes of `piece`, and those held back before, that belong to a final response; `undefined` if there are none yet. */
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
