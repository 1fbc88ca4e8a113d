# Makes ${QUICKJS_OUTPUT} of QuickJS-ng's quickjs.c: a promise's reactions and jobs remember the call that
# made them; properties may be made of JSON text when they are first read; the heap knows its peak and
# whether it refused memory. extras.c, lazy.c and view.c, which need the engine's own types, are added at the end.
# A change that no longer fits the sources stops the build.
set(QUICKJS_OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/quickjs_millrace.c)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS
  ${MILLRACE_QUICKJS_DIR}/quickjs.c ${CMAKE_CURRENT_LIST_FILE})
file(READ ${MILLRACE_QUICKJS_DIR}/quickjs.c quickjs_text)

function(quickjs_replace from to)
  string(FIND "${quickjs_text}" "${from}" first)
  string(FIND "${quickjs_text}" "${from}" last REVERSE)
  if(first EQUAL -1 OR NOT first EQUAL last)
    message(FATAL_ERROR "quickjs.c is not the version that patch.cmake was written for: found not exactly once: ${from}")
  endif()
  string(REPLACE "${from}" "${to}" text "${quickjs_text}")
  set(quickjs_text "${text}" PARENT_SCOPE)
endfunction()

quickjs_replace([=[    JSInterruptHandler *interrupt_handler;
    void *interrupt_opaque;
]=] [=[    JSInterruptHandler *interrupt_handler;
    void *interrupt_opaque;

    uint32_t mr_call; /* whose code runs */
    void (*mr_switch)(void *opaque, uint32_t call);
    void *mr_switch_opaque;
    struct MrShapes *mr_shapes; /* of objects made of JSON text: lazy.c */
    size_t mr_peak;
    bool mr_refused;
]=])
quickjs_replace([=[    JSJobFunc *job_func;
    int argc;
    JSValue argv[];
]=] [=[    JSJobFunc *job_func;
    uint32_t mr_call;
    int argc;
    JSValue argv[];
]=])
quickjs_replace([=[    e->job_func = job_func;
    e->argc = argc;
    for(i = 0; i < argc; i++) {
        e->argv[i] = js_dup(argv[i]);
    }
    list_add_tail(&e->link, &rt->job_list);
]=] [=[    e->job_func = job_func;
    e->mr_call = rt->mr_call;
    e->argc = argc;
    for(i = 0; i < argc; i++) {
        e->argv[i] = js_dup(argv[i]);
    }
    list_add_tail(&e->link, &rt->job_list);
]=])
quickjs_replace([=[    ctx = e->ctx;
    res = e->job_func(e->ctx, e->argc, vc(e->argv));
]=] [=[    ctx = e->ctx;
    if (e->mr_call != rt->mr_call) {
        rt->mr_call = e->mr_call;
        if (rt->mr_switch)
            rt->mr_switch(rt->mr_switch_opaque, e->mr_call);
    }
    res = e->job_func(e->ctx, e->argc, vc(e->argv));
]=])
quickjs_replace([=[    struct list_head link; /* not used in promise_reaction_job */
    JSValue resolving_funcs[2];
]=] [=[    struct list_head link; /* not used in promise_reaction_job */
    uint32_t mr_call;
    JSValue resolving_funcs[2];
]=])
quickjs_replace([=[        rd->handler = js_dup(handler);
        rd_array[i] = rd;
]=] [=[        rd->handler = js_dup(handler);
        rd->mr_call = ctx->rt->mr_call;
        rd_array[i] = rd;
]=])
quickjs_replace([=[        args[4] = value;
        JS_EnqueueJob(ctx, promise_reaction_job, 5, args);
        list_del(&rd->link);
]=] [=[        args[4] = value;
        {
            uint32_t mr_call = ctx->rt->mr_call;
            ctx->rt->mr_call = rd->mr_call;
            JS_EnqueueJob(ctx, promise_reaction_job, 5, args);
            ctx->rt->mr_call = mr_call;
        }
        list_del(&rd->link);
]=])

# A fifth kind of property that is made when it is first read: lazy.c.
quickjs_replace([=[    JS_AUTOINIT_ID_BYTECODE,
} JSAutoInitIDEnum;
]=] [=[    JS_AUTOINIT_ID_BYTECODE,
    JS_AUTOINIT_ID_MR_LAZY,
} JSAutoInitIDEnum;

static void mr_lazy_release(JSRuntime *rt, void *opaque);
static JSValue mr_lazy_value(JSContext *ctx, JSObject *p, JSAtom atom, void *opaque);
]=])
quickjs_replace([=[    return (JSContext *)(pr->u.init.realm_and_id & ~3);
]=] [=[    return (JSContext *)(pr->u.init.realm_and_id & ~(uintptr_t)7);
]=])
quickjs_replace([=[    return pr->u.init.realm_and_id & 3;
]=] [=[    return pr->u.init.realm_and_id & 7;
]=])
quickjs_replace([=[    assert((pr->u.init.realm_and_id & 3) == 0);
]=] [=[    assert((pr->u.init.realm_and_id & 7) == 0);
]=])
quickjs_replace([=[    js_bytecode_autoinit, /* JS_AUTOINIT_ID_BYTECODE */
]=] [=[    js_bytecode_autoinit, /* JS_AUTOINIT_ID_BYTECODE */
    mr_lazy_value, /* JS_AUTOINIT_ID_MR_LAZY */
]=])
quickjs_replace([=[{
    JS_FreeContext(js_autoinit_get_realm(pr));
}
]=] [=[{
    if (js_autoinit_get_id(pr) == JS_AUTOINIT_ID_MR_LAZY)
        mr_lazy_release(rt, pr->u.init.opaque); /* it does not own its realm */
    else
        JS_FreeContext(js_autoinit_get_realm(pr));
}
]=])
quickjs_replace([=[    mark_func(rt, &js_autoinit_get_realm(pr)->header);
]=] [=[    if (js_autoinit_get_id(pr) != JS_AUTOINIT_ID_MR_LAZY)
        mark_func(rt, &js_autoinit_get_realm(pr)->header);
]=])

# Stacks show no frames of ours.
quickjs_replace([=[static void build_backtrace(JSContext *ctx, JSValueConst error_val,
                            JSValueConst filter_func, const char *filename,
                            int line_num, int col_num, int backtrace_flags)
{
]=] [=[static bool mr_is_ours(JSContext *ctx, JSAtom filename);

static void build_backtrace(JSContext *ctx, JSValueConst error_val,
                            JSValueConst filter_func, const char *filename,
                            int line_num, int col_num, int backtrace_flags)
{
]=])
quickjs_replace([=[            backtrace_barrier = b->backtrace_barrier;
        }

        if (has_prepare) {
]=] [=[            backtrace_barrier = b->backtrace_barrier;
            if (mr_is_ours(ctx, b->filename))
                continue;
        }

        if (has_prepare) {
]=])

# The peak of the heap, and whether it came to its limit.
quickjs_replace([=[    if (unlikely(s->malloc_size + (count * size) > s->malloc_limit - 1))
        return NULL;
]=] [=[    if (unlikely(s->malloc_size + (count * size) > s->malloc_limit - 1)) {
        rt->mr_refused = true;
        return NULL;
    }
]=])
quickjs_replace([=[    if (unlikely(s->malloc_size + size > s->malloc_limit - 1))
        return NULL;
]=] [=[    if (unlikely(s->malloc_size + size > s->malloc_limit - 1)) {
        rt->mr_refused = true;
        return NULL;
    }
]=])
quickjs_replace([=[    if (s->malloc_size + size - old_size > s->malloc_limit - 1)
        return NULL;
]=] [=[    if (s->malloc_size + size - old_size > s->malloc_limit - 1) {
        rt->mr_refused = true;
        return NULL;
    }
]=])
string(REPLACE [=[    s->malloc_size += js_arena_usable_size(rt, ptr) + MALLOC_OVERHEAD;
    return ptr;
]=] [=[    s->malloc_size += js_arena_usable_size(rt, ptr) + MALLOC_OVERHEAD;
    if (unlikely(s->malloc_size > rt->mr_peak))
        rt->mr_peak = s->malloc_size;
    return ptr;
]=] quickjs_text "${quickjs_text}")
quickjs_replace([=[    s->malloc_size += js_arena_usable_size(rt, ptr) - old_size;
    return ptr;
]=] [=[    s->malloc_size += js_arena_usable_size(rt, ptr) - old_size;
    if (unlikely(s->malloc_size > rt->mr_peak))
        rt->mr_peak = s->malloc_size;
    return ptr;
]=])

string(APPEND quickjs_text "\n#include \"libs/script/quickjs/extras.c\"\n#include \"libs/script/quickjs/lazy.c\"\n#include \"libs/script/quickjs/view.c\"\n")
set(quickjs_before "")
if(EXISTS ${QUICKJS_OUTPUT})
  file(READ ${QUICKJS_OUTPUT} quickjs_before)
endif()
if(NOT quickjs_before STREQUAL quickjs_text)
  file(WRITE ${QUICKJS_OUTPUT} "${quickjs_text}")
endif()
