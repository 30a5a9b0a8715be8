import type { FleetMember } from "../../domain/FleetMember.ts"
import { carriedRange, type OriginHead, validatorsOf } from "../../domain/Representation.ts"
import { parseRange, type RangeSpec } from "../../domain/rfc/ByteRange.ts"
import type { HeaderFields } from "../../domain/rfc/HeaderFields.ts"
import type { OriginRequest, PeerQuestion } from "../origin/Origin.ts"

/** What tells one version of a file from another: its validator, and its size. */
interface Version {
  readonly size: number
  readonly etag: string | undefined
  readonly lastModified: string | undefined
}

/** The validator in the fields of a response that a range can be tied to. */
const validatorIn = (headers: HeaderFields): string | undefined => {
  const { etag, lastModified } = validatorsOf(headers)
  return etag ?? lastModified
}

/** How far the body of one response has come. Its bytes come from several nodes or the origin, one after the other: its legs. */
export class Journey {
  readonly request: OriginRequest
  readonly question: PeerQuestion
  /** The viewer's range; `undefined` for everything. */
  readonly spec: RangeSpec | undefined
  /** The next byte. It is counted behind everything that can fail, so the next leg starts there. */
  position: number
  /** Behind the last byte; infinite until the size is known. */
  end: number
  /** Whether a node was passed over because it didn't respond. */
  hasLostPeer = false
  /** The nodes that have failed this response at the current stretch. */
  readonly avoided = new Set<string>()
  #version: Version | undefined

  private constructor(request: OriginRequest, question: PeerQuestion, spec: RangeSpec | undefined) {
    this.request = request
    this.question = question
    this.spec = spec
    this.position = spec?._tag === "From" ? spec.start : 0
    this.end = spec?._tag === "From" && spec.last !== undefined ? spec.last + 1 : Number.POSITIVE_INFINITY
  }

  /** The journey for a request; `undefined` if only the origin can answer it. */
  static of(request: OriginRequest): Journey | undefined {
    const { headers, method, peers } = request
    if (peers === undefined || (method !== "GET" && method !== "HEAD")) return undefined
    const spec = parseRange(headers["range"])
    return headers["range"] !== undefined && spec === undefined ? undefined : new Journey(request, peers, spec)
  }

  /** Whether only the head is wanted, so that it ends with its first response. */
  get isOfHead(): boolean {
    return this.request.method === "HEAD"
  }

  /** Whether its first response has come. */
  get hasBegun(): boolean {
    return this.#version !== undefined
  }

  /** Whether `position` is the next byte: that of a suffix is unknown until the first response has come. */
  get isAtPlace(): boolean {
    return this.hasBegun || this.spec?._tag !== "Suffix"
  }

  /** The size of the file, once the first response has come. */
  get size(): number | undefined {
    return this.#version?.size
  }

  /** The validator that the next leg must have; `undefined` if any version will do. */
  validator(): string | undefined {
    const version = this.#version
    return version === undefined ? this.question.validator : version.etag ?? version.lastModified
  }

  /**
   * How many bytes of a response come before the next one: none, or all if it is the whole file, from a server without ranges. `undefined` if
   * the next one is not in it, or it is of another version than the journey began with.
   */
  bytesBefore(head: OriginHead): number | undefined {
    const version = this.#version
    const { etag, lastModified } = validatorsOf(head.headers)
    if (version === undefined || etag !== version.etag || lastModified !== version.lastModified) return undefined
    if (head.status === 200) {
      const length = head.headers["content-length"]
      return length === undefined || Number(length) === version.size ? this.position : undefined
    }
    const carried = head.status === 206 ? carriedRange(head) : undefined
    return carried?.range.start === this.position && carried.size === version.size ? 0 : undefined
  }

  /** Whether a response has the next bytes, of the version that the journey began with. */
  continues(head: OriginHead): boolean {
    return this.bytesBefore(head) !== undefined
  }

  /** Whether a response shows that the file is another one than the journey began with, or than that with the known validator. */
  isOfOtherVersion(head: OriginHead): boolean {
    if (this.hasBegun) return !this.continues(head)
    const { headers, status } = head
    const { validator } = this.question
    return validator !== undefined && (status === 200 || status === 206) && validatorIn(headers) !== validator
  }

  /**
   * Begins with a response that carries a part of a file. `false` if others can't be joined to it: it carries something else, or nothing
   * shows whether another response is of the same version.
   */
  begin(head: OriginHead): boolean {
    const { headers, status } = head
    const carried = status === 206 && !this.isOfHead ? carriedRange(head) : undefined
    if (carried?.size === undefined) return false
    const { range, size } = carried
    const end = Math.min(this.end, size)
    const isPlace = this.spec?._tag === "Suffix" ? range.end === size : range.start === this.position
    const isWhole = range.end >= end
    if (!isPlace || (!isWhole && validatorIn(headers) === undefined)) return false
    const { etag, lastModified } = validatorsOf(headers)
    this.#version = { size, etag, lastModified }
    this.position = range.start
    this.end = end
    return true
  }

  /** Leaves out a node until the next stretch. */
  avoid({ name }: FleetMember): void {
    this.avoided.add(name)
  }

  /** Counts bytes that have been passed on. In another stretch, nodes that failed may be asked again. */
  advance(bytes: number, stretchAt: (offset: number) => number): void {
    const before = stretchAt(this.position)
    this.position += bytes
    if (this.avoided.size > 0 && stretchAt(this.position) !== before) this.avoided.clear()
  }
}
