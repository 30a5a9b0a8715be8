/**
 * The server's events, for as long as the page is open.
 *
 * @import { Snapshot } from "../../src/http/admin/api/model.ts"
 */

/** How long the server may be silent, though it speaks each second, in milliseconds. */
const SILENCE_MILLIS = 6000

/** How long is waited before it is tried again, at first and at most, in milliseconds. */
const PAUSE = { first: 1000, longest: 10_000 }

/** How long an event may be, in characters. */
const MAX_EVENT = 16 * 1024 ** 2

/**
 * The data of an event; what is no event has none.
 *
 * @param {string} event
 */
const dataOf = (event) =>
  event.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart()).join("\n")

/**
 * Calls `onData` with the data of each event of a stream (text/event-stream, of the WHATWG's HTML) until that ends.
 *
 * @param {ReadableStream<Uint8Array<ArrayBuffer>>} body
 * @param {(data: string) => void} onData
 */
const readEvents = async (body, onData) => {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader()
  let pending = ""
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return
    const events = (pending + value).split("\n\n")
    pending = events.pop() ?? ""
    if (pending.length > MAX_EVENT) throw new Error("an event without end")
    for (const data of events.map(dataOf)) if (data !== "") onData(data)
  }
}

/**
 * Calls `onSnapshot` for each snapshot, and `onGone` with the time of the next attempt whenever the server cannot be heard, or where
 * as many watch as may. Where one has to log in again, the page is loaded anew. `EventSource` would not say which it is.
 *
 * @param {{
 *   readonly onSnapshot: (snapshot: Snapshot) => void,
 *   readonly onGone: (nextAttempt: number, isFull: boolean) => void
 * }} listener
 */
export const listen = async ({ onGone, onSnapshot }) => {
  let pause = PAUSE.first

  /** Listens until the server ends it or is silent: whether as many watch as may. */
  const attempt = async () => {
    const abort = new AbortController()
    const giveUp = () => abort.abort()
    let timer = setTimeout(giveUp, SILENCE_MILLIS)
    try {
      const { body, status } = await fetch("api/events", { cache: "no-store", signal: abort.signal })
      if (status === 401) location.reload()
      if (status === 200 && body !== null) {
        await readEvents(body, (data) => {
          clearTimeout(timer)
          timer = setTimeout(giveUp, SILENCE_MILLIS)
          pause = PAUSE.first
          onSnapshot(JSON.parse(data))
        })
      }
      return status === 503
    } catch {
      return false
    } finally {
      clearTimeout(timer)
      giveUp()
    }
  }

  for (;;) {
    const isFull = await attempt()
    onGone(Date.now() + pause, isFull)
    await new Promise((resolve) => setTimeout(resolve, pause))
    pause = Math.min(pause * 2, PAUSE.longest)
  }
}
