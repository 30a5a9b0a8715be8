import { InvalidManifest, type MpdElement, parseMpd } from "./mpdElements.ts"

/**
 * The files that a DASH manifest (ISO/IEC 23009-1) names.
 */

/** The elements that say what the segments of a representation are (§5.3.9). */
const SEGMENTS = new Set(["SegmentTemplate", "SegmentList", "SegmentBase"])

/** What precedes in a manifest, from the period to the representation. */
type Levels = ReadonlyArray<MpdElement>

const childrenOf = (element: MpdElement | undefined, name: string): ReadonlyArray<MpdElement> =>
  element?.children.filter((child) => child.name === name) ?? []

const ISO_DURATION = /^P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d*)?)S)?)?$/

const UNIT_SECONDS = [365 * 86_400, 30 * 86_400, 86_400, 3600, 60, 1]

/** An `xs:duration` in seconds. `undefined` if it is missing, or no duration. */
const secondsOf = (text: string | undefined): number | undefined =>
  ISO_DURATION.exec(text?.trim() ?? "")?.slice(1)
    .reduce((sum, part, at) => sum + Number(part ?? 0) * UNIT_SECONDS[at]!, 0)

/** A whole number. Times may be larger than those that a `number` has exactly. */
const integerOf = (text: string | undefined, otherwise: bigint): bigint =>
  text !== undefined && /^\d{1,20}$/.test(text.trim()) ? BigInt(text) : otherwise

/** The values of the identifiers in a template. */
interface Values {
  readonly RepresentationID: string
  readonly Bandwidth: string
  readonly Number?: string
  readonly Time?: string
}

/** A name from a template (§5.3.9.4.4). Identifiers that are unknown stay as they are. */
const expand = (template: string, values: Values): string =>
  template.replace(
    /\$(?:(RepresentationID|Bandwidth|Number|Time)(?:%0(\d{1,2})d)?)?\$/g,
    (whole, name: keyof Values | undefined, width: string | undefined) => {
      if (name === undefined) return "$"
      return values[name]?.padStart(Number(width ?? 0), "0") ?? whole
    }
  )

/** `name` relative to `base`, or as it is if that makes no URL. */
const resolve = (name: string, base: string): string => URL.parse(name, base)?.href ?? name

/** What relative names in `element` are relative to. Of several `BaseURL`, which are alternatives, the first is used. */
const baseOf = (element: MpdElement, base: string): string => {
  const text = childrenOf(element, "BaseURL")[0]?.text.trim()
  return text === undefined || text === "" ? base : resolve(text, base)
}

/** The element of `name` that applies, with the attributes and children that it inherits from the levels above (§5.3.9.1). */
const inherited = (levels: Levels, name: string): MpdElement =>
  levels.flatMap((level) => childrenOf(level, name).slice(0, 1)).reduce((above, element) => {
    const own = new Set(element.children.map((child) => child.name))
    return {
      ...element,
      attributes: { ...above.attributes, ...element.attributes },
      children: [...above.children.filter((child) => !own.has(child.name)), ...element.children]
    }
  })

/** When a segment begins, in units of the timescale, and its number. */
interface Segment {
  readonly time: bigint
  readonly number: bigint
}

/** The segments of a `SegmentTimeline` (§5.3.9.6), which may end at `end`. */
function* timelineSegments(timeline: MpdElement, first: bigint, end: bigint | undefined): Generator<Segment> {
  const entries = childrenOf(timeline, "S")
  let time = 0n
  let number = first
  for (const [at, { attributes }] of entries.entries()) {
    time = integerOf(attributes["t"], time)
    number = integerOf(attributes["n"], number)
    const duration = integerOf(attributes["d"], 0n)
    // A negative number repeats it until the next entry, or the end of the period.
    const isOpen = attributes["r"]?.trim().startsWith("-") === true
    const until = integerOf(entries[at + 1]?.attributes["t"], end ?? 0n)
    const repeats = !isOpen
      ? integerOf(attributes["r"], 0n)
      : duration === 0n || until <= time
      ? 0n
      : (until - time - 1n) / duration
    for (let repeat = 0n; repeat <= repeats; repeat++) {
      yield { time, number }
      time += duration
      number += 1n
    }
  }
}

/** The segments of `count` equal parts, each of `duration`. */
function* equalSegments(duration: bigint, first: bigint, count: number): Generator<Segment> {
  for (let at = 0n; at < count; at++) yield { time: at * duration, number: first + at }
}

/** Room for inexact arithmetic: a period has no last segment of a millionth of the others' duration. */
const ROUNDING = 1e-6

/** The segments of a template. `seconds` is the duration of the period, if it is known. */
const templateSegments = (
  template: MpdElement,
  seconds: number | undefined,
  isLive: boolean
): Generator<Segment> => {
  const { attributes } = template
  const [timeline] = childrenOf(template, "SegmentTimeline")
  const first = integerOf(attributes["startNumber"], 1n)
  const timescale = Number(integerOf(attributes["timescale"], 1n))
  if (timeline !== undefined) {
    const offset = integerOf(attributes["presentationTimeOffset"], 0n)
    const end = seconds === undefined ? undefined : offset + BigInt(Math.ceil(seconds * timescale))
    return timelineSegments(timeline, first, end)
  }
  const duration = integerOf(attributes["duration"], 0n)
  if (duration === 0n) return equalSegments(0n, first, 1)
  if (isLive) {
    throw new InvalidManifest("a live presentation without a SegmentTimeline names its segments by the clock")
  }
  if (seconds === undefined) throw new InvalidManifest("the duration of a period is unknown")
  return equalSegments(duration, first, Math.ceil(seconds * timescale / Number(duration) - ROUNDING))
}

function* initializationNames(element: MpdElement): Generator<string> {
  for (const name of ["Initialization", "RepresentationIndex"]) {
    const url = childrenOf(element, name)[0]?.attributes["sourceURL"]
    if (url !== undefined) yield url
  }
}

/** The names of a representation. The empty name is its base: a file of which the segments are parts. */
function* representationNames(levels: Levels, seconds: number | undefined, isLive: boolean): Generator<string> {
  const nearest = levels.findLast((level) => level.children.some((child) => SEGMENTS.has(child.name)))
  const kind = nearest?.children.find((child) => SEGMENTS.has(child.name))?.name
  if (kind === undefined) return yield ""
  const element = inherited(levels, kind)
  yield* initializationNames(element)
  if (kind === "SegmentBase") return yield ""
  if (kind === "SegmentList") {
    for (const { attributes } of childrenOf(element, "SegmentURL")) {
      yield attributes["media"] ?? ""
      if (attributes["index"] !== undefined) yield attributes["index"]
    }
    return
  }
  const { id = "", bandwidth = "" } = levels.at(-1)!.attributes
  const values = { RepresentationID: id, Bandwidth: bandwidth }
  const { endNumber, index, initialization, media } = element.attributes
  if (initialization !== undefined) yield expand(initialization, values)
  const templates = [media, index].filter((template) => template !== undefined)
  const last = integerOf(endNumber, -1n)
  for (const { number, time } of templateSegments(element, seconds, isLive)) {
    if (last >= 0n && number > last) return
    for (const template of templates) {
      yield expand(template, { ...values, Number: String(number), Time: String(time) })
    }
  }
}

/** The periods with their durations in seconds, as far as they are known (§5.3.2.1). */
const periodsOf = (mpd: MpdElement) => {
  const periods = childrenOf(mpd, "Period")
  const total = secondsOf(mpd.attributes["mediaPresentationDuration"])
  let from: number | undefined = 0
  return periods.map((period, at) => {
    const start: number | undefined = secondsOf(period.attributes["start"]) ?? from
    const end = secondsOf(periods[at + 1]?.attributes["start"]) ?? (at === periods.length - 1 ? total : undefined)
    const seconds = secondsOf(period.attributes["duration"]) ??
      (start === undefined || end === undefined ? undefined : end - start)
    from = start === undefined || seconds === undefined ? undefined : start + seconds
    return { period, seconds }
  })
}

/**
 * The URLs in the manifest at `url`, in its order. A file of which the manifest names several parts comes as often. There may be very many.
 * Yields `undefined` now and then, so that the caller can let others have their turn. Throws `InvalidManifest`.
 */
export function* dashNames(text: string, url: string): Generator<string | undefined> {
  const mpd = yield* parseMpd(text)
  const isLive = mpd.attributes["type"] === "dynamic"
  const ofManifest = baseOf(mpd, url)
  for (const { period, seconds } of periodsOf(mpd)) {
    const ofPeriod = baseOf(period, ofManifest)
    for (const set of childrenOf(period, "AdaptationSet")) {
      const ofSet = baseOf(set, ofPeriod)
      for (const representation of childrenOf(set, "Representation")) {
        const base = baseOf(representation, ofSet)
        for (const name of representationNames([period, set, representation], seconds, isLive)) {
          yield name === "" ? base : resolve(name, base)
        }
      }
    }
  }
}
