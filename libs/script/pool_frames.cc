#include "libs/script/host.h"
#include "libs/script/limits_of_calls.h"
#include "libs/script/pool.h"

namespace millrace::script {

using wire::Type;

bool Pool::Handle(WorkerLink& worker, Type type, std::string_view payload) {
  wire::Reader reader(payload);
  switch (type) {
    case Type::kHello:
      if (worker.ready) return false;
      worker.ready = true;
      worker.deadline = kNever;
      if (!std::exchange(any_ready_, true)) first_ready_.set_value();
      return true;
    case Type::kWaiting: {
      const auto handled = reader.Get<uint64_t>();
      if (handled > worker.frames_sent || handled < worker.frames_handled) return false;
      worker.frames_handled = handled;
      SetDeadline(worker);
      return reader.ok();
    }
    case Type::kLoaded:
      return worker.loading != nullptr && HandleLoaded(worker, reader);
    case Type::kInspected:
      return worker.inspecting != nullptr && HandleInspected(worker, reader);
    case Type::kResults:
      return HandleResult(worker, reader);
    case Type::kAsk:
      return HandleAsk(worker, reader);
    default:
      return false;
  }
}

bool Pool::HandleLoaded(WorkerLink& worker, wire::Reader& reader) {
  const bool loaded = reader.Get<uint8_t>() != 0;
  const std::string message(reader.GetText());
  if (!reader.ok()) return false;
  Job& job = *worker.loading;
  worker.loading = nullptr;
  if (!loaded) {
    worker.TakeJob(&job)->FailRest(Outcome::kError, ErrorClass::kThrown, message);
    return true;
  }
  worker.modules.emplace_front(job.module, worker.next_module++);
  return SendNext(worker, job);
}

bool Pool::HandleInspected(WorkerLink& worker, wire::Reader& reader) {
  const bool compiles = reader.Get<uint8_t>() != 0;
  const std::string message(reader.GetText());
  SourceFault fault{.message = std::string(reader.GetText())};
  fault.line = reader.Get<int32_t>();
  fault.column = reader.Get<int32_t>();
  Inspection inspection;
  for (auto* names : {&inspection.imports, &inspection.exports}) {
    for (auto left = reader.Get<uint32_t>(); left > 0 && reader.ok(); --left) {
      names->emplace_back(reader.GetText());
    }
  }
  if (!reader.ok()) return false;
  const std::unique_ptr<Job> job = worker.TakeJob(worker.inspecting);
  auto report = std::exchange(job->inspected, nullptr);
  if (compiles) {
    report(std::move(inspection), {});
  } else {
    report(MakeStatus(StatusCode::kInvalidArgument, message), std::move(fault));
  }
  return true;
}

namespace {

size_t SizeOf(const CallOutput& output) {
  size_t size = output.value.size() + output.error.size() + output.stack.size() + output.log.size();
  for (const Emitted& emitted : output.emitted) {
    size += sizeof(Emitted) + emitted.text.size() + emitted.stack.size();
  }
  return size;
}

}  // namespace

bool Pool::HandleResult(WorkerLink& worker, wire::Reader& reader) {
  Job* job = worker.FindJob(reader.Get<uint32_t>());
  const auto input = reader.Get<uint32_t>();
  if (job == nullptr || job == worker.loading || input >= job->ended.size() || job->ended[input])
    return false;
  CallOutput output;
  if (!ReadResult(reader, &output)) return false;
  if (output.error_class == ErrorClass::kTimeout || output.error_class == ErrorClass::kMemory) {
    Restrain(job->module);
  }
  ByteBudget* const budget = job->options.output_budget.get();
  if (budget != nullptr && !budget->Take(SizeOf(output))) {
    output = {.outcome = Outcome::kEngineFault,
              .error = "there is no room for what the calls give together",
              .error_class = ErrorClass::kResultTooLarge,
              .cpu_us = output.cpu_us};
  }
  job->End(input, std::move(output));
  worker.restart_delay = std::chrono::milliseconds(0);
  SetDeadline(worker);
  if (job->complete()) worker.TakeJob(job)->Finish();
  return true;
}

bool Pool::HandleAsk(WorkerLink& worker, wire::Reader& reader) {
  const bool now = reader.Get<uint8_t>() != 0;
  const auto request = reader.Get<uint32_t>();
  Job* job = worker.FindJob(reader.Get<uint32_t>());
  HostCall call{.input = reader.Get<uint32_t>()};
  call.name = reader.GetText();
  call.arguments = reader.GetText();
  if (!reader.ok() || job == nullptr || job == worker.loading || request == 0 ||
      call.input >= job->ended.size() || job->ended[call.input] ||
      call.name.size() > kMaxQuestionName || call.arguments.size() > kMaxQuestionBytes ||
      job->asking[call.input] >= kMaxQuestionsOfCall || worker.blocked_on != 0 ||
      job->requests.size() >= kMaxQuestionsOfWorker ||
      !job->requests.emplace(request, call.input).second) {
    return false;
  }
  ++job->asking[call.input];
  job->asked[call.input] = true;
  if (now) worker.blocked_on = request;
  SetDeadline(worker);
  auto done = [box = box_, incarnation = worker.incarnation, request](HostAnswer answer) {
    box->Put({.incarnation = incarnation, .request = request, .answer = std::move(answer)});
  };
  if (job->options.host == nullptr) {
    done({.failed = true, .text = "there is no host to ask"});
  } else {
    job->options.host->Ask(std::move(call), std::move(done));
  }
  return true;
}

}  // namespace millrace::script
