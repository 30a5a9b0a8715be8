import { type Comparison, comparisons, type Metric } from "./Metric.ts"

const HEADINGS = [
  "scenario",
  "measured",
  "spillway",
  "beside",
  "its value",
  "difference",
  "ratio (min..max)",
  "target"
]

/** Three significant digits, no exponent. */
const number = (value: number): string => value >= 100 ? value.toFixed(0) : value.toPrecision(3)

const difference = ({ metric, other, spillway }: Comparison): string => {
  if (metric.unit !== "ms") return ""
  const millis = spillway - other
  return `${millis < 0 ? "-" : "+"}${Math.abs(millis).toFixed(2)} ms`
}

const ratio = ({ ratio: { max, median, min } }: Comparison): string => {
  const spread = max === min ? "" : ` (${min.toFixed(2)}..${max.toFixed(2)})`
  return `x${median.toFixed(2)}${spread}`
}

const target = ({ metric, reached, target }: Comparison): string => {
  if (target === undefined) return ""
  return `${metric.better === "higher" ? ">=" : "<="} x${target} ${reached ? "reached" : "missed"}`
}

const row = (comparison: Comparison): Array<string> => {
  const { metric, other, peer, spillway } = comparison
  const value = (value: number) => `${number(value)} ${metric.unit}`.trimEnd()
  return [
    metric.scenario,
    metric.name,
    value(spillway),
    peer,
    value(other),
    difference(comparison),
    ratio(comparison),
    target(comparison)
  ]
}

const rowsOf = (metrics: ReadonlyArray<Metric>): Array<Array<string>> =>
  metrics.flatMap((metric) => comparisons(metric).map(row))

export const textTable = (metrics: ReadonlyArray<Metric>): string => {
  const rows = [HEADINGS, ...rowsOf(metrics)]
  const widths = HEADINGS.map((_, column) => Math.max(...rows.map((cells) => cells[column]!.length)))
  return rows.map((cells) => cells.map((cell, column) => cell.padEnd(widths[column]!)).join("  ").trimEnd()).join("\n")
}

const markdownRow = (cells: ReadonlyArray<string>): string => `| ${cells.join(" | ")} |`

export const markdown = (machine: Record<string, string>, metrics: ReadonlyArray<Metric>): string =>
  [
    ...Object.entries(machine).map(([name, value]) => `- ${name}: ${value}`),
    "",
    markdownRow(HEADINGS),
    markdownRow(HEADINGS.map(() => "---")),
    ...rowsOf(metrics).map(markdownRow),
    ""
  ].join("\n")

export const json = (machine: Record<string, string>, metrics: ReadonlyArray<Metric>): string => {
  const results = metrics.map((metric) => ({
    metric,
    comparisons: comparisons(metric).map(({ other, peer, ratio, reached, spillway, target }) => {
      return { peer, spillway, other, ratio, target, reached }
    })
  }))
  return `${JSON.stringify({ machine, results }, undefined, 2)}\n`
}
