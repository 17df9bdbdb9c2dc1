// `npm run types`: generates src/wire.ts from config/asyncapi.json, the server's description of its frames.
//
// The script knows the part of JSON Schema that the description uses. It throws at any other schema, because a type
// that is too wide would hide a change of the contract. TypeScript can't express formats, bounds and patterns, so the
// script leaves them out.

import { readFileSync, writeFileSync } from "node:fs";
import { argv } from "node:process";
import { fileURLToPath } from "node:url";

const SOURCE = new URL("../../../config/asyncapi.json", import.meta.url);
const TARGET = new URL("../src/wire.ts", import.meta.url);

export const readSource = () => JSON.parse(readFileSync(SOURCE, "utf8"));
export const readTarget = () => readFileSync(TARGET, "utf8");

export function generate(asyncapi) {
  const { messages, schemas = {} } = asyncapi.components;
  const parts = ["// Made by `npm run types` from config/asyncapi.json. Don't edit it here."];
  for (const [name, schema] of Object.entries(schemas)) parts.push(declare(typeName(name), schema, schema.description));
  for (const [name, { payload, summary }] of Object.entries(messages)) {
    const schema = payload.schema ?? payload;
    parts.push(declare(`${typeName(name)}Frame`, schema, schema.description ?? summary));
  }
  const { client, server } = directions(asyncapi);
  parts.push(`/** A frame that a client sends. */\nexport type ClientFrame =\n${client.map((name) => `  | ${name}`).join("\n")};`);
  parts.push(`/** A frame that the server sends. */\nexport type ServerFrame =\n${server.map((name) => `  | ${name}`).join("\n")};`);
  parts.push(closeCodes(asyncapi));
  return `${parts.join("\n\n").replace(/ +$/gm, "")}\n`;
}

const declare = (name, schema, description) => `${comment(description, "")}export type ${name} = ${typeOf(schema, "")};`;

// `chat_message` -> `ChatMessage`
const typeName = (name) => name.replace(/(?:^|[^A-Za-z0-9]+)([A-Za-z0-9])/g, (_, letter) => letter.toUpperCase());

function comment(text, indent) {
  if (!text) return "";
  const safe = text.replaceAll("*/", "* /").split("\n");
  if (safe.length === 1) return `${indent}/** ${safe[0]} */\n`;
  return `${indent}/**\n${safe.map((line) => `${indent} * ${line}`.trimEnd()).join("\n")}\n${indent} */\n`;
}

// --- Schemas ----------------------------------------------------------------------------------

function typeOf(schema, indent) {
  if (schema === true || schema === undefined) return "unknown";
  if (schema === false) return "never";
  if (schema.$ref) return refName(schema.$ref);
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");

  // All keywords of a schema apply together. Therefore the type is the intersection of the choices of a `oneOf` and of
  // the keywords beside the `oneOf`.
  const all = [];
  const choices = schema.oneOf ?? schema.anyOf;
  if (choices) all.push(union(choices, indent));
  for (const part of schema.allOf ?? []) all.push(typeOf(part, indent));
  if (schema.type && !(choices && isImplied(schema))) all.push(plain(schema, indent));
  if (all.length === 0 && schema.properties) all.push(object(schema, indent));
  if (all.length === 0) return "unknown";
  return all.length === 1 ? all[0] : all.map(grouped).join(" & ");
}

// Returns whether `type` adds nothing to the choices. For example, `type: object` adds nothing to a `oneOf` of objects.
const isImplied = (schema) => schema.type !== "array" && !schema.properties && !schema.additionalProperties;

function refName(ref) {
  const [, kind, name] = ref.match(/^#\/components\/(schemas|messages)\/([^/]+)$/) ?? [];
  if (!name) throw new Error(`a reference to what has no type here: ${ref}`);
  return kind === "messages" ? `${typeName(name)}Frame` : typeName(name);
}

function union(choices, indent) {
  const described = choices.every((choice) => "const" in choice && choice.description);
  if (described) {
    const deeper = `${indent}  `;
    return `\n${choices.map((choice) => `${comment(choice.description, deeper)}${deeper}| ${JSON.stringify(choice.const)}`).join("\n")}`;
  }
  // A union inside a union needs no parentheses.
  return [...new Set(choices.map((choice) => typeOf(choice, indent)))].join(" | ");
}

function plain(schema, indent) {
  if (Array.isArray(schema.type)) return schema.type.map((type) => plain({ ...schema, type }, indent)).join(" | ");
  switch (schema.type) {
    case "string": return "string";
    case "boolean": return "boolean";
    case "null": return "null";
    case "integer":
    case "number": return "number";
    case "array":
      if (schema.prefixItems) return `[${schema.prefixItems.map((item) => typeOf(item, indent)).join(", ")}]`;
      return `${grouped(typeOf(schema.items, indent))}[]`;
    case "object": return object(schema, indent);
    default: throw new Error(`an unknown type: ${JSON.stringify(schema.type)}`);
  }
}

function object(schema, indent) {
  const deeper = `${indent}  `;
  const required = new Set(schema.required);
  const lines = Object.entries(schema.properties ?? {}).map(([name, property]) => {
    const key = /^[A-Za-z_$][\w$]*$/.test(name) ? name : JSON.stringify(name);
    const optional = required.has(name) ? "" : "?";
    return `${comment(property.description, deeper)}${deeper}${key}${optional}: ${typeOf(property, deeper)};\n`;
  });
  const more = schema.additionalProperties;
  // In TypeScript, the index type must include the types of all named properties. If there are named properties, the
  // index type is `unknown`, which includes every type.
  if (more) lines.push(`${deeper}[key: string]: ${lines.length ? "unknown" : typeOf(more, deeper)};\n`);
  return lines.length ? `{\n${lines.join("")}${indent}}` : "Record<string, never>";
}

// Puts a type into parentheses if it has a `|` or `&` outside of any brackets. Otherwise the type would change its
// meaning inside a larger type: an array of `a | b` would become `a | b[]`.
function grouped(type) {
  const flat = type.replace(/"(?:[^"\\]|\\.)*"|\/\*.*?\*\//gs, "");
  let depth = 0;
  for (const letter of flat) {
    if ("{[(".includes(letter)) depth++;
    else if ("}])".includes(letter)) depth--;
    else if (depth === 0 && "|&".includes(letter)) return `(${type})`;
  }
  return type;
}

// --- Operations and channels ------------------------------------------------------------------

// The description is written from the server's side: in an operation with the action `receive`, the client sends the
// frames.
function directions(asyncapi) {
  const client = new Set();
  const server = new Set();
  for (const { action, messages = [], reply } of Object.values(asyncapi.operations)) {
    for (const { $ref } of messages) (action === "receive" ? client : server).add(messageOf(asyncapi, $ref));
    for (const { $ref } of reply?.messages ?? []) server.add(messageOf(asyncapi, $ref));
  }
  return { client: [...client].sort(), server: [...server].sort() };
}

function messageOf(asyncapi, ref) {
  const target = ref.slice(2).split("/").reduce((at, key) => at[key], asyncapi);
  return refName(target.$ref ?? ref);
}

function closeCodes(asyncapi) {
  const codes = Object.assign({}, ...Object.values(asyncapi.channels).map((channel) => channel["x-close-codes"]));
  const lines = Object.entries(codes).map(([code, why]) => `  ${code}: ${JSON.stringify(why)},\n`);
  return `/** The meaning of each close code that the server sends. */\nexport const CLOSE_CODES: Readonly<Record<number, string>> = {\n${lines.join("")}};`;
}

if (argv[1] === fileURLToPath(import.meta.url)) writeFileSync(TARGET, generate(readSource()));
