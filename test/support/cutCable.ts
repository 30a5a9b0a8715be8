import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Effect } from "effect"
import { execFileSync } from "node:child_process"
import { metric, startFleet, watch } from "./fleetPrograms.ts"
import { eventually } from "./Program.ts"
import { fileOf, makeTestOriginAt, MiB, sha256 } from "./TestOrigin.ts"

/**
 * A machine of its own, for `unshare --net --mount`: the node n3 is behind a cable, which is cut while viewers at n1 and n2 stream a file of
 * n3. Prints a line of JSON for each way to cut it.
 */

const FAR = "far"
const HOSTS: Record<string, string> = { origin: "10.9.0.9", n1: "10.9.0.1", n2: "10.9.0.2", n3: "10.9.0.3" }

const run = (command: string): void => {
  const [name, ...args] = command.split(" ")
  execFileSync(name!, args, { stdio: ["ignore", "ignore", "inherit"] })
}

const far = (command: string): void => run(`ip netns exec ${FAR} ${command}`)

const connect = (): void => {
  run("mount --make-rprivate /")
  run("mkdir -p /run/netns")
  run("mount -t tmpfs tmpfs /run/netns")
  run("ip link set lo up")
  run(`ip netns add ${FAR}`)
  run(`ip link add near0 type veth peer name far0 netns ${FAR}`)
  for (const host of ["origin", "n1", "n2"]) run(`ip addr add ${HOSTS[host]}/24 dev near0`)
  run("ip link set near0 up")
  far(`ip addr add ${HOSTS["n3"]}/24 dev far0`)
  far("ip link set far0 up")
  far("ip link set lo up")
}

/** Ways to cut the cable, and to mend it. */
const faults = [
  { name: "cut", cut: () => far("ip link set far0 down"), mend: () => far("ip link set far0 up") },
  {
    // What n3 sends is lost, because no packet is as small as the bucket. It still gets what others send.
    name: "one way",
    cut: () => far("tc qdisc add dev far0 root tbf rate 8bit burst 1 latency 1ms"),
    mend: () => far("tc qdisc del dev far0 root")
  }
]

const scenario = Effect.gen(function*() {
  const origin = yield* makeTestOriginAt(HOSTS["origin"]!)
  const fleet = yield* startFleet({
    origin,
    stretch: 64 * MiB,
    env: { SPILLWAY_ADMIN_TOKEN: "a-token-of-a-test-with-a-cable" },
    placeOf: (name) => ({
      address: HOSTS[name]!,
      ...(name === "n3" && { prefix: ["ip", "netns", "exec", FAR] })
    })
  })
  yield* fleet.settled(2)
  const paths = new Set<string>()
  const path = (): string => {
    for (let i = 0;; i++) {
      const path = `/film${i}`
      if (paths.has(path) || fleet.order(path).join() !== "n3,n1,n2") continue
      paths.add(path)
      return path
    }
  }
  const [n1, n2] = fleet.nodes
  const isHere = (node: typeof n1) => Effect.map(metric(node!, "spillway_fleet_peers{state=\"here\"}"), (n) => n === 2)
  for (const { cut, mend, name } of faults) {
    const film = fileOf(16 * MiB, 1 + paths.size, { rate: 8 * MiB })
    const streamed = path()
    origin.files.set(streamed, film)
    origin.reset()
    let isCut = false
    const onBytes = (bytes: number): void => {
      if (isCut || bytes < 3 * MiB) return
      isCut = true
      cut()
    }
    const seen = yield* Effect.forEach(
      [n1, n2, n1, n2],
      (node) => watch(node!.url + streamed, { onBytes }),
      { concurrency: "unbounded" }
    )
    const bytes = origin.bodyBytes()
    const requests = origin.requests.map(({ headers }) => headers.range ?? "")
    const isWhole = seen.every((one) => one.isWhole && one.sha256 === sha256(film.bytes))
    // The next viewer doesn't wait for it.
    const next = fileOf(1000, 99)
    const after = path()
    origin.files.set(after, next)
    const { firstByte, sha256: hash } = yield* watch(n1!.url + after)
    mend()
    for (const node of [n1, n2]) yield* eventually("n3 to be back", isHere(node))
    process.stdout.write(
      `${
        JSON.stringify({
          name,
          isWhole: isWhole && hash === sha256(next.bytes),
          gap: Math.max(...seen.map(({ longestGap }) => longestGap)),
          firstByte: Math.round(firstByte),
          bytes,
          size: film.bytes.length,
          requests
        })
      }\n`
    )
  }
})

connect()
NodeRuntime.runMain(Effect.provide(Effect.scoped(scenario), NodeServices.layer))
