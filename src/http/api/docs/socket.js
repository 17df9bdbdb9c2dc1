// Shows the contract of the WebSocket, `/asyncapi.json`, as a page: channels, messages with their fields, and examples.

/** Makes an element. Text becomes text nodes, never markup. */
function element(name, ...children) {
  const made = document.createElement(name);
  made.append(...children.flat().filter((child) => child !== null));
  return made;
}

/** Splits a description into text and code: what stands between backticks is code. */
const prose = (text = "") => text.split("`").map((part, at) => (at % 2 ? element("code", part) : part));

const code = (text) => element("code", text);

function table(head, rows) {
  if (rows.length === 0) return null;
  const cells = (kind, row) => element("tr", row.map((cell) => element(kind, cell)));
  return element("table", element("thead", cells("th", head)), element("tbody", rows.map((row) => cells("td", row))));
}

/** Says of what type a value is. */
function typeOf(schema) {
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.oneOf) return schema.oneOf.map(typeOf).join(" or ");
  if (schema.type === "array") return `list of ${typeOf(schema.items)}`;
  return [schema.type ?? "anything"].flat().join(" or ");
}

/** Lists the fields of an object and those of the objects in it: path, type, whether required, description. */
function fieldsOf(schema, path = "") {
  const alternatives = schema.oneOf?.filter((alternative) => alternative.properties) ?? [];
  if (alternatives.length > 0) return alternatives.flatMap((alternative) => fieldsOf(alternative, path));
  if (schema.type === "array") return fieldsOf(schema.items, `${path}[]`);
  return Object.entries(schema.properties ?? {}).flatMap(([name, field]) => {
    const at = path ? `${path}.${name}` : name;
    const required = schema.required?.includes(name) ? "required" : "";
    return [[code(at), typeOf(field), required, prose(field.description)], ...fieldsOf(field, at)];
  });
}

const fields = (schema) => table(["Field", "Type", "", "Description"], fieldsOf(schema));

const examples = (message) =>
  (message.examples ?? []).map(({ payload }) => element("pre", JSON.stringify(payload, null, 2)));

const names = (label, list) =>
  list?.length ? element("p", `${label}: `, list.flatMap((name, at) => [at ? ", " : "", code(name)])) : null;

/** Shows a message; `more` stands between its fields and its examples. */
function show(channel, name, message, ...more) {
  const { payload, summary } = message;
  const text = payload.description ?? summary;
  const shown = element(
    "details", element("summary", code(name), " ", element("span", prose(text))), fields(payload), ...more,
    examples(message),
  );
  shown.id = `${channel}-${name}`;
  return shown;
}

const nameIn = ({ $ref }) => $ref.split("/").at(-1);

function limits(all) {
  const set = Object.entries(all ?? {}).filter(([, value]) => value !== null && value !== false);
  return names("Limits", set.map(([name, value]) => `${name} = ${value}`));
}

/** Shows what a client may send on a channel, and how each is answered. */
function action(channel, operation, messages) {
  const name = nameIn(operation.messages[0]);
  const reply = operation.reply?.messages.map(nameIn);
  return show(
    channel, name, messages[name], names("Events", operation["x-emits"]), names("Reply", reply),
    names("Errors of its own", operation["x-fails"]), limits(operation["x-limits"]),
  );
}

function showChannel(name, channel, contract) {
  const { messages } = contract.components;
  const operations = Object.values(contract.operations).filter((operation) => nameIn(operation.channel) === name);
  const actions = operations.filter((operation) => operation.action === "receive");
  const replies = actions.flatMap((operation) => operation.reply?.messages ?? []).map(nameIn);
  const events = operations.filter((operation) => operation.action === "send").flatMap((operation) => operation.messages);
  const { query, headers } = channel.bindings.ws;
  const closes = Object.entries(channel["x-close-codes"] ?? {});
  const shown = element(
    "section", element("h2", code(channel.address)), element("p", prose(channel.description)),
    element("h3", "Query parameters"), fields(query), element("h3", "Headers"), fields(headers),
    element("h3", "The client sends"), actions.map((operation) => action(name, operation, messages)),
    element("h3", "The server answers on the same socket"), replies.map((reply) => show(name, reply, messages[reply])),
    element("h3", "The server sends"), events.map(nameIn).map((event) => show(name, event, messages[event])),
    closes.length ? element("h3", "Close codes") : null,
    table(["Code", "When"], closes.map(([closeCode, when]) => [code(closeCode), prose(when)])),
  );
  shown.id = name;
  return shown;
}

const main = document.getElementById("contract");
try {
  const answer = await fetch("../asyncapi.json");
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  const contract = await answer.json();
  const { title, version, description } = contract.info;
  main.replaceChildren(
    element("h1", `${title} ${version}: the socket`), element("p", prose(description)),
    ...Object.entries(contract.channels).map(([name, channel]) => showChannel(name, channel, contract)),
  );
} catch (error) {
  main.replaceChildren(element("p", `The contract could not be loaded: ${error.message}. Reload the page to try again.`));
}
