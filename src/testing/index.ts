/**
 * Layers for tests of applications that embed Spillway, and of Spillway itself.
 */
export * as FaultyFileSystem from "./FaultyFileSystem.ts"
export * as MemoryFileSystem from "./MemoryFileSystem.ts"
export * as MemoryOrigin from "./MemoryOrigin.ts"
export * as TestSpillway from "./TestSpillway.ts"
