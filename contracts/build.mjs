// Compiles contracts/*.sol to build/contracts/NAME.json: {abi, bytecode, sourceHash}.
//
// The compiler comes from node_modules; nothing is downloaded. A file whose sourceHash still
// matches (source, compiler version and settings) is left alone, so a second run costs nothing.
// Any error or warning of the compiler is printed and ends with exit status 1.

import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, renameSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const SOURCES = dirname(fileURLToPath(import.meta.url));
const OUTPUT = join(SOURCES, "..", "build", "contracts");
const SETTINGS = {
  // Cancun runs on every network the gateway knows, and on the local chain.
  evmVersion: "cancun",
  optimizer: { enabled: true, runs: 200 },
  outputSelection: { "*": { "*": ["abi", "evm.bytecode.object"] } },
};
const require = createRequire(import.meta.url);

function fail(message) {
  process.stderr.write(`contracts: ${message}\n`);
  process.exit(1);
}

function compilerVersion() {
  try {
    return require("solc/package.json").version;
  } catch {
    return fail("the Solidity compiler is not installed; run `make setup`");
  }
}

function hashOf(source, version) {
  const hash = createHash("sha256");
  hash.update(`${version}\n${JSON.stringify(SETTINGS)}\n${source}`);
  return hash.digest("hex");
}

function builtHash(name) {
  try {
    return JSON.parse(readFileSync(join(OUTPUT, `${name}.json`), "utf8")).sourceHash;
  } catch {
    return undefined; // Missing or cut short by a crash: build it again.
  }
}

function compile(stale) {
  const solc = require("solc");
  // solc is an Emscripten module that installs a handler turning any later exception into
  // a dump of its own minified source; ours are clearer.
  process.removeAllListeners("uncaughtException");
  const sources = Object.fromEntries(
    stale.map(({ name, source }) => [`${name}.sol`, { content: source }]),
  );
  const input = { language: "Solidity", sources, settings: SETTINGS };
  const output = JSON.parse(solc.compile(JSON.stringify(input)));
  if (output.errors?.length) {
    fail(`the compiler complains\n${output.errors.map((e) => e.formattedMessage).join("\n")}`);
  }
  return output.contracts;
}

function write(name, sourceHash, contract) {
  if (!contract) fail(`${name}.sol must define a contract named ${name}`);
  const bytecode = `0x${contract.evm.bytecode.object}`;
  const path = join(OUTPUT, `${name}.json`);
  // Written beside and renamed, so that a reader never meets half a file.
  writeFileSync(`${path}.new`, `${JSON.stringify({ abi: contract.abi, bytecode, sourceHash }, null, 1)}\n`);
  renameSync(`${path}.new`, path);
}

const version = compilerVersion();
const stale = readdirSync(SOURCES)
  .filter((file) => file.endsWith(".sol"))
  .map((file) => ({ name: file.slice(0, -4), source: readFileSync(join(SOURCES, file), "utf8") }))
  .map((contract) => ({ ...contract, hash: hashOf(contract.source, version) }))
  .filter(({ name, hash }) => builtHash(name) !== hash);

if (stale.length > 0) {
  const contracts = compile(stale);
  mkdirSync(OUTPUT, { recursive: true });
  for (const { name, hash } of stale) write(name, hash, contracts[`${name}.sol`]?.[name]);
  process.stdout.write(`contracts: compiled ${stale.map(({ name }) => name).join(", ")}\n`);
}
