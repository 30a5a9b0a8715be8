import { Context, Effect, type Fiber } from "effect"
import { createHash } from "node:crypto"
import { Bans } from "../../../src/services/cache/Bans.ts"
import { ChunkWriter } from "../../../src/services/cache/ChunkWriter.ts"
import { IndexScan } from "../../../src/services/cache/IndexScan.ts"
import { DiskBreaker } from "../../../src/services/disk/DiskBreaker.ts"
import { DiskLimiter } from "../../../src/services/disk/DiskLimiter.ts"
import { DiskMonitor } from "../../../src/services/disk/DiskMonitor.ts"
import { Origin } from "../../../src/services/origin/Origin.ts"
import type { Misbehaviour } from "../../../src/testing/MemoryOrigin.ts"
import { makeAhead } from "./ahead.ts"
import { makeDiskTrouble } from "./diskTrouble.ts"
import { makeDiskJudge, onWaiting, patience, type View } from "./invariants.ts"
import * as Machine from "./machine.ts"
import { makeMirrored } from "./mirrored.ts"
import { makeFile, mirrorOf, ORIGIN, type OriginFile } from "./origin.ts"
import { makePeople } from "./people.ts"
import * as Random from "./random.ts"
import * as Schedule from "./schedule.ts"
import { type Identity, makeClient } from "./site.ts"
import { makeSurroundings, type Spillway, start } from "./spillway.ts"
import { makeUnmeasured } from "./unmeasured.ts"
import { alter, visit } from "./viewer.ts"
import { LAST_WITHOUT_SITES, makeWide } from "./wide.ts"

/** What came of one run. */
export interface Report {
  readonly seed: number
  readonly schedule: Schedule.Schedule
  /** The first thing that was not as it must be. */
  readonly violation: string | undefined
  /** What happened, a line each. */
  readonly trace: ReadonlyArray<string>
  /** The same for two runs that were the same in all that they did. */
  readonly hash: string
}

/** How long Spillway has to come back when all is well again, in milliseconds. */
const RECOVERY_MILLIS = 60_000

/**
 * How long a purge may take besides, where single files have failed: what can't be read or removed is tried again after pauses that become as
 * long as ten minutes. The scan of what it could not count is awaited first, and has such pauses too.
 */
const FILE_RECOVERY_MILLIS = 2 * 600_000

/** How long it may take to stop in order, in milliseconds. */
const STOP_MILLIS = 20_000

/** After how long a disk that is well has what was told to Spillway, in milliseconds. */
const SETTLED_MILLIS = 2000

/** Fibers that sleep when there is nothing to do, at most: pollers, each in its loop. */
const POLLERS = 8

interface OriginFault {
  readonly fault: Misbehaviour
  readonly file: OriginFile | undefined
  readonly host: string | undefined
  times: number
  readonly until: number
}

/** What makes the schedule of `seed`. */
const scheduleOf = (seed: number): typeof makeWide => {
  if (seed > Schedule.LAST_WITHOUT_MIRRORS) return makeMirrored
  if (seed > Schedule.LAST_WITHOUT_POLICIES) return makeAhead
  if (seed > Schedule.LAST_WITH_LENGTHS) return makeUnmeasured
  return seed > LAST_WITHOUT_SITES && seed <= Schedule.LAST_WITH_VALIDATORS ? makeWide : Schedule.make
}

/** Plays the schedule of `seed`, or another one with the seed's randomness. */
export const simulate = (seed: number, given?: Schedule.Schedule): Report => {
  const root = Random.make(seed)
  return play(seed, given ?? scheduleOf(seed)(seed, root.fork()), root)
}

const play = (seed: number, schedule: Schedule.Schedule, root: Random.Random): Report => {
  const random = root.fork()
  const surroundings = makeSurroundings()
  const { disk, origin } = surroundings
  const trace: Array<string> = []
  let violation: string | undefined
  const fail = (message: string): void => {
    violation ??= message
    note(`VIOLATION ${message}`)
  }

  const judgeDisk = makeDiskJudge(
    schedule,
    disk,
    () => spillway?.services() !== undefined && !spillway.use(IndexScan, ({ isComplete }) => isComplete())
  )
  const machine = Machine.make(root.fork(), schedule.order, () => {
    const found = judgeDisk() ?? judgeHealth()
    if (found !== undefined) fail(found)
  }, () => fail("work without end"))
  const begun = machine.now()
  const note = (line: string): void => void trace.push(`${machine.now() - begun} ${line}`)
  const failed = () => violation !== undefined

  // --- the disk and the origin --------------------------------------------------------------------------------------

  const latencies = root.fork()
  const diskTrouble = makeDiskTrouble({
    schedule,
    disk,
    latencies,
    now: machine.now,
    at: machine.at,
    spillway: () => spillway,
    spoilt: () => people.spoilt()
  })
  let originLatency = 0
  let slowest = 0
  origin.latency = () => latencies.int(0, originLatency)
  origin.sliceBytes = schedule.sliceBytes

  const mirrors = Array.from({ length: schedule.mirrors ?? 0 }, (_, i) => mirrorOf(i + 1))
  const hosts = [ORIGIN, ...mirrors]
  const files = schedule.files.map((plan) => makeFile(plan, origin, machine.now, root.fork(), mirrors))
  const last = makeFile(
    { name: "last", size: 2 * schedule.chunkSize - 7, validator: "etag", maxAge: 3600, acceptsRanges: true },
    origin,
    machine.now,
    root.fork(),
    mirrors
  )
  const hostOf = (url: string) => hosts.find((host) => url.startsWith(`${host}/`))
  const fileAt = (url: string) => files.find((file) => file.url === ORIGIN + url.slice(hostOf(url)?.length))
  let originFaults: Array<OriginFault> = []
  let silentUntil = -Infinity
  origin.behaviour = ({ headers, method, url }) => {
    note(`origin ${method} ${url} ${headers["range"] ?? ""}`)
    const file = fileAt(url)
    if (file === undefined) return undefined
    const active = originFaults.find((fault) =>
      fault.times > 0 && fault.until > machine.now() && (fault.file === undefined || fault.file === file) &&
      (fault.host === undefined || fault.host === hostOf(url))
    )
    if (active === undefined) return undefined
    active.times -= 1
    if (active.fault._tag === "Silent") silentUntil = Math.max(silentUntil, machine.now() + active.fault.millis)
    return active.fault
  }
  origin.struck = ({ url }, misbehaviour) => {
    note(`struck ${misbehaviour._tag} ${url}`)
    if (misbehaviour._tag === "Stall") silentUntil = Math.max(silentUntil, machine.now() + misbehaviour.millis!)
    fileAt(url)?.strike(misbehaviour, machine.now(), hostOf(url)!)
  }

  if (files.some(({ plan }) => plan.site !== undefined)) {
    surroundings.client = makeClient({
      origin: Context.get(surroundings.context, Origin),
      memory: origin,
      fileOf: fileAt,
      now: machine.now,
      note
    })
  }

  // --- Spillway -----------------------------------------------------------------------------------------------------

  let spillway: Spillway | undefined
  const views = new Set<View>()
  const viewers = new Set<Fiber.Fiber<unknown, unknown>>()
  const onError = (message: string) => fail(message)

  const startSpillway = () => {
    note("start")
    const started = spillway = start(machine, surroundings, schedule, random.fork(), onError)
    machine.run(machine.now() + 5000, () => started.services() !== undefined)
    if (started.services() === undefined) return fail("does not start")
    diskTrouble.restarted()
  }

  /** Why the cache is out of use, where nothing happens to the disk that could have been the cause. */
  const judgeHealth = () => {
    if (schedule.isDiskWell !== true || spillway?.services() === undefined) return undefined
    const failure = spillway.use(DiskBreaker, (health) => health.unwritable())
    return failure === undefined || failure._tag === "DiskFull" ? undefined : `out of use: ${failure.message}`
  }

  const endViewers = () => {
    for (const viewer of viewers) viewer.interruptUnsafe()
    viewers.clear()
  }

  const stop = () => {
    endViewers()
    let stopped = false
    spillway!.close(() => stopped = true)
    machine.run(machine.now() + STOP_MILLIS, () => stopped)
    if (!stopped) fail("does not stop")
    kill()
  }

  const kill = () => {
    spillway!.process.kill()
    spillway = undefined
    viewers.clear()
    views.clear()
    people.forget()
    // The system closes what a process has left open.
    origin.open = 0
    disk.closeAll()
  }

  let visits = 0
  const observer = {
    now: machine.now,
    shownWithin: machine.shownWithin,
    note,
    views,
    judge: (view: View, found: string | undefined) => {
      if (found !== undefined) fail(`viewer ${view.id} of ${view.file.url}: ${found}`)
    }
  }

  const addViewer = (file: OriginFile, legs: ReadonlyArray<Schedule.Leg>, identity?: Identity) => {
    addFiber(spillway!.fork(visit(`v${visits++}`, file, legs, identity, observer)))
  }

  const addFiber = (fiber: Fiber.Fiber<unknown, unknown>) => {
    viewers.add(fiber)
    fiber.addObserver((exit) => {
      viewers.delete(fiber)
      if (exit._tag === "Failure" && !exit.cause.reasons.every(({ _tag }) => _tag === "Interrupt")) {
        fail(`viewer failed: ${String(exit.cause)}`)
      }
    })
  }

  const people = makePeople({ now: machine.now, spillway: () => spillway!, note, fail })

  // --- what happens -------------------------------------------------------------------------------------------------

  const perform = (action: Schedule.Action): void => {
    switch (action._tag) {
      case "View":
        return addViewer(files[action.file]!, action.legs, action.identity)
      case "Leave":
        return [...viewers][action.which % Math.max(1, viewers.size)]?.interruptUnsafe()
      case "Corrupt":
      case "DiskFault":
      case "DiskLatency":
      case "Erase":
      case "Foreign":
      case "ObjectFault":
        return diskTrouble.perform(action)
      case "OriginFault": {
        const { fault, file, host, millis, times } = action
        originFaults.push({
          fault,
          file: file === undefined ? undefined : files[file],
          host: host === undefined ? undefined : hosts[host],
          times,
          until: machine.now() + millis
        })
        return
      }
      case "OriginLatency":
        originLatency = action.millis
        slowest = Math.max(slowest, originLatency)
        return
      case "Change": {
        const file = files[action.file]!
        file.change(action.how, action.size, machine.now())
        return machine.at(machine.now() + (action.lag ?? 0), () => file.synchronise(machine.now()))
      }
      case "Delete":
        return addFiber(spillway!.fork(alter("DELETE", files[action.file]!, observer)))
      case "Put":
        return addFiber(spillway!.fork(alter("PUT", files[action.file]!, observer)))
      case "TakeBack":
        return files[action.file]!.takeBack(machine.now())
      case "Clock":
        return machine.setClock(action.by)
      case "Purge":
        return people.purge(action.file === undefined ? files : [files[action.file]!], action)
      case "Pin":
        return people.pin(files[action.file]!, action.pinned)
      case "Restart":
        if (action.how === "stop") stop()
        else kill()
        if (action.how === "power") disk.crash(random.next)
        for (const file of files) {
          file.restarted(machine.now(), schedule.isDiskWell === true ? SETTLED_MILLIS : Infinity)
        }
        machine.run(machine.now() + action.down, failed)
        return startSpillway()
    }
  }

  const lookAtWaiting = () => {
    for (const view of views) {
      observer.judge(view, onWaiting(view, silentUntil, patience(schedule, slowest), machine.now()))
    }
    machine.at(machine.now() + 1000, lookAtWaiting)
  }

  /** Nobody disturbs any more: all who watch come to their end, and the cache works as on its first day. */
  const recover = () => {
    diskTrouble.end()
    originFaults = []
    originLatency = 0
    machine.run(machine.now() + 600_000, () => failed() || viewers.size === 0)
    if (viewers.size > 0) fail("a viewer does not come to its end")
    // What is unpinned meanwhile may be pinned afterwards, and there may be no room for anything else.
    machine.run(machine.now() + RECOVERY_MILLIS, () => failed() || !people.arePinning())
    // The first time, a disk may still be failing.
    for (let round = 0; round < 2; round++) {
      for (const file of files) people.pin(file, false)
      machine.run(machine.now() + RECOVERY_MILLIS, failed)
    }
    if (people.arePinning()) fail("a pin does not come to its end")
    if (schedule.steps.some(({ action }) => action._tag === "ObjectFault")) {
      const isSwept = () => !people.areWaiting() && spillway!.use(Bans, ({ active }) => active()).length === 0
      machine.run(machine.now() + FILE_RECOVERY_MILLIS, () => failed() || isSwept())
    }
    if (people.areWaiting()) fail("a purge does not come to its end")
    const bans = spillway!.use(Bans, ({ active }) => active())
    if (bans.length > 0) fail(`bans are left: ${JSON.stringify(bans)}`)
    const unwritable = spillway!.use(DiskBreaker, (health) => health.unwritable())
    if (unwritable !== undefined) fail(`still unusable: ${unwritable.message}`)

    const whole: ReadonlyArray<Schedule.Leg> = [{ range: undefined, pace: 0, stall: undefined, leaveAfter: undefined }]
    for (const round of [0, 1]) {
      const requests = origin.requests.length
      addViewer(last, whole)
      machine.run(machine.now() + 1000, failed)
      const isIdle = spillway!.fork(ChunkWriter.use((recorder) => recorder.idle))
      machine.run(machine.now() + 1000, failed)
      if (isIdle.pollUnsafe() === undefined) fail("the recorder does not come to rest")
      if (round === 1 && origin.requests.length > requests) fail("a fresh file was not kept")
    }
    machine.run(machine.now() + RECOVERY_MILLIS, failed)
  }

  const lookForLeaks = () => {
    const expect = (what: string, found: number, most: number) => {
      if (found > most) fail(`${found} ${what} left`)
    }
    expect("open files", disk.handles(), 0)
    expect("connections to the origin", origin.open, 0)
    expect("calls to the disk", spillway!.use(DiskLimiter, (gate) => gate.inFlight()), 0)
    expect("viewers", viewers.size + views.size, 0)
    // What a scan could not read is read again after pauses of up to ten minutes.
    const isScanning = !spillway!.use(IndexScan, ({ isComplete }) => isComplete())
    expect("sleeping fibers", spillway!.process.sleeping(), POLLERS + Number(isScanning))
    const room = disk.usage().free - schedule.minFree
    const reserved = spillway!.fork(Effect.scoped(DiskMonitor.use((monitor) => monitor.reserve(room))))
    machine.run(machine.now())
    if (reserved.pollUnsafe()?._tag !== "Success") fail("reservations were not given back")
    stop()
    expect("open files after the end", disk.handles(), 0)
    const leftovers = [...disk.files().keys()].filter((path) => path.endsWith(".tmp"))
    expect(`temporary files (${leftovers.join(" ")})`, leftovers.length, 0)
  }

  startSpillway()
  lookAtWaiting()
  for (const step of schedule.steps) {
    if (failed()) break
    machine.run(machine.now() + step.after, failed)
    if (failed()) break
    note(Schedule.describe(step))
    perform(step.action)
  }
  if (!failed()) recover()
  if (!failed()) lookForLeaks()

  note(`${machine.turns()} turns, ${origin.requests.length} requests`)
  const hash = createHash("sha256").update(trace.join("\n")).digest("hex")
  return { seed, schedule, violation, trace, hash }
}
