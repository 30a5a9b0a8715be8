/**
 * What went wrong below HTTP between Spillway and an origin: a code for programs, and words for people. The words tell nothing of the
 * request, so that they may be logged.
 */

/** A fault of a connection, or of an answer that cannot be read. Its code is a key of `faults`, or one of the system's or TLS's. */
export class OriginFault extends Error {
  readonly code: string
  /** The address that was tried, or what the parser did not understand. */
  readonly detail: string | undefined

  constructor(code: string, detail?: string) {
    super(detail === undefined ? code : `${code}: ${detail}`)
    this.code = code
    this.detail = detail
  }
}

/** What a fault means, and what to do about it. */
interface Told {
  readonly message: string
  readonly advice: string
}

/** A fault with its code. */
interface Explained extends Told {
  readonly code: string
}

const TRUST =
  "Name a file with the certificate of its CA as `ca` of the origin, or in NODE_EXTRA_CA_CERTS, and restart Spillway"

const NETWORK = "Check routes and firewalls between this machine and the origin"

const MOUNT = "Mount it, or correct the path of its URL"

const ITS_LOG = "See the origin's log"

const unknownIssuer: Told = {
  message: "its certificate comes from an unknown CA, or lacks an intermediate",
  advice: TRUST
}

const brokenOff: Told = { message: "connection reset", advice: ITS_LOG }

const noTls: Told = {
  message: "it does not speak TLS on this port",
  advice: "Use http:// in the origin's URL, or the port that it has TLS on"
}

const notAUrl: Told = {
  message: "not a URL",
  advice: "Give a URL that begins with http:// or https://, such as https://media.example.org"
}

const faults: Readonly<Record<string, Told>> = {
  // The system
  ECONNREFUSED: { message: "connection refused", advice: "Start the origin, or correct host and port of its URL" },
  ENOTFOUND: {
    message: "no such host name",
    advice: "Correct the host name, or enter it in the DNS that this machine uses"
  },
  EAI_AGAIN: { message: "the name server does not answer", advice: "Check the DNS settings of this machine" },
  EHOSTUNREACH: { message: "host unreachable", advice: NETWORK },
  ENETUNREACH: { message: "network unreachable", advice: NETWORK },
  ETIMEDOUT: { message: "connection timed out", advice: NETWORK },
  ECONNRESET: brokenOff,
  ERR_RESET_BY_ORIGIN: brokenOff,
  EPIPE: brokenOff,
  EMFILE: {
    message: "too many open files here",
    advice: "Raise the limit: ulimit -n, or LimitNOFILE in a systemd unit"
  },
  ENFILE: { message: "too many open files on this machine", advice: "Raise the limit fs.file-max" },
  EADDRNOTAVAIL: { message: "no local port is left", advice: "Lower --origin-requests, or widen ip_local_port_range" },
  // Directories
  ENOENT: { message: "its directory does not exist", advice: MOUNT },
  ENOTDIR: { message: "its directory is a file", advice: MOUNT },
  EMPTY_DIRECTORY: { message: "its directory is empty, as if nothing were mounted there", advice: MOUNT },
  ENOTCONN: { message: "its file system has ended", advice: "Mount it again" },
  ESTALE: { message: "the server of its file system no longer knows the file", advice: "Mount it again" },
  EIO: { message: "its file system reports an I/O error", advice: "See the log of the kernel: dmesg" },
  FILE_CHANGED: {
    message: "the file changed while it was read",
    advice: "Nothing: the next request gets the new file"
  },
  // Buckets
  NO_CREDENTIALS: {
    message: "its credentials can't be read",
    advice: "Check the file with credentials, and whether it has the profile of the route"
  },
  // Certificates
  DEPTH_ZERO_SELF_SIGNED_CERT: {
    message: "its certificate is self-signed",
    advice: "Name a file with that certificate as `ca` of the origin, or in NODE_EXTRA_CA_CERTS, and restart Spillway"
  },
  SELF_SIGNED_CERT_IN_CHAIN: unknownIssuer,
  UNABLE_TO_GET_ISSUER_CERT: unknownIssuer,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: unknownIssuer,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: unknownIssuer,
  CERT_HAS_EXPIRED: { message: "its certificate has expired", advice: "Renew the origin's certificate" },
  CERT_NOT_YET_VALID: {
    message: "its certificate is not valid yet",
    advice: "Check the clock of this machine, and the dates of the certificate"
  },
  ERR_TLS_CERT_ALTNAME_INVALID: {
    message: "its certificate is for another name",
    advice: "Use a name that the certificate has in the origin's URL, or as `server-name` of the origin"
  },
  // TLS
  ERR_SSL_WRONG_VERSION_NUMBER: noTls,
  ERR_SSL_PACKET_LENGTH_TOO_LONG: noTls,
  // Spillway's own
  CLOSED: {
    message: "it closed the connection before its answer was complete",
    advice: "See the origin's log; if it expects TLS, use https:// in its URL"
  },
  HTTP2_ONLY: { message: "it speaks HTTP/2 only", advice: "Turn on HTTP/1.1 at the origin" },
  TLS_ONLY: { message: "it speaks TLS on this port", advice: "Use https:// in the origin's URL" },
  ICY: {
    message: "it answers ICY instead of HTTP, as SHOUTcast 1 does",
    advice: "Use a server that speaks HTTP, such as Icecast"
  },
  NOT_HTTP: { message: "its answer is not HTTP", advice: "Correct host and port of the origin's URL" },
  MALFORMED: { message: "its answer is malformed", advice: ITS_LOG },
  HEAD_TOO_LARGE: {
    message: "the fields of its answer are too long",
    advice: "Have the origin send fewer or shorter fields, such as cookies"
  },
  LENGTH_MISMATCH: { message: "its answer does not have the length that it says", advice: ITS_LOG },
  INTERIM_ANSWER: { message: "it sends too many interim answers, or malformed ones", advice: ITS_LOG },
  UPGRADE: { message: "it switches to another protocol unasked", advice: ITS_LOG },
  OFFLINE: { message: "no origin is asked (--offline)", advice: "Start Spillway without --offline" },
  NOT_A_URL: notAUrl,
  ERR_INVALID_URL: notAUrl
}

const certificate: Told = {
  message: "its certificate is not valid",
  advice: "Check the certificate: openssl s_client -connect HOST:PORT"
}

const handshake: Told = {
  message: "the TLS handshake failed",
  advice: "Check which TLS versions and ciphers the origin accepts, and whether it asks for a client certificate"
}

const unexplained: Told = { message: "", advice: "See whether the origin runs, and what its log says" }

const toldOf = (code: string): Told => {
  if (Object.hasOwn(faults, code)) return faults[code]!
  if (/^(CERT_|UNABLE_TO_|ERR_TLS_CERT_|HOSTNAME_)/.test(code)) return certificate
  return code === "EPROTO" || code.startsWith("ERR_SSL_") ? handshake : unexplained
}

/** How codes are spelt. Anything else may be a text of the application's, which is not ours to tell. */
const CODE = /^[A-Z][A-Z0-9_]{2,63}$/

/** What `cause` says by its code: `undefined` if it has none. */
export const explain = (cause: unknown): Explained | undefined => {
  const { code, detail }: { readonly code?: unknown; readonly detail?: unknown } = cause ?? {}
  if (typeof code !== "string" || !CODE.test(code)) return undefined
  const { advice, message } = toldOf(code)
  const more = typeof detail === "string" ? `${code}, ${detail}` : code
  return { code, advice, message: message === "" ? more : `${message} (${more})` }
}

/** What the first bytes that are not HTTP/1.1 tell about anyone who sent them. */
export const faultOfBytes = (bytes: string): string => {
  // The parser takes the first letters of ICY for the beginning of a protocol that it knows.
  if (/^(IC)?Y \d/.test(bytes)) return "ICY"
  // oxlint-disable-next-line no-control-regex
  if (/^\u0015\u0003[\u0000-\u0004]/.test(bytes)) return "TLS_ONLY"
  // A frame: three bytes of length, and the type SETTINGS or GOAWAY. Or the version that no server sends.
  // oxlint-disable-next-line no-control-regex
  return /^\u0000[^]{2}[\u0004\u0007]/.test(bytes) ? "HTTP2_ONLY" : "NOT_HTTP"
}
