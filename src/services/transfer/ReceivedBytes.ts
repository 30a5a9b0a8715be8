import { createHash, type Hash } from "node:crypto"

/** What has been received of a body without a strong validator: a stretch of bytes, and their SHA-256. */
export class ReceivedBytes {
  readonly start: number
  #end: number
  readonly #hash: Hash = createHash("sha256")

  constructor(start: number) {
    this.start = start
    this.#end = start
  }

  /** The first byte that has not been received. */
  get end(): number {
    return this.#end
  }

  add(bytes: Uint8Array): void {
    this.#hash.update(bytes)
    this.#end += bytes.length
  }

  /** Whether `other` is the same stretch of the same bytes. */
  isSame(other: ReceivedBytes): boolean {
    return this.start === other.start && this.#end === other.#end && this.#digest().equals(other.#digest())
  }

  #digest(): Buffer {
    return this.#hash.copy().digest()
  }
}
