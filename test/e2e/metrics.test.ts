import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import { ask } from "../http/TestProxy.ts"
import { find } from "../support/command.ts"
import { temporaryDirectory } from "../support/disks.ts"
import { startFleet } from "../support/fleetPrograms.ts"
import { eventually, startProgram, view } from "../support/Program.ts"
import { familiesOf, type Family, valueOf } from "../support/scrape.ts"
import { fileOf, makeTestOrigin, MiB } from "../support/TestOrigin.ts"
import { withoutHedges } from "../support/withoutHedges.ts"

const promtool = find("promtool")
if (promtool === undefined) process.stderr.write("skipped: the linting of metrics: there is no promtool\n")

/** Prometheus's own parser of OpenMetrics. */
const python = ["/usr/bin/python3", "python3"].find((python) =>
  spawnSync(python, ["-c", "import prometheus_client.openmetrics.parser"]).status === 0
)
if (python === undefined) {
  process.stderr.write("skipped: the parsing of OpenMetrics: there is no python3-prometheus-client\n")
}

/** Prints the exemplars of the metrics that it parses. */
const PARSER = `
import json, sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
samples = [sample for family in text_string_to_metric_families(sys.stdin.read()) for sample in family.samples]
print(json.dumps([
  [sample.name, sample.exemplar.labels["trace_id"], sample.labels["le"], sample.exemplar.value]
  for sample in samples if sample.exemplar
]))`

/** The tables of `docs/reference/metrics.md`. */
const documented: ReadonlyArray<Family> = Fs.readFileSync(
  new URL("../../docs/reference/metrics.md", import.meta.url),
  "utf8"
)
  .split("\n").filter((line) => line.startsWith("| `")).map((line) => {
    const [, name, type, labels] = line.split("|").map((cell) => cell.trim())
    return {
      name: name!.slice(1, -1),
      type: type!,
      labels: labels!.split(" ").filter(Boolean).map((l) => l.slice(1, -1)).toSorted()
    }
  }).toSorted((a, b) => a.name < b.name ? -1 : 1)

const isOfFleets = ({ name }: Family): boolean => /^spillway_(?:fleet|peer)_/.test(name)

const start = Effect.fnUntraced(function*(args: ReadonlyArray<string> = []) {
  const origin = yield* makeTestOrigin
  origin.files.set("/film", fileOf(3 * MiB, 1))
  const directory = yield* temporaryDirectory
  const steady = yield* withoutHedges(origin.url)
  const program = yield* startProgram([...steady, "--cache-dir", directory, "--min-free", "0", ...args])
  const scrape = Effect.map(ask(program.url, "/_spillway/metrics"), ({ body }) => body.toString())
  return { origin, program, scrape }
})

describe.concurrent("the metrics of the program", () => {
  it.live("are those that are documented, from the first request on", () =>
    Effect.gen(function*() {
      const { program, scrape } = yield* start()
      // Origins have their series from their first request on.
      yield* view(`${program.url}/film`)
      assert.deepStrictEqual(familiesOf(yield* scrape), documented.filter((family) => !isOfFleets(family)))
    }))

  it.live("are those that are documented in a fleet, too", () =>
    Effect.gen(function*() {
      const { nodes: [node] } = yield* startFleet({ origin: yield* makeTestOrigin, names: ["n1"] })
      yield* view(`${node!.url}/none`)
      const { body } = yield* ask(node!.url, "/_spillway/metrics")
      assert.deepStrictEqual(familiesOf(body.toString()), documented)
    }))

  it.live.skipIf(promtool === undefined)("are as Prometheus would have them", () =>
    Effect.gen(function*() {
      const { program, scrape } = yield* start()
      yield* view(`${program.url}/film`)
      const { status, stderr, stdout } = spawnSync(promtool!, ["check", "metrics"], {
        input: yield* scrape,
        encoding: "utf8"
      })
      assert.deepStrictEqual([status, stdout, stderr], [0, "", ""])
    }))

  it.live("tell what viewers got, and what the process does", () =>
    Effect.gen(function*() {
      const { origin, program, scrape } = yield* start()
      yield* view(`${program.url}/film`)
      yield* view(`${program.url}/film`, { range: "bytes=0-999" })
      yield* view(`${program.url}/none`)
      const text = yield* scrape
      assert.strictEqual(valueOf(text, "spillway_requests_total{outcome=\"miss\"}"), 2)
      assert.strictEqual(valueOf(text, "spillway_requests_total{outcome=\"hit\"}"), 1)
      const sent = ["memory", "disk", "origin", "passthrough"]
        .map((source) => valueOf(text, `spillway_sent_bytes_total{source="${source}"}`)!)
      assert.strictEqual(sent.reduce((a, b) => a + b), 3 * MiB + 1000)
      assert.strictEqual(valueOf(text, "spillway_responses_total{class=\"2xx\"}"), 2)
      assert.strictEqual(valueOf(text, "spillway_responses_total{class=\"4xx\"}"), 1)
      for (const name of ["spillway_first_byte_seconds", "spillway_response_seconds"]) {
        assert.strictEqual(valueOf(text, `${name}_count{source="memory"}`), 1)
        assert.isAbove(valueOf(text, `${name}_sum{source="origin"}`)!, 0)
      }
      const host = new URL(origin.url).host
      assert.strictEqual(valueOf(text, `spillway_origin_first_byte_seconds_count{origin="${host}"}`), 2)
      assert.strictEqual(valueOf(text, `spillway_origin_failures_total{origin="${host}"}`), 0)
      // And the text of the 404.
      assert.approximately(valueOf(text, "spillway_origin_received_bytes_total")!, 3 * MiB, 100)
      assert.strictEqual(valueOf(text, "spillway_origin_requests_total{outcome=\"4xx\"}"), 1)
      assert.strictEqual(valueOf(text, "spillway_memory_bytes"), 3 * MiB)
      assert.isAbove(valueOf(text, "spillway_disk_free_bytes")!, 0)
      assert.isAbove(valueOf(text, "process_cpu_seconds_total")!, 0.1)
      assert.isAbove(valueOf(text, "process_resident_memory_bytes")!, 3 * MiB)
      assert.approximately(valueOf(text, "process_start_time_seconds")!, performance.timeOrigin / 1000, 600)
      // The server may hear later than its viewers that theirs are closed.
      yield* eventually(
        "no connection but the scrape's own",
        Effect.map(scrape, (text) => valueOf(text, "spillway_connections") === 1)
      )
      yield* eventually(
        "a window of the event loop's",
        Effect.map(scrape, (text) => valueOf(text, "spillway_event_loop_delay_seconds_count")! > 100)
      )
      const late = valueOf(yield* scrape, "spillway_event_loop_delay_seconds{quantile=\"1\"}")!
      assert.isAbove(late, 0)
      assert.isBelow(late, 10)
    }))
})

describe.skipIf(python === undefined)("the metrics in OpenMetrics", () => {
  it.live.each([["one process", []], ["two workers", ["--workers", "2"]]] as const)(
    "are read by Prometheus's parser, and have the traces of responses: %s",
    ([, args]) =>
      Effect.gen(function*() {
        const { program } = yield* start(args)
        const traceId = (n: number) => `4bf92f3577b34da6a3ce929d0e0e473${n}`
        const viewWith = (flags: string, n: number) =>
          ask(program.url, "/film", { headers: { traceparent: `00-${traceId(n)}-00f067aa0ba902b7-${flags}` } })
        yield* viewWith("01", 1)
        yield* viewWith("00", 2)
        yield* ask(program.url, "/film", { headers: { traceparent: "00-nothing" } })
        const scrape = Effect.map(
          ask(program.url, "/_spillway/metrics", { headers: { accept: "application/openmetrics-text;version=1.0.0" } }),
          ({ body, headers }) => {
            assert.strictEqual(headers["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8")
            return body.toString()
          }
        )
        const responses = "spillway_responses_total{class=\"2xx\"} 3\n"
        yield* eventually("all responses", Effect.map(scrape, (text) => text.includes(responses)))
        const text = yield* scrape
        const { status, stderr, stdout } = spawnSync(python!, ["-c", PARSER], { input: text, encoding: "utf8" })
        assert.deepStrictEqual([status, stderr], [0, ""])
        const found = JSON.parse(stdout) as ReadonlyArray<
          readonly [name: string, traceId: string, le: string, value: number]
        >
        assert.deepStrictEqual(found.map(([name, traceId]) => [name, traceId]), [
          ["spillway_first_byte_seconds_bucket", traceId(1)],
          ["spillway_response_seconds_bucket", traceId(1)]
        ])
        for (const [, , le, value] of found) assert.isAtMost(value, le === "+Inf" ? Infinity : Number(le))
        // The other format is as before.
        const { body, headers } = yield* ask(program.url, "/_spillway/metrics")
        assert.strictEqual(headers["content-type"], "text/plain; version=0.0.4; charset=utf-8")
        assert.notInclude(body.toString(), traceId(1))
      })
  )
})
