#include <algorithm>
#include <cstring>

#include "libs/script/quickjs/extras.h"
#include "libs/script/quickjs_instance.h"
#include "libs/script/stack_text.h"

namespace millrace::script {
namespace {

// Modules are named as stacks shall show them.
constexpr std::string_view kLibraryPrefix = "library ";

void AddName(void* names, const char* name, size_t size) {
  static_cast<std::vector<std::string>*>(names)->emplace_back(name, size);
}

int InitNothing(JSContext*, JSModuleDef*) {
  return 0;
}

/// What stands in `text` between `before` and `after`; empty when they are not there.
std::string_view Between(std::string_view text, std::string_view before, std::string_view after) {
  const size_t start = text.find(before);
  if (start == std::string_view::npos) return {};
  text.remove_prefix(start + before.size());
  return text.substr(0, text.find(after));
}

}  // namespace

Status QuickJsInstance::Load(const CallView& first) {
  MR_RETURN_IF_ERROR(MakeRuntime());
  nobody_.view.now_us = first.now_us;
  nobody_.view.seed = first.seed;
  BeginSlice(&nobody_);
  Status status = MakeGlobals();
  if (status.ok() && !module_->adapter.empty()) status = MakeAdapter();
  if (status.ok()) status = LoadModule();
  EndSlice();
  loading_ = false;
  nobody_.output = {};
  nobody_.view = {};
  return status;
}

Status QuickJsInstance::MakeAdapter() {
  JSValue maker = JS_Eval(context_, module_->adapter.c_str(), module_->adapter.size(), kAdapterName,
                          JS_EVAL_TYPE_GLOBAL);
  if (JS_IsException(maker)) return LoadFault(kAdapterName);
  JSValue host = MakeHost();
  JSValueConst arguments[] = {host};
  adapter_ = JS_Call(context_, maker, JS_UNDEFINED, 1, arguments);
  JS_FreeValue(context_, maker);
  JS_FreeValue(context_, host);
  return JS_IsException(adapter_) ? LoadFault(kAdapterName) : OkStatus();
}

JSValue QuickJsInstance::Compile(const std::string& source) {
  return JS_Eval(context_, source.c_str(), source.size(), module_->id.c_str(),
                 JS_EVAL_TYPE_MODULE | JS_EVAL_FLAG_COMPILE_ONLY);
}

StatusOr<JSModuleDef*> QuickJsInstance::CompileWanted(JSValue* compiled) {
  *compiled = Compile(module_->source);
  if (JS_IsException(*compiled)) return LoadFault(module_->id);
  auto* definition = static_cast<JSModuleDef*>(JS_VALUE_GET_PTR(*compiled));
  const auto& wanted = module_->wanted_exports;
  std::vector<std::string> exports;
  if (wanted.empty()) return definition;
  if (mr_module_exports(context_, definition, &AddName, &exports) < 0)
    return LoadFault(module_->id);
  for (const std::string& name : exports) {
    if (std::find(wanted.begin(), wanted.end(), name) != wanted.end()) return definition;
  }
  std::string declared;
  for (const std::string& name : wanted) {
    // The engine refuses to export what is not declared.
    JSValue probe = Compile(module_->source + "\nexport { " + name + " };");
    if (JS_IsException(probe)) {
      JS_FreeValue(context_, JS_GetException(context_));
    } else {
      declared += (declared.empty() ? "" : ", ") + name;
      JS_FreeValue(context_, probe);
    }
  }
  if (declared.empty()) return definition;
  JS_FreeValue(context_, *compiled);
  *compiled = Compile(module_->source + "\nexport { " + declared + " };");
  if (JS_IsException(*compiled)) return LoadFault(module_->id);
  return static_cast<JSModuleDef*>(JS_VALUE_GET_PTR(*compiled));
}

Status QuickJsInstance::LoadModule() {
  JSValue compiled = JS_UNDEFINED;
  MR_ASSIGN_OR_RETURN(JSModuleDef * definition, CompileWanted(&compiled));
  JSValue result = SettleWhileLoading(JS_EvalFunction(context_, compiled));
  if (JS_IsException(result)) return LoadFault(module_->id);
  JS_FreeValue(context_, result);
  JSValue exports = JS_GetModuleNamespace(context_, definition);
  if (JS_IsException(exports)) return LoadFault(module_->id);
  if (!module_->adapter.empty()) {
    JSValueConst arguments[] = {exports};
    entry_ = JS_Call(context_, adapter_, JS_UNDEFINED, 1, arguments);
    JS_FreeValue(context_, exports);
    JS_FreeValue(context_, std::exchange(adapter_, JS_UNDEFINED));
    if (JS_IsException(entry_)) return LoadFault(module_->id);
    return JS_IsFunction(context_, entry_)
               ? OkStatus()
               : Error(StatusCode::kInvalidArgument, "{}: its adapter gives no function",
                       module_->id);
  }
  entry_ = JS_GetPropertyStr(context_, exports, module_->entry.c_str());
  JSValue needs_event = JS_GetPropertyStr(context_, exports, "needs_event");
  needs_event_ = !(JS_IsBool(needs_event) && JS_ToBool(context_, needs_event) == 0);
  JS_FreeValue(context_, needs_event);
  JS_FreeValue(context_, exports);
  if (JS_IsFunction(context_, entry_)) return OkStatus();
  return Error(StatusCode::kInvalidArgument, "{}: does not export a function named '{}'",
               module_->id, module_->entry);
}

JSValue QuickJsInstance::SettleWhileLoading(JSValue value) {
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
      return JS_ThrowTypeError(context_, "the module waits for a promise that can never settle");
    }
  }
  JSValue result = JS_PromiseResult(context_, value);
  const bool rejected = JS_PromiseState(context_, value) == JS_PROMISE_REJECTED;
  JS_FreeValue(context_, value);
  return rejected ? JS_Throw(context_, result) : result;
}

char* QuickJsInstance::NormalizeName(JSContext* context, const char*, const char* name, void*) {
  const std::string full = std::string(kLibraryPrefix) + name;
  return js_strdup(context, full.c_str());
}

JSModuleDef* QuickJsInstance::LoadLibrary(JSContext* context, const char* name, void* opaque) {
  const auto* self = static_cast<const QuickJsInstance*>(opaque);
  if (self->inspecting_) return JS_NewCModule(context, name, &InitNothing);
  const std::string_view wanted = std::string_view(name).substr(kLibraryPrefix.size());
  for (const auto& [library, source] : self->module_->libraries) {
    if (library != wanted) continue;
    JSValue compiled = JS_Eval(context, source.c_str(), source.size(), name,
                               JS_EVAL_TYPE_MODULE | JS_EVAL_FLAG_COMPILE_ONLY);
    if (JS_IsException(compiled)) return nullptr;
    auto* definition = static_cast<JSModuleDef*>(JS_VALUE_GET_PTR(compiled));
    JS_FreeValue(context, compiled);  // the context keeps the module
    return definition;
  }
  JS_ThrowReferenceError(context,
                         "there is no library named '%s' among those that import statements name",
                         std::string(wanted.substr(0, 200)).c_str());
  return nullptr;
}

std::string QuickJsInstance::ExplainImport(std::string message) const {
  const std::string library(Between(message, "there is no library named '", "'"));
  SourcePlace place;
  if (!library.empty()) {
    message = fmt::format("import from '{}' failed: there is no library of that name", library);
    place = PlaceOfImport(module_->source, library, "");
  } else if (const std::string binding(Between(message, "Could not find export '", "'"));
             !binding.empty()) {
    std::string from(Between(message, "in module '", "'"));
    if (from.starts_with(kLibraryPrefix)) from.erase(0, kLibraryPrefix.size());
    message =
        fmt::format("import from '{}' failed: the library does not export '{}'", from, binding);
    place = PlaceOfImport(module_->source, from, binding);
  }
  if (place.line > 0) message += fmt::format(" (line {}, column {})", place.line, place.column);
  return message;
}

StatusOr<Inspection> QuickJsInstance::Inspect(SourceFault* fault) {
  inspecting_ = true;
  MR_RETURN_IF_ERROR(MakeRuntime());
  JSValue compiled = Compile(module_->source);
  Inspection inspection;
  bool compiles = !JS_IsException(compiled);
  if (compiles) {
    auto* definition = static_cast<JSModuleDef*>(JS_VALUE_GET_PTR(compiled));
    compiles = mr_module_imports(context_, definition, &AddName, &inspection.imports) == 0 &&
               mr_module_exports(context_, definition, &AddName, &inspection.exports) == 0;
    JS_FreeValue(context_, compiled);
  }
  if (compiles) return inspection;
  SourceFault found;
  std::string stack;
  TakeException(&found.message, &stack);
  // The engine shows the token, and the end has no text.
  if (found.message.ends_with(": ''")) found.message = "SyntaxError: unexpected end of the code";
  const SourcePlace place = FirstPlace(stack);
  found.line = place.line;
  found.column = place.column;
  if (fault != nullptr) *fault = found;
  return Error(StatusCode::kInvalidArgument, "{}: {} (line {}, column {})", module_->id,
               found.message, found.line, found.column);
}

}  // namespace millrace::script
