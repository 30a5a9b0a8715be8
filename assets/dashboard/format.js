/**
 * Figures for people.
 */

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]

/**
 * Bytes in the units of the flags, with three digits that count.
 *
 * @param {number} count
 */
export const bytes = (count) => {
  let value = Math.max(0, count)
  let unit = 0
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1024
    unit += 1
  }
  const digits = unit === 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2
  return `${value.toFixed(digits)} ${UNITS[unit]}`
}

/**
 * Bytes per second.
 *
 * @param {number} perSecond
 */
export const rate = (perSecond) => `${bytes(perSecond)}/s`

/**
 * Something that happens so often in a second.
 *
 * @param {number} perSecond
 */
export const often = (perSecond) => `${perSecond >= 99.95 ? count(Math.round(perSecond)) : perSecond.toFixed(1)}/s`

/**
 * A short time.
 *
 * @param {number} seconds
 */
export const short = (seconds) =>
  seconds < 1 ? `${Number((seconds * 1000).toPrecision(3))} ms` : `${Number(seconds.toPrecision(3))} s`

/**
 * A part of a whole, which may be nothing.
 *
 * @param {number} part
 * @param {number} whole
 */
export const percent = (part, whole) => {
  if (whole <= 0) return "–"
  const value = part / whole * 100
  // What is nearly all is not all.
  if (value > 99.9 && part < whole) return "99.9 %"
  return `${value >= 99.95 || value < 0.05 ? value.toFixed(0) : value.toFixed(1)} %`
}

/**
 * A whole number, its thousands apart.
 *
 * @param {number} value
 */
export const count = (value) => value.toLocaleString("en").replaceAll(",", "\u202f")

/**
 * A number of things.
 *
 * @param {number} value
 * @param {string} one
 * @param {string} [many]
 */
export const things = (value, one, many = `${one}s`) => `${count(value)} ${value === 1 ? one : many}`

/**
 * A time that has passed, by its two largest units.
 *
 * @param {number} seconds
 */
export const duration = (seconds) => {
  const whole = Math.max(0, Math.round(seconds))
  /** @type {(large: number, unit: string, small: number, unit2: string) => string} */
  const both = (large, unit, small, unit2) => small === 0 ? `${large} ${unit}` : `${large} ${unit} ${small} ${unit2}`
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return both(Math.floor(whole / 60), "min", whole % 60, "s")
  if (whole < 86_400) return both(Math.floor(whole / 3600), "h", Math.floor(whole % 3600 / 60), "min")
  return both(Math.floor(whole / 86_400), "d", Math.floor(whole % 86_400 / 3600), "h")
}

/**
 * How long ago a time was, to the minute.
 *
 * @param {string} time
 */
export const ago = (time) => {
  const seconds = (Date.now() - Date.parse(time)) / 1000
  return seconds < 60 ? "just now" : `${duration(Math.floor(seconds / 60) * 60)} ago`
}

/**
 * The time of day of an ISO 8601 text, and the date where it is not today's.
 *
 * @param {string | number} time
 */
export const clock = (time) => {
  const date = new Date(time)
  const day = date.toDateString() === new Date().toDateString() ? "" : `${date.toLocaleDateString()} `
  return day + date.toLocaleTimeString("en-GB")
}

/**
 * What tells a URL from others: its path and query, with the escapes undone where that can be done.
 *
 * @param {string} url
 */
export const nameOf = (url) => {
  const rest = /^[a-z]+:\/\/[^/]*(\/.*)$/i.exec(url)?.[1] ?? url
  try {
    return decodeURI(rest)
  } catch {
    return rest
  }
}
