#include <quickjs.h>
#include <time.h>

#include <cstring>
#include <optional>
#include <string>

#include "libs/base/hash.h"
#include "libs/script/engine.h"
#include "libs/script/json_writer.h"

namespace millrace::script {
namespace {

constexpr size_t kMaxLogBytes = 8 << 10;

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
})js";

int64_t CpuMicroseconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return int64_t{time.tv_sec} * 1'000'000 + time.tv_nsec / 1000;
}

class QuickJsInstance final : public Instance {
 public:
  explicit QuickJsInstance(Limits limits) : limits_(limits) {}
  QuickJsInstance(const QuickJsInstance&) = delete;
  QuickJsInstance& operator=(const QuickJsInstance&) = delete;
  ~QuickJsInstance() override {
    if (runtime_ == nullptr) return;
    if (context_ != nullptr) {
      // Finalisers run no JavaScript; what is pending is dropped with the heap.
      JS_FreeValue(context_, event_);
      JS_FreeValue(context_, config_);
      JS_FreeValue(context_, call_context_);
      JS_FreeValue(context_, raw_);
      JS_FreeValue(context_, entry_);
      writer_.reset();
      JS_FreeContext(context_);
    }
    JS_FreeRuntime(runtime_);
  }

  Status Load(const Module& module);
  CallOutput Call(const CallView& call) override;
  bool spent() const override { return spent_; }

 private:
  static QuickJsInstance* Self(JSContext* context) {
    return static_cast<QuickJsInstance*>(JS_GetContextOpaque(context));
  }
  static int Interrupt(JSRuntime*, void* opaque) {
    auto* self = static_cast<QuickJsInstance*>(opaque);
    if (CpuMicroseconds() < self->deadline_us_) return 0;
    self->spent_ = true;
    return 1;
  }
  static JSModuleDef* LoadLibrary(JSContext* context, const char* name, void* opaque);
  static JSValue Now(JSContext* context, JSValueConst, int, JSValueConst*) {
    return JS_NewInt64(context, Self(context)->call_.now_us / 1000);
  }
  static JSValue Random(JSContext* context, JSValueConst, int, JSValueConst*);
  static JSValue Uuid(JSContext* context, JSValueConst, int, JSValueConst*);
  static JSValue Log(JSContext* context, JSValueConst, int count, JSValueConst* values);
  static JSValue Mentions(JSContext* context, JSValueConst, int count, JSValueConst* values);
  static JSValue GetNow(JSContext* context, JSValueConst);
  static JSValue GetEvent(JSContext* context, JSValueConst) {
    QuickJsInstance* self = Self(context);
    if (!self->ParseEvent()) return JS_EXCEPTION;
    return JS_DupValue(context, self->event_);
  }
  static JSValue GetRaw(JSContext* context, JSValueConst) {
    return JS_DupValue(context, Self(context)->raw_);
  }

  void StartClock() {
    deadline_us_ = CpuMicroseconds() +
                   std::chrono::duration_cast<std::chrono::microseconds>(limits_.cpu_time).count();
  }
  bool ParseEvent();
  Status MakeGlobals(const Module& module);
  Status LoadModule(const Module& module);
  /// Runs jobs until `value`, when it is a promise, has settled; gives its value or JS_EXCEPTION.
  JSValue Settle(JSValue value);
  /// Takes the pending exception as text.
  void TakeException(std::string* message, std::string* stack);
  Status Fault(std::string_view what);
  std::string ToText(JSValueConst value);

  const Limits limits_;
  JSRuntime* runtime_ = nullptr;
  JSContext* context_ = nullptr;
  JSValue event_ = JS_UNDEFINED;
  JSValue config_ = JS_UNDEFINED;
  JSValue call_context_ = JS_UNDEFINED;
  JSValue raw_ = JS_UNDEFINED;
  JSValue entry_ = JS_UNDEFINED;
  std::optional<JsonWriter> writer_;
  const Module* loading_ = nullptr;
  CallView call_;
  std::string log_;
  int64_t deadline_us_ = 0;
  uint64_t random_state_ = 0;
  uint32_t uuids_ = 0;
  bool needs_event_ = true;
  bool spent_ = false;
};

JSModuleDef* QuickJsInstance::LoadLibrary(JSContext* context, const char* name, void* opaque) {
  const auto* self = static_cast<const QuickJsInstance*>(opaque);
  if (self->loading_ != nullptr) {
    for (const auto& [library, source] : self->loading_->libraries) {
      if (library != name) continue;
      JSValue compiled = JS_Eval(context, source.c_str(), source.size(), name,
                                 JS_EVAL_TYPE_MODULE | JS_EVAL_FLAG_COMPILE_ONLY);
      if (JS_IsException(compiled)) return nullptr;
      auto* definition = static_cast<JSModuleDef*>(JS_VALUE_GET_PTR(compiled));
      JS_FreeValue(context, compiled);  // the context keeps the module
      return definition;
    }
  }
  JS_ThrowReferenceError(context, "there is no library named '%s'", name);
  return nullptr;
}

JSValue QuickJsInstance::Random(JSContext* context, JSValueConst, int, JSValueConst*) {
  QuickJsInstance* self = Self(context);
  if (self->random_state_ == 0) {
    self->random_state_ = Sha256Prefix128(std::string(self->call_.seed) + ":random")[0] | 1;
  }
  uint64_t& state = self->random_state_;  // xorshift64*
  state ^= state >> 12;
  state ^= state << 25;
  state ^= state >> 27;
  return JS_NewFloat64(context,
                       static_cast<double>((state * 0x2545F4914F6CDD1DULL) >> 11) * 0x1p-53);
}

JSValue QuickJsInstance::Uuid(JSContext* context, JSValueConst, int, JSValueConst*) {
  QuickJsInstance* self = Self(context);
  auto words = Sha256Prefix128(fmt::format("{}:uuid:{}", self->call_.seed, self->uuids_++));
  words[0] = (words[0] & ~0xF000ULL) | 0x4000ULL;
  words[1] = (words[1] & ~(3ULL << 62)) | (2ULL << 62);
  const std::string text =
      fmt::format("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", words[0] >> 32, (words[0] >> 16) & 0xFFFF,
                  words[0] & 0xFFFF, words[1] >> 48, words[1] & 0xFFFFFFFFFFFFULL);
  return JS_NewStringLen(context, text.data(), text.size());
}

JSValue QuickJsInstance::Log(JSContext* context, JSValueConst, int count, JSValueConst* values) {
  QuickJsInstance* self = Self(context);
  for (int i = 0; i < count && self->log_.size() < kMaxLogBytes; ++i) {
    if (i > 0) self->log_.push_back(' ');
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
    self->log_.append(line, 0, kMaxLogBytes - self->log_.size());
  }
  if (self->log_.size() < kMaxLogBytes) self->log_.push_back('\n');
  return JS_UNDEFINED;
}

JSValue QuickJsInstance::Mentions(JSContext* context, JSValueConst, int count,
                                  JSValueConst* values) {
  const std::string_view event = Self(context)->call_.event;
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

JSValue QuickJsInstance::GetNow(JSContext* context, JSValueConst) {
  const int64_t milliseconds = Self(context)->call_.now_us / 1000;
  const time_t seconds = milliseconds / 1000;
  tm parts{};
  gmtime_r(&seconds, &parts);
  char text[40];
  const size_t size = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &parts);
  const std::string full =
      fmt::format("{}.{:03}Z", std::string_view(text, size), milliseconds % 1000);
  return JS_NewStringLen(context, full.data(), full.size());
}

bool QuickJsInstance::ParseEvent() {
  if (!JS_IsUndefined(event_)) return true;
  JSValue value = JS_ParseJSON(context_, call_.event.data(), call_.event.size(), "<event>");
  if (JS_IsException(value)) return false;
  event_ = value;
  return true;
}

std::string QuickJsInstance::ToText(JSValueConst value) {
  size_t size = 0;
  const char* text = JS_ToCStringLen(context_, &size, value);
  if (text == nullptr) {
    JS_FreeValue(context_, JS_GetException(context_));
    return "";
  }
  std::string copy(text, std::min<size_t>(size, 4096));
  JS_FreeCString(context_, text);
  return copy;
}

void QuickJsInstance::TakeException(std::string* message, std::string* stack) {
  JSValue exception = JS_GetException(context_);
  if (spent_) {
    *message = fmt::format("the script ran longer than its limit of {} ms of processor time",
                           limits_.cpu_time.count());
  } else {
    *message = ToText(exception);
    if (message->empty()) *message = "the script threw a value without a text";
    if (JS_IsError(exception)) {
      JSValue trace = JS_GetPropertyStr(context_, exception, "stack");
      if (JS_IsString(trace)) *stack = ToText(trace);
      JS_FreeValue(context_, trace);
    }
    if (message->find("out of memory") != std::string::npos) spent_ = true;
  }
  JS_FreeValue(context_, exception);
  if (JS_HasException(context_)) JS_FreeValue(context_, JS_GetException(context_));
}

Status QuickJsInstance::Fault(std::string_view what) {
  std::string message;
  std::string stack;
  TakeException(&message, &stack);
  return Error(StatusCode::kInvalidArgument, "{}: {}{}{}", what, message, stack.empty() ? "" : "\n",
               stack);
}

JSValue QuickJsInstance::Settle(JSValue value) {
  if (!JS_IsPromise(value)) return value;
  while (JS_PromiseState(context_, value) == JS_PROMISE_PENDING) {
    JSContext* ran = nullptr;
    const int jobs = JS_ExecutePendingJob(runtime_, &ran);
    if (jobs < 0 || Interrupt(runtime_, this) != 0) {
      if (jobs >= 0) JS_ThrowInternalError(context_, "interrupted");
      JS_FreeValue(context_, value);
      return JS_EXCEPTION;
    }
    if (jobs == 0) {
      JS_FreeValue(context_, value);
      return JS_ThrowTypeError(context_, "the promise that was returned can never settle");
    }
  }
  JSValue result = JS_PromiseResult(context_, value);
  const bool rejected = JS_PromiseState(context_, value) == JS_PROMISE_REJECTED;
  JS_FreeValue(context_, value);
  return rejected ? JS_Throw(context_, result) : result;
}

Status QuickJsInstance::MakeGlobals(const Module& module) {
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
      JS_Eval(context_, kPrelude.data(), kPrelude.size(), "<prelude>", JS_EVAL_TYPE_GLOBAL);
  JSValueConst arguments[] = {now, random};
  JSValue done = JS_Call(context_, prelude, JS_UNDEFINED, 2, arguments);
  for (JSValue value : {now, random, prelude}) JS_FreeValue(context_, value);
  if (JS_IsException(done)) return Fault("prelude");
  JS_FreeValue(context_, done);

  JSValue global = JS_GetGlobalObject(context_);
  JS_SetPropertyStr(context_, global, "log", JS_NewCFunction(context_, &Log, "log", 1));
  JS_FreeValue(context_, global);

  call_context_ = JS_NewObject(context_);
  const JSCFunctionListEntry members[] = {
      JS_CGETSET_DEF("now", GetNow, nullptr), JS_CGETSET_DEF("event", GetEvent, nullptr),
      JS_CGETSET_DEF("raw", GetRaw, nullptr), JS_CFUNC_DEF("mentions", 1, Mentions),
      JS_CFUNC_DEF("uuid", 0, Uuid)};
  for (const JSCFunctionListEntry& member : members) {
    JS_SetPropertyFunctionList(context_, call_context_, &member, 1);
  }
  JS_FreezeObject(context_, call_context_);
  config_ =
      JS_ParseJSON(context_, module.config_json.c_str(), module.config_json.size(), "<config>");
  return JS_IsException(config_) ? Fault("configuration") : OkStatus();
}

Status QuickJsInstance::LoadModule(const Module& module) {
  loading_ = &module;
  JSValue compiled = JS_Eval(context_, module.source.c_str(), module.source.size(),
                             module.id.c_str(), JS_EVAL_TYPE_MODULE | JS_EVAL_FLAG_COMPILE_ONLY);
  if (JS_IsException(compiled)) return Fault(module.id);
  auto* definition = static_cast<JSModuleDef*>(JS_VALUE_GET_PTR(compiled));
  JSValue result = Settle(JS_EvalFunction(context_, compiled));
  if (JS_IsException(result)) return Fault(module.id);
  JS_FreeValue(context_, result);
  JSValue exports = JS_GetModuleNamespace(context_, definition);
  entry_ = JS_GetPropertyStr(context_, exports, module.entry.c_str());
  JSValue needs_event = JS_GetPropertyStr(context_, exports, "needs_event");
  needs_event_ = !(JS_IsBool(needs_event) && JS_ToBool(context_, needs_event) == 0);
  JS_FreeValue(context_, needs_event);
  JS_FreeValue(context_, exports);
  loading_ = nullptr;
  if (!JS_IsFunction(context_, entry_)) {
    return Error(StatusCode::kInvalidArgument, "{}: does not export a function named '{}'",
                 module.id, module.entry);
  }
  return OkStatus();
}

Status QuickJsInstance::Load(const Module& module) {
  runtime_ = JS_NewRuntime();
  if (runtime_ == nullptr)
    return MakeStatus(StatusCode::kResourceExhausted, "no memory for a script");
  JS_SetMemoryLimit(runtime_, limits_.memory_bytes);
  JS_SetMaxStackSize(runtime_, limits_.stack_bytes);
  JS_SetCanBlock(runtime_, false);
  JS_SetInterruptHandler(runtime_, &Interrupt, this);
  JS_SetModuleLoaderFunc(runtime_, nullptr, &LoadLibrary, this);
  StartClock();
  context_ = JS_NewContext(runtime_);
  if (context_ == nullptr) {
    return MakeStatus(StatusCode::kResourceExhausted,
                      "the memory limit leaves no room for a script");
  }
  JS_SetContextOpaque(context_, this);
  MR_RETURN_IF_ERROR(MakeGlobals(module));
  return LoadModule(module);
}

CallOutput QuickJsInstance::Call(const CallView& call) {
  CallOutput output;
  call_ = call;
  uuids_ = 0;
  random_state_ = 0;
  log_.clear();
  JS_FreeValue(context_, event_);
  event_ = JS_UNDEFINED;
  StartClock();
  JSValue result = JS_EXCEPTION;
  if (!needs_event_ || ParseEvent()) {
    JSValueConst arguments[] = {event_, config_, call_context_};
    result = Settle(JS_Call(context_, entry_, JS_UNDEFINED, 3, arguments));
  }
  auto written = JsonWriter::Result::kException;
  if (JS_IsNull(result) || JS_IsUndefined(result)) {
    written = JsonWriter::Result::kUndefined;
  } else if (!JS_IsException(result)) {
    written = writer_->Write(result, &output.value);
    if (written == JsonWriter::Result::kWritten) output.outcome = Outcome::kValue;
  }
  if (written == JsonWriter::Result::kException) {
    output.outcome = Outcome::kError;
    output.value.clear();
    TakeException(&output.error, &output.stack);
  }
  JS_FreeValue(context_, result);
  output.log = std::move(log_);
  return output;
}

class QuickJsEngine final : public Engine {
 public:
  StatusOr<std::unique_ptr<Instance>> Load(const Module& module) override {
    auto instance = std::make_unique<QuickJsInstance>(module.limits);
    MR_RETURN_IF_ERROR(instance->Load(module));
    return StatusOr<std::unique_ptr<Instance>>(std::move(instance));
  }
};

}  // namespace

std::unique_ptr<Engine> MakeQuickJsEngine() {
  return std::make_unique<QuickJsEngine>();
}

}  // namespace millrace::script
