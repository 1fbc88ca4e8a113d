#include "libs/script/quickjs/extras.h"
#include "libs/script/quickjs_instance.h"
#include "libs/script/stack_text.h"

namespace millrace::script {
namespace {

constexpr int kMostCauses = 4;
constexpr size_t kMostStackBytes = 16 << 10;

}  // namespace

std::string QuickJsInstance::ToText(JSValueConst value) {
  constexpr size_t kMaxBytes = 16 << 10;
  size_t size = 0;
  const char* text = JS_ToCStringLen(context_, &size, value);
  if (text == nullptr) {
    JS_FreeValue(context_, JS_GetException(context_));
    return "";
  }
  std::string copy(text, std::min(size, kMaxBytes));
  JS_FreeCString(context_, text);
  return copy;
}

std::string QuickJsInstance::TextOfThrown(JSValueConst value) {
  std::string text = ToText(value);
  if (text == "[object Object]") {
    constexpr size_t kMaxBytes = 2 << 10;
    std::string json;
    JsonWriter writer(context_, JS_GetClassID(raw_), kMaxBytes);
    if (writer.Write(value, &json) == JsonWriter::Result::kWritten) text = std::move(json);
    if (JS_HasException(context_)) JS_FreeValue(context_, JS_GetException(context_));
  }
  if (text.empty()) return "the script threw a value without a text";
  const bool says = JS_IsError(value) || JS_IsString(value);
  return says ? text : "the script threw " + text;
}

void QuickJsInstance::AddCauses(JSValueConst error, int most, std::string* stack) {
  const auto add = [&](JSValue cause) {
    if (JS_IsException(cause)) JS_FreeValue(context_, JS_GetException(context_));
    if (JS_IsException(cause) || JS_IsUndefined(cause)) return false;
    *stack += "Caused by: " + TextOfThrown(cause) + "\n";
    if (JS_IsError(cause)) {
      JSValue trace = JS_GetPropertyStr(context_, cause, "stack");
      if (JS_IsString(trace)) *stack += UsersStack(ToText(trace));
      if (JS_IsException(trace)) JS_FreeValue(context_, JS_GetException(context_));
      JS_FreeValue(context_, trace);
      AddCauses(cause, most - 1, stack);
    }
    JS_FreeValue(context_, cause);
    return true;
  };
  if (most <= 0 || stack->size() > kMostStackBytes) return;
  add(JS_GetPropertyStr(context_, error, "cause"));
  JSValue errors = JS_GetPropertyStr(context_, error, "errors");  // of an AggregateError
  if (JS_IsException(errors)) JS_FreeValue(context_, JS_GetException(context_));
  for (int i = 0; JS_IsArray(errors) && i < most && stack->size() <= kMostStackBytes; ++i) {
    if (!add(JS_GetPropertyUint32(context_, errors, static_cast<uint32_t>(i)))) break;
  }
  JS_FreeValue(context_, errors);
}

ErrorClass QuickJsInstance::ClassOf(std::string_view message) const {
  if (writer_ && writer_->refused()) return ErrorClass::kResultTooLarge;
  // The engine's own words, not those of an error that the script made.
  if (message == "InternalError: out of memory" || current_->refused || mr_heap_refused(runtime_)) {
    return ErrorClass::kMemory;
  }
  if (message == "RangeError: Maximum call stack size exceeded") return ErrorClass::kStack;
  return ErrorClass::kThrown;
}

std::string QuickJsInstance::OutOfMemory() const {
  return fmt::format("the script needs more than its limit of {} MB of memory",
                     limits_.memory_bytes >> 20);
}

ErrorClass QuickJsInstance::TakeException(std::string* message, std::string* stack) {
  JSValue exception = JS_GetException(context_);
  auto error_class = ErrorClass::kThrown;
  if (!timed_out_) {
    *message = TextOfThrown(exception);
    if (JS_IsError(exception)) {
      JSValue trace = JS_GetPropertyStr(context_, exception, "stack");
      if (JS_IsString(trace)) *stack = UsersStack(ToText(trace));
      JS_FreeValue(context_, trace);
      AddCauses(exception, kMostCauses, stack);
    }
    error_class = ClassOf(*message);
    if (error_class == ErrorClass::kMemory) *message = OutOfMemory();
    if (error_class == ErrorClass::kStack) {
      *message += fmt::format(" (the limit is {} KB)", limits_.stack_bytes >> 10);
    }
  }
  if (timed_out_) {  // perhaps only now, by the text of what was thrown
    error_class = ErrorClass::kTimeout;
    *message = fmt::format("the script ran longer than its limit of {} ms of processor time",
                           limits_.cpu_time.count());
  }
  JS_FreeValue(context_, exception);
  if (JS_HasException(context_)) JS_FreeValue(context_, JS_GetException(context_));
  return error_class;
}

Status QuickJsInstance::LoadFault(std::string_view where) {
  std::string message;
  std::string stack;
  TakeException(&message, &stack);
  SourcePlace place = FirstPlace(stack);
  if (place.name.empty()) place.name = where;
  return Error(StatusCode::kInvalidArgument, "{}: {}{}{}{}", place.name, ExplainImport(message),
               place.line > 0 ? fmt::format(" (line {}, column {})", place.line, place.column) : "",
               stack.empty() ? "" : "\n", stack);
}

}  // namespace millrace::script
