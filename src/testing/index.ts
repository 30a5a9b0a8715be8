/**
 * Layers for tests of applications that embed Spillway, and of Spillway itself.
 */
/** A file system that fails or hangs by plan. */
export * as FaultyFileSystem from "./FaultyFileSystem.ts"
/** A disk in memory, whose size and contents are knobs. */
export * as MemoryFileSystem from "./MemoryFileSystem.ts"
/** Origins in memory, which misbehave when told to. */
export * as MemoryOrigin from "./MemoryOrigin.ts"
/** The whole of Spillway over a disk and origins in memory. */
export * as TestSpillway from "./TestSpillway.ts"
