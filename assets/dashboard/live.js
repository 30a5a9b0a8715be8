/**
 * The server's events, for as long as the page is open.
 *
 * @import { Snapshot } from "../../src/http/api/model.ts"
 */

/** How long the server may be silent, though it speaks each second, in milliseconds. */
const SILENCE_MILLIS = 6000

/** How long is waited before it is tried again, at first and at most, in milliseconds. */
const PAUSE = { first: 1000, longest: 10_000 }

/**
 * Calls `onSnapshot` for each snapshot, and `onGone` with the time of the next attempt whenever the server cannot be heard. Where one
 * has to log in again, the page is loaded anew.
 *
 * @param {{ readonly onSnapshot: (snapshot: Snapshot) => void, readonly onGone: (nextAttempt: number) => void }} listener
 */
export const listen = ({ onGone, onSnapshot }) => {
  let pause = PAUSE.first

  const again = () => {
    onGone(Date.now() + pause)
    setTimeout(attempt, pause)
    pause = Math.min(pause * 2, PAUSE.longest)
  }

  const attempt = async () => {
    // An `EventSource` does not say why it failed.
    try {
      const { ok, status } = await fetch("api/status", {
        cache: "no-store",
        signal: AbortSignal.timeout(SILENCE_MILLIS)
      })
      if (status === 401) return location.reload()
      if (!ok) return again()
    } catch {
      return again()
    }
    open()
  }

  const open = () => {
    const source = new EventSource("api/events")
    const fail = () => {
      clearTimeout(timer)
      source.close()
      again()
    }
    let timer = setTimeout(fail, SILENCE_MILLIS)
    source.addEventListener("error", fail)
    source.addEventListener("snapshot", ({ data }) => {
      clearTimeout(timer)
      timer = setTimeout(fail, SILENCE_MILLIS)
      pause = PAUSE.first
      onSnapshot(JSON.parse(data))
    })
  }

  open()
}
