import type { Metric } from "effect"
import type { HistogramState } from "../../effects/Histogram.ts"

/**
 * Metrics in the format OpenMetrics 1.0, which has exemplars.
 */

/** The media type of the format. */
export const TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

/** Whether `accept`, the field of a request (RFC 9110 §12.5.1), asks for the format. */
export const isAccepted = (accept: string | undefined): boolean =>
  (accept ?? "").split(",").some((range) =>
    /^\s*application\/openmetrics-text\s*(?:;|$)/i.test(range) && !/;\s*q=0(?:\.0*)?\s*(?:;|$)/i.test(range)
  )

type Labels = ReadonlyArray<readonly [name: string, value: string]>

/** One line of a family: what follows its name, labels, value, and the rest of the line. */
type Sample = readonly [suffix: string, labels: Labels, value: number | bigint, exemplar?: string]

const escaped = (text: string): string => text.replaceAll("\\", "\\\\").replaceAll("\"", "\\\"").replaceAll("\n", "\\n")

const numberText = (value: number | bigint): string =>
  value === Number.POSITIVE_INFINITY ? "+Inf" : value === Number.NEGATIVE_INFINITY ? "-Inf" : String(value)

/** A bound as a label. Those of integers have a fraction. */
const boundText = (bound: number): string => Number.isInteger(bound) ? bound.toFixed(1) : numberText(bound)

const labelsText = (labels: Labels): string =>
  labels.length === 0 ? "" : `{${labels.map(([name, value]) => `${name}="${escaped(value)}"`).join(",")}}`

const bucketsOf = ({ buckets, exemplars }: HistogramState): ReadonlyArray<Sample> =>
  buckets.map(([bound, count], index): Sample => {
    const found = exemplars?.get(index)
    const labels: Labels = [["le", boundText(bound)]]
    if (found === undefined) return ["_bucket", labels, count]
    const { at, traceId, value } = found
    return ["_bucket", labels, count, ` # ${labelsText([["trace_id", traceId]])} ${value} ${at / 1000}`]
  })

const samplesOf = (metric: Metric.Metric.Snapshot): ReadonlyArray<Sample> => {
  switch (metric.type) {
    case "Counter":
      return [["_total", [], metric.state.count]]
    case "Frequency":
      return [...metric.state.occurrences].map(([key, count]): Sample => ["_total", [["key", key]], count])
    case "Gauge":
      return [["", [], metric.state.value]]
    case "Histogram":
      return [...bucketsOf(metric.state), ["_sum", [], metric.state.sum], ["_count", [], metric.state.count]]
    case "Summary":
      return [
        ...metric.state.quantiles.flatMap(([quantile, value]): ReadonlyArray<Sample> =>
          value === undefined ? [] : [["", [["quantile", boundText(quantile)]], value]]
        ),
        ["_sum", [], metric.state.sum],
        ["_count", [], metric.state.count]
      ]
  }
}

/** A name of characters that the format has. */
const nameOf = (text: string): string => text.replace(/\W/g, "_").replace(/^(?=\d)/, "_")

/** The family of a metric. The suffix of a counter is not part of its name. */
const familyOf = ({ id, type }: Metric.Metric.Snapshot): string =>
  type === "Counter" || type === "Frequency" ? nameOf(id).replace(/_total$/, "") : nameOf(id)

const linesOf = (family: string, metric: Metric.Metric.Snapshot): ReadonlyArray<string> => {
  const own = Object.entries(metric.attributes ?? {}).map(([name, value]) => [nameOf(name), value] as const)
  return samplesOf(metric).map(([suffix, labels, value, exemplar = ""]) =>
    `${family}${suffix}${labelsText([...own, ...labels])} ${numberText(value)}${exemplar}\n`
  )
}

/** The text of all metrics. */
export const format = (metrics: ReadonlyArray<Metric.Metric.Snapshot>): string => {
  const families = Map.groupBy(metrics, familyOf)
  const texts = [...families].map(([family, members]) => {
    const [{ description = "", type }] = members as [Metric.Metric.Snapshot]
    const head = `# TYPE ${family} ${type === "Frequency" ? "counter" : type.toLowerCase()}\n`
    const help = description === "" ? "" : `# HELP ${family} ${escaped(description)}\n`
    return head + help + members.flatMap((metric) => linesOf(family, metric)).join("")
  })
  return `${texts.join("")}# EOF\n`
}
