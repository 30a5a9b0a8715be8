import { connect } from "node:net"
import { PATIENCE_MILLIS } from "../../support/patience.ts"
import { judge, type Outcome } from "./check.ts"
import type { Plan } from "./grammar.ts"
import { makeReader, Violation } from "./reader.ts"

/** How long it is waited for more after the last expected byte, where nobody knows how much is to come, in milliseconds. */
const QUIET_MILLIS = 80

/** What was found on one connection. */
export interface Report {
  readonly plan: Plan
  readonly violation?: string
  readonly statuses: ReadonlyArray<number>
  /** All that came. */
  readonly received: Buffer
}

/** Does what `plan` says on a connection of its own, and judges what comes. */
export const drive = (plan: Plan, port: number): Promise<Report> =>
  new Promise((resolve) => {
    const { bytes, kind, leaving, parts, requests, stall } = plan
    const reader = makeReader((i) => kind === "mutated" || requests[i]?.method !== "HEAD")
    const received: Array<Buffer> = []
    let count = 0
    let ended: Outcome["ended"] = "server"
    let hasLeft = false
    let isOverdue = false
    let isReset = false
    let violation: string | undefined
    let quiet: NodeJS.Timeout | undefined
    let sent = 0

    const socket = connect({ port, host: "127.0.0.1", noDelay: true })
    const guard = <A>(f: () => A): A | undefined => {
      try {
        return f()
      } catch (error) {
        if (!(error instanceof Violation)) throw error
        violation ??= error.message
        socket.destroy()
        return undefined
      }
    }
    const finish = () => {
      ended = "sender"
      socket.destroy()
    }
    const patience = setTimeout(() => {
      isOverdue = true
      finish()
    }, PATIENCE_MILLIS)

    const leave = () => {
      if (hasLeft) return
      hasLeft = true
      if (leaving!.how === "end") socket.end()
      else if (leaving!.how === "reset") socket.resetAndDestroy()
      else socket.destroy()
    }

    /** Ends the connection where all has come, or seems to have. */
    const look = () => {
      clearTimeout(quiet)
      if (sent < bytes.length || reader.isReading() || reader.isClosing()) return
      const isAnswered = kind === "valid" && reader.responses.length >= requests.length
      // A malformed request ends the connection: that is waited for.
      if (kind === "malformed" && plan.defect !== undefined && !hasLeft) return
      if (isAnswered || kind === "mutated" || hasLeft) quiet = setTimeout(finish, isAnswered ? 2 : QUIET_MILLIS)
    }

    const send = () => {
      let i = 0
      const step = () => {
        if (socket.destroyed || hasLeft) return
        const limit = leaving?.when === "sent" ? leaving.after : bytes.length
        const [end, pause] = i < parts.length ? parts[i]! : [bytes.length, 0]
        const to = Math.min(end, limit)
        if (to > sent) socket.write(bytes.subarray(sent, to))
        sent = Math.max(sent, to)
        if (leaving?.when === "sent" && sent >= limit) return leave()
        i++
        if (i <= parts.length) {
          if (pause > 0) setTimeout(step, pause)
          else setImmediate(step)
        } else look()
      }
      step()
    }

    socket.on("connect", send)
    socket.on("data", (data) => {
      received.push(data)
      if (count === 0 && stall > 0) {
        socket.pause()
        setTimeout(() => socket.resume(), stall)
      }
      count += data.length
      guard(() => reader.feed(data))
      if (leaving?.when === "received" && count >= leaving.after) leave()
      look()
    })
    socket.on("error", () => isReset = true)
    socket.on("close", () => {
      clearTimeout(patience)
      clearTimeout(quiet)
      guard(() => reader.end(!isReset && ended === "server"))
      guard(() =>
        judge(plan, {
          responses: reader.responses,
          interim: reader.interim,
          ended,
          hasLeft,
          isOverdue
        })
      )
      resolve({
        plan,
        ...(violation !== undefined && { violation }),
        statuses: reader.responses.map(({ status }) => status),
        received: Buffer.concat(received)
      })
    })
  })
