import { assert, describe, it } from "@effect/vitest"
import { isPublic } from "../../../src/domain/PublicAddress.ts"

const publicOnes = [
  "1.1.1.1",
  "8.8.8.8",
  "9.255.255.255",
  "11.0.0.0",
  "100.63.255.255",
  "100.128.0.0",
  "128.0.0.0",
  "169.253.255.255",
  "169.255.0.0",
  "172.15.255.255",
  "172.32.0.0",
  "192.0.1.0",
  "192.0.3.0",
  "192.167.255.255",
  "192.169.0.0",
  "198.17.255.255",
  "198.20.0.0",
  "198.51.101.0",
  "203.0.112.255",
  "223.255.255.255",
  "2001:200::1",
  "2001:4860:4860::8888",
  "2001:4860:4860:0:0:0:0:8888",
  "2001:4860:4860:0000:0000:0000:0000:8888",
  "2001:DB7:FFFF::1",
  "2001:db9::1",
  "2003::1",
  "2606:4700:4700::1111",
  "2620:4f:8001::1",
  "3ffe:ffff::1",
  "3fff:1000::1",
  // What these carry is judged.
  "::ffff:8.8.8.8",
  "::FFFF:808:808",
  "0:0:0:0:0:ffff:8.8.8.8",
  "64:ff9b::8.8.8.8",
  "64:ff9b:0:0:0:0:808:808"
]

const others = [
  // IPv4: the first and the last of each range.
  "0.0.0.0",
  "0.255.255.255",
  "10.0.0.0",
  "10.255.255.255",
  "100.64.0.0",
  "100.127.255.255",
  "127.0.0.1",
  "127.255.255.255",
  "169.254.0.0",
  "169.254.169.254",
  "172.16.0.0",
  "172.31.255.255",
  "192.0.0.1",
  "192.0.0.255",
  "192.0.2.1",
  "192.31.196.1",
  "192.52.193.1",
  "192.88.99.1",
  "192.168.0.0",
  "192.168.255.255",
  "192.175.48.1",
  "198.18.0.0",
  "198.19.255.255",
  "198.51.100.7",
  "203.0.113.255",
  "224.0.0.1",
  "239.255.255.255",
  "240.0.0.1",
  "255.255.255.255",
  // IPv6: unspecified, loopback, compatible, discard-only, unique local, link-local, site-local, multicast.
  "::",
  "::1",
  "0:0:0:0:0:0:0:1",
  "0000:0000:0000:0000:0000:0000:0000:0001",
  "::7f00:1",
  "::8.8.8.8",
  "100::1",
  "1fff:ffff::1",
  "4000::1",
  "5f00::1",
  "fc00::1",
  "fd12:3456:789a::1",
  "fe80::1",
  "FE80::1",
  "fec0::1",
  "ff02::1",
  // Protocol assignments, Teredo, benchmarking, ORCHID, documentation, 6to4, AS112.
  "2001::1",
  "2001:0:4136:e378:8000:63bf:3fff:fdd2",
  "2001:2::1",
  "2001:20::1",
  "2001:1ff:ffff::1",
  "2001:db8::1",
  "2001:DB8:ffff::1",
  "2001:0db8:0000::1",
  "2002::1",
  "2002:808:808::1",
  "2620:4f:8000::1",
  "3fff::1",
  "3fff:fff:ffff::1",
  // An address within another one: mapped, translated, and translated by a network's own prefix.
  "::ffff:127.0.0.1",
  "::ffff:7f00:1",
  "::FFFF:10.0.0.1",
  "::ffff:0.0.0.0",
  "::ffff:0:1",
  "0:0:0:0:0:ffff:192.168.1.1",
  "::ffff:0:8.8.8.8",
  "64:ff9b::127.0.0.1",
  "64:ff9b::a9fe:a9fe",
  "64:ff9b::1",
  "64:ff9b::",
  "64:ff9b:1::8.8.8.8",
  // Zones.
  "fe80::1%eth0",
  "2001:4860:4860::8888%1",
  // No addresses: a URL parser rewrites the shorthands before they get here.
  "",
  "localhost",
  "example.org",
  "[::1]",
  "8.8.8.8:80",
  "8.8.8",
  "127.1",
  "2130706433",
  "134744072",
  "0x8.8.8.8",
  "0x7f000001",
  "0177.0.0.1",
  "08.8.8.8",
  "8.8.8.8 ",
  " 8.8.8.8",
  "8.8.8.8.",
  "256.1.1.1",
  "2001:4860::8888::1",
  "2001:4860:4860:8888"
]

describe("isPublic", () => {
  it.each(publicOnes)("%s is", (address) => {
    assert.isTrue(isPublic(address))
  })

  it.each(others)("%s is not", (address) => {
    assert.isFalse(isPublic(address))
  })

  it("judges what a URL parser makes of a shorthand", () => {
    for (const host of ["127.1", "2130706433", "0x7f.1", "0177.0.0.1", "[::ffff:127.0.0.1]", "[0::1]"]) {
      assert.isFalse(isPublic(new URL(`http://${host}/`).hostname.replace(/^\[|\]$/g, "")), host)
    }
    for (const host of ["134744072", "8.8.2056", "[64:ff9b::8.8.8.8]"]) {
      assert.isTrue(isPublic(new URL(`http://${host}/`).hostname.replace(/^\[|\]$/g, "")), host)
    }
  })
})
