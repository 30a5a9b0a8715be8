import { IncomingMessage, Server, ServerResponse } from "node:http"
import { Socket } from "node:net"
import * as CacheStatus from "../../domain/rfc/CacheStatus.ts"
import type { HeaderFields } from "../../domain/rfc/HeaderFields.ts"
import { offeredProtocol, offersUpgrade } from "../../domain/rfc/Upgrade.ts"
import type { ServerOptions } from "../../services/config/ServerConfig.ts"
import type { ShortRead } from "../../services/media/shortReads.ts"
import { isToBeRead, type PromptResponse } from "../proxy/mediaResponse.ts"
import type { RequestHead } from "../proxy/parseRequest.ts"
import { OVERLOADED, overloadedHeaders } from "../proxy/StreamLimit.ts"
import { isInLine } from "../proxy/turn.ts"
import { abandon, endTruthfully } from "./connectionEnds.ts"
import { type Connection, isAnswered, isIdle, isStalled } from "./connectionState.ts"
import { encoded, RestOfConnection } from "./rawTarget.ts"
import { hasBody, MAX_HEADER_FIELDS, refusalOf } from "./requestFraming.ts"
import { setCacheStatus, WatchedResponse } from "./WatchedResponse.ts"

/** How long an idle connection is kept for the viewer's next request, in milliseconds. */
const KEEP_ALIVE_MILLIS = 65_000

/** How long a whole request may take to arrive, in milliseconds: uploads pass through, and large ones are slow. */
const REQUEST_MILLIS = 3_600_000

/** How much the header of a request may be, in bytes; Node answers 431 beyond it. */
const MAX_HEADER_BYTES = 16 * 1024

/** How many requests of one connection may wait for their turn; each holds its head, and nothing of the answer's body. */
const MAX_PIPELINED = 16

/** How many requests beyond those are read and dropped: what is left unread when a connection ends costs its viewer the answers. */
const MAX_DROPPED = 256

/** How many connections beyond the served ones are accepted to get a 503, as a part of those. */
const SLACK = 1 / 8

/** How many connections are checked for one that can make room; to look at all each time would be a help to anyone who floods. */
const MAX_LOOKS = 512

/** How often Node looks for requests that take too long: so often in `headerTimeout`, and at least so often in milliseconds. */
const CHECKS = { parts: 4, longest: 5_000 }

const ignore = (): void => {}

/** What is said to requests that cannot be read, by Node's code for why; 400 to all others. */
const reasons = new Map<string | undefined, string>([
  ["HPE_HEADER_OVERFLOW", "431 Request Header Fields Too Large"],
  ["HPE_CHUNK_EXTENSIONS_OVERFLOW", "413 Payload Too Large"],
  ["ERR_HTTP_REQUEST_TIMEOUT", "408 Request Timeout"]
])

/** What the cache did for a refused request. */
const REFUSED: CacheStatus.CacheStatus = { fwd: "bypass", detail: "REFUSED" }

/** Refuses a request by a line of text. */
const refuse = (
  response: ServerResponse,
  status: number,
  reason: string,
  cacheStatus: CacheStatus.CacheStatus,
  headers: Record<string, string> = {}
): void => {
  const body = `${reason}\n`
  setCacheStatus(response, cacheStatus)
  response.writeHead(status, {
    ...headers,
    "cache-status": CacheStatus.format(cacheStatus),
    "connection": "close",
    "content-type": "text/plain",
    "content-length": String(body.length)
  })
  response.end(body)
}

/** The connection that an argument of an event is about. */
const socketOf = (argument: unknown): Socket | undefined =>
  argument instanceof Socket ? argument : argument instanceof IncomingMessage ? argument.socket : undefined

/** The events by which Node reports a request, according to its expectation. */
const isRequest = new Set(["request", "checkContinue", "checkExpectation"])

/** Hands the head of a response to Node. Returns whether Node accepts it. If not, the listeners meet that too, and can report it. */
const begins = (response: ServerResponse, { fields, status }: PromptResponse): boolean => {
  try {
    response.writeHead(status, fields as Array<string>)
    return true
  } catch {
    return false
  }
}

const send = (response: ServerResponse, { cacheStatus }: PromptResponse, pieces: ReadonlyArray<Uint8Array>): void => {
  setCacheStatus(response, cacheStatus)
  for (let i = 0; i < pieces.length - 1; i++) response.write(pieces[i])
  response.end(pieces.at(-1))
}

/** What a guarded server says of itself. */
interface Watcher {
  /** The name of its node of a fleet. */
  readonly node?: string | undefined
  readonly onConnections: (count: number) => void
  /** A connection found no room. */
  readonly onSurplus: () => void
  /** A listener of `event` threw, which cost one connection. */
  readonly onDefect: (event: string, defect: unknown) => void
  /** An answer has been sent, or given up. Answers are watched only where somebody wants to know. */
  readonly onAnswered: ((response: WatchedResponse) => void) | undefined
}

/** Replies to a request if that takes no waiting. All other requests go to the listeners. */
type FastPath = (request: RequestHead) => PromptResponse | undefined

/**
 * A Node server that strangers may talk to: it bounds how many connections there are, how long each may stall, and what may
 * come in by one. A refused request never gets to the `request` listeners.
 */
export class GuardedServer extends Server {
  readonly #connections = new Map<Socket, Connection>()
  /** Those of which the rest is served as another. */
  readonly #resumed = new WeakSet<Socket>()
  readonly #options: ServerOptions
  readonly #watcher: Watcher
  readonly #named: Pick<CacheStatus.CacheStatus, "node">
  readonly #tryReply: FastPath
  /** One for all answers. */
  readonly #onSettled: (this: ServerResponse) => void

  constructor(options: ServerOptions, watcher: Watcher, tryReply: FastPath = () => undefined) {
    const { headerTimeout, idleTimeout, maxConnections } = options
    let mayUpgrade: (request: IncomingMessage) => boolean = () => false
    super({
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: headerTimeout,
      requestTimeout: Math.max(REQUEST_MILLIS, headerTimeout),
      connectionsCheckingInterval: Math.min(CHECKS.longest, Math.ceil(headerTimeout / CHECKS.parts)),
      keepAliveTimeout: KEEP_ALIVE_MILLIS,
      requireHostHeader: false,
      shouldUpgradeCallback: (request) => mayUpgrade(request),
      ...(watcher.onAnswered !== undefined && { ServerResponse: WatchedResponse as typeof ServerResponse })
    })
    this.#options = options
    this.#watcher = watcher
    this.#named = watcher.node === undefined ? {} : { node: watcher.node }
    this.#tryReply = tryReply
    const settle = (response: ServerResponse) => this.#settle(response)
    this.#onSettled = function() {
      settle(this)
    }
    // One more than may be, so that too many can be seen.
    this.maxHeadersCount = MAX_HEADER_FIELDS + 1
    this.maxConnections = maxConnections + Math.ceil(maxConnections * SLACK)
    this.timeout = idleTimeout
    this.on("connection", (socket) => this.#accept(socket))
    this.on("drop", watcher.onSurplus)
    this.on("clientError", (error, socket) => this.#fail(error, socket as Socket))
    this.on("timeout", (socket) => {
      const connection = this.#connections.get(socket)
      if (connection === undefined || isStalled(socket, connection)) socket.destroy()
      // The timer runs once.
      else socket.setTimeout(idleTimeout)
    })
    // Node would answer by itself, without regard to other errors of the request.
    this.on("checkExpectation", (_, response) => {
      response.writeHead(417, { "content-length": "0" })
      response.end()
    })
    // The platform answers upgrades by itself.
    this.on("newListener", (event, listener) => {
      if (event === "upgrade" && listener !== serveLast) queueMicrotask(() => this.off("upgrade", listener))
    })
    const serveLast = (request: IncomingMessage, socket: Socket, head: Buffer) => this.#serveLast(request, socket, head)
    this.on("connect", serveLast)
    // Before 22.21 and 24.9, Node hands over every request that offers an upgrade, and loses its body.
    if ("shouldUpgradeCallback" in this) {
      mayUpgrade = (request) => this.#mayUpgrade(request)
      this.on("upgrade", serveLast)
    }
  }

  override emit(event: string, ...args: Array<any>): boolean {
    try {
      if (!isRequest.has(event)) return super.emit(event, ...args)
      return this.#refuses(args[0], args[1]) || (event === "request" && this.#answers(args[0], args[1])) ||
        super.emit(event, ...args)
    } catch (defect) {
      // Nobody above catches it: the process would end, and all connections with it.
      this.#watcher.onDefect(event, defect)
      for (const arg of args) socketOf(arg)?.destroy()
      return true
    }
  }

  /** How many bytes of answers the viewers have not taken yet. */
  unsentBytes(): number {
    let sum = 0
    for (const socket of this.#connections.keys()) sum += socket.writableLength
    return sum
  }

  /**
   * Ends the connections that no request is under way on. Node's own would cut an answer that is not sent yet when all of it
   * has been handed over, and wait for a connection that says nothing.
   */
  override closeIdleConnections(): void {
    for (const [socket, connection] of this.#connections) {
      if (isIdle(connection) || socket.bytesRead === 0) socket.destroy()
    }
  }

  override close(callback?: (error?: Error) => void): this {
    super.close(callback)
    for (const [socket, connection] of this.#connections) {
      connection.answers.at(-1)?.once("close", () => {
        if (isIdle(connection)) socket.destroySoon()
      })
    }
    return this
  }

  /**
   * What came cannot be read, or not in time. Node would answer at once, in place of or on top of the answers under way; here
   * anyone who has asked before gets those first.
   */
  #fail(error: NodeJS.ErrnoException, socket: Socket): void {
    if (this.#resumed.has(socket)) return
    const connection = this.#connections.get(socket)
    if (connection === undefined || socket.errored !== null) return void socket.destroy()
    if (connection.isClosing) return this.#drop(socket, connection)
    const rest = isAnswered(connection) && !connection.isLast ? encoded(error) : undefined
    if (rest !== undefined) return this.#resume(socket, rest)
    connection.isClosing = true
    const { answers, request } = connection
    const last = answers.at(-1)
    const isOfBody = request?.complete === false
    const refuse = () => {
      if (socket.writable) {
        socket.write(`HTTP/1.1 ${reasons.get(error.code) ?? "400 Bad Request"}\r\nConnection: close\r\n\r\n`)
      }
      socket.destroySoon()
    }
    if (last === undefined || last.writableFinished) {
      // The request whose body it is has been answered.
      if (isOfBody) socket.destroySoon()
      else refuse()
    } else if (!isOfBody) last.once("finish", refuse)
    else if (last.headersSent || answers.length > 1) socket.destroy()
    else refuse()
  }

  /** Serves the rest of a connection that Node has stopped to read. */
  #resume(socket: Socket, rest: Buffer): void {
    this.#resumed.add(socket)
    this.#connections.delete(socket)
    this.emit("connection", new RestOfConnection(socket, rest))
  }

  /** An answer has been sent, or given up. What is sent is let go of: it may be large, and the connection be kept for long. */
  #settle(response: ServerResponse): void {
    this.#watcher.onAnswered?.(response as WatchedResponse)
    const { socket } = response.req
    const answers = this.#connections.get(socket)?.answers
    const index = answers?.indexOf(response) ?? -1
    if (answers === undefined || index < 0) return
    if (response.writableFinished) return void answers.splice(index, 1)
    // Node cuts an answer by its connection, which one that stands in line does not have yet: its viewer would wait without end.
    const before = answers[index - 1]
    if (before === undefined || before.writableFinished) return void socket.destroy()
    // To HTTP/1.0, the end in stages may be that of a body.
    before.once("finish", () => response.req.httpVersionMinor === 0 ? socket.destroy() : socket.destroySoon())
  }

  /** Ignores further requests on a connection that is about to end. */
  #drop(socket: Socket, connection: Connection): void {
    connection.dropped += 1
    if (connection.dropped > MAX_DROPPED) socket.destroy()
  }

  #accept(socket: Socket): void {
    const connections = this.#connections
    const isSurplus = connections.size >= this.#options.maxConnections && !this.#makeRoom()
    const isLast = socket as unknown instanceof RestOfConnection
    const connection = { isSurplus, isLast, isClosing: false, dropped: 0, request: undefined, answers: [] }
    connections.set(socket, connection)
    endTruthfully(socket, connection)
    this.#watcher.onConnections(connections.size)
    if (isSurplus) this.#watcher.onSurplus()
    socket.once("close", () => {
      connections.delete(socket)
      this.#watcher.onConnections(connections.size)
      for (const response of connection.answers) abandon(response)
    })
  }

  /** Ends a connection that is merely kept for a next request, so that nobody takes up all of them at no cost. */
  #makeRoom(): boolean {
    const connections = this.#connections
    let looks = 0
    for (const [socket, connection] of connections) {
      if (!socket.destroyed && isIdle(connection)) {
        socket.destroy()
        return true
      }
      looks += 1
      if (looks > MAX_LOOKS) return false
      // To the end of the line, so that next time it is others who are checked.
      connections.delete(socket)
      connections.set(socket, connection)
    }
    return false
  }

  /**
   * Whether Node stops to read HTTP behind `request`, so that its connection may change to another protocol. Any other request that
   * offers an upgrade, as `curl --http2` does, is a request like any other (RFC 9110 §7.8).
   */
  #mayUpgrade(request: IncomingMessage): boolean {
    const connection = this.#connections.get(request.socket)
    return connection !== undefined && !connection.isClosing && isAnswered(connection) && !hasBody(request) &&
      request.httpVersion === "1.1" && offeredProtocol(request.headers as HeaderFields) !== undefined
  }

  /** Serves a request behind which Node has stopped to read HTTP. It is the last one of its connection. */
  #serveLast(request: IncomingMessage, socket: Socket, head: Buffer): void {
    // Node has removed its listeners.
    socket.on("error", ignore)
    const connection = this.#connections.get(socket)
    if (connection === undefined || !isAnswered(connection)) return void socket.destroy()
    socket.on("timeout", () => this.emit("timeout", socket))
    if (head.length > 0) socket.unshift(head)
    const Response = this.#watcher.onAnswered === undefined ? ServerResponse : WatchedResponse
    const response = new Response(request)
    response.assignSocket(socket)
    response.once("finish", () => socket.destroySoon())
    socket.on("drain", () => response.writableNeedDrain && response.emit("drain"))
    if (!this.#refuses(request, response)) super.emit("request", request, response)
  }

  /** Whether a request was answered without waiting for anything. */
  #answers(request: IncomingMessage, response: ServerResponse): boolean {
    // The fast path neither reads bodies nor changes protocols.
    if (isInLine(response) || hasBody(request) || request.headers.upgrade !== undefined) return false
    let prompt: PromptResponse | undefined
    try {
      prompt = this.#tryReply(request as IncomingMessage & RequestHead)
    } catch {
      // A defect, which the listeners meet too, and can report.
    }
    if (prompt === undefined) return false
    const { body } = prompt
    if (isToBeRead(body)) {
      this.#answerSoon(request, response, prompt, body)
      return true
    }
    if (!begins(response, prompt)) return false
    send(response, prompt, body)
    return true
  }

  /** Answers when the body was read. If it can't be read, the listeners answer. */
  #answerSoon(request: IncomingMessage, response: ServerResponse, prompt: PromptResponse, body: ShortRead): void {
    body.begin((pieces) => {
      try {
        if (response.destroyed) body.release()
        else if (pieces === undefined) super.emit("request", request, response)
        else if (!begins(response, prompt)) {
          body.release()
          super.emit("request", request, response)
        } else {
          // When it was sent, or can't be sent any more.
          response.once("close", body.release)
          if (response instanceof WatchedResponse) response.source = "disk"
          send(response, prompt, pieces)
        }
      } catch (defect) {
        this.#watcher.onDefect("request", defect)
        request.socket.destroy()
      }
    })
  }

  /** Whether a request goes no further: it has been answered here, or will never be. */
  #refuses(request: IncomingMessage, response: ServerResponse): boolean {
    const { socket } = request
    const connection = this.#connections.get(socket)
    if (connection === undefined) return false
    const { answers } = connection
    if (connection.isClosing) {
      this.#drop(socket, connection)
      return true
    }
    if (answers.length >= MAX_PIPELINED) {
      // The viewer asks again for what was not answered when the connection ends (RFC 9112 §9.3.2).
      connection.isClosing = true
      answers.at(-1)!.once("finish", () => socket.destroySoon())
      return true
    }
    answers.push(response)
    connection.request = request
    response.on("close", this.#onSettled)
    if (connection.isSurplus) {
      connection.isClosing = true
      refuse(response, 503, "Too many connections", { ...OVERLOADED, ...this.#named }, overloadedHeaders)
      return true
    }
    const refusal = refusalOf(request)
    if (refusal !== undefined) {
      connection.isClosing = true
      refuse(response, ...refusal, { ...REFUSED, ...this.#named })
      return true
    }
    // Anyone who read the body may have stopped when its sender goes away, and an error that nobody hears ends the process.
    request.on("error", ignore)
    // Node would send it behind the head of an answer that stands in line. Anyone who waits for it may stop waiting (RFC 9110 §10.1.1).
    if (response.socket === null) response.writeContinue = () => {}
    // Node would for one that says that it knows chunks (RFC 9112 §6.1).
    if (request.httpVersionMinor === 0) response.useChunkedEncodingByDefault = false
    // Node drops what comes in one piece behind a request that offers an upgrade: it must not go on from the middle of something.
    if (connection.isLast || request.method === "CONNECT" || offersUpgrade(request.headers)) {
      connection.isClosing = true
    }
    if (connection.isClosing || !this.listening) response.setHeader("connection", "close")
    return false
  }
}
