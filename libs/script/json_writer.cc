#include "libs/script/json_writer.h"

#include <algorithm>
#include <string_view>

#include "libs/script/json_text.h"
#include "libs/script/quickjs/extras.h"

namespace millrace::script {
namespace {

// Deeper values than this are refused as JSON.stringify refuses them: by running out of stack.
constexpr size_t kMaxDepth = 1000;

JSClassID ClassOf(JSContext* context, const char* expression) {
  JSValue value = JS_Eval(context, expression, std::string_view(expression).size(), "<class>", 0);
  const JSClassID id = JS_GetClassID(value);
  JS_FreeValue(context, value);
  return id;
}

bool IsArray(JSContext* context, JSValueConst value) {
  if (JS_IsArray(value)) return true;
  if (!JS_IsProxy(value)) return false;
  JSValue target = JS_GetProxyTarget(context, value);
  const bool array = !JS_IsException(target) && IsArray(context, target);
  JS_FreeValue(context, target);
  return array;
}

}  // namespace

JsonWriter::JsonWriter(JSContext* context, JSClassID raw_class, size_t max_bytes)
    : context_(context),
      raw_class_(raw_class),
      max_bytes_(max_bytes),
      to_json_(JS_NewAtom(context, "toJSON")),
      number_class_(ClassOf(context, "new Number(0)")),
      string_class_(ClassOf(context, "new String('')")),
      boolean_class_(ClassOf(context, "new Boolean(false)")),
      bigint_class_(ClassOf(context, "Object(0n)")) {}

JsonWriter::~JsonWriter() {
  JS_FreeAtom(context_, to_json_);
}

JsonWriter::Result JsonWriter::Throw(const char* message) {
  JS_ThrowTypeError(context_, "%s", message);
  return Result::kException;
}

JsonWriter::Result JsonWriter::Refuse(const char* message) {
  refused_ = true;
  return Throw(message);
}

JsonWriter::Result JsonWriter::Write(JSValueConst value, std::string* out) {
  path_.clear();
  refused_ = false;
  const size_t before = out->size();
  switch (WriteFast(value, 0, out)) {
    case Fast::kWritten:
      return out->size() > max_bytes_ ? Refuse("the result is too large") : Result::kWritten;
    case Fast::kUndefined:
      return Result::kUndefined;
    case Fast::kException:
      return Result::kException;
    case Fast::kSlow:
      out->resize(before);
  }
  JSValue key = JS_NewString(context_, "");
  const Result result = WriteValue(JS_DupValue(context_, value), key, out);
  JS_FreeValue(context_, key);
  return result;
}

JsonWriter::Result JsonWriter::CallToJson(JSValue* value, JSValueConst key) {
  JSValue function = JS_GetProperty(context_, *value, to_json_);
  if (JS_IsException(function)) return Result::kException;
  if (JS_IsFunction(context_, function)) {
    JSValueConst arguments[] = {key};
    JSValue replaced = JS_Call(context_, function, *value, 1, arguments);
    JS_FreeValue(context_, *value);
    *value = replaced;
  }
  JS_FreeValue(context_, function);
  return JS_IsException(*value) ? Result::kException : Result::kWritten;
}

JsonWriter::Result JsonWriter::WriteValue(JSValue value, JSValueConst key, std::string* out) {
  if (JS_IsObject(value) || JS_IsBigInt(value)) {
    if (JS_GetClassID(value) == raw_class_) {
      JS_FreeValue(context_, value);
      out->append(R"({"$raw":true})");
      return Result::kWritten;
    }
    if (CallToJson(&value, key) == Result::kException) {
      JS_FreeValue(context_, value);
      return Result::kException;
    }
    const JSClassID id = JS_GetClassID(value);
    if (id != 0 && (id == number_class_ || id == string_class_ || id == boolean_class_)) {
      JSValue plain;
      if (id == number_class_) {
        double number = 0;
        plain = JS_ToFloat64(context_, &number, value) < 0 ? JS_EXCEPTION
                                                           : JS_NewFloat64(context_, number);
      } else if (id == string_class_) {
        plain = JS_ToString(context_, value);
      } else {
        plain = JS_GetPropertyStr(context_, value, "valueOf");
        JSValue unboxed = JS_Call(context_, plain, value, 0, nullptr);
        JS_FreeValue(context_, plain);
        plain = unboxed;
      }
      JS_FreeValue(context_, value);
      value = plain;
    }
  }
  Result result = Result::kWritten;
  switch (JS_VALUE_GET_NORM_TAG(value)) {
    case JS_TAG_NULL:
      out->append("null");
      break;
    case JS_TAG_BOOL:
      out->append(JS_VALUE_GET_BOOL(value) != 0 ? "true" : "false");
      break;
    case JS_TAG_STRING:
    case JS_TAG_STRING_ROPE:
      result = WriteText(value, out);
      break;
    case JS_TAG_INT:
      out->append(std::to_string(JS_VALUE_GET_INT(value)));
      break;
    case JS_TAG_FLOAT64: {
      const double number = JS_VALUE_GET_FLOAT64(value);
      if (number != number || number - number != 0) {  // not finite
        out->append("null");
        break;
      }
      size_t size = 0;
      const char* text = JS_ToCStringLen(context_, &size, value);
      if (text == nullptr) return Result::kException;
      out->append(text, size);
      JS_FreeCString(context_, text);
      break;
    }
    case JS_TAG_BIG_INT:
    case JS_TAG_SHORT_BIG_INT:
      result = Throw("Do not know how to serialize a BigInt");
      break;
    case JS_TAG_EXCEPTION:
      result = Result::kException;
      break;
    case JS_TAG_OBJECT: {
      if (JS_IsFunction(context_, value)) {
        result = Result::kUndefined;
        break;
      }
      if (JS_GetClassID(value) == bigint_class_) {
        result = Throw("Do not know how to serialize a BigInt");
        break;
      }
      void* pointer = JS_VALUE_GET_PTR(value);
      if (std::find(path_.begin(), path_.end(), pointer) != path_.end()) {
        result = Refuse("circular reference");
      } else if (path_.size() >= kMaxDepth) {
        result = Refuse("the result is nested too deeply");
      } else if (out->size() > max_bytes_) {
        result = Refuse("the result is too large");
      } else {
        path_.push_back(pointer);
        result = IsArray(context_, value) ? WriteArray(value, out) : WriteObject(value, out);
        path_.pop_back();
      }
      break;
    }
    default:
      result = Result::kUndefined;
  }
  JS_FreeValue(context_, value);
  return result;
}

JsonWriter::Result JsonWriter::WriteText(JSValueConst text, std::string* out) {
  size_t size = 0;
  const char* bytes = JS_ToCStringLen(context_, &size, text);
  if (bytes == nullptr) return Result::kException;
  AppendQuoted(std::string_view(bytes, size), out);
  JS_FreeCString(context_, bytes);
  return out->size() > max_bytes_ ? Refuse("the result is too large") : Result::kWritten;
}

JsonWriter::Result JsonWriter::WriteArray(JSValueConst array, std::string* out) {
  int64_t length = 0;
  if (JS_GetLength(context_, array, &length) < 0) return Result::kException;
  out->push_back('[');
  for (int64_t i = 0; i < length; ++i) {
    if (i > 0) out->push_back(',');
    JSValue item = JS_GetPropertyInt64(context_, array, i);
    JSValue key = JS_UNDEFINED;
    if (JS_IsObject(item)) {  // toJSON gets the index as text
      JSAtom atom = JS_NewAtomUInt32(context_, static_cast<uint32_t>(i));
      key = JS_AtomToString(context_, atom);
      JS_FreeAtom(context_, atom);
    }
    const Result result = WriteValue(item, key, out);
    JS_FreeValue(context_, key);
    if (result == Result::kException) return result;
    if (result == Result::kUndefined) out->append("null");
    if (out->size() > max_bytes_) return Refuse("the result is too large");
  }
  out->push_back(']');
  return Result::kWritten;
}

JsonWriter::Result JsonWriter::WriteObject(JSValueConst object, std::string* out) {
  JSPropertyEnum* names = nullptr;
  uint32_t count = 0;
  if (JS_GetOwnPropertyNames(context_, &names, &count, object,
                             JS_GPN_STRING_MASK | JS_GPN_ENUM_ONLY) < 0) {
    return Result::kException;
  }
  Result result = Result::kWritten;
  bool first = true;
  out->push_back('{');
  for (uint32_t i = 0; i < count && result != Result::kException; ++i) {
    const size_t before = out->size();
    const char* raw = nullptr;
    uint32_t raw_size = 0;
    const bool copied = mr_raw_property(context_, object, names[i].atom, to_json_, &raw, &raw_size);
    const std::string text = copied ? std::string(raw, raw_size) : std::string();
    JSValue item = copied ? JS_UNDEFINED : JS_GetProperty(context_, object, names[i].atom);
    if (!first) out->push_back(',');
    if (!WriteName(names[i].atom, out)) {
      JS_FreeValue(context_, item);
      result = Result::kException;
      break;
    }
    if (copied) {
      AppendWithoutSpaces(text, out);
      first = false;
      continue;
    }
    // Only these can have a toJSON that wants its key.
    JSValue key = JS_IsObject(item) || JS_IsBigInt(item) ? JS_AtomToString(context_, names[i].atom)
                                                         : JS_UNDEFINED;
    result = WriteValue(item, key, out);
    JS_FreeValue(context_, key);
    if (result == Result::kUndefined) {
      out->resize(before);
    } else {
      first = false;
    }
  }
  JS_FreePropertyEnum(context_, names, count);
  if (result == Result::kException) return result;
  out->push_back('}');
  return out->size() > max_bytes_ ? Refuse("the result is too large") : Result::kWritten;
}

}  // namespace millrace::script
