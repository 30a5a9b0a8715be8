import { Context, Effect, Layer, type Scope } from "effect"
import type { Socket } from "node:net"
import { silence } from "./silence.ts"

/** The longest silence of the owner, in milliseconds. It sends a message each second. */
const SILENCE_MILLIS = 10_000

/** A worker's connections to the owner of its cache. They are cut when the owner stops responding, so that no viewer waits for it. */
export class OwnerLink extends Context.Service<OwnerLink, {
  /** Cuts `socket`, a connection to the owner, when the owner falls silent. Returns it. */
  readonly hold: (socket: Socket) => Socket
  /** Whether the owner has stopped responding, so that a new request would wait. */
  readonly isSilent: () => boolean
}>()("spillway/workers/OwnerLink") {
  /** Every message from the owner shows that it responds. */
  static readonly layer: Layer.Layer<OwnerLink> = Layer.effect(
    OwnerLink,
    Effect.gen(function*() {
      const { hear, link } = yield* make
      yield* Effect.acquireRelease(
        Effect.sync(() => process.on("message", hear)),
        () => Effect.sync(() => process.off("message", hear))
      )
      return link
    })
  )
}

/** The link, and the function to call for each message of the owner. */
export const make: Effect.Effect<
  { readonly hear: () => void; readonly link: OwnerLink["Service"] },
  never,
  Scope.Scope
> = Effect.gen(function*() {
  const sockets = new Set<Socket>()
  let isSilent = false
  let isHeard = false

  const wasHeard = () => {
    const was = isHeard
    isHeard = false
    return was
  }

  const cut = Effect.suspend(() => {
    const isFirst = !isSilent
    isSilent = true
    for (const socket of sockets) socket.destroy()
    return isFirst
      ? Effect.logError("The process that owns the cache does not respond; only cached files are served")
      : Effect.void
  })
  yield* silence(SILENCE_MILLIS, wasHeard).pipe(Effect.andThen(cut), Effect.forever, Effect.forkScoped)

  return {
    hear: () => {
      isHeard = true
      isSilent = false
    },
    link: {
      hold: (socket) => {
        sockets.add(socket)
        return socket.once("close", () => sockets.delete(socket))
      },
      isSilent: () => isSilent
    }
  }
})
