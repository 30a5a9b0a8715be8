import { NODE_NAME } from "./FleetMember.ts"

/**
 * Which engine says which nodes a fleet has, as it is written on the command line.
 */

/** A node and where it is. */
export interface ListedNode {
  readonly name: string
  readonly host: string
  readonly port: number
}

/** An engine of membership. */
export type FleetEngine =
  /** Redis or Valkey, where nodes announce themselves. */
  | { readonly _tag: "Redis"; readonly url: URL }
  /** A name with the addresses of all nodes, which have the same port. */
  | { readonly _tag: "Dns"; readonly host: string; readonly port: number }
  /** A fixed list. */
  | { readonly _tag: "List"; readonly nodes: ReadonlyArray<ListedNode> }

/** `host:port`; an IPv6 address is in brackets. */
export const parseAddress = (text: string): { readonly host: string; readonly port: number } | undefined => {
  const match = /^(?:\[([0-9a-f:.]+)\]|([a-z0-9.-]+)):(\d{1,5})$/i.exec(text)
  const port = Number(match?.[3])
  return match === null || port < 1 || port > 65_535 ? undefined : { host: match[1] ?? match[2]!, port }
}

/** What `parseAddress` parses. */
export const formatAddress = ({ host, port }: { readonly host: string; readonly port: number }): string =>
  host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`

const parseNode = (text: string): ListedNode | undefined => {
  const at = text.indexOf("=")
  const name = text.slice(0, Math.max(0, at))
  const address = parseAddress(text.slice(at + 1))
  return address === undefined || !NODE_NAME.test(name) ? undefined : { name, ...address }
}

const parseList = (text: string): FleetEngine | undefined => {
  const nodes = text.split(",").flatMap((node) => parseNode(node.trim()) ?? [])
  const names = new Set(nodes.map(({ name }) => name))
  return nodes.length === text.split(",").length && names.size === nodes.length ? { _tag: "List", nodes } : undefined
}

/** The engine in `redis://host:6379`, `rediss://…`, `dns://name:port` or `list:name=host:port,…`. */
export const parseEngine = (text: string): FleetEngine | undefined => {
  const trimmed = text.trim()
  if (trimmed.startsWith("list:")) return parseList(trimmed.slice("list:".length))
  const url = URL.parse(trimmed)
  if (url === null || url.hostname === "") return undefined
  if (url.protocol === "redis:" || url.protocol === "rediss:") return { _tag: "Redis", url }
  const address = url.protocol === "dns:" && /^\/?$/.test(url.pathname) ? parseAddress(url.host) : undefined
  return address && { _tag: "Dns", ...address }
}
