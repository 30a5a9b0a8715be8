import { Deferred, Effect } from "effect"
import type { Worker } from "node:cluster"
import { together } from "../services/cache/MemoryTier.ts"
import type { ReplicasShape } from "../services/cache/Replicas.ts"
import { nothing, type Usage } from "../services/observe/WorkerUsage.ts"
import type { Report, ToOwner, ToWorker } from "./messages.ts"
import { patience } from "./silence.ts"

/** The number of resources that a worker is kept up to date about. */
const MAX_SHARES = 20_000

/** The time that a worker has to confirm a change, in milliseconds. After that it is killed, because it might serve old content. */
const SETTLE_MILLIS = 2_000

/** The owner's view of a worker. */
export class Member {
  readonly #process: Worker
  /** The resources that the worker may serve. */
  readonly #shares = new Set<string>()
  readonly #settling = new Map<number, () => void>()
  #settles = 0
  #isHeard = false
  /** Done when the worker takes requests. */
  readonly listening = Deferred.makeUnsafe<void>()
  /** Done when the worker has ended or could not be started, with the signal, exit code or error. */
  readonly ended = Deferred.makeUnsafe<string>()
  usage: Usage = nothing
  connections = 0

  constructor(process: Worker, hear: (message: ToOwner) => void) {
    this.#process = process
    process.on("message", (message: ToOwner) => {
      this.#isHeard = true
      hear(message)
    })
    process.on("error", ({ message }) => {
      // Other errors, such as an unsent message, matter only if the worker ends.
      if (process.process.pid === undefined) this.#end(message)
    })
    process.once("exit", (code, signal) => this.#end(signal ?? String(code)))
  }

  get isListening(): boolean {
    return Deferred.isDoneUnsafe(this.listening)
  }

  /** Whether a message has arrived since the last call. */
  wasHeard(): boolean {
    const was = this.#isHeard
    this.#isHeard = false
    return was
  }

  send(message: ToWorker): void {
    // The end of a worker is noticed elsewhere.
    if (this.#process.isConnected()) this.#process.send(message, () => {})
  }

  kill(signal: NodeJS.Signals): void {
    this.#process.process.kill(signal)
  }

  /** Keeps the worker up to date about a resource from now on. */
  share(resource: string): void {
    this.#shares.add(resource)
    if (this.#shares.size <= MAX_SHARES) return
    const [oldest] = this.#shares
    this.forget(oldest!)
  }

  shares(resource: string): boolean {
    return this.#shares.has(resource)
  }

  forget(resource: string): void {
    if (this.#shares.delete(resource)) this.send({ _tag: "Forgotten", resource })
  }

  withdraw(resource: string): void {
    this.#shares.delete(resource)
    // The worker may have chunks in memory of a resource that it doesn't serve at the moment.
    this.send({ _tag: "Withdrawn", resource })
  }

  take({ connections, memory, streams }: Report): void {
    this.connections = connections
    this.usage = { memory, streams }
  }

  settled(number: number): void {
    this.#settling.get(number)?.()
    this.#settling.delete(number)
  }

  /** The worker has ended, and serves nothing. */
  #end(how: string): void {
    Deferred.doneUnsafe(this.ended, Effect.succeed(how))
    for (const done of this.#settling.values()) done()
    this.#settling.clear()
  }

  readonly settle: Effect.Effect<void> = Effect.raceFirst(
    Effect.callback<void>((resume) => {
      if (Deferred.isDoneUnsafe(this.ended)) return resume(Effect.void)
      const number = ++this.#settles
      this.#settling.set(number, () => resume(Effect.void))
      this.send({ _tag: "Settle", number })
    }),
    Effect.andThen(patience(SETTLE_MILLIS), Effect.sync(() => this.kill("SIGKILL")))
  )
}

/** Keeps `members` up to date for the services of the owner. */
export const replicasOf = (members: ReadonlySet<Member>): ReplicasShape => ({
  forgotten: (resource) => members.forEach((member) => member.forget(resource)),
  withdrawn: (resource) => members.forEach((member) => member.withdraw(resource)),
  banned: (ban) => members.forEach((member) => member.send({ _tag: "Banned", ban })),
  unbanned: (until) => members.forEach((member) => member.send({ _tag: "Unbanned", until })),
  added: (key, bytes) => {
    for (const member of members) if (member.shares(key.resource)) member.send({ _tag: "Added", key, bytes })
  },
  removed: (key) => {
    for (const member of members) if (member.shares(key.resource)) member.send({ _tag: "Removed", key })
  },
  settled: Effect.suspend(() =>
    Effect.forEach(members, (member) => member.settle, { concurrency: "unbounded", discard: true })
  )
})

/** What `members` use, all together. */
export const usageOf = (members: ReadonlySet<Member>): Usage => {
  const usages = Array.from(members, ({ usage }) => usage)
  return {
    memory: usages.reduce((sum, { memory }) => ({
      ...together(sum, memory),
      maxBytes: sum.maxBytes + memory.maxBytes
    }), nothing.memory),
    streams: usages.flatMap(({ streams }) => streams)
  }
}
