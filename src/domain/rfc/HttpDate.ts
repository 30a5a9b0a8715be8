/**
 * Dates as HTTP writes them (RFC 9110 §5.6.7), to the second.
 */

const MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]

const DAY_NAME = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
const MONTH = `(?<month>${MONTHS.join("|")})`
const TIME = "(?<hour>\\d\\d):(?<minute>\\d\\d):(?<second>\\d\\d)"

/** IMF-fixdate, RFC 850 and asctime. A cache matches them in any case (RFC 9111 §4.2). */
const FORMATS = [
  `${DAY_NAME}, (?<day>\\d\\d) ${MONTH} (?<year>\\d{4}) ${TIME} GMT`,
  `(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, (?<day>\\d\\d)-${MONTH}-(?<year>\\d\\d) ${TIME} GMT`,
  `${DAY_NAME} ${MONTH} (?<day>\\d\\d| \\d) ${TIME} (?<year>\\d{4})`
].map((format) => new RegExp(`^${format}$`, "i"))

const ZONE = "(?<zone>GMT|UTC|UT|Z|[+-]\\d\\d:?\\d\\d)"

/** What origins write instead: other zones or none, one digit for the day, ISO 8601, the output of `date`. */
const LENIENT_FORMATS = [
  `(?:[a-z]+,? +)?(?<day>\\d\\d?)[ -]${MONTH}[a-z]*[ -](?<year>\\d{4}|\\d\\d) +${TIME}(?: *${ZONE})?`,
  `(?:[a-z]+,? +)?${MONTH} +(?<day>\\d\\d?),? +${TIME}(?: +${ZONE})? +(?<year>\\d{4})`,
  `(?<year>\\d{4})-(?<month>\\d\\d)-(?<day>\\d\\d)[T ]${TIME}(?:\\.\\d+)? *${ZONE}?`
].map((format) => new RegExp(`^${format}$`, "i"))

/** After so many years the calendar repeats. `Date.UTC` takes the years before 100 for others, so they are moved past it. */
const CYCLE_YEARS = 400
const CYCLE_MILLIS = Date.UTC(1970 + CYCLE_YEARS, 0)

const midnight = (year: number, month: number, day: number): number =>
  Date.UTC(year + CYCLE_YEARS, month, day) - CYCLE_MILLIS

/** How far ahead a date with a year of two digits may lie, in years: beyond, it is of the century before. */
const HORIZON_YEARS = 50

/** The last year that ends in `digits` in which the date `inYear` is at most 50 years after `now`. */
const fullYear = (digits: number, inYear: (year: number) => number, now: number): number => {
  const horizon = new Date(now)
  const latest = horizon.getUTCFullYear() + HORIZON_YEARS
  const year = latest - latest % 100 + digits
  return inYear(year) <= horizon.setUTCFullYear(latest) ? year : year - 100
}

/** How far local time is ahead of universal time in `zone`, in milliseconds. */
const offsetOf = (zone: string | undefined): number => {
  const [, sign, hours, minutes] = /^([+-])(\d\d):?(\d\d)$/.exec(zone ?? "") ?? []
  return sign === undefined ? 0 : (sign === "-" ? -1 : 1) * (Number(hours) * 60 + Number(minutes)) * 60_000
}

const parseAs = (formats: ReadonlyArray<RegExp>, text: string, now: number | undefined): number | undefined => {
  for (const format of formats) {
    const parts = format.exec(text)?.groups
    if (parts === undefined) continue
    const number = (name: string): number => Number(parts[name])
    const [day, hour, minute, second] = [number("day"), number("hour"), number("minute"), number("second")]
    const name = parts["month"]!
    const month = /^\d/.test(name) ? Number(name) - 1 : MONTHS.indexOf(name.toLowerCase())
    const time = ((hour * 60 + minute) * 60 + second) * 1000
    const digits = parts["year"]!
    const year = digits.length === 4
      ? Number(digits)
      : fullYear(Number(digits), (year) => midnight(year, month, day) + time, now ?? Date.now())
    const date = midnight(year, month, day)
    // A second of 60 is a leap second: the first of the next minute, to everybody here.
    const exists = month >= 0 && month < 12 && new Date(date).getUTCDate() === day && hour < 24 && minute < 60 &&
      second <= 60
    return exists ? date + time - offsetOf(parts["zone"]) : undefined
  }
  return undefined
}

/**
 * Reads one of the three formats of an HTTP-date, in milliseconds since 1970; `undefined` for any other text and for a
 * day or time that there is not. The name of the day is not compared with the date. `now`, in milliseconds, settles the
 * century of an RFC 850 date, and is the present unless given.
 */
export const parse = (text: string | undefined, now?: number): number | undefined =>
  text === undefined ? undefined : parseAs(FORMATS, text, now)

/** Reads what `parse` reads, and dates that are understandable but not valid in HTTP. Without a zone, they are in universal time. */
export const parseLeniently = (text: string | undefined, now?: number): number | undefined =>
  text === undefined ? undefined : parse(text, now) ?? parseAs(LENIENT_FORMATS, text.trim(), now)

/** Writes `millis`, milliseconds since 1970, as an IMF-fixdate, its fraction of a second dropped. */
export const format = (millis: number): string => new Date(millis).toUTCString()
