/* A JavaScript engine as one WebAssembly module: QuickJS-ng, with what the server calls and what a script can reach.
 *
 * The server loads one file into an instance, copies the memory, and puts the copy back after each call. Therefore this
 * file need not free what a call leaves behind.
 *
 * Texts are UTF-8, as an address and a length. A function that fails returns -1. The text of the error is then the
 * output (`out_ptr`, `out_len`).
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "quickjs.h"
#include "prelude.h"

#define EXPORT(name) __attribute__((export_name(name)))
#define IMPORT(name) __attribute__((import_module("parlor"), import_name(name)))

/* Begins a host call, and returns its id. */
IMPORT("begin") extern int32_t host_begin(const char *name, size_t name_len, const char *json, size_t json_len);
/* Waits until any host call has ended. Returns its id, or 0 if none is under way. */
IMPORT("wait") extern int32_t host_wait(void);
/* The length of the answer: of JSON, or, if negative, -1 minus the length of an error's JSON. */
IMPORT("answer_len") extern int32_t host_answer_len(void);
/* Copies the answer. */
IMPORT("take") extern void host_take(char *to);
IMPORT("log") extern void host_log(int32_t level, const char *text, size_t len);
/* The length of a variable's value, which `take` copies; -1 if there is none. */
IMPORT("env") extern int32_t host_env(const char *name, size_t len);

extern int getentropy(void *buffer, size_t len);

static JSRuntime *rt;
static JSContext *cx;
static JSValue exports_of_file;
/* Set by the prelude: settles the promise of a host call, `settle(id, failed, value)`. With the id 0 it learns that the
 * file is loaded. */
static JSValue settle_call = JS_UNDEFINED;
static int is_calling;

static const char *out;
static size_t out_len;

static int put_out(const char *text, size_t len) {
  out = text;
  out_len = len;
  return 0;
}

/* The text of a value, whatever it is. A value that can't be converted is described. */
static const char *describe(JSValueConst value, size_t *len) {
  const char *text = NULL;
  if (!JS_IsSymbol(value)) {
    if (JS_IsObject(value) && !JS_IsError(value)) {
      JSValue json = JS_JSONStringify(cx, value, JS_UNDEFINED, JS_UNDEFINED);
      if (JS_IsString(json)) text = JS_ToCStringLen(cx, len, json);
      else JS_FreeValue(cx, JS_GetException(cx));
    } else {
      text = JS_ToCStringLen(cx, len, value);
    }
    if (!text) JS_FreeValue(cx, JS_GetException(cx));
  }
  if (!text) {
    text = "a value that has no text";
    *len = strlen(text);
  }
  return text;
}

/* Takes the pending exception as the output, with its stack. */
static int fail(void) {
  JSValue error = JS_GetException(cx);
  size_t len = 0, stack_len = 0;
  const char *text = describe(error, &len), *stack = NULL;
  if (JS_IsError(error)) {
    JSValue value = JS_GetPropertyStr(cx, error, "stack");
    if (JS_IsString(value)) stack = JS_ToCStringLen(cx, &stack_len, value);
    else JS_FreeValue(cx, JS_GetException(cx));
  }
  char *both = malloc(len + 1 + stack_len);
  if (!both) return put_out("out of memory", 13), -1;
  memcpy(both, text, len);
  both[len] = '\n';
  if (stack) memcpy(both + len + 1, stack, stack_len);
  put_out(both, len + 1 + stack_len);
  return -1;
}

/* begin(name, json): begins a host call, and returns its id. */
static JSValue js_begin(JSContext *c, JSValueConst self, int argc, JSValueConst *argv) {
  if (!is_calling) return JS_ThrowTypeError(c, "host calls are possible only during a call, not while the file is loaded");
  size_t name_len, json_len;
  const char *name = JS_ToCStringLen(c, &name_len, argv[0]);
  const char *json = name ? JS_ToCStringLen(c, &json_len, argv[1]) : NULL;
  if (!json) return JS_EXCEPTION;
  int32_t id = host_begin(name, name_len, json, json_len);
  JS_FreeCString(c, name);
  JS_FreeCString(c, json);
  return JS_NewInt32(c, id);
}

static JSValue js_log(JSContext *c, JSValueConst self, int argc, JSValueConst *argv) {
  int32_t level = 0;
  size_t len;
  JS_ToInt32(c, &level, argv[0]);
  const char *text = JS_ToCStringLen(c, &len, argv[1]);
  if (!text) return JS_EXCEPTION;
  host_log(level, text, len);
  JS_FreeCString(c, text);
  return JS_UNDEFINED;
}

static JSValue js_env(JSContext *c, JSValueConst self, int argc, JSValueConst *argv) {
  size_t len;
  const char *name = JS_ToCStringLen(c, &len, argv[0]);
  if (!name) return JS_EXCEPTION;
  int32_t size = host_env(name, len);
  JS_FreeCString(c, name);
  if (size < 0) return JS_UNDEFINED;
  char *value = js_malloc(c, (size_t)size + 1);
  if (!value) return JS_EXCEPTION;
  host_take(value);
  JSValue text = JS_NewStringLen(c, value, (size_t)size);
  js_free(c, value);
  return text;
}

/* random(bytes): fills a Uint8Array with bytes of the system's generator. */
static JSValue js_random(JSContext *c, JSValueConst self, int argc, JSValueConst *argv) {
  size_t len;
  uint8_t *bytes = JS_GetUint8Array(c, &len, argv[0]);
  if (!bytes) return JS_EXCEPTION;
  while (len > 0) {
    size_t part = len < 256 ? len : 256;
    if (getentropy(bytes, part)) return JS_ThrowInternalError(c, "the system gave no random bytes");
    bytes += part;
    len -= part;
  }
  return JS_UNDEFINED;
}

/* encode(text): a Uint8Array of UTF-8. */
static JSValue js_encode(JSContext *c, JSValueConst self, int argc, JSValueConst *argv) {
  size_t len;
  const char *text = JS_ToCStringLen(c, &len, argv[0]);
  if (!text) return JS_EXCEPTION;
  JSValue bytes = JS_NewUint8ArrayCopy(c, (const uint8_t *)text, len);
  JS_FreeCString(c, text);
  return bytes;
}

/* decode(bytes): a text of UTF-8 that is already known to be valid. */
static JSValue js_decode(JSContext *c, JSValueConst self, int argc, JSValueConst *argv) {
  size_t len;
  uint8_t *bytes = JS_GetUint8Array(c, &len, argv[0]);
  if (!bytes) return JS_EXCEPTION;
  return JS_NewStringLen(c, (const char *)bytes, len);
}

/* A module that a file may import. */
struct module {
  struct module *next;
  char *name, *code;
  size_t len;
};
static struct module *modules;

/* The folder of modules: "./lib/x.js" in the file, "./x.js" in a module. */
static char *normalize(JSContext *c, const char *base, const char *name, void *opaque) {
  char path[256];
  int in_lib = !strncmp(base, "lib/", 4);
  if (!strncmp(name, "./", 2) && strlen(name) < sizeof path - 8) {
    path[0] = 0;
    if (in_lib) strcat(path, "lib/");
    strcat(path, name + 2);
    for (struct module *m = modules; m; m = m->next)
      if (!strcmp(m->name, path)) return js_strdup(c, path);
    JS_ThrowReferenceError(c, "cannot import \"%s\" in %s: there is no such file in the folder lib/ beside the function", name, base);
    return NULL;
  }
  JS_ThrowReferenceError(c, "cannot import \"%s\" in %s: a function has fetch() and no packages; put modules of your own into the "
    "folder lib/ and import \"./lib/name.js\", or bundle with `npx esbuild --bundle --format=esm`", name, base);
  return NULL;
}

static JSModuleDef *load_module(JSContext *c, const char *name, void *opaque) {
  for (struct module *m = modules; m; m = m->next) {
    if (strcmp(m->name, name)) continue;
    JSValue value = JS_Eval(c, m->code, m->len, name, JS_EVAL_TYPE_MODULE | JS_EVAL_FLAG_COMPILE_ONLY);
    if (JS_IsException(value)) return NULL;
    JSModuleDef *def = JS_VALUE_GET_PTR(value);
    JS_FreeValue(c, value);
    return def;
  }
  JS_ThrowReferenceError(c, "no module \"%s\"", name);
  return NULL;
}

/* Called for a promise that is rejected without a handler. A handler may still be added, so this says so only as a
 * warning, at the end of the call. */
static JSValue unhandled = JS_UNDEFINED;
static JSValue unhandled_reason = JS_UNDEFINED;
static void track_rejection(JSContext *c, JSValueConst promise, JSValueConst reason, bool is_handled, void *opaque) {
  if (is_handled) {
    if (JS_IsObject(unhandled) && JS_VALUE_GET_PTR(unhandled) == JS_VALUE_GET_PTR(promise)) unhandled = JS_UNDEFINED;
  } else {
    unhandled = JS_DupValue(c, promise);
    unhandled_reason = JS_DupValue(c, reason);
  }
}

static int run_jobs(void) {
  JSContext *c;
  int ran;
  while ((ran = JS_ExecutePendingJob(rt, &c)) > 0) {}
  return ran;
}

/* Waits for one host call and settles its promise. Returns 0 if none is under way. */
static int settle_one(void) {
  int32_t id = host_wait();
  if (!id) return 0;
  int32_t len = host_answer_len();
  int failed = len < 0;
  size_t size = (size_t)(failed ? -(len + 1) : len);
  char *json = js_malloc(cx, size + 1);
  if (!json) return -1;
  host_take(json);
  json[size] = 0;
  JSValue value = JS_ParseJSON(cx, json, size, "<answer>");
  js_free(cx, json);
  if (JS_IsException(value)) return -1;
  JSValue args[3] = { JS_NewInt32(cx, id), JS_NewBool(cx, failed), value };
  JSValue settled = JS_Call(cx, settle_call, JS_UNDEFINED, 3, (JSValueConst *)args);
  JS_FreeValue(cx, value);
  if (JS_IsException(settled)) return -1;
  return 1;
}

/* Runs jobs and waits for host calls until a promise is settled. Replaces the promise by its result. */
static int settle(JSValue *value) {
  for (;;) {
    if (run_jobs() < 0) return -1;
    if (!JS_IsPromise(*value)) return 0;
    JSPromiseStateEnum state = JS_PromiseState(cx, *value);
    if (state == JS_PROMISE_FULFILLED) {
      *value = JS_PromiseResult(cx, *value);
      return 0;
    }
    if (state == JS_PROMISE_REJECTED) {
      unhandled = JS_UNDEFINED;
      JS_Throw(cx, JS_PromiseResult(cx, *value));
      return -1;
    }
    int settled = settle_one();
    if (settled < 0) return -1;
    if (!settled) {
      JS_ThrowTypeError(cx, "the promise is never settled");
      return -1;
    }
  }
}

static void warn_unhandled(void) {
  if (JS_IsUndefined(unhandled)) return;
  size_t len;
  const char *text = describe(unhandled_reason, &len);
  static const char begin[] = "a promise was rejected and nobody waited for it: ";
  char *line = malloc(sizeof begin + len);
  if (!line) return;
  memcpy(line, begin, sizeof begin - 1);
  memcpy(line + sizeof begin - 1, text, len);
  host_log(2, line, sizeof begin - 1 + len);
}

static void define(JSValue on, const char *name, JSCFunction *function, int args) {
  JS_SetPropertyStr(cx, on, name, JS_NewCFunction(cx, function, name, args));
}

EXPORT("init") int init(void) {
  rt = JS_NewRuntime();
  if (!rt) return put_out("out of memory", 13), -1;
  /* The stack is WebAssembly's, and WebAssembly checks it. */
  JS_SetMaxStackSize(rt, 0);
  JS_SetModuleLoaderFunc(rt, normalize, load_module, NULL);
  JS_SetHostPromiseRejectionTracker(rt, track_rejection, NULL);
  cx = JS_NewContext(rt);
  if (!cx) return put_out("out of memory", 13), -1;
  JSValue host = JS_NewObject(cx);
  define(host, "begin", js_begin, 2);
  define(host, "log", js_log, 2);
  define(host, "env", js_env, 1);
  define(host, "random", js_random, 1);
  define(host, "encode", js_encode, 1);
  define(host, "decode", js_decode, 1);
  /* The prelude is a function of the host. It returns `settle`. */
  JSValue prelude = JS_Eval(cx, PRELUDE, sizeof PRELUDE - 1, "<parlor>", JS_EVAL_TYPE_GLOBAL);
  if (JS_IsException(prelude)) return fail();
  settle_call = JS_Call(cx, prelude, JS_UNDEFINED, 1, (JSValueConst *)&host);
  if (JS_IsException(settle_call)) return fail();
  exports_of_file = JS_UNDEFINED;
  return 0;
}

EXPORT("alloc") void *alloc(size_t n) { return malloc(n + 1); }
EXPORT("out_ptr") const char *get_out(void) { return out; }
EXPORT("out_len") size_t get_out_len(void) { return out_len; }

EXPORT("provide") int provide(char *name, size_t name_len, char *code, size_t len) {
  struct module *m = malloc(sizeof *m);
  if (!m) return put_out("out of memory", 13), -1;
  name[name_len] = 0;
  code[len] = 0;
  *m = (struct module){ modules, name, code, len };
  modules = m;
  return 0;
}

EXPORT("load") int load(char *file, size_t file_len, char *code, size_t len) {
  file[file_len] = 0;
  code[len] = 0;
  JSValue module = JS_Eval(cx, code, len, file, JS_EVAL_TYPE_MODULE | JS_EVAL_FLAG_COMPILE_ONLY);
  if (JS_IsException(module)) return fail();
  JSModuleDef *def = JS_VALUE_GET_PTR(module);
  JSValue ran = JS_EvalFunction(cx, module);
  if (JS_IsException(ran) || settle(&ran)) return fail();
  exports_of_file = JS_GetModuleNamespace(cx, def);
  warn_unhandled();
  unhandled = JS_UNDEFINED;
  JSValue loaded[3] = { JS_NewInt32(cx, 0), JS_FALSE, JS_UNDEFINED };
  JS_FreeValue(cx, JS_Call(cx, settle_call, JS_UNDEFINED, 3, (JSValueConst *)loaded));
  free(code);
  while (modules) {
    struct module *next = modules->next;
    free(modules->name);
    free(modules->code);
    free(modules);
    modules = next;
  }
  JS_RunGC(rt);
  return 0;
}

/* Puts out the names of the exported functions, as a JSON array. */
EXPORT("exports") int exports(void) {
  JSPropertyEnum *names;
  uint32_t count, at = 0;
  if (JS_GetOwnPropertyNames(cx, &names, &count, exports_of_file, JS_GPN_STRING_MASK)) return fail();
  JSValue list = JS_NewArray(cx);
  for (uint32_t i = 0; i < count; i++) {
    JSValue value = JS_GetProperty(cx, exports_of_file, names[i].atom);
    if (JS_IsException(value)) return fail();
    if (JS_IsFunction(cx, value)) JS_SetPropertyUint32(cx, list, at++, JS_AtomToString(cx, names[i].atom));
    JS_FreeValue(cx, value);
  }
  JSValue json = JS_JSONStringify(cx, list, JS_UNDEFINED, JS_UNDEFINED);
  size_t len;
  const char *text = JS_ToCStringLen(cx, &len, json);
  if (!text) return fail();
  return put_out(text, len);
}

/* Calls an export with a JSON text. Returns 1 and puts out the JSON of the result, or returns 0 for a result that is
 * undefined. */
EXPORT("call") int call(char *name, size_t name_len, char *json, size_t json_len) {
  name[name_len] = 0;
  json[json_len] = 0;
  is_calling = 1;
  JSValue function = JS_GetPropertyStr(cx, exports_of_file, name);
  if (!JS_IsFunction(cx, function)) {
    JS_ThrowTypeError(cx, "no such export: %s", name);
    return fail();
  }
  JSValue arg = JS_ParseJSON(cx, json, json_len, "<call>");
  if (JS_IsException(arg)) return fail();
  JSValue result = JS_Call(cx, function, JS_UNDEFINED, 1, (JSValueConst *)&arg);
  if (JS_IsException(result) || settle(&result)) return fail();
  warn_unhandled();
  JSValue text = JS_JSONStringify(cx, result, JS_UNDEFINED, JS_UNDEFINED);
  if (JS_IsException(text)) return fail();
  if (JS_IsUndefined(text)) return put_out("", 0);
  size_t len;
  const char *bytes = JS_ToCStringLen(cx, &len, text);
  if (!bytes) return fail();
  put_out(bytes, len);
  return 1;
}

/* Makes free memory part of the image, so that a call need not grow the memory. The volatile pointer keeps the compiler
 * from leaving this out. */
EXPORT("reserve") void reserve(size_t n) {
  char *volatile p = malloc(n);
  if (p) {
    p[n - 1] = 0;
    free(p);
  }
}
