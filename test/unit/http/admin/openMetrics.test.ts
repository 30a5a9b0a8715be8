import { assert, describe, it } from "@effect/vitest"
import { Effect, Metric, type Scope } from "effect"
import { Histogram } from "../../../../src/effects/Histogram.ts"
import * as OpenMetrics from "../../../../src/http/admin/openMetrics.ts"
import * as Metrics from "../../../../src/services/observe/pullMetrics.ts"

const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"

/** The text of the metrics that `register` makes. */
const textOf = (register: Effect.Effect<void, never, Scope.Scope>) =>
  Effect.andThen(register, Effect.map(Metric.snapshot, OpenMetrics.format)).pipe(
    Effect.scoped,
    Effect.provideService(Metric.MetricRegistry, new Map())
  )

describe("OpenMetrics", () => {
  it.effect("has the exemplar of each bucket that has one", () =>
    Effect.gen(function*() {
      const histogram = new Histogram([0.5, 1])
      histogram.observe(0.25)
      histogram.observe(0.75, { traceId: "f".repeat(32), at: 1_893_456_000_000 })
      histogram.observe(0.875, { traceId: TRACE, at: 1_893_456_000_123 })
      const text = yield* textOf(
        Metrics.histogram("wait_seconds", "How long", () => histogram.state(), { source: "disk" })
      )
      assert.strictEqual(
        text,
        [
          "# TYPE wait_seconds histogram",
          "# HELP wait_seconds How long",
          "wait_seconds_bucket{source=\"disk\",le=\"0.5\"} 1",
          `wait_seconds_bucket{source="disk",le="1.0"} 3 # {trace_id="${TRACE}"} 0.875 1893456000.123`,
          "wait_seconds_bucket{source=\"disk\",le=\"+Inf\"} 3",
          "wait_seconds_sum{source=\"disk\"} 1.875",
          "wait_seconds_count{source=\"disk\"} 3",
          "# EOF",
          ""
        ].join("\n")
      )
    }))

  it.effect("names a family of counters without their suffix, and escapes texts", () =>
    Effect.gen(function*() {
      const counter = (label: string) => Metrics.counter("a_b_total", "Say \"a\\b\"", () => 2, { label })
      const text = yield* textOf(Effect.andThen(counter("x"), counter("\"\n\\")))
      assert.strictEqual(
        text,
        "# TYPE a_b counter\n# HELP a_b Say \\\"a\\\\b\\\"\na_b_total{label=\"x\"} 2\na_b_total{label=\"\\\"\\n\\\\\"} 2\n# EOF\n"
      )
    }))

  it.effect("has the metrics of applications, whatever they are called", () =>
    Effect.gen(function*() {
      const frequency = Metric.frequency("kinds-of.things")
      const text = yield* textOf(
        Metric.update(frequency, "a").pipe(
          Effect.andThen(
            Metrics.summary(
              "late",
              "",
              () => ({ quantiles: [[1, 2], [0.5, undefined]], count: 1, min: 0, max: 2, sum: 2 })
            )
          ),
          Effect.andThen(Metrics.gauge("2nd", "", () => Number.POSITIVE_INFINITY))
        )
      )
      assert.strictEqual(
        text,
        "# TYPE kinds_of_things counter\nkinds_of_things_total{key=\"a\"} 1\n" +
          "# TYPE late summary\nlate{quantile=\"1.0\"} 2\nlate_sum 2\nlate_count 1\n" +
          "# TYPE _2nd gauge\n_2nd +Inf\n# EOF\n"
      )
    }))

  it.each(
    [
      ["application/openmetrics-text", true],
      ["application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", true],
      ["text/plain, application/openmetrics-text; version=1.0.0; q=0.75", true],
      ["application/openmetrics-text;q=0.0, text/plain", false],
      ["application/openmetrics-text-2", false],
      ["text/plain;version=0.0.4", false],
      ["*/*", false],
      [undefined, false]
    ] as const
  )("is used for Accept: %s: %s", (accept, expected) => {
    assert.strictEqual(OpenMetrics.isAccepted(accept), expected)
  })
})
