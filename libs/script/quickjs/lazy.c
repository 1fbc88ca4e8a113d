// Part of quickjs_millrace.c: plain objects whose members are made of JSON text when they are first read.
//
// Such an object is an ordinary one (class Object, its prototype, a shape of its keys); only that its
// properties are of the engine's own kind "made when first used", and know where their text is. So no
// script can tell it from what JSON.parse gives, and what was not touched is written by copying.
#include "libs/script/quickjs/json_scan.h"

/* A text that properties still point into. */
typedef struct MrText {
    uint32_t references;
    uint32_t size;
    uint8_t bytes[]; /* size + MR_PADDING */
} MrText;

struct MrLazy;
typedef struct MrMember {
    struct MrLazy *lazy;
    uint32_t key; /* behind its quote */
    uint32_t key_size;
    uint32_t value;
    uint32_t value_size;
    uint8_t key_plain; /* ASCII without escapes */
    uint8_t flags;     /* MR_SPACES | MR_CHANGES, of key, colon and value together */
    uint8_t value_flags;
} MrMember;

typedef struct MrLazy {
    uint32_t references; /* of properties */
    MrText *text;
    MrMember members[];
} MrLazy;

/* The shapes of objects by the text of their keys: events of one kind have the same. */
#define MR_SHAPES 64
#define MR_MAX_MEMBERS 1024
typedef struct MrShapes {
    struct {
        uint64_t hash;
        uint32_t count;
        char *keys; /* each with a NUL behind it */
        uint32_t keys_size;
        JSShape *shape;
    } slots[MR_SHAPES];
} MrShapes;
static _Thread_local MrMember mr_scratch[MR_MAX_MEMBERS];

static JSValue mr_make_value(JSContext *ctx, MrText *text, uint32_t begin, uint32_t size);

static void mr_text_release(JSRuntime *rt, MrText *text)
{
    if (--text->references == 0)
        js_free_rt(rt, text);
}

static void mr_block_release(JSRuntime *rt, MrLazy *lazy)
{
    if (--lazy->references == 0) {
        mr_text_release(rt, lazy->text);
        js_free_rt(rt, lazy);
    }
}

static void mr_lazy_release(JSRuntime *rt, void *opaque)
{
    mr_block_release(rt, ((MrMember *)opaque)->lazy);
}

static JSValue mr_lazy_value(JSContext *ctx, JSObject *p, JSAtom atom, void *opaque)
{
    MrMember *member = opaque;
    MrText *text = member->lazy->text;
    JSValue value;
    text->references++; /* the property may go while its value is made */
    value = mr_make_value(ctx, text, member->value, member->value_size);
    mr_text_release(ctx->rt, text);
    return value;
}

/* By the engine's own parser, which wants a NUL behind the text. */
static JSValue mr_parse_eagerly(JSContext *ctx, const uint8_t *text, uint32_t size)
{
    JSValue value;
    char small[64];
    char *copy = size < sizeof(small) ? small : js_malloc(ctx, (size_t)size + 1);
    if (!copy)
        return JS_EXCEPTION;
    memcpy(copy, text, size);
    copy[size] = '\0';
    value = JS_ParseJSON(ctx, copy, size, "<event>");
    if (copy != small)
        js_free(ctx, copy);
    return value;
}

static MrShapes *mr_shapes(JSContext *ctx)
{
    JSRuntime *rt = ctx->rt;
    if (!rt->mr_shapes)
        rt->mr_shapes = js_mallocz(ctx, sizeof(MrShapes));
    return rt->mr_shapes;
}

void mr_end_lazy(JSRuntime *rt)
{
    if (!rt->mr_shapes)
        return;
    for (int i = 0; i < MR_SHAPES; i++) {
        js_free_rt(rt, rt->mr_shapes->slots[i].keys);
        js_free_shape_null(rt, rt->mr_shapes->slots[i].shape);
    }
    js_free_rt(rt, rt->mr_shapes);
    rt->mr_shapes = NULL;
}

/* Reads the members of the object at `begin`; their number, or -1 where it is not valid, or has too many. */
static int mr_read_members(MrText *text, uint32_t begin, uint32_t size, MrMember *members, uint64_t *hash)
{
    MrScan s = {text->bytes + begin, text->bytes + text->size, 1};
    int count = 0;
    *hash = 0;
    s.at++;
    mr_skip_spaces(&s);
    if (*s.at == '}') {
        s.at++;
        return s.at == text->bytes + begin + size ? 0 : -1;
    }
    for (;;) {
        MrMember *m = &members[count];
        bool plain;
        int flags, part;
        if (count == MR_MAX_MEMBERS || *s.at != '"')
            return -1;
        count++;
        s.at++;
        m->key = s.at - text->bytes;
        flags = mr_scan_string(&s, &plain);
        if (flags < 0)
            return -1;
        m->key_plain = plain;
        m->key_size = s.at - text->bytes - m->key - 1;
        *hash = (*hash ^ mr_key_hash(text->bytes + m->key, m->key_size)) * 0x9E3779B97F4A7C15ULL;
        flags |= mr_skip_spaces(&s);
        if (*s.at != ':')
            return -1;
        s.at++;
        flags |= mr_skip_spaces(&s);
        m->value = s.at - text->bytes;
        part = mr_scan_value(&s);
        if (part < 0)
            return -1;
        m->value_size = s.at - text->bytes - m->value;
        m->value_flags = part;
        m->flags = flags | part;
        part = mr_scan_next(&s, '}', &flags);
        if (part != 0)
            return part > 0 && s.at == text->bytes + begin + size ? count : -1;
    }
}

static bool mr_same_keys(const MrText *text, const MrMember *members, int count, const char *keys,
                         uint32_t keys_size)
{
    for (int i = 0; i < count; i++) {
        uint32_t size = members[i].key_size;
        if (size >= keys_size || memcmp(text->bytes + members[i].key, keys, size) || keys[size] != '\0')
            return false;
        keys += size + 1;
        keys_size -= size + 1;
    }
    return true;
}

static void mr_remember_shape(JSContext *ctx, MrText *text, MrMember *members, int count, uint64_t hash,
                              JSShape *shape)
{
    MrShapes *shapes = ctx->rt->mr_shapes;
    uint32_t slot = (hash >> 32) % MR_SHAPES, keys_size = 0;
    char *keys;
    for (int i = 0; i < count; i++)
        keys_size += members[i].key_size + 1;
    keys = js_malloc_rt(ctx->rt, keys_size);
    if (!keys)
        return;
    js_free_rt(ctx->rt, shapes->slots[slot].keys);
    js_free_shape_null(ctx->rt, shapes->slots[slot].shape);
    shapes->slots[slot].keys = keys;
    shapes->slots[slot].keys_size = keys_size;
    for (int i = 0; i < count; i++) {
        memcpy(keys, text->bytes + members[i].key, members[i].key_size);
        keys += members[i].key_size;
        *keys++ = '\0';
    }
    shapes->slots[slot].hash = hash;
    shapes->slots[slot].count = count;
    shapes->slots[slot].shape = js_dup_shape(shape);
}

static JSAtom mr_key_atom(JSContext *ctx, const MrText *text, const MrMember *m)
{
    JSValue value;
    JSAtom atom;
    if (m->key_plain)
        return JS_NewAtomLen(ctx, (const char *)text->bytes + m->key, m->key_size);
    value = mr_parse_eagerly(ctx, text->bytes + m->key - 1, m->key_size + 2);
    if (JS_IsException(value))
        return JS_ATOM_NULL;
    atom = JS_ValueToAtom(ctx, value);
    JS_FreeValue(ctx, value);
    return atom;
}

static void mr_set_lazy(JSContext *ctx, JSProperty *pr, MrMember *member)
{
    pr->u.init.realm_and_id = (uintptr_t)ctx | JS_AUTOINIT_ID_MR_LAZY;
    pr->u.init.opaque = member;
    member->lazy->references++;
}

/* The object of `lazy`, key by key; its shape is remembered for the next one. */
static JSValue mr_build_object(JSContext *ctx, MrLazy *lazy, int count, uint64_t hash)
{
    JSValue value = JS_NewObject(ctx);
    JSObject *p;
    bool twins = false;
    if (JS_IsException(value))
        return value;
    p = JS_VALUE_GET_OBJ(value);
    for (int i = 0; i < count; i++) {
        MrMember *m = &lazy->members[i];
        JSProperty *pr;
        JSAtom atom = mr_key_atom(ctx, lazy->text, m);
        if (atom == JS_ATOM_NULL)
            goto fail;
        if (find_own_property(&pr, p, atom)) { /* the last one counts, in the place of the first */
            twins = true;
            mr_block_release(ctx->rt, lazy);
        } else {
            pr = add_property(ctx, p, atom, JS_PROP_C_W_E | JS_PROP_AUTOINIT);
        }
        JS_FreeAtom(ctx, atom);
        if (!pr)
            goto fail;
        mr_set_lazy(ctx, pr, m);
    }
    if (!twins && p->shape->is_hashed)
        mr_remember_shape(ctx, lazy->text, lazy->members, count, hash, p->shape);
    return value;
 fail:
    JS_FreeValue(ctx, value);
    return JS_EXCEPTION;
}

/* JS_UNINITIALIZED: the text is not such an object. */
static JSValue mr_make_object(JSContext *ctx, MrText *text, uint32_t begin, uint32_t size)
{
    MrShapes *shapes = mr_shapes(ctx);
    MrLazy *lazy;
    JSValue value;
    uint64_t hash;
    uint32_t slot;
    int count;
    if (!shapes)
        return JS_EXCEPTION;
    count = mr_read_members(text, begin, size, mr_scratch, &hash);
    if (count < 0)
        return JS_UNINITIALIZED;
    if (count == 0)
        return JS_NewObject(ctx);
    lazy = js_malloc(ctx, sizeof(*lazy) + count * sizeof(MrMember));
    if (!lazy)
        return JS_EXCEPTION;
    lazy->references = 1;
    lazy->text = text;
    text->references++;
    memcpy(lazy->members, mr_scratch, count * sizeof(MrMember));
    for (int i = 0; i < count; i++)
        lazy->members[i].lazy = lazy;

    slot = (hash >> 32) % MR_SHAPES;
    if (shapes->slots[slot].shape && shapes->slots[slot].hash == hash &&
        shapes->slots[slot].count == (uint32_t)count &&
        mr_same_keys(text, lazy->members, count, shapes->slots[slot].keys,
                     shapes->slots[slot].keys_size)) {
        value = JS_NewObjectFromShape(ctx, js_dup_shape(shapes->slots[slot].shape), JS_CLASS_OBJECT, NULL);
        if (!JS_IsException(value)) {
            JSObject *p = JS_VALUE_GET_OBJ(value);
            for (int i = 0; i < count; i++)
                mr_set_lazy(ctx, &p->prop[i], &lazy->members[i]);
        }
    } else {
        value = mr_build_object(ctx, lazy, count, hash);
    }
    mr_block_release(ctx->rt, lazy);
    return value;
}

/* JS_UNINITIALIZED: the text is not such an array. */
static JSValue mr_make_array(JSContext *ctx, MrText *text, uint32_t begin, uint32_t size)
{
    MrScan s = {text->bytes + begin, text->bytes + text->size, 1};
    JSValue *values = NULL, result = JS_UNINITIALIZED;
    int count = 0, allocated = 0;
    if (js_check_stack_overflow(ctx->rt, 0))
        return JS_ThrowStackOverflow(ctx);
    s.at++;
    mr_skip_spaces(&s);
    if (*s.at == ']')
        return s.at + 1 == text->bytes + begin + size ? JS_NewArray(ctx) : JS_UNINITIALIZED;
    for (;;) {
        uint32_t start = s.at - text->bytes;
        JSValue value;
        if (mr_scan_value(&s) < 0)
            goto fail;
        if (count == allocated) {
            JSValue *grown;
            allocated = allocated ? allocated * 2 : 8;
            grown = js_realloc(ctx, values, allocated * sizeof(*values));
            if (!grown) {
                result = JS_EXCEPTION;
                goto fail;
            }
            values = grown;
        }
        value = mr_make_value(ctx, text, start, s.at - text->bytes - start);
        if (JS_IsException(value)) {
            result = value;
            goto fail;
        }
        values[count++] = value;
        mr_skip_spaces(&s);
        if (*s.at == ']')
            break;
        if (*s.at != ',')
            goto fail;
        s.at++;
        mr_skip_spaces(&s);
    }
    if (s.at + 1 != text->bytes + begin + size)
        goto fail;
    result = JS_NewArrayFrom(ctx, count, values);
    js_free(ctx, values);
    return result;
 fail:
    for (int i = 0; i < count; i++)
        JS_FreeValue(ctx, values[i]);
    js_free(ctx, values);
    return result;
}

static JSValue mr_make_value(JSContext *ctx, MrText *text, uint32_t begin, uint32_t size)
{
    const uint8_t *p = text->bytes + begin;
    JSValue value = JS_UNINITIALIZED;
    if (*p == '{') {
        value = mr_make_object(ctx, text, begin, size);
    } else if (*p == '[') {
        value = mr_make_array(ctx, text, begin, size);
    } else if (*p == '"') {
        if (!memchr(p, '\\', size))
            return JS_NewStringLen(ctx, (const char *)p + 1, size - 2);
    } else if (*p >= '1' && *p <= '9' && size <= 9) {
        int32_t number = 0;
        uint32_t i = 0;
        while (i < size && p[i] >= '0' && p[i] <= '9')
            number = number * 10 + (p[i++] - '0');
        if (i == size)
            return js_int32(number);
    } else if (*p == 't') {
        return JS_TRUE;
    } else if (*p == 'f') {
        return JS_FALSE;
    } else if (*p == 'n') {
        return JS_NULL;
    }
    return JS_IsUninitialized(value) ? mr_parse_eagerly(ctx, p, size) : value;
}

JSValue mr_parse_lazily(JSContext *ctx, const char *text, size_t size)
{
    MrText *copy;
    JSValue value = JS_UNINITIALIZED;
    while (size > 0 && (*text == ' ' || *text == '\n' || *text == '\r' || *text == '\t')) {
        text++;
        size--;
    }
    while (size > 0 && (text[size - 1] == ' ' || text[size - 1] == '\n' || text[size - 1] == '\r' ||
                        text[size - 1] == '\t'))
        size--;
    if (size < 2 || size > INT32_MAX || (*text != '{' && *text != '['))
        return mr_parse_eagerly(ctx, (const uint8_t *)text, size);
    copy = js_malloc(ctx, sizeof(*copy) + size + MR_PADDING);
    if (!copy)
        return JS_EXCEPTION;
    copy->references = 1;
    copy->size = size;
    memcpy(copy->bytes, text, size);
    memset(copy->bytes + size, 0, MR_PADDING);
    value = *text == '{' ? mr_make_object(ctx, copy, 0, size) : mr_make_array(ctx, copy, 0, size);
    mr_text_release(ctx->rt, copy);
    return JS_IsUninitialized(value) ? mr_parse_eagerly(ctx, (const uint8_t *)text, size) : value;
}
