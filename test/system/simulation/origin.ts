import type { MemoryFile, MemoryOrigin, Misbehaviour } from "../../../src/testing/MemoryOrigin.ts"
import { randomBytes } from "../../support/TestOrigin.ts"
import type { Period } from "./machine.ts"
import type * as Random from "./random.ts"
import { type FilePlan, versionField } from "./schedule.ts"

/** A file as it was for a time. */
export interface Version {
  readonly file: MemoryFile
  /** Its `ETag` or `Last-Modified`, or another name that the judge knows. */
  readonly validator: string
}

interface Era {
  /** `undefined`: the file was not there. */
  readonly version: Version | undefined
  readonly from: number
  /** Until when a mirror still had it that lags behind the first origin. */
  heldUntil: number
}

interface Strike {
  readonly time: number
  /** At which origin. */
  readonly host: string
  readonly isTransient: boolean
}

/** A file at the origin, with all that ever happened to it. */
export interface OriginFile {
  readonly plan: FilePlan
  readonly url: string
  /** How many origins have it. */
  readonly hosts: number
  readonly change: (how: "new" | "back" | "gone", size: number, now: number) => void
  /** Its mirrors get it as it is at the first origin. */
  readonly synchronise: (now: number) => void
  readonly strike: (misbehaviour: Misbehaviour, now: number, host?: string) => void
  readonly versionOf: (validator: string | undefined) => Version | undefined
  /** What the file was at some time of `periods`. */
  readonly during: (periods: ReadonlyArray<Period>) => ReadonlyArray<Version | undefined>
  readonly wasBefore: (version: Version, time: number) => boolean
  /** A purge that began at `begun` has been confirmed `now`: nothing that was stored when it began is used any more. */
  readonly purged: (begun: number, now: number) => void
  /** The same for a soft purge: it is used only if the origin fails. */
  readonly softened: (begun: number, now: number) => void
  /** When a response for those who come at `time` was sent at the earliest, by the purges of this kind that were confirmed by then. */
  readonly sentSince: (time: number, kind: "purge" | "soft") => number
  /** Since when what was kept is of no use to those who come at `time`: it has been purged or invalidated. */
  readonly voidBefore: (time: number) => number
  /** A viewer's request replaced it at `time`, and Spillway was told so by `now`. */
  readonly foundReplaced: (time: number, now: number) => void
  /** It was not there, and Spillway was told so by `now`. */
  readonly foundGone: (now: number) => void
  /** From `now` on, answers say that it is not for caches. */
  readonly takeBack: (now: number) => void
  readonly isTakenBack: () => boolean
  /** Spillway was told so by `now`. */
  readonly foundTakenBack: (now: number) => void
  /** Spillway starts again; what has been told to it for less than `settledFor` milliseconds may be forgotten. */
  readonly restarted: (now: number, settledFor: number) => void
  /** It was refused to a viewer with fields that the origin does not like. */
  readonly refused: (now: number) => void
  readonly lastRefusal: () => number
  readonly strikes: () => ReadonlyArray<Strike>
  /** When it misbehaved last. */
  readonly lastStrike: () => number
  /** Until when: the end of a stall is a failure for all who have come meanwhile. */
  readonly struckUntil: () => number
}

export const ORIGIN = "http://origin.test"

/** The mirror with a number from 1. */
export const mirrorOf = (number: number): string => `http://mirror${number}.test`

/** Whether Spillway tries again after `misbehaviour`, unless it goes on. */
const isTransient = (misbehaviour: Misbehaviour): boolean =>
  misbehaviour._tag === "Status"
    ? [429, 500, 502, 503, 504].includes(misbehaviour.status)
    : misbehaviour._tag !== "Displace"

/** The response field that says when the origin has sent or confirmed a response. */
export const SENT_AT = "x-sent-at"

/** `file`, with the time of each response in its fields. */
const dated = (file: MemoryFile, now: () => number): MemoryFile =>
  Object.defineProperty({ ...file }, "headers", {
    enumerable: true,
    get: () => ({ ...file.headers, [SENT_AT]: String(now()) })
  })

/** A strong `ETag` is of one coding. */
const codedValidator = (validator: string, coding: string): string =>
  validator.startsWith("\"") ? validator.replace(/"$/, `-${coding}"`) : validator

const CODED = /-(?:br|gzip)"$/

/** What stands for `bytes` in a content coding: other bytes, of another length. */
const encode = (coding: string, bytes: Uint8Array): Uint8Array =>
  Buffer.concat([Buffer.from(coding), bytes.map((byte) => byte ^ coding.length)])

export const makeFile = (
  plan: FilePlan,
  origin: MemoryOrigin["Service"],
  clock: () => number,
  random: Random.Random,
  mirrors: ReadonlyArray<string> = []
): OriginFile => {
  const url = `${ORIGIN}/${plan.name}`
  const versions: Array<Version> = []
  const eras: Array<Era> = []
  const strikes: Array<Strike> = []
  /** What was kept until `from` is void for those who come after `ended`. */
  let voids: Array<{ readonly from: number; readonly ended: number; readonly isOnDisk: boolean }> = []
  const purges: Array<{ readonly from: number; readonly ended: number; readonly kind: "purge" | "soft" }> = []
  let refusal = -Infinity
  let takenBack: number | undefined
  let struckUntil = -Infinity

  const create = (size: number): Version => {
    const number = versions.length + 1
    const name = `"${plan.name}-${number}"`
    const validator = {
      "etag": name,
      "weak": `W/${name}`,
      "none": name,
      "last-modified": new Date(Date.UTC(2025, 0, number)).toUTCString()
    }[plan.validator]
    const field = versionField(plan)
    const inCoding = (bytes: Uint8Array, validator: string): MemoryFile => ({
      bytes,
      ...(field === "etag" && { etag: validator }),
      ...(field === "last-modified" && { lastModified: validator }),
      acceptsRanges: plan.acceptsRanges,
      ...(plan.isChunked && { isChunked: true }),
      // Without it, a file would be fresh by its age.
      headers: {
        "cache-control": `max-age=${plan.maxAge ?? 0}`,
        "surrogate-key": `all ${plan.name}`,
        ...(plan.codings?.vary && { vary: "Accept-Encoding" }),
        ...(plan.validator === "none" && { [field]: validator })
      }
    })
    const bytes = randomBytes(size, random.int(1, 2 ** 31))
    const file: MemoryFile = dated({
      ...inCoding(bytes, validator),
      ...(plan.codings && {
        coded: Object.fromEntries(
          plan.codings.names.map((
            coding
          ) => [coding, dated(inCoding(encode(coding, bytes), codedValidator(validator, coding)), clock)])
        )
      })
    }, clock)
    const version = { file, validator }
    versions.push(version)
    return version
  }

  const putAt = (host: string, version: Version | undefined) => {
    const url = `${host}/${plan.name}`
    if (version === undefined) origin.files.delete(url)
    else origin.files.set(url, version.file)
  }

  const put = (version: Version | undefined, now: number) => {
    const before = eras.at(-1)
    if (before !== undefined && mirrors.length > 0) before.heldUntil = Infinity
    eras.push({ version, from: now, heldUntil: -Infinity })
    putAt(ORIGIN, version)
  }

  const synchronise = (now: number) => {
    for (const era of eras) if (era.heldUntil === Infinity) era.heldUntil = now
    for (const mirror of mirrors) putAt(mirror, eras.at(-1)!.version)
  }

  put(create(plan.size), clock())
  synchronise(clock())
  return {
    plan,
    url,
    hosts: mirrors.length + 1,
    change: (how, size, now) => {
      if (how === "gone") return put(undefined, now)
      put(how === "back" ? versions[random.int(0, versions.length - 1)] : create(size), now)
    },
    synchronise,
    strike: (misbehaviour, now, host = ORIGIN) => {
      strikes.push({ time: now, host, isTransient: isTransient(misbehaviour) })
      struckUntil = Math.max(struckUntil, now + (misbehaviour._tag === "Stall" ? misbehaviour.millis ?? 0 : 0))
    },
    versionOf: (validator) => {
      const plain = validator?.replace(CODED, "\"")
      return versions.find((version) => version.validator === plain)
    },
    during: (periods) =>
      eras.filter((era, i) => {
        const until = Math.max(eras[i + 1]?.from ?? Infinity, era.heldUntil)
        return periods.some(([from, to]) => era.from <= to && until >= from)
      })
        .map(({ version }) => version),
    wasBefore: (version, time) => eras.some((era) => era.version === version && era.from <= time),
    purged: (from, ended) => {
      voids.push({ from, ended, isOnDisk: true })
      purges.push({ from, ended, kind: "purge" })
    },
    softened: (from, ended) => void purges.push({ from, ended, kind: "soft" }),
    sentSince: (time, kind) =>
      Math.max(
        ...purges.filter((purge) => purge.kind === kind && purge.ended < time).map(({ from }) => from),
        -Infinity
      ),
    voidBefore: (time) => Math.max(...voids.filter(({ ended }) => ended < time).map(({ from }) => from), -Infinity),
    // What was there until then has ended before.
    foundReplaced: (time, now) => void voids.push({ from: time + 1, ended: now, isOnDisk: false }),
    foundGone: (now) => {
      const gone = eras.findLast(({ version }) => version === undefined)
      // What was there until then has ended before.
      if (gone !== undefined) voids.push({ from: gone.from + 1, ended: now, isOnDisk: false })
    },
    takeBack: (now) => void (takenBack ??= now),
    isTakenBack: () => takenBack !== undefined,
    foundTakenBack: (now) => {
      if (takenBack !== undefined) voids.push({ from: takenBack + 1, ended: now, isOnDisk: false })
    },
    restarted: (now, settledFor) => {
      voids = voids.filter(({ ended, isOnDisk }) => isOnDisk || ended < now - settledFor)
    },
    refused: (now) => void (refusal = now),
    lastRefusal: () => refusal,
    strikes: () => strikes,
    lastStrike: () => strikes.at(-1)?.time ?? -Infinity,
    struckUntil: () => struckUntil
  }
}
