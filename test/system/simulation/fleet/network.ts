import { Cause, Context, Effect, type Fiber, Stream } from "effect"
import {
  Cookies,
  Headers,
  HttpClient,
  HttpClientError,
  type HttpClientRequest,
  type HttpClientResponse,
  HttpServerRequest,
  type HttpServerResponse
} from "effect/http"
import { proveResponse } from "../../../../src/domain/FleetSignature.ts"
import { OriginFault } from "../../../../src/domain/OriginFault.ts"
import { ALIVE_PATH, PROOF_FIELD, PURGE_PATH } from "../../../../src/domain/PeerProtocol.ts"
import { markPeer } from "../../../../src/http/proxy/peerRequests.ts"
import { Proxy } from "../../../../src/http/proxy/Proxy.ts"
import { type Admitted, type PeerGate, type PeerHead, restoreFields } from "../../../../src/http/server/peerGate.ts"
import { type PeerMessage, PeerMessenger, type PeerReply } from "../../../../src/services/fleet/PeerMessenger.ts"
import type { Machine, Process } from "../machine.ts"
import type { Random } from "../random.ts"
import type { Services } from "../spillway.ts"

/**
 * The network between nodes. Each request has a connection of its own, whose packets arrive in order. Where a link is cut, they arrive when
 * it is mended, as with TCP. A process that has ended refuses connections, and one that is suspended accepts them and does nothing.
 */

/** A process that serves other nodes. */
export interface Port {
  readonly process: Process
  readonly gate: PeerGate
  /** The status of the answer to a purge. */
  readonly receive: (text: string) => Effect.Effect<number>
  readonly fork: <A, E>(effect: Effect.Effect<A, E, Services>) => Fiber.Fiber<A, E>
}

/** Work for a process, which does it in the order of arrival, whatever it does between. */
const makeInbox = () => {
  const work: Array<() => void> = []
  return (process: Process | undefined, f: () => void): void => {
    if (process === undefined) return
    work.push(f)
    process.post(() => work.shift()!())
  }
}

/** How long a connection may take, in milliseconds: as long as that of the real client. */
const CONNECT_MILLIS = 1000

/** How many bytes of a body are under way between two processes. */
const WINDOW_BYTES = 16 * 1024

interface Answer {
  readonly status: number
  readonly headers: Record<string, string>
}

/** What a client hears of its connection, in its own process. */
interface Listener {
  readonly onAnswer: (answer: Answer) => void
  readonly onBytes: (bytes: Uint8Array) => void
  readonly onEnd: () => void
  readonly onFailure: (code: string) => void
}

interface Connection {
  readonly from: string
  readonly to: string
  /** Ends it at once, without a word to the process of that side. */
  readonly lose: (side: "from" | "to") => void
}

interface Parts {
  readonly machine: Machine
  readonly random: Random
  /** How long a packet takes at most, in milliseconds. */
  readonly latency: () => number
  readonly portOf: (name: string) => Port | undefined
  /** The process of a node, whether it serves or not. */
  readonly processOf: (name: string) => Process | undefined
  /** A node has confirmed a purge of another one. */
  readonly onPurged: (name: string, text: string) => void
  /** A node sends a purge. */
  readonly onSent: (text: string) => void
}

const bytesOf = (response: HttpServerResponse.HttpServerResponse): Stream.Stream<Uint8Array, unknown> => {
  const { body } = response
  if (body._tag === "Stream") return body.stream
  const isBytes = body._tag === "Uint8Array" || (body._tag === "Raw" && body.body instanceof Uint8Array)
  return isBytes ? Stream.make(body.body as Uint8Array) : Stream.empty
}

const fieldsOf = ({ body, headers }: HttpServerResponse.HttpServerResponse): Record<string, string> => {
  const length = "contentLength" in body ? body.contentLength : undefined
  return { ...(length !== undefined && { "content-length": String(length) }), ...headers }
}

export const makeNetwork = ({ latency, machine, onPurged, onSent, portOf, processOf, random }: Parts) => {
  /** Links on which nothing arrives, and what waits there. */
  const cuts = new Map<string, Array<() => void>>()
  const connections = new Set<Connection>()
  const linkOf = (from: string, to: string) => `${from} ${to}`

  /** One direction of a connection. */
  const makePipe = (from: string, to: string) => {
    let last = 0
    return (f: () => void): void => {
      last = Math.max(last, machine.now() + random.int(0, latency()))
      const arrive = () => {
        const held = cuts.get(linkOf(from, to))
        if (held !== undefined) held.push(arrive)
        else f()
      }
      machine.at(last, arrive)
    }
  }

  /** A request, from the client's side. Returns how the client reads on, and how it closes. */
  const open = (from: string, to: string, head: PeerHead, text: string, listener: Listener) => {
    if (head.url === PURGE_PATH) onSent(text)
    const client = processOf(from)!
    const forth = makePipe(from, to)
    const back = makePipe(to, from)
    const toClient = makeInbox()
    const toServer = makeInbox()
    let isOpen = true
    /** Who serves it; a process that is started later knows nothing of it. */
    let server: Port | undefined
    let fiber: Fiber.Fiber<unknown, unknown> | undefined
    let unread = 0
    let wake: (() => void) | undefined

    const close = (): void => {
      isOpen = false
      connections.delete(connection)
    }
    /** Has the client hear something, if it has not hung up. */
    const tell = (f: () => void) => back(() => toClient(client, () => isOpen && f()))
    const refuse = (code: string) => {
      if (!isOpen) return
      close()
      toClient(client, () => listener.onFailure(code))
    }
    const hangUp = () => toServer(server?.process, () => fiber?.interruptUnsafe())
    const connection: Connection = {
      from,
      to,
      lose: (side) => {
        if (side === "from") {
          close()
          forth(hangUp)
        } else {
          // The system of the other side resets what the process has left.
          back(() =>
            client.post(() => {
              if (!isOpen) return
              close()
              listener.onFailure("ECONNRESET")
            })
          )
        }
      }
    }
    connections.add(connection)

    /** Waits until there is room for more. */
    const untilRead: Effect.Effect<void> = Effect.suspend(() =>
      unread < WINDOW_BYTES ? Effect.void : Effect.andThen(
        Effect.callback<void>((resume) => {
          wake = () => resume(Effect.void)
        }),
        untilRead
      )
    )

    const send = Effect.fnUntraced(function*(bytes: Uint8Array) {
      const copy = new Uint8Array(bytes)
      unread += copy.length
      tell(() => listener.onBytes(copy))
      yield* untilRead
    })

    const finish = () =>
      tell(() => {
        close()
        listener.onEnd()
      })

    const serve = (port: Port) =>
      Effect.gen(function*() {
        const admitted = port.gate.admit(head)
        if (admitted === undefined) {
          tell(() => listener.onAnswer({ status: 403, headers: {} }))
          return finish()
        }
        const answer = (status: number, headers: Record<string, string>) => {
          const proven = { status, etag: headers["etag"], contentRange: headers["content-range"] }
          const proof = proveResponse(port.gate.secrets, admitted.mac, proven)
          tell(() => listener.onAnswer({ status, headers: { ...headers, [PROOF_FIELD]: proof } }))
        }
        if (head.url === ALIVE_PATH) answer(204, {})
        else if (head.url === PURGE_PATH) {
          const status = yield* port.receive(text)
          if (status === 200) onPurged(to, text)
          answer(status, {})
        } else {
          const response = yield* handle(head, admitted)
          answer(response.status, fieldsOf(response))
          yield* Stream.runForEach(bytesOf(response), send)
        }
        finish()
      }).pipe(
        Effect.scoped,
        Effect.catchCause(() =>
          Effect.sync(() =>
            tell(() => {
              close()
              listener.onFailure("ECONNRESET")
            })
          )
        )
      )

    const connect = () => {
      if (!isOpen) return
      const port = portOf(to)
      if (port === undefined) return back(() => refuse("ECONNREFUSED"))
      server = port
      toServer(port.process, () => {
        if (isOpen) fiber = port.fork(serve(port))
      })
    }
    if (cuts.has(linkOf(from, to)) || cuts.has(linkOf(to, from))) {
      machine.at(machine.now() + CONNECT_MILLIS, () => refuse("UND_ERR_CONNECT_TIMEOUT"))
    } else forth(connect)

    return {
      /** The client has taken so many bytes. */
      taken: (length: number) =>
        forth(() => {
          unread -= length
          const waiting = wake
          wake = undefined
          if (waiting !== undefined) toServer(server?.process, waiting)
        }),
      close: () => {
        if (!isOpen) return
        close()
        forth(hangUp)
      }
    }
  }

  return {
    open,
    cut: (from: string, to: string): void => {
      if (!cuts.has(linkOf(from, to))) cuts.set(linkOf(from, to), [])
    },
    mend: (from: string, to: string): void => {
      const held = cuts.get(linkOf(from, to)) ?? []
      cuts.delete(linkOf(from, to))
      for (const arrive of held) arrive()
    },
    isCut: (from: string, to: string): boolean => cuts.has(linkOf(from, to)),
    /** The process of a node has ended. */
    ended: (name: string): void => {
      for (const connection of connections) {
        if (connection.from === name) connection.lose("from")
        if (connection.to === name) connection.lose("to")
      }
    },
    connections: (): number => connections.size
  }
}

/** What `makeNetwork` makes. */
export type Network = ReturnType<typeof makeNetwork>

/** A request of a node, handled as the port for nodes does. */
const handle = Effect.fnUntraced(function*({ headers, method, url }: PeerHead, { mark }: Admitted) {
  const fields = { ...headers }
  restoreFields(fields)
  const source = new Request(new URL(url, "http://spillway"), { method, headers: fields })
  markPeer(source, mark)
  const { handler } = yield* Proxy
  const request = HttpServerRequest.fromWeb(source)
  const { response } = yield* Effect.provideService(handler, HttpServerRequest.HttpServerRequest, request)
  return response
})

const headOf = (method: string, url: URL, headers: Record<string, string>): PeerHead => ({
  method,
  url: `${url.pathname}${url.search}`,
  headers
})

const nodeAt = ({ hostname }: URL): string => hostname.split(".")[0]!

/** What carries the requests of the node `from`. */
export const makeTransport = (
  network: Network,
  from: string
): Context.Context<HttpClient.HttpClient | PeerMessenger> => {
  const client = HttpClient.make((message, url, signal) =>
    Effect.callback<HttpClientResponse.HttpClientResponse, HttpClientError.HttpClientError>((resume) => {
      const connection = makeReader(
        message,
        (listener) =>
          network.open(from, nodeAt(url), headOf(message.method, url, { ...message.headers }), "", listener),
        resume
      )
      signal.addEventListener("abort", connection.close)
      return Effect.sync(connection.close)
    })
  )
  const messenger = PeerMessenger.of({
    send: ({ body = "", headers, method, url }: PeerMessage) =>
      Effect.callback<PeerReply, unknown>((resume) => {
        const target = new URL(url)
        let reply: Answer | undefined
        const connection = network.open(from, nodeAt(target), headOf(method, target, headers), body, {
          onAnswer: (answer) => reply = answer,
          onBytes: () => {},
          onEnd: () => resume(Effect.succeed({ status: reply!.status, proof: reply!.headers[PROOF_FIELD], text: "" })),
          onFailure: (code) => resume(Effect.fail(new OriginFault(code)))
        })
        return Effect.sync(connection.close)
      })
  })
  return Context.make(HttpClient.HttpClient, client).pipe(Context.add(PeerMessenger, messenger))
}

/** A response of the platform's, as far as `Origin` looks at it, and its body as its reader takes it. */
const makeReader = (
  request: HttpClientRequest.HttpClientRequest,
  open: (listener: Listener) => ReturnType<Network["open"]>,
  resume: (
    exit: Effect.Effect<HttpClientResponse.HttpClientResponse, HttpClientError.HttpClientError>
  ) => void
) => {
  const pieces: Array<Uint8Array> = []
  let end: "open" | "ended" | HttpClientError.HttpClientError = "open"
  let hasAnswer = false
  let wake: (() => void) | undefined
  const stir = () => {
    const waiting = wake
    wake = undefined
    waiting?.()
  }
  const connection = open({
    onAnswer: ({ headers, status }) => {
      hasAnswer = true
      resume(Effect.succeed(responseOf(status, headers)))
    },
    onBytes: (bytes) => {
      pieces.push(bytes)
      stir()
    },
    onEnd: () => {
      end = "ended"
      stir()
    },
    onFailure: (code) => {
      const cause = new OriginFault(code)
      end = new HttpClientError.HttpClientError({ reason: new HttpClientError.TransportError({ request, cause }) })
      if (hasAnswer) stir()
      else resume(Effect.fail(end))
    }
  })
  const pull: Effect.Effect<readonly [Uint8Array, ...Array<Uint8Array>], HttpClientError.HttpClientError | Cause.Done> =
    Effect.suspend(() => {
      const taken = pieces.splice(0)
      if (taken.length > 0) {
        connection.taken(taken.reduce((sum, { length }) => sum + length, 0))
        return Effect.succeed(taken as [Uint8Array, ...Array<Uint8Array>])
      }
      if (end === "ended") return Cause.done()
      if (end !== "open") return Effect.fail(end)
      return Effect.andThen(
        Effect.callback<void>((resume) => {
          wake = () => resume(Effect.void)
        }),
        pull
      )
    })
  const responseOf = (status: number, headers: Record<string, string>) =>
    ({
      request,
      status,
      headers: Headers.fromInput(headers),
      cookies: Cookies.empty,
      source: { headers: {} },
      stream: Stream.fromPull(Effect.succeed(pull))
    }) as unknown as HttpClientResponse.HttpClientResponse
  return {
    close: () => {
      connection.close()
      if (end === "open") {
        end = new HttpClientError.HttpClientError({
          reason: new HttpClientError.TransportError({ request, cause: new OriginFault("UND_ERR_ABORTED") })
        })
        stir()
      }
    }
  }
}
