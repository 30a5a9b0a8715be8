import { type Comparison, comparisons, type Metric } from "./Metric.ts"
import { median } from "./statistics.ts"

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

const difference = ({ difference: { median }, metric }: Comparison): string =>
  metric.unit === "ms" ? `${median < 0 ? "-" : "+"}${Math.abs(median).toFixed(2)} ms` : ""

const ratio = ({ ratio: { max, median, min } }: Comparison): string => {
  const spread = max === min ? "" : ` (${min.toFixed(2)}..${max.toFixed(2)})`
  return `x${median.toFixed(2)}${spread}`
}

const target = ({ metric, reached, target, within }: Comparison): string => {
  const verdict = reached ? "reached" : "missed"
  if (within !== undefined) return `<= +${within} ${metric.unit} ${verdict}`
  if (target === undefined) return ""
  return `${metric.better === "higher" ? ">=" : "<="} x${target} ${verdict}`
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

/** What nobody else is measured for. */
const rowAlone = ({ name, samples, scenario, unit }: Metric): Array<string> => {
  const value = `${number(median(samples["spillway"] ?? []))} ${unit}`
  return [scenario, name, value, ...HEADINGS.slice(3).map(() => "")]
}

const rowsOf = (metrics: ReadonlyArray<Metric>): Array<Array<string>> =>
  metrics.flatMap((metric) => {
    const compared = comparisons(metric)
    return compared.length === 0 ? [rowAlone(metric)] : compared.map(row)
  })

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

/** The line below which a document is the program's. */
const MARK = "<!-- measured: written by npm run bench -->"

/** `text`, what is written by hand in it kept, with `measured` for what was measured before. */
export const withMeasured = (text: string, measured: string): string => {
  const head = text.split(MARK, 1)[0]!.trimEnd()
  return `${head}${head === "" ? "" : "\n\n"}${MARK}\n\n${measured}`
}

export const json = (machine: Record<string, string>, metrics: ReadonlyArray<Metric>): string => {
  const results = metrics.map((metric) => ({
    metric,
    comparisons: comparisons(metric).map(({ difference, other, peer, ratio, reached, spillway, target, within }) => {
      return { peer, spillway, other, ratio, difference, target, within, reached }
    })
  }))
  return `${JSON.stringify({ machine, results }, undefined, 2)}\n`
}
