import { setServers } from "node:dns"

// For `node --import`: names are resolved by the server of a test.
setServers([process.env["SPILLWAY_TEST_NAME_SERVER"]])
