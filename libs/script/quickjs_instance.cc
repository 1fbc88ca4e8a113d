#include "libs/script/quickjs_instance.h"

#include <algorithm>

#include "libs/script/quickjs/extras.h"

namespace millrace::script {

QuickJsInstance::QuickJsInstance(std::shared_ptr<const Module> module, Outside* outside)
    : module_(std::move(module)), limits_(module_->limits), outside_(outside) {}

QuickJsInstance::~QuickJsInstance() {
  if (runtime_ == nullptr) return;
  mr_set_switch(runtime_, nullptr, nullptr);
  if (context_ != nullptr) {
    // Finalisers run no JavaScript; what is pending is dropped with the heap.
    for (auto& [number, call] : waiting_) Release(call.get());
    for (auto& [number, request] : requests_) {
      JS_FreeValue(context_, request.resolve);
      JS_FreeValue(context_, request.reject);
    }
    Release(&nobody_);
    for (JSValue value : {config_, call_context_, raw_, entry_, adapter_, shared_}) {
      JS_FreeValue(context_, value);
    }
    writer_.reset();
    mr_end_lazy(runtime_);
    JS_FreeContext(context_);
  }
  JS_FreeRuntime(runtime_);
}

Status QuickJsInstance::MakeRuntime() {
  runtime_ = JS_NewRuntime();
  if (runtime_ == nullptr) return MakeStatus(StatusCode::kResourceExhausted, "no memory");
  JS_SetMemoryLimit(runtime_, limits_.memory_bytes);
  JS_SetMaxStackSize(runtime_, limits_.stack_bytes);
  JS_SetInterruptHandler(runtime_, &Interrupt, this);
  JS_SetModuleLoaderFunc(runtime_, &NormalizeName, &LoadLibrary, this);
  mr_set_switch(runtime_, &SwitchCall, this);
  context_ = JS_NewContext(runtime_);
  if (context_ == nullptr) {
    return Error(StatusCode::kInvalidArgument, "{}: memory limit of {} bytes is too small",
                 module_->id, limits_.memory_bytes);
  }
  JS_SetContextOpaque(context_, this);
  return OkStatus();
}

int QuickJsInstance::Interrupt(JSRuntime*, void* opaque) {
  auto* self = static_cast<QuickJsInstance*>(opaque);
  const int64_t limit_us = std::chrono::microseconds(self->limits_.cpu_time).count();
  if (self->payer_->output.cpu_us + self->meter_.UsedExactly() < limit_us) return 0;
  self->timed_out_ = true;
  self->spent_ = true;
  return 1;
}

RunningCall* QuickJsInstance::Find(uint32_t call) {
  if (call == owner_->number) return owner_;
  const auto found = waiting_.find(call);
  return found == waiting_.end() ? &nobody_ : found->second.get();
}

void QuickJsInstance::SwitchCall(void* opaque, uint32_t call) {
  auto* self = static_cast<QuickJsInstance*>(opaque);
  self->current_ = self->Find(call);
  RunningCall* payer = self->current_ == &self->nobody_ ? self->owner_ : self->current_;
  if (payer == self->payer_) return;
  self->payer_->output.cpu_us += self->meter_.Used();
  self->payer_ = payer;
  self->TellWhoRuns();
  self->meter_.Start();
}

void QuickJsInstance::TellWhoRuns() {
  if (outside_ == nullptr) return;
  const int64_t limit_us = std::chrono::microseconds(limits_.cpu_time).count();
  outside_->Runs(payer_->number, std::max<int64_t>(limit_us - payer_->output.cpu_us, 1));
}

void QuickJsInstance::BeginSlice(RunningCall* call) {
  owner_ = current_ = payer_ = call;
  nobody_.output.cpu_us = 0;
  nobody_.refused = false;
  mr_reset_heap(runtime_);
  TellWhoRuns();
  mr_set_call(runtime_, call->number);
  meter_.Start();
}

bool QuickJsInstance::RunJobs() {
  for (uint32_t done = 0; JS_IsJobPending(runtime_); ++done) {
    JSContext* ran = nullptr;
    const int result = JS_ExecutePendingJob(runtime_, &ran);
    // Short jobs without end never reach the engine's own check.
    if (result > 0 && ((done & 63) != 63 || Interrupt(runtime_, this) == 0)) continue;
    if (spent_) {
      if (JS_HasException(context_)) JS_FreeValue(context_, JS_GetException(context_));
      JS_ThrowInternalError(context_, "interrupted");
      RunningCall* at_fault = payer_;
      EndSlice();
      End(at_fault, JS_EXCEPTION);
      return false;
    }
    if (result < 0) JS_FreeValue(context_, JS_GetException(context_));
  }
  return true;
}

void QuickJsInstance::EndSlice() {
  payer_->output.cpu_us += meter_.Used();
  if (mr_heap_refused(runtime_)) payer_->refused = true;
  if (payer_->view.batch != nullptr && payer_->view.batch->test) {
    payer_->output.peak_bytes =
        std::max<uint64_t>(payer_->output.peak_bytes, mr_heap_peak(runtime_));
  }
  owner_ = current_ = payer_ = &nobody_;
  mr_set_call(runtime_, 0);
  if (outside_ != nullptr) outside_->Runs(0, 0);
}

void QuickJsInstance::Start(uint32_t number, const CallView& view) {
  auto call = std::make_unique<RunningCall>();
  call->number = number;
  call->view = view;
  RunningCall* started = call.get();
  BeginSlice(started);
  JSValue result = JS_EXCEPTION;
  if (!needs_event_ || ParseEvent(started)) {
    JSValueConst arguments[] = {started->event, config_, call_context_};
    result = JS_Call(context_, entry_, JS_UNDEFINED, module_->adapter.empty() ? 3 : 1, arguments);
  }
  if (JS_IsException(result) || !JS_IsPromise(result)) {
    // What the call left behind runs in its name before it ends.
    if (!spent_ && JS_IsJobPending(runtime_)) {
      JSValue thrown = JS_HasException(context_) ? JS_GetException(context_) : JS_UNINITIALIZED;
      waiting_.emplace(number, std::move(call));
      if (!RunJobs()) {
        JS_FreeValue(context_, thrown);
        JS_FreeValue(context_, result);
        return;
      }
      if (!JS_IsUninitialized(thrown)) JS_Throw(context_, thrown);
    }
    const bool left_jobs = call == nullptr;
    if (!left_jobs) waiting_.emplace(number, std::move(call));
    End(started, result);
    if (left_jobs && !spent_) EndSettled();
    return;
  }
  started->promise = result;
  waiting_.emplace(number, std::move(call));
  if (!RunJobs()) return;
  EndSlice();
  EndSettled();
}

void QuickJsInstance::Answer(uint32_t number, const HostAnswer& answer) {
  const auto found = requests_.find(number);
  if (found == requests_.end()) return;
  const Request request = found->second;
  requests_.erase(found);
  BeginSlice(Find(request.call));
  JSValue value = ParseAnswer(answer);
  const bool failed = JS_IsException(value) || answer.failed;
  if (JS_IsException(value)) value = JS_GetException(context_);
  JSValueConst arguments[] = {value};
  JSValue done =
      JS_Call(context_, failed ? request.reject : request.resolve, JS_UNDEFINED, 1, arguments);
  if (JS_IsException(done)) JS_FreeValue(context_, JS_GetException(context_));
  for (JSValue each : {value, done, request.resolve, request.reject}) JS_FreeValue(context_, each);
  if (!RunJobs()) return;
  EndSlice();
  EndSettled();
}

void QuickJsInstance::EndSettled() {
  std::vector<RunningCall*> settled;
  for (const auto& [number, call] : waiting_) {
    if (JS_PromiseState(context_, call->promise) != JS_PROMISE_PENDING) {
      settled.push_back(call.get());
    }
  }
  for (RunningCall* call : settled) {
    JSValue result = JS_PromiseResult(context_, call->promise);
    const bool rejected = JS_PromiseState(context_, call->promise) == JS_PROMISE_REJECTED;
    if (rejected) result = JS_Throw(context_, result);
    End(call, result);
    if (spent_) return;
  }
  if (!requests_.empty() || waiting_.empty()) return;
  while (!waiting_.empty()) {
    FailStuck(waiting_.begin()->second.get());
  }
}

void QuickJsInstance::FailStuck(RunningCall* call) {
  CallOutput& output = call->output;
  output.outcome = Outcome::kError;
  if (call->refused) {
    output.error_class = ErrorClass::kMemory;
    output.error = OutOfMemory();
    spent_ = true;
  } else {
    output.error_class = ErrorClass::kTimeout;
    output.error = "the promise that was returned can never settle: nothing is left to wait for";
  }
  const uint32_t number = call->number;
  Release(call);
  ended_.emplace_back(number, std::move(output));
  waiting_.erase(number);
}

void QuickJsInstance::End(RunningCall* call, JSValue result) {
  CallOutput& output = call->output;
  if (call->number != 0) {
    if (payer_ != call || owner_ != call) {
      EndSlice();
      BeginSlice(call);
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
      output.error_class = TakeException(&output.error, &output.stack);
    }
    EndSlice();
    if (call->refused) {
      spent_ = true;  // the heap is full
      if (output.outcome == Outcome::kError && output.error_class != ErrorClass::kTimeout) {
        output.error_class = ErrorClass::kMemory;
        output.error = OutOfMemory();
      }
    }
  }
  JS_FreeValue(context_, result);
  Release(call);
  if (call->number == 0) return;
  const uint32_t number = call->number;
  ended_.emplace_back(number, std::move(output));
  waiting_.erase(number);
}

void QuickJsInstance::Release(RunningCall* call) {
  for (JSValue* value : {&call->event, &call->extra, &call->promise}) {
    JS_FreeValue(context_, *value);
    *value = JS_UNDEFINED;
  }
}

size_t QuickJsInstance::heap_bytes() const {
  return runtime_ == nullptr ? 0 : mr_heap_size(runtime_);
}

uint32_t QuickJsInstance::TakeEnded(CallOutput* output) {
  if (ended_.empty()) return 0;
  const uint32_t number = ended_.front().first;
  *output = std::move(ended_.front().second);
  ended_.pop_front();
  return number;
}

bool QuickJsInstance::ParseEvent(RunningCall* call) {
  if (!JS_IsUndefined(call->event)) return true;
  if (call->number == 0) return true;
  const std::string_view text = call->view.event;
  JSValue value = mr_parse_lazily(context_, text.data(), text.size());
  if (JS_IsException(value)) return false;
  call->event = value;
  return true;
}

}  // namespace millrace::script
