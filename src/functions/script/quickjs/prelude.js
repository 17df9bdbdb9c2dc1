// What a function file finds as globals, beside the language itself. The engine calls this function with the server's
// functions, before the file is loaded. A file can change what it sees of the globals, but not what is kept here: the
// functions below use only what they have taken before.
(function (host) {
  "use strict";
  const { begin, log, env: readEnv, random, encode, decode } = host;
  const { parse, stringify } = JSON;
  const { freeze, defineProperty } = Object;
  const { apply } = Reflect;
  const fromCodes = String.fromCharCode;
  const uncurry = (f) => (self, ...args) => apply(f, self, args);
  const bytesOf = Uint8Array, isView = ArrayBuffer.isView, error = Error, typeError = TypeError;
  const newPromise = Promise, text = String;
  const toBinary = btoa, fromBinary = atob;
  const mapGet = uncurry(Map.prototype.get), mapSet = uncurry(Map.prototype.set);
  const mapDelete = uncurry(Map.prototype.delete);

  const hide = (name, value) =>
    defineProperty(globalThis, name, { value, writable: true, configurable: true, enumerable: false });

  // Host calls: the promise of each call that is under way, by its id.
  const underWay = new Map();
  const call = (name, args) =>
    new newPromise((resolve, reject) => {
      // A failure is made here, so that its stack shows the line of the call.
      const failure = new error();
      mapSet(underWay, begin(name, stringify(args)), { resolve, reject, failure });
    });
  const settle = (id, failed, value) => {
    const { resolve, reject, failure } = mapGet(underWay, id);
    mapDelete(underWay, id);
    if (!failed) return resolve(value);
    defineProperty(failure, "message", { value: value.message, writable: true, configurable: true });
    defineProperty(failure, "code", { value: value.code, enumerable: true });
    reject(failure);
  };

  // console
  const shown = (value) => {
    if (typeof value === "string") return value;
    if (value instanceof error) return value.stack ? `${value}\n${value.stack}` : `${value}`;
    if (typeof value !== "object" || value === null) return text(value);
    try {
      return stringify(value) ?? text(value);
    } catch {
      return "[an object that can't be shown as JSON]";
    }
  };
  const line = (level) => (...values) => {
    let whole = "";
    for (let i = 0; i < values.length; i++) whole += (i ? " " : "") + shown(values[i]);
    log(level, whole);
  };
  hide("console", freeze({ debug: line(0), log: line(1), info: line(1), warn: line(2), error: line(3) }));

  // env
  hide("env", new Proxy(freeze({}), {
    get: (_, name) => (typeof name === "string" ? readEnv(name) : undefined),
    has: (_, name) => typeof name === "string" && readEnv(name) !== undefined,
    set: () => { throw new typeError("env can't be changed"); },
    defineProperty: () => { throw new typeError("env can't be changed"); },
  }));

  // room
  hide("room", freeze({
    history: ({ before, after, limit } = {}) => call("history", { before, after, limit }),
    message: (id) => call("message", { id }),
    about: () => call("about", {}),
  }));

  // state
  const scoped = (scope) => freeze({
    get: async (key) => (await call("state.get", { scope, key }))?.value,
    entry: async (key) => (await call("state.get", { scope, key })) ?? undefined,
    set: (key, value, { ttl } = {}) => call("state.set", { scope, key, value: value === undefined ? null : value, ttl }),
    swap: async (key, version, value, { ttl } = {}) =>
      (await call("state.swap", { scope, key, version, value: value === undefined ? null : value, ttl })) ?? undefined,
    add: (key, amount = 1, { ttl } = {}) => call("state.add", { scope, key, amount, ttl }),
    delete: (key) => call("state.delete", { scope, key }),
    keys: (prefix = "", { after, limit = 100 } = {}) => call("state.keys", { scope, prefix, after, limit }),
  });
  hide("state", freeze({ room: scoped("room"), user: scoped("user"), own: scoped("own") }));

  // Random numbers. The engine's own generator would start at the same number in each call, since the memory is put
  // back. Math.random is a xorshift128+ that the system's generator starts anew in each call.
  let seed;
  const views = () => {
    const bytes = new bytesOf(16);
    random(bytes);
    return new BigUint64Array(bytes.buffer);
  };
  const mask = 0xffffffffffffffffn;
  const next = () => {
    seed ??= views();
    let [a, b] = [seed[0] || 1n, seed[1]];
    seed[0] = b;
    a ^= (a << 23n) & mask;
    seed[1] = a ^ b ^ (a >> 18n) ^ (b >> 5n);
    return Number(((seed[1] + b) & mask) >> 11n) / 2 ** 53;
  };
  // While the file is loaded the numbers must not become part of the memory that each call starts with.
  let isLoading = true;
  defineProperty(Math, "random", {
    value: function random() {
      const number = next();
      if (isLoading) seed = undefined;
      return number;
    },
    writable: true, configurable: true, enumerable: false,
  });
  const hex = (bytes, from, to) => {
    let all = "";
    for (let i = from; i < to; i++) all += (bytes[i] + 256).toString(16).slice(1);
    return all;
  };
  hide("crypto", freeze({
    getRandomValues(array) {
      if (!isView(array) || array.BYTES_PER_ELEMENT === undefined || array instanceof Float32Array || array instanceof Float64Array)
        throw new typeError("crypto.getRandomValues takes an array of integers");
      if (array.byteLength > 65536) throw new RangeError("crypto.getRandomValues takes at most 65536 bytes");
      random(new bytesOf(array.buffer, array.byteOffset, array.byteLength));
      return array;
    },
    randomUUID() {
      const b = new bytesOf(16);
      random(b);
      b[6] = (b[6] & 15) | 64;
      b[8] = (b[8] & 63) | 128;
      return `${hex(b, 0, 4)}-${hex(b, 4, 6)}-${hex(b, 6, 8)}-${hex(b, 8, 10)}-${hex(b, 10, 16)}`;
    },
  }));

  // Texts and bytes
  const asBytes = (value) => {
    if (value instanceof ArrayBuffer) return new bytesOf(value);
    if (isView(value)) return new bytesOf(value.buffer, value.byteOffset, value.byteLength);
    throw new typeError("bytes must be an ArrayBuffer, a typed array or a DataView");
  };
  // Replaces each wrong sequence as the Encoding Standard says: one U+FFFD for its longest valid beginning.
  const decodeUtf8 = (bytes, fatal) => {
    let all = "", from = 0, i = 0;
    const wrong = () => {
      if (fatal) throw new typeError("the bytes are not valid UTF-8");
      all += decode(bytes.subarray(from, i)) + "\ufffd";
    };
    while (i < bytes.length) {
      const lead = bytes[i];
      if (lead < 0x80) { i++; continue; }
      let need = lead >= 0xc2 && lead <= 0xdf ? 1 : lead >= 0xe0 && lead <= 0xef ? 2 : lead >= 0xf0 && lead <= 0xf4 ? 3 : 0;
      let low = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80, high = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
      let at = i + 1;
      while (need && at < bytes.length && bytes[at] >= low && bytes[at] <= high) { at++; need--; low = 0x80; high = 0xbf; }
      if (lead < 0xc2 || lead > 0xf4 || need) { wrong(); i = from = at; } else i = at;
    }
    return all + decode(bytes.subarray(from, i));
  };
  hide("TextEncoder", class TextEncoder {
    get encoding() { return "utf-8"; }
    encode(value = "") { return encode(text(value).toWellFormed()); }
  });
  hide("TextDecoder", class TextDecoder {
    #fatal;
    #ignoreBOM;
    constructor(label = "utf-8", { fatal = false, ignoreBOM = false } = {}) {
      if (!/^\s*(utf-?8|unicode-1-1-utf-8)\s*$/i.test(label)) throw new RangeError(`TextDecoder knows only utf-8, not ${label}`);
      this.#fatal = !!fatal;
      this.#ignoreBOM = !!ignoreBOM;
    }
    get encoding() { return "utf-8"; }
    get fatal() { return this.#fatal; }
    get ignoreBOM() { return this.#ignoreBOM; }
    decode(value = new bytesOf(0)) {
      let bytes = asBytes(value);
      if (!this.#ignoreBOM && bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) bytes = bytes.subarray(3);
      return decodeUtf8(bytes, this.#fatal);
    }
  });

  // URL and URLSearchParams
  const keep = (set) => (value) => {
    let all = "";
    for (const byte of encode(text(value).toWellFormed()))
      all += set.includes(fromCodes(byte)) || (byte >= 48 && byte <= 57) || (byte >= 65 && byte <= 90) || (byte >= 97 && byte <= 122)
        ? fromCodes(byte) : "%" + (byte + 256).toString(16).slice(1).toUpperCase();
    return all;
  };
  const inForm = (value) => keep("*-._ ")(value).replaceAll(" ", "+");
  const unescape = (value) => {
    const bytes = encode(value.toWellFormed()), to = [];
    for (let i = 0; i < bytes.length; i++) {
      const pair = bytes[i] === 37 ? fromCodes(bytes[i + 1], bytes[i + 2]) : "";
      if (/^[0-9a-f]{2}$/i.test(pair)) { to.push(parseInt(pair, 16)); i += 2; } else to.push(bytes[i]);
    }
    return decodeUtf8(new bytesOf(to), false);
  };
  const fromForm = (value) => unescape(value.replaceAll("+", " "));
  class URLSearchParams {
    #pairs = [];
    #changed = () => {};
    constructor(from = "") {
      if (typeof from === "object" && from !== null) {
        const pairs = typeof from[Symbol.iterator] === "function" ? [...from] : Object.entries(from);
        for (const [name, value] of pairs) this.#pairs.push([text(name), text(value)]);
      } else this.#parse(text(from));
    }
    #parse(query) {
      this.#pairs = query.replace(/^\?/, "").split("&").filter((part) => part).map((part) => {
        const at = part.indexOf("=");
        return at < 0 ? [fromForm(part), ""] : [fromForm(part.slice(0, at)), fromForm(part.slice(at + 1))];
      });
    }
    static bind(params, changed) { params.#changed = changed; return params; }
    static refresh(params, query) { params.#parse(query); }
    get size() { return this.#pairs.length; }
    append(name, value) { this.#pairs.push([text(name), text(value)]); this.#changed(); }
    delete(name, value) {
      this.#pairs = this.#pairs.filter(([n, v]) => n !== text(name) || (value !== undefined && v !== text(value)));
      this.#changed();
    }
    get(name) { return this.#pairs.find(([n]) => n === text(name))?.[1] ?? null; }
    getAll(name) { return this.#pairs.filter(([n]) => n === text(name)).map(([, v]) => v); }
    has(name, value) { return this.#pairs.some(([n, v]) => n === text(name) && (value === undefined || v === text(value))); }
    set(name, value) {
      const first = this.#pairs.findIndex(([n]) => n === text(name));
      if (first < 0) this.#pairs.push([text(name), text(value)]);
      else {
        this.#pairs[first][1] = text(value);
        this.#pairs = this.#pairs.filter(([n], i) => i <= first || n !== text(name));
      }
      this.#changed();
    }
    sort() { this.#pairs.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)); this.#changed(); }
    forEach(visit, self) { for (const [name, value] of this.#pairs) visit.call(self, value, name, this); }
    *keys() { for (const [name] of this.#pairs) yield name; }
    *values() { for (const [, value] of this.#pairs) yield value; }
    *entries() { for (const [name, value] of this.#pairs) yield [name, value]; }
    [Symbol.iterator]() { return this.entries(); }
    toString() { return this.#pairs.map(([name, value]) => `${inForm(name)}=${inForm(value)}`).join("&"); }
  }
  const { bind, refresh } = URLSearchParams;
  delete URLSearchParams.bind;
  delete URLSearchParams.refresh;
  hide("URLSearchParams", URLSearchParams);
  const inPath = keep("!$%&'()*+,-./:;=@[]^_|~"), inQuery = keep("!$%&()*+,-./:;=?@[\\]^_`{|}~"), inHash = keep("!$%&'()*+,-./:;=?@[\\]^_{|}~#");
  const inUser = keep("!$%&'()*+,-._~");
  const ports = { "http:": "80", "https:": "443", "ws:": "80", "wss:": "443", "ftp:": "21" };
  const wrongUrl = (value) => new typeError(`not a URL: ${value}`);
  const hostOf = (host, whole) => {
    if (/^\[[0-9a-f:.]+\]$/i.test(host)) return host.toLowerCase();
    host = unescape(host).toLowerCase();
    // A name beyond ASCII needs the tables of IDNA, which this engine lacks.
    if (!host || /[^\x21-\x7e]|[#%/:<>?@[\\\]^|]/.test(host)) throw wrongUrl(whole);
    return host;
  };
  const dots = (path) => {
    const to = [], parts = path.split("/").slice(1);
    parts.forEach((part, i) => {
      const plain = part.replaceAll(/%2e/gi, "."), last = i === parts.length - 1;
      if (plain === "..") { to.pop(); if (last) to.push(""); } else if (plain !== ".") to.push(part); else if (last) to.push("");
    });
    return "/" + to.join("/");
  };
  // A URL with a host, as the URL Standard says, but for hosts beyond ASCII. Other URLs, such as data:, are refused.
  class URL {
    #p = {};
    #params;
    constructor(value, base) {
      value = text(value).trim().replaceAll(/[\t\n\r]/g, "");
      const whole = value;
      if (!/^[a-z][a-z0-9+.-]*:/i.test(value)) {
        if (base === undefined) throw wrongUrl(whole);
        const b = new URL(base);
        if (/^[/\\]{2}/.test(value)) value = b.protocol + value;
        else {
          const root = `${b.protocol}//${b.username ? b.username + (b.password ? ":" + b.password : "") + "@" : ""}${b.host}`;
          if (/^[/\\]/.test(value)) value = root + value;
          else if (value === "") value = root + b.pathname + b.search;
          else if (value[0] === "?") value = root + b.pathname + value;
          else if (value[0] === "#") value = root + b.pathname + b.search + value;
          else value = root + b.pathname.replace(/[^/]*$/, "") + value;
        }
      }
      const m = /^([a-z][a-z0-9+.-]*:)[/\\]{2}(?:([^/\\?#]*)@)?(\[[^\]/\\?#]*\]|[^:/\\?#]*)(?::([0-9]*))?([/\\][^?#]*)?(\?[^#]*)?(#.*)?$/is.exec(value);
      if (!m || !(m[1].toLowerCase() in ports)) throw wrongUrl(whole);
      const [user = "", ...pass] = (m[2] ?? "").split(":");
      this.#p = { protocol: m[1].toLowerCase(), username: inUser(user), password: inUser(pass.join(":")), hostname: hostOf(m[3], whole) };
      this.#setPort(m[4] ?? "", whole);
      this.#p.pathname = dots(inPath((m[5] ?? "/").replaceAll("\\", "/")));
      this.#p.search = m[6] && m[6] !== "?" ? "?" + inQuery(m[6].slice(1)) : "";
      this.#p.hash = m[7] && m[7] !== "#" ? "#" + inHash(m[7].slice(1)) : "";
      this.#params = bind(new URLSearchParams(this.#p.search), () => {
        const query = this.#params.toString();
        this.#p.search = query && "?" + query;
      });
    }
    #setPort(port, whole) {
      if (!/^[0-9]*$/.test(port) || Number(port) > 65535) throw wrongUrl(whole);
      const plain = port && text(Number(port));
      this.#p.port = plain === ports[this.#p.protocol] ? "" : plain;
    }
    static canParse(value, base) { try { new URL(value, base); return true; } catch { return false; } }
    static parse(value, base) { try { return new URL(value, base); } catch { return null; } }
    get href() {
      const { protocol, username, password, pathname, search, hash } = this.#p;
      const login = username || password ? username + (password && ":" + password) + "@" : "";
      return `${protocol}//${login}${this.host}${pathname}${search}${hash}`;
    }
    set href(value) { const url = new URL(value); this.#p = url.#p; refresh(this.#params, this.#p.search); }
    get origin() { return `${this.#p.protocol}//${this.host}`; }
    get host() { return this.#p.hostname + (this.#p.port && ":" + this.#p.port); }
    set host(value) {
      const m = /^(\[[^\]]*\]|[^:]*)(?::([0-9]*))?$/.exec(text(value));
      if (!m) return;
      this.hostname = m[1];
      if (m[2] !== undefined) this.port = m[2];
    }
    get hostname() { return this.#p.hostname; }
    set hostname(value) { try { this.#p.hostname = hostOf(text(value), value); } catch {} }
    get port() { return this.#p.port; }
    set port(value) { try { this.#setPort(text(value), value); } catch {} }
    get protocol() { return this.#p.protocol; }
    set protocol(value) {
      const protocol = text(value).toLowerCase().replace(/:?$/, ":");
      if (protocol in ports) { this.#p.protocol = protocol; this.port = this.#p.port; }
    }
    get username() { return this.#p.username; }
    set username(value) { this.#p.username = inUser(value); }
    get password() { return this.#p.password; }
    set password(value) { this.#p.password = inUser(value); }
    get pathname() { return this.#p.pathname; }
    set pathname(value) { this.#p.pathname = dots(inPath(text(value).replaceAll("\\", "/").replace(/^\/?/, "/"))); }
    get search() { return this.#p.search; }
    set search(value) {
      const query = inQuery(text(value).replace(/^\?/, ""));
      this.#p.search = query && "?" + query;
      refresh(this.#params, this.#p.search);
    }
    get searchParams() { return this.#params; }
    get hash() { return this.#p.hash; }
    set hash(value) { const hash = inHash(text(value).replace(/^#/, "")); this.#p.hash = hash && "#" + hash; }
    toString() { return this.href; }
    toJSON() { return this.href; }
  }
  hide("URL", URL);

  // fetch
  const token = /^[!#$%&'*+.^_`|~0-9a-z-]+$/i;
  class Headers {
    #pairs = [];
    constructor(from = []) {
      const pairs = typeof from[Symbol.iterator] === "function" ? [...from] : Object.entries(from);
      for (const [name, value] of pairs) this.append(name, value);
    }
    static #name(name) {
      name = text(name);
      if (!token.test(name)) throw new typeError(`not a header's name: ${name}`);
      return name.toLowerCase();
    }
    append(name, value) { this.#pairs.push([Headers.#name(name), text(value).trim()]); }
    set(name, value) { this.delete(name); this.append(name, value); }
    delete(name) { const wanted = Headers.#name(name); this.#pairs = this.#pairs.filter(([n]) => n !== wanted); }
    get(name) {
      const wanted = Headers.#name(name), found = this.#pairs.filter(([n]) => n === wanted);
      return found.length ? found.map(([, v]) => v).join(", ") : null;
    }
    getSetCookie() { return this.#pairs.filter(([n]) => n === "set-cookie").map(([, v]) => v); }
    has(name) { return this.get(name) !== null; }
    *entries() {
      for (const name of [...new Set(this.#pairs.map(([n]) => n))].sort()) yield [name, this.get(name)];
    }
    *keys() { for (const [name] of this.entries()) yield name; }
    *values() { for (const [, value] of this.entries()) yield value; }
    forEach(visit, self) { for (const [name, value] of this.entries()) visit.call(self, value, name, this); }
    [Symbol.iterator]() { return this.entries(); }
  }
  hide("Headers", Headers);
  class Response {
    #answer;
    #headers;
    #url;
    #used = false;
    constructor(answer, url) { this.#answer = answer; this.#headers = new Headers(answer.headers); this.#url = url; }
    get status() { return this.#answer.status; }
    get ok() { return this.status >= 200 && this.status < 300; }
    get redirected() { return false; }
    get url() { return this.#url; }
    get headers() { return this.#headers; }
    get bodyUsed() { return this.#used; }
    #use() {
      if (this.#used) throw new typeError("the body was already read");
      this.#used = true;
    }
    async bytes() {
      this.#use();
      const { text: body, body: base64 } = this.#answer;
      return base64 === undefined ? encode(body) : bytesOf.from(fromBinary(base64), (c) => c.charCodeAt(0));
    }
    async arrayBuffer() { return (await this.bytes()).buffer; }
    async text() {
      if (this.#answer.body !== undefined) return new globalText().decode(await this.bytes());
      this.#use();
      return this.#answer.text.replace(/^\ufeff/, "");
    }
    async json() { return parse(await this.text()); }
  }
  const globalText = TextDecoder;
  hide("fetch", async (url, { method = "GET", headers = {}, body, timeout_ms } = {}) => {
    const sent = new Headers(headers), request = { method: text(method).toUpperCase(), url: text(url), timeout_ms };
    if (body !== undefined && body !== null) {
      if (isView(body) || body instanceof ArrayBuffer) {
        let binary = "";
        for (const byte of asBytes(body)) binary += fromCodes(byte);
        request.body = toBinary(binary);
      } else {
        request.text = text(body).toWellFormed();
        if (!sent.has("content-type"))
          sent.set("content-type", body instanceof URLSearchParams ? "application/x-www-form-urlencoded;charset=UTF-8" : "text/plain;charset=UTF-8");
      }
    }
    request.headers = [...sent];
    return new Response(await call("fetch", request), request.url);
  });

  return (id, failed, value) => (id === 0 ? (isLoading = false) : settle(id, failed, value));
});
