import type { Effect, Scope, Stream } from "effect"
import type { Socket } from "effect/socket"
import type { OriginError } from "../../domain/OriginError.ts"
import type { OriginFault } from "../../domain/OriginFault.ts"
import type { Hop } from "../../domain/Redirect.ts"
import type { OriginHead } from "../../domain/Representation.ts"
import type { OriginRequest } from "./Origin.ts"

/** The response of one server, whose body has yet to be read. The scope of its request holds its connection or file. */
export interface HopResponse extends OriginHead {
  /** The lines of `Set-Cookie`, in order; `headers` has them combined. */
  readonly setCookie: ReadonlyArray<string>
  /** The body. Can be read once. */
  readonly stream: Stream.Stream<Uint8Array, OriginFault>
  /** The connection behind a 101 (Switching Protocols). */
  readonly switched?: Effect.Effect<Socket.Socket, OriginError>
}

/** Sends a request to one kind of server. */
export type SendRequest = (
  request: OriginRequest,
  hop: Hop
) => Effect.Effect<HopResponse, OriginError, Scope.Scope>
