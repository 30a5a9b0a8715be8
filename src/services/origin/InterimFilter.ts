/** How many interim responses are dropped or passed on before a final one. */
const MAX_INTERIM = 64

/** The longest interim response that is dropped or passed on, in bytes. */
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

/** Whether an interim response has early hints (RFC 8297), which undici reports to the sender of the request. */
const hasHints = (head: Buffer): boolean => head.toString("latin1", 9, 12) === "103"

/**
 * Removes interim responses (RFC 9110 §15.2) from what an origin sends on one connection, except 103. A client has to tolerate them, but
 * undici closes the connection at a 100. Final responses pass unchanged. So do interim responses that are too long, too many or malformed,
 * which undici then handles.
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

  /** The bytes of `piece`, and those held back before, that belong to a final response or a 103; `undefined` if there are none yet. */
  take(piece: Buffer): Buffer | undefined {
    this.#hasBegun = true
    if (!this.#awaits) return piece
    this.#held = this.#held.length === 0 ? piece : Buffer.concat([this.#held, piece])
    const passed: Array<Buffer> = []
    while (this.#awaits && this.#held.length > 0) {
      const end = this.#endOfInterim()
      if (end === "unknown") break
      if (end === undefined) this.#awaits = false
      const head = this.#held.subarray(0, end)
      this.#held = this.#held.subarray(head.length)
      this.#left -= 1
      if (end === undefined || hasHints(head)) passed.push(head)
    }
    return passed.length < 2 ? passed[0] : Buffer.concat(passed)
  }

  /** Where the interim response that has arrived first ends; `undefined` if what has arrived is to pass as it is. */
  #endOfInterim(): number | "unknown" | undefined {
    const interim = isInterim(this.#held)
    if (interim === undefined) return "unknown"
    if (!interim || this.#left === 0) return undefined
    const end = this.#held.indexOf(END)
    if (end === -1) return this.#held.length <= MAX_INTERIM_BYTES ? "unknown" : undefined
    return end <= MAX_INTERIM_BYTES && !hasBareLineFeed(this.#held.subarray(0, end)) ? end + END.length : undefined
  }
}
