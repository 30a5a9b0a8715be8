import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import type { ResourceSummary } from "../../src/http/admin/api/model.ts"
import { ServerConfig } from "../../src/services/config/ServerConfig.ts"
import { ask, makeTestProxy } from "../http/TestProxy.ts"
import { chromiumPath, startBrowser } from "../support/browser.ts"
import { type DashboardPage, type Look, misplaced, openDashboard } from "../support/dashboardPage.ts"
import { FULL, makeStage, sceneAt, type Stage } from "../support/dashboardScene.ts"
import { insideOf, makeDisk, noDisks, takeAllRoom, temporaryDirectory } from "../support/disks.ts"
import { eventually, openView, startProgram, view } from "../support/Program.ts"
import { fileOf, makeTestOrigin, MiB, sha256 } from "../support/TestOrigin.ts"

if (chromiumPath === undefined) process.stderr.write("skipped: the dashboard's tests need Chromium\n")

/** So often the stage speaks, so that a scene of minutes takes seconds. */
const EVERY_MILLIS = 60

const makeEmptyStage = Effect.flatMap(makeTestProxy(), ({ url }) => makeStage(url, EVERY_MILLIS))

const at = ({ url }: Stage) => `${url}/_spillway/`

/** Plays the scene from one second to another, and stays there. */
const play = (stage: Stage, from: number, to: number) => {
  let second = from
  stage.show(() => sceneAt(second < to ? second++ : to))
  return eventually(`second ${to} of the scene`, Effect.sync(() => second === to))
}

/** The console was told of nothing, and nobody else was asked for anything. */
const assertQuiet = ({ complaints, requests }: DashboardPage, origin: string) => {
  assert.deepStrictEqual(complaints, [])
  assert.isAbove(requests.length, 10)
  assert.deepStrictEqual(
    requests.filter((url) => !url.startsWith(`${origin}/_spillway/`) && !url.startsWith("data:")),
    []
  )
}

const looks: ReadonlyArray<readonly [string, Look]> = [
  ["wide-light", { width: 1440, height: 900, colorScheme: "light" }],
  ["wide-dark", { width: 1440, height: 900, colorScheme: "dark" }],
  ["narrow-light", { width: 360, height: 740, colorScheme: "light" }],
  ["narrow-dark", { width: 360, height: 740, colorScheme: "dark" }]
]

describe("The dashboard", { concurrent: true, skip: chromiumPath === undefined }, () => {
  it.live.each(looks)("can be looked at and read: %s", ([name, look]) =>
    Effect.gen(function*() {
      const stage = yield* makeEmptyStage
      const dashboard = yield* openDashboard(yield* startBrowser(chromiumPath!), at(stage), look)
      yield* play(stage, 15, FULL.from + 12)
      yield* dashboard.says("#state-title", "Passing through")
      yield* dashboard.says("#streams > li:first-child li:first-child .source", "Passthrough, the disk is full")
      const check = Effect.fnUntraced(function*(state: string) {
        assert.deepStrictEqual(yield* dashboard.evaluate<Array<string>>(misplaced), [])
        assert.deepStrictEqual(yield* dashboard.violations, [])
        assert.isAbove(statSync(yield* dashboard.picture(`${name}-${state}`)).size, 50_000)
      })
      yield* check("failing")
      yield* play(stage, FULL.from + 12, 112)
      yield* dashboard.says("#state-title", "Caching")
      yield* dashboard.says("#failures li:first-child .recovery", "Recovered by itself after 22 s")
      yield* check("recovered")
      assertQuiet(dashboard, stage.url)
      yield* stage.setGone(true)
      yield* dashboard.says("#state-title", "No answer from the server")
      yield* check("gone")
    }))

  it.live("says when the server is gone, and comes back by itself", () =>
    Effect.gen(function*() {
      const stage = yield* makeEmptyStage
      const dashboard = yield* openDashboard(yield* startBrowser(chromiumPath!), at(stage))
      yield* dashboard.says("#link", "Live")
      assert.strictEqual(yield* dashboard.evaluate("document.title"), "Spillway")
      yield* dashboard.says("#requests", "8.2/s")
      yield* dashboard.says("#requests-of", "1.2 % errors, in the last minute")
      yield* dashboard.says("#first-byte", "≤ 2.5 ms")
      yield* dashboard.says("#first-byte-of", "median; 95 % ≤ 250 ms")
      yield* stage.setGone(true)
      yield* dashboard.says("#state-title", "No answer from the server")
      yield* dashboard.says("#link", /^Trying again/)
      assert.match(yield* dashboard.textOf("#state-text"), /Last heard at \d\d:\d\d:\d\d/)
      assert.strictEqual(yield* dashboard.evaluate("document.title"), "No answer – Spillway")
      yield* stage.setGone(false)
      yield* dashboard.says("#link", "Live")
      yield* dashboard.says("#state-title", "Caching")
      // It goes on from there.
      yield* play(stage, 0, FULL.from + 2)
      yield* dashboard.says("#state-title", "Passing through")
      assert.strictEqual(yield* dashboard.evaluate("document.title"), "Passing through – Spillway")
    }))

  it.live("tells a silent server from one that speaks", () =>
    Effect.gen(function*() {
      const stage = yield* makeEmptyStage
      const dashboard = yield* openDashboard(yield* startBrowser(chromiumPath!), at(stage))
      yield* dashboard.says("#link", "Live")
      stage.setSilent(true)
      yield* dashboard.says("#state-title", "No answer from the server")
      stage.setSilent(false)
      yield* dashboard.says("#link", "Live")
    }))

  it.live("says when too many watch", () =>
    Effect.gen(function*() {
      const stage = yield* makeEmptyStage
      stage.setFull(true)
      const dashboard = yield* openDashboard(yield* startBrowser(chromiumPath!), at(stage))
      yield* dashboard.says("#state-title", "Too many watch")
      stage.setFull(false)
      yield* dashboard.says("#link", "Live")
    }))

  it.live("takes what servers and files are called for text", () =>
    Effect.gen(function*() {
      const stage = yield* makeEmptyStage
      const dashboard = yield* openDashboard(yield* startBrowser(chromiumPath!), at(stage))
      const hostile =
        "https://a.example/<img src=x onerror=document.title=1><script>document.title=2</script>\"'&amp;%3Cb%3E%FF"
      const scene = sceneAt(FULL.from)
      stage.show(() => ({
        ...scene,
        status: { ...scene.status, origins: [{ url: hostile, state: "up" }] },
        streams: [{ ...scene.streams[0]!, id: "x", url: hostile, viewer: "<b>", detail: "<i>A_B" }],
        failures: [{ ...scene.failures[0]!, kind: "<u>", message: "<s>", url: hostile }],
        resources: [{ ...scene.resources[0]!, resource: "x", url: hostile }],
        fleet: {
          engine: { name: "<i>", up: true },
          nodes: [{ ...scene.fleet!.nodes[0]!, name: "<s>", address: hostile }]
        }
      }))
      const shown = hostile.slice("https://a.example".length)
      yield* dashboard.says("#streams .what", shown)
      yield* dashboard.says("#maps h3", shown)
      yield* dashboard.says("#failures .kind b", "<u>")
      yield* dashboard.says("#nodes .node b", "<s>")
      yield* dashboard.says("#origins .node b", hostile)
      yield* dashboard.says("#engine", "Listed by <i>.")
      assert.strictEqual(
        yield* dashboard.evaluate("document.querySelectorAll('main :is(img, script, i b, u, s)').length"),
        0
      )
      assert.strictEqual(yield* dashboard.evaluate("document.title"), "Passing through – Spillway")
      assertQuiet(dashboard, stage.url)
    }))

  it.live("shows the nodes of a fleet, and nothing of them if the server is alone", () =>
    Effect.gen(function*() {
      const stage = yield* makeEmptyStage
      const dashboard = yield* openDashboard(yield* startBrowser(chromiumPath!), at(stage))
      stage.show(() => sceneAt(FULL.from))
      yield* dashboard.says("#nodes-count", "4")
      yield* dashboard.says("#now-peer", /^\d.* MiB\/s$/)
      yield* dashboard.says("#traffic-text", /MiB from other nodes, /)
      yield* dashboard.says("#engine", "redis://redis.internal:6379 does not respond; the list stays as it is.")
      const node = (index: number, part: string) => `#nodes li:nth-child(${index}) ${part}`
      yield* dashboard.says(node(1, ".node b"), "n1")
      yield* dashboard.says(node(1, ".node-state"), "This node")
      yield* dashboard.says(node(1, ".figures span:first-child"), "138 GiB on disk, 74.1 % of 186 GiB · weight 200")
      yield* dashboard.says(node(1, ".figures span:last-child"), "200 GiB in · 192 GiB out")
      yield* dashboard.says(node(3, ".node-state"), "Lost: it does not respond")
      yield* dashboard.says(node(3, ".figures span:last-child"), "no report")
      yield* dashboard.says(node(4, ".node-state"), "Other configuration: not used")
      const role = yield* Effect.promise(() =>
        dashboard.page.getByRole("region", { name: "Fleet" }).getByRole("listitem").count()
      )
      assert.strictEqual(role, 4)
      stage.show(() => sceneAt(FULL.to + 1))
      yield* dashboard.says(node(3, ".node-state"), "Leaving")
      yield* dashboard.says("#engine", "Listed by redis://redis.internal:6379.")
      const { fleet: _, ...alone } = sceneAt(0)
      stage.show(() => alone)
      yield* Effect.promise(() => dashboard.page.locator("#fleet").waitFor({ state: "hidden" }))
      assert.isFalse(yield* Effect.promise(() => dashboard.page.locator("#now-peer").isVisible()))
    }))

  it.live("shows how the origins are doing", () =>
    Effect.gen(function*() {
      const stage = yield* makeEmptyStage
      const dashboard = yield* openDashboard(yield* startBrowser(chromiumPath!), at(stage))
      stage.show(() => sceneAt(FULL.from))
      yield* dashboard.says("#origins-count", "3")
      const origin = (index: number, part: string) => `#origins-list li:nth-child(${index}) ${part}`
      yield* dashboard.says(origin(1, ".node b"), "https://media.example.org/")
      yield* dashboard.says(origin(1, ".node-state"), "Up")
      yield* dashboard.says(origin(1, ".figures"), "first byte after 41 ms")
      yield* dashboard.says(origin(2, ".node-state"), "Down")
      yield* dashboard.says(origin(2, ".figures"), /^since .*: no connection$/)
      yield* dashboard.says(origin(3, ".node-state"), "Not asked yet")
      yield* dashboard.says(origin(3, ".figures"), "")
      stage.show(() => sceneAt(FULL.to + 1))
      yield* dashboard.says(origin(2, ".node-state"), "Slow: others of its route are asked first")
    }))

  it.live("shows as many as one can look at, and says how many there are", () =>
    Effect.gen(function*() {
      const stage = yield* makeEmptyStage
      const dashboard = yield* openDashboard(yield* startBrowser(chromiumPath!), at(stage))
      const scene = sceneAt(3)
      const times = <A>(f: (name: string) => A) => Array.from({ length: 500 }, (_, index) => f(String(index)))
      stage.show(() => ({
        ...scene,
        status: {
          ...scene.status,
          streams: 2345,
          origins: times((url) => ({ ...scene.status.origins[0]!, url }))
        },
        streams: times((id) => ({ ...scene.streams[0]!, id, resource: id })),
        failures: times((url) => ({ ...scene.failures[0]!, url })),
        resources: times((resource) => ({ ...scene.resources[0]!, resource })),
        fleet: { ...scene.fleet!, nodes: times((name) => ({ ...scene.fleet!.nodes[0]!, name })) }
      }))
      yield* dashboard.says("#streams-more", "and 2\u202f295 more")
      yield* dashboard.says("#failures-more", "and 492 more")
      yield* dashboard.says("#maps-more", "and 488 more")
      yield* dashboard.says("#nodes-more", "and 450 more")
      yield* dashboard.says("#origins-more", "and 450 more")
      const count = (selector: string) => dashboard.evaluate(`document.querySelectorAll("${selector}").length`)
      assert.deepStrictEqual([yield* count("#streams > li"), yield* count("#failures li"), yield* count("canvas")], [
        50,
        8,
        13
      ])
      // And those go that are over.
      stage.show(() => ({ ...scene, streams: [], failures: [], resources: [] }))
      yield* Effect.promise(() => dashboard.page.locator("#failures-none").waitFor())
      assert.deepStrictEqual([yield* count("#streams > li"), yield* count("#failures li"), yield* count("canvas")], [
        0,
        0,
        1
      ])
    }))

  it.live("groups the streams by file, and folds many of them away", () =>
    Effect.gen(function*() {
      const stage = yield* makeEmptyStage
      const dashboard = yield* openDashboard(yield* startBrowser(chromiumPath!), at(stage))
      const scene = sceneAt(3)
      const stream = { ...scene.streams[0]!, resource: "many", bytesPerSecond: 1024 ** 2 }
      const many = Array.from({ length: 49 }, (_, index) => ({ ...stream, id: `many ${index}` }))
      const one = { ...stream, id: "one", resource: "one", url: "https://media.example.org/one" }
      stage.show(() => ({ ...scene, streams: [one, ...many], status: { ...scene.status, streams: 50 } }))
      yield* dashboard.says("#streams > li:first-child .figures", "49 streams, 49.0 MiB/s")
      yield* dashboard.says("#streams > li:nth-child(2) .figures", "1 stream, 1.00 MiB/s")
      const shown = (index: number) => dashboard.page.locator(`#streams > li:nth-child(${index}) ul li`)
      assert.isFalse(yield* Effect.promise(() => shown(1).first().isVisible()))
      assert.isTrue(yield* Effect.promise(() => shown(2).first().isVisible()))
      yield* Effect.promise(() => dashboard.page.locator("#streams summary").first().press("Enter"))
      assert.isTrue(yield* Effect.promise(() => shown(1).first().isVisible()))
      assert.strictEqual(yield* Effect.promise(() => shown(1).count()), 20)
      yield* dashboard.says("#streams > li:first-child .more", "and 29 more")
      assert.deepStrictEqual(yield* dashboard.violations, [])
    }))

  it.live("says when the cache is too small, and when it will be full", () =>
    Effect.gen(function*() {
      const stage = yield* makeEmptyStage
      const dashboard = yield* openDashboard(yield* startBrowser(chromiumPath!), at(stage))
      const { status } = sceneAt(3)
      const trend = (
        ...marks: ReadonlyArray<readonly [at: number, evictions: number, bytes: number, state?: "unusable"]>
      ) =>
        dashboard.evaluate<{ readonly evictedPerSecond: number; readonly keptPerSecond: number }>(
          `import("./assets/trend.js").then(({ makeTrend }) => {
            const { add } = makeTrend()
            return ${JSON.stringify(marks)}.map(([at, evictions, bytes, state = "usable"]) =>
              add(at, { cache: { bytes, state }, totals: { evictions } })).at(-1)
          })`
        )
      assert.deepStrictEqual(yield* trend([0, 0, 0], [5, 10, 10]), { evictedPerSecond: 0, keptPerSecond: 0 })
      assert.deepStrictEqual(yield* trend([0, 0, 0], [20, 10, 40]), { evictedPerSecond: 0.5, keptPerSecond: 2 })
      // Only the last minute counts, and a restarted server counts from 0.
      assert.deepStrictEqual(yield* trend([0, 0, 0], [40, 40, 0], [100, 40, 0]), {
        evictedPerSecond: 0,
        keptPerSecond: 0
      })
      assert.deepStrictEqual(yield* trend([0, 90, 90], [10, 0, 0], [20, 10, 0]), {
        evictedPerSecond: 1,
        keptPerSecond: 0
      })
      // Nor does what was removed for a disk that others have filled.
      assert.deepStrictEqual(
        yield* trend([0, 0, 90], [5, 90, 0, "unusable"], [20, 90, 0, "unusable"], [21, 90, 0], [31, 90, 10]),
        {
          evictedPerSecond: 0,
          keptPerSecond: 10 / 11
        }
      )
      const told = (trend: { readonly evictedPerSecond: number; readonly keptPerSecond: number }, bytes = 0) =>
        dashboard.evaluate<string>(
          `import("./assets/state.js").then(({ showStatus }) => {
            const status = ${
            JSON.stringify({ ...status, cache: { ...status.cache, bytes, maxBytes: 1e9, chunks: 600 } })
          }
            showStatus(status, status.totals, undefined, ${JSON.stringify(trend)})
            return document.getElementById("state-text").textContent
          })`
        )
      assert.match(
        yield* told({ evictedPerSecond: 2, keptPerSecond: 0 }, 0.95e9),
        /^The cache is too small for what is being watched.* Raise max-size\.$/
      )
      assert.match(yield* told({ evictedPerSecond: 2, keptPerSecond: 0 }, 0.5e9), / Free space on its disk\.$/)
      assert.match(yield* told({ evictedPerSecond: 0.5, keptPerSecond: 0 }), /^What viewers watch is kept\./)
      assert.match(
        yield* told({ evictedPerSecond: 0, keptPerSecond: 1e5 }),
        / At this rate the cache is full within 3 hours\.$/
      )
    }))

  it.live("lists the files again 10 s after the last time if their number has changed", () =>
    Effect.gen(function*() {
      const stage = yield* makeEmptyStage
      const dashboard = yield* openDashboard(yield* startBrowser(chromiumPath!), at(stage))
      yield* dashboard.says("#link", "Live")
      const requests = yield* dashboard.evaluate(`import("./assets/cache.js").then(({ noteFiles }) => {
        const { fetch } = window
        const { now } = Date
        const start = now()
        /** How many requests are sent for that number of files, so many seconds later. */
        const note = (resources, seconds) => {
          let sent = 0
          window.fetch = (...args) => {
            sent++
            return fetch(...args)
          }
          Date.now = () => start + seconds * 1000
          noteFiles({ cache: { resources } })
          return sent
        }
        const sent = [note(1001, 60), note(1001, 90), note(1002, 69), note(1002, 71)]
        Object.assign(window, { fetch })
        Object.assign(Date, { now })
        return sent
      })`)
      assert.deepStrictEqual(requests, [1, 0, 0, 1])
    }))

  it.live("can be used by keyboard, and tells of changes of state alone", () =>
    Effect.gen(function*() {
      const stage = yield* makeEmptyStage
      const dashboard = yield* openDashboard(yield* startBrowser(chromiumPath!), at(stage))
      yield* dashboard.says("#link", "Live")
      yield* Effect.promise(() => dashboard.page.keyboard.press("Tab"))
      assert.strictEqual(yield* dashboard.evaluate("document.activeElement.className"), "skip")
      assert.strictEqual(yield* dashboard.evaluate("getComputedStyle(document.activeElement).outlineStyle"), "solid")
      yield* Effect.promise(() => dashboard.page.keyboard.press("Enter"))
      assert.strictEqual(yield* dashboard.evaluate("document.activeElement.id"), "main")
      // The browser was told to move as little as can be.
      assert.strictEqual(
        yield* dashboard.evaluate("getComputedStyle(document.querySelector('.meter i')).transitionDuration"),
        "0s"
      )
      const changes = `new Promise((resolve) => {
        const live = [...document.querySelectorAll("[aria-live]")]
        let changes = 0
        const observer = new MutationObserver((records) => changes += records.length)
        for (const element of live) observer.observe(element, { characterData: true, childList: true, subtree: true })
        setTimeout(() => resolve([live.length, changes]), 1000)
      })`
      // A first word of this scene may say something new; what follows says the same, with other figures.
      stage.show(() => sceneAt(5))
      yield* dashboard.says("#hit-rate-of", /^18.239 of/)
      let second = 5
      stage.show(() => sceneAt(second++ % 30 + 5))
      assert.deepStrictEqual(yield* dashboard.evaluate(changes), [1, 0])
      stage.show(() => sceneAt(FULL.from))
      yield* dashboard.says("#state-title", "Passing through")
    }))

  it.live("remembers an hour, and knows what it has missed", () =>
    Effect.gen(function*() {
      const stage = yield* makeEmptyStage
      const dashboard = yield* openDashboard(yield* startBrowser(chromiumPath!), at(stage))
      /** Adds samples of 100 bytes each second, from one to another: what is known then. */
      const remembered = (
        spans: ReadonlyArray<readonly [from: number, to: number, startedAt: string]>,
        past: ReadonlyArray<number> = []
      ) =>
        dashboard.evaluate<{ readonly samples: ReadonlyArray<readonly [number, number | null]>; readonly sum: number }>(
          `import("./assets/history.js").then(({ makeHistory }) => {
            const { add, samples, setPast, sums } = makeHistory()
            const bytesPerSecond = { memory: 1, disk: 2, peer: 0, origin: 0, passthrough: 0 }
            setPast(${
            JSON.stringify(past)
          }.map((at) => ({ at: new Date(at * 1000), bytesPerSecond, cache: "unusable" })))
            for (const [from, to, startedAt] of ${JSON.stringify(spans)}) {
              for (let at = from; at <= to; at++) {
                const bytes = { memory: 40 * at, disk: 60 * at, peer: 0, origin: 0, passthrough: 0 }
                add(startedAt === "later" ? at + 100 : at, { bytes }, startedAt)
              }
            }
            return { samples: samples().map(({ at, cached }) => [at, cached]), sum: sums().cached }
          })`
        )
      const long = yield* remembered([[0, 2000, ""]])
      assert.deepStrictEqual([long.samples.length, long.samples[0], long.sum], [601, [1400, 100], 60_100])
      // A silence is a gap before what has come of it.
      assert.deepStrictEqual((yield* remembered([[0, 1, ""], [9, 10, ""]])).samples, [[1, 100], [1, null], [9, 100], [
        10,
        100
      ]])
      // The server knows what was before the page was opened. An hour is shown.
      const { samples } = yield* remembered([[9000, 9002, ""]], [5401, 5402, 5410, 9001])
      assert.deepStrictEqual(samples, [[5402, 3], [5410, 3], [9001, 100], [9002, 100]])
      // A restarted server counts from 0.
      assert.deepStrictEqual(
        (yield* remembered([[0, 1, ""], [0, 2, "later"]])).samples,
        [[1, 100], [1, null], [101, 100], [102, 100]]
      )
    }))

  it.live("is entered by the token where there is one", () =>
    Effect.gen(function*() {
      const token = "correct-horse-battery-staple"
      const proxy = yield* Effect.provide(makeTestProxy(), ServerConfig.layer({ adminToken: token }))
      const stage = yield* makeStage(proxy.url, EVERY_MILLIS)
      const dashboard = yield* openDashboard(yield* startBrowser(chromiumPath!), at(stage), {
        width: 360,
        height: 740,
        colorScheme: "dark"
      })
      const logIn = (text: string) =>
        Effect.promise(async () => {
          await dashboard.page.getByLabel("Admin token").fill(text)
          await dashboard.page.getByRole("button", { name: "Log in" }).click()
        })
      assert.deepStrictEqual(yield* dashboard.violations, [])
      yield* dashboard.picture("login")
      yield* logIn("wrong")
      yield* dashboard.says("[role=alert]", "That is not the token.")
      yield* logIn(token)
      yield* dashboard.says("#link", "Live")
      assert.deepStrictEqual(yield* dashboard.evaluate<Array<string>>(misplaced), [])
      // Scripts cannot have it.
      assert.strictEqual(yield* dashboard.evaluate("document.cookie"), "")
      yield* Effect.promise(() => dashboard.page.getByRole("button", { name: "Log out" }).click())
      yield* dashboard.says("h1", "Spillway")
      yield* Effect.promise(() => dashboard.page.getByLabel("Admin token").waitFor())
      yield* Effect.promise(() => dashboard.page.reload())
      yield* Effect.promise(() => dashboard.page.getByLabel("Admin token").waitFor())
    }))
})

describe.skipIf(chromiumPath === undefined)("The dashboard before the sample origin", () => {
  it.live("plays the sample, and shows where it comes from", () =>
    Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      const program = yield* startProgram(["--cache-dir", directory, "--min-free", "0"], { command: "demo" })
      const dashboard = yield* openDashboard(yield* startBrowser(chromiumPath!), `${program.url}/_spillway/`)
      yield* dashboard.evaluate("document.querySelector('#sample video').play()")
      yield* eventually(
        "a second of the sample",
        dashboard.evaluate("document.querySelector('#sample video').currentTime > 1")
      )
      yield* dashboard.says("#fetched-of", /^[1-9]/)
      assert.deepStrictEqual(yield* dashboard.evaluate<Array<string>>(misplaced), [])
      assert.deepStrictEqual(yield* dashboard.violations, [])
      yield* dashboard.picture("sample")
      assert.deepStrictEqual(dashboard.complaints, [])
      const elsewhere = dashboard.requests.filter((url) => !url.startsWith(`${program.url}/_spillway/`))
      assert.deepStrictEqual([...new Set(elsewhere)], [`${program.url}/sample.mp4`])
    }))
})

if (noDisks !== undefined) process.stderr.write(`skipped: ${noDisks}\n`)

describe.skipIf(chromiumPath === undefined || noDisks !== undefined)("The dashboard of the real program", () => {
  it.live(
    "lists what is cached, and pins, maps, purges and fetches it ahead by keyboard",
    () =>
      Effect.gen(function*() {
        const origin = yield* makeTestOrigin
        for (const [index, path] of ["/films/a.mp4", "/films/b.mp4", "/music/c.flac"].entries()) {
          origin.files.set(path, fileOf(MiB, index))
        }
        const program = yield* startProgram([origin.url, "--cache-dir", yield* temporaryDirectory, "--min-free", "0"])
        for (const path of ["/films/a.mp4", "/music/c.flac"]) yield* view(program.url + path)
        yield* eventually(
          "both files",
          Effect.map(
            ask(program.url, "/_spillway/api/resources"),
            ({ body }) => JSON.parse(body.toString()).total === 2
          )
        )
        const dashboard = yield* openDashboard(yield* startBrowser(chromiumPath!), `${program.url}/_spillway/`)
        const { page } = dashboard
        yield* dashboard.says("#cache-count", "2")
        const press = (name: string) =>
          Effect.promise(() => page.getByRole("button", { name, exact: true }).press("Enter"))

        yield* Effect.promise(() => page.getByLabel("URL or path begins with").fill("/films/"))
        yield* press("Search")
        yield* dashboard.says("#cache-count", "1")
        yield* dashboard.says("#cache-list .what", "/films/a.mp4")
        yield* dashboard.says("#cache-list .figures span:first-child", "1.00 MiB of 1.00 MiB, 100 %")
        yield* press("Map: /films/a.mp4")
        yield* dashboard.says("#cache-list .map p", "100 % cached: 1.00 MiB of 1.00 MiB in 1 chunk")
        yield* press("Pin: /films/a.mp4")
        yield* dashboard.says("#cache-list .figures span:last-child", /^pinned/)
        yield* press("Unpin: /films/a.mp4")
        yield* dashboard.says("#cache-says", "/films/a.mp4 may be evicted again")
        yield* press("Purge: /films/a.mp4")
        assert.strictEqual(yield* dashboard.textOf("#cache-count"), "1")
        yield* press("Really purge: /films/a.mp4")
        yield* dashboard.says("#cache-says", "Purged /films/a.mp4")
        yield* dashboard.says("#cache-none", "Nothing that is cached begins like this.")

        yield* Effect.promise(() => page.getByLabel("URL or path", { exact: true }).fill("/films/b.mp4"))
        yield* press("Fetch")
        yield* dashboard.says("#jobs .figures", "done, 1.00 MiB of 1.00 MiB, 100 %")
        yield* Effect.promise(() => page.getByLabel("URL or path", { exact: true }).fill("not a url"))
        yield* press("Fetch")
        yield* dashboard.says("#warm-says", /./)
        assert.deepStrictEqual(yield* dashboard.evaluate<Array<string>>(misplaced), [])
        assert.deepStrictEqual(yield* dashboard.violations, [])
        yield* dashboard.picture("cache")
      })
  )

  it.live("purges by beginning, tag or everything, softly or not, after it has said what goes", () =>
    Effect.gen(function*() {
      const token = "correct-horse-battery-staple"
      const origin = yield* makeTestOrigin
      const paths = ["/films/a.mp4", "/films/b.mp4", "/music/c.flac", "/music/d.flac"]
      for (const [index, path] of paths.entries()) {
        const headers = { "cache-control": "max-age=3600", ...(path === "/films/b.mp4" && { "cache-tag": "show-1" }) }
        origin.files.set(path, { ...fileOf(MiB, index), headers })
      }
      const program = yield* startProgram([origin.url, "--cache-dir", yield* temporaryDirectory, "--min-free", "0"], {
        env: { SPILLWAY_ADMIN_TOKEN: token }
      })
      for (const path of paths) yield* view(program.url + path)
      const headers = { authorization: `Bearer ${token}` }
      const cached = Effect.map(
        ask(program.url, "/_spillway/api/resources", { headers }),
        ({ body }) => JSON.parse(body.toString()) as { readonly resources: ReadonlyArray<ResourceSummary> }
      )
      const holds = (what: string, test: (resources: ReadonlyArray<ResourceSummary>) => boolean) =>
        eventually(what, Effect.map(cached, ({ resources }) => test(resources)))
      yield* holds("all files", ({ length }) => length === paths.length)

      const dashboard = yield* openDashboard(yield* startBrowser(chromiumPath!), `${program.url}/_spillway/`, {
        width: 360,
        height: 740,
        colorScheme: "dark"
      })
      const { page } = dashboard
      yield* Effect.promise(async () => {
        await page.getByLabel("Admin token").fill(token)
        await page.getByRole("button", { name: "Log in" }).click()
      })
      // The page is loaded again. Before its scripts have run, its forms do nothing.
      yield* dashboard.says("#cache-count", "4")
      const form = page.getByRole("form", { name: "Purge" })
      const question = page.getByRole("dialog", { name: "Purge these files?" })
      /** Fills the form and sends it, all by keyboard: the question that follows. */
      const want = (by: string, text?: string) =>
        Effect.promise(async () => {
          await form.getByLabel("Files by").selectOption({ label: by })
          if (text !== undefined) await form.getByRole("textbox").fill(text)
          await form.getByRole("button", { name: "Purge…" }).press("Enter")
          await question.waitFor()
          return await question.innerText()
        })
      const key = (name: string) => Effect.promise(() => page.keyboard.press(name))

      assert.match(
        yield* want("beginning of URL or path", "/music/"),
        /\n2 cached files, 2\.0\d MiB, whose URL begins with “\/music\/”\.\n/
      )
      assert.strictEqual(
        yield* dashboard.evaluate("document.getElementById('purge-dialog').getAttribute('aria-describedby')"),
        "purge-what purge-then"
      )
      assert.deepStrictEqual(yield* dashboard.violations, [])
      assert.deepStrictEqual(yield* dashboard.evaluate<Array<string>>(misplaced), [])
      yield* dashboard.picture("purge", { fullPage: false })
      // The focus is on what changes nothing.
      assert.strictEqual(yield* dashboard.evaluate("document.activeElement.textContent"), "Cancel")
      yield* key("Enter")
      yield* dashboard.says("#purge-says", "Nothing was purged")
      assert.strictEqual(yield* dashboard.evaluate("document.activeElement.textContent"), "Purge…")
      yield* want("beginning of URL or path", "/music/")
      yield* key("Escape")
      yield* dashboard.says("#purge-says", "Nothing was purged")
      assert.lengthOf((yield* cached).resources, 4)

      yield* Effect.promise(() => form.getByLabel("Only mark as stale").press("Space"))
      assert.match(
        yield* want("tag", "show-1"),
        /\n1 cached file, 1\.0\d MiB, with the tag “show-1” in Surrogate-Key or Cache-Tag\.\n+They are marked as stale/
      )
      yield* key("Tab")
      yield* key("Enter")
      yield* dashboard.says("#purge-says", "Marked as stale")
      const stale = ({ fresh, url }: ResourceSummary) => fresh ? [] : [new URL(url).pathname]
      yield* holds(
        "one stale file",
        (resources) => resources.length === 4 && resources.flatMap(stale).join() === "/films/b.mp4"
      )

      yield* Effect.promise(() => form.getByLabel("Only mark as stale").press("Space"))
      assert.include(yield* want("beginning of URL or path", "/music/"), "They are never served again")
      yield* key("Tab")
      yield* key("Enter")
      yield* dashboard.says("#purge-says", /^Purged: 2 files removed, 2\.0\d MiB$/)
      yield* dashboard.says("#cache-count", "2")

      assert.match(yield* want("nothing: all files"), /\nEverything: 2 cached files, 2\.0\d MiB\.\n/)
      assert.isFalse(yield* Effect.promise(() => form.locator("#purge-text").isVisible()))
      yield* key("Tab")
      yield* key("Enter")
      yield* dashboard.says("#purge-says", /^Purged: 2 files removed, 2\.0\d MiB$/)
      yield* dashboard.says("#cache-count", "0")
      assert.deepStrictEqual(yield* dashboard.violations, [])
    }))

  it.live("shows the configuration in effect, also after it is read again", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const directory = yield* temporaryDirectory
      const file = join(directory, "spillway.toml")
      const write = (more: string, read: string) =>
        writeFileSync(
          file,
          `cache-dir = "${
            join(directory, "cache")
          }"\n${more}\n[[route]]\nmatch = "/films"\norigin = "${origin.url}"\nread-ahead = "${read}"\n` +
            `[route.request-fields]\nset = { x-own-token = "secret-4f9a" }\n`
        )
      write("max-streams = 5", "64MiB")
      const program = yield* startProgram(["--config", file, "--min-free", "0"], { env: { SPILLWAY_MEMORY: "64MiB" } })
      const dashboard = yield* openDashboard(yield* startBrowser(chromiumPath!), `${program.url}/_spillway/`, {
        width: 360,
        height: 740,
        colorScheme: "dark"
      })
      const { page } = dashboard
      const card = page.getByRole("region", { name: "Configuration" })
      const says = (name: string, text: string) =>
        eventually(
          `${name}: ${text}`,
          Effect.promise(async () =>
            (await card.getByRole("row").filter({ hasText: name }).allInnerTexts()).some((row) =>
              row.replace(/\s+/g, " ") === `${name} ${text}`
            )
          )
        )
      yield* says("max-streams", "5 file")
      yield* says("memory", "64MiB variable")
      yield* says("min-free", "0B flag")
      yield* dashboard.says("#routes .route", /^\/films\s+file$/)
      yield* dashboard.says("#routes dl", new RegExp(`origin\\s+${origin.url}/\\s+read-ahead\\s+64MiB\\s`))
      yield* dashboard.says("#routes dl", /x-own-token\s+\(secret\)$/)
      assert.notInclude(yield* dashboard.textOf("#config-card"), "max-size")
      yield* Effect.promise(() => card.locator("summary").press("Enter"))
      yield* says("max-size", "10GiB")

      write("max-streams = 6", "1MiB")
      const readAgain = Effect.promise(() => card.getByRole("button", { name: "Read again" }).press("Enter"))
      yield* readAgain
      yield* dashboard.says("#config-says", "1 route in effect. After a restart: max-streams")
      yield* says("max-streams", "5 6 after a restart file")
      yield* dashboard.says("#routes dl", /read-ahead\s+1MiB\s/)
      assert.deepStrictEqual(yield* dashboard.evaluate<Array<string>>(misplaced), [])
      assert.deepStrictEqual(yield* dashboard.violations, [])
      yield* dashboard.picture("configuration")

      write("max-streams = []", "1MiB")
      yield* readAgain
      yield* dashboard.says("#config-says", /spillway.toml:2: max-streams: /)
      assert.deepStrictEqual(yield* dashboard.evaluate<Array<string>>(misplaced), [])
    }))

  it.live("shows how a stream goes round a disk that is full, and back", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const film = fileOf(36 * MiB, 1, { rate: 2 * MiB })
      origin.files.set("/films/the-long-river.mp4", film)
      origin.files.set("/music/quintet.flac", fileOf(20 * MiB, 2))
      const disk = yield* makeDisk(64 * MiB)
      const flags = ["--chunk-size", "256KiB", "--min-free", "0", "--memory", "0", "--read-deadline", "10s"]
      const program = yield* startProgram([origin.url, "--cache-dir", disk.mountPoint, ...flags], {
        prefix: disk.prefix
      })
      yield* view(`${program.url}/music/quintet.flac`)
      const dashboard = yield* openDashboard(yield* startBrowser(chromiumPath!), `${program.url}/_spillway/`)
      yield* dashboard.says("#state-title", "Caching")
      yield* dashboard.says("#failures-none", "None since the start.")

      const rest = yield* Effect.forkChild((yield* openView(`${program.url}/films/the-long-river.mp4`)).rest)
      const first = "#streams > li:first-child"
      yield* dashboard.says(`${first} .what`, "/films/the-long-river.mp4")
      yield* dashboard.says(`${first} .source`, "Origin")
      yield* dashboard.says("#now-origin", /^\d.* MiB\/s$/)
      const map = "#maps .map:first-child p"
      yield* dashboard.says(map, /^[1-9]\S* % cached: .* of 36.0 MiB in 144 chunks, 1 viewer in it$/)
      // One who has come to what is cached, and stays there.
      const listener = yield* openView(`${program.url}/music/quintet.flac`)
      yield* listener.readTo(MiB)
      yield* dashboard.says("#streams > li:nth-child(2) .source", "Disk")
      assert.match(yield* dashboard.textOf("#streams-count"), /^2$/)

      yield* Effect.scoped(Effect.gen(function*() {
        yield* takeAllRoom(insideOf(program, disk.mountPoint))
        yield* dashboard.says("#state-title", "Passing through")
        assert.match(
          yield* dashboard.textOf("#state-text"),
          /^The disk is full \(ENOSPC, \w+\) since \d\d:\d\d:\d\d\. /
        )
        yield* dashboard.says(`${first} .source`, "Passthrough, the disk is full")
        yield* dashboard.says("#gauge .disk-state", "Hardly any room left")
        yield* dashboard.says("#now-passthrough", /^\d.* MiB\/s$/)
        yield* dashboard.says("#failures li:first-child .kind b", "Disk full")
        yield* dashboard.says("#failures li:first-child .recovery", /^Not over yet/)
        yield* dashboard.picture("program-failing")
      }))
      yield* dashboard.says("#state-title", "Caching")
      yield* dashboard.says(`${first} .source`, "Origin")
      yield* dashboard.says("#failures li:first-child .recovery", /^Recovered by itself after/)
      yield* dashboard.says("#now-passthrough", "0 B/s")
      assert.deepStrictEqual(yield* dashboard.evaluate<Array<string>>(misplaced), [])
      assert.deepStrictEqual(yield* dashboard.violations, [])
      yield* dashboard.picture("program-recovered")

      // Nobody noticed.
      assert.strictEqual((yield* Fiber.join(rest)).sha256, sha256(film.bytes))
      yield* listener.rest
      yield* dashboard.says("#streams-count", "0")
      assertQuiet(dashboard, program.url)
      yield* program.stop()
      yield* dashboard.says("#state-title", "No answer from the server")
    }))
})
