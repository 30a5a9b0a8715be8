import { ByteSize } from "effect"

/**
 * The formats of the command line: sizes, counts, durations, tables and maps.
 */

/** `64 MiB`. */
export const size = (bytes: number): string => ByteSize.format(ByteSize.bytes(Math.round(bytes)))

/** `1 file`, `2 files`. */
export const counted = (count: number, what: string): string => `${count} ${what}${count === 1 ? "" : "s"}`

const units = [["d", 86_400], ["h", 3600], ["min", 60], ["s", 1]] as const

/** The two largest units of a duration in seconds: `2 d 3 h`, `45 s`. */
export const duration = (seconds: number): string => {
  let left = Math.max(0, Math.round(seconds))
  const first = units.findIndex(([, length]) => left >= length)
  if (first === -1) return "0 s"
  const words = units.slice(first, first + 2).flatMap(([unit, length]) => {
    const count = Math.floor(left / length)
    left -= count * length
    return count === 0 ? [] : [`${count} ${unit}`]
  })
  return words.join(" ")
}

/** `5 min ago`, for a time in ISO 8601. */
export const ago = (time: string, now: number): string => `${duration((now - Date.parse(time)) / 1000)} ago`

/** As much of `line` as fits into one line of a terminal: a longer one would not be overwritten as a whole. 0 columns are unknown. */
export const fit = (line: string, columns = 0): string =>
  columns === 0 || line.length < columns ? line : line.slice(0, columns - 1)

/** `part` as a percentage of `total`, rounded down. 100 % if `total` is 0. */
export const percent = (part: number, total: number): string =>
  total === 0 ? "100 %" : `${Math.floor(part / total * 100)} %`

/** Rows in columns. The columns in `right` are aligned to the right. */
export const table = (
  rows: ReadonlyArray<ReadonlyArray<string>>,
  right: ReadonlySet<number> = new Set()
): string => {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((cells) => cells[column]!.length)))
  return rows.map((cells) =>
    cells.map((cell, column) => right.has(column) ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!))
      .join("  ").trimEnd()
  ).join("\n")
}

/** From nothing cached to everything cached. */
const SHADES = ["·", "░", "▒", "▓", "█"]

interface Range {
  readonly start: number
  readonly end: number
}

/**
 * Draws in `width` characters which parts of `bytes` bytes are in `ranges` (sorted, disjoint). Each character stands for a part: `█` if
 * all of it is in a range, `·` if nothing is, a shade otherwise.
 */
export const map = (ranges: ReadonlyArray<Range>, bytes: number, width: number): string => {
  if (bytes === 0) return ""
  const columns = Math.min(width, bytes)
  return Array.from({ length: columns }, (_, column) => {
    const [from, to] = [Math.floor(bytes * column / columns), Math.floor(bytes * (column + 1) / columns)]
    const there = ranges.reduce(
      (sum, { end, start }) => sum + Math.max(0, Math.min(end, to) - Math.max(start, from)),
      0
    )
    if (there === 0) return SHADES[0]
    return there === to - from ? SHADES.at(-1) : SHADES[1 + Math.floor(there / (to - from) * (SHADES.length - 2))]
  }).join("")
}

/** `[#####.....]`, of `width` characters between the brackets. */
export const bar = (part: number, total: number, width: number): string => {
  const filled = total === 0 ? width : Math.min(width, Math.floor(part / total * width))
  return `[${"#".repeat(filled)}${".".repeat(width - filled)}]`
}
