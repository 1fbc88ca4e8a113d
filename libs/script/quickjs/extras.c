// Part of quickjs_millrace.c: see patch.cmake.
#include "libs/script/quickjs/extras.h"

void mr_set_switch(JSRuntime *rt, MrSwitch *hook, void *opaque)
{
    rt->mr_switch = hook;
    rt->mr_switch_opaque = opaque;
}

void mr_set_call(JSRuntime *rt, uint32_t call)
{
    rt->mr_call = call;
}

/* Whether code of this name is the prelude's or an adapter's. */
static bool mr_is_ours(JSContext *ctx, JSAtom filename)
{
    static const char *const names[] = {"<adapter>", "<prelude>"};
    JSString *name;
    if (filename == JS_ATOM_NULL || __JS_AtomIsTaggedInt(filename))
        return false;
    name = ctx->rt->atom_array[filename];
    for (size_t i = 0; i < countof(names); i++) {
        size_t size = strlen(names[i]);
        if (!name->is_wide_char && name->len == size && !memcmp(str8(name), names[i], size))
            return true;
    }
    return false;
}

static int mr_tell(JSContext *ctx, JSAtom atom, MrName *add, void *opaque)
{
    size_t size;
    const char *name = JS_AtomToCStringLen(ctx, &size, atom);
    if (!name)
        return -1;
    add(opaque, name, size);
    JS_FreeCString(ctx, name);
    return 0;
}

int mr_module_imports(JSContext *ctx, JSModuleDef *m, MrName *add, void *opaque)
{
    for (int i = 0; i < m->req_module_entries_count; i++) {
        if (mr_tell(ctx, m->req_module_entries[i].module_name, add, opaque) < 0)
            return -1;
    }
    return 0;
}

int mr_module_exports(JSContext *ctx, JSModuleDef *m, MrName *add, void *opaque)
{
    GetExportNamesState state;
    memset(&state, 0, sizeof(state));
    int result = get_exported_names(ctx, &state, m, false);
    for (int i = 0; i < state.exported_names_count && result >= 0; i++)
        result = mr_tell(ctx, state.exported_names[i].export_name, add, opaque);
    js_free(ctx, state.modules);
    js_free(ctx, state.exported_names);
    return result;
}

size_t mr_heap_size(JSRuntime *rt)
{
    return rt->malloc_state.malloc_size;
}

size_t mr_heap_peak(JSRuntime *rt)
{
    return rt->mr_peak;
}

bool mr_heap_refused(JSRuntime *rt)
{
    return rt->mr_refused;
}

void mr_reset_heap(JSRuntime *rt)
{
    rt->mr_peak = rt->malloc_state.malloc_size;
    rt->mr_refused = false;
}
