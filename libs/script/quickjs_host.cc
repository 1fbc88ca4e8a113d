#include "libs/script/limits_of_calls.h"
#include "libs/script/quickjs_instance.h"
#include "libs/script/stack_text.h"

namespace millrace::script {

JSValue QuickJsInstance::MakeHost() {
  static const JSCFunctionListEntry kMembers[] = {
      JS_CFUNC_DEF("ask", 1, Ask),
      JS_CFUNC_DEF("askNow", 1, AskNow),
      JS_CFUNC_DEF("emit", 2, Emit),
      JS_CFUNC_DEF("fail", 4, Fail),
      JS_CFUNC_DEF("log", 1, Log),
      JS_CGETSET_DEF("shared", GetShared, nullptr),
      JS_CGETSET_DEF("extra", GetExtra, nullptr),
      JS_CGETSET_DEF("config", GetConfig, nullptr),
      JS_CGETSET_DEF("test", GetTest, nullptr),
  };
  JSValue host = JS_NewObject(context_);
  JS_SetPropertyFunctionList(context_, host, kMembers, std::size(kMembers));
  return host;
}

bool QuickJsInstance::WriteQuestion(int count, JSValueConst* values, std::string* name,
                                    std::string* arguments) {
  const char* text = JS_ToCString(context_, count > 0 ? values[0] : JS_UNDEFINED);
  if (text == nullptr) return false;
  *name = text;
  JS_FreeCString(context_, text);
  if (current_->number == 0 || outside_ == nullptr) {
    JS_ThrowTypeError(context_, "%.100s works only while an event is worked on, %s", name->c_str(),
                      loading_ ? "not while the code loads" : "not once its call has ended");
    return false;
  }
  JsonWriter writer(context_, JS_GetClassID(raw_), kMaxQuestionBytes);
  arguments->push_back('[');
  for (int i = 1; i < count && !writer.refused(); ++i) {
    if (i > 1) arguments->push_back(',');
    const auto result = writer.Write(values[i], arguments);
    if (result == JsonWriter::Result::kException && !writer.refused()) return false;
    if (result == JsonWriter::Result::kUndefined) arguments->append("null");
  }
  arguments->push_back(']');
  if (name->size() <= kMaxQuestionName && !writer.refused() &&
      arguments->size() <= kMaxQuestionBytes) {
    return true;
  }
  if (JS_HasException(context_)) JS_FreeValue(context_, JS_GetException(context_));
  JS_ThrowRangeError(context_, "a question to the host may have %zu bytes and no cycle",
                     kMaxQuestionBytes);
  return false;
}

JSValue QuickJsInstance::MakeError(const HostAnswer& answer) {
  JSValue error = JS_NewError(context_);
  const auto set = [&](const char* key, std::string_view text) {
    JS_DefinePropertyValueStr(context_, error, key,
                              JS_NewStringLen(context_, text.data(), text.size()),
                              JS_PROP_WRITABLE | JS_PROP_CONFIGURABLE);
  };
  set("message", answer.text);
  if (!answer.error_name.empty()) set("name", answer.error_name);
  return error;
}

JSValue QuickJsInstance::ParseAnswer(const HostAnswer& answer) {
  if (answer.failed) return MakeError(answer);
  if (answer.text.empty()) return JS_UNDEFINED;
  return JS_ParseJSON(context_, answer.text.c_str(), answer.text.size(), "<answer>");
}

JSValue QuickJsInstance::Ask(JSContext* context, JSValueConst, int count, JSValueConst* values) {
  QuickJsInstance* self = Self(context);
  JSValue functions[2];
  JSValue promise = JS_NewPromiseCapability(context, functions);
  if (JS_IsException(promise)) return promise;
  std::string name;
  std::string arguments;
  uint32_t request = 0;
  if (self->WriteQuestion(count, values, &name, &arguments)) {
    request = self->outside_->Ask(self->current_->number, name, arguments);
    if (request == 0) JS_ThrowRangeError(context, "too many questions to the host at once");
  }
  if (request != 0) {
    self->requests_.emplace(
        request,
        Request{.call = self->current_->number, .resolve = functions[0], .reject = functions[1]});
    return promise;
  }
  JSValue thrown = JS_GetException(context);
  JSValueConst reason[] = {thrown};
  JS_FreeValue(context, JS_Call(context, functions[1], JS_UNDEFINED, 1, reason));
  for (JSValue value : {thrown, functions[0], functions[1]}) JS_FreeValue(context, value);
  return promise;
}

JSValue QuickJsInstance::AskNow(JSContext* context, JSValueConst, int count, JSValueConst* values) {
  QuickJsInstance* self = Self(context);
  std::string name;
  std::string arguments;
  if (!self->WriteQuestion(count, values, &name, &arguments)) return JS_EXCEPTION;
  self->payer_->output.cpu_us += self->meter_.Used();
  const HostAnswer answer = self->outside_->AskNow(self->current_->number, name, arguments);
  self->meter_.Start();  // waiting costs nothing
  JSValue value = self->ParseAnswer(answer);
  return answer.failed && !JS_IsException(value) ? JS_Throw(context, value) : value;
}

bool QuickJsInstance::AddEmitted(Emitted emitted) {
  // A script that emits without end is stopped like one that returns too much.
  current_->emitted_bytes += emitted.text.size() + emitted.stack.size() + sizeof(Emitted);
  if (current_->number == 0) {
    JS_ThrowTypeError(context_, "the call that emits has ended");
    return false;
  }
  if (current_->emitted_bytes > limits_.result_bytes) {
    JS_ThrowRangeError(context_, "the result is too large: more than %zu bytes",
                       limits_.result_bytes);
    return false;
  }
  current_->output.emitted.push_back(std::move(emitted));
  return true;
}

JSValue QuickJsInstance::Emit(JSContext* context, JSValueConst, int count, JSValueConst* values) {
  QuickJsInstance* self = Self(context);
  Emitted emitted;
  if (JS_ToUint32(context, &emitted.index, count > 0 ? values[0] : JS_UNDEFINED) < 0) {
    return JS_EXCEPTION;
  }
  const auto written = self->writer_->Write(count > 1 ? values[1] : JS_UNDEFINED, &emitted.text);
  if (written == JsonWriter::Result::kException) return JS_EXCEPTION;
  if (written == JsonWriter::Result::kUndefined) emitted.text = "null";
  return self->AddEmitted(std::move(emitted)) ? JS_UNDEFINED : JS_EXCEPTION;
}

JSValue QuickJsInstance::Fail(JSContext* context, JSValueConst, int count, JSValueConst* values) {
  QuickJsInstance* self = Self(context);
  Emitted emitted{.failed = true, .error_class = ErrorClass::kThrown};
  if (JS_ToUint32(context, &emitted.index, count > 0 ? values[0] : JS_UNDEFINED) < 0) {
    return JS_EXCEPTION;
  }
  const auto text = [&](int i) {
    return i < count && !JS_IsUndefined(values[i]) ? self->ToText(values[i]) : std::string();
  };
  emitted.text = text(1);
  if (const std::string name = text(2); !name.empty()) emitted.text = name + ": " + emitted.text;
  emitted.stack = UsersStack(text(3));
  emitted.error_class = self->ClassOf(emitted.text);
  return self->AddEmitted(std::move(emitted)) ? JS_UNDEFINED : JS_EXCEPTION;
}

JSValue QuickJsInstance::GetShared(JSContext* context, JSValueConst) {
  QuickJsInstance* self = Self(context);
  const BatchView* batch = self->current_->view.batch;
  if (batch == nullptr || !batch->has_shared) return JS_UNDEFINED;
  if (self->shared_of_ != batch->id) {
    JSValue value =
        JS_ParseJSON(context, batch->shared_json.data(), batch->shared_json.size(), "<shared>");
    if (JS_IsException(value)) return value;
    JS_FreeValue(context, std::exchange(self->shared_, value));
    self->shared_of_ = batch->id;
  }
  return JS_DupValue(context, self->shared_);
}

JSValue QuickJsInstance::GetExtra(JSContext* context, JSValueConst) {
  RunningCall* call = Self(context)->current_;
  if (!call->view.has_extra || call->number == 0) return JS_UNDEFINED;
  if (JS_IsUndefined(call->extra)) {
    const std::string_view text = call->view.extra_json;
    JSValue value = JS_ParseJSON(context, text.data(), text.size(), "<extra>");
    if (JS_IsException(value)) return value;
    call->extra = value;
  }
  return JS_DupValue(context, call->extra);
}

JSValue QuickJsInstance::GetConfig(JSContext* context, JSValueConst) {
  return JS_DupValue(context, Self(context)->config_);
}

JSValue QuickJsInstance::GetTest(JSContext* context, JSValueConst) {
  const BatchView* batch = Self(context)->current_->view.batch;
  return JS_NewBool(context, batch != nullptr && batch->test);
}

}  // namespace millrace::script
