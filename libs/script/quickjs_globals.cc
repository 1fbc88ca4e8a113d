#include <time.h>

#include <cstring>

#include "libs/base/hash.h"
#include "libs/script/json_text.h"
#include "libs/script/quickjs_instance.h"

namespace millrace::script {
namespace {

// Replaces what would tell a script the real time or give it real randomness. A module's own values
// are set per call through the two host functions.
constexpr std::string_view kPrelude = R"js((now, random) => {
  const RealDate = Date;
  function Injected(...parts) {
    if (!new.target) return new RealDate(now()).toString();
    return Reflect.construct(RealDate, parts.length === 0 ? [now()] : parts, new.target);
  }
  Object.defineProperties(Injected, {
    name: {value: 'Date', configurable: true}, length: {value: 7, configurable: true},
    prototype: {value: RealDate.prototype, writable: false},
    now: {value: now, writable: true, configurable: true},
    parse: {value: RealDate.parse, writable: true, configurable: true},
    UTC: {value: RealDate.UTC, writable: true, configurable: true},
  });
  Object.defineProperty(RealDate.prototype, 'constructor', {value: Injected, writable: true, configurable: true});
  Object.defineProperty(globalThis, 'Date', {value: Injected, writable: true, configurable: true});
  Math.random = random;
  delete globalThis.performance;
  delete Error.prepareStackTrace;  // it would hand out the functions of frames below the script's
})js";

}  // namespace

JSValue QuickJsInstance::Now(JSContext* context, JSValueConst, int, JSValueConst*) {
  QuickJsInstance* self = Self(context);
  if (self->loading_) self->loaded_by_time_ = true;
  return JS_NewInt64(context, self->payer_->view.now_us / 1000);
}

JSValue QuickJsInstance::Random(JSContext* context, JSValueConst, int, JSValueConst*) {
  QuickJsInstance* self = Self(context);
  RunningCall* call = self->current_;
  if (self->loading_) self->loaded_by_time_ = true;
  if (call->random_state == 0) {
    const std::string_view use = self->loading_ ? ":load:random" : ":random";
    call->random_state = Sha256Prefix128(std::string(call->view.seed).append(use))[0] | 1;
  }
  uint64_t& state = call->random_state;  // xorshift64*
  state ^= state >> 12;
  state ^= state << 25;
  state ^= state >> 27;
  return JS_NewFloat64(context,
                       static_cast<double>((state * 0x2545F4914F6CDD1DULL) >> 11) * 0x1p-53);
}

JSValue QuickJsInstance::Uuid(JSContext* context, JSValueConst, int, JSValueConst*) {
  RunningCall* call = Self(context)->current_;
  auto words = Sha256Prefix128(fmt::format("{}:uuid:{}", call->view.seed, call->uuids++));
  words[0] = (words[0] & ~0xF000ULL) | 0x4000ULL;
  words[1] = (words[1] & ~(3ULL << 62)) | (2ULL << 62);
  const std::string text =
      fmt::format("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", words[0] >> 32, (words[0] >> 16) & 0xFFFF,
                  words[0] & 0xFFFF, words[1] >> 48, words[1] & 0xFFFFFFFFFFFFULL);
  return JS_NewStringLen(context, text.data(), text.size());
}

JSValue QuickJsInstance::Log(JSContext* context, JSValueConst, int count, JSValueConst* values) {
  QuickJsInstance* self = Self(context);
  std::string& log = self->current_->output.log;
  for (int i = 0; i < count && log.size() < kMaxLogBytes; ++i) {
    if (i > 0) log.push_back(' ');
    std::string line;
    if (JS_IsObject(values[i]) && !JS_IsError(values[i])) {
      JsonWriter writer(context, JS_GetClassID(self->raw_), kMaxLogBytes);
      if (writer.Write(values[i], &line) == JsonWriter::Result::kException) return JS_EXCEPTION;
    } else {
      const char* text = JS_ToCString(context, values[i]);
      if (text == nullptr) return JS_EXCEPTION;
      line = text;
      JS_FreeCString(context, text);
    }
    log.append(line, 0, kMaxLogBytes - log.size());
  }
  if (log.size() < kMaxLogBytes) log.push_back('\n');
  return JS_UNDEFINED;
}

JSValue QuickJsInstance::Mentions(JSContext* context, JSValueConst, int count,
                                  JSValueConst* values) {
  const std::string_view event = Self(context)->current_->view.event;
  // A key may be spelt with escapes; then the answer is "perhaps".
  bool found = event.find("\\u00") != std::string_view::npos;
  for (int i = 0; i < count && !found; ++i) {
    size_t size = 0;
    const char* key = JS_ToCStringLen(context, &size, values[i]);
    if (key == nullptr) return JS_EXCEPTION;
    const std::string quoted = '"' + std::string(key, size) + '"';
    JS_FreeCString(context, key);
    found = memmem(event.data(), event.size(), quoted.data(), quoted.size()) != nullptr;
  }
  return JS_NewBool(context, found);
}

JSValue QuickJsInstance::Changed(JSContext* context, JSValueConst, int, JSValueConst* values) {
  size_t size = 0;
  const char* key = JS_ToCStringLen(context, &size, values[0]);
  if (key == nullptr) return JS_EXCEPTION;
  std::string quoted;
  AppendQuoted(std::string_view(key, size), &quoted);
  JS_FreeCString(context, key);
  const std::string_view names = Self(context)->current_->view.extra_json;
  return JS_NewBool(context, names.find(quoted) != std::string_view::npos);
}

JSValue QuickJsInstance::GetNow(JSContext* context, JSValueConst) {
  const int64_t milliseconds = Self(context)->current_->view.now_us / 1000;
  const time_t seconds = milliseconds / 1000;
  tm parts{};
  gmtime_r(&seconds, &parts);
  char text[40];
  const size_t size = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &parts);
  const std::string full =
      fmt::format("{}.{:03}Z", std::string_view(text, size), milliseconds % 1000);
  return JS_NewStringLen(context, full.data(), full.size());
}

JSValue QuickJsInstance::GetEvent(JSContext* context, JSValueConst) {
  QuickJsInstance* self = Self(context);
  if (!self->ParseEvent(self->current_)) return JS_EXCEPTION;
  return JS_DupValue(context, self->current_->event);
}

JSValue QuickJsInstance::GetRaw(JSContext* context, JSValueConst) {
  return JS_DupValue(context, Self(context)->raw_);
}

Status QuickJsInstance::MakeGlobals() {
  JSClassID raw_class = 0;
  JS_NewClassID(runtime_, &raw_class);
  const JSClassDef definition = {.class_name = "Raw"};
  JS_NewClass(runtime_, raw_class, &definition);
  JS_SetClassProto(context_, raw_class, JS_NewObject(context_));
  raw_ = JS_NewObjectClass(context_, raw_class);
  writer_.emplace(context_, raw_class, limits_.result_bytes);

  JSValue now = JS_NewCFunction(context_, &Now, "now", 0);
  JSValue random = JS_NewCFunction(context_, &Random, "random", 0);
  JSValue prelude =
      JS_Eval(context_, kPrelude.data(), kPrelude.size(), kPreludeName, JS_EVAL_TYPE_GLOBAL);
  JSValueConst arguments[] = {now, random};
  JSValue done = JS_Call(context_, prelude, JS_UNDEFINED, 2, arguments);
  for (JSValue value : {now, random, prelude}) JS_FreeValue(context_, value);
  if (JS_IsException(done)) return LoadFault(kPreludeName);
  JS_FreeValue(context_, done);

  JSValue global = JS_GetGlobalObject(context_);
  JS_SetPropertyStr(context_, global, "log", JS_NewCFunction(context_, &Log, "log", 1));
  JS_FreeValue(context_, global);

  call_context_ = JS_NewObject(context_);
  const JSCFunctionListEntry members[] = {
      JS_CGETSET_DEF("now", GetNow, nullptr), JS_CGETSET_DEF("event", GetEvent, nullptr),
      JS_CGETSET_DEF("raw", GetRaw, nullptr), JS_CFUNC_DEF("mentions", 1, Mentions),
      JS_CFUNC_DEF("changed", 1, Changed),    JS_CFUNC_DEF("uuid", 0, Uuid)};
  for (const JSCFunctionListEntry& member : members) {
    JS_SetPropertyFunctionList(context_, call_context_, &member, 1);
  }
  JS_FreezeObject(context_, call_context_);
  config_ =
      JS_ParseJSON(context_, module_->config_json.c_str(), module_->config_json.size(), "<config>");
  return JS_IsException(config_) ? LoadFault("configuration") : OkStatus();
}

}  // namespace millrace::script
