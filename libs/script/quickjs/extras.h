#pragma once

#include <quickjs.h>

// What Millrace needs of QuickJS-ng beyond its public interface: see patch.cmake.

#ifdef __cplusplus
extern "C" {
#endif

/* Every promise reaction runs in the name of the call that waits, not of the one that resolved it.
   `hook` is told when a job of another call begins. Call 0 is nobody. */
typedef void MrSwitch(void *opaque, uint32_t call);
void mr_set_switch(JSRuntime *rt, MrSwitch *hook, void *opaque);
void mr_set_call(JSRuntime *rt, uint32_t call);

typedef void MrName(void *opaque, const char *name, size_t size);
/* The specifiers that a compiled module imports, as written. */
int mr_module_imports(JSContext *ctx, JSModuleDef *m, MrName *add, void *opaque);
/* The names it exports, also by `export *` where those modules are loaded. -1: exception. */
int mr_module_exports(JSContext *ctx, JSModuleDef *m, MrName *add, void *opaque);

#ifdef __cplusplus
}
#endif
