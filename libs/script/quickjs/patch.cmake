# Makes ${OUTPUT} of QuickJS-ng's quickjs.c: a promise's reactions and jobs remember the call that made
# them, and extras.c, which needs the engine's own types, is added at the end. A change that no longer
# fits the sources stops the build.
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

string(APPEND quickjs_text "\n#include \"libs/script/quickjs/extras.c\"\n")
set(quickjs_before "")
if(EXISTS ${QUICKJS_OUTPUT})
  file(READ ${QUICKJS_OUTPUT} quickjs_before)
endif()
if(NOT quickjs_before STREQUAL quickjs_text)
  file(WRITE ${QUICKJS_OUTPUT} "${quickjs_text}")
endif()
