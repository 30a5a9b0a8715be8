import { assert, describe, it } from "@effect/vitest"
import { Effect, Struct } from "effect"
import * as Fs from "node:fs"
import { join } from "node:path"
import type { Status, WarmJob } from "../../../src/http/admin/api/model.ts"
import { SpillwayApi } from "../../../src/http/admin/api/SpillwayApi.ts"
import { root } from "../../support/Project.ts"
import { start, withTime } from "../Site.ts"
import { control } from "./Control.ts"

const page = Fs.readFileSync(join(root, "docs/reference/api.md"), "utf8")

/** Requests as the page has them, each with the answer behind it. */
const examples = [
  ...page.matchAll(/^```http\n(\w+) \/_spillway\/api(\S*)\n(?:\n([^]*?)\n)?```\n\n```json\n([^]*?)\n```$/gm)
]
  .map(([, method, path, body, answer]) => ({
    method: method!,
    path: path!,
    body,
    answer: JSON.parse(answer!) as unknown
  }))

const fixed = ["id", "url", "state"] as const

/** What is another one each time, or with each version, as the page has it. */
const settled = (text: string, origin: string, own: string): unknown =>
  JSON.parse(
    text.replaceAll(origin, "https://media.example.org").replaceAll(own, "http://127.0.0.1:8080")
      .replace(/"resource":"[0-9a-f]{32}"/g, "\"resource\":\"5e1c6d9f0a4b4d4e8f7a6b5c4d3e2f10\"")
      .replace(/"version":"[^"]*"/g, "\"version\":\"0.1.0\"")
      .replace(/"id":"\d{13}"/g, "\"id\":\"1893499200000\"")
      .replace(/"connections":\d+/g, "\"connections\":1")
      .replace(/"bytesPerSecond":[1-9]\d*/g, "\"bytesPerSecond\":1000000")
  )

describe("docs/reference/api.md", () => {
  it.effect("shows the answers that its requests get", () =>
    Effect.gen(function*() {
      const site = yield* start({ cache: { directory: "/var/cache/spillway", minFree: 1e9, memory: 1e8 } })
      const api = control(site)
      site.file("/films/a.mp4")
      yield* site.ask("/films/a.mp4", { headers: { range: "bytes=0-99999" } })
      yield* Effect.repeat(api.get<Status>("/status"), { until: ({ cache }) => cache.chunks === 2 })
      assert.isAtLeast(examples.length, 8)
      for (const { answer, body, method, path } of examples) {
        const told = yield* api.send(path, {
          method,
          headers: { "content-type": "application/json" },
          ...(body !== undefined && { body })
        })
        const found = settled(told.body.toString(), site.origin.url, site.url)
        if (path !== "/warm") assert.deepStrictEqual(found, answer, `${method} ${path}`)
        else {
          // How far it is by then is another thing each time.
          assert.deepStrictEqual(Struct.pick(found as WarmJob, fixed), Struct.pick(answer as WarmJob, fixed))
          yield* withTime(
            Effect.repeat(api.get<{ state: string }>("/warm/1"), { until: ({ state }) => state === "done" })
          )
        }
      }
    }))

  it("names every endpoint", () => {
    const endpoints = Object.values(SpillwayApi.groups).flatMap((group) => Object.values(group.endpoints))
    assert.isAbove(endpoints.length, 10)
    for (const { method, path } of endpoints) {
      const short = path.slice("/_spillway/api".length)
      assert.match(page, new RegExp(`\`${method} ${short}[\`?]`), `${method} ${short}`)
    }
  })
})
