import { BlockList, isIP } from "node:net"

/**
 * The special-purpose ranges of IPv4 (RFC 6890 and the registry of the IANA that it sets up), multicast, and what is reserved.
 */
const special4: ReadonlyArray<readonly [network: string, prefix: number]> = [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.0.0.0", 24],
  ["192.0.2.0", 24],
  ["192.31.196.0", 24],
  ["192.52.193.0", 24],
  ["192.88.99.0", 24],
  ["192.168.0.0", 16],
  ["192.175.48.0", 24],
  ["198.18.0.0", 15],
  ["198.51.100.0", 24],
  ["203.0.113.0", 24],
  ["224.0.0.0", 4],
  ["240.0.0.0", 4]
]

/** The special-purpose ranges within 2000::/3; what is outside of that is not global unicast anyway. */
const special6: ReadonlyArray<readonly [network: string, prefix: number]> = [
  ["2001::", 23],
  ["2001:db8::", 32],
  ["2002::", 16],
  ["2620:4f:8000::", 48],
  ["3fff::", 20]
]

const special = new BlockList()
for (const [network, prefix] of special4) special.addSubnet(network, prefix, "ipv4")
for (const [network, prefix] of special6) special.addSubnet(network, prefix, "ipv6")

const globalUnicast6 = new BlockList()
globalUnicast6.addSubnet("2000::", 3, "ipv6")

/** The IPv4 address within one that is mapped (RFC 4291 §2.5.5.2) or translated (RFC 6052), as a URL parser writes them. */
const EMBEDDED = /^\[(?:::ffff:|64:ff9b::)([0-9a-f]{1,4}):([0-9a-f]{1,4})\]$/

const embedded4 = (address: string): string | undefined => {
  const match = EMBEDDED.exec(URL.parse(`http://[${address}]`)?.hostname ?? "")
  if (match === null) return undefined
  return [match[1]!, match[2]!].map((hex) => Number.parseInt(hex, 16)).map((word) => `${word >> 8}.${word & 255}`)
    .join(".")
}

/**
 * Whether `address`, an IPv4 or IPv6 address in any spelling of a resolver's, is one of a host on the public internet: global
 * unicast, and for no special purpose. What is not an address, or has a zone, is not.
 */
export const isPublic = (address: string): boolean => {
  switch (isIP(address)) {
    case 4:
      return !special.check(address, "ipv4")
    case 6: {
      if (address.includes("%")) return false
      const inner = embedded4(address)
      if (inner !== undefined) return isPublic(inner)
      return globalUnicast6.check(address, "ipv6") && !special.check(address, "ipv6")
    }
    default:
      return false
  }
}
