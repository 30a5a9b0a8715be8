import { assert, describe, it } from "@effect/vitest"
import { FleetMember } from "../../../../src/domain/FleetMember.ts"
import { MAX_MEMBERS, Roster } from "../../../../src/services/fleet/Roster.ts"

const LEASE = 3000

const memberOf = (name: string, more: Partial<FleetMember> = {}): FleetMember =>
  new FleetMember({
    name,
    host: `${name}.peer`,
    port: 8471,
    weight: 1,
    stretch: 1024,
    version: "0.1.0",
    routes: "",
    since: 0,
    leaving: false,
    ...more
  })

const [n1, n2, n3] = ["n1", "n2", "n3"].map((name) => memberOf(name)) as [FleetMember, FleetMember, FleetMember]

const namesOf = ({ members }: Roster) => members.map(({ name }) => name).join()

describe("Roster", () => {
  it("has the other nodes by name, and says whether they have changed", () => {
    const roster = new Roster("n2", LEASE, [], 0)
    assert.isTrue(roster.take([n3, n1, n2], 0))
    assert.strictEqual(namesOf(roster), "n1,n3")
    const { members } = roster
    assert.isFalse(roster.take([n1, n3, n2], 1000))
    assert.strictEqual(roster.members, members)
    assert.isTrue(roster.take([memberOf("n1", { leaving: true }), n3], 2000))
    assert.isTrue(roster.members[0]!.leaving)
  })

  it("drops a node when the engine has answered without it for a whole lease", () => {
    const roster = new Roster("n2", LEASE, [], 0)
    roster.take([n1, n3], 0)
    for (const now of [1000, 2000, 3000]) {
      roster.take([n1], now)
      assert.strictEqual(namesOf(roster), "n1,n3", String(now))
    }
    assert.isTrue(roster.take([n1], 4000))
    assert.strictEqual(namesOf(roster), "n1")
  })

  it("drops nobody while the engine doesn't answer, or this process is stopped", () => {
    const roster = new Roster("n2", LEASE, [], 0)
    roster.take([n1, n3], 0)
    roster.take([n1], 60_000)
    assert.strictEqual(namesOf(roster), "n1,n3")
    roster.take([n1], 62_000)
    assert.strictEqual(namesOf(roster), "n1,n3")
    roster.take([n1], 63_001)
    assert.strictEqual(namesOf(roster), "n1")
  })

  it("drops nobody when the engine comes back empty", () => {
    const roster = new Roster("n2", LEASE, [], 0)
    for (const now of [0, 1000, 2000]) roster.take([n1, n3], now)
    roster.restart(4500)
    roster.take([], 4600)
    roster.take([n1], 5600)
    assert.strictEqual(namesOf(roster), "n1,n3")
    roster.take([n1, n3], 6600)
    roster.take([n1, n3], 7600)
    assert.strictEqual(namesOf(roster), "n1,n3")
  })

  it("knows at the start what was remembered, for a lease after the engine's first answer", () => {
    const roster = new Roster("n2", LEASE, [n1, n2, n3], 0)
    assert.strictEqual(namesOf(roster), "n1,n3")
    roster.take([n1], 10_000)
    assert.strictEqual(namesOf(roster), "n1,n3")
    for (const now of [11_000, 12_000, 13_001]) roster.take([n1], now)
    assert.strictEqual(namesOf(roster), "n1")
  })

  it("has a bounded number of nodes", () => {
    const roster = new Roster("self", LEASE, [], 0)
    roster.take(Array.from({ length: MAX_MEMBERS + 10 }, (_, i) => memberOf(`m${i}`)), 0)
    assert.lengthOf(roster.members, MAX_MEMBERS)
  })
})
