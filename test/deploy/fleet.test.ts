import { assert, describe, it } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import * as Fs from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { parseEngine } from "../../src/domain/FleetEngine.ts"
import { find, run } from "../support/command.ts"
import { temporaryDirectory } from "../support/disks.ts"
import { makeRedis, metric, type Node, noRedis, watch } from "../support/fleetPrograms.ts"
import { freePort } from "../support/freePort.ts"
import { eventually, type ProgramFailed, startProgram } from "../support/Program.ts"
import { fileOf, makeTestOrigin, MiB, sha256, type TestOrigin } from "../support/TestOrigin.ts"

/** The recipes of `deploy/fleet`: real programs get the settings that are in them, but for addresses, directories and the secret. */

const read = (name: string): string =>
  Fs.readFileSync(fileURLToPath(new URL(`../../deploy/fleet/${name}`, import.meta.url)), "utf8")

const kubectl = find("kubectl")

type Settings = Readonly<Record<string, string>>

/** The settings of a recipe by name, in each of the three notations. Those that come from elsewhere are the text that says from where. */
const settingsIn = (text: string): Settings =>
  Object.fromEntries(
    [
      ...text.matchAll(/^ *(SPILLWAY_\w+): (.+)$/gm),
      ...text.matchAll(/^(SPILLWAY_\w+)=(.+)$/gm),
      ...text.matchAll(/name: (SPILLWAY_\w+)(?:,|\n *)\s*value(?:From)?: "?(.+?)"?(?: \})?$/gm)
    ].map(([, name, value]) => [name!, value!])
  )

const recipes: Readonly<Record<string, Settings>> = {
  compose: settingsIn(read("compose.yaml")),
  systemd: settingsIn(read("spillway.env")),
  kubernetes: settingsIn(read("kubernetes.yaml"))
}

const SECRET = "the-secret-of-a-fleet-that-only-tests-have"

/** Starts a node as a recipe has it. */
const startNode = Effect.fnUntraced(function*(
  settings: Settings,
  { engine, name, origin, peerPort }: {
    readonly name: string
    readonly peerPort: number
    readonly origin: TestOrigin
    readonly engine: string
  }
): Effect.fn.Return<string, ProgramFailed, Scope.Scope> {
  const env = {
    ...settings,
    SPILLWAY_ORIGIN: origin.url,
    SPILLWAY_MAX_SIZE: "1GiB",
    SPILLWAY_HOST: "127.0.0.1",
    SPILLWAY_FLEET: engine,
    SPILLWAY_FLEET_SECRET: SECRET,
    SPILLWAY_NODE: name,
    SPILLWAY_PEER_HOST: "127.0.0.1",
    SPILLWAY_PEER_PORT: String(peerPort),
    SPILLWAY_ADMIN_TOKEN: ""
  }
  const { url } = yield* startProgram(["--cache-dir", yield* temporaryDirectory, "--min-free", "0"], { env })
  return url
})

/** Waits until each node uses both others, and reads a file at all of them: it comes from the origin once. */
const actsAsOne = Effect.fnUntraced(function*(urls: ReadonlyArray<string>, origin: TestOrigin) {
  for (const url of urls) {
    yield* eventually(
      "two other nodes",
      Effect.map(metric({ url } as Node, "spillway_fleet_peers{state=\"here\"}"), (here) => here === 2)
    )
  }
  const film = fileOf(8 * MiB, 1)
  origin.files.set("/film", film)
  origin.reset()
  const seen = yield* Effect.all(urls.map((url) => watch(`${url}/film`)), { concurrency: "unbounded" })
  for (const { sha256: hash, status } of seen) {
    assert.deepStrictEqual({ status, hash }, { status: 200, hash: sha256(film.bytes) })
  }
  assert.strictEqual(origin.bodyBytes(), film.bytes.length)
})

describe("the recipes of a fleet", () => {
  it.each(Object.entries(recipes))("%s: need a secret, and have no setting that is not one", (_, settings) => {
    const table = Fs.readFileSync(fileURLToPath(new URL("../../README.md", import.meta.url)), "utf8")
    const known = new Set(
      [...table.matchAll(/^\| .*?`(SPILLWAY_\w+)`/gm)].map(([, name]) => name!).concat("SPILLWAY_ORIGIN")
    )
    assert.isAtLeast(Object.keys(settings).length, 5)
    assert.deepStrictEqual(Object.keys(settings).filter((name) => !known.has(name)), [])
    assert.property(settings, "SPILLWAY_FLEET_SECRET")
    assert.isDefined(parseEngine(settings["SPILLWAY_FLEET"]!))
  })

  for (const recipe of ["compose", "systemd"]) {
    it.live.skipIf(noRedis !== undefined)(`${recipe}: makes a fleet with Redis`, () =>
      Effect.gen(function*() {
        const origin = yield* makeTestOrigin
        const redis = yield* makeRedis
        yield* redis.start
        assert.match(recipes[recipe]!["SPILLWAY_FLEET"]!, /^redis:\/\/[\w.]+:6379$/)
        const urls = yield* Effect.forEach(["n1", "n2", "n3"], (name) =>
          Effect.flatMap(freePort, (peerPort) =>
            startNode(recipes[recipe]!, { name, peerPort, origin, engine: redis.url })))
        yield* actsAsOne(urls, origin)
      }))
  }

  it.live("kubernetes: makes a fleet of the pods in its list", () =>
    Effect.gen(function*() {
      const origin = yield* makeTestOrigin
      const engine = recipes["kubernetes"]!["SPILLWAY_FLEET"]!
      const parsed = parseEngine(engine)
      const listed = parsed?._tag === "List" ? parsed.nodes : []
      const text = read("kubernetes.yaml")
      const replicas = Number(/replicas: (\d+)/.exec(text)![1])
      const [, service] = /serviceName: ([\w-]+)/.exec(text)!
      assert.deepStrictEqual(
        listed,
        Array.from(
          { length: replicas },
          (_, i) => ({ name: `spillway-${i}`, host: `spillway-${i}.${service}`, port: 8471 })
        )
      )
      const ports = yield* Effect.forEach(listed, () => freePort)
      const list = `list:${listed.map(({ name }, i) => `${name}=127.0.0.1:${ports[i]}`).join(",")}`
      const urls = yield* Effect.forEach(listed, ({ name }, i) =>
        startNode(recipes["kubernetes"]!, { name, peerPort: ports[i]!, origin, engine: list }))
      yield* actsAsOne(urls, origin)
    }))

  it.live.skipIf(kubectl === undefined)("kubernetes: is read by kubectl", () =>
    Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      Fs.writeFileSync(join(directory, "kubernetes.yaml"), read("kubernetes.yaml"))
      Fs.writeFileSync(join(directory, "kustomization.yaml"), "resources: [kubernetes.yaml]\n")
      const { code, stderr, stdout } = yield* run(kubectl!, ["kustomize", directory])
      assert.strictEqual(code, 0, stderr)
      const kinds = [...stdout.matchAll(/^kind: (\w+)$/gm)].map(([, kind]) => kind)
      assert.sameMembers(kinds, ["NetworkPolicy", "PodDisruptionBudget", "Service", "Service", "StatefulSet"])
    }))
})
