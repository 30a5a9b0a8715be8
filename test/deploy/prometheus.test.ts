import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { find, run } from "../support/command.ts"
import { temporaryDirectory } from "../support/disks.ts"

const pathOf = (file: string): string => fileURLToPath(new URL(`../../${file}`, import.meta.url))

const promtool = find("promtool")
if (promtool === undefined) process.stderr.write("skipped: rules and dashboard: there is no promtool\n")

const alerts = Fs.readFileSync(pathOf("deploy/prometheus/alerts.yml"), "utf8")

interface Query {
  readonly expr: string
}

const dashboard: {
  readonly panels: ReadonlyArray<
    { readonly id: number; readonly title: string; readonly targets: ReadonlyArray<Query> }
  >
  readonly annotations: { readonly list: ReadonlyArray<Query> }
} = JSON.parse(Fs.readFileSync(pathOf("deploy/grafana/spillway.json"), "utf8"))

/** What the dashboard asks, with values in place of its variables. */
const queries = [...dashboard.panels.flatMap(({ targets }) => targets), ...dashboard.annotations.list]
  .map(({ expr }) => expr.replaceAll("$__rate_interval", "5m").replaceAll(/\$(?:job|instance)/g, ".*"))

const documented = new Set(
  [...Fs.readFileSync(pathOf("docs/reference/metrics.md"), "utf8").matchAll(/^\| `(\w+)` \|/gm)].map(([, name]) => name)
)

/** The metrics in a query; those of a histogram have a suffix. */
const named = (text: string) =>
  [...text.matchAll(/\b(?:spillway|process)_\w+/g)].map(([name]) => name.replace(/_bucket$/, ""))

describe("alerts and dashboard", () => {
  it("ask for metrics that there are", () => {
    const asked = [...named(alerts.replaceAll(/^ *(?:description|summary):.*$/gm, "")), ...queries.flatMap(named)]
    assert.isAbove(asked.length, 40)
    assert.deepStrictEqual(asked.filter((name) => !documented.has(name)), [])
  })

  it("leave no metric out of the dashboard", () => {
    const asked = new Set(queries.flatMap(named))
    assert.deepStrictEqual([...documented].filter((name) => !asked.has(name!)), [])
  })

  it("have panels of their own", () => {
    const { panels } = dashboard
    assert.strictEqual(new Set(panels.map(({ id }) => id)).size, panels.length)
    assert.strictEqual(new Set(panels.map(({ title }) => title)).size, panels.length)
  })

  it.live.skipIf(promtool === undefined)(
    "are read by Prometheus, and rules fire when they should and only then",
    () =>
      Effect.gen(function*() {
        const checked = yield* run(promtool!, ["check", "rules", pathOf("deploy/prometheus/alerts.yml")])
        assert.strictEqual(checked.code, 0, checked.stdout + checked.stderr)
        const tested = yield* run(promtool!, ["test", "rules", pathOf("deploy/prometheus/alerts.test.yml")])
        assert.strictEqual(tested.code, 0, tested.stdout + tested.stderr)
        for (const [, name] of alerts.matchAll(/alert: (\w+)/g)) {
          assert.include(Fs.readFileSync(pathOf("deploy/prometheus/alerts.test.yml"), "utf8"), name!)
          assert.include(Fs.readFileSync(pathOf("docs/guide/operations.md"), "utf8"), `\`${name}\``)
        }
      })
  )

  it.live.skipIf(promtool === undefined)("have queries that Prometheus reads", () =>
    Effect.gen(function*() {
      const rules = queries.map((expr, i) => ({ record: `query:${i}`, expr }))
      const file = join(yield* temporaryDirectory, "queries.yml")
      // JSON is YAML.
      Fs.writeFileSync(file, JSON.stringify({ groups: [{ name: "dashboard", rules }] }))
      const { code, stderr, stdout } = yield* run(promtool!, ["check", "rules", file])
      assert.strictEqual(code, 0, stdout + stderr)
    }))
})
