import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Layer } from "effect"
import { Spillway } from "spillway"

// SPILLWAY_ORIGIN=https://media.example.org node examples/server.ts
Spillway.layerServer.pipe(
  Layer.provide(Spillway.layerEnvironment),
  Layer.provide(NodeServices.layer),
  Layer.launch,
  NodeRuntime.runMain
)
