/**
 * The part of the HTTP server that applications use.
 */
export { type Address, layerNode, layerProxy, NodeServer } from "../http/server/Server.ts"
