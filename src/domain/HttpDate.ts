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

/**
 * Reads one of the three formats of an HTTP-date, in milliseconds since 1970; `undefined` for any other text and for a
 * day or time that there is not. The name of the day is not compared with the date. `now`, in milliseconds, settles the
 * century of an RFC 850 date, and is the present unless given.
 */
export const parse = (text: string | undefined, now?: number): number | undefined => {
  if (text === undefined) return undefined
  for (const format of FORMATS) {
    const parts = format.exec(text)?.groups
    if (parts === undefined) continue
    const number = (name: string): number => Number(parts[name])
    const [day, hour, minute, second] = [number("day"), number("hour"), number("minute"), number("second")]
    const month = MONTHS.indexOf(parts["month"]!.toLowerCase())
    const time = ((hour * 60 + minute) * 60 + second) * 1000
    const digits = parts["year"]!
    const year = digits.length === 4
      ? Number(digits)
      : fullYear(Number(digits), (year) => midnight(year, month, day) + time, now ?? Date.now())
    const date = midnight(year, month, day)
    // A second of 60 is a leap second: the first of the next minute, to everybody here.
    const exists = new Date(date).getUTCDate() === day && hour < 24 && minute < 60 && second <= 60
    return exists ? date + time : undefined
  }
  return undefined
}

/** Writes `millis`, milliseconds since 1970, as an IMF-fixdate, its fraction of a second dropped. */
export const format = (millis: number): string => new Date(millis).toUTCString()
