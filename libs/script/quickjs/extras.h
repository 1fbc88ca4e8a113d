#pragma once

#include <quickjs.h>

// What Millrace needs of QuickJS-ng beyond its public interface: see patch.cmake.

#ifdef __cplusplus
extern "C" {
#endif

/* Every promise reaction runs in the name of the call that waits, not of the one that resolved it.
   `hook` is told when a job of another call begins. Call 0 is nobody. */
typedef void MrSwitch(void* opaque, uint32_t call);
void mr_set_switch(JSRuntime* rt, MrSwitch* hook, void* opaque);
void mr_set_call(JSRuntime* rt, uint32_t call);

typedef void MrName(void* opaque, const char* name, size_t size);
/* The specifiers that a compiled module imports, as written. */
int mr_module_imports(JSContext* ctx, JSModuleDef* m, MrName* add, void* opaque);
/* The names it exports, also by `export *` where those modules are loaded. -1: exception. */
int mr_module_exports(JSContext* ctx, JSModuleDef* m, MrName* add, void* opaque);

/* Bytes of the heap now and at most since mr_reset_heap; whether it refused memory since then. */
size_t mr_heap_size(JSRuntime* rt);
size_t mr_heap_peak(JSRuntime* rt);
bool mr_heap_refused(JSRuntime* rt);
void mr_reset_heap(JSRuntime* rt);

/* The value of a JSON text as JSON.parse would give it, but members of objects are made when they
   are first read. Not lazily, in the same way, where the text is not a valid JSON object or array.
 */
JSValue mr_parse_lazily(JSContext* ctx, const char* text, size_t size);
/* Drops what was remembered to make such objects fast; before the context is freed. */
void mr_end_lazy(JSRuntime* rt);

/* How a value can be written as JSON without running any code. */
typedef enum MrKind {
  MR_SLOW,   /* not at all: it needs the generic way */
  MR_OBJECT, /* with `count` entries for mr_entry */
  MR_ARRAY,  /* `count` values */
  MR_STRING, /* `text`, 8 bits a character, where `is_latin1` */
  MR_OTHER,
} MrKind;
typedef struct MrView {
  MrKind kind;
  uint32_t count;
  bool is_latin1;
  const char* text;
  const JSValue* values;
} MrView;
MrView mr_view(JSContext* ctx, JSValueConst value, JSAtom to_json);

typedef enum MrEntryKind {
  MR_ENTRY_SKIP,  /* none */
  MR_ENTRY_SLOW,  /* the object needs the generic way */
  MR_ENTRY_ERROR, /* an exception is pending */
  MR_ENTRY_PAIR,  /* `raw` is key, colon and value as they are to be written */
  MR_ENTRY_RAW,   /* `raw` is the value, to be written without spaces; `key` the name */
  MR_ENTRY_VALUE,
} MrEntryKind;
typedef struct MrEntry {
  MrEntryKind kind;
  JSAtom atom;
  const char* key; /* 8 bits a character; NULL: ask for the atom */
  uint32_t key_size;
  const char* raw;
  uint32_t raw_size;
  JSValue value; /* not owned */
} MrEntry;
/* Of an MR_OBJECT; its place among `count` stays valid while no other code runs. */
MrEntry mr_entry(JSContext* ctx, JSValueConst object, uint32_t index);
/* For the generic way: the text of a property that was not read yet, if it can be written as it is.
   false: get the value. */
bool mr_raw_property(JSContext* ctx, JSValueConst object, JSAtom atom, JSAtom to_json,
                     const char** raw, uint32_t* size);

#ifdef __cplusplus
}
#endif
