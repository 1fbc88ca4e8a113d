// Part of quickjs_millrace.c: values as a JSON writer sees them, without running code.

static bool mr_lacks(JSContext *ctx, JSObject *p, JSAtom atom)
{
    return find_own_property1(p, atom) == NULL;
}

/* Whether plain objects and arrays inherit no toJSON. */
static bool mr_plain_prototypes(JSContext *ctx, JSAtom to_json)
{
    JSObject *array_proto = JS_VALUE_GET_OBJ(ctx->class_proto[JS_CLASS_ARRAY]);
    JSObject *object_proto = JS_VALUE_GET_OBJ(ctx->class_proto[JS_CLASS_OBJECT]);
    return mr_lacks(ctx, object_proto, to_json) && mr_lacks(ctx, array_proto, to_json) &&
        array_proto->shape->proto == object_proto;
}

MrView mr_view(JSContext *ctx, JSValueConst value, JSAtom to_json)
{
    MrView view = {.kind = MR_OTHER};
    JSObject *p, *object_proto;
    if (JS_VALUE_GET_TAG(value) == JS_TAG_STRING) {
        JSString *str = JS_VALUE_GET_STRING(value);
        view.kind = MR_STRING;
        view.is_latin1 = !str->is_wide_char;
        view.count = str->len;
        view.text = view.is_latin1 ? (const char *)str8(str) : NULL;
        return view;
    }
    if (JS_VALUE_GET_TAG(value) != JS_TAG_OBJECT)
        return view;
    view.kind = MR_SLOW;
    p = JS_VALUE_GET_OBJ(value);
    object_proto = JS_VALUE_GET_OBJ(ctx->class_proto[JS_CLASS_OBJECT]);
    if (!mr_plain_prototypes(ctx, to_json))
        return view;
    if (p->class_id == JS_CLASS_OBJECT) {
        if (p->is_exotic || p->shape->proto != object_proto || !mr_lacks(ctx, p, to_json))
            return view;
        view.kind = MR_OBJECT;
        view.count = p->shape->prop_count;
    } else if (p->class_id == JS_CLASS_ARRAY && p->fast_array) {
        JSObject *array_proto = JS_VALUE_GET_OBJ(ctx->class_proto[JS_CLASS_ARRAY]);
        if (p->shape->proto != array_proto || !mr_lacks(ctx, p, to_json) ||
            JS_VALUE_GET_TAG(p->prop[0].u.value) != JS_TAG_INT ||
            (uint32_t)JS_VALUE_GET_INT(p->prop[0].u.value) != p->u.array.count)
            return view;
        view.kind = MR_ARRAY;
        view.count = p->u.array.count;
        view.values = p->u.array.u.values;
    }
    return view;
}

/* An entry's key, where it is 8 bits a character and no number; false: the generic way. */
static bool mr_entry_key(JSContext *ctx, JSAtom atom, MrEntry *entry)
{
    JSString *str;
    if (__JS_AtomIsTaggedInt(atom))
        return false;
    str = ctx->rt->atom_array[atom];
    if (str->atom_type != JS_ATOM_TYPE_STRING) {
        entry->kind = MR_ENTRY_SKIP;
        return true;
    }
    if (str->is_wide_char)
        return str16(str)[0] > '9' || str16(str)[0] < '0';
    if (str->len > 0 && str8(str)[0] >= '0' && str8(str)[0] <= '9')
        return false;
    entry->key = (const char *)str8(str);
    entry->key_size = str->len;
    return true;
}

MrEntry mr_entry(JSContext *ctx, JSValueConst object, uint32_t index)
{
    MrEntry entry = {.kind = MR_ENTRY_SLOW};
    JSObject *p = JS_VALUE_GET_OBJ(object);
    JSShapeProperty *prs = &get_shape_prop(p->shape)[index];
    JSProperty *pr = &p->prop[index];
    entry.atom = prs->atom;
    if (prs->atom == JS_ATOM_NULL) {
        entry.kind = MR_ENTRY_SKIP;
        return entry;
    }
    if (!mr_entry_key(ctx, prs->atom, &entry) || entry.kind == MR_ENTRY_SKIP)
        return entry;
    if (!(prs->flags & JS_PROP_ENUMERABLE)) {
        entry.kind = MR_ENTRY_SKIP;
        return entry;
    }
    if ((prs->flags & JS_PROP_TMASK) == JS_PROP_AUTOINIT) {
        MrMember *m = pr->u.init.opaque;
        const char *text;
        if (js_autoinit_get_id(pr) != JS_AUTOINIT_ID_MR_LAZY)
            return entry;
        text = (const char *)m->lazy->text->bytes;
        if (m->flags == 0) {
            entry.kind = MR_ENTRY_PAIR;
            entry.raw = text + m->key - 1;
            entry.raw_size = m->value + m->value_size - (m->key - 1);
            return entry;
        }
        if (!(m->value_flags & MR_CHANGES)) {
            entry.kind = MR_ENTRY_RAW;
            entry.raw = text + m->value;
            entry.raw_size = m->value_size;
            return entry;
        }
        if (JS_AutoInitProperty(ctx, p, prs->atom, pr, prs)) {
            entry.kind = MR_ENTRY_ERROR;
            return entry;
        }
        prs = &get_shape_prop(p->shape)[index];
    }
    if (prs->flags & JS_PROP_TMASK)
        return entry;
    entry.kind = MR_ENTRY_VALUE;
    entry.value = p->prop[index].u.value;
    return entry;
}

bool mr_raw_property(JSContext *ctx, JSValueConst object, JSAtom atom, JSAtom to_json,
                     const char **raw, uint32_t *size)
{
    JSObject *p = JS_VALUE_GET_OBJ(object);
    JSShapeProperty *prs;
    JSProperty *pr;
    MrMember *m;
    if (p->class_id != JS_CLASS_OBJECT || p->is_exotic)
        return false;
    prs = find_own_property(&pr, p, atom);
    if (!prs || (prs->flags & JS_PROP_TMASK) != JS_PROP_AUTOINIT ||
        js_autoinit_get_id(pr) != JS_AUTOINIT_ID_MR_LAZY)
        return false;
    m = pr->u.init.opaque;
    if (m->value_flags & MR_CHANGES)
        return false;
    *raw = (const char *)m->lazy->text->bytes + m->value;
    *size = m->value_size;
    return (**raw != '{' && **raw != '[') || mr_plain_prototypes(ctx, to_json);
}
