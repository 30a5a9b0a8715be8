import { Context, Effect, Layer, type Scope } from "effect"
import type { Socket } from "node:net"
import { silence } from "./silence.ts"

/** How long the owner may say nothing, in milliseconds; it says something each second. */
const SILENCE_MILLIS = 10_000

/** A worker's connections to the owner of its cache. They are cut when the owner stops responding, so that nobody waits for it. */
export class OwnerLink extends Context.Service<OwnerLink, {
  /** Cuts `socket`, a connection to the owner, when the owner falls silent. Returns it. */
  readonly hold: (socket: Socket) => Socket
  /** Whether the owner has not responded for a while: what is asked now would wait. */
  readonly isSilent: () => boolean
}>()("spillway/workers/OwnerLink") {
  /** Every message from the owner is a sign of life. */
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

/** The link, and what is to be called whenever the owner says something. */
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
      ? Effect.logError("The process that owns the cache does not respond: only cached files are served")
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
