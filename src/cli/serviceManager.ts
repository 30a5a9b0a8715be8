import { Effect } from "effect"
import { execFile } from "node:child_process"

/**
 * Notifies systemd about the state of the program (`Type=notify`). Node has no datagram sockets of the Unix domain, so systemd's own
 * program sends the message.
 */

/** The time that a notification may take, in milliseconds. */
const NOTIFY_MILLIS = 5_000

/** Sends assignments such as `READY=1`, if systemd waits for them. Logs a failure. */
const notify = (...assignments: ReadonlyArray<string>): Effect.Effect<void> =>
  process.env["NOTIFY_SOCKET"] === undefined ? Effect.void : Effect.callback<void, Error>((resume) => {
    execFile(
      "systemd-notify",
      assignments,
      { timeout: NOTIFY_MILLIS, killSignal: "SIGKILL" },
      (error) => resume(error === null ? Effect.void : Effect.fail(error))
    )
  }).pipe(
    Effect.catch(({ message }) =>
      Effect.annotateLogs(Effect.logWarning("Could not notify systemd"), { reason: message })
    )
  )

/** The server listens. `status` is a sentence that `systemctl status` shows. */
export const ready = (status: string): Effect.Effect<void> => notify("READY=1", `STATUS=${status}`)

/** The server has begun to stop. */
export const stopping = (status: string): Effect.Effect<void> => notify("STOPPING=1", `STATUS=${status}`)
