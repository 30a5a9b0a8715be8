import { Effect } from "effect"
import { createHash } from "node:crypto"
import { DiskLimiter } from "../../../../src/services/disk/DiskLimiter.ts"
import { Fleet } from "../../../../src/services/fleet/Fleet.ts"
import type { MemoryFile, Misbehaviour } from "../../../../src/testing/MemoryOrigin.ts"
import { onWaiting, patience, type View } from "../invariants.ts"
import * as Machine from "../machine.ts"
import { makeFile, type OriginFile } from "../origin.ts"
import * as Random from "../random.ts"
import { describe, type Leg, type Step } from "../schedule.ts"
import { visit } from "../viewer.ts"
import { makeEngine } from "./engine.ts"
import { makeNetwork, makeTransport } from "./network.ts"
import { makeNode, type Node, startNode } from "./node.ts"
import { makePurges } from "./purges.ts"
import { type FleetAction, type FleetSchedule, type FleetStep, makeFleet } from "./schedule.ts"

/** What came of one run. */
export interface FleetReport {
  readonly seed: number
  readonly schedule: FleetSchedule
  readonly violation: string | undefined
  readonly trace: ReadonlyArray<string>
  readonly hash: string
}

/** How long a process may take to stop in order, in milliseconds. */
const STOP_MILLIS = 20_000

/** How long nodes have to find each other, in milliseconds. */
const START_MILLIS = 2500

/** How long the fleet has to come to rest when all is well again, in milliseconds. */
const REST_MILLIS = 6000

/** After which time a process that did nothing takes itself for one that was away, in milliseconds, with its own tick. */
const AWAY_MILLIS = 2500

/**
 * How much older than at one node something may be, in milliseconds. `Age` is in seconds, and passes two nodes at most. An answer that others wait
 * for is on its way for less than that.
 */
const AGE_MILLIS = 2000

/** Fibers that sleep when there is nothing to do, at most: those of one node, each in its loop. */
const POLLERS = 14

/** How long nobody watches before it is looked for what is left, in milliseconds. */
const QUIET_MILLIS = 60_000

/** Signatures that a node remembers then: two nodes ask each second, and those of a clock that is a minute ahead are remembered for two. */
const MAX_NONCES = 300

interface OriginFault {
  readonly fault: Misbehaviour
  readonly file: OriginFile
  times: number
  readonly until: number
}

/** Plays the schedule of `seed`. */
export const simulateFleet = (seed: number): FleetReport => {
  const root = Random.make(seed)
  return play(seed, makeFleet(root.fork()), root)
}

/** A line for people. */
export const describeStep = (step: FleetStep): string => describe(step as unknown as Step)

const play = (seed: number, schedule: FleetSchedule, root: Random.Random): FleetReport => {
  const random = root.fork()
  const trace: Array<string> = []
  let violation: string | undefined
  const failed = () => violation !== undefined
  const fail = (message: string): void => {
    violation ??= message
    note(`VIOLATION ${message}`)
  }
  const machine = Machine.make(root.fork(), schedule.order, () => {}, () => fail("work without end"))
  const begun = machine.now()
  const note = (line: string): void => void trace.push(`${machine.now() - begun} ${line}`)

  // --- the world ----------------------------------------------------------------------------------------------------

  const latencies = root.fork()
  const latency = { origin: 0, network: 0 }
  let slowest = 0
  const stored = new Map<string, MemoryFile>()
  const nodes = schedule.nodes.map((plan) => makeNode(plan, stored))
  const nodeOf = (name: string): Node => nodes.find(({ plan }) => plan.name === name)!
  const purges = makePurges({ nodes, now: machine.now, note, fail })
  const engine = makeEngine({
    kind: schedule.engine,
    names: nodes.map(({ plan }) => plan.name),
    now: machine.now,
    latency: () => latencies.int(0, 5),
    note,
    onAppended: purges.see,
    onRead: purges.heard
  })
  const network = makeNetwork({
    machine,
    random: latencies,
    latency: () => latency.network,
    portOf: (name) => nodeOf(name).port,
    processOf: (name) => nodeOf(name).spillway?.process,
    onPurged: purges.heard,
    onSent: purges.see
  })

  const [{ surroundings: { origin: firstOrigin } }] = nodes as [Node]
  const files = schedule.files.map((plan) => makeFile(plan, firstOrigin, machine.now, root.fork()))
  const lastPlan = { name: "last", validator: "etag", maxAge: 3600, acceptsRanges: true } as const
  const last = makeFile({ ...lastPlan, size: 11 * schedule.chunkSize - 7 }, firstOrigin, machine.now, root.fork())
  const fileAt = (url: string) => files.find((file) => file.url === url)
  let originFaults: Array<OriginFault> = []
  let silentUntil = -Infinity
  /** How often something happened after which a byte may come from the origin once more. */
  let changes = 0
  for (const { plan: { name }, surroundings: { origin } } of nodes) {
    origin.sliceBytes = schedule.sliceBytes
    origin.latency = () => latencies.int(0, latency.origin)
    origin.behaviour = ({ headers, method, url }) => {
      note(`${name}: origin ${method} ${url} ${headers["range"] ?? ""}`)
      const file = fileAt(url)
      const active = originFaults.find((fault) => fault.times > 0 && fault.until > machine.now() && fault.file === file)
      if (active === undefined) return undefined
      active.times -= 1
      return active.fault
    }
    origin.struck = ({ url }, misbehaviour) => {
      note(`${name}: struck ${misbehaviour._tag} ${url}`)
      changes += 1
      if (misbehaviour._tag === "Stall") silentUntil = Math.max(silentUntil, machine.now() + misbehaviour.millis!)
      fileAt(url)?.strike(misbehaviour, machine.now())
    }
  }

  // --- nodes --------------------------------------------------------------------------------------------------------

  const boot = (node: Node) => {
    const { name } = node.plan
    note(`${name} starts`)
    startNode(node, machine, schedule, random.fork(), (message) => fail(`${name}: ${message}`), {
      membership: engine.membership,
      transport: makeTransport(network, name)
    })
    purges.returned(node, true, schedule.engine === "list" ? "everything" : engine.readable())
  }

  const isServing = (node: Node) => node.port !== undefined && node.hungUntil <= machine.now() && !stopping.has(node)

  const end = (node: Node) => {
    node.spillway?.process.kill()
    node.spillway = undefined
    node.port = undefined
    node.hungUntil = -Infinity
    node.viewers.clear()
    node.views.clear()
    purges.forget(node)
    network.ended(node.plan.name)
    const { disk, origin } = node.surroundings
    // The system closes what a process has left open.
    origin.open = 0
    disk.closeAll()
  }

  const endViewers = (node: Node) => {
    for (const viewer of node.viewers) viewer.interruptUnsafe()
    node.viewers.clear()
  }

  /** Ends a process in order: it tells the others first. */
  const stop = (node: Node, done: () => void) => {
    const spillway = node.spillway!
    stopping.add(node)
    const isCurrent = () => node.spillway === spillway
    spillway.fork(Effect.flatMap(Fleet, ({ leave }) => leave)).addObserver(() => {
      if (!isCurrent()) return
      node.port = undefined
      network.ended(node.plan.name)
      endViewers(node)
      spillway.close(() => {
        if (!isCurrent()) return
        end(node)
        stopping.delete(node)
        done()
      })
    })
    machine.at(machine.now() + STOP_MILLIS, () => {
      if (isCurrent()) fail("does not stop")
    })
  }

  const wake = (node: Node, since: number) => {
    if (node.spillway === undefined || node.hungUntil > machine.now() || node.hungUntil === -Infinity) return
    note(`${node.plan.name} continues`)
    node.hungUntil = -Infinity
    node.runsSince = machine.now()
    const isAway = machine.now() - since > AWAY_MILLIS
    purges.returned(node, isAway, schedule.engine === "list" ? "everything" : engine.readable())
    node.spillway.process.resume()
  }

  // --- viewers ------------------------------------------------------------------------------------------------------

  let visits = 0
  let restarting = 0
  const stopping = new Set<Node>()
  const observerOf = (node: Node) => ({
    now: machine.now,
    shownWithin: (time: number, millis: number, isJoined: boolean) =>
      machine.shownWithin(time, millis > 0 || isJoined ? millis + AGE_MILLIS : 0),
    note,
    views: node.views,
    judge: (view: View, found: string | undefined) => {
      if (found !== undefined) fail(`viewer ${view.id} of ${view.file.url}: ${found}`)
    }
  })
  const seenFrom = (node: Node, file: OriginFile): OriginFile => ({
    ...file,
    voidBefore: (time) => purges.voidBefore(file, node, time),
    // Another node may not know that yet.
    foundGone: () => {}
  })

  const addViewer = (node: Node, file: OriginFile, legs: ReadonlyArray<Leg>) => {
    if (!isServing(node)) return
    const id = `${node.plan.name}v${visits++}`
    const fiber = node.spillway!.fork(visit(id, seenFrom(node, file), legs, undefined, observerOf(node)))
    node.viewers.add(fiber)
    fiber.addObserver((exit) => {
      node.viewers.delete(fiber)
      if (exit._tag === "Failure" && !exit.cause.reasons.every(({ _tag }) => _tag === "Interrupt")) {
        fail(`viewer failed: ${String(exit.cause)}`)
      }
    })
  }

  /** As long as no node, no link and no list has had trouble, every node knows all others, even if the engine has trouble. */
  const lookAtList = (node: Node) => {
    if (changes > 0 || !isServing(node)) return
    node.spillway!.fork(Effect.map(Fleet, ({ peers }) => {
      const here = peers().filter(({ state }) => state === "Here" || state === "Different").length
      if (here < nodes.length - 1) fail(`${node.plan.name} knows ${here} other nodes`)
    }))
  }

  const lookAtNodes = () => {
    for (const node of nodes) {
      if (node.hungUntil > machine.now()) continue
      lookAtList(node)
      const quietUntil = Math.max(silentUntil, node.runsSince)
      const limit = patience(schedule as never, slowest)
      for (const view of node.views) {
        observerOf(node).judge(view, onWaiting(view, quietUntil, limit, machine.now()))
      }
    }
    machine.at(machine.now() + 1000, lookAtNodes)
  }

  // --- what happens -------------------------------------------------------------------------------------------------

  const later = (millis: number, f: () => void) => machine.at(machine.now() + millis, f)

  const restart = (node: Node, { down, how, weight }: Extract<FleetAction, { _tag: "Restart" }>) => {
    if (!isServing(node)) return
    changes += 1
    restarting += 1
    const again = () =>
      later(down, () => {
        restarting -= 1
        changes += 1
        node.weight = weight ?? node.weight
        boot(node)
      })
    if (how === "stop") return stop(node, again)
    end(node)
    if (how === "power") node.surroundings.disk.crash(random.next)
    again()
  }

  const perform = (action: FleetAction): void => {
    switch (action._tag) {
      case "View":
        return addViewer(nodes[action.node]!, files[action.file]!, action.legs)
      case "Leave": {
        const all = nodes.filter(({ hungUntil }) => hungUntil <= machine.now()).flatMap(({ viewers }) =>
          Array.from(viewers)
        )
        return all[action.which % Math.max(1, all.length)]?.interruptUnsafe()
      }
      case "Restart":
        return restart(nodes[action.node]!, action)
      case "Hang": {
        const node = nodes[action.node]!
        if (!isServing(node)) return
        changes += 2
        const since = machine.now()
        node.hungUntil = since + action.millis
        node.spillway!.process.suspend()
        return later(action.millis, () => wake(node, since))
      }
      case "Cut": {
        const [from, to] = [nodes[action.from]!.plan.name, nodes[action.to]!.plan.name]
        const links = action.isBoth ? [[from, to], [to, from]] as const : [[from, to]] as const
        changes += 2
        for (const link of links) network.cut(...link)
        return later(action.millis, () => {
          for (const link of links) network.mend(...link)
        })
      }
      case "Engine":
        if (action.how === "empty") return engine.empty()
        engine.become(action.how)
        return later(action.millis, () => engine.become("up"))
      case "Flap":
        changes += 2
        engine.hide(nodes[action.node]!.plan.name, action.hidden.map((i) => nodes[i]!.plan.name))
        return later(action.millis, () => engine.hide(nodes[action.node]!.plan.name, []))
      case "Latency":
        Object.assign(latency, { origin: action.origin, network: action.network })
        slowest = Math.max(slowest, action.origin + 2 * action.network)
        return
      case "OriginFault": {
        const { fault, file, millis, times } = action
        originFaults.push({ fault, file: files[file]!, times, until: machine.now() + millis })
        return
      }
      case "Change":
        changes += 1
        return files[action.file]!.change(action.how, action.size, machine.now())
      case "Purge": {
        const node = nodes[action.node]!
        if (!isServing(node)) return
        // What is read between the rounds is dropped by the second one.
        changes += 2
        return purges.order(node, files[action.file]!)
      }
    }
  }

  const total = (f: (node: Node) => number) => nodes.reduce((sum, node) => sum + f(node), 0)

  /** The bytes that the origin has sent of a file, and those that were of no use since a request broke off in a chunk. */
  const sentOf = (file: OriginFile) => {
    const requests = nodes.flatMap(({ surroundings: { origin } }) => origin.requests).filter(({ url }) =>
      url === file.url
    )
    return {
      sent: requests.reduce((sum, { sent }) => sum + sent, 0),
      requests: requests.length
    }
  }

  /** Whether all nodes rank nodes alike: weights are announced, or the same for all. */
  const isAgreed = new Set(nodes.map(({ plan }) => plan.stretch)).size === 1

  /** Nobody disturbs any more: all who watch come to their end, and the fleet is one cache again. */
  const recover = () => {
    originFaults = []
    Object.assign(latency, { origin: 0, network: 0 })
    if (engine.mode() !== "up") engine.become("up")
    for (const node of nodes) {
      engine.hide(node.plan.name, [])
      if (node.hungUntil > machine.now()) {
        const since = machine.now()
        node.hungUntil = since
        wake(node, since)
      }
      for (const other of nodes) network.mend(node.plan.name, other.plan.name)
    }
    const isWhole = () => restarting === 0 && nodes.every(isServing)
    machine.run(machine.now() + 2 * STOP_MILLIS, () => failed() || isWhole())
    if (!isWhole()) fail("a node does not come back")
    machine.run(machine.now() + 600_000, () => failed() || total(({ viewers }) => viewers.size) === 0)
    if (total(({ viewers }) => viewers.size) > 0) fail("a viewer does not come to its end")
    machine.run(machine.now() + REST_MILLIS, failed)
  }

  const whole: ReadonlyArray<Leg> = [{ range: undefined, pace: 0, stall: undefined, leaveAfter: undefined }]

  /** A file that nobody has comes once from the origin, however many nodes are asked for it. */
  const lookAtFleet = () => {
    if (!isAgreed) return
    for (const node of nodes) addViewer(node, last, whole)
    machine.run(machine.now() + 1000, failed)
    const { sent } = sentOf(last)
    if (sent !== last.plan.size) fail(`${sent} bytes from the origin for ${last.plan.size} at ${nodes.length} nodes`)
  }

  const lookAtOrigin = () => {
    // A node that takes itself for no owner keeps nothing, and one that asks it may go past it.
    if (!isAgreed) return
    for (const file of files) {
      const { requests, sent } = sentOf(file)
      const size = Math.max(
        0,
        ...file.during([[-Infinity, Infinity]]).map((version) => version?.file.bytes.length ?? 0)
      )
      // An origin without ranges sends everything to each node that owns a part.
      const copies = file.plan.acceptsRanges ? 1 : nodes.length
      const most = size * copies * (1 + changes) + requests * (schedule.chunkSize + schedule.sliceBytes)
      if (sent > most) fail(`${sent} bytes of ${file.url} from the origin for ${size} and ${changes} changes`)
    }
  }

  const lookForLeaks = () => {
    const expect = (what: string, found: number, most: number) => {
      if (found > most) fail(`${found} ${what} left`)
    }
    machine.run(machine.now() + QUIET_MILLIS, failed)
    expect("connections between nodes", network.connections(), 0)
    expect("purges", purges.waiting(), 0)
    for (const node of nodes) {
      const { origin } = node.surroundings
      expect("viewers", node.viewers.size + node.views.size, 0)
      expect("connections to the origin", origin.open, 0)
      expect("calls to the disk", node.spillway!.use(DiskLimiter, (gate) => gate.inFlight()), 0)
      expect("sleeping fibers", node.spillway!.process.sleeping(), POLLERS)
      expect("nonces", node.port!.gate.window.size, MAX_NONCES)
    }
    changes += 1
    let running = nodes.length
    for (const node of nodes) stop(node, () => running -= 1)
    machine.run(machine.now() + STOP_MILLIS, () => failed() || running === 0)
    for (const { surroundings: { disk } } of nodes) {
      expect("open files after the end", disk.handles(), 0)
      const leftovers = [...disk.files().keys()].filter((path) => path.endsWith(".tmp"))
      expect(`temporary files (${leftovers.join(" ")})`, leftovers.length, 0)
    }
  }

  for (const node of nodes) boot(node)
  machine.run(machine.now() + START_MILLIS, failed)
  lookAtNodes()
  for (const step of schedule.steps) {
    if (failed()) break
    machine.run(machine.now() + step.after, failed)
    if (failed()) break
    note(describeStep(step))
    perform(step.action)
  }
  if (!failed()) recover()
  if (!failed()) lookAtFleet()
  if (!failed()) lookAtOrigin()
  if (!failed()) lookForLeaks()

  note(`${machine.turns()} turns, ${total(({ surroundings }) => surroundings.origin.requests.length)} requests`)
  const hash = createHash("sha256").update(trace.join("\n")).digest("hex")
  return { seed, schedule, violation, trace, hash }
}
