import { type RangeSpec, resolve } from "../../../src/domain/rfc/ByteRange.ts"
import { bytesOnDisk, MANIFEST_BYTES } from "../../../src/services/disk/ChunkStore.ts"
import type { MemoryDisk } from "../../../src/testing/MemoryFileSystem.ts"
import { judgeAudience, pageVersion } from "./audience.ts"
import type { Period } from "./machine.ts"
import { type OriginFile, SENT_AT, type Version } from "./origin.ts"
import { type Schedule, versionField } from "./schedule.ts"
import type { Identity } from "./site.ts"

/** What a viewer saw of one request, and what it has a right to. */
export interface View {
  readonly id: string
  readonly file: OriginFile
  readonly spec: RangeSpec | undefined
  readonly opened: number
  /** The content codings that the viewer can decode. */
  readonly decodes: ReadonlyArray<string>
  /** Who asks, where the origin wants to know. */
  readonly identity: Identity | undefined
  readonly isHead: boolean
  /** When what was kept in so many milliseconds was kept, or was on its way when the viewer joined others who wait for it. */
  readonly keptWithin: (millis: number, isJoined: boolean) => ReadonlyArray<Period>
  version: Version | undefined
  /** The bytes that the head has promised. */
  start: number
  end: number
  received: number
  isStale: boolean
  /** An answer that others had asked for. */
  isJoined: boolean
  /** The origin's answer to this very request, which goes past the cache, and is not tried again. */
  isPassedOn: boolean
  /** Since when the viewer has been waiting for the next byte, or `undefined` while it does not read. */
  waitingSince: number | undefined
}

/** What an answer's head says. */
export interface Head {
  readonly status: number
  readonly headers: Readonly<Record<string, string | undefined>>
  readonly length: number | undefined
}

type Violation = string | undefined

/** What `Cache-Status` says of a stale response, and of one that went past the cache. */
const STALE = /detail=ORIGIN_(?:ERROR|UNREACHABLE)/
const PASSED_ON = /detail=(?:STATUS|NO_LENGTH|NO_STORE|PRIVATE|VARY|SET_COOKIE|NO_VALIDATOR|AUTHORIZATION|COOKIE)/

const BLOCK_BYTES = 4096

/** How often a transfer fails before a viewer hears of it. */
const ATTEMPTS = 4

const firstDifference = (a: Uint8Array, b: Uint8Array): number => {
  let i = 0
  while (i < a.length && i < b.length && a[i] === b[i]) i++
  return i
}

/** For how long an answer may be used without asking the origin, in milliseconds: as long as each hop to it says. */
const freshMillis = ({ plan: { maxAge = 0, site } }: OriginFile): number =>
  site?.control === undefined ? 1000 * Math.min(maxAge, site?.hop?.seconds ?? Infinity) : 0

/** What the file may have been for a viewer who came at `opened`. */
const allowed = (
  { file, isJoined, isStale, keptWithin, opened }: View,
  now: number
): ReadonlyArray<Version | undefined> => {
  const first = file.voidBefore(opened)
  const kept: ReadonlyArray<Period> = isStale ? [[-Infinity, now]] : keptWithin(freshMillis(file), isJoined)
  const periods = [...kept, [opened, now] as const]
  return file.during(
    periods.map(([from, to]) => [Math.max(from, first), to] as const).filter(([from, to]) => from <= to)
  )
}

const struckSince = (file: OriginFile, time: number): boolean => file.struckUntil() >= time

const hasChanged = (view: View, now: number): boolean => allowed(view, now).length > 1

/** Judges the head of an answer, and takes down in `view` what it promises. */
export const onHead = (view: View, { headers, length, status }: Head, now: number): Violation => {
  const { file, spec } = view
  const known = file.versionOf(headers[versionField(file.plan)])
  const verdict = judgeAudience(view, known !== undefined, { headers, status, length })
  if (verdict._tag === "Judged") return verdict.violation
  if (verdict._tag === "Page") return onVersion(view, pageVersion, { headers, status, length })
  if (file.plan.site?.gate === undefined) {
    if (status === 404) file.foundGone(now)
    if (/no-store/.test(headers["cache-control"] ?? "") && !view.isHead) file.foundTakenBack(now)
  }
  if (status === 404) return allowed(view, now).includes(undefined) ? undefined : "404 for a file that was there"
  if (status !== 200 && status !== 206 && status !== 416) {
    if (status === 500 && !struckSince(file, view.opened)) return "500 from an origin that was well"
    return struckSince(file, view.opened) || hasChanged(view, now)
      ? undefined
      : `${status} from an origin that was well`
  }
  const validator = headers[versionField(file.plan)]
  if (status === 416 && validator === undefined) {
    // Passed on from the origin, whose answer names no version.
    const isOutside = allowed(view, now).some((version) =>
      version !== undefined && spec !== undefined && resolve(spec, version.file.bytes.length) === undefined
    )
    return isOutside || struckSince(file, view.opened) ? undefined : `416 for ${JSON.stringify(spec)}`
  }
  const version = file.versionOf(validator)
  if (version === undefined) return `${status} without a validator that the file ever had`
  const told = headers["cache-status"] ?? ""
  // Other members are of other nodes, perhaps of a response that was stored.
  const own = told.slice(told.lastIndexOf("spillway"))
  view.isStale = STALE.test(told)
  view.isJoined = /; collapsed/.test(own)
  view.isPassedOn = PASSED_ON.test(own)
  if (STALE.test(own) && !struckSince(file, view.opened)) return "a stale answer though the origin was well"
  if (!allowed(view, now).includes(version)) return `version ${version.validator} which was not current`
  const sentAt = Number(headers[SENT_AT] ?? now)
  if (sentAt < file.sentSince(view.opened, "purge")) return "a response from before a purge"
  if (sentAt < file.sentSince(view.opened, "soft") && !view.isStale) return "a response from before a soft purge"
  const coding = headers["content-encoding"]
  if (coding === undefined) return onVersion(view, version, { headers, status, length })
  if (!view.decodes.includes(coding)) return `${coding} to a viewer who can't decode it`
  const coded = version.file.coded?.[coding]
  if (coded === undefined) return `${coding}, which the file was never coded in`
  return onVersion(view, { ...version, file: coded }, { headers, status, length })
}

/** Whether an answer is of the whole file, and only its end tells how long that is. */
const isChunked = ({ plan }: OriginFile, { length, status }: Head): boolean =>
  plan.isChunked === true && status === 200 && length === undefined

/** Judges an answer that is of `version`. */
const onVersion = (view: View, version: Version, { headers, length, status }: Head): Violation => {
  const { file, spec } = view
  view.version = version
  // What is passed on has the length that the origin says.
  if (view.isHead) {
    return file.plan.site?.head !== "true" || length === version.file.bytes.length
      ? undefined
      : `HEAD: length ${length}`
  }
  const size = version.file.bytes.length
  if (view.isPassedOn) return onPassedOn(view, size, { status, headers, length })
  // A range of an empty file is ignored.
  const asked = size === 0 || isChunked(file, { status, length, headers }) ? undefined : spec
  const range = asked === undefined ? { start: 0, end: size } : resolve(asked, size)
  if ((range === undefined) !== (status === 416)) return `${status} for ${JSON.stringify(spec)} of ${size} bytes`
  if (range === undefined) return undefined
  if ((status === 206) !== (asked !== undefined)) return `${status} for ${JSON.stringify(spec)}`
  const expected = asked === undefined ? undefined : `bytes ${range.start}-${range.end - 1}/${size}`
  if (headers["content-range"] !== expected) return `Content-Range ${headers["content-range"]}, not ${expected}`
  if (length !== range.end - range.start && !isChunked(file, { status, length, headers })) {
    return `Content-Length ${length}, not ${range.end - range.start}`
  }
  Object.assign(view, range)
  return undefined
}

/** Judges the origin's own answer, which may have another range than was asked for, or none. */
const onPassedOn = (view: View, size: number, { headers, length, status }: Head): Violation => {
  if (status === 416) return undefined
  const [, first = "0", last = String(size - 1)] = /^bytes (\d+)-(\d+)\/\d+$/.exec(headers["content-range"] ?? "") ?? []
  const range = { start: Number(first), end: Math.min(Number(last) + 1, size) }
  const asked = view.spec === undefined ? undefined : resolve(view.spec, size)
  if (status === 206 && range.start !== asked?.start && !struckSince(view.file, view.opened)) {
    return `Content-Range ${headers["content-range"]} for another`
  }
  if (length !== range.end - range.start && !(length === undefined && view.file.plan.isChunked === true)) {
    return `Content-Length ${length}, not ${range.end - range.start}`
  }
  Object.assign(view, range)
  return undefined
}

/** Judges bytes that have arrived. */
export const onBytes = (view: View, bytes: Uint8Array): Violation => {
  if (view.version === undefined) return bytes.length === 0 ? undefined : "bytes of no version"
  const from = view.start + view.received
  view.received += bytes.length
  const expected = view.version.file.bytes.subarray(from, Math.min(from + bytes.length, view.end))
  return Buffer.compare(expected, bytes) === 0
    ? undefined
    : `wrong bytes at ${from + firstDifference(expected, bytes)}, ${bytes.length} came for ${expected.length}`
}

/** Judges the end of a body that nobody cut but Spillway. */
export const onEnd = (view: View, error: { readonly _tag: string } | undefined, now: number): Violation => {
  const { end, file, isPassedOn, opened, received, start } = view
  if (error === undefined) {
    // The client of `Origin` and Node's server see to the length of what is passed on, if it has one.
    if (isPassedOn && struckSince(file, opened) && file.plan.isChunked !== true) return undefined
    return received === end - start ? undefined : `ended well after ${received} of ${end - start} bytes`
  }
  if (error._tag === "RepresentationChanged") {
    return hasChanged(view, now)
      ? undefined
      : "cut for a change that never was"
  }
  // Where the file is not at hand, its origin refuses it.
  if (view.identity?.isEvil === true && error._tag === "OriginUnexpected") return undefined
  const since = file.strikes().filter(({ time }) => time >= opened)
  const isExplained = since.some(({ isTransient }) => !isTransient) ||
    (since.length > 0 && (isPassedOn || file.strikes().length >= ATTEMPTS))
  // Another origin has the same bytes.
  const isReplaceable = !isPassedOn && !hasChanged(view, now) &&
    new Set(file.strikes().map(({ host }) => host)).size < file.hosts
  return isExplained && !isReplaceable ? undefined : `cut with ${error._tag} though the origin was well`
}

/** How long a viewer may wait for its next byte after the origin was unwell last, in milliseconds. */
export const patience = (schedule: Schedule, latency: number): number =>
  15_000 + latency * Math.ceil(21 * schedule.chunkSize / schedule.sliceBytes + 2)

/** Judges a viewer who waits. `silentUntil`: when the last silence of the origin's ends. */
export const onWaiting = (view: View, silentUntil: number, patience: number, now: number): Violation => {
  if (view.waitingSince === undefined) return undefined
  const since = Math.max(view.waitingSince, view.file.lastStrike(), silentUntil)
  return now - since > patience ? `no byte for ${now - since} ms, at ${view.start + view.received}` : undefined
}

/** Watches what the cache takes of the disk. While `hasUncounted`, there is something that Spillway could not read, and so not count. */
export const makeDiskJudge = (schedule: Schedule, disk: MemoryDisk["Service"], hasUncounted: () => boolean) => {
  const { capacity, chunkSize, maxSize, minFree } = schedule
  // What may be under way, with its room promised before others filled the disk: a chunk, its manifest, a probe.
  const promised = 2 * bytesOnDisk(chunkSize) + MANIFEST_BYTES
  let before = 0
  let foreign = 0
  let seen = -1
  /** Whether the cache may take too much, until it has evicted what was uncounted. */
  let mayExceed = false
  /** The least that the cache has taken since others took so much that a promise may end below `minFree`. */
  let least = Infinity
  /** What probes take, which write as much as a chunk for a moment. */
  const probes = () => {
    let sum = 0
    for (const [path, { length }] of disk.files()) {
      if (path.includes("/probe-")) sum += Math.ceil(length / BLOCK_BYTES) * BLOCK_BYTES
    }
    return sum
  }
  return (): Violation => {
    if (seen === disk.changes() && foreign === disk.foreign) return undefined
    seen = disk.changes()
    const occupied = disk.occupied()
    const free = capacity - disk.foreign - occupied
    const grew = occupied > before
    before = occupied
    if (disk.foreign > foreign) least = occupied
    else if (free >= minFree + promised) least = Infinity
    foreign = disk.foreign
    least = Math.min(least, least === Infinity ? Infinity : occupied)
    const exceeds = occupied > maxSize && occupied - probes() > maxSize
    mayExceed = exceeds && (mayExceed || hasUncounted())
    if (exceeds && !mayExceed) return `the cache takes ${occupied} bytes of ${maxSize}`
    if (grew && free < minFree && (least === Infinity || occupied > least + promised)) {
      return `the cache grew to ${occupied} bytes, which leaves ${free} of ${minFree}`
    }
    return undefined
  }
}
