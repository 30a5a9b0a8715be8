import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { execFile } from "node:child_process"
import * as Fs from "node:fs"
import { FleetView, type Status } from "../../src/http/admin/api/model.ts"
import { control } from "../http/api/Control.ts"
import { ask } from "../http/TestProxy.ts"
import { asStranger, type Node, startFleet, watch } from "../support/fleetPrograms.ts"
import { eventually, main } from "../support/Program.ts"
import { fileOf, makeTestOrigin, MiB } from "../support/TestOrigin.ts"

const api = ({ url }: Node) => control({ ask: (path, options) => ask(url, path, options) })

const viewOf = (node: Node) => api(node).get<FleetView>("/fleet")

const run = (node: Node, ...args: ReadonlyArray<string>): Effect.Effect<string> =>
  Effect.callback((resume) => {
    const env = { ...process.env, SPILLWAY_SERVER: node.url, NO_COLOR: "1" }
    const child = execFile(process.execPath, [main, ...args], { env }, (_, stdout) => resume(Effect.succeed(stdout)))
    return Effect.sync(() => child.kill("SIGKILL"))
  })

/** A patience with silent nodes that is much longer than the second that a view waits for their reports. */
const PATIENT = ["--peer-patience", "12s"]

describe("what a node shows of its fleet", () => {
  it.live(
    "has a report of each node that responds, by the API, the commands and the events",
    () =>
      Effect.gen(function*() {
        const origin = yield* makeTestOrigin
        origin.files.set("/film", fileOf(8 * MiB, 1))
        const { nodes, settled } = yield* startFleet({ origin, args: PATIENT })
        const [n1, , n3] = nodes as [Node, Node, Node]
        yield* settled(2)
        const { isWhole } = yield* watch(`${n1.url}/film`)
        assert.isTrue(isWhole)
        const held = ({ nodes }: FleetView) => nodes.reduce((sum, { report }) => sum + (report?.cache.bytes ?? 0), 0)
        // A node that reports too late is without a report in one view.
        let view = yield* viewOf(n1)
        const shows = (...reports: ReadonlyArray<boolean>) =>
          Effect.map(viewOf(n1), (next) => {
            view = next
            return view.nodes.every(({ report }, i) => (report !== undefined) === reports[i])
          })
        yield* eventually(
          "the film on the disks",
          Effect.map(shows(true, true, true), (isWhole) => isWhole && held(view) >= 8 * MiB)
        )

        const { engine, nodes: seen } = view
        assert.deepStrictEqual(engine, { name: "list", up: true })
        assert.deepStrictEqual(
          seen.map(({ address, name, state }) => [name, address, state]),
          nodes.map(({ name, peerPort }, i) => [name, `127.0.0.1:${peerPort}`, i === 0 ? "self" : "here"])
        )
        const [own, ...others] = seen.map(({ report }) => report!.peers)
        assert.isAbove(own!.requests, 0)
        const asked = seen.reduce((sum, { report }) => sum + report!.peers.requests, 0)
        assert.strictEqual(seen.reduce((sum, { report }) => sum + report!.peers.served, 0), asked)
        // The others also send headers, and their reports.
        const sent = others.reduce((sum, { sentBytes }) => sum + sentBytes, 0)
        assert.isAbove(own!.receivedBytes, MiB - 1)
        assert.isAtLeast(sent, own!.receivedBytes)
        assert.isBelow(sent, own!.receivedBytes + MiB)

        const status = yield* api(n1).get<Status>("/status")
        assert.deepStrictEqual(status.fleet, {
          node: "n1",
          engine: { name: "list", up: true },
          peers: { here: 2, lost: 0, leaving: 0, different: 0 }
        })
        assert.match(yield* run(n1, "status"), /^fleet +node n1, 2 other nodes, by list$/m)
        const table = yield* run(n1, "fleet")
        assert.match(
          table,
          /^n1 +127\.0\.0\.1:\d+ +1 +this node +\d+ (?:min|s)(?: \d+ s)? +\S+ +[\d.]+ \w+ of 10 GiB /m
        )
        assert.match(table, /^n3 +127\.0\.0\.1:\d+ +1 +here /m)
        assert.match(table, /^3 nodes, by list$/m)

        assert.strictEqual((yield* asStranger(n1, { path: "/_spillway/peer/report" })).status, 403)

        n3.program.process.kill("SIGSTOP")
        yield* Effect.addFinalizer(() => Effect.sync(() => n3.program.process.kill("SIGCONT")))
        yield* eventually("the other reports", shows(true, true, false))
        // It came before n3 was taken for lost.
        assert.strictEqual(view.nodes[2]!.state, "here")
        yield* eventually("n3 lost", Effect.map(viewOf(n1), ({ nodes }) => nodes[2]!.state === "lost"))
        assert.match(yield* run(n1, "fleet"), /^n3 +127\.0\.0\.1:\d+ +1 +lost( +-){8}$/m)
        assert.match(yield* run(n1, "status"), /^fleet +node n1, 1 other node, 1 lost, by list$/m)
        assert.match(
          yield* run(n1, "purge", "--all"),
          /^purged; files are removed in the background; not confirmed by n3$/m
        )
      })
  )

  it("is of the form in docs/reference/api.md", () => {
    const page = Fs.readFileSync(new URL("../../docs/reference/api.md", import.meta.url), "utf8")
    const [, example] = /```json\n(\{\n {2}"engine"[^]*?)\n```/.exec(page)!
    const view = Schema.decodeUnknownSync(FleetView, { onExcessProperty: "error" })(JSON.parse(example!))
    assert.lengthOf(view.nodes, 2)
  })
})
